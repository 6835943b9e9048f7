// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/info.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/view.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"

// ---- a model: what is worked out ----

// What is worked out about a model.
struct model_facts {
    const struct model *model;
    long long parameters;            // each once: a tied lm_head is the embedding
    long long elements[DTYPE_COUNT]; // of the checkpoint's tensors
    bool tied;
    unsigned long long fp32_bytes, fp16_bytes, w8a8_bytes, lm_head_bytes,
        workspace_bytes;   // in memory, packed
    double flop_per_token; // multiplications and additions; exp and such count as one
    int tokens, threads;
    double fp32_seconds, w8a8_seconds; // of a sample, measured on one layer
};

// Closes the writer and prints it.
static enum status info_finish_json(FILE *out, struct json_writer *w, struct error *err)
{
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1u << 20, "JSON");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}

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
    json_begin_array(w, "notes");
    for (int i = 0; i < model->notes.count; i++)
        json_put_string(w, NULL, model->notes.lines[i]);
    json_end_array(w);
    put_estimates(w, f);
    if (model_is_codes(model) && model->kind != MODEL_W4A16) put_scales(w, model);
    put_tensors(w, model->checkpoint);
    json_end_object(w);
}

// ---- a result file ----

static const char *const attributes[] = {"tool_version",   "weights_digest",    "tokenizer_sha256",
                                         "ids_sha256",     "reference_mode",    "model_dtype",
                                         "scales_source",  "reference_weights", "calibration_ids_sha256",
                                         "evaluation_text"};
enum { ATTRIBUTES = sizeof attributes / sizeof attributes[0] };

static long long file_bytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (long long)info.st_size : 0;
}

static int count_complete(const struct result *result)
{
    int complete = 0;
    for (int r = 0; r < result_all_runs(result); r++)
        complete += result_run_at(result, r)->complete;
    return complete;
}

// ---- groups of heads ----

// Sizes of head group k of a layer, and of its four channel groups.
struct group_sizes {
    int heads, channels[GROUPS_OF_CHANNELS];
};

static struct group_sizes sizes_of_group(const struct result_groups *groups, int layer, int k)
{
    const int G = groups->n_groups, row = groups->d_inner + G * GROUPS_OF_HEADS * (1 + GROUPS_OF_CHANNELS);
    const int32_t *head_ends = groups->rows + (long)layer * row + groups->d_inner,
                  *ends = head_ends + G * GROUPS_OF_HEADS + k * GROUPS_OF_CHANNELS;
    struct group_sizes sizes = {.heads = head_ends[k] - (k % GROUPS_OF_HEADS ? head_ends[k - 1] : 0)};
    for (int i = 0; i < GROUPS_OF_CHANNELS; i++)
        sizes.channels[i] = ends[i] - (i ? ends[i - 1] : 0);
    return sizes;
}

static void print_groups(FILE *out, const struct result_groups *groups)
{
    if (groups->rows) fprintf(out, "groups of heads        heads (channels in their four groups)\n");
    for (int l = 0; l < groups->n_layer; l++) {
        fprintf(out, "  layer %-4d", l);
        for (int k = 0; k < groups->n_groups * GROUPS_OF_HEADS; k++) {
            const struct group_sizes sizes = sizes_of_group(groups, l, k);
            fprintf(out, " %d (%d %d %d %d)", sizes.heads, sizes.channels[0], sizes.channels[1],
                    sizes.channels[2], sizes.channels[3]);
        }
        fputc('\n', out);
    }
}

static void put_groups(struct json_writer *w, const struct result_groups *groups)
{
    if (!groups->rows) return;
    json_begin_array(w, "groups");
    for (int l = 0; l < groups->n_layer; l++) {
        json_begin_array(w, NULL);
        for (int k = 0; k < groups->n_groups * GROUPS_OF_HEADS; k++) {
            const struct group_sizes sizes = sizes_of_group(groups, l, k);
            json_begin_object(w, NULL);
            json_put_integer(w, "heads", sizes.heads);
            json_begin_array(w, "channels");
            for (int i = 0; i < GROUPS_OF_CHANNELS; i++)
                json_put_integer(w, NULL, sizes.channels[i]);
            json_end_array(w);
            json_end_object(w);
        }
        json_end_array(w);
    }
    json_end_array(w);
}

// ---- text ----

static void print_runs(FILE *out, const struct result *result)
{
    int width = 6;
    for (int r = 0; r < result_all_runs(result); r++) {
        const int length = (int)strlen(result_run_at(result, r)->mode);
        width = length > width ? length : width;
    }
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        char cell[VIEW_CELL_CHARS], noise[32] = "";
        if (run->dither) snprintf(noise, sizeof noise, ", noisy re-run %d", run->dither);
        fprintf(out, "  %-*s %-14s %d of %d samples%s%s\n", width, run->mode, view_cell_text(run, cell),
                run->done, result_samples(result), noise, run->complete ? "" : ", not complete");
    }
}

static void print_layers(FILE *out, const struct result *result)
{
    const struct arch *arch = result_arch(result);
    for (int l = 0; l < result_layers(result); l++) {
        const int layer = result_layer_at(result, l);
        fprintf(out, "  layer %-4d", layer);
        for (int c = 0; c < arch->n_components; c++)
            if (result_components(result, l) & 1u << c)
                fprintf(out, " %s[%d]", arch->components[c].name, result_width(result, layer, c));
        fputc('\n', out);
    }
}

static void print_text(FILE *out, const struct result *result, const struct result_groups *groups,
                       const char *path)
{
    char holder[CLAIM_HOLDER_ROOM];
    fprintf(out, "result file            %s, %.1f MiB%s\n", path,
            (double)file_bytes(path) / (1024.0 * 1024.0),
            result_has_halves(result) ? ", packed, outputs as float16"
            : result_packed(result)   ? ", packed"
                                      : "");
    if (claim_look(path, holder)) fprintf(out, "under way              %s: results are partial\n", holder);
    for (int a = 0; a < ATTRIBUTES; a++)
        fprintf(out, "%-22s %s\n", attributes[a], result_attribute(result, attributes[a]));
    fprintf(out, "samples                %d, %lld tokens, at most %d in one\n", result_samples(result),
            view_tokens(result), result_max_tokens(result));
    fprintf(out, "runs                   %d, %d complete\n", result_all_runs(result), count_complete(result));
    print_runs(out, result);
    for (int i = 0; i < result_recipes(result); i++)
        fprintf(out, "recipe                 %s %s\n", result_recipe_at(result, i)->name,
                result_recipe_at(result, i)->text);
    fprintf(out, "captured               %d layers\n", result_layers(result));
    print_layers(out, result);
    print_groups(out, groups);
    fprintf(out, "job                    %s\n", result_attribute(result, "job"));
}

// ---- JSON ----

static void put_runs(struct json_writer *w, const struct result *result)
{
    json_begin_array(w, "runs");
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        json_begin_object(w, NULL);
        view_put_progress(w, run);
        json_put_bool(w, "complete", run->complete);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_layers(struct json_writer *w, const struct result *result)
{
    const struct arch *arch = result_arch(result);
    json_begin_array(w, "layers");
    for (int l = 0; l < result_layers(result); l++) {
        const int layer = result_layer_at(result, l);
        json_begin_object(w, NULL);
        json_put_integer(w, "layer", layer);
        json_begin_object(w, "width");
        for (int c = 0; c < arch->n_components; c++)
            if (result_components(result, l) & 1u << c)
                json_put_integer(w, arch->components[c].name, result_width(result, layer, c));
        json_end_object(w);
        json_end_object(w);
    }
    json_end_array(w);
}

static enum status print_json(FILE *out, const struct result *result, const struct result_groups *groups,
                              const char *path, struct error *err)
{
    char holder[CLAIM_HOLDER_ROOM];
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, "JSON");
    json_begin_object(w, NULL);
    json_put_string(w, "kind", "result");
    json_put_string(w, "path", path);
    json_put_integer(w, "bytes", file_bytes(path));
    json_put_string(w, "under_way", claim_look(path, holder) ? holder : NULL);
    for (int a = 0; a < ATTRIBUTES; a++)
        json_put_string(w, attributes[a], result_attribute(result, attributes[a]));
    json_put_string(w, "job", result_attribute(result, "job"));
    json_put_integer(w, "samples", result_samples(result));
    json_put_integer(w, "tokens", view_tokens(result));
    json_put_integer(w, "max_tokens", result_max_tokens(result));
    json_put_bool(w, "complete", count_complete(result) == result_all_runs(result));
    if (result_packed(result)) json_put_bool(w, "packed", true);
    if (result_has_halves(result)) json_put_string(w, "outputs_dtype", "float16");
    put_runs(w, result);
    if (result_recipes(result) > 0) json_begin_object(w, "recipes");
    for (int i = 0; i < result_recipes(result); i++)
        json_put_string(w, result_recipe_at(result, i)->name, result_recipe_at(result, i)->text);
    if (result_recipes(result) > 0) json_end_object(w);
    put_layers(w, result);
    put_groups(w, groups);
    json_end_object(w);
    return info_finish_json(out, w, err);
}

static enum status info_print_result(FILE *out, const char *path, bool json, struct error *err)
{
    struct result *result = NULL;
    struct result_groups groups = {.rows = NULL};
    if (result_open(&result, path, err)) return err->status;
    if (result_read_groups(result, &groups, err) == STATUS_OK && json)
        print_json(out, result, &groups, path, err);
    else if (!err->status)
        print_text(out, result, &groups, path);
    free(groups.rows);
    result_close(result);
    return err->status;
}

// ---- the command ----

// ---- this machine ----

static const char *const kernel_names[] = {"avx512", "avx2", "scalar", "naive"}; // as kernels.h has them
enum { KERNEL_NAMES = sizeof kernel_names / sizeof kernel_names[0] };

struct cores {
    long machine, usable; // `usable`: by this process, as taskset, a launcher or a quota has it
};

static struct cores count_cores(void)
{
    return (struct cores){.machine = sysconf(_SC_NPROCESSORS_ONLN), .usable = cores_usable()};
}

static void put_cpu(struct json_writer *w, const struct kernels *chosen, const struct cores *cores)
{
    json_begin_object(w, NULL);
    json_put_string(w, "kind", "cpu");
    json_put_integer(w, "cores", cores->machine);
    json_put_integer(w, "usable_cores", cores->usable);
    json_begin_array(w, "instruction_sets");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) json_put_string(w, NULL, kernel_names[i]);
    json_end_array(w);
    json_put_string(w, "chosen", chosen->name);
    json_end_object(w);
}

enum status info_print_cpu(FILE *out, bool json, struct error *err)
{
    const struct kernels *chosen;
    const struct cores cores = count_cores();
    if (kernels_choose(&chosen, err)) return err->status;
    if (json) {
        struct json_writer *w = json_writer_open();
        if (!w) return error_memory(err, 1, "JSON");
        put_cpu(w, chosen, &cores);
        return info_finish_json(out, w, err);
    }
    fprintf(out, "cores             %ld", cores.machine);
    if (cores.usable != cores.machine) fprintf(out, ", %ld for this process", cores.usable);
    fprintf(out, "\ninstruction sets ");
    for (int i = 0; i < KERNEL_NAMES; i++)
        if (kernels_find(kernel_names[i])) fprintf(out, " %s", kernel_names[i]);
    fprintf(out, "\nchosen            %s\n", chosen->name);
    return STATUS_OK;
}

void info_print_built(FILE *out)
{
#ifdef __clang__
    fprintf(out, "compiler          clang %d.%d.%d\n", __clang_major__, __clang_minor__,
            __clang_patchlevel__);
#else
    fprintf(out, "compiler          gcc %d.%d.%d\n", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
#ifdef __x86_64__
    fputs(
        "instruction sets  avx512 avx2 scalar (SSMSWEEP_ISA); `ssmsweep info --cpu`: those of this machine\n",
        out);
#else
    fputs("instruction sets  scalar\n", out);
#endif
    fputs("CUDA              no\n", out);
}

// ---- a path ----

static enum status print_model(FILE *out, const char *directory, const struct info_request *request,
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

static enum status print_named(FILE *out, const struct info_request *request, struct error *err)
{
    char *directory = NULL;
    if (!model_find_directory(request->path, &directory, err)) print_model(out, directory, request, err);
    free(directory);
    return err->status;
}

enum status info_print(FILE *out, const struct info_request *request, struct error *err)
{
    if (!request->path || strcmp(request->path, "mamba2-demo") == 0) return print_named(out, request, err);
    if (!file_exists(request->path))
        return error_set(err, STATUS_INPUT,
                         "%s: no such file or folder; expected a model folder or a result file",
                         request->path);
    if (!file_is_directory(request->path)) return info_print_result(out, request->path, request->json, err);
    char *config = file_join(request->path, "config.json"), *result = file_join(request->path, "sweep.h5");
    if (!config || !result)
        error_memory(err, strlen(request->path), "a path");
    else if (!file_exists(config) && file_exists(result))
        info_print_result(out, result, request->json, err);
    else
        print_model(out, request->path, request, err);
    free(config);
    free(result);
    return err->status;
}
