// SPDX-License-Identifier: Apache-2.0
// The right to write to a result file, which one run has at a time: an advisory lock on PATH.lock.  The
// kernel drops it when the process ends, however it ends, on this host or another; what then is left of the
// file says nothing.  PATH.lock holds one line for people: who writes, and since when.
#ifndef SSMSWEEP_STORE_CLAIM_H
#define SSMSWEEP_STORE_CLAIM_H

#include <stdbool.h>

#include "ssmsweep/base/log.h"
#include "ssmsweep/base/status.h"

enum { CLAIM_HOLDER_ROOM = 256 };

// Zeroed: none.
struct claim {
    char *path; // of the lock; NULL: it is not held
    int descriptor;
    bool futile; // it was tried, and cannot be locked
};

// Local, for one rank; the folder must exist.  STATUS_BUSY names the other holder; never waits.  Where files
// cannot be locked it warns, once, and succeeds.  Fine to call again.
enum status claim_take(struct claim *claim, const char *result_path, const struct log *log,
                       struct error *err);
void claim_drop(struct claim *claim); // of none is fine

// Local.  STATUS_BUSY where another run holds it, as claim_take(); takes and makes nothing.
enum status claim_refuse(const char *result_path, struct error *err);

// Local, not for the holder.  Does a run write to the file just now?  `holder` says which.
bool claim_look(const char *result_path, char holder[CLAIM_HOLDER_ROOM]);

#endif
