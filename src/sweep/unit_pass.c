// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/unit_pass.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "setup.h"
#include "ssmsweep/arch/pass.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "threads.h"

enum { MOST_PARTS = 3 * ARCH_MOST_SITES };

// A part of what a site shows, in every layer.
struct part {
    const char *name;
    int site, index; // among the parts of the site
    int channels;
    size_t first_channel; // of a layer
};

struct passing {
    struct unit_pass *pass;
    const struct job *job;
    const struct comm *comm;
    struct stop *stop;
    struct model model, reference;
    struct corpus evaluation, calibration;
    const struct corpus *seen; // of the calibration
    struct engine engine;
    struct observers observers;
    struct part parts[MOST_PARTS];
    int n_parts;
    size_t channels; // of the parts of a layer
    // The calibration: numbers[2][samples][n_layer][n_sites], the largest |v| and the quantile,
    // bins[n_layer] [n_sites][HISTOGRAM_BINS], and largest[n_layer][channels] with their scales.
    float *numbers;
    uint64_t *bins;
    float *largest;
    float (*scales)[OBSERVER_COUNT]; // [n_layer * n_sites]
    // The evaluation: rows[samples][n_layer * n_parts][1 + UNIT_SCALES], v² first.
    double *rows;
    int sample; // at work
};

static const struct arch *arch_of(const struct passing *p)
{
    return p->model.dims.arch;
}

static long at_site(const struct passing *p, int layer, int site)
{
    return (long)layer * arch_of(p)->n_sites + site;
}

// ---- which parts there are ----

// The unit that part `index` of a site is: that many units are behind it, or one for all.
static const char *name_of(const struct arch *arch, int site, int index)
{
    if (!arch->site_of) return arch->sites[site].name;
    for (int u = 0; u < arch->units.count; u++)
        if (arch->site_of(u) == site && index-- == 0) return arch->units.of[u].name;
    return NULL;
}

static void see_parts(void *context, int layer, int site, const struct observed *observed)
{
    struct passing *p = context;
    for (int i = 0; layer == 0 && i < observed->parts; i++) {
        const char *name = name_of(arch_of(p), site, i);
        if (!name) continue;
        p->parts[p->n_parts++] = (struct part){name, site, i, observed->columns[i].width, p->channels};
        p->channels += (size_t)observed->columns[i].width;
    }
}

// ---- the calibration ----

// Those of a part, row by row.
static const float *row_of(const struct observed *observed, const struct part *part, long t)
{
    return observed->values + t * observed->ld + observed->columns[part->index].first;
}

static void note_largest(float *largest, const float *row, int channels)
{
    for (int c = 0; c < channels; c++)
        if (fabsf(row[c]) > largest[c]) largest[c] = fabsf(row[c]);
}

static void see_calibration(void *context, int layer, int site, const struct observed *observed)
{
    struct passing *p = context;
    const size_t site_at = (size_t)at_site(p, layer, site),
                 sites = (size_t)(p->model.dims.n_layer * arch_of(p)->n_sites);
    float *numbers = p->numbers + (size_t)p->sample * sites + site_at, most = 0;
    uint32_t bins[HISTOGRAM_BINS] = {0};
    for (const struct part *part = p->parts; part < p->parts + p->n_parts; part++) {
        float *largest = p->largest + (size_t)layer * p->channels + part->first_channel;
        if (part->site != site) continue;
        for (long t = 0; t < observed->rows; t++) {
            note_largest(largest, row_of(observed, part, t), part->channels);
            note_largest(&most, row_of(observed, part, t), 1);
            for (int c = 1; c < part->channels; c++)
                note_largest(&most, row_of(observed, part, t) + c, 1);
            histogram_add(bins, row_of(observed, part, t), part->channels);
        }
    }
    for (int i = 0; i < HISTOGRAM_BINS; i++)
        p->bins[site_at * HISTOGRAM_BINS + (size_t)i] += bins[i];
    numbers[0] = most;
    // Last, as it may move the values.
    numbers[(size_t)p->seen->samples * sites] = observed_quantile(observed, p->observers.percentile_alpha);
}

// One of each observer at each site.
static void make_scales(struct passing *p)
{
    const struct dims *d = &p->model.dims;
    const int sites = arch_of(p)->n_sites;
    const size_t quantiles = (size_t)p->seen->samples * (size_t)(d->n_layer * sites);
    for (int o = 0; o < OBSERVER_COUNT; o++) {
        struct observers observers = p->observers;
        const struct calibration_set set = {
            .observed = p->numbers + (observer_takes_quantile((enum observer)o) ? quantiles : 0),
            .samples = p->pass->calibration_samples,
            .histogram = p->bins};
        for (int s = 0; s < sites; s++)
            observers.of_site[s] = (enum observer)o;
        for (int l = 0; l < d->n_layer; l++)
            for (int s = 0; s < sites; s++)
                p->scales[at_site(p, l, s)][o] = calibrate_scale(&observers, &set, d->n_layer, l, s);
    }
}

static float own_scale(const struct passing *p, int layer, int site)
{
    if (p->pass->checkpoint) return model_scales(&p->model, layer)[site];
    return p->scales[at_site(p, layer, site)][p->observers.of_site[site]];
}

// ---- the grid ----

static float absmax_scale(float most)
{
    return (most > 1e-5f ? most : 1e-5f) / 127.0f;
}

// code · scale - v, squared.
static double error_at(float v, float scale)
{
    const float code = rintf(v / scale);
    const float held = code < -128 ? -128 : code > 127 ? 127 : code;
    const double error = (double)held * (double)scale - (double)v;
    return error * error;
}

static void count_code(struct unit_place *place, float v)
{
    const float code = rintf(v / place->scale);
    if (isnan(code)) return;
    place->values++;
    place->clipped += code < -128 || code > 127;
    place->codes[(code < -128 ? -128 : code > 127 ? 127 : (int)code) + 128]++;
}

// ---- the evaluation ----

static void add_row(const struct passing *p, struct unit_place *place, const struct part *part,
                    const float *v, double *sums)
{
    const float *scales = p->scales[at_site(p, place->layer, part->site)];
    const float *channels = p->largest + (size_t)place->layer * p->channels + part->first_channel;
    float most = 0;
    for (int c = 0; c < part->channels; c++)
        note_largest(&most, v + c, 1);
    for (int c = 0; c < part->channels; c++) {
        if (isnan(v[c])) continue;
        count_code(place, v[c]);
        sums[0] += (double)v[c] * (double)v[c];
        sums[1 + UNIT_SCALE_OWN] += error_at(v[c], place->scale);
        sums[1 + UNIT_SCALE_CHANNEL] += error_at(v[c], absmax_scale(channels[c]));
        sums[1 + UNIT_SCALE_TOKEN] += error_at(v[c], most > 0 ? most / 127.0f : 1);
        for (int o = 0; o < OBSERVER_COUNT; o++)
            sums[1 + UNIT_SCALE_OBSERVER + o] += error_at(v[c], scales[o]);
    }
}

static void see_evaluation(void *context, int layer, int site, const struct observed *observed)
{
    struct passing *p = context;
    for (int i = 0; i < p->n_parts; i++) {
        const struct part *part = &p->parts[i];
        const size_t place = (size_t)(layer * p->n_parts + i),
                     places = (size_t)(p->model.dims.n_layer * p->n_parts);
        double *sums = p->rows + ((size_t)p->sample * places + place) * (1 + UNIT_SCALES);
        if (part->site != site) continue;
        for (long t = 0; t < observed->rows; t++) {
            add_row(p, &p->pass->places[place], part, row_of(observed, part, t), sums);
            note_largest(p->pass->places[place].largest, row_of(observed, part, t), part->channels);
        }
    }
}

// ---- weights ----

static void see_weight(struct unit_place *place, const float *values, int rows, int depth)
{
    double *e = place->errors;
    float most = 0;
    for (int n = 0; n < rows; n++) {
        for (int k = 0; k < depth; k++)
            note_largest(&place->largest[n], values + (long)n * depth + k, 1);
        note_largest(&most, &place->largest[n], 1);
    }
    if (place->scale == 0) place->scale = absmax_scale(most); // else a checkpoint's
    for (int n = 0; n < rows; n++)
        for (int k = 0; k < depth; k++) {
            const float v = values[(long)n * depth + k];
            count_code(place, v);
            place->squares += (double)v * (double)v;
            e[UNIT_SCALE_OWN] += error_at(v, place->scale);
            e[UNIT_SCALE_CHANNEL] += error_at(v, absmax_scale(place->largest[n]));
        }
}

// ---- passes over samples ----

// Collective.  A signal at any rank counts on all.
static enum status agree(struct passing *p, struct error *err)
{
    int mine = stop_wanted(p->stop) ? p->stop->signal : 0, all;
    MPI_Allreduce(&mine, &all, 1, MPI_INT, MPI_MAX, p->comm->world);
    stop_note(p->stop, all);
    if (all && !err->status)
        error_set(err, STATUS_STOPPED, "stopped by %s; nothing was written", stop_signal_name(all));
    return comm_agree(p->comm, err);
}

typedef void see_function(void *context, int layer, int site, const struct observed *observed);

static enum status pass_over(struct passing *p, const struct corpus *corpus, int samples, see_function *see,
                             struct error *err)
{
    const struct observation observation = {.observers = &p->observers, .see = see, .context = p};
    for (p->sample = p->comm->rank; p->sample < samples && !stop_wanted(p->stop); p->sample += p->comm->ranks)
        forward_observe(p->engine.forward, &observation,
                        corpus->ids + (size_t)p->sample * (size_t)corpus->max_tokens,
                        corpus->length[p->sample], NULL);
    return agree(p, err);
}

// Collective.  Every element is one rank's, and 0 on the others, or a count, or a maximum: the order of the
// ranks changes nothing.
static void unite(const struct passing *p, void *data, size_t count, MPI_Datatype type, size_t bytes,
                  MPI_Op op)
{
    for (size_t at = 0; at < count; at += INT_MAX / 16) {
        const size_t left = count - at, now = left < INT_MAX / 16 ? left : INT_MAX / 16;
        MPI_Allreduce(MPI_IN_PLACE, (char *)data + at * bytes, (int)now, type, op, p->comm->world);
    }
}

static enum status calibrate(struct passing *p, struct error *err)
{
    const size_t sites = (size_t)(p->model.dims.n_layer * arch_of(p)->n_sites);
    if (pass_over(p, p->seen, p->pass->calibration_samples, see_calibration, err)) return err->status;
    unite(p, p->numbers, 2 * (size_t)p->seen->samples * sites, MPI_FLOAT, sizeof(float), MPI_SUM);
    unite(p, p->bins, sites * HISTOGRAM_BINS, MPI_UINT64_T, sizeof(uint64_t), MPI_SUM);
    unite(p, p->largest, (size_t)p->model.dims.n_layer * p->channels, MPI_FLOAT, sizeof(float), MPI_MAX);
    make_scales(p);
    for (int i = 0; i < p->model.dims.n_layer * p->n_parts; i++)
        p->pass->places[i].scale = own_scale(p, i / p->n_parts, p->parts[i % p->n_parts].site);
    return STATUS_OK;
}

static enum status look_at_weights(struct passing *p, struct error *err)
{
    struct unit_pass *pass = p->pass;
    for (int i = p->model.dims.n_layer * p->n_parts; i < pass->count && !err->status; i++) {
        struct unit_place *place = &pass->places[i];
        float *values = NULL;
        int rows, depth;
        if (place->layer % p->comm->ranks != p->comm->rank) continue;
        const int unit = units_find(&arch_of(p)->units, place->name);
        if (forward_unit_values(p->engine.forward, place->layer, unit, &values, &rows, &depth, err)) break;
        if (pass->checkpoint)
            place->scale = model_scales(&p->model, place->layer)[arch_of(p)->n_sites + unit + 1];
        see_weight(place, values, rows, depth);
        free(values);
    }
    return agree(p, err);
}

static void add_up(struct passing *p)
{
    struct unit_pass *pass = p->pass;
    const int places = p->model.dims.n_layer * p->n_parts;
    unite(p, p->rows, (size_t)pass->samples * (size_t)places * (1 + UNIT_SCALES), MPI_DOUBLE, sizeof(double),
          MPI_SUM);
    for (int s = 0; s < pass->samples; s++)
        for (int i = 0; i < places; i++) {
            const double *sums = p->rows + ((size_t)s * (size_t)places + (size_t)i) * (1 + UNIT_SCALES);
            pass->places[i].squares += sums[0];
            for (int e = 0; e < UNIT_SCALES; e++)
                pass->places[i].errors[e] += sums[1 + e];
        }
    for (int i = 0; i < pass->count; i++) {
        struct unit_place *place = &pass->places[i];
        unite(p, place->codes, UNIT_CODES, MPI_UINT64_T, sizeof(uint64_t), MPI_SUM);
        unite(p, &place->values, 1, MPI_UINT64_T, sizeof(uint64_t), MPI_SUM);
        unite(p, &place->clipped, 1, MPI_UINT64_T, sizeof(uint64_t), MPI_SUM);
        unite(p, place->largest, (size_t)place->channels, MPI_FLOAT, sizeof(float), MPI_MAX);
        if (!place->weight) continue;
        unite(p, &place->scale, 1, MPI_FLOAT, sizeof(float), MPI_MAX);
        unite(p, &place->squares, 1, MPI_DOUBLE, sizeof(double), MPI_SUM);
        unite(p, place->errors, UNIT_SCALES, MPI_DOUBLE, sizeof(double), MPI_SUM);
        for (int e = UNIT_SCALE_TOKEN; e < UNIT_SCALES; e++)
            place->errors[e] = NAN;
    }
}

// ---- opening ----

static enum status open_places(struct passing *p, struct error *err)
{
    struct unit_pass *pass = p->pass;
    const struct arch *arch = arch_of(p);
    const int layers = p->model.dims.n_layer, units = arch->weight_values ? arch->units.count : 0;
    size_t floats = (size_t)layers * p->channels;
    int weights = 0;
    for (int u = 0; u < units; u++)
        if (arch_weight_rows(&p->model.dims, u) > 0) {
            weights++;
            floats += (size_t)layers * (size_t)arch_weight_rows(&p->model.dims, u);
        }
    pass->count = layers * (p->n_parts + weights);
    pass->places = calloc((size_t)pass->count + 1, sizeof *pass->places);
    pass->largest = calloc(floats + 1, sizeof *pass->largest);
    if (!pass->places || !pass->largest)
        return error_memory(err, floats * sizeof(float) + (size_t)pass->count * sizeof *pass->places,
                            "the units");
    struct unit_place *place = pass->places;
    float *largest = pass->largest;
    for (int l = 0; l < layers; l++)
        for (int i = 0; i < p->n_parts; i++, largest += place++->channels)
            *place = (struct unit_place){
                .name = p->parts[i].name, .layer = l, .channels = p->parts[i].channels, .largest = largest};
    for (int l = 0; l < layers; l++)
        for (int u = 0; u < units; u++) {
            const int rows = (int)arch_weight_rows(&p->model.dims, u);
            if (rows == 0) continue;
            *place = (struct unit_place){.name = arch->units.of[u].name,
                                         .layer = l,
                                         .weight = true,
                                         .channels = rows,
                                         .largest = largest};
            largest += place++->channels;
        }
    return STATUS_OK;
}

static enum status open_memory(struct passing *p, struct error *err)
{
    const struct dims *d = &p->model.dims;
    const size_t layers = (size_t)d->n_layer, sites = layers * (size_t)arch_of(p)->n_sites;
    const size_t rows = (size_t)p->pass->samples * layers * (size_t)p->n_parts * (1 + UNIT_SCALES),
                 numbers = 2 * (size_t)p->seen->samples * sites;
    p->numbers = calloc(numbers + 1, sizeof *p->numbers);
    p->bins = calloc(sites * HISTOGRAM_BINS + 1, sizeof *p->bins);
    p->largest = calloc(layers * p->channels + 1, sizeof *p->largest);
    p->scales = calloc(sites + 1, sizeof *p->scales);
    p->rows = calloc(rows + 1, sizeof *p->rows);
    if (p->numbers && p->bins && p->largest && p->scales && p->rows) return open_places(p, err);
    return error_memory(err, rows * sizeof *p->rows + numbers * sizeof *p->numbers, "the units");
}

static enum status open_inputs(struct passing *p, const struct log *log, struct error *err)
{
    const struct threads threads = threads_choose(p->job->threads, p->comm);
    struct unit_pass *pass = p->pass;
    if (inputs_model(&p->model, &p->reference, p->comm, p->job, threads.per_rank, err) ||
        inputs_texts(&p->evaluation, &p->calibration, p->comm, p->job, &p->model, err) ||
        inputs_digests(&p->model, &p->reference, p->comm, err))
        return err->status;
    notes_log(log, &p->model.notes);
    notes_log(log, &p->evaluation.notes);
    p->seen = p->calibration.samples > 0 ? &p->calibration : &p->evaluation;
    pass->arch = arch_of(p);
    pass->checkpoint = model_is_codes(&p->model);
    pass->samples = p->evaluation.samples;
    pass->calibration_samples =
        p->job->calib_data_num[0] < p->seen->samples ? p->job->calib_data_num[0] : p->seen->samples;
    snprintf(pass->digest_hex, sizeof pass->digest_hex, "%s", p->model.digest_hex);
    for (int s = 0; s < pass->samples; s++)
        pass->tokens += p->evaluation.length[s];
    p->observers.percentile_alpha = p->job->percentile_alpha;
    if (observers_parse(&p->observers, pass->arch, p->job->observer, err) == STATUS_OK)
        memcpy(pass->own, p->observers.of_site, sizeof pass->own);
    if (comm_agree(p->comm, err)) return err->status;
    const int longest =
        p->evaluation.max_tokens > p->seen->max_tokens ? p->evaluation.max_tokens : p->seen->max_tokens;
    log_job(log, LOG_NORMAL,
            "model %s: %d layers, d_model %d; %d samples of up to %d tokens; %d ranks x %d threads",
            p->model.directory, p->model.dims.n_layer, p->model.dims.d_model, pass->samples, longest,
            p->comm->ranks, threads.per_rank);
    return engine_open(&p->engine, p->comm, &p->model, WEIGHTS_FP32, NULL, longest, threads.per_rank, log,
                       err);
}

// ---- the whole ----

static enum status run(struct passing *p, const struct log *log, struct error *err)
{
    const int32_t first[1] = {0};
    const struct observation parts = {.observers = &p->observers, .see = see_parts, .context = p};
    if (open_inputs(p, log, err)) return err->status;
    forward_observe(p->engine.forward, &parts, first, 1, NULL);
    open_memory(p, err);
    if (comm_agree(p->comm, err) || calibrate(p, err) ||
        pass_over(p, &p->evaluation, p->pass->samples, see_evaluation, err) || look_at_weights(p, err))
        return err->status;
    add_up(p);
    return STATUS_OK;
}

enum status unit_pass_run(struct unit_pass *pass, const struct job *job, const struct comm *comm,
                          const struct log *log, struct stop *stop, struct error *err)
{
    struct passing p = {.pass = pass, .job = job, .comm = comm, .stop = stop};
    *pass = (struct unit_pass){0};
    run(&p, log, err);
    engine_close(&p.engine);
    corpus_clear(&p.evaluation);
    corpus_clear(&p.calibration);
    model_close(&p.model);
    model_close(&p.reference);
    free(p.numbers);
    free(p.bins);
    free(p.largest);
    free(p.scales);
    free(p.rows);
    if (err->status) unit_pass_clear(pass);
    return err->status;
}

void unit_pass_clear(struct unit_pass *pass)
{
    free(pass->places);
    free(pass->largest);
    *pass = (struct unit_pass){0};
}
