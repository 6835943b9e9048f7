// SPDX-License-Identifier: Apache-2.0
// `ssmsweep mix`: chooses for each piece of the model (recipe/parts.h) the formats of one of several modes,
// under a budget.
//
// It starts as the cheapest of the modes.  In each round every change of one piece, or of all at once, to the
// formats of another mode that the budget allows is run, all in one sweep, over the samples that choose.
// Eligible is what makes the error smaller, surely (paired, Holm over the round) and by more than the noise
// floor; taken is what costs nothing, the largest gain first, else the largest gain for its cost.  Behind the
// last round the mixes of all rounds, each mode by itself and mixes by chance of the same cost are run over
// the other samples, which judge.  docs/mix.md says what the numbers mean.
#ifndef SSMSWEEP_REPORT_MIX_H
#define SSMSWEEP_REPORT_MIX_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/reporting.h"

// Local, before any sweep: the options of the command.  STATUS_USAGE.
enum status mix_check(const struct job *job, struct error *err);

// Collective.  Sweeps, then mix.json, mix.csv and mix-recipes.json in the folder of the comparisons, and a
// table; with --dry-run what it takes; with --cost-template a table of costs to start from.  STATUS_USAGE: no
// such mode, a budget that nothing keeps, too few samples; STATUS_INPUT: a broken table of costs.
enum status mix_run(const struct program *with, struct error *err);

#endif
