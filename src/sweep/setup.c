// SPDX-License-Identifier: Apache-2.0
#include "setup.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/recipe/pieces.h"
#include "ssmsweep/store/store.h"

// ---- output folders ----

// Could the folder, or what is missing of it, be made and written to?  `existing_bytes` of its path are
// there.
static enum status check_folder(const char *option, const char *path, size_t existing_bytes,
                                struct error *err)
{
    char *existing = existing_bytes > 0 ? strndup(path, existing_bytes) : strdup(path[0] == '/' ? "/" : ".");
    if (!existing) return error_memory(err, existing_bytes, "a path");
    if (!file_is_directory(existing))
        error_set(err, STATUS_IO, "%s %.300s: %.300s: expected a folder, got a file; choose another folder",
                  option, path, existing);
    else if (!file_is_writable(existing))
        error_set(err, STATUS_IO, "%s %.300s: %.300s: cannot be written to; choose another folder", option,
                  path, existing);
    free(existing);
    return err->status;
}

// What a run would meet, with nothing made.
static enum status look_around(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (claim_refuse(sweep->result_path, err)) return err->status;
    if (check_folder("--output_dir", job->output_dir, file_existing_bytes(job->output_dir), err))
        return err->status;
    return check_folder("--comparison-dir", job->comparison_dir, file_existing_bytes(job->comparison_dir),
                        err);
}

enum status output_folders_claim(struct sweep *sweep, struct error *err)
{
    if (sweep->comm->rank == 0 && sweep->job->dry_run)
        look_around(sweep, err);
    else if (sweep->comm->rank == 0 && file_is_directory(sweep->job->output_dir))
        claim_take(&sweep->claim, sweep->result_path, sweep->log, err);
    return comm_agree(sweep->comm, err);
}

// Names the whole folder as well as the part of it that could not be made.
static enum status make_folder(const char *option, const char *path, struct error *err)
{
    struct error inner = {0};
    if (file_make_directories(path, &inner) == STATUS_OK) return STATUS_OK;
    return error_set(err, inner.status, "%s %.300s: %.600s; choose another folder", option, path, inner.text);
}

static enum status make_folders(struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    sweep->output_dir_bytes = file_existing_bytes(job->output_dir);
    sweep->comparison_dir_bytes = file_existing_bytes(job->comparison_dir);
    if (make_folder("--output_dir", job->output_dir, err)) return err->status;
    return make_folder("--comparison-dir", job->comparison_dir, err);
}

enum status output_folders_make(struct sweep *sweep, struct error *err)
{
    if (sweep->comm->rank == 0) make_folders(sweep, err);
    return comm_agree(sweep->comm, err) ? err->status : output_folders_claim(sweep, err);
}

void output_folders_leave(struct sweep *sweep)
{
    if (sweep->comm->rank != 0 || file_exists(sweep->result_path)) return;
    claim_drop(&sweep->claim);
    file_remove_directories(sweep->job->comparison_dir, sweep->comparison_dir_bytes);
    file_remove_directories(sweep->job->output_dir, sweep->output_dir_bytes);
}

// ---- modes ----

// What the file holds.  Plain bytes: it travels.
struct saved {
    int found;
    char modes[SWEEP_MODES_ROOM], reference[SWEEP_MODES_ROOM];
};

static enum status add_run(struct saved *saved, bool *chosen, const char *path, const char *mode,
                           struct error *err)
{
    for (int m = 0; m < mode_count(); m++)
        if (strcmp(mode_at(m)->name, mode) == 0) {
            chosen[m] = true;
            mode_write_list(chosen, saved->modes, sizeof saved->modes);
            return STATUS_OK;
        }
    return error_set(err, STATUS_INPUT,
                     "%s: mode '%s' is not one of this version (`ssmsweep modes` lists them); choose another "
                     "--output_dir",
                     path, mode);
}

static enum status read_saved(struct saved *saved, const char *path, bool *chosen, struct error *err)
{
    struct result *result = NULL;
    if (result_open(&result, path, err)) return err->status;
    for (int r = 0; r < result_runs(result) && !err->status; r++)
        add_run(saved, chosen, path, result_run_at(result, r)->mode, err);
    const char *reference = result_attribute(result, "reference_mode");
    if (mode_find(reference)) memcpy(saved->reference, reference, strlen(reference) + 1);
    result_close(result);
    return err->status;
}

// Rank 0.
static enum status look(struct saved *saved, const struct sweep *sweep, bool *chosen, struct error *err)
{
    if (sweep->job->command != COMMAND_SAVE || !file_exists(sweep->result_path)) return STATUS_OK;
    saved->found = 1;
    return read_saved(saved, sweep->result_path, chosen, err);
}

static void add_mode(bool *chosen, const char *name)
{
    for (int m = 0; m < mode_count(); m++)
        chosen[m] = chosen[m] || strcmp(mode_at(m)->name, name) == 0;
}

enum status job_modes_settle(struct sweep *sweep, struct error *err)
{
    struct saved saved = {0};
    size_t modes = (size_t)mode_count();
    bool *chosen = calloc(2 * modes, sizeof *chosen), *held = chosen + modes;
    if (!chosen) error_memory(err, modes, "the modes");
    if (!err->status && sweep->comm->rank == 0) look(&saved, sweep, held, err);
    if (!err->status) mode_select(sweep->job->modes, chosen, err);
    if (comm_agree(sweep->comm, err)) goto free_chosen;
    MPI_Bcast(&saved, (int)sizeof saved, MPI_BYTE, 0, sweep->comm->world);
    if (saved.found) mode_select(saved.modes, held, err); // names of the table
    add_mode(chosen, sweep->job->reference);
    if (sweep->job->command == COMMAND_ATTRIBUTE) pieces_choose(chosen);
    for (size_t m = 0; m < modes; m++)
        chosen[m] = chosen[m] || held[m];
    mode_write_list(chosen, sweep->modes, sizeof sweep->modes);
    memcpy(sweep->reference_mode, saved.reference, sizeof sweep->reference_mode);
    sweep->settled = *sweep->job;
    sweep->settled.modes = sweep->modes;
    if (saved.reference[0]) sweep->settled.reference = sweep->reference_mode;
    sweep->job = &sweep->settled;
    sweep->adds = saved.found != 0;
    for (size_t m = 0; m < modes; m++)
        chosen[m] = chosen[m] && !held[m];
    mode_write_list(chosen, sweep->added, sizeof sweep->added);
free_chosen:
    free(chosen);
    return err->status;
}

// ---- writing ----

struct store_io sweep_io(const struct sweep *sweep)
{
    const struct job *job = sweep->job;
    return (struct store_io){.driver = job->io == JOB_IO_MPIO ? STORE_MPIO : STORE_POSIX,
                             .hints = job->io_hints,
                             .alignment = (unsigned long long)job->alignment,
                             .patience_seconds = job->grace_seconds,
                             .log = sweep->log};
}

// ---- engine ----

struct packing {
    const struct engine *engine;
    const struct model *model;
    struct arena *scratch; // [threads]
    pthread_mutex_t lock;
    struct error err; // of one of the threads that failed
};

// Tasks of one thread, until there are none left.
static enum status pack_some(const struct engine *engine, const struct model *model, struct arena *scratch,
                             struct error *err)
{
    const int tasks = weights_tasks(engine->weights);
    for (int t = node_block_next(&engine->block); t < tasks && !err->status;
         t = node_block_next(&engine->block)) {
        weights_pack(engine->weights, t, scratch, err);
        model_release(model); // each rank maps only what it is at
    }
    return err->status;
}

static void pack_part(void *context, int part)
{
    struct packing *packing = context;
    struct error mine = {0};
    if (pack_some(packing->engine, packing->model, &packing->scratch[part], &mine) == STATUS_OK) return;
    pthread_mutex_lock(&packing->lock);
    packing->err = mine;
    pthread_mutex_unlock(&packing->lock);
}

static enum status pack_all(const struct engine *engine, const struct model *model, int threads,
                            const struct log *log, struct error *err)
{
    struct team *team = NULL;
    struct packing packing = {.engine = engine,
                              .model = model,
                              .scratch = calloc((size_t)threads, sizeof *packing.scratch),
                              .lock = PTHREAD_MUTEX_INITIALIZER};
    if (!packing.scratch) return error_memory(err, (size_t)threads * sizeof *packing.scratch, "packing");
    if (team_open(&team, threads, err)) goto free_scratch;
    team_run(team, threads, pack_part, &packing);
    footprint_log(log, "weights are packed");
    team_close(team);
    if (packing.err.status) *err = packing.err;
    for (int t = 0; t < threads; t++)
        arena_clear(&packing.scratch[t]);
free_scratch:
    free(packing.scratch);
    return err->status;
}

enum status engine_open(struct engine *engine, const struct comm *comm, const struct model *model,
                        unsigned parts, const struct needs *needs, int max_tokens, int threads,
                        const struct log *log, struct error *err)
{
    node_block_open(&engine->block, comm, weights_bytes(model, parts, needs), err);
    if (comm_agree(comm, err)) return err->status;
    weights_open(&engine->weights, model, parts, needs, engine->block.memory, err);
    if (comm_agree(comm, err)) return err->status;
    pack_all(engine, model, threads, log, err);
    node_block_fence(&engine->block, comm); // the parts of all are visible to each
    if (comm_agree(comm, err)) return err->status;
    forward_open(&engine->forward, engine->weights, max_tokens, threads, err);
    return comm_agree(comm, err);
}

enum status engine_pack_groups(struct engine *engine, const struct comm *comm, const struct model *model,
                               const struct groups *groups, int threads, const struct log *log,
                               struct error *err)
{
    node_block_restart(&engine->block, comm);
    weights_set_groups(engine->weights, groups);
    pack_all(engine, model, threads, log, err);
    node_block_fence(&engine->block, comm);
    return comm_agree(comm, err);
}

void engine_close(struct engine *engine)
{
    forward_close(engine->forward);
    weights_close(engine->weights);
    node_block_close(&engine->block);
}

struct worker sweep_worker(const struct sweep *sweep)
{
    return (struct worker){.comm = sweep->comm,
                           .plan = &sweep->plan,
                           .corpus = &sweep->corpus,
                           .calibration = sweep_calibration_text(sweep),
                           .model = &sweep->model,
                           .dims = &sweep->model.dims,
                           .threads = sweep->threads,
                           .device = sweep->device,
                           .devices = sweep->devices,
                           .stop = sweep->stop,
                           .log = sweep->log};
}
