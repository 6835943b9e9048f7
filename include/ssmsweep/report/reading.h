// SPDX-License-Identifier: Apache-2.0
// One metric at one place (the predictions, or the output of a layer) of the runs of a result file, as tables
// over samples that statistics/ takes: what attribution, bisection and mixes read.
//
// The error that the metric tells is 0 where nothing differs: its value, of perplexity_ratio the logarithm,
// of top1_agreement what it lacks of 1.
#ifndef SSMSWEEP_REPORT_READING_H
#define SSMSWEEP_REPORT_READING_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/samples.h"
#include "ssmsweep/statistics/bootstrap.h"
#include "ssmsweep/store/store.h"

// A table has so many, whatever the metric is of.
enum { READING_COLUMNS = (int)MOMENT_COLUMNS > (int)TEXT_COLUMNS ? (int)MOMENT_COLUMNS : (int)TEXT_COLUMNS };

// What --metric and --at say.
struct reading_place {
    const struct metric *metric;
    int layer; // at whose output; -1: the predictions of the model
};

// Local.  STATUS_USAGE: a metric that has no such error, or that the job leaves out, not one layer; several
// sets of scales (`what` begins that message).
enum status reading_place_of(struct reading_place *place, const struct job *job, const char *what,
                             int n_layer, struct error *err);

double reading_error(const struct metric *metric, const struct interval *interval);
double reading_error_of_value(const struct metric *metric, double value); // the same of a value
// "the predictions", "mixer_output of layer 3".  Gives `text` back.
enum { READING_PLACE_CHARS = 64 };
const char *reading_place_text(int layer, const char *component, char text[READING_PLACE_CHARS]);

// In caller memory.  What follows `sums` is for reading.c.
struct reading {
    struct reading_place place;
    const char *reference; // mode
    const char *component; // name of the output
    int samples;           // done in every run of the file, re-runs too: the others are left out
    long long tokens;
    bool *uses; // [samples of the file]
    struct accumulator *sums;
    struct result *result;
    struct samples *rows;
    int component_index;
};

// Local.  result and reference are borrowed.  STATUS_INPUT: no sample is done in all runs.  reading_close()
// frees, after a failure too.
enum status reading_open(struct reading *reading, struct result *result, const struct reading_place *place,
                         const char *reference, struct error *err);
void reading_close(struct reading *reading); // a zeroed one is fine

// The run of a mode, or its dither-th re-run; -1: there is none.
int reading_find(const struct result *result, const struct mode *mode, int dither);
// Fills table[READING_COLUMNS][reading->samples].
enum status reading_table(struct reading *reading, int run, double *table, struct error *err);

#endif
