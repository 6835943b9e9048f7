// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/samples.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/recipe/recipe.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/isolated.h"

enum { AT_ONCE = 32 }; // samples of which profiles are in memory

struct samples {
    struct result *result;
    bool metrics;         // of the file, not of its outputs
    int n_layers;         // of which there are sums
    int *layers;          // [n_layers] of the model, ascending
    unsigned *components; // [n_layers] masks
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

// Those of the model, as far as the file tells.
static int count_layers(const struct result *result)
{
    const int stored = result_layers(result), last = stored > 0 ? result_layer_at(result, stored - 1) : -1;
    return result_model_layers(result) > last ? result_model_layers(result) : last + 1;
}

static enum status list_layers(struct samples *s, struct error *err)
{
    const size_t most = (size_t)count_layers(s->result) + 1;
    const unsigned asked = asked_components(s->result);
    s->n_layers = s->metrics ? result_model_layers(s->result) : result_layers(s->result);
    s->layers = malloc(most * sizeof *s->layers);
    s->components = malloc(most * sizeof *s->components);
    if (!s->layers || !s->components) return error_memory(err, most * sizeof *s->layers, "the layers");
    for (int i = 0; i < s->n_layers; i++) {
        s->layers[i] = s->metrics ? i : result_layer_at(s->result, i);
        s->components[i] = s->metrics ? asked : result_components(s->result, i);
    }
    return STATUS_OK;
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
    if (!s->metrics && !result_has_outputs(result))
        error_set(err, STATUS_INPUT,
                  "--reference %s: the result file keeps %s, and its metrics are against '%s'; name "
                  "that one, or sweep again without %s",
                  reference, result_has_halves(result) ? "its tensors as halves" : "no tensors",
                  result_attribute(result, "reference_mode"),
                  result_has_halves(result) ? "--store-dtype f16" : "--store none");
    if (err->status || list_layers(s, err) || open_buffers(s, err))
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
    free(samples->layers);
    free(samples->components);
    free(samples);
}

int samples_layers(const struct samples *samples)
{
    return samples->n_layers;
}

int samples_layer_at(const struct samples *samples, int index)
{
    return samples->layers[index];
}

unsigned samples_components(const struct samples *samples, int index)
{
    return samples->components[index];
}

// ---- which of them are wanted ----

// Components of a layer whose outputs are stored.
static unsigned stored_components(const struct result *result, int layer)
{
    for (int i = 0; i < result_layers(result); i++)
        if (result_layer_at(result, i) == layer) return result_components(result, i);
    return 0;
}

bool samples_are_stored(const struct samples *samples)
{
    bool stored = result_has_outputs(samples->result);
    for (int i = 0; i < samples->n_layers; i++)
        stored &= !(samples->components[i] & ~stored_components(samples->result, samples->layers[i]));
    return stored;
}

// "0,23", "1-22"
static void name_layers(char *text, size_t room, const uint32_t *listed, int n_layer)
{
    size_t used = 0;
    text[0] = '\0';
    for (int l = 0, last; l < n_layer && used < room; l = last + 1) {
        for (last = l; listed[l] && last + 1 < n_layer && listed[last + 1];)
            last++;
        if (!listed[l]) continue;
        const char *before = used ? "," : "";
        used += (size_t)(last > l ? snprintf(text + used, room - used, "%s%d-%d", before, l, last)
                                  : snprintf(text + used, room - used, "%s%d", before, l));
    }
}

// Without metrics against the reference only what is stored can be compared.  Names what else is wanted.
static enum status refuse_absent(const struct samples *s, const uint32_t *wanted, int n_layer,
                                 const char *remedy, struct error *err)
{
    char absent[120], there[120];
    uint32_t *stored = calloc((size_t)n_layer + 1, sizeof *stored), *lacking = stored;
    if (!stored) return error_memory(err, (size_t)n_layer * sizeof *stored, "the layers");
    for (int i = 0; i < result_layers(s->result); i++)
        stored[result_layer_at(s->result, i)] = 1;
    name_layers(there, sizeof there, stored, n_layer);
    int count = 0;
    for (int l = 0; l < n_layer; l++) {
        lacking[l] = wanted[l] && !stored[l];
        count += lacking[l] != 0;
    }
    name_layers(absent, sizeof absent, lacking, n_layer);
    free(stored);
    if (count == 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "--layers: the result file lacks layer%s %s: it has outputs of %s %s",
                     count > 1 ? "s" : "", absent, there, remedy);
}

// Why there is nothing but outputs, and what to do.
static void name_remedy(const struct samples *s, char text[200])
{
    if (result_has_metrics(s->result))
        snprintf(text, 200, "alone, and metrics of the rest against '%.32s'; compare with --reference %.32s",
                 result_attribute(s->result, "reference_mode"),
                 result_attribute(s->result, "reference_mode"));
    else
        snprintf(text, 200, "alone, as it was imported without metrics; import arrays of the others, too");
}

// Keeps the layers that are wanted, with these components; 0: those that they have.
static enum status narrow(struct samples *s, const uint32_t *wanted, unsigned components, struct error *err)
{
    char remedy[200];
    int kept = 0;
    name_remedy(s, remedy);
    for (int i = 0; i < s->n_layers; i++) {
        const int layer = s->layers[i];
        const unsigned mask = components ? components : s->components[i];
        const unsigned lacking = s->metrics ? 0 : mask & ~s->components[i];
        if (!wanted[layer]) continue;
        if (lacking)
            return error_set(
                err, STATUS_INPUT,
                "--components: the result file lacks %s of layer %d: it has the outputs stored %s",
                result_arch(s->result)->components[__builtin_ctz(lacking)].name, layer, remedy);
        s->layers[kept] = layer;
        s->components[kept++] = mask;
    }
    s->n_layers = kept;
    return STATUS_OK;
}

enum status samples_choose(struct samples *samples, const char *layers, const char *components, bool captured,
                           struct error *err)
{
    const int n_layer = count_layers(samples->result);
    uint32_t *wanted = calloc((size_t)n_layer + 1, sizeof *wanted), mask = 0;
    char remedy[200];
    if (!wanted) return error_memory(err, (size_t)n_layer * sizeof *wanted, "the layers");
    captured &= result_layers(samples->result) > 0;
    for (int i = 0; i < samples->n_layers; i++)
        wanted[samples->layers[i]] = !captured || stored_components(samples->result, samples->layers[i]);
    name_remedy(samples, remedy);
    if ((!components || !component_select(result_arch(samples->result), components, &mask, err)) &&
        (!layers || (!layer_select("--layers", layers, n_layer, wanted, err) &&
                     (samples->metrics || !refuse_absent(samples, wanted, n_layer, remedy, err)))))
        narrow(samples, wanted, mask, err);
    free(wanted);
    return err->status;
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
