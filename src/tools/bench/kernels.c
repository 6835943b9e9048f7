// SPDX-License-Identifier: Apache-2.0
#include "setting.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"

// ---- scans and element-wise kernels ----

double vectors_exps(const struct dims *dims, int length)
{
    return (double)dims->d_inner * dims->d_state * length;
}

enum { MAX_BASE = 40 };

// Buffers as the workspace of a forward pass has them, rows of a multiple of 16.
struct vectors {
    const struct bench_setting *setting;
    int threads, d_model, d_inner; // widths, rounded up
    struct arena arena;
    float *residual, *h, *xhat; // [L][d_model]
    float *xz, *v, *dt, *y;     // [K-1 + L][2 d_inner], [L][d_inner]
    int8_t *xz_codes, *u_codes, *dt_codes, *n_codes;
    float *bc; // [L][32]: B, C
    float *weight, *conv_w, *A, *skip, *bias, *state, *scratch;
    float matrix[MAX_BASE * MAX_BASE];
    long scratch_floats;
    struct norm norm;
    struct conv1d conv1d;
    struct scan scan;
    struct hadamard hadamard;
    bool blocked;
};

// ---- memory ----

static float *take(struct vectors *v, long count, float low, float high)
{
    float *p = arena_take(&v->arena, (size_t)count * sizeof *p);
    uint32_t state = (uint32_t)v->arena.used_bytes;
    for (long i = 0; p && i < count; i++)
        p[i] = low + (high - low) * 0.5f * (random_uniform(&state) + 1);
    return p;
}

static int8_t *take_codes(struct vectors *v, long count)
{
    int8_t *p = arena_take(&v->arena, (size_t)count);
    uint32_t state = (uint32_t)v->arena.used_bytes;
    for (long i = 0; p && i < count; i++)
        p[i] = (int8_t)(127 * random_uniform(&state));
    return p;
}

static void carve(struct vectors *v)
{
    const struct dims *d = &v->setting->model->dims;
    const long L = v->setting->length, D = v->d_model, I = v->d_inner, rows = L + d->d_conv - 1;
    v->residual = take(v, L * D, -1, 1);
    v->h = take(v, L * D, -0x1p-20f, 0x1p-20f); // it is added again and again
    v->xhat = take(v, L * D, -1, 1);
    v->xz = take(v, rows * 2 * I, -1, 1);
    v->v = take(v, L * I, -1, 1);
    v->dt = take(v, L * I, -1, 1);
    v->y = take(v, L * I, -1, 1);
    v->xz_codes = take_codes(v, rows * 2 * I);
    v->u_codes = take_codes(v, L * I);
    v->dt_codes = take_codes(v, L * I);
    v->n_codes = take_codes(v, L * D);
    v->bc = take(v, L * 2 * d->d_state, -1, 1);
    v->weight = take(v, I > D ? I : D, -1, 1);
    v->conv_w = take(v, I * d->d_conv, -0.5f, 0.5f);
    v->A = take(v, I * d->d_state, -16, -1);
    v->skip = take(v, I, 0, 2);
    v->bias = take(v, I, -6, -2); // steps of 0.001 to 0.1, as models are initialised
    v->state = take(v, I * d->d_state, 0, 0);
    v->scratch_floats = scan_scratch_floats((int)L, d->d_state);
    v->scratch = take(v, v->scratch_floats * v->setting->threads, 0, 0);
}

static enum status vectors_open(struct vectors *v, const struct bench_setting *setting, struct error *err)
{
    const struct dims *d = &setting->model->dims;
    memset(v, 0, sizeof *v);
    v->setting = setting;
    v->d_model = (d->d_model + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    v->d_inner = (d->d_inner + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    arena_init_measure(&v->arena);
    carve(v);
    const size_t bytes = v->arena.used_bytes;
    if (arena_init(&v->arena, bytes, "the bench", err)) return err->status;
    carve(v);
    return STATUS_OK;
}

// ---- scans ----

static void scan_part(void *context, int thread, int begin, int end)
{
    const struct vectors *v = context;
    float *scratch = v->scratch + thread * v->scratch_floats;
    if (v->blocked)
        v->setting->kernels->scan_blocked(&v->scan, begin, end, scratch);
    else
        v->setting->kernels->scan_sequential(&v->scan, begin, end, scratch);
}

static void scan_run(void *context)
{
    struct vectors *v = context;
    team_divide(v->setting->team, v->threads, v->d_inner, KERNEL_LANES, scan_part, v);
}

// What the modes give it: all float, or codes from INT8 projections.
static void prepare_scan(struct vectors *v, bool codes, bool blocked)
{
    const struct dims *d = &v->setting->model->dims;
    const long I = v->d_inner, before = d->d_conv - 1;
    v->blocked = blocked;
    v->scan = (struct scan){.length = v->setting->length,
                            .d_state = d->d_state,
                            .u = {.values = v->v, .ld = I},
                            .dt = {.values = v->dt, .ld = I},
                            .z = {.values = v->xz + before * 2 * I + I, .ld = 2 * I},
                            .dt_bias = v->bias,
                            .D = v->skip,
                            .A = v->A,
                            .ld_inner = I,
                            .B = v->bc,
                            .C = v->bc + d->d_state,
                            .ld_bc = 2L * d->d_state,
                            .y = v->y,
                            .ldy = I,
                            .half = codes,
                            .last_state = codes || blocked ? NULL : v->state};
    if (!codes) return;
    v->scan.u = (struct scan_operand){.codes = v->u_codes, .scale = 0x1p-7f, .ld = I};
    v->scan.dt = (struct scan_operand){.codes = v->dt_codes, .scale = 0x1p-7f, .ld = I};
    v->scan.z =
        (struct scan_operand){.codes = v->xz_codes + before * 2 * I + I, .scale = 0x1p-7f, .ld = 2 * I};
}

static enum status measure_scan(struct bench_setting *setting, struct vectors *v, const char *name,
                                bool codes, bool blocked, struct error *err)
{
    static const struct bench_unit unit = {"Gstate/s", 1e-9};
    struct exps exps;
    prepare_scan(v, codes, blocked);
    struct load loads[] = {exps_load(&exps, setting, v->threads),
                           {.run = scan_run,
                            .context = v,
                            .team = v->threads > 1,
                            .work = vectors_exps(&setting->model->dims, setting->length)}};
    measure(loads, 2, setting->seconds);
    return rows_add(&setting->rows, "scan", name, v->threads, &loads[1], unit,
                    loads[1].work / load_rate(&loads[0]), err);
}

static void measure_scans(struct bench_setting *setting, struct vectors *v, struct error *err)
{
    if (measure_scan(setting, v, "sequential", false, false, err)) return;
    if (measure_scan(setting, v, "sequential_int8", true, false, err)) return;
    measure_scan(setting, v, "blocked_int8", true, true, err);
}

// ---- the others ----

static void norm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct vectors *v = context;
    v->setting->kernels->norm(&v->norm, begin, end);
}

static void norm_run(void *context)
{
    struct vectors *v = context;
    team_divide(v->setting->team, v->threads, v->setting->length, 1, norm_part, v);
}

static void prepare_norm(struct vectors *v, bool codes)
{
    const struct dims *d = &v->setting->model->dims;
    v->norm = (struct norm){.residual = v->residual,
                            .h = v->h,
                            .ld = v->d_model,
                            .width = d->d_model,
                            .eps = d->norm_eps,
                            .xhat = codes ? NULL : v->xhat,
                            .weight = v->weight,
                            .scaled = codes ? NULL : v->y,
                            .codes = codes ? v->n_codes : NULL,
                            .step = 0x1p-5f};
}

static void conv1d_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct vectors *v = context;
    v->setting->kernels->conv1d(&v->conv1d, begin, end, 0, v->d_inner);
}

static void conv1d_run(void *context)
{
    struct vectors *v = context;
    team_divide(v->setting->team, v->threads, v->setting->length, 1, conv1d_part, v);
}

static void prepare_conv1d(struct vectors *v, bool codes)
{
    const struct dims *d = &v->setting->model->dims;
    const long I = v->d_inner, before = d->d_conv - 1;
    v->conv1d = (struct conv1d){.x_float = codes ? NULL : v->xz + before * 2 * I,
                                .x_codes = codes ? v->xz_codes + before * 2 * I : NULL,
                                .ldx = 2 * I,
                                .w = v->conv_w,
                                .b = v->weight,
                                .ldw = I,
                                .d_conv = d->d_conv,
                                .tap_scale = 0x1p-6f,
                                .v = codes ? NULL : v->v,
                                .ldv = I,
                                .codes = codes ? v->u_codes : NULL,
                                .ldq = I,
                                .step = 0x1p-6f,
                                .ties_away = codes};
}

static void hadamard_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct vectors *v = context;
    const struct kernels *k = v->setting->kernels;
    const long I = v->d_inner;
    for (int t = begin; t < end; t++) {
        k->hadamard(&v->hadamard, v->y + t * I);
        k->quantize_away(v->y + t * I, I, 0x1p-6f, v->u_codes + t * I);
    }
}

static void hadamard_run(void *context)
{
    struct vectors *v = context;
    team_divide(v->setting->team, v->threads, v->setting->length, 1, hadamard_part, v);
}

static bool prepare_hadamard(struct vectors *v)
{
    const int dim = v->setting->model->dims.d_inner;
    int base, power;
    if (!rotation_exists(dim, &base, &power) || base > MAX_BASE) return false;
    // Signs would not change the time; rows are turned in place again and again and must keep their length.
    for (int i = 0; i < base * base; i++)
        v->matrix[i] = i % (base + 1) ? 0.0f : sqrtf((float)base);
    v->hadamard = (struct hadamard){.dim = dim,
                                    .base = base,
                                    .power = power,
                                    .matrix = base > 1 ? v->matrix : NULL,
                                    .factor = 1.0f / sqrtf((float)dim)};
    return true;
}

static enum status measure_moving(struct bench_setting *setting, struct vectors *v, const char *name,
                                  void (*run)(void *), double bytes, struct error *err)
{
    static const struct bench_unit unit = {"GB/s", 1e-9};
    struct load load = {.run = run, .context = v, .work = bytes, .team = v->threads > 1};
    measure(&load, 1, 0.5 * setting->seconds);
    return rows_add(&setting->rows, "elementwise", name, v->threads, &load, unit, 0, err);
}

// Bytes are what is read and written once, by elements of a token.
static void measure_elementwise(struct bench_setting *setting, struct vectors *v, struct error *err)
{
    const double model = (double)v->d_model * setting->length, inner = (double)v->d_inner * setting->length;
    prepare_norm(v, false);
    if (!err->status) measure_moving(setting, v, "norm", norm_run, 20 * model, err);
    prepare_norm(v, true);
    if (!err->status) measure_moving(setting, v, "norm_quantize", norm_run, 13 * model, err);
    prepare_conv1d(v, false);
    if (!err->status) measure_moving(setting, v, "conv1d_silu", conv1d_run, 8 * inner, err);
    prepare_conv1d(v, true);
    if (!err->status) measure_moving(setting, v, "conv1d_silu_quantize", conv1d_run, 2 * inner, err);
    if (!err->status && prepare_hadamard(v))
        measure_moving(setting, v, "hadamard_quantize", hadamard_run, 9 * inner, err);
}

enum status vectors_measure(struct bench_setting *setting, struct error *err)
{
    int sizes[2];
    const int teams = team_sizes(setting, sizes);
    struct vectors v;
    if (vectors_open(&v, setting, err)) return err->status;
    const bool second = setting->model->dims.n_heads > 0;
    rows_title(&setting->rows,
               second ? "Scan: bound is its multiply-adds; and the smaller kernels"
                      : "Selective scan: bound is its exponentials alone; and the smaller kernels");
    for (int team = 0; team < teams && !err->status; team++) {
        v.threads = sizes[team];
        if (second)
            ssd_measure(setting, v.threads, err);
        else
            measure_scans(setting, &v, err);
        measure_elementwise(setting, &v, err);
    }
    arena_clear(&v.arena);
    return err->status;
}

// ---- what a sweep adds to its passes ----

enum { HEAD_TOKENS = 64 }; // logits that are held at a time

// ---- pairs ----

struct pairs_work {
    const struct bench_setting *setting;
    int width;
    long slot, slots; // of the pool, so that what is read lies in memory
    struct accumulator moments;
    struct profile profile;
};

static void pairs_run(void *context)
{
    struct pairs_work *w = context;
    const struct bench_setting *s = w->setting;
    const float *ref = s->pool + 2 * w->slot * s->length * w->width;
    pairs_add_sample(&w->moments, &w->profile, ref, ref + (long)s->length * w->width, (size_t)s->length,
                     w->width);
    w->slot = (w->slot + 1) % w->slots;
}

// One component of d_inner channels; bound: reading both sides at the rate of the triad.
static enum status measure_pairs_row(struct bench_setting *setting, struct error *err)
{
    static const struct bench_unit unit = {"Gpair/s", 1e-9};
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
    const struct bench_setting *setting;
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

static void carve_metrics(struct head_work *w)
{
    const size_t hidden = (size_t)(HEAD_TOKENS * w->gemm.lda), logits = (size_t)(HEAD_TOKENS * w->gemm.ldo);
    w->hidden = arena_take(&w->arena, hidden * sizeof *w->hidden);
    w->logits = arena_take(&w->arena, 2 * logits * sizeof *w->logits);
    if (!w->arena.base) return;
    memcpy(w->hidden, w->setting->pool, hidden * sizeof *w->hidden);
    memcpy(w->logits, w->setting->pool, 2 * logits * sizeof *w->logits);
}

static enum status head_open(struct head_work *w, const struct bench_setting *setting, struct error *err)
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
    carve_metrics(w);
    const size_t bytes = w->arena.used_bytes;
    if (arena_init(&w->arena, bytes, "the bench", err)) return err->status;
    carve_metrics(w);
    w->gemm.a = w->hidden, w->gemm.out = w->logits;
    return STATUS_OK;
}

// The GEMM with the vocabulary beside its peak, and what the sums over both sides' logits take after it.
static enum status measure_head(struct bench_setting *setting, struct error *err)
{
    static const struct bench_unit unit = {"token/s", 1};
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

enum status metrics_measure(struct bench_setting *setting, struct error *err)
{
    rows_title(&setting->rows, "Metrics: bounds are memory (pairs) and multiply-adds (lm_head)");
    if (measure_pairs_row(setting, err)) return err->status;
    return measure_head(setting, err);
}
