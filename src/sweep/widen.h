// SPDX-License-Identifier: Apache-2.0
// The modes of a job: as the user named them, and those of the result file that `save` adds to.
#ifndef SSMSWEEP_SWEEP_WIDEN_H
#define SSMSWEEP_SWEEP_WIDEN_H

#include "ssmsweep/sweep/sweep.h"

// Collective.  Sets sweep->widened, and sweep->job to it: its modes are those of the job, the reference among
// them, in the order of the table.  `save` on a file that is there: also those of the file, whose reference
// it takes over. STATUS_INPUT: the file is none, or has modes that are not in the table.
enum status widen_job(struct sweep *sweep, struct error *err);

#endif
