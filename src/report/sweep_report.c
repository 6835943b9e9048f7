// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/sweep_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/view.h"
#include "sweep_parts.h"

const double sweep_percentiles[SWEEP_PERCENTILES] = {50, 90, 95, 99, 99.9};

static enum metric_subject subject_of(const struct sweep_unit *unit)
{
    return unit->layer == SWEEP_END_OF_MODEL ? SUBJECT_PREDICTIONS : SUBJECT_OUTPUTS;
}

const struct metric *sweep_metric(const struct sweep_unit *unit, int k)
{
    return metric_with_interval(subject_of(unit), k);
}

int sweep_metric_count(const struct sweep_unit *unit)
{
    int count = metric_intervals(subject_of(unit)); // those of a layer by itself are the last
    while (!unit->isolated && count > 0 && sweep_metric(unit, count - 1)->needs == NEEDS_OWN_ERRORS)
        count--;
    return count;
}

const struct result_run *sweep_run_at(const struct sweep_report *report, int place)
{
    const int run = report->runs[place];
    return report->result ? result_run_at(report->result, run) : &report->given[run];
}

// ---- what is compared: the same on every rank ----

static enum status choose_runs(struct sweep_report *report, const struct compare_request *request,
                               struct error *err)
{
    const struct result *result = report->result;
    size_t runs = (size_t)result_runs(result) + 1;
    bool *chosen = calloc(runs, sizeof *chosen);
    report->runs = calloc(runs, sizeof *report->runs);
    if (!chosen || !report->runs)
        error_memory(err, runs, "the runs of a comparison");
    else if (!compare_choose(result, request, chosen, err))
        for (int r = 0; r < result_runs(result); r++)
            if (chosen[r] && strcmp(result_run_at(result, r)->mode, report->reference) != 0)
                report->runs[report->n_runs++] = r;
    free(chosen);
    return err->status;
}

// Those that every run and its reference have: pairs of modes are compared sample by sample.
static void choose_samples(struct sweep_report *report, bool *uses)
{
    for (int s = 0; s < result_samples(report->result); s++) {
        uses[s] = true;
        for (int r = 0; r < report->n_runs && uses[s]; r++) {
            int reference = compare_reference_of(report->result, report->reference, report->runs[r]);
            uses[s] = compare_uses(report->result, reference, report->runs[r], s);
        }
        if (!uses[s]) continue;
        report->samples++;
        report->tokens += result_length(report->result, s);
    }
}

static enum status list_units(struct sweep_report *report, const struct samples *samples, struct error *err)
{
    int layers = samples_layers(samples);
    const struct arch *arch = report->arch;
    size_t most = (size_t)layers * (size_t)arch->n_components + 1;
    report->units = calloc(most, sizeof *report->units);
    if (!report->units) return error_memory(err, most * sizeof *report->units, "the layers of a report");
    if (report->samples == 0 || report->n_runs == 0) return STATUS_OK;
    for (int l = 0; l < layers; l++)
        for (int c = 0; c < arch->n_components; c++)
            if (samples_components(samples, l) & 1u << c)
                report->units[report->n_units++] =
                    (struct sweep_unit){samples_layer_at(samples, l), c, arch->components[c].name,
                                        samples_have_isolated(samples)};
    if (samples_has_end_of_model(samples))
        report->units[report->n_units++] = (struct sweep_unit){.layer = SWEEP_END_OF_MODEL};
    return STATUS_OK;
}

static bool same_cell(const struct result_run *a, const struct result_run *b)
{
    return cell_compare(a->cell, b->cell) == 0;
}

// Float runs join every cell whose reference is theirs.
static bool belongs(const struct sweep_report *report, int place, const struct result_run *cell)
{
    const struct result_run *run = sweep_run_at(report, place);
    if (!cell) return run->cell.calib_data_num == 0;
    if (same_cell(run, cell)) return true;
    if (run->cell.calib_data_num > 0) return false;
    int first = (int)(cell - result_run_at(report->result, 0));
    return compare_reference_of(report->result, report->reference, report->runs[place]) ==
           compare_reference_of(report->result, report->reference, first);
}

static void add_family(struct sweep_report *report, const struct result_run *cell)
{
    struct sweep_family *family = &report->families[report->n_families];
    *family =
        (struct sweep_family){.cell = cell, .first_rank = report->n_ranks, .first_pair = report->n_pairs};
    int first = report->n_pieces;
    for (int i = 0; i < report->n_runs; i++) {
        if (!belongs(report, i, cell)) continue;
        if (family->count == BOOTSTRAP_MAX_RUNS) {
            report->pieces[report->n_pieces++] = *family;
            family->count = 0;
        }
        family->runs[family->count++] = i;
    }
    if (report->n_pieces > first) { // too many to be ranked
        report->pieces[report->n_pieces++] = *family;
        *family = (struct sweep_family){0};
    }
    if (family->count == 0) return;
    report->n_families++;
    report->n_ranks += family->count;
    report->n_pairs += pair_count(family->count);
}

// One for each set of scales; one of the float modes alone where no other takes them in.
static enum status list_families(struct sweep_report *report, struct error *err)
{
    size_t most = (size_t)report->n_runs + 1;
    report->families = calloc(most, sizeof *report->families);
    report->pieces = calloc(most + 2 * most / BOOTSTRAP_MAX_RUNS, sizeof *report->pieces);
    if (!report->families || !report->pieces)
        return error_memory(err, most * sizeof *report->families, "the families of a report");
    const struct result_run *last = NULL;
    bool taken = false;
    for (int i = 0; i < report->n_runs; i++) {
        const struct result_run *run = sweep_run_at(report, i);
        if (run->cell.calib_data_num == 0 || (last && same_cell(last, run))) continue;
        add_family(report, run);
        last = run;
        for (int f = 0; f < report->n_runs && !taken; f++)
            taken = sweep_run_at(report, f)->cell.calib_data_num == 0 && belongs(report, f, run);
    }
    if (!taken) add_family(report, NULL);
    return STATUS_OK;
}

// Its calibration samples are in the order of the text.
static bool is_point(const struct result_run *run, const char *mode)
{
    return run->cell.calib_data_num > 0 && run->cell.order == 0 && strcmp(run->mode, mode) == 0;
}

static enum status list_trends(struct sweep_report *report, struct error *err)
{
    report->trends = calloc((size_t)mode_count(), sizeof *report->trends);
    if (!report->trends) return error_memory(err, 1u << 12, "the trends of a report");
    for (int m = 0; m < mode_count(); m++) {
        struct sweep_trend *trend = &report->trends[report->n_trends];
        for (int i = 0; i < report->n_runs && trend->count < BOOTSTRAP_MAX_RUNS; i++)
            if (is_point(sweep_run_at(report, i), mode_at(m)->name)) trend->runs[trend->count++] = i;
        if (trend->count > 1)
            report->n_trends++;
        else
            *trend = (struct sweep_trend){0};
    }
    return STATUS_OK;
}

// The run that a re-run repeats, or -1.
static int place_of(const struct sweep_report *report, const struct result_run *rerun)
{
    for (int i = 0; i < report->n_runs; i++)
        if (same_cell(sweep_run_at(report, i), rerun) &&
            strcmp(sweep_run_at(report, i)->mode, rerun->mode) == 0)
            return i;
    return -1;
}

// In an unfinished sweep: those that have every sample of the report.
static enum status list_reruns(struct sweep_report *report, const struct samples *samples, const bool *uses,
                               struct error *err)
{
    const struct result *result = report->result;
    const int first = result_runs(result),
              count = samples_have_reruns(samples) ? result_noise_runs(result) : 0;
    report->reruns = calloc((size_t)count + 1, sizeof *report->reruns);
    if (!report->reruns) return error_memory(err, 1u << 12, "the re-runs of a report");
    for (int r = first; r < first + count; r++) {
        const int of = place_of(report, result_run_at(result, r));
        bool whole = of >= 0;
        for (int s = 0; s < result_samples(result) && whole; s++)
            whole = !uses[s] || result_state(result, r, s) == STORE_ITEM_DONE;
        if (whole) report->reruns[report->n_reruns++] = (struct sweep_rerun){r, of};
    }
    return STATUS_OK;
}

static enum status reserve(struct sweep_report *report, const struct comm *comm, struct error *err)
{
    report->first_unit = comm->rank;
    report->unit_step = comm->rank == 0 ? 1 : comm->ranks;
    for (int u = report->first_unit; u < report->n_units; u += report->unit_step)
        report->held_units++;
    size_t units = (size_t)report->held_units + 1, each = units * (size_t)report->ranked;
    report->entries = calloc(units * ((size_t)report->n_runs + 1), sizeof *report->entries);
    report->pairs = calloc(each * ((size_t)report->n_pairs + 1), sizeof *report->pairs);
    report->ranks = calloc(each * ((size_t)report->n_ranks + 1), sizeof *report->ranks);
    report->settles = calloc(each * ((size_t)report->n_trends + 1), sizeof *report->settles);
    if (report->entries && report->pairs && report->ranks && report->settles) return STATUS_OK;
    return error_memory(err, units * (size_t)report->n_runs * sizeof *report->entries, "a report");
}

static enum status prepare(struct sweep_report *report, struct samples **samples, bool **uses,
                           const struct comm *comm, struct result *result,
                           const struct sweep_report_request *request, struct error *err)
{
    *report = (struct sweep_report){.result = result,
                                    .arch = result_arch(result),
                                    .reference = request->compare.reference,
                                    .seed = request->seed,
                                    .replicates = request->replicates,
                                    .chosen = request->compare.layers != NULL,
                                    .ranked = metric_ranked_most()};
    *uses = calloc((size_t)result_samples(result) + 1, sizeof **uses);
    if (!*uses) return error_memory(err, (unsigned)result_samples(result), "the samples of a report");
    if (choose_runs(report, &request->compare, err)) return err->status;
    choose_samples(report, *uses);
    if (samples_open(samples, result, report->reference, request->compare.stop, err) ||
        samples_choose(*samples, request->compare.layers, request->compare.components, false, err) ||
        list_units(report, *samples, err) || list_families(report, err) || list_trends(report, err) ||
        list_reruns(report, *samples, *uses, err))
        return err->status;
    return reserve(report, comm, err);
}

// Where the numbers of a unit are.
static size_t held(const struct sweep_report *report, int unit)
{
    return (size_t)((unit - report->first_unit) / report->unit_step);
}

// ---- measuring ----

static enum status measure_own(struct sweep_report *report, const struct comm *comm, struct samples *samples,
                               const bool *uses, const struct log *log, struct error *err)
{
    struct sweep_measure *measure = NULL;
    if (comm->rank < report->n_units) sweep_measure_open(&measure, report, samples, uses, err);
    for (int u = comm->rank; u < report->n_units && !err->status; u += comm->ranks)
        sweep_measure_unit(measure, report, u, err);
    if (log) footprint_log(log, "intervals are there");
    sweep_measure_close(measure);
    return err->status;
}

// A piece of a report on its way from its owner to rank 0.
static void move(void *block, size_t bytes, int owner, const struct comm *comm)
{
    const size_t most = (size_t)1 << 24;
    for (size_t at = 0; at < bytes; at += most) {
        const int part = (int)(bytes - at < most ? bytes - at : most);
        unsigned char *piece = (unsigned char *)block + at;
        if (comm->rank == 0)
            MPI_Recv(piece, part, MPI_BYTE, owner, 0, comm->world, MPI_STATUS_IGNORE);
        else
            MPI_Send(piece, part, MPI_BYTE, 0, 0, comm->world);
    }
}

// Collective.  Rank 0 gets the units of the others, in the order of the units.
static void collect(struct sweep_report *report, const struct comm *comm)
{
    const size_t ranked = (size_t)report->ranked, pairs = ranked * (size_t)report->n_pairs,
                 ranks = ranked * (size_t)report->n_ranks, settles = ranked * (size_t)report->n_trends,
                 runs = (size_t)report->n_runs;
    for (int u = 0; u < report->n_units; u++) {
        const int owner = u % comm->ranks;
        if (owner == 0 || (comm->rank != 0 && comm->rank != owner)) continue;
        const size_t row = held(report, u);
        move(report->entries + row * runs, runs * sizeof *report->entries, owner, comm);
        move(report->pairs + row * pairs, pairs * sizeof *report->pairs, owner, comm);
        move(report->ranks + row * ranks, ranks * sizeof *report->ranks, owner, comm);
        move(report->settles + row * settles, settles * sizeof *report->settles, owner, comm);
    }
}

enum status sweep_report_make(struct sweep_report *report, const struct comm *comm, struct result *result,
                              const struct sweep_report_request *request, struct error *err)
{
    struct sweep_report made = {0};
    struct samples *samples = NULL;
    bool *uses = NULL;
    prepare(&made, &samples, &uses, comm, result, request, err);
    if (comm_agree(comm, err)) goto close_samples;
    measure_own(&made, comm, samples, uses, request->compare.log, err);
    if (comm_agree(comm, err)) goto close_samples;
    collect(&made, comm);
    *report = made;
    made = (struct sweep_report){0};
close_samples:
    sweep_report_clear(&made);
    samples_close(samples);
    free(uses);
    return err->status;
}

void sweep_report_clear(struct sweep_report *report)
{
    free(report->runs);
    free(report->units);
    free(report->families);
    free(report->pieces);
    free(report->trends);
    free(report->reruns);
    free(report->entries);
    free(report->pairs);
    free(report->ranks);
    free(report->settles);
    *report = (struct sweep_report){0};
}

size_t sweep_report_bytes(const struct sweep_report_size *size, int rank, int ranks)
{
    const int own = rank < size->units ? (size->units - rank - 1) / ranks + 1 : 0;
    const size_t held = (size_t)(rank == 0 ? size->units : own), families = (size_t)size->families;
    const bool ranked = size->of_family <= BOOTSTRAP_MAX_RUNS; // else they are too many
    const size_t pairs =
                     ranked ? families * (size_t)pair_count(size->of_family) * sizeof(struct sweep_pair) : 0,
                 places = ranked ? families * (size_t)size->of_family * sizeof(struct standing) : 0,
                 settles = (size_t)size->trends * sizeof(int64_t);
    const size_t bytes = held * ((size_t)size->runs * sizeof(struct sweep_entry) +
                                 (size_t)metric_ranked_most() * (pairs + places + settles));
    const int together = ranked ? size->of_family : BOOTSTRAP_MAX_RUNS,
              most = together > size->families ? together : size->families;
    if (own == 0 || size->samples == 0 || size->runs == 0) return bytes;
    return bytes + sweep_measure_bytes(size->runs, most, size->samples, size->replicates);
}

// ---- looking up ----

struct sweep_entry *sweep_entry_at(const struct sweep_report *report, int unit, int run)
{
    return &report->entries[held(report, unit) * (size_t)report->n_runs + (size_t)run];
}

static size_t row_of(const struct sweep_report *report, int unit, int k)
{
    const int place = sweep_metric(&report->units[unit], k)->place[LIST_RANKED];
    return held(report, unit) * (size_t)report->ranked + (size_t)place - 1;
}

struct sweep_pair *sweep_pairs_at(const struct sweep_report *report, int unit, int k,
                                  const struct sweep_family *family)
{
    return &report->pairs[row_of(report, unit, k) * (size_t)report->n_pairs + (size_t)family->first_pair];
}

struct standing *sweep_ranks_at(const struct sweep_report *report, int unit, int k,
                                const struct sweep_family *family)
{
    return &report->ranks[row_of(report, unit, k) * (size_t)report->n_ranks + (size_t)family->first_rank];
}

int64_t *sweep_settles_at(const struct sweep_report *report, int unit, int k, int trend)
{
    return &report->settles[row_of(report, unit, k) * (size_t)report->n_trends + (size_t)trend];
}

// ---- what the numbers say ----

bool sweep_ranks_by(const struct sweep_unit *unit, int k)
{
    return sweep_metric(unit, k)->place[LIST_RANKED] > 0;
}

enum sweep_verdict sweep_verdict(const struct standing *ranks, const struct sweep_pair *pair, int first,
                                 int second)
{
    if (ranks[first].equal & UINT64_C(1) << second) return VERDICT_EQUAL;
    if (isnan(pair->change.p)) return VERDICT_UNKNOWN;
    if (ranks[first].better & UINT64_C(1) << second) return VERDICT_SECOND;
    if (ranks[second].better & UINT64_C(1) << first) return VERDICT_FIRST;
    return VERDICT_TIE;
}

void sweep_places(const struct standing *ranks, int count, int mode, int *best, int *worst)
{
    int worse = 0;
    for (int i = 0; i < count; i++)
        worse += (ranks[i].better & UINT64_C(1) << mode) != 0;
    *best = ranks[mode].rank;
    *worst = *best ? count - worse : 0;
}

int sweep_orders(const struct sweep_report *report, int run, int *places)
{
    const struct result_run *first = sweep_run_at(report, run);
    int n = 0;
    for (int i = 0; i < report->n_runs; i++) {
        const struct result_run *other = sweep_run_at(report, i);
        if (strcmp(other->mode, first->mode) == 0 && other->cell.calib_data_num == first->cell.calib_data_num)
            places[n++] = i;
    }
    return places[0] == run ? n : 0;
}

void sweep_orders_range(const struct sweep_report *report, int unit, int k, const int *places, int count,
                        double *least, double *most)
{
    *least = *most = NAN; // which fmin and fmax pass over
    for (int i = 0; i < count; i++) {
        double v = sweep_entry_at(report, unit, places[i])->intervals[k].value;
        *least = fmin(*least, v);
        *most = fmax(*most, v);
    }
}

bool sweep_is_noise(const struct sweep_pair *pair)
{
    return pair->noise > 0 && fabs(pair->change.phi) <= pair->noise;
}

// Both values differ, by no more than noise.
static bool only_noise_between(const struct sweep_report *report, int unit, int k, int a, int b)
{
    const struct sweep_entry *x = sweep_entry_at(report, unit, a), *y = sweep_entry_at(report, unit, b);
    const double phi = x->intervals[k].phi - y->intervals[k].phi;
    return phi != 0 && change_below_floor(phi, &x->floors[k], &y->floors[k]);
}

uint64_t sweep_noise_set(const struct sweep_report *report, int unit, int k,
                         const struct sweep_family *family, int mode)
{
    uint64_t set = 0;
    for (int i = 0; i < family->count; i++)
        if (only_noise_between(report, unit, k, family->runs[mode], family->runs[i])) set |= UINT64_C(1) << i;
    return set;
}

bool sweep_within_noise(const struct sweep_report *report, int unit, int k, int run)
{
    for (int f = 0; report->n_reruns > 0 && f < report->n_families; f++) {
        const struct sweep_family *family = &report->families[f];
        for (int i = 0; i < family->count; i++)
            if (family->runs[i] == run && sweep_noise_set(report, unit, k, family, i)) return true;
    }
    return false;
}

bool sweep_within_apart(const struct sweep_report *report, int unit, int k, int run)
{
    const struct sweep_entry *entry = sweep_entry_at(report, unit, run);
    const struct interval *v = &entry->intervals[k];
    return !isinf(v->phi) && // which stands for equal
           value_below_floor(sweep_metric(&report->units[unit], k), v->value, &entry->floors[k]);
}

bool sweep_runs_within_noise(const struct sweep_report *report, int unit, int k, const int *runs, int count)
{
    for (int a = 0; a < count; a++)
        for (int b = a + 1; b < count; b++) {
            const struct sweep_entry *x = sweep_entry_at(report, unit, runs[a]),
                                     *y = sweep_entry_at(report, unit, runs[b]);
            if (x->floors[k].reruns == 0 || y->floors[k].reruns == 0 ||
                !change_below_floor(x->intervals[k].phi - y->intervals[k].phi, &x->floors[k], &y->floors[k]))
                return false;
        }
    return true;
}

bool sweep_knows_noise(const struct sweep_report *report, int unit, const struct sweep_trend *trend)
{
    for (int i = 0; i < trend->count; i++)
        if (sweep_entry_at(report, unit, trend->runs[i])->floors[0].reruns == 0) return false;
    return true;
}
