// SPDX-License-Identifier: Apache-2.0
// What Mamba-2 has of its own: its scans, the gated norm, scales of columns, weights in 4 bits.
#include "setting.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/arch/codes4.h"

// ---- what a scan takes ----

// Multiply-adds of a layer, and products, of which each takes as long: token after token a product and two
// multiply-adds for each channel and state; by chunks what reads the state and what adds to it, B with C and
// what is made of u with that over the tokens in front.
static double ssd_steps(const struct dims *d, enum ssd_order order, int length)
{
    const double I = d->d_inner, N = d->d_state, L = length,
                 behind = ((d->chunk_size < length ? d->chunk_size : length) + 1) / 2.0;
    if (order == SSD_SEQUENTIAL) return 3 * I * N * L;
    return (2 * I * N + (d->n_groups * N + I) * behind) * L;
}

double ssd_operations(const struct dims *dims, enum ssd_order order, int length)
{
    return 2 * ssd_steps(dims, order, length);
}

double ssd_exps(const struct dims *d, enum ssd_order order, int length)
{
    const double chunk = d->chunk_size < length ? d->chunk_size : length;
    return d->n_heads * length * (order == SSD_SEQUENTIAL ? 1 : (chunk + 1) / 2);
}

// ---- buffers ----

// As the workspace of a forward pass has them.
enum { UNPACKED = 4 * CODES4_OUTPUTS }; // outputs in 4 bits at a time
struct ssd_work {
    const struct bench_setting *setting;
    int threads;
    long I, conv, in, H, P; // widths rounded up to 16: of z, of x, B, C, of all, of heads, of a head
    struct arena arena;
    float *values, *u, *y, *delta, *dA, *state; // [L][in], [L][conv], [L][I], [L][H] each, [H][N][P]
    float *small, *steps, *scratch;
    int8_t *codes, *levels; // [L][conv], [UNPACKED][D]
    long scratch_floats;
    struct ssd ssd;
    struct gated_norm norm;
    struct columns columns;
};

static float *take(struct ssd_work *w, long count, float low, float high)
{
    float *p = arena_take(&w->arena, (size_t)count * sizeof *p);
    uint32_t state = (uint32_t)w->arena.used_bytes;
    for (long i = 0; w->arena.base && i < count; i++)
        p[i] = low + (high - low) * 0.5f * (random_uniform(&state) + 1);
    return p;
}

static void carve(struct ssd_work *w)
{
    const struct dims *d = &w->setting->model->dims;
    const long L = w->setting->length;
    w->values = take(w, L * w->in, -1, 1);
    w->u = take(w, L * w->conv, -1, 1);
    w->y = take(w, L * w->I, -1, 1);
    w->delta = take(w, L * w->H, 0, 0);
    w->dA = take(w, L * w->H, 0, 0);
    w->state = take(w, d->n_heads * (long)d->d_state * w->P, 0, 0);
    w->small = take(w, 3 * w->H + w->I, -3, -1); // bias, A, D, and the weight of the norm
    w->steps = take(w, w->conv, 0.005f, 0.02f);
    w->codes = arena_take(&w->arena, (size_t)(L * w->conv));
    w->levels = arena_take(&w->arena, (size_t)UNPACKED * (size_t)d->d_model);
    w->scratch_floats = ssd_scratch_floats((int)L, d->chunk_size, d->d_state);
    w->scratch = take(w, w->scratch_floats * w->threads, 0, 0);
}

static enum status open_work(struct ssd_work *w, const struct bench_setting *setting, int threads,
                             struct error *err)
{
    const struct dims *d = &setting->model->dims;
    *w = (struct ssd_work){.setting = setting,
                           .threads = threads,
                           .I = round_up16(d->d_inner),
                           .conv = round_up16((int)arch_size(EXTENT_I_2GN, d)),
                           .H = round_up16(d->n_heads),
                           .P = round_up16(d->head_dim)};
    w->in = w->I + w->conv + w->H;
    arena_init_measure(&w->arena);
    carve(w);
    if (arena_init(&w->arena, w->arena.used_bytes, "the bench", err)) return err->status;
    carve(w);
    return STATUS_OK;
}

// ---- scans ----

static void times_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct ssd_work *w = context;
    w->setting->kernels->ssd_times(&w->ssd, begin, end);
}

static void scan_part(void *context, int thread, int begin, int end)
{
    const struct ssd_work *w = context;
    const struct kernels *k = w->setting->kernels;
    (w->ssd.order == SSD_SEQUENTIAL ? k->ssd_sequential : k->ssd_chunked)(
        &w->ssd, begin, end, w->scratch + thread * w->scratch_floats);
}

static void scan_run(void *context)
{
    struct ssd_work *w = context;
    const int units = w->ssd.heads * (int)(w->P / KERNEL_LANES);
    team_divide(w->setting->team, w->threads, w->setting->length, 1, times_part, w);
    team_divide(w->setting->team, w->threads, units, (int)(w->P / KERNEL_LANES), scan_part, w);
}

static enum status measure_scan(struct bench_setting *setting, struct ssd_work *w, const char *name,
                                enum ssd_order order, struct error *err)
{
    static const struct bench_unit unit = {"Gstate/s", 1e-9};
    const struct dims *d = &setting->model->dims;
    const int L = setting->length;
    w->ssd = (struct ssd){.length = L,
                          .heads = d->n_heads,
                          .head_dim = d->head_dim,
                          .groups = d->n_groups,
                          .d_state = d->d_state,
                          .chunk = d->chunk_size,
                          .order = order,
                          .u = w->u,
                          .ldu = w->conv,
                          .dt = w->values + w->I + w->conv,
                          .lddt = w->in,
                          .dt_bias = w->small,
                          .A = w->small + w->H,
                          .D = w->small + 2 * w->H,
                          .dt_max = INFINITY,
                          .B = w->u + d->d_inner,
                          .C = w->u + d->d_inner + d->n_groups * d->d_state,
                          .ldbc = w->conv,
                          .y = w->y,
                          .ldy = w->I,
                          .half = order != SSD_SEQUENTIAL,
                          .delta = w->delta,
                          .dA = w->dA,
                          .state = w->state};
    struct peak peak;
    struct exps exps;
    struct load loads[] = {
        peak_load(&peak, setting, w->threads, false),
        exps_load(&exps, setting, w->threads),
        {.run = scan_run, .context = w, .team = w->threads > 1, .work = (double)d->d_inner * d->d_state * L}};
    measure(loads, 3, setting->seconds);
    const double bound =
        ssd_operations(d, order, L) / load_rate(&loads[0]) + ssd_exps(d, order, L) / load_rate(&loads[1]);
    return rows_add(&setting->rows, "scan", name, w->threads, &loads[2], unit, bound, err);
}

// ---- the others ----

static void norm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct ssd_work *w = context;
    w->setting->kernels->gated_norm(&w->norm, begin, end);
}

static void norm_run(void *context)
{
    struct ssd_work *w = context;
    team_divide(w->setting->team, w->threads, w->setting->length, 1, norm_part, w);
}

static void columns_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct ssd_work *w = context;
    w->setting->kernels->columns(&w->columns, begin, end);
}

static void columns_run(void *context)
{
    struct ssd_work *w = context;
    team_divide(w->setting->team, w->threads, w->setting->length, 1, columns_part, w);
}

static enum status measure_moving(struct bench_setting *setting, struct ssd_work *w, const char *name,
                                  void (*run)(void *), double bytes, struct error *err)
{
    static const struct bench_unit unit = {"GB/s", 1e-9};
    struct load load = {.run = run, .context = w, .work = bytes, .team = w->threads > 1};
    measure(&load, 1, 0.5 * setting->seconds);
    return rows_add(&setting->rows, "elementwise", name, w->threads, &load, unit, 0, err);
}

static void prepare_norm(struct ssd_work *w, bool half)
{
    const struct dims *d = &w->setting->model->dims;
    w->norm = (struct gated_norm){.y = w->u,
                                  .z = w->values,
                                  .ldy = w->conv,
                                  .ldz = w->in,
                                  .weight = w->small + 3 * w->H,
                                  .width = d->d_inner,
                                  .parts = d->norm_groups > 0 ? d->norm_groups : 1,
                                  .eps = d->norm_eps,
                                  .gate_last = d->gate_last,
                                  .half = half,
                                  .out = w->y,
                                  .ldo = w->I};
}

// Rows with a scale for each column: u, B and C behind conv1d, to codes and to values.
static void prepare_columns(struct ssd_work *w)
{
    w->columns = (struct columns){.x = w->values,
                                  .ldx = w->in,
                                  .width = (int)w->conv,
                                  .steps = w->steps,
                                  .ties_away = true,
                                  .codes = w->codes,
                                  .ldq = w->conv,
                                  .values = w->u,
                                  .ldv = w->conv};
}

// The codes of some outputs, as a matrix of the file has them.
static void unpack_run(void *context)
{
    struct ssd_work *w = context;
    const int depth = w->setting->model->dims.d_model / KERNEL_LANES * KERNEL_LANES;
    const struct tensor words = {.dtype = DTYPE_I32,
                                 .dims = 2,
                                 .shape = {depth / KERNEL_LANES, 2 * UNPACKED},
                                 .stride = {2 * UNPACKED, 1},
                                 .data = (const unsigned char *)w->setting->pool};
    const struct codes4 codes = {.words = &words, .outputs = UNPACKED, .depth = depth, .a8 = true};
    codes4_levels(&codes, 0, UNPACKED, w->levels);
}

static void measure_others(struct bench_setting *setting, struct ssd_work *w, struct error *err)
{
    const struct dims *d = &setting->model->dims;
    const double inner = (double)d->d_inner * setting->length,
                 codes = (double)UNPACKED * (d->d_model / KERNEL_LANES * KERNEL_LANES);
    prepare_norm(w, false);
    if (measure_moving(setting, w, "gated_norm", norm_run, 12 * inner, err)) return;
    prepare_norm(w, true);
    if (measure_moving(setting, w, "gated_norm_half", norm_run, 12 * inner, err)) return;
    prepare_columns(w);
    if (measure_moving(setting, w, "quantize_columns", columns_run, 9.0 * (double)w->conv * setting->length,
                       err))
        return;
    if (w->threads == 1) measure_moving(setting, w, "unpack_4bit", unpack_run, 1.5 * codes, err);
}

enum status ssd_measure(struct bench_setting *setting, int threads, struct error *err)
{
    struct ssd_work w;
    if (open_work(&w, setting, threads, err)) return err->status;
    if (!measure_scan(setting, &w, "sequential", SSD_SEQUENTIAL, err) &&
        !measure_scan(setting, &w, "chunked", SSD_CHUNKED, err) &&
        !measure_scan(setting, &w, "chunked_gpu", SSD_CHUNKED_GPU, err))
        measure_others(setting, &w, err);
    arena_clear(&w.arena);
    return err->status;
}
