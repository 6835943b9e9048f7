// SPDX-License-Identifier: Apache-2.0
// `ssmsweep info`: what a model folder or a result file holds, and what this machine brings.  No MPI.
#ifndef SSMSWEEP_TOOLS_INFO_H
#define SSMSWEEP_TOOLS_INFO_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"

struct info_request {
    const char *path; // model folder, result file, or folder of one; NULL: the demo model
    bool json;
    int tokens;  // of a sample, for the estimates
    int threads; // 0: one
};

// Local.  Writes to `out` once everything is known.  STATUS_INPUT: neither a model nor a result, or a bad
// one.
enum status info_print(FILE *out, const struct info_request *request, struct error *err);

// Local.  Instruction sets that the kernels have and this machine runs, the chosen one, cores, GPUs.
enum status info_print_machine(FILE *out, bool json, struct error *err);

// Local.  Lines of `ssmsweep --version`: compiler, instruction sets that the kernels were built for, CUDA.
void info_print_built(FILE *out);

#endif
