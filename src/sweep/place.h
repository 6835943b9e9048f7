// SPDX-License-Identifier: Apache-2.0
// Where a sweep writes to: its folders, and the claim to the result file.
#ifndef SSMSWEEP_SWEEP_PLACE_H
#define SSMSWEEP_SWEEP_PLACE_H

#include "ssmsweep/sweep/sweep.h"

// Collective.  As early as can be: `save` reads the file before it writes.  Without a folder there is nothing
// to claim yet.  STATUS_BUSY: another run holds it.
enum status place_claim(struct sweep *sweep, struct error *err);

// Collective.  Makes the folders, and claims the result file.
enum status place_make(struct sweep *sweep, struct error *err);

// Local.  After a failure without a result file: drops the claim, and removes the folders that place_make()
// made.
void place_leave(struct sweep *sweep);

#endif
