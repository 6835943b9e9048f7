// SPDX-License-Identifier: Apache-2.0
// What layers of every family are made of: operands of products, the float product, norm_in.
#ifndef SSMSWEEP_ARCH_LAYER_PARTS_H
#define SSMSWEEP_ARCH_LAYER_PARTS_H

#include "ssmsweep/arch/pass.h"

// An activation: codes with their scale, of the sample or of each token, or values; where both are there they
// are the same numbers.
struct operand {
    const float *values;
    const int8_t *codes;
    long ld;
    const float *scale;
    bool by_row;
};

static inline struct operand of_values(const float *values, long ld)
{
    return (struct operand){.values = values, .ld = ld};
}

static inline struct operand of_codes(const int8_t *codes, long ld, const float *scale)
{
    return (struct operand){.codes = codes, .ld = ld, .scale = scale};
}

// Local.  The values of an operand; of codes in `room`, [tokens][ld].
static inline struct operand valued(const struct pass *pass, const struct operand *o, int width, float *room,
                                    long ld)
{
    if (o->values) return *o;
    const struct dequantize dequantize = {.codes = o->codes,
                                          .ldq = o->ld,
                                          .width = width,
                                          .scale = o->scale,
                                          .by_row = o->by_row,
                                          .values = room,
                                          .ldv = ld};
    pass->batch->backend->dequantize(pass->batch, &dequantize);
    return of_values(room, ld);
}

// Local.  out [tokens][outputs] = a weightsᵀ; rounded to FP16 where the pass is in FP16.
static inline void product(const struct pass *pass, const float *a, long lda, const float *weights, int depth,
                           float *out, int outputs)
{
    const struct gemm_f32 gemm = {.a = a,
                                  .lda = lda,
                                  .w = weights,
                                  .depth = depth,
                                  .out = out,
                                  .ldo = outputs,
                                  .half = pass->recipe->precision == PRECISION_FP16};
    pass->batch->backend->product_f32(pass->batch, &gemm, outputs);
}

// Local.  r = r + h; x̂ = r / sqrt(mean(r²) + eps); n = x̂ · w_norm
static inline void norm_in(const struct pass *pass, long ld, const float *weight)
{
    const struct norm norm = {.residual = pass->residual,
                              .h = pass->h,
                              .ld = ld,
                              .width = pass->dims->d_model,
                              .eps = pass->dims->norm_eps,
                              .xhat = pass->xhat,
                              .weight = weight,
                              .scaled = pass->normed,
                              .half = pass->recipe->precision == PRECISION_FP16};
    pass->batch->backend->norm(pass->batch, &norm);
}

#endif
