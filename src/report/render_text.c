// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "ssmsweep/report/render.h"

enum { CELL_CHARS = 48, PAGE = 100, MOST_PICKS = 160, MIN_NAME = 5 };

// A column that is shown: `gap` blanks, the number on the right of `width`, signs of `marks` characters, the
// grade in `grade`.
struct pick {
    int column; // of the table; NAME: the row's
    const char *title;
    int gap, width, marks, grade;
    bool left;
};
enum { NAME = -1 };

struct page {
    FILE *out;
    const struct report *report;
    bool color;
    unsigned shown; // marks whose sign stands in a table
};

// ---- numbers ----

static const char *error_text(char text[CELL_CHARS], double v)
{
    if (v == 0) return "0";
    snprintf(text, CELL_CHARS, "%.3e", v);
    return text;
}

static const char *percent_text(char text[CELL_CHARS], double v)
{
    const double percent = 100 * v;
    if (v == 0) return "0 %";
    snprintf(text, CELL_CHARS,
             percent < 0.001 || percent >= 1e4 ? "%.1e %%"
             : percent < 1                     ? "%.3f %%"
                                               : "%.2f %%",
             percent);
    return text;
}

static const char *interval_text(char text[CELL_CHARS], const struct report_cell *cell)
{
    if (cell->state == INTERVAL_EXACT) return isnan(cell->value) ? "n/a" : error_text(text, cell->value);
    if (cell->state == INTERVAL_OK)
        snprintf(text, CELL_CHARS, "%.2e..%.2e", cell->low, cell->high);
    else
        return cell->state == INTERVAL_UNBOUNDED ? "unbounded" : "unknown";
    return text;
}

// "6.02e-04 4.8e-04..6.5e-04"
static const char *point_text(char text[CELL_CHARS], const struct report_cell *cell)
{
    int used = isnan(cell->value) ? snprintf(text, CELL_CHARS, "n/a")
                                  : snprintf(text, CELL_CHARS, "%.2e", cell->value);
    if (cell->state == INTERVAL_OK)
        snprintf(text + used, (size_t)(CELL_CHARS - used), " %.1e..%.1e", cell->low, cell->high);
    if (cell->state == INTERVAL_UNBOUNDED)
        snprintf(text + used, (size_t)(CELL_CHARS - used), " %16s", "unbounded");
    return text;
}

// Returns the length; the value alone where there is no interval.
static int print_estimate(char text[CELL_CHARS], const char *format, const struct report_cell *cell)
{
    char value[CELL_CHARS], low[CELL_CHARS], high[CELL_CHARS];
    if (isnan(cell->value)) return snprintf(text, CELL_CHARS, "n/a");
    snprintf(value, sizeof value, format, cell->value);
    snprintf(low, sizeof low, format, cell->low);
    snprintf(high, sizeof high, format, cell->high);
    if (cell->state == INTERVAL_OK) return snprintf(text, CELL_CHARS, "%.15s %.15s..%.15s", value, low, high);
    if (cell->state == INTERVAL_UNBOUNDED) return snprintf(text, CELL_CHARS, "%.15s unbounded", value);
    return snprintf(text, CELL_CHARS, "%.15s", value);
}

// With fewer digits where the column is too narrow, and with others where two decimals show nothing of it.
static const char *estimate_text(char text[CELL_CHARS], enum report_format format, int width,
                                 const struct report_cell *cell)
{
    const bool sign = format == REPORT_SIGNED, decimals = format != REPORT_SMALL;
    const bool vanishes = decimals && fabs(cell->value) > 0 && fabs(cell->value) < 0.005;
    const char *usual = sign ? "%+.2f" : decimals ? "%.2f" : "%.1e";
    if ((vanishes || print_estimate(text, usual, cell) > width) &&
        print_estimate(text, sign ? "%+.3g" : "%.3g", cell) > width)
        print_estimate(text, sign ? "%+.0e" : "%.0e", cell);
    return text;
}

static const char *number_text_of(char text[CELL_CHARS], enum report_format format, double v)
{
    if (isnan(v)) return "n/a";
    if (format == REPORT_ERROR) return error_text(text, v);
    if (format == REPORT_SHARE) return percent_text(text, v);
    if (format == REPORT_COUNT)
        snprintf(text, CELL_CHARS, "%.0f", v);
    else if (format == REPORT_CORRELATION)
        snprintf(text, CELL_CHARS, "%.6f", v > 0 ? floor(v * 1e6) / 1e6 : v);
    else
        snprintf(text, CELL_CHARS, "%.8g", v);
    return text;
}

static const char *cell_text(char text[CELL_CHARS], enum report_format format, int width,
                             const struct report_cell *cell)
{
    if (cell->text) return cell->text;
    switch (format) {
    case REPORT_INTERVAL:
        return interval_text(text, cell);
    case REPORT_SPAN:
        snprintf(text, CELL_CHARS, "%.3e..%.3e", cell->low, cell->high);
        return text;
    case REPORT_POINT:
        return point_text(text, cell);
    case REPORT_DECIMALS:
    case REPORT_SIGNED:
    case REPORT_SMALL:
        return estimate_text(text, format, width, cell);
    default:
        return number_text_of(text, format, cell->value);
    }
}

// ---- lines ----

static void put_rule(FILE *out, int width)
{
    for (int i = 0; i < width; i++)
        fputc('-', out);
    fputc('\n', out);
}

static void put_grade(const struct page *page, int grade, int width)
{
    static const char *const codes[] = {"32", "36", "33", "31"}; // green, cyan, yellow, red
    const char *name = grade == REPORT_NO_GRADE ? "" : grade_name((enum grade)grade);
    if (page->color && name[0])
        fprintf(page->out, "\033[%sm%-*s\033[0m", codes[grade], width, name);
    else
        fprintf(page->out, "%-*s", width, name);
}

// One sign, or two where the column has room for them.  Behind the last cell of a line no blanks.
static void put_signs(struct page *page, unsigned marks, int room, bool last)
{
    char signs[] = {marks & REPORT_EQUAL           ? '='
                    : marks & REPORT_SETTLED       ? '*'
                    : marks & REPORT_SETTLED_MAYBE ? '?'
                                                   : ' ',
                    report_sign(marks), '\0'};
    const char *put = room > 1 ? signs : signs + 1;
    int length = room == 0 ? 0 : (int)strlen(put);
    while (last && length > 0 && put[length - 1] == ' ')
        length--;
    fprintf(page->out, "%.*s", length, put);
    page->shown |= marks & REPORT_APART ? marks & ~(unsigned)REPORT_NOISE : marks;
}

static const struct report_cell *cell_of(const struct report_row *row, const struct pick *pick)
{
    return pick->column < row->count ? &row->cells[pick->column] : NULL;
}

// Nothing was measured there, and nothing is to be said of it.
static bool is_empty(const struct report_cell *cell)
{
    return !cell || (cell->marks & REPORT_ABSENT && cell->text && !cell->text[0]);
}

static void put_cell(struct page *page, const struct report_table *table, const struct pick *pick,
                     const struct report_cell *cell, bool last)
{
    char text[CELL_CHARS];
    const char *shown = cell_text(text, table->columns[pick->column].format, pick->width, cell);
    if (cell->text && cell->grade != REPORT_NO_GRADE)
        put_grade(page, cell->grade, last ? 0 : pick->width);
    else
        fprintf(page->out, "%*s", pick->left ? last ? 0 : -pick->width : pick->width, shown);
    put_signs(page, cell->marks, pick->marks, last);
    if (pick->grade) put_grade(page, cell->grade, pick->grade);
}

static void put_row(struct page *page, const struct report_table *table, const struct report_row *row,
                    const struct pick *picks, int count)
{
    int end = count;
    while (end > 1 && is_empty(cell_of(row, &picks[end - 1])))
        end--;
    for (int i = 0; i < end; i++) {
        const struct pick *pick = &picks[i];
        fprintf(page->out, "%*s", pick->gap, "");
        if (pick->column == NAME)
            fprintf(page->out, "%*s", pick->left ? -pick->width : pick->width, row->name);
        else if (table->columns[pick->column].format == REPORT_WORDS && row->run && row->run->is_reference)
            fputs("(reference)", page->out);
        else
            put_cell(page, table, pick, cell_of(row, pick), i == end - 1);
    }
    fputc('\n', page->out);
}

static int room_of(const struct pick *pick)
{
    return pick->width + pick->marks + pick->grade;
}

// "------ layer 0 ------"
static void put_centred(FILE *out, int width, const char *group)
{
    const int room = width - (int)strlen(group) - 2, before = room / 2;
    for (int i = 0; i < before; i++)
        fputc('-', out);
    fprintf(out, " %s ", group);
    for (int i = before; i < room; i++)
        fputc('-', out);
}

static void put_title(FILE *out, const struct pick *pick, const char *title, bool last)
{
    if (pick->left || (int)strlen(title) > pick->width)
        fprintf(out, "%*s", last ? 0 : -room_of(pick), title);
    else
        fprintf(out, "%*s%*s", pick->width, title, last ? 0 : pick->marks + pick->grade, "");
}

// How many of the picks from `first` on stand below the same group.
static int span_of(const struct report_table *table, const struct pick *picks, int first, int count)
{
    const char *group = picks[first].column == NAME ? NULL : table->columns[picks[first].column].group;
    int span = 1;
    while (group && first + span < count) {
        const char *next = table->columns[picks[first + span].column].group;
        if (next && strcmp(next, group) != 0) break;
        span++;
    }
    return span;
}

static void put_groups(FILE *out, const struct report_table *table, const struct pick *picks, int count)
{
    for (int i = 0, span; i < count; i += span) {
        const struct report_column *column =
            picks[i].column == NAME ? NULL : &table->columns[picks[i].column];
        const char *group = column && column->group ? column->group : "";
        span = span_of(table, picks, i, count);
        int width = picks[i].width;
        for (int s = i + 1; s < i + span; s++)
            width += picks[s - 1].marks + picks[s - 1].grade + picks[s].gap + picks[s].width;
        fprintf(out, "%*s", picks[i].gap, "");
        if (span == 1)
            put_title(out, &picks[i], group, i + span == count);
        else
            put_centred(out, width, group);
        if (span > 1 && i + span < count) fprintf(out, "%*s", picks[i + span - 1].marks, "");
    }
    fputc('\n', out);
}

static bool has_groups(const struct report_table *table, const struct pick *picks, int count)
{
    for (int i = 0; i < count; i++)
        if (picks[i].column != NAME && table->columns[picks[i].column].group &&
            table->columns[picks[i].column].span)
            return true;
    return false;
}

// Returns the width of the table.
static int put_head(FILE *out, const struct report_table *table, const struct pick *picks, int count)
{
    int width = 0;
    for (int i = 0; i < count; i++)
        width += picks[i].gap + room_of(&picks[i]);
    put_rule(out, width);
    if (has_groups(table, picks, count)) put_groups(out, table, picks, count);
    for (int i = 0; i < count; i++) {
        fprintf(out, "%*s", picks[i].gap, "");
        put_title(out, &picks[i], picks[i].title ? picks[i].title : table->columns[picks[i].column].title,
                  i == count - 1);
    }
    fputc('\n', out);
    return width;
}

static void put_table(struct page *page, const struct report_table *table, const struct pick *picks,
                      int count)
{
    const int width = put_head(page->out, table, picks, count);
    put_rule(page->out, width);
    for (int r = 0; r < table->n_rows; r++)
        put_row(page, table, &table->rows[r], picks, count);
    put_rule(page->out, width);
}

static void put_notes(const struct page *page, const struct report_notes *notes, unsigned shown)
{
    for (int i = 0; i < notes->count; i++)
        if (!notes->items[i].mark || notes->items[i].mark & shown)
            fprintf(page->out, "%s\n", notes->items[i].text);
}

// ---- a metric of every layer ----

static void put_metric(struct page *page, const struct report_column *column, const struct report_cell *cell)
{
    char text[CELL_CHARS];
    if (is_empty(cell)) return;
    fprintf(page->out, "    %-18s%15s", column->label, number_text_of(text, REPORT_NUMBER, cell->value));
    if (cell->grade != REPORT_NO_GRADE) {
        put_signs(page, cell->marks, 1, false);
        fputc(' ', page->out);
        put_grade(page, cell->grade, 0);
    } else {
        put_signs(page, cell->marks, 1, true);
    }
    fputc('\n', page->out);
}

static void put_entry(struct page *page, const struct report_table *table, int which)
{
    const struct report_row made = report_row(table, which), *row = &made;
    fprintf(page->out, "\n%s, layer %d, %s, %.0f values\n", table->title, row->layer, row->component,
            row->cells[report_column(table, "elements")].value);
    for (int g = 0; g < REPORT_GROUPS; g++) {
        const struct report_group *group = &page->report->groups[g];
        fprintf(page->out, "  %s\n", group->title);
        for (int i = 0; i < group->count; i++)
            put_metric(page, &table->columns[group->columns[i]], &row->cells[group->columns[i]]);
    }
}

static void put_component(struct page *page, const struct report_table *table,
                          const struct report_row *average)
{
    static const struct shown {
        const char *key;
        struct pick pick;
    } shown[] = {{"mse", {0, NULL, 2, 9, 1, 9, false}},
                 {"correlation", {0, NULL, 2, 9, 1, 9, false}},
                 {"relative_mae", {0, NULL, 1, 9, 1, 9, false}},
                 {"mae", {0, NULL, 1, 9, 1, 0, false}},
                 {"abs_diff_p99", {0, NULL, 0, 10, 1, 0, false}},
                 {"abs_diff_max", {0, NULL, 0, 10, 1, 0, false}}},
      // In their place, where layers were computed by themselves.
        own[] = {{"isolated_mse", {0, "own MSE", 1, 9, 1, 0, false}},
                 {"amplification", {0, "amplified", 1, 9, 1, 0, false}}};
    enum { SHOWN = sizeof shown / sizeof shown[0], OWN = sizeof own / sizeof own[0] };
    const bool isolated = report_column(table, own[0].key) >= 0;
    struct pick picks[SHOWN + 1] = {{NAME, "layer", 0, 5, 0, 0, false}};
    for (int i = 0; i < SHOWN; i++) {
        const struct shown *one = isolated && i >= SHOWN - OWN ? &own[i - (SHOWN - OWN)] : &shown[i];
        picks[i + 1] = one->pick;
        picks[i + 1].column = report_column(table, one->key);
    }
    fprintf(page->out, "\n%s%s, %s\n", table->title, page->report->reference_weights, average->component);
    if (table->run->summary) fprintf(page->out, "%s\n", table->run->summary);
    const int width = put_head(page->out, table, picks, SHOWN + 1);
    for (int r = 0; r < table->n_rows; r++) {
        if (strcmp(table->rows[r].component, average->component) != 0) continue;
        const struct report_row row = report_row(table, r);
        put_row(page, table, &row, picks, SHOWN + 1);
    }
    put_row(page, table, average, picks, SHOWN + 1);
    for (int r = 0; r < table->n_rows; r++)
        if (strcmp(table->rows[r].component, average->component) == 0 && table->rows[r].note)
            fprintf(page->out, "       %s\n", table->rows[r].note);
    put_rule(page->out, width);
}

// Layers that were asked for may be many: their blocks are there only if those were asked for, too.
static void put_layers(struct page *page, bool detailed)
{
    const struct report_section *layers = &page->report->sections[REPORT_LAYERS];
    const bool single = page->report->n_compared == 1, chosen = page->report->chosen;
    const bool blocks = detailed || (single && !chosen);
    for (int t = 0; blocks && t < layers->n_tables; t++)
        for (int r = 0; !layers->tables[t].run->is_reference && r < layers->tables[t].n_rows; r++)
            put_entry(page, &layers->tables[t], r);
    // With --store none all layers of the model are there, of all sets of scales.
    const bool tables = detailed || single || (page->report->has_layers && !chosen);
    for (int t = 0; tables && t < layers->n_tables; t++)
        for (int a = 0; !layers->tables[t].run->is_reference && a < layers->tables[t].n_averages; a++)
            put_component(page, &layers->tables[t], &layers->tables[t].averages[a]);
}

// ---- the other sections ----

static int name_width(const struct report_table *table, int least)
{
    int width = least;
    for (int r = 0; r < table->n_rows; r++)
        if (table->rows[r].run && (int)strlen(table->rows[r].name) > width)
            width = (int)strlen(table->rows[r].name);
    return width;
}

static void put_summary(struct page *page)
{
    enum { MIN_NAME_WITH_SCALES = 14, SHOWN = 6 };
    static const char *const keys[SHOWN] = {"first_layer.mse", "first_layer.mae", "last_layer.mse",
                                            "last_layer.mae",  "avg_correlation", "worst_grade"};
    static const struct pick picks[SHOWN] = {{0, NULL, 3, 11, 1, 0, false}, {0, NULL, 0, 11, 1, 0, false},
                                             {0, NULL, 2, 11, 1, 0, false}, {0, NULL, 0, 11, 1, 0, false},
                                             {0, NULL, 2, 11, 0, 0, false}, {0, NULL, 3, 11, 0, 0, true}};
    const struct report_section *summary = &page->report->sections[REPORT_SUMMARY];
    const struct report_table *table = summary->tables;
    if (summary->n_tables > 0) {
        const bool single = table->rows[0].cells[report_column(table, "layers")].value == 1;
        struct pick shown[SHOWN + 1] = {
            {NAME, "mode", 0,
             name_width(table, page->report->n_cells > 1 ? (int)MIN_NAME_WITH_SCALES : (int)MIN_NAME), 0, 0,
             true}};
        int count = 1;
        for (int i = 0; i < SHOWN; i++) {
            if (single && (i == 2 || i == 3)) continue;
            shown[count] = picks[i];
            shown[count++].column = report_column(table, keys[i]);
        }
        fprintf(page->out, "\n%s\n", table->title);
        put_table(page, table, shown, count);
    }
    put_notes(page, &summary->notes, page->shown);
}

static struct pick pick_by_format(const struct report_table *table, int column)
{
    const int title = (int)strlen(table->columns[column].title);
    switch (table->columns[column].format) {
    case REPORT_ERROR:
        return (struct pick){column, NULL, 1, title > 9 ? title : 9, 1, 0, false};
    case REPORT_PLACE:
        return (struct pick){column, NULL, 3, 5, 2, 0, false};
    case REPORT_INTERVAL:
        return (struct pick){column, NULL, 0, 19, 0, 0, false};
    case REPORT_POINT:
        return (struct pick){column, NULL, 1, 25, 2, 0, false};
    case REPORT_SIGNED:
        return (struct pick){column, NULL, 2, 21, 1, 0, false};
    case REPORT_SMALL:
        return (struct pick){column, NULL, 2, 24, 1, 0, false};
    default:
        return (struct pick){column, NULL, 2, 18, 1, 0, false};
    }
}

// The columns from `first` on that fit the page beside the names, groups undivided.  Returns how many.
static int pick_columns(const struct report_table *table, struct pick *picks, int first)
{
    int count = 1, width = picks[0].width;
    while (first < table->n_columns) {
        const int span = table->columns[first].span > 1 ? table->columns[first].span : 1;
        int wanted = 0;
        for (int i = 0; i < span; i++) {
            picks[count + i] = pick_by_format(table, first + i);
            wanted += picks[count + i].gap + room_of(&picks[count + i]);
        }
        if (count > 1 && (width + wanted > PAGE || count + span >= MOST_PICKS)) break;
        width += wanted;
        count += span;
        first += span;
    }
    return count;
}

static void put_section(struct page *page, enum report_section_id id, const struct pick *name)
{
    const struct report_section *section = &page->report->sections[id];
    for (int t = 0; t < section->n_tables; t++) {
        const struct report_table *table = &section->tables[t];
        struct pick picks[MOST_PICKS] = {*name};
        if (name->left) picks[0].width = name_width(table, name->width);
        fprintf(page->out, "\n%s\n", table->title);
        for (int first = 0, count; first < table->n_columns; first += count - 1) {
            count = pick_columns(table, picks, first);
            put_table(page, table, picks, count);
        }
    }
    put_notes(page, &section->notes, ~0u);
}

// Rows without a head.
static void put_orders(struct page *page)
{
    const struct report_section *orders = &page->report->sections[REPORT_ORDERS];
    for (int t = 0; t < orders->n_tables; t++) {
        const struct report_table *table = &orders->tables[t];
        fprintf(page->out, "\n%s\n", table->title);
        for (int r = 0; r < table->n_rows; r++) {
            const struct pick picks[] = {{NAME, NULL, 2, name_width(table, MIN_NAME), 0, 0, true},
                                         {0, NULL, 1, 0, 1, 0, false}};
            put_row(page, table, &table->rows[r], picks, 2);
        }
    }
    put_notes(page, &orders->notes, ~0u);
}

// ---- scales ----

enum { SITE_WIDTH = 10, SAMPLES_WIDTH = 8, EXTENT_WIDTH = 7 };

static void put_extent(FILE *out, const struct report_scales *scales, const struct report_cell_scales *cell)
{
    static const char *const names[] = {"min", "median", "max"};
    for (int line = 0; line < 3; line++) {
        char samples[16] = "";
        if (line == 0) snprintf(samples, sizeof samples, "%d", cell->cell.calib_data_num);
        fprintf(out, "%-*s%-*s", SAMPLES_WIDTH, samples, EXTENT_WIDTH, names[line]);
        for (int s = 0; s < scales->n_sites; s++) {
            const struct report_extent *extent = &cell->ratio[s];
            fprintf(out, "%*.4f", SITE_WIDTH,
                    line == 0   ? extent->min
                    : line == 1 ? extent->median
                                : extent->max);
        }
        fputc('\n', out);
    }
    if (!cell->spread) return;
    fprintf(out, "%-*s%-*s", SAMPLES_WIDTH, "", EXTENT_WIDTH, "orders");
    for (int s = 0; s < scales->n_sites; s++)
        fprintf(out, "%*.2f %%", SITE_WIDTH - 2, 100 * cell->spread[s].max);
    fputc('\n', out);
}

static void put_scales(FILE *out, const struct report_scales *scales)
{
    const int width = SAMPLES_WIDTH + EXTENT_WIDTH + scales->n_sites * SITE_WIDTH;
    fprintf(out, "\n%s\n", scales->title);
    put_rule(out, width);
    for (int line = 0; line < 2; line++) {
        fprintf(out, "%-*s", SAMPLES_WIDTH + EXTENT_WIDTH, line ? "samples" : "");
        for (int s = 0; s < scales->n_sites; s++)
            fprintf(out, "%*s", SITE_WIDTH, scales->sites[s].heading[line]);
        fputc('\n', out);
    }
    put_rule(out, width);
    for (int c = 0; c < scales->n_cells; c++)
        if (scales->cells[c].first) put_extent(out, scales, &scales->cells[c]);
    put_rule(out, width);
    if (scales->note) fprintf(out, "%s\n", scales->note);
}

void render_text(FILE *out, const struct report *report, const struct page_style *style)
{
    static const struct pick mode = {NAME, "mode", 0, MIN_NAME, 0, 0, true},
                             layer = {NAME, "layer", 0, 5, 0, 0, false},
                             samples = {NAME, "calib_data_num", 0, 14, 0, 0, false};
    struct page page = {.out = out, .report = report, .color = style->color};
    put_layers(&page, style->detailed);
    put_section(&page, REPORT_BY_LAYER, &layer);
    put_summary(&page);
    put_section(&page, REPORT_RANKING, &mode);
    put_section(&page, REPORT_TRENDS, &samples);
    put_orders(&page);
    put_section(&page, REPORT_PREDICTIONS, &mode);
    if (report->scales) put_scales(out, report->scales);
}
