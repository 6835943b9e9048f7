// SPDX-License-Identifier: Apache-2.0
// What is done of an open result file.
#include "ssmsweep/store/store.h"
#include "store_result.h"

void store_count_done(struct result *result)
{
    for (int r = 0; r < result->n_runs; r++) {
        const unsigned char *state = result->state + (size_t)r * (size_t)result->samples;
        struct result_run *run = &result->runs[r];
        run->done = 0;
        for (int s = 0; s < result->samples; s++)
            run->done += state[s] == STORE_ITEM_DONE;
        run->complete = run->done == result->samples;
    }
}

enum status result_agree(struct result *result, const struct comm *comm, struct error *err)
{
    int shape[2] = {result->n_runs, result->samples};
    MPI_Bcast(shape, 2, MPI_INT, 0, comm->world);
    if (shape[0] != result->n_runs || shape[1] != result->samples)
        error_set(err, STATUS_BUSY, "%s: modes were added while it was opened; repeat the command",
                  result->file.path);
    if (comm_agree(comm, err)) return err->status;
    for (int r = 0; r < result->n_runs; r++)
        MPI_Bcast(result->state + (size_t)r * (size_t)result->samples, result->samples, MPI_BYTE, 0,
                  comm->world);
    store_count_done(result);
    return STATUS_OK;
}
