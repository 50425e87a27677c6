/* The gradient of a convolution's kernel, for maps whose channels lie side by side, in float.

   Number [o][r][q][i] of it is the sum, over images and pixels (y, x), of seen[y][x][o] * maps[y stride + r dilation -
   padding][x stride + q dilation - padding][i] where that lies inside; `seen` is what came back to the maps given.

   A tile of OUT x IN numbers of the kernel stays in registers while a block of pixels is added to it: each number read
   takes part in several products. Both maps are packed block by block, tile after tile, so that what a tile reads is
   contiguous and stays in the near caches. Sums of blocks are added to the kernel: shorter sums lose less.

   Each thread has numbers of the kernel of its own: the order in which one is summed does not depend on their number. */

#include <stdint.h>
#include <string.h>

#define LANES 8          /* of a vector */
#define IN (2 * LANES)   /* channels of the maps in a tile */
#define OUT 6            /* channels of `seen` in a tile: its sums, two vectors and a factor take 15 of 16 registers */
#define BLOCK_PIXELS 512 /* about: 32 KiB of a tile of the maps */

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));

typedef struct {
    int64_t images, height, width, channels;     /* of the maps; channels are a multiple of IN */
    int64_t out_height, out_width, out_channels; /* of `seen` */
    int64_t kernel, stride, padding, dilation;
} Convolution;

/* How the work is cut: a block is at most `rows` of `images`, and what the kernel sees of them, `map_rows`. */
typedef struct {
    int64_t images, rows, map_rows;
    int64_t seen_tile, maps_tile, scratch; /* floats of a packed tile of a block, and of all that a thread packs */
    int64_t tiles, places, pitch;          /* of `seen`, of the kernel, and from one channel's kernel to the next */
} Plan;

typedef struct {
    int64_t first, stop;
} Range;

typedef struct {
    int64_t image, images;
    Range rows, map_rows;
} Block;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

static Plan plan_of(const Convolution *c, int threads) {
    Plan p;
    p.rows = least(c->out_height, most(1, BLOCK_PIXELS / c->out_width));
    p.images = least(c->images, most(1, BLOCK_PIXELS / (c->out_height * c->out_width)));
    p.map_rows = least(c->height, (p.rows - 1) * c->stride + (c->kernel - 1) * c->dilation + 1);
    p.tiles = (c->out_channels + OUT - 1) / OUT;
    p.places = c->kernel * c->kernel;
    p.pitch = p.places * c->channels;
    p.seen_tile = p.images * p.rows * c->out_width * OUT;
    p.maps_tile = p.images * p.map_rows * c->width * IN;
    p.scratch = c->channels / IN * p.maps_tile + least(p.tiles, p.tiles / threads + 2) * p.seen_tile;
    return p;
}

/* The rows or columns of `seen` for which a place of the kernel lies inside the maps. */
static Range inside(const Convolution *c, int64_t place, int64_t size, int64_t map_size) {
    int64_t offset = place * c->dilation - c->padding, room = map_size - 1 - offset;
    int64_t first = offset < 0 ? (c->stride - 1 - offset) / c->stride : 0;
    return (Range){first, room < 0 ? 0 : least(size, room / c->stride + 1)};
}

static Block block_of(const Convolution *c, const Plan *p, int64_t image, int64_t row) {
    Range rows = {row, least(row + p->rows, c->out_height)};
    int64_t first = row * c->stride - c->padding;
    int64_t stop = (rows.stop - 1) * c->stride - c->padding + (c->kernel - 1) * c->dilation + 1;
    return (Block){image, least(p->images, c->images - image), rows, {most(0, first), least(c->height, stop)}};
}

/* Some tiles of `seen`, with zeros for channels that it lacks. */
static void pack_seen(const Convolution *c, const Plan *p, const Block *b, Range tiles, const float *seen,
                      float *packed) {
    for (int64_t n = 0; n < b->images; n++)
        for (int64_t pixel = 0; pixel < (b->rows.stop - b->rows.first) * c->out_width; pixel++) {
            int64_t from = ((b->image + n) * c->out_height + b->rows.first) * c->out_width + pixel;
            float *to = packed + (n * p->rows * c->out_width + pixel) * OUT;
            for (int64_t t = tiles.first; t < tiles.stop; t++, to += p->seen_tile)
                for (int64_t o = 0; o < OUT; o++)
                    to[o] = t * OUT + o < c->out_channels ? seen[from * c->out_channels + t * OUT + o] : 0;
        }
}

static void pack_maps(const Convolution *c, const Plan *p, const Block *b, const float *maps, float *packed) {
    for (int64_t n = 0; n < b->images; n++)
        for (int64_t pixel = 0; pixel < (b->map_rows.stop - b->map_rows.first) * c->width; pixel++) {
            int64_t from = ((b->image + n) * c->height + b->map_rows.first) * c->width + pixel;
            float *to = packed + (n * p->map_rows * c->width + pixel) * IN;
            for (int64_t i = 0; i < c->channels; i += IN, to += p->maps_tile)
                memcpy(to, maps + from * c->channels + i, IN * sizeof *to);
        }
}

/* Where a tile's numbers lie in a packed block, and how many there are. */
typedef struct {
    int64_t images, rows, columns;
    int64_t seen_image, seen_row;
    int64_t maps_image, maps_row, maps_pixel;
} Walk;

/* Adds a block's products to OUT x IN numbers of the kernel, or to the first `channels` x IN. */
static void add_products(const Walk *w, const float *seen, const float *maps, float *kernel, int64_t pitch,
                         int64_t channels) {
    Vector sums[OUT][2] = {0};
    for (int64_t n = 0; n < w->images; n++)
        for (int64_t y = 0; y < w->rows; y++) {
            const float *s = seen + n * w->seen_image + y * w->seen_row;
            const float *m = maps + n * w->maps_image + y * w->maps_row;
#pragma GCC unroll 1 /* unrolled, it would need more registers than there are */
            for (int64_t x = 0; x < w->columns; x++, s += OUT, m += w->maps_pixel) {
                Vector low = *(const Vector *)m, high = *(const Vector *)(m + LANES);
                for (int o = 0; o < OUT; o++) sums[o][0] += s[o] * low, sums[o][1] += s[o] * high;
            }
        }
    for (int64_t o = 0; o < channels; o++)
        *(Vector *)(kernel + o * pitch) += sums[o][0], *(Vector *)(kernel + o * pitch + LANES) += sums[o][1];
}

/* What a block adds to one tile of the kernel's numbers at one place. All three point to the tile's first number. */
static void add_block(const Convolution *c, const Plan *p, const Block *b, int64_t place, const float *seen,
                      const float *maps, float *kernel, int64_t channels) {
    int64_t r = place / c->kernel, q = place % c->kernel;
    Range rows = inside(c, r, c->out_height, c->height), columns = inside(c, q, c->out_width, c->width);
    rows = (Range){most(rows.first, b->rows.first), least(rows.stop, b->rows.stop)};
    if (rows.first >= rows.stop || columns.first >= columns.stop) return;
    int64_t map_row = rows.first * c->stride + r * c->dilation - c->padding - b->map_rows.first;
    int64_t map_column = columns.first * c->stride + q * c->dilation - c->padding;
    Walk walk = {.images = b->images,
                 .rows = rows.stop - rows.first,
                 .columns = columns.stop - columns.first,
                 .seen_image = p->rows * c->out_width * OUT,
                 .seen_row = c->out_width * OUT,
                 .maps_image = p->map_rows * c->width * IN,
                 .maps_row = c->stride * c->width * IN,
                 .maps_pixel = c->stride * IN};
    seen += ((rows.first - b->rows.first) * c->out_width + columns.first) * OUT;
    maps += (map_row * c->width + map_column) * IN;
    add_products(&walk, seen, maps, kernel + place * c->channels, p->pitch, channels);
}

/* What a block adds to the pairs of a tile and a place that a thread has. A tile of the maps is the outer loop: it is
   the larger one, and stays in the first-level cache. */
static void add_to_pairs(const Convolution *c, const Plan *p, const Block *b, Range pairs, const float *seen,
                         const float *maps, float *kernel) {
    for (int64_t i = 0; i < c->channels; i += IN, maps += p->maps_tile)
        for (int64_t pair = pairs.first; pair < pairs.stop; pair++) {
            int64_t tile = pair / p->places, channels = least(OUT, c->out_channels - tile * OUT);
            const float *of_tile = seen + (tile - pairs.first / p->places) * p->seen_tile;
            add_block(c, p, b, pair % p->places, of_tile, maps, kernel + tile * OUT * p->pitch + i, channels);
        }
}

/* Floats that `scratch` holds below. */
int64_t kernel_gradient_scratch(const Convolution *c, int threads) { return threads * plan_of(c, threads).scratch; }

/* `kernel` is (out channel, row, column, channel). */
void kernel_gradient(const Convolution *c, int threads, float *scratch, const float *maps, const float *seen,
                     float *kernel) {
    Plan plan = plan_of(c, threads), *p = &plan;
    memset(kernel, 0, c->out_channels * p->pitch * sizeof *kernel);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        int64_t all = p->tiles * p->places;
        Range pairs = {all * thread / threads, all * (thread + 1) / threads};
        if (pairs.first == pairs.stop) continue;
        Range tiles = {pairs.first / p->places, (pairs.stop + p->places - 1) / p->places};
        float *own_maps = scratch + thread * p->scratch, *own_seen = own_maps + c->channels / IN * p->maps_tile;
        for (int64_t image = 0; image < c->images; image += p->images)
            for (int64_t row = 0; row < c->out_height; row += p->rows) {
                Block block = block_of(c, p, image, row);
                pack_seen(c, p, &block, tiles, seen, own_seen);
                pack_maps(c, p, &block, maps, own_maps);
                add_to_pairs(c, p, &block, pairs, own_seen, own_maps, kernel);
            }
    }
}
