// SPDX-License-Identifier: Apache-2.0
// Decisions over families of tests: Holm's correction, a ranking that shows ties, where a series stops
// improving, how many samples would settle a tie, and what is mere noise.
#ifndef SSMSWEEP_STATISTICS_RANKING_H
#define SSMSWEEP_STATISTICS_RANKING_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/statistics/bootstrap.h"

#define RANKING_ALPHA 0.05
#define RANKING_POWER 0.8

// Holm (1979): adjusted[i] <= alpha where test i is rejected at family-wise level alpha.  A NaN is no test:
// it stays NaN and does not count.  p and adjusted may be the same array.  count is at most
// pair_count(BOOTSTRAP_MAX_RUNS).
void holm_adjust(const double *p, int count, double *adjusted);

// One run among `runs` of one (layer, component, cell, metric).  The family is all pairs of runs.
struct standing {
    int rank;        // 1 + number of runs that are significantly better; 0: no value (NaN)
    uint64_t tied;   // bit r: run r cannot be told from this one (EQUAL ones included, itself not)
    uint64_t equal;  // bit r: run r is equal in every sample
    uint64_t better; // bit r: run r is significantly better
};

// changes as from bootstrap_run(); adjusted (or NULL) gets the corrected p-values, [pair_count(runs)].
void ranking_make(const struct metric *metric, const struct interval *intervals, const struct change *changes,
                  int runs, double alpha, struct standing *ranks, double *adjusted);

// Runs are the same mode at rising calib_data_num, changes their pairs.  Returns the smallest index from
// which on no later one is better, significantly (family: all pairs) and by more than noise[pairs], which is
// in |phi| (NULL: not known, then significance decides); `runs - 1` where even the last step improves, or
// runs is 1.  -1: runs is 0, or some pair cannot be judged (NaN).
int trend_settles(const struct metric *metric, const struct change *changes, const double *noise, int runs,
                  double alpha);

// What tests at level alpha / family with probability `power` of success ask of a change: the same for every
// change, and dear, so that each number of samples and each family is computed once.  families: the largest.
struct demands;
enum status demands_open(struct demands **demands, double alpha, double power, int families,
                         struct error *err);
void demands_close(struct demands *demands); // NULL is fine

// Samples at which a two-sided test of this change at level alpha / family would find it with probability
// `power`, were the change and its spread between samples as seen: smallest n at which a t of n - 1 degrees
// of freedom, off centre by sqrt(n) change / spread, passes the test so often.  INFINITY
// where the change is 0 or |phi| <= least (the noise floor; 0: none), or above SAMPLES_MOST; NaN where the
// change has no se, or is unbounded: its se says nothing then.
#define SAMPLES_MOST 1e9
double samples_needed(struct demands *demands, const struct change *change, double least, int family);

// ---- the noise floor ----

// The implementation-noise floor: what another legal order of summation, or a dither of the last bit, makes
// of a metric.  A difference of that size means nothing.

// The floor of one (run, layer, component, metric), from K re-runs of the run.  NaN: not known.
struct noise_floor {
    double change; // largest |phi(re-run) - phi(run)|, both measured against the reference
    double value;  // the metric of the re-runs against the run itself: the worst of them
    int reruns;    // K
};

// `own`: the run's metric against the reference; `against_reference[reruns]`, `against_self[reruns]`: those
// of the re-runs (either may be NULL).  `quantile` 1 takes the largest, 0.9 the one that 90 % do not exceed
// (the order statistic ceil(K quantile)).  A NaN among the values makes that floor NaN; reruns 0 makes both
// so.  A re-run infinitely far away does not count: it or the run is the reference in every bit, and that
// says nothing of a noise that others could have; where all are, the change is NaN.
struct noise_floor noise_floor_make(const struct metric *metric, double own, const double *against_reference,
                                    const double *against_self, int reruns, double quantile);

// The run is as near to the reference as to its own re-runs: its value is not above the floor (for metrics
// that are better when larger: not below it).  False where either is NaN.
bool value_below_floor(const struct metric *metric, double value, const struct noise_floor *floor);

// A change phi of run a to run b lies within what the noise of both can make: |phi| <= a->change + b->change.
// NULL or NaN floors count as 0 (a float mode has none).  A change of exactly 0 is always below.
bool change_below_floor(double phi, const struct noise_floor *a, const struct noise_floor *b);
double change_floor(const struct noise_floor *a, const struct noise_floor *b); // a->change + b->change

#endif
