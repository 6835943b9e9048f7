// SPDX-License-Identifier: Apache-2.0
// Layers of a W8A8 checkpoint as floats.
#include "mamba1_parts.h"
#include "ssmsweep/arch/pack.h"

// had is undone on the input axis of in_proj and on both axes of out_proj.
static void rotate_back(const struct packing *p, float *in_proj, float *out_proj)
{
    const int D = p->model->dims.d_model, I = p->model->dims.d_inner;
    for (int n = 0; n < 2 * I; n++)
        p->kernels->hadamard(&p->rotations->model.inverse, in_proj + (long)n * D);
    pack_rotate_columns(p->kernels, p->scratch, &p->rotations->model.inverse, out_proj, D, I);
    for (int n = 0; n < D; n++)
        p->kernels->hadamard(&p->rotations->inner.inverse, out_proj + (long)n * I);
}

// Makes a tensor of the shape of `codes`, row-major.
static struct tensor float_tensor(const struct tensor *codes, const float *values)
{
    struct tensor made = *codes;
    int64_t bytes;
    made.dtype = DTYPE_F32;
    made.data = (const unsigned char *)values;
    tensor_set_contiguous(&made, &bytes); // fits, as the scratch did
    return made;
}

void mamba1_dequantize(const struct packing *p, struct mamba1_given *given)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    const float *scale = model_scales(p->model, p->layer) + MAMBA1_SITES;
    float *values[MAMBA1_TENSORS] = {NULL};
    int8_t *codes = pack_take_codes(p);
    given->tensors[TENSOR_NORM] = m[TENSOR_NORM];
    for (int i = TENSOR_NORM + 1; i < MAMBA1_TENSORS; i++) {
        values[i] = pack_load_codes(p->scratch, m[i], scale[i], codes);
        given->made[i] = float_tensor(m[i], values[i]);
        given->tensors[i] = &given->made[i];
    }
    rotate_back(p, values[TENSOR_IN_PROJ], values[TENSOR_OUT_PROJ]);
}
