// SPDX-License-Identifier: Apache-2.0
// A comparison on a stream, as the job wants it: --format, --color.
#ifndef SSMSWEEP_REPORT_PRESENT_H
#define SSMSWEEP_REPORT_PRESENT_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/report.h"
#include "ssmsweep/report/report_json.h"

// The words of --format and --color, in order.
enum present_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_MARKDOWN };
enum present_color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

// Local.  Tables are silent with --quiet; formats for programs are not.
enum status present(FILE *out, const struct job *job, const struct report *report,
                    const struct report_files *files, struct error *err);

// Local.  auto: a terminal that is not dumb, no NO_COLOR in the environment, not below mpirun.
bool present_in_color(enum present_color wanted, FILE *out);

#endif
