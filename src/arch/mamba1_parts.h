// SPDX-License-Identifier: Apache-2.0
// What the parts of Mamba-1 share: the layouts of its packed weights and of its activations.
#ifndef SSMSWEEP_ARCH_MAMBA1_PARTS_H
#define SSMSWEEP_ARCH_MAMBA1_PARTS_H

#include "ssmsweep/arch/config.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/pass.h"
#include "unit_weights.h"

enum status mamba1_describe(struct config *config, const struct config_source *in, struct error *err);

// ---- a quantized checkpoint in Quamba2's layout (mamba1_codes.c) ----

// Fills tensors, scales, ends and views of a model whose dims and checkpoint are there, and embedding and
// lm_head where they are codes.  Weights are turned to [out, in] and lose the rows that pad them.
// STATUS_INPUT: missing, wrong shape or dtype, scales that are not positive or contradict each other or
// config.json.
enum status mamba1_bind_codes(struct model *model, const struct config *config, struct error *err);
// Is it the name of a tensor or number of such a checkpoint, other than the weights of embedding, norm_f and
// lm_head?
bool mamba1_knows_codes(const struct model *model, const char *name);

// ---- packed weights (mamba1_pack.c) ----

// Leading dimensions are rounded up to 16 (ld) and padded with zeros.  Panels: compute/steps.h.
struct leading {
    int D, I, R, N, dbl; // dbl = R + 2N, each rounded up
};
static inline struct leading leading_of(const struct dims *d)
{
    const struct leading ld = {.D = round_up16(d->d_model),
                               .I = round_up16(d->d_inner),
                               .R = round_up16(d->dt_rank),
                               .N = round_up16(d->d_state)};
    return (struct leading){ld.D, ld.I, ld.R, ld.N, ld.R + 2 * ld.N};
}

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

// in_proj and out_proj are rotated: had_rows(W_in diag(w_norm)); had on both sides of W_out.
struct unit_layer {
    weight_forms of[MAMBA1_WEIGHTS];
};

union mamba1_layer {
    struct float_layer f;
    struct unit_layer u;
};

void mamba1_carve_layer(const struct dims *dims, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer);
size_t mamba1_scratch_bytes(const struct dims *dims);
void mamba1_pack(const struct packing *packing, enum packed_form form, void *layer);

// Forms of weights by unit (mamba1_weights.c).  Does the product with a weight take it as codes?
bool mamba1_takes_codes(const struct setting *setting, enum mamba1_unit weight);
void mamba1_need(const struct setting *setting, struct needs *needs);
int mamba1_depth(const struct dims *dims, int unit);
int mamba1_site_of(int unit);
const float *mamba1_weight_values(const struct packing *packing, int unit, int *rows, int *depth);
bool mamba1_same_weight(const struct dims *dims, const void *layer, int unit, enum format a, enum format b);
void mamba1_carve_units(const struct dims *dims, const struct needs *needs, struct arena *arena,
                        struct unit_layer *layer);
void mamba1_pack_units(const struct packing *packing, struct unit_layer *layer);

// A layer of a checkpoint of codes as float32 in scratch, dequantized and rotated back (docs/numerics.md,
// "Quantized weights"; mamba1_given.c).
struct mamba1_given {
    struct tensor made[MAMBA1_TENSORS];
    const struct tensor *tensors[MAMBA1_TENSORS]; // norm is the model's own
};
void mamba1_dequantize(const struct packing *p, struct mamba1_given *given);
// One of its weights as it comes, in scratch.
void mamba1_load_given(const struct packing *p, enum mamba1_unit weight, struct loaded_weight *loaded);

// What the makers of a layer share.
// In scratch, [2I, D] and [D, I]: had_rows(W_in diag(w_norm)), had over both axes of W_out.
float *mamba1_rotated_in_proj(const struct packing *p, const struct tensor *const *m);
float *mamba1_rotated_out_proj(const struct packing *p, const struct tensor *const *m);
void pack_A(const struct packing *p, float *A_log, float *out); // A_log [I, N] is scratch afterwards

// ---- activations (mamba1_float.c) ----

// L is the longest sample.  x has K-1 rows of zeros in front of row 0.
struct mamba1_work {
    float *xz;          // [K-1 + L][2 ldI], points at row 0
    float *v;           // [L][ldI] conv1d output
    float *dbl;         // [L][ld_dbl] dt_low, B, C
    float *dt;          // [L][ldI]
    float *y;           // [L][ldI], with the room for captures behind it
    int8_t *xz_codes;   // [K-1 + L][2 ldI], points at row 0
    int8_t *u_codes;    // [L][ldI] what x_proj sees
    int8_t *scan_codes; // [L][ldI] what the scan sees, where that is quantized again
    int8_t *dbl_codes;  // [L][ld_dbl]
    int8_t *dt_codes;   // [L][ldI]
    int8_t *y_codes;    // [L][ldI]
    float *state;       // [N][ldI] scan state after the last token
    // Scales that are made of the sample or of each token: of in_proj's, conv1d's and out_proj's input.
    float *n_scales, *x_scales, *y_scales; // [L]
    float *ratios;                         // [L] of the scale of each token and that of an output
    float *factors;                        // [the most outputs of a projection]
};

bool mamba1_layer_float(const struct pass *pass);
bool mamba1_layer_units(const struct pass *pass);

#endif
