// SPDX-License-Identifier: Apache-2.0
// What the parts of Mamba-1 share: the layouts of its packed weights and of its activations.
#ifndef SSMSWEEP_ARCH_MAMBA1_PARTS_H
#define SSMSWEEP_ARCH_MAMBA1_PARTS_H

#include "ssmsweep/arch/config.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/pass.h"

enum status mamba1_describe(struct config *config, const struct config_source *in, struct error *err);

// ---- a W8A8 checkpoint in Quamba's layout (mamba1_codes.c) ----

// Fills tensors, scales, ends and views of a model whose dims and checkpoint are there, and embedding and
// lm_head where they are codes.  Weights are turned to [out, in] and lose the rows that pad them.
// STATUS_INPUT: missing, wrong shape or dtype, scales that are not positive or contradict each other or
// config.json.
enum status mamba1_bind_codes(struct model *model, const struct config *config, struct error *err);
// Is it the name of a tensor or number of such a checkpoint, other than the weights of embedding, norm_f and
// lm_head?
bool mamba1_knows_codes(const char *name, int n_layer);

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

struct w8a8_layer {
    float *scale;     // [MAMBA1_TENSORS] per tensor
    uint8_t *in_proj; // code + 128, as in float_layer; rotated: had_rows(W_in diag(w_norm))
    uint8_t *x_proj, *dt_proj;
    uint8_t *out_proj; // rotated on both sides
    float *conv_w;     // [K][ldI] codes as integers
    float *conv_b;     // [ldI] dequantized
    float *dt_bias;    // [ldI] dequantized
    float *A;          // [N][ldI] = -exp(dequantized A_log)
    float *D_skip;     // [ldI] dequantized
};

union mamba1_layer {
    struct float_layer f;
    struct w8a8_layer q;
};

void mamba1_carve_layer(const struct dims *dims, enum packed_form form, struct arena *arena, void *layer);
size_t mamba1_scratch_bytes(const struct dims *dims);
void mamba1_pack(const struct packing *packing, enum packed_form form, void *layer);

// A layer of MODEL_W8A8 as float32 in scratch, dequantized and rotated back (docs/numerics.md, "Quantized
// weights"), and its codes and scales as they are (mamba1_given.c).
struct mamba1_given {
    struct tensor made[MAMBA1_TENSORS];
    const struct tensor *tensors[MAMBA1_TENSORS]; // norm is the model's own
};
void mamba1_dequantize(const struct packing *p, struct mamba1_given *given);
void mamba1_pack_codes(const struct packing *p, struct w8a8_layer *out);

// What the makers of a layer share.
// `count` floats and zeros behind them, up to a multiple of 16 and further.
float *pack_take(struct arena *scratch, long count);
// code * scale; `codes` has room for them.
float *pack_load_codes(struct arena *scratch, const struct tensor *tensor, float scale, int8_t *codes);
int8_t *pack_take_codes(const struct packing *p); // of the largest tensor of a layer
void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out);
void pack_A(const struct packing *p, float *A_log, float *out); // A_log [I, N] is scratch afterwards
// A rotation of the columns of a matrix [d_model, columns].  Columns are taken 16 at a time, as they share
// cache lines.
void pack_rotate_columns(const struct packing *p, const struct hadamard *hadamard, float *matrix, int rows,
                         int columns);

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
    float *x_scale;     // of the sample, where conv1d takes x by its own maximum
};

bool mamba1_layer_float(const struct pass *pass);
bool mamba1_layer_w8a8(const struct pass *pass);

#endif
