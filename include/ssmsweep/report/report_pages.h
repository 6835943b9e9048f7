// SPDX-License-Identifier: Apache-2.0
// The command `report`: a page of result files and of sweep.json files, a part for each.
#ifndef SSMSWEEP_REPORT_REPORT_PAGES_H
#define SSMSWEEP_REPORT_REPORT_PAGES_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/reporting.h"

// Collective.  Of what the job names: result files are measured as by reporting_measure() and
// reporting_statistics(), of which `with` gives job, comm, log and stop.  STATUS_INPUT: a file is none, or
// two are of different models; STATUS_USAGE: a page that is there would be replaced by one that shows less.
enum status report_pages(const struct reporting *with, struct error *err);

#endif
