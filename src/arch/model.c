// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/model.h"

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/arch/config.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/recipe/mode.h"

// ---- the tensors of a layer ----

// What stands around the layers.
static const struct arch_tensor embedding_tensor = {.name = "backbone.embedding.weight",
                                                    .shape = {EXTENT_VOCAB, EXTENT_D}},
                                embeddings_tensor = {.name = "backbone.embeddings.weight",
                                                     .shape = {EXTENT_VOCAB, EXTENT_D}},
                                norm_f_tensor = {.name = "backbone.norm_f.weight", .shape = {EXTENT_D}},
                                lm_head_tensor = {.name = "lm_head.weight",
                                                  .shape = {EXTENT_VOCAB, EXTENT_D}};

// The same shape but for dimensions of size 1, which layouts add or leave out ([I, 1, K] and [I, K])?
static bool same_shape(const struct tensor *tensor, const int64_t *shape, int dims)
{
    int64_t squeezed[2][TENSOR_MAX_DIMS];
    int left[2] = {0, 0};
    if (tensor->dims < 1) return false;
    for (int d = 0; d < tensor->dims; d++)
        if (tensor->shape[d] != 1) squeezed[0][left[0]++] = tensor->shape[d];
    for (int d = 0; d < dims; d++)
        if (shape[d] != 1) squeezed[1][left[1]++] = shape[d];
    return left[0] == left[1] && memcmp(squeezed[0], squeezed[1], (size_t)left[0] * sizeof(int64_t)) == 0;
}

static enum status check_tensor(struct model *model, const struct arch_tensor *wanted,
                                const struct tensor *tensor, struct error *err)
{
    const char *path = checkpoint_path(model->checkpoint);
    int64_t shape[4];
    int dims = 0;
    for (; wanted->shape[dims] != EXTENT_END; dims++)
        shape[dims] = arch_size(wanted->shape[dims], &model->dims);
    bool same = wanted->squeezes
                    ? same_shape(tensor, shape, dims)
                    : tensor->dims == dims && memcmp(tensor->shape, shape, (size_t)dims * sizeof *shape) == 0;
    if (!same) {
        char expected[TENSOR_SHAPE_CHARS], got[TENSOR_SHAPE_CHARS];
        tensor_shape_text(shape, dims, expected);
        tensor_shape_text(tensor->shape, tensor->dims, got);
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%.200s': expected shape %s, got %s; config.json and weights differ",
                         path, tensor->name, expected, got);
    }
    if (!dtype_is_float(tensor->dtype))
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%.200s': expected dtype F32, F16, BF16 or F64, got %s; use a float model", path,
            tensor->name, tensor_dtype_name(tensor));
    if (tensor->dtype == DTYPE_F64) notes_add(&model->notes, "%s: F64 weights are rounded to F32", path);
    return STATUS_OK;
}

// The tensor whose name begins most like `name`: what stands there instead.  NULL: none begins like it.
static const struct tensor *find_like(const struct model *model, const char *name)
{
    const struct tensor *best = NULL;
    size_t most = 0;
    for (size_t i = 0; i < checkpoint_count(model->checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(model->checkpoint, i);
        size_t same = 0;
        while (name[same] && name[same] == tensor->name[same])
            same++;
        if (best && same <= most) continue;
        best = tensor;
        most = same;
    }
    return best;
}

static enum status missing(const struct model *model, const char *name, struct error *err)
{
    const char *path = checkpoint_path(model->checkpoint);
    const char *shard = checkpoint_missing_from(model->checkpoint, name);
    const struct tensor *like = find_like(model, name);
    if (shard)
        return error_set(err, STATUS_INPUT,
                         "%s: weight_map: tensor '%.200s' is missing from %.200s; copy the shards again",
                         path, name, shard);
    if (!like) return error_set(err, STATUS_INPUT, "%s: expected the tensors of a model, got none", path);
    if (strstr(like->name, ".base_layer.") || strstr(like->name, ".lora_"))
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%s' is missing, the file has '%.200s': an adapter (PEFT); merge it into the "
            "model and save that",
            path, name, like->name);
    return error_set(
        err, STATUS_INPUT,
        "%s: tensor '%s' is missing; a %s model of config.json's sizes has it; the nearest of %zu "
        "names in the file is '%.200s'",
        path, name, model->dims.arch->title, checkpoint_count(model->checkpoint), like->name);
}

// A missing tensor is an error only if it is `required`.
static enum status bind(struct model *model, const struct arch_tensor *wanted, const char *name,
                        const struct tensor **bound, bool required, struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!required && (!tensor || tensor_elements(tensor) == 0))
        return STATUS_OK; // some writers leave a shell
    if (!tensor) return missing(model, name, err);
    if (check_tensor(model, wanted, tensor, err)) return err->status;
    *bound = tensor;
    return STATUS_OK;
}

static enum status bind_layer(struct model *model, int layer, struct error *err)
{
    const struct arch *arch = model->dims.arch;
    for (int i = 0; i < arch->n_tensors; i++) {
        char name[96];
        snprintf(name, sizeof name, "backbone.layers.%d.%s", layer, arch->tensors[i].name);
        if (bind(model, &arch->tensors[i], name, &model->tensors[layer * arch->n_tensors + i], true, err))
            return err->status;
    }
    return STATUS_OK;
}

// An lm_head of its own in a model whose config.json ties it: what runs the model elsewhere takes one or the
// other.
static enum status check_tied(struct model *model, const struct config *config, struct error *err)
{
    if (!config->tied || !model->lm_head || tensor_same_values(model->lm_head, model->embedding))
        return STATUS_OK;
    if (config->tied_key)
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor 'lm_head.weight' differs from '%s', but config.json has '%s': true; set it to "
            "false to use the file's lm_head, or remove that tensor to use the embedding",
            checkpoint_path(model->checkpoint), model->embedding->name, config->tied_key);
    notes_add(&model->notes,
              "%s: config.json does not say whether lm_head is tied to the embedding; the file's own "
              "lm_head.weight "
              "is used",
              checkpoint_path(model->checkpoint));
    return STATUS_OK;
}

// Is it codes?  bind_codes() takes them.
static bool is_codes(const struct model *model, const char *name)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    return model_is_codes(model) && tensor && (tensor->dtype == DTYPE_I8 || tensor->dtype == DTYPE_I32);
}

static enum status bind_all(struct model *model, const struct config *config, struct error *err)
{
    const struct arch *arch = model->dims.arch;
    bool plural = checkpoint_find(model->checkpoint, embeddings_tensor.name) != NULL;
    const struct arch_tensor *embedding = plural ? &embeddings_tensor : &embedding_tensor;
    if ((!is_codes(model, embedding->name) &&
         bind(model, embedding, embedding->name, &model->embedding, true, err)) ||
        bind(model, &norm_f_tensor, norm_f_tensor.name, &model->norm_f, true, err) ||
        (!is_codes(model, lm_head_tensor.name) &&
         bind(model, &lm_head_tensor, lm_head_tensor.name, &model->lm_head, !config->tied, err)))
        return err->status;
    if ((model_is_codes(model) && arch->bind_codes(model, config, err)) || check_tied(model, config, err))
        return err->status;
    for (int l = 0; l < model->dims.n_layer && !model_is_codes(model); l++)
        if (bind_layer(model, l, err)) return err->status;
    if (!model->lm_head) model->lm_head = model->embedding;
    model->dtype = model->embedding->dtype;
    return STATUS_OK;
}

// ---- names ----

// The names that a backbone's tensors begin with, behind what a writer put in front of them.
static const char *const heads[] = {"layers.", "norm_f.", "embedding"};

// What stands in front of "layers.0.norm.weight": "backbone.", or what wrappers made of it
// ("_orig_mod.backbone.", "model.", "").  Its bytes in the name of a tensor; -1: there is none, or this is no
// such name.
static int prefix_bytes(const char *name)
{
    static const char first[] = "layers.0.norm.weight";
    const size_t bytes = strlen(name), cut = sizeof first - 1;
    if (bytes < cut || strcmp(name + bytes - cut, first) != 0) return -1;
    return bytes == cut || name[bytes - cut - 1] == '.' ? (int)(bytes - cut) : -1;
}

// `body`: the prefix of the backbone.  What stands in front of its last word is in front of lm_head as well.
static enum status take_prefix(struct model *model, const char *body, struct error *err)
{
    char from[320], to[64];
    const size_t bytes = strlen(body);
    size_t outer = bytes ? bytes - 1 : 0;
    while (outer > 0 && body[outer - 1] != '.')
        outer--;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        snprintf(from, sizeof from, "%s%s", body, heads[i]);
        snprintf(to, sizeof to, "backbone.%s", heads[i]);
        if (checkpoint_rename(model->checkpoint, from, to, err)) return err->status;
    }
    if (bytes && checkpoint_rename(model->checkpoint, body, "backbone.", err)) return err->status;
    snprintf(from, sizeof from, "%.*slm_head.", (int)outer, body);
    notes_add(&model->notes, "%s: names of tensors begin with '%s' in the file, here with 'backbone.'",
              checkpoint_path(model->checkpoint), body);
    return outer ? checkpoint_rename(model->checkpoint, from, "lm_head.", err) : STATUS_OK;
}

// Names of layers of several precisions (W4AX) have that of each layer: "mixers.W4A8." becomes "mixer.".
static enum status rename_mixed(struct model *model, struct error *err)
{
    for (int l = 0; model->layer_kinds && l < model->dims.n_layer; l++) {
        const char *kind = model_kind_name((enum model_kind)model->layer_kinds[l]);
        char from[96], to[64];
        snprintf(from, sizeof from, "backbone.layers.%d.mixers.%s.", l, kind);
        snprintf(to, sizeof to, "backbone.layers.%d.mixer.", l);
        if (checkpoint_rename(model->checkpoint, from, to, err)) return err->status;
        snprintf(from, sizeof from, "backbone.layers.%d.norms.%s.", l, kind);
        snprintf(to, sizeof to, "backbone.layers.%d.norm.", l);
        if (checkpoint_rename(model->checkpoint, from, to, err)) return err->status;
    }
    return STATUS_OK;
}

// Wrappers put words in front of names, and some leave "backbone." out: the names become those without.
static enum status find_prefix(struct model *model, struct error *err)
{
    enum { PREFIX_CHARS = 200 };
    char body[PREFIX_CHARS + 1] = "";
    bool found = false;
    if (checkpoint_find(model->checkpoint, "backbone.layers.0.norm.weight")) return STATUS_OK;
    for (size_t i = 0; i < checkpoint_count(model->checkpoint); i++) {
        const char *name = checkpoint_at(model->checkpoint, i)->name;
        const int bytes = prefix_bytes(name);
        if (bytes < 0 || bytes > PREFIX_CHARS) continue;
        if (found)
            return error_set(
                err, STATUS_INPUT,
                "%s: expected one model, got two: names begin with '%s' and with '%.*s'; save one of "
                "them alone",
                checkpoint_path(model->checkpoint), body, bytes, name);
        snprintf(body, sizeof body, "%.*s", bytes, name);
        found = true;
    }
    return found ? take_prefix(model, body, err) : STATUS_OK;
}

// ---- what else the weights must be ----

static bool is_layer_tensor(const struct model *model, const char *name)
{
    const struct arch *arch = model->dims.arch;
    const int n_layer = model->dims.n_layer;
    if (model_is_codes(model)) return arch->knows_codes(model, name);
    static const char prefix[] = "backbone.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    char expected[96];
    long layer = strtol(name + sizeof prefix - 1, NULL, 10);
    if (layer < 0 || layer >= n_layer) return false;
    for (int i = 0; i < arch->n_tensors; i++) {
        snprintf(expected, sizeof expected, "%s%ld.%s", prefix, layer, arch->tensors[i].name);
        if (strcmp(name, expected) == 0) return true;
    }
    return false;
}

static const char *guess_origin(const char *name)
{
    static const struct {
        const char *part, *origin;
    } signs[] = {{".mixer.dt_bias", "; Mamba-2 has it: config.json and weights differ"},
                 {".mixer.norm.", "; Mamba-2 has it: config.json and weights differ"},
                 {"layernorm", "; Jamba has such ones, and is not supported"},
                 {"_proj.bias", "; models with use_bias have it, and are not supported"},
                 {"attn", "; hybrids with attention are not supported"},
                 {"scale", "; is the model already quantized?"}};
    for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++)
        if (strstr(name, signs[i].part)) return signs[i].origin;
    return "; config.json and weights differ";
}

// A tensor of the backbone that the equations do not use would be left out in silence: another architecture.
static enum status check_strangers(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < checkpoint_count(model->checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(model->checkpoint, i);
        bool ours = strncmp(tensor->name, "backbone.", 9) == 0 || strncmp(tensor->name, "lm_head.", 8) == 0;
        bool known = tensor == model->embedding || tensor == model->norm_f ||
                     strcmp(tensor->name, lm_head_tensor.name) == 0 || is_layer_tensor(model, tensor->name);
        if (ours && !known)
            return error_set(err, STATUS_INPUT,
                             "%s: unknown tensor '%.200s': no part of a %s model of %d layers%s",
                             checkpoint_path(model->checkpoint), tensor->name, model->dims.arch->title,
                             model->dims.n_layer, guess_origin(tensor->name));
    }
    return STATUS_OK;
}

const struct tensor *model_weight(const struct model *model, size_t number)
{
    const bool own_head = model->lm_head != model->embedding && dtype_is_float(model->lm_head->dtype);
    const struct tensor *const last[] = {model->norm_f, own_head ? model->lm_head : NULL};
    // Codes are finite, and bind_codes() saw the scales.
    const size_t inner =
        model_is_codes(model) ? 0 : (size_t)model->dims.n_layer * (size_t)model->dims.arch->n_tensors;
    if (number == 0) return model->ends.embedding ? model->ends.embedding : model->embedding;
    if (--number < inner) return model->tensors[number];
    number -= inner;
    return number < sizeof last / sizeof last[0] ? last[number] : NULL;
}

// Element or row `index`.
static struct tensor take_row(const struct tensor *tensor, int32_t index)
{
    struct tensor row = *tensor;
    row.data += (size_t)(index * tensor->stride[0]) * dtype_bytes(tensor->dtype);
    row.shape[0] = 1;
    return row;
}

// Nibble t of a word holds element (0, 2, 4, 6, 1, 3, 5, 7)[t] of its eight, and q - 8 is the level.
static void unpack_row(const struct tensor *words, int32_t id, int width, float step, float *out)
{
    const unsigned char *row = words->data + id * words->stride[0] * 4;
    for (int i = 0; i < width; i++) {
        const int m = i % 8, t = m % 2 ? 4 + m / 2 : m / 2;
        uint32_t word;
        memcpy(&word, row + i / 8 * words->stride[1] * 4, sizeof word);
        out[i] = (float)((int)(word >> 4 * t & 15u) - 8) * step;
    }
}

void model_embedding_row(const void *context, int32_t id, float *out)
{
    const struct model *model = context;
    const struct tensor row = take_row(model->embedding, id);
    if (!model->ends.embedding) {
        tensor_to_f32(&row, out);
        return;
    }
    const int width = model->dims.d_model;
    const struct tensor scale = take_row(model->ends.embedding, id);
    int8_t *codes =
        (int8_t *)out + 3L * width; // the last quarter of the room: each is read before it is overwritten
    float step;
    tensor_to_f32(&scale, &step);
    if (model->embedding->dtype == DTYPE_I32) {
        unpack_row(model->embedding, id, width, step, out);
        return;
    }
    tensor_to_i8(&row, codes);
    for (int i = 0; i < width; i++) {
        const int8_t code = codes[i];
        out[i] = (float)code * step;
    }
}

void model_release(const struct model *model)
{
    checkpoint_release(model->checkpoint);
    if (model->reference) checkpoint_release(model->reference->checkpoint);
}

static enum status check_hadamard(const char *directory, const char *name, int dim, struct error *err)
{
    int base, power_of_two;
    if (rotation_exists(dim, &base, &power_of_two)) return STATUS_OK;
    return error_set(
        err, STATUS_INPUT,
        "%s: no Hadamard transform for %s = %d: expected 2^k, 12 * 2^k or 40 * 2^k; this model cannot be "
        "quantized",
        directory, name, dim);
}

// ---- opening ----

static enum status read_config(struct config *config, const char *directory, struct notes *notes,
                               struct error *err)
{
    if (!file_is_directory(directory))
        return error_set(err, STATUS_INPUT,
                         "%s: no such folder; expected a model folder with config.json in it", directory);
    char *path = file_join(directory, "config.json");
    if (!path) return error_memory(err, strlen(directory), "a path");
    if (!file_exists(path))
        error_set(err, STATUS_INPUT, "%s: no such file; a Hugging Face model folder holds it", path);
    else
        config_read(config, path, notes, err);
    free(path);
    return err->status;
}

static enum status open_parts(struct model *model, const char *directory, struct error *err)
{
    struct config config;
    if (read_config(&config, directory, &model->notes, err)) return err->status;
    model->dims = config.dims;
    model->kind = config.kind;
    if (config.listed) {
        const size_t layers = (size_t)config.listed;
        model->layer_kinds = malloc(layers);
        if (!model->layer_kinds) return error_memory(err, layers, "a model's layers");
        memcpy(model->layer_kinds, config.layer_kinds, layers);
    }
    model->directory = strdup(directory);
    const size_t tensors = (size_t)model->dims.n_layer * (size_t)model->dims.arch->n_tensors;
    model->tensors = calloc(tensors, sizeof *model->tensors);
    if (!model->directory || !model->tensors)
        return error_memory(err, tensors * sizeof *model->tensors, "a model's layers");
    if (check_hadamard(directory, "d_model", model->dims.d_model, err) ||
        (model->dims.arch->rotates_inner && check_hadamard(directory, "d_inner", model->dims.d_inner, err)) ||
        checkpoint_open(&model->checkpoint, directory, &model->notes, err) || rename_mixed(model, err) ||
        find_prefix(model, err) || bind_all(model, &config, err) || check_strangers(model, err))
        return err->status;
    return STATUS_OK;
}

enum status model_open_unread(struct model *model, const char *directory, struct error *err)
{
    struct model opened = {0};
    if (open_parts(&opened, directory, err))
        model_close(&opened);
    else
        *model = opened;
    return err->status;
}

enum status model_open(struct model *model, const char *directory, struct error *err)
{
    struct model opened = {0};
    if (model_open_unread(&opened, directory, err)) return err->status;
    unsigned char *digests;
    size_t size_bytes;
    if (model_digest_begin(&opened, 0, 1, 1, err) || model_digest_join(&opened, &digests, &size_bytes, err) ||
        model_digest_finish(&opened, err))
        model_close(&opened);
    else
        *model = opened;
    return err->status;
}

void model_close(struct model *model)
{
    model_digest_cancel(model);
    checkpoint_close(model->checkpoint);
    free(model->tensors);
    free(model->layer_kinds);
    free(model->scales);
    free(model->views);
    if (model->order) groups_clear(model->order);
    free(model->order);
    free(model->directory);
    *model = (struct model){0};
}

const char *model_kind_name(enum model_kind kind)
{
    static const char *const names[MODEL_KINDS] = {"float", "W8A8", "W4A8", "W4A16", "W4AX"};
    return names[kind];
}

const char *model_dtype_name(const struct model *model)
{
    return model_is_codes(model) ? model_kind_name(model->kind) : dtype_name(model->dtype);
}

void model_set_modes(const struct model *model, bool given)
{
    unsigned char half[CONFIG_MOST_LAYERS];
    for (int l = 0; l < model->dims.n_layer; l++)
        half[l] = model_layer_kind(model, l) == MODEL_W4A16;
    mode_set_half_layers(half, model->dims.n_layer);
    if (model_is_codes(model) && model->kind != MODEL_W8A8 && !given) mode_set_weights(FORMAT_INT4_G128);
}

static enum status find_order(struct model *model, const struct model *reference,
                              const struct kernels *kernels, struct error *err)
{
    struct groups *order = malloc(sizeof *order);
    if (!order) return error_memory(err, sizeof *order, "the order of heads");
    if (groups_open(order, &model->dims, err)) {
        free(order);
        return err->status;
    }
    model->order = order;
    model->dims.arch->find_order(model, reference, kernels, order, err);
    order->dims = NULL; // models move
    return err->status;
}

enum status model_set_reference(struct model *model, const struct model *reference,
                                const struct kernels *kernels, struct error *err)
{
    const struct dims *a = &model->dims, *b = &reference->dims;
    struct arch_dim expected[ARCH_MOST_DIMS], got[ARCH_MOST_DIMS];
    struct dims other = *b;
    if (a->arch != b->arch)
        return error_set(err, STATUS_INPUT, "--reference-model: %s: expected a %s model as %s, got a %s one",
                         reference->directory, a->arch->title, model->directory, b->arch->title);
    other.norm_groups = a->norm_groups; // which depend on the layout of config.json: the checkpoint's count
    const int sizes = arch_dims(a, expected);
    arch_dims(&other, got); // of one family, in one order
    for (int i = 0; i < sizes; i++)
        if (expected[i].value != got[i].value)
            return error_set(err, STATUS_INPUT,
                             "--reference-model: %s: %s: expected %d as in %s, got %d; give the float model "
                             "that was quantized",
                             reference->directory, expected[i].name, expected[i].value, model->directory,
                             got[i].value);
    if (model_is_codes(reference))
        return error_set(err, STATUS_INPUT, "--reference-model: %s: expected a float model, got a %s one",
                         reference->directory, model_kind_name(reference->kind));
    if (a->norm_eps != b->norm_eps)
        return error_set(err, STATUS_INPUT, "--reference-model: %s: layer_norm_epsilon: expected %g, got %g",
                         reference->directory, (double)a->norm_eps, (double)b->norm_eps);
    if (model->reordered && find_order(model, reference, kernels, err)) return err->status;
    model->reference = reference;
    return STATUS_OK;
}

enum status model_set_norm_groups(struct model *model, int groups, struct error *err)
{
    struct dims *dims = &model->dims;
    if (groups == 0) return STATUS_OK;
    if (dims->norm_groups == 0)
        return error_set(err, STATUS_USAGE,
                         "--norm-groups: %s: expected a Mamba-2 model, got a %s one; leave the option out",
                         model->directory, dims->arch->title);
    if (dims->d_inner % groups != 0)
        return error_set(err, STATUS_USAGE, "--norm-groups: %s: expected a divisor of d_inner = %d, got %d",
                         model->directory, dims->d_inner, groups);
    dims->norm_groups = groups;
    return STATUS_OK;
}

// Where an installation puts the demo model, seen from the running program, so that a prefix can be moved.
// malloc'ed; NULL where there is none.
static char *installed_demo(void)
{
    char path[PATH_MAX + sizeof SSMSWEEP_DEMO_FROM_PROGRAM];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    if (length <= 0 || length >= PATH_MAX) return NULL;
    path[length] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash) return NULL;
    strcpy(slash + 1, SSMSWEEP_DEMO_FROM_PROGRAM);
    return realpath(path, NULL);
}

static enum status second_demo(char **directory, struct error *err)
{
    static const char suffix[] = "-mamba2";
    char *first = NULL;
    if (model_demo_directory(&first, err)) return err->status;
    const size_t bytes = strlen(first) + sizeof suffix;
    char *found = malloc(bytes);
    if (found)
        snprintf(found, bytes, "%s%s", first, suffix);
    else
        error_memory(err, bytes, "a path");
    free(first);
    if (found && !file_is_directory(found))
        error_set(err, STATUS_INPUT,
                  "%s: no such folder; the Mamba-2 demo model lies there beside the first demo model", found);
    if (err->status)
        free(found);
    else
        *directory = found;
    return err->status;
}

enum status model_find_directory(const char *named, char **directory, struct error *err)
{
    if (!named) return model_demo_directory(directory, err);
    if (strcmp(named, "mamba2-demo") == 0 && !file_is_directory(named)) return second_demo(directory, err);
    char *found = strdup(named);
    if (!found) return error_memory(err, strlen(named), "a path");
    *directory = found;
    return STATUS_OK;
}

enum status model_demo_directory(char **directory, struct error *err)
{
    const char *named = getenv("SSMSWEEP_DEMO");
    bool is_named = named && *named;
    const char *place = is_named ? named : SSMSWEEP_DEMO_SOURCE;
    char *found = is_named ? NULL : installed_demo();
    if (!found && !file_is_directory(place))
        return is_named
                   ? error_set(err, STATUS_INPUT, "%s: no such folder; correct SSMSWEEP_DEMO or unset it",
                               place)
                   : error_set(
                         err, STATUS_INPUT,
                         "demo model: expected it in %s of the program's folder or in %s; name a model with "
                         "--model, or set SSMSWEEP_DEMO",
                         SSMSWEEP_DEMO_FROM_PROGRAM, place);
    if (!found) found = strdup(place);
    if (!found) return error_memory(err, strlen(place) + 1, "a path");
    *directory = found;
    return STATUS_OK;
}
