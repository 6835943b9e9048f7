// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/synth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/base/team.h"

// ---- tensors: names, shapes and how their values are drawn ----

enum synth_law {
    LAW_NORMAL, // mean + std * normal
    LAW_HOT,    // the same; of the rows of x one in 64 is six times as large: outliers
    LAW_DT,     // softplus^-1 of a step that is log-uniform in [0.001, 0.1]
    LAW_A_LOG,  // log(column + 1) + 0.05 * normal
    LAW_A_HEAD  // log of what is uniform in [1, 16]
};

struct synth_tensor {
    char name[64];
    enum synth_law law;
    double mean, std;
    int dims;
    int64_t shape[3];
    int64_t elements;
    int64_t hot_first, hot_rows; // of LAW_HOT: the rows of x
};

struct synth_tensors {
    struct dims dims;
    bool tied;
    int tokens; // ids in use: vocab_size without its padding
    struct synth_tensor *items;
    size_t count;
};

static const struct preset {
    int n_layer, d_model, tokens;
    int head_dim, d_state, n_groups, chunk_size; // of Mamba-2
    bool untied;
} presets[SYNTH_PRESETS] = {
    [SYNTH_TINY] = {2, 64, 509, 0, 0, 0, 0, false},
    [SYNTH_130M] = {24, 768, 50277, 0, 0, 0, 0, false},
    [SYNTH_370M] = {48, 1024, 50277, 0, 0, 0, 0, false},
    [SYNTH_790M] = {48, 1536, 50277, 0, 0, 0, 0, false},
    [SYNTH_1_4B] = {48, 2048, 50277, 0, 0, 0, 0, false},
    [SYNTH_2_8B] = {64, 2560, 50277, 0, 0, 0, 0, false},
    [SYNTH_MAMBA2_TINY] = {2, 64, 509, 16, 16, 1, 32, false},
    [SYNTH_MAMBA2_130M] = {24, 768, 50277, 64, 128, 1, 256, false},
    [SYNTH_MAMBA2_370M] = {48, 1024, 50277, 64, 128, 1, 256, false},
    [SYNTH_MAMBA2_780M] = {48, 1536, 50277, 64, 128, 1, 256, false},
    [SYNTH_MAMBA2_1_3B] = {48, 2048, 50277, 64, 128, 1, 256, false},
    [SYNTH_MAMBA2_2_7B] = {64, 2560, 50277, 64, 128, 1, 256, false},
    [SYNTH_MAMBA2_8B] = {56, 4096, 256000, 64, 128, 8, 128, true},
    [SYNTH_CODESTRAL_7B] = {64, 4096, 32768, 64, 128, 8, 256, true},
};

enum {
    D_STATE = 16,
    D_CONV = 4,
    EXPAND = 2,
    MOST_TENSORS_OF_LAYER = 10,
    VOCAB_MULTIPLE = 8,
    VOCAB_MULTIPLE_2 = 16
};

static void add(struct synth_tensors *t, const char *name, enum synth_law law, double mean, double std,
                const int64_t shape[3])
{
    struct synth_tensor *item = &t->items[t->count++];
    *item = (struct synth_tensor){.law = law, .mean = mean, .std = std, .elements = 1};
    snprintf(item->name, sizeof item->name, "%s", name);
    for (; item->dims < 3 && shape[item->dims] > 0; item->dims++) {
        item->shape[item->dims] = shape[item->dims];
        item->elements *= shape[item->dims];
    }
}

// A tensor of a layer.
struct row {
    const char *name;
    enum synth_law law;
    double mean, std;
    int64_t shape[3];
};

static void add_rows(struct synth_tensors *t, int layer, const struct row *rows, int count, int64_t hot_first)
{
    for (int r = 0; r < count; r++) {
        char name[64];
        snprintf(name, sizeof name, "backbone.layers.%d.%s", layer, rows[r].name);
        add(t, name, rows[r].law, rows[r].mean, rows[r].std, rows[r].shape);
        t->items[t->count - 1].hot_first = hot_first;
        t->items[t->count - 1].hot_rows = t->dims.d_inner;
    }
}

// The ranges of Mamba's own initialisation.
static void add_mamba1(struct synth_tensors *t, int layer)
{
    const struct dims *m = &t->dims;
    const int64_t D = m->d_model, I = m->d_inner, N = m->d_state, R = m->dt_rank, K = m->d_conv;
    const double d = (double)D, i = (double)I;
    const struct row rows[] = {
        {"norm.weight", LAW_NORMAL, 1, 0.2, {D}},
        {"mixer.in_proj.weight", LAW_HOT, 0, 1 / sqrt(d), {2 * I, D}},
        {"mixer.conv1d.weight", LAW_NORMAL, 0, 0.5 / sqrt((double)K), {I, 1, K}},
        {"mixer.conv1d.bias", LAW_NORMAL, 0, 0.1, {I}},
        {"mixer.x_proj.weight", LAW_NORMAL, 0, 1 / sqrt(i), {R + 2 * N, I}},
        {"mixer.dt_proj.weight", LAW_NORMAL, 0, 1 / sqrt((double)R), {I, R}},
        {"mixer.dt_proj.bias", LAW_DT, 0, 0, {I}},
        {"mixer.A_log", LAW_A_LOG, 0, 0.05, {I, N}},
        {"mixer.D", LAW_NORMAL, 1, 0.1, {I}},
        {"mixer.out_proj.weight", LAW_NORMAL, 0, 1 / sqrt(i * 2 * m->n_layer), {D, I}},
    };
    add_rows(t, layer, rows, sizeof rows / sizeof rows[0], 0);
}

static void add_mamba2(struct synth_tensors *t, int layer)
{
    const struct dims *m = &t->dims;
    const int64_t D = m->d_model, I = m->d_inner, H = m->n_heads, K = m->d_conv;
    const int64_t conv = arch_size(EXTENT_I_2GN, m);
    const double d = (double)D, i = (double)I;
    const struct row rows[] = {
        {"norm.weight", LAW_NORMAL, 1, 0.2, {D}},
        {"mixer.in_proj.weight", LAW_HOT, 0, 1 / sqrt(d), {arch_size(EXTENT_2I_2GN_H, m), D}},
        {"mixer.conv1d.weight", LAW_NORMAL, 0, 0.5 / sqrt((double)K), {conv, 1, K}},
        {"mixer.conv1d.bias", LAW_NORMAL, 0, 0.1, {conv}},
        {"mixer.dt_bias", LAW_DT, 0, 0, {H}},
        {"mixer.A_log", LAW_A_HEAD, 0, 0, {H}},
        {"mixer.D", LAW_NORMAL, 1, 0.1, {H}},
        {"mixer.norm.weight", LAW_NORMAL, 1, 0.2, {I}},
        {"mixer.out_proj.weight", LAW_NORMAL, 0, 1 / sqrt(i * 2 * m->n_layer), {D, I}},
    };
    add_rows(t, layer, rows, sizeof rows / sizeof rows[0], I);
}

static struct dims dims_of(const struct preset *preset)
{
    const bool second = preset->head_dim > 0;
    const int D = preset->d_model, multiple = second ? VOCAB_MULTIPLE_2 : VOCAB_MULTIPLE;
    struct dims dims = {.n_layer = preset->n_layer,
                        .d_model = D,
                        .d_inner = EXPAND * D,
                        .d_state = second ? preset->d_state : D_STATE,
                        .d_conv = D_CONV,
                        .vocab_size = (preset->tokens + multiple - 1) / multiple * multiple,
                        .norm_eps = 1e-5F,
                        .arch = arch_at(0)};
    if (!second) {
        dims.dt_rank = (D + 15) / 16;
        return dims;
    }
    dims.head_dim = preset->head_dim;
    dims.n_heads = dims.d_inner / dims.head_dim;
    dims.n_groups = preset->n_groups;
    dims.chunk_size = preset->chunk_size;
    return dims;
}

static enum status synth_tensors_make(struct synth_tensors *tensors, enum synth_preset preset,
                                      struct error *err)
{
    struct synth_tensors t = {
        .tokens = presets[preset].tokens, .tied = !presets[preset].untied, .dims = dims_of(&presets[preset])};
    const int n_layer = t.dims.n_layer, D = t.dims.d_model;
    size_t room = 3 + (size_t)n_layer * MOST_TENSORS_OF_LAYER;
    t.items = calloc(room, sizeof *t.items);
    if (!t.items) return error_memory(err, room * sizeof *t.items, "the list of tensors");
    add(&t, "backbone.embeddings.weight", LAW_NORMAL, 0, 0.3, (int64_t[3]){t.dims.vocab_size, D});
    for (int layer = 0; layer < n_layer; layer++)
        (t.dims.n_heads ? add_mamba2 : add_mamba1)(&t, layer);
    add(&t, "backbone.norm_f.weight", LAW_NORMAL, 1, 0.1, (int64_t[3]){D});
    if (!t.tied)
        add(&t, "lm_head.weight", LAW_NORMAL, 0, 1 / sqrt((double)D), (int64_t[3]){t.dims.vocab_size, D});
    *tensors = t;
    return STATUS_OK;
}

static void synth_tensors_clear(struct synth_tensors *tensors)
{
    free(tensors->items);
    *tensors = (struct synth_tensors){0};
}

// ---- values ----

enum { BLOCK = 4096, HOT_ROWS = 64, HOT_FACTOR = 6 };

static size_t synth_item_bytes(enum synth_dtype dtype)
{
    return dtype == SYNTH_F32 ? 4 : 2;
}

// ---- float32 to 16 bits, to the nearest, ties to even; no value here is near the ends of the range ----

static uint16_t to_half(float value)
{
    const float half = 0.5F; // its last place is half precision's smallest number
    uint32_t bits, magic;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&magic, &half, sizeof magic);
    uint32_t sign = bits >> 16 & 0x8000U;
    bits &= 0x7fffffffU;
    if (bits < 0x38800000U) { // subnormal in half precision: the addition rounds
        float sum;
        memcpy(&sum, &bits, sizeof sum);
        sum += half;
        memcpy(&bits, &sum, sizeof bits);
        return (uint16_t)(sign | (bits - magic));
    }
    bits += 0xc8000fffU + (bits >> 13 & 1);
    return (uint16_t)(sign | bits >> 13);
}

static uint16_t to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1)) >> 16);
}

static void store(void *out, int64_t at, const float *values, int64_t count, enum synth_dtype dtype)
{
    unsigned char *to = (unsigned char *)out + (size_t)at * synth_item_bytes(dtype);
    uint16_t narrow[BLOCK];
    if (dtype == SYNTH_F32) {
        memcpy(to, values, (size_t)count * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        narrow[i] = dtype == SYNTH_F16 ? to_half(values[i]) : to_bfloat(values[i]);
    memcpy(to, narrow, (size_t)count * sizeof *narrow);
}

// ---- the laws: values[count] of the elements from `first` ----

// Row `row` of LAW_HOT is an outlier if it is the one that was drawn among its 64 neighbours.
static double row_factor(const struct synth_tensor *t, uint64_t hot_stream, int64_t row)
{
    int64_t rows = t->hot_rows, groups = rows >= HOT_ROWS ? rows / HOT_ROWS : 1, group_rows = rows / groups;
    row -= t->hot_first;
    int64_t group = row / group_rows;
    if (row < 0 || row >= groups * group_rows) return 1;
    bool hot = random_below(hot_stream, (uint64_t)group, (uint64_t)group_rows) == row % group_rows;
    return hot ? HOT_FACTOR : 1;
}

static void fill_normal(float *values, uint64_t stream, int64_t first, int64_t count, double mean, double std)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(mean + std * random_normal(stream, (uint64_t)(first + i)));
}

static void fill_hot(float *values, const struct synth_tensor *t, uint64_t stream, int64_t first,
                     int64_t count)
{
    const int64_t width = t->shape[1];
    const uint64_t hot_stream = random_bits(stream, UINT64_MAX - 1);
    for (int64_t i = 0, run = 0; i < count; i += run) {
        int64_t row = (first + i) / width;
        run = (row + 1) * width - (first + i);
        if (run > count - i) run = count - i;
        fill_normal(values + i, stream, first + i, run, t->mean, t->std * row_factor(t, hot_stream, row));
    }
}

static void fill_dt(float *values, uint64_t stream, int64_t first, int64_t count)
{
    const double low = random_log(1e-3), high = random_log(1e-1);
    for (int64_t i = 0; i < count; i++) {
        double dt = random_exp(low + (high - low) * random_uniform(stream, (uint64_t)(first + i)));
        values[i] = (float)(dt + random_log(1 - random_exp(-dt)));
    }
}

static void fill_a_log(float *values, const struct synth_tensor *t, uint64_t stream, int64_t first,
                       int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double column = (double)((first + i) % t->shape[1]);
        values[i] = (float)(random_log(column + 1) + t->std * random_normal(stream, (uint64_t)(first + i)));
    }
}

static void fill_a_heads(float *values, uint64_t stream, int64_t first, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)random_log(1 + 15 * random_uniform(stream, (uint64_t)(first + i)));
}

static void synth_fill(void *out, const struct synth_tensor *tensor, unsigned seed, enum synth_dtype dtype,
                       int64_t first, int64_t count)
{
    const uint64_t stream = random_stream(seed, tensor->name);
    float values[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t n = count - at < BLOCK ? count - at : BLOCK;
        if (tensor->law == LAW_NORMAL)
            fill_normal(values, stream, first + at, n, tensor->mean, tensor->std);
        else if (tensor->law == LAW_HOT)
            fill_hot(values, tensor, stream, first + at, n);
        else if (tensor->law == LAW_DT)
            fill_dt(values, stream, first + at, n);
        else if (tensor->law == LAW_A_HEAD)
            fill_a_heads(values, stream, first + at, n);
        else
            fill_a_log(values, tensor, stream, first + at, n);
        store(out, at, values, n, dtype);
    }
}

// ---- files ----

enum { PIECE = 1 << 20, SAMPLES = 64, SAMPLE_TOKENS = 512, NAME_CHARS = 64, HEADER_ALIGN = 8, PREFIX = 8 };

static const char *const dtype_names[] = {[SYNTH_F16] = "F16", [SYNTH_BF16] = "BF16", [SYNTH_F32] = "F32"};
static const char *const torch_names[] = {
    [SYNTH_F16] = "float16", [SYNTH_BF16] = "bfloat16", [SYNTH_F32] = "float32"};

struct writer {
    const struct synth_request *request;
    struct synth_tensors tensors;
    int *shard; // [tensors.count], ascending from 0
    int n_shards;
    long long bytes;
};

static long long tensor_bytes(const struct writer *w, size_t index)
{
    return w->tensors.items[index].elements * (long long)synth_item_bytes(w->request->dtype);
}

static void name_shard(const struct writer *w, int shard, char name[NAME_CHARS])
{
    if (w->n_shards == 1)
        snprintf(name, NAME_CHARS, "model.safetensors");
    else
        snprintf(name, NAME_CHARS, "model-%05d-of-%05d.safetensors", shard + 1, w->n_shards);
}

// Tensors in their order; a new file where the next one no longer fits.  One tensor may be larger than a
// file.
static enum status divide(struct writer *w, struct error *err)
{
    long long filled = 0;
    w->shard = calloc(w->tensors.count, sizeof *w->shard);
    if (!w->shard) return error_memory(err, w->tensors.count * sizeof *w->shard, "the list of tensors");
    for (size_t t = 0; t < w->tensors.count; t++) {
        long long bytes = tensor_bytes(w, t);
        if (filled > 0 && filled + bytes > w->request->shard_bytes) {
            w->n_shards++;
            filled = 0;
        }
        w->shard[t] = w->n_shards;
        filled += bytes;
        w->bytes += bytes;
    }
    w->n_shards++;
    return STATUS_OK;
}

// ---- one file of weights ----

static enum status write_at(int descriptor, const void *data, size_t bytes, off_t offset, const char *path,
                            struct error *err)
{
    if (file_write_at(descriptor, data, bytes, offset)) return STATUS_OK;
    return error_errno(err, path, "cannot write");
}

// The JSON header; caller frees.
static char *make_header(const struct writer *w, int shard)
{
    struct json_writer *json = json_writer_open();
    long long at = 0;
    if (!json) return NULL;
    json_begin_object(json, NULL);
    json_begin_object(json, "__metadata__");
    json_put_string(json, "format", "pt");
    json_end_object(json);
    for (size_t t = 0; t < w->tensors.count; t++) {
        const struct synth_tensor *tensor = &w->tensors.items[t];
        if (w->shard[t] != shard) continue;
        json_begin_object(json, tensor->name);
        json_put_string(json, "dtype", dtype_names[w->request->dtype]);
        json_begin_array(json, "shape");
        for (int d = 0; d < tensor->dims; d++)
            json_put_integer(json, NULL, tensor->shape[d]);
        json_end_array(json);
        json_begin_array(json, "data_offsets");
        json_put_integer(json, NULL, at);
        json_put_integer(json, NULL, at += tensor_bytes(w, t));
        json_end_array(json);
        json_end_object(json);
    }
    json_end_object(json);
    return json_writer_finish(json);
}

// Length, header, and blanks that align the tensors, which begin at *start.
static enum status write_header(const struct writer *w, int shard, int descriptor, const char *path,
                                off_t *start, struct error *err)
{
    static const char blanks[] = "        ";
    unsigned char prefix[PREFIX];
    char *header = make_header(w, shard);
    if (!header) return error_memory(err, w->tensors.count * 100, "a header");
    size_t bytes = strlen(header) - 1; // without the newline at its end
    size_t padding = (HEADER_ALIGN - bytes % HEADER_ALIGN) % HEADER_ALIGN;
    for (int i = 0; i < PREFIX; i++)
        prefix[i] = (unsigned char)((unsigned long long)(bytes + padding) >> (8 * i));
    *start = (off_t)(PREFIX + bytes + padding);
    if (!write_at(descriptor, prefix, PREFIX, 0, path, err) &&
        !write_at(descriptor, header, bytes, PREFIX, path, err))
        write_at(descriptor, blanks, padding, (off_t)(PREFIX + bytes), path, err);
    free(header);
    return err->status;
}

// Neighbouring elements of a tensor and their place in the file.
struct piece {
    const struct synth_tensor *tensor;
    int64_t first, count;
    off_t offset;
};

// The pieces of a shard, [*count]; caller frees.
static struct piece *cut_shard(const struct writer *w, int shard, off_t offset, int *count)
{
    size_t item = synth_item_bytes(w->request->dtype), room = w->tensors.count + 1;
    for (size_t t = 0; t < w->tensors.count; t++)
        room += (size_t)(w->tensors.items[t].elements / PIECE);
    struct piece *pieces = malloc(room * sizeof *pieces);
    int n = 0;
    for (size_t t = 0; pieces && t < w->tensors.count; t++) {
        const struct synth_tensor *tensor = &w->tensors.items[t];
        if (w->shard[t] != shard) continue;
        for (int64_t first = 0; first < tensor->elements; first += PIECE) {
            int64_t elements = tensor->elements - first < PIECE ? tensor->elements - first : PIECE;
            pieces[n++] = (struct piece){tensor, first, elements, offset};
            offset += (off_t)((size_t)elements * item);
        }
    }
    *count = n;
    return pieces;
}

// What the threads that write a shard share.
struct shard_work {
    const struct writer *writer;
    const struct piece *pieces;
    int count, descriptor;
    const char *path;
    atomic_int next; // piece
    pthread_mutex_t lock;
    struct error err; // of one of the threads that failed
};

// Each thread makes and writes pieces as it comes to them: none waits for another.
static void write_pieces(void *context, int part)
{
    struct shard_work *work = context;
    const struct synth_request *r = work->writer->request;
    const size_t item = synth_item_bytes(r->dtype);
    struct error own = {0};
    void *buffer = malloc(PIECE * item);
    (void)part;
    if (!buffer) error_memory(&own, PIECE * item, "a piece of a tensor");
    while (!own.status) {
        const int p = atomic_fetch_add(&work->next, 1);
        if (p >= work->count) break;
        const struct piece *piece = &work->pieces[p];
        synth_fill(buffer, piece->tensor, r->seed, r->dtype, piece->first, piece->count);
        write_at(work->descriptor, buffer, (size_t)piece->count * item, piece->offset, work->path, &own);
    }
    free(buffer);
    if (!own.status) return;
    pthread_mutex_lock(&work->lock);
    work->err = own;
    pthread_mutex_unlock(&work->lock);
}

static enum status write_together(struct shard_work *work, struct error *err)
{
    const int asked = work->writer->request->threads, threads = asked > 0 ? asked : cores_usable();
    struct team *team = NULL;
    if (team_open(&team, threads, err)) return err->status;
    team_run(team, threads, write_pieces, work);
    team_close(team);
    if (work->err.status) *err = work->err;
    return err->status;
}

// No fsync: gigabytes that can be made again.
static enum status write_shard(const struct writer *w, int shard, const char *path, struct error *err)
{
    int count = 0;
    off_t start = 0;
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) return error_errno(err, path, "cannot create");
    write_header(w, shard, descriptor, path, &start, err);
    struct piece *pieces = cut_shard(w, shard, start, &count);
    if (!pieces) error_memory(err, w->tensors.count * sizeof *pieces, "the pieces of a file");
    struct shard_work work = {.writer = w,
                              .pieces = pieces,
                              .count = count,
                              .descriptor = descriptor,
                              .path = path,
                              .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!err->status) write_together(&work, err);
    free(pieces);
    if (close(descriptor) != 0) error_errno(err, path, "cannot close");
    return err->status;
}

// ---- the other files ----

static char *make_index(const struct writer *w)
{
    struct json_writer *json = json_writer_open();
    char name[NAME_CHARS];
    if (!json) return NULL;
    json_begin_object(json, NULL);
    json_begin_object(json, "metadata");
    json_put_integer(json, "total_size", w->bytes);
    json_end_object(json);
    json_begin_object(json, "weight_map");
    for (size_t t = 0; t < w->tensors.count; t++) {
        name_shard(w, w->shard[t], name);
        json_put_string(json, w->tensors.items[t].name, name);
    }
    json_end_object(json);
    json_end_object(json);
    return json_writer_finish(json);
}

static char *make_config(const struct writer *w)
{
    const struct dims *m = &w->tensors.dims;
    struct json_writer *json = json_writer_open();
    if (!json) return NULL;
    json_begin_object(json, NULL);
    const bool second = m->n_heads > 0;
    json_begin_array(json, "architectures");
    json_put_string(json, NULL, second ? "Mamba2ForCausalLM" : "MambaForCausalLM");
    json_end_array(json);
    if (second) json_put_integer(json, "chunk_size", m->chunk_size);
    json_put_integer(json, "conv_kernel", m->d_conv);
    json_put_integer(json, "expand", m->d_inner / m->d_model);
    if (second) json_put_integer(json, "head_dim", m->head_dim);
    json_put_string(json, "hidden_act", "silu");
    json_put_integer(json, "hidden_size", m->d_model);
    json_put_integer(json, "intermediate_size", m->d_inner);
    json_put_double(json, "layer_norm_epsilon", 1e-5);
    json_put_string(json, "model_type", second ? "mamba2" : "mamba");
    if (second) json_put_integer(json, "n_groups", m->n_groups);
    if (second) json_put_integer(json, "num_heads", m->n_heads);
    json_put_integer(json, "num_hidden_layers", m->n_layer);
    json_put_integer(json, "state_size", m->d_state);
    json_put_bool(json, "tie_word_embeddings", w->tensors.tied);
    if (!second) json_put_integer(json, "time_step_rank", m->dt_rank);
    json_put_string(json, "torch_dtype", torch_names[w->request->dtype]);
    json_put_bool(json, "use_bias", false);
    json_put_bool(json, "use_conv_bias", true);
    json_put_integer(json, "vocab_size", m->vocab_size);
    json_end_object(json);
    return json_writer_finish(json);
}

// Takes over `text`.
static enum status put_text(const char *path, char *text, struct error *err)
{
    if (!text) return error_memory(err, 0, "a JSON text");
    file_replace(path, text, strlen(text), err);
    free(text);
    return err->status;
}

static enum status put_ids(const struct writer *w, const char *path, struct error *err)
{
    const uint64_t stream = random_stream(w->request->seed, "calibration");
    const size_t count = (size_t)SAMPLES * SAMPLE_TOKENS;
    int32_t *ids = malloc(count * sizeof *ids);
    if (!ids) return error_memory(err, count * sizeof *ids, "token ids");
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)random_below(stream, i, (uint64_t)w->tensors.tokens);
    npy_write(path, NPY_INT32, 2, (size_t[]){SAMPLES, SAMPLE_TOKENS}, ids, err);
    free(ids);
    return err->status;
}

// ---- the folder ----

static enum status check_folder(const char *path, struct error *err)
{
    if (!path) return error_set(err, STATUS_USAGE, "--out: expected the folder to make; see ssmsweep --help");
    if (file_make_directories(path, err)) return err->status;
    DIR *folder = opendir(path);
    if (!folder) return error_errno(err, path, "cannot list the folder");
    for (struct dirent *entry; (entry = readdir(folder)) && !err->status;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            error_set(err, STATUS_USAGE, "%s: expected a new or empty folder, got one with '%.80s' in it",
                      path, entry->d_name);
    closedir(folder);
    return err->status;
}

static enum status check_room(const struct writer *w, struct error *err)
{
    const char *path = w->request->out;
    struct statvfs info;
    if (statvfs(path, &info) != 0) return error_errno(err, path, "cannot ask for free space");
    unsigned long long have = (unsigned long long)info.f_bavail * info.f_frsize;
    unsigned long long need = (unsigned long long)w->bytes + (16U << 20);
    if (have >= need) return STATUS_OK;
    return error_set(err, STATUS_IO,
                     "%s: expected %llu bytes of free disk space, got %llu; choose another --out", path, need,
                     have);
}

enum part { PART_WEIGHTS, PART_INDEX, PART_IDS, PART_CONFIG };

static enum status write_part(const struct writer *w, enum part part, int shard, struct error *err)
{
    static const char *const names[] = {[PART_INDEX] = "model.safetensors.index.json",
                                        [PART_IDS] = "calibration.npy",
                                        [PART_CONFIG] = "config.json"};
    char name[NAME_CHARS];
    if (part == PART_WEIGHTS) name_shard(w, shard, name);
    char *path = file_join(w->request->out, part == PART_WEIGHTS ? name : names[part]);
    if (!path) return error_memory(err, strlen(w->request->out) + NAME_CHARS, "a path");
    if (part == PART_WEIGHTS)
        write_shard(w, shard, path, err);
    else if (part == PART_IDS)
        put_ids(w, path, err);
    else
        put_text(path, part == PART_INDEX ? make_index(w) : make_config(w), err);
    if (err->status && part == PART_WEIGHTS) unlink(path);
    free(path);
    return err->status;
}

static void remove_shards(const struct writer *w, int count)
{
    for (int shard = 0; shard < count; shard++) {
        char name[NAME_CHARS];
        name_shard(w, shard, name);
        char *path = file_join(w->request->out, name);
        if (path) unlink(path);
        free(path);
    }
}

// config.json comes last: with it the folder is a model.
static enum status write_folder(const struct writer *w, struct error *err)
{
    int shard = 0;
    for (; shard < w->n_shards; shard++)
        if (write_part(w, PART_WEIGHTS, shard, err)) break;
    if (err->status || (w->n_shards > 1 && write_part(w, PART_INDEX, 0, err)) ||
        write_part(w, PART_IDS, 0, err) || write_part(w, PART_CONFIG, 0, err))
        remove_shards(w, shard);
    return err->status;
}

enum status synth_write(const struct synth_request *request, struct synth_summary *summary, struct error *err)
{
    struct writer w = {.request = request};
    if (check_folder(request->out, err) || synth_tensors_make(&w.tensors, request->preset, err))
        return err->status;
    if (divide(&w, err) || check_room(&w, err) || write_folder(&w, err)) goto clear;
    *summary = (struct synth_summary){.weight_bytes = w.bytes, .files = w.n_shards};
    summary->parameters = w.bytes / (long long)synth_item_bytes(request->dtype);
clear:
    free(w.shard);
    synth_tensors_clear(&w.tensors);
    return err->status;
}
