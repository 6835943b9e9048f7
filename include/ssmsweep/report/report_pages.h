// SPDX-License-Identifier: Apache-2.0
// The command `report`: a page of result files and of sweep.json files, a part for each.
#ifndef SSMSWEEP_REPORT_REPORT_PAGES_H
#define SSMSWEEP_REPORT_REPORT_PAGES_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

// Collective.  The page of all results that the job names.  `stop` may be NULL.  STATUS_INPUT: a file is
// none, or two are of different models; STATUS_USAGE: a page that is there would be replaced by one that
// shows less.
enum status report_pages(const struct job *job, const struct comm *comm, const struct log *log,
                         struct stop *stop, struct error *err);

#endif
