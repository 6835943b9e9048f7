// SPDX-License-Identifier: Apache-2.0
// The workspace of a forward pass, for its parts.
#ifndef SSMSWEEP_FORWARD_WORKSPACE_H
#define SSMSWEEP_FORWARD_WORKSPACE_H

#include "ssmsweep/base/arena.h"
#include "ssmsweep/forward/forward.h"
#include "weights_view.h"

struct forward {
    const struct weights *weights;
    struct arena arena;
    struct batch *batch;
    struct batch_shape shape;
    uint64_t dither;      // seed, 0: none
    struct stream stream; // of whole passes: [the longest sample][ldD]
    void *work;           // the family's activations
    float *room;          // for captures and observers
    float *normed, *xhat; // [the longest sample][ldD] as the next
    int8_t *codes;
};

#endif
