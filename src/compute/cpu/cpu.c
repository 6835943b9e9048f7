// SPDX-License-Identifier: Apache-2.0
// The processor as a backend: a batch is one sample, a step is divided over the threads of a team.
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_batch.h"
#include "isa/dither.h"

// ---- life ----

static enum status cpu_open(struct batch **batch, const struct batch_shape *shape, struct error *err)
{
    const struct kernels *kernels;
    if (kernels_choose(&kernels, err)) return err->status;
    struct cpu_batch *b = calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "a batch");
    *b = (struct cpu_batch){.batch.backend = &backend_cpu, .kernels = kernels, .threads = shape->threads};
    if (team_open(&b->team, shape->threads, err)) {
        free(b);
        return err->status;
    }
    *batch = &b->batch;
    return STATUS_OK;
}

static void cpu_carve(struct batch *batch, const struct batch_shape *shape, struct arena *arena)
{
    struct cpu_batch measured, *b = batch ? cpu_of(batch) : &measured;
    b->bias128 = arena_take(arena, (size_t)shape->max_tokens * sizeof *b->bias128);
    b->scratch_floats = shape->chunk ? ssd_scratch_floats(shape->max_tokens, shape->chunk, shape->d_state)
                                     : scan_scratch_floats(shape->max_tokens, shape->d_state);
    b->scratch = arena_take(arena, (size_t)(shape->threads * b->scratch_floats) * sizeof *b->scratch);
    const size_t threads = (size_t)shape->threads, rows = threads * EXPECTED_ROWS;
    b->expected.sides = arena_take(arena, rows * sizeof *b->expected.sides);
    b->expected.exps = arena_take(arena, rows * PREDICTION_PIECE * sizeof *b->expected.exps);
    b->parts = arena_take(arena, threads > 1 ? threads * FOUND_BLOCKS * sizeof *b->parts : 0);
    b->bins = arena_take(arena, threads > 1 ? threads * sizeof *b->bins : 0);
}

static void cpu_close(struct batch *batch)
{
    if (!batch) return;
    team_close(cpu_of(batch)->team);
    free(batch);
}

static struct team *cpu_team(const struct batch *batch)
{
    return ((const struct cpu_batch *)batch)->team;
}

static enum status cpu_hold(struct batch *batch, const void *weights, size_t bytes, struct error *err)
{
    (void)batch, (void)weights, (void)bytes, (void)err; // they are here
    return STATUS_OK;
}

static float *cpu_draft(struct batch *batch, float *to, long count)
{
    (void)batch, (void)count;
    return to;
}

static void cpu_put(struct batch *batch)
{
    (void)batch; // it is there
}

static enum status cpu_settle(struct batch *batch, struct error *err)
{
    (void)batch, (void)err; // each step ends when it is done
    return STATUS_OK;
}

// ---- products: divided over rows where each thread has many or panels are few, else over panels ----

// A thread that has so many rows to itself keeps them in its second-level cache while the weights pass, which
// then come from the third often enough.  There are more parts than threads where that costs nothing, so that
// a thread that is held up leaves some to the others.
enum { ROWS_ALONE = 64, PRODUCT_PARTS = 4 };

struct product {
    const struct kernels *kernels;
    const struct gemm_f32 *f32;
    const struct gemm_s8 *s8;
    int32_t *bias128;
    int rows, panels;
    bool by_rows;
};

static void product_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct product *p = context;
    const int row0 = p->by_rows ? begin : 0, row1 = p->by_rows ? end : p->rows;
    const int panel0 = p->by_rows ? 0 : begin, panel1 = p->by_rows ? p->panels : end;
    if (p->f32)
        p->kernels->gemm_f32(p->f32, row0, row1, panel0, panel1);
    else
        p->kernels->gemm_s8(p->s8, row0, row1, panel0, panel1);
}

static void run_product(const struct cpu_batch *b, struct product *product)
{
    const struct kernels *k = product->kernels = b->kernels;
    const int rows = product->rows = b->batch.tokens, alone = rows / ROWS_ALONE;
    product->by_rows = product->panels / k->tile_panels < 4 * b->threads || alone >= b->threads;
    const int parts = !product->by_rows         ? PRODUCT_PARTS * b->threads
                      : alone >= 2 * b->threads ? 2 * b->threads
                                                : b->threads;
    if (b->threads == 1)
        product_part(product, 0, 0, product->by_rows ? rows : product->panels);
    else if (product->by_rows)
        team_divide(b->team, parts, rows, k->tile_rows, product_part, product);
    else
        team_divide(b->team, parts, product->panels, k->tile_panels, product_part, product);
}

static void cpu_product_f32(struct batch *batch, const struct gemm_f32 *gemm, int outputs)
{
    run_product(cpu_of(batch), &(struct product){.f32 = gemm, .panels = outputs / KERNEL_LANES});
}

static void row_sums_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct product *p = context;
    p->kernels->row_sums(p->s8, begin, end, p->bias128);
}

static void cpu_product_s8(struct batch *batch, struct gemm_s8 *gemm, int outputs)
{
    const struct cpu_batch *b = cpu_of(batch);
    if (!gemm->bias128) {
        cpu_divide(b, batch->tokens, 1, row_sums_part,
                   &(struct product){.kernels = b->kernels, .s8 = gemm, .bias128 = b->bias128});
        gemm->bias128 = b->bias128;
    }
    run_product(b, &(struct product){.s8 = gemm, .panels = outputs / KERNEL_LANES});
}

// ---- the other steps: divided over rows or channels ----

struct work {
    const struct cpu_batch *b;
    const void *arguments;
    float *rows;
    long ld;
    int channels;
};

static void norm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->b->kernels->norm(w->arguments, begin, end);
}

static void cpu_norm(struct batch *batch, const struct norm *norm)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, batch->tokens, 1, norm_part, &(struct work){.b = b, .arguments = norm});
}

static void conv1d_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->b->kernels->conv1d(w->arguments, begin, end, 0, w->channels);
}

static void scale_taps(const struct conv1d *c, int channels)
{
    for (int i = 0, part = 0; i < channels; i++) {
        while (part < CONV1D_PARTS && i >= c->part_ends[part])
            part++;
        c->taps[i] = c->tap_scales[i] * (part < CONV1D_PARTS ? *c->part_scales[part] : 1);
    }
}

static void cpu_conv1d(struct batch *batch, const struct conv1d *conv1d, int channels)
{
    const struct cpu_batch *b = cpu_of(batch);
    struct conv1d scaled = *conv1d;
    if (scaled.x_scale) scaled.tap_scale *= *scaled.x_scale;
    if (scaled.part_scales[0]) {
        scale_taps(&scaled, channels);
        scaled.tap_scales = scaled.taps;
    }
    cpu_divide(b, batch->tokens, 1, conv1d_part,
               &(struct work){.b = b, .arguments = &scaled, .channels = channels});
}

static void scan_part(void *context, int thread, int begin, int end)
{
    const struct work *w = context;
    const struct scan *scan = w->arguments;
    float *scratch = w->b->scratch + thread * w->b->scratch_floats;
    if (scan->blocked)
        w->b->kernels->scan_blocked(scan, begin, end, scratch);
    else
        w->b->kernels->scan_sequential(scan, begin, end, scratch);
}

static void cpu_scan(struct batch *batch, const struct scan *scan)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, (int)scan->ld_inner, KERNEL_LANES, scan_part, &(struct work){.b = b, .arguments = scan});
}

static void ssd_times_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->b->kernels->ssd_times(w->arguments, begin, end);
}

static void ssd_part(void *context, int thread, int begin, int end)
{
    const struct work *w = context;
    const struct ssd *ssd = w->arguments;
    float *scratch = w->b->scratch + thread * w->b->scratch_floats;
    if (ssd->order == SSD_SEQUENTIAL)
        w->b->kernels->ssd_sequential(ssd, begin, end, scratch);
    else
        w->b->kernels->ssd_chunked(ssd, begin, end, scratch);
}

static void cpu_ssd(struct batch *batch, const struct ssd *ssd)
{
    const struct cpu_batch *b = cpu_of(batch);
    const int units = ssd->heads * (round_up16(ssd->head_dim) / KERNEL_LANES);
    struct work work = {.b = b, .arguments = ssd};
    cpu_divide(b, ssd->length, 1, ssd_times_part, &work);
    cpu_divide(b, units, 1, ssd_part, &work);
}

static void gated_norm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->b->kernels->gated_norm(w->arguments, begin, end);
}

static void cpu_gated_norm(struct batch *batch, const struct gated_norm *norm)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, batch->tokens, 1, gated_norm_part, &(struct work){.b = b, .arguments = norm});
}

static void rotate_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    for (int t = begin; t < end; t++)
        w->b->kernels->hadamard(w->arguments, w->rows + t * w->ld);
}

static void cpu_rotate(struct batch *batch, const struct hadamard *hadamard, float *rows, long ld)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, batch->tokens, 1, rotate_part,
               &(struct work){.b = b, .arguments = hadamard, .rows = rows, .ld = ld});
}

static void cpu_embed(struct batch *batch, const struct embedding *embedding, const int32_t *ids, float *out,
                      long ld)
{
    memset(out, 0, (size_t)(batch->tokens * ld) * sizeof *out);
    for (int t = 0; t < batch->tokens; t++)
        embedding->row(embedding->context, ids[t], out + t * ld);
}

static float step_of(float most)
{
    return most > 0 ? most / 127.0f : 1.0f;
}

// What is left of a row behind the last 16, with zeros behind it.
static void take_tail(const float *row, int width, float tail[KERNEL_LANES])
{
    const int whole = width / KERNEL_LANES * KERNEL_LANES;
    memset(tail, 0, KERNEL_LANES * sizeof *tail);
    memcpy(tail, row + whole, (size_t)(width - whole) * sizeof *tail);
}

static float row_most(const struct kernels *k, const float *row, int width)
{
    float tail[KERNEL_LANES];
    const float most = k->absmax(row, width / KERNEL_LANES * KERNEL_LANES);
    if (width % KERNEL_LANES == 0) return most;
    take_tail(row, width, tail);
    const float last = k->absmax(tail, KERNEL_LANES);
    return last > most ? last : most;
}

static void quantize_row(const struct cpu_batch *b, const struct quantize *q, const float *row, float step,
                         int8_t *codes)
{
    void (*const kernel)(const float *, long, float, int8_t *) =
        q->ties_away ? b->kernels->quantize_away : b->kernels->quantize_even;
    const int whole = q->width / KERNEL_LANES * KERNEL_LANES;
    float tail[KERNEL_LANES];
    int8_t tail_codes[KERNEL_LANES];
    kernel(row, whole, step, codes);
    if (whole == q->width) return;
    take_tail(row, q->width, tail);
    kernel(tail, KERNEL_LANES, step, tail_codes);
    memcpy(codes + whole, tail_codes, (size_t)(q->width - whole));
}

// The step of the sample; a sample of which something is not finite is broken as a whole.
static float step_of_sample(struct batch *batch, const struct quantize *q)
{
    const struct kernels *k = cpu_of(batch)->kernels;
    float most = 0;
    for (int t = 0; t < batch->tokens; t++) {
        const float row = row_most(k, q->x + t * q->ldx, q->width);
        if (row > most) most = row;
    }
    if (batch->broken < batch->tokens || !isfinite(most)) batch->broken = 0;
    return *q->steps = step_of(most);
}

static void quantize_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    const struct quantize *q = w->arguments;
    for (int t = begin; t < end; t++) {
        const float *row = q->x + t * q->ldx;
        float step = q->step;
        if (q->of == STEP_OF_ROWS) step = q->steps[t] = step_of(row_most(w->b->kernels, row, q->width));
        quantize_row(w->b, q, row, step, q->codes + t * q->ldq);
    }
}

static void cpu_quantize(struct batch *batch, const struct quantize *quantize)
{
    const struct cpu_batch *b = cpu_of(batch);
    struct quantize q = *quantize;
    if (q.of == STEP_OF_SAMPLE) q.step = step_of_sample(batch, &q);
    cpu_divide(b, batch->tokens, 1, quantize_part, &(struct work){.b = b, .arguments = &q});
}

static void dequantize_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct dequantize *d = ((const struct work *)context)->arguments;
    for (int t = begin; t < end; t++) {
        const int8_t *codes = d->codes + t * d->ldq;
        const float scale = d->scale[d->by_row ? t : 0];
        float *values = d->values + t * d->ldv;
        for (int i = 0; i < d->width; i++)
            values[i] = (float)codes[i] * scale;
    }
}

static void cpu_dequantize(struct batch *batch, const struct dequantize *d)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, batch->tokens, 1, dequantize_part, &(struct work){.b = b, .arguments = d});
}

static void columns_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->b->kernels->columns(w->arguments, begin, end);
}

static void cpu_columns(struct batch *batch, const struct columns *columns)
{
    const struct cpu_batch *b = cpu_of(batch);
    cpu_divide(b, batch->tokens, 1, columns_part, &(struct work){.b = b, .arguments = columns});
}

static void cpu_quotients(struct batch *batch, const float *from, int count, float by, float *to)
{
    (void)batch;
    for (int i = 0; i < count; i++)
        to[i] = (float)((double)from[i] / (double)by);
}

static void cpu_weigh(struct batch *batch, float *x, long ld, int width, const float *weight)
{
    for (int t = 0; t < batch->tokens; t++)
        for (int i = 0; i < width; i++)
            x[t * ld + i] *= weight[i];
}

static void cpu_zero(struct batch *batch, float *x, long count)
{
    (void)batch;
    memset(x, 0, (size_t)count * sizeof *x);
}

struct copying {
    const float *from;
    float *to;
};

static void copy_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct copying *c = context;
    memcpy(c->to + begin, c->from + begin, (size_t)(end - begin) * sizeof *c->to);
}

static void cpu_copy(struct batch *batch, const float *from, float *to, long count)
{
    cpu_divide(cpu_of(batch), (int)count, 1 << 14, copy_part, &(struct copying){from, to});
}

static void cpu_round_half(struct batch *batch, float *x, long ld)
{
    cpu_of(batch)->kernels->round_half(x, batch->tokens * ld);
}

// ---- dither ----

static void cpu_dither(struct batch *batch, float *x, long ld, int width, uint64_t key)
{
    const uint64_t mixed = dither_mix(key);
    for (int t = 0; t < batch->tokens; t++)
        for (int i = 0; i < width; i++)
            x[t * ld + i] = dither_nudge(x[t * ld + i], dither_random(mixed, t, i));
}

// ---- what is not finite ----

struct breaking {
    const struct kernels *kernels;
    const float *from;
    float *to; // NULL: the first is looked for
    long ld_from, ld_to;
    int width_from, width_to;
    atomic_int first;
};

static void breaking_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    struct breaking *b = context;
    int first = end;
    for (int t = begin; t < end; t++) {
        if (b->kernels->finite(b->from + t * b->ld_from, b->width_from)) continue;
        if (t < first) first = t;
        if (b->to) cpu_break_row(b->to + t * b->ld_to, b->width_to);
    }
    if (first == end) return;
    int before = atomic_load(&b->first);
    while (first < before && !atomic_compare_exchange_weak(&b->first, &before, first))
        ; // `before` is what it is now
}

static void cpu_find_broken(struct batch *batch, const float *rows, long ld, int width)
{
    struct breaking b = {.kernels = cpu_of(batch)->kernels,
                         .from = rows,
                         .ld_from = ld,
                         .width_from = width,
                         .first = batch->tokens};
    cpu_divide(cpu_of(batch), batch->tokens, 1, breaking_part, &b);
    batch->broken = b.first;
}

static void cpu_break_rows(struct batch *batch, const float *from, long ld_from, int width_from, float *to,
                           long ld_to, int width_to)
{
    struct breaking b = {cpu_of(batch)->kernels, from, to, ld_from, ld_to, width_from, width_to,
                         batch->tokens};
    cpu_divide(cpu_of(batch), batch->tokens, 1, breaking_part, &b);
}

static void cpu_break_rest(struct batch *batch, float *rows, long ld, int width)
{
    for (int t = batch->broken; t < batch->tokens; t++)
        cpu_break_row(rows + t * ld, width);
}

static void cpu_mark_finite(struct batch *batch, const float *rows, long ld, int width, int8_t *finite)
{
    for (int t = 0; t < batch->tokens; t++)
        finite[t] = cpu_of(batch)->kernels->finite(rows + t * ld, width);
}

static void cpu_break_marked(struct batch *batch, const int8_t *finite, float *rows, long ld, int width)
{
    for (int t = 0; t < batch->tokens; t++)
        if (!finite[t]) cpu_break_row(rows + t * ld, width);
}

static float cpu_most(struct batch *batch, const float *x, long count)
{
    return cpu_of(batch)->kernels->absmax(x, count);
}

static bool cpu_same(struct batch *batch, const float *a, const float *b, long count)
{
    (void)batch;
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

const struct backend backend_cpu = {.name = "cpu",
                                    .reserve = arena_init,
                                    .release = arena_clear,
                                    .open = cpu_open,
                                    .carve = cpu_carve,
                                    .hold = cpu_hold,
                                    .draft = cpu_draft,
                                    .put = cpu_put,
                                    .settle = cpu_settle,
                                    .close = cpu_close,
                                    .team = cpu_team,
                                    .embed = cpu_embed,
                                    .norm = cpu_norm,
                                    .product_f32 = cpu_product_f32,
                                    .product_s8 = cpu_product_s8,
                                    .conv1d = cpu_conv1d,
                                    .scan = cpu_scan,
                                    .ssd = cpu_ssd,
                                    .gated_norm = cpu_gated_norm,
                                    .rotate = cpu_rotate,
                                    .quantize = cpu_quantize,
                                    .dequantize = cpu_dequantize,
                                    .columns = cpu_columns,
                                    .quotients = cpu_quotients,
                                    .round_half = cpu_round_half,
                                    .weigh = cpu_weigh,
                                    .zero = cpu_zero,
                                    .copy = cpu_copy,
                                    .dither = cpu_dither,
                                    .find_broken = cpu_find_broken,
                                    .break_rows = cpu_break_rows,
                                    .break_rest = cpu_break_rest,
                                    .mark_finite = cpu_mark_finite,
                                    .break_marked = cpu_break_marked,
                                    .give = cpu_give,
                                    .keep = cpu_keep,
                                    .sees = true,
                                    .most = cpu_most,
                                    .grid = cpu_grid,
                                    .same = cpu_same,
                                    .measure = cpu_measure,
                                    .expect = cpu_expect,
                                    .predict = cpu_predict};
