// SPDX-License-Identifier: Apache-2.0
#include "place.h"

#include "ssmsweep/base/file.h"

enum status place_claim(struct sweep *sweep, struct error *err)
{
    if (sweep->comm->rank == 0 && !sweep->job->dry_run && file_is_directory(sweep->job->output_dir))
        claim_take(&sweep->claim, sweep->result_path, sweep->log, err);
    return comm_agree(sweep->comm, err);
}

// Names the whole folder as well as the part of it that could not be made.
static enum status make_folder(const char *option, const char *path, struct error *err)
{
    struct error inner = {0};
    if (file_make_directories(path, &inner) == STATUS_OK) return STATUS_OK;
    return error_set(err, inner.status, "%s %.300s: %.600s; choose another folder", option, path, inner.text);
}

static enum status make_folders(struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    sweep->output_dir_bytes = file_existing_bytes(job->output_dir);
    sweep->comparison_dir_bytes = file_existing_bytes(job->comparison_dir);
    if (make_folder("--output_dir", job->output_dir, err)) return err->status;
    return make_folder("--comparison-dir", job->comparison_dir, err);
}

enum status place_make(struct sweep *sweep, struct error *err)
{
    if (sweep->comm->rank == 0) make_folders(sweep, err);
    return comm_agree(sweep->comm, err) ? err->status : place_claim(sweep, err);
}

void place_leave(struct sweep *sweep)
{
    if (sweep->comm->rank != 0 || file_exists(sweep->result_path)) return;
    claim_drop(&sweep->claim);
    file_remove_directories(sweep->job->comparison_dir, sweep->comparison_dir_bytes);
    file_remove_directories(sweep->job->output_dir, sweep->output_dir_bytes);
}
