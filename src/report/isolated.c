// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/isolated.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/metric.h"

bool isolated_known(const struct result *result, const char *reference)
{
    return result_has_isolated(result) && strcmp(reference, result_attribute(result, "reference_mode")) == 0;
}

static double mse_of(const struct accumulator *rows, int samples, const bool *uses)
{
    struct accumulator sums;
    accumulator_clear(&sums);
    for (int s = 0; s < samples; s++)
        if (uses[s]) accumulator_merge(&sums, &rows[s]);
    const struct measurement measurement = measurement_of_sums(&sums);
    return record_make(&measurement).value[METRIC_MSE];
}

enum status isolated_mse(double *mse, struct result *result, int run, int layer, int component,
                         const bool *uses, struct accumulator *rows, struct error *err)
{
    const struct sample_range all = {0, result_samples(result)};
    if (result_read_isolated(result, run, layer, component, all, rows, err)) return err->status;
    *mse = mse_of(rows, all.count, uses);
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
    const int output = arch_output(result_arch(result));
    const struct sample_range all = {0, result_samples(result)};
    for (int l = 0; l < result_model_layers(result) && !err->status; l++) {
        struct isolated_layer *layer = &layers[l];
        if (result_read_moments(result, run, l, output, all, rows, err)) break;
        layer->mse = mse_of(rows, all.count, uses);
        if (isolated_mse(&layer->isolated_mse, result, run, l, output, uses, rows, err)) break;
        layer->amplification = layer->mse / layer->isolated_mse;
    }
    free(rows);
    return err->status;
}
