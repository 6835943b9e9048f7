// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/report/compare.h"

// ---- which metric, where ----

// Those that say how far a run is from the reference, by a number that is 0 where nothing differs.
static bool suits(const struct metric *metric)
{
    return (metric->scale == SCALE_LOG && metric->better == BETTER_SMALLER && !metric->no_distance &&
            metric->needs == NEEDS_SUMS) ||
           metric == &metric_table[METRIC_PERPLEXITY_RATIO] || metric == &metric_table[METRIC_TOP1_AGREEMENT];
}

double reading_error(const struct metric *metric, const struct interval *interval)
{
    if (metric->scale == SCALE_LOGIT) return 1 - interval->value;
    return metric->no_distance ? interval->phi : interval->value;
}

double reading_error_of_value(const struct metric *metric, double value)
{
    const struct interval interval = {.value = value, .phi = scale_phi(metric->scale, value)};
    return reading_error(metric, &interval);
}

const char *reading_place_text(int layer, const char *component, char text[READING_PLACE_CHARS])
{
    if (layer < 0)
        snprintf(text, READING_PLACE_CHARS, "the predictions");
    else
        snprintf(text, READING_PLACE_CHARS, "%.40s of layer %d", component, layer);
    return text;
}

static const struct metric *find_metric(const char *name, struct error *err)
{
    const int found = metric_find(name, strlen(name));
    if (found >= 0 && suits(&metric_table[found])) return &metric_table[found];
    char known[200] = "";
    for (int m = 0; m < METRICS; m++)
        if (suits(&metric_table[m])) {
            const size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", metric_table[m].name);
        }
    error_set(err, STATUS_USAGE,
              "--metric: expected an error that is 0 where nothing differs (%s), got '%.64s'", known, name);
    return NULL;
}

static enum status find_layer(const char *list, int n_layer, int *layer, struct error *err)
{
    uint32_t *wanted = calloc((size_t)n_layer, sizeof *wanted);
    int count = 0;
    if (!wanted) return error_memory(err, (size_t)n_layer * sizeof *wanted, "the layers");
    if (layer_select("--at", list, n_layer, wanted, err) == STATUS_OK)
        for (int l = 0; l < n_layer; l++)
            if (wanted[l]) {
                *layer = l;
                count++;
            }
    free(wanted);
    if (!err->status && count != 1)
        error_set(err, STATUS_USAGE, "--at: expected one layer, got '%.64s'", list);
    return err->status;
}

enum status reading_place_of(struct reading_place *place, const struct job *job, const char *what,
                             int n_layer, struct error *err)
{
    struct reading_place found = {.metric = find_metric(job->metric, err), .layer = -1};
    int layer = -1;
    if (!found.metric) return err->status;
    if (found.metric->subject == SUBJECT_PREDICTIONS && job->no_logits)
        return error_set(
            err, STATUS_USAGE,
            "--no-logits contradicts --metric %s, which is one of the predictions; give another metric",
            found.metric->name);
    if (job->n_cells > 1 || job->shuffle_calib > 1)
        return error_set(err, STATUS_USAGE,
                         "%s: expected one set of scales, got several; give one --calib_data_num and no "
                         "--shuffle-calib",
                         what);
    if (find_layer(job->at, n_layer, &layer, err)) return err->status;
    if (found.metric->subject == SUBJECT_OUTPUTS) found.layer = layer;
    *place = found;
    return STATUS_OK;
}

// ---- opening ----

// Done in every run, re-runs too.
static void choose_samples(struct reading *reading)
{
    const struct result *result = reading->result;
    for (int s = 0; s < result_samples(result); s++) {
        reading->uses[s] = true;
        for (int r = 0; r < result_all_runs(result) && reading->uses[s]; r++)
            reading->uses[s] = result_state(result, r, s) == STORE_ITEM_DONE;
        reading->samples += reading->uses[s];
        reading->tokens += reading->uses[s] ? result_length(result, s) : 0;
    }
}

enum status reading_open(struct reading *reading, struct result *result, const struct reading_place *place,
                         const char *reference, struct error *err)
{
    const size_t samples = (size_t)result_samples(result);
    *reading = (struct reading){.place = *place,
                                .reference = reference,
                                .result = result,
                                .component_index = arch_output(result_arch(result)),
                                .uses = calloc(samples + 1, sizeof *reading->uses),
                                .sums = calloc(samples + 1, sizeof *reading->sums)};
    reading->component = result_arch(result)->components[reading->component_index].name;
    if (!reading->uses || !reading->sums)
        return error_memory(err, samples * sizeof *reading->sums, "the samples");
    if (samples_open(&reading->rows, result, reference, NULL, err)) return err->status;
    choose_samples(reading);
    if (reading->samples > 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "no sample is done in all runs: go on with --resume");
}

void reading_close(struct reading *reading)
{
    samples_close(reading->rows);
    free(reading->uses);
    free(reading->sums);
    *reading = (struct reading){0};
}

// ---- tables ----

int reading_find(const struct result *result, const struct mode *mode, int dither)
{
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        if (run->dither == dither && strcmp(run->mode, mode->name) == 0) return r;
    }
    return -1;
}

static enum status read_predictions(struct reading *reading, int run, double *table, struct error *err)
{
    const int reference = compare_reference_of(reading->result, reading->reference, run);
    int n = 0;
    for (int s = 0; s < result_samples(reading->result); s++) {
        struct end_of_model mode, ref;
        const struct sample_range range = {s, 1};
        if (!reading->uses[s]) continue;
        if (samples_read_end_of_model(reading->rows, run, range, &mode, err) ||
            samples_read_end_of_model(reading->rows, reference, range, &ref, err))
            return err->status;
        end_of_model_fill(&ref, &mode, reading->samples, n++, table);
    }
    return STATUS_OK;
}

static enum status read_layer(struct reading *reading, int run, double *table, struct error *err)
{
    int n = 0;
    if (samples_read(reading->rows, run, reading->place.layer, reading->component_index, reading->uses,
                     reading->sums, NULL, err))
        return err->status;
    for (int s = 0; s < result_samples(reading->result); s++)
        if (reading->uses[s]) reading->sums[n++] = reading->sums[s];
    moments_fill(reading->sums, n, table);
    return STATUS_OK;
}

enum status reading_table(struct reading *reading, int run, double *table, struct error *err)
{
    return (reading->place.layer < 0 ? read_predictions : read_layer)(reading, run, table, err);
}
