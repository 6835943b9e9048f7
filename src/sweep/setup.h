// SPDX-License-Identifier: Apache-2.0
// What is settled before anything is read: the folders that a sweep writes to, with the claim to the result
// file, and its modes.
#ifndef SSMSWEEP_SWEEP_SETUP_H
#define SSMSWEEP_SWEEP_SETUP_H

#include "ssmsweep/comm/comm.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/sweep.h"
#include "worker.h"

// Collective.  As early as can be: `save` reads the file before it writes.  Without a folder there is nothing
// to claim yet.  STATUS_BUSY: another run holds it.
enum status output_folders_claim(struct sweep *sweep, struct error *err);

// Collective.  Makes the folders, and claims the result file.
enum status output_folders_make(struct sweep *sweep, struct error *err);

// Local.  After a failure without a result file: drops the claim, and removes the folders that
// output_folders_make() made.
void output_folders_leave(struct sweep *sweep);

// Collective.  Sets sweep->settled, and sweep->job to it: its modes are those of the job, the reference among
// them, in the order of the table.  `save` on a file that is there: also those of the file, whose reference
// it takes over. STATUS_INPUT: the file is none, or has modes that are not in the table.
enum status job_modes_settle(struct sweep *sweep, struct error *err);

// Local.  How the job writes its results.
struct store_io sweep_io(const struct sweep *sweep);

// Local.  What a rank needs for both phases; without weights, pass and GPU, which are not there yet.
struct worker sweep_worker(const struct sweep *sweep);

// ---- engine ----

// Weights, once per node, and the workspace of a rank.

// In caller memory; zeroed before use.
struct engine {
    struct node_block block;
    struct weights *weights;
    struct forward *forward;
};

// Collective.  Packs the weights, by all ranks and threads of a node together.  The model must outlive the
// engine.  The log gets what memory the rank holds then.  engine_close() frees, after a failure too.
enum status engine_open(struct engine *engine, const struct comm *comm, const struct model *model,
                        unsigned parts, const struct needs *needs, int max_tokens, int threads,
                        const struct log *log, struct error *err);
// Collective.  Packs the weights by unit, which had to wait for the order of heads and channels; groups must
// outlive the engine.
enum status engine_pack_groups(struct engine *engine, const struct comm *comm, const struct model *model,
                               const struct groups *groups, int threads, const struct log *log,
                               struct error *err);
void engine_close(struct engine *engine);

#endif
