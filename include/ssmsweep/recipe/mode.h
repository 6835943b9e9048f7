// SPDX-License-Identifier: Apache-2.0
// The modes as one const table of switches.  Nothing else in the program knows a mode's name.
#ifndef SSMSWEEP_RECIPE_MODE_H
#define SSMSWEEP_RECIPE_MODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"

enum precision { PRECISION_FP32, PRECISION_FP16, PRECISION_W8A8 };

// What conv1d takes (W8A8 only).
enum conv1d_input {
    CONV1D_IN_STATIC,  // INT8, in_proj:output scale from calibration
    CONV1D_IN_DYNAMIC, // x half of in_proj stays FP32 and is quantized by max|x|/127 of the sample
};

// What conv1d gives.
enum conv1d_output {
    CONV1D_OUT_INT8, // codes on the x_proj:input grid
    CONV1D_OUT_FP32, // the float value; x_proj sees it requantized
};

// What the selective scan gets as u.
enum scan_input {
    SCAN_IN_CODES,   // the INT8 codes that x_proj sees, dequantized inside the scan
    SCAN_IN_REQUANT, // a float, quantized again to INT8 in front of the scan
    SCAN_IN_GRID,    // FP32 values that lie on the INT8 grid
    SCAN_IN_FLOAT,   // FP32, never quantized
};

enum scan_order { SCAN_SEQUENTIAL, SCAN_BLOCKED };

// Sets that --modes understands, as bits.
enum mode_set { MODE_SET_ESSENTIAL = 1, MODE_SET_FP_ONLY = 2, MODE_SET_QUANT_ONLY = 4 };

struct mode {
    const char *name;
    enum precision precision;
    enum conv1d_input conv1d_input;
    enum conv1d_output conv1d_output;
    enum scan_input scan_input;
    enum scan_order scan_order;
    unsigned sets;
    const char *equals;  // name of a mode whose results are the same bits, or NULL
    const char *summary; // one line for `ssmsweep modes`
};

int mode_count(void);
const struct mode *mode_at(int index);          // in table order
const struct mode *mode_find(const char *name); // NULL: no such mode

static inline bool mode_is_float(const struct mode *mode)
{
    return mode->precision != PRECISION_W8A8;
}

// Comma or blank separated names and sets (`all`, `essential`, `fp_only`, `quant_only`) ->
// chosen[mode_count()] in table order.  STATUS_USAGE names the unknown word and lists the known ones.
enum status mode_select(const char *list, bool *chosen, struct error *err);

// The other way round: "fp32,0,2-1", in table order, cut where the room ends.
void mode_write_list(const bool *chosen, char *text, size_t room);

// ---- mode table ----

// What each mode does at each step of a layer, in words made from the switches of the mode table.

// Local.  A table, one row per mode and one column per step, then one line per mode; or all of it as JSON:
// {"modes": [{"name", "summary", "float", "sets": [...], "steps": {STEP: TEXT}, "equals": NAME or null}]}.
// STATUS_IO when memory is out.
enum status mode_table_print(FILE *out, bool json, struct error *err);

#endif
