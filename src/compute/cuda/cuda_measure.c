// SPDX-License-Identifier: Apache-2.0
// Measuring on a GPU: it sums blocks of pairs and the vocabulary's logits, and what is left of those, some
// hundred bytes each, comes back behind the computing, by a stream of its own.  The formulas of the processor
// (cpu/pairs.c) put the blocks together once somebody asks for them.
#include <stdlib.h>
#include <string.h>

#include "cuda_batch.h"
#include "ssmsweep/compute/measure.h"

enum {
    PARTS = 256,            // of what is put together
    MEASURES = 4,           // that are under way at most
    PREDICTIONS = 64 * 1024 // likewise
};

// Sums of pairs on their way.
struct summing {
    struct room there, back; // on the device, and what comes back
    cudaEvent_t made, is_back;
    struct measured *found;
    uint32_t profiled, again; // as struct device_pairs has them
    // The refs whose sums are there, and their stamps; 0 for none.
    long stamps[DEVICE_MOST_PAIRS];
    const float *refs[DEVICE_MOST_PAIRS];
};

// Predictions on their way: `count` from `first` on.
struct guessing {
    struct prediction *predictions;
    int first, count;
};

// What is laid out for the samples of a batch and the widths of some pairs, and what is under way.
struct cuda_measuring {
    long division; // of the batch, and its tokens
    int tokens, samples, count, widths[DEVICE_MOST_PAIRS];
    int n_blocks, n_pieces, n_groups;
    int room_blocks, room_pieces;
    struct device_place *blocks, *pieces;
    struct device_group *groups;              // [n_blocks] at most
    int *first_block, *first_piece, *lengths; // [count][samples], [samples]
    long *firsts;                             // [samples] rows
    struct room table;                        // on the device
    cudaStream_t back;
    struct summing ring[MEASURES];
    long begun, taken; // of the ring
    struct room parts; // of logits
    // [PREDICTIONS], on the device and on the host
    int32_t *next_there, *next;
    struct prediction *made_there, *made;
    struct guessing *guessing; // [PREDICTIONS]
    int guesses, guessed;      // and the predictions of all of them
    int *differs;              // on the device
};

static void close_summing(struct summing *s)
{
    cudaFree(s->there.memory);
    cudaFreeHost(s->back.memory);
    if (s->made) cudaEventDestroy(s->made);
    if (s->is_back) cudaEventDestroy(s->is_back);
}

void cuda_measuring_close(struct cuda_measuring *m)
{
    if (!m) return;
    if (m->back) cudaStreamDestroy(m->back);
    for (int i = 0; i < MEASURES; i++)
        close_summing(&m->ring[i]);
    cudaFree(m->table.memory);
    cudaFree(m->parts.memory);
    cudaFree(m->next_there);
    cudaFree(m->made_there);
    cudaFree(m->differs);
    cudaFreeHost(m->next);
    cudaFreeHost(m->made);
    free(m->guessing);
    free(m->blocks);
    free(m->pieces);
    free(m->groups);
    free(m->first_block);
    free(m->lengths);
    free(m->firsts);
    free(m);
}

static cudaError_t open_measuring(struct cuda_measuring *m)
{
    cudaError_t result = cudaMalloc((void **)&m->differs, sizeof *m->differs);
    if (result == cudaSuccess) result = cudaStreamCreateWithFlags(&m->back, cudaStreamNonBlocking);
    for (int i = 0; i < MEASURES && result == cudaSuccess; i++) {
        m->ring[i].back.on_host = true;
        result = cudaEventCreateWithFlags(&m->ring[i].made, cudaEventDisableTiming);
        if (result == cudaSuccess)
            result = cudaEventCreateWithFlags(&m->ring[i].is_back, cudaEventDisableTiming);
    }
    return result;
}

// NULL where there is no memory, which is noted.
static struct cuda_measuring *measuring_of(struct cuda_batch *b)
{
    if (b->measuring) return b->measuring;
    struct cuda_measuring *m = calloc(1, sizeof *m);
    const cudaError_t result = m ? open_measuring(m) : cudaErrorMemoryAllocation;
    cuda_note(b, result);
    if (result == cudaSuccess) return b->measuring = m;
    cuda_measuring_close(m);
    return NULL;
}

// ---- the layout ----

// Where the places go: counts them where there is no room.
struct laying {
    struct cuda_measuring *m;
    struct device_place place; // of the sample at hand: its pair and slot
    int first_block;
};

static void lay_block(void *context, long first, int count)
{
    struct laying *laying = context;
    struct cuda_measuring *m = laying->m;
    const int at = m->n_blocks++;
    if (at >= m->room_blocks) return;
    m->blocks[at] = laying->place;
    m->blocks[at].first = first;
    m->blocks[at].count = count;
    m->blocks[at].prior = at > laying->first_block ? at - 1 : at;
}

static void lay_piece(void *context, long first, int count)
{
    const struct laying *laying = context;
    struct cuda_measuring *m = laying->m;
    const int at = m->n_pieces++;
    if (at >= m->room_pieces) return;
    m->pieces[at] = laying->place;
    m->pieces[at].first = first;
    m->pieces[at].count = count;
    m->pieces[at].prior = m->n_blocks - 1; // the block that was laid last
}

// The blocks of a slot, from `first` on.
static void group_blocks(struct cuda_measuring *m, int first)
{
    enum { TOGETHER = 4 };
    for (; first < m->n_blocks && m->n_blocks <= m->room_blocks; first += TOGETHER) {
        const int left = m->n_blocks - first;
        m->groups[m->n_groups++] = (struct device_group){first, left < TOGETHER ? left : TOGETHER};
    }
}

static void lay_all(struct cuda_measuring *m)
{
    m->n_blocks = m->n_pieces = m->n_groups = 0;
    for (int p = 0; p < m->count; p++)
        for (int s = 0; s < m->samples; s++) {
            const int slot = p * m->samples + s;
            struct laying laying = {m, {.pair = p, .slot = slot}, m->n_blocks};
            const struct pair_layout layout = {lay_block, lay_piece, &laying};
            m->first_block[slot] = m->n_blocks;
            m->first_piece[slot] = m->n_pieces;
            pairs_lay_out(&layout, m->firsts[s] * m->widths[p], m->lengths[s], m->widths[p]);
            group_blocks(m, m->first_block[slot]);
        }
}

static bool is_laid_out(const struct cuda_batch *b, const struct cuda_measuring *m, const struct pair *pairs,
                        int count)
{
    bool same = m->division == b->division && m->tokens == b->batch.tokens && m->count == count;
    for (int p = 0; same && p < count; p++)
        same = m->widths[p] == pairs[p].width;
    return same;
}

static bool take_samples(struct cuda_batch *b, struct cuda_measuring *m)
{
    const bool many = b->divided.samples > 1 && b->divided.tokens == b->batch.tokens;
    m->samples = many ? b->divided.samples : 1;
    free(m->lengths);
    free(m->firsts);
    free(m->first_block);
    m->lengths = malloc((size_t)m->samples * sizeof *m->lengths);
    m->firsts = malloc((size_t)m->samples * sizeof *m->firsts);
    m->first_block = malloc(2 * (size_t)(m->samples * m->count) * sizeof *m->first_block);
    if (!m->lengths || !m->firsts || !m->first_block) return false;
    m->first_piece = m->first_block + m->samples * m->count;
    long row = 0;
    for (int s = 0; s < m->samples; s++) {
        m->lengths[s] = many ? b->lengths[s] : b->batch.tokens;
        m->firsts[s] = row;
        row += m->lengths[s];
    }
    return true;
}

// Room for what was counted.
static bool grow(struct cuda_measuring *m)
{
    if (m->n_blocks > m->room_blocks) {
        free(m->blocks);
        free(m->groups);
        m->blocks = malloc((size_t)m->n_blocks * sizeof *m->blocks);
        m->groups = malloc((size_t)m->n_blocks * sizeof *m->groups);
        m->room_blocks = m->blocks && m->groups ? m->n_blocks : 0;
    }
    if (m->n_pieces > m->room_pieces) {
        free(m->pieces);
        m->pieces = malloc((size_t)m->n_pieces * sizeof *m->pieces);
        m->room_pieces = m->pieces ? m->n_pieces : 0;
    }
    return m->n_blocks <= m->room_blocks && m->n_pieces <= m->room_pieces;
}

static bool lay_out(struct cuda_batch *b, struct cuda_measuring *m, const struct pair *pairs, int count)
{
    cuda_collect(&b->batch, 0); // as they were laid out
    for (int i = 0; i < MEASURES; i++)
        m->ring[i].stamps[0] = 0;
    m->count = count;
    for (int p = 0; p < count; p++)
        m->widths[p] = pairs[p].width;
    m->tokens = -1; // until it is whole
    if (!take_samples(b, m)) return false;
    lay_all(m);
    if (!grow(m)) return false;
    lay_all(m);
    const size_t blocks = (size_t)m->n_blocks * sizeof *m->blocks,
                 pieces = (size_t)m->n_pieces * sizeof *m->pieces,
                 groups = (size_t)m->n_groups * sizeof *m->groups;
    char *table = cuda_room(b, &m->table, blocks + pieces + groups);
    if (!table) return false;
    cuda_note(b, cudaStreamSynchronize(b->stream)); // the table of before may be in use
    cuda_note(b, cudaMemcpy(table, m->blocks, blocks, cudaMemcpyHostToDevice));
    cuda_note(b, cudaMemcpy(table + blocks, m->pieces, pieces, cudaMemcpyHostToDevice));
    cuda_note(b, cudaMemcpy(table + blocks + pieces, m->groups, groups, cudaMemcpyHostToDevice));
    m->division = b->division, m->tokens = b->batch.tokens;
    return true;
}

// ---- pairs ----

// Where in its memory what is summed lies.
struct places {
    size_t pieces, histograms, end;
};

static struct places places_of(const struct cuda_measuring *m)
{
    const size_t pieces = (size_t)m->n_blocks * sizeof(struct pair_block),
                 histograms = pieces + (size_t)m->n_pieces * sizeof(struct pair_piece);
    return (struct places){pieces, histograms,
                           histograms + (size_t)(m->count * m->samples) * PROFILE_BINS * sizeof(uint32_t)};
}

struct finishing {
    const struct cuda_measuring *m;
    const struct summing *s;
    struct places places;
};

static void finish_slot(const struct finishing *f, int slot)
{
    const struct cuda_measuring *m = f->m;
    const int s = slot % m->samples;
    const char *back = f->s->back.memory;
    struct measured *found = &f->s->found[slot];
    int p = slot / m->samples;
    while (f->s->again >> p & 1u)
        p--, slot -= m->samples;
    accumulator_clear(&found->moments);
    profile_clear(&found->profile);
    pairs_add_blocks(
        &found->moments, f->s->profiled >> p & 1u ? &found->profile : NULL,
        (const struct pair_block *)(const void *)back + m->first_block[slot],
        (const uint32_t *)(const void *)(back + f->places.histograms) + (size_t)slot * PROFILE_BINS,
        (const struct pair_piece *)(const void *)(back + f->places.pieces) + m->first_piece[slot],
        m->lengths[s], m->widths[p]);
}

static void finish_some(void *context, int part, int begin, int end)
{
    (void)part;
    for (int slot = begin; slot < end; slot++)
        finish_slot(context, slot);
}

// The one that was begun first.
static void finish(struct cuda_batch *b, struct cuda_measuring *m)
{
    struct summing *s = &m->ring[m->taken++ % MEASURES];
    const int slots = m->count * m->samples;
    struct finishing f = {.m = m, .s = s, .places = places_of(m)};
    cuda_note(b, cudaEventSynchronize(s->is_back));
    if (b->failed == cudaSuccess) team_divide(b->team, PARTS, slots, 1, finish_some, &f);
}

// One before with the same refs, whose memory is still as it was; NULL: none.
static const struct summing *same_refs(const struct cuda_measuring *m, const struct pair *pairs,
                                       const struct summing *own)
{
    for (const struct summing *s = m->ring; s < m->ring + MEASURES; s++) {
        bool same = s != own && !(s->again & ~own->again);
        for (int p = 0; p < m->count && same; p++)
            same = pairs[p].stamp != 0 && s->stamps[p] == pairs[p].stamp && s->refs[p] == pairs[p].ref;
        if (same) return s;
    }
    return NULL;
}

static bool is_again(const struct pair *pairs, int p)
{
    const struct pair *pair = &pairs[p];
    return p > 0 && pair->ref == pair[-1].ref && pair->mode == pair[-1].mode &&
           pair->width == pair[-1].width && pair->profiled == pair[-1].profiled;
}

static bool begin(struct cuda_batch *b, struct cuda_measuring *m, const struct pair *pairs, struct summing *s)
{
    const struct places places = places_of(m);
    char *there = cuda_room(b, &s->there, places.end), *table = m->table.memory;
    if (!there || !cuda_room(b, &s->back, places.end)) return false;
    struct device_pairs on = {.profiled = 0};
    for (int p = 0; p < m->count; p++)
        on.again |= (uint32_t)is_again(pairs, p) << p;
    s->again = on.again;
    const struct summing *known = same_refs(m, pairs, s);
    for (int p = 0; p < m->count; p++) {
        on.ref[p] = s->refs[p] = pairs[p].ref, on.mode[p] = pairs[p].mode;
        s->stamps[p] = pairs[p].stamp;
        on.profiled |= (uint32_t)pairs[p].profiled << p;
    }
    s->profiled = on.profiled;
    const size_t before_groups = (size_t)(m->n_blocks + m->n_pieces) * sizeof *m->blocks;
    const struct device_sums sums = {.places = (void *)table,
                                     .groups = (void *)(table + before_groups),
                                     .known = known ? known->there.memory : NULL,
                                     .n_blocks = m->n_blocks,
                                     .n_pieces = m->n_pieces,
                                     .n_groups = m->n_groups,
                                     .blocks = (void *)there,
                                     .pieces = (void *)(there + places.pieces),
                                     .histograms = (void *)(there + places.histograms)};
    cuda_note(b, cudaMemsetAsync(there + places.histograms, 0, places.end - places.histograms, b->stream));
    device_pair_sums(b->stream, &on, &sums);
    cuda_launched(b);
    cuda_note(b, cudaEventRecord(s->made, b->stream));
    cuda_note(b, cudaStreamWaitEvent(m->back, s->made, 0));
    cuda_note(b, cudaMemcpyAsync(s->back.memory, there, places.end, cudaMemcpyDeviceToHost, m->back));
    cuda_note(b, cudaEventRecord(s->is_back, m->back));
    return true;
}

void cuda_measure(struct batch *batch, const struct pair *pairs, int count, struct measured *found)
{
    struct cuda_batch *b = cuda_of(batch);
    struct cuda_measuring *m = measuring_of(b);
    if (!m) return;
    if (!is_laid_out(b, m, pairs, count) && !lay_out(b, m, pairs, count)) {
        cuda_note(b, cudaErrorMemoryAllocation);
        return;
    }
    if (m->begun - m->taken == MEASURES) finish(b, m);
    struct summing *s = &m->ring[m->begun % MEASURES];
    s->found = found;
    if (begin(b, m, pairs, s)) m->begun++;
}

// ---- predictions ----

static bool guessing_room(struct cuda_batch *b, struct cuda_measuring *m)
{
    if (m->guessing) return true;
    cudaError_t result = cudaMalloc((void **)&m->next_there, PREDICTIONS * sizeof *m->next);
    if (result == cudaSuccess) result = cudaMalloc((void **)&m->made_there, PREDICTIONS * sizeof *m->made);
    if (result == cudaSuccess) result = cudaMallocHost((void **)&m->next, PREDICTIONS * sizeof *m->next);
    if (result == cudaSuccess) result = cudaMallocHost((void **)&m->made, PREDICTIONS * sizeof *m->made);
    if (result == cudaSuccess) m->guessing = malloc(PREDICTIONS * sizeof *m->guessing);
    cuda_note(b, m->guessing ? cudaSuccess : cudaErrorMemoryAllocation);
    return m->guessing != NULL;
}

static void take_predictions(struct cuda_batch *b, struct cuda_measuring *m)
{
    if (m->guesses == 0) return;
    cuda_note(b, cudaMemcpyAsync(m->made, m->made_there, (size_t)m->guessed * sizeof *m->made,
                                 cudaMemcpyDeviceToHost, b->stream));
    cuda_note(b, cudaStreamSynchronize(b->stream));
    for (int i = 0; i < m->guesses && b->failed == cudaSuccess; i++)
        memcpy(m->guessing[i].predictions, m->made + m->guessing[i].first,
               (size_t)m->guessing[i].count * sizeof *m->made);
    m->guesses = m->guessed = 0;
}

static void guess(struct cuda_batch *b, struct cuda_measuring *m, struct prediction *predictions,
                  struct device_predictions *on, const int32_t *next)
{
    const int pieces = (on->ids + PREDICTION_PIECE - 1) / PREDICTION_PIECE, at = m->guessed;
    if (at + on->rows > PREDICTIONS) {
        take_predictions(b, m);
        guess(b, m, predictions, on, next);
        return;
    }
    on->parts = cuda_room(b, &m->parts, (size_t)on->rows * (size_t)pieces * sizeof *on->parts);
    if (!on->parts) return;
    on->next = m->next_there + at;
    on->made = m->made_there + at;
    memcpy(m->next + at, next, (size_t)on->rows * sizeof *next);
    cuda_note(b, cudaMemcpyAsync(m->next_there + at, m->next + at, (size_t)on->rows * sizeof *next,
                                 cudaMemcpyHostToDevice, b->stream));
    device_predict(b->stream, on);
    cuda_launched(b);
    m->guessing[m->guesses++] = (struct guessing){predictions, at, on->rows};
    m->guessed += on->rows;
}

void cuda_predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                  const float *mode_logits, const int32_t *next, int count, int first_id, int ids, int stride)
{
    struct cuda_batch *b = cuda_of(batch);
    struct cuda_measuring *m = measuring_of(b);
    (void)first_id; // 0
    if (!m || !guessing_room(b, m)) return;
    for (int first = 0; first < count; first += PREDICTIONS) {
        const int left = count - first;
        struct device_predictions on = {.reference = reference_logits + (long)first * stride,
                                        .mode = mode_logits + (long)first * stride,
                                        .stride = stride,
                                        .rows = left < PREDICTIONS ? left : PREDICTIONS,
                                        .ids = ids};
        guess(b, m, predictions + first, &on, next + first);
    }
}

void cuda_collect(struct batch *batch, int left)
{
    struct cuda_batch *b = cuda_of(batch);
    struct cuda_measuring *m = b->measuring;
    if (!m) return;
    while (m->begun - m->taken > left)
        finish(b, m);
    if (left == 0) take_predictions(b, m);
}

bool cuda_same(struct batch *batch, const float *a, const float *b, long count)
{
    struct cuda_batch *own = cuda_of(batch);
    struct cuda_measuring *m = measuring_of(own);
    int differs = 1;
    if (!m) return false;
    cuda_note(own, cudaMemsetAsync(m->differs, 0, sizeof *m->differs, own->stream));
    device_compare(own->stream, a, b, count, m->differs);
    cuda_note(own,
              cudaMemcpyAsync(&differs, m->differs, sizeof differs, cudaMemcpyDeviceToHost, own->stream));
    cuda_launched(own);
    cuda_note(own, cudaStreamSynchronize(own->stream));
    return own->failed == cudaSuccess && !differs;
}
