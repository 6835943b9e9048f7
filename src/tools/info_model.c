// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "info_parts.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/sweep/progress.h"

// ---- a model: what is worked out ----

// What is worked out about a model.
struct model_facts {
    const struct model *model;
    long long parameters;                // each once: a tied lm_head is the embedding
    long long elements[DTYPE_COUNT];     // of the checkpoint's tensors
    long long weight_bytes[DTYPE_COUNT]; // of its weights; words of 4 bits are DTYPE_I32
    long long scale_bytes, other_bytes;  // of scales, plain numbers as FP32; of what is no part of the model
    bool tied;
    unsigned long long fp32_bytes, fp16_bytes, w8a8_bytes, lm_head_bytes,
        workspace_bytes;   // in memory, packed
    double flop_per_token; // multiplications and additions; exp and such count as one
    int tokens, threads;
    double fp32_seconds, w8a8_seconds; // of a sample, measured on one layer
};

enum { MEASURED_TOKENS = 128, REPEATS = 2, ALIGN = 64 };

// ---- counts ----

static void count_parameters(struct model_facts *facts, const struct model *model)
{
    facts->tied = model->lm_head->data == model->embedding->data; // one storage under two names too
    facts->parameters = tensor_elements(model->embedding) + tensor_elements(model->norm_f) +
                        (facts->tied ? 0 : tensor_elements(model->lm_head));
    for (int i = 0; i < model->dims.n_layer * model->dims.arch->n_tensors; i++)
        facts->parameters += tensor_elements(model->tensors[i]);
    for (size_t i = 0; i < checkpoint_count(model->checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(model->checkpoint, i);
        facts->elements[tensor->dtype] += tensor_elements(tensor);
    }
}

// ---- bytes by format ----

// Is it the weight, or does that lie in it?  Some are views of what the file has.
static bool holds(const struct tensor *stored, const struct tensor *weight)
{
    return stored->data == weight->data && stored->dtype == weight->dtype;
}

static bool is_weight(const struct model *model, const struct tensor *stored)
{
    if (holds(stored, model->embedding) || holds(stored, model->norm_f) || holds(stored, model->lm_head))
        return true;
    for (int i = 0; i < model->dims.n_layer * model->dims.arch->n_tensors; i++)
        if (holds(stored, model->tensors[i])) return true;
    return false;
}

// Several names may be of one storage.
static bool came_before(const struct checkpoint *checkpoint, size_t index)
{
    const struct tensor *tensor = checkpoint_at(checkpoint, index);
    for (size_t i = 0; i < index; i++)
        if (holds(checkpoint_at(checkpoint, i), tensor)) return true;
    return false;
}

static void count_bytes(struct model_facts *facts, const struct model *model)
{
    const struct checkpoint *checkpoint = model->checkpoint;
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(checkpoint, i);
        const long long bytes = tensor_elements(tensor) * (long long)dtype_bytes(tensor->dtype);
        if (came_before(checkpoint, i)) continue;
        if (is_weight(model, tensor))
            facts->weight_bytes[tensor->dtype] += bytes;
        else if (model_is_codes(model) && dtype_is_float(tensor->dtype))
            facts->scale_bytes += bytes;
        else
            facts->other_bytes += bytes;
    }
    facts->scale_bytes += (long long)(checkpoint_scalars(checkpoint) * sizeof(float));
}

static const char *stored_name(enum dtype dtype)
{
    return dtype == DTYPE_I8 ? "INT8" : dtype == DTYPE_I32 ? "INT4" : dtype_name(dtype);
}

// ---- the time of a layer ----

struct stand {
    struct model model; // of one layer
    struct weights *weights;
    struct forward *forward;
    void *memory;
    float *residual, *h;
    int tokens;
};

static void close_stand(struct stand *stand)
{
    forward_close(stand->forward);
    weights_close(stand->weights);
    free(stand->memory);
    free(stand->residual);
    free(stand->h);
}

static enum status open_stand(struct stand *stand, const struct model *model, unsigned part, int threads,
                              struct error *err)
{
    stand->model = *model;
    stand->model.dims.n_layer = 1;
    const size_t bytes = weights_bytes(&stand->model, part, NULL),
                 padded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    const size_t values = (size_t)stand->tokens * (size_t)model->dims.d_model;
    stand->memory = aligned_alloc(ALIGN, padded);
    stand->residual = calloc(values, sizeof(float));
    stand->h = calloc(values, sizeof(float));
    if (!stand->memory || !stand->residual || !stand->h) return error_memory(err, padded, "one layer");
    if (weights_open(&stand->weights, &stand->model, part, NULL, stand->memory, err) ||
        weights_pack(stand->weights, 0, NULL, err))
        return err->status;
    return forward_open(&stand->forward, stand->weights, stand->tokens, threads, err);
}

static double time_layer(struct stand *stand, const struct recipe *recipe)
{
    float scales[ARCH_MOST_SITES];
    double best = 0;
    for (int i = 0; i < ARCH_MOST_SITES; i++)
        scales[i] = 0.05f; // the time does not depend on it
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        for (long i = 0; i < (long)stand->tokens * stand->model.dims.d_model; i++)
            stand->residual[i] = (float)(i % 17) - 8.0f;
        double started = progress_clock();
        forward_layer(stand->forward, recipe, scales, 0, stand->tokens, stand->residual, stand->h,
                      &(struct capture){.want = (const uint32_t[1]){0}});
        double seconds = progress_clock() - started;
        if (repeat == 0 || seconds < best) best = seconds;
    }
    return best;
}

static enum status measure(const struct model_facts *facts, enum precision precision, unsigned part,
                           double *seconds, struct error *err)
{
    const struct mode *mode = NULL;
    for (int m = 0; m < mode_count() && !mode; m++)
        if (mode_at(m)->precision == precision) mode = mode_at(m);
    struct stand stand = {.tokens = facts->tokens < MEASURED_TOKENS ? facts->tokens : MEASURED_TOKENS};
    struct recipe recipe = {0};
    if (!recipe_make(&recipe, mode, &facts->model->dims.arch->units, 1, err) &&
        !open_stand(&stand, facts->model, part, facts->threads, err))
        *seconds = time_layer(&stand, &recipe) * facts->model->dims.n_layer * facts->tokens / stand.tokens;
    close_stand(&stand);
    recipe_clear(&recipe);
    return err->status;
}

static enum status model_facts_find(struct model_facts *facts, const struct model *model, int tokens,
                                    int threads, struct error *err)
{
    struct model_facts found = {.model = model, .tokens = tokens, .threads = threads};
    count_parameters(&found, model);
    count_bytes(&found, model);
    found.fp32_bytes = weights_bytes(model, WEIGHTS_FP32, NULL);
    found.fp16_bytes = weights_bytes(model, WEIGHTS_FP16, NULL);
    const bool quantizes = !model->dims.arch->float_only;
    if (quantizes) found.w8a8_bytes = weights_bytes(model, WEIGHTS_BY_UNIT, NULL);
    found.lm_head_bytes = weights_bytes(model, WEIGHTS_LM_HEAD, NULL);
    found.workspace_bytes = forward_bytes(&model->dims, tokens, threads);
    found.flop_per_token = model->dims.n_layer * model->dims.arch->operations(&model->dims) +
                           2.0 * model->dims.d_model * model->dims.vocab_size;
    if (measure(&found, PRECISION_FP32, WEIGHTS_FP32, &found.fp32_seconds, err) ||
        (quantizes && measure(&found, PRECISION_BY_UNIT, WEIGHTS_BY_UNIT, &found.w8a8_seconds, err)))
        return err->status;
    *facts = found;
    return STATUS_OK;
}

// ---- a model: what is said ----

static double mebibytes(unsigned long long bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

static const char *architecture(const struct model *model, char text[64])
{
    snprintf(text, 64, "%.48s%s", model->dims.arch->title, "");
    if (model_is_codes(model))
        snprintf(text + strlen(text), 64 - strlen(text), ", %s", model_kind_name(model->kind));
    return text;
}

// ---- text ----

static void print_hadamard(FILE *out, const char *name, int dim)
{
    int base = 0, power = 0;
    if (rotation_exists(dim, &base, &power)) fprintf(out, " %s = %d * %d", name, base, power);
}

static void print_scales(FILE *out, const struct model *model)
{
    fprintf(out, "\nactivation scales of the checkpoint%s\n%5s",
            model->reordered ? " (of groups of heads and channels the largest)" : "", "layer");
    for (int s = 0; s < model->dims.arch->n_sites; s++)
        fprintf(out, " %19s", model->dims.arch->sites[s].name);
    for (int l = 0; l < model->dims.n_layer; l++) {
        const float *scales = model_scales(model, l);
        fprintf(out, "\n%5d", l);
        for (int s = 0; s < model->dims.arch->n_sites; s++)
            fprintf(out, " %19.9g", (double)scales[s]);
    }
    fputc('\n', out);
}

static void print_tensors(FILE *out, const struct checkpoint *checkpoint)
{
    fprintf(out, "\ntensors\n");
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(checkpoint, i);
        char shape[TENSOR_SHAPE_CHARS];
        tensor_shape_text(tensor->shape, tensor->dims, shape);
        fprintf(out, "  %-4s %-16s %s\n", tensor_dtype_name(tensor), shape, tensor->name);
    }
    for (size_t i = 0; i < checkpoint_scalars(checkpoint); i++) {
        const struct scalar *scalar = checkpoint_scalar_at(checkpoint, i);
        fprintf(out, "  %-21.9g %s\n", scalar->value, scalar->name);
    }
}

static void print_bytes(FILE *out, const struct model_facts *f)
{
    const char *between = " ";
    fprintf(out, "bytes            ");
    for (int t = 0; t < DTYPE_COUNT; t++) {
        if (f->weight_bytes[t] == 0) continue;
        fprintf(out, "%s%s %lld", between, stored_name((enum dtype)t), f->weight_bytes[t]);
        between = ", ";
    }
    if (f->scale_bytes) fprintf(out, ", scales %lld", f->scale_bytes);
    if (f->other_bytes) fprintf(out, ", no weights %lld", f->other_bytes);
    fputc('\n', out);
}

static void print_estimates(FILE *out, const struct model_facts *f)
{
    fprintf(out, "packed weights    fp32 %.1f MiB, fp16 %.1f MiB, W8A8 %.1f MiB, lm_head %.1f MiB\n",
            mebibytes(f->fp32_bytes), mebibytes(f->fp16_bytes), mebibytes(f->w8a8_bytes),
            mebibytes(f->lm_head_bytes));
    fprintf(out, "workspace         %.1f MiB a rank for %d tokens and %d thread%s\n",
            mebibytes(f->workspace_bytes), f->tokens, f->threads, f->threads == 1 ? "" : "s");
    fprintf(out, "FLOP              %.3g a token, %.3g a sample of %d tokens\n", f->flop_per_token,
            f->flop_per_token * f->tokens, f->tokens);
    fprintf(out,
            "estimated time    fp32 %.3g s, W8A8 %.3g s a sample on this machine, %d thread%s (one layer "
            "measured)\n",
            f->fp32_seconds, f->w8a8_seconds, f->threads, f->threads == 1 ? "" : "s");
}

static void model_facts_print(FILE *out, const struct model_facts *f)
{
    const struct model *model = f->model;
    const size_t files = checkpoint_files(model->checkpoint);
    fprintf(out, "model             %s\narchitecture      %s\n", model->directory,
            architecture(model, (char[64]){0}));
    fprintf(out, "weights           %s, %zu file%s, %.1f MiB\ndigest            %s\n",
            checkpoint_path(model->checkpoint), files, files == 1 ? "" : "s",
            mebibytes(checkpoint_bytes(model->checkpoint)), model->digest_hex);
    fprintf(out, "sizes            ");
    struct arch_dim sizes[ARCH_MOST_DIMS];
    const int count = arch_dims(&model->dims, sizes);
    for (int i = 0; i < count; i++)
        fprintf(out, " %s %d", sizes[i].name, sizes[i].value);
    fprintf(out, "\nHadamard         ");
    print_hadamard(out, "d_model", model->dims.d_model);
    print_hadamard(out, "d_inner", model->dims.d_inner);
    fprintf(out, "\nlm_head           %s\nparameters        %lld\ndtypes           ",
            f->tied ? "tied to the embedding" : "of its own", f->parameters);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (f->elements[t]) fprintf(out, " %s %lld", dtype_name((enum dtype)t), f->elements[t]);
    fputc('\n', out);
    print_bytes(out, f);
    for (int i = 0; i < model->notes.count; i++)
        fprintf(out, "note              %s\n", model->notes.lines[i]);
    print_estimates(out, f);
    if (model_is_codes(model) && model->kind != MODEL_W4A16) print_scales(out, model);
    print_tensors(out, model->checkpoint);
}

// ---- JSON ----

static void put_sizes(struct json_writer *w, const struct model *model)
{
    json_begin_object(w, "sizes");
    struct arch_dim sizes[ARCH_MOST_DIMS];
    const int count = arch_dims(&model->dims, sizes);
    for (int i = 0; i < count; i++)
        json_put_integer(w, sizes[i].name, sizes[i].value);
    json_put_double(w, "norm_eps", (double)model->dims.norm_eps);
    json_end_object(w);
}

static void put_scales(struct json_writer *w, const struct model *model)
{
    json_begin_array(w, "scales");
    for (int l = 0; l < model->dims.n_layer; l++) {
        const float *scales = model_scales(model, l);
        json_begin_object(w, NULL);
        for (int s = 0; s < model->dims.arch->n_sites; s++)
            json_put_double(w, model->dims.arch->sites[s].name, (double)scales[s]);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_tensors(struct json_writer *w, const struct checkpoint *checkpoint)
{
    json_begin_array(w, "tensors");
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(checkpoint, i);
        json_begin_object(w, NULL);
        json_put_string(w, "name", tensor->name);
        json_put_string(w, "dtype", tensor_dtype_name(tensor));
        json_begin_array(w, "shape");
        for (int d = 0; d < tensor->dims; d++)
            json_put_integer(w, NULL, tensor->shape[d]);
        json_end_array(w);
        json_end_object(w);
    }
    json_end_array(w);
    json_begin_object(w, "numbers");
    for (size_t i = 0; i < checkpoint_scalars(checkpoint); i++)
        json_put_double(w, checkpoint_scalar_at(checkpoint, i)->name,
                        checkpoint_scalar_at(checkpoint, i)->value);
    json_end_object(w);
}

static void put_bytes(struct json_writer *w, const struct model_facts *f)
{
    json_begin_object(w, "weight_bytes");
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (f->weight_bytes[t]) json_put_integer(w, stored_name((enum dtype)t), f->weight_bytes[t]);
    json_end_object(w);
    json_put_integer(w, "scale_bytes", f->scale_bytes);
    json_put_integer(w, "other_bytes", f->other_bytes);
}

static void put_estimates(struct json_writer *w, const struct model_facts *f)
{
    json_begin_object(w, "estimates");
    json_put_integer(w, "tokens", f->tokens);
    json_put_integer(w, "threads", f->threads);
    json_put_integer(w, "fp32_weight_bytes", (long long)f->fp32_bytes);
    json_put_integer(w, "fp16_weight_bytes", (long long)f->fp16_bytes);
    json_put_integer(w, "w8a8_weight_bytes", (long long)f->w8a8_bytes);
    json_put_integer(w, "lm_head_bytes", (long long)f->lm_head_bytes);
    json_put_integer(w, "workspace_bytes", (long long)f->workspace_bytes);
    json_put_double(w, "flop_per_token", f->flop_per_token);
    json_put_double(w, "fp32_seconds_per_sample", f->fp32_seconds);
    json_put_double(w, "w8a8_seconds_per_sample", f->w8a8_seconds);
    json_end_object(w);
}

static void model_facts_put(struct json_writer *w, const struct model_facts *f)
{
    const struct model *model = f->model;
    json_begin_object(w, NULL);
    json_put_string(w, "kind", "model");
    json_put_string(w, "path", model->directory);
    json_put_string(w, "architecture", architecture(model, (char[64]){0}));
    json_put_string(w, "weights", checkpoint_path(model->checkpoint));
    json_put_integer(w, "files", (long long)checkpoint_files(model->checkpoint));
    json_put_integer(w, "bytes", (long long)checkpoint_bytes(model->checkpoint));
    json_put_string(w, "weights_digest", model->digest_hex);
    json_put_string(w, "dtype", model_dtype_name(model));
    put_sizes(w, model);
    json_put_bool(w, "tied_lm_head", f->tied);
    json_put_integer(w, "parameters", f->parameters);
    json_begin_object(w, "elements");
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (f->elements[t]) json_put_integer(w, dtype_name((enum dtype)t), f->elements[t]);
    json_end_object(w);
    put_bytes(w, f);
    json_begin_array(w, "notes");
    for (int i = 0; i < model->notes.count; i++)
        json_put_string(w, NULL, model->notes.lines[i]);
    json_end_array(w);
    put_estimates(w, f);
    if (model_is_codes(model) && model->kind != MODEL_W4A16) put_scales(w, model);
    put_tensors(w, model->checkpoint);
    json_end_object(w);
}

// ---- a folder ----

enum status info_print_model(FILE *out, const char *directory, const struct info_request *request,
                             struct error *err)
{
    struct model model = {0};
    struct model_facts facts = {0};
    if (model_open(&model, directory, err)) return err->status;
    if (!model_facts_find(&facts, &model, request->tokens, request->threads > 0 ? request->threads : 1,
                          err)) {
        struct json_writer *w = request->json ? json_writer_open() : NULL;
        if (!request->json) {
            model_facts_print(out, &facts);
        } else if (!w) {
            error_memory(err, 1, "JSON");
        } else {
            model_facts_put(w, &facts);
            info_finish_json(out, w, err);
        }
    }
    model_close(&model);
    return err->status;
}
