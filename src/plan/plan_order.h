// SPDX-License-Identifier: Apache-2.0
// The order in which samples are handed out.
#ifndef SSMSWEEP_PLAN_PLAN_ORDER_H
#define SSMSWEEP_PLAN_PLAN_ORDER_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/corpus.h"

// Local.  *order[samples]: the samples with the most tokens first, of equal ones as in the text, in malloc'ed
// memory.  NULL: as in the text; so where all are equal, and where they are so many (more than a million)
// that the end of the sweep is short in any order.
enum status order_samples(int **order, const struct corpus *corpus, struct error *err);

#endif
