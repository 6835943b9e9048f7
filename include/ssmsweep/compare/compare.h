// SPDX-License-Identifier: Apache-2.0
// Comparison of the modes in a result file with a reference mode: NUMERICS.md §6, over all valid tokens of
// all samples.
#ifndef SSMSWEEP_COMPARE_COMPARE_H
#define SSMSWEEP_COMPARE_COMPARE_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/compare/record.h"
#include "ssmsweep/sweep/comm.h"
#include "ssmsweep/sweep/store.h"

// One (run, layer, component) against the reference.
struct comparison_entry {
    int run;   // of the result file
    int layer; // model layer number
    enum component component;
    struct record record;
};

// All entries, ordered by run, layer, component; the reference itself is among the runs.  Owned by the
// caller.
struct comparison {
    struct comparison_entry *entries;
    int count;
    int reference_run;
};

// Collective (alone where comm->ranks is 1).  Entries are spread over the ranks; every rank gets all of them,
// with the same bits for any number of ranks.  reference: mode name; modes: comma list as in --modes, NULL
// for all in the file. Memory does not grow with the number of samples.  STATUS_INPUT if the reference or a
// mode is not in the file or not complete (the message says which command makes it).
enum status compare_all(struct comparison *comparison, const struct comm *comm, struct result *result,
                        const char *reference, const char *modes, struct error *err);
// Local.  The run that stands for the reference of `run`.
int compare_reference_of(const struct result *result, const char *reference, int run);
void compare_clear(struct comparison *comparison);

#endif
