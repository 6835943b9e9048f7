// SPDX-License-Identifier: Apache-2.0
// What memory this process holds that nobody can take from it: not the pages of files that it maps.
#ifndef SSMSWEEP_BASE_FOOTPRINT_H
#define SSMSWEEP_BASE_FOOTPRINT_H

#include <stdbool.h>

#include "ssmsweep/base/log.h"

// As /proc/self/smaps_rollup has them.
struct footprint {
    unsigned long long own_bytes;    // Pss_Anon
    unsigned long long shared_bytes; // Pss_Shmem: of a page that k processes map, a k-th part
};

// Local.  False, and zeros, where the system does not tell.  Walks all pages: some milliseconds.
bool footprint_read(struct footprint *footprint);

// Local.  "memory: 12.3 MiB own, 4.5 MiB of shared after WHAT", a line of this rank at LOG_VERBOSE.
void footprint_log(const struct log *log, const char *what);

#endif
