// SPDX-License-Identifier: Apache-2.0
// Whole sweeps over 1, 2, 4, ... of the ranks.
#ifndef SSMSWEEP_TOOLS_BENCH_SWEEPS_H
#define SSMSWEEP_TOOLS_BENCH_SWEEPS_H

#include "from_disk.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

// One sweep: items are (mode, sample) pairs.
struct sweep_row {
    const char *model;  // demo, random, or given by --model
    const char *layers; // captured: none or all
    int ranks, items;
    double seconds;       // of the items, best of `runs`
    double whole_seconds; // with packing, calibration and the file, of the same run
    double tail_seconds;  // from the first idle rank to the last finished one, of the same run
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

// Collective.  A barrier in which those who wait sleep.
void sweeps_sleep(MPI_Comm comm);

#endif
