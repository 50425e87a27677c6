/* Convolution by kernels of 3 x 3 with a quarter of the multiplications, for maps whose channels lie side by side, in
   float: Winograd's minimal filtering, F(4 x 4, 3 x 3).

   4 x 4 pixels that come out depend on 6 x 6 that go in, a tile. Both tile and kernel are written as 6 x 6 numbers of
   another kind (`tile_forward`, `kernel_forward`), of which each pair is multiplied by itself: 36 products for each pair
   of channels where the sum itself takes 144. All tiles and channels of one of these 36 are a matrix product. The way
   back (`back`) sums them to pixels.

   A dilated kernel sees every `dilation`-th row and column alone: it is a kernel of neighbours on dilation^2 grids that
   do not know of each other, and a tile lies in one of them.

   Each thread takes blocks of tiles through all three steps. What a tile becomes does not depend on its block.

   Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. */

#include <stdint.h>

#define LANES 8           /* of a vector */
#define OUT (2 * LANES)   /* channels that come out of one product */
#define ROWS 6            /* tiles in one: its sums, two vectors and a factor take 15 of 16 registers */
#define BLOCK_TILES 66    /* at most */
#define SIDE 4            /* pixels of a tile that come out, in a row */
#define SEEN 6            /* pixels that go in */
#define KERNEL 3
#define PRODUCTS (SEEN * SEEN)
#define APART 16          /* floats between the 36 matrices, or they would meet in the same places of the cache */

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float))));
typedef int32_t Bits __attribute__((vector_size(LANES * sizeof(int32_t)), aligned(sizeof(int32_t))));

typedef struct {
    int64_t images, height, width, channels, out_channels; /* channels of vectors, out_channels of OUT each */
    int64_t dilation, relu;
} Convolution;

/* Floats from one number of a kernel to the next. */
typedef struct {
    int64_t out, in, row, column;
} Strides;

/* How the work is cut. */
typedef struct {
    int64_t down, across, tiles; /* tiles of one grid, and of all */
    int64_t block;               /* tiles of one, a multiple of ROWS */
    int64_t seen, products;      /* floats from one of the 36 matrices of a block to the next */
} Plan;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t shares(int64_t a, int64_t b) { return (a + b - 1) / b; }

static Plan plan_of(const Convolution *c, int threads) {
    Plan p;
    p.down = shares(shares(c->height, c->dilation), SIDE), p.across = shares(shares(c->width, c->dilation), SIDE);
    p.tiles = c->images * c->dilation * c->dilation * p.down * p.across;
    p.block = shares(shares(p.tiles, shares(p.tiles, threads * BLOCK_TILES) * threads), ROWS) * ROWS;
    p.seen = p.block * c->channels + APART, p.products = p.block * c->out_channels + APART;
    return p;
}

/* The first pixel of a tile that comes out. */
typedef struct {
    int64_t image, row, column;
} Place;

static Place place_of(const Convolution *c, const Plan *p, int64_t tile) {
    int64_t across = tile % p->across, down = tile / p->across % p->down, grid = tile / p->across / p->down;
    int64_t grids = c->dilation * c->dilation, first_row = grid % grids / c->dilation, first_column = grid % c->dilation;
    return (Place){grid / grids, first_row + SIDE * c->dilation * down, first_column + SIDE * c->dilation * across};
}

/* Which pixel lies `down` and `across` from there on the tile's grid; -1 outside. */
static int64_t pixel_of(const Convolution *c, Place from, int64_t down, int64_t across) {
    int64_t row = from.row + down * c->dilation, column = from.column + across * c->dilation;
    if (row < 0 || row >= c->height || column < 0 || column >= c->width) return -1;
    return (from.image * c->height + row) * c->width + column;
}

/* Three numbers of a kernel, at a distance of `step`, as six of the other kind: its polynomial's values at 0, 1, -1, 2
   and -2 and its last coefficient, each over a divisor that makes the numbers of `tile_forward` whole. */
static inline void kernel_forward(const Vector *g, Vector *t, int64_t step) {
    Vector even = g[0] + g[2 * step], odd = g[step], far_even = g[0] + 4 * g[2 * step], far_odd = 2 * g[step];
    t[0] = g[0] / 4, t[5 * step] = g[2 * step];
    t[step] = (even + odd) / -6, t[2 * step] = (even - odd) / -6;
    t[3 * step] = (far_even + far_odd) / 24, t[4 * step] = (far_even - far_odd) / 24;
}

/* Six numbers of a tile. */
static inline void tile_forward(const Vector *d, Vector *t, int64_t step) {
    Vector a = d[4 * step] - 4 * d[2 * step], b = d[3 * step] - 4 * d[step];
    Vector e = d[4 * step] - d[2 * step], f = 2 * (d[3 * step] - d[step]);
    t[0] = 4 * d[0] - 5 * d[2 * step] + d[4 * step];
    t[step] = a + b, t[2 * step] = a - b, t[3 * step] = e + f, t[4 * step] = e - f;
    t[5 * step] = 4 * d[step] - 5 * d[3 * step] + d[5 * step];
}

/* And six of that kind as four. */
static inline void back(const Vector *m, Vector *y, int64_t step) {
    Vector a = m[step] + m[2 * step], b = m[step] - m[2 * step];
    Vector e = m[3 * step] + m[4 * step], f = m[3 * step] - m[4 * step];
    y[0] = m[0] + a + e, y[step] = b + 2 * f, y[2 * step] = a + 4 * e, y[3 * step] = b + 8 * f + m[5 * step];
}

/* The kernels of LANES channels that come out, for one that goes in. */
static void read_kernel(const Strides *s, const float *weight, float *kernel, int64_t pitch) {
    Vector g[KERNEL * SEEN], half[KERNEL * SEEN], t[PRODUCTS];
    for (int64_t i = 0; i < KERNEL; i++)
        for (int64_t j = 0; j < KERNEL; j++)
            for (int64_t l = 0; l < LANES; l++) g[i * KERNEL + j][l] = weight[l * s->out + i * s->row + j * s->column];
    for (int64_t j = 0; j < KERNEL; j++) kernel_forward(g + j, half + j, KERNEL);
    for (int64_t i = 0; i < SEEN; i++) kernel_forward(half + i * KERNEL, t + i * SEEN, 1);
    for (int64_t i = 0; i < PRODUCTS; i++) *(Vector *)(kernel + i * pitch) = t[i];
}

/* One tile as a row of each of the 36 matrices. */
static void read_tile(const Convolution *c, const Plan *p, int64_t tile, const float *maps, float *seen) {
    int64_t pixels[PRODUCTS];
    for (int64_t i = 0; i < PRODUCTS; i++)
        pixels[i] = tile < p->tiles ? pixel_of(c, place_of(c, p, tile), i / SEEN - 1, i % SEEN - 1) : -1;
    for (int64_t channel = 0; channel < c->channels; channel += LANES) {
        Vector d[PRODUCTS], t[PRODUCTS];
        for (int64_t i = 0; i < PRODUCTS; i++)
            d[i] = pixels[i] < 0 ? (Vector){0} : *(const Vector *)(maps + pixels[i] * c->channels + channel);
        for (int64_t i = 0; i < SEEN; i++) tile_forward(d + i, t + i, SEEN);
        for (int64_t i = 0; i < SEEN; i++) tile_forward(t + i * SEEN, d + i * SEEN, 1);
        for (int64_t i = 0; i < PRODUCTS; i++) *(Vector *)(seen + i * p->seen + channel) = d[i];
    }
}

/* ROWS x OUT numbers of one of the 36 products. */
static void multiply(int64_t channels, const float *seen, const float *kernel, float *products, int64_t pitch) {
    Vector sums[ROWS][2] = {0};
#pragma GCC unroll 1 /* unrolled, it would need more registers than there are */
    for (int64_t i = 0; i < channels; i++) {
        Vector low = *(const Vector *)(kernel + i * OUT), high = *(const Vector *)(kernel + i * OUT + LANES);
        for (int64_t r = 0; r < ROWS; r++)
            sums[r][0] += seen[r * channels + i] * low, sums[r][1] += seen[r * channels + i] * high;
    }
    for (int64_t r = 0; r < ROWS; r++)
        *(Vector *)(products + r * pitch) = sums[r][0], *(Vector *)(products + r * pitch + LANES) = sums[r][1];
}

/* Sums of one tile's products, times the scale of each channel, plus its shift. */
static void write_tile(const Convolution *c, const Plan *p, int64_t tile, const float *products, const float *scale,
                       const float *shift, float *convolved) {
    int64_t pixels[SIDE * SIDE];
    for (int64_t i = 0; i < SIDE * SIDE; i++)
        pixels[i] = pixel_of(c, place_of(c, p, tile), i / SIDE, i % SIDE);
    for (int64_t channel = 0; channel < c->out_channels; channel += LANES) {
        Vector m[PRODUCTS], half[SIDE * SEEN], y[SIDE * SEEN];
        for (int64_t i = 0; i < PRODUCTS; i++) m[i] = *(const Vector *)(products + i * p->products + channel);
        for (int64_t i = 0; i < SEEN; i++) back(m + i, half + i, SEEN);
        for (int64_t i = 0; i < SIDE; i++) back(half + i * SEEN, y + i * SIDE, 1);
        for (int64_t i = 0; i < SIDE * SIDE; i++) {
            if (pixels[i] < 0) continue;
            Vector sum = y[i] * *(const Vector *)(scale + channel) + *(const Vector *)(shift + channel);
            if (c->relu) sum = (Vector)((Bits)sum & ~(Bits)(sum < 0));
            *(Vector *)(convolved + pixels[i] * c->out_channels + channel) = sum;
        }
    }
}

/* Floats that a kernel takes in the two functions below. */
int64_t winograd_kernel_size(const Convolution *c) { return PRODUCTS * c->out_channels * c->channels; }

/* Floats that `scratch` holds. */
int64_t winograd_scratch(const Convolution *c, int threads) {
    Plan p = plan_of(c, threads);
    return threads * PRODUCTS * (p.seen + p.products);
}

/* `kernel` is (36, out channel / OUT, channel, OUT). */
void winograd_kernel(const Convolution *c, int threads, const Strides *s, const float *weight, float *kernel) {
    int64_t pitch = c->out_channels * c->channels;
#pragma omp parallel for num_threads(threads)
    for (int64_t o = 0; o < c->out_channels; o += OUT)
        for (int64_t i = 0; i < c->channels; i++)
            for (int64_t l = 0; l < OUT; l += LANES)
                read_kernel(s, weight + (o + l) * s->out + i * s->in, kernel + o * c->channels + i * OUT + l, pitch);
}

/* `kernel` is as above. */
void winograd(const Convolution *c, int threads, float *scratch, const float *maps, const float *kernel,
              const float *scale, const float *shift, float *convolved) {
    Plan plan = plan_of(c, threads), *p = &plan;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t thread = 0; thread < threads; thread++) {
        float *seen = scratch + thread * PRODUCTS * (p->seen + p->products), *products = seen + PRODUCTS * p->seen;
        for (int64_t first = thread * p->block; first < p->tiles; first += threads * p->block) {
            int64_t tiles = least(p->block, p->tiles - first), rows = shares(tiles, ROWS) * ROWS;
            for (int64_t t = 0; t < rows; t++) read_tile(c, p, first + t, maps, seen + t * c->channels);
            for (int64_t i = 0; i < PRODUCTS; i++)
                for (int64_t o = 0; o < c->out_channels; o += OUT) {
                    const float *of_kernel = kernel + (i * c->out_channels + o) * c->channels;
                    for (int64_t t = 0; t < rows; t += ROWS)
                        multiply(c->channels, seen + i * p->seen + t * c->channels, of_kernel,
                                 products + i * p->products + t * c->out_channels + o, c->out_channels);
                }
            for (int64_t t = 0; t < tiles; t++)
                write_tile(c, p, first + t, products + t * c->out_channels, scale, shift, convolved);
        }
    }
}
