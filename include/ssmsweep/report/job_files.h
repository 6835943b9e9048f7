// SPDX-License-Identifier: Apache-2.0
// Which files a job reads and which it writes: the one list of both.
#ifndef SSMSWEEP_REPORT_JOB_FILES_H
#define SSMSWEEP_REPORT_JOB_FILES_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"

// A name that ssmsweep gives, "BEGIN*END"; BEGIN alone where `end` is NULL.
struct file_pattern {
    const char *begin, *end;
};
bool file_pattern_fits(const struct file_pattern *pattern, const char *name);
// What it writes into --output_dir and --comparison-dir; the last one has no `begin`.
extern const struct file_pattern job_files_of_output_dir[], job_files_of_comparison_dir[];

// Local, before anything is read but the job and before anything is written.  STATUS_USAGE: a file that the
// job reads is one that it writes, or two that it writes are one; by device and inode where they exist, by
// their folder and name elsewhere.  Pipes and devices may be both.  STATUS_IO: a file is to be made in a
// folder that is not there.
enum status job_files_check(const struct job *job, struct error *err);

#endif
