// SPDX-License-Identifier: Apache-2.0
#include "random_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "setting.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"

enum { LAYER_TENSORS = 10, NAME_CHARS = 80 };

// ---- values, in the ranges in which Mamba is initialised ----

static float normal(uint32_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += random_uniform(state);
    return sum * 0.8660254f; // variance 1
}

static void fill_normal(float *out, int64_t count, float mean, float std, uint32_t *state)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = mean + std * normal(state);
}

// softplus(bias) between 0.001 and 0.1, uniform in the logarithm.
static void fill_dt_bias(float *out, int64_t count, uint32_t *state)
{
    for (int64_t i = 0; i < count; i++) {
        const float dt = expf(-4.605f + 2.3026f * random_uniform(state));
        out[i] = dt + logf(-expm1f(-dt));
    }
}

static void fill_A_log(float *out, int64_t channels, int64_t states)
{
    for (int64_t i = 0; i < channels * states; i++)
        out[i] = logf((float)(i % states + 1));
}

struct kind {
    const char *name; // in a file, with the layer in place of %d
    int dims;
    int64_t shape[3];
    float mean, std;
};

enum { KIND_DT_BIAS = 6, KIND_A_LOG = 7, KIND_EMBEDDING = 10, KIND_NORM_F = 11 };

static void describe(const struct dims *d, struct kind kinds[RANDOM_TENSORS])
{
    const int64_t D = d->d_model, I = d->d_inner, N = d->d_state, K = d->d_conv, R = d->dt_rank;
    const float of_D = 1.0f / sqrtf((float)D), of_I = 1.0f / sqrtf((float)I), of_R = 1.0f / sqrtf((float)R);
    const float out = of_I / sqrtf(2.0f * (float)d->n_layer);
    const struct kind all[RANDOM_TENSORS] = {
        {"backbone.layers.%d.norm.weight", 1, {D}, 1, 0.2f},
        {"backbone.layers.%d.mixer.in_proj.weight", 2, {2 * I, D}, 0, of_D},
        {"backbone.layers.%d.mixer.conv1d.weight", 3, {I, 1, K}, 0, 0.25f},
        {"backbone.layers.%d.mixer.conv1d.bias", 1, {I}, 0, 0.1f},
        {"backbone.layers.%d.mixer.x_proj.weight", 2, {R + 2 * N, I}, 0, of_I},
        {"backbone.layers.%d.mixer.dt_proj.weight", 2, {I, R}, 0, of_R},
        {"backbone.layers.%d.mixer.dt_proj.bias", 1, {I}, 0, 0},
        {"backbone.layers.%d.mixer.A_log", 2, {I, N}, 0, 0},
        {"backbone.layers.%d.mixer.D", 1, {I}, 1, 0.1f},
        {"backbone.layers.%d.mixer.out_proj.weight", 2, {D, I}, 0, out},
        {"backbone.embedding.weight", 2, {d->vocab_size, D}, 0, 0.3f},
        {"backbone.norm_f.weight", 1, {D}, 1, 0.1f},
    };
    memcpy(kinds, all, sizeof all);
}

static void fill(const struct kind *kinds, struct tensor *tensors, float *values)
{
    uint32_t state = 20240229;
    for (int i = 0; i < RANDOM_TENSORS; i++) {
        const int64_t count = tensor_elements(&tensors[i]);
        tensors[i].data = (const unsigned char *)values;
        if (i == KIND_DT_BIAS)
            fill_dt_bias(values, count, &state);
        else if (i == KIND_A_LOG)
            fill_A_log(values, kinds[i].shape[0], kinds[i].shape[1]);
        else
            fill_normal(values, count, kinds[i].mean, kinds[i].std, &state);
        values += count;
    }
}

// ---- the model in memory ----

enum status random_model_open(struct random_model *random, const struct dims *dims, struct error *err)
{
    struct kind kinds[RANDOM_TENSORS];
    int64_t bytes = 0, part;
    memset(random, 0, sizeof *random);
    describe(dims, kinds);
    for (int i = 0; i < RANDOM_TENSORS; i++) {
        struct tensor *t = &random->tensors[i];
        *t = (struct tensor){.name = kinds[i].name, .dtype = DTYPE_F32, .dims = kinds[i].dims};
        memcpy(t->shape, kinds[i].shape, sizeof kinds[i].shape);
        if (tensor_set_contiguous(t, &part)) bytes += part;
    }
    random->values = malloc((size_t)bytes);
    random->model.tensors = calloc((size_t)dims->n_layer * MAMBA1_TENSORS, sizeof *random->model.tensors);
    if (!random->values || !random->model.tensors) {
        random_model_close(random);
        return error_memory(err, (unsigned long long)bytes, "a random model");
    }
    fill(kinds, random->tensors, random->values);
    random->model.dims = *dims;
    random->model.dtype = DTYPE_F32;
    random->model.embedding = random->model.lm_head = &random->tensors[KIND_EMBEDDING];
    random->model.norm_f = &random->tensors[KIND_NORM_F];
    random->model.dims.arch = &arch_mamba1;
    for (int i = 0; i < dims->n_layer * MAMBA1_TENSORS; i++)
        random->model.tensors[i] = &random->tensors[i % MAMBA1_TENSORS];
    return STATUS_OK;
}

void random_model_close(struct random_model *random)
{
    free(random->model.tensors);
    free(random->values);
    *random = (struct random_model){0};
}

// ---- the model as a folder ----

static enum status write_file(const char *directory, const char *name, const void *data, size_t size_bytes,
                              struct error *err)
{
    char *path = file_join(directory, name);
    if (!path) return error_memory(err, strlen(directory), "a path");
    file_replace(path, data, size_bytes, err);
    free(path);
    return err->status;
}

static enum status write_config(const struct dims *d, const char *directory, struct error *err)
{
    struct json_writer *writer = json_writer_open();
    if (!writer) return error_memory(err, 1, "a model's configuration");
    json_begin_object(writer, NULL);
    json_put_string(writer, "model_type", "mamba");
    json_begin_array(writer, "architectures");
    json_put_string(writer, NULL, "MambaForCausalLM");
    json_end_array(writer);
    json_put_integer(writer, "hidden_size", d->d_model);
    json_put_integer(writer, "intermediate_size", d->d_inner);
    json_put_integer(writer, "expand", d->d_inner / d->d_model);
    json_put_integer(writer, "num_hidden_layers", d->n_layer);
    json_put_integer(writer, "state_size", d->d_state);
    json_put_integer(writer, "conv_kernel", d->d_conv);
    json_put_integer(writer, "time_step_rank", d->dt_rank);
    json_put_integer(writer, "vocab_size", d->vocab_size);
    json_put_double(writer, "layer_norm_epsilon", d->norm_eps);
    json_put_bool(writer, "tie_word_embeddings", true);
    json_end_object(writer);
    char *text = json_writer_finish(writer);
    if (!text) return error_memory(err, 1, "a model's configuration");
    write_file(directory, "config.json", text, strlen(text), err);
    free(text);
    return err->status;
}

static void put_header(struct json_writer *writer, const struct tensor *tensor, int layer, int64_t *offset)
{
    char name[NAME_CHARS];
    const char *mark = strstr(tensor->name, "%d");
    if (mark)
        snprintf(name, sizeof name, "%.*s%d%s", (int)(mark - tensor->name), tensor->name, layer, mark + 2);
    else
        snprintf(name, sizeof name, "%s", tensor->name);
    json_begin_object(writer, name);
    json_put_string(writer, "dtype", dtype_name(tensor->dtype));
    json_begin_array(writer, "shape");
    for (int i = 0; i < tensor->dims; i++)
        json_put_integer(writer, NULL, tensor->shape[i]);
    json_end_array(writer);
    json_begin_array(writer, "data_offsets");
    json_put_integer(writer, NULL, *offset);
    *offset += tensor_elements(tensor) * (int64_t)sizeof(float);
    json_put_integer(writer, NULL, *offset);
    json_end_array(writer);
    json_end_object(writer);
}

// Tensors in the order of the file: every layer's, then the outer ones.
static int file_tensors(const struct random_model *random)
{
    return random->model.dims.n_layer * LAYER_TENSORS + RANDOM_TENSORS - LAYER_TENSORS;
}

static const struct tensor *file_tensor(const struct random_model *random, int index, int *layer)
{
    const int inner = random->model.dims.n_layer * LAYER_TENSORS;
    *layer = index / LAYER_TENSORS;
    return &random->tensors[index < inner ? index % LAYER_TENSORS : LAYER_TENSORS + index - inner];
}

static char *make_header(const struct random_model *random, int64_t *data_bytes)
{
    struct json_writer *writer = json_writer_open();
    if (!writer) return NULL;
    *data_bytes = 0;
    json_begin_object(writer, NULL);
    for (int i = 0; i < file_tensors(random); i++) {
        int layer;
        const struct tensor *tensor = file_tensor(random, i, &layer);
        put_header(writer, tensor, layer, data_bytes);
    }
    json_end_object(writer);
    return json_writer_finish(writer);
}

static void copy_tensors(const struct random_model *random, unsigned char *out)
{
    for (int i = 0; i < file_tensors(random); i++) {
        int layer;
        const struct tensor *tensor = file_tensor(random, i, &layer);
        const size_t bytes = (size_t)tensor_elements(tensor) * sizeof(float);
        memcpy(out, tensor->data, bytes);
        out += bytes;
    }
}

// Eight bytes of length, header, data.
static enum status write_tensors(const struct random_model *random, const char *directory, struct error *err)
{
    int64_t data_bytes = 0;
    char *header = make_header(random, &data_bytes);
    const size_t header_bytes = header ? strlen(header) : 0;
    const size_t bytes = 8 + header_bytes + (size_t)data_bytes;
    unsigned char *file = header ? malloc(bytes) : NULL;
    if (!file) {
        free(header);
        return error_memory(err, bytes, "a random model");
    }
    for (int i = 0; i < 8; i++)
        file[i] = (unsigned char)(header_bytes >> (8 * i));
    memcpy(file + 8, header, header_bytes);
    copy_tensors(random, file + 8 + header_bytes);
    write_file(directory, "model.safetensors", file, bytes, err);
    free(file);
    free(header);
    return err->status;
}

enum status random_model_write(const struct random_model *random, const char *directory, struct error *err)
{
    if (write_config(&random->model.dims, directory, err)) return err->status;
    return write_tensors(random, directory, err);
}
