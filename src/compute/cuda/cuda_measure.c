// SPDX-License-Identifier: Apache-2.0
// Measuring on a GPU: it sums blocks of pairs and pieces of the vocabulary, and what is left of those, some
// hundred bytes each, comes back and is put together by the formulas of the processor (cpu/pairs.c).
#include <stdlib.h>
#include <string.h>

#include "cuda_batch.h"
#include "ssmsweep/compute/measure.h"

// What is laid out for the samples of a batch and the widths of some pairs.
struct cuda_measuring {
    long division; // of the batch, and its tokens
    int tokens, samples, count, widths[DEVICE_MOST_PAIRS];
    int n_blocks, n_pieces;
    int room_blocks, room_pieces;
    struct device_place *blocks, *pieces;
    int *first_block, *first_piece, *lengths; // [count][samples], [samples]
    long *firsts;                             // [samples] rows
    struct room table, sums, back;            // on the device, and what comes back
    struct room next, logits, logits_back;
    int *differs; // on the device
};

void cuda_measuring_close(struct cuda_measuring *m)
{
    if (!m) return;
    cudaFree(m->table.memory);
    cudaFree(m->sums.memory);
    cudaFreeHost(m->back.memory);
    cudaFree(m->next.memory);
    cudaFree(m->logits.memory);
    cudaFreeHost(m->logits_back.memory);
    cudaFree(m->differs);
    free(m->blocks);
    free(m->pieces);
    free(m->first_block);
    free(m->lengths);
    free(m->firsts);
    free(m);
}

// NULL where there is no memory, which is noted.
static struct cuda_measuring *measuring_of(struct cuda_batch *b)
{
    if (b->measuring) return b->measuring;
    struct cuda_measuring *m = calloc(1, sizeof *m);
    if (!m) {
        cuda_note(b, cudaErrorMemoryAllocation);
        return NULL;
    }
    m->back.on_host = m->logits_back.on_host = true;
    const cudaError_t result = cudaMalloc((void **)&m->differs, sizeof *m->differs);
    cuda_note(b, result);
    if (result == cudaSuccess) return b->measuring = m;
    free(m);
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
}

static void lay_all(struct cuda_measuring *m)
{
    m->n_blocks = m->n_pieces = 0;
    for (int p = 0; p < m->count; p++)
        for (int s = 0; s < m->samples; s++) {
            const int slot = p * m->samples + s;
            struct laying laying = {m, {.pair = p, .slot = slot}, m->n_blocks};
            const struct pair_layout layout = {lay_block, lay_piece, &laying};
            m->first_block[slot] = m->n_blocks;
            m->first_piece[slot] = m->n_pieces;
            pairs_lay_out(&layout, m->firsts[s] * m->widths[p], m->lengths[s], m->widths[p]);
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

// Grows an array of places to `count` of them.
static bool make_room(struct device_place **places, int *room, int count)
{
    if (count <= *room) return true;
    struct device_place *more = realloc(*places, (size_t)count * sizeof *more);
    if (!more) return false;
    *places = more, *room = count;
    return true;
}

static bool lay_out(struct cuda_batch *b, struct cuda_measuring *m, const struct pair *pairs, int count)
{
    m->count = count;
    for (int p = 0; p < count; p++)
        m->widths[p] = pairs[p].width;
    m->tokens = -1; // until it is whole
    if (!take_samples(b, m)) return false;
    lay_all(m);
    if (!make_room(&m->blocks, &m->room_blocks, m->n_blocks) ||
        !make_room(&m->pieces, &m->room_pieces, m->n_pieces))
        return false;
    lay_all(m);
    const size_t blocks = (size_t)m->n_blocks * sizeof *m->blocks,
                 pieces = (size_t)m->n_pieces * sizeof *m->pieces;
    char *table = cuda_room(b, &m->table, blocks + pieces);
    if (!table) return false;
    cuda_note(b, cudaStreamSynchronize(b->stream)); // the table of before may be in use
    cuda_note(b, cudaMemcpy(table, m->blocks, blocks, cudaMemcpyHostToDevice));
    cuda_note(b, cudaMemcpy(table + blocks, m->pieces, pieces, cudaMemcpyHostToDevice));
    m->division = b->division, m->tokens = b->batch.tokens;
    return true;
}

// ---- pairs ----

struct finishing {
    struct cuda_batch *b;
    const struct cuda_measuring *m;
    const struct pair *pairs;
    struct measured *found;
    const struct pair_block *blocks;
    const struct pair_piece *pieces;
    const uint32_t *histograms;
    bool *spoiled; // [count][samples]
};

static void finish_part(void *context, int slot)
{
    const struct finishing *f = context;
    const struct cuda_measuring *m = f->m;
    const int p = slot / m->samples, s = slot % m->samples;
    struct measured *found = &f->found[slot];
    accumulator_clear(&found->moments);
    profile_clear(&found->profile);
    f->spoiled[slot] =
        !pairs_add_blocks(&found->moments, f->pairs[p].profiled ? &found->profile : NULL,
                          f->blocks + m->first_block[slot], f->histograms + (size_t)slot * PROFILE_BINS,
                          f->pieces + m->first_piece[slot], m->lengths[s], m->widths[p]);
}

// A sample that holds NaN or Inf is measured by the processor.
static void measure_here(struct cuda_batch *b, const struct cuda_measuring *m, const struct pair *pair, int s,
                         struct measured *found)
{
    const size_t count = (size_t)m->lengths[s] * (size_t)pair->width, bytes = count * sizeof(float);
    const long at = m->firsts[s] * pair->width;
    float *values = cuda_room(b, &b->staging, 2 * bytes);
    accumulator_clear(&found->moments);
    profile_clear(&found->profile);
    if (!values) return;
    cuda_note(b, cudaMemcpyAsync(values, pair->ref + at, bytes, cudaMemcpyDeviceToHost, b->stream));
    cuda_note(b, cudaMemcpyAsync(values + count, pair->mode + at, bytes, cudaMemcpyDeviceToHost, b->stream));
    cuda_note(b, cudaStreamSynchronize(b->stream));
    pairs_add_sample(&found->moments, pair->profiled ? &found->profile : NULL, values, values + count,
                     (size_t)m->lengths[s], pair->width);
}

// What comes back lies in front of the centres.
static bool sum_there(struct cuda_batch *b, struct cuda_measuring *m, const struct pair *pairs,
                      struct finishing *f)
{
    const size_t blocks = (size_t)m->n_blocks * sizeof(struct pair_block),
                 pieces = (size_t)m->n_pieces * sizeof(struct pair_piece),
                 histograms = (size_t)(m->count * m->samples) * PROFILE_BINS * sizeof(uint32_t),
                 back = (blocks + pieces + histograms + 7) / 8 * 8,
                 centres = 3 * (size_t)m->n_blocks * sizeof(double);
    char *there = cuda_room(b, &m->sums, back + centres), *here = cuda_room(b, &m->back, back);
    if (!there || !here) return false;
    struct device_pairs on;
    for (int p = 0; p < m->count; p++)
        on.ref[p] = pairs[p].ref, on.mode[p] = pairs[p].mode;
    const struct device_sums sums = {.places = m->table.memory,
                                     .n_blocks = m->n_blocks,
                                     .n_pieces = m->n_pieces,
                                     .blocks = (void *)there,
                                     .pieces = (void *)(there + blocks),
                                     .histograms = (void *)(there + blocks + pieces),
                                     .centres = (void *)(there + back)};
    cuda_note(b, cudaMemsetAsync(there + blocks + pieces, 0, histograms, b->stream));
    device_pair_sums(b->stream, &on, &sums);
    cuda_note(b, cudaMemcpyAsync(here, there, back, cudaMemcpyDeviceToHost, b->stream));
    cuda_launched(b);
    cuda_note(b, cudaStreamSynchronize(b->stream));
    f->blocks = (const void *)here;
    f->pieces = (const void *)(here + blocks);
    f->histograms = (const void *)(here + blocks + pieces);
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
    const int slots = m->count * m->samples;
    struct finishing f = {.b = b, .m = m, .pairs = pairs, .found = found};
    if (!sum_there(b, m, pairs, &f) || b->failed != cudaSuccess) return;
    f.spoiled = calloc((size_t)slots, sizeof *f.spoiled);
    if (!f.spoiled) {
        cuda_note(b, cudaErrorMemoryAllocation);
        return;
    }
    team_run(b->team, slots, finish_part, &f);
    for (int slot = 0; slot < slots; slot++)
        if (f.spoiled[slot]) measure_here(b, m, &pairs[slot / m->samples], slot % m->samples, &found[slot]);
    free(f.spoiled);
}

// ---- predictions ----

struct merging {
    struct prediction *predictions;
    const struct logit_sums *sums; // [rows][pieces]
    int pieces, first_id;
};

static void merge_row(void *context, int row)
{
    const struct merging *m = context;
    struct logit_sums *total = &m->predictions[row].sums;
    const struct logit_sums *sums = m->sums + (long)row * m->pieces;
    for (int i = 0; i < m->pieces; i++)
        if (m->first_id == 0 && i == 0)
            *total = sums[i];
        else
            logit_sums_merge(total, &sums[i], m->first_id + i * PREDICTION_PIECE);
}

void cuda_predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                  const float *mode_logits, const int32_t *next, int count, int first_id, int ids, int stride)
{
    struct cuda_batch *b = cuda_of(batch);
    struct cuda_measuring *m = measuring_of(b);
    const int pieces = (ids + PREDICTION_PIECE - 1) / PREDICTION_PIECE;
    const size_t rows = (size_t)count, next_bytes = rows * sizeof *next,
                 sums_bytes = rows * (size_t)pieces * sizeof(struct logit_sums),
                 back = sums_bytes + rows * sizeof(float);
    if (!m) return;
    int32_t *next_there = cuda_room(b, &m->next, next_bytes);
    char *there = cuda_room(b, &m->logits, back), *here = cuda_room(b, &m->logits_back, back);
    if (!next_there || !there || !here) return;
    const struct device_predictions on = {.reference = reference_logits,
                                          .mode = mode_logits,
                                          .stride = stride,
                                          .rows = count,
                                          .ids = ids,
                                          .first_id = first_id,
                                          .next = next_there,
                                          .sums = (void *)there,
                                          .next_logit = (void *)(there + sums_bytes)};
    cuda_note(b, cudaMemcpyAsync(next_there, next, next_bytes, cudaMemcpyHostToDevice, b->stream));
    device_predict(b->stream, &on);
    cuda_note(b, cudaMemcpyAsync(here, there, back, cudaMemcpyDeviceToHost, b->stream));
    cuda_launched(b);
    cuda_note(b, cudaStreamSynchronize(b->stream));
    if (b->failed != cudaSuccess) return;
    const float *next_logit = (const void *)(here + sums_bytes);
    for (int t = 0; t < count; t++)
        if (next[t] >= first_id && next[t] < first_id + ids) predictions[t].next_logit = next_logit[t];
    struct merging merging = {predictions, (const void *)here, pieces, first_id};
    team_run(b->team, count, merge_row, &merging);
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
