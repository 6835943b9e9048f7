// SPDX-License-Identifier: Apache-2.0
// The steps that Mamba-2 alone takes on the GPU against the processor's: the same bits (any NaN for any NaN),
// at odd sizes, for batches of one sample and of several.  Without a GPU it is skipped.
#include "steps.h"

#include "ssmsweep/compute/kernels.h"

static void free_all(struct twin *const *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        twin_free(all[i]);
}
#define FREE(...)                                                                                            \
    free_all((struct twin *[]){__VA_ARGS__}, sizeof((struct twin *[]){__VA_ARGS__}) / sizeof(struct twin *))

// ---- the scan ----

struct ssd_shape {
    int heads, head_dim, groups, d_state, chunk;
};
struct ssd_data {
    struct ssd_shape shape;
    struct twin u, dt, bias, A, D, bc, y, delta, dA, state;
};

static float *row_of(const struct twin *twin, int i, long row, long ld)
{
    return (float *)side(twin, i) + row * ld;
}

static struct ssd ssd_of(const struct ssd_data *d, int i, int row, enum ssd_order order, bool half)
{
    const struct ssd_shape *s = &d->shape;
    const long channels = round_up16(s->heads * s->head_dim), heads = round_up16(s->heads),
               states = round_up16(2 * s->groups * s->d_state);
    return (struct ssd){.length = batches[i]->tokens,
                        .heads = s->heads,
                        .head_dim = s->head_dim,
                        .groups = s->groups,
                        .d_state = s->d_state,
                        .chunk = s->chunk,
                        .order = order,
                        .u = row_of(&d->u, i, row, channels),
                        .ldu = channels,
                        .dt = row_of(&d->dt, i, row, heads),
                        .lddt = heads,
                        .dt_bias = side(&d->bias, i),
                        .A = side(&d->A, i),
                        .D = side(&d->D, i),
                        .dt_min = 0.001f,
                        .dt_max = half ? 0.7f : INFINITY,
                        .B = row_of(&d->bc, i, row, states),
                        .C = row_of(&d->bc, i, row, states) + s->groups * s->d_state,
                        .ldbc = states,
                        .y = row_of(&d->y, i, row, channels),
                        .ldy = channels,
                        .half = half,
                        .delta = row_of(&d->delta, i, row, heads),
                        .dA = row_of(&d->dA, i, row, heads),
                        .state = side(&d->state, i)};
}

static void ssd_all(const struct ssd_data *d, const int *lengths, enum ssd_order order, bool half)
{
    int samples;
    char of[96];
    begin(lengths, 0, &samples);
    const struct ssd on_device = ssd_of(d, 1, 0, order, half);
    backends[1]->ssd(batches[1], &on_device);
    for (int s = 0; s < samples; s++) {
        const int row = begin(lengths, s, &samples);
        const struct ssd on_host = ssd_of(d, 0, row, order, half);
        backends[0]->ssd(batches[0], &on_host);
    }
    settle();
    snprintf(of, sizeof of, "%d samples, the first of %d, H %d, P %d, G %d, N %d, chunk %d, order %d",
             samples, lengths[0], d->shape.heads, d->shape.head_dim, d->shape.groups, d->shape.d_state,
             d->shape.chunk, (int)order);
    expect("ssd", of, &d->y, true);
    if (samples == 1) expect("ssd, state", of, &d->state, true);
}

static void test_ssd(void)
{
    static const struct ssd_shape shapes[] = {{4, 64, 1, 128, 256},
                                              {6, 20, 3, 16, 64},
                                              {3, 33, 1, 24, 32},
                                              {2, 80, 2, 32, 100},
                                              {17, 8, 1, 64, 256}};
    for (int c = 0; c < DIVISIONS; c++)
        for (size_t n = 0; n < sizeof shapes / sizeof shapes[0]; n++) {
            const struct ssd_shape *s = &shapes[n];
            const int tokens = tokens_of(divisions[c]), I = s->heads * s->head_dim,
                      GN = s->groups * s->d_state, input = c == 4 ? 3 : 0;
            const long channels = round_up16(I), heads = round_up16(s->heads), states = round_up16(2 * GN);
            struct ssd_data d = {
                .shape = *s,
                .u = twin_floats(71, tokens, channels, I, input, 1),
                .dt = twin_floats(72, tokens, heads, s->heads, 0, 2),
                .bias = twin_floats(73, 1, heads, s->heads, 0, 2),
                .A = twin_floats(74, 1, heads, s->heads, 0, 4),
                .D = twin_floats(75, 1, heads, s->heads, 0, 1),
                .bc = twin_floats(76, tokens, states, 2 * GN, 0, 1),
                .y = twin_of((size_t)(tokens * channels) * sizeof(float)),
                .delta = twin_of((size_t)(tokens * heads) * sizeof(float)),
                .dA = twin_of((size_t)(tokens * heads) * sizeof(float)),
                .state = twin_of((size_t)(s->heads * s->d_state * round_up16(s->head_dim)) * sizeof(float))};
            for (int h = 0; h < s->heads; h++)
                ((float *)d.A.host)[h] = -fabsf(((float *)d.A.host)[h]);
            twin_send(&d.A);
            for (int order = 0; order < 4; order++)
                ssd_all(&d, divisions[c], (enum ssd_order)order, (order + c) & 1);
            FREE(&d.u, &d.dt, &d.bias, &d.A, &d.D, &d.bc, &d.y, &d.delta, &d.dA, &d.state);
        }
}

// ---- the gated norm ----

static void gated_norm(int width, int parts, int kind, bool gate_last)
{
    const int rows = 67;
    const long ld = round_up16(width) + 16;
    struct twin y = twin_floats(81, rows, ld, width, kind, 2), z = twin_floats(82, rows, ld, width, kind, 3),
                weight = twin_floats(83, 1, ld, width, 0, 2), out = twin_of(y.bytes);
    char of[64];
    set_tokens(rows);
    for (int i = 0; i < 2; i++) {
        const struct gated_norm n = {.y = side(&y, i),
                                     .z = side(&z, i),
                                     .ldy = ld,
                                     .ldz = ld,
                                     .weight = side(&weight, i),
                                     .width = width,
                                     .parts = parts,
                                     .eps = 1e-5f,
                                     .gate_last = gate_last,
                                     .half = kind & 1,
                                     .out = kind == 2 ? side(&y, i) : side(&out, i),
                                     .ldo = ld};
        backends[i]->gated_norm(batches[i], &n);
    }
    settle();
    snprintf(of, sizeof of, "%d in %d parts, kind %d%s", width, parts, kind, gate_last ? ", gate last" : "");
    expect("gated_norm", of, kind == 2 ? &y : &out, true);
    FREE(&y, &z, &weight, &out);
}

static void test_gated_norm(void)
{
    static const int shapes[][2] = {{1, 1}, {96, 1}, {100, 4}, {1536, 1}, {4096, 8}, {12544, 2}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int kind = 0; kind < 4; kind++)
            for (int last = 0; last < 2; last++)
                gated_norm(shapes[s][0], shapes[s][1], kind, last);
}

// ---- parts of columns with scales of their own ----

enum { PARTS = 3, CONV_K = 4 };
static const int part_widths[][PARTS] = {{64, 16, 16}, {40, 7, 7}};

// x, B and C quantized, each by the largest of a sample or a token, and conv1d of the codes.
static void parts_all(const int *lengths, const int *widths, bool by_row)
{
    const int tokens = tokens_of(lengths), sum = widths[0] + widths[1] + widths[2];
    const long ld = round_up16(sum), before = (CONV_K - 1) * ld;
    struct twin x = twin_floats(91, tokens, ld, sum, lengths[1] == 64 ? 3 : 0, 2),
                codes = twin_of((size_t)(tokens * ld + before)),
                steps = twin_of((size_t)(PARTS * tokens) * sizeof(float)), values = twin_of(x.bytes),
                w = twin_floats(92, CONV_K, ld, sum, 0, 90), b = twin_floats(93, 1, ld, sum, 0, 1),
                taps = twin_floats(94, 1, ld, sum, 0, 0.01f), room = twin_of(taps.bytes),
                v = twin_of(x.bytes);
    int samples = 1;
    char of[80];
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < (i ? 1 : samples); s++) {
            const long row = begin(lengths, s, &samples);
            float *mine = row_of(&x, i, row, ld);
            int8_t *its = (int8_t *)side(&codes, i) + before + row * ld, around[CONV_K * 256];
            backends[i]->find_broken(batches[i], mine, ld, sum);
            struct conv1d c = {.x_codes = its,
                               .ldx = ld,
                               .w = side(&w, i),
                               .b = side(&b, i),
                               .ldw = ld,
                               .d_conv = CONV_K,
                               .tap_scale = 1,
                               .tap_scales = side(&taps, i),
                               .taps = side(&room, i),
                               .v = row_of(&v, i, row, ld),
                               .ldv = ld};
            for (int p = 0, first = 0; p < PARTS; first += widths[p++]) {
                float *its_steps = row_of(&steps, i, p, tokens) + (by_row ? row : i ? 0 : s);
                const struct quantize q = {.x = mine + first,
                                           .ldx = ld,
                                           .width = widths[p],
                                           .of = by_row ? STEP_OF_ROWS : STEP_OF_SAMPLE,
                                           .steps = its_steps,
                                           .codes = its + first,
                                           .ldq = ld};
                backends[i]->quantize(batches[i], &q);
                const struct dequantize d = {.codes = q.codes,
                                             .ldq = ld,
                                             .width = widths[p],
                                             .scale = q.steps,
                                             .by_row = by_row,
                                             .values = row_of(&values, i, row, ld) + first,
                                             .ldv = ld};
                backends[i]->dequantize(batches[i], &d);
                static const float given[PARTS] = {0.01f, 0.02f, 0.03f};
                c.part_scales[p] = by_row ? &given[p] : its_steps;
                c.part_ends[p] = first + widths[p];
            }
            // On the processor a sample has zeros in front of it, where another's codes stand.
            if (!i) memcpy(around, its - before, (size_t)before), memset(its - before, 0, (size_t)before);
            backends[i]->conv1d(batches[i], &c, (int)ld);
            if (!i) memcpy(its - before, around, (size_t)before);
            backends[i]->break_rest(batches[i], c.v, ld, sum);
        }
    settle();
    snprintf(of, sizeof of, "%d samples, widths %d %d, by %s", samples, widths[0], widths[1],
             by_row ? "token" : "sample");
    expect("parts, codes", of, &codes, false);
    expect("parts, steps", of, &steps, true);
    expect("parts, values", of, &values, true);
    expect("parts, conv1d", of, &v, true);
    FREE(&x, &codes, &steps, &values, &w, &b, &taps, &room, &v);
}

static void test_parts(void)
{
    for (int c = 0; c < DIVISIONS; c++)
        for (int widths = 0; widths < 2; widths++)
            for (int by_row = 0; by_row < 2; by_row++)
                parts_all(divisions[c], part_widths[widths], by_row);
}

// ---- what the host makes; orders of columns ----

static void test_order(void)
{
    enum { ROWS = 50, LD = 64, WIDTH = 39 };
    int32_t order[WIDTH];
    struct twin x = twin_floats(95, ROWS, LD, LD, 3, 1), codes = twin_codes(96, ROWS, LD, LD),
                steps = twin_floats(97, 1, ROWS, ROWS, 0, 1),
                out = twin_of((size_t)(ROWS * WIDTH) * sizeof(float));
    for (int i = 0; i < WIDTH; i++)
        order[i] = (i * 23 + 5) % LD;
    for (int kind = 0; kind < 3; kind++) {
        set_tokens(ROWS);
        for (int i = 0; i < 2; i++) {
            static const float step = 0.07f;
            const struct seen seen = {.values = kind ? NULL : side(&x, i),
                                      .codes = side(&codes, i),
                                      .scale = kind == 2 ? side(&steps, i) : &step,
                                      .by_row = kind == 2,
                                      .ld = LD,
                                      .width = WIDTH,
                                      .order = order};
            if (i)
                backends[1]->keep(batches[1], &seen, out.device);
            else
                backends[0]->give(batches[0], &seen, out.host);
        }
        settle();
        expect("order of columns", kind ? "codes" : "values", &out, true);
    }
    FREE(&x, &codes, &steps, &out);
}

static void test_draft(void)
{
    enum { COUNT = 5000, TIMES = 20 };
    struct twin to = twin_of(TIMES * COUNT * sizeof(float));
    for (int k = 0; k < TIMES; k++)
        for (int i = 0; i < 2; i++) {
            float *draft = backends[i]->draft(batches[i], (float *)side(&to, i) + k * COUNT, COUNT);
            for (int n = 0; n < COUNT; n++)
                draft[n] = (float)(k * COUNT + n);
            backends[i]->put(batches[i]);
        }
    settle();
    expect("draft", "20 of them", &to, true);
    twin_free(&to);
}

int main(void)
{
    if (!is_a_gpu_there()) return 77;
    open_batches(
        &(struct batch_shape){.max_tokens = MOST_TOKENS, .threads = 4, .d_state = 256, .chunk = 256});
    test_ssd();
    test_gated_norm();
    test_parts();
    test_order();
    test_draft();
    close_batches();
    printf("%ld values compared, %d failures\n", compared, failures);
    return failures ? 1 : 0;
}
