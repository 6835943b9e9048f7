// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/unit_pass.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "inputs.h"
#include "setup.h"
#include "ssmsweep/arch/pass.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/grid.h"
#include "threads.h"

enum {
    MOST_PARTS = 3 * ARCH_MOST_SITES,
    MOST_TOGETHER = 256,    // samples on a GPU,
    SHOWN_BYTES = 128 << 20 // and what they show
};
static_assert((int)GRID_CODES == (int)UNIT_CODES && (int)GRID_OTHERS == (int)OBSERVER_COUNT &&
                  (int)GRID_SUMS == 1 + UNIT_SCALES && (int)GRID_OWN == 1 + UNIT_SCALE_OWN &&
                  (int)GRID_COLUMN == 1 + UNIT_SCALE_CHANNEL && (int)GRID_ROW == 1 + UNIT_SCALE_TOKEN &&
                  (int)GRID_OTHER == 1 + UNIT_SCALE_OBSERVER,
              "codes and sums are those of a place, in their order");

// A part of what a site shows, in every layer.
struct part {
    const char *name;
    int site, channels;
    size_t first_channel; // of a layer
};

// What a pass shows of the samples that go together: one on a processor.
struct shown {
    int samples;                // room
    float *numbers, *quantiles; // [samples][n_layer][n_sites]: of the calibration, as the next
    uint32_t *bins;             // [samples][n_layer][n_sites][HISTOGRAM_BINS]
    double *sums;               // [samples][n_layer][n_parts][GRID_SUMS]: of the evaluation, as the next
    struct grid_tally *tallies; // [n_layer][n_parts]
    float *largest;             // [n_layer][channels]
};

struct passing {
    struct unit_pass *pass;
    const struct job *job;
    const struct comm *comm;
    const struct log *log;
    struct stop *stop;
    struct model model, reference;
    struct corpus evaluation, calibration;
    const struct corpus *seen; // of the calibration
    struct engine engine;
    struct observers observers, all; // those of the job; with all that an observer can ask for
    // Where samples go: to a GPU, or as the ranks that have none have no part in it then.
    struct worker worker;
    struct device *gpu;
    bool looks;              // the passes at hand go there
    int first_sample, ranks; // of this rank: from the first on each `ranks`-th
    struct part parts[MOST_PARTS];
    struct {
        int first, count;
    } parts_of[ARCH_MOST_SITES];
    int n_parts;
    size_t channels; // of the parts of a layer
    bool evaluates;  // the pass at hand
    struct shown shown;
    // The calibration: numbers[2][samples][n_layer][n_sites], the largest |v| and the quantile,
    // bins[n_layer] [n_sites][HISTOGRAM_BINS], and largest[n_layer][channels] with their scales.
    float *numbers;
    uint64_t *bins;
    float *largest, *channel_scales;
    float (*scales)[OBSERVER_COUNT]; // [n_layer * n_sites]
    double *rows;                    // of the evaluation: [samples][n_layer * n_parts][GRID_SUMS]
};

static const struct arch *arch_of(const struct passing *p)
{
    return p->model.dims.arch;
}

static long at_site(const struct passing *p, int layer, int site)
{
    return (long)layer * arch_of(p)->n_sites + site;
}

static size_t sites_of(const struct passing *p)
{
    return (size_t)(p->model.dims.n_layer * arch_of(p)->n_sites);
}

static size_t places_of(const struct passing *p)
{
    return (size_t)(p->model.dims.n_layer * p->n_parts);
}

static size_t channels_of(const struct passing *p)
{
    return (size_t)p->model.dims.n_layer * p->channels;
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

static void see_parts(void *context, struct batch *batch, int layer, int site,
                      const struct observed *observed)
{
    struct passing *p = context;
    (void)batch;
    if (layer > 0) return;
    p->parts_of[site].first = p->n_parts;
    for (int i = 0; i < observed->parts; i++) {
        const char *name = name_of(arch_of(p), site, i);
        if (!name) break;
        p->parts[p->n_parts++] = (struct part){name, site, observed->columns[i].width, p->channels};
        p->channels += (size_t)observed->columns[i].width;
        p->parts_of[site].count++;
    }
}

// ---- what a pass shows ----

static void see(void *context, struct batch *batch, int layer, int site, const struct observed *observed)
{
    struct passing *p = context;
    const int first = p->parts_of[site].first;
    const size_t place = (size_t)(layer * p->n_parts + first),
                 channel = (size_t)layer * p->channels + p->parts[first].first_channel;
    struct grid_scales scales = {.own = p->pass->places[place].scale, .columns = p->channel_scales + channel};
    const struct grid_for grid = {.observed = observed,
                                  .parts = p->parts_of[site].count,
                                  .scales = p->evaluates ? &scales : NULL,
                                  .largest = p->shown.largest + channel,
                                  .sums = p->shown.sums + place * GRID_SUMS,
                                  .stride = (long)places_of(p) * GRID_SUMS,
                                  .tallies = p->shown.tallies + place};
    memcpy(scales.others, p->scales[at_site(p, layer, site)], sizeof scales.others);
    if (grid.parts > 0) batch->backend->grid(batch, &grid);
}

static struct observation observation_of(struct passing *p)
{
    struct observation observation = {
        .observers = &p->all, .row = (long)sites_of(p), .see = see, .context = p};
    if (p->evaluates) return observation;
    observation.numbers = p->shown.numbers;
    observation.quantiles = p->shown.quantiles;
    observation.histogram = p->shown.bins;
    return observation;
}

static void look_here(struct passing *p, const struct corpus *corpus, int sample)
{
    const struct observation observation = observation_of(p);
    memset(p->shown.bins, 0, sites_of(p) * HISTOGRAM_BINS * sizeof *p->shown.bins);
    forward_observe(p->engine.forward, &observation,
                    corpus->ids + (size_t)sample * (size_t)corpus->max_tokens, corpus->length[sample], NULL);
}

// The first of these samples on the GPU: how many; 0: the processor is to do it.
static int look_there(struct passing *p, const int *samples, int count)
{
    struct observation observation = observation_of(p);
    if (!p->looks || !device_works(p->gpu)) return 0;
    return device_look(p->gpu, samples, count < p->shown.samples ? count : p->shown.samples, &observation,
                       NULL);
}

// Is all that sample `s` of a batch showed?
static bool is_finite(const struct passing *p, int s)
{
    const size_t sites = sites_of(p), row = places_of(p) * GRID_SUMS, at = (size_t)s * sites;
    for (size_t i = 0; p->evaluates && i < row; i++)
        if (!isfinite(p->shown.sums[(size_t)s * row + i])) return false;
    for (size_t i = at; !p->evaluates && i < at + sites; i++)
        if (!isfinite(p->shown.numbers[i]) || !isfinite(p->shown.quantiles[i])) return false;
    return true;
}

// The first of which something is not finite, or how many there are: what is not finite has the processor's
// bits where the processor finds it.
static int find_broken(const struct passing *p, int samples)
{
    int s = 0;
    while (s < samples && is_finite(p, s))
        s++;
    return s;
}

static void take_larger(float *largest, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] > largest[i]) largest[i] = values[i];
}

static void take_calibration(struct passing *p, const int *samples, int count)
{
    const size_t sites = sites_of(p), quantiles = (size_t)p->seen->samples * sites;
    take_larger(p->largest, p->shown.largest, channels_of(p));
    for (int s = 0; s < count; s++) {
        float *numbers = p->numbers + (size_t)samples[s] * sites;
        memcpy(numbers, p->shown.numbers + (size_t)s * sites, sites * sizeof *numbers);
        memcpy(numbers + quantiles, p->shown.quantiles + (size_t)s * sites, sites * sizeof *numbers);
        for (size_t i = 0; i < sites * HISTOGRAM_BINS; i++)
            p->bins[i] += p->shown.bins[(size_t)s * sites * HISTOGRAM_BINS + i];
    }
}

static void take_tally(struct unit_place *place, const struct grid_tally *tally)
{
    for (int c = 0; c < UNIT_CODES; c++) {
        place->codes[c] += tally->codes[c];
        place->values += tally->codes[c];
    }
    place->clipped += tally->clipped;
}

static void take_evaluation(struct passing *p, const int *samples, int count)
{
    const size_t row = places_of(p) * GRID_SUMS;
    for (int s = 0; s < count; s++)
        memcpy(p->rows + (size_t)samples[s] * row, p->shown.sums + (size_t)s * row, row * sizeof *p->rows);
    for (size_t i = 0; i < places_of(p); i++) {
        const size_t channel =
            i / (size_t)p->n_parts * p->channels + p->parts[i % (size_t)p->n_parts].first_channel;
        struct unit_place *place = &p->pass->places[i];
        take_larger(place->largest, p->shown.largest + channel, (size_t)place->channels);
        take_tally(place, &p->shown.tallies[i]);
    }
}

static void take(struct passing *p, const int *samples, int count)
{
    (p->evaluates ? take_evaluation : take_calibration)(p, samples, count);
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

static void begin_looking(struct passing *p, const struct corpus *corpus)
{
    p->worker.calibration = corpus;
    p->looks = p->gpu && device_can_look(&p->worker) && device_begin_look(p->gpu, p->shown.samples);
}

// mine: samples of this rank.
static void pass_over_mine(struct passing *p, const struct corpus *corpus, const int *mine, int count)
{
    for (int at = 0, n; at < count && !stop_wanted(p->stop); at += n) {
        n = look_there(p, mine + at, count - at);
        const int whole = find_broken(p, n);
        if (n > 0 && whole == n) {
            take(p, mine + at, n);
            continue;
        }
        if (n > 0) device_tell_broken(p->gpu, mine[at + whole]);
        if (n == 0) n = 1; // else all of them: their codes are counted together
        for (int i = at; i < at + n && !stop_wanted(p->stop); i++) {
            look_here(p, corpus, mine[i]);
            take(p, &mine[i], 1);
        }
    }
}

static enum status pass_over(struct passing *p, const struct corpus *corpus, int samples, struct error *err)
{
    int count = 0, *mine = malloc((size_t)samples * sizeof *mine + 1);
    if (!mine) error_memory(err, (size_t)samples * sizeof *mine, "the samples of a rank");
    if (comm_agree(p->comm, err)) goto free_mine;
    for (int s = p->first_sample; s < samples; s += p->ranks)
        mine[count++] = s;
    begin_looking(p, corpus);
    pass_over_mine(p, corpus, mine, count);
    device_end_look(p->gpu);
    agree(p, err);
free_mine:
    free(mine);
    return err->status;
}

// ---- the calibration ----

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

static enum status calibrate(struct passing *p, struct error *err)
{
    const size_t sites = sites_of(p);
    if (pass_over(p, p->seen, p->pass->calibration_samples, err)) return err->status;
    unite(p, p->numbers, 2 * (size_t)p->seen->samples * sites, MPI_FLOAT, sizeof(float), MPI_SUM);
    unite(p, p->bins, sites * HISTOGRAM_BINS, MPI_UINT64_T, sizeof(uint64_t), MPI_SUM);
    unite(p, p->largest, channels_of(p), MPI_FLOAT, sizeof(float), MPI_MAX);
    make_scales(p);
    for (size_t i = 0; i < channels_of(p); i++)
        p->channel_scales[i] = grid_scale(p->largest[i]);
    for (int i = 0; i < p->model.dims.n_layer * p->n_parts; i++)
        p->pass->places[i].scale = own_scale(p, i / p->n_parts, p->parts[i % p->n_parts].site);
    return STATUS_OK;
}

// ---- weights ----

static void count_code(struct unit_place *place, float v)
{
    int clipped;
    const int code = grid_place(v, place->scale, &clipped);
    if (code < 0) return;
    place->values++;
    place->clipped += (uint64_t)clipped;
    place->codes[code]++;
}

static float largest_of(const float *values, int count)
{
    float most = 0;
    for (int i = 0; i < count; i++)
        take_larger(&most, &(float){fabsf(values[i])}, 1);
    return most;
}

static void see_weight(struct unit_place *place, const float *values, int rows, int depth)
{
    double *e = place->errors;
    float most = 0;
    for (int n = 0; n < rows; n++) {
        place->largest[n] = largest_of(values + (long)n * depth, depth);
        take_larger(&most, &place->largest[n], 1);
    }
    if (place->scale == 0) place->scale = grid_scale(most); // else a checkpoint's
    for (int n = 0; n < rows; n++)
        for (int k = 0; k < depth; k++) {
            const float v = values[(long)n * depth + k];
            count_code(place, v);
            place->squares += (double)v * (double)v;
            e[UNIT_SCALE_OWN] += grid_error(v, place->scale);
            e[UNIT_SCALE_CHANNEL] += grid_error(v, grid_scale(place->largest[n]));
        }
}

static enum status look_at_weight(const struct passing *p, struct unit_place *place, struct error *err)
{
    const int unit = units_find(&arch_of(p)->units, place->name);
    float *values = NULL;
    int rows, depth;
    if (forward_unit_values(p->engine.forward, place->layer, unit, &values, &rows, &depth, err))
        return err->status;
    if (p->pass->checkpoint)
        place->scale = model_scales(&p->model, place->layer)[arch_of(p)->n_sites + unit + 1];
    see_weight(place, values, rows, depth);
    free(values);
    return STATUS_OK;
}

// The weights of this rank, each by one thread of it.
struct weighing {
    struct passing *p;
    struct error *errors; // [parts]
};

static void look_at_some(void *context, int part, int begin, int end)
{
    const struct weighing *weighing = context;
    struct passing *p = weighing->p;
    struct error *err = &weighing->errors[part];
    struct unit_place *weights = p->pass->places + places_of(p);
    for (int i = begin; i < end && !err->status; i++)
        if (weights[i].layer % p->comm->ranks == p->comm->rank) look_at_weight(p, &weights[i], err);
}

static enum status look_at_weights(struct passing *p, struct error *err)
{
    const int count = p->pass->count - (int)places_of(p),
              parts = count < TEAM_MOST_PARTS ? count : TEAM_MOST_PARTS;
    struct weighing weighing = {p, calloc((size_t)parts + 1, sizeof *weighing.errors)};
    if (!weighing.errors) error_memory(err, (size_t)parts * sizeof *weighing.errors, "the weights");
    if (weighing.errors && count > 0)
        team_divide(forward_team(p->engine.forward), parts, count, 1, look_at_some, &weighing);
    for (int i = 0; weighing.errors && i < parts && !err->status; i++)
        *err = weighing.errors[i];
    free(weighing.errors);
    return agree(p, err);
}

// ---- sums of all ----

static void add_up(struct passing *p)
{
    struct unit_pass *pass = p->pass;
    const int places = p->model.dims.n_layer * p->n_parts;
    unite(p, p->rows, (size_t)pass->samples * (size_t)places * GRID_SUMS, MPI_DOUBLE, sizeof(double),
          MPI_SUM);
    for (int s = 0; s < pass->samples; s++)
        for (int i = 0; i < places; i++) {
            const double *sums = p->rows + ((size_t)s * (size_t)places + (size_t)i) * GRID_SUMS;
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

// Has room for so many samples, or for fewer where they show much.
static enum status open_shown(struct passing *p, int samples, struct error *err)
{
    struct shown *shown = &p->shown;
    const size_t sites = sites_of(p), row = places_of(p) * GRID_SUMS,
                 bytes =
                     sites * (2 * sizeof(float) + HISTOGRAM_BINS * sizeof(uint32_t)) + row * sizeof(double),
                 most = SHOWN_BYTES / bytes + 1;
    if (most < (size_t)samples) samples = (int)most;
    if (samples > MOST_TOGETHER) samples = MOST_TOGETHER;
    const size_t count = (size_t)samples;
    shown->samples = samples;
    shown->numbers = calloc(count * sites + 1, sizeof *shown->numbers);
    shown->quantiles = calloc(count * sites + 1, sizeof *shown->quantiles);
    shown->bins = calloc(count * sites * HISTOGRAM_BINS + 1, sizeof *shown->bins);
    shown->sums = calloc(count * row + 1, sizeof *shown->sums);
    shown->tallies = calloc(places_of(p) + 1, sizeof *shown->tallies);
    shown->largest = calloc(channels_of(p) + 1, sizeof *shown->largest);
    if (!shown->numbers || !shown->quantiles || !shown->bins || !shown->sums || !shown->tallies ||
        !shown->largest)
        error_memory(err, count * bytes, "what units show");
    return err->status;
}

static enum status open_memory(struct passing *p, struct error *err)
{
    const size_t sites = sites_of(p), rows = (size_t)p->pass->samples * places_of(p) * GRID_SUMS,
                 numbers = 2 * (size_t)p->seen->samples * sites;
    const int samples =
        p->pass->samples > p->pass->calibration_samples ? p->pass->samples : p->pass->calibration_samples;
    p->numbers = calloc(numbers + 1, sizeof *p->numbers);
    p->bins = calloc(sites * HISTOGRAM_BINS + 1, sizeof *p->bins);
    p->largest = calloc(channels_of(p) + 1, sizeof *p->largest);
    p->channel_scales = calloc(channels_of(p) + 1, sizeof *p->channel_scales);
    p->scales = calloc(sites + 1, sizeof *p->scales);
    p->rows = calloc(rows + 1, sizeof *p->rows);
    if (!p->numbers || !p->bins || !p->largest || !p->channel_scales || !p->scales || !p->rows)
        return error_memory(err, rows * sizeof *p->rows + numbers * sizeof *p->numbers, "the units");
    if (open_shown(p, p->worker.device >= 0 ? samples : 1, err)) return err->status;
    return open_places(p, err);
}

// Collective.  Where there are GPUs the ranks that have one take the samples.
static enum status open_device(struct passing *p, int threads, struct error *err)
{
    struct worker *worker = &p->worker;
    int mine = worker->device >= 0, before = 0;
    MPI_Exscan(&mine, &before, 1, MPI_INT, MPI_SUM, p->comm->world);
    if (p->comm->rank == 0) before = 0; // it is not set there
    p->ranks = worker->devices > 0 ? worker->devices : p->comm->ranks;
    p->first_sample = worker->devices == 0 ? p->comm->rank : mine ? before : INT_MAX;
    worker->comm = p->comm, worker->log = p->log;
    worker->model = &p->model, worker->dims = &p->model.dims;
    worker->weights = p->engine.weights, worker->forward = p->engine.forward;
    worker->threads = threads;
    if (mine) device_open(&p->gpu, worker, err);
    return comm_agree(p->comm, err);
}

// One that asks for the largest value and the histogram.
static enum observer with_histogram(void)
{
    int o = 0;
    while (!observer_takes_histogram((enum observer)o))
        o++;
    return (enum observer)o;
}

static enum status open_inputs(struct passing *p, struct error *err)
{
    const struct log *log = p->log;
    const struct threads threads = threads_choose(p->job->threads, p->comm);
    struct unit_pass *pass = p->pass;
    if (device_choose(p->job->device, p->comm, log, &p->worker.device, &p->worker.devices, err) ||
        inputs_model(&p->model, &p->reference, p->comm, p->job, threads.per_rank, err) ||
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
    p->all = p->observers;
    for (int s = 0; s < p->all.n_sites; s++)
        p->all.of_site[s] = with_histogram();
    if (comm_agree(p->comm, err)) return err->status;
    const int longest =
        p->evaluation.max_tokens > p->seen->max_tokens ? p->evaluation.max_tokens : p->seen->max_tokens;
    log_job(log, LOG_NORMAL,
            "model %s: %d layers, d_model %d; %d samples of up to %d tokens; %d ranks x %d threads",
            p->model.directory, p->model.dims.n_layer, p->model.dims.d_model, pass->samples, longest,
            p->comm->ranks, threads.per_rank);
    if (engine_open(&p->engine, p->comm, &p->model, WEIGHTS_FP32, NULL, longest, threads.per_rank, log, err))
        return err->status;
    return open_device(p, threads.per_rank, err);
}

// ---- the whole ----

static enum status run(struct passing *p, struct error *err)
{
    const int32_t first[1] = {0};
    const struct observation parts = {.observers = &p->all, .see = see_parts, .context = p};
    if (open_inputs(p, err)) return err->status;
    forward_observe(p->engine.forward, &parts, first, 1, NULL);
    open_memory(p, err);
    if (comm_agree(p->comm, err) || calibrate(p, err)) return err->status;
    p->evaluates = true;
    if (pass_over(p, &p->evaluation, p->pass->samples, err) || look_at_weights(p, err)) return err->status;
    add_up(p);
    return STATUS_OK;
}

enum status unit_pass_run(struct unit_pass *pass, const struct job *job, const struct comm *comm,
                          const struct log *log, struct stop *stop, struct error *err)
{
    struct passing p = {.pass = pass, .job = job, .comm = comm, .log = log, .stop = stop};
    *pass = (struct unit_pass){0};
    run(&p, err);
    device_close(p.gpu);
    engine_close(&p.engine);
    corpus_clear(&p.evaluation);
    corpus_clear(&p.calibration);
    model_close(&p.model);
    model_close(&p.reference);
    free(p.numbers);
    free(p.bins);
    free(p.largest);
    free(p.channel_scales);
    free(p.scales);
    free(p.rows);
    free(p.shown.numbers);
    free(p.shown.quantiles);
    free(p.shown.bins);
    free(p.shown.sums);
    free(p.shown.tallies);
    free(p.shown.largest);
    if (err->status) unit_pass_clear(pass);
    return err->status;
}

void unit_pass_clear(struct unit_pass *pass)
{
    free(pass->places);
    free(pass->largest);
    *pass = (struct unit_pass){0};
}
