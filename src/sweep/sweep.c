// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/sweep.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "calibration.h"
#include "device.h"
#include "head_groups.h"
#include "inputs.h"
#include "resume.h"
#include "setup.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"
#include "threads.h"
#include "worker.h"

// ---- the result file ----

// What the float modes computed with: the float model itself, a checkpoint's codes, or (by its digest)
// another float model.
static const char *reference_weights(const struct model *model)
{
    if (model->reference) return model->reference->digest_hex;
    return !model_is_codes(model)      ? "model"
           : model->kind == MODEL_W8A8 ? "dequantized-int8"
                                       : "dequantized-int4";
}

// Collective.
static enum status ask(const struct sweep *sweep, const struct store_identity *identity, struct error *err)
{
    if (sweep->admit && sweep->comm->rank == 0) sweep->admit(sweep, identity, err);
    return comm_agree(sweep->comm, err);
}

static enum status make_or_resume(struct store **store, const struct sweep *sweep, struct error *err)
{
    char config[512], version[16], *job_json = job_identity_json(sweep->job);
    if (!job_json) error_memory(err, 1, "the job as JSON");
    if (comm_agree(sweep->comm, err) == STATUS_OK) {
        snprintf(version, sizeof version, "%d", NUMERICS_VERSION);
        arch_dims_text(&sweep->model.dims, config, sizeof config);
        if (sweep->model.scales_hex[0]) {
            const size_t used = strlen(config);
            snprintf(config + used, sizeof config - used, " given_scales=%s", sweep->model.scales_hex);
        }
        struct store_identity identity = {.job_json = job_json,
                                          .tool_version = sweep->tool_version,
                                          .weights_hex = sweep->model.digest_hex,
                                          .tokenizer_hex = sweep_tokenizer_hex(sweep),
                                          .ids_hex = sweep->corpus.ids_hex,
                                          .model_dtype = model_dtype_name(&sweep->model),
                                          .scales_source =
                                              model_is_codes(&sweep->model) ? "checkpoint" : "calibration",
                                          .reference_weights = reference_weights(&sweep->model),
                                          .model_config = config,
                                          .numerics_version = version,
                                          .calibration_ids_hex = sweep_calibration_text(sweep)->ids_hex,
                                          .evaluation_text = sweep_evaluation_text(sweep)};
        enum status (*open)(struct store **, const struct comm *, const char *, const struct plan *,
                            const struct dims *, const struct corpus *, const struct store_identity *,
                            const struct store_io *, struct error *) = store_create;
        const struct store_io io = sweep_io(sweep);
        if (sweep->resumes) open = sweep->adds ? store_extend : store_resume;
        if (!sweep->resumes && ask(sweep, &identity, err)) goto free_job;
        open(store, sweep->comm, sweep->result_path, &sweep->plan, &sweep->model.dims, &sweep->corpus,
             &identity, &io, err);
        // A file of another job is named first: what differs is said there.
        if (sweep->resumes && !err->status && ask(sweep, &identity, err)) {
            store_close(*store, err);
            *store = NULL;
        }
    }
free_job:
    free(job_json);
    return err->status;
}

static enum status open_store(struct store **store, struct sweep *sweep, struct error *err)
{
    int found[2] = {0};
    const bool goes_on = sweep->job->resume || sweep->adds;
    if (sweep->comm->rank == 0) {
        const bool alone = sweep->job->command == COMMAND_SAVE && sweep->claim.path; // nobody makes one now
        found[0] = goes_on && file_exists(sweep->result_path);
        found[1] = !found[0] && (goes_on || alone) && store_discard_part(sweep->result_path);
    }
    MPI_Bcast(found, 2, MPI_INT, 0, sweep->comm->world);
    sweep->resumes = found[0];
    if (found[1])
        log_job(sweep->log, LOG_NORMAL,
                "an earlier run was interrupted before %s was made: nothing was stored yet, starts anew",
                sweep->result_path);
    else if (sweep->job->resume && !found[0])
        log_job(sweep->log, LOG_NORMAL, "--resume: there is no %s yet, the sweep starts anew",
                sweep->result_path);
    if (make_or_resume(store, sweep, err) == STATUS_OK && sweep->adds)
        log_job(sweep->log, LOG_NORMAL, "%s: %s%s", sweep->result_path,
                sweep->added[0] ? "adds modes " : "holds these modes; does what is left of them",
                sweep->added);
    return err->status;
}

// ---- what is left to do ----

static void start_phase(struct progress *progress, const struct sweep *sweep, const char *phase, int total)
{
    bool quiet = sweep->comm->rank != 0 || sweep->job->verbosity == LOG_QUIET;
    progress_start(progress, phase, total, sweep->job->progress_seconds, quiet);
}

// What one run of the program knows and counts.
struct stock {
    struct finished finished;
    struct observations known;
    long long total, kept, stored; // samples of runs
};

static void stock_clear(struct stock *stock)
{
    finished_close(&stock->finished);
    observations_clear(&stock->known);
}

static enum status stock_open(struct stock *stock, const struct sweep *sweep, struct error *err)
{
    const struct plan *plan = &sweep->plan;
    *stock = (struct stock){.total = (long long)plan->n_runs * plan->samples};
    if (finished_open(&stock->finished, plan->n_runs, plan->samples, err)) return err->status;
    return observations_open(&stock->known, plan, &sweep->model.dims,
                             sweep_calibrates(sweep) ? plan->calibration_samples : 0,
                             sweep_calibration_text(sweep)->max_tokens, err);
}

static void log_kept(const struct sweep *sweep, const struct resume_count *count, int observed)
{
    log_job(sweep->log, LOG_NORMAL,
            "%s: %lld of %lld samples of runs are kept, %lld torn, %lld failed before, %lld left; "
            "calibration: %d of %d kept, %d torn",
            sweep->job->resume ? "--resume" : "save", count->kept, count->kept + count->left, count->torn,
            count->failed, count->left, count->observed_kept, observed, count->observed_torn);
}

// Collective.  Drops from the plan what the file holds.
static enum status take_stock(struct sweep *sweep, const struct worker *worker, struct store *store,
                              struct stock *stock, struct error *err)
{
    struct plan *plan = &sweep->plan;
    struct resume_count count = {0};
    struct progress progress;
    start_phase(&progress, sweep, "read back", resume_looks(plan));
    resume_look(worker, store, &stock->finished, &stock->known, &progress, &count, err);
    progress_end(&progress);
    if (err->status) return err->status;
    log_kept(sweep, &count, stock->known.samples);
    stock->kept = count.kept;
    plan_renew(plan, &sweep->model.dims, &sweep->corpus, sweep->comm->ranks, &stock->finished, err);
    return comm_agree(sweep->comm, err);
}

// ---- doing it ----

// Collective: a signal at any rank counts on all.
static enum status obey_stop(const struct sweep *sweep, struct error *err)
{
    int mine = stop_wanted(sweep->stop) ? sweep->stop->signal : 0, all;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, sweep->comm->world);
    stop_note(sweep->stop, all);
    if (!all) return STATUS_OK;
    return error_set(err, STATUS_STOPPED,
                     "stopped by %s before anything was stored; the same command with --resume starts again",
                     stop_signal_name(all));
}

// The scales that a W8A8 checkpoint brings.
static enum status take_scales(const struct sweep *sweep, float **scales, struct error *err)
{
    const size_t count = plan_observed(&sweep->plan);
    float *taken = calloc(count, sizeof *taken);
    if (!taken) error_memory(err, count * sizeof *taken, "the scales");
    if (comm_agree(sweep->comm, err)) {
        free(taken);
        return err->status;
    }
    const size_t sites = (size_t)sweep->plan.arch->n_sites;
    for (int l = 0; l < sweep->plan.n_layer; l++)
        memcpy(taken + (size_t)l * sites, model_scales(&sweep->model, l), sites * sizeof *taken);
    *scales = taken;
    return STATUS_OK;
}

// *times grows by what the phase took.
static void end_phase(struct progress *progress, struct sweep_times *times)
{
    progress_end(progress);
    times->items_seconds += progress_clock() - progress->started;
    times->idle_seconds += progress->idle_seconds;
}

// Observes what is not known yet.
static enum status observe(struct sweep *sweep, const struct worker *worker, struct store *store,
                           struct stock *stock, struct sweep_times *times, struct error *err)
{
    struct progress progress;
    start_phase(&progress, sweep, "calibrate", observations_absent(&stock->known));
    calibration_observe(worker, store, &stock->known, &progress, err);
    end_phase(&progress, times);
    times->calibrate_seconds = times->items_seconds;
    return err->status;
}

static enum status calibrate(struct sweep *sweep, const struct worker *worker, struct store *store,
                             struct stock *stock, float **scales, struct sweep_times *times,
                             struct error *err)
{
    if (sweep->plan.n_cells == 0) return STATUS_OK; // no run needs scales
    if (model_is_codes(&sweep->model))
        return take_scales(sweep, scales, err) ? err->status : store_write_scales(store, *scales, err);
    if (observations_absent(&stock->known) > 0) {
        if (observe(sweep, worker, store, stock, times, err)) return err->status;
    } else { // rank 0 alone has the rows, as after reading them back
        observations_spread(&stock->known, &sweep->plan, sweep->comm);
    }
    const double started = progress_clock();
    if (calibration_scales(&stock->known, &sweep->plan, sweep->comm, scales, err)) return err->status;
    times->scales_seconds = progress_clock() - started;
    return store_write_scales(store, *scales, err);
}

// Groups of heads and channels, before anything is observed or computed by unit.
static enum status group_heads(struct sweep *sweep, const struct worker *worker, struct engine *engine,
                               struct store *store, bool found, struct sweep_times *times, struct error *err)
{
    struct progress progress;
    start_phase(&progress, sweep, "group heads", found ? 0 : sweep->plan.calibration_samples);
    head_groups_find(sweep, worker, engine, store, found, &progress, err);
    end_phase(&progress, times);
    return err->status;
}

// Local.  [n_layer][units]: units in whose scale, and weight, the file of --scales says what is computed
// here.
static bool *find_settled(const struct sweep *sweep, const struct forward *forward, const float *scales)
{
    const struct plan *plan = &sweep->plan;
    const struct arch *arch = plan->arch;
    const int units = arch->units.count;
    bool *settled = calloc((size_t)(plan->n_layer * units), sizeof *settled);
    for (int l = 0; settled && l < plan->n_layer; l++) {
        const float *given = model_scales(&sweep->model, l);
        for (int u = 0; u < units; u++) {
            const int site = arch->site_of(u);
            bool *same = &settled[l * units + u];
            *same = site < 0 ? forward_same_weight(forward, l, u, FORMAT_INT8, FORMAT_INT8_GIVEN) : true;
            for (int c = 0; site >= 0 && c < plan->n_cells; c++)
                *same = *same &&
                        (given[site] == 0 ||
                         given[site] ==
                             scales[(size_t)c * plan_observed(plan) + (size_t)(l * arch->n_sites + site)]);
        }
    }
    return settled;
}

// Collective.  Runs that differ in given scales alone are the same where those are what was computed.
static enum status settle_given(struct sweep *sweep, const struct worker *worker, const float *scales,
                                const struct stock *stock, struct error *err)
{
    struct plan *plan = &sweep->plan;
    if (err->status || !sweep->model.scales_hex[0] || !scales || plan->n_items == 0) return err->status;
    bool *settled = find_settled(sweep, worker->forward, scales);
    if (!settled)
        error_memory(err, (size_t)plan->n_layer * RECIPE_MOST_UNITS, "the plan");
    else if (plan_settle(plan, &sweep->model.dims, settled, err) == STATUS_OK)
        plan_renew(plan, &sweep->model.dims, &sweep->corpus, sweep->comm->ranks, &stock->finished, err);
    free(settled);
    return comm_agree(sweep->comm, err);
}

// Calibrates, then runs every item.
static enum status fill_store(struct sweep *sweep, const struct worker *worker, struct store *store,
                              struct stock *stock, struct sweep_times *times, struct error *err)
{
    struct progress progress;
    struct sweep_count count = {0};
    float *scales = NULL;
    calibrate(sweep, worker, store, stock, &scales, times, err);
    settle_given(sweep, worker, scales, stock, err);
    footprint_log(sweep->log, "calibrated");
    // From here on the samples are read where they are needed.
    corpus_drop_ids(&sweep->corpus);
    observations_clear(&stock->known);
    corpus_drop_ids(&sweep->calibration);
    if (!err->status && sweep->plan.n_items > 0) {
        start_phase(&progress, sweep, "sweep", sweep->plan.n_items);
        worker_sweep(worker, store, scales, &stock->finished, &progress, &count, err);
        end_phase(&progress, times);
        stock->stored += count.stored;
        bool whole_phase = err->status == STATUS_STOPPED || (count.failed > 0 && !count.ended);
        sweep->comparable = whole_phase && stock->kept + stock->stored > 0;
    }
    free(scales);
    return err->status;
}

// Collective.
static enum status open_engine(const struct sweep *sweep, struct engine *engine, struct sweep_times *times,
                               struct error *err)
{
    const double started = progress_clock();
    engine_open(engine, sweep->comm, &sweep->model, plan_weights(&sweep->plan, &sweep->model),
                sweep->plan.needs, sweep_longest_sample(sweep), sweep->threads, sweep->log, err);
    times->pack_seconds = progress_clock() - started;
    return err->status;
}

static enum status work(struct sweep *sweep, struct engine *engine, struct store *store, struct stock *stock,
                        struct sweep_times *times, struct error *err)
{
    struct worker worker = sweep_worker(sweep);
    stock_open(stock, sweep, err);
    if (comm_agree(sweep->comm, err)) return err->status;
    if (sweep->resumes && take_stock(sweep, &worker, store, stock, err)) return err->status;
    const bool grouped = sweep->model.dims.grouped && sweep->plan.n_cells > 0;
    bool found = true;
    if (grouped && head_groups_take(sweep, store, &found, err)) return err->status;
    if (!engine->forward && (sweep->plan.n_items > 0 || observations_absent(&stock->known) > 0 || !found) &&
        open_engine(sweep, engine, times, err))
        return err->status;
    if (obey_stop(sweep, err)) return err->status;
    worker.forward = engine->forward;
    worker.weights = engine->weights;
    if (engine->forward && worker.device >= 0) device_open(&worker.gpu, &worker, err);
    if (comm_agree(sweep->comm, err)) goto close_device;
    if (!grouped || !engine->forward || !group_heads(sweep, &worker, engine, store, found, times, err))
        fill_store(sweep, &worker, store, stock, times, err);
close_device:
    device_close(worker.gpu);
    return err->status;
}

// A file that holds nothing helps nobody.
static void end_store(struct sweep *sweep, struct store *store, bool empty, struct error *err)
{
    struct error lost = {0}, closing = {0};
    const bool counts = !err->status || err->status == STATUS_STOPPED || sweep->comparable;
    if (!store_still_there(store, &lost) && counts) {
        store_sync(store, &closing);
        store_still_there(store, &lost);
    }
    store_close(store, &closing);
    sweep->lost = lost.status != STATUS_OK;
    if (lost.status || closing.status) sweep->comparable = false;
    if (lost.status || !err->status) *err = lost.status ? lost : closing;
    if (empty && sweep->comm->rank == 0) unlink(sweep->result_path);
}

// Says what became of the sweep, and how to go on.
static void word_ending(const struct sweep *sweep, const struct stock *stock, struct error *err)
{
    struct error ending = {0};
    long long stored = stock->kept + stock->stored;
    if (err->status == STATUS_STOPPED)
        error_set(
            &ending, STATUS_STOPPED,
            "stopped by %s: %lld of %lld samples of runs are stored; the same command with --resume does "
            "the rest",
            stop_signal_name(sweep->stop->signal), stored, stock->total);
    else if (err->status == STATUS_IO && stored > 0 && !sweep->lost)
        error_set(
            &ending, STATUS_IO,
            "%.800s; %lld of %lld samples of runs are stored, the same command with --resume does the rest",
            err->text, stored, stock->total);
    if (ending.status) *err = ending;
}

// Collective, for those who ask for more words.
static void log_times(const struct sweep *sweep, const struct sweep_times *times)
{
    double mine = times->idle_seconds, all, longest, ranks = sweep->comm->ranks;
    double items = times->items_seconds > 0 ? times->items_seconds : 1;
    MPI_Allreduce(&mine, &all, 1, MPI_DOUBLE, MPI_SUM, sweep->comm->world);
    MPI_Allreduce(&mine, &longest, 1, MPI_DOUBLE, MPI_MAX, sweep->comm->world);
    log_job(sweep->log, LOG_VERBOSE,
            "seconds: load %.2f, create %.2f, pack %.2f, calibrate %.2f, scales %.2f, sweep %.2f, close "
            "%.2f; ranks were busy for %.1f %% of calibration and sweep, %.1f %% at least",
            times->load_seconds, times->create_seconds, times->pack_seconds, times->calibrate_seconds,
            times->scales_seconds, times->items_seconds - times->calibrate_seconds, times->close_seconds,
            100 - 100 * all / ranks / items, 100 - 100 * longest / items);
}

// Collective.
static enum status end_digests(struct sweep *sweep, struct sweep_times *times, struct error *err)
{
    const double started = progress_clock();
    inputs_digests(&sweep->model, &sweep->reference, sweep->comm, err);
    times->load_seconds += progress_clock() - started;
    return err->status;
}

enum status sweep_run(struct sweep *sweep, struct error *err)
{
    struct store *store = NULL;
    struct stock stock = {0};
    struct engine engine = {0};
    struct sweep_times times = {.load_seconds = sweep->load_seconds};
    double started = progress_clock();
    if (output_folders_make(sweep, err) || obey_stop(sweep, err)) goto close_engine;
    // Weights are packed while they are hashed.  What a resumed sweep has to pack, if anything, is not known
    // yet.
    if (!sweep->job->resume && open_engine(sweep, &engine, &times, err)) goto close_engine;
    if (end_digests(sweep, &times, err)) goto close_engine;
    // The file before the long work: a full disk shows here.
    started = progress_clock();
    if (open_store(&store, sweep, err)) goto close_engine;
    times.create_seconds = progress_clock() - started;
    footprint_log(sweep->log, "the result file is open");
    work(sweep, &engine, store, &stock, &times, err);
    bool empty = err->status && err->status != STATUS_STOPPED && !sweep->resumes && stock.stored == 0 &&
                 stock.known.added == 0;
    started = progress_clock();
    end_store(sweep, store, empty, err);
    claim_drop(&sweep->claim);
    times.close_seconds = progress_clock() - started;
    log_times(sweep, &times);
    if (sweep->times) *sweep->times = times;
    word_ending(sweep, &stock, err);
    stock_clear(&stock);
close_engine:
    engine_close(&engine);
    if (err->status) output_folders_leave(sweep);
    return err->status;
}

// ---- sweep open ----

// Before anything is written: model and texts are opened, the plan is made and shown.

// ---- opening ----

char *sweep_result_path(const struct job *job, struct error *err)
{
    const bool names_file = (job->command == COMMAND_REPORT || job->command == COMMAND_PACK) &&
                            file_exists(job->output_dir) && !file_is_directory(job->output_dir);
    char *path = names_file ? strdup(job->output_dir) : file_join(job->output_dir, job->result_name);
    if (!path) error_memory(err, strlen(job->output_dir), "a path");
    return path;
}

static enum status check_job_bytes(const struct sweep *sweep, struct error *err)
{
    char *text = job_identity_json(sweep->job);
    if (!text)
        error_memory(err, 1, "the job as JSON");
    else if (strlen(text) > STORE_MOST_JOB_BYTES)
        error_set(
            err, STATUS_USAGE,
            "job: expected options of up to %d bytes in all, as JSON, got %zu; shorten the longest of them "
            "(layers are ranges, too: 0-47)",
            STORE_MOST_JOB_BYTES, strlen(text));
    free(text);
    return comm_agree(sweep->comm, err);
}

// Only what ssmsweep wrote is removed.
static enum status check_ours(const char *path, struct error *err)
{
    struct error inner = {0};
    struct result *result = NULL;
    const bool ours = !file_exists(path) || result_open(&result, path, &inner) == STATUS_OK;
    result_close(result);
    if (ours) return STATUS_OK;
    return error_set(err, inner.status,
                     "%.900s; --overwrite removes result files of ssmsweep alone: remove it "
                     "yourself, or choose another --output_dir",
                     inner.text);
}

// Before the long work; store_create() looks again.
static enum status refuse_existing(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (sweep->comm->rank == 0 && job->overwrite)
        check_ours(sweep->result_path, err);
    else if (sweep->comm->rank == 0 && !job->resume && job->command != COMMAND_SAVE &&
             file_exists(sweep->result_path))
        error_set(err, STATUS_INPUT, "%s: " STORE_EXISTS, sweep->result_path);
    return comm_agree(sweep->comm, err);
}

// Also before the long work.
static enum status refuse_locked(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (sweep->comm->rank == 0 && !job->dry_run && (job->resume || sweep->adds) &&
        file_exists(sweep->result_path))
        store_look_for_lock(sweep->result_path, sweep->adds && sweep->added[0], err);
    return comm_agree(sweep->comm, err);
}

static void log_texts(const struct sweep *sweep)
{
    struct notes notes = sweep->corpus.notes; // of two texts the same is said once
    for (int i = 0; i < sweep->calibration.notes.count; i++)
        notes_add(&notes, "%s", sweep->calibration.notes.lines[i]);
    notes_log(sweep->log, &notes);
    long skipped = sweep->corpus.skipped_empty;
    if (sweep->job->eval_data) skipped += sweep->calibration.skipped_empty; // else it is the same text
    if (skipped > 0) log_job(sweep->log, LOG_NORMAL, "%ld empty documents skipped", skipped);
}

// All give the same bits, not at the same speed: what is not the ordinary case is said.
static enum status log_kernels(const struct sweep *sweep, struct error *err)
{
    const struct kernels *kernels;
    const char *asked = getenv("SSMSWEEP_ISA");
    if (kernels_choose(&kernels, err)) return err->status;
    const bool chosen = asked && *asked, slow = strcmp(kernels->name, "scalar") == 0;
    if (chosen || slow)
        log_job(sweep->log, LOG_NORMAL, "instruction set %s%s", kernels->name,
                chosen ? ", as SSMSWEEP_ISA says"
                       : ": this processor has none that the kernels know, the sweep will be slow");
    return STATUS_OK;
}

// Words for several modes stand for others where the model's layers have FP16 activations.
static enum status settle_sets(struct sweep *sweep, const struct job *asked, struct error *err)
{
    if (!mode_layers_are_half()) return STATUS_OK;
    sweep->job = asked;
    return job_modes_settle(sweep, err);
}

enum status sweep_open(struct sweep *sweep, const struct job *asked, const struct comm *comm,
                       const struct log *log, struct stop *stop, const char *tool_version, struct error *err)
{
    const double started = progress_clock();
    const struct job *job = asked;
    *sweep = (struct sweep){.job = job, .comm = comm, .log = log, .stop = stop, .tool_version = tool_version};
    const struct threads threads = threads_choose(job->threads, comm);
    sweep->threads = threads.per_rank;
    sweep->result_path = sweep_result_path(job, err);
    if (comm_agree(comm, err) ||
        device_choose(job->device, comm, log, &sweep->device, &sweep->devices, err) ||
        output_folders_claim(sweep, err) || refuse_existing(sweep, err) || job_modes_settle(sweep, err) ||
        check_job_bytes(sweep, err) || refuse_locked(sweep, err))
        return err->status;
    job = sweep->job;
    if (inputs_model(&sweep->model, &sweep->reference, comm, job, sweep->threads, err) ||
        settle_sets(sweep, asked, err))
        return err->status;
    job = sweep->job;
    head_groups_settle(sweep, err);
    if (comm_agree(comm, err)) return err->status;
    notes_log(log, &sweep->model.notes);
    notes_log(log, &sweep->reference.notes);
    if (inputs_texts(&sweep->corpus, &sweep->calibration, comm, job, &sweep->model, err)) return err->status;
    log_texts(sweep);
    plan_make(&sweep->plan, job, &sweep->model.dims, &sweep->corpus, comm->ranks, err);
    if (comm_agree(comm, err)) return err->status;
    if (sweep->plan.n_cells == 0) sweep->model.dims.grouped = false; // nothing has scales
    char quota[48] = "";
    if (threads.quota > 0) snprintf(quota, sizeof quota, " (CPU quota %.3g)", threads.quota);
    log_job(log, LOG_NORMAL,
            "model %s: %d layers, d_model %d; %d samples of up to %d tokens; %d runs; %d ranks x %d threads, "
            "%d cores here%s%s",
            sweep->model.directory, sweep->model.dims.n_layer, sweep->model.dims.d_model,
            sweep->corpus.samples, sweep->corpus.max_tokens, sweep->plan.n_runs, comm->ranks, sweep->threads,
            threads.node_cores, quota, threads.unbound ? " (unbound)" : "");
    threads_warn(&threads, comm, log);
    log_kernels(sweep, err);
    if (comm_agree(comm, err)) return err->status;
    sweep->load_seconds = progress_clock() - started;
    footprint_log(log, "model and texts are open");
    return STATUS_OK;
}

void sweep_close(struct sweep *sweep)
{
    claim_drop(&sweep->claim);
    plan_clear(&sweep->plan);
    corpus_clear(&sweep->corpus);
    corpus_clear(&sweep->calibration);
    groups_clear(&sweep->groups);
    model_close(&sweep->model);
    model_close(&sweep->reference);
    free(sweep->result_path);
    *sweep = (struct sweep){0};
}
