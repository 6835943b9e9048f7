// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // syncfs
#include "sweeps.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// What is kept, and by which --io.  Neighbours are compared: they come one behind the other.
static const struct {
    const char *captured, *components, *io;
    int store, driver;
} kinds[WRITING_ROWS] = {{"none", "mixer_output", NULL, JOB_STORE_NONE, JOB_IO_POSIX},
                         {"layers", "mixer_output", "mpio", JOB_STORE_SELECTED, JOB_IO_MPIO},
                         {"layers", "mixer_output", "posix", JOB_STORE_SELECTED, JOB_IO_POSIX},
                         {"everything", "all", "mpio", JOB_STORE_SELECTED, JOB_IO_MPIO},
                         {"everything", "all", "posix", JOB_STORE_SELECTED, JOB_IO_POSIX}};

static const char modes[] = "fp32,0,2-4";

enum { FEW_ROUNDS = 3 }; // where writing is not all that is measured

// ---- what was found ----

static int compare_numbers(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct spread {
    double least, median, most;
};

static struct spread spread_of(const double *values, int count)
{
    double sorted[WRITING_MOST_ROUNDS];
    for (int i = 0; i < count; i++)
        sorted[i] = values[i];
    qsort(sorted, (size_t)count, sizeof *sorted, compare_numbers);
    return (struct spread){sorted[0], (sorted[(count - 1) / 2] + sorted[count / 2]) / 2, sorted[count - 1]};
}

// The seconds of a round: computing and writing side by side, and with the end, in which all comes to the
// disk.
static double seconds_at(const struct writing_row *row, int round, bool closes)
{
    return row->items_seconds[round] + (closes ? row->close_seconds[round] : 0);
}

static struct spread seconds_of(const struct writing_row *row, int rounds)
{
    double sums[WRITING_MOST_ROUNDS];
    for (int i = 0; i < rounds; i++)
        sums[i] = seconds_at(row, i, true);
    return spread_of(sums, rounds);
}

// Rows by MPI-IO are compared with the next one, by pwrite(), round by round.
static bool has_ratio(int row)
{
    return row + 1 < WRITING_ROWS && kinds[row].driver == JOB_IO_MPIO;
}

static struct spread ratio_of(const struct writing_row *row, int rounds, bool closes)
{
    double ratios[WRITING_MOST_ROUNDS];
    for (int i = 0; i < rounds; i++)
        ratios[i] = seconds_at(row, i, closes) / seconds_at(row + 1, i, closes);
    return spread_of(ratios, rounds);
}

static void print_rows(const struct writing_rows *rows)
{
    printf("\nWriting: sweeps of the demo model in %s with all layers, in turn; medians of %d rounds\n"
           "%-11s %-6s %5s %8s %9s %9s %9s  %-24s %s\n",
           modes, rows->rounds, "captured", "io", "ranks", "MiB", "items s", "close s", "sum s",
           "mpio : posix, items", "sum");
    for (int r = 0; r < WRITING_ROWS; r++) {
        const struct writing_row *row = &rows->items[r];
        printf("%-11s %-6s %5d %8.1f %9.3f %9.3f %9.3f", kinds[r].captured, kinds[r].io ? kinds[r].io : "-",
               rows->ranks, row->file_bytes / 0x1p20, spread_of(row->items_seconds, rows->rounds).median,
               spread_of(row->close_seconds, rows->rounds).median, seconds_of(row, rows->rounds).median);
        for (int closes = 0; has_ratio(r) && closes < 2; closes++) {
            const struct spread ratio = ratio_of(row, rows->rounds, closes);
            printf("  %.3f (%.3f to %.3f)", ratio.median, ratio.least, ratio.most);
        }
        putchar('\n');
    }
    fflush(stdout);
}

static void put_spread(struct json_writer *writer, const char *name, struct spread spread)
{
    json_begin_object(writer, name);
    json_put_double(writer, "least", spread.least);
    json_put_double(writer, "median", spread.median);
    json_put_double(writer, "most", spread.most);
    json_end_object(writer);
}

void writing_put_json(const struct writing_rows *rows, struct json_writer *writer)
{
    json_begin_array(writer, "writing");
    for (int r = 0; r < WRITING_ROWS && rows->rounds > 0; r++) {
        const struct writing_row *row = &rows->items[r];
        json_begin_object(writer, NULL);
        json_put_string(writer, "captured", kinds[r].captured);
        json_put_string(writer, "io", kinds[r].io);
        json_put_integer(writer, "ranks", rows->ranks);
        json_put_integer(writer, "rounds", rows->rounds);
        json_put_double(writer, "file_bytes", row->file_bytes);
        put_spread(writer, "items_seconds", spread_of(row->items_seconds, rows->rounds));
        put_spread(writer, "close_seconds", spread_of(row->close_seconds, rows->rounds));
        put_spread(writer, "seconds", seconds_of(row, rows->rounds));
        if (has_ratio(r)) {
            put_spread(writer, "items_to_posix", ratio_of(row, rows->rounds, false));
            put_spread(writer, "to_posix", ratio_of(row, rows->rounds, true));
        }
        json_end_object(writer);
    }
    json_end_array(writer);
}

// ---- measuring ----

// What is left of the sweep before is not to be written during the next.
static void settle(const char *folder, const struct comm *comm)
{
    const int descriptor = comm->rank == 0 ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (descriptor >= 0) {
        syncfs(descriptor);
        close(descriptor);
    }
    sweeps_sleep(comm->world);
}

static enum status measure_row(struct writing_rows *rows, int row, int round, const struct job *base,
                               const struct comm *comm, const char *tool_version, struct error *err)
{
    struct job job = *base;
    struct sweep_timing timing;
    job.components = kinds[row].components;
    job.store = kinds[row].store;
    job.io = kinds[row].driver;
    settle(job.output_dir, comm);
    if (sweeps_time(&timing, &job, comm, tool_version, err)) return err->status;
    rows->items[row].items_seconds[round] = timing.items_seconds;
    rows->items[row].close_seconds[round] = timing.close_seconds;
    rows->items[row].file_bytes = timing.file_bytes;
    return STATUS_OK;
}

static enum status measure_round(struct writing_rows *rows, int round, const struct job *base,
                                 const struct comm *comm, const char *tool_version, struct error *err)
{
    for (int i = 0; i < WRITING_ROWS && !err->status; i++) { // whoever comes first is not always the same
        const int row = round % 2 == 0 ? i : WRITING_ROWS - 1 - i;
        measure_row(rows, row, round, base, comm, tool_version, err);
    }
    return err->status;
}

// Nine by itself with --seconds 1, and as many fewer with less.
static int rounds_of(const struct job *job)
{
    if (job->bench_seconds < 0.5) return 1;
    if (!job->writing) return FEW_ROUNDS;
    return job->bench_seconds < 1 ? (int)(WRITING_MOST_ROUNDS * job->bench_seconds) : WRITING_MOST_ROUNDS;
}

enum status writing_measure(struct writing_rows *rows, const struct job *job, const struct comm *comm,
                            const char *scratch, const char *tool_version, struct error *err)
{
    const int rounds = rounds_of(job);
    struct job base = sweeps_job(job, scratch);
    base.modes = modes;
    base.layers = "all";
    if (rounds > 1) // unmeasured: a virtual machine has to get its memory first
        measure_row(rows, WRITING_ROWS - 1, 0, &base, comm, tool_version, err);
    for (int i = 0; i < rounds && !err->status; i++)
        measure_round(rows, i, &base, comm, tool_version, err);
    if (err->status) return err->status;
    rows->ranks = comm->ranks;
    rows->rounds = rounds;
    if (comm->rank == 0 && job->verbosity != LOG_QUIET) print_rows(rows);
    return STATUS_OK;
}
