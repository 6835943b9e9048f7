// SPDX-License-Identifier: Apache-2.0
// Which piece of a mode costs what: of each piece (recipe/pieces.h) the metric of the mode without it and of
// the target with only it, against the float reference, paired over the samples.  docs/attribution.md says
// what the numbers mean.
//
// E is the error that the metric tells: its value, of perplexity_ratio the logarithm, of top1_agreement what
// it lacks of 1.  The change of `without` and of `only` against the mode is one of the metric's scale (a
// quotient), with interval and test, the tests of `without` corrected by Holm over the pieces.  The shares
// are (E(mode) - E(without)) / W and (E(only) - E(none)) / W with W = E(mode) - E(none); what they lack of 1
// is interaction.
#ifndef SSMSWEEP_REPORT_ATTRIBUTION_H
#define SSMSWEEP_REPORT_ATTRIBUTION_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/recipe/pieces.h"
#include "ssmsweep/statistics/bootstrap.h"
#include "ssmsweep/statistics/ranking.h"
#include "ssmsweep/store/store.h"

struct attributed {
    const struct piece *piece;
    struct interval without, only;             // the metric itself
    struct change without_change, only_change; // against the mode: the quotient
    double effect;                             // E(mode) - E(without)
    double share_without, share_only;          // NaN: the whole is 0 or unknown
    double adjusted;                           // p of without_change by Holm
    int place; // from 1, by `without`: the piece that costs most first, those that change no bit last
    bool significant, within_noise;
};

struct attribution {
    const struct pieces *pieces;
    const char *reference; // mode
    const struct metric *metric;
    int layer; // at whose output; -1: the predictions of the model
    const char *component;
    int samples, resamples, n_reruns;
    long long tokens, seed;
    struct interval whole, none; // the metric of the mode, and of the target
    double whole_error;          // W
    struct noise_floor floor;    // of the mode; without re-runs NaN
    struct attributed *items;    // by place
    int count;
    double interaction_without, interaction_only; // 1 - the sums of the shares
};

// Local, before the sweep.  STATUS_USAGE: a metric that has no such error, a layer list that is not one
// layer.
enum status attribution_check(const struct job *job, int n_layer, struct error *err);
// Local, when the pieces are made: fills in what each takes, also by a table of the user's own (a file;
// NULL: none).  STATUS_INPUT: a format that the model cannot have; a broken table.
enum status attribution_price(const struct dims *dims, const char *table, struct error *err);

// Local: for one rank.  Over the samples that are done in all runs.  STATUS_INPUT: a run is not in the file,
// or no sample is done in all.  attribution_clear() frees.
enum status attribution_make(struct attribution *attribution, struct result *result, const struct job *job,
                             struct error *err);
// Local, before the sweep, of mixes too.  STATUS_USAGE: a gate on another metric than the job's, or on no
// piece.
struct gates;
struct checks;
enum status attribution_check_gates(const struct gates *gates, const struct job *job, struct error *err);
// Local.  One check per gate: its limits hold for the metric of the target with only the piece, of every
// piece that it names; without a piece for that of the mode.
enum status attribution_judge(const struct attribution *attribution, const struct gates *gates,
                              struct checks *checks, struct error *err);
// Local.  The same of one value of the metric, said to be that of `at`.
enum status attribution_judge_whole(double value, const char *at, const struct gates *gates,
                                    struct checks *checks, struct error *err);
void attribution_clear(struct attribution *attribution); // a zeroed one is fine

// Local.  The first pieces, as a table for people.
void attribution_print(const struct attribution *attribution, FILE *out);

// Local.  attribution.json and attribution.csv into the folder; unless it is NULL that table on `out`.
enum status attribution_write(const struct attribution *attribution, const struct result *result,
                              const char *folder, FILE *out, struct error *err);

#endif
