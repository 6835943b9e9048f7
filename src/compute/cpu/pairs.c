// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/accumulate.h"

// A histogram gets one pair of a step at most.
enum { BLOCKS_PER_FOLD = UINT16_MAX / (PAIR_BLOCK / PAIR_STEP) };

// One sample: blocks of PAIR_BLOCK pairs, whatever its width.
struct pass {
    const struct kernels *kernels;
    struct accumulator moments;
    struct profile profile;
    struct pair_centre centre; // the means of the block before
    uint16_t histograms[PAIR_STEP][PAIR_BINS], ignored[PAIR_STEP][PAIR_BINS];
    size_t width;
};

struct block {
    const float *ref, *mode; // [part.count]
    size_t at;               // in the sample
    struct accumulator part;
    struct pair_lanes lanes;
};

// ---- moments ----

// Extremes, and the anchor: no value of a block reaches 2^e, no lane adds more than 2^10 of them.
static double take_ranges(struct side *side, const struct pair_ranges *ranges)
{
    side->min = INFINITY, side->max = -INFINITY;
    for (int j = 0; j < KERNEL_LANES; j++) {
        side->min = ranges->min[j] < side->min ? ranges->min[j] : side->min;
        side->max = ranges->max[j] > side->max ? ranges->max[j] : side->max;
    }
    const float most = fmaxf(fabsf(side->min), fabsf(side->max));
    int e = 0;
    if (isfinite(most)) (void)frexpf(most, &e);
    return ldexp(1.5, e + 12);
}

// The differences to the anchor and their sum are multiples of its last place below 2^53 of them: exact.
static struct wide anchored_sum(double anchor, const double high[SUM_LANES], const double low[SUM_LANES])
{
    double sum = 0;
    for (int j = 0; j < SUM_LANES; j++)
        sum += high[j] - anchor;
    return two_sum(sum, fold(low));
}

// Sum of v - centre.
static double distance(struct wide sum, double n, double centre)
{
    return wide_subtract(sum, wide_multiply((struct wide){centre, 0}, n)).hi;
}

// Squares around the centre become squares around the mean.
static struct wide centred(double squares, double distance, double n)
{
    const double rest = squares - distance * distance / n;
    return (struct wide){rest > 0 ? rest : 0, 0};
}

static void take_sums(struct accumulator *part, const struct pair_lanes *l, const struct pair_centre *c)
{
    const double n = (double)part->count;
    part->ref.sum = anchored_sum(c->anchor[0], l->high[0], l->low[0]);
    part->mode.sum = anchored_sum(c->anchor[1], l->high[1], l->low[1]);
    part->ref.abs_sum.hi = fold(l->abs[0]);
    part->mode.abs_sum.hi = fold(l->abs[1]);
    part->abs_diff.hi = fold(l->abs_diff);
    for (int j = 0; j < SUM_LANES; j++) {
        part->diff_min = l->diff_min[j] < part->diff_min ? l->diff_min[j] : part->diff_min;
        part->diff_max = l->diff_max[j] > part->diff_max ? l->diff_max[j] : part->diff_max;
    }
    const double a = distance(part->ref.sum, n, c->ref), b = distance(part->mode.sum, n, c->mode);
    const double d = distance(wide_subtract(part->mode.sum, part->ref.sum), n, c->diff);
    const bool constant[] = {part->ref.min == part->ref.max, part->mode.min == part->mode.max};
    if (!constant[0]) part->ref.squares = centred(fold(l->squares[0]), a, n);
    if (!constant[1]) part->mode.squares = centred(fold(l->squares[1]), b, n);
    if (!constant[0] && !constant[1]) part->products.hi = fold(l->products) - a * b / n;
    if (part->diff_min != part->diff_max) part->diff_squares = centred(fold(l->diff_squares), d, n);
}

static void next_centre(struct pair_centre *centre, const struct accumulator *part)
{
    const double n = (double)part->count;
    centre->ref = part->ref.sum.hi / n;
    centre->mode = part->mode.sum.hi / n;
    centre->diff = wide_subtract(part->mode.sum, part->ref.sum).hi / n;
}

// ---- blocks with NaN or Inf ----

static uint64_t copy_clean(float *to, const float *from, int n)
{
    uint64_t bad = 0;
    for (int i = 0; i < n; i++) {
        to[i] = isfinite(from[i]) ? from[i] : 0.0f;
        bad += isfinite(from[i]) ? 0 : 1;
    }
    return bad;
}

// NaN has no bin, and the extremes are those of whole pairs.
static void mend(struct pass *p, struct block *b)
{
    struct accumulator *part = &b->part;
    part->diff_min = INFINITY, part->diff_max = -INFINITY;
    for (size_t i = 0; i < part->count; i++) {
        const double d = (double)b->mode[i] - (double)b->ref[i];
        if (isnan(d)) p->profile.bins[PROFILE_ABOVE]--; // which it will be counted in
        if (!isfinite(d)) continue;
        part->diff_min = d < part->diff_min ? d : part->diff_min;
        part->diff_max = d > part->diff_max ? d : part->diff_max;
    }
}

// ---- positions ----

struct position_sums {
    double squares, abs;
};

// The same lanes as pair_sums(), but without NaN.
static struct position_sums sum_spoiled_piece(const float *ref, const float *mode, size_t n)
{
    double squares[SUM_LANES] = {0}, abs[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)mode[i] - (double)ref[i]);
        if (isnan(d)) continue;
        squares[i % SUM_LANES] += d * d;
        abs[i % SUM_LANES] += d;
    }
    return (struct position_sums){fold(squares), fold(abs)};
}

static struct position_sums sum_piece(struct pass *p, const float *ref, const float *mode, size_t n)
{
    struct pair_lanes lanes;
    p->kernels->pair_sums(ref, mode, (int)n, &p->centre, &lanes, p->ignored);
    return (struct position_sums){fold(lanes.raw_squares), fold(lanes.abs_diff)};
}

static void add_bucket(struct profile *profile, int bucket, size_t n, struct position_sums sums)
{
    profile->position_count[bucket] += n;
    profile->position_squares[bucket] += sums.squares;
    profile->position_abs[bucket] += sums.abs;
}

// A block with more than one bucket: cut where the next one begins.
static void add_pieces(struct pass *p, const struct block *b, bool finite)
{
    for (size_t i = 0; i < b->part.count;) {
        const int bucket = profile_position((int)((b->at + i) / p->width));
        int first, last;
        profile_tokens(bucket, &first, &last);
        const size_t next = ((size_t)last + 1) * p->width - b->at;
        const size_t end = next < b->part.count ? next : b->part.count;
        add_bucket(&p->profile, bucket, end - i,
                   finite ? sum_piece(p, b->ref + i, b->mode + i, end - i)
                          : sum_spoiled_piece(b->ref + i, b->mode + i, end - i));
        i = end;
    }
}

static void add_positions(struct pass *p, const struct block *b, bool finite)
{
    const int bucket = profile_position((int)(b->at / p->width));
    const int last = profile_position((int)((b->at + b->part.count - 1) / p->width));
    if (finite && bucket == last)
        add_bucket(&p->profile, bucket, b->part.count,
                   (struct position_sums){fold(b->lanes.raw_squares), fold(b->lanes.abs_diff)});
    else
        add_pieces(p, b, finite);
}

// ---- the sample ----

static void fold_histograms(struct pass *p)
{
    for (int j = 0; j < PAIR_STEP; j++)
        for (int i = 0; i < PROFILE_BINS; i++)
            p->profile.bins[i] += p->histograms[j][i];
    memset(p->histograms, 0, sizeof p->histograms);
}

static void sum_block(const struct kernels *kernels, struct pair_centre *centre, struct block *b,
                      uint16_t (*histograms)[PAIR_BINS])
{
    const int n = (int)b->part.count;
    struct pair_ranges ref, mode;
    kernels->pair_ranges(b->ref, n, &ref);
    kernels->pair_ranges(b->mode, n, &mode);
    centre->anchor[0] = take_ranges(&b->part.ref, &ref);
    centre->anchor[1] = take_ranges(&b->part.mode, &mode);
    kernels->pair_sums(b->ref, b->mode, n, centre, &b->lanes, histograms);
}

static bool is_finite(const struct block *b)
{
    return isfinite(fold(b->lanes.abs[0])) && isfinite(fold(b->lanes.abs[1]));
}

// Once more with zeros for NaN and Inf; the bins have been counted already.
static void sum_spoiled_block(struct pass *p, struct block *b)
{
    float ref[PAIR_BLOCK], mode[PAIR_BLOCK];
    const struct block given = *b;
    b->part.ref.nonfinite = copy_clean(ref, given.ref, (int)b->part.count);
    b->part.mode.nonfinite = copy_clean(mode, given.mode, (int)b->part.count);
    b->ref = ref, b->mode = mode;
    sum_block(p->kernels, &p->centre, b, p->ignored);
    b->ref = given.ref, b->mode = given.mode;
}

// Whether all of it was finite.
static bool measure_block(struct pass *p, struct block *b, uint16_t (*histograms)[PAIR_BINS])
{
    sum_block(p->kernels, &p->centre, b, histograms);
    const bool finite = is_finite(b);
    if (!finite) sum_spoiled_block(p, b);
    take_sums(&b->part, &b->lanes, &p->centre);
    return finite;
}

static void add_block(struct pass *p, struct block *b)
{
    if (b->at == 0) { // has none in front of it: its own means, which do not depend on the centre
        struct block draft = *b;
        measure_block(p, &draft, p->ignored);
        next_centre(&p->centre, &draft.part);
    }
    const bool finite = measure_block(p, b, p->histograms);
    if (!finite) mend(p, b);
    next_centre(&p->centre, &b->part);
    accumulator_merge(&p->moments, &b->part);
    if (p->width) add_positions(p, b, finite);
}

void pairs_add_sample(struct accumulator *moments, struct profile *profile, const float *ref,
                      const float *mode, size_t length, int width)
{
    const size_t count = length * (size_t)width;
    struct pass p = {.kernels = kernels_default(), .width = profile ? (size_t)width : 0};
    accumulator_clear(&p.moments);
    for (size_t at = 0, blocks = 1; at < count; at += PAIR_BLOCK, blocks++) {
        struct block b = {.ref = ref + at, .mode = mode + at, .at = at};
        accumulator_clear(&b.part);
        b.part.count = count - at < PAIR_BLOCK ? count - at : PAIR_BLOCK;
        add_block(&p, &b);
        if (blocks % BLOCKS_PER_FOLD == 0) fold_histograms(&p);
    }
    fold_histograms(&p);
    // By way of a sample of its own, so that merging samples gives the bits of adding them.
    if (moments) accumulator_merge(moments, &p.moments);
    if (profile) profile_merge(profile, &p.profile);
}

void accumulator_add_sample(struct accumulator *total, const float *ref, const float *mode, size_t count)
{
    pairs_add_sample(total, NULL, ref, mode, count, 1);
}

void profile_add_sample(struct profile *total, const float *ref, const float *mode, int length, int width)
{
    pairs_add_sample(NULL, total, ref, mode, (size_t)length, width);
}

// ---- predictions ----

void predictions_add(struct prediction *predictions, const float *reference_logits, const float *mode_logits,
                     const int32_t *next, int count, int first_id, int ids, int stride)
{
    const struct kernels *kernels = kernels_default();
    for (int t = 0; t < count; t++) {
        struct prediction *p = &predictions[t];
        const float *reference = reference_logits + (ptrdiff_t)t * stride;
        const float *mode = mode_logits + (ptrdiff_t)t * stride;
        struct logit_sums sums;
        kernels->logit_sums(reference, mode, ids, &sums);
        if (first_id == 0)
            p->sums = sums;
        else
            logit_sums_merge(&p->sums, &sums, first_id);
        if (next[t] >= first_id && next[t] < first_id + ids) p->next_logit = mode[next[t] - first_id];
    }
}

void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride)
{
    for (int t = 0; t < count; t++) {
        struct prediction prediction;
        for (int first = 0; first < vocab; first += PREDICTION_PIECE) {
            const ptrdiff_t at = (ptrdiff_t)t * stride + first;
            predictions_add(&prediction, reference_logits + at, mode_logits + at, next + t, 1, first,
                            vocab - first < PREDICTION_PIECE ? vocab - first : PREDICTION_PIECE, stride);
        }
        end_of_model_take(total, &prediction, next + t, 1);
    }
}
