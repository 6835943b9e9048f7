// SPDX-License-Identifier: Apache-2.0
// A sweep.json (docs/schema/sweep.schema.json) read back into the numbers that a page is made of.  It holds
// all of struct sweep_report but what only figures want: the bins of |difference|; and nothing of samples and
// scales.
#ifndef SSMSWEEP_REPORT_SWEEP_FILE_H
#define SSMSWEEP_REPORT_SWEEP_FILE_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/report/sweep_report.h"

// In caller memory; freed by sweep_file_close().
struct sweep_file {
    struct json *root;
    struct sweep_report sweep; // given[0] is the reference, result is NULL
    struct result_run *runs;   // what `given` points to, [n_runs]
    int n_runs;
    int samples; // of the text
    long long tokens;
    bool complete;
};

// Local.  Whether what stands at a path is to be read as a sweep.json: an ordinary file that begins with '{',
// or whose name ends so.
bool sweep_file_is(const char *path);
// Local.  STATUS_INPUT: no JSON, another schema, a number that is missing or contradicts others: one line
// that names the place.
enum status sweep_file_open(struct sweep_file *file, const char *path, struct error *err);
void sweep_file_close(struct sweep_file *file); // a zeroed one is fine
// Local.  A text of the provenance, "" where it has none.
const char *sweep_file_fact(const struct sweep_file *file, const char *key);

#endif
