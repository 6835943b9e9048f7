// SPDX-License-Identifier: Apache-2.0
// From the result file to everything that is told of it, in four steps: read back, measure, statistics,
// write. Every rank takes all steps in this order.
#ifndef SSMSWEEP_REPORT_REPORTING_H
#define SSMSWEEP_REPORT_REPORTING_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/sweep_report.h"
#include "ssmsweep/report/verdict.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/sweep.h"

// What every command gets.  Borrowed.
struct program {
    const struct job *job;
    const struct comm *comm;
    const struct log *log;
    struct stop *stop;
    struct verdict *verdict;
    const char *tool_version;
};

// In caller memory.  The caller sets the first part (borrowed) and zeroes the rest.
struct reporting {
    const struct job *job;
    const struct comm *comm;
    const struct log *log;
    struct stop *stop;
    struct verdict *verdict;
    bool partial; // of a sweep that did not end: what is finished
    // Set by the steps.
    bool under_way; // a run still writes to the result file
    struct result *result;
    struct comparison comparison;
    struct sweep_report sweep;      // intervals, ranks, trends
    struct attribution attribution; // of COMMAND_ATTRIBUTE, rank 0
    struct error late;              // a signal came: no time for intervals, the other reports are made
};

// Collective.  Opens the result file of the job.  STATUS_INPUT: there is none, or it is none.
enum status reporting_read_back(struct reporting *reporting, struct error *err);
// Collective.  Every mode against the reference, over all samples.
enum status reporting_measure(struct reporting *reporting, struct error *err);
// Collective.  Intervals over the samples; `save` needs none.
enum status reporting_statistics(struct reporting *reporting, struct error *err);
// Collective.  Files, tables, verdict and declared equalities.  STATUS_GATE: a gate is broken, or an
// equality.
enum status reporting_write(struct reporting *reporting, struct error *err);
void reporting_close(struct reporting *reporting); // after a failure of any step, too

// Local, after sweep_open().  Bytes that comparison and reports take on this rank, told beforehand.
size_t reporting_bytes(const struct sweep *sweep);

// Collective, after result_open() on every rank.  Does a run still write to the file?  Then a line says so,
// and all ranks see the same finished samples.
enum status reporting_look_for_run(bool *under_way, struct result *result, const char *path,
                                   const struct comm *comm, const struct log *log, struct error *err);

#endif
