// SPDX-License-Identifier: Apache-2.0
#include "setting.h"

// ---- multiply-adds ----

static void peak_part(void *context, int thread, int begin, int end)
{
    struct peak *peak = context;
    double operations = 0;
    for (int i = begin; i < end; i++)
        operations =
            peak->int8 ? peak->kernels->peak_s8(peak->rounds) : peak->kernels->peak_f32(peak->rounds);
    if (thread == 0) peak->operations = operations;
}

static void peak_run(void *context)
{
    const struct peak *peak = context;
    team_divide(peak->team, peak->threads, peak->threads, 1, peak_part, context);
}

struct load peak_load(struct peak *peak, const struct bench_setting *setting, int threads, bool int8)
{
    *peak = (struct peak){
        .kernels = setting->kernels, .team = setting->team, .threads = 1, .int8 = int8, .rounds = 256};
    struct load load = {.run = peak_run, .context = peak};
    load_lengthen(&load, &peak->rounds, 1e-6 * LENGTHENED_US);
    peak_run(peak);
    load.team = threads > 1;
    peak->threads = threads;
    load.work = peak->operations * threads;
    return load;
}

// ---- exponentials ----

static void exps_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct exps *exps = context;
    float out[EXP_COUNT];
    for (int i = begin; i < end; i++)
        for (long r = 0; r < exps->rounds; r++)
            exps->kernels->exp(exps->in, EXP_COUNT, out);
}

static void exps_run(void *context)
{
    const struct exps *exps = context;
    team_divide(exps->team, exps->threads, exps->threads, 1, exps_part, context);
}

// Arguments as the scan has them: step times state decay, a little below zero.
struct load exps_load(struct exps *exps, const struct bench_setting *setting, int threads)
{
    exps->kernels = setting->kernels;
    exps->team = setting->team;
    exps->threads = 1;
    exps->rounds = 16;
    for (int i = 0; i < EXP_COUNT; i++)
        exps->in[i] = -(setting->pool[i] + 1.0f);
    struct load load = {.run = exps_run, .context = exps};
    load_lengthen(&load, &exps->rounds, 1e-6 * LENGTHENED_US);
    load.team = threads > 1;
    exps->threads = threads;
    load.work = (double)EXP_COUNT * (double)exps->rounds * threads;
    return load;
}

// ---- bandwidth ----

static void triad_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct triad *t = context;
    float *restrict a = t->a;
    const float *restrict b = t->b, *restrict c = t->c;
    for (int i = begin; i < end; i++)
        a[i] = b[i] + 0.5f * c[i];
}

static void triad_run(void *context)
{
    const struct triad *t = context;
    team_divide(t->team, t->threads, t->count, KERNEL_LANES, triad_part, context);
}

struct load triad_load(struct triad *triad, const struct bench_setting *setting, int threads)
{
    const long third = setting->pool_floats / 3 / KERNEL_LANES * KERNEL_LANES, most = 64L << 20;
    triad->count = (int)(third < most ? third : most);
    triad->team = setting->team;
    triad->threads = threads;
    triad->a = setting->pool;
    triad->b = triad->a + triad->count;
    triad->c = triad->b + triad->count;
    // As STREAM counts: what the line of `a` costs to be read before it is written does not count.
    return (struct load){
        .run = triad_run, .context = triad, .team = threads > 1, .work = 3.0 * sizeof(float) * triad->count};
}

// ---- the rows ----

static enum status measure_team(struct bench_setting *setting, int threads, struct error *err)
{
    struct peak f32, s8;
    struct exps exps;
    struct triad triad;
    struct load loads[] = {peak_load(&f32, setting, threads, false), peak_load(&s8, setting, threads, true),
                           exps_load(&exps, setting, threads), triad_load(&triad, setting, threads)};
    measure(loads, 4, 2 * setting->seconds);
    static const struct {
        const char *name;
        struct bench_unit unit;
    } rows[] = {{"peak_f32", {"GFLOP/s", 1e-9}},
                {"peak_s8", {"GOP/s", 1e-9}},
                {"exp", {"Gexp/s", 1e-9}},
                {"triad", {"GB/s", 1e-9}}};
    for (int i = 0; i < 4 && !err->status; i++)
        rows_add(&setting->rows, "machine", rows[i].name, threads, &loads[i], rows[i].unit, 0, err);
    return err->status;
}

enum status machine_measure(struct bench_setting *setting, struct error *err)
{
    int sizes[2];
    const int teams = team_sizes(setting, sizes);
    rows_title(&setting->rows, "Machine");
    for (int i = 0; i < teams && !err->status; i++)
        measure_team(setting, sizes[i], err);
    return err->status;
}
