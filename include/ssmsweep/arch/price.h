// SPDX-License-Identifier: Apache-2.0
// What a recipe takes of a machine: bytes of weights, and multiply-adds whose operands are codes.
//
// Bytes are those in which a checkpoint would hold the weights of the layers and the rows of the embedding,
// scales with them: 4 for an element that is float, 2 for FP16, 1 for INT8 with a scale of 4 bytes (a
// tensor's, or one for each output), half a one for 4 bits with a scale of 2 bytes for each group.  lm_head
// and the norms are the same in every recipe and not among them.
//
// Multiply-adds are those of a token in projections and conv1d: INT8 where weight and activation both are
// codes (4-bit weights become INT8 in front of the product).  The scan is FP32 in every recipe and not
// counted.
//
// Knows: the families' tensors and units.  Must not know: a mode's name, time.  Called by: report/, and
// whoever chooses recipes under a budget.
#ifndef SSMSWEEP_ARCH_PRICE_H
#define SSMSWEEP_ARCH_PRICE_H

#include <stdint.h>

#include "ssmsweep/arch/arch.h"

struct price {
    int64_t weight_bytes;
    int64_t int8_multiply_adds, multiply_adds; // of a token; the second: all of them
};

// Local.  Of one layer, without the embedding; and of all layers with it.
struct price price_of_layer(const struct dims *dims, const struct recipe *recipe, int layer);
struct price price_of(const struct dims *dims, const struct recipe *recipe);

// Local.  Bytes of the weight that is unit `unit` of a layer in a format; 0 for units that are none.
int64_t price_weight_bytes(const struct dims *dims, int unit, enum format format);
// Local.  Multiply-adds of a token with that weight; 0 for what is no operand of a product.
int64_t price_multiply_adds(const struct dims *dims, int unit);
// Local.  Bytes of the embedding in a format.
int64_t price_embedding_bytes(const struct dims *dims, enum format format);

#endif
