// SPDX-License-Identifier: Apache-2.0
// Between the sources of the HTML renderer.
#ifndef SSMSWEEP_REPORT_RENDER_HTML_H
#define SSMSWEEP_REPORT_RENDER_HTML_H

#include <stdio.h>

#include "ssmsweep/report/report.h"

// A file of src/report/page, or of D3, as the build embedded it.
struct html_piece {
    const char *name;
    const unsigned char *bytes;
    size_t count;
};
extern const struct html_piece html_pieces[]; // the last has no name

// Text as content or attribute of HTML, and as a string of the JSON in the page with its quotes.  What could
// end an element, or turn the direction of what follows, is inert in both; bytes that are no UTF-8 become
// U+FFFD.
void html_put_text(FILE *out, const char *text);
void html_put_json(FILE *out, const char *text);

// A number of a column: digits as its format wants them; "n/a" or null where undefined.
void html_put_value(FILE *out, enum report_format format, double value);
void html_put_json_value(FILE *out, enum report_format format, double value);
void html_put_json_end(FILE *out, enum report_format format, double value); // of an interval

// The signs of a cell's marks, "=~#" of those it has.
enum { HTML_SIGNS_ROOM = 8 };
const char *html_signs(unsigned marks, char text[HTML_SIGNS_ROOM]);

// Tables that are read without scripts.
void html_put_table(FILE *out, const struct report_table *table);
void html_put_heat(FILE *out, const struct report *report);
void html_put_notes(FILE *out, const struct report_notes *notes);
void html_put_checks(FILE *out, const struct checks *checks);

// All that figures are drawn from, as one object of JSON.
void html_put_data(FILE *out, const struct report *report);

#endif
