// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/under_way.h"

#include "ssmsweep/store/claim.h"

enum status under_way_look(bool *under_way, struct result *result, const char *path, const struct comm *comm,
                           const struct log *log, struct error *err)
{
    char holder[CLAIM_HOLDER_ROOM];
    int found = comm->rank == 0 && claim_look(path, holder);
    MPI_Bcast(&found, 1, MPI_INT, 0, comm->world);
    *under_way = found != 0;
    if (!found) return STATUS_OK;
    if (comm->rank == 0)
        log_job(log, LOG_NORMAL, "%s: a run is under way (%s): results are partial", path, holder);
    return result_agree(result, comm, err);
}
