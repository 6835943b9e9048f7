// SPDX-License-Identifier: Apache-2.0
#include "sweeps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "random_model.h"
#include "setting.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/sweep/scheduler.h"
#include "ssmsweep/sweep/sweep.h"

// ---- hand-out ----

enum {
    ITEMS = 1000 * 1000,
    ITEMS_ONE_BY_ONE = ITEMS / 20, // a message each
    SHORT = 100,                   // so many times fewer where a measurement is to be short
    HANDOUT_REPEATS = 3,
    POLLS_BEFORE_NAP = 50,
    HANDOUT_NAP = 100 * 1000
};

struct null_items {
    const struct comm *comm;
    struct task task;
    struct progress progress;
    bool leader_works, held;
};

// Rank 0's item takes until the others have done the rest, as if it were long, but computes nothing.
static void hold(struct null_items *null, struct scheduler *scheduler)
{
    const struct timespec nap = {.tv_nsec = HANDOUT_NAP};
    null->held = true;
    for (int in_vain = 0; null->progress.done < null->task.n_items - 1; in_vain++) {
        int before = null->progress.done;
        scheduler_poll(scheduler);
        if (null->progress.done > before) in_vain = 0;
        if (in_vain >= POLLS_BEFORE_NAP) nanosleep(&nap, NULL);
    }
}

static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct null_items *null = context;
    (void)item;
    if (null->comm->rank == 0 && !null->leader_works && !null->held) hold(null, scheduler);
    return err->status;
}

// Keeps the best of the runs in *row.
static enum status run_once(struct handout_row *row, const struct comm *comm, struct error *err)
{
    struct null_items null = {.comm = comm, .leader_works = row->leader_works};
    null.task = (struct task){
        .n_items = row->items, .batch_limit = row->batch_limit, .run = run_item, .context = &null};
    progress_start(&null.progress, "null items", row->items, -1, true);
    const double started = clock_seconds(), used = processor_seconds();
    if (scheduler_run(comm, &null.task, &null.progress, err)) return err->status;
    const double seconds = clock_seconds() - started;
    if (row->runs++ == 0 || seconds < row->seconds) {
        row->seconds = seconds;
        row->leader_seconds = processor_seconds() - used;
        row->requests = null.task.requests;
    }
    return STATUS_OK;
}

// ---- what is printed ----

static const char *leader_name(const struct handout_row *row)
{
    return row->leader_works ? "works" : "hands out";
}

static const char *batch_name(const struct handout_row *row)
{
    return row->batch_limit == 1 ? "one" : "chosen";
}

static void print_handouts_title(void)
{
    printf("\nHand-out: items that do nothing; rank 0 only hands out, or works as well\n"
           "%-10s %-7s %5s %9s %9s %9s %12s %14s\n",
           "rank 0", "batch", "ranks", "items", "messages", "s", "items/s", "rank 0 ns/item");
    fflush(stdout);
}

static void print_handout(const struct handout_row *row)
{
    printf("%-10s %-7s %5d %9d %9lld %9.4f %12.0f %14.1f\n", leader_name(row), batch_name(row), row->ranks,
           row->items, row->requests, row->seconds, row->items / row->seconds,
           1e9 * row->leader_seconds / row->items);
    fflush(stdout);
}

void handouts_put_json(const struct handout_rows *rows, struct json_writer *writer)
{
    json_begin_array(writer, "hand_outs");
    for (const struct handout_row *row = rows->items; row < rows->items + rows->count; row++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "rank_0", leader_name(row));
        json_put_string(writer, "batch", batch_name(row));
        json_put_integer(writer, "ranks", row->ranks);
        json_put_integer(writer, "items", row->items);
        json_put_integer(writer, "runs", row->runs);
        json_put_integer(writer, "messages", row->requests);
        json_put_double(writer, "seconds", row->seconds);
        json_put_double(writer, "items_per_second", row->items / row->seconds);
        json_put_double(writer, "rank_0_processor_seconds", row->leader_seconds);
        json_end_object(writer);
    }
    json_end_array(writer);
}

enum status handouts_measure(struct handout_rows *rows, const struct job *job, const struct comm *comm,
                             struct error *err)
{
    const bool quick = job->bench_seconds < 0.5, print = comm->rank == 0 && job->verbosity != LOG_QUIET;
    if (print) print_handouts_title();
    rows->count = 0;
    for (int r = 0; r < HANDOUT_ROWS; r++) {
        const bool one = r % 2 == 1;
        struct handout_row *row = &rows->items[r];
        *row = (struct handout_row){.leader_works = r >= 2,
                                    .batch_limit = one,
                                    .ranks = comm->ranks,
                                    .items = (one ? ITEMS_ONE_BY_ONE : ITEMS) / (quick ? SHORT : 1)};
        for (int i = 0; i < (quick ? 1 : HANDOUT_REPEATS); i++)
            if (run_once(row, comm, err)) return err->status;
        rows->count++;
        if (print) print_handout(row);
    }
    return STATUS_OK;
}

// ---- start from the disk ----

enum { BLOCK_BYTES = 1 << 20, DISK_REPEATS = 5 };

// Tells the system to forget the pages of the file, and waits until what was written of it is on the disk.
static void forget(const char *path)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return;
    fdatasync(descriptor);
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

// Seconds of a plain read in order, of `bytes` into memory of their own or (0) block by block into one block;
// 0 where the file cannot be read.
static double read_plainly(const char *path, size_t bytes)
{
    const double started = clock_seconds();
    char *memory = malloc(bytes > 0 ? bytes + BLOCK_BYTES : BLOCK_BYTES);
    int descriptor = memory ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = -1;
    for (size_t at = 0; descriptor >= 0 && (got = read(descriptor, memory + at, BLOCK_BYTES)) > 0;)
        at = at + (size_t)got <= bytes ? at + (size_t)got : 0;
    const double seconds = clock_seconds() - started;
    if (descriptor >= 0) close(descriptor);
    free(memory);
    return got < 0 ? 0 : seconds;
}

// Collective.  Load and pack of the slowest rank.
static enum status start_once(double *seconds, const struct job *job, const struct comm *comm,
                              const char *tool_version, struct error *err)
{
    const struct log log = {.level = LOG_QUIET, .rank = comm->rank, .ranks = comm->ranks};
    struct sweep_times times = {0};
    struct stop stop = {.grace_seconds = 1};
    struct sweep sweep = {0};
    if (sweep_open(&sweep, job, comm, &log, &stop, tool_version, err) == STATUS_OK) {
        sweep.times = &times;
        sweep_run(&sweep, err);
        if (comm->rank == 0) unlink(sweep.result_path);
    }
    sweep_close(&sweep);
    double mine = times.load_seconds + times.pack_seconds;
    MPI_Allreduce(&mine, seconds, 1, MPI_DOUBLE, MPI_MAX, comm->world);
    return err->status;
}

// Rank 0, with the file where the row wants it.
static double read_again(const struct disk_row *row, const char *path, size_t bytes)
{
    if (!row->cached) forget(path);
    return read_plainly(path, bytes);
}

static void keep_least(double *least, double seconds, int runs)
{
    if (runs == 0 || seconds < *least) *least = seconds;
}

static enum status measure_row(struct disk_row *row, const struct job *job, const struct comm *comm,
                               const char *path, const char *tool_version, struct error *err)
{
    const int repeats = job->bench_seconds < 0.5 ? 1 : DISK_REPEATS;
    for (; row->runs < repeats && comm_agree(comm, err) == STATUS_OK; row->runs++) {
        double started = 0, plain = 0, kept = 0;
        if (comm->rank == 0) {
            plain = read_again(row, path, 0);
            kept = read_again(row, path, (size_t)row->file_bytes);
            if (!row->cached) forget(path);
        }
        MPI_Barrier(comm->world);
        if (start_once(&started, job, comm, tool_version, err)) break;
        keep_least(&row->read_seconds, plain, row->runs);
        keep_least(&row->memory_seconds, kept, row->runs);
        keep_least(&row->start_seconds, started, row->runs);
    }
    return comm_agree(comm, err);
}

static void print_disk(const struct disk_row *row, int ranks)
{
    printf("%-12s %5d %9.0f %9.3f %11.3f %9.3f %8.2f %11.2f\n", row->cached ? "page cache" : "disk", ranks,
           1e-6 * row->file_bytes, row->read_seconds, row->memory_seconds, row->start_seconds,
           row->start_seconds / row->read_seconds, row->start_seconds / row->memory_seconds);
    fflush(stdout);
}

enum status from_disk_measure(struct disk_rows *rows, const struct job *job, const struct comm *comm,
                              const char *tool_version, bool print, struct error *err)
{
    struct stat info = {0};
    char *path = file_join(job->model_dir, "model.safetensors");
    if (!path) error_memory(err, 1, "a path");
    int single = path && stat(path, &info) == 0; // shards are not looked at
    MPI_Bcast(&single, 1, MPI_INT, 0, comm->world);
    print = print && comm->rank == 0 && single;
    if (print)
        printf(
            "\nStart-up: load, check, pack and share the model, beside plain reads of its file, through one "
            "block and into memory\n%-12s %5s %9s %9s %11s %9s %8s %11s\n",
            "read from", "ranks", "MB", "read s", "to memory s", "start s", "x read", "x to memory");
    for (int cached = 0; cached < DISK_ROWS && single && comm_agree(comm, err) == STATUS_OK; cached++) {
        struct disk_row row = {.cached = cached, .file_bytes = (double)info.st_size};
        if (measure_row(&row, job, comm, path, tool_version, err)) break;
        if (print) print_disk(&row, comm->ranks);
        rows->items[rows->count++] = row;
    }
    free(path);
    return comm_agree(comm, err);
}

void from_disk_put_json(const struct disk_rows *rows, int ranks, struct json_writer *writer)
{
    json_begin_array(writer, "start_up");
    for (const struct disk_row *row = rows->items; row < rows->items + rows->count; row++) {
        json_begin_object(writer, NULL);
        json_put_bool(writer, "cached", row->cached);
        json_put_integer(writer, "ranks", ranks);
        json_put_integer(writer, "runs", row->runs);
        json_put_double(writer, "file_bytes", row->file_bytes);
        json_put_double(writer, "read_seconds", row->read_seconds);
        json_put_double(writer, "read_to_memory_seconds", row->memory_seconds);
        json_put_double(writer, "start_seconds", row->start_seconds);
        json_put_double(writer, "ratio", row->start_seconds / row->read_seconds);
        json_end_object(writer);
    }
    json_end_array(writer);
}

// ---- sweeps ----

enum { SAMPLES = 16, LEAST_VOCABULARY = 256, REPEATS = 3 };

// Between demo and mamba-130m: a sweep on one core takes seconds.
static const struct dims middle = {.n_layer = 8,
                                   .d_model = 256,
                                   .d_inner = 512,
                                   .d_state = 16,
                                   .d_conv = 4,
                                   .dt_rank = 16,
                                   .vocab_size = 512,
                                   .norm_eps = 1e-5f};

static const char layers_none[] = "none";

void sweeps_sleep(MPI_Comm comm)
{
    MPI_Request barrier;
    MPI_Ibarrier(comm, &barrier);
    comm_wait(&barrier);
}

// ---- one sweep on some ranks ----

// The first `ranks` ranks; false elsewhere.
static bool sub_open(struct comm *sub, const struct comm *comm, int ranks)
{
    *sub = (struct comm){.rank = comm->rank, .ranks = ranks};
    MPI_Comm_split(comm->world, comm->rank < ranks ? 0 : MPI_UNDEFINED, comm->rank, &sub->world);
    if (sub->world == MPI_COMM_NULL) return false;
    MPI_Comm_split_type(sub->world, MPI_COMM_TYPE_SHARED, sub->rank, MPI_INFO_NULL, &sub->node);
    MPI_Comm_rank(sub->node, &sub->node_rank);
    MPI_Comm_size(sub->node, &sub->node_ranks);
    return true;
}

static void sub_close(struct comm *sub)
{
    MPI_Comm_free(&sub->node);
    MPI_Comm_free(&sub->world);
}

enum status sweeps_time(struct sweep_timing *timing, const struct job *job, const struct comm *comm,
                        const char *tool_version, struct error *err)
{
    const struct log log = {.level = LOG_QUIET, .rank = comm->rank, .ranks = comm->ranks};
    struct sweep_times times = {0};
    struct stop stop = {.grace_seconds = 1};
    struct sweep sweep = {0};
    struct stat info = {0};
    if (sweep_open(&sweep, job, comm, &log, &stop, tool_version, err) == STATUS_OK) {
        sweep.times = &times;
        const double started = clock_seconds();
        sweep_run(&sweep, err);
        *timing = (struct sweep_timing){.items_seconds = times.items_seconds,
                                        .calibrate_seconds = times.calibrate_seconds,
                                        .close_seconds = times.close_seconds,
                                        .whole_seconds = clock_seconds() - started,
                                        .items = sweep.plan.n_runs * sweep.plan.samples};
        MPI_Reduce(&times.idle_seconds, &timing->tail_seconds, 1, MPI_DOUBLE, MPI_MAX, 0, comm->world);
        if (comm->rank == 0 && stat(sweep.result_path, &info) == 0) timing->file_bytes = (double)info.st_size;
        if (comm->rank == 0) unlink(sweep.result_path);
    }
    sweep_close(&sweep);
    return err->status;
}

// Collective over comm.  Fills the times of `row` where it is the best so far.
static enum status sweep_once(struct sweep_row *row, const struct job *job, const struct comm *comm,
                              const char *tool_version, struct error *err)
{
    struct sweep_timing timing;
    if (sweeps_time(&timing, job, comm, tool_version, err)) return err->status;
    if (row->runs++ == 0 || timing.items_seconds < row->seconds) {
        row->seconds = timing.items_seconds;
        row->calibrate_seconds = timing.calibrate_seconds;
        row->whole_seconds = timing.whole_seconds;
        row->tail_seconds = timing.tail_seconds;
        row->items = timing.items;
    }
    return STATUS_OK;
}

// ---- what is printed ----

static double items_per_second(const struct sweep_row *row)
{
    return row->items / row->seconds;
}

// The sweep that `row` is compared with: the same on one rank, or the same without captures.
static const struct sweep_row *find(const struct sweep_rows *rows, const struct sweep_row *row,
                                    const char *layers, int ranks)
{
    for (int i = 0; i < rows->count; i++) {
        const struct sweep_row *other = &rows->items[i];
        if (strcmp(other->model, row->model) == 0 && strcmp(other->layers, layers) == 0 &&
            other->ranks == ranks)
            return other;
    }
    return NULL;
}

static void print_row(const struct sweep_rows *rows, const struct sweep_row *row)
{
    const struct sweep_row *single = find(rows, row, row->layers, 1);
    const struct sweep_row *none = find(rows, row, layers_none, row->ranks);
    printf("%-7s %-11s %5d %6d %9.3f %9.3f %9.2f", row->model, row->layers, row->ranks, row->items,
           row->seconds, row->whole_seconds, items_per_second(row));
    if (single)
        printf(" %8.2f", single->seconds / row->seconds);
    else
        printf(" %8s", "-");
    printf(" %6.1f%%", 100 * row->tail_seconds / row->seconds);
    if (none && none != row) printf(" %+8.1f%%", 100 * (row->seconds / none->seconds - 1));
    putchar('\n');
    fflush(stdout);
}

static void print_title(void)
{
    printf(
        "\nSweep: %d samples, one thread per rank; items are (mode, sample)\n%-7s %-11s %5s %6s %9s %9s %9s "
        "%8s %7s %9s\n",
        SAMPLES, "model", "captured", "ranks", "items", "items s", "whole s", "items/s", "speed-up", "tail",
        "vs none");
    fflush(stdout);
}

void sweeps_put_json(const struct sweep_rows *rows, int ranks, struct json_writer *writer)
{
    json_begin_array(writer, "sweeps");
    for (const struct sweep_row *row = rows->items; row < rows->items + rows->count; row++) {
        const struct sweep_row *single = find(rows, row, row->layers, 1);
        json_begin_object(writer, NULL);
        json_put_string(writer, "model", row->model);
        json_put_string(writer, "captured_layers", row->layers);
        json_put_integer(writer, "ranks", row->ranks);
        json_put_integer(writer, "items", row->items);
        json_put_integer(writer, "runs", row->runs);
        json_put_double(writer, "items_seconds", row->seconds);
        json_put_double(writer, "whole_seconds", row->whole_seconds);
        json_put_double(writer, "items_per_second", items_per_second(row));
        json_put_double(writer, "tail_share", row->tail_seconds / row->seconds);
        if (single) json_put_double(writer, "speed_up", single->seconds / row->seconds);
        json_end_object(writer);
    }
    json_end_array(writer);
    from_disk_put_json(&rows->disk, ranks, writer);
}

// ---- sweeps of one model ----

struct source {
    const char *name;
    struct job job; // borrows its texts
    bool print;
};

// Collective over all ranks; those that have no part sleep.
static enum status measure_sweep(struct sweep_rows *rows, const struct source *source, const char *layers,
                                 int ranks, const struct comm *comm, const char *tool_version,
                                 struct error *err)
{
    const int repeats = source->job.bench_seconds < 0.5 ? 1 : REPEATS;
    struct sweep_row row = {.model = source->name, .layers = layers, .ranks = ranks};
    struct job job = source->job;
    struct comm sub;
    if (rows->count == SWEEP_ROWS) return STATUS_OK;
    if (strcmp(layers, layers_none) == 0)
        job.store = JOB_STORE_NONE;
    else
        job.layers = layers;
    if (sub_open(&sub, comm, ranks)) {
        for (int i = 0; i < repeats && !err->status; i++)
            sweep_once(&row, &job, &sub, tool_version, err);
        sub_close(&sub);
    }
    sweeps_sleep(comm->world);
    if (comm_agree(comm, err) || comm->rank != 0) return err->status;
    rows->items[rows->count++] = row;
    if (source->print) print_row(rows, &rows->items[rows->count - 1]);
    return STATUS_OK;
}

// Speed-up with the default captures; then what captures cost, on all ranks.
static enum status measure_source(struct sweep_rows *rows, const struct source *source,
                                  const struct comm *comm, const char *tool_version, struct error *err)
{
    static const char first_and_last[] = "first,last", all[] = "all";
    for (int ranks = 1; ranks < comm->ranks && !err->status; ranks *= 2)
        measure_sweep(rows, source, first_and_last, ranks, comm, tool_version, err);
    if (err->status) return err->status;
    measure_sweep(rows, source, first_and_last, comm->ranks, comm, tool_version, err);
    if (!err->status) measure_sweep(rows, source, layers_none, comm->ranks, comm, tool_version, err);
    if (!err->status) measure_sweep(rows, source, all, comm->ranks, comm, tool_version, err);
    return err->status;
}

// As little as possible behind the start.
static enum status measure_start_up(struct sweep_rows *rows, const struct source *source,
                                    const struct comm *comm, const char *tool_version, struct error *err)
{
    struct job job = source->job;
    job.calib_data_num[0] = 1;
    job.calib_seqlen = 4;
    job.layers = "first";
    return from_disk_measure(&rows->disk, &job, comm, tool_version, source->print, err);
}

// ---- the random model and its text ----

struct files {
    char *model, *config, *ids;
};

static void files_close(struct files *files, const struct comm *comm)
{
    const char *paths[] = {files->model, files->config, files->ids};
    for (int i = 0; i < 3; i++)
        if (comm->rank == 0 && paths[i]) unlink(paths[i]);
    free(files->model);
    free(files->config);
    free(files->ids);
}

static enum status write_ids(const char *path, int samples, int length, struct error *err)
{
    const size_t shape[] = {(size_t)samples, (size_t)length}, count = (size_t)samples * (size_t)length;
    int32_t *ids = calloc(count, sizeof *ids);
    if (!ids) return error_memory(err, count * sizeof *ids, "token ids");
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)(i * 7919 % LEAST_VOCABULARY);
    npy_write(path, NPY_INT32, 2, shape, ids, err);
    free(ids);
    return err->status;
}

static enum status files_make(struct files *files, const struct comm *comm, const char *scratch, int samples,
                              int length, struct error *err)
{
    files->model = file_join(scratch, "model.safetensors");
    files->config = file_join(scratch, "config.json");
    files->ids = file_join(scratch, "ids.npy");
    if (!files->model || !files->config || !files->ids) error_memory(err, strlen(scratch), "a path");
    struct random_model random = {0};
    if (comm->rank == 0 && !err->status && random_model_open(&random, &middle, err) == STATUS_OK &&
        random_model_write(&random, scratch, err) == STATUS_OK)
        write_ids(files->ids, samples, length, err);
    random_model_close(&random);
    return comm_agree(comm, err);
}

// ---- all ----

struct job sweeps_job(const struct job *base, const char *scratch)
{
    struct job job = *base;
    job.command = COMMAND_RUN;
    job.model_dir = job.pretrained_dir = job.calib_data = NULL;
    job.calib_data_num[0] = SAMPLES;
    job.n_cells = 1;
    job.output_dir = job.comparison_dir = scratch;
    job.threads = 1;
    job.device = "cpu";
    job.verbosity = LOG_QUIET;
    job.progress_seconds = -1;
    return job;
}

enum status sweeps_measure(struct sweep_rows *rows, const struct job *job, const struct comm *comm,
                           const char *scratch, const char *tool_version, struct error *err)
{
    struct source source = {
        .name = "demo", .job = sweeps_job(job, scratch), .print = job->verbosity != LOG_QUIET};
    struct files files = {0};
    if (comm->rank == 0 && source.print) print_title();
    if (measure_source(rows, &source, comm, tool_version, err)) return err->status;
    if (files_make(&files, comm, scratch, SAMPLES, job->calib_seqlen, err) == STATUS_OK) {
        source.name = job->model_dir ? "given" : "random";
        source.job.model_dir = job->model_dir ? job->model_dir : scratch;
        source.job.calib_data = files.ids;
        if (measure_source(rows, &source, comm, tool_version, err) == STATUS_OK)
            measure_start_up(rows, &source, comm, tool_version, err);
    }
    files_close(&files, comm);
    return err->status;
}

// ---- on a GPU ----

// Fewer where a measurement is to be short.
static int gpu_samples(const struct job *job)
{
    enum { GPU_SAMPLES = 32, FEW = 4 };
    return job->bench_seconds < 0.05 ? FEW : GPU_SAMPLES;
}

// By so many ranks, of which the others sleep.
static enum status measure_on(struct gpu_sweep *found, struct job *job, int ranks, int repeats,
                              const struct comm *comm, const char *tool_version, struct error *err)
{
    struct sweep_row row = {.ranks = ranks};
    struct comm sub;
    job->threads = ranks > 1 ? 1 : job->threads;
    if (sub_open(&sub, comm, ranks)) {
        for (int i = 0; i < repeats && !err->status; i++)
            sweep_once(&row, job, &sub, tool_version, err);
        sub_close(&sub);
    }
    sweeps_sleep(comm->world);
    *found = (struct gpu_sweep){
        ranks, job->threads, row.items, row.seconds, row.calibrate_seconds, row.whole_seconds, row.runs};
    return comm_agree(comm, err);
}

static double items_per_second_of(const struct gpu_sweep *sweep)
{
    return sweep->items / sweep->seconds;
}

static void print_gpu_sweeps(const struct gpu_sweeps *rows, const struct job *job)
{
    const char *model = job->model_dir ? "given" : "random";
    const struct gpu_sweep *const both[] = {&rows->gpu, &rows->processors};
    static const char *const names[] = {"GPU", "processors"};
    printf("\nSweep on the GPU: model %s, %d samples of %d tokens; items are (mode, sample)\n"
           "%-11s %5s %7s %6s %9s %11s %9s %9s %8s\n",
           model, gpu_samples(job), job->calib_seqlen, "on", "ranks", "threads", "items", "items s",
           "calibrate s", "whole s", "items/s", "speed-up");
    for (int i = 0; i < 2; i++)
        printf("%-11s %5d %7d %6d %9.3f %11.3f %9.3f %9.2f %8.2f\n", names[i], both[i]->ranks,
               both[i]->threads, both[i]->items, both[i]->seconds, both[i]->calibrate_seconds,
               both[i]->whole_seconds, items_per_second_of(both[i]),
               rows->processors.seconds / both[i]->seconds);
    fflush(stdout);
}

static void put_gpu_sweep(const struct gpu_sweeps *rows, const struct gpu_sweep *sweep, const char *name,
                          struct json_writer *writer)
{
    json_begin_object(writer, NULL);
    json_put_string(writer, "on", name);
    json_put_integer(writer, "ranks", sweep->ranks);
    json_put_integer(writer, "threads", sweep->threads);
    json_put_integer(writer, "items", sweep->items);
    json_put_integer(writer, "runs", sweep->runs);
    json_put_double(writer, "items_seconds", sweep->seconds);
    json_put_double(writer, "calibrate_seconds", sweep->calibrate_seconds);
    json_put_double(writer, "whole_seconds", sweep->whole_seconds);
    json_put_double(writer, "items_per_second", items_per_second_of(sweep));
    json_put_double(writer, "speed_up", rows->processors.seconds / sweep->seconds);
    json_end_object(writer);
}

void gpu_sweeps_put_json(const struct gpu_sweeps *rows, struct json_writer *writer)
{
    json_begin_array(writer, "gpu_sweeps");
    if (rows->measured) put_gpu_sweep(rows, &rows->gpu, "gpu", writer);
    if (rows->measured) put_gpu_sweep(rows, &rows->processors, "processors", writer);
    json_end_array(writer);
}

enum status gpu_sweeps_measure(struct gpu_sweeps *rows, const struct job *job, const char *word,
                               const struct comm *comm, const char *scratch, const char *tool_version,
                               struct error *err)
{
    const int threads = job->threads > 0 ? job->threads : cores_usable();
    const int repeats = job->bench_seconds < 0.5 ? 1 : REPEATS;
    struct job on = sweeps_job(job, scratch);
    struct files files = {0};
    if (files_make(&files, comm, scratch, gpu_samples(job), job->calib_seqlen, err) == STATUS_OK) {
        on.model_dir = job->model_dir ? job->model_dir : scratch;
        on.calib_data = files.ids;
        on.calib_data_num[0] = gpu_samples(job);
        on.threads = threads;
        on.device = word;
        measure_on(&rows->gpu, &on, 1, repeats, comm, tool_version, err);
        on.device = "cpu";
        if (!err->status) measure_on(&rows->processors, &on, comm->ranks, 1, comm, tool_version, err);
        rows->measured = !err->status;
    }
    if (rows->measured && comm->rank == 0 && job->verbosity != LOG_QUIET) print_gpu_sweeps(rows, job);
    files_close(&files, comm);
    return err->status;
}
