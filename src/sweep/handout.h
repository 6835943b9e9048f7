// SPDX-License-Identifier: Apache-2.0
// Rank 0's book of a phase: which items are next, out, done, given up or to be tried again.  It holds a
// counter and what came back, nothing for each item: its size does not depend on their number.  No MPI here.
//
// Batches follow guided self-scheduling (Polychronopoulos and Kuck, 1987): a share of what is left, so that
// the last ones are single items and the tail stays short.  They are never more than the worker can do in
// BATCH_MILLISECONDS, as far as its last batch tells; long items come one by one.
#ifndef SSMSWEEP_SWEEP_HANDOUT_H
#define SSMSWEEP_SWEEP_HANDOUT_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "wire.h"

// A worker hands back what it did not begin within LONGEST_BATCH_MILLISECONDS.
enum { BATCH_MILLISECONDS = 50, LONGEST_BATCH_MILLISECONDS = 100 };

struct handout {
    int n_items, ranks, attempts;
    int batch_limit; // most items at once; 0: no limit
    int next;        // this item and those after it were not handed out yet
    int left;        // items that are not done, not given up and not out
    int out, batches_out;
    int done, given_up;
    int in_vain; // failures since the last success
    bool ended;  // by a failure that no attempt can help
    struct leftover *leftovers;
    int n_leftovers, room;
};

// Local, all of it.  attempts and ranks are at least 1; ranks counts rank 0, which asks as the others do.
void handout_open(struct handout *handout, int n_items, int ranks, int attempts, int batch_limit);
void handout_close(struct handout *handout);

// A batch for `rank`, of `wish` items at most; count 0: there is none for it now.  An item that failed goes
// to another rank where there is one.
struct wire_batch handout_take(struct handout *handout, int rank, int wish);

// What became of a batch; its counts as of request->batch, which handout_take() gave.  Without memory for
// a note the phase ends: then *err says so.
void handout_note(struct handout *handout, const struct wire_request *report, int rank, struct error *err);

// May there be something for a rank that found nothing?
bool handout_waits(const struct handout *handout);

// The wish after a batch that took `seconds`, with `wish` before it: twice as much at most, so that a first
// cheap item does not promise too much; one after a failure.
int handout_wish(const struct wire_request *report, int wish, double seconds);

#endif
