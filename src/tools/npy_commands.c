// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/report/under_way.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/sweep.h"
#include "ssmsweep/tools/npy_files.h"

static const char *npy_folder(const struct job *job)
{
    return job->npy_dir ? job->npy_dir : job->output_dir;
}

// Of a file that is still written to, what is complete.
static enum status check_some(const struct comparison *comparison, const char *path, struct error *err)
{
    if (comparison->count > 0) return STATUS_OK;
    return error_set(err, STATUS_BUSY,
                     "%s: no mode is complete yet; export when the run that makes it has ended", path);
}

// Statistics are those of a comparison, with whatever mode comes first.
enum status npy_export_job(const struct job *job, const struct comm *comm, struct error *err)
{
    struct result *result = NULL;
    struct comparison comparison = {0};
    char *path = sweep_result_path(job, err);
    if (path && result_open(&result, path, err) == STATUS_OK && result_layers(result) == 0)
        error_set(
            err, STATUS_INPUT,
            "%s: the result file keeps no tensors (--store none): nothing to export; sweep again without "
            "it",
            path);
    bool under_way = false;
    const struct log log = {.level = job->verbosity, .rank = comm->rank, .ranks = comm->ranks};
    if (comm_agree(comm, err) || under_way_look(&under_way, result, path, comm, &log, err)) goto close_result;
    const char *first = result_runs(result) > 0 ? result_run_at(result, 0)->mode : job->reference;
    const struct compare_request request = {
        .reference = first, .partial = under_way, .whole_runs = under_way, .output_dir = job->output_dir};
    if (compare_all(&comparison, comm, result, &request, err)) goto close_result;
    const struct report report = {
        .result = result, .comparison = &comparison, .output_dir = npy_folder(job), .time = time(NULL)};
    if (comm->rank == 0 && (!under_way || check_some(&comparison, path, err) == STATUS_OK))
        npy_export(&report, result, err);
    if (comm_agree(comm, err) == STATUS_OK)
        log_job(&log, LOG_NORMAL, "exported %d arrays to %s; read them back with: ssmsweep import-npy",
                comparison.count, npy_folder(job));
    compare_clear(&comparison);
close_result:
    result_close(result);
    free(path);
    return err->status;
}

enum status npy_import_job(const struct job *job, const struct comm *comm, const char *tool_version,
                           struct error *err)
{
    const struct log log = {.level = job->verbosity, .rank = comm->rank, .ranks = comm->ranks};
    struct claim claim = {0};
    char *path = sweep_result_path(job, err);
    if (comm->rank == 0 && path && file_make_directories(job->output_dir, err) == STATUS_OK)
        claim_take(&claim, path, &log, err);
    if (claim.path) store_discard_part(path); // of an import that was interrupted
    if (comm->rank == 0 && !err->status && file_exists(path))
        error_set(err, STATUS_INPUT,
                  "%s: the result file exists already; remove it, or choose another --output_dir", path);
    if (comm_agree(comm, err) == STATUS_OK) npy_import(comm, npy_folder(job), path, tool_version, err);
    claim_drop(&claim);
    free(path);
    return err->status;
}
