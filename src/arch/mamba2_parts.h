// SPDX-License-Identifier: Apache-2.0
// What the parts of Mamba-2 share: the layouts of its packed weights and of its activations.
#ifndef SSMSWEEP_ARCH_MAMBA2_PARTS_H
#define SSMSWEEP_ARCH_MAMBA2_PARTS_H

#include "ssmsweep/arch/config.h"
#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/arch/pass.h"
#include "unit_weights.h"

enum status mamba2_describe(struct config *config, const struct config_source *in, struct error *err);

// ---- a quantized checkpoint in Quamba2's layout (mamba2_codes.c) ----

enum { MAMBA2_GROUPS = 4 }; // of heads in each of G, and of channels in each of those

// Fills tensors, scales, ends and views of a model whose dims and checkpoint are there.  STATUS_INPUT:
// missing, wrong shape or dtype, scales that are not positive or contradict each other or config.json.
enum status mamba2_bind_codes(struct model *model, const struct config *config, struct error *err);
bool mamba2_knows_codes(const struct model *model, const char *name);
bool mamba2_has_groups(const struct model *model, int layer);
// Which head and channel of a float model of the same sizes stands at each place of such a file
// (mamba2_order.c).  STATUS_INPUT: a layer has other heads or channels.
enum status mamba2_find_order(const struct model *model, const struct model *reference,
                              const struct kernels *kernels, struct groups *order, struct error *err);
// What a layer has beside tensors and scales of sites; checked already when it is packed.
// Scales of conv1d's outputs: columns[I + 2GN].
enum status mamba2_conv_steps(const struct model *model, int layer, float *columns, struct error *err);
// s_W / s_o of each output of in_proj in W8A8: steps[2I + 2GN + H, rounded up to 16].
enum status mamba2_in_proj_steps(const struct model *model, int layer, float *steps, struct error *err);
// Scales of conv1d's weight and bias, of x, B, C each.
enum status mamba2_part_scales(const struct model *model, int layer, float scales[6], struct error *err);

// Widths of a layer, each rounded up to 16 in memory, with zeros behind it.
struct mamba2_width {
    int I, BC, conv, H; // BC = GN; conv = I + 2GN, without gaps
    int ldD, ldI, ld_conv, ldH, ldP;
    int ld_in; // z, conv and dt side by side, each from a multiple of 16 on
};
static inline struct mamba2_width mamba2_width_of(const struct dims *d)
{
    struct mamba2_width w = {
        .I = d->d_inner, .BC = d->n_groups * d->d_state, .H = d->n_heads, .ldD = round_up16(d->d_model)};
    w.conv = w.I + 2 * w.BC;
    w.ldI = round_up16(w.I);
    w.ld_conv = round_up16(w.conv);
    w.ldH = round_up16(w.H);
    w.ldP = round_up16(d->head_dim);
    w.ld_in = w.ldI + w.ld_conv + w.ldH;
    return w;
}

struct mamba2_float_layer {
    float *norm;     // [ldD]
    float *in_proj;  // panels of z, conv and dt: ld_in outputs, depth D
    float *conv_w;   // [K][ld_conv]
    float *conv_b;   // [ld_conv]
    float *dt_bias;  // [ldH]
    float *A;        // [ldH] = -exp(A_log)
    float *D_skip;   // [ldH]
    float *gate;     // [ldI]
    float *out_proj; // ldD outputs, depth I
};

// The scales of what is in parts, in the order of the parts.
enum mamba2_part { PART_Z, PART_X, PART_B, PART_C, PART_DT, MAMBA2_PARTS };

// in_proj is had_rows(W_in diag(w_norm)), out_proj turned on both sides.
struct mamba2_unit_layer {
    weight_forms of[MAMBA2_WEIGHTS];
    float *conv_steps; // [ld_conv] scales of conv1d's outputs of a checkpoint; 0: it has none
};

union mamba2_layer {
    struct mamba2_float_layer f;
    struct mamba2_unit_layer u;
};

// Columns of in_proj's outputs, from z on, that one part has: [*first, *first + count), as they lie in
// memory.
static inline int mamba2_part_of(const struct mamba2_width *w, enum mamba2_part part, int *first)
{
    const int firsts[MAMBA2_PARTS] = {0, w->ldI, w->ldI + w->I, w->ldI + w->I + w->BC, w->ldI + w->ld_conv};
    const int counts[MAMBA2_PARTS] = {w->I, w->I, w->BC, w->BC, w->H};
    *first = firsts[part];
    return counts[part];
}

void mamba2_carve_layer(const struct dims *dims, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer);
size_t mamba2_scratch_bytes(const struct dims *dims);
void mamba2_pack(const struct packing *packing, enum packed_form form, void *layer);

// -exp(A_log) [ldH]; A_log, with zeros up to 16, is scratch afterwards.
void mamba2_pack_decay(const struct packing *p, float *A_log, float *out);
// In scratch, in the order in which the weights by unit are: a tensor as float32, to be altered;
// had_rows(W_in diag(w_norm)), and had over both axes of W_out [D, I].
float *mamba2_load(const struct packing *p, enum mamba2_tensor tensor);
float *mamba2_rotated_in_proj(const struct packing *p);
float *mamba2_rotated_out_proj(const struct packing *p);

// Forms of weights by unit (mamba2_weights.c).  Does the product with a weight take it as codes?
bool mamba2_takes_codes(const struct setting *setting, enum mamba2_unit weight);
void mamba2_need(const struct setting *setting, struct needs *needs);
int mamba2_depth(const struct dims *dims, int unit);
void mamba2_carve_units(const struct dims *dims, const struct needs *needs, struct arena *arena,
                        struct mamba2_unit_layer *layer);
void mamba2_pack_units(const struct packing *packing, struct mamba2_unit_layer *layer);

// A quantized checkpoint (mamba2_given.c): a weight as it comes, in scratch, and a layer as floats, the
// rotations undone.
void mamba2_load_given(const struct packing *p, enum mamba2_tensor tensor, struct loaded_weight *loaded);
void mamba2_dequantize(const struct packing *p, bool half, struct mamba2_float_layer *out);

// L is the longest sample.  What conv1d takes has K-1 rows of zeros in front of row 0.
struct mamba2_work {
    float *in;         // [K-1 + L][ld_in] z, x, B, C, dt; points at row 0
    float *conv;       // [L][ld_conv] u, B, C behind conv1d
    float *delta, *dA; // [L][ldH]
    float *state;      // [H][N][ldP] after the last token
    float *y;          // [L][ldI]
    float *normed;     // [L][ldI] behind the gated norm, with the room for captures behind it
    int8_t *in_codes;  // [K-1 + L][ld_in], points at row 0
    int8_t *y_codes;   // [L][ldI]
    float *steps;      // [ld_in] scales of what comes out of in_proj; behind it, one after the other:
    float *factors;    // [ld_in] of in_proj's sums, for codes or values
    float *conv_steps; // [ld_conv] scales of what comes out of conv1d
    float *taps;       // [ld_conv] scales of conv1d's sums
    float *row_scales; // [L] scales of each token, of in_proj's input, and of conv1d's and out_proj's
};

bool mamba2_layer_float(const struct pass *pass);
bool mamba2_layer_units(const struct pass *pass);

#endif
