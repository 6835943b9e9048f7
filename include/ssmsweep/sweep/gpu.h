// SPDX-License-Identifier: Apache-2.0
// The GPU of one process, for those who want one without a sweep; in a sweep ranks share them out.
#ifndef SSMSWEEP_SWEEP_GPU_H
#define SSMSWEEP_SWEEP_GPU_H

#include <stdbool.h>

#include "ssmsweep/arch/config.h"
#include "ssmsweep/base/status.h"

// Local.  The device that a word of --device names: *index, -1 where processors are to compute alone;
// *by_name: it is asked for (cuda, cuda:INDEX).  STATUS_USAGE: another word, or what is asked for is not
// there.
enum status gpu_choose(const char *word, int *index, bool *by_name, struct error *err);

// Local.  So many tokens in a batch keep a GPU busy; at least the longest sample.
int gpu_tokens(const struct dims *dims, int longest);

#endif
