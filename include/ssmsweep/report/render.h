// SPDX-License-Identifier: Apache-2.0
// The renderers: each writes a report (report.h) in one language, and knows nothing else.  One file each.
#ifndef SSMSWEEP_REPORT_RENDER_H
#define SSMSWEEP_REPORT_RENDER_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/report/report.h"

// Local, all of them; `out` keeps what went wrong there (ferror).

// Tables for people, ASCII, 100 columns wide where names allow it.
struct page_style {
    bool color;    // of grades
    bool detailed; // every metric of every layer too; so are reports of a single mode
};
void render_text(FILE *out, const struct report *report, const struct page_style *style);

// Tables of every layer and of all modes.
void render_markdown(FILE *out, const struct report *report);

// One row for each (run, layer, component): every metric with all digits, empty where undefined, and the
// names of those that are within noise.
void render_csv(FILE *out, const struct report *report);

#endif
