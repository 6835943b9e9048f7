// SPDX-License-Identifier: Apache-2.0
// A result file that a run still writes to: it may be read, and what it holds is partial.
#ifndef SSMSWEEP_REPORT_UNDER_WAY_H
#define SSMSWEEP_REPORT_UNDER_WAY_H

#include <stdbool.h>

#include "ssmsweep/base/log.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/store/store.h"

// Collective, after result_open() on every rank.  Does a run write to the file?  Then a line says so, and all
// ranks see the same finished samples.
enum status under_way_look(bool *under_way, struct result *result, const char *path, const struct comm *comm,
                           const struct log *log, struct error *err);

#endif
