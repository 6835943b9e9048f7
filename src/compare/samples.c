// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compare/samples.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compare/compare.h"

struct samples {
    struct result *result;
    const char *reference;
    struct stop *stop;
    double graces;     // after which a signal ends the reading
    float *ref, *mode; // [max tokens, max width]
};

static int max_width(const struct result *result)
{
    int width = 0;
    for (int l = 0; l < result_layers(result); l++)
        for (int c = 0; c < COMPONENT_COUNT; c++) {
            int w = result_width(result, result_layer_at(result, l), (enum component)c);
            width = w > width ? w : width;
        }
    return width;
}

enum status samples_open(struct samples **samples, struct result *result, const char *reference,
                         struct stop *stop, struct error *err)
{
    struct samples *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s, "the samples of a comparison");
    *s = (struct samples){.result = result, .reference = reference, .stop = stop};
    if (stop) s->graces = stop_wanted(stop) ? 2 : 1;
    size_t elements = (size_t)result_max_tokens(result) * (size_t)max_width(result) + 1;
    s->ref = malloc(elements * sizeof *s->ref);
    s->mode = malloc(elements * sizeof *s->mode);
    if (!s->ref || !s->mode) {
        samples_close(s);
        return error_memory(err, 2 * elements * sizeof(float), "the samples of a comparison");
    }
    *samples = s;
    return STATUS_OK;
}

void samples_close(struct samples *samples)
{
    if (!samples) return;
    free(samples->ref);
    free(samples->mode);
    free(samples);
}

int samples_layers(const struct samples *samples)
{
    return result_layers(samples->result);
}

int samples_layer_at(const struct samples *samples, int index)
{
    return result_layer_at(samples->result, index);
}

unsigned samples_components(const struct samples *samples, int index)
{
    return result_components(samples->result, index);
}

// ---- from the stored outputs ----

static enum status add_outputs(struct samples *s, const int runs[2], int layer, enum component component,
                               int sample, struct accumulator *row, struct profile *total, struct error *err)
{
    bool self = runs[0] == runs[1];
    if (result_read(s->result, runs[0], layer, component, sample, s->ref, err)) return err->status;
    if (!self && result_read(s->result, runs[1], layer, component, sample, s->mode, err)) return err->status;
    const float *mode = self ? s->ref : s->mode;
    int length = result_length(s->result, sample), width = result_width(s->result, layer, component);
    accumulator_add_sample(row, s->ref, mode, (size_t)length * (size_t)width);
    profile_add_sample(total, s->ref, mode, length, width);
    return STATUS_OK;
}

enum status samples_read(struct samples *samples, int run, int layer, enum component component,
                         const bool *uses, struct accumulator *rows, struct profile *total, struct error *err)
{
    const int runs[2] = {compare_reference_of(samples->result, samples->reference, run), run};
    profile_clear(total);
    for (int i = 0; i < result_samples(samples->result); i++) {
        accumulator_clear(&rows[i]);
        if (!uses[i]) continue;
        if (samples->stop && stop_overdue(samples->stop, samples->graces))
            return error_set(err, STATUS_STOPPED,
                             "stopped by %s before the statistics were done; the same command goes on",
                             stop_signal_name(samples->stop->signal));
        if (add_outputs(samples, runs, layer, component, i, &rows[i], total, err)) return err->status;
    }
    return STATUS_OK;
}
