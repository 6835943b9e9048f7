// SPDX-License-Identifier: Apache-2.0
// One page of HTML: the template of src/report/page, filled with the report.
#include <string.h>

#include "render_html.h"
#include "ssmsweep/report/render.h"

struct page {
    FILE *out;
    const struct html_part *parts;
    int n_parts;
    const char *title;
    const struct report *report; // the part at hand
    char suffix[16];             // of its ids: "", "-2", "-3" ...
};

static void turn_to(struct page *page, int part)
{
    page->report = page->parts[part].report;
    page->suffix[0] = '\0';
    if (part > 0) snprintf(page->suffix, sizeof page->suffix, "-%d", part + 1);
}

static const struct html_piece *find_piece(const char *name)
{
    for (const struct html_piece *piece = html_pieces; piece->name; piece++)
        if (strcmp(piece->name, name) == 0) return piece;
    return NULL;
}

bool render_html_is_built(void)
{
    return html_pieces[0].name != NULL;
}

static void put_piece(FILE *out, const char *name)
{
    const struct html_piece *piece = find_piece(name);
    if (piece) fwrite(piece->bytes, 1, piece->count, out);
}

// ---- chapters ----

enum { NONE = -1 };

// In the order in which they are read.  One whose sections have no tables is left out.
static const struct chapter {
    const char *id, *title, *lead;
    int needs;           // section; NONE: checks
    const char *figures; // ids of what scripts draw, and of tables that they fill ("table:ID"); may be ""
    int table;           // section whose tables and notes stand below; NONE
} chapters[] = {
    {"heat", "Which mode breaks where",
     "Each cell is one layer of one mode: the brighter, the further from the reference.", REPORT_SERIES,
     "fig-heat", NONE},
    {"depth", "Error against depth", "How the error grows from the first layer to the last.", REPORT_SERIES,
     "fig-depth fig-layer", NONE},
    {"position", "Error by token position", "Whether the error drifts along the recurrence.",
     REPORT_POSITIONS, "fig-position", NONE},
    {"bins", "How large the differences are", "", REPORT_BINS, "fig-bins", NONE},
    {"samples", "Every sample", "Whether a few texts make the error, or all of them.", REPORT_SAMPLES,
     "fig-samples", NONE},
    {"places", "Places and ties", "", REPORT_PLACES, "fig-places", REPORT_RANKING},
    {"pairs", "Pairs of modes",
     "One mode against another, sample by sample; p is corrected for the number of pairs (Holm).",
     REPORT_PAIRS, "fig-pairs table:all-pairs", NONE},
    {"predictions", "Predictions of the whole model", "", REPORT_PREDICTIONS, "fig-predictions",
     REPORT_PREDICTIONS},
    {"attribution", "What costs what",
     "Which piece of a mode costs how much of the error, and what mending takes.", REPORT_PIECES,
     "fig-pieces fig-alone", REPORT_ATTRIBUTION},
    {"amplification", "Where the error begins",
     "What each layer makes by itself, and what has added up in front of it.", REPORT_AMPLIFICATION,
     "fig-amplification", REPORT_AMPLIFICATION},
    {"bisect", "What to mend", "", REPORT_BISECT, "", REPORT_BISECT},
    {"mix", "Which layers stay INT8", "Cost against error, on texts that the choice did not see.", REPORT_MIX,
     "fig-mix", REPORT_MIX},
    {"units", "What INT8 makes of each unit", "How the values of a unit lie on their grid, layer by layer.",
     REPORT_UNIT_VALUES, "fig-units", REPORT_UNITS},
    {"calib", "Error against calib_data_num", "", REPORT_TRENDS, "fig-calib", REPORT_TRENDS},
    {"orders", "Orders of the calibration samples", "", REPORT_ORDERS, "", REPORT_ORDERS},
    {"scales", "Scales", "What the calibration gave, over the layers; a scale is the step of the INT8 grid.",
     REPORT_SCALES, "fig-scales", NONE},
    {"checks", "Gates and baseline", "", NONE, "", NONE}, // of report->checks
    {"numbers", "Summary and all metrics", "", REPORT_SERIES, "table:all-metrics", REPORT_SUMMARY},
};
enum { CHAPTERS = sizeof chapters / sizeof chapters[0] };

static void put_section(FILE *out, const struct report_section *section)
{
    for (int t = 0; t < section->n_tables; t++)
        html_put_table(out, &section->tables[t]);
    html_put_notes(out, &section->notes);
}

// Places for what scripts make.
static void put_figures(const struct page *page, const char *figures)
{
    FILE *out = page->out;
    while (*figures) {
        const int length = (int)strcspn(figures, " ");
        if (strncmp(figures, "table:", 6) == 0)
            fprintf(out, "<div id=\"%.*s%s\" class=\"needs-script\"></div>\n", length - 6, figures + 6,
                    page->suffix);
        else
            fprintf(out, "<figure id=\"%.*s%s\" class=\"needs-script\"></figure>\n", length, figures,
                    page->suffix);
        figures += length;
        figures += strspn(figures, " ");
    }
}

static void put_chapter(const struct page *page, const struct chapter *chapter)
{
    FILE *out = page->out;
    fprintf(out, "<section id=\"%s%s\">\n<h2>%s</h2>\n", chapter->id, page->suffix, chapter->title);
    if (chapter->lead[0]) fprintf(out, "<p class=\"lead\">%s</p>\n", chapter->lead);
    if (chapter->needs == NONE) html_put_checks(out, page->report->checks);
    if (strcmp(chapter->id, "heat") == 0) {
        fputs("<div class=\"without-script\">\n", out);
        html_put_heat(out, page->report);
        fputs("</div>\n", out);
    }
    put_figures(page, chapter->figures);
    if (chapter->table != NONE) put_section(out, &page->report->sections[chapter->table]);
    if (strcmp(chapter->id, "heat") == 0) html_put_notes(out, &page->report->sections[REPORT_SERIES].notes);
    fputs("</section>\n", out);
}

static bool is_there(const struct report *report, const struct chapter *chapter)
{
    if (chapter->needs == NONE) return report->checks && report->checks->count > 0;
    return report->sections[chapter->needs].n_tables > 0 ||
           (chapter->table != NONE && report->sections[chapter->table].n_tables > 0);
}

static void put_chapters(const struct page *page)
{
    for (int c = 0; c < CHAPTERS; c++)
        if (is_there(page->report, &chapters[c])) put_chapter(page, &chapters[c]);
}

// ---- slots of the template ----

static void put_title(struct page *page)
{
    if (page->title) {
        html_put_text(page->out, page->title);
        return;
    }
    if (page->n_parts > 1) {
        fprintf(page->out, "%d comparisons", page->n_parts);
        return;
    }
    if (page->report->title) {
        html_put_text(page->out, page->report->title);
        return;
    }
    fprintf(page->out, "%d mode%s against ", page->report->n_compared,
            page->report->n_compared == 1 ? "" : "s");
    html_put_text(page->out, page->report->reference);
    html_put_text(page->out, page->report->reference_weights);
}

static void put_answer(const struct page *page)
{
    const struct report_notes *notes = &page->report->sections[REPORT_ANSWER].notes;
    if (notes->count == 0) return;
    fputs("<ul class=\"answer\">\n", page->out);
    for (int i = 0; i < notes->count; i++) {
        fputs("<li>", page->out);
        html_put_text(page->out, notes->items[i].text);
        fputs("</li>\n", page->out);
    }
    fputs("</ul>", page->out);
}

static void put_about(const struct page *page)
{
    if (page->report->sections[REPORT_ABOUT].n_tables == 0) return;
    fprintf(page->out, "<details>\n<summary>What was run</summary>\n<div id=\"about%s\" class=\"about\">\n",
            page->suffix);
    put_section(page->out, &page->report->sections[REPORT_ABOUT]);
    fputs("</div>\n</details>", page->out);
}

static void put_form(const struct page *page)
{
    static const char *const choices[] = {"metric", "component", "layer"};
    if (page->report->sections[REPORT_SERIES].n_tables == 0) return;
    fprintf(page->out,
            "<form id=\"controls%s\" class=\"controls needs-script\" aria-label=\"What the figures show\">\n",
            page->suffix);
    for (int i = 0; i < 3; i++)
        fprintf(page->out, "<label>%s <select id=\"%s%s\"><option value=\"\">%s</option></select></label>\n",
                choices[i], choices[i], page->suffix, choices[i]);
    fputs("</form>\n", page->out);
}

// What the numbers say; of several parts, where each is.
static void put_head(struct page *page)
{
    if (page->n_parts == 1) {
        put_answer(page);
        fputc('\n', page->out);
        put_about(page);
        return;
    }
    fputs("<nav><ul>\n", page->out);
    for (int i = 0; i < page->n_parts; i++) {
        fprintf(page->out, "<li><a href=\"#report-%d\">", i + 1);
        html_put_text(page->out, page->parts[i].name);
        fputs("</a></li>\n", page->out);
    }
    fputs("</ul></nav>", page->out);
}

static void put_controls(struct page *page)
{
    if (page->n_parts == 1) put_form(page);
}

static void put_parts(struct page *page)
{
    if (page->n_parts == 1) {
        put_chapters(page);
        return;
    }
    for (int i = 0; i < page->n_parts; i++) {
        turn_to(page, i);
        fprintf(page->out, "<article id=\"report-%d\">\n<h2>", i + 1);
        html_put_text(page->out, page->parts[i].name);
        fputs("</h2>\n", page->out);
        put_answer(page);
        fputc('\n', page->out);
        put_about(page);
        fputc('\n', page->out);
        put_form(page);
        put_chapters(page);
        fputs("</article>\n", page->out);
    }
}

static void put_data(struct page *page)
{
    for (int i = 0; i < page->n_parts; i++) {
        turn_to(page, i);
        fprintf(page->out, "<script type=\"application/json\" id=\"data%s\">\n", page->suffix);
        html_put_data(page->out, page->report);
        fputs("</script>\n", page->out);
    }
}

static void put_style(struct page *page)
{
    put_piece(page->out, "page.css");
}

static void put_d3(struct page *page)
{
    put_piece(page->out, "d3.min.js");
}

static void put_licence(struct page *page)
{
    put_piece(page->out, "d3-licence.txt");
}

static void put_script(struct page *page)
{
    static const char *const files[] = {"data.js",   "figure.js",   "heat.js",   "lines.js",
                                        "points.js", "findings.js", "tables.js", "main.js"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        put_piece(page->out, files[i]);
}

static const struct slot {
    const char *name;
    void (*put)(struct page *page);
} slots[] = {{"title", put_title},    {"style", put_style}, {"head", put_head}, {"controls", put_controls},
             {"parts", put_parts},    {"data", put_data},   {"d3", put_d3},     {"script", put_script},
             {"licence", put_licence}};

static void put_slot(struct page *page, const char *name, size_t length)
{
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        if (strlen(slots[i].name) == length && strncmp(slots[i].name, name, length) == 0) slots[i].put(page);
}

// The template, with what stands in "{{NAME}}" put in.
void render_html(FILE *out, const struct html_part *parts, int n_parts, const char *title)
{
    struct page page = {.out = out, .parts = parts, .n_parts = n_parts, .title = title};
    const struct html_piece *template = find_piece("page.html");
    if (!template || n_parts < 1) return;
    turn_to(&page, 0);
    const char *at = (const char *)template->bytes, *end = at + template->count;
    while (at < end) {
        const char *open = memchr(at, '{', (size_t)(end - at));
        if (open && open + 1 < end && open[1] == '{') {
            const char *close = memchr(open, '}', (size_t)(end - open));
            fwrite(at, 1, (size_t)(open - at), out);
            if (!close) return;
            put_slot(&page, open + 2, (size_t)(close - open - 2));
            at = close + 2;
        } else {
            const char *next = open ? open + 1 : end;
            fwrite(at, 1, (size_t)(next - at), out);
            at = next;
        }
    }
}
