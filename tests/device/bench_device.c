// SPDX-License-Identifier: Apache-2.0
// Times on a GPU, by hand: bench_device FOLDER [TOKENS [MOST_SAMPLES]].  Projections of the model, its scans,
// and whole passes for 1, 8, 16, ... samples in a batch, beside one thread of the processor.  Milliseconds,
// the median of some runs.
#include "passes.h"

#include "cuda/device.h"
#include <time.h>

enum { RUNS = 7 };

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double times[RUNS])
{
    qsort(times, RUNS, sizeof *times, by_size);
    return times[RUNS / 2];
}

static double pass_ms(struct forward *forward, const struct stand *s, const struct recipe *recipe,
                      const int32_t *ids, int tokens, int runs)
{
    double times[RUNS];
    struct error err = {0};
    for (int i = 0; i < runs; i++) {
        const double begin = now_ms();
        forward_run(forward, recipe, s->scales, ids, tokens, NULL);
        good(forward_settle(forward, &err), &err);
        times[i] = now_ms() - begin;
    }
    for (int i = runs; i < RUNS; i++)
        times[i] = times[0];
    return median(times);
}

static void bench_passes(struct stand *s, const int32_t *ids, int length, int most)
{
    static const char *const names[] = {"fp32", "fp16", "2-1", "0", "3"};
    int lengths[256];
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++)
        for (int r = 0; r < s->n_modes; r++) {
            if (strcmp(names[n], mode_at(r)->name) != 0) continue;
            printf("pass %-5s", names[n]);
            for (int samples = 1; samples <= most; samples = samples < 8 ? 8 : 2 * samples) {
                for (int i = 0; i < samples; i++)
                    lengths[i] = length;
                forward_divide(s->device, lengths, samples);
                pass_ms(s->device, s, &s->recipes[r], ids, length * samples, 2);
                printf("  %d: %.3f", samples,
                       pass_ms(s->device, s, &s->recipes[r], ids, length * samples, RUNS) / samples);
            }
            printf("  one core: %.0f ms a sample\n", pass_ms(s->host, s, &s->recipes[r], ids, length, 1));
        }
}

static float event_ms(cudaEvent_t begin, cudaEvent_t end)
{
    float ms;
    MUST(cudaEventSynchronize(end));
    MUST(cudaEventElapsedTime(&ms, begin, end));
    return ms;
}

static void bench_product(const char *name, int rows, int outputs, int depth)
{
    const long lda = round_up16(depth);
    struct twin a = twin_floats(1, rows, lda, depth, 0, 1), w = twin_floats(2, outputs, depth, depth, 0, 1);
    struct twin codes = twin_codes(3, rows, lda, depth), panels = twin_codes(4, outputs, lda, lda);
    struct twin out = twin_of((size_t)rows * (size_t)outputs * sizeof(float));
    const struct gemm_f32 f32 = {a.device, lda, w.device, depth, out.device, outputs, false};
    const struct gemm_s8 s8 = {.a = codes.device,
                               .lda = lda,
                               .w = panels.device,
                               .depth = depth,
                               .first = 0.01f,
                               .second = 0.5f,
                               .out = out.device,
                               .ldo = outputs};
    double times[2][RUNS];
    float *room = NULL;
    const size_t room_bytes = device_product_f32_bytes(rows, outputs, depth);
    if (room_bytes) MUST(cudaMalloc((void **)&room, room_bytes));
    cudaEvent_t events[3];
    for (int i = 0; i < 3; i++)
        MUST(cudaEventCreate(&events[i]));
    for (int i = -2; i < RUNS; i++) {
        MUST(cudaEventRecord(events[0], NULL));
        device_product_f32(NULL, &f32, rows, outputs, room);
        MUST(cudaEventRecord(events[1], NULL));
        device_product_s8(NULL, &s8, rows, outputs);
        MUST(cudaEventRecord(events[2], NULL));
        const float f32_ms = event_ms(events[0], events[1]), s8_ms = event_ms(events[1], events[2]);
        if (i >= 0) times[0][i] = f32_ms, times[1][i] = s8_ms;
    }
    const double operations = 2.0 * rows * outputs * depth, ms[2] = {median(times[0]), median(times[1])};
    printf("product %-8s %d x %d x %d: FP32 %.3f ms, %.1f TFLOP/s; INT8 %.3f ms, %.0f TOP/s\n", name, rows,
           outputs, depth, ms[0], operations / ms[0] * 1e-9, ms[1], operations / ms[1] * 1e-9);
    MUST(cudaFree(room));
    twin_free(&a), twin_free(&w), twin_free(&codes), twin_free(&panels), twin_free(&out);
}

static void bench_products(const struct dims *d, int rows)
{
    const int dbl = round_up16(d->dt_rank) + 2 * round_up16(d->d_state);
    bench_product("in_proj", rows, 2 * round_up16(d->d_inner), d->d_model);
    bench_product("x_proj", rows, dbl, d->d_inner);
    bench_product("dt_proj", rows, round_up16(d->d_inner), d->dt_rank);
    bench_product("out_proj", rows, round_up16(d->d_model), d->d_inner);
}

int main(int argc, char **argv)
{
    const int length = argc > 2 ? atoi(argv[2]) : 512, most = argc > 3 ? atoi(argv[3]) : 32;
    struct cuda_device device;
    struct error err = {0};
    struct stand s;
    if (argc < 2 || most > 256) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    good(cuda_describe(0, &device, &err), &err);
    printf("%s, %d.%d, %d processors, %.1f GB\n", device.name, device.major, device.minor, device.processors,
           (double)device.memory_bytes * 1e-9);
    stand_open(&s, argv[1], 0, length * most, 1, NULL);
    int32_t *ids = malloc((size_t)(length * most) * sizeof *ids);
    if (!ids) return 1;
    for (int t = 0; t < length * most; t++)
        ids[t] = (t * 7919 + 13) % s.model.dims.vocab_size;
    bench_products(&s.model.dims, length * most);
    bench_passes(&s, ids, length, most);
    free(ids);
    stand_close(&s);
    return 0;
}
