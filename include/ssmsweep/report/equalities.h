// SPDX-License-Identifier: Apache-2.0
// Declared equalities: a mode whose row in the mode table says that it equals another one must have stored
// the same bits; where tensors were not stored, its metrics must have the same.
#ifndef SSMSWEEP_REPORT_EQUALITIES_H
#define SSMSWEEP_REPORT_EQUALITIES_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/store/store.h"

// Collective.  Checks every pair of complete runs that the mode table declares equal, of the same scales, at
// every layer and component that is stored or has metrics.  Rank 0 logs one line for each violated one, with
// modes, layer, component, first differing sample and, in tensors, token.  STATUS_GATE if there was one;
// STATUS_INPUT if the file cannot be read.
enum status equalities_check(const struct comm *comm, const struct log *log, struct result *result,
                             struct error *err);

#endif
