// SPDX-License-Identifier: Apache-2.0
#include "metrics.h"

#include <string.h>

#include "machine.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"

enum { HEAD_TOKENS = 64 }; // logits that are held at a time

// ---- pairs ----

struct pairs_work {
    const struct setting *setting;
    int width;
    long slot, slots; // of the pool, so that what is read lies in memory
    struct accumulator moments;
    struct profile profile;
};

static void pairs_run(void *context)
{
    struct pairs_work *w = context;
    const struct setting *s = w->setting;
    const float *ref = s->pool + 2 * w->slot * s->length * w->width;
    pairs_add_sample(&w->moments, &w->profile, ref, ref + (long)s->length * w->width, (size_t)s->length,
                     w->width);
    w->slot = (w->slot + 1) % w->slots;
}

// One component of d_inner channels; bound: reading both sides at the rate of the triad.
static enum status measure_pairs_row(struct setting *setting, struct error *err)
{
    static const struct unit unit = {"Gpair/s", 1e-9};
    const int width = setting->model->dims.d_inner;
    const long count = (long)setting->length * width;
    struct pairs_work work = {
        .setting = setting, .width = width, .slots = setting->pool_floats / (2 * count)};
    if (work.slots == 0) return STATUS_OK; // longer than any pass
    accumulator_clear(&work.moments);
    profile_clear(&work.profile);
    struct triad triad;
    struct load loads[] = {triad_load(&triad, setting, 1),
                           {.run = pairs_run, .context = &work, .work = (double)count}};
    measure(loads, 2, setting->seconds);
    const double bytes = 2.0 * sizeof(float) * loads[1].work;
    return rows_add(&setting->rows, "metrics", "pairs", 1, &loads[1], unit, bytes / load_rate(&loads[0]),
                    err);
}

// ---- logits ----

struct head_work {
    const struct setting *setting;
    struct arena arena;
    struct gemm_f32 gemm;
    int panels;
    float *hidden, *logits; // [HEAD_TOKENS][d_model], [2][HEAD_TOKENS][vocab]
    int32_t next[HEAD_TOKENS];
    struct end_of_model sums;
};

static void head_run(void *context)
{
    const struct head_work *w = context;
    w->setting->kernels->gemm_f32(&w->gemm, 0, HEAD_TOKENS, 0, w->panels);
}

static void end_of_model_run(void *context)
{
    struct head_work *w = context;
    end_of_model_add(&w->sums, w->logits, w->logits + (long)HEAD_TOKENS * w->gemm.ldo, w->next, HEAD_TOKENS,
                     w->setting->vocab, (int)w->gemm.ldo);
}

static void carve(struct head_work *w)
{
    const size_t hidden = (size_t)(HEAD_TOKENS * w->gemm.lda), logits = (size_t)(HEAD_TOKENS * w->gemm.ldo);
    w->hidden = arena_take(&w->arena, hidden * sizeof *w->hidden);
    w->logits = arena_take(&w->arena, 2 * logits * sizeof *w->logits);
    if (!w->arena.base) return;
    memcpy(w->hidden, w->setting->pool, hidden * sizeof *w->hidden);
    memcpy(w->logits, w->setting->pool, 2 * logits * sizeof *w->logits);
}

static enum status head_open(struct head_work *w, const struct setting *setting, struct error *err)
{
    const int depth = setting->model->dims.d_model;
    memset(w, 0, sizeof *w);
    w->setting = setting;
    w->panels = (setting->vocab + KERNEL_LANES - 1) / KERNEL_LANES;
    w->gemm = (struct gemm_f32){.lda = (depth + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES,
                                .w = setting->pool,
                                .depth = depth,
                                .ldo = (long)w->panels * KERNEL_LANES};
    arena_init_measure(&w->arena);
    carve(w);
    const size_t bytes = w->arena.used_bytes;
    if (arena_init(&w->arena, bytes, "the bench", err)) return err->status;
    carve(w);
    w->gemm.a = w->hidden, w->gemm.out = w->logits;
    return STATUS_OK;
}

// The GEMM with the vocabulary beside its peak, and what the sums over both sides' logits take after it.
static enum status measure_head(struct setting *setting, struct error *err)
{
    static const struct unit unit = {"token/s", 1};
    struct head_work work;
    struct peak peak;
    if (head_open(&work, setting, err)) return err->status;
    struct load loads[] = {peak_load(&peak, setting, 1, false),
                           {.run = head_run, .context = &work, .work = HEAD_TOKENS},
                           {.run = end_of_model_run, .context = &work, .work = HEAD_TOKENS}};
    measure(loads, 3, setting->seconds);
    const double operations = 2.0 * (double)work.gemm.ldo * work.gemm.depth * HEAD_TOKENS;
    rows_add(&setting->rows, "metrics", "lm_head", 1, &loads[1], unit, operations / load_rate(&loads[0]),
             err);
    if (!err->status) rows_add(&setting->rows, "metrics", "end_of_model", 1, &loads[2], unit, 0, err);
    arena_clear(&work.arena);
    return err->status;
}

enum status metrics_measure(struct setting *setting, struct error *err)
{
    rows_title(&setting->rows, "Metrics: bounds are memory (pairs) and multiply-adds (lm_head)");
    if (measure_pairs_row(setting, err)) return err->status;
    return measure_head(setting, err);
}
