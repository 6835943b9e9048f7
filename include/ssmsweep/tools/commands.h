// SPDX-License-Identifier: Apache-2.0
// What stands around the commands: the look at their options, and those commands that need neither a sweep
// nor a comparison.
//
// tools/ holds what a user does beside a sweep: look at a model or a result (info), exchange results as NumPy
// arrays, make models (synth), measure a machine (bench).  It may use all other folders; only main.c calls
// it.
#ifndef SSMSWEEP_TOOLS_COMMANDS_H
#define SSMSWEEP_TOOLS_COMMANDS_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/verdict.h"
#include "ssmsweep/sweep/sweep.h"

// Local, before any work.  Reads what the job names beside model and texts; `writes`: this rank will write,
// so it compares the files that are read with those that are made.
// Recipes of files become modes.  command_close() frees the job, and forgets them.
enum status command_check(const struct job *job, struct verdict *verdict, bool writes, struct error *err);
void command_close(struct job *job);

// Collective, before anything else under MPI: a wrong SSMSWEEP_ISA, which on some hosts may be a right one.
enum status command_check_kernels(const struct comm *comm, struct error *err);

// Local, for one rank.  Compresses the result file of the job, and says how much that saved.
enum status command_pack(const struct job *job, int threads, const struct log *log, struct error *err);
// Collective.  The same behind a sweep of which *err is the verdict, where the job asks for it and the sweep
// is whole; a gate that broke stays the verdict.
enum status command_pack_at_end(const struct job *job, const struct comm *comm, int threads,
                                const struct log *log, struct error *err);

// Local.  Commands without MPI: help, version, modes, info, pack, synth.  False: the job is another one.
bool command_alone(const struct job *job, const struct log *log, const char *tool_version, struct error *err);

// Collective.  The commands `export --npy` and `import-npy`.
enum status command_export(const struct job *job, const struct comm *comm, struct error *err);
enum status command_import(const struct job *job, const struct comm *comm, const char *tool_version,
                           struct error *err);

// Local.  How to go on with a result file: "DONE PATH; compare its modes with: ...".
void command_tell_compare(const struct log *log, const char *done, const char *path, const struct job *job);

#endif
