// SPDX-License-Identifier: Apache-2.0
#include "place.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"

// Could the folder, or what is missing of it, be made and written to?  `existing_bytes` of its path are
// there.
static enum status check_folder(const char *option, const char *path, size_t existing_bytes,
                                struct error *err)
{
    char *existing = existing_bytes > 0 ? strndup(path, existing_bytes) : strdup(path[0] == '/' ? "/" : ".");
    if (!existing) return error_memory(err, existing_bytes, "a path");
    if (!file_is_directory(existing))
        error_set(err, STATUS_IO, "%s %.300s: %.300s: expected a folder, got a file; choose another folder",
                  option, path, existing);
    else if (!file_is_writable(existing))
        error_set(err, STATUS_IO, "%s %.300s: %.300s: cannot be written to; choose another folder", option,
                  path, existing);
    free(existing);
    return err->status;
}

// What a run would meet, with nothing made.
static enum status look_around(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (claim_refuse(sweep->result_path, err)) return err->status;
    if (check_folder("--output_dir", job->output_dir, file_existing_bytes(job->output_dir), err))
        return err->status;
    return check_folder("--comparison-dir", job->comparison_dir, file_existing_bytes(job->comparison_dir),
                        err);
}

enum status place_claim(struct sweep *sweep, struct error *err)
{
    if (sweep->comm->rank == 0 && sweep->job->dry_run)
        look_around(sweep, err);
    else if (sweep->comm->rank == 0 && file_is_directory(sweep->job->output_dir))
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
