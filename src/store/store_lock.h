// SPDX-License-Identifier: Apache-2.0
// HDF5's lock of a file: flock() of the whole, exclusive in a program that may write to it, shared in one
// that reads.  HDF5 itself takes none in ssmsweep (store_prepare()), as several ranks open a file, and write
// to it besides HDF5; what it would do for others is done here.
//
// Rank 0 of a sweep holds a shared lock while samples are written: their places are there from the start, so
// a program that reads the file may go on, and one that may change its structure is kept away.  Who changes
// the structure holds an exclusive one.  Reading commands hold none.
#ifndef SSMSWEEP_STORE_STORE_LOCK_H
#define SSMSWEEP_STORE_STORE_LOCK_H

#include "ssmsweep/base/status.h"

enum store_lock { STORE_LOCK_SHARED, STORE_LOCK_EXCLUSIVE };

// Local.  Until the descriptor is closed, or given another lock.  Never waits.  STATUS_BUSY: another program
// has the file open; then the descriptor has no lock.  Succeeds where files cannot be locked.
enum status store_lock(int descriptor, const char *path, enum store_lock kind, struct error *err);

// Local.  The same of a file, for writing, whose descriptor the caller closes.
enum status store_open_locked(int *descriptor, const char *path, enum store_lock kind, struct error *err);

#endif
