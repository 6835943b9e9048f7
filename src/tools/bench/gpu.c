// SPDX-License-Identifier: Apache-2.0
// A GPU in the bench: what it does at best, its passes, and what metrics take.
#include "setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compute/backend.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/sweep/gpu.h"

// ---- which one ----

enum status gpu_open(struct bench_setting *setting, const char *word, struct error *err)
{
    struct gpu *gpu = &setting->gpu;
    if (gpu_choose(word, &gpu->index, &gpu->alone, err) || gpu->index < 0) return err->status;
    return cuda_use(gpu->index, err) ? err->status : cuda_describe(gpu->index, &gpu->about, err);
}

void gpu_print_head(const struct gpu *gpu)
{
    if (gpu->index >= 0)
        printf("cuda:%d: %s, compute capability %d.%d, %d processors, %.1f GB; CUDA %s\n", gpu->index,
               gpu->about.name, gpu->about.major, gpu->about.minor, gpu->about.processors,
               1e-9 * (double)gpu->about.memory_bytes, cuda_version());
}

void gpu_print(const struct bench_setting *setting)
{
    static const struct {
        const char *title, *groups[3];
    } tables[] = {{"GPU", {"machine"}},
                  {"GPU, products: bound is the peak of their multiply-adds", {"gemm_f32", "gemm_s8"}},
                  {"GPU, other kernels: bounds are exponentials (scan) and memory", {"scan", "elementwise"}},
                  {"GPU, metrics: bounds are memory and multiply-adds (lm_head)", {"metrics"}},
                  {"GPU, forward pass: bound is GEMM at its peak plus the scan's exponentials", {"forward"}}};
    struct row_list rows = setting->gpu.rows;
    rows.print = setting->rows.print;
    for (size_t t = 0; rows.print && setting->gpu.index >= 0 && t < sizeof tables / sizeof tables[0]; t++) {
        rows_title(&rows, tables[t].title);
        for (int g = 0; g < 3 && tables[t].groups[g]; g++)
            rows_print(&rows, tables[t].groups[g]);
    }
}

void gpu_put_json(const struct bench_setting *setting, struct json_writer *writer)
{
    const struct gpu *gpu = &setting->gpu;
    char capability[16];
    if (gpu->index < 0 || !setting->model) {
        json_put_null(writer, "gpu");
        return;
    }
    snprintf(capability, sizeof capability, "%d.%d", gpu->about.major, gpu->about.minor);
    json_begin_object(writer, "gpu");
    json_put_integer(writer, "index", gpu->index);
    json_put_string(writer, "name", gpu->about.name);
    json_put_string(writer, "compute_capability", capability);
    json_put_string(writer, "cuda", cuda_version());
    json_put_integer(writer, "processors", gpu->about.processors);
    json_put_double(writer, "memory_bytes", (double)gpu->about.memory_bytes);
    rows_put_json(&gpu->rows, writer);
    json_end_object(writer);
}

// ---- at best ----

struct best {
    struct cuda_peaks *peaks;
    enum cuda_peak peak;
    long rounds;
    double work; // of the last run
};

static void best_run(void *context)
{
    struct best *best = context;
    best->work = cuda_peaks_run(best->peaks, best->peak, best->rounds);
}

// Long enough that starting it and waiting for it do not count.
static const double ENOUGH_SECONDS = 0.02;

static enum status measure_best(struct bench_setting *setting, struct best *best, const char *name,
                                struct bench_unit unit, struct error *err)
{
    struct load load = {.run = best_run, .context = best, .team = true};
    best->rounds = 1;
    best_run(best); // the first of a kernel loads it
    load_lengthen(&load, &best->rounds,
                  setting->seconds < 5 * ENOUGH_SECONDS ? setting->seconds / 5 : ENOUGH_SECONDS);
    measure(&load, 1, setting->seconds);
    if (best->work == 0) return error_set(err, STATUS_IO, "cuda:%d failed", setting->gpu.index);
    load.work = best->work;
    setting->gpu.rates[best->peak] = load_rate(&load);
    return rows_add_of_gpu(&setting->gpu.rows, "machine", name, 0, &load, unit, 0, 0, err);
}

enum status gpu_measure_peaks(struct bench_setting *setting, struct error *err)
{
    static const struct {
        const char *name;
        struct bench_unit unit;
    } rows[CUDA_PEAKS] = {[CUDA_PEAK_F32] = {"peak_f32", {"TFLOP/s", 1e-12}},
                          [CUDA_PEAK_S8] = {"peak_s8", {"TOP/s", 1e-12}},
                          [CUDA_PEAK_EXP] = {"exp", {"Gexp/s", 1e-9}},
                          [CUDA_PEAK_COPY] = {"copy", {"GB/s", 1e-9}},
                          [CUDA_PEAK_SEND] = {"copy_to_gpu", {"GB/s", 1e-9}},
                          [CUDA_PEAK_FETCH] = {"copy_from_gpu", {"GB/s", 1e-9}}};
    struct best best = {0};
    if (cuda_peaks_open(&best.peaks, err)) return err->status;
    for (int p = 0; p < CUDA_PEAKS && !err->status; p++) {
        best.peak = (enum cuda_peak)p;
        measure_best(setting, &best, rows[p].name, rows[p].unit, err);
    }
    cuda_peaks_close(best.peaks);
    return err->status;
}

// Half as many where memory of the GPU was out.
static bool fewer(int *samples, struct error *err)
{
    const bool memory = strncmp(err->text, ERROR_MEMORY, strlen(ERROR_MEMORY)) == 0;
    if (!memory || *samples == 1) return false;
    *samples /= 2;
    *err = (struct error){0};
    return true;
}

// ---- passes ----

// As many as keep it busy.
static int most_samples(const struct bench_setting *setting)
{
    enum { MOST = 32 };
    const int samples = gpu_tokens(&setting->model->dims, setting->length) / setting->length;
    return samples < MOST ? samples : MOST;
}

struct there {
    struct bench_setting *setting;
    const struct gpu_modes *modes;
    struct forward *forward;
    int most;     // samples
    int32_t *ids; // [most][length]
    int *lengths; // [most]
    // the pass at hand
    const struct recipe *recipe;
    int samples;
    struct error *err;
};

static const float *scales_of(const struct there *t)
{
    return recipe_is_float(t->recipe) ? NULL : t->modes->scales;
}

static void pass_run(void *context)
{
    struct there *t = context;
    const int tokens = t->samples * t->setting->length;
    if (t->err->status) return;
    forward_run(t->forward, t->recipe, scales_of(t), t->ids, tokens, NULL);
    forward_settle(t->forward, t->err);
}

static enum status measure_pass(struct there *t, const struct mode *mode)
{
    static const struct bench_unit unit = {"token/s", 1};
    struct bench_setting *setting = t->setting;
    const double *rates = setting->gpu.rates,
                 gemm = rates[mode_is_float(mode) ? CUDA_PEAK_F32 : CUDA_PEAK_S8];
    const int tokens = t->samples * setting->length;
    const struct row *core = rows_find(&setting->rows, "forward", mode->name, 1);
    struct load load = {.run = pass_run, .context = t, .work = tokens, .team = true};
    forward_divide(t->forward, t->lengths, t->samples);
    measure(&load, 1, setting->seconds);
    if (t->err->status) return t->err->status;
    return rows_add_of_gpu(&setting->gpu.rows, "forward", mode->name, t->samples, &load, unit,
                           passes_bound(&setting->model->dims, t->recipe, tokens, gemm, rates[CUDA_PEAK_F32],
                                        rates[CUDA_PEAK_EXP]),
                           core ? core->seconds * t->samples : 0, t->err);
}

// One sample, eight, and as many as a sweep takes; and what a layer of these takes, step by step.
static enum status measure_mode(struct there *t, const struct mode *mode)
{
    enum { SOME = 8 };
    const struct dims *dims = &t->setting->model->dims;
    struct recipe recipe = {0};
    if (arch_recipe(&recipe, mode, dims, t->err)) return t->err->status;
    t->recipe = &recipe;
    const int counts[] = {1, SOME, t->most};
    for (int i = 0; i < 3 && !t->err->status; i++) {
        t->samples = counts[i];
        if (i == 0 || (counts[i] > counts[i - 1] && counts[i] <= t->most)) measure_pass(t, mode);
    }
    t->samples = t->most;
    forward_divide(t->forward, t->lengths, t->most);
    if (!t->err->status)
        gpu_measure_steps(t->setting, t->forward, &recipe, scales_of(t), t->ids, t->most * t->setting->length,
                          t->most, t->err);
    recipe_clear(&recipe);
    return t->err->status;
}

static enum status open_there(struct there *t)
{
    const struct bench_setting *setting = t->setting;
    const int length = setting->length, vocab = setting->model->dims.vocab_size;
    t->most = most_samples(setting);
    t->ids = malloc((size_t)(t->most * length) * sizeof *t->ids);
    t->lengths = malloc((size_t)t->most * sizeof *t->lengths);
    if (!t->ids || !t->lengths)
        return error_memory(t->err, (size_t)t->most * sizeof *t->lengths, "the bench");
    for (int i = 0; i < t->most * length; i++)
        t->ids[i] = (int32_t)((unsigned)i * 7919u % (unsigned)vocab);
    for (int s = 0; s < t->most; s++)
        t->lengths[s] = length;
    while (forward_open_on(&t->forward, backend_cuda(), t->modes->weights, t->most * length, setting->threads,
                           t->err) &&
           fewer(&t->most, t->err))
        ;
    return t->err->status;
}

enum status gpu_measure_modes(struct bench_setting *setting, const struct gpu_modes *modes, struct error *err)
{
    struct there t = {.setting = setting, .modes = modes, .err = err};
    if (open_there(&t) == STATUS_OK)
        for (int m = 0; m < mode_count() && !err->status; m++)
            if (modes->chosen[m] && mode_at(m)->precision == modes->precision) measure_mode(&t, mode_at(m));
    forward_close(t.forward);
    free(t.ids);
    free(t.lengths);
    return err->status;
}

// ---- metrics ----

enum { HEAD_TOKENS = 512 };

// Rows of an embedding are how numbers get there; a batch keeps those of each.
struct noise {
    int width;
    uint32_t seed;
};
enum { TENSORS = 6 };

// A batch with tensors of its own.
struct tensors {
    struct bench_setting *setting;
    const struct backend *on;
    struct batch *batch;
    struct batch_shape shape;
    struct arena arena; // there
    int samples;
    float *pairs[2];               // [samples][length][d_inner]
    float *hidden, *w, *logits[2]; // [HEAD_TOKENS][depth], [panels][depth][16], [HEAD_TOKENS][vocab]
    int depth, vocab, width;       // of lm_head; the last in multiples of 16, as the width of pairs
    struct measured *found;        // [samples]
    int32_t next[HEAD_TOKENS];
    struct prediction predictions[HEAD_TOKENS];
    struct noise noise[TENSORS];
    int filled;
    struct error *err;
};

static void carve(struct tensors *t, struct arena *arena)
{
    const size_t values = (size_t)(t->samples * t->setting->length * t->width);
    const size_t logits = (size_t)HEAD_TOKENS * (size_t)t->vocab, f = sizeof(float);
    for (int i = 0; i < 2; i++) {
        t->pairs[i] = arena_take(arena, values * f);
        t->logits[i] = arena_take(arena, logits * f);
    }
    t->hidden = arena_take(arena, (size_t)(HEAD_TOKENS * t->depth) * f);
    t->w = arena_take(arena, (size_t)t->vocab * (size_t)t->depth * f);
    t->on->carve(t->batch, &t->shape, arena);
}

static void noise_row(const void *context, int32_t id, float *out)
{
    const struct noise *noise = context;
    uint32_t state = noise->seed + 977u * (uint32_t)id;
    for (int i = 0; i < noise->width; i++)
        out[i] = random_uniform(&state);
}

// rows[count][width] of noise.
static void fill(struct tensors *t, float *rows, int count, int width)
{
    struct noise *noise = &t->noise[t->filled++];
    *noise = (struct noise){width, (uint32_t)t->filled};
    int32_t *ids = malloc((size_t)count * sizeof *ids);
    if (t->err->status || !ids) {
        if (!ids) error_memory(t->err, (size_t)count * sizeof *ids, "the bench");
        free(ids);
        return;
    }
    for (int i = 0; i < count; i++)
        ids[i] = i;
    t->batch->tokens = count;
    t->on->embed(t->batch, &(struct embedding){noise_row, noise, count}, ids, rows, width);
    t->on->settle(t->batch, t->err);
    free(ids);
}

static enum status fill_all(struct tensors *t)
{
    const int rows = t->samples * t->setting->length;
    for (int i = 0; i < 2; i++) {
        fill(t, t->pairs[i], rows, t->width);
        fill(t, t->logits[i], HEAD_TOKENS, t->vocab);
    }
    fill(t, t->hidden, HEAD_TOKENS, t->depth);
    fill(t, t->w, t->vocab / KERNEL_LANES, t->depth * KERNEL_LANES);
    return t->err->status;
}

static enum status tensors_open(struct tensors *t)
{
    struct arena measured;
    const struct dims *d = &t->setting->model->dims;
    t->on = backend_cuda();
    t->samples = most_samples(t->setting);
    t->width = round_up16(d->d_inner), t->depth = round_up16(d->d_model);
    t->vocab = round_up16(t->setting->vocab);
    const int tokens = t->samples * t->setting->length, panels = t->vocab / KERNEL_LANES;
    t->shape = (struct batch_shape){.max_tokens = tokens > panels ? tokens : panels,
                                    .threads = t->setting->threads,
                                    .d_state = d->d_state};
    if (t->shape.max_tokens < HEAD_TOKENS) t->shape.max_tokens = HEAD_TOKENS;
    t->found = malloc((size_t)t->samples * sizeof *t->found);
    if (!t->found) return error_memory(t->err, (size_t)t->samples * sizeof *t->found, "the bench");
    if (t->on->open(&t->batch, &t->shape, t->err)) return t->err->status;
    do {
        arena_init_measure(&measured);
        carve(t, &measured);
    } while (t->on->reserve(&t->arena, measured.used_bytes, "the bench", t->err) &&
             fewer(&t->samples, t->err));
    if (t->err->status) return t->err->status;
    carve(t, &t->arena);
    return fill_all(t);
}

static void tensors_close(struct tensors *t)
{
    t->on->close(t->batch);
    if (t->arena.base) t->on->release(&t->arena);
    free(t->found);
}

static void pairs_run(void *context)
{
    struct tensors *t = context;
    const struct pair pair = {.ref = t->pairs[0], .mode = t->pairs[1], .width = t->width, .profiled = true};
    t->batch->tokens = t->samples * t->setting->length;
    t->on->measure(t->batch, &pair, 1, t->found);
    t->on->settle(t->batch, t->err);
}

static void head_run(void *context)
{
    struct tensors *t = context;
    const struct gemm_f32 gemm = {.a = t->hidden,
                                  .lda = t->depth,
                                  .w = t->w,
                                  .depth = t->setting->model->dims.d_model,
                                  .out = t->logits[0],
                                  .ldo = t->vocab};
    t->batch->tokens = HEAD_TOKENS;
    t->on->product_f32(t->batch, &gemm, t->vocab);
    t->on->settle(t->batch, t->err);
}

static void predict_run(void *context)
{
    struct tensors *t = context;
    t->batch->tokens = HEAD_TOKENS;
    t->on->predict(t->batch, t->predictions, t->logits[0], t->logits[1], t->next, HEAD_TOKENS, 0,
                   t->setting->vocab, t->vocab);
    t->on->settle(t->batch, t->err);
}

static enum status measure_rows(struct tensors *t)
{
    static const struct bench_unit pair_unit = {"Gpair/s", 1e-9}, token_unit = {"token/s", 1};
    const double *rates = t->setting->gpu.rates, pairs = (double)t->samples * t->setting->length * t->width,
                 logits = (double)HEAD_TOKENS * t->vocab;
    struct load loads[] = {{.run = pairs_run, .context = t, .work = pairs, .team = true},
                           {.run = head_run, .context = t, .work = HEAD_TOKENS, .team = true},
                           {.run = predict_run, .context = t, .work = HEAD_TOKENS, .team = true}};
    const double bounds[] = {2 * sizeof(float) * pairs / rates[CUDA_PEAK_COPY],
                             2 * logits * t->setting->model->dims.d_model / rates[CUDA_PEAK_F32],
                             2 * sizeof(float) * logits / rates[CUDA_PEAK_COPY]};
    static const char *const names[] = {"pairs", "lm_head", "end_of_model"};
    struct row_list *rows = &t->setting->gpu.rows;
    const int lengths = t->setting->length;
    int *all = malloc((size_t)t->samples * sizeof *all);
    if (!all) return error_memory(t->err, (size_t)t->samples * sizeof *all, "the bench");
    for (int s = 0; s < t->samples; s++)
        all[s] = lengths;
    t->on->divide(t->batch, all, t->samples);
    free(all);
    measure(loads, 3, t->setting->seconds);
    for (int i = 0; i < 3 && !t->err->status; i++)
        rows_add_of_gpu(rows, "metrics", names[i], i == 0 ? t->samples : 0, &loads[i],
                        i == 0 ? pair_unit : token_unit, bounds[i], 0, t->err);
    return t->err->status;
}

enum status gpu_measure_metrics(struct bench_setting *setting, struct error *err)
{
    struct tensors *t = calloc(1, sizeof *t);
    if (!t) return error_memory(err, sizeof *t, "the bench");
    t->setting = setting, t->err = err;
    if (tensors_open(t) == STATUS_OK) measure_rows(t);
    tensors_close(t);
    free(t);
    return err->status;
}
