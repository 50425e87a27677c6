/* Soft counts of softmax probabilities, or what cross-entropy charges for them, and their gradient: each in one pass over
   the logits.

   Pixels are taken in tiles so small that the exponentials of all classes stay in the first-level cache until they are
   summed or used; nothing of the size of the logits is stored but the gradient itself. Sums run in float over a block's
   tiles, then in double.

   Threads share the pieces of the samples; what a piece counts does not depend on who counts it. The logit of class c
   at pixel i of a sample lies at logits[c * class_step + i * pixel_step], and so does its gradient.

   exp is a polynomial on (-ln 2 / 2, ln 2 / 2) after a Cody-Waite reduction, its coefficients of the least largest
   relative error, 1.1e-7; log is the series of 2 artanh. NaN stays NaN, so that a training that diverged shows.

   Where exponentials are slower than memory, counting keeps the probabilities where their gradient will lie, and the
   gradient is made of them in place.

   Vectors are GCC's and clang's own, as long as the processor's registers: of longer ones GCC 12 goes through memory for
   every operation, and takes four times as long. */

#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif
#ifdef __AVX__
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define TILE 64                 /* pixels */
#define VECTORS (TILE / LANES)  /* of a tile */
#define BLOCK (64 * TILE)
#define PIECE (1 << 16)         /* pixels that a thread takes at a time: enough to be worth it */
#define SCRATCH (2 * (TILE + LANES)) /* floats that a thread needs for each class: exponentials, a copy, two vectors of sums */
#define PAGE 4096
#define LARGE_PAGE (1 << 21)
#define LOWEST -87.0f           /* exp of anything lower is no normal float32: 1.6e-38 stands for it */
#define ROUNDER 12583039.0f     /* 1.5 * 2^23 + 127: a sum with it loses its fraction and ends in an exponent's bits */
#define ROOT_OF_HALF 0x3f3504f3 /* the bits of a float */
#define UNKNOWN -1              /* a label that no class has: counted by none */
#define PADDING -2              /* no pixel at all */
#define EACH(v) for (int v = 0; v < VECTORS; v++)
#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));

typedef struct {
    const float *logits; /* of all samples, one after the other */
    const void *target;
    int64_t target_bytes, classes, class_step, pixel_step, samples, pixels;
} Input;

typedef struct {
    int64_t sample, first, stop; /* pixels of the sample */
} Piece;

INLINE floats all_lanes(float x) { return x - (floats){0}; }
INLINE floats where(ints mask, floats x) { return (floats)((ints)x & mask); }

/* The larger of each two; x where it is NaN. */
INLINE floats larger(floats x, floats y) {
    for (int lane = 0; lane < LANES; lane++) x[lane] = x[lane] < y[lane] ? y[lane] : x[lane];
    return x;
}

INLINE floats load(const float *from) {
    floats x;
    memcpy(&x, from, sizeof x);
    return x;
}

INLINE void store(float *to, floats x) { memcpy(to, &x, sizeof x); }

/* To where a multiple of a vector's length lies, without reading first what lies there. */
INLINE void store_past_caches(float *to, floats x) {
#if LANES == 8
    _mm256_stream_ps(to, (__m256)x);
#else
    store(to, x);
#endif
}

/* Before others read what was stored past the caches. */
INLINE void await_stores(void) {
#if LANES == 8
    _mm_sfence();
#endif
}

INLINE floats exp_of_non_positive(floats x) {
    x = larger(x, all_lanes(LOWEST));
    floats rounded = x * 1.44269504f + ROUNDER;
    floats k = rounded - ROUNDER;
    floats r = x - k * 0.693359375f + k * 2.12194440e-4f;
    floats p = 8.31252e-3f * r + 4.189016e-2f;
    p = p * r + 0.16667115f;
    p = p * r + 0.49999231f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return p * (floats)((ints)rounded << 23); /* times 2^k */
}

/* Of numbers from 1 on: 2^k m with m between the roots of 1/2 and 2, and log m = 2 artanh((m - 1) / (m + 1)). */
INLINE floats log_of_one_or_more(floats x) {
    ints k = ((ints)x - ROOT_OF_HALF) >> 23;
    floats m = (floats)((ints)x - (k << 23)), whole = __builtin_convertvector(k, floats);
    floats t = (m - 1.0f) / (m + 1.0f), u = t * t;
    floats p = u * (1 / 9.0f) + (1 / 7.0f);
    p = p * u + (1 / 5.0f);
    p = p * u + (1 / 3.0f);
    p = p * u + 1.0f;
    return whole * 0.693359375f + (2.0f * t * p - whole * 2.12194440e-4f);
}

/* Of a tile: exponentials e[c * VECTORS + v] of how far below the highest logit each lies, and one over their sums, r[v];
   0 where there is no pixel. */
INLINE void exponentials(const float *z, int64_t step, const ints *labels, int64_t classes, floats *e, floats *highest,
                         floats *r) {
    EACH(v) highest[v] = e[v] = load(z + v * LANES);
    for (int64_t c = 1; c < classes; c++)
        EACH(v) {
            floats x = e[c * VECTORS + v] = load(z + c * step + v * LANES); /* read once: classes lie far apart */
            highest[v] = larger(x, highest[v]);
        }
    EACH(v) r[v] = all_lanes(0);
    for (int64_t c = 0; c < classes; c++)
        EACH(v) {
            e[c * VECTORS + v] = exp_of_non_positive(e[c * VECTORS + v] - highest[v]);
            r[v] += e[c * VECTORS + v];
        }
    EACH(v) r[v] = where(labels[v] != PADDING, 1.0f / r[v]);
}

/* Adds a tile's p_c to sums[2 * c + 1], and those inside the class to sums[2 * c]; p_c goes to `kept`, where there is
   one. */
static void count_tile(const float *z, int64_t step, const ints *labels, int64_t classes, floats *e, floats *sums,
                       float *kept) {
    floats highest[VECTORS], r[VECTORS];
    int aligned = ((uintptr_t)kept | (uintptr_t)step * sizeof *kept) % sizeof(floats) == 0;
    exponentials(z, step, labels, classes, e, highest, r);
    for (int64_t c = 0; c < classes; c++) {
        floats inside = all_lanes(0), all = all_lanes(0);
        EACH(v) {
            floats p = e[c * VECTORS + v] * r[v];
            if (kept && aligned) store_past_caches(kept + c * step + v * LANES, p);
            else if (kept) store(kept + c * step + v * LANES, p);
            inside += where(labels[v] == (int32_t)c, p);
            all += p;
        }
        sums[2 * c] += inside;
        sums[2 * c + 1] += all;
    }
}

/* Adds to sums[2 * c] what cross-entropy charges the pixels of class c, each -log p of its own class. */
static void charge_tile(const float *z, int64_t step, const ints *labels, int64_t classes, floats *e, floats *sums) {
    floats highest[VECTORS], r[VECTORS], charge[VECTORS];
    exponentials(z, step, labels, classes, e, highest, r);
    EACH(v) charge[v] = log_of_one_or_more(1.0f / r[v]);
    for (int64_t c = 0; c < classes; c++)
        EACH(v) sums[2 * c] += where(labels[v] == (int32_t)c, charge[v] + (highest[v] - load(z + c * step + v * LANES)));
}

/* gradient = by[own class] (p_c - [c is the own class]) */
static void gradient_of_charged_tile(const float *z, int64_t step, const ints *labels, int64_t classes, floats *e,
                                     const float *by, float *gradient, int64_t to_step) {
    floats highest[VECTORS], r[VECTORS], price[VECTORS];
    exponentials(z, step, labels, classes, e, highest, r);
    EACH(v) price[v] = all_lanes(0);
    for (int64_t c = 0; c < classes; c++) EACH(v) price[v] += where(labels[v] == (int32_t)c, all_lanes(by[c]));
    for (int64_t c = 0; c < classes; c++)
        EACH(v) {
            floats off = e[c * VECTORS + v] * r[v] - where(labels[v] == (int32_t)c, all_lanes(1));
            store(gradient + c * to_step + v * LANES, price[v] * off);
        }
}

/* gradient = p_c (v_c - sum_k v_k p_k), where v_c = by_sum[c], and by_tp[c] more inside the class. */
static void gradient_of_tile(const float *z, int64_t step, const ints *labels, int64_t classes, floats *e,
                             const float *by_tp, const float *by_sum, float *gradient, int64_t to_step) {
    floats highest[VECTORS], r[VECTORS], mean[VECTORS];
    exponentials(z, step, labels, classes, e, highest, r);
    EACH(v) mean[v] = all_lanes(0);
    for (int64_t c = 0; c < classes; c++)
        EACH(v) mean[v] += e[c * VECTORS + v] * (by_sum[c] + where(labels[v] == (int32_t)c, all_lanes(by_tp[c])));
    EACH(v) mean[v] *= r[v];
    for (int64_t c = 0; c < classes; c++)
        EACH(v) {
            floats wanted = by_sum[c] + where(labels[v] == (int32_t)c, all_lanes(by_tp[c]));
            store(gradient + c * to_step + v * LANES, e[c * VECTORS + v] * r[v] * (wanted - mean[v]));
        }
}

/* The same of probabilities that were kept; `gradient` may lie where they do. */
static void gradient_of_kept_tile(const float *kept, int64_t step, const ints *labels, int64_t classes, floats *e,
                                  const float *by_tp, const float *by_sum, float *gradient) {
    floats mean[VECTORS];
    EACH(v) mean[v] = all_lanes(0);
    for (int64_t c = 0; c < classes; c++)
        EACH(v) {
            floats p = e[c * VECTORS + v] = load(kept + c * step + v * LANES); /* read once, as above */
            mean[v] += p * (by_sum[c] + where(labels[v] == (int32_t)c, all_lanes(by_tp[c])));
        }
    for (int64_t c = 0; c < classes; c++)
        EACH(v) {
            floats wanted = by_sum[c] + where(labels[v] == (int32_t)c, all_lanes(by_tp[c]));
            store(gradient + c * step + v * LANES, e[c * VECTORS + v] * (wanted - mean[v]));
        }
}

static void labels_of_block(const Input *in, int64_t first, int count, int32_t *labels) {
    if (in->target_bytes == 8)
        for (int j = 0; j < count; j++) {
            int64_t label = ((const int64_t *)in->target)[first + j];
            labels[j] = (uint64_t)label < (uint64_t)in->classes ? (int32_t)label : UNKNOWN;
        }
    else if (in->target_bytes == 4)
        for (int j = 0; j < count; j++) {
            int32_t label = ((const int32_t *)in->target)[first + j];
            labels[j] = (uint64_t)label < (uint64_t)in->classes ? label : UNKNOWN;
        }
    else
        for (int j = 0; j < count; j++) {
            int32_t label = ((const uint8_t *)in->target)[first + j];
            labels[j] = label < in->classes ? label : UNKNOWN;
        }
    for (int j = count; j % TILE; j++) labels[j] = PADDING;
}

/* Whether a tile is read and written where it lies: its pixels side by side, and none missing. */
static int lies_well(const Input *in, int pixels) { return in->pixel_step == 1 && pixels == TILE; }

/* A tile's logits side by side, class_step = TILE, zero where there is no pixel. */
static void copy_in(const Input *in, const float *z, int pixels, float *tile) {
    memset(tile, 0, sizeof(float) * TILE * in->classes);
    for (int j = 0; j < pixels; j++)
        for (int64_t c = 0; c < in->classes; c++) tile[c * TILE + j] = z[c * in->class_step + j * in->pixel_step];
}

static void copy_out(const Input *in, const float *tile, int pixels, float *to) {
    for (int j = 0; j < pixels; j++)
        for (int64_t c = 0; c < in->classes; c++) to[c * in->class_step + j * in->pixel_step] = tile[c * TILE + j];
}

static int at_most(int64_t most, int64_t x) { return (int)(x < most ? x : most); }

static void count_piece(const Input *in, int charges, Piece piece, float *scratch, double *counts, float *kept) {
    int64_t sample = piece.sample * in->classes * in->pixels;
    float *copy = scratch + in->classes * TILE;
    floats *sums = (floats *)(copy + in->classes * TILE);
    int32_t labels[BLOCK] __attribute__((aligned(4 * LANES)));
    for (int64_t c = 0; c < 3 * in->classes; c++) counts[c] = 0;
    for (int64_t first = piece.first; first < piece.stop; first += BLOCK) {
        int block = at_most(BLOCK, piece.stop - first);
        labels_of_block(in, piece.sample * in->pixels + first, block, labels);
        for (int64_t i = 0; i < 2 * in->classes; i++) sums[i] = all_lanes(0);
        for (int j = 0; j < block; j += TILE) {
            int64_t at = sample + (first + j) * in->pixel_step;
            int pixels = at_most(TILE, block - j), in_place = lies_well(in, pixels);
            int64_t step = in_place ? in->class_step : TILE;
            if (!in_place) copy_in(in, in->logits + at, pixels, copy);
            const float *z = in_place ? in->logits + at : copy;
            const ints *own = (const ints *)(labels + j);
            float *to = !kept ? 0 : in_place ? kept + at : copy;
            if (charges) charge_tile(z, step, own, in->classes, (floats *)scratch, sums);
            else count_tile(z, step, own, in->classes, (floats *)scratch, sums, to);
            if (kept && !in_place) copy_out(in, copy, pixels, kept + at);
        }
        for (int64_t c = 0; c < in->classes; c++) {
            int32_t reference = 0;
            for (int j = 0; j < block; j++) reference += labels[j] == (int32_t)c;
            for (int lane = 0; lane < LANES; lane++) {
                counts[c] += sums[2 * c][lane];
                counts[in->classes + c] += sums[2 * c + 1][lane];
            }
            counts[2 * in->classes + c] += reference;
        }
    }
    await_stores();
}

static void gradient_of_piece(const Input *in, int kept, Piece piece, float *scratch, const float *by_tp,
                              const float *by_sum, float *gradient) {
    int64_t sample = piece.sample * in->classes * in->pixels;
    float *copy = scratch + in->classes * TILE;
    int32_t labels[BLOCK] __attribute__((aligned(4 * LANES)));
    for (int64_t first = piece.first; first < piece.stop; first += BLOCK) {
        int block = at_most(BLOCK, piece.stop - first);
        labels_of_block(in, piece.sample * in->pixels + first, block, labels);
        for (int j = 0; j < block; j += TILE) {
            int64_t at = sample + (first + j) * in->pixel_step;
            int pixels = at_most(TILE, block - j), in_place = lies_well(in, pixels);
            int64_t step = in_place ? in->class_step : TILE;
            if (!in_place) copy_in(in, in->logits + at, pixels, copy);
            const float *z = in_place ? in->logits + at : copy;
            const ints *own = (const ints *)(labels + j);
            float *to = in_place ? gradient + at : copy;
            if (kept) gradient_of_kept_tile(z, step, own, in->classes, (floats *)scratch, by_tp, by_sum, to);
            else if (by_sum) gradient_of_tile(z, step, own, in->classes, (floats *)scratch, by_tp, by_sum, to, step);
            else gradient_of_charged_tile(z, step, own, in->classes, (floats *)scratch, by_tp, to, step);
            if (!in_place) copy_out(in, copy, pixels, gradient + at);
        }
    }
}

static Piece piece_of(const Input *in, int64_t index) {
    int64_t of_sample = (in->pixels + PIECE - 1) / PIECE;
    int64_t first = index % of_sample * PIECE;
    return (Piece){index / of_sample, first, first + PIECE < in->pixels ? first + PIECE : in->pixels};
}

static float *scratch_of_thread(const Input *in, float *scratch) {
#ifdef _OPENMP
    return scratch + omp_get_thread_num() * in->classes * SCRATCH;
#else
    return scratch;
#endif
}

int64_t soft_counts_pieces(const Input *in) { return in->samples * ((in->pixels + PIECE - 1) / PIECE); }

/* Whether probabilities are worth keeping for the gradient: with AVX-512 exponentials take less time than bytes do. */
int soft_counts_keeps(void) { return LANES < 16; }

int64_t soft_counts_scratch(const Input *in) { return in->classes * SCRATCH; }

/* Fresh memory comes in pages of 4 kB, each at the price of a fault; a large gradient costs more for them than for its
   numbers. Where the system has large pages, it is asked for those; where it refuses, nothing is lost. */
static void ask_for_large_pages(float *memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    uintptr_t first = ((uintptr_t)memory + PAGE - 1) / PAGE * PAGE, stop = ((uintptr_t)memory + bytes) / PAGE * PAGE;
    if (stop >= first + LARGE_PAGE) (void)madvise((void *)first, stop - first, MADV_HUGEPAGE);
#endif
}

/* counts, for each piece: of each class TP, then of each the sum of its probabilities, then of each its reference
   pixels; or, with `charges`, of each what cross-entropy charges, then nothing, then the same. `scratch` begins at a
   multiple of 64 bytes and holds soft_counts_scratch floats for every thread. The probabilities go to `kept`, laid out
   as the logits, where it is not null. */
void soft_counts(const Input *in, int charges, int threads, float *scratch, double *counts, float *kept) {
    int64_t pieces = soft_counts_pieces(in);
    if (kept) ask_for_large_pages(kept, in->samples * in->classes * in->pixels * (int64_t)sizeof *kept);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < pieces; i++)
        count_piece(in, charges, piece_of(in, i), scratch_of_thread(in, scratch), counts + i * 3 * in->classes,
                    kept);
}

/* by_tp and by_sum: (sample, class). Without by_sum, by_tp is what the charges of each class count for. With `kept`, the
   input's logits are the probabilities that were kept, and `gradient` may be where they lie. */
void soft_counts_gradient(const Input *in, int kept, int threads, float *scratch, const float *by_tp,
                          const float *by_sum, float *gradient) {
    int64_t pieces = soft_counts_pieces(in);
    if (!kept) ask_for_large_pages(gradient, in->samples * in->classes * in->pixels * (int64_t)sizeof *gradient);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int64_t i = 0; i < pieces; i++) {
        Piece piece = piece_of(in, i);
        int64_t row = piece.sample * in->classes;
        gradient_of_piece(in, kept, piece, scratch_of_thread(in, scratch), by_tp + row, by_sum ? by_sum + row : 0,
                          gradient);
    }
}
