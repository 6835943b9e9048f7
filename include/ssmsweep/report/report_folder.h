// SPDX-License-Identifier: Apache-2.0
// Whose reports lie in a folder: those of one result are not mixed with those of another.
#ifndef SSMSWEEP_REPORT_REPORT_FOLDER_H
#define SSMSWEEP_REPORT_REPORT_FOLDER_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/sweep.h"

// Local, for one rank; the reports of a result are about to be written into --comparison-dir.  STATUS_INPUT:
// there are some of another model, text or calibration, or of a mode that this result lacks; with --overwrite
// they are removed instead, and the log says so.
enum status report_folder_take(const struct job *job, const struct result *result, const struct log *log,
                               struct error *err);

// The same before a sweep, of the result that it will make.  With --overwrite the result file of before and
// its statistics go as well: only what ssmsweep itself wrote; of `attribute` the result file alone.  The
// claim to the result file is held.
enum status report_folder_prepare(const struct sweep *sweep, const struct store_identity *identity,
                                  struct error *err);

#endif
