// SPDX-License-Identifier: Apache-2.0
// Whether a comparison is good enough: --gate, --gate-file, --baseline, --junit.
#ifndef SSMSWEEP_REPORT_VERDICT_H
#define SSMSWEEP_REPORT_VERDICT_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/baseline.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/gate.h"

// What a comparison is judged by, and what was found.  In caller memory, zeroed before use; verdict_close()
// frees.
struct verdict {
    struct gates gates;
    struct baseline *baseline; // NULL: none
    struct checks checks;
};

// Local, before anything is computed or written: reads gates and baseline whole.  STATUS_USAGE, STATUS_INPUT:
// one cannot be read, or a sweep of this job will not compare what it is about.
enum status verdict_open(struct verdict *verdict, const struct job *job, struct error *err);
void verdict_close(struct verdict *verdict);

// Local, for one rank.  Fills the checks.  A broken gate is no error here.
enum status verdict_judge(struct verdict *verdict, const struct comparison *comparison,
                          const struct result *result, struct error *err);
// Local.  Logs one line per broken gate and per entry worse than the baseline, or one where all is good.
// STATUS_GATE: something is broken.
enum status verdict_tell(const struct verdict *verdict, const struct log *log, struct error *err);

#endif
