// SPDX-License-Identifier: Apache-2.0
// Intervals and tests by the paired, studentized bootstrap over samples.  On the scale phi of the metric,
// with se the standard error from the linearised metric (infinitesimal jackknife), t = |phi* - phi| / se* of
// the resamples gives the interval phi +- t_95% se (Efron & Tibshirani 1993, chapter 12, in Hall's symmetric
// form, 1988).  Replicate b of a seed draws the same samples for every run, metric and layer, on every rank:
// that makes differences paired, and the bits the same everywhere.
//
// statistics/ says how sure a metric is: intervals (here), ranks, trends and noise (ranking.h).  It sees
// tables of sums over samples and rows of the catalogue, and knows neither files nor modes; report/ calls it.
#ifndef SSMSWEEP_STATISTICS_BOOTSTRAP_H
#define SSMSWEEP_STATISTICS_BOOTSTRAP_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/metric.h"

enum {
    BOOTSTRAP_REPLICATES = 999, // default; (replicates + 1) * (1 - level) should be whole
    BOOTSTRAP_MIN_REPLICATES = 199,
    BOOTSTRAP_MAX_REPLICATES = 99999,
    BOOTSTRAP_MIN_SAMPLES = 3, // below, an interval says nothing
    BOOTSTRAP_MAX_RUNS = 64,
};
#define BOOTSTRAP_LEVEL 0.95
// No p-value below this is claimed.
#define BOOTSTRAP_SMALLEST_P 1e-6

// Why low and high are what they are.
enum interval_state {
    INTERVAL_OK,
    INTERVAL_UNBOUNDED, // so few or so uneven samples that an end lies at the end of the scale
    INTERVAL_EXACT,     // at the end of the scale in every sample (mse 0, agreement 1): low = high = value
    INTERVAL_EQUAL,     // of a change: the two are equal in every sample; low = high = value = no change
    INTERVAL_TOO_FEW,   // samples; low and high are NaN, here and below
    INTERVAL_NO_SPREAD, // the samples all say the same: nothing is known of others
    INTERVAL_NONFINITE, // NaN or Inf in a sample: value is NaN too
    INTERVAL_UNDEFINED, // the metric is (a constant side has no correlation): value is NaN too
};
const char *interval_state_name(enum interval_state state); // "ok", "unbounded", "exact", ...

struct interval {
    double value, low, high; // of the metric, in its own unit
    double phi, se;          // on the metric's scale; se is NaN where there is none
    int samples;             // n
    enum interval_state state;
};

// Run a against run b.
struct change {
    double value, low, high; // change as the scale has it: a - b, a / b, ...
    double phi, se;          // phi(a) - phi(b) and its paired standard error
    double p;                // two-sided, not corrected; 1 where EQUAL, NaN where it cannot be told
    int samples;
    enum interval_state state;
};

// Index of pair (a, b), a < b, among the runs * (runs - 1) / 2 pairs: (0,1), (0,2), ..., (1,2), ...
int pair_index(int runs, int a, int b);
int pair_count(int runs);

// Weights of replicate `replicate`, how often each sample was drawn: weights[i * stride], i < samples, which
// sum to `samples`.  A function of its arguments alone.
void bootstrap_weights(uint64_t seed, int replicate, int samples, double *weights, int stride);

// Workspace; one per thread.
struct bootstrap;

// Local.  For tables of `samples` samples and up to `max_runs` runs at a time; takes bootstrap_bytes().
// STATUS_USAGE: replicates out of range, more runs than BOOTSTRAP_MAX_RUNS; STATUS_IO: no memory.  The caller
// frees with bootstrap_close(), NULL is fine.
enum status bootstrap_open(struct bootstrap **bootstrap, uint64_t seed, int replicates, int samples,
                           int max_runs, struct error *err);
void bootstrap_close(struct bootstrap *bootstrap);
size_t bootstrap_bytes(int replicates, int samples, int max_runs);

// Local.  tables[runs], runs <= max_runs, each [..][samples] as the metric's columns want; all over the same
// samples in the same order.  values[runs]: those of the metric, where they are known; NULL: phi carried
// back. Fills intervals[runs] and, unless NULL, changes[pair_count(runs)]: change of a to b, a < b.
void bootstrap_run(struct bootstrap *bootstrap, const struct metric *metric, const double *const *tables,
                   const double *values, int runs, struct interval *intervals, struct change *changes);

#endif
