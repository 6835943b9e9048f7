// SPDX-License-Identifier: Apache-2.0
// The steps of a layer on a GPU, each by itself: a layer is computed as ever, and each step that it asks for
// is repeated, and timed, before the next one comes.
#include "setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compute/backend.h"
#include "ssmsweep/forward/forward.h"

// Goes in front of the backend.
struct steps {
    struct backend table; // first: a batch has this as its backend
    const struct backend *inner;
    struct bench_setting *setting;
    int samples;
    struct error *err;
};

// ---- repeating a step ----

enum { TIMED = 5, MOST_RUNS = 1 << 20 };
static const double ENOUGH_SECONDS = 4e-3;

// What a step is, and what becomes of it.
struct timing {
    struct steps *steps;
    struct batch *batch;
    const char *group;
    char name[ROW_NAME_CHARS];
    struct bench_unit unit;
    double work, bound;
    // Runs: the first is not timed, then TIMED times `runs` of them.
    bool known, begun;
    int runs, done, found;
    double started, times[TIMED];
};

static struct steps *steps_of(struct batch *batch)
{
    return (struct steps *)batch->backend;
}

static struct timing timing_of(struct batch *batch, const char *group, struct bench_unit unit, double work,
                               double bound, const char *name)
{
    struct timing timing = {.steps = steps_of(batch),
                            .batch = batch,
                            .group = group,
                            .unit = unit,
                            .work = work,
                            .bound = bound,
                            .runs = 1};
    snprintf(timing.name, sizeof timing.name, "%s", name);
    timing.known = rows_find(&timing.steps->setting->gpu.rows, group, name, 0) != NULL;
    return timing;
}

// What moves so many bytes for each of so many elements.
static struct timing moves(struct batch *batch, const char *name, double elements, double bytes)
{
    static const struct bench_unit unit = {"GB/s", 1e-9};
    const double work = elements * bytes;
    return timing_of(batch, "elementwise", unit, work,
                     work / steps_of(batch)->setting->gpu.rates[CUDA_PEAK_COPY], name);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void keep(struct timing *t)
{
    struct steps *s = t->steps;
    qsort(t->times, TIMED, sizeof t->times[0], compare_doubles);
    const struct load load = {.work = t->work,
                              .best_seconds = t->times[0],
                              .median_seconds = t->times[TIMED / 2],
                              .runs = TIMED * t->runs};
    if (!s->err->status)
        rows_add_of_gpu(&s->setting->gpu.rows, t->group, t->name, s->samples, &load, t->unit, t->bound, 0,
                        s->err);
}

static void settle(const struct timing *t)
{
    struct error err = {0};
    if (t->steps->inner->settle(t->batch, &err) && !t->steps->err->status) *t->steps->err = err;
}

static double enough(const struct timing *t)
{
    const double share = t->steps->setting->seconds / TIMED;
    return share < ENOUGH_SECONDS ? share : ENOUGH_SECONDS;
}

// Is the step to be run (again)?
static bool goes_on(struct timing *t)
{
    if (!t->begun) return t->begun = true;
    if (t->known || t->steps->err->status) return false;
    if (t->started > 0 && ++t->done < t->runs) return true;
    settle(t);
    const double seconds = t->started > 0 ? clock_seconds() - t->started : 0;
    if (t->started > 0 && seconds < enough(t) && t->runs < MOST_RUNS)
        t->runs *= 2, t->found = 0;
    else if (t->started > 0)
        t->times[t->found++] = seconds > 0 ? seconds / t->runs : 1e-9;
    if (t->found == TIMED) {
        keep(t);
        return false;
    }
    t->done = 0;
    t->started = clock_seconds();
    return true;
}

#define REPEAT(step) for (struct timing t_ = (step); goes_on(&t_);)

// ---- steps ----

static const struct bench_unit flops = {"TFLOP/s", 1e-12}, ops = {"TOP/s", 1e-12};

static struct timing product(struct batch *batch, bool int8, int outputs, int depth)
{
    const struct bench_setting *setting = steps_of(batch)->setting;
    char name[ROW_NAME_CHARS];
    const double work = 2.0 * batch->tokens * outputs * depth;
    gemms_name(&setting->model->dims, outputs, depth, name);
    return timing_of(batch, int8 ? "gemm_s8" : "gemm_f32", int8 ? ops : flops, work,
                     work / setting->gpu.rates[int8 ? CUDA_PEAK_S8 : CUDA_PEAK_F32], name);
}

static void timed_product_f32(struct batch *batch, const struct gemm_f32 *gemm, int outputs)
{
    REPEAT(product(batch, false, outputs, gemm->depth))
    steps_of(batch)->inner->product_f32(batch, gemm, outputs);
}

static void timed_product_s8(struct batch *batch, struct gemm_s8 *gemm, int outputs)
{
    REPEAT(product(batch, true, outputs, gemm->depth))
    steps_of(batch)->inner->product_s8(batch, gemm, outputs);
}

// residual and h are read, and residual and what comes out are written.
static void timed_norm(struct batch *batch, const struct norm *norm)
{
    const double bytes =
        8 + (norm->h ? 4 : 0) + (norm->xhat ? 4 : 0) + (norm->scaled ? 4 : 0) + (norm->codes ? 1 : 0);
    REPEAT(moves(batch, norm->codes ? "norm_quantize" : "norm", (double)batch->tokens * norm->width, bytes))
    steps_of(batch)->inner->norm(batch, norm);
}

static void timed_conv1d(struct batch *batch, const struct conv1d *conv1d, int channels)
{
    static const char *const names[2][2] = {{"conv1d_silu", "conv1d_silu_to_codes"},
                                            {"conv1d_silu_of_codes", "conv1d_silu_quantize"}};
    const bool from = conv1d->x_codes != NULL, to = conv1d->codes != NULL;
    const double bytes = (from ? 1 : 4) + (to ? 1 : 0) + (conv1d->v ? 4 : 0);
    REPEAT(moves(batch, names[from][to], (double)batch->tokens * channels, bytes))
    steps_of(batch)->inner->conv1d(batch, conv1d, channels);
}

static void timed_scan(struct batch *batch, const struct scan *scan)
{
    static const struct bench_unit unit = {"Gstate/s", 1e-9};
    const struct bench_setting *setting = steps_of(batch)->setting;
    const double exps = vectors_exps(&setting->model->dims, batch->tokens);
    const int codes = (scan->u.codes != NULL) + (scan->dt.codes != NULL) + (scan->z.codes != NULL);
    char name[ROW_NAME_CHARS];
    snprintf(name, sizeof name, "%s%s", scan->blocked ? "blocked" : "sequential",
             codes == 3   ? "_int8"
             : codes == 0 ? ""
                          : "_mixed");
    REPEAT(timing_of(batch, "scan", unit, exps, exps / setting->gpu.rates[CUDA_PEAK_EXP], name))
    steps_of(batch)->inner->scan(batch, scan);
}

static void timed_ssd(struct batch *batch, const struct ssd *ssd)
{
    static const struct bench_unit unit = {"Gstate/s", 1e-9};
    static const char *const names[] = {[SSD_SEQUENTIAL] = "sequential",
                                        [SSD_CHUNKED] = "chunked",
                                        [SSD_CHUNKED_HALF] = "chunked_half",
                                        [SSD_CHUNKED_GPU] = "chunked_gpu"};
    const struct bench_setting *setting = steps_of(batch)->setting;
    const struct dims *dims = &setting->model->dims;
    const double states = (double)batch->tokens * ssd->heads * ssd->head_dim * ssd->d_state,
                 bound = ssd_operations(dims, ssd->order, batch->tokens) / setting->gpu.rates[CUDA_PEAK_F32] +
                         ssd_exps(dims, ssd->order, batch->tokens) / setting->gpu.rates[CUDA_PEAK_EXP];
    REPEAT(timing_of(batch, "scan", unit, states, bound, names[ssd->order]))
    steps_of(batch)->inner->ssd(batch, ssd);
}

static void timed_gated_norm(struct batch *batch, const struct gated_norm *norm)
{
    REPEAT(
        moves(batch, norm->half ? "gated_norm_half" : "gated_norm", (double)batch->tokens * norm->width, 12))
    steps_of(batch)->inner->gated_norm(batch, norm);
}

static void timed_rotate(struct batch *batch, const struct hadamard *hadamard, float *rows, long ld)
{
    REPEAT(moves(batch, "hadamard", (double)batch->tokens * hadamard->dim, 8))
    steps_of(batch)->inner->rotate(batch, hadamard, rows, ld);
}

static void timed_quantize(struct batch *batch, const struct quantize *quantize)
{
    static const char *const names[] = {[STEP_GIVEN] = "quantize",
                                        [STEP_OF_SAMPLE] = "quantize_of_sample",
                                        [STEP_OF_ROWS] = "quantize_of_rows"};
    REPEAT(moves(batch, names[quantize->of], (double)batch->tokens * quantize->width,
                 quantize->of == STEP_GIVEN ? 5 : 9))
    steps_of(batch)->inner->quantize(batch, quantize);
}

static void timed_dequantize(struct batch *batch, const struct dequantize *dequantize)
{
    REPEAT(moves(batch, "dequantize", (double)batch->tokens * dequantize->width, 5))
    steps_of(batch)->inner->dequantize(batch, dequantize);
}

static void timed_columns(struct batch *batch, const struct columns *columns)
{
    const double bytes = (columns->given ? 1 : 4) + (columns->codes ? 1 : 0) + (columns->values ? 4 : 0);
    REPEAT(moves(batch, columns->given ? "dequantize_columns" : "quantize_columns",
                 (double)batch->tokens * columns->width, bytes))
    steps_of(batch)->inner->columns(batch, columns);
}

static void timed_round_half(struct batch *batch, float *x, long ld)
{
    REPEAT(moves(batch, "round_half", (double)batch->tokens * (double)ld, 8))
    steps_of(batch)->inner->round_half(batch, x, ld);
}

static void timed_find_broken(struct batch *batch, const float *rows, long ld, int width)
{
    REPEAT(moves(batch, "find_broken", (double)batch->tokens * width, 4))
    steps_of(batch)->inner->find_broken(batch, rows, ld, width);
}

static void timed_break_rows(struct batch *batch, const float *from, long ld_from, int width_from, float *to,
                             long ld_to, int width_to)
{
    REPEAT(moves(batch, "break_rows", (double)batch->tokens * width_from, 4))
    steps_of(batch)->inner->break_rows(batch, from, ld_from, width_from, to, ld_to, width_to);
}

enum status gpu_measure_steps(struct bench_setting *setting, struct forward *forward,
                              const struct recipe *recipe, const float *scales, const int32_t *ids,
                              int tokens, int samples, struct error *err)
{
    struct steps s = {.table = *backend_cuda(),
                      .inner = backend_cuda(),
                      .setting = setting,
                      .samples = samples,
                      .err = err};
    struct arena arena = {0};
    const size_t bytes = stream_floats(&setting->model->dims, tokens) * sizeof(float);
    if (s.inner->reserve(&arena, 2 * bytes, "the bench", err)) return err->status;
    struct stream stream = {.residual = arena_take(&arena, bytes), .h = arena_take(&arena, bytes)};
    s.table.product_f32 = timed_product_f32, s.table.product_s8 = timed_product_s8;
    s.table.norm = timed_norm, s.table.gated_norm = timed_gated_norm;
    s.table.conv1d = timed_conv1d, s.table.scan = timed_scan, s.table.ssd = timed_ssd;
    s.table.rotate = timed_rotate, s.table.quantize = timed_quantize, s.table.dequantize = timed_dequantize;
    s.table.columns = timed_columns, s.table.round_half = timed_round_half;
    s.table.find_broken = timed_find_broken, s.table.break_rows = timed_break_rows;
    forward_start(forward, &stream, recipe, ids, tokens);
    forward_intercept(forward, &s.table);
    forward_step(forward, &stream, recipe, scales, 0, tokens, NULL, NULL);
    forward_intercept(forward, s.inner);
    s.inner->release(&arena);
    return err->status;
}
