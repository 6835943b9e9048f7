// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/compare/npy_files.h"
#include "ssmsweep/sweep/sweep.h"

static const char *npy_folder(const struct job *job)
{
    return job->npy_dir ? job->npy_dir : job->output_dir;
}

// Statistics are those of a comparison, with whatever mode comes first.
enum status npy_export_job(const struct job *job, const struct comm *comm, struct error *err)
{
    struct result *result = NULL;
    struct comparison comparison = {0};
    char *path = sweep_result_path(job, err);
    if (path) result_open(&result, path, err);
    if (comm_agree(comm, err)) goto close_result;
    const char *first = result_runs(result) > 0 ? result_run_at(result, 0)->mode : job->reference;
    const struct compare_request request = {.reference = first, .output_dir = job->output_dir};
    if (compare_all(&comparison, comm, result, &request, err)) goto close_result;
    const struct report report = {
        .result = result, .comparison = &comparison, .output_dir = npy_folder(job), .time = time(NULL)};
    if (comm->rank == 0) npy_export(&report, result, err);
    comm_agree(comm, err);
    compare_clear(&comparison);
close_result:
    result_close(result);
    free(path);
    return err->status;
}

enum status npy_import_job(const struct job *job, const struct comm *comm, const char *tool_version,
                           struct error *err)
{
    char *path = sweep_result_path(job, err);
    if (comm->rank == 0 && path) file_make_directories(job->output_dir, err);
    if (comm_agree(comm, err) == STATUS_OK) npy_import(comm, npy_folder(job), path, tool_version, err);
    free(path);
    return err->status;
}
