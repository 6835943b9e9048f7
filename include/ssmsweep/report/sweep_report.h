// SPDX-License-Identifier: Apache-2.0
// How sure a comparison is: every metric of every (run, layer, component) with its interval, which modes can
// be told apart, where more calibration text stops improving.  docs/statistics.md says how.
#ifndef SSMSWEEP_REPORT_SWEEP_REPORT_H
#define SSMSWEEP_REPORT_SWEEP_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/statistics/bootstrap.h"
#include "ssmsweep/statistics/ranking.h"
#include "ssmsweep/store/store.h"

enum { SWEEP_PERCENTILES = 5, SWEEP_MOST_RERUNS = 64 };
extern const double sweep_percentiles[SWEEP_PERCENTILES]; // 50 ... 99.9

// What the numbers are of: a component of a layer, or the predictions of the whole model.
enum { SWEEP_END_OF_MODEL = -1 };
struct sweep_unit {
    int layer;        // or SWEEP_END_OF_MODEL
    int component;    // of the family of the model
    const char *name; // its
    bool isolated;    // the errors of layers by themselves are known
};
// The metrics that a unit has, in the order of everything below: those of its subject that have an interval.
const struct metric *sweep_metric(const struct sweep_unit *unit, int k);
int sweep_metric_count(const struct sweep_unit *unit);

// What is known of one (unit, run).
struct sweep_entry {
    double elements;     // or predictions
    double nonfinite[2]; // of the reference, of the mode; or predictions (both the same)
    double largest;      // |d|, or KL
    double top1_correct; // share of the predictions, end of model only
    struct interval intervals[METRIC_INTERVALS];
    struct noise_floor floors[METRIC_INTERVALS]; // 0 re-runs: not known; values of distances alone
    double percentiles[SWEEP_PERCENTILES][2];    // of |d|, or KL: bounds between which the exact one lies
    uint64_t bins[PROFILE_BINS];                 // of |d|, or KL: how many, as struct profile has it
    double position_count[PROFILE_POSITIONS];    // elements
    double position_mse[PROFILE_POSITIONS], position_mae[PROFILE_POSITIONS];
};

// What is known of one (unit, pair of runs, metric of LIST_RANKED).
struct sweep_pair {
    struct change change;
    double adjusted; // p, corrected for the family
    double noise;    // change that noise alone may make; 0: none, or not known
    double needed;   // of a tie: samples that would tell the two apart, see samples_needed(); else NaN
};

// Runs that are compared with each other: of one set of scales, and the float ones; of one reference.
struct sweep_family {
    const struct result_run *cell;       // one of its runs with these scales; NULL: only float ones
    int count, runs[BOOTSTRAP_MAX_RUNS]; // places in report->runs
    int first_rank, first_pair;          // in ranks and pairs of a unit
};

// A noisy re-run of runs[of].
struct sweep_rerun {
    int run; // of the result file
    int of;
};

// A mode under growing calib_data_num.
struct sweep_trend {
    int count, runs[BOOTSTRAP_MAX_RUNS];
};

struct sweep_report {
    const struct result *result;    // NULL: not from a result file
    const struct result_run *given; // then the runs that `runs` are places in
    const struct arch *arch;        // family of the model
    const char *reference;
    int samples; // that all runs share: what everything is measured over
    long long tokens;
    uint64_t seed;
    int replicates;
    bool chosen; // its layers were asked for

    int *runs;                     // of the result file (or `given`), without those of the reference
    struct sweep_unit *units;      // by layer, component
    struct sweep_family *families; // of up to BOOTSTRAP_MAX_RUNS runs: ranked
    struct sweep_family *pieces;   // of larger ones: they have intervals, and no ranks and pairs
    struct sweep_trend *trends;
    struct sweep_rerun *reruns;
    int n_runs, n_units, n_families, n_pieces, n_trends, n_reruns;
    int n_ranks, n_pairs; // of a unit and a metric
    int ranked;           // metrics by which modes are ranked, of the unit that has the most

    // Rank 0 holds every unit, another rank those that it measured: first_unit, first_unit + unit_step, ...
    int first_unit, unit_step, held_units;
    struct sweep_entry *entries; // [held_units][n_runs]
    struct sweep_pair *pairs;    // [held_units][ranked][n_pairs]
    struct standing *ranks;      // [held_units][ranked][n_ranks]
    int64_t *settles;            // [held_units][ranked][n_trends], as trend_settles()
};

struct sweep_report_request {
    struct compare_request compare;
    int replicates;
    uint64_t seed;
};

// Collective (alone where comm->ranks is 1).  Units are spread over the ranks; the same bits for any number
// of them.  A report without samples (of a sweep that has hardly begun) has no units.  Errors as
// compare_all().  Freed by sweep_report_clear().
enum status sweep_report_make(struct sweep_report *report, const struct comm *comm, struct result *result,
                              const struct sweep_report_request *request, struct error *err);
void sweep_report_clear(struct sweep_report *report); // a zeroed one is fine

// Local.  What a rank takes for a report of that size, its measuring included, before there is one.
struct sweep_report_size {
    int units, runs, samples, replicates, families, of_family, trends; // of_family: runs in each
    bool isolated;                                                     // as struct sweep_unit
};
size_t sweep_report_bytes(const struct sweep_report_size *size, int rank, int ranks);

// Local.  The run at a place in report->runs.
const struct result_run *sweep_run_at(const struct sweep_report *report, int place);

// Local.  run is a place in report->runs; the unit is one that this rank holds, metric k ranks modes.
struct sweep_entry *sweep_entry_at(const struct sweep_report *report, int unit, int run);
struct sweep_pair *sweep_pairs_at(const struct sweep_report *report, int unit, int k,
                                  const struct sweep_family *family); // as pair_index() orders them
struct standing *sweep_ranks_at(const struct sweep_report *report, int unit, int k,
                                const struct sweep_family *family);
int64_t *sweep_settles_at(const struct sweep_report *report, int unit, int k, int trend);

// ---- what the numbers say: local ----

// Which modes of a family can be told apart is reported by these metrics.
bool sweep_ranks_by(const struct sweep_unit *unit, int k);

// What is known of a pair.
enum sweep_verdict { VERDICT_FIRST, VERDICT_SECOND, VERDICT_TIE, VERDICT_EQUAL, VERDICT_UNKNOWN };
enum sweep_verdict sweep_verdict(const struct standing *ranks, const struct sweep_pair *pair, int first,
                                 int second);

// Runs of a mode and calib_data_num under several orders of the calibration samples.  places[report->n_runs]
// gets them, the first being `run`; returns how many, or 0 where `run` is not the first of them.
int sweep_orders(const struct sweep_report *report, int run, int *places);
// The smallest and the largest value of one of their metrics.
void sweep_orders_range(const struct sweep_report *report, int unit, int k, const int *places, int count,
                        double *least, double *most);

// The change is no larger than what another order of sums makes.  False where no noise is known.
bool sweep_is_noise(const struct sweep_pair *pair);
// Modes of a family, as bits, whose difference from this one is noise; those of the same value do not
// count.
uint64_t sweep_noise_set(const struct sweep_report *report, int unit, int k,
                         const struct sweep_family *family, int mode);
// Is there one, under any scales?  `run` as for sweep_entry_at().  False where no noise is known.
bool sweep_within_noise(const struct sweep_report *report, int unit, int k, int run);
// Is it no further from the reference than from its own re-runs?  False of a perplexity, of a run that is the
// reference in every bit, and where no noise is known.
bool sweep_within_apart(const struct sweep_report *report, int unit, int k, int run);
// Runs of one mode with other scales: no two differ by more than noise.  False where that of one is not
// known.
bool sweep_runs_within_noise(const struct sweep_report *report, int unit, int k, const int *runs, int count);
// Are there re-runs of every point?
bool sweep_knows_noise(const struct sweep_report *report, int unit, const struct sweep_trend *trend);

// The places that a mode may have among `count`: from 1 + those that are better for sure to the last but
// those that are worse for sure.  0, 0: unknown.
void sweep_places(const struct standing *ranks, int count, int mode, int *best, int *worst);

#endif
