// SPDX-License-Identifier: Apache-2.0
// What steps leave, on a processor: captures of it, its sums against the reference, predictions.
#include <string.h>

#include "cpu_batch.h"

// ---- captures ----

// Where they stand, if nothing has to be done.
static const float *stands(const struct batch *batch, const struct seen *seen)
{
    const bool whole = seen->values && !seen->order && !seen->rotation && seen->ld == seen->width;
    return whole && batch->broken >= batch->tokens ? seen->values : NULL;
}

// Rows [row0, row1) in front of what is broken.
static void copy_seen(const struct seen *seen, int row0, int row1, float *to)
{
    const int width = seen->width;
    for (int t = row0; t < row1; t++) {
        float *row = to + (long)(t - row0) * width;
        if (seen->values && seen->order)
            for (int i = 0; i < width; i++)
                row[i] = seen->values[t * seen->ld + seen->order[i]];
        else if (seen->values)
            memcpy(row, seen->values + t * seen->ld, (size_t)width * sizeof *row);
        else
            for (int i = 0; i < width; i++)
                row[i] = (float)seen->codes[t * seen->ld + (seen->order ? seen->order[i] : i)] *
                         seen->scale[seen->by_row ? t : 0];
    }
}

// What a capture gets, some rows of it.
struct seeing {
    struct batch *batch;
    const struct seen *seen;
    float *to;
};

static void make_rows(void *context, int row0, int row1, float *to)
{
    const struct seeing *s = context;
    const int width = s->seen->width, rows = row1 - row0;
    copy_seen(s->seen, row0, row1, to);
    for (int t = 0; s->seen->rotation && t < rows; t++)
        cpu_of(s->batch)->kernels->hadamard(s->seen->rotation, to + (long)t * width);
    for (int t = 0; t < rows; t++)
        if (row0 + t >= s->batch->broken) cpu_break_row(to + (long)t * width, width);
}

static void keep_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct seeing *s = context;
    make_rows(context, begin, end, s->to + (long)begin * s->seen->width);
}

void cpu_keep(struct batch *batch, const struct seen *seen, float *to)
{
    cpu_divide(cpu_of(batch), batch->tokens, 1, keep_part, &(struct seeing){batch, seen, to});
}

const float *cpu_give(struct batch *batch, const struct seen *seen, float *room)
{
    if (stands(batch, seen)) return seen->values;
    cpu_keep(batch, seen, room);
    return room;
}

// ---- measuring: a pair for each thread, or blocks of one pair ----

struct measuring {
    struct batch *batch;
    const struct pair *pairs;
    struct measured *found;
};

static void measure_pair(void *context, int part)
{
    const struct measuring *m = context;
    const struct pair *pair = &m->pairs[part];
    struct measured *found = &m->found[part];
    accumulator_clear(&found->moments);
    if (pair->profiled) profile_clear(&found->profile);
    struct profile *profile = pair->profiled ? &found->profile : NULL;
    const size_t tokens = (size_t)m->batch->tokens;
    const float *mode = pair->mode ? pair->mode : stands(m->batch, pair->seen);
    struct seeing seeing = {.batch = m->batch, .seen = pair->seen};
    const struct pair_rows rows = {make_rows, &seeing, pair->room};
    const struct pair_sample sample = {pair->ref, mode, &rows, pair->known, pair->keep};
    pairs_add(&found->moments, profile, &sample, tokens, pair->width);
}

struct finding {
    struct cpu_batch *b;
    const struct pair *pair;
    struct pair_sample sample;
    size_t first; // block of this round
    long room;    // floats for each thread
};

static void find_part(void *context, int thread, int begin, int end)
{
    const struct finding *f = context;
    const struct pair *pair = f->pair;
    struct seeing seeing = {.batch = &f->b->batch, .seen = pair->seen};
    const struct pair_rows rows = {make_rows, &seeing, pair->room ? pair->room + thread * f->room : NULL};
    struct pair_sample sample = f->sample;
    sample.rows = &rows;
    pairs_find(&sample, pair->profiled, (size_t)f->b->batch.tokens, pair->width, f->first + (size_t)begin,
               f->first + (size_t)end, f->b->parts + begin, f->b->bins[thread]);
}

// Rows that are made take room, of which a small pair has little.
static int finders(const struct cpu_batch *b, const struct finding *f)
{
    const long most = (long)b->batch.tokens * f->pair->width / f->room;
    return f->sample.mode || most >= b->threads ? b->threads : (int)most;
}

static void measure_blocks(struct cpu_batch *b, const struct pair *pair, struct measured *found)
{
    struct finding f = {.b = b,
                        .pair = pair,
                        .sample = {.ref = pair->ref,
                                   .mode = pair->mode ? pair->mode : stands(&b->batch, pair->seen),
                                   .known = pair->known,
                                   .keep = pair->keep},
                        .room = PAIR_BLOCK + 2L * pair->width};
    const int threads = finders(b, &f);
    if (threads <= 1) {
        measure_pair(&(struct measuring){&b->batch, pair, found}, 0);
        return;
    }
    const size_t blocks = pairs_blocks((size_t)b->batch.tokens, pair->width),
                 most = (size_t)(threads * FOUND_BLOCKS);
    accumulator_clear(&found->moments);
    profile_clear(&found->profile);
    for (size_t some; f.first < blocks; f.first += some) {
        some = blocks - f.first < most ? blocks - f.first : most;
        memset(b->bins, 0, (size_t)threads * sizeof *b->bins);
        team_divide(b->team, threads, (int)some, 1, find_part, &f);
        pairs_take(&found->moments, &found->profile, b->parts, some);
        for (int i = 0; i < threads * PROFILE_BINS; i++)
            found->profile.bins[i % PROFILE_BINS] += b->bins[i / PROFILE_BINS][i % PROFILE_BINS];
    }
}

void cpu_measure(struct batch *batch, const struct pair *pairs, int count, struct measured *found)
{
    struct measuring measuring = {batch, pairs, found};
    if (count == 1 && cpu_of(batch)->threads > 1)
        measure_blocks(cpu_of(batch), pairs, found);
    else
        team_run(cpu_of(batch)->team, count, measure_pair, &measuring);
}

// ---- predictions: tokens of a piece of the vocabulary for each thread ----

struct predicting {
    const struct cpu_batch *b;
    struct prediction *predictions;
    const float *reference, *mode;
    const int32_t *next;
    int first_id, ids, stride;
};

static void expect_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct predicting *p = context;
    predictions_expect(&p->b->expected, begin, end, p->ids, p->stride);
}

void cpu_expect(struct batch *batch, const float *reference_logits, int count, int ids, int stride)
{
    struct cpu_batch *b = cpu_of(batch);
    b->expected_rows = count <= b->threads * EXPECTED_ROWS && ids <= PREDICTION_PIECE ? count : 0;
    b->expected.logits = reference_logits;
    struct predicting p = {.b = b, .ids = ids, .stride = stride};
    cpu_divide(b, b->expected_rows, 1, expect_part, &p);
}

static void predict_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct predicting *p = context;
    const struct expected *expected = &p->b->expected;
    const long at = (long)begin * p->stride;
    if (p->reference == expected->logits && end <= p->b->expected_rows) {
        const struct expected here = {p->reference + at, expected->sides + begin,
                                      expected->exps + (long)begin * PREDICTION_PIECE};
        predictions_add_expected(p->predictions + begin, &here, p->mode + at, p->next + begin, end - begin,
                                 p->first_id, p->ids, p->stride);
    } else {
        predictions_add(p->predictions + begin, p->reference + at, p->mode + at, p->next + begin, end - begin,
                        p->first_id, p->ids, p->stride);
    }
}

void cpu_predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                 const float *mode_logits, const int32_t *next, int count, int first_id, int ids, int stride)
{
    struct predicting p = {cpu_of(batch), predictions, reference_logits, mode_logits, next, first_id,
                           ids,           stride};
    cpu_divide(p.b, count, 1, predict_part, &p);
}
