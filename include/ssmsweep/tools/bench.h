// SPDX-License-Identifier: Apache-2.0
// `ssmsweep bench`: what the machine can do, and what the kernels, the forward pass and the sweep make of it.
#ifndef SSMSWEEP_TOOLS_BENCH_H
#define SSMSWEEP_TOOLS_BENCH_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

// Collective.  Rank 0 measures machine, kernels and forward passes while the others sleep; with more than one
// rank, sweeps over 1, 2, 4, ... of them follow.  Rank 0 prints tables on stdout and writes job->json_file
// (docs/bench.md describes both).  Files are made in a folder of their own in job->output_dir and
// removed.
enum status bench_run(const struct job *job, const struct comm *comm, const char *tool_version,
                      struct error *err);

#endif
