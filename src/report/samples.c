// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/samples.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/isolated.h"

enum { AT_ONCE = 32 }; // samples of which profiles are in memory

struct samples {
    struct result *result;
    bool metrics;        // of the file, not of its outputs
    unsigned components; // where the metrics are used
    const char *reference;
    struct stop *stop;
    double graces;                    // after which a signal ends the reading
    float *ref, *mode;                // [max tokens, max width], for outputs
    struct profile profiles[AT_ONCE]; // for metrics
    struct accumulator *alone;        // [samples of the file], where layers were computed by themselves
};

static int max_width(const struct result *result)
{
    int width = 0;
    for (int l = 0; l < result_layers(result); l++)
        for (int c = 0; c < result_arch(result)->n_components; c++) {
            int w = result_width(result, result_layer_at(result, l), c);
            width = w > width ? w : width;
        }
    return width;
}

// Those that were captured, else those that the job asked for.
static unsigned asked_components(const struct result *result)
{
    const char *text = result_attribute(result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    const struct arch *arch = result_arch(result);
    uint32_t mask = 1u << arch_output(arch);
    if (result_layers(result) > 0) return result_components(result, 0);
    if (text[0]) json_parse(&job, text, strlen(text), "job", &ignored);
    const char *list = json_string(json_get(job, "components"));
    if (list) component_select(arch, list, &mask, &ignored);
    json_close(job);
    return mask;
}

static enum status open_buffers(struct samples *s, struct error *err)
{
    const size_t elements = (size_t)result_max_tokens(s->result) * (size_t)max_width(s->result) + 1,
                 alone = (size_t)result_samples(s->result) * sizeof *s->alone;
    if (samples_have_isolated(s) && !(s->alone = malloc(alone)))
        return error_memory(err, alone, "the samples of a comparison");
    if (s->metrics) return STATUS_OK;
    s->ref = malloc(elements * sizeof *s->ref);
    s->mode = malloc(elements * sizeof *s->mode);
    if (s->ref && s->mode) return STATUS_OK;
    return error_memory(err, 2 * elements * sizeof(float), "the samples of a comparison");
}

enum status samples_open(struct samples **samples, struct result *result, const char *reference,
                         struct stop *stop, struct error *err)
{
    struct samples *s = calloc(1, sizeof *s);
    if (!s) return error_memory(err, sizeof *s, "the samples of a comparison");
    *s = (struct samples){.result = result, .reference = reference, .stop = stop};
    if (stop) s->graces = stop_wanted(stop) ? 2 : 1;
    s->metrics =
        result_has_metrics(result) && strcmp(reference, result_attribute(result, "reference_mode")) == 0;
    s->components = asked_components(result);
    if (!s->metrics && !result_has_outputs(result))
        error_set(err, STATUS_INPUT,
                  "--reference %s: the result file keeps %s, and its metrics are against '%s'; name "
                  "that one, or sweep again without %s",
                  reference, result_has_halves(result) ? "its tensors as halves" : "no tensors",
                  result_attribute(result, "reference_mode"),
                  result_has_halves(result) ? "--store-dtype f16" : "--store none");
    if (err->status || open_buffers(s, err))
        samples_close(s);
    else
        *samples = s;
    return err->status;
}

void samples_close(struct samples *samples)
{
    if (!samples) return;
    free(samples->ref);
    free(samples->mode);
    free(samples->alone);
    free(samples);
}

int samples_layers(const struct samples *samples)
{
    return samples->metrics ? result_model_layers(samples->result) : result_layers(samples->result);
}

int samples_layer_at(const struct samples *samples, int index)
{
    return samples->metrics ? index : result_layer_at(samples->result, index);
}

unsigned samples_components(const struct samples *samples, int index)
{
    return samples->metrics ? samples->components : result_components(samples->result, index);
}

// ---- from the metrics ----

static enum status add_profiles(struct samples *s, int run, int layer, int component, const bool *uses,
                                struct profile *total, struct error *err)
{
    for (int first = 0; first < result_samples(s->result) && !err->status; first += AT_ONCE) {
        const int rest = result_samples(s->result) - first;
        const struct sample_range range = {first, rest < AT_ONCE ? rest : AT_ONCE};
        if (result_read_profiles(s->result, run, layer, component, range, s->profiles, err)) break;
        for (int i = 0; i < range.count; i++)
            if (uses[first + i]) profile_merge(total, &s->profiles[i]);
    }
    return err->status;
}

static enum status read_metrics(struct samples *s, int run, int layer, int component, const bool *uses,
                                struct accumulator *rows, struct profile *total, struct error *err)
{
    const struct sample_range all = {0, result_samples(s->result)};
    if (result_read_moments(s->result, run, layer, component, all, rows, err)) return err->status;
    for (int i = 0; i < all.count; i++)
        if (!uses[i]) accumulator_clear(&rows[i]);
    return total ? add_profiles(s, run, layer, component, uses, total, err) : STATUS_OK;
}

bool samples_have_reruns(const struct samples *samples)
{
    return samples->metrics;
}

enum status samples_read_apart(struct samples *samples, int run, int layer, int component,
                               struct accumulator *rows, struct error *err)
{
    const struct sample_range all = {0, result_samples(samples->result)};
    return result_read_moments_apart(samples->result, run, layer, component, all, rows, err);
}

bool samples_has_end_of_model(const struct samples *samples)
{
    return samples->metrics && result_has_end_of_model(samples->result);
}

enum status samples_read_end_of_model(struct samples *samples, int run, struct sample_range range,
                                      struct end_of_model *rows, struct error *err)
{
    return result_read_end_of_model(samples->result, run, range, rows, err);
}

enum status samples_read_end_apart(struct samples *samples, int run, struct sample_range range,
                                   struct end_of_model *rows, struct error *err)
{
    return result_read_end_apart(samples->result, run, range, rows, err);
}

// ---- from the stored outputs ----

static enum status add_outputs(struct samples *s, const int runs[2], int layer, int component, int sample,
                               struct accumulator *row, struct profile *total, struct error *err)
{
    bool self = runs[0] == runs[1];
    if (result_read(s->result, runs[0], layer, component, sample, s->ref, err)) return err->status;
    if (!self && result_read(s->result, runs[1], layer, component, sample, s->mode, err)) return err->status;
    const float *mode = self ? s->ref : s->mode;
    int length = result_length(s->result, sample), width = result_width(s->result, layer, component);
    pairs_add_sample(row, total, s->ref, mode, (size_t)length, width);
    return STATUS_OK;
}

static enum status read_outputs(struct samples *s, int run, int layer, int component, const bool *uses,
                                struct accumulator *rows, struct profile *total, struct error *err)
{
    const int runs[2] = {compare_reference_of(s->result, s->reference, run), run};
    for (int i = 0; i < result_samples(s->result); i++) {
        accumulator_clear(&rows[i]);
        if (uses[i] && add_outputs(s, runs, layer, component, i, &rows[i], total, err)) return err->status;
    }
    return STATUS_OK;
}

enum status samples_read(struct samples *samples, int run, int layer, int component, const bool *uses,
                         struct accumulator *rows, struct profile *total, struct error *err)
{
    if (samples->stop && stop_overdue(samples->stop, samples->graces))
        return error_set(err, STATUS_STOPPED,
                         "stopped by %s before the statistics were done; the same command goes on",
                         stop_signal_name(samples->stop->signal));
    if (total) profile_clear(total);
    return (samples->metrics ? read_metrics : read_outputs)(samples, run, layer, component, uses, rows, total,
                                                            err);
}

bool samples_have_isolated(const struct samples *samples)
{
    return isolated_known(samples->result, samples->reference);
}

enum status samples_read_isolated(struct samples *samples, int run, int layer, int component,
                                  struct accumulator *rows, struct error *err)
{
    const struct sample_range all = {0, result_samples(samples->result)};
    return result_read_isolated(samples->result, run, layer, component, all, rows, err);
}

// Over the samples that are used: *record with the error of the layer by itself, where there is one.
static enum status make_record(struct samples *samples, int run, int layer, int component, const bool *uses,
                               const struct accumulator *rows, struct record *record, struct error *err)
{
    struct accumulator sums;
    accumulator_clear(&sums);
    for (int s = 0; s < result_samples(samples->result); s++)
        if (uses[s]) accumulator_merge(&sums, &rows[s]);
    struct measurement measurement = measurement_of_sums(&sums);
    if (samples->alone && isolated_mse(&measurement.isolated_mse, samples->result, run, layer, component,
                                       uses, samples->alone, err))
        return err->status;
    *record = record_make(&measurement);
    return STATUS_OK;
}

enum status samples_measure(struct samples *samples, int run, int layer, int component, const bool *uses,
                            struct accumulator *rows, struct profile *total, struct record *record,
                            struct error *err)
{
    if (samples_read(samples, run, layer, component, uses, rows, total, err)) return err->status;
    return record ? make_record(samples, run, layer, component, uses, rows, record, err) : STATUS_OK;
}
