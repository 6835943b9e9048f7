// SPDX-License-Identifier: Apache-2.0
// Hand-out of items that do nothing: what rank 0 and the messages cost, and how many items a second there
// could be at most.
#ifndef SSMSWEEP_TOOLS_BENCH_HANDOUTS_H
#define SSMSWEEP_TOOLS_BENCH_HANDOUTS_H

#include "ssmsweep/base/json.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

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

#endif
