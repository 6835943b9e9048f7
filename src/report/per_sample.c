// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/per_sample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/samples.h"
#include "ssmsweep/report/view.h"

struct sample {
    int index, tokens;
    struct record record;
};

struct writer {
    struct result *result;
    const char *reference;
    struct json_writer *json;
    FILE *csv;
    struct samples *sums;
    // [samples], of one entry
    bool *uses;
    struct accumulator *rows;
    struct sample *samples;
};

// ---- measuring ----

static struct sample make_sample(const struct accumulator *sums, int index, int tokens)
{
    const struct measurement measurement = measurement_of_sums(sums);
    return (struct sample){index, tokens, record_make(&measurement)};
}

// NaN is the worst; equal ones stay in the order of the samples.
static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    const double of_x = x->record.value[METRIC_MSE], of_y = y->record.value[METRIC_MSE];
    if (isnan(of_x) != isnan(of_y)) return isnan(of_x) ? -1 : 1;
    if (!isnan(of_x) && of_x != of_y) return of_x > of_y ? -1 : 1;
    return x->index - y->index;
}

static enum status measure_entry(struct writer *w, const struct comparison_entry *e, struct error *err)
{
    if (samples_read(w->sums, e->run, e->layer, e->component, w->uses, w->rows, NULL, err))
        return err->status;
    for (int s = 0; s < result_samples(w->result); s++)
        w->samples[s] = make_sample(&w->rows[s], s, result_length(w->result, s));
    qsort(w->samples, (size_t)result_samples(w->result), sizeof *w->samples, compare_samples);
    return STATUS_OK;
}

// ---- writing ----

static void put_csv(struct writer *w, const struct comparison_entry *e, const struct sample *sample)
{
    const struct result_run *run = result_run_at(w->result, e->run);
    fprintf(w->csv, "%s,", run->mode);
    char cell[CELL_NAME_ROOM], digits[NUMBER_ROOM];
    if (run->cell.calib_data_num > 0) fputs(cell_name(run->cell, cell), w->csv);
    fprintf(w->csv, ",%d,%s,%d,%d", e->layer, e->name, sample->index, sample->tokens);
    for (int i = 1, m; (m = metric_at(LIST_PER_SAMPLE, i)) >= 0; i++)
        if (isnan(sample->record.value[m]))
            fputc(',', w->csv);
        else
            fprintf(w->csv, ",%s", number_text(sample->record.value[m], NUMBER_EXACT, digits));
    fputc('\n', w->csv);
}

static void put_entry(struct writer *w, const struct comparison_entry *e)
{
    const struct result_run *run = result_run_at(w->result, e->run);
    json_begin_object(w->json, NULL);
    json_put_string(w->json, "mode", run->mode);
    view_put_cell(w->json, run);
    json_put_integer(w->json, "layer", e->layer);
    json_put_string(w->json, "component", e->name);
    json_begin_array(w->json, "samples");
    for (int s = 0; s < result_samples(w->result); s++) {
        json_begin_object(w->json, NULL);
        json_put_integer(w->json, "sample", w->samples[s].index);
        json_put_integer(w->json, "tokens", w->samples[s].tokens);
        for (int i = 1, m; (m = metric_at(LIST_PER_SAMPLE, i)) >= 0; i++)
            json_put_double(w->json, metric_table[m].name, w->samples[s].record.value[m]);
        json_end_object(w->json);
        put_csv(w, e, &w->samples[s]);
    }
    json_end_array(w->json);
    json_end_object(w->json);
}

static enum status write_entries(struct writer *w, const struct comparison *comparison, struct error *err)
{
    fputs("mode,calib_data_num,layer,component,sample,tokens", w->csv);
    for (int i = 1, m; (m = metric_at(LIST_PER_SAMPLE, i)) >= 0; i++)
        fprintf(w->csv, ",%s", metric_table[m].name);
    fputc('\n', w->csv);
    json_begin_object(w->json, NULL);
    json_put_string(w->json, "reference_mode", w->reference);
    json_begin_array(w->json, "entries");
    for (int i = 0; i < comparison->count; i++) {
        const struct comparison_entry *e = &comparison->entries[i];
        int reference_run = compare_reference_of(w->result, w->reference, e->run);
        bool complete =
            result_run_at(w->result, e->run)->complete && result_run_at(w->result, reference_run)->complete;
        if (view_is_reference(comparison, w->result, e->run) || !complete) continue;
        if (measure_entry(w, e, err)) return err->status;
        put_entry(w, e);
    }
    json_end_array(w->json);
    json_end_object(w->json);
    return STATUS_OK;
}

static enum status open_buffers(struct writer *w, struct error *err)
{
    const size_t samples = (size_t)result_samples(w->result) + 1;
    if (samples_open(&w->sums, w->result, w->reference, NULL, err)) return err->status;
    w->uses = malloc(samples * sizeof *w->uses);
    w->rows = calloc(samples, sizeof *w->rows);
    w->samples = calloc(samples, sizeof *w->samples);
    if (!w->uses || !w->rows || !w->samples)
        return error_memory(err, samples * sizeof *w->rows, "the samples of a comparison");
    memset(w->uses, true, samples * sizeof *w->uses);
    return STATUS_OK;
}

enum status per_sample_write(const struct comparison *comparison, struct result *result,
                             const char *directory, struct error *err)
{
    struct writer w = {.result = result, .reference = view_reference_name(comparison, result)};
    char *csv = NULL, *json = NULL;
    size_t csv_bytes = 0;
    if (open_buffers(&w, err)) goto free_buffers;
    w.csv = open_memstream(&csv, &csv_bytes);
    w.json = json_writer_open();
    if (w.csv && w.json)
        write_entries(&w, comparison, err);
    else
        error_memory(err, 1u << 16, "the samples of a comparison");
    if (w.json) json = json_writer_finish(w.json);
    if (w.csv && fclose(w.csv)) error_memory(err, csv_bytes, "per_sample.csv");
    if (!err->status && !file_replace_in(directory, "per_sample.json", json, err))
        file_replace_in(directory, "per_sample.csv", csv, err);
    free(csv);
    free(json);
free_buffers:
    samples_close(w.sums);
    free(w.uses);
    free(w.rows);
    free(w.samples);
    return err->status;
}
