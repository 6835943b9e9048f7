// SPDX-License-Identifier: Apache-2.0
// What a result file holds.
#include <sys/stat.h>

#include "info_parts.h"
#include "ssmsweep/report/view.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/store.h"

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

// ---- text ----

static void print_runs(FILE *out, const struct result *result)
{
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        char cell[VIEW_CELL_CHARS], noise[32] = "";
        if (run->dither) snprintf(noise, sizeof noise, ", noisy re-run %d", run->dither);
        fprintf(out, "  %-6s %-14s %d of %d samples%s%s\n", run->mode, view_cell_text(run, cell), run->done,
                result_samples(result), noise, run->complete ? "" : ", not complete");
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

static void print_text(FILE *out, const struct result *result, const char *path)
{
    char holder[CLAIM_HOLDER_ROOM];
    fprintf(out, "result file            %s, %.1f MiB\n", path, (double)file_bytes(path) / (1024.0 * 1024.0));
    if (claim_look(path, holder)) fprintf(out, "under way              %s: results are partial\n", holder);
    for (int a = 0; a < ATTRIBUTES; a++)
        fprintf(out, "%-22s %s\n", attributes[a], result_attribute(result, attributes[a]));
    fprintf(out, "samples                %d, %lld tokens, at most %d in one\n", result_samples(result),
            view_tokens(result), result_max_tokens(result));
    fprintf(out, "runs                   %d, %d complete\n", result_all_runs(result), count_complete(result));
    print_runs(out, result);
    fprintf(out, "captured               %d layers\n", result_layers(result));
    print_layers(out, result);
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

static enum status print_json(FILE *out, const struct result *result, const char *path, struct error *err)
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
    put_runs(w, result);
    put_layers(w, result);
    json_end_object(w);
    return info_finish_json(out, w, err);
}

enum status info_print_result(FILE *out, const char *path, bool json, struct error *err)
{
    struct result *result = NULL;
    if (result_open(&result, path, err)) return err->status;
    if (json)
        print_json(out, result, path, err);
    else
        print_text(out, result, path);
    result_close(result);
    return err->status;
}
