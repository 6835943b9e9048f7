// SPDX-License-Identifier: Apache-2.0
// A comparison on a stream, as the job wants it: --format, --color.
#ifndef SSMSWEEP_REPORT_PRESENT_H
#define SSMSWEEP_REPORT_PRESENT_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/report_json.h"
#include "ssmsweep/report/sweep_report.h"

// The words of --format and --color, in order.
enum present_format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_MARKDOWN };
enum present_color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

// Local.  Tables are silent with --quiet; formats for programs are not.  A zeroed sweep report has
// no tables.
enum status present(FILE *out, const struct job *job, const struct report *report,
                    const struct sweep_report *sweep, struct error *err);

// Local.  auto: a terminal that is not dumb, no NO_COLOR in the environment, not below mpirun.
bool present_in_color(enum present_color wanted, FILE *out);

// Local.  One row per entry: every metric with all digits, empty where undefined, and the names of those that
// are within noise.
void present_csv(FILE *out, const struct comparison *comparison, const struct result *result,
                 const struct sweep_report *sweep);

// Local.  One table per mode and one of all modes, with the sign of noise that the other tables have.
void present_markdown(FILE *out, const struct comparison *comparison, const struct result *result,
                      const struct sweep_report *sweep);

#endif
