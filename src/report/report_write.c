// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/report_write.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/report/render.h"

// A renderer of a table, or of the whole report.
typedef enum status (*renderer)(FILE *out, const struct report *report, const struct report_table *table,
                                struct error *err);

static enum status write_file(const char *path, renderer render, const struct report *report,
                              const struct report_table *table, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return error_memory(err, 1u << 16, path);
    render(out, report, table, err);
    if (fclose(out))
        error_memory(err, bytes, path);
    else if (!err->status)
        file_replace(path, text, bytes, err);
    free(text);
    return err->status;
}

// DIRECTORY/STEM + ENDING + OTHER.json.
static enum status write_named(const char *directory, const char *const name[3], renderer render,
                               const struct report *report, const struct report_table *table,
                               struct error *err)
{
    const size_t room = strlen(name[0]) + strlen(name[1]) + strlen(name[2]) + sizeof ".json";
    char *file = malloc(room), *path = NULL;
    if (file) {
        snprintf(file, room, "%s%s%s.json", name[0], name[1], name[2]);
        path = file_join(directory, file);
    }
    if (path)
        write_file(path, render, report, table, err);
    else
        error_memory(err, 256, "a path");
    free(path);
    free(file);
    return err->status;
}

enum status report_write_stats(const struct report *report, struct error *err)
{
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    if (file_make_directories(report->output_dir, err)) return err->status;
    for (int t = 0; t < layers->n_tables && !err->status; t++)
        write_named(report->output_dir, (const char *[]){layers->tables[t].run->stem, "_stats", ""},
                    render_json_stats, report, &layers->tables[t], err);
    return err->status;
}

static enum status write_comparisons(const struct report *report, const struct report_files *files,
                                     const char *single, struct error *err)
{
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    for (int t = 0; t < layers->n_tables && !err->status; t++) {
        const struct report_table *table = &layers->tables[t];
        if (table->run->is_reference) continue;
        if (single)
            write_file(single, render_json_comparison, report, table, err);
        else
            write_named(files->comparison_dir, (const char *[]){table->run->stem, "_vs_", report->reference},
                        render_json_comparison, report, table, err);
    }
    return err->status;
}

// With the file that --save_comparison names in its place.
static enum status write_comparison(const struct report *report, const struct report_files *files,
                                    struct error *err)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    const bool single = report->n_compared == 1;
    if (file_make_directories(report->output_dir, err) || file_make_directories(files->comparison_dir, err))
        return err->status;
    if (!files->without_stats && report_write_stats(report, err)) return err->status;
    if (write_comparisons(report, files, single ? files->save_comparison : NULL, err)) return err->status;
    if (files->save_comparison && !single)
        return write_file(files->save_comparison, render_json_summary, report, summary, err);
    return write_named(files->comparison_dir, (const char *[]){"summary", "", ""}, render_json_summary,
                       report, summary, err);
}

// Straight into the files: they may be long.
static enum status write_sweep(const struct report *report, const char *directory, struct error *err)
{
    struct file_replacement file;
    if (file_make_directories(directory, err) || file_replacement_begin(&file, directory, "sweep.json", err))
        return err->status;
    render_json_sweep(file.out, report, err);
    if (file_replacement_end(&file, err) || file_replacement_begin(&file, directory, "sweep.csv", err))
        return err->status;
    render_csv_sweep(file.out, report);
    return file_replacement_end(&file, err);
}

static enum status put_scales(FILE *out, const struct report *report, const struct report_table *table,
                              struct error *err)
{
    (void)table;
    return render_json_scales(out, report->scales, err);
}

enum status report_write(const struct report *report, const struct report_files *files, struct error *err)
{
    if (report->sections[REPORT_LAYERS].n_tables > 0 && write_comparison(report, files, err))
        return err->status;
    if (report->statistics && write_sweep(report, files->comparison_dir, err)) return err->status;
    if (report->scales)
        write_named(files->comparison_dir, (const char *[]){"calibration", "", ""}, put_scales, report, NULL,
                    err);
    return err->status;
}

static enum status put_junit(FILE *out, const struct report *report, const struct report_table *table,
                             struct error *err)
{
    (void)table;
    render_junit(out, report);
    return err->status;
}

enum status report_write_junit(const struct report *report, const char *path, struct error *err)
{
    return write_file(path, put_junit, report, NULL, err);
}

enum status report_write_page(const struct html_part *parts, int n_parts, const char *path, const char *title,
                              struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out) render_html(out, parts, n_parts, title);
    if (!out || fclose(out))
        error_memory(err, (size_t)1 << 21, path);
    else
        file_replace(path, text, bytes, err);
    free(text);
    return err->status;
}
