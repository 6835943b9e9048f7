// SPDX-License-Identifier: Apache-2.0
// The forward pass per mode beside its roofline.
#ifndef SSMSWEEP_TOOLS_BENCH_PASSES_H
#define SSMSWEEP_TOOLS_BENCH_PASSES_H

#include "setting.h"

// Rows of group forward for the chosen modes ([mode_count()]); rate in tokens/s, bound = the GEMMs at the
// peak of their instructions plus the exponentials of the scan at the rate of the exp kernel.
enum status passes_measure(struct setting *setting, const bool *chosen, struct error *err);

#endif
