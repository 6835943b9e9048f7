// SPDX-License-Identifier: Apache-2.0
#include "setting.h"

#include <stdio.h>
#include <string.h>

struct shape {
    const char *name;
    int outputs, depth;
    long lda;
    enum gemm_s8_result result; // what the quantized layer wants of it
};
enum { MOST_SHAPES = 4 };

static int layer_shapes(const struct dims *d, struct shape shapes[MOST_SHAPES])
{
    const int inner = round_up16(d->d_inner), model = round_up16(d->d_model);
    const int dbl = round_up16(d->dt_rank) + 2 * round_up16(d->d_state);
    const int in = d->n_heads > 0
                       ? inner + round_up16((int)arch_size(EXTENT_I_2GN, d)) + round_up16(d->n_heads)
                       : 2 * inner;
    int count = 0;
    shapes[count++] = (struct shape){"in_proj", in, d->d_model, model, GEMM_S8_CODES};
    if (d->n_heads == 0) {
        shapes[count++] = (struct shape){"x_proj", dbl, d->d_inner, inner, GEMM_S8_CODES};
        shapes[count++] = (struct shape){"dt_proj", inner, d->dt_rank, dbl, GEMM_S8_CODES};
    }
    shapes[count++] = (struct shape){"out_proj", model, d->d_inner, inner, GEMM_S8_HALF};
    return count;
}

void gemms_name(const struct dims *dims, int outputs, int depth, char *name)
{
    struct shape shapes[MOST_SHAPES];
    const int count = layer_shapes(dims, shapes);
    snprintf(name, ROW_NAME_CHARS, "%d x %d", outputs, depth);
    for (int i = 0; i < count; i++)
        if (shapes[i].outputs == outputs && shapes[i].depth == depth)
            snprintf(name, ROW_NAME_CHARS, "%s", shapes[i].name);
}

double gemms_operations(const struct dims *d, int length)
{
    if (d->n_heads > 0)
        return 2.0 * ((double)arch_size(EXTENT_2I_2GN_H, d) + d->d_inner) * d->d_model * length;
    const double per_token = 2.0 * d->d_inner * d->d_model + (d->dt_rank + 2.0 * d->d_state) * d->d_inner +
                             (double)d->d_inner * d->dt_rank + (double)d->d_model * d->d_inner;
    return 2 * per_token * length;
}

// ---- one GEMM as a load ----

enum variant { VARIANT_F32, VARIANT_S8, VARIANT_S8_PLAIN };

struct gemm_work {
    const struct bench_setting *setting;
    struct shape shape;
    enum variant variant;
    int threads, panels;
    bool by_rows;     // as the forward pass divides it
    long slot, slots; // place in the pool; each run takes weights that no cache holds any more
    struct gemm_f32 f32;
    struct gemm_s8 s8;
    int32_t *bias128;
};

static void gemm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct gemm_work *w = context;
    const struct kernels *k = w->setting->kernels;
    const int row0 = w->by_rows ? begin : 0, row1 = w->by_rows ? end : w->setting->length;
    const int panel0 = w->by_rows ? 0 : begin, panel1 = w->by_rows ? w->panels : end;
    if (w->variant == VARIANT_F32)
        k->gemm_f32(&w->f32, row0, row1, panel0, panel1);
    else
        k->gemm_s8(&w->s8, row0, row1, panel0, panel1);
}

static void gemm_run(void *context)
{
    struct gemm_work *w = context;
    const struct kernels *k = w->setting->kernels;
    const long panel_bytes = (long)((w->shape.depth + 3) / 4 * 4) * KERNEL_LANES;
    w->slot = (w->slot + 1) % w->slots;
    w->f32.w = w->setting->pool + w->slot * w->panels * w->shape.depth * KERNEL_LANES;
    w->s8.w = (const uint8_t *)(const void *)w->setting->pool + w->slot * w->panels * panel_bytes;
    if (w->variant == VARIANT_S8) k->row_sums(&w->s8, 0, w->setting->length, w->bias128);
    if (w->by_rows)
        team_divide(w->setting->team, w->threads, w->setting->length, k->tile_rows, gemm_part, w);
    else
        team_divide(w->setting->team, w->threads, w->panels, k->tile_panels, gemm_part, w);
}

// Activations and results, for the largest shape.
struct buffers {
    struct arena arena;
    float *a, *out;
    int8_t *a_codes;
    int32_t *bias128;
};

static void carve(struct buffers *b, const struct shape *shapes, int count, int length)
{
    long lda = 0, ldo = 0;
    for (int i = 0; i < count; i++) {
        lda = shapes[i].lda > lda ? shapes[i].lda : lda;
        ldo = shapes[i].outputs > ldo ? shapes[i].outputs : ldo;
    }
    const size_t a = (size_t)(lda * length), out = (size_t)(ldo * length);
    b->a = arena_take(&b->arena, a * sizeof *b->a);
    b->out = arena_take(&b->arena, out * sizeof *b->out);
    b->a_codes = arena_take(&b->arena, a + 4);
    b->bias128 = arena_take(&b->arena, (size_t)length * sizeof *b->bias128);
    if (!b->arena.base) return;
    uint32_t state = 2;
    for (size_t i = 0; i < a; i++) {
        b->a[i] = random_uniform(&state);
        b->a_codes[i] = (int8_t)(127 * b->a[i]);
    }
}

static enum status buffers_open(struct buffers *b, const struct shape *shapes, int count, int length,
                                struct error *err)
{
    arena_init_measure(&b->arena);
    carve(b, shapes, count, length);
    const size_t bytes = b->arena.used_bytes;
    if (arena_init(&b->arena, bytes, "the bench", err)) return err->status;
    carve(b, shapes, count, length);
    return STATUS_OK;
}

static struct load gemm_load(struct gemm_work *w, const struct bench_setting *setting,
                             const struct buffers *b, const struct shape *shape, enum variant variant,
                             int threads)
{
    const int panels = shape->outputs / KERNEL_LANES;
    const long floats = (long)panels * shape->depth * KERNEL_LANES;
    *w = (struct gemm_work){.setting = setting,
                            .shape = *shape,
                            .variant = variant,
                            .threads = threads,
                            .panels = panels,
                            .by_rows = panels / setting->kernels->tile_panels < 4 * threads,
                            .slots = setting->pool_floats / floats,
                            .bias128 = b->bias128};
    w->f32 = (struct gemm_f32){
        .a = b->a, .lda = shape->lda, .depth = shape->depth, .out = b->out, .ldo = shape->outputs};
    w->s8 = (struct gemm_s8){.a = b->a_codes,
                             .lda = shape->lda,
                             .depth = shape->depth,
                             .bias128 = b->bias128,
                             .result = variant == VARIANT_S8_PLAIN ? GEMM_S8_FLOAT : shape->result,
                             .first = 0x1p-10f,
                             .second = 0x1p-4f,
                             .out = b->out,
                             .ldo = shape->outputs};
    return (struct load){.run = gemm_run,
                         .context = w,
                         .team = threads > 1,
                         .work = 2.0 * shape->outputs * shape->depth * setting->length};
}

// ---- the rows ----

static enum status measure_gemm(struct bench_setting *setting, const struct buffers *b,
                                const struct shape *shape, enum variant variant, int threads,
                                struct error *err)
{
    static const char *const groups[] = {"gemm_f32", "gemm_s8", "gemm_s8_plain"};
    static const struct bench_unit units[] = {{"GFLOP/s", 1e-9}, {"GOP/s", 1e-9}, {"GOP/s", 1e-9}};
    struct peak peak;
    struct gemm_work work;
    struct load loads[] = {peak_load(&peak, setting, threads, variant != VARIANT_F32),
                           gemm_load(&work, setting, b, shape, variant, threads)};
    measure(loads, 2, setting->seconds);
    return rows_add(&setting->rows, groups[variant], shape->name, threads, &loads[1], units[variant],
                    loads[1].work / load_rate(&loads[0]), err);
}

enum status gemms_measure(struct bench_setting *setting, struct error *err)
{
    int sizes[2];
    const int teams = team_sizes(setting, sizes);
    struct shape shapes[MOST_SHAPES];
    struct buffers b;
    const int count = layer_shapes(&setting->model->dims, shapes);
    if (buffers_open(&b, shapes, count, setting->length, err)) return err->status;
    rows_title(&setting->rows, "GEMM: bound is the peak of its instructions on registers");
    for (int team = 0; team < teams; team++)
        for (int variant = VARIANT_F32; variant <= VARIANT_S8_PLAIN; variant++)
            for (int i = 0; i < count && !err->status; i++)
                measure_gemm(setting, &b, &shapes[i], (enum variant)variant, sizes[team], err);
    arena_clear(&b.arena);
    return err->status;
}
