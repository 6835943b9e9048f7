// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/report_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/report/job_files.h"
#include "ssmsweep/report/view.h"

// ---- whose they are ----

// What the numbers of a result depend on, by the names that it has in "provenance".  Other modes, layers,
// references or re-runs make no other result.
enum { WEIGHTS, REFERENCE, TEXT, CALIBRATION, SOURCE, KEYS };
static const char *const keys[KEYS] = {"weights_digest", "reference_weights", "ids_sha256",
                                       "calibration_ids_sha256", "scales_source"};

struct owner {
    const char *values[KEYS]; // "": not known
    struct json *job;         // of which percentile_alpha, observer and group_heads count
    const struct result *result;
    const struct plan *plan; // one of both has the modes
};

static bool run_is(const char *mode, struct cell cell, const char *its_mode, struct cell its_cell)
{
    return strcmp(mode, its_mode) == 0 && cell_compare(cell, its_cell) == 0;
}

static bool holds(const struct owner *owner, const char *mode, struct cell cell)
{
    static const struct cell none = {0};
    for (int r = 0; owner->result && r < result_runs(owner->result); r++)
        if (run_is(mode, cell, result_run_at(owner->result, r)->mode, result_run_at(owner->result, r)->cell))
            return true;
    for (int r = 0; owner->plan && r < owner->plan->n_runs; r++) {
        const struct run *run = &owner->plan->runs[r];
        if (run_is(mode, cell, run->mode->name,
                   run->cell == PLAN_FLOAT_CELL ? none : owner->plan->cells[run->cell]))
            return true;
    }
    return false;
}

static int whole_number(const struct json *object, const char *key)
{
    const double value = json_number(json_get(object, key));
    return value >= 0 && value <= 1e6 ? (int)value : 0;
}

static const char *text_or_empty(const struct json *object, const char *key)
{
    const char *text = json_string(json_get(object, key));
    return text ? text : "";
}

// What makes a report one of another result; NULL: nothing that is known.
static const char *difference(const struct json *report, const struct owner *owner)
{
    const struct json *from = json_get(report, "provenance");
    const char *mode = json_string(json_get(report, "compared_mode"));
    for (int k = 0; k < KEYS; k++) {
        const char *its = text_or_empty(from, keys[k]);
        if (its[0] && owner->values[k][0] && strcmp(its, owner->values[k]) != 0) return keys[k];
    }
    if (strcmp(text_or_empty(from, keys[SOURCE]), "calibration") == 0) {
        if (json_number(json_get(from, "percentile_alpha")) !=
            json_number(json_get(owner->job, "percentile_alpha")))
            return "percentile_alpha";
        if (strcmp(text_or_empty(from, "observer"), text_or_empty(owner->job, "observer")) != 0)
            return "observer";
        if (strcmp(text_or_empty(from, "group_heads"), text_or_empty(owner->job, "group_heads")) != 0)
            return "group_heads";
    }
    const struct cell cell = {whole_number(from, "calib_data_num"), whole_number(from, "order")};
    return mode && !holds(owner, mode, cell) ? "a mode that this result lacks" : NULL;
}

// ---- the folder ----

static bool has_ending(const char *name, const char *ending)
{
    return strlen(name) >= strlen(ending) && strcmp(name + strlen(name) - strlen(ending), ending) == 0;
}

static bool fits(const struct file_pattern *patterns, const char *name)
{
    for (; patterns->begin; patterns++)
        if (file_pattern_fits(patterns, name)) return true;
    return false;
}

// NULL: no report, or none that can be read.
static struct json *read_report(const char *path)
{
    struct error none = {0};
    struct json *report = NULL;
    if (has_ending(path, ".json")) json_read_file(&report, path, &none);
    return report;
}

typedef enum status (*visitor)(void *context, const char *path, struct error *err);

static enum status visit(const char *folder, const struct file_pattern *patterns, visitor look, void *context,
                         struct error *err)
{
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && !err->status && (entry = readdir(directory));) {
        char *path = fits(patterns, entry->d_name) ? file_join(folder, entry->d_name) : NULL;
        if (path) look(context, path, err);
        free(path);
    }
    if (directory) closedir(directory);
    return err->status;
}

static enum status check_report(void *context, const char *path, struct error *err)
{
    struct json *report = read_report(path);
    const char *other = report ? difference(report, context) : NULL;
    json_close(report);
    if (!other) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%.400s: is a report of another result (%s); choose another --comparison-dir, or remove "
                     "such reports with --overwrite",
                     path, other);
}

// By its content: a file of that name may be anybody's.
static bool is_ours(const char *path)
{
    static const char *const marks[] = {"provenance", "cells", "entries", "layers"};
    static const char *const heads[] = {"cell,", "mode,", "<!DOCTYPE html>\n<!-- A report of ssmsweep -->"};
    struct json *report = read_report(path);
    struct file_map map = {0};
    struct error none = {0};
    bool ours = false;
    for (size_t i = 0; report && i < sizeof marks / sizeof marks[0]; i++)
        ours |= json_get(report, marks[i]) != NULL;
    json_close(report);
    if ((!has_ending(path, ".csv") && !has_ending(path, ".html")) || file_map(&map, path, &none)) return ours;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        ours |= map.size_bytes >= strlen(heads[i]) && memcmp(map.data, heads[i], strlen(heads[i])) == 0;
    file_unmap(&map);
    return ours;
}

static enum status remove_report(void *context, const char *path, struct error *err)
{
    int *count = context;
    if (!is_ours(path)) return STATUS_OK;
    if (unlink(path) != 0) return error_errno(err, path, "cannot remove");
    ++*count;
    return STATUS_OK;
}

static enum status remove_reports(const struct job *job, const struct log *log, struct error *err)
{
    int count = 0;
    visit(job->comparison_dir, job_files_of_comparison_dir, remove_report, &count, err);
    if (count)
        log_job(log, LOG_NORMAL, "--overwrite: removed %d report%s in %s", count, count == 1 ? "" : "s",
                job->comparison_dir);
    return err->status;
}

static enum status check(const struct job *job, struct owner *owner, struct error *err)
{
    return visit(job->comparison_dir, job_files_of_comparison_dir, check_report, owner, err);
}

// ---- the two moments ----

static struct json *parse_job(const char *text)
{
    struct error none = {0};
    struct json *job = NULL;
    if (text[0]) json_parse(&job, text, strlen(text), "job", &none);
    return job;
}

enum status report_folder_take(const struct job *job, const struct result *result, const struct log *log,
                               struct error *err)
{
    struct owner owner = {.job = parse_job(result_attribute(result, "job")), .result = result};
    struct error others = {0};
    for (int k = 0; k < KEYS; k++)
        owner.values[k] = result_attribute(result, keys[k]);
    check(job, &owner, &others);
    json_close(owner.job);
    if (!others.status) return STATUS_OK;
    if (job->overwrite && others.status == STATUS_INPUT) return remove_reports(job, log, err);
    *err = others;
    return err->status;
}

static enum status remove_file(const char *path, const struct log *log, struct error *err)
{
    if (!file_exists(path)) return STATUS_OK;
    if (unlink(path) != 0) return error_errno(err, path, "cannot remove");
    log_job(log, LOG_NORMAL, "--overwrite: removed %s", path);
    return STATUS_OK;
}

// Statistics stand beside the result file.
static enum status remove_result(const struct job *job, const char *path, const struct log *log,
                                 struct error *err)
{
    int count = 0;
    if (remove_file(path, log, err)) return err->status;
    if (visit(job->output_dir, job_files_of_output_dir + 1, remove_report, &count, err)) return err->status;
    if (count)
        log_job(log, LOG_NORMAL, "--overwrite: removed the statistics of %d mode%s in %s", count,
                count == 1 ? "" : "s", job->output_dir);
    return STATUS_OK;
}

enum status report_folder_prepare(const struct sweep *sweep, const struct store_identity *identity,
                                  struct error *err)
{
    const struct job *job = sweep->job;
    if (job->command == COMMAND_ATTRIBUTE)
        return job->overwrite ? remove_file(sweep->result_path, sweep->log, err) : STATUS_OK;
    if (job->overwrite)
        return remove_result(job, sweep->result_path, sweep->log, err) ? err->status
                                                                       : remove_reports(job, sweep->log, err);
    struct owner owner = {.job = parse_job(identity->job_json), .plan = &sweep->plan};
    owner.values[WEIGHTS] = identity->weights_hex;
    owner.values[REFERENCE] = identity->reference_weights;
    owner.values[TEXT] = identity->ids_hex;
    owner.values[CALIBRATION] = identity->calibration_ids_hex;
    owner.values[SOURCE] = identity->scales_source;
    check(job, &owner, err);
    json_close(owner.job);
    return err->status;
}
