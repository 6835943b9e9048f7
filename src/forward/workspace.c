// SPDX-License-Identifier: Apache-2.0
#include "workspace.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

static void divide(const struct forward *f, int count, int grain, team_range body, void *context)
{
    team_divide(f->team, f->threads, count, grain, body, context);
}

// ---- GEMM: divided over panels where there are enough, else over rows ----

struct gemm_work {
    const struct kernels *kernels;
    const struct gemm_f32 *f32;
    const struct gemm_s8 *s8;
    int rows, panels;
    bool by_rows;
};

static void gemm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct gemm_work *w = context;
    const int row0 = w->by_rows ? begin : 0, row1 = w->by_rows ? end : w->rows;
    const int panel0 = w->by_rows ? 0 : begin, panel1 = w->by_rows ? w->panels : end;
    if (w->f32)
        w->kernels->gemm_f32(w->f32, row0, row1, panel0, panel1);
    else
        w->kernels->gemm_s8(w->s8, row0, row1, panel0, panel1);
}

static void run_gemm(const struct forward *f, struct gemm_work *work)
{
    const struct kernels *k = work->kernels;
    work->by_rows = work->panels / k->tile_panels < 4 * f->threads;
    if (work->by_rows)
        divide(f, work->rows, k->tile_rows, gemm_part, work);
    else
        divide(f, work->panels, k->tile_panels, gemm_part, work);
}

void run_gemm_f32(const struct forward *f, struct gemm_f32 *gemm, int panels)
{
    struct gemm_work work = {
        .kernels = f->weights->kernels, .f32 = gemm, .rows = f->length, .panels = panels};
    run_gemm(f, &work);
}

void run_gemm_s8(const struct forward *f, struct gemm_s8 *gemm, int panels)
{
    struct gemm_work work = {.kernels = f->weights->kernels, .s8 = gemm, .rows = f->length, .panels = panels};
    run_gemm(f, &work);
}

void run_row_sums(const struct forward *f, struct gemm_s8 *gemm)
{
    f->weights->kernels->row_sums(gemm, 0, f->length, f->bias128);
    gemm->bias128 = f->bias128;
}

// ---- the rest: divided over rows or channels ----

struct work {
    const struct forward *f;
    const void *arguments;
    float *rows;
    long ld;
    enum scan_order order;
};

static void norm_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->f->weights->kernels->norm(w->arguments, begin, end);
}

void run_norm(const struct forward *f, struct norm *norm)
{
    divide(f, f->length, 1, norm_part, &(struct work){.f = f, .arguments = norm});
}

static void conv1d_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    w->f->weights->kernels->conv1d(w->arguments, begin, end, 0, w->f->weights->ld_inner);
}

void run_conv1d(const struct forward *f, struct conv1d *conv1d)
{
    divide(f, f->length, 1, conv1d_part, &(struct work){.f = f, .arguments = conv1d});
}

static void scan_part(void *context, int thread, int begin, int end)
{
    const struct work *w = context;
    const struct kernels *k = w->f->weights->kernels;
    float *scratch = w->f->scratch + thread * w->f->scratch_floats;
    if (w->order == SCAN_BLOCKED)
        k->scan_blocked(w->arguments, begin, end, scratch);
    else
        k->scan_sequential(w->arguments, begin, end, scratch);
}

void run_scan(const struct forward *f, struct scan *scan, enum scan_order order)
{
    divide(f, f->weights->ld_inner, KERNEL_LANES, scan_part,
           &(struct work){.f = f, .arguments = scan, .order = order});
}

static void hadamard_part(void *context, int thread, int begin, int end)
{
    (void)thread;
    const struct work *w = context;
    for (int t = begin; t < end; t++)
        w->f->weights->kernels->hadamard(w->arguments, w->rows + t * w->ld);
}

void run_hadamard(const struct forward *f, const struct hadamard *hadamard, float *rows, long ld)
{
    divide(f, f->length, 1, hadamard_part,
           &(struct work){.f = f, .arguments = hadamard, .rows = rows, .ld = ld});
}

// ---- what is not finite ----

bool row_is_finite(const float *row, int width)
{
    const uint32_t sign = 0x80000000u, infinity = 0x7f800000u;
    uint32_t largest = 0;
    for (int i = 0; i < width; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        bits &= ~sign;
        largest = bits > largest ? bits : largest;
    }
    return largest < infinity;
}

void break_row(float *row, int width)
{
    for (int i = 0; i < width; i++)
        row[i] = NAN;
}

struct breaking {
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
        if (row_is_finite(b->from + t * b->ld_from, b->width_from)) continue;
        if (t < first) first = t;
        if (b->to) break_row(b->to + t * b->ld_to, b->width_to);
    }
    if (first == end) return;
    int least = atomic_load(&b->first);
    while (first < least && !atomic_compare_exchange_weak(&b->first, &least, first))
        ; // least is what it is now
}

int first_broken(const struct forward *f, const float *rows, long ld, int width)
{
    struct breaking b = {.from = rows, .ld_from = ld, .width_from = width, .first = f->length};
    divide(f, f->length, 1, breaking_part, &b);
    return b.first;
}

void break_rows(const struct forward *f, const float *from, long ld_from, int width_from, float *to,
                long ld_to, int width_to)
{
    struct breaking b = {from, to, ld_from, ld_to, width_from, width_to, f->length};
    divide(f, f->length, 1, breaking_part, &b);
}

void break_rest(const struct forward *f, float *rows, long ld, int width)
{
    for (int t = f->broken; t < f->length; t++)
        break_row(rows + t * ld, width);
}

// ---- captures ----

bool wanted(const struct capture *capture, int layer, int component)
{
    return capture && capture->want && (capture->want[layer] >> component & 1u);
}

bool give_values(const struct forward *f, const struct capture *capture, int layer, int component,
                 const float *values, long ld, int width)
{
    if (!wanted(capture, layer, component)) return true;
    if (ld != width || f->broken < f->length) {
        for (int t = 0; t < f->length; t++)
            memcpy(f->captured + (long)t * width, values + t * ld, (size_t)width * sizeof *values);
        break_rest(f, f->captured, width, width);
        values = f->captured;
    }
    return capture->take(capture->context, layer, component, values, f->length, width);
}

bool give_codes(const struct forward *f, const struct capture *capture, int layer, int component,
                const int8_t *codes, long ld, int width, float scale)
{
    if (!wanted(capture, layer, component)) return true;
    for (int t = 0; t < f->length; t++)
        for (int i = 0; i < width; i++)
            f->captured[(long)t * width + i] = (float)codes[t * ld + i] * scale;
    break_rest(f, f->captured, width, width);
    return capture->take(capture->context, layer, component, f->captured, f->length, width);
}

bool give_rotated(const struct forward *f, const struct capture *capture, int layer, int component,
                  const float *rows)
{
    if (!wanted(capture, layer, component)) return true;
    const int width = f->weights->model->dims.d_model;
    for (int t = 0; t < f->length; t++)
        memcpy(f->captured + (long)t * width, rows + (long)t * f->weights->ld_model,
               (size_t)width * sizeof *rows);
    run_hadamard(f, &f->weights->rotate_model.inverse, f->captured, width);
    break_rest(f, f->captured, width, width);
    return capture->take(capture->context, layer, component, f->captured, f->length, width);
}
