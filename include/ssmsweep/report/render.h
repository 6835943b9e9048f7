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
// sweep.csv: one row for each number of the statistics.  There are some.
void render_csv_sweep(FILE *out, const struct report *report);

// STATUS_IO: memory is out.  render_json: all comparisons in one object; the others are files, see
// report_write.h; `table` is one of REPORT_LAYERS, or that of REPORT_SUMMARY.
enum status render_json(FILE *out, const struct report *report, struct error *err);
enum status render_json_comparison(FILE *out, const struct report *report, const struct report_table *table,
                                   struct error *err);
enum status render_json_stats(FILE *out, const struct report *report, const struct report_table *table,
                              struct error *err);
enum status render_json_summary(FILE *out, const struct report *report, const struct report_table *table,
                                struct error *err);
enum status render_json_scales(FILE *out, const struct report_scales *scales, struct error *err);
enum status render_json_sweep(FILE *out, const struct report *report, struct error *err);

// JUnit XML, one test case for each check.
void render_junit(FILE *out, const struct report *report);

// One page of HTML that needs nothing outside itself, with figures (measurements.figures); docs/report.md.
// Several reports are a part each, under its name.  Nothing is written by a build without it
// (SSMSWEEP_HTML=OFF).
struct html_part {
    const struct report *report;
    const char *name; // of one alone: not shown
};
bool render_html_is_built(void);
void render_html(FILE *out, const struct html_part *parts, int n_parts,
                 const char *title); // NULL: a title of its own

#endif
