// SPDX-License-Identifier: Apache-2.0
// What of an earlier run is kept: everything whose digest is right.
#ifndef SSMSWEEP_SWEEP_RESUME_H
#define SSMSWEEP_SWEEP_RESUME_H

#include "worker.h"

// In samples of runs.
struct resume_count {
    long long kept, torn, failed, left; // torn and failed ones (of an earlier run) are among those left
    int observed_kept, observed_torn;
};

int resume_looks(const struct plan *plan); // local

// Collective.  Reads all that is marked as finished back, spread over the ranks, in resume_looks() items of a
// phase.  What is torn is marked as absent.  What is finished is set on every rank; so are the observations
// (known->present on every rank, the rows on rank 0).  worker->forward is not needed.
enum status resume_look(const struct worker *worker, struct store *store, struct finished *finished,
                        struct observations *known, struct progress *progress, struct resume_count *count,
                        struct error *err);

#endif
