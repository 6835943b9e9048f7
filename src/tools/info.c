// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "info_parts.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/report/view.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/store.h"

enum status info_finish_json(FILE *out, struct json_writer *w, struct error *err)
{
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1u << 20, "JSON");
    fputs(text, out);
    free(text);
    return STATUS_OK;
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

// ---- a path ----

static enum status print_named(FILE *out, const struct info_request *request, struct error *err)
{
    char *directory = NULL;
    if (!model_find_directory(request->path, &directory, err)) info_print_model(out, directory, request, err);
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
        info_print_model(out, request->path, request, err);
    free(config);
    free(result);
    return err->status;
}
