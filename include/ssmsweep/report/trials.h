// SPDX-License-Identifier: Apache-2.0
// A search over recipes: lists of modes, each run as one sweep with a result file of its own
// (OUTPUT_DIR/NAME-01.h5, -02, ...), of which one metric is kept, sample by sample, on every rank.  Every
// rank has the same numbers, so all decide alike what is tried next.  With --resume each sweep goes on with
// its file: what was measured is read back, and the search takes the way that it took before.
//
// Called by: bisect.c, mix.c.
#ifndef SSMSWEEP_REPORT_TRIALS_H
#define SSMSWEEP_REPORT_TRIALS_H

#include <stdbool.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/reading.h"
#include "ssmsweep/report/reporting.h"
#include "ssmsweep/statistics/bootstrap.h"
#include "ssmsweep/statistics/ranking.h"

// A mode, run over the samples of a part of the job.
struct trial {
    const struct mode *mode;
    enum job_part part;
    double *table;  // [READING_COLUMNS][samples of the part]
    double *reruns; // the metric of each re-run with noise, [n_reruns]
    int n_reruns;
};

enum { TRIALS_PARTS = 3, TRIALS_SOURCES = 7 };

// In caller memory.
struct trials {
    struct program with;
    const char *name; // of the files
    struct dims dims; // of the model, as its config.json says
    struct reading_place place;
    int sweeps; // so far
    struct trial *items;
    int count, room;
    // Each part of the samples, once it was run.
    int samples[TRIALS_PARTS];
    long long tokens[TRIALS_PARTS];
    char ids_hex[TRIALS_PARTS][HASH_HEX_CHARS + 1];
    struct bootstrap *bootstraps[TRIALS_PARTS];
    char component[ARCH_NAME_CHARS];
    char *sources[TRIALS_SOURCES]; // what the first result file says of where it comes from
};

// Collective.  Reads the sizes of the model and what --metric and --at say; with --overwrite removes the
// result files of a search of that name.  STATUS_USAGE as reading_place_of(), STATUS_INPUT.  trials_close()
// frees, after a failure too.
enum status trials_open(struct trials *trials, const struct program *with, const char *name,
                        struct error *err);
void trials_close(struct trials *trials); // a zeroed one is fine

// One sweep.
struct trials_list {
    const struct mode *const *modes; // the reference is run in any case
    int count;
    enum job_part part;
    int noise;     // re-runs
    bool isolated; // each layer by itself as well
};

// Collective.  STATUS_STOPPED and what a sweep may fail with.
enum status trials_run(struct trials *trials, const struct trials_list *list, struct error *err);

// Collective, with --dry-run.  Prints what such a sweep takes, for people; `sweeps` of at most that size make
// the search, of `runs` runs in all.
enum status trials_dry_run(struct trials *trials, const struct trials_list *list, int sweeps, long runs,
                           struct error *err);

// Local.  Where the result file of a sweep is, from 1; caller frees.  NULL with *err set when memory is out.
char *trials_path(const struct trials *trials, int sweep, struct error *err);

// Local.  The last one of that mode; NULL: it was not run.
const struct trial *trials_find(const struct trials *trials, const struct mode *mode, enum job_part part);

// Local.  The metric of a trial, and unless `from` is NULL its change against that one, over the same
// samples.
void trials_measure(const struct trials *trials, const struct trial *of, const struct trial *from,
                    struct interval *interval, struct change *change);

// Local.  How far re-runs lie from a trial; NaN without them.
struct noise_floor trials_floor(const struct trials *trials, const struct trial *of);

// ---- JSON, into an open object ----

void trials_put_place(struct json_writer *w, const struct trials *trials); // metric, change, layer, component
void trials_put_source(struct json_writer *w, const struct trials *trials); // provenance
void trials_put_interval(struct json_writer *w, const char *key, const struct interval *interval);
void trials_put_change(struct json_writer *w, const char *key, const struct change *change);

#endif
