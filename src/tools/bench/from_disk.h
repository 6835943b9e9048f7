// SPDX-License-Identifier: Apache-2.0
// How long a sweep takes to start: reading and checking the model, packing and sharing its weights, on all
// ranks together; beside a plain read of the file, in turn.
#ifndef SSMSWEEP_TOOLS_BENCH_FROM_DISK_H
#define SSMSWEEP_TOOLS_BENCH_FROM_DISK_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

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

#endif
