// SPDX-License-Identifier: Apache-2.0
// Measuring over tensors: sums of (reference, mode) pairs and of predictions, at the speed of the machine's
// instruction set and with bits that do not depend on it.  What the sums mean, and how those of samples are
// merged, is measure/.  These are the processor's; a sweep asks its backend (backend.h).
#ifndef SSMSWEEP_COMPUTE_MEASURE_H
#define SSMSWEEP_COMPUTE_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/compute/pair_block.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/percentile.h"
#include "ssmsweep/measure/profile.h"

// Local.  Adds one sample, ref and mode [length][width] (may be the same array), to both in one sweep over
// memory; either may be NULL.  NaN and Inf are counted and spoil only the metrics of their side.  The moments
// do not depend on how the sample is divided into length and width.
void pairs_add_sample(struct accumulator *moments, struct profile *profile, const float *ref,
                      const float *mode, size_t length, int width);
// The same where the mode's rows are made as they are needed: [row0, row1), width wide, at `to`.
struct pair_rows {
    void (*make)(void *context, int row0, int row1, float *to);
    void *context;
    float *room; // [length][width], of which little is used
};
// One sample in either way.
struct pair_sample {
    const float *ref, *mode;      // [length][width]
    const struct pair_rows *rows; // where mode is NULL
    const struct pair_known
        *known;              // [blocks of PAIR_BLOCK elements] of ref, as `keep` of another mode gave them
    struct pair_known *keep; // either may be NULL
};
void pairs_add(struct accumulator *moments, struct profile *profile, const struct pair_sample *sample,
               size_t length, int width);

// The same for several threads: each finds parts of the sample, one for each block, and they are taken in
// the order of the blocks.
struct pair_part {
    struct accumulator moments;
    int pieces; // of the block: one for each bucket of positions
    int buckets[PROFILE_POSITIONS];
    uint32_t counts[PROFILE_POSITIONS];
    struct pair_piece sums[PROFILE_POSITIONS];
};
size_t pairs_blocks(size_t length, int width); // of PAIR_BLOCK elements
// Local.  Fills parts and bins of blocks [block0, block1); rows are made from the block in front of them on.
void pairs_find(const struct pair_sample *sample, bool profiled, size_t length, int width, size_t block0,
                size_t block1, struct pair_part *parts, uint64_t bins[PROFILE_BINS]);
// Local.  Parts behind those that were taken; bins are to be added.
void pairs_take(struct accumulator *moments, struct profile *profile, const struct pair_part *parts,
                size_t count);
// One of the two alone.
void accumulator_add_sample(struct accumulator *total, const float *ref, const float *mode, size_t count);
void profile_add_sample(struct profile *total, const float *ref, const float *mode, int length, int width);

// A piece of the reference's logits as all modes are compared with it.
struct expected {
    const float *logits;      // [rows][stride], at most PREDICTION_PIECE of a row count
    struct logit_side *sides; // [rows]
    double *exps;             // [rows][PREDICTION_PIECE]
};
// Local.  Fills sides and exps of rows [row0, row1).
void predictions_expect(const struct expected *expected, int row0, int row1, int ids, int stride);

// Local.  The next piece of `count` predictions: logits[count][stride] of ids [first_id, first_id + ids), of
// the reference and of the mode (may be the same array), and next[count], each in the vocabulary.  first_id
// is 0 at first, then grows by PREDICTION_PIECE; only the last piece may have fewer ids.
void predictions_add(struct prediction *predictions, const float *reference_logits, const float *mode_logits,
                     const int32_t *next, int count, int first_id, int ids, int stride);
// Local.  The same, `expected` from the row of the first prediction on.
void predictions_add_expected(struct prediction *predictions, const struct expected *expected,
                              const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                              int stride);
// Local.  All pieces at once, then end_of_model_take(): logits[count][stride], of which the first `vocab` of
// a row count.  In double throughout, within 1e-14 of the exact KL and log-likelihood of a prediction
// (relative to max(1, the largest term)); sums in a fixed order: the same bits everywhere, and in whatever
// pieces the predictions come.
void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride);

// ---- sums that a device made ----

// What pairs_lay_out() calls for a sample that lies at `at` of a tensor: for each block, and for each piece
// of a block with several buckets, in the order in which pairs_add_blocks() takes them.
struct pair_layout {
    void (*block)(void *context, long first, int count);
    void (*piece)(void *context, long first, int count);
    void *context;
};
void pairs_lay_out(const struct pair_layout *layout, long at, int length, int width);

// Local.  As pairs_add_sample(), of blocks[], histogram[PROFILE_BINS] and pieces[] of the sample; profile
// NULL: the last two are not looked at.
void pairs_add_blocks(struct accumulator *moments, struct profile *profile, const struct pair_block *blocks,
                      const uint32_t *histogram, const struct pair_piece *pieces, int length, int width);

// ---- what is measured of a source of samples, wherever they come from ----

// The outputs of one sample; valid until the next is asked for.
struct output_pair {
    const float *ref, *mode; // [count]; may be the same array
    size_t count;
};

// Every sample is asked for once per pass, in order, for as many passes as the percentiles take.
struct pair_source {
    int samples;
    enum status (*sample)(void *context, int index, struct output_pair *pair, struct error *err);
    void *context;
};

// Local.  `percentile` is scratch, used again from one call to the next.  STATUS_INPUT if the passes see
// different values.
enum status measure_pairs(struct measurement *measurement, const struct pair_source *source,
                          struct percentile *percentile, struct error *err);

#endif
