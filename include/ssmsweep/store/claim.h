// SPDX-License-Identifier: Apache-2.0
// Who may write to a result file.  The claim: the right of one run to write to it, an advisory lock on
// PATH.lock.  The kernel drops it when the process ends, however it ends, on this host or another; what then
// is left of the file says nothing.  PATH.lock holds one line for people: who writes, and since when.
#ifndef SSMSWEEP_STORE_CLAIM_H
#define SSMSWEEP_STORE_CLAIM_H

#include <stdbool.h>

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
void claim_drop(struct claim *claim); // a zeroed one is fine

// Local.  STATUS_BUSY where another run holds it, as claim_take(); takes and makes nothing.
enum status claim_refuse(const char *result_path, struct error *err);

// Local, not for the holder.  Does a run write to the file just now?  `holder` says which.
bool claim_look(const char *result_path, char holder[CLAIM_HOLDER_ROOM]);

// ---- HDF5's lock of the file itself: flock() of the whole, exclusive in a program that may write to it,
// shared in one that reads.  HDF5 itself takes none in ssmsweep (store_prepare()), as several ranks open a
// file, and write to it besides HDF5; what it would do for others is done here.
//
// Rank 0 of a sweep holds a shared lock while samples are written: their places are there from the start, so
// a program that reads the file may go on, and one that may change its structure is kept away.  Who changes
// the structure holds an exclusive one.  Reading commands hold none. ----
enum file_lock { FILE_LOCK_SHARED, FILE_LOCK_EXCLUSIVE };

// Local.  Until the descriptor is closed, or given another lock.  Never waits.  STATUS_BUSY: another program
// has the file open; then the descriptor has no lock.  Succeeds where files cannot be locked.
enum status file_lock(int descriptor, const char *path, enum file_lock kind, struct error *err);

// Local.  The same of a file, for writing, whose descriptor the caller closes.
enum status file_lock_open(int *descriptor, const char *path, enum file_lock kind, struct error *err);

#endif
