// SPDX-License-Identifier: Apache-2.0
// What --dry-run says: runs, items, bytes, memory and time.  For the time one layer of each mode is computed
// and measured on every rank at once, for a second or so in all, and extrapolated by tokens, layers and runs.
#ifndef SSMSWEEP_SWEEP_DRY_RUN_H
#define SSMSWEEP_SWEEP_DRY_RUN_H

#include "ssmsweep/sweep/sweep.h"

// Collective, after sweep_open().  Rank 0 prints on standard output; report_bytes: what the reports take on
// this rank.  *seconds: of the whole on every rank; NULL: not wanted.  The sweep is taken as a new one,
// whatever a result file holds.
enum status dry_run_print(const struct sweep *sweep, size_t report_bytes, double *seconds, struct error *err);

#endif
