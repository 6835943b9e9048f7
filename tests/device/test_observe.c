// SPDX-License-Identifier: Apache-2.0
// What observers see on the GPU, of many samples at once: the bits of the processor, which sees one sample
// after the other.  Numbers of ranks by sorting, how values lie on grids, then the FP32 pass of the demo
// model (or the one in the folder that the argument names) under every observer.  Without a GPU it is
// skipped.
#include "passes.h"

#include "ssmsweep/arch/mamba1.h"

enum { SAMPLES = 5, QUANTILES = 5 };
static const int lengths[SAMPLES] = {37, 1, 130, 5, 83};
static const double alphas[QUANTILES] = {0, 0.5, 0.9995, 0.99999, 1};

static int failures;
static long compared;

static void differs(const char *what, const char *of, int a, int b)
{
    failures++;
    if (failures < 40) printf("FAIL %s, %s: %d, %d\n", what, of, a, b);
}

// ---- look(), by sorting ----

static int compare_bits(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

// The |v| of a sample, sorted; returns how many.
static long sort_sample(const struct observed *o, const float *host, long first, long rows, uint32_t *bits)
{
    long count = 0;
    for (long t = first; t < first + rows; t++)
        for (int p = 0; p < o->parts; p++)
            for (int i = 0; i < o->columns[p].width; i++) {
                memcpy(&bits[count], &host[t * o->ld + o->columns[p].first + i], sizeof *bits);
                bits[count++] &= 0x7fffffffu;
            }
    qsort(bits, (size_t)count, sizeof *bits, compare_bits);
    return count;
}

static void check_sample(const uint32_t *bits, long count, const struct look_for *look, int s, const char *of)
{
    static uint32_t bins[HISTOGRAM_BINS];
    long numbers = count;
    while (numbers > 0 && bits[numbers - 1] > 0x7f800000u)
        numbers--;
    if (!look->ranked && look->found[s].bits != (numbers > 0 ? bits[numbers - 1] : 0))
        differs("largest", of, s, 0);
    memset(bins, 0, sizeof bins);
    histogram_add(bins, (const float *)(const void *)bits, count);
    if (memcmp(bins, look->counts + s * look->stride, sizeof bins) != 0) differs("bins", of, s, 0);
    compared++;
}

// One sort of rows of samples: kind as number() has it, 4: few values, each many times.
static void look_at(struct batch *batch, int kind, bool of_samples, double alpha)
{
    const struct backend *on = batch->backend;
    static uint32_t counts[SAMPLES * HISTOGRAM_BINS];
    int tokens = 0;
    for (int s = 0; s < SAMPLES; s++)
        tokens += lengths[s];
    const long rows = of_samples ? 16L * SAMPLES : tokens, ld = 304;
    struct twin x = twin_floats(7 + (uint32_t)kind, rows, ld, ld, kind % 4, 3);
    float *host = x.host;
    for (long i = 0; kind == 4 && i < rows * ld; i++)
        host[i] = floorf(host[i]);
    twin_send(&x);
    const struct observed o = {.values = x.device,
                               .rows = of_samples ? 16 : tokens,
                               .ld = ld,
                               .columns = {{0, 100}, {112, 7}, {128, 161}},
                               .parts = 1 + kind % 3,
                               .of_samples = of_samples};
    uint32_t *bits = malloc((size_t)(rows * ld) * sizeof *bits);
    if (!bits) exit(1);
    char of[80];
    snprintf(of, sizeof of, "kind %d, alpha %g%s", kind, alpha, of_samples ? ", of samples" : "");
    for (int ranked = 0; ranked < 2; ranked++) {
        struct look_found found[SAMPLES] = {{0}};
        struct error err = {0};
        const struct look_for look = {.observed = &o,
                                      .ranked = ranked,
                                      .found = found,
                                      .bins = &histogram_bit_bins,
                                      .counts = counts,
                                      .stride = HISTOGRAM_BINS};
        uint32_t ranks[SAMPLES];
        for (int s = 0; s < SAMPLES; s++) {
            long count = 0;
            for (int p = 0; p < o.parts; p++)
                count += (of_samples ? 16 : lengths[s]) * o.columns[p].width;
            ranks[s] = found[s].rank = ranked ? (uint32_t)quantile_place(count, alpha).low : 0;
        }
        memset(counts, 0, sizeof counts);
        on->divide(batch, lengths, SAMPLES);
        batch->tokens = tokens;
        on->look(batch, &look);
        good(on->settle(batch, &err), &err);
        for (int s = 0, row = 0; s < SAMPLES; s++) {
            const int its_rows = of_samples ? 16 : lengths[s];
            const long count = sort_sample(&o, host, row, its_rows, bits);
            row += its_rows;
            check_sample(bits, count, &look, s, of);
            const long next = ranks[s] + 1L < count ? ranks[s] + 1L : ranks[s];
            if (ranked && (found[s].bits != bits[ranks[s]] || found[s].next != bits[next]))
                differs("rank", of, s, (int)ranks[s]);
        }
    }
    free(bits);
    twin_free(&x);
}

// ---- grid(): that of the processor, sample by sample ----

enum { PARTS = 3, COLUMNS = 268 };

struct laid {
    float largest[COLUMNS];
    double sums[SAMPLES][PARTS * GRID_SUMS];
    struct grid_tally tallies[PARTS];
};

static void lay_here(struct batch *here, const struct grid_for *grid, const float *host, struct laid *all)
{
    static struct laid one;
    struct observed o = *grid->observed;
    struct grid_for of_one = *grid;
    long row = 0;
    of_one.observed = &o;
    of_one.largest = one.largest, of_one.tallies = one.tallies;
    memset(all, 0, sizeof *all);
    for (int s = 0; s < SAMPLES; s++) {
        if (!o.of_samples) o.rows = lengths[s];
        o.values = host + row * o.ld;
        row += o.rows;
        of_one.sums = all->sums[s];
        memset(&one, 0, sizeof one);
        here->backend->grid(here, &of_one);
        for (int c = 0; c < COLUMNS; c++)
            if (one.largest[c] > all->largest[c]) all->largest[c] = one.largest[c];
        for (int p = 0; p < PARTS; p++) {
            for (int i = 0; i < GRID_CODES; i++)
                all->tallies[p].codes[i] += one.tallies[p].codes[i];
            all->tallies[p].clipped += one.tallies[p].clipped;
        }
    }
}

// What is no number is so on both sides.
static bool same_sums(const double *a, const double *b, int count)
{
    for (int i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]))) return false;
    return true;
}

static void lay_at(struct batch *batch, struct batch *here, int kind, bool of_samples, bool scaled)
{
    static struct laid device, host;
    static float columns[COLUMNS];
    static const int widths[PARTS] = {100, 7, 161};
    struct error err = {0};
    int tokens = 0;
    for (int s = 0; s < SAMPLES; s++)
        tokens += lengths[s];
    const long rows = of_samples ? 16L * SAMPLES : tokens, ld = 304;
    struct twin x = twin_floats(70 + (uint32_t)kind, rows, ld, ld, kind, 3);
    twin_send(&x);
    struct grid_scales scales = {.own = 0.011f, .others = {1e-6f, 0.02f, 0.0173f, 0.5f, 3e-9f}};
    for (int c = 0; c < COLUMNS; c++)
        columns[c] = 0.01f + (float)c / 8192;
    scales.columns = columns;
    const int parts = kind == 2 ? 1 : PARTS;
    const struct observed o = {.values = x.device,
                               .rows = of_samples ? 16 : tokens,
                               .ld = ld,
                               .columns = {{0, widths[0]}, {112, widths[1]}, {128, widths[2]}},
                               .parts = PARTS,
                               .of_samples = of_samples};
    const struct grid_for grid = {.observed = &o,
                                  .parts = parts,
                                  .scales = scaled ? &scales : NULL,
                                  .largest = device.largest,
                                  .sums = device.sums[0],
                                  .stride = PARTS * GRID_SUMS,
                                  .tallies = device.tallies};
    char of[80];
    snprintf(of, sizeof of, "kind %d%s%s", kind, of_samples ? ", of samples" : "", scaled ? "" : ", maxima");
    memset(&device, 0, sizeof device);
    batch->backend->divide(batch, lengths, SAMPLES);
    batch->tokens = tokens;
    batch->backend->grid(batch, &grid);
    good(batch->backend->settle(batch, &err), &err);
    lay_here(here, &grid, x.host, &host);
    if (memcmp(device.largest, host.largest, sizeof host.largest) != 0) differs("columns", of, 0, 0);
    if (memcmp(device.tallies, host.tallies, sizeof host.tallies) != 0) differs("codes", of, 0, 0);
    for (int s = 0; s < SAMPLES; s++, compared++)
        if (!same_sums(device.sums[s], host.sums[s], PARTS * GRID_SUMS)) differs("sums", of, s, 0);
    twin_free(&x);
}

static void lay_all(struct batch *batch)
{
    const struct batch_shape shape = {.max_tokens = 512, .threads = 1, .d_state = 16};
    struct batch *here;
    struct error err = {0};
    good(backend_cpu.open(&here, &shape, &err), &err);
    for (int kind = 0; kind < 4; kind++)
        for (int i = 0; i < 4; i++)
            lay_at(batch, here, kind, i % 2, i / 2);
    backend_cpu.close(here);
}

static void look_at_all(void)
{
    const struct batch_shape shape = {.max_tokens = 512, .threads = 1, .d_state = 16};
    const struct backend *on = backend_cuda();
    struct arena measured, arena;
    struct batch *batch;
    struct error err = {0};
    arena_init_measure(&measured);
    on->carve(NULL, &shape, &measured);
    good(on->reserve(&arena, measured.used_bytes, "a test", &err), &err);
    good(on->open(&batch, &shape, &err), &err);
    on->carve(batch, &shape, &arena);
    for (int kind = 0; kind < 5; kind++)
        for (int of_samples = 0; of_samples < 2; of_samples++)
            for (int q = 0; q < QUANTILES; q++)
                look_at(batch, kind, of_samples, alphas[q]);
    lay_all(batch);
    on->close(batch);
    on->release(&arena);
}

// ---- the pass ----

// What the GPU says of a number that is not finite is not to be trusted, and is not used.
static void compare_pass(const struct stand *s, const float *device, const float *host, const char *of)
{
    const int sites = s->model.dims.arch->n_sites, count = s->model.dims.n_layer * sites;
    for (int i = 0; i < count; i++, compared++)
        if (isfinite(device[i]) && memcmp(&device[i], &host[i], sizeof *host) != 0)
            differs(of, "layer, site", i / sites, i % sites);
}

static void observe_all(const struct stand *s, const char *observer, double alpha, const int32_t *ids)
{
    const struct dims *d = &s->model.dims;
    struct error err = {0};
    struct observers observers = {.percentile_alpha = alpha};
    struct look_found found[SAMPLES];
    good(observers_parse(&observers, d->arch, observer, &err), &err);
    const size_t row = (size_t)(d->n_layer * observers.n_sites);
    const bool counted = observers_take_histogram(&observers);
    float *device = calloc(SAMPLES * row, sizeof *device), *host = calloc(row, sizeof *host);
    uint32_t *there = calloc(SAMPLES * row, HISTOGRAM_BINS * sizeof *there),
             *here = calloc(row, HISTOGRAM_BINS * sizeof *here);
    if (!device || !host || !there || !here) exit(1);
    int tokens = 0;
    for (int i = 0; i < SAMPLES; i++)
        tokens += lengths[i];
    const struct observation all = {.observers = &observers,
                                    .numbers = device,
                                    .histogram = counted ? there : NULL,
                                    .samples = SAMPLES,
                                    .row = (long)row,
                                    .lengths = lengths,
                                    .found = found};
    forward_divide(s->device, lengths, SAMPLES);
    forward_observe(s->device, &all, ids, tokens, NULL);
    good(forward_settle(s->device, &err), &err);
    char of[64];
    snprintf(of, sizeof of, "%s %g", observer ? observer : "as the reference", alpha);
    for (int i = 0, at = 0; i < SAMPLES; at += lengths[i++]) {
        const struct observation one = {
            .observers = &observers, .numbers = host, .histogram = counted ? here : NULL};
        memset(here, 0, row * HISTOGRAM_BINS * sizeof *here);
        forward_observe(s->host, &one, ids + at, lengths[i], NULL);
        compare_pass(s, device + (size_t)i * row, host, of);
        if (counted &&
            memcmp(here, there + (size_t)i * row * HISTOGRAM_BINS, row * HISTOGRAM_BINS * sizeof *here) != 0)
            differs(of, "histograms of sample", i, 0);
    }
    free(device), free(host), free(there), free(here);
}

// Infinity and NaN on the way, in some channels.
static void break_D(struct model *model)
{
    static float values[16384];
    static struct tensor tensor;
    for (int i = 0; i < model->dims.d_inner; i++)
        values[i] = i % 50 == 7 ? 3e38f : 1;
    tensor = *model->tensors[TENSOR_D_SKIP];
    tensor.dtype = DTYPE_F32;
    tensor.data = (const unsigned char *)values;
    model->tensors[TENSOR_D_SKIP] = &tensor;
}

// What groups of channels are formed by.
static void average_all(const struct stand *s, const int32_t *ids)
{
    const size_t row = (size_t)s->model.dims.n_layer * (size_t)s->model.dims.d_inner;
    struct error err = {0};
    struct look_found found[SAMPLES];
    float *device = calloc(SAMPLES * row, sizeof *device), *host = calloc(row, sizeof *host);
    if (!device || !host) exit(1);
    int tokens = 0;
    for (int i = 0; i < SAMPLES; i++)
        tokens += lengths[i];
    const struct observation all = {
        .channel_means = device, .samples = SAMPLES, .lengths = lengths, .found = found};
    forward_divide(s->device, lengths, SAMPLES);
    forward_observe(s->device, &all, ids, tokens, NULL);
    good(forward_settle(s->device, &err), &err);
    for (int i = 0, at = 0; i < SAMPLES; at += lengths[i++]) {
        forward_observe(s->host, &(struct observation){.channel_means = host}, ids + at, lengths[i], NULL);
        if (memcmp(host, device + (size_t)i * row, row * sizeof *host) != 0)
            differs("means of channels", "sample", i, 0);
        compared += (long)row;
    }
    free(device), free(host);
}

static void observe_model(const char *folder, void (*alter)(struct model *model))
{
    static const char *const observers[] = {NULL, "percentile", "mse", "entropy,ssm_state=percentile"};
    struct stand s;
    int32_t ids[512];
    stand_open(&s, folder, 0, 512, 4, alter);
    for (int t = 0; t < 512; t++)
        ids[t] = (t * 7919 + 13) % s.model.dims.vocab_size;
    for (int o = 0; o < 4; o++)
        for (int q = 0; q < (o < 2 ? QUANTILES : 1); q++)
            observe_all(&s, observers[o], alphas[q], ids);
    if (s.model.dims.chunk_size > 0) average_all(&s, ids);
    stand_close(&s);
}

int main(int argc, char **argv)
{
    const char *folder = argc > 1 ? argv[1] : SOURCE_DIR "/jobs/demo";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!backend_cuda() || cuda_devices() == 0) {
        printf("SKIP: %s\n", backend_cuda() ? "no GPU on this machine" : "built without CUDA");
        return 77;
    }
    look_at_all();
    observe_model(folder, NULL);
    if (argc == 1) observe_model(folder, break_D);
    if (argc == 1) observe_model(SOURCE_DIR "/jobs/demo-mamba2", NULL);
    printf("%ld numbers compared, %d failures\n", compared, failures);
    return failures ? 1 : 0;
}
