// SPDX-License-Identifier: Apache-2.0
// The forward pass of one sample in any mode (NUMERICS.md §1 and §5).  It knows the switches of a mode, never
// its name. The same bits for any number of threads and any instruction set.
#ifndef SSMSWEEP_NUMERICS_FORWARD_H
#define SSMSWEEP_NUMERICS_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/numerics/component.h"
#include "ssmsweep/numerics/mode.h"
#include "ssmsweep/numerics/weights.h"

struct forward; // opaque: workspace of one thread team, sized for the longest sample; no allocation
                // afterwards

// Where captured tensors go.  `take` gets values[length, width], row-major, FP32, valid only during the call;
// false stops the pass.
struct capture {
    const unsigned char *want; // [n_layer], bit mask 1u << component
    bool (*take)(void *context, int layer, enum component component, const float *values, int length,
                 int width);
    void *context;
};

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads); // size of the workspace
enum status forward_open(struct forward **forward, const struct weights *weights, int max_tokens, int threads,
                         struct error *err);
void forward_close(struct forward *forward);

// One sample through all layers.  scales: [n_layer][SITE_COUNT] for W8A8 modes, else NULL.  ids: [length],
// each below vocab_size, 1 <= length <= max_tokens.  False: `take` stopped it.
bool forward_run(struct forward *forward, const struct mode *mode, const float *scales, const int32_t *ids,
                 int length, const struct capture *capture);

// The FP32 pass that also observes the activations: observed[n_layer][SITE_COUNT], see calibrate.h.  capture
// may be NULL.
bool forward_observe(struct forward *forward, double percentile_alpha, const int32_t *ids, int length,
                     const struct capture *capture, float *observed);

// One layer on a given input, for checks against a reference: residual and h are [length, D] in the basis of
// the mode (rotated for W8A8) and are updated in place as the pass would.
bool forward_layer(struct forward *forward, const struct mode *mode, const float *scales, int layer,
                   int length, float *residual, float *h, const struct capture *capture);

// Logits of tokens [first, first + count) of the last whole pass: logits[count, vocab rounded up to 16],
// zeros behind vocab.  Final norm with its weight, then lm_head, in FP32 for every mode.  Needs
// WEIGHTS_LM_HEAD.
void forward_logits(struct forward *forward, int first, int count, float *logits);

#endif
