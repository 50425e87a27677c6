/* Soft counts of softmax probabilities, and their gradient, each in one pass over the logits.

   A block of pixels at a time is turned into exponentials in `scratch` and summed there; nothing of the size of the
   logits is stored but the gradient itself. Both functions work on the pixels from `start` to `stop` of one sample.
   The logit of class c at pixel i lies at logits[c * class_step + i * pixel_step], and so does its gradient.

   exp is a polynomial on (-ln 2 / 2, ln 2 / 2) after a Cody-Waite reduction, as in Cephes' expf. NaN stays NaN, so that
   a training that diverged shows. Loops are written so that compilers vectorise them: no calls, no branches. */

#include <stdint.h>
#include <string.h>

#define BLOCK 512     /* pixels: the exponentials of five classes fill 10 kB, those of a hundred a second-level cache */
#define LOWEST -87.0f /* exp of anything lower is no normal float32: 1.6e-38 stands for it */

static inline float exp_of_non_positive(float x) {
    float n = x * 1.44269504f;
    int32_t whole = (int32_t)(n - 0.5f);
    float k = (float)whole;
    float r = x - k * 0.693359375f + k * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits = (uint32_t)(whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

/* Exponentials of a block, e[c * BLOCK + j], and one over their sums, r[j]; `labels[j]` as int32. */
static void exponentials(const float *restrict logits, const void *restrict target, int64_t target_bytes,
                         int64_t classes, int64_t class_step, int64_t pixel_step, int64_t first, int64_t count,
                         float *restrict e, float *restrict r, int32_t *restrict labels) {
    float highest[BLOCK];
    for (int64_t c = 0; c < classes; c++) {
        const float *restrict z = logits + c * class_step + first * pixel_step;
        float *restrict ec = e + c * BLOCK;
        if (pixel_step == 1)
            for (int64_t j = 0; j < count; j++) ec[j] = z[j];
        else
            for (int64_t j = 0; j < count; j++) ec[j] = z[j * pixel_step];
        if (c == 0)
            for (int64_t j = 0; j < count; j++) highest[j] = ec[j];
        else
            for (int64_t j = 0; j < count; j++) highest[j] = ec[j] > highest[j] ? ec[j] : highest[j];
    }
    for (int64_t j = 0; j < count; j++) r[j] = 0.0f;
    for (int64_t c = 0; c < classes; c++) {
        float *restrict ec = e + c * BLOCK;
        for (int64_t j = 0; j < count; j++) {
            float x = ec[j] - highest[j];
            ec[j] = x < LOWEST ? LOWEST : x;
        }
        for (int64_t j = 0; j < count; j++) {
            ec[j] = exp_of_non_positive(ec[j]);
            r[j] += ec[j];
        }
    }
    for (int64_t j = 0; j < count; j++) r[j] = 1.0f / r[j];
    if (target_bytes == 8)
        for (int64_t j = 0; j < count; j++) {
            int64_t label = ((const int64_t *)target)[first + j];
            labels[j] = (uint64_t)label < (uint64_t)classes ? (int32_t)label : -1;
        }
    else if (target_bytes == 4)
        for (int64_t j = 0; j < count; j++) labels[j] = ((const int32_t *)target)[first + j];
    else
        for (int64_t j = 0; j < count; j++) labels[j] = ((const uint8_t *)target)[first + j];
}

/* counts: of each class TP, then of each the sum of its probabilities, then of each its reference pixels. A label that
   no class has is counted by none. `scratch` holds classes * BLOCK floats. */
void soft_counts(const float *restrict logits, const void *restrict target, int64_t target_bytes, int64_t classes,
                 int64_t class_step, int64_t pixel_step, int64_t start, int64_t stop, float *restrict scratch,
                 double *restrict counts) {
    float r[BLOCK];
    int32_t labels[BLOCK];
    for (int64_t c = 0; c < 3 * classes; c++) counts[c] = 0.0;
    for (int64_t first = start; first < stop; first += BLOCK) {
        int64_t count = stop - first < BLOCK ? stop - first : BLOCK;
        exponentials(logits, target, target_bytes, classes, class_step, pixel_step, first, count, scratch, r, labels);
        for (int64_t c = 0; c < classes; c++) {
            const float *restrict ec = scratch + c * BLOCK;
            float all = 0.0f, inside = 0.0f;
            int32_t pixels = 0;
            for (int64_t j = 0; j < count; j++) {
                float p = ec[j] * r[j];
                all += p;
                inside += labels[j] == (int32_t)c ? p : 0.0f;
                pixels += labels[j] == (int32_t)c;
            }
            counts[c] += inside;
            counts[classes + c] += all;
            counts[2 * classes + c] += pixels;
        }
    }
}

/* gradient = p_c (v_c - sum_k v_k p_k), where v_c = by_sum[c], and by_tp[c] more inside the class. */
void soft_counts_gradient(const float *restrict logits, const void *restrict target, int64_t target_bytes,
                          int64_t classes, int64_t class_step, int64_t pixel_step, int64_t start, int64_t stop,
                          float *restrict scratch, const float *restrict by_tp, const float *restrict by_sum,
                          float *restrict gradient) {
    float r[BLOCK], mean[BLOCK];
    int32_t labels[BLOCK];
    for (int64_t first = start; first < stop; first += BLOCK) {
        int64_t count = stop - first < BLOCK ? stop - first : BLOCK;
        exponentials(logits, target, target_bytes, classes, class_step, pixel_step, first, count, scratch, r, labels);
        for (int64_t j = 0; j < count; j++) mean[j] = 0.0f;
        for (int64_t c = 0; c < classes; c++) {
            const float *restrict ec = scratch + c * BLOCK;
            float outside = by_sum[c], inside = by_sum[c] + by_tp[c];
            for (int64_t j = 0; j < count; j++) mean[j] += ec[j] * (labels[j] == (int32_t)c ? inside : outside);
        }
        for (int64_t j = 0; j < count; j++) mean[j] *= r[j];
        for (int64_t c = 0; c < classes; c++) {
            const float *restrict ec = scratch + c * BLOCK;
            float *restrict g = gradient + c * class_step + first * pixel_step;
            float outside = by_sum[c], inside = by_sum[c] + by_tp[c];
            if (pixel_step == 1)
                for (int64_t j = 0; j < count; j++)
                    g[j] = ec[j] * r[j] * ((labels[j] == (int32_t)c ? inside : outside) - mean[j]);
            else
                for (int64_t j = 0; j < count; j++)
                    g[j * pixel_step] = ec[j] * r[j] * ((labels[j] == (int32_t)c ? inside : outside) - mean[j]);
        }
    }
}
