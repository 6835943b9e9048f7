// SPDX-License-Identifier: Apache-2.0
// A comparison against an older one: only what got worse counts, and that both are about the same.
#ifndef SSMSWEEP_REPORT_BASELINE_H
#define SSMSWEEP_REPORT_BASELINE_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/gate.h"

struct baseline; // opaque

// Local.  Reads a mode_<m>_vs_<ref>.json or a summary.json (which holds the first and the last layer) whole;
// `path` must stay.  STATUS_INPUT: no comparison, or another reference.
enum status baseline_open(struct baseline **baseline, const char *path, const char *reference,
                          struct error *err);
void baseline_close(struct baseline *baseline); // NULL is fine

// Local, before a sweep.  STATUS_USAGE: it is about a mode that is not among swept[mode_count()], or a
// summary without one that is.
enum status baseline_check_modes(const struct baseline *baseline, const bool *swept, struct error *err);

// Local.  One check for each (mode, layer, component) that both hold: mse, mae, relative_mae must not be
// larger, and correlation not smaller.  STATUS_INPUT: of another model or text, or nothing in common.
// STATUS_USAGE: one of them lacks what the other has; modes that were not asked for do not count.
enum status baseline_check(const struct baseline *baseline, const struct comparison *comparison,
                           const struct result *result, struct checks *checks, struct error *err);

#endif
