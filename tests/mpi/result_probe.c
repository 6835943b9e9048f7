// SPDX-License-Identifier: Apache-2.0
// Opens result files and reads all of them.
#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/store/store.h"

static enum status read_everything(struct result *result, struct error *err)
{
    for (int r = 0; r < result_runs(result); r++)
        for (int l = 0; l < result_layers(result); l++)
            for (int c = 0; c < MAMBA1_COMPONENTS; c++) {
                if (!(result_components(result, l) & 1u << c)) continue;
                size_t width = (size_t)result_width(result, result_layer_at(result, l), c);
                float *values = malloc((size_t)result_max_tokens(result) * width * sizeof *values);
                if (!values) return error_memory(err, width, "a sample");
                for (int s = 0; s < result_samples(result) && !err->status; s++)
                    result_read(result, r, result_layer_at(result, l), c, s, values, err);
                free(values);
                if (err->status) return err->status;
            }
    return STATUS_OK;
}

static enum status read_metrics(struct result *result, struct error *err)
{
    const size_t samples = (size_t)result_samples(result);
    const struct sample_range every = {0, result_samples(result)};
    struct accumulator *moments = malloc(samples * sizeof *moments);
    struct profile *profiles = malloc(samples * sizeof *profiles);
    struct end_of_model *ends = malloc(samples * sizeof *ends);
    if (!moments || !profiles || !ends) error_memory(err, samples, "metrics");
    for (int r = 0; r < result_runs(result) && !err->status; r++) {
        for (int l = 0; l < result_model_layers(result) && !err->status; l++)
            for (int c = 0; c < MAMBA1_COMPONENTS && !err->status; c++)
                if (!result_read_moments(result, r, l, c, every, moments, err))
                    result_read_profiles(result, r, l, c, every, profiles, err);
        if (result_has_end_of_model(result) && !err->status)
            result_read_end_of_model(result, r, every, ends, err);
    }
    free(moments);
    free(profiles);
    free(ends);
    return err->status;
}

// For each file a line: its status, and what is wrong with it.
int main(int argc, char **argv)
{
    store_prepare();
    for (int n = 1; n < argc; n++) {
        struct result *result = NULL;
        struct error err = {0};
        if (result_open(&result, argv[n], &err) == STATUS_OK) {
            if (read_everything(result, &err) == STATUS_OK) read_metrics(result, &err);
            result_close(result);
        }
        printf("%d %s\n", (int)err.status, err.status ? err.text : "");
        fflush(stdout);
    }
    return 0;
}
