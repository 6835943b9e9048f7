// SPDX-License-Identifier: Apache-2.0
// Messages between rank 0 and the workers.  Both ends run the same program, so they travel as bytes.
#ifndef SSMSWEEP_SWEEP_WIRE_H
#define SSMSWEEP_SWEEP_WIRE_H

enum wire_tag { WIRE_REQUEST = 1, WIRE_ANSWER };

enum { WIRE_NO_ITEM = -1 };

// Worker to rank 0: what became of the last item (WIRE_NO_ITEM at first), and: give me another.  A worker
// that failed keeps the words of its error for comm_agree().
struct wire_request {
    int finished_item;
    int failed;
};

// Rank 0 to worker: the item to do, or WIRE_NO_ITEM: no more.
struct wire_answer {
    int item;
};

#endif
