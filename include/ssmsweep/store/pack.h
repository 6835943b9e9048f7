// SPDX-License-Identifier: Apache-2.0
// Makes a finished result file smaller, for keeping: its outputs, metrics and observations in chunks that are
// shuffled and deflated, which HDF5, h5py and all reading commands read as before.  It cannot be continued:
// ranks cannot write to compressed chunks side by side.
#ifndef SSMSWEEP_STORE_PACK_H
#define SSMSWEEP_STORE_PACK_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"

struct pack_sizes {
    unsigned long long before_bytes, after_bytes;
};

// Local, for one rank.  The packed file is made beside the other (PATH.part), read back, compared with it and
// renamed over it; after a failure the file is as it was.  The same bytes for any number of threads.
// STATUS_INPUT: it is no result file, is packed already, or is not finished.  STATUS_BUSY: a run writes to
// it, or another program has it open.  STATUS_IO: no room.
//
// `halves`: outputs are rounded to IEEE binary16 before; metrics stay as they are, and the digests are those
// of before.  STATUS_INPUT then also where a value is beyond 65504, where there are no outputs, and where the
// file has no metrics.
enum status store_pack(const char *path, bool halves, int threads, const struct log *log,
                       struct pack_sizes *sizes, struct error *err);

#endif
