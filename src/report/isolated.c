// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/isolated.h"

#include <stdlib.h>

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/metric.h"

typedef enum status read_moments(struct result *result, int run, int layer, int component,
                                 struct sample_range range, struct accumulator *rows, struct error *err);

// Over the samples that count; rows[result_samples()] is room.
static enum status read_mse(double *mse, read_moments *read, struct result *result, int run, int layer,
                            const bool *uses, struct accumulator *rows, struct error *err)
{
    const struct sample_range all = {0, result_samples(result)};
    struct accumulator sums;
    accumulator_clear(&sums);
    if (read(result, run, layer, arch_output(result_arch(result)), all, rows, err)) return err->status;
    for (int s = 0; s < all.count; s++)
        if (uses[s]) accumulator_merge(&sums, &rows[s]);
    const struct measurement measurement = measurement_of_sums(&sums);
    *mse = record_make(&measurement).value[METRIC_MSE];
    return STATUS_OK;
}

enum status isolated_layers(struct isolated_layer *layers, struct result *result, int run, const bool *uses,
                            struct error *err)
{
    const size_t bytes = ((size_t)result_samples(result) + 1) * sizeof(struct accumulator);
    if (!result_has_isolated(result))
        return error_set(
            err, STATUS_INPUT,
            "the result file has no errors of layers by themselves; sweep again with --isolated");
    struct accumulator *rows = malloc(bytes);
    if (!rows) return error_memory(err, bytes, "the errors of the layers");
    for (int l = 0; l < result_model_layers(result) && !err->status; l++) {
        struct isolated_layer *layer = &layers[l];
        if (read_mse(&layer->mse, result_read_moments, result, run, l, uses, rows, err) == STATUS_OK &&
            read_mse(&layer->isolated_mse, result_read_isolated, result, run, l, uses, rows, err) ==
                STATUS_OK)
            layer->amplification = layer->mse / layer->isolated_mse;
    }
    free(rows);
    return err->status;
}
