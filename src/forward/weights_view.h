// SPDX-License-Identifier: Apache-2.0
// What lies in the block of packed weights, for the forward pass.  All arrays point into the block; leading
// dimensions are rounded up to 16 (ld) and padded with zeros.  Panels: see kernels.h.
#ifndef SSMSWEEP_FORWARD_WEIGHTS_VIEW_H
#define SSMSWEEP_FORWARD_WEIGHTS_VIEW_H

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/rotation.h"
#include "ssmsweep/forward/weights.h"

struct float_layer {
    float *norm;     // [ldD]
    float *in_proj;  // panels of x, then of z: 2 ldI outputs, depth D
    float *conv_w;   // [K][ldI]
    float *conv_b;   // [ldI]
    float *x_proj;   // panels of dt_low (ldR outputs), B, C (ldN each), depth I
    float *dt_proj;  // ldI outputs, depth R
    float *dt_bias;  // [ldI]
    float *A;        // [N][ldI] = -exp(A_log)
    float *D_skip;   // [ldI]
    float *out_proj; // ldD outputs, depth I
};

enum w8a8_scale {
    SCALE_IN_PROJ,
    SCALE_CONV_W,
    SCALE_CONV_B,
    SCALE_X_PROJ,
    SCALE_DT_PROJ,
    SCALE_DT_BIAS,
    SCALE_A_LOG,
    SCALE_D_SKIP,
    SCALE_OUT_PROJ,
    SCALE_COUNT
};

struct w8a8_layer {
    float *scale;     // [SCALE_COUNT] per tensor
    uint8_t *in_proj; // code + 128, as in float_layer; rotated: had_rows(W_in diag(w_norm))
    uint8_t *x_proj, *dt_proj;
    uint8_t *out_proj; // rotated on both sides
    float *conv_w;     // [K][ldI] codes as integers
    float *conv_b;     // [ldI] dequantized
    float *dt_bias;    // [ldI] dequantized
    float *A;          // [N][ldI] = -exp(dequantized A_log)
    float *D_skip;     // [ldI] dequantized
};

// For logits.
struct head {
    float *lm_head; // panels, vocab outputs, depth D; NULL where there are
    uint8_t *codes; // code + 128, the same panels: rotated, and so is what goes into them
    float *norm_f;  // [ldD]; NULL beside codes
};

struct weights {
    const struct model *model;
    const struct kernels *kernels;
    unsigned parts;
    int ld_model, ld_inner, ld_rank, ld_state,
        ld_dbl;                                 // D, I, R, N rounded up to 16; ld_dbl = ld_rank + 2 ld_state
    struct float_layer *fp32, *fp16;            // [n_layer] each, NULL where not asked for
    struct w8a8_layer *w8a8;                    // [n_layer]
    struct head head, float_head;               // the second of the float modes, where theirs is another
    struct rotation rotate_model, rotate_inner; // of dimensions D and I
};

// Where the float modes take their weights.
static inline const struct model *weights_float_model(const struct weights *weights)
{
    return weights->model->reference ? weights->model->reference : weights->model;
}

// Is lm_head of the W8A8 modes codes?
static inline bool weights_head_is_codes(const struct weights *weights)
{
    return weights->model->lm_head->dtype == DTYPE_I8;
}

static inline int round_up16(int n)
{
    return (n + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

#endif
