// SPDX-License-Identifier: Apache-2.0
// In place of compute/cuda/ in a program for tests: "GPUs" whose kernels are the processor's.  Memory of
// theirs is apart from the host's as far as can be told, samples lie one behind the other in a batch, and
// steps fail on demand.  So what a sweep does with a GPU is tested where there is none.
//   SSMSWEEP_STANDIN=DEVICES[,memory=BYTES][,fail=K]     so many devices of so many bytes each; the K-th
//                                                        settle() fails, and all that follow
//   CUDA_VISIBLE_DEVICES=I,J...                          a process sees these of them
#include "ssmsweep/compute/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compute/measure.h"

struct standin_batch {
    struct batch batch;
    struct batch *inner; // the processor's: one sample at a time
    int *lengths, *broken;
    int samples, tokens;
    float *fetched, *of_samples;
    size_t held_bytes; // of weights
    float *drafted, *drafted_to;
    long draft_count;
    struct due *due; // what was measured and predicted, and not asked for yet
    struct due **last;
    int measures; // of those
};

enum { BROKEN_BY_SAMPLE = -1 };

// Bytes that come later.
struct due {
    struct due *next;
    void *to;
    size_t bytes;
    bool measured;
    _Alignas(16) char made[];
};

enum { MOST_ARENAS = 16 };
static struct arena taken[MOST_ARENAS]; // memory of the device in use
static size_t taken_bytes;
static int settled;

static long setting(const char *key, long otherwise)
{
    const char *text = getenv("SSMSWEEP_STANDIN");
    const char *found = text ? strstr(text, key) : NULL;
    return found ? strtol(found + strlen(key), NULL, 10) : otherwise;
}

static struct standin_batch *own(struct batch *batch)
{
    return (struct standin_batch *)batch;
}

// ---- life ----

static enum status take_bytes(size_t bytes, const char *what, struct error *err)
{
    if (taken_bytes + bytes > (size_t)setting("memory=", 1L << 40))
        return error_set(err, STATUS_IO, ERROR_MEMORY " on the device: cannot get %zu bytes for %s", bytes,
                         what);
    taken_bytes += bytes;
    return STATUS_OK;
}

static enum status take_memory(struct arena *arena, size_t bytes, const char *what, struct error *err)
{
    int i = 0;
    while (i < MOST_ARENAS && taken[i].base)
        i++;
    if (i == MOST_ARENAS) abort();
    if (take_bytes(bytes, what, err)) return err->status;
    if (arena_init(arena, bytes, what, err))
        taken_bytes -= bytes;
    else
        taken[i] = *arena;
    return err->status;
}

static void give_memory(struct arena *arena)
{
    if (arena->base) taken_bytes -= arena->size_bytes;
    for (int i = 0; i < MOST_ARENAS; i++)
        if (arena->base && taken[i].base == arena->base) taken[i] = (struct arena){0};
    arena_clear(arena);
}

static void close_batch(struct batch *batch)
{
    if (!batch) return;
    taken_bytes -= own(batch)->held_bytes;
    for (struct due *due = own(batch)->due, *next; due; due = next) {
        next = due->next;
        free(due);
    }
    backend_cpu.close(own(batch)->inner);
    free(own(batch)->lengths);
    free(own(batch)->broken);
    free(own(batch)->fetched);
    free(own(batch)->of_samples);
    free(own(batch)->drafted);
    free(batch);
}

static enum status open_batch(struct batch **batch, const struct batch_shape *shape, struct error *err)
{
    struct standin_batch *b = calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "a batch");
    b->batch.backend = backend_cuda();
    b->last = &b->due;
    b->lengths = calloc((size_t)shape->max_tokens, sizeof *b->lengths);
    b->broken = calloc((size_t)shape->max_tokens, sizeof *b->broken);
    if (!b->lengths || !b->broken) error_memory(err, sizeof *b, "a batch");
    if (err->status || backend_cpu.open(&b->inner, shape, err)) {
        close_batch(&b->batch);
        return err->status;
    }
    *batch = &b->batch;
    return STATUS_OK;
}

static void carve(struct batch *batch, const struct batch_shape *shape, struct arena *arena)
{
    backend_cpu.carve(batch ? own(batch)->inner : NULL, shape, arena);
}

static enum status hold(struct batch *batch, const void *weights, size_t bytes, struct error *err)
{
    (void)weights;
    if (take_bytes(bytes, "the weights", err) == STATUS_OK) own(batch)->held_bytes += bytes;
    return err->status;
}

static float *draft(struct batch *batch, float *to, long count)
{
    struct standin_batch *b = own(batch);
    float *room = realloc(b->drafted, (size_t)count * sizeof *room);
    if (!room) abort();
    b->drafted = room, b->drafted_to = to, b->draft_count = count;
    return room;
}

static void put(struct batch *batch)
{
    const struct standin_batch *b = own(batch);
    memcpy(b->drafted_to, b->drafted, (size_t)b->draft_count * sizeof *b->drafted);
}

static void divide(struct batch *batch, const int *lengths, int samples)
{
    struct standin_batch *b = own(batch);
    b->samples = samples, b->tokens = 0;
    for (int s = 0; s < samples; s++)
        b->tokens += b->lengths[s] = lengths[s];
}

static const float *fetch(struct batch *batch, const float *from, long count)
{
    float *room = realloc(own(batch)->fetched, (size_t)count * sizeof *room);
    if (!room) abort();
    own(batch)->fetched = room;
    return memcpy(room, from, (size_t)count * sizeof *room);
}

// A device's results come behind its back: these, once they are asked for.
static void *begin_due(struct standin_batch *b, void *to, size_t bytes, bool measured)
{
    struct due *due = calloc(1, sizeof *due + bytes);
    if (!due) abort();
    *due = (struct due){.to = to, .bytes = bytes, .measured = measured};
    *b->last = due;
    b->last = &due->next;
    b->measures += measured;
    return due->made;
}

static void collect(struct batch *batch, int left)
{
    struct standin_batch *b = own(batch);
    while (b->due && (left == 0 || b->measures > left)) {
        struct due *due = b->due;
        memcpy(due->to, due->made, due->bytes);
        b->measures -= due->measured;
        b->due = due->next;
        if (!b->due) b->last = &b->due;
        free(due);
    }
}

static enum status settle(struct batch *batch, struct error *err)
{
    collect(batch, 0);
    const long fails = setting("fail=", 0);
    settled++;
    if (fails == 0 || settled < fails) return STATUS_OK;
    return error_set(err, STATUS_IO, "a step failed: unspecified launch failure");
}

static struct team *team(const struct batch *batch)
{
    return backend_cpu.team(((const struct standin_batch *)batch)->inner);
}

// ---- samples one by one ----

// Sample s of a batch at hand, in the processor's; false behind the last.  *row: where it begins.
static bool next_sample(struct standin_batch *b, int s, long *row)
{
    const bool many = b->samples > 1 && b->tokens == b->batch.tokens;
    if (s >= (many ? b->samples : 1)) return false;
    *row = s == 0 ? 0 : *row + b->inner->tokens;
    b->inner->tokens = many ? b->lengths[s] : b->batch.tokens;
    b->inner->broken = b->batch.broken == BROKEN_BY_SAMPLE ? b->broken[s] : b->inner->tokens;
    return true;
}

#define EACH_SAMPLE(b, s, row) for (long s = 0, row = 0; next_sample(b, (int)s, &row); s++)

// All at once: the rows of a step do not know of each other.
static struct batch *whole(struct batch *batch)
{
    own(batch)->inner->tokens = batch->tokens;
    return own(batch)->inner;
}

static void embed(struct batch *batch, const struct embedding *embedding, const int32_t *ids, float *out,
                  long ld)
{
    backend_cpu.embed(whole(batch), embedding, ids, out, ld);
}

static void norm(struct batch *batch, const struct norm *n)
{
    backend_cpu.norm(whole(batch), n);
}

static void product_f32(struct batch *batch, const struct gemm_f32 *gemm, int outputs)
{
    backend_cpu.product_f32(whole(batch), gemm, outputs);
}

static void product_s8(struct batch *batch, struct gemm_s8 *gemm, int outputs)
{
    backend_cpu.product_s8(whole(batch), gemm, outputs);
}

// Scales that the device made are one for each sample; what a checkpoint brings is one, in the host's memory.
static const float *scale_at(const float *scale, long s)
{
    const unsigned char *at = (const unsigned char *)scale;
    for (int i = 0; i < MOST_ARENAS; i++)
        if (scale && taken[i].base && at >= taken[i].base && at < taken[i].base + taken[i].size_bytes)
            return scale + s;
    return scale;
}

// Which row in front of a sample is of another one: conv1d is to find zeros there.
static void conv1d(struct batch *batch, const struct conv1d *c, int channels)
{
    struct standin_batch *b = own(batch);
    const long before = c->d_conv - 1, ldx = c->ldx;
    EACH_SAMPLE(b, s, row)
    {
        const long rows = before + b->inner->tokens;
        float *values = calloc((size_t)(rows * ldx), sizeof *values);
        int8_t *codes = calloc((size_t)(rows * ldx), 1);
        struct conv1d one = *c;
        if (!values || !codes) abort();
        if (c->x_float)
            memcpy(values + before * ldx, c->x_float + row * ldx,
                   (size_t)(b->inner->tokens * ldx) * sizeof *values);
        else
            memcpy(codes + before * ldx, c->x_codes + row * ldx, (size_t)(b->inner->tokens * ldx));
        if (c->x_float) one.x_float = values + before * ldx;
        if (c->x_codes) one.x_codes = codes + before * ldx;
        if (c->v) one.v += row * c->ldv;
        if (c->codes) one.codes += row * c->ldq;
        one.x_scale = scale_at(c->x_scale, s);
        for (int p = 0; p < CONV1D_PARTS; p++)
            one.part_scales[p] = scale_at(c->part_scales[p], s);
        backend_cpu.conv1d(b->inner, &one, channels);
        free(values);
        free(codes);
    }
}

static struct scan_operand behind(struct scan_operand operand, long row)
{
    if (operand.values) operand.values += row * operand.ld;
    if (operand.codes) operand.codes += row * operand.ld;
    return operand;
}

static void scan(struct batch *batch, const struct scan *all)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        struct scan one = *all;
        one.length = b->inner->tokens;
        one.u = behind(all->u, row), one.dt = behind(all->dt, row), one.z = behind(all->z, row);
        one.B += row * all->ld_bc, one.C += row * all->ld_bc;
        one.y += row * all->ldy;
        if (all->last_state) one.last_state += s * all->d_state * all->ld_inner;
        backend_cpu.scan(b->inner, &one);
    }
}

static void ssd(struct batch *batch, const struct ssd *all)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        struct ssd one = *all;
        one.length = b->inner->tokens;
        one.u += row * all->ldu, one.dt += row * all->lddt, one.y += row * all->ldy;
        one.B += row * all->ldbc, one.C += row * all->ldbc;
        if (all->of_samples) one.state += s * all->heads * all->d_state * round_up16(all->head_dim);
        backend_cpu.ssd(b->inner, &one);
    }
}

static void gated_norm(struct batch *batch, const struct gated_norm *n)
{
    backend_cpu.gated_norm(whole(batch), n);
}

static void rotate(struct batch *batch, const struct hadamard *hadamard, float *rows, long ld)
{
    backend_cpu.rotate(whole(batch), hadamard, rows, ld);
}

static void quantize(struct batch *batch, const struct quantize *q)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        struct quantize one = *q;
        one.x += row * q->ldx, one.codes += row * q->ldq;
        if (q->of == STEP_OF_SAMPLE) one.steps += s;
        if (q->of == STEP_OF_ROWS) one.steps += row;
        backend_cpu.quantize(b->inner, &one);
        if (q->of == STEP_OF_SAMPLE) b->broken[s] = b->inner->broken;
    }
    if (q->of == STEP_OF_SAMPLE) batch->broken = BROKEN_BY_SAMPLE;
}

static void dequantize(struct batch *batch, const struct dequantize *d)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        struct dequantize one = *d;
        one.codes += row * d->ldq, one.values += row * d->ldv;
        one.scale = d->by_row ? d->scale + row : scale_at(d->scale, s);
        backend_cpu.dequantize(b->inner, &one);
    }
}

static void columns(struct batch *batch, const struct columns *c)
{
    backend_cpu.columns(whole(batch), c);
}

static void quotients(struct batch *batch, const float *from, int count, float by, float *to)
{
    backend_cpu.quotients(whole(batch), from, count, by, to);
}

static void round_half(struct batch *batch, float *x, long ld)
{
    backend_cpu.round_half(whole(batch), x, ld);
}

static void weigh(struct batch *batch, float *x, long ld, int width, const float *weight)
{
    backend_cpu.weigh(whole(batch), x, ld, width, weight);
}

static void zero(struct batch *batch, float *x, long count)
{
    backend_cpu.zero(whole(batch), x, count);
}

static void copy(struct batch *batch, const float *from, float *to, long count)
{
    backend_cpu.copy(whole(batch), from, to, count);
}

static void dither(struct batch *batch, float *x, long ld, int width, uint64_t key)
{
    struct standin_batch *b = own(batch);
    const uint64_t *seeds = batch->seeds;
    EACH_SAMPLE(b, s, row)
    backend_cpu.dither(b->inner, x + row * ld, ld, width, seeds ? seeds[s] + (key - seeds[0]) : key);
}

static bool same(struct batch *batch, const float *a, const float *b, long count)
{
    return backend_cpu.same(whole(batch), a, b, count);
}

static void find_broken(struct batch *batch, const float *rows, long ld, int width)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        backend_cpu.find_broken(b->inner, rows + row * ld, ld, width);
        b->broken[s] = b->inner->broken;
    }
    batch->broken = BROKEN_BY_SAMPLE;
}

static void break_rows(struct batch *batch, const float *from, long ld_from, int width_from, float *to,
                       long ld_to, int width_to)
{
    backend_cpu.break_rows(whole(batch), from, ld_from, width_from, to, ld_to, width_to);
}

static void break_rest(struct batch *batch, float *rows, long ld, int width)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    backend_cpu.break_rest(b->inner, rows + row * ld, ld, width);
}

static void mark_finite(struct batch *batch, const float *rows, long ld, int width, int8_t *finite)
{
    backend_cpu.mark_finite(whole(batch), rows, ld, width, finite);
}

static void break_marked(struct batch *batch, const int8_t *finite, float *rows, long ld, int width)
{
    backend_cpu.break_marked(whole(batch), finite, rows, ld, width);
}

static void keep(struct batch *batch, const struct seen *seen, float *to)
{
    struct standin_batch *b = own(batch);
    EACH_SAMPLE(b, s, row)
    {
        struct seen one = *seen;
        float *room = to + row * seen->width;
        if (one.values) one.values += row * seen->ld;
        if (one.codes) one.codes += row * seen->ld;
        one.scale = seen->by_row ? seen->scale + row : scale_at(seen->scale, s);
        const float *given = backend_cpu.give(b->inner, &one, room);
        if (given != room) memcpy(room, given, (size_t)b->inner->tokens * (size_t)seen->width * sizeof *room);
    }
}

static void measure(struct batch *batch, const struct pair *pairs, int count, struct measured *found)
{
    struct standin_batch *b = own(batch);
    const int samples = b->samples > 1 && b->tokens == batch->tokens ? b->samples : 1;
    struct measured *coming = begin_due(b, found, (size_t)(count * samples) * sizeof *coming, true);
    for (int p = 0; p < count; p++) {
        EACH_SAMPLE(b, s, row)
        {
            struct pair one = pairs[p];
            one.ref += row * one.width, one.mode += row * one.width;
            backend_cpu.measure(b->inner, &one, 1, &coming[p * samples + s]);
        }
    }
}

static void predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                    const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                    int stride)
{
    struct prediction *coming = begin_due(own(batch), predictions, (size_t)count * sizeof *coming, false);
    if (first_id != 0) abort(); // a device is given all of the vocabulary
    for (int first = 0; first < ids; first += PREDICTION_PIECE) {
        const int left = ids - first;
        predictions_add(coming, reference_logits + first, mode_logits + first, next, count, first,
                        left < PREDICTION_PIECE ? left : PREDICTION_PIECE, stride);
    }
}

// ---- observers: the |v| of a sample, sorted ----

static float *per_sample(struct batch *batch, long count)
{
    struct standin_batch *b = own(batch);
    const long samples = b->samples > 1 && b->tokens == batch->tokens ? b->samples : 1;
    float *room = realloc(b->of_samples, (size_t)(samples * count) * sizeof *room);
    if (!room) abort();
    return b->of_samples = room;
}

static int compare_bits(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

// How many there are of the rows of a sample; sorted.
static long sorted_bits(const struct observed *o, long first, long rows, uint32_t *bits)
{
    long count = 0;
    for (long t = first; t < first + rows; t++)
        for (int p = 0; p < o->parts; p++)
            for (int i = 0; i < o->columns[p].width; i++) {
                memcpy(&bits[count], &o->values[t * o->ld + o->columns[p].first + i], sizeof *bits);
                bits[count++] &= UINT32_C(0x7fffffff);
            }
    qsort(bits, (size_t)count, sizeof *bits, compare_bits);
    return count;
}

static void look(struct batch *batch, const struct look_for *look)
{
    enum { INFINITE = 0x7f800000 };
    struct standin_batch *b = own(batch);
    const struct observed *o = look->observed;
    EACH_SAMPLE(b, s, row)
    {
        const long rows = o->of_samples ? o->rows : b->inner->tokens, first = o->of_samples ? s * rows : row;
        uint32_t *bits = malloc((size_t)(rows * o->ld + 1) * sizeof *bits);
        if (!bits) abort();
        const long count = sorted_bits(o, first, rows, bits), rank = look->found[s].rank;
        long numbers = count;
        while (numbers > 0 && bits[numbers - 1] > INFINITE)
            numbers--;
        look->found[s].bits = look->ranked ? bits[rank] : numbers > 0 ? bits[numbers - 1] : 0;
        look->found[s].next = bits[rank + 1 < count ? rank + 1 : rank];
        for (long i = 0; look->bins && i < numbers; i++) {
            const struct bit_bins *bins = look->bins;
            const uint32_t bin = bits[i] < bins->lowest    ? 0
                                 : bits[i] < bins->highest ? 1 + ((bits[i] - bins->lowest) >> bins->shift)
                                                           : (uint32_t)bins->count - 1;
            look->counts[s * look->stride + bin]++;
        }
        free(bits);
    }
}

static void take_more(const struct grid_for *grid, const struct grid_for *one, int columns)
{
    for (int c = 0; c < columns; c++)
        if (one->largest[c] > grid->largest[c]) grid->largest[c] = one->largest[c];
    for (int p = 0; grid->scales && p < grid->parts; p++) {
        for (int i = 0; i < GRID_CODES; i++)
            grid->tallies[p].codes[i] += one->tallies[p].codes[i];
        grid->tallies[p].clipped += one->tallies[p].clipped;
    }
}

static void lay_on_grid(struct batch *batch, const struct grid_for *grid)
{
    struct standin_batch *b = own(batch);
    struct observed o = *grid->observed;
    struct grid_tally tallies[3];
    int columns = 0;
    for (int p = 0; p < grid->parts; p++)
        columns += o.columns[p].width;
    float *largest = malloc((size_t)columns * sizeof *largest);
    if (!largest) abort();
    struct grid_for one = {&o, grid->parts, grid->scales, largest, grid->sums, 0, tallies};
    memset(grid->largest, 0, (size_t)columns * sizeof *largest);
    if (grid->scales) memset(grid->tallies, 0, (size_t)grid->parts * sizeof *tallies);
    EACH_SAMPLE(b, s, row)
    {
        if (!o.of_samples) o.rows = b->inner->tokens;
        o.values = grid->observed->values + (o.of_samples ? s * o.rows : row) * o.ld;
        one.sums = grid->scales ? grid->sums + s * grid->stride : NULL;
        backend_cpu.grid(b->inner, &one);
        take_more(grid, &one, columns);
    }
    free(largest);
}

const struct backend *backend_cuda(void)
{
    static const struct backend standin = {.name = "cuda",
                                           .reserve = take_memory,
                                           .release = give_memory,
                                           .open = open_batch,
                                           .carve = carve,
                                           .hold = hold,
                                           .draft = draft,
                                           .put = put,
                                           .divide = divide,
                                           .fetch = fetch,
                                           .settle = settle,
                                           .close = close_batch,
                                           .team = team,
                                           .embed = embed,
                                           .norm = norm,
                                           .product_f32 = product_f32,
                                           .product_s8 = product_s8,
                                           .conv1d = conv1d,
                                           .scan = scan,
                                           .ssd = ssd,
                                           .gated_norm = gated_norm,
                                           .rotate = rotate,
                                           .quantize = quantize,
                                           .dequantize = dequantize,
                                           .columns = columns,
                                           .quotients = quotients,
                                           .round_half = round_half,
                                           .dither = dither,
                                           .weigh = weigh,
                                           .zero = zero,
                                           .copy = copy,
                                           .same = same,
                                           .find_broken = find_broken,
                                           .break_rows = break_rows,
                                           .break_rest = break_rest,
                                           .mark_finite = mark_finite,
                                           .break_marked = break_marked,
                                           .keep = keep,
                                           .look = look,
                                           .grid = lay_on_grid,
                                           .per_sample = per_sample,
                                           .measure = measure,
                                           .predict = predict,
                                           .collect = collect};
    return &standin;
}

// As the driver numbers them: by their place in CUDA_VISIBLE_DEVICES, where that is set.  Returns how many
// there are, and of number `index` which one it is.
static int visible(int index, int *which)
{
    const char *text = getenv("SSMSWEEP_STANDIN"), *shown = getenv("CUDA_VISIBLE_DEVICES");
    const int devices = text ? (int)strtol(text, NULL, 10) : 0;
    int count = 0;
    *which = index;
    if (!shown) return devices;
    for (char *end; *shown; shown = *end == ',' ? end + 1 : end) {
        const long number = strtol(shown, &end, 10);
        if (end == shown || number < 0 || number >= devices) break;
        if (count++ == index) *which = (int)number;
    }
    return count;
}

int cuda_devices(void)
{
    int which;
    return visible(0, &which);
}

size_t cuda_ssd_bytes(const struct ssd *ssd, int samples)
{
    (void)ssd, (void)samples;
    return 0;
}

const char *cuda_version(void)
{
    return "0.0 (a stand-in)";
}

enum status cuda_use(int index, struct error *err)
{
    (void)index, (void)err;
    return STATUS_OK;
}

size_t cuda_free_bytes(int index)
{
    (void)index;
    return (size_t)setting("memory=", 1L << 40) - taken_bytes;
}

enum status cuda_describe(int index, struct cuda_device *device, struct error *err)
{
    int which;
    (void)err, (void)visible(index, &which);
    *device = (struct cuda_device){.name = "stand-in",
                                   .processors = 1,
                                   .uuid = {(unsigned char)which},
                                   .memory_bytes = (size_t)setting("memory=", 1L << 40)};
    return STATUS_OK;
}

// ---- at best: nothing, as fast as can be ----

enum status cuda_peaks_open(struct cuda_peaks **peaks, struct error *err)
{
    (void)peaks, (void)err;
    return STATUS_OK;
}

double cuda_peaks_run(struct cuda_peaks *peaks, enum cuda_peak peak, long rounds)
{
    (void)peaks, (void)peak;
    volatile double work = 0;
    for (long r = 0; r < rounds; r++)
        work = work + 1;
    return work;
}

void cuda_peaks_close(struct cuda_peaks *peaks)
{
    (void)peaks;
}
