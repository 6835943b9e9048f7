// SPDX-License-Identifier: Apache-2.0
// Start-up: opening and packing a model folder beside reading its bytes.
#ifndef SSMSWEEP_TOOLS_BENCH_START_H
#define SSMSWEEP_TOOLS_BENCH_START_H

#include "setting.h"

// Rows of group start, for a folder that holds model.safetensors (any other gives none); bound is reading
// that file.
enum status start_measure(struct setting *setting, const char *directory, struct error *err);

#endif
