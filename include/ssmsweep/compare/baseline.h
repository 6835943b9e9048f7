// SPDX-License-Identifier: Apache-2.0
// A comparison against an older one: only what got worse counts.
#ifndef SSMSWEEP_COMPARE_BASELINE_H
#define SSMSWEEP_COMPARE_BASELINE_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/compare/checks.h"
#include "ssmsweep/compare/compare.h"

// Local.  path: a mode_<m>_vs_<ref>.json or a summary.json (which holds the first and the last layer).  One
// check for each (mode, layer, component) that both hold: mse, mae, relative_mae must not be larger, and
// correlation not smaller.  STATUS_INPUT: no comparison, another reference, or nothing in common.
enum status baseline_check(const char *path, const struct comparison *comparison, const struct result *result,
                           struct checks *checks, struct error *err);

#endif
