// SPDX-License-Identifier: Apache-2.0
// What is known of a model, as text and as JSON.
#include <string.h>

#include "info_parts.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/rotation.h"

static double mebibytes(unsigned long long bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

static const char *architecture(const struct model *model, char text[64])
{
    snprintf(text, 64, "%.48s%s", model->dims.arch->title, model->kind == MODEL_W8A8 ? ", W8A8" : "");
    return text;
}

static const struct {
    const char *name;
    size_t offset; // of an int in struct dims
} sizes[] = {{"n_layer", offsetof(struct dims, n_layer)},      {"d_model", offsetof(struct dims, d_model)},
             {"d_inner", offsetof(struct dims, d_inner)},      {"d_state", offsetof(struct dims, d_state)},
             {"d_conv", offsetof(struct dims, d_conv)},        {"dt_rank", offsetof(struct dims, dt_rank)},
             {"vocab_size", offsetof(struct dims, vocab_size)}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static int size_at(const struct dims *dims, int index)
{
    int value;
    memcpy(&value, (const char *)dims + sizes[index].offset, sizeof value);
    return value;
}

// ---- text ----

static void print_hadamard(FILE *out, const char *name, int dim)
{
    int base = 0, power = 0;
    if (rotation_exists(dim, &base, &power)) fprintf(out, " %s = %d * %d", name, base, power);
}

static void print_scales(FILE *out, const struct model *model)
{
    fprintf(out, "\nactivation scales of the checkpoint\n%5s", "layer");
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

void model_facts_print(FILE *out, const struct model_facts *f)
{
    const struct model *model = f->model;
    const size_t files = checkpoint_files(model->checkpoint);
    fprintf(out, "model             %s\narchitecture      %s\n", model->directory,
            architecture(model, (char[64]){0}));
    fprintf(out, "weights           %s, %zu file%s, %.1f MiB\ndigest            %s\n",
            checkpoint_path(model->checkpoint), files, files == 1 ? "" : "s",
            mebibytes(checkpoint_bytes(model->checkpoint)), model->digest_hex);
    fprintf(out, "sizes            ");
    for (int i = 0; i < SIZES; i++)
        fprintf(out, " %s %d", sizes[i].name, size_at(&model->dims, i));
    fprintf(out, "\nHadamard         ");
    print_hadamard(out, "d_model", model->dims.d_model);
    print_hadamard(out, "d_inner", model->dims.d_inner);
    fprintf(out, "\nlm_head           %s\nparameters        %lld\ndtypes           ",
            f->tied ? "tied to the embedding" : "of its own", f->parameters);
    for (int t = 0; t < DTYPE_COUNT; t++)
        if (f->elements[t]) fprintf(out, " %s %lld", dtype_name((enum dtype)t), f->elements[t]);
    fputc('\n', out);
    for (int i = 0; i < model->notes.count; i++)
        fprintf(out, "note              %s\n", model->notes.lines[i]);
    print_estimates(out, f);
    if (model->kind == MODEL_W8A8) print_scales(out, model);
    print_tensors(out, model->checkpoint);
}

// ---- JSON ----

static void put_sizes(struct json_writer *w, const struct model *model)
{
    json_begin_object(w, "sizes");
    for (int i = 0; i < SIZES; i++)
        json_put_integer(w, sizes[i].name, size_at(&model->dims, i));
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

void model_facts_put(struct json_writer *w, const struct model_facts *f)
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
    json_begin_array(w, "notes");
    for (int i = 0; i < model->notes.count; i++)
        json_put_string(w, NULL, model->notes.lines[i]);
    json_end_array(w);
    put_estimates(w, f);
    if (model->kind == MODEL_W8A8) put_scales(w, model);
    put_tensors(w, model->checkpoint);
    json_end_object(w);
}
