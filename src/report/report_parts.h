// SPDX-License-Identifier: Apache-2.0
// Between the sources of the report model.
#ifndef SSMSWEEP_REPORT_REPORT_PARTS_H
#define SSMSWEEP_REPORT_REPORT_PARTS_H

#include "ssmsweep/report/report.h"

// A report under construction.  Once `err` has a status, what is made is of no use but safe to fill.
struct builder {
    struct report *report;
    const struct measurements *from;
    struct error *err;
};

// ---- memory: of the report, freed with it ----

void *builder_take(struct builder *b, size_t count, size_t bytes); // zeroed; NULL: memory is out
// A text of its own; "" where memory is out.
const char *builder_text(struct builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

// ---- sections ----

// The next table of a section that has room for `most`; NULL: memory is out.  Its rows are blank, with room
// for all cells; count is 0.
struct builder_shape {
    const struct report_column *columns;
    int n_columns, n_rows;
    bool without_cells; // report_row() makes them
};
struct report_table *builder_table(struct builder *b, enum report_section_id section, int most,
                                   const char *title, const struct builder_shape *shape);
void builder_note(struct builder *b, enum report_section_id section, unsigned mark, const char *text);
// All marks of the cells of a section.
unsigned builder_marks(const struct builder *b, enum report_section_id section);

const struct report_run *builder_run(const struct builder *b, int run); // of the result file; NULL: not there

// ---- cells ----

struct report_cell report_number(double value); // no interval
struct report_cell report_words(const char *text);
struct report_cell report_estimate(const struct interval *interval);

// ---- the sections ----

void build_sources(struct builder *b);      // runs, provenance, coverage
void build_source_notes(struct builder *b); // of the summary
void build_file_sources(struct builder *b); // the same of a sweep.json
void build_scales(struct builder *b);
void build_layers(struct builder *b);
void build_summary(struct builder *b);
void build_ranking(struct builder *b);
void build_trends(struct builder *b);
void build_orders(struct builder *b);
void build_predictions(struct builder *b);
void build_statistics(struct builder *b);
// Those for figures.
void build_answer(struct builder *b);
void build_about(struct builder *b);
void build_file_about(struct builder *b); // of a sweep.json; and what it does not hold
void build_series(struct builder *b);     // positions and bins too
void build_samples(struct builder *b);
void build_pairs(struct builder *b); // places too
void build_scale_tables(struct builder *b);
void build_findings(struct builder *b); // of what stands in measurements.findings

// ---- marks of rounding noise, from a sweep report ----

unsigned marks_of_value(const struct sweep_report *sweep, int unit, int k, int run);
// Where a run and a (layer, component) of the comparison stand in the sweep report; -1: nowhere.
int marks_find_run(const struct sweep_report *sweep, int run);
int marks_find_unit(const struct sweep_report *sweep, int layer, int component);
// Legends of `~` (what lies near to `other`) and `#`, of those of `marks` that stand in a section; or that
// nothing is known of noise.
void build_noise_notes(struct builder *b, enum report_section_id section, unsigned marks, const char *other);
// What the rows "noise" and "apart" of a table are, where it has them.
void build_rerun_notes(struct builder *b, const struct report_table *table, enum report_section_id section);
// The most that re-runs of these runs change a metric whose scale is the logarithm: "+-4.1 %", or "".
const char *build_noise_text(struct builder *b, int unit, int k, const int *runs, int count);
void build_unbounded_note(struct builder *b, enum report_section_id section, unsigned marks);

// ---- what of a sweep report people see ----

// One unit for each layer shown, ascending: those captured, or all; without `all` the first and the last of
// many.  *count: how many.
int *build_units(struct builder *b, bool all, int *count);
// Says that the modes are too many to be ranked, if they are.
bool build_unranked_note(struct builder *b, enum report_section_id section);
int build_main_metric(const struct sweep_unit *unit); // the metric that stands for the others
// The last cell of samples in the order of the text.
const struct sweep_family *build_main_family(const struct sweep_report *sweep);
const struct report_run *build_run_of(const struct builder *b, int place); // in sweep->runs
// Does the unit stand for its layer: its output, or the first component there is?
bool build_stands_for_layer(const struct sweep_report *sweep, int unit);

#endif
