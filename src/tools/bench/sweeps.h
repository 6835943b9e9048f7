// SPDX-License-Identifier: Apache-2.0
// Inside the bench: what several ranks are measured at together.
#ifndef SSMSWEEP_TOOLS_BENCH_SWEEPS_H
#define SSMSWEEP_TOOLS_BENCH_SWEEPS_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

// ---- hand-out ----
//
// Hand-out of items that do nothing: what rank 0 and the messages cost, and how many items a second there
// could be at most.

struct handout_row {
    bool leader_works; // else rank 0 hands out alone: every item but its first goes out by a message
    int batch_limit;   // most items of a message; 0: as the scheduler chooses
    int ranks, items;
    double seconds;        // best of `runs`
    double leader_seconds; // processor time of rank 0 in the same run
    long long requests;    // messages that rank 0 received in the same run
    int runs;
};

enum { HANDOUT_ROWS = 4 };
struct handout_rows {
    struct handout_row items[HANDOUT_ROWS];
    int count;
};

// Collective, on two ranks at least; the rows are on rank 0.
enum status handouts_measure(struct handout_rows *rows, const struct job *job, const struct comm *comm,
                             struct error *err);
void handouts_put_json(const struct handout_rows *rows, struct json_writer *writer);

// ---- start from the disk ----
//
// How long a sweep takes to start: reading and checking the model, packing and sharing its weights, on all
// ranks together; beside a plain read of the file, in turn.

// Best of `runs`; the plain reads are one rank's: block by block into one block, and into new memory for all
// of it, as whoever wants the numbers has to.
struct disk_row {
    bool cached; // the file was in the page cache; otherwise the system was told to forget it
    double file_bytes;
    double read_seconds, memory_seconds, start_seconds; // start: load and pack, of the slowest rank
    int runs;
};

enum { DISK_ROWS = 2 };
struct disk_rows {
    struct disk_row items[DISK_ROWS];
    int count; // 0 where the model is not one file
};

// Collective.  job: a sweep whose result may be made and removed; the rows are on rank 0.
enum status from_disk_measure(struct disk_rows *rows, const struct job *job, const struct comm *comm,
                              const char *tool_version, bool print, struct error *err);
void from_disk_put_json(const struct disk_rows *rows, int ranks, struct json_writer *writer);

// ---- one sweep ----

// The job of a sweep in `scratch`, of the demo model: 16 samples in all modes, one thread per rank, on
// processors.
struct job sweeps_job(const struct job *base, const char *scratch);

struct sweep_timing {
    double items_seconds, calibrate_seconds, close_seconds; // as struct sweep_times has them, of this rank
    double whole_seconds;                                   // of sweep_run()
    double tail_seconds; // on rank 0: from the first idle rank to the last finished one
    double file_bytes;   // on rank 0: of the result file
    int items;           // (mode, sample) pairs
};

// Collective.  One sweep, whose result file is removed.
enum status sweeps_time(struct sweep_timing *timing, const struct job *job, const struct comm *comm,
                        const char *tool_version, struct error *err);

// ---- writing ----
//
// What writing the result file costs: sweeps that keep no tensors, those of all layers, and all components of
// all layers, by MPI-IO and by pwrite(), in turn.

enum { WRITING_ROWS = 5, WRITING_MOST_ROUNDS = 9 };
struct writing_row { // of each round
    double items_seconds[WRITING_MOST_ROUNDS], close_seconds[WRITING_MOST_ROUNDS];
    double file_bytes;
};
struct writing_rows {
    struct writing_row items[WRITING_ROWS];
    int ranks, rounds; // 0: not measured
};

// Collective, also on one rank; the rows are on rank 0.  scratch: as sweeps_measure() has it.
enum status writing_measure(struct writing_rows *rows, const struct job *job, const struct comm *comm,
                            const char *scratch, const char *tool_version, struct error *err);
void writing_put_json(const struct writing_rows *rows, struct json_writer *writer);

// ---- sweeps ----
//
// Whole sweeps over 1, 2, 4, ... of the ranks.

// One sweep: items are (mode, sample) pairs.
struct sweep_row {
    const char *model;  // demo, random, or given by --model
    const char *layers; // captured: none or all
    int ranks, items;
    double seconds;           // of the items, best of `runs`
    double calibrate_seconds; // in it, of the same run
    double whole_seconds;     // with packing, calibration and the file, of the same run
    double tail_seconds;      // from the first idle rank to the last finished one, of the same run
    int runs;
};

enum { SWEEP_ROWS = 64 };
struct sweep_rows {
    struct sweep_row items[SWEEP_ROWS];
    int count;
    struct disk_rows disk; // of the second model
};

// Collective; the rows are on rank 0.  scratch: an existing folder, equal on all ranks; what is made there is
// removed.
enum status sweeps_measure(struct sweep_rows *rows, const struct job *job, const struct comm *comm,
                           const char *scratch, const char *tool_version, struct error *err);
void sweeps_put_json(const struct sweep_rows *rows, int ranks, struct json_writer *writer);

// ---- on a GPU ----
//
// One sweep of all modes on a GPU, by one rank, and on processors, by all ranks.

struct gpu_sweep {
    int ranks, threads, items;
    double seconds, calibrate_seconds, whole_seconds; // as struct sweep_row has them
    int runs;
};
struct gpu_sweeps {
    struct gpu_sweep gpu, processors;
    bool measured;
};

// Collective; the rows are on rank 0.  `word` chooses the GPU, as --device.  scratch: as sweeps_measure() has
// it.
enum status gpu_sweeps_measure(struct gpu_sweeps *rows, const struct job *job, const char *word,
                               const struct comm *comm, const char *scratch, const char *tool_version,
                               struct error *err);
void gpu_sweeps_put_json(const struct gpu_sweeps *rows, struct json_writer *writer);

// Collective.  A barrier in which those who wait sleep.
void sweeps_sleep(MPI_Comm comm);

#endif
