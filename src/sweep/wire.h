// SPDX-License-Identifier: Apache-2.0
// Messages between rank 0 and the workers.  Both ends run the same program, so they travel as bytes.
#ifndef SSMSWEEP_SWEEP_WIRE_H
#define SSMSWEEP_SWEEP_WIRE_H

enum wire_tag { WIRE_REQUEST = 1, WIRE_ANSWER, WIRE_STOP };

enum { WIRE_NO_ITEM = -1 };

enum wire_outcome {
    WIRE_NOTHING, // there was no item yet
    WIRE_DONE,
    WIRE_FAILED,  // another rank may succeed
    WIRE_FATAL,   // none will
    WIRE_STOPPED, // ended before its end, as somebody wished to stop
    WIRE_NEWS     // no request: this rank was told to stop by `signal`
};

// Worker to rank 0: what became of the last item, and: give me another.  A worker that failed keeps the
// words of its error for comm_agree().
struct wire_request {
    int item, attempt;
    enum wire_outcome outcome;
    int signal;
};

// Rank 0 to worker: the item to do, or WIRE_NO_ITEM: no more.
struct wire_answer {
    int item, attempt;
};

// Rank 0 to worker, exactly once in a phase: the signal by which somebody was told to stop, or 0.
struct wire_stop {
    int signal;
};

// Rank 0 to all at the end of a phase.
struct wire_verdict {
    int done, given_up; // items
    int ended;          // a failure ended the phase
    int signal;
};

#endif
