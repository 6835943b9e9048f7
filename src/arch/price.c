// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/price.h"

#include <string.h>

enum { FLOAT_BYTES = 4, HALF_BYTES = 2, SCALE_BYTES = 4, GROUP_SCALE_BYTES = 2 };

// The tensor of a unit that is a weight; NULL: it is none.
static const struct arch_tensor *tensor_of(const struct arch *arch, int unit)
{
    const bool weight = strncmp(arch->units.of[unit].name, UNIT_WEIGHT, sizeof UNIT_WEIGHT - 1) == 0;
    return weight ? &arch->tensors[unit + 1] : NULL;
}

static int64_t elements_of(const struct arch_tensor *tensor, const struct dims *dims)
{
    int64_t elements = 1;
    for (int i = 0; i < 4 && tensor->shape[i] != EXTENT_END; i++)
        elements *= arch_size(tensor->shape[i], dims);
    return elements;
}

static int64_t bytes_in(int64_t elements, int64_t outputs, enum format format)
{
    const int group = format_group(format);
    if (group > 0) return elements / 2 + elements / group * GROUP_SCALE_BYTES;
    switch (format) {
    case FORMAT_FLOAT:
        return elements * FLOAT_BYTES;
    case FORMAT_FP16:
        return elements * HALF_BYTES;
    case FORMAT_INT8_CHANNEL:
        return elements + outputs * SCALE_BYTES;
    default:
        return elements + SCALE_BYTES;
    }
}

int64_t price_weight_bytes(const struct dims *dims, int unit, enum format format)
{
    const struct arch_tensor *tensor = tensor_of(dims->arch, unit);
    return tensor ? bytes_in(elements_of(tensor, dims), arch_size(tensor->shape[0], dims), format) : 0;
}

int64_t arch_weight_rows(const struct dims *dims, int unit)
{
    const struct arch_tensor *tensor = tensor_of(dims->arch, unit);
    return tensor ? arch_size(tensor->shape[0], dims) : 0;
}

int64_t price_multiply_adds(const struct dims *dims, int unit)
{
    if (!(dims->arch->products >> unit & 1)) return 0;
    return elements_of(tensor_of(dims->arch, unit), dims);
}

int64_t price_embedding_bytes(const struct dims *dims, enum format format)
{
    return (int64_t)dims->vocab_size * dims->d_model * (format == FORMAT_FP16 ? HALF_BYTES : FLOAT_BYTES);
}

// In a float mode a weight is FP32, or FP16 where the mode rounds it.
static enum format format_of(const struct arch *arch, const struct recipe *recipe, int layer, int unit)
{
    if (!recipe_is_float(recipe)) return (enum format)recipe->layers[layer].of[unit];
    return recipe->precision == PRECISION_FP16 && tensor_of(arch, unit)->halves ? FORMAT_FP16 : FORMAT_FLOAT;
}

static bool is_int8(const struct arch *arch, const struct recipe *recipe, int layer, int unit)
{
    if (recipe_is_float(recipe)) return false;
    return !arch->takes_codes || arch->takes_codes(&recipe->layers[layer], unit);
}

struct price price_of_layer(const struct dims *dims, const struct recipe *recipe, int layer)
{
    const struct arch *arch = dims->arch;
    struct price price = {0};
    for (int u = 0; u < arch->units.count; u++) {
        if (!tensor_of(arch, u)) continue;
        const int64_t products = price_multiply_adds(dims, u);
        price.weight_bytes += price_weight_bytes(dims, u, format_of(arch, recipe, layer, u));
        price.multiply_adds += products;
        if (is_int8(arch, recipe, layer, u)) price.int8_multiply_adds += products;
    }
    return price;
}

struct price price_of(const struct dims *dims, const struct recipe *recipe)
{
    const bool fp16 =
        recipe->precision == PRECISION_FP16 || (!recipe_is_float(recipe) && recipe->embedding == FORMAT_FP16);
    struct price whole = {.weight_bytes = price_embedding_bytes(dims, fp16 ? FORMAT_FP16 : FORMAT_FLOAT)};
    for (int l = 0; l < dims->n_layer; l++) {
        const struct price layer = price_of_layer(dims, recipe, l);
        whole.weight_bytes += layer.weight_bytes;
        whole.int8_multiply_adds += layer.int8_multiply_adds;
        whole.multiply_adds += layer.multiply_adds;
    }
    return whole;
}
