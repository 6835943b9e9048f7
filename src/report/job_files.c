// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/job_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ssmsweep/base/file.h"

const struct file_pattern job_files_of_output_dir[] = {
    {"sweep.h5", NULL}, {"mode_", "_stats.json"}, {NULL, NULL}};
const struct file_pattern job_files_of_comparison_dir[] = {
    {"summary.json", NULL},   {"mode_", ".json"},         {"sweep.json", NULL},
    {"sweep.csv", NULL},      {"calibration.json", NULL}, {"per_sample.json", NULL},
    {"per_sample.csv", NULL}, {"report.html", NULL},      {NULL, NULL}};
static const struct file_pattern of_findings[] = {{"attribution.json", NULL}, {"attribution.csv", NULL},
                                                  {"depth.json", NULL},       {"bisect.json", NULL},
                                                  {"mix.json", NULL},         {"mix.csv", NULL},
                                                  {"mix-recipes.json", NULL}, {"units.json", NULL},
                                                  {"units.csv", NULL},        {NULL, NULL}};
static const struct file_pattern page_alone[] = {{"report.html", NULL}, {NULL, NULL}};
enum { COMPARISONS = 2 }; // the first ones: --save_comparison may give one the name that it has anyway
static const struct file_pattern of_result[] = {{"sweep.h5", NULL}, {NULL, NULL}};
static const struct file_pattern of_page[] = {{"sweep.h5", NULL}, {"sweep.json", NULL}, {NULL, NULL}};
static const struct file_pattern of_model[] = {{"config.json", NULL},
                                               {"tokenizer.json", NULL},
                                               {"calibration.jsonl", NULL},
                                               {"calibration.npy", NULL},
                                               {"", ".safetensors"},
                                               {"", ".safetensors.index.json"},
                                               {"", ".bin"},
                                               {"", ".bin.index.json"},
                                               {NULL, NULL}};
static const struct file_pattern of_texts[] = {{"", ".txt"}, {"", ".txt.gz"}, {"", ".txt.zst"}, {NULL, NULL}};

bool file_pattern_fits(const struct file_pattern *pattern, const char *name)
{
    if (!pattern->end) return strcmp(name, pattern->begin) == 0;
    const size_t begin = strlen(pattern->begin), end = strlen(pattern->end), length = strlen(name);
    return length >= begin + end && strncmp(name, pattern->begin, begin) == 0 &&
           strcmp(name + length - end, pattern->end) == 0;
}

static bool fits_any(const struct file_pattern *patterns, const char *name)
{
    for (; patterns->begin; patterns++)
        if (file_pattern_fits(patterns, name)) return true;
    return false;
}

// ---- places ----

// What an option names: a file, or, where it has patterns and is one, a folder with such files.
struct place {
    const char *option, *path; // NULL: nothing
    const struct file_pattern *patterns;
};
enum { MOST_PLACES = 11 };

static bool is_stream(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static void list_inputs(const struct job *job, struct place inputs[MOST_PLACES])
{
    const bool sweeps = job_sweeps(job);
    const struct place all[] = {
        {"--job", job->job_file, NULL},
        {"--gate-file", job->gate_file, NULL},
        {"--baseline", job->baseline, NULL},
        {"--calib-data", is_stream(job->calib_data) ? NULL : job->calib_data, of_texts},
        {"--eval-data", is_stream(job->eval_data) ? NULL : job->eval_data, of_texts},
        {"--model", job->model_dir, of_model},
        {"--reference-model", job->reference_model, of_model},
        {"--scales", job->scales, NULL},
        {"--tokenizer", job->tokenizer, of_model},
        {"--costs", job->costs, NULL},
        {"--output_dir", sweeps || job->command == COMMAND_BENCH ? NULL : job->output_dir, of_result}};
    _Static_assert(sizeof all == MOST_PLACES * sizeof all[0], "as many inputs as there is room for");
    memcpy(inputs, all, sizeof all);
}

enum { SAVE_COMPARISON, JUNIT, BENCH_JSON, PAGE, NAMED }; // outputs that an option names by file come first

static void list_outputs(const struct job *job, struct place outputs[MOST_PLACES])
{
    const bool sweeps = job_sweeps(job);
    const bool compares = job->command == COMMAND_RUN || job->command == COMMAND_COMPARE;
    const bool reports = job->command == COMMAND_REPORT;
    const bool finds =
        job->command == COMMAND_ATTRIBUTE || job->command == COMMAND_MIX || job->command == COMMAND_UNITS;
    const struct place all[] = {
        [SAVE_COMPARISON] = {"--save_comparison", job->save_comparison, NULL},
        [JUNIT] = {"--junit", job->junit, NULL},
        [BENCH_JSON] = {"--json", job->json_file, NULL},
        [PAGE] = {"--out", job->page, NULL},
        [NAMED] = {"--output_dir", sweeps ? job->output_dir : NULL, job_files_of_output_dir},
        {"--output_dir", compares ? job->output_dir : NULL, job_files_of_output_dir + 1}, // not the result
        {"--comparison-dir", compares ? job->comparison_dir : NULL, job_files_of_comparison_dir},
        {"--comparison-dir", finds ? job->comparison_dir : NULL, of_findings},
        {"--comparison-dir", reports && !job->page ? job->comparison_dir : NULL, page_alone}};
    memset(outputs, 0, MOST_PLACES * sizeof *outputs);
    memcpy(outputs, all, sizeof all);
}

// ---- is it one file? ----

// Where a file is or would be made: of its folder device and inode, and its name in it.
struct spot {
    struct stat folder;
    char *path; // owned; `name` is a part of it
    const char *name;
};

static bool spot_find(struct spot *spot, const char *path)
{
    spot->path = file_follow_links(path);
    char *slash = spot->path ? strrchr(spot->path, '/') : NULL;
    spot->name = slash ? slash + 1 : spot->path;
    if (slash) *slash = '\0';
    if (spot->path && stat(!slash ? "." : slash == spot->path ? "/" : spot->path, &spot->folder) == 0)
        return true;
    free(spot->path);
    return false;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_regular(const char *path, struct stat *info)
{
    return stat(path, info) == 0 && S_ISREG(info->st_mode);
}

// Whether an output that an option names is, or will be, the same file as another.
static bool will_be(const char *path, const char *file)
{
    struct stat a, b;
    struct spot x, y;
    if (file_exists(path) && file_exists(file))
        return is_regular(path, &a) && is_regular(file, &b) && is_same(&a, &b);
    if (!spot_find(&x, path)) return false;
    const bool found = spot_find(&y, file);
    const bool one = found && is_same(&x.folder, &y.folder) && strcmp(x.name, y.name) == 0;
    if (found) free(y.path);
    free(x.path);
    return one;
}

// Would a file of that name be one of the folder's?
static bool will_be_in(const char *path, const struct place *place)
{
    struct stat folder;
    struct spot spot;
    if (stat(place->path, &folder) != 0 || !spot_find(&spot, path)) return false;
    const bool one = is_same(&spot.folder, &folder) && fits_any(place->patterns, spot.name);
    free(spot.path);
    return one;
}

// A file that is there and that `visit` says yes to, in a folder; owned by the caller.  NULL: none.
static char *find_in(const struct place *place, bool visit(const char *path, const struct place *other),
                     const struct place *other)
{
    char *found = NULL;
    DIR *directory = opendir(place->path);
    for (struct dirent *entry; !found && directory && (entry = readdir(directory));) {
        if (!fits_any(place->patterns, entry->d_name)) continue;
        char *path = file_join(place->path, entry->d_name);
        if (path && visit(path, other))
            found = path;
        else
            free(path);
    }
    if (directory) closedir(directory);
    return found;
}

static bool is_output(const char *path, const struct place *output)
{
    struct stat info;
    if (!is_regular(path, &info)) return false; // pipes, devices, nothing
    if (!output->patterns) return will_be(path, output->path);
    if (will_be_in(path, output)) return true;
    char *other = find_in(output, is_output, &(const struct place){output->option, path, NULL});
    free(other);
    return other != NULL;
}

// ---- checking ----

static enum status check_input(const struct place *input, const struct place *output, struct error *err)
{
    const bool folder = input->patterns && file_is_directory(input->path);
    char *file = folder                           ? find_in(input, is_output, output)
                 : is_output(input->path, output) ? strdup(input->path)
                                                  : NULL;
    if (!file) return STATUS_OK;
    error_set(
        err, STATUS_USAGE,
        "%s: %.400s is also a file that %s%s writes; keep it under another name, or choose another place "
        "to write to",
        input->option, file, output->option, output->patterns ? " (its reports)" : "");
    free(file);
    return err->status;
}

// Several inputs, one per line.
static enum status check_lines(const char *option, const char *paths, const struct file_pattern *patterns,
                               const struct place *outputs, struct error *err)
{
    char *lines = paths ? strdup(paths) : NULL, *rest = lines;
    if (paths && !lines) error_memory(err, strlen(paths), "a path");
    for (char *path; !err->status && (path = strsep(&rest, "\n"));)
        for (int o = 0; o < MOST_PLACES && !err->status; o++)
            if (outputs[o].path) check_input(&(const struct place){option, path, patterns}, &outputs[o], err);
    free(lines);
    return err->status;
}

static enum status check_output(const struct place *output, const struct place *other, struct error *err)
{
    struct stat info;
    if (file_exists(output->path) && !is_regular(output->path, &info)) return STATUS_OK;
    if (other->patterns ? !will_be_in(output->path, other) : !will_be(output->path, other->path))
        return STATUS_OK;
    return error_set(err, STATUS_USAGE, "%s: %.400s is also a file that %s%s writes; choose another name",
                     output->option, output->path, other->option, other->patterns ? " (its reports)" : "");
}

static const char *without_dot(const char *path)
{
    while (path[0] == '.' && path[1] == '/')
        path += 1 + strspn(path + 1, "/");
    return path;
}

// Does making the folder `made` make that of a file?
static bool makes_folder_of(const char *made, const char *file)
{
    made = without_dot(made);
    file = without_dot(file);
    const char *slash = strrchr(file, '/');
    const size_t bytes = slash ? (size_t)(slash - file) : 0;
    return strncmp(made, file, bytes) == 0 && (made[bytes] == '/' || made[bytes] == '\0');
}

// So that it is known before the work.
static enum status check_folder(const struct place *output, const struct job *job, struct error *err)
{
    struct spot spot;
    bool folder =
        makes_folder_of(job->output_dir, output->path) || makes_folder_of(job->comparison_dir, output->path);
    if (!folder && spot_find(&spot, output->path)) {
        folder = S_ISDIR(spot.folder.st_mode);
        free(spot.path);
    }
    if (folder) return STATUS_OK;
    return error_set(err, STATUS_IO,
                     "%s: %.400s: cannot create: its folder is not there; make it, or choose another name",
                     output->option, output->path);
}

static enum status check_named(const struct place *outputs, int named, const struct job *job,
                               struct error *err)
{
    const struct place *output = &outputs[named];
    if (check_folder(output, job, err)) return err->status;
    for (int i = named + 1; i < MOST_PLACES; i++) {
        struct place other = outputs[i];
        if (!other.path) continue;
        if (other.patterns == job_files_of_comparison_dir && named == SAVE_COMPARISON)
            other.patterns += COMPARISONS;
        if (check_output(output, &other, err)) return err->status;
    }
    return STATUS_OK;
}

enum status job_files_check(const struct job *job, struct error *err)
{
    struct place inputs[MOST_PLACES], outputs[MOST_PLACES];
    list_inputs(job, inputs);
    list_outputs(job, outputs);
    for (int i = 0; i < MOST_PLACES; i++)
        for (int o = 0; o < MOST_PLACES; o++)
            if (inputs[i].path && outputs[o].path && check_input(&inputs[i], &outputs[o], err))
                return err->status;
    if (check_lines("report", job->results, of_page, outputs, err) ||
        check_lines("--recipes", job->recipes, NULL, outputs, err))
        return err->status;
    for (int o = 0; o < NAMED; o++)
        if (outputs[o].path && check_named(outputs, o, job, err)) return err->status;
    return STATUS_OK;
}
