// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/depth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/recipe/parts.h"
#include "ssmsweep/report/findings.h"
#include "ssmsweep/report/trials.h"

enum { CHARS = 48 };

struct depth_layer {
    struct interval whole, own; // in the model; by itself
    struct change quotient;
    double adjusted;
    bool larger; // surely
};

struct depth {
    struct trials trials;
    const struct mode *mode;
    const struct metric *metric;
    struct depth_layer *layers; // [n_layer]
    int n_layer;
    int begins;    // the first layer that surely has more error than its own; -1: none
    int inherited; // from here on more than half of each layer's error is not its own; -1: not even of the
                   // last
    int worst;     // the layer with the largest error of its own
};

// ---- measuring ----

// Rank 0.  Both tables of a layer; rows[samples] is room.
static enum status read_layer(struct result *result, int run, int layer, int samples,
                              struct accumulator *rows, double *tables[2], struct error *err)
{
    const struct sample_range all = {0, samples};
    const int output = arch_output(result_arch(result));
    if (result_read_moments(result, run, layer, output, all, rows, err)) return err->status;
    moments_fill(rows, samples, tables[0]);
    if (result_read_isolated(result, run, layer, output, all, rows, err)) return err->status;
    moments_fill(rows, samples, tables[1]);
    return STATUS_OK;
}

static enum status find_begin(struct depth *d, struct error *err)
{
    double *p = calloc((size_t)d->n_layer, sizeof *p);
    if (!p) return error_memory(err, (unsigned)d->n_layer * sizeof *p, "the tests");
    for (int l = 0; l < d->n_layer; l++)
        p[l] = d->layers[l].quotient.p;
    holm_adjust(p, d->n_layer, p);
    d->begins = -1;
    d->inherited = d->n_layer;
    for (int l = d->n_layer - 1; l >= 0; l--) {
        struct depth_layer *layer = &d->layers[l];
        layer->adjusted = p[l];
        layer->larger = p[l] <= 1 - BOOTSTRAP_LEVEL && layer->quotient.phi > 0;
        if (layer->larger) d->begins = l;
        if (layer->quotient.value >= 2 && d->inherited == l + 1) d->inherited = l;
        if (layer->own.value > d->layers[d->worst].own.value) d->worst = l;
    }
    if (d->inherited == d->n_layer) d->inherited = -1;
    free(p);
    return STATUS_OK;
}

static enum status measure(struct depth *d, struct result *result, struct error *err)
{
    const int samples = result_samples(result), run = reading_find(result, d->mode, 0);
    const size_t table = (size_t)MOMENT_COLUMNS * (size_t)samples;
    struct accumulator *rows = calloc((size_t)samples + 1, sizeof *rows);
    double *both = calloc(2 * table + 1, sizeof *both), *tables[2] = {both, both + table};
    if (!rows || !both) error_memory(err, 2 * table * sizeof *both, "the layers");
    if (run < 0) error_set(err, STATUS_INTERNAL, "the result file has no run of '%s'", d->mode->name);
    for (int l = 0; l < d->n_layer && !err->status; l++) {
        struct interval intervals[2];
        if (read_layer(result, run, l, samples, rows, tables, err)) break;
        bootstrap_run(d->trials.bootstraps[JOB_ALL_SAMPLES], d->metric, (const double *const *)tables, NULL,
                      2, intervals, &d->layers[l].quotient);
        d->layers[l].whole = intervals[0];
        d->layers[l].own = intervals[1];
    }
    if (!err->status) find_begin(d, err);
    free(rows);
    free(both);
    return err->status;
}

// ---- writing ----

static char *make_json(const struct depth *d)
{
    const struct trials *t = &d->trials;
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", DEPTH_SCHEMA_VERSION);
    json_put_string(w, "mode", d->mode->name);
    json_put_string(w, "reference_mode", t->with.job->reference);
    json_put_string(w, "metric", d->metric->name);
    json_put_string(w, "component", t->component);
    trials_put_source(w, t);
    json_put_integer(w, "samples", t->samples[JOB_ALL_SAMPLES]);
    json_put_integer(w, "tokens", t->tokens[JOB_ALL_SAMPLES]);
    json_put_integer(w, "resamples", t->with.job->bootstrap);
    json_put_integer(w, "seed", t->with.job->seed);
    json_begin_array(w, "layers");
    for (int l = 0; l < d->n_layer; l++) {
        json_begin_object(w, NULL);
        json_put_integer(w, "layer", l);
        trials_put_interval(w, "in_model", &d->layers[l].whole);
        trials_put_interval(w, "by_itself", &d->layers[l].own);
        trials_put_change(w, "quotient", &d->layers[l].quotient);
        json_put_double(w, "p_adjusted", d->layers[l].adjusted);
        json_put_bool(w, "surely_larger", d->layers[l].larger);
        json_end_object(w);
    }
    json_end_array(w);
    if (d->begins < 0)
        json_put_null(w, "amplification_begins");
    else
        json_put_integer(w, "amplification_begins", d->begins);
    if (d->inherited < 0)
        json_put_null(w, "mostly_inherited_from");
    else
        json_put_integer(w, "mostly_inherited_from", d->inherited);
    json_put_integer(w, "largest_own_error", d->worst);
    json_end_object(w);
    return json_writer_finish(w);
}

static const char *range(const struct interval *interval, char text[CHARS])
{
    if (interval->state == INTERVAL_OK)
        snprintf(text, CHARS, "%.2e %.1e..%.1e", interval->value, interval->low, interval->high);
    else
        snprintf(text, CHARS, "%.2e %s", interval->value, interval_state_name(interval->state));
    return text;
}

static void print(const struct depth *d, FILE *out)
{
    const struct trials *t = &d->trials;
    char whole[CHARS], own[CHARS];
    fprintf(out, "\nHow the error of %s adds up: %s of %s against %s, %d samples\n\n", d->mode->name,
            d->metric->label, t->component, t->with.job->reference, t->samples[JOB_ALL_SAMPLES]);
    fprintf(out, "layer  %-26s  %-26s  quotient\n", "in the model", "by itself");
    for (int l = 0; l < d->n_layer; l++) {
        const struct depth_layer *layer = &d->layers[l];
        const struct change *q = &layer->quotient;
        fprintf(out, "%5d  %-26s  %-26s  ", l, range(&layer->whole, whole), range(&layer->own, own));
        if (q->state == INTERVAL_OK)
            fprintf(out, "x %.2f %.2f..%.2f%s\n", q->value, q->low, q->high, layer->larger ? " *" : "");
        else
            fprintf(out, "x %.2f %s\n", q->value, interval_state_name(q->state));
    }
    fputs("*: surely more than the layer makes by itself (95 %, Holm over the layers).\n", out);
    if (d->begins < 0)
        fputs("No layer surely has more error than its own.\n", out);
    else
        fprintf(out, "Amplification begins at layer %d, the first that surely has more error than its own.\n",
                d->begins);
    if (d->inherited >= 0)
        fprintf(out, "From layer %d on more than half of each layer's error is inherited.\n", d->inherited);
    fprintf(out, "The largest error of its own has layer %d.\n", d->worst);
}

// ---- the whole ----

// Rank 0.
static enum status report(struct depth *d, struct error *err)
{
    const struct job *job = d->trials.with.job;
    struct result *result = NULL;
    char *json = NULL, *path = trials_path(&d->trials, 1, err);
    if (path && result_open(&result, path, err) == STATUS_OK && measure(d, result, err) == STATUS_OK) {
        json = make_json(d);
        if (!json)
            error_memory(err, 1u << 14, "depth.json");
        else if (file_make_directories(job->comparison_dir, err) == STATUS_OK)
            file_replace_in(job->comparison_dir, "depth.json", json, err);
        if (!err->status && job->verbosity != LOG_QUIET) print(d, stdout);
    }
    result_close(result);
    free(json);
    free(path);
    return err->status;
}

static enum status open(struct depth *d, const struct program *with, struct error *err)
{
    if (trials_open(&d->trials, with, "depth", err)) return err->status;
    const struct metric *metric = d->trials.place.metric;
    d->metric = metric->subject == SUBJECT_OUTPUTS ? metric : &metric_table[METRIC_RELATIVE_MSE];
    d->n_layer = d->trials.dims.n_layer;
    d->layers = calloc((size_t)d->n_layer, sizeof *d->layers);
    if (!d->layers)
        error_memory(err, (unsigned)d->n_layer * sizeof *d->layers, "the layers");
    else
        parts_find_mode("--mode", with->job->modes, &d->mode, err);
    return comm_agree(with->comm, err);
}

enum status depth_run(const struct program *with, struct error *err)
{
    struct depth d = {0};
    if (open(&d, with, err) == STATUS_OK) {
        const struct trials_list list = {&d.mode, 1, JOB_ALL_SAMPLES, 0, true};
        if (with->job->dry_run)
            trials_dry_run(&d.trials, &list, 1, 2, err);
        else if (trials_run(&d.trials, &list, err) == STATUS_OK) {
            if (with->comm->rank == 0) report(&d, err);
            if (comm_agree(with->comm, err) == STATUS_OK)
                log_job(with->log, LOG_NORMAL, "depth: %s/depth.json", with->job->comparison_dir);
        }
    }
    free(d.layers);
    trials_close(&d.trials);
    return err->status;
}
