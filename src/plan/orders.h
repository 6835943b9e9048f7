// SPDX-License-Identifier: Apache-2.0
// Orders of the calibration samples.
#ifndef SSMSWEEP_PLAN_ORDERS_H
#define SSMSWEEP_PLAN_ORDERS_H

#include <stdint.h>

#include "ssmsweep/base/status.h"

// Local, and the same everywhere for the same arguments.  orders[n][samples]: the first one is 0, 1, ..., the
// others are drawn, each from a stream of its own, so that it does not depend on n.  places[n][samples]:
// where an order has a sample.  Caller frees both.
enum status orders_make(int **orders, int **places, int n, int samples, uint64_t seed, struct error *err);

#endif
