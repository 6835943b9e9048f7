// SPDX-License-Identifier: Apache-2.0
// A GPU as a backend.  Steps are put into a stream and computed behind the host's back: what fails shows in
// settle().  A batch may hold many samples, one behind the other.
//
// Weights stay where they were packed, and the device has a copy of the whole block: families hand on
// pointers into the block, which are moved by its distance.  So a scale can be read on the host as well.
#include "ssmsweep/compute/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cpu/isa/dither.h"
#include "cuda_batch.h"
#include "ssmsweep/compute/kernels.h"

enum {
    BROKEN_ON_DEVICE = -1, // batch->broken: ask parts.broken
    WARP = 32,
    F32_TILE = 256 // outputs
};

void cuda_note(struct cuda_batch *b, cudaError_t result)
{
    if (b->failed == cudaSuccess) b->failed = result;
}

void cuda_launched(struct cuda_batch *b)
{
    cuda_note(b, cudaGetLastError());
}

enum status cuda_error(struct error *err, cudaError_t result, const char *what)
{
    if (result == cudaErrorMemoryAllocation)
        return error_set(err, STATUS_IO, ERROR_MEMORY " on the device: %s", what);
    return error_set(err, STATUS_IO, "%s: %s", what, cudaGetErrorString(result));
}

void *cuda_room(struct cuda_batch *b, struct room *room, size_t bytes)
{
    if (bytes <= room->bytes) return room->memory;
    cuda_note(b, cudaStreamSynchronize(b->stream));
    cuda_note(b, room->on_host ? cudaFreeHost(room->memory) : cudaFree(room->memory));
    room->memory = NULL, room->bytes = 0;
    const cudaError_t result =
        room->on_host ? cudaMallocHost(&room->memory, bytes) : cudaMalloc(&room->memory, bytes);
    cuda_note(b, result);
    if (result == cudaSuccess)
        room->bytes = bytes;
    else
        cudaGetLastError(); // noted: it is not the next launch's
    return room->memory;
}

// ---- where memory is ----

static bool is_on_device(const void *p)
{
    struct cudaPointerAttributes attributes;
    const bool known = cudaPointerGetAttributes(&attributes, p) == cudaSuccess;
    return known && attributes.type == cudaMemoryTypeDevice;
}

// Scales of a checkpoint are the host's, those that are made of a sample the device's.
static struct device_scale scale_of(const struct cuda_batch *b, const float *scale, bool by_row)
{
    if (!scale) return (struct device_scale){.one = 1};
    if (!by_row && !is_on_device(scale)) return (struct device_scale){.one = *scale};
    return (struct device_scale){.many = here(b, scale), .by_row = by_row};
}

// ---- life ----

static enum status cuda_reserve(struct arena *arena, size_t bytes, const char *what, struct error *err)
{
    void *memory = NULL;
    if (cudaMalloc(&memory, bytes) != cudaSuccess || cudaMemset(memory, 0, bytes) != cudaSuccess) {
        cudaFree(memory);
        cudaGetLastError();
        return error_set(err, STATUS_IO, ERROR_MEMORY " on the device: cannot get %zu bytes for %s", bytes,
                         what);
    }
    arena_init_over(arena, memory, bytes);
    return STATUS_OK;
}

static void cuda_release(struct arena *arena)
{
    cudaFree(arena->base);
    *arena = (struct arena){0};
}

static void cuda_close(struct batch *batch)
{
    if (!batch) return;
    struct cuda_batch *b = cuda_of(batch);
    if (b->stream) cudaStreamDestroy(b->stream);
    cudaFreeHost(b->staging.memory);
    cudaFree(b->copy.memory);
    cudaFree(b->home.memory);
    cudaFree(b->turned.memory);
    cudaFree(b->device_weights);
    cudaFree(b->keys.memory);
    cudaFree(b->look.memory);
    cudaFreeHost(b->looked.memory);
    cudaFree(b->of_samples.memory);
    cudaFree(b->order.memory);
    free(b->draft.memory);
    cudaFreeHost(b->keys_here.memory);
    cuda_measuring_close(b->measuring);
    for (int i = 0; i < EMBEDDINGS; i++) {
        cudaFree(b->embedded[i].rows);
        free(b->embedded[i].is_there);
    }
    free(b->lengths);
    team_close(b->team);
    free(b);
}

static enum status cuda_open(struct batch **batch, const struct batch_shape *shape, struct error *err)
{
    struct cuda_batch *b = calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "a batch");
    b->batch.backend = backend_cuda();
    b->staging.on_host = b->looked.on_host = b->keys_here.on_host = true;
    b->lengths = malloc((size_t)shape->max_tokens * sizeof *b->lengths);
    if (!b->lengths) error_memory(err, (size_t)shape->max_tokens * sizeof *b->lengths, "a batch");
    const cudaError_t result = cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking);
    if (result != cudaSuccess) cuda_error(err, result, "cannot open it");
    if (err->status || team_open(&b->team, shape->threads, err)) {
        cuda_close(&b->batch);
        return err->status;
    }
    *batch = &b->batch;
    return STATUS_OK;
}

static void cuda_carve(struct batch *batch, const struct batch_shape *shape, struct arena *arena)
{
    struct cuda_batch measured, *b = batch ? cuda_of(batch) : &measured;
    const size_t tokens = (size_t)shape->max_tokens;
    b->firsts = arena_take(arena, (tokens + 1) * sizeof *b->firsts);
    b->sample_of = arena_take(arena, tokens * sizeof *b->sample_of);
    b->broken = arena_take(arena, tokens * sizeof *b->broken);
    b->most = arena_take(arena, tokens * sizeof *b->most);
}

static void cuda_divide(struct batch *batch, const int *lengths, int samples)
{
    struct cuda_batch *b = cuda_of(batch);
    int tokens = 0;
    memcpy(b->lengths, lengths, (size_t)samples * sizeof *lengths);
    for (int s = 0; s < samples; s++)
        tokens += lengths[s];
    int *table = cuda_room(b, &b->staging, (size_t)(samples + 1 + tokens) * sizeof *table);
    if (!table) return;
    int *sample_of = table + samples + 1, at = 0;
    for (int s = 0; s < samples; s++) {
        table[s] = at;
        for (int t = 0; t < lengths[s]; t++)
            sample_of[at++] = s;
    }
    table[samples] = tokens;
    cuda_note(b, cudaMemcpyAsync(b->firsts, table, (size_t)(samples + 1) * sizeof *table,
                                 cudaMemcpyHostToDevice, b->stream));
    cuda_note(b, cudaMemcpyAsync(b->sample_of, sample_of, (size_t)tokens * sizeof *table,
                                 cudaMemcpyHostToDevice, b->stream));
    cuda_note(b, cudaStreamSynchronize(b->stream));
    b->division++;
    b->divided = (struct parts){tokens, samples, b->firsts, b->sample_of, b->broken};
}

static enum status cuda_settle(struct batch *batch, struct error *err)
{
    struct cuda_batch *b = cuda_of(batch);
    cuda_collect(batch, 0);
    cuda_note(b, cudaStreamSynchronize(b->stream));
    const cudaError_t failed = b->failed;
    b->failed = cudaSuccess;
    return failed == cudaSuccess ? STATUS_OK : cuda_error(err, failed, "a step failed");
}

static struct team *cuda_team(const struct batch *batch)
{
    return ((const struct cuda_batch *)batch)->team;
}

// ---- steps ----

static void cuda_norm(struct batch *batch, const struct norm *norm)
{
    struct cuda_batch *b = cuda_of(batch);
    struct norm there = *norm;
    there.weight = here(b, norm->weight);
    device_norm(b->stream, &there, batch->tokens);
    cuda_launched(b);
}

static void product_part(struct cuda_batch *b, const struct gemm_f32 *gemm, int outputs)
{
    if (outputs == 0) return;
    const size_t bytes = device_product_f32_bytes(b->batch.tokens, outputs, gemm->depth);
    float *room = bytes ? cuda_room(b, &b->turned, bytes) : NULL; // without it the product is slower
    device_product_f32(b->stream, gemm, b->batch.tokens, outputs, room);
    cuda_launched(b);
}

// A vocabulary is no multiple of the tiles: what is left behind them goes by itself.
static void cuda_product_f32(struct batch *batch, const struct gemm_f32 *gemm, int outputs)
{
    struct cuda_batch *b = cuda_of(batch);
    struct gemm_f32 there = *gemm;
    there.w = here(b, gemm->w);
    int whole = outputs / F32_TILE * F32_TILE;
    if (device_product_f32_bytes(batch->tokens, whole, gemm->depth) == 0)
        whole = outputs; // there are no tiles
    product_part(b, &there, whole);
    there.w += (long)whole * gemm->depth, there.out += whole;
    product_part(b, &there, outputs - whole);
}

// Signed codes need no bias128.
static void cuda_product_s8(struct batch *batch, struct gemm_s8 *gemm, int outputs)
{
    struct cuda_batch *b = cuda_of(batch);
    struct gemm_s8 there = *gemm;
    there.w = here(b, gemm->w);
    there.first_rows = here(b, gemm->first_rows);
    there.second_rows = here(b, gemm->second_rows);
    there.first_outputs = here(b, gemm->first_outputs);
    there.second_outputs = here(b, gemm->second_outputs);
    device_product_s8(b->stream, &there, batch->tokens, outputs);
    cuda_launched(b);
}

static void conv1d_parts(struct cuda_batch *b, const struct conv1d *conv1d, const struct parts *parts,
                         int channels)
{
    struct device_scales scales;
    for (int i = 0; i < CONV1D_PARTS; i++)
        scales.of[i] = scale_of(b, conv1d->part_scales[i], false);
    device_conv1d_parts(b->stream, conv1d, &scales, parts, channels);
}

static void cuda_conv1d(struct batch *batch, const struct conv1d *conv1d, int channels)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    struct conv1d there = *conv1d;
    const struct device_scale scale = scale_of(b, conv1d->x_scale, false);
    if (conv1d->x_scale && !scale.many) there.tap_scale *= scale.one;
    there.x_scale = scale.many;
    there.w = here(b, conv1d->w);
    there.b = here(b, conv1d->b);
    there.tap_scales = here(b, conv1d->tap_scales);
    if (conv1d->part_scales[0])
        conv1d_parts(b, &there, &parts, channels);
    else
        device_conv1d(b->stream, &there, &parts, channels);
    cuda_launched(b);
}

// One launch for each shape that the samples have.
static void scan_blocked(struct cuda_batch *b, const struct scan *scan, const struct parts *parts)
{
    unsigned seen = 0;
    for (int s = 0; s < parts->samples; s++) {
        int lanes, items;
        scan_blocked_shape(parts->samples > 1 ? b->lengths[s] : parts->tokens, &lanes, &items);
        const unsigned bit = 1u << (lanes / WARP + items); // 1, 2 or 4, and 4, 8 or 16
        if (!(seen & bit)) device_scan_blocked(b->stream, scan, parts, lanes, items);
        seen |= bit;
    }
}

static void cuda_scan(struct batch *batch, const struct scan *scan)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    struct scan there = *scan;
    there.dt_bias = here(b, scan->dt_bias);
    there.D = here(b, scan->D);
    there.A = here(b, scan->A);
    if (scan->blocked) {
        scan_blocked(b, &there, &parts);
    } else {
        const size_t states = (size_t)(parts.samples * scan->d_state) * (size_t)scan->ld_inner;
        float *home = scan->d_state == 16 ? NULL : cuda_room(b, &b->home, states * sizeof *home);
        device_scan(b->stream, &there, &parts, home);
    }
    cuda_launched(b);
}

static void rotate_rows(struct cuda_batch *b, const struct hadamard *hadamard, float *rows, long ld)
{
    struct device_rotation rotation = {.dim = hadamard->dim,
                                       .base = hadamard->base,
                                       .power = hadamard->power,
                                       .has_matrix = hadamard->matrix != NULL,
                                       .factor = hadamard->factor};
    for (int i = 0; hadamard->matrix && i < hadamard->base * hadamard->base; i++)
        if (hadamard->matrix[i] < 0)
            rotation.negative[i / hadamard->base] |= (uint64_t)1 << i % hadamard->base;
    device_rotate(b->stream, &rotation, b->batch.tokens, rows, ld);
    cuda_launched(b);
}

static void cuda_rotate(struct batch *batch, const struct hadamard *hadamard, float *rows, long ld)
{
    rotate_rows(cuda_of(batch), hadamard, rows, ld);
}

static void cuda_quantize(struct batch *batch, const struct quantize *quantize)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    device_quantize(b->stream, quantize, &parts, b->most);
    if (quantize->of == STEP_OF_SAMPLE) batch->broken = BROKEN_ON_DEVICE;
    cuda_launched(b);
}

static void cuda_dequantize(struct batch *batch, const struct dequantize *d)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    const struct device_scale scale = scale_of(b, d->scale, d->by_row);
    device_dequantize(b->stream, d->codes, d->ldq, d->width, &scale, &parts, d->values, d->ldv);
    cuda_launched(b);
}

static void cuda_columns(struct batch *batch, const struct columns *columns)
{
    struct cuda_batch *b = cuda_of(batch);
    struct columns there = *columns;
    there.steps = here(b, columns->steps);
    device_columns(b->stream, &there, batch->tokens);
    cuda_launched(b);
}

static void cuda_quotients(struct batch *batch, const float *from, int count, float by, float *to)
{
    struct cuda_batch *b = cuda_of(batch);
    device_quotients(b->stream, here(b, from), count, by, to);
    cuda_launched(b);
}

static void cuda_round_half(struct batch *batch, float *x, long ld)
{
    struct cuda_batch *b = cuda_of(batch);
    device_round_half(b->stream, x, batch->tokens * ld);
    cuda_launched(b);
}

// Keys lie in one of so many places in turn, so that only behind the last the device is waited for.
static void cuda_dither(struct batch *batch, float *x, long ld, int width, uint64_t key)
{
    enum { PLACES = 64 };
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    const size_t samples = (size_t)parts.samples, bytes = PLACES * samples * sizeof(uint64_t);
    if (samples != b->keys_samples || b->keys_at == PLACES) {
        cuda_note(b, cudaStreamSynchronize(b->stream));
        b->keys_at = 0, b->keys_samples = samples;
    }
    uint64_t *mixed = cuda_room(b, &b->keys_here, bytes), *there = cuda_room(b, &b->keys, bytes);
    if (!mixed || !there) return;
    mixed += b->keys_at * samples, there += b->keys_at * samples;
    b->keys_at++;
    for (int s = 0; s < parts.samples; s++)
        mixed[s] = dither_mix(batch->seeds ? batch->seeds[s] + (key - batch->seeds[0]) : key);
    cuda_note(b, cudaMemcpyAsync(there, mixed, samples * sizeof *mixed, cudaMemcpyHostToDevice, b->stream));
    device_dither(b->stream, &parts, x, ld, width, there);
    cuda_launched(b);
}

static void cuda_weigh(struct batch *batch, float *x, long ld, int width, const float *weight)
{
    struct cuda_batch *b = cuda_of(batch);
    device_weigh(b->stream, x, ld, width, batch->tokens, here(b, weight));
    cuda_launched(b);
}

static void cuda_zero(struct batch *batch, float *x, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    cuda_note(b, cudaMemsetAsync(x, 0, (size_t)count * sizeof *x, b->stream));
}

static void cuda_copy(struct batch *batch, const float *from, float *to, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    cuda_note(b, cudaMemcpyAsync(to, from, (size_t)count * sizeof *to, cudaMemcpyDeviceToDevice, b->stream));
}

// ---- what is not finite ----

static void cuda_find_broken(struct batch *batch, const float *rows, long ld, int width)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    device_find_broken(b->stream, &parts, rows, ld, width);
    batch->broken = BROKEN_ON_DEVICE;
    cuda_launched(b);
}

static void cuda_break_rows(struct batch *batch, const float *from, long ld_from, int width_from, float *to,
                            long ld_to, int width_to)
{
    struct cuda_batch *b = cuda_of(batch);
    device_break_rows(b->stream, batch->tokens, from, ld_from, width_from, to, ld_to, width_to);
    cuda_launched(b);
}

static void cuda_break_rest(struct batch *batch, float *rows, long ld, int width)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    if (batch->broken != BROKEN_ON_DEVICE) return;
    device_break_rest(b->stream, &parts, rows, ld, width);
    cuda_launched(b);
}

static void cuda_mark_finite(struct batch *batch, const float *rows, long ld, int width, int8_t *finite)
{
    struct cuda_batch *b = cuda_of(batch);
    device_mark_finite(b->stream, batch->tokens, rows, ld, width, finite);
    cuda_launched(b);
}

static void cuda_break_marked(struct batch *batch, const int8_t *finite, float *rows, long ld, int width)
{
    struct cuda_batch *b = cuda_of(batch);
    device_break_marked(b->stream, batch->tokens, finite, rows, ld, width);
    cuda_launched(b);
}

// ---- captures and observers ----

static void cuda_keep(struct batch *batch, const struct seen *seen, float *to)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    const int width = seen->width;
    if (seen->order) {
        const struct device_scale scale = scale_of(b, seen->scale, seen->by_row);
        const int32_t *order = cuda_order(b, seen->order, width);
        if (!order) return;
        device_order_columns(b->stream, seen->values, seen->codes, seen->ld, width, &scale, &parts, order,
                             to);
    } else if (seen->values) {
        device_copy_rows(b->stream, seen->values, seen->ld, to, width, batch->tokens, width);
    } else {
        const struct device_scale scale = scale_of(b, seen->scale, seen->by_row);
        device_dequantize(b->stream, seen->codes, seen->ld, width, &scale, &parts, to, width);
    }
    if (seen->rotation) rotate_rows(b, seen->rotation, to, width);
    cuda_break_rest(batch, to, width, width);
    cuda_launched(b);
}

// What could not be computed is NULL, or what stood there before: settle() says so.
static const float *cuda_fetch(struct batch *batch, const float *from, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    const size_t bytes = (size_t)count * sizeof *from;
    float *out = cuda_room(b, &b->staging, bytes);
    if (!out) return NULL;
    cuda_note(b, cudaMemcpyAsync(out, from, bytes, cudaMemcpyDeviceToHost, b->stream));
    cuda_note(b, cudaStreamSynchronize(b->stream));
    return out;
}

static const float *cuda_give(struct batch *batch, const struct seen *seen, float *room)
{
    (void)room;
    struct cuda_batch *b = cuda_of(batch);
    const long count = (long)batch->tokens * seen->width;
    float *copy = cuda_room(b, &b->copy, (size_t)count * sizeof *copy);
    if (!copy) return NULL;
    cuda_keep(batch, seen, copy);
    return cuda_fetch(batch, copy, count);
}

static float cuda_most(struct batch *batch, const float *x, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    float most = 0;
    device_most(b->stream, x, count, b->most);
    cuda_note(b, cudaMemcpyAsync(&most, b->most, sizeof most, cudaMemcpyDeviceToHost, b->stream));
    cuda_note(b, cudaStreamSynchronize(b->stream));
    cuda_launched(b);
    return most;
}

static const struct backend cuda = {.name = "cuda",
                                    .reserve = cuda_reserve,
                                    .release = cuda_release,
                                    .open = cuda_open,
                                    .carve = cuda_carve,
                                    .hold = cuda_hold,
                                    .draft = cuda_draft,
                                    .put = cuda_put,
                                    .divide = cuda_divide,
                                    .settle = cuda_settle,
                                    .close = cuda_close,
                                    .team = cuda_team,
                                    .embed = cuda_embed,
                                    .norm = cuda_norm,
                                    .product_f32 = cuda_product_f32,
                                    .product_s8 = cuda_product_s8,
                                    .conv1d = cuda_conv1d,
                                    .scan = cuda_scan,
                                    .ssd = cuda_ssd,
                                    .gated_norm = cuda_gated_norm,
                                    .rotate = cuda_rotate,
                                    .quantize = cuda_quantize,
                                    .dequantize = cuda_dequantize,
                                    .columns = cuda_columns,
                                    .quotients = cuda_quotients,
                                    .round_half = cuda_round_half,
                                    .dither = cuda_dither,
                                    .weigh = cuda_weigh,
                                    .zero = cuda_zero,
                                    .copy = cuda_copy,
                                    .find_broken = cuda_find_broken,
                                    .break_rows = cuda_break_rows,
                                    .break_rest = cuda_break_rest,
                                    .mark_finite = cuda_mark_finite,
                                    .break_marked = cuda_break_marked,
                                    .give = cuda_give,
                                    .keep = cuda_keep,
                                    .fetch = cuda_fetch,
                                    .most = cuda_most,
                                    .look = cuda_look,
                                    .grid = cuda_grid,
                                    .per_sample = cuda_per_sample,
                                    .same = cuda_same,
                                    .measure = cuda_measure,
                                    .predict = cuda_predict,
                                    .collect = cuda_collect};

const struct backend *backend_cuda(void)
{
    return &cuda;
}

const char *cuda_version(void)
{
    return SSMSWEEP_CUDA_VERSION;
}

enum status cuda_use(int index, struct error *err)
{
    const cudaError_t result = cudaSetDevice(index);
    return result == cudaSuccess ? STATUS_OK : cuda_error(err, result, "cannot use it");
}

int cuda_devices(void)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError();
    return 0;
}

enum status cuda_describe(int index, struct cuda_device *device, struct error *err)
{
    struct cudaDeviceProp found;
    const cudaError_t result = cudaGetDeviceProperties(&found, index);
    if (result != cudaSuccess) return cuda_error(err, result, "cannot describe it");
    *device = (struct cuda_device){.major = found.major,
                                   .minor = found.minor,
                                   .processors = found.multiProcessorCount,
                                   .memory_bytes = found.totalGlobalMem};
    memcpy(device->uuid, &found.uuid, sizeof device->uuid);
    snprintf(device->name, sizeof device->name, "%s", found.name);
    return STATUS_OK;
}

size_t cuda_free_bytes(int index)
{
    size_t bytes = 0, total;
    if (cudaSetDevice(index) == cudaSuccess && cudaMemGetInfo(&bytes, &total) == cudaSuccess) return bytes;
    return 0;
}
