// SPDX-License-Identifier: Apache-2.0
// How the scales of the cells differ: with the number of calibration samples, and with their order.
#ifndef SSMSWEEP_REPORT_SCALES_H
#define SSMSWEEP_REPORT_SCALES_H

#include <stdio.h>

#include "ssmsweep/store/store.h"

// Both do nothing where there is one cell, where no calibration gave the scales, or where it did not come to
// its end.

// Local.  DIRECTORY/calibration.json.
enum status scales_write(struct result *result, const char *directory, struct error *err);

// Local.  A table.
enum status scales_print(FILE *out, struct result *result, struct error *err);

#endif
