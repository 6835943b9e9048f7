// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/trials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/arch/config.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/sweep/dry_run.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/sweep/sweep.h"

enum { NAME_CHARS = 32, MOST_SWEEPS = 9999, MOST_RERUNS = 64 };

static const char *const sources[TRIALS_SOURCES] = {
    "tool_version",      "weights_digest",         "ids_sha256", "scales_source",
    "reference_weights", "calibration_ids_sha256", "model_dtype"};

// ---- opening ----

static enum status read_config(struct trials *t, struct error *err)
{
    struct config config = {0};
    struct notes notes = {0};
    char *directory = NULL, *path = NULL;
    model_find_directory(t->with.job->model_dir, &directory, err);
    if (!err->status && !(path = file_join(directory, "config.json"))) error_memory(err, 256, "a path");
    if (!err->status && config_read(&config, path, &notes, err) == STATUS_OK) t->dims = config.dims;
    free(path);
    free(directory);
    return err->status;
}

static const char *write_name(const struct trials *t, int sweep, char name[NAME_CHARS])
{
    snprintf(name, NAME_CHARS, "%.16s-%02d.h5", t->name, sweep);
    return name;
}

char *trials_path(const struct trials *trials, int sweep, struct error *err)
{
    char name[NAME_CHARS], *path = file_join(trials->with.job->output_dir, write_name(trials, sweep, name));
    if (!path) error_memory(err, 256, "a path");
    return path;
}

// Only what ssmsweep wrote is removed.
static enum status remove_file(const char *path, struct error *err)
{
    struct result *result = NULL;
    if (result_open(&result, path, err)) return err->status;
    result_close(result);
    return unlink(path) == 0 ? STATUS_OK : error_errno(err, path, "cannot remove");
}

static enum status remove_files(const struct trials *t, struct error *err)
{
    bool there = true;
    for (int sweep = 1; there && sweep <= MOST_SWEEPS && !err->status; sweep++) {
        char *path = trials_path(t, sweep, err);
        if (!path) return err->status;
        there = file_exists(path);
        if (there) remove_file(path, err);
        free(path);
    }
    return err->status;
}

enum status trials_open(struct trials *trials, const struct program *with, const char *name,
                        struct error *err)
{
    *trials = (struct trials){.with = *with, .name = name};
    if (read_config(trials, err) == STATUS_OK)
        reading_place_of(&trials->place, with->job, name, trials->dims.n_layer, err);
    if (comm_agree(with->comm, err) == STATUS_OK && with->comm->rank == 0 && with->job->overwrite &&
        !with->job->dry_run)
        remove_files(trials, err);
    return comm_agree(with->comm, err);
}

void trials_close(struct trials *trials)
{
    for (int i = 0; i < trials->count; i++) {
        free(trials->items[i].table);
        free(trials->items[i].reruns);
    }
    free(trials->items);
    for (int p = 0; p < TRIALS_PARTS; p++)
        bootstrap_close(trials->bootstraps[p]);
    for (int i = 0; i < TRIALS_SOURCES; i++)
        free(trials->sources[i]);
    *trials = (struct trials){0};
}

// ---- a sweep ----

// The job of a sweep, and its texts.
struct sweep_job {
    struct job job;
    char name[NAME_CHARS];
    char *modes;
};

static enum status make_job(struct sweep_job *made, const struct trials *t, const struct trials_list *list,
                            struct error *err)
{
    size_t bytes = 0;
    FILE *out = open_memstream(&made->modes, &bytes);
    for (int m = 0; out && m < list->count; m++)
        fprintf(out, "%s%s", m ? "," : "", list->modes[m]->name);
    if (!out || fclose(out)) return error_memory(err, 1u << 12, "the modes");
    made->job = *t->with.job;
    made->job.modes = made->modes;
    made->job.noise = list->noise;
    made->job.part = (int)list->part;
    made->job.isolated = list->isolated;
    made->job.result_name = write_name(t, t->sweeps + 1, made->name);
    return STATUS_OK;
}

// What the first sweep says of model and texts holds for all.
static struct log log_of(const struct trials *t)
{
    struct log log = *t->with.log;
    if (t->sweeps > 0 && log.level == LOG_NORMAL) log.level = LOG_ERROR;
    return log;
}

// ---- reading it ----

static enum status read_trial(struct trial *trial, struct reading *reading, double *rerun, struct error *err)
{
    const int run = reading_find(reading->result, trial->mode, 0);
    if (run < 0)
        return error_set(err, STATUS_INTERNAL, "the result file has no run of '%s'", trial->mode->name);
    if (reading_table(reading, run, trial->table, err)) return err->status;
    for (int k = 0, other; k < trial->n_reruns; k++) {
        other = reading_find(reading->result, trial->mode, k + 1);
        if (other >= 0 && reading_table(reading, other, rerun, err)) return err->status;
        trial->reruns[k] =
            other < 0 ? (double)NAN : metric_of_table(reading->place.metric, rerun, reading->samples);
    }
    return STATUS_OK;
}

static enum status keep_sources(struct trials *t, const struct result *result, struct error *err)
{
    for (int i = 0; i < TRIALS_SOURCES; i++)
        if (!t->sources[i] && !(t->sources[i] = strdup(result_attribute(result, sources[i]))))
            return error_memory(err, 64, "the provenance");
    return STATUS_OK;
}

// Rank 0.
static enum status read_trials(struct trials *t, const struct trials_list *list, struct reading *reading,
                               struct error *err)
{
    double *rerun = calloc((size_t)READING_COLUMNS * (size_t)reading->samples, sizeof *rerun);
    if (!rerun) error_memory(err, 64, "a re-run");
    for (int m = 0; m < list->count && !err->status; m++)
        read_trial(&t->items[t->count + m], reading, rerun, err);
    free(rerun);
    if (!err->status) keep_sources(t, reading->result, err);
    return err->status;
}

// All ranks: room for what is read.
static enum status make_room(struct trials *t, const struct trials_list *list, struct error *err)
{
    const size_t samples = (size_t)t->samples[list->part];
    if (t->count + list->count > t->room) {
        const int room = t->count + list->count + t->room;
        struct trial *grown = realloc(t->items, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the trials");
        t->items = grown;
        t->room = room;
    }
    for (int m = 0; m < list->count; m++) {
        struct trial trial = {.mode = list->modes[m], .part = list->part};
        trial.n_reruns = mode_is_float(trial.mode) ? 0 : list->noise;
        trial.table = calloc(READING_COLUMNS * samples + 1, sizeof *trial.table);
        trial.reruns = calloc((size_t)trial.n_reruns + 1, sizeof *trial.reruns);
        t->items[t->count + m] = trial;
        if (!trial.table || !trial.reruns)
            error_memory(err, READING_COLUMNS * samples * sizeof *trial.table, "a trial");
    }
    return err->status;
}

static void drop_room(struct trials *t, const struct trials_list *list)
{
    for (int m = 0; m < list->count && t->count + m < t->room; m++) {
        free(t->items[t->count + m].table);
        free(t->items[t->count + m].reruns);
    }
}

// From rank 0 to all.
static void share_trials(struct trials *t, const struct trials_list *list)
{
    MPI_Comm world = t->with.comm->world;
    for (int m = 0; m < list->count; m++) {
        struct trial *trial = &t->items[t->count + m];
        MPI_Bcast(trial->table, READING_COLUMNS * t->samples[list->part], MPI_DOUBLE, 0, world);
        MPI_Bcast(trial->reruns, trial->n_reruns, MPI_DOUBLE, 0, world);
    }
}

// Rank 0: numbers of the samples, once.
static void note_samples(struct trials *t, const struct trials_list *list, const struct reading *reading)
{
    t->samples[list->part] = reading->samples;
    t->tokens[list->part] = reading->tokens;
    snprintf(t->component, sizeof t->component, "%s", reading->component);
    snprintf(t->ids_hex[list->part], sizeof t->ids_hex[0], "%s",
             result_attribute(reading->result, "ids_sha256"));
}

static void share_samples(struct trials *t)
{
    MPI_Comm world = t->with.comm->world;
    MPI_Bcast(t->samples, TRIALS_PARTS, MPI_INT, 0, world);
    MPI_Bcast(t->tokens, TRIALS_PARTS, MPI_LONG_LONG, 0, world);
}

// Collective.
static enum status read_sweep(struct trials *t, const struct trials_list *list, const char *path,
                              struct error *err)
{
    const struct comm *comm = t->with.comm;
    const struct job *job = t->with.job;
    struct result *result = NULL;
    struct reading reading = {0};
    if (comm->rank == 0 && result_open(&result, path, err) == STATUS_OK &&
        reading_open(&reading, result, &t->place, job->reference, err) == STATUS_OK)
        note_samples(t, list, &reading);
    if (comm_agree(comm, err)) goto close_result;
    share_samples(t);
    make_room(t, list, err);
    if (!err->status && !t->bootstraps[list->part])
        bootstrap_open(&t->bootstraps[list->part], (uint64_t)job->seed, job->bootstrap,
                       t->samples[list->part], 2, err);
    if (comm_agree(comm, err) == STATUS_OK && comm->rank == 0) read_trials(t, list, &reading, err);
    if (comm_agree(comm, err)) {
        drop_room(t, list);
        goto close_result;
    }
    share_trials(t, list);
    t->count += list->count;
close_result:
    reading_close(&reading);
    result_close(result);
    return err->status;
}

enum status trials_run(struct trials *trials, const struct trials_list *list, struct error *err)
{
    const struct program *with = &trials->with;
    const struct log log = log_of(trials);
    struct sweep_job made = {0};
    struct sweep *sweep = calloc(1, sizeof *sweep);
    char *path = NULL;
    if (!sweep) error_memory(err, sizeof *sweep, "the sweep");
    if (!err->status) make_job(&made, trials, list, err);
    if (comm_agree(with->comm, err) == STATUS_OK &&
        sweep_open(sweep, &made.job, with->comm, &log, with->stop, with->tool_version, err) == STATUS_OK &&
        sweep_run(sweep, err) == STATUS_OK && !(path = strdup(sweep->result_path)))
        error_memory(err, 256, "a path");
    if (sweep) sweep_close(sweep);
    if (comm_agree(with->comm, err) == STATUS_OK) read_sweep(trials, list, path, err);
    if (!err->status) trials->sweeps++;
    free(path);
    free(sweep);
    free(made.modes);
    return err->status;
}

// ---- told beforehand ----

enum status trials_dry_run(struct trials *trials, const struct trials_list *list, int sweeps, long runs,
                           struct error *err)
{
    const struct program *with = &trials->with;
    struct sweep_job made = {0};
    struct sweep *sweep = calloc(1, sizeof *sweep);
    double seconds = 0;
    if (!sweep) error_memory(err, sizeof *sweep, "the sweep");
    if (!err->status) make_job(&made, trials, list, err);
    if (comm_agree(with->comm, err) == STATUS_OK &&
        sweep_open(sweep, &made.job, with->comm, with->log, with->stop, with->tool_version, err) == STATUS_OK)
        dry_run_print(sweep, 0, &seconds, err);
    if (!err->status && with->comm->rank == 0) {
        char all[32];
        progress_write_time(all, sizeof all, seconds * sweeps);
        printf("%s: that is the largest sweep; at most %d sweeps, %ld runs in all, %s: an upper bound\n",
               trials->name, sweeps, runs, all);
    }
    if (sweep) sweep_close(sweep);
    free(sweep);
    free(made.modes);
    return comm_agree(with->comm, err);
}

// ---- numbers ----

const struct trial *trials_find(const struct trials *trials, const struct mode *mode, enum job_part part)
{
    for (int i = trials->count - 1; i >= 0; i--)
        if (trials->items[i].mode == mode && trials->items[i].part == part) return &trials->items[i];
    return NULL;
}

void trials_measure(const struct trials *trials, const struct trial *of, const struct trial *from,
                    struct interval *interval, struct change *change)
{
    const double *const tables[2] = {of->table, from ? from->table : of->table};
    struct interval both[2];
    struct change changes[1];
    bootstrap_run(trials->bootstraps[of->part], trials->place.metric, tables, NULL, 2, both, changes);
    *interval = both[0];
    if (change) *change = changes[0];
}

struct noise_floor trials_floor(const struct trials *trials, const struct trial *of)
{
    struct noise_floor none = {(double)NAN, (double)NAN, 0};
    struct interval own;
    if (of->n_reruns == 0) return none;
    trials_measure(trials, of, NULL, &own, NULL);
    return noise_floor_make(trials->place.metric, own.value, of->reruns, NULL, of->n_reruns, 1);
}

// ---- JSON ----

void trials_put_place(struct json_writer *w, const struct trials *trials)
{
    const struct metric *metric = trials->place.metric;
    json_put_string(w, "metric", metric->name);
    json_put_string(w, "change", scale_change_name(metric->scale));
    if (trials->place.layer < 0) {
        json_put_null(w, "layer");
        json_put_null(w, "component");
    } else {
        json_put_integer(w, "layer", trials->place.layer);
        json_put_string(w, "component", trials->component);
    }
}

void trials_put_source(struct json_writer *w, const struct trials *trials)
{
    json_begin_object(w, "provenance");
    for (int i = 0; i < TRIALS_SOURCES; i++)
        if (trials->sources[i]) json_put_string(w, sources[i], trials->sources[i]);
    json_end_object(w);
}

void trials_put_interval(struct json_writer *w, const char *key, const struct interval *interval)
{
    json_begin_object(w, key);
    json_put_double(w, "value", interval->value);
    json_put_double(w, "low", interval->low);
    json_put_double(w, "high", interval->high);
    json_put_string(w, "interval", interval_state_name(interval->state));
    json_end_object(w);
}

void trials_put_change(struct json_writer *w, const char *key, const struct change *change)
{
    json_begin_object(w, key);
    json_put_double(w, "value", change->value);
    json_put_double(w, "low", change->low);
    json_put_double(w, "high", change->high);
    json_put_double(w, "p", change->p);
    json_put_string(w, "interval", interval_state_name(change->state));
    json_end_object(w);
}
