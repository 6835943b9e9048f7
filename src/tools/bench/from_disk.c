// SPDX-License-Identifier: Apache-2.0
#include "from_disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/sweep/sweep.h"

enum { BLOCK_BYTES = 1 << 20, REPEATS = 5 };

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
    const int repeats = job->bench_seconds < 0.5 ? 1 : REPEATS;
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

static void print_row(const struct disk_row *row, int ranks)
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
        if (print) print_row(&row, comm->ranks);
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
