// SPDX-License-Identifier: Apache-2.0
// What of a page is read without scripts: tables, notes, and a heat map that is a table.
#include <math.h>
#include <string.h>

#include "render_html.h"

// ---- cells ----

static void put_range(FILE *out, enum report_format format, double low, double high)
{
    html_put_value(out, format, low);
    fputs("&hairsp;..&hairsp;", out);
    html_put_value(out, format, high);
}

static void put_interval(FILE *out, const struct report_cell *cell)
{
    if (cell->state == INTERVAL_OK)
        put_range(out, REPORT_NUMBER, cell->low, cell->high);
    else if (cell->state == INTERVAL_EXACT)
        html_put_value(out, REPORT_NUMBER, cell->value);
    else
        fputs(cell->state == INTERVAL_UNBOUNDED ? "unbounded" : "unknown", out);
}

static void put_estimate(FILE *out, enum report_format format, const struct report_cell *cell)
{
    html_put_value(out, format, cell->value);
    if (cell->state == INTERVAL_OK) {
        fputs(" <small>", out);
        put_range(out, format, cell->low, cell->high);
        fputs("</small>", out);
    } else if (cell->state == INTERVAL_UNBOUNDED) {
        fputs(" <small>unbounded</small>", out);
    }
}

static void put_content(FILE *out, enum report_format format, const struct report_cell *cell)
{
    if (cell->text) {
        html_put_text(out, cell->text);
        return;
    }
    switch (format) {
    case REPORT_INTERVAL:
        put_interval(out, cell);
        break;
    case REPORT_SPAN:
    case REPORT_PLACE:
        put_range(out, REPORT_NUMBER, cell->low, cell->high);
        break;
    case REPORT_POINT:
    case REPORT_DECIMALS:
    case REPORT_SIGNED:
    case REPORT_SMALL:
        put_estimate(out, format, cell);
        break;
    default:
        html_put_value(out, format, cell->value);
    }
}

static const char *class_of(enum report_format format, const struct report_cell *cell)
{
    static const char *const grades[] = {"excellent", "good", "fair", "poor"};
    if (cell->grade >= 0 && cell->grade < (int)(sizeof grades / sizeof grades[0])) return grades[cell->grade];
    return format == REPORT_WORDS ? "words" : "number";
}

static void put_cell(FILE *out, enum report_format format, const struct report_cell *cell)
{
    char signs[HTML_SIGNS_ROOM];
    fprintf(out, "<td class=\"%s\">", class_of(format, cell));
    put_content(out, format, cell);
    html_signs(cell->marks, signs);
    if (signs[0]) fprintf(out, "<b class=\"mark\">%s</b>", signs);
    fputs("</td>", out);
}

// ---- tables ----

static void put_heading(FILE *out, const char *text, int columns, int rows)
{
    fputs("<th scope=\"col\"", out);
    if (columns > 1) fprintf(out, " colspan=\"%d\"", columns);
    if (rows > 1) fprintf(out, " rowspan=\"%d\"", rows);
    fputc('>', out);
    html_put_text(out, text);
    fputs("</th>", out);
}

// One line of headings, or two where columns have a group.
static void put_headings(FILE *out, const struct report_table *table)
{
    int lines = 1;
    for (int c = 0; c < table->n_columns; c++)
        if (table->columns[c].group) lines = 2;
    fputs("<thead><tr>", out);
    put_heading(out, "", 1, lines);
    for (int c = 0; c < table->n_columns;) {
        const struct report_column *column = &table->columns[c];
        const int span = column->group && column->span > 1 ? column->span : 1;
        put_heading(out, column->group ? column->group : column->title, span, column->group ? 1 : lines);
        c += span;
    }
    if (lines == 2) fputs("</tr><tr>", out);
    for (int c = 0; lines == 2 && c < table->n_columns;) {
        const struct report_column *column = &table->columns[c];
        const int span = column->group && column->span > 1 ? column->span : 1;
        for (int i = 0; column->group && i < span; i++)
            put_heading(out, column[i].title, 1, 1);
        c += span;
    }
    fputs("</tr></thead>\n", out);
}

void html_put_table(FILE *out, const struct report_table *table)
{
    if (table->n_columns == 0) {
        fputs("<p>", out);
        html_put_text(out, table->title);
        fputs("</p>\n", out);
        return;
    }
    fputs("<div class=\"scroll\" tabindex=\"0\"><table>\n<caption>", out);
    html_put_text(out, table->title);
    fputs("</caption>\n", out);
    put_headings(out, table);
    fputs("<tbody>\n", out);
    for (int r = 0; r < table->n_rows; r++) {
        const struct report_row *row = &table->rows[r];
        fputs("<tr><th scope=\"row\">", out);
        html_put_text(out, row->name);
        fputs("</th>", out);
        for (int c = 0; c < row->count; c++)
            put_cell(out, table->columns[c].format, &row->cells[c]);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

void html_put_notes(FILE *out, const struct report_notes *notes)
{
    if (notes->count == 0) return;
    fputs("<ul class=\"notes\">\n", out);
    for (int i = 0; i < notes->count; i++) {
        fputs("<li>", out);
        html_put_text(out, notes->items[i].text);
        fputs("</li>\n", out);
    }
    fputs("</ul>\n", out);
}

static void put_word(FILE *out, const char *class, const char *text)
{
    fprintf(out, "<td class=\"%s\">", class);
    html_put_text(out, text);
    fputs("</td>", out);
}

void html_put_checks(FILE *out, const struct checks *checks)
{
    fputs("<div class=\"scroll\" tabindex=\"0\"><table>\n<caption>Gates and baseline</caption>\n<thead><tr>",
          out);
    put_heading(out, "", 1, 1);
    put_heading(out, "kind", 1, 1);
    put_heading(out, "verdict", 1, 1);
    put_heading(out, "what is wrong", 1, 1);
    fputs("</tr></thead>\n<tbody>\n", out);
    for (int i = 0; i < checks->count; i++) {
        const struct check *check = &checks->items[i];
        fputs("<tr><th scope=\"row\">", out);
        html_put_text(out, check->name);
        fputs("</th>", out);
        put_word(out, "words", check->kind);
        put_word(out, check->good ? "words pass" : "words fail", check->good ? "pass" : "fail");
        put_word(out, "words", check->text);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

// ---- the heat map ----

enum { SHADES = 9 };

// Half decades up to 1: the last shade is the largest error.
static int shade_of(double value)
{
    int shade = SHADES - 1;
    if (!(value > 0)) return 0;
    for (double limit = 1; shade > 0 && value < limit; limit /= 3.1622776601683795)
        shade--;
    return shade;
}

static void put_heat_cell(FILE *out, const struct report_cell *cell)
{
    char signs[HTML_SIGNS_ROOM];
    if (isnan(cell->value)) {
        fputs("<td>n/a</td>", out);
        return;
    }
    fprintf(out, "<td class=\"s%d\">", shade_of(cell->value));
    html_put_value(out, REPORT_ERROR, cell->value);
    html_signs(cell->marks, signs);
    if (signs[0]) fprintf(out, "<b class=\"mark\">%s</b>", signs);
    fputs("</td>", out);
}

void html_put_heat(FILE *out, const struct report *report)
{
    const struct report_section *series = &report->sections[REPORT_SERIES];
    const struct report_table *head = series->tables;
    const int metric = series->n_tables > 0 ? report_column(head, "mse") : -1;
    if (metric < 0) return;
    fputs("<div class=\"scroll\" tabindex=\"0\"><table class=\"heat\">\n<caption>Mean squared error of each "
          "layer's output, "
          "mode by layer</caption>\n<thead><tr><th scope=\"col\">mode</th>",
          out);
    for (int r = 0; r < head->n_rows; r++)
        if (head->rows[r].main) fprintf(out, "<th scope=\"col\">%d</th>", head->rows[r].layer);
    fputs("</tr></thead>\n<tbody>\n", out);
    for (int t = 0; t < series->n_tables; t++) {
        const struct report_table *table = &series->tables[t];
        fputs("<tr><th scope=\"row\">", out);
        html_put_text(out, table->title);
        fputs("</th>", out);
        for (int r = 0; r < table->n_rows; r++)
            if (table->rows[r].main) put_heat_cell(out, &table->rows[r].cells[metric]);
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}
