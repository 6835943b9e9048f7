// SPDX-License-Identifier: Apache-2.0
// What lies in the block of packed weights, and the workspace of a pass.  All arrays of weights point into
// the block; leading dimensions are rounded up to 16 (ld) and padded with zeros.  Panels: compute/steps.h.
#ifndef SSMSWEEP_FORWARD_PARTS_H
#define SSMSWEEP_FORWARD_PARTS_H

#include "ssmsweep/arch/pass.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"

// For logits.
struct head {
    float *lm_head; // panels, vocab outputs, depth D; NULL where there are
    uint8_t *codes; // code + 128, the same panels: rotated, and so is what goes into them
    float *scales;  // [outputs] of codes of 4 bits; NULL: model->ends has one for all
    float *norm_f;  // [ldD]; NULL beside codes, and of FP16 values: rotated, as what goes into them
};

struct weights {
    const struct model *model;
    const struct kernels *kernels; // that pack
    unsigned parts;
    const void *block; // on the host
    size_t block_bytes;
    const struct needs *needs; // [n_layer]; NULL: `base` in each
    struct needs base;
    int ld_model;                        // D rounded up to 16
    unsigned char *layers[PACKED_FORMS]; // [n_layer] of arch->layer_bytes each, NULL where not asked for
    struct head head, float_head;        // the second of the float modes, where theirs is another
    struct rotations rotations;
    const struct groups *groups; // in whose order weights by unit are; NULL: in the model's
    unsigned filled;             // enum weights_part: what tasks fill
};

// Where the float modes take their weights.
static inline const struct model *weights_float_model(const struct weights *weights)
{
    return weights->model->reference ? weights->model->reference : weights->model;
}

// Is lm_head of the modes by unit codes, of INT8 or 4 bits?  And are they for FP16 inputs?
static inline bool weights_head_is_codes(const struct weights *weights)
{
    return !dtype_is_float(weights->model->lm_head->dtype);
}
static inline bool weights_head_is_half(const struct weights *weights)
{
    return weights->model->ends.lm_head_4bit && weights->model->ends.lm_head_input == 0;
}

static inline void *weights_layer(const struct weights *weights, enum packed_form form, int layer)
{
    return weights->layers[form] + (size_t)layer * weights->model->dims.arch->layer_bytes;
}

struct forward {
    const struct backend *backend;
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

// What a layer hands on goes to these.
struct sink {
    const struct capture *capture;         // NULL: nothing is captured
    const struct observation *observation; // NULL: nobody observes
};

// As struct pass has it, into the observation of the sink that is its context (observe.c).
void sink_observe(const struct pass *pass, int site, const struct observed *observed);

#endif
