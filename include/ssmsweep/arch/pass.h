// SPDX-License-Identifier: Apache-2.0
// What a family of models is given to pack a layer's weights and to run a layer (struct arch).
#ifndef SSMSWEEP_ARCH_PASS_H
#define SSMSWEEP_ARCH_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/compute/backend.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/recipe/recipe.h"

// Rotations of dimensions D and I; those of a dimension that is 0 are not there.
struct rotations {
    struct rotation model, inner;
};

// One layer on its way into the block of packed weights.
struct packing {
    const struct kernels *kernels;
    const struct model *model; // of whose weights; MODEL_W8A8 for PACKED_BY_UNIT: its codes as they are
    const struct needs *needs; // for PACKED_BY_UNIT
    const struct layer_groups
        *groups; // for PACKED_BY_UNIT: its order of heads and channels; NULL: the model's
    const struct rotations *rotations;
    struct arena *scratch; // of arch->scratch_bytes(); what is taken of it is the callee's until it is done
    int layer;
};

// One layer of one stream under a recipe.
struct pass {
    struct batch *batch;
    const struct dims *dims;
    const struct recipe *recipe;
    const struct rotations *rotations;
    const void *weights;               // the layer as arch->pack() made it
    void *work;                        // as arch->carve() made it
    float *room;                       // [the longest sample or d_state rows][widest row]
    const float *scales;               // [n_sites] of the layer; W8A8 modes alone
    enum model_kind kind;              // of the layer, where a checkpoint is computed by unit
    const float *given;                // [n_sites] for FORMAT_INT8_GIVEN, 0 where none is; NULL: none are
    const float *group_scales;         // as groups_scales() has them, beside groups; NULL: there are none
    const struct layer_groups *groups; // in whose order weights by unit are; NULL: in the model's
    float *residual, *h;               // of the stream: [tokens][D rounded up to 16], as the next two
    float *normed, *xhat;              // of the norm in front of the layer
    int8_t *codes;                     // the same quantized
    uint64_t dither;                   // 0: none
    int layer;
    // Hands a component on, where it is wanted; false: the pass ends here.
    bool (*give)(const struct pass *pass, int component, const struct seen *seen);
    // NULL: nobody observes.
    void (*observe)(const struct pass *pass, int site, const struct observed *observed);
    float *group_most;    // max|v| of each group, as groups_scales() has them; NULL: nobody asks
    float *channel_means; // [I] mean of |u| of each channel; NULL: nobody asks
    // Samples that are observed together, 0: one; what is found of the next one lies so much behind.
    int samples;
    const int *lengths; // [samples]
    long group_row, means_row;
    const void *context; // of the two
};

static inline const struct setting *pass_setting(const struct pass *pass)
{
    return &pass->recipe->layers[pass->layer];
}

#endif
