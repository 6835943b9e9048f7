// SPDX-License-Identifier: Apache-2.0
// Rank 0's book of a phase: which items are next, out, done, given up or to be tried again.  It holds a
// counter and what came back, nothing for each item: its size does not depend on their number.  No MPI here.
//
// Batches follow guided self-scheduling (Polychronopoulos and Kuck, 1987): a share of what is left, so that
// the last ones are single items and the tail stays short.  They are never more than the worker can do in
// BATCH_MILLISECONDS, as far as its last batch tells; long items come one by one.
#ifndef SSMSWEEP_SWEEP_BATCHES_H
#define SSMSWEEP_SWEEP_BATCHES_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"

// ---- messages ----
//
// Between rank 0 and the workers; both ends run the same program, so they travel as bytes.
//
// A phase:   worker -> rank 0   struct wire_request: what became of the last batch, and: give me another
//            rank 0 -> worker   struct wire_answer: a batch, or none: no more comes, the worker is dismissed
// until every worker is dismissed.  Rank 0 may answer late: while an item at work elsewhere may fail, or a
// batch may be handed back, those who found nothing left to do wait, and are needed then.
// Beside that:  rank 0 -> worker   struct wire_stop, exactly once, at the latest when it is dismissed
//               worker -> rank 0   struct wire_request with WIRE_NEWS, which is not answered: of a wish to
//               stop, at most once, and of work that is done inside a long item
// and at the end rank 0 broadcasts struct wire_verdict.
//
// A batch is neighbours in the order of hand-out.  The worker runs them in turn.  It ends the batch early,
// and the request hands the rest back, when an item fails, when somebody wishes to stop, or when the batch
// takes longer than was thought.  So a failure is known at once, and no rank sits on items that others could
// do.  That a failure ended the phase the others are not told: they end their batches, and get no more.
// Messages of one worker arrive in their order; nothing else is assumed of time.

enum wire_tag { WIRE_REQUEST = 1, WIRE_ANSWER, WIRE_STOP };

// What became of an item that was begun and not done.
enum wire_outcome {
    WIRE_DONE,    // there was none: the items that were begun are done
    WIRE_FAILED,  // another rank may succeed
    WIRE_FATAL,   // none will
    WIRE_STOPPED, // ended before its end, as somebody wished to stop
    WIRE_NEWS     // no request: this rank was told to stop by `signal`, or (0) has done `work`
};

// Items first .. first+count-1.  Only single items have an attempt above 0.
struct wire_batch {
    int first, count, attempt;
};

// A worker that failed keeps the words of its error for comm_agree().
struct wire_request {
    struct wire_batch batch;   // the last one, as it was handed out; count 0: there was none yet
    int done;                  // items of it, from the first on
    enum wire_outcome outcome; // of the item after them; what comes after that one was not begun
    int wish;                  // so many items would take the time of a batch on this worker
    bool together;             // it takes them side by side: the more the better
    int signal;                // by which it was told to stop, or 0
    double work;               // done since the last message
};

struct wire_answer {
    struct wire_batch batch; // count 0: no more
};

// The signal by which somebody was told to stop, or 0.
struct wire_stop {
    int signal;
};

struct wire_verdict {
    int done, given_up; // items
    int ended;          // a failure ended the phase
    int signal;
    long long requests; // that rank 0 received
};

// ---- the book ----

// A worker hands back what it did not begin within LONGEST_BATCH_MILLISECONDS.
enum { BATCH_MILLISECONDS = 50, LONGEST_BATCH_MILLISECONDS = 100 };

struct batches {
    int n_items, ranks, attempts;
    int batch_limit; // most items at once; 0: no limit
    int together;    // ranks that take items side by side
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
void batches_open(struct batches *batches, int n_items, int ranks, int attempts, int batch_limit);
void batches_close(struct batches *batches);

// A batch for `rank`, of `wish` items at most; count 0: there is none for it now.  An item that failed goes
// to another rank where there is one.  Ranks that take items side by side share out what is left among
// themselves: they are far faster than the others.
struct wire_batch batches_take(struct batches *batches, int rank, int wish, bool together);

// What became of a batch; its counts as of request->batch, which batches_take() gave.  Without memory for
// a note the phase ends: then *err says so.
void batches_note(struct batches *batches, const struct wire_request *report, int rank, struct error *err);

// May there be something for a rank that found nothing?
bool batches_waits(const struct batches *batches);

// The wish after a batch that took `seconds`, with `wish` before it: twice as much at most, so that a first
// cheap item does not promise too much; one after a failure.
int batches_wish(const struct wire_request *report, int wish, double seconds);

#endif
