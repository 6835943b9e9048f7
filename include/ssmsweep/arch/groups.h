// SPDX-License-Identifier: Apache-2.0
// Groups of heads and of channels with scales of their own behind conv1d: docs/numerics.md, section 8.  Heads
// and channels are moved, so that those of a group are neighbours; a *place* is where one stands then.
//
// Knows: the sizes of a model.  Must not know: samples, scales, files.  Called by: families that have groups,
// forward/ (packing, captures), sweep/ (which forms them), store/ (which keeps the rows).
#ifndef SSMSWEEP_ARCH_GROUPS_H
#define SSMSWEEP_ARCH_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"

enum { GROUPS_OF_HEADS = 4, GROUPS_OF_CHANNELS = 4 }; // in each group of B and C; in each group of heads

// Those of a layer.
struct layer_groups {
    const int32_t *channels;     // [I] the model's channel at each place
    const int32_t *head_ends;    // [G][4] running ends of the places of heads, in each group of B and C
    const int32_t *channel_ends; // [G][4][4] running ends of the places of channels, in a head
    const int32_t *heads;        // [H] the model's head at each place
    const int32_t *places;       // [I + 2GN] the place of each channel of conv1d; B and C stay
    const int32_t *head_places;  // [H] the place of each head
    const int32_t *of_place;     // [I] which of the G x 4 x 4 groups a place is in
};

// Those of all layers.  rows: [n_layer][groups_row()], channels, head_ends and channel_ends of each layer, as
// the result file has them; the rest of a layer is made of its row.
struct groups {
    const struct dims *dims;
    int32_t *rows, *made;
    struct layer_groups *layers; // [n_layer]
};

// Local.  Can heads and channels be grouped at all?  NULL, or what stands in the way.
const char *groups_obstacle(const struct dims *dims);
int groups_row(const struct dims *dims); // integers of a layer

// Scales of a layer that groups have, 0 where dims->grouped is not set: of u [G][4][4], B [G], C [G], of the
// state [G][4][4][N], in this order; where each begins.
struct groups_scales {
    int u, B, C, state, count;
};
struct groups_scales groups_scales(const struct dims *dims);

// Local.  No groups yet: rows of zeros.  dims must outlive it.  groups_clear() frees; a zeroed one is fine.
enum status groups_open(struct groups *groups, const struct dims *dims, struct error *err);
void groups_clear(struct groups *groups);
// Local.  Bytes of what groups_open() makes, and of the means of channels that they are formed by.
size_t groups_bytes(const struct dims *dims);

// Local.  Forms those of a layer: means[I], of each channel of u the largest mean of |u| over a sample.  What
// is not finite counts as 0.  STATUS_INPUT: the channels of some heads do not fall into runs.
enum status groups_form(struct groups *groups, int layer, const float *means, struct error *err);
// Local.  Makes the rest of all layers of their rows.  False: a row is none.
bool groups_settle(struct groups *groups);

#endif
