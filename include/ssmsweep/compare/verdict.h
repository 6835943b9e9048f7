// SPDX-License-Identifier: Apache-2.0
// Whether a comparison is good enough: --gate, --gate-file, --baseline, --junit.
#ifndef SSMSWEEP_COMPARE_VERDICT_H
#define SSMSWEEP_COMPARE_VERDICT_H

#include "ssmsweep/base/log.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/compare/compare.h"
#include "ssmsweep/input/job.h"

// Local, before anything is computed: the gates can be read, the baseline is there.
enum status verdict_check_job(const struct job *job, struct error *err);

// Local, for one rank.  Logs one line per broken gate and per entry worse than the baseline.  STATUS_GATE:
// there are such.
enum status verdict_give(const struct job *job, const struct log *log, const struct comparison *comparison,
                         const struct result *result, struct error *err);

#endif
