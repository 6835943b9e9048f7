// SPDX-License-Identifier: Apache-2.0
// Model and text of a job, on every rank.
#ifndef SSMSWEEP_SWEEP_INPUTS_H
#define SSMSWEEP_SWEEP_INPUTS_H

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/sweep/sweep.h"

// Collective.  Every rank maps the model by itself.  *reference is filled, and model->reference points to it,
// if the job names a reference model.  Their weights are being read afterwards (a dry run waits for that).
enum status inputs_model(struct model *model, struct model *reference, const struct comm *comm,
                         const struct job *job, int threads, struct error *err);

// Collective.  Waits until all weights are read: they must be finite, and the same on all ranks.
enum status inputs_digests(struct model *model, struct model *reference, const struct comm *comm,
                           struct error *err);

// Collective.  Rank 0 reads and tokenizes, the others get the ids.  *evaluation: the samples on which modes
// are compared; *calibration: those behind the scales, with samples == 0 where they are the same, or where
// none are needed.  Who calls clears both, after a failure too.
enum status inputs_texts(struct corpus *evaluation, struct corpus *calibration, const struct comm *comm,
                         const struct job *job, const struct model *model, struct error *err);

// ---- the two texts of a sweep: that behind the scales, and that on which modes are compared ----

// Local.  Without samples where a checkpoint brings the scales and the other text is one of its own.
const struct corpus *sweep_calibration_text(const struct sweep *sweep);
bool sweep_calibrates(
    const struct sweep *sweep); // not where a checkpoint brings the scales, or none are needed
const char *sweep_evaluation_text(const struct sweep *sweep); // STORE_EVALUATES_...
const char *sweep_tokenizer_hex(const struct sweep *sweep);   // of either: one of them may be token ids
int sweep_longest_sample(const struct sweep *sweep);          // of the longest sample of both

#endif
