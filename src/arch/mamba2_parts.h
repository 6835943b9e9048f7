// SPDX-License-Identifier: Apache-2.0
// What the parts of Mamba-2 share: the layouts of its packed weights and of its activations.
#ifndef SSMSWEEP_ARCH_MAMBA2_PARTS_H
#define SSMSWEEP_ARCH_MAMBA2_PARTS_H

#include "ssmsweep/arch/config.h"
#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/arch/pass.h"

enum status mamba2_describe(struct config *config, const struct config_source *in, struct error *err);

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

void mamba2_carve_layer(const struct dims *dims, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer);
size_t mamba2_scratch_bytes(const struct dims *dims);
void mamba2_pack(const struct packing *packing, enum packed_form form, void *layer);

// L is the longest sample.  What conv1d takes has K-1 rows of zeros in front of row 0.
struct mamba2_work {
    float *in;         // [K-1 + L][ld_in] z, x, B, C, dt; points at row 0
    float *conv;       // [L][ld_conv] u, B, C behind conv1d
    float *delta, *dA; // [L][ldH]
    float *state;      // [H][N][ldP] after the last token
    float *y;          // [L][ldI]
    float *normed;     // [L][ldI] behind the gated norm, with the room for captures behind it
};

bool mamba2_layer_float(const struct pass *pass);

#endif
