// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/report/report_write.h"
#include "ssmsweep/report/view.h"
#include "ssmsweep/tools/npy_files.h"

// ---- one array ----

static enum status write_samples(FILE *file, struct result *result, const struct comparison_entry *entry,
                                 const char *path, struct error *err)
{
    size_t width = (size_t)result_width(result, entry->layer, entry->component);
    size_t elements = (size_t)result_max_tokens(result) * width + 1;
    float *values = malloc(elements * sizeof *values);
    if (!values) return error_memory(err, elements * sizeof *values, "a sample to export");
    for (int s = 0; s < result_samples(result) && !err->status; s++) {
        if (result_read(result, entry->run, entry->layer, entry->component, s, values, err)) break;
        size_t count = (size_t)result_length(result, s) * width;
        if (fwrite(values, sizeof *values, count, file) != count) error_errno(err, path, "cannot write");
    }
    free(values);
    return err->status;
}

static enum status write_array(struct result *result, const struct comparison_entry *entry,
                               const char *directory, const char *name, struct error *err)
{
    char header[NPY_HEADER_ROOM];
    size_t shape[2] = {(size_t)view_tokens(result),
                       (size_t)result_width(result, entry->layer, entry->component)};
    size_t header_bytes = npy_header(header, NPY_FLOAT32, 2, shape);
    struct file_replacement array;
    if (file_replacement_begin(&array, directory, name, err)) return err->status;
    if (fwrite(header, 1, header_bytes, array.out) != header_bytes)
        error_errno(err, array.path, "cannot write");
    else
        write_samples(array.out, result, entry, array.path, err);
    return file_replacement_end(&array, err);
}

static enum status export_entry(const struct report *report, struct result *result,
                                const struct comparison_entry *entry, bool main, struct error *err)
{
    char name[192];
    snprintf(name, sizeof name, "%s_layer_%d%s%s.npy", report->runs[entry->run].stem, entry->layer,
             main ? "" : "_", main ? "" : entry->name);
    return write_array(result, entry, report->output_dir, name, err);
}

// ---- the folder ----

static enum status write_manifest(const struct report *report, const struct result *result, struct error *err)
{
    char *path = file_join(report->output_dir, "export.json");
    struct json_writer *w = path ? json_writer_open() : NULL;
    if (w) {
        json_begin_object(w, NULL);
        for (int i = 0; result_attribute_name(i); i++)
            json_put_string(w, result_attribute_name(i), result_attribute(result, result_attribute_name(i)));
        json_begin_array(w, "sample_lengths");
        for (int s = 0; s < result_samples(result); s++)
            json_put_integer(w, NULL, result_length(result, s));
        json_end_array(w);
        json_end_object(w);
    }
    char *text = w ? json_writer_finish(w) : NULL;
    if (text)
        file_replace(path, text, strlen(text), err);
    else
        error_memory(err, 256, "export.json");
    free(text);
    free(path);
    return err->status;
}

enum status npy_export(const struct report *report, const struct comparison *comparison,
                       struct result *result, struct error *err)
{
    if (report_write_stats(report, err) || write_manifest(report, result, err)) return err->status;
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        for (struct layer_view layer = {0}; view_next_layer(&run, &layer);)
            for (int i = 0; i < layer.count; i++) {
                const struct comparison_entry *entry = &layer.entries[i];
                if (export_entry(report, result, entry, entry == layer.main, err)) return err->status;
            }
    return STATUS_OK;
}
