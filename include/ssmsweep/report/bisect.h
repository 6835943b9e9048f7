// SPDX-License-Identifier: Apache-2.0
// `ssmsweep attribute --bisect`: the smallest piece of a mode whose mending brings the metric to a limit.
//
// The pieces (recipe/parts.h) stand in their order.  Of a stretch that is enough when mended, both halves are
// tried in one sweep; one that is enough is the next stretch.  Where neither is, pieces of both are needed
// together: those of the first half are looked for with the second one mended, then those of the second with
// what was found (Zeller & Hildebrandt, Simplifying and isolating failure-inducing input, 2002).  It presumes
// that mending more does not make the metric worse; the pieces of an answer of several are tried alone, too.
#ifndef SSMSWEEP_REPORT_BISECT_H
#define SSMSWEEP_REPORT_BISECT_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/trials.h"

// Collective.  Sweeps, then bisect.json in the folder of the comparisons and a table; with --dry-run what it
// takes.  STATUS_USAGE: no such mode, nothing to take apart, no limit.
enum status bisect_run(const struct program *with, struct error *err);

#endif
