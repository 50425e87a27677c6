/* Batch normalisation, with or without ReLU, and its gradient: two passes over the maps each.

   Maps are rows of channels: all channels of a pixel side by side, pixel after pixel, as float or bfloat16. Arithmetic
   is in float, sums are added in double. Few channels are repeated until a row is long enough for the processor's
   vectors (`lanes`), whose loops the compiler makes.

   Threads share pieces of fixed size, small enough to stay in the second-level cache while a piece is looked at twice;
   what a piece sums to does not depend on who sums it, nor does the order in which pieces are added.

   With d = x - mean, inverse = 1 / sqrt(variance + eps) and s = weight * inverse: y = d s + bias, or 0 where that is
   below. With g = dy, or 0 where ReLU let nothing through, and n pixels:
   dx = s (g - sum g / n - d inverse^2 sum (g d) / n). */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LANES 64         /* at least, of a loop */
#define PIECE (1 << 15)  /* numbers, about */
#define QUIET_NAN 0x7fc0 /* in bfloat16 */
#define INLINE static inline __attribute__((always_inline))

typedef struct {
    int64_t bfloat16, relu, rows, channels;
} Maps;

typedef struct {
    const float *mean, *inverse, *weight, *bias; /* of each channel */
} Norm;

typedef struct {
    int64_t first, stop; /* numbers of the maps */
} Piece;

INLINE float get(const void *maps, int64_t i, int bfloat16) {
    if (!bfloat16) return ((const float *)maps)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)maps)[i] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* bfloat16 is rounded to the nearest, and to even. */
INLINE void put(void *maps, int64_t i, float x, int bfloat16) {
    if (bfloat16) {
        uint32_t bits;
        memcpy(&bits, &x, sizeof bits);
        bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        ((uint16_t *)maps)[i] = (uint16_t)(x == x ? bits : QUIET_NAN);
    } else
        ((float *)maps)[i] = x;
}

static int64_t at_most(int64_t most, int64_t x) { return x < most ? x : most; }
static int64_t repeats(const Maps *m) { return (LANES + m->channels - 1) / m->channels; }
static int64_t lanes_of(const Maps *m) { return repeats(m) * m->channels; }

static int64_t rows_of_piece(const Maps *m) {
    int64_t together = repeats(m), rows = PIECE / lanes_of(m) * together;
    return rows ? rows : together;
}

static int64_t pieces_of(const Maps *m) { return (m->rows + rows_of_piece(m) - 1) / rows_of_piece(m); }

static Piece piece_of(const Maps *m, int64_t index) {
    int64_t first = index * rows_of_piece(m);
    return (Piece){first * m->channels, at_most(m->rows, first + rows_of_piece(m)) * m->channels};
}

static void repeat(const Maps *m, const float *of_channels, float *of_lanes) {
    for (int64_t k = 0; k < repeats(m); k++)
        memcpy(of_lanes + k * m->channels, of_channels, m->channels * sizeof *of_lanes);
}

static void add_up(const Maps *m, const float *of_lanes, double *of_channels) {
    for (int64_t c = 0; c < m->channels; c++) of_channels[c] = 0;
    for (int64_t k = 0; k < repeats(m); k++)
        for (int64_t c = 0; c < m->channels; c++) of_channels[c] += of_lanes[k * m->channels + c];
}

/* The body of a loop over a piece: number i is of lane l. */
#define EACH_NUMBER(piece, lanes)                                      \
    for (int64_t row = (piece).first; row < (piece).stop; row += lanes) \
        for (int64_t l = 0, i = row, end = at_most(lanes, (piece).stop - row); l < end; l++, i++)

/* A function whose first two arguments the compiler sees as constants. */
#define BY_KIND(m, function, ...)                                   \
    do {                                                            \
        if ((m)->bfloat16 && (m)->relu) function(1, 1, __VA_ARGS__); \
        else if ((m)->bfloat16) function(1, 0, __VA_ARGS__);         \
        else if ((m)->relu) function(0, 1, __VA_ARGS__);             \
        else function(0, 0, __VA_ARGS__);                            \
    } while (0)

/* sums[c] the mean of a piece, sums[channels + c] its squared distances from there. The float sum of many numbers is a
   little off; from a centre so near the mean, distances add up without loss. */
INLINE void spread_of_piece(int bfloat16, int relu, const Maps *m, Piece piece, const void *x, double *sums) {
    int64_t lanes = lanes_of(m), channels = m->channels;
    double rows = (double)((piece.stop - piece.first) / channels);
    float total[lanes], total_squared[lanes], centre[lanes], of_channels[channels];
    (void)relu;
    memset(total, 0, sizeof total);
    EACH_NUMBER(piece, lanes) total[l] += get(x, i, bfloat16);
    add_up(m, total, sums);
    for (int64_t c = 0; c < channels; c++) of_channels[c] = (float)(sums[c] / rows);
    repeat(m, of_channels, centre);
    memset(total, 0, sizeof total), memset(total_squared, 0, sizeof total_squared);
    EACH_NUMBER(piece, lanes) {
        float d = get(x, i, bfloat16) - centre[l];
        total[l] += d;
        total_squared[l] += d * d;
    }
    add_up(m, total, sums), add_up(m, total_squared, sums + channels);
    for (int64_t c = 0; c < channels; c++) sums[c] = of_channels[c] + sums[c] / rows;
}

/* The coefficients of a norm for each lane, and what they make of a number. */
#define LANES_OF_NORM(m, norm)                                                                    \
    int64_t lanes = lanes_of(m);                                                                  \
    float mean[lanes], scale[lanes], bias[lanes];                                                 \
    repeat(m, (norm)->mean, mean), repeat(m, (norm)->inverse, scale), repeat(m, (norm)->weight, bias); \
    for (int64_t l = 0; l < lanes; l++) scale[l] *= bias[l];                                      \
    repeat(m, (norm)->bias, bias)

INLINE void normalise_piece(int bfloat16, int relu, const Maps *m, Piece piece, const Norm *norm, const void *x, void *y) {
    LANES_OF_NORM(m, norm);
    EACH_NUMBER(piece, lanes) {
        float normalised = (get(x, i, bfloat16) - mean[l]) * scale[l] + bias[l];
        put(y, i, relu && normalised < 0 ? 0 : normalised, bfloat16);
    }
}

/* What comes back to a number before it is normalised: dy, where ReLU let it through. */
INLINE float came_back(int relu, float d, float scale, float bias, float dy) {
    return relu && d * scale + bias <= 0 ? 0 : dy;
}

/* sums[c] of g, sums[channels + c] of g d. */
INLINE void sums_of_piece(int bfloat16, int relu, const Maps *m, Piece piece, const Norm *norm, const void *x,
                          const void *dy, double *sums) {
    LANES_OF_NORM(m, norm);
    float of_g[lanes], of_gd[lanes];
    memset(of_g, 0, sizeof of_g), memset(of_gd, 0, sizeof of_gd);
    EACH_NUMBER(piece, lanes) {
        float d = get(x, i, bfloat16) - mean[l];
        float g = came_back(relu, d, scale[l], bias[l], get(dy, i, bfloat16));
        of_g[l] += g;
        of_gd[l] += g * d;
    }
    add_up(m, of_g, sums), add_up(m, of_gd, sums + m->channels);
}

/* dx = s g - by_one - d by_d */
INLINE void gradient_of_piece(int bfloat16, int relu, const Maps *m, Piece piece, const Norm *norm, const float *one,
                              const float *slope, const void *x, const void *dy, void *dx) {
    LANES_OF_NORM(m, norm);
    float by_one[lanes], by_d[lanes];
    repeat(m, one, by_one), repeat(m, slope, by_d);
    EACH_NUMBER(piece, lanes) {
        float d = get(x, i, bfloat16) - mean[l];
        float g = came_back(relu, d, scale[l], bias[l], get(dy, i, bfloat16));
        put(dx, i, scale[l] * g - by_one[l] - d * by_d[l], bfloat16);
    }
}

/* y by a mean and 1 / sqrt(variance + eps) that are known. */
void batch_norm_by_known(const Maps *m, int threads, const float *mean, const float *inverse, const float *weight,
                         const float *bias, const void *x, void *y) {
    Norm norm = {mean, inverse, weight, bias};
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pieces_of(m); p++) BY_KIND(m, normalise_piece, m, piece_of(m, p), &norm, x, y);
}

/* Doubles that `scratch` holds in the two functions below. */
int64_t batch_norm_scratch(const Maps *m) { return 2 * m->channels * pieces_of(m); }

/* y, and of each channel the mean, 1 / sqrt(variance + eps), and the variance (the sum of squares over n). */
void batch_norm(const Maps *m, int threads, double *scratch, double eps, const float *weight, const float *bias,
                const void *x, void *y, float *mean, float *inverse, float *variance) {
    int64_t channels = m->channels, pieces = pieces_of(m);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pieces; p++)
        BY_KIND(m, spread_of_piece, m, piece_of(m, p), x, scratch + 2 * channels * p);

    for (int64_t c = 0; c < channels; c++) {
        double centre = 0, squares = 0;
        for (int64_t p = 0; p < pieces; p++) {
            double share = (double)(piece_of(m, p).stop - piece_of(m, p).first) / (double)(m->rows * channels);
            centre += share * scratch[2 * channels * p + c];
        }
        for (int64_t p = 0; p < pieces; p++) {
            double rows = (double)((piece_of(m, p).stop - piece_of(m, p).first) / channels);
            double off = scratch[2 * channels * p + c] - centre;
            squares += scratch[(2 * p + 1) * channels + c] + rows * off * off;
        }
        mean[c] = (float)centre;
        variance[c] = (float)(squares / (double)m->rows);
        inverse[c] = (float)(1 / sqrt(squares / (double)m->rows + eps));
    }

    batch_norm_by_known(m, threads, mean, inverse, weight, bias, x, y);
}

/* dx, and the gradients of weight and bias. */
void batch_norm_gradient(const Maps *m, int threads, double *scratch, const float *mean, const float *inverse,
                         const float *weight, const float *bias, const void *x, const void *dy, void *dx,
                         float *by_weight, float *by_bias) {
    int64_t channels = m->channels, pieces = pieces_of(m);
    float one[channels], slope[channels];
    Norm norm = {mean, inverse, weight, bias};
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pieces; p++)
        BY_KIND(m, sums_of_piece, m, piece_of(m, p), &norm, x, dy, scratch + 2 * channels * p);

    for (int64_t c = 0; c < channels; c++) {
        double g = 0, gd = 0;
        for (int64_t p = 0; p < pieces; p++) g += scratch[2 * channels * p + c], gd += scratch[(2 * p + 1) * channels + c];
        double scale = (double)weight[c] * inverse[c] / (double)m->rows;
        by_weight[c] = (float)(gd * inverse[c]);
        by_bias[c] = (float)g;
        one[c] = (float)(scale * g);
        slope[c] = (float)(scale * inverse[c] * inverse[c] * gd);
    }

#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < pieces; p++) BY_KIND(m, gradient_of_piece, m, piece_of(m, p), &norm, one, slope, x, dy, dx);
}
