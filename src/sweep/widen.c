// SPDX-License-Identifier: Apache-2.0
#include "widen.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/store/store.h"

// What the file holds.  Plain bytes: it travels.
struct saved {
    int found;
    char modes[SWEEP_MODES_ROOM], reference[SWEEP_MODES_ROOM];
};

static enum status add_run(struct saved *saved, bool *chosen, const char *path, const char *mode,
                           struct error *err)
{
    for (int m = 0; m < mode_count(); m++)
        if (strcmp(mode_at(m)->name, mode) == 0) {
            chosen[m] = true;
            mode_write_list(chosen, saved->modes, sizeof saved->modes);
            return STATUS_OK;
        }
    return error_set(err, STATUS_INPUT,
                     "%s: mode '%s' is not one of this version (`ssmsweep modes` lists them); choose another "
                     "--output_dir",
                     path, mode);
}

static enum status read_saved(struct saved *saved, const char *path, bool *chosen, struct error *err)
{
    struct result *result = NULL;
    if (result_open(&result, path, err)) return err->status;
    for (int r = 0; r < result_runs(result) && !err->status; r++)
        add_run(saved, chosen, path, result_run_at(result, r)->mode, err);
    const char *reference = result_attribute(result, "reference_mode");
    if (mode_find(reference)) memcpy(saved->reference, reference, strlen(reference) + 1);
    result_close(result);
    return err->status;
}

// Rank 0.
static enum status look(struct saved *saved, const struct sweep *sweep, bool *chosen, struct error *err)
{
    if (sweep->job->command != COMMAND_SAVE || !file_exists(sweep->result_path)) return STATUS_OK;
    saved->found = 1;
    return read_saved(saved, sweep->result_path, chosen, err);
}

static void add_mode(bool *chosen, const char *name)
{
    for (int m = 0; m < mode_count(); m++)
        chosen[m] = chosen[m] || strcmp(mode_at(m)->name, name) == 0;
}

enum status widen_job(struct sweep *sweep, struct error *err)
{
    struct saved saved = {0};
    size_t modes = (size_t)mode_count();
    bool *chosen = calloc(2 * modes, sizeof *chosen), *held = chosen + modes;
    if (!chosen) error_memory(err, modes, "the modes");
    if (!err->status && sweep->comm->rank == 0) look(&saved, sweep, held, err);
    if (!err->status) mode_select(sweep->job->modes, chosen, err);
    if (comm_agree(sweep->comm, err)) goto free_chosen;
    MPI_Bcast(&saved, (int)sizeof saved, MPI_BYTE, 0, sweep->comm->world);
    if (saved.found) mode_select(saved.modes, held, err); // names of the table
    add_mode(chosen, sweep->job->reference);
    for (size_t m = 0; m < modes; m++)
        chosen[m] = chosen[m] || held[m];
    mode_write_list(chosen, sweep->modes, sizeof sweep->modes);
    memcpy(sweep->reference_mode, saved.reference, sizeof sweep->reference_mode);
    sweep->widened = *sweep->job;
    sweep->widened.modes = sweep->modes;
    if (saved.reference[0]) sweep->widened.reference = sweep->reference_mode;
    sweep->job = &sweep->widened;
    sweep->adds = saved.found != 0;
    for (size_t m = 0; m < modes; m++)
        chosen[m] = chosen[m] && !held[m];
    mode_write_list(chosen, sweep->added, sizeof sweep->added);
free_chosen:
    free(chosen);
    return err->status;
}
