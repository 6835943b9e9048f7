// SPDX-License-Identifier: Apache-2.0
// What a sweep adds to its passes: moments and profiles of pairs, logits and what is made of them.
#ifndef SSMSWEEP_TOOLS_BENCH_METRICS_H
#define SSMSWEEP_TOOLS_BENCH_METRICS_H

#include "setting.h"

// Rows of group metrics, one thread.
enum status metrics_measure(struct setting *setting, struct error *err);

#endif
