// SPDX-License-Identifier: Apache-2.0
// Model and text of a job, on every rank.
#ifndef SSMSWEEP_SWEEP_INPUTS_H
#define SSMSWEEP_SWEEP_INPUTS_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/input/model.h"
#include "ssmsweep/sweep/comm.h"

// Collective.  Every rank maps the model by itself.  *reference is filled, and model->reference points to it,
// if the job names a reference model.  Their digests are under way afterwards (not for a dry run).
enum status inputs_model(struct model *model, struct model *reference, const struct comm *comm,
                         const struct job *job, struct error *err);

// Collective.  Waits for the digests; all ranks must have found the same weights.
enum status inputs_digests(struct model *model, struct model *reference, const struct comm *comm,
                           struct error *err);

// Collective.  Rank 0 reads and tokenizes, the others get the ids.
enum status inputs_corpus(struct corpus *corpus, const struct comm *comm, const struct job *job,
                          const struct model *model, struct error *err);

#endif
