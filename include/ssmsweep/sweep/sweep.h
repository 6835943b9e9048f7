// SPDX-License-Identifier: Apache-2.0
// The sweep as a whole: model, text, plan, weights, calibration, result file, items.
//
// sweep/ takes a job from its options to a whole result file.  sweep_open(): folders and modes (setup.h),
// model and texts (inputs.h), plan.  sweep_run(): weights (engine.h), result file, what an earlier run left
// (resume.h), calibration (calibration.h), items (worker.h, lockstep.h).  Work is handed out by scheduler.h,
// which knows nothing of a sweep, with the book and the messages of batches.h.  It knows all folders above
// it, and is the only one that brings them together; it must not know metrics by name, reports, or what is
// done with a result.  main.c and the bench call it; report/ and tools/ use its path and its progress.
#ifndef SSMSWEEP_SWEEP_SWEEP_H
#define SSMSWEEP_SWEEP_SWEEP_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/store.h"

// How long the phases of sweep_run() took on this rank.
struct sweep_times {
    double load_seconds;      // model, text and plan
    double create_seconds;    // the result file
    double pack_seconds;      // weights into shared memory
    double calibrate_seconds; // with the items that come with it
    double scales_seconds;    // from what was observed
    double items_seconds;     // of all items, calibration included
    double idle_seconds;      // from its last item to the end of the last one of all ranks, in both
    double close_seconds;     // the result file, to the disk
};

enum { SWEEP_MODES_ROOM = 1 << 17 }; // for the names of the modes of a sweep

// What is to be done and with what.  In caller memory; job, comm and log are borrowed.
struct sweep {
    const struct job *job; // after sweep_open(): `settled`
    const struct comm *comm;
    const struct log *log;
    struct stop *stop;
    const char *tool_version;
    struct job settled;                                             // the job with all its modes by name
    char modes[SWEEP_MODES_ROOM], reference_mode[SWEEP_MODES_ROOM]; // its texts
    bool adds;                                                      // `save`, and there is a result file
    char added[SWEEP_MODES_ROOM];                                   // modes that it lacks
    struct model model;
    struct model reference;    // --reference-model; model.reference points to it
    struct groups groups;      // of heads and channels, where the model's sizes are `grouped`
    struct corpus corpus;      // evaluated: the samples of the result file
    struct corpus calibration; // behind the scales; no samples: those evaluated, or none are needed
    struct plan plan;
    char *result_path;                             // OUTPUT_DIR/sweep.h5
    struct claim claim;                            // rank 0: to write there
    size_t output_dir_bytes, comparison_dir_bytes; // rank 0: what of their paths was there before
    int threads;                                   // of each rank
    int device, devices;                           // GPU of this rank, -1: none; ranks that have one
    bool resumes;                                  // an earlier run's file; set by sweep_run()
    bool comparable;     // after sweep_run() failed: the file is whole, and holds finished samples
    bool lost;           // after sweep_run() failed: the file was taken away
    double load_seconds; // that sweep_open() took
    // NULL, or what rank 0 asks when all inputs are read and the result file is claimed, before it is made.
    enum status (*admit)(const struct sweep *sweep, const struct store_identity *identity, struct error *err);
    struct sweep_times *times; // filled by sweep_run(); NULL: not wanted.  Borrowed
};

// Collective.  Reads model and text and plans; nothing is written.  STATUS_INPUT also if the result file
// exists. sweep_close() frees, after a failure too.
enum status sweep_open(struct sweep *sweep, const struct job *job, const struct comm *comm,
                       const struct log *log, struct stop *stop, const char *tool_version, struct error *err);
void sweep_close(struct sweep *sweep); // a zeroed one is fine

// Collective.  Makes the folders and the result file, or with --resume opens it; calibrates, runs every item
// and closes the file.  After a failure the file stays if anything was finished.  STATUS_STOPPED: by a
// signal.
enum status sweep_run(struct sweep *sweep, struct error *err);

// OUTPUT_DIR/sweep.h5 of a job, in malloc'ed memory; NULL with *err set when memory is out.  Local.
char *sweep_result_path(const struct job *job, struct error *err);

#endif
