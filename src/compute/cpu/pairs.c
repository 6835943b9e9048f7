// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/accumulate.h"

// A histogram gets one pair of a step at most.
enum { BLOCKS_PER_FOLD = UINT16_MAX / (PAIR_BLOCK / PAIR_STEP), SOME_BLOCKS = 128 };

// One sample: blocks of PAIR_BLOCK pairs, whatever its width.
struct pass {
    const struct kernels *kernels;
    struct profile profile;    // its bins
    struct pair_centre centre; // the means of the block before
    uint16_t histograms[PAIR_STEP][PAIR_BINS], ignored[PAIR_STEP][PAIR_BINS];
    size_t width;
};

struct block {
    struct pair_part *found;
    const float *ref, *mode; // [part.count]
    size_t at;               // in the sample
    const struct pair_known *known;
    struct accumulator part;
    struct pair_lanes lanes;
    struct pair_block sums;
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

static void take_sums(struct accumulator *part, const struct pair_block *s, const struct pair_centre *c)
{
    const double n = (double)part->count;
    part->ref.sum = two_sum(s->exact[0], s->low[0]);
    part->mode.sum = two_sum(s->exact[1], s->low[1]);
    part->ref.abs_sum.hi = s->abs[0];
    part->mode.abs_sum.hi = s->abs[1];
    part->abs_diff.hi = s->abs_diff;
    part->diff_min = s->diff_min, part->diff_max = s->diff_max;
    const double a = distance(part->ref.sum, n, c->ref), b = distance(part->mode.sum, n, c->mode);
    const double d = distance(wide_subtract(part->mode.sum, part->ref.sum), n, c->diff);
    const bool constant[] = {part->ref.min == part->ref.max, part->mode.min == part->mode.max};
    if (!constant[0]) part->ref.squares = centred(s->squares[0], a, n);
    if (!constant[1]) part->mode.squares = centred(s->squares[1], b, n);
    if (!constant[0] && !constant[1]) part->products.hi = s->products - a * b / n;
    if (part->diff_min != part->diff_max) part->diff_squares = centred(s->diff_squares, d, n);
}

// The differences to the anchor and their sum are multiples of its last place below 2^53 of them: exact.
static double above(double anchor, const double high[SUM_LANES])
{
    double sum = 0;
    for (int j = 0; j < SUM_LANES; j++)
        sum += high[j] - anchor;
    return sum;
}

static struct pair_block fold_lanes(const struct pair_lanes *l, const struct pair_centre *c)
{
    struct pair_block s = {.diff_min = INFINITY, .diff_max = -INFINITY};
    for (int k = 0; k < 2; k++) {
        s.exact[k] = above(c->anchor[k], l->high[k]);
        s.low[k] = fold(l->low[k]);
        s.abs[k] = fold(l->abs[k]);
        s.squares[k] = fold(l->squares[k]);
    }
    s.products = fold(l->products);
    s.diff_squares = fold(l->diff_squares);
    s.abs_diff = fold(l->abs_diff);
    s.raw_squares = fold(l->raw_squares);
    s.raw_abs = s.abs_diff;
    for (int j = 0; j < SUM_LANES; j++) {
        s.diff_min = l->diff_min[j] < s.diff_min ? l->diff_min[j] : s.diff_min;
        s.diff_max = l->diff_max[j] > s.diff_max ? l->diff_max[j] : s.diff_max;
    }
    return s;
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

// The same lanes as pair_sums(), but without NaN.
static struct pair_piece sum_spoiled_piece(const float *ref, const float *mode, size_t n)
{
    double squares[SUM_LANES] = {0}, abs[SUM_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)mode[i] - (double)ref[i]);
        if (isnan(d)) continue;
        squares[i % SUM_LANES] += d * d;
        abs[i % SUM_LANES] += d;
    }
    return (struct pair_piece){fold(squares), fold(abs)};
}

static struct pair_piece sum_piece(struct pass *p, const float *ref, const float *mode, size_t n)
{
    struct pair_lanes lanes;
    p->kernels->pair_sums(ref, mode, (int)n, &p->centre, &lanes, p->ignored);
    return (struct pair_piece){fold(lanes.raw_squares), fold(lanes.abs_diff)};
}

static void add_bucket(struct profile *profile, int bucket, size_t n, struct pair_piece sums)
{
    profile->position_count[bucket] += n;
    profile->position_squares[bucket] += sums.raw_squares;
    profile->position_abs[bucket] += sums.raw_abs;
}

static void find_bucket(struct pair_part *found, int bucket, size_t n, struct pair_piece sums)
{
    found->buckets[found->pieces] = bucket;
    found->counts[found->pieces] = (uint32_t)n;
    found->sums[found->pieces++] = sums;
}

// A block with more than one bucket: cut where the next one begins.
static void find_pieces(struct pass *p, const struct block *b, bool finite)
{
    for (size_t i = 0; i < b->part.count;) {
        const int bucket = profile_position((int)((b->at + i) / p->width));
        int first, last;
        profile_tokens(bucket, &first, &last);
        const size_t next = ((size_t)last + 1) * p->width - b->at;
        const size_t end = next < b->part.count ? next : b->part.count;
        find_bucket(b->found, bucket, end - i,
                    finite ? sum_piece(p, b->ref + i, b->mode + i, end - i)
                           : sum_spoiled_piece(b->ref + i, b->mode + i, end - i));
        i = end;
    }
}

static void find_positions(struct pass *p, const struct block *b, bool finite)
{
    const int bucket = profile_position((int)(b->at / p->width));
    const int last = profile_position((int)((b->at + b->part.count - 1) / p->width));
    if (finite && bucket == last)
        find_bucket(b->found, bucket, b->part.count,
                    (struct pair_piece){b->sums.raw_squares, b->sums.raw_abs});
    else
        find_pieces(p, b, finite);
}

// ---- the sample ----

static void fold_histograms(struct pass *p)
{
    for (int j = 0; j < PAIR_STEP; j++)
        for (int i = 0; i < PROFILE_BINS; i++)
            p->profile.bins[i] += p->histograms[j][i];
    memset(p->histograms, 0, sizeof p->histograms);
}

static void put_known(struct block *b)
{
    const struct pair_known *known = b->known;
    b->part.ref.min = known->min, b->part.ref.max = known->max;
    b->sums.exact[0] = known->exact, b->sums.low[0] = known->low;
    b->sums.abs[0] = known->abs, b->sums.squares[0] = known->squares;
}

static void keep_known(const struct block *b, struct pair_known *known)
{
    *known = (struct pair_known){b->part.ref.min,
                                 b->part.ref.max,
                                 b->sums.exact[0],
                                 b->sums.low[0],
                                 b->sums.abs[0],
                                 b->sums.squares[0],
                                 (double)b->part.ref.nonfinite};
}

static void sum_block(const struct kernels *kernels, struct pair_centre *centre, struct block *b,
                      uint16_t (*histograms)[PAIR_BINS])
{
    const int n = (int)b->part.count;
    struct pair_ranges ref, mode;
    kernels->pair_ranges(b->mode, n, &mode);
    centre->anchor[1] = take_ranges(&b->part.mode, &mode);
    if (b->known) {
        kernels->pair_sums_known(b->ref, b->mode, n, centre, &b->lanes, histograms);
        b->sums = fold_lanes(&b->lanes, centre);
        put_known(b);
        return;
    }
    kernels->pair_ranges(b->ref, n, &ref);
    centre->anchor[0] = take_ranges(&b->part.ref, &ref);
    kernels->pair_sums(b->ref, b->mode, n, centre, &b->lanes, histograms);
    b->sums = fold_lanes(&b->lanes, centre);
}

static bool is_finite(const struct block *b)
{
    return isfinite(b->sums.abs[0]) && isfinite(b->sums.abs[1]);
}

// Once more with zeros for NaN and Inf; the bins have been counted already.
static void sum_spoiled_block(struct pass *p, struct block *b)
{
    float ref[PAIR_BLOCK], mode[PAIR_BLOCK];
    const struct block given = *b;
    b->known = NULL;
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
    take_sums(&b->part, &b->sums, &p->centre);
    return finite;
}

// For its means alone, which do not depend on the centre.
static void draft_block(struct pass *p, const struct block *b)
{
    struct block draft = *b;
    measure_block(p, &draft, p->ignored);
    next_centre(&p->centre, &draft.part);
}

static void find_block(struct pass *p, struct block *b)
{
    const bool finite = measure_block(p, b, p->histograms);
    if (!finite) mend(p, b);
    next_centre(&p->centre, &b->part);
    b->found->moments = b->part;
    b->found->pieces = 0;
    if (p->width) find_positions(p, b, finite);
}

size_t pairs_blocks(size_t length, int width)
{
    return (length * (size_t)width + PAIR_BLOCK - 1) / PAIR_BLOCK;
}

static size_t block_count(size_t count, size_t at)
{
    return count - at < PAIR_BLOCK ? count - at : PAIR_BLOCK;
}

// The mode's values: all of them, or those of the rows at hand.
struct mode_values {
    const float *all; // NULL: made
    const struct pair_rows *rows;
    size_t width, first, end; // [first, end) are in rows->room
};

// `count` from `at` on, which grows.  What is left of a row is kept.
static const float *values_at(struct mode_values *v, size_t at, size_t count)
{
    if (v->all) return v->all + at;
    float *room = v->rows->room;
    const size_t kept = v->end > at ? v->end - at : 0;
    const size_t row0 = (at + kept) / v->width, row1 = (at + count + v->width - 1) / v->width;
    if (kept) memmove(room, room + (at - v->first), kept * sizeof *room);
    v->first = kept ? at : row0 * v->width;
    if (row1 > row0) v->rows->make(v->rows->context, (int)row0, (int)row1, room + kept);
    v->end = row1 > row0 ? row1 * v->width : v->end;
    return room + (at - v->first);
}

static struct block block_at(const struct pair_sample *sample, struct mode_values *mode, size_t count,
                             size_t index)
{
    const size_t at = index * PAIR_BLOCK, here = block_count(count, at);
    struct block b = {.ref = sample->ref + at, .mode = values_at(mode, at, here), .at = at};
    accumulator_clear(&b.part);
    b.part.count = here;
    if (sample->known && sample->known[index].nonfinite == 0) b.known = &sample->known[index];
    return b;
}

void pairs_find(const struct pair_sample *sample, bool profiled, size_t length, int width, size_t block0,
                size_t block1, struct pair_part *parts, uint64_t bins[PROFILE_BINS])
{
    const size_t count = length * (size_t)width;
    struct pass p = {.kernels = kernels_default(), .width = profiled ? (size_t)width : 0};
    struct mode_values mode = {.all = sample->mode, .rows = sample->rows, .width = (size_t)width};
    for (size_t i = block0; i < block1; i++) {
        if (i == block0) { // the first of a sample has none in front of it: its own means
            const struct block before = block_at(sample, &mode, count, i > 0 ? i - 1 : 0);
            draft_block(&p, &before);
        }
        struct block b = block_at(sample, &mode, count, i);
        b.found = &parts[i - block0];
        find_block(&p, &b);
        if (sample->keep) keep_known(&b, &sample->keep[i]);
        if ((i - block0 + 1) % BLOCKS_PER_FOLD == 0) fold_histograms(&p);
    }
    fold_histograms(&p);
    memcpy(bins, p.profile.bins, sizeof p.profile.bins);
}

void pairs_take(struct accumulator *moments, struct profile *profile, const struct pair_part *parts,
                size_t count)
{
    for (size_t i = 0; i < count; i++) {
        accumulator_merge(moments, &parts[i].moments);
        for (int piece = 0; piece < parts[i].pieces; piece++)
            add_bucket(profile, parts[i].buckets[piece], parts[i].counts[piece], parts[i].sums[piece]);
    }
}

void pairs_add(struct accumulator *moments, struct profile *profile, const struct pair_sample *sample,
               size_t length, int width)
{
    const size_t blocks = pairs_blocks(length, width);
    struct accumulator total;
    struct profile places;
    struct pair_part parts[SOME_BLOCKS];
    accumulator_clear(&total);
    profile_clear(&places);
    for (size_t first = 0; first < blocks; first += SOME_BLOCKS) {
        const size_t end = blocks - first < SOME_BLOCKS ? blocks : first + SOME_BLOCKS;
        uint64_t bins[PROFILE_BINS];
        pairs_find(sample, profile != NULL, length, width, first, end, parts, bins);
        pairs_take(&total, &places, parts, end - first);
        for (int i = 0; i < PROFILE_BINS; i++)
            places.bins[i] += bins[i];
    }
    // By way of a sample of its own, so that merging samples gives the bits of adding them.
    if (moments) accumulator_merge(moments, &total);
    if (profile) profile_merge(profile, &places);
}

void pairs_add_sample(struct accumulator *moments, struct profile *profile, const float *ref,
                      const float *mode, size_t length, int width)
{
    const struct pair_sample sample = {.ref = ref, .mode = mode};
    pairs_add(moments, profile, &sample, length, width);
}

// ---- the sample, of sums that a device made ----

static int bucket_of(size_t at, int width)
{
    return profile_position((int)(at / (size_t)width));
}

// Pieces as add_pieces() has them.
static void lay_out_pieces(const struct pair_layout *layout, long at, size_t first, size_t count, int width)
{
    for (size_t i = 0; i < count;) {
        int token, last;
        profile_tokens(bucket_of(first + i, width), &token, &last);
        const size_t next = ((size_t)last + 1) * (size_t)width - first, end = next < count ? next : count;
        layout->piece(layout->context, at + (long)(first + i), (int)(end - i));
        i = end;
    }
}

static bool has_pieces(size_t at, size_t count, int width)
{
    return bucket_of(at, width) != bucket_of(at + count - 1, width);
}

void pairs_lay_out(const struct pair_layout *layout, long at, int length, int width)
{
    const size_t count = (size_t)length * (size_t)width;
    for (size_t first = 0; first < count; first += PAIR_BLOCK) {
        const size_t here = block_count(count, first);
        layout->block(layout->context, at + (long)first, (int)here);
        if (has_pieces(first, here, width)) lay_out_pieces(layout, at, first, here, width);
    }
}

// Consumes the pieces of the block; gives those that are left.
static const struct pair_piece *place_block(struct profile *profile, const struct pair_block *block,
                                            size_t at, size_t count, int width,
                                            const struct pair_piece *pieces)
{
    if (!has_pieces(at, count, width)) {
        add_bucket(profile, bucket_of(at, width), count,
                   (struct pair_piece){block->raw_squares, block->raw_abs});
        return pieces;
    }
    for (size_t i = 0; i < count; pieces++) {
        int token, last;
        const int bucket = bucket_of(at + i, width);
        profile_tokens(bucket, &token, &last);
        const size_t next = ((size_t)last + 1) * (size_t)width - at, end = next < count ? next : count;
        add_bucket(profile, bucket, end - i, *pieces);
        i = end;
    }
    return pieces;
}

void pairs_add_blocks(struct accumulator *moments, struct profile *profile, const struct pair_block *blocks,
                      const uint32_t *histogram, const struct pair_piece *pieces, int length, int width)
{
    const size_t count = (size_t)length * (size_t)width;
    struct accumulator total;
    struct profile places;
    struct pair_centre centre = {{0}, 0, 0, 0};
    accumulator_clear(&total);
    profile_clear(&places);
    for (size_t at = 0; at < count; at += PAIR_BLOCK, blocks++) {
        struct accumulator part;
        accumulator_clear(&part);
        part.count = block_count(count, at);
        part.ref.min = blocks->min[0], part.ref.max = blocks->max[0];
        part.mode.min = blocks->min[1], part.mode.max = blocks->max[1];
        part.ref.nonfinite = blocks->nonfinite[0], part.mode.nonfinite = blocks->nonfinite[1];
        if (at == 0) { // its own means
            part.ref.sum = two_sum(blocks->exact[0], blocks->low[0]);
            part.mode.sum = two_sum(blocks->exact[1], blocks->low[1]);
            next_centre(&centre, &part);
        }
        take_sums(&part, blocks, &centre);
        if (blocks->nonfinite[0] || blocks->nonfinite[1])
            part.diff_min = blocks->finite_min, part.diff_max = blocks->finite_max;
        next_centre(&centre, &part);
        accumulator_merge(&total, &part);
        if (profile) pieces = place_block(&places, blocks, at, part.count, width, pieces);
    }
    for (int i = 0; profile && i < PROFILE_BINS; i++)
        places.bins[i] = histogram[i];
    accumulator_merge(moments, &total);
    if (profile) profile_merge(profile, &places);
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

void predictions_expect(const struct expected *expected, int row0, int row1, int ids, int stride)
{
    const struct kernels *kernels = kernels_default();
    for (int row = row0; row < row1; row++)
        kernels->logit_side(expected->logits + (ptrdiff_t)row * stride, ids, &expected->sides[row],
                            expected->exps + (ptrdiff_t)row * PREDICTION_PIECE);
}

// Up to so many at once.
enum { PREDICTIONS = 8 };
static void add_predictions(struct prediction *predictions, const struct expected *expected,
                            const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                            int stride)
{
    const struct kernels *kernels = kernels_default();
    struct logit_sums sums[PREDICTIONS];
    for (int t = 0; t < count; t++) {
        const ptrdiff_t at = (ptrdiff_t)t * stride;
        kernels->logit_sums(expected->logits + at, &expected->sides[t], expected->exps + t * PREDICTION_PIECE,
                            mode_logits + at, ids, &sums[t]);
        if (first_id == 0) predictions[t].sums = sums[t];
        if (next[t] >= first_id && next[t] < first_id + ids)
            predictions[t].next_logit = mode_logits[at + next[t] - first_id];
    }
    if (first_id > 0) predictions_merge(predictions, sums, count, first_id);
}

void predictions_add_expected(struct prediction *predictions, const struct expected *expected,
                              const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                              int stride)
{
    for (int t = 0; t < count; t += PREDICTIONS) {
        const ptrdiff_t at = (ptrdiff_t)t * stride;
        const struct expected here = {expected->logits + at, expected->sides + t,
                                      expected->exps + (ptrdiff_t)t * PREDICTION_PIECE};
        add_predictions(predictions + t, &here, mode_logits + at, next + t,
                        count - t < PREDICTIONS ? count - t : PREDICTIONS, first_id, ids, stride);
    }
}

void predictions_add(struct prediction *predictions, const float *reference_logits, const float *mode_logits,
                     const int32_t *next, int count, int first_id, int ids, int stride)
{
    struct logit_side sides[PREDICTIONS];
    double exps[PREDICTIONS * PREDICTION_PIECE];
    for (int t = 0; t < count; t += PREDICTIONS) {
        const int some = count - t < PREDICTIONS ? count - t : PREDICTIONS;
        const ptrdiff_t at = (ptrdiff_t)t * stride;
        const struct expected here = {reference_logits + at, sides, exps};
        predictions_expect(&here, 0, some, ids, stride);
        add_predictions(predictions + t, &here, mode_logits + at, next + t, some, first_id, ids, stride);
    }
}

void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride)
{
    for (int t = 0; t < count; t += PREDICTIONS) {
        struct prediction predictions[PREDICTIONS];
        const int some = count - t < PREDICTIONS ? count - t : PREDICTIONS;
        for (int first = 0; first < vocab; first += PREDICTION_PIECE) {
            const ptrdiff_t at = (ptrdiff_t)t * stride + first;
            predictions_add(predictions, reference_logits + at, mode_logits + at, next + t, some, first,
                            vocab - first < PREDICTION_PIECE ? vocab - first : PREDICTION_PIECE, stride);
        }
        end_of_model_take(total, predictions, next + t, some);
    }
}
