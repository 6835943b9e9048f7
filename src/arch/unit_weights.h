// SPDX-License-Identifier: Apache-2.0
// A weight of a layer in the forms that settings ask for: codes for products with codes, values for those
// with values (docs/numerics.md, section 4).  For the families, which say how a weight lies and load it.
#ifndef SSMSWEEP_ARCH_UNIT_WEIGHTS_H
#define SSMSWEEP_ARCH_UNIT_WEIGHTS_H

#include "ssmsweep/arch/pass.h"

// One form: codes with their scales, or values.  Projections are panels (compute/steps.h); weights of
// channels have values alone, codes as integers.
struct packed_weight {
    uint8_t *codes; // code + 128
    float *values;
    float *scales; // one, or one for each output or channel, padded as they are
    float *given;  // [outputs] s_W / s_o that a checkpoint has for each; below 0: it has none
};
enum { WEIGHT_FORMATS = (int)FORMAT_INT8_GIVEN + 1 };
typedef struct packed_weight weight_forms[WEIGHT_FORMATS][2]; // the last: for products with codes

// Outputs that lie together, and where they begin among the padded ones.
struct weight_segment {
    int first, count, padded_first;
};

enum weight_kind {
    WEIGHT_PROJECTION, // panels of its segments
    WEIGHT_CHANNELS,   // [depth][padded]
    WEIGHT_DECAYS,     // the same of -exp
};
enum { WEIGHT_SEGMENTS = 3, WEIGHT_PARTS = 5 };

struct weight_shape {
    enum weight_kind kind;
    int rows, depth; // as the tensor has them
    int padded;      // outputs, or channels
    struct weight_segment segments[WEIGHT_SEGMENTS];
    int n_segments;              // of a projection
    int part_ends[WEIGHT_PARTS]; // rows that share a scale of INT8
    int n_parts;                 // 0: all share one
};

// A weight as it comes, in the basis of the layer.
struct loaded_weight {
    float *values;        // [rows][depth], room behind them up to a multiple of 16
    enum format given;    // what a checkpoint has it in: it is not rounded again; FORMAT_NONE: no such
    const int8_t *codes;  // given, of INT8 and 4 bits: [rows][depth]
    const float *scales;  // of those: [rows], or [1] where the shape has no parts and the format one scale
    const float *factors; // [rows], where it has s_W / s_o; else NULL
    float own_scale;      // of FORMAT_INT8_GIVEN, where it is no checkpoint's; 0: none is given
};

uint32_t weight_need_bit(enum format format, bool coded);
// Is the activation codes in front of a product?
bool weight_meets_codes(enum format activation);
// Is there a scale for each output or channel, whatever the shape, or of this shape?
static inline bool weight_has_row_scales_of(enum format format)
{
    return format == FORMAT_INT8_CHANNEL || format_group(format) > 0;
}
bool weight_has_row_scales(const struct weight_shape *shape, enum format format);
void weight_carve(const struct weight_shape *shape, uint32_t needs, struct arena *arena,
                  struct packed_weight forms[WEIGHT_FORMATS][2]);
// The INT8 form of an output's 4-bit weights, in place: levels q - 8 become w8 = sat8(rint((q - 8) g)).
void weight_step_levels(int8_t *levels, const float *steps, int depth, int group);
// The same of FP16 steps, which become g = FP16(s / s_ch); returns s_ch = FP16(max|value| / 127).  grid:
// [depth] values.
float weight_int8_of_int4(const struct kernels *kernels, int8_t *levels, const float *grid, float *steps,
                          int depth, int group);
// Are two forms, each for products with values and with codes, the same bits?  False: one is not there.
bool weight_is_same(const struct weight_shape *shape, const struct packed_weight a[2],
                    const struct packed_weight b[2]);
// Makes the forms that are needed.
void weight_pack(const struct packing *packing, const struct weight_shape *shape, uint32_t needs,
                 const struct loaded_weight *loaded, struct packed_weight forms[WEIGHT_FORMATS][2]);

#endif
