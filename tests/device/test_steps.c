// SPDX-License-Identifier: Apache-2.0
// Every step of the GPU against the processor's: the same bits (any NaN for any NaN), at odd sizes, for
// batches of one sample and of several, with zeros, extremes of INT8, subnormals, infinities and NaN. Without
// a GPU it is skipped.
#include "steps.h"

#include "ssmsweep/compute/kernels.h"

// ---- products ----

static void product_f32(int rows, int outputs, int depth, int kind, bool half)
{
    const long lda = round_up16(depth);
    struct twin a = twin_floats(3, rows, lda, depth, kind, 1),
                w = twin_floats(5, outputs, depth, depth, kind, 1);
    struct twin out = twin_of((size_t)(rows * outputs) * sizeof(float));
    char of[64];
    set_tokens(rows);
    for (int i = 0; i < 2; i++) {
        const struct gemm_f32 g = {side(&a, i), lda, side(&w, i), depth, side(&out, i), outputs, half};
        backends[i]->product_f32(batches[i], &g, outputs);
    }
    settle();
    snprintf(of, sizeof of, "%d x %d x %d, kind %d%s", rows, outputs, depth, kind, half ? ", half" : "");
    expect("product_f32", of, &out, true);
    twin_free(&a), twin_free(&w), twin_free(&out);
}

static void test_product_f32(void)
{
    static const int shapes[][3] = {{1, 16, 6},       {37, 48, 7},     {64, 192, 96},    {129, 80, 1536},
                                    {100, 3072, 768}, {1025, 512, 48}, {2050, 3072, 96}, {513, 1536, 6},
                                    {300, 1040, 17},  {4100, 1536, 6}, {2050, 3072, 39}, {4097, 1024, 1},
                                    {2050, 560, 33},  {2050, 592, 50}, {2050, 3072, 135}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int kind = 0; kind < 4; kind++)
            product_f32(shapes[s][0], shapes[s][1], shapes[s][2], kind, kind % 2);
}

static void product_s8(int rows, int outputs, int depth, enum gemm_s8_result result, bool scaled)
{
    const long lda = round_up16(depth) + 16, depth4 = (depth + 3) / 4 * 4;
    struct twin a = twin_codes(7, rows, lda, depth), w = twin_codes(9, outputs, depth4, depth4);
    // What stands behind the depth, up to the next row, is another's.
    for (int t = 0; t < rows; t++)
        memset((char *)a.host + t * lda + depth4, 77, (size_t)(lda - depth4));
    twin_send(&a);
    struct twin first = twin_floats(1, 1, outputs, outputs, 0, 0.01f),
                second = twin_floats(2, 1, rows, rows, 0, 0.1f);
    struct twin out = twin_of((size_t)(rows * outputs) * sizeof(float));
    char of[64];
    set_tokens(rows);
    for (int i = 0; i < 2; i++) {
        struct gemm_s8 g = {.a = side(&a, i),
                            .lda = lda,
                            .w = side(&w, i),
                            .depth = depth,
                            .result = result,
                            .first = 0.0123f,
                            .second = 0.5f,
                            .first_outputs = scaled ? side(&first, i) : NULL,
                            .second_rows = scaled ? side(&second, i) : NULL,
                            .out = side(&out, i),
                            .ldo = outputs};
        backends[i]->product_s8(batches[i], &g, outputs);
    }
    settle();
    snprintf(of, sizeof of, "%d x %d x %d, result %d%s", rows, outputs, depth, (int)result,
             scaled ? ", scaled" : "");
    expect("product_s8", of, &out, result != GEMM_S8_CODES);
    twin_free(&a), twin_free(&w), twin_free(&out), twin_free(&first), twin_free(&second);
}

static void test_product_s8(void)
{
    static const int shapes[][3] = {{1, 16, 6},       {37, 48, 7},      {64, 192, 96},    {129, 80, 1536},
                                    {100, 3072, 768}, {1025, 512, 48},  {2050, 3072, 96}, {513, 1536, 6},
                                    {300, 1040, 17},  {2050, 3088, 100}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int result = 0; result < 3; result++)
            for (int scaled = 0; scaled < 2; scaled++)
                product_s8(shapes[s][0], shapes[s][1], shapes[s][2], (enum gemm_s8_result)result, scaled);
}

// ---- rows ----

static void test_norm(void)
{
    static const int widths[] = {1, 96, 100, 768, 2560};
    for (int c = 0; c < 5; c++)
        for (int kind = 0; kind < 4; kind++) {
            const int rows = 131, width = widths[c];
            const long ld = round_up16(width);
            struct twin r = twin_floats(11, rows, ld, width, kind, 3),
                        h = twin_floats(12, rows, ld, width, kind, 1);
            struct twin weight = twin_floats(13, 1, ld, width, 0, 2);
            struct twin xhat = twin_of(r.bytes), scaled = twin_of(r.bytes),
                        codes = twin_of((size_t)(rows * ld));
            set_tokens(rows);
            for (int i = 0; i < 2; i++) {
                const struct norm n = {.residual = side(&r, i),
                                       .h = kind == 1 ? NULL : side(&h, i),
                                       .ld = ld,
                                       .width = width,
                                       .eps = 1e-5f,
                                       .xhat = side(&xhat, i),
                                       .weight = side(&weight, i),
                                       .scaled = side(&scaled, i),
                                       .half = kind & 1,
                                       .codes = side(&codes, i),
                                       .step = 0.02f};
                backends[i]->norm(batches[i], &n);
            }
            settle();
            expect("norm", "residual", &r, true);
            expect("norm", "xhat", &xhat, true);
            expect("norm", "scaled", &scaled, true);
            expect("norm", "codes", &codes, false);
            twin_free(&r), twin_free(&h), twin_free(&weight), twin_free(&xhat), twin_free(&scaled),
                twin_free(&codes);
        }
}

static void test_rotate(void)
{
    static const int dims[] = {16,   24,   40,   96,   192,   768,   1536, 2048,
                               2560, 3072, 4096, 5120, 12288, 16384, 20480};
    for (size_t c = 0; c < sizeof dims / sizeof dims[0]; c++)
        for (int inverse = 0; inverse < 2; inverse++) {
            const int rows = 19;
            const long ld = dims[c] + 16;
            struct rotation rotation;
            struct twin x = twin_floats(21, rows, ld, dims[c], inverse ? 0 : 1, 1);
            char of[32];
            rotation_init(&rotation, dims[c]);
            set_tokens(rows);
            for (int i = 0; i < 2; i++)
                backends[i]->rotate(batches[i], inverse ? &rotation.inverse : &rotation.forward, side(&x, i),
                                    ld);
            settle();
            snprintf(of, sizeof of, "%d%s", dims[c], inverse ? ", inverse" : "");
            expect("rotate", of, &x, true);
            twin_free(&x);
        }
}

static void test_quantize(void)
{
    for (int of = 0; of < 3; of++)
        for (int kind = 0; kind < 4; kind++) {
            const int rows = 67, width = 112;
            const long ldx = 128, ldq = 144;
            struct twin x = twin_floats(31, rows, ldx, width, kind, 2),
                        steps = twin_of((size_t)rows * sizeof(float));
            struct twin codes = twin_of((size_t)(rows * ldq)),
                        values = twin_of((size_t)(rows * ldx) * sizeof(float));
            set_tokens(rows);
            for (int i = 0; i < 2; i++) {
                backends[i]->find_broken(batches[i], side(&x, i), ldx, width);
                const struct quantize q = {.x = side(&x, i),
                                           .ldx = ldx,
                                           .width = width,
                                           .of = (enum quantize_step)of,
                                           .step = 0.0173f,
                                           .steps = side(&steps, i),
                                           .ties_away = kind & 1,
                                           .codes = side(&codes, i),
                                           .ldq = ldq};
                backends[i]->quantize(batches[i], &q);
                const struct dequantize d = {.codes = side(&codes, i),
                                             .ldq = ldq,
                                             .width = width,
                                             .scale = side(&steps, i),
                                             .by_row = of == STEP_OF_ROWS,
                                             .values = side(&values, i),
                                             .ldv = ldx};
                backends[i]->dequantize(batches[i], &d);
                backends[i]->break_rest(batches[i], side(&values, i), ldx, width);
            }
            settle();
            expect("quantize", "codes", &codes, false);
            expect("quantize", "steps", &steps, true);
            expect("dequantize", "values", &values, true);
            twin_free(&x), twin_free(&steps), twin_free(&codes), twin_free(&values);
        }
}

static void test_elements(void)
{
    const int rows = 45, width = 80;
    for (int kind = 0; kind < 4; kind++) {
        struct twin x = twin_floats(41, rows, width, width, kind, 1),
                    y = twin_floats(42, rows, width, width, 0, 1);
        struct twin weight = twin_floats(43, 1, width, width, 0, 2),
                    to = twin_of((size_t)width * sizeof(float));
        struct twin steps = twin_floats(44, 1, width, width, 0, 0.01f),
                    codes = twin_of((size_t)(rows * width));
        struct twin marks = twin_of((size_t)rows);
        set_tokens(rows);
        for (int i = 0; i < 2; i++) {
            const struct columns c = {.x = side(&y, i),
                                      .ldx = width,
                                      .width = width,
                                      .steps = side(&steps, i),
                                      .ties_away = kind & 1,
                                      .codes = side(&codes, i),
                                      .ldq = width};
            backends[i]->mark_finite(batches[i], side(&x, i), width, width, side(&marks, i));
            backends[i]->dither(batches[i], side(&x, i), width, width, 77);
            backends[i]->weigh(batches[i], side(&x, i), width, width, side(&weight, i));
            backends[i]->round_half(batches[i], side(&x, i), width);
            backends[i]->columns(batches[i], &c);
            backends[i]->break_rows(batches[i], side(&x, i), width, width, side(&y, i), width, width);
            backends[i]->quotients(batches[i], side(&weight, i), width, 0.37f, side(&to, i));
        }
        settle();
        if (backends[0]->most(batches[0], x.host, rows * width) !=
            backends[1]->most(batches[1], x.device, rows * width))
            printf("FAIL most\n"), failures++;
        expect("dither, weigh, round_half", "values", &x, true);
        expect("break_rows", "values", &y, true);
        expect("columns", "codes", &codes, false);
        expect("quotients", "values", &to, true);
        expect("mark_finite", "marks", &marks, false);
        twin_free(&x), twin_free(&y), twin_free(&weight), twin_free(&to), twin_free(&steps),
            twin_free(&codes), twin_free(&marks);
    }
}

// ---- steps over the tokens of samples ----

struct scan_data {
    struct twin u, u_codes, dt, dt_codes, z, z_codes, bias, D, A, bc, y, state;
    int I, N;
};

// kind: 0 values, 1 codes, 2 dt and z codes.
static struct scan scan_of(const struct scan_data *d, int i, int row, int sample, int kind, bool half,
                           bool blocked)
{
    const long I = d->I, ld_bc = 2 * round_up16(d->N);
    const float *bc = (const float *)side(&d->bc, i) + row * ld_bc;
    const struct scan_operand u = {(const float *)side(&d->u, i) + row * I, NULL, 0, I};
    const struct scan_operand dt = {(const float *)side(&d->dt, i) + row * I, NULL, 0, I};
    const struct scan_operand z = {(const float *)side(&d->z, i) + row * I, NULL, 0, I};
    const struct scan_operand u_codes = {NULL, (const int8_t *)side(&d->u_codes, i) + row * I, 0.021f, I};
    const struct scan_operand dt_codes = {NULL, (const int8_t *)side(&d->dt_codes, i) + row * I, 0.03f, I};
    const struct scan_operand z_codes = {NULL, (const int8_t *)side(&d->z_codes, i) + row * I, 0.04f, I};
    return (struct scan){.d_state = d->N,
                         .length = batches[i]->tokens,
                         .u = kind == 1 ? u_codes : u,
                         .dt = kind ? dt_codes : dt,
                         .z = kind ? z_codes : z,
                         .dt_bias = side(&d->bias, i),
                         .D = side(&d->D, i),
                         .A = side(&d->A, i),
                         .ld_inner = I,
                         .B = bc,
                         .C = bc + round_up16(d->N),
                         .ld_bc = ld_bc,
                         .y = (float *)side(&d->y, i) + row * I,
                         .ldy = I,
                         .half = half,
                         .last_state = (float *)side(&d->state, i) + (long)sample * d->N * I,
                         .blocked = blocked};
}

static void scan_all(const struct scan_data *d, const int *lengths, int kind, bool blocked)
{
    int samples;
    begin(lengths, 0, &samples);
    const struct scan on_device = scan_of(d, 1, 0, 0, kind, kind & 1, blocked);
    backends[1]->scan(batches[1], &on_device);
    for (int s = 0; s < samples; s++) {
        const int row = begin(lengths, s, &samples);
        const struct scan on_host = scan_of(d, 0, row, s, kind, kind & 1, blocked);
        backends[0]->scan(batches[0], &on_host);
    }
    settle();
    char of[80];
    snprintf(of, sizeof of, "%d samples, the first of %d, N %d, I %d, kind %d%s", samples, lengths[0], d->N,
             d->I, kind, blocked ? ", blocked" : "");
    expect("scan", of, &d->y, true);
    if (!blocked) expect("scan, state", of, &d->state, true);
}

static void test_scan(void)
{
    static const int shapes[][2] = {{96, 16}, {192, 4}, {80, 33}};
    for (int c = 0; c < DIVISIONS; c++)
        for (int n = 0; n < 3; n++) {
            const int I = shapes[n][0], N = shapes[n][1], tokens = tokens_of(divisions[c]),
                      input = c == 4 ? 3 : 0;
            struct scan_data d = {.u = twin_floats(51, tokens, I, I, input, 1),
                                  .dt = twin_floats(52, tokens, I, I, 0, input ? 6 : 2),
                                  .z = twin_floats(53, tokens, I, I, 0, 3),
                                  .u_codes = twin_codes(54, tokens, I, I),
                                  .dt_codes = twin_codes(55, tokens, I, I),
                                  .z_codes = twin_codes(56, tokens, I, I),
                                  .bias = twin_floats(57, 1, I, I, 0, 2),
                                  .D = twin_floats(58, 1, I, I, 0, 1),
                                  .A = twin_floats(59, N, I, I, 0, 1),
                                  .bc = twin_floats(60, tokens, 2 * round_up16(N), 2 * round_up16(N), 0, 1),
                                  .y = twin_of((size_t)(tokens * I) * sizeof(float)),
                                  .state = twin_of((size_t)(MOST_SAMPLES * N * I) * sizeof(float)),
                                  .I = I,
                                  .N = N};
            for (long i = 0; i < N * I; i++)
                ((float *)d.A.host)[i] = -fabsf(((float *)d.A.host)[i]) * (float)(1 + i / I);
            twin_send(&d.A);
            for (int kind = 0; kind < 3; kind++)
                for (int blocked = 0; blocked < 2; blocked++)
                    scan_all(&d, divisions[c], kind, blocked);
            struct twin *all[] = {&d.u,    &d.dt, &d.z, &d.u_codes, &d.dt_codes, &d.z_codes,
                                  &d.bias, &d.D,  &d.A, &d.bc,      &d.y,        &d.state};
            for (int i = 0; i < 12; i++)
                twin_free(all[i]);
        }
}

static void conv1d_all(const int *lengths, int K, int kind, bool ties_away)
{
    const int I = 112, tokens = tokens_of(lengths);
    const long ld = 2 * I;
    const size_t rows = (size_t)(tokens + K - 1) * (size_t)ld;
    struct twin x = twin_of(rows * sizeof(float)), x_codes = twin_of(rows),
                most = twin_floats(60, 1, 16, 16, 0, 1);
    struct twin w = twin_floats(61, K, I, I, 0, kind ? 100 : 1), b = twin_floats(62, 1, I, I, 0, 1);
    struct twin scales = twin_floats(63, 1, I, I, 0, 1), v = twin_of((size_t)(tokens * I) * sizeof(float));
    struct twin codes = twin_of((size_t)(tokens * I)), data = twin_floats(64, tokens, ld, ld, 0, 1),
                code_data = twin_codes(65, tokens, ld, ld);
    MUST(cudaMemcpy((float *)x.device + (K - 1) * ld, data.host, (size_t)(tokens * ld) * sizeof(float),
                    cudaMemcpyHostToDevice));
    MUST(cudaMemcpy((char *)x_codes.device + (K - 1) * ld, code_data.host, (size_t)(tokens * ld),
                    cudaMemcpyHostToDevice));
    int samples = 1;
    for (int i = 0; i < 2; i++)
        for (int s = 0; s < (i ? 1 : samples); s++) {
            const long row = begin(lengths, s, &samples);
            if (!i) { // each sample behind zeros of its own
                memcpy((float *)x.host + (K - 1) * ld, (float *)data.host + row * ld,
                       (size_t)(lengths[s] * ld) * sizeof(float));
                memcpy((char *)x_codes.host + (K - 1) * ld, (char *)code_data.host + row * ld,
                       (size_t)(lengths[s] * ld));
            }
            const struct conv1d c = {.x_float = kind ? NULL : (float *)side(&x, i) + (K - 1) * ld,
                                     .x_codes = kind ? (int8_t *)side(&x_codes, i) + (K - 1) * ld : NULL,
                                     .ldx = ld,
                                     .w = side(&w, i),
                                     .b = side(&b, i),
                                     .ldw = I,
                                     .d_conv = K,
                                     .tap_scale = 0.003f,
                                     .tap_scales = kind == 2 ? side(&scales, i) : NULL,
                                     .half = kind == 0 && ties_away,
                                     .v = (float *)side(&v, i) + (i ? 0 : row * I),
                                     .ldv = I,
                                     .codes = (int8_t *)side(&codes, i) + (i ? 0 : row * I),
                                     .ldq = I,
                                     .step = 0.011f,
                                     .ties_away = ties_away};
            backends[i]->conv1d(batches[i], &c, I);
        }
    settle();
    char of[64];
    snprintf(of, sizeof of, "%d samples, K %d, kind %d", samples, K, kind);
    expect("conv1d", of, &v, true);
    expect("conv1d, codes", of, &codes, false);
    struct twin *all[] = {&x, &x_codes, &w, &b, &scales, &v, &codes, &data, &code_data, &most};
    for (int i = 0; i < 10; i++)
        twin_free(all[i]);
}

static void test_conv1d(void)
{
    for (int c = 0; c < DIVISIONS; c++)
        for (int kind = 0; kind < 3; kind++)
            for (int K = 2; K <= 4; K += 2)
                conv1d_all(divisions[c], K, kind, (c + kind) & 1);
}

int main(void)
{
    if (!is_a_gpu_there()) return 77;
    open_batches(&(struct batch_shape){.max_tokens = MOST_TOKENS, .threads = 4, .d_state = 256, .chunk = 0});
    test_product_f32();
    test_product_s8();
    test_norm();
    test_rotate();
    test_quantize();
    test_elements();
    test_scan();
    test_conv1d();
    close_batches();
    printf("%ld values compared, %d failures\n", compared, failures);
    return failures ? 1 : 0;
}
