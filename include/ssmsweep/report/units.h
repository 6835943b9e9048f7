// SPDX-License-Identifier: Apache-2.0
// What the command `units` writes: units.json, units.csv and a table.  docs/attribution.md says what the
// numbers mean.
#ifndef SSMSWEEP_REPORT_UNITS_H
#define SSMSWEEP_REPORT_UNITS_H

#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/sweep/unit_pass.h"

enum { UNITS_LARGEST = 3 };

// What is said of a place: from its sums.
struct unit_said {
    const struct unit_place *place;
    double clipped;              // share of its values
    double bits;                 // entropy of its codes
    double error;                // sqrt(sum of errors² / sum of v²) at its own scale
    double instead[UNIT_SCALES]; // sum of errors² under another scale, over that of its own; NaN: not known
    struct {
        int channel;
        double value, over; // largest |v|, and that over the median of all channels
    } largest[UNITS_LARGEST];
    int n_largest;
};

// Local.  said[pass->count], in the order of the places.
void units_say(const struct unit_pass *pass, struct unit_said *said);

// Local.  Those with the largest error, for people.
void units_print(const struct unit_pass *pass, const struct unit_said *said, FILE *out);

// Local.  units.json and units.csv into the folder, that table on `out` unless it is NULL.
enum status units_write(const struct unit_pass *pass, const char *folder, const char *tool_version, FILE *out,
                        struct error *err);

// Collective.  The whole command.
enum status units_run(const struct job *job, const struct comm *comm, const struct log *log,
                      struct stop *stop, const char *tool_version, struct error *err);

#endif
