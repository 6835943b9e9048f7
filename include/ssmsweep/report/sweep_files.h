// SPDX-License-Identifier: Apache-2.0
// A sweep report as files: sweep.json (docs/schema/sweep.schema.json) and sweep.csv.  Equal results give
// equal bytes: neither time nor place is in them.
#ifndef SSMSWEEP_REPORT_SWEEP_FILES_H
#define SSMSWEEP_REPORT_SWEEP_FILES_H

#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/sweep_report.h"

// Local: for rank 0.  Writes DIRECTORY/sweep.json and DIRECTORY/sweep.csv, each whole or not at all.
// STATUS_IO names the file.
enum status sweep_files_write(const struct sweep_report *report, const char *directory, struct error *err);

// The files' content; `out` keeps what went wrong there (ferror).  STATUS_IO: memory is out.
enum status sweep_json_write(FILE *out, const struct sweep_report *report, struct error *err);
void sweep_csv_write(FILE *out, const struct sweep_report *report);

#endif
