// SPDX-License-Identifier: Apache-2.0
// A sweep report as files: sweep.json (docs/schema/sweep.schema.json) and sweep.csv.  Equal results give
// equal bytes: neither time nor place is in them.
#ifndef SSMSWEEP_REPORT_SWEEP_FILES_H
#define SSMSWEEP_REPORT_SWEEP_FILES_H

#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/sweep_report.h"

// Local: for rank 0.  Writes DIRECTORY/sweep.json and DIRECTORY/sweep.csv, each whole or not at all.
// STATUS_IO names the file.
enum status sweep_files_write(const struct sweep_report *report, const char *directory, struct error *err);

// The files' content; `out` keeps what went wrong there (ferror).  STATUS_IO: memory is out.
enum status sweep_json_write(FILE *out, const struct sweep_report *report, struct error *err);
void sweep_csv_write(FILE *out, const struct sweep_report *report);

// Which modes of a family can be told apart is reported by these metrics.
bool sweep_ranks_by(const struct sweep_unit *unit, int k);

// What is known of a pair.
enum sweep_verdict { VERDICT_FIRST, VERDICT_SECOND, VERDICT_TIE, VERDICT_EQUAL, VERDICT_UNKNOWN };
enum sweep_verdict sweep_verdict(const struct rank *ranks, const struct sweep_pair *pair, int first,
                                 int second);

// Runs of a mode and calib_data_num under several orders of the calibration samples.  places[report->n_runs]
// gets them, the first being `run`; returns how many, or 0 where `run` is not the first of them.
int sweep_orders(const struct sweep_report *report, int run, int *places);
// Of one of their metrics: the smallest and the largest value.
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
void sweep_places(const struct rank *ranks, int count, int mode, int *best, int *worst);

#endif
