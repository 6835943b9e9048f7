// SPDX-License-Identifier: Apache-2.0
// 4-bit weights of a checkpoint, in the layouts of two kernels (docs/numerics.md, "Quantized weights"):
// 16 inputs x 64 outputs of codes make a tile of 128 words.
//
// Knows: names and tensors of a checkpoint, kernels that round.  Must not know: which weights a family has in
// 4 bits.  Called by: the families, forward/ (lm_head).
#ifndef SSMSWEEP_ARCH_CODES4_H
#define SSMSWEEP_ARCH_CODES4_H

#include "ssmsweep/arch/model.h"
#include "ssmsweep/arch/pack.h"

enum { CODES4_GROUP = 128, CODES4_OUTPUTS = 64 }; // inputs that share a step; outputs of a tile

// A weight [outputs, depth].  With INT8 activations (a8) its value is rint((q - 8) g) s, g = steps[group],
// s = channel[output]; with FP16 ones FP16((q - 8) steps[group]).
struct codes4 {
    const struct tensor *words;   // I32 [depth / 16, 2 outputs padded to 64 or 256]
    const struct tensor *steps;   // F16 [depth / 128, outputs padded]
    const struct tensor *channel; // F32 [1, outputs padded]; a8 alone
    int outputs, depth;
    bool a8;
};

// Local.  `prefix`: of the names, "lm_head" or "backbone.layers.0.mixer.in_proj".  input: the scale of what
// goes in, which an a8 weight repeats.  STATUS_INPUT: missing, another dtype or shape, steps that are not
// finite or not zero in the padding, a depth that is no multiple of 128, or 128 itself, which the public code
// packs otherwise.
enum status codes4_bind(struct codes4 *codes, const struct model *model, const char *prefix, int outputs,
                        int depth, bool a8, float input, struct error *err);
// Local.  Finds one that was bound.
struct codes4 codes4_find(const struct model *model, const char *prefix, int outputs, int depth);
// Is it the rest of a name of a part of one, "input_scale", ...?
bool codes4_is_part(const char *rest);

// Local.  Outputs [first, first + count): levels q - 8, [count][depth].
void codes4_levels(const struct codes4 *codes, int first, int count, int8_t *levels);
// Local.  The same as codes of INT8 with a scale for each output, and the values that they stand for
// [count][depth]: what products with codes and with values take (NULL: not wanted).  Of an a8 weight scales
// are `channel`.
void codes4_load(const struct codes4 *codes, const struct kernels *kernels, struct arena *scratch, int first,
                 int count, int8_t *int8, float *scales, float *values);
// Local.  All of it, in scratch, as a loaded weight.  s_o: the scale of each output, where `channel` is s_ch
// / s_o; one for all where stride is 0; NULL: it is s_ch.
struct loaded_weight;
void codes4_load_weight(const struct codes4 *codes, const struct kernels *kernels, struct arena *scratch,
                        const float *s_o, int stride, struct loaded_weight *loaded);

#endif
