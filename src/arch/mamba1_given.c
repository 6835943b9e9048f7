// SPDX-License-Identifier: Apache-2.0
// Layers of a quantized checkpoint: their weights as they come, and as floats.
#include <string.h>

#include "codes_parts.h"
#include "mamba1_parts.h"
#include "ssmsweep/arch/codes4.h"
#include "ssmsweep/arch/pack.h"

static const char *const prefixes[MAMBA1_TENSORS] = {[TENSOR_IN_PROJ] = "mixer.in_proj",
                                                     [TENSOR_X_PROJ] = "mixer.x_proj",
                                                     [TENSOR_OUT_PROJ] = "mixer.out_proj"};

// A weight in 4 bits.  Of in_proj and x_proj the file has s_ch / s_o.
static void load_four_bits(const struct packing *p, int tensor, struct loaded_weight *loaded)
{
    const struct dims *d = &p->model->dims;
    const int site = tensor == TENSOR_IN_PROJ  ? SITE_IN_PROJ_OUTPUT
                     : tensor == TENSOR_X_PROJ ? SITE_X_PROJ_OUTPUT
                                               : MAMBA1_SITES;
    const int outputs = tensor == TENSOR_IN_PROJ  ? 2 * d->d_inner
                        : tensor == TENSOR_X_PROJ ? d->dt_rank + 2 * d->d_state
                                                  : d->d_model;
    const int depth = tensor == TENSOR_IN_PROJ ? d->d_model : d->d_inner;
    char name[CODES_NAME_CHARS];
    codes_layer_name(p->layer, prefixes[tensor], name);
    const struct codes4 codes = codes4_find(p->model, name, outputs, depth);
    const float *s_o = codes.a8 && site < MAMBA1_SITES ? &model_scales(p->model, p->layer)[site] : NULL;
    codes4_load_weight(&codes, p->kernels, p->scratch, s_o, 0, loaded);
}

void mamba1_load_given(const struct packing *p, enum mamba1_unit weight, struct loaded_weight *loaded)
{
    const int index = (int)weight + 1;
    const struct tensor *tensor = model_tensor(p->model, p->layer, index);
    const float *scale = &model_scales(p->model, p->layer)[MAMBA1_SITES + index];
    *loaded = (struct loaded_weight){0};
    if (tensor->dtype == DTYPE_I32) {
        load_four_bits(p, index, loaded);
    } else if (tensor->dtype == DTYPE_I8) {
        int8_t *codes = arena_take(p->scratch, (size_t)tensor_elements(tensor) + KERNEL_LANES);
        loaded->values = pack_load_codes(p->scratch, tensor, *scale, codes);
        loaded->given = FORMAT_INT8;
        loaded->codes = codes;
        loaded->scales = scale;
    } else {
        loaded->values = pack_load(p->scratch, tensor);
        loaded->given = FORMAT_FP16;
    }
}

// ---- as floats ----

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

// Row-major, of the shape that a float checkpoint has.
static struct tensor float_tensor(const struct dims *d, int index, const float *values)
{
    struct tensor made = {.dtype = DTYPE_F32, .data = (const unsigned char *)values};
    const struct arch_tensor *about = &d->arch->tensors[index];
    int64_t bytes;
    for (; about->shape[made.dims] != EXTENT_END; made.dims++)
        made.shape[made.dims] = arch_size(about->shape[made.dims], d);
    tensor_set_contiguous(&made, &bytes); // fits, as the scratch did
    return made;
}

void mamba1_dequantize(const struct packing *p, struct mamba1_given *given)
{
    float *values[MAMBA1_TENSORS] = {NULL};
    given->tensors[TENSOR_NORM] = model_tensor(p->model, p->layer, TENSOR_NORM);
    for (int i = TENSOR_NORM + 1; i < MAMBA1_TENSORS; i++) {
        struct loaded_weight loaded;
        mamba1_load_given(p, (enum mamba1_unit)(i - 1), &loaded);
        values[i] = loaded.values;
        given->made[i] = float_tensor(&p->model->dims, i, loaded.values);
        given->tensors[i] = &given->made[i];
    }
    rotate_back(p, values[TENSOR_IN_PROJ], values[TENSOR_OUT_PROJ]);
}
