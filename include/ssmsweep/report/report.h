// SPDX-License-Identifier: Apache-2.0
// The report model: what a comparison has to say, made once by report_build() and written out by the
// renderers of render.h.
//
// Contract of the folder.  Its first half measures: comparisons (compare.h), intervals (sweep_report.h),
// gates and baselines (checks.h).  report_build() reads those and the attributes of the result file, and
// decides everything that is said: which tables there are, their titles, cells, marks, grades, notes and
// legends.  A renderer knows this header alone: it chooses sections, columns and digits, and computes
// nothing.  So a new output is one file, src/report/render_NAME.c, and its prototype in render.h.  Only
// main.c and tools/ call this folder.
//
// Sections of data hold every number once, a row for each thing measured, for programs and figures; the other
// sections hold the choice that fits a page of tables.
#ifndef SSMSWEEP_REPORT_REPORT_H
#define SSMSWEEP_REPORT_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/report/checks.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/sweep_report.h"

// ---- cells ----

// What is said of a number beside its value, as bits.
enum report_mark {
    REPORT_NOISE = 1,          // no more than rounding noise divides it from another mode's
    REPORT_APART = 2,          // no further from the reference than from its own re-run
    REPORT_EQUAL = 4,          // equal to another mode's in every sample
    REPORT_SETTLED = 8,        // from here on, more calibration text improves nothing
    REPORT_SETTLED_MAYBE = 16, // the same, but these samples do not tell it for sure
    REPORT_KNOWS_NOISE = 32,   // REPORT_NOISE was looked for: there are re-runs
    REPORT_KNOWS_APART = 64,   // REPORT_APART was
    REPORT_UNBOUNDED = 256,    // the samples do not bound it to within a factor of ten
    REPORT_ABSENT = 128,       // not measured, or means nothing here: programs get no such key
};
// The sign behind a number: '#' for REPORT_APART, else '~' for REPORT_NOISE, else ' '.
char report_sign(unsigned marks);

enum { REPORT_NO_GRADE = -1 };

struct report_cell {
    double value, low, high;   // NaN: undefined; low and high also where there is no interval
    double noise, apart;       // most that re-runs change it; worst of the re-runs against itself; see marks
    const char *text;          // words in place of the number; NULL: none
    unsigned marks;            // report_mark
    int grade;                 // enum grade, or REPORT_NO_GRADE
    enum interval_state state; // of low and high; INTERVAL_TOO_FEW where nobody looked for an interval
};

// How people read the numbers of a column.
enum report_format {
    REPORT_WORDS,       // text
    REPORT_COUNT,       // a whole number
    REPORT_ERROR,       // a distance: 0 stands for equal in every bit, else four digits
    REPORT_SHARE,       // a share of 1, shown in percent
    REPORT_CORRELATION, // six decimals, cut: 1.000000 stands for exactly 1
    REPORT_DECIBEL,     // two decimals
    REPORT_NUMBER,      // of any size and sign
    REPORT_PLACE,       // low to high place among the modes, 0: unknown
    REPORT_INTERVAL,    // low..high alone
    REPORT_SPAN,        // low..high with four digits
    REPORT_POINT,       // value low..high
    REPORT_DECIMALS,    // value low..high with two decimals
    REPORT_SIGNED,      // the same with a sign
    REPORT_SMALL,       // the same with two digits and an exponent
};

struct report_column {
    const char *key;   // for programs; names of metrics as in the catalogue
    const char *title; // for people
    const char *label; // the same below the group's name; NULL: as the title
    const char *group; // over the title, of `span` neighbours from this one on; NULL: none
    int span;
    enum report_format format;
};

// ---- rows and tables ----

// One run of the result file.
struct report_run {
    const char *mode;
    const char *name;    // for people: MODE, or "MODE (n=16)" where the file has several sets of scales
    const char *stem;    // how the names of its files begin: "mode_MODE", "mode_MODE_n16"
    const char *summary; // what the mode is, one line; NULL: unknown
    struct cell cell;    // its scales; zeroed: a float mode
    bool is_reference;
};

enum { REPORT_NO_LAYER = -1 };

struct report_row {
    const struct report_run *run; // NULL: a row of several runs, such as "noise"
    const char *name;             // of the row, for people
    int layer;                    // of the model, or REPORT_NO_LAYER
    const char *component;        // its name; NULL: none
    bool main;                    // this component stands for its layer
    const char *note;             // a line under the table; NULL: none
    struct report_cell *cells;    // [count]: of the first columns, where that is not all
    int count;
};

struct report_table {
    const char *title;
    const struct report_run *run; // all rows are of it; NULL: of several
    const struct report_column *columns;
    int n_columns; // 0: the title is all there is to say
    struct report_row *rows;
    int n_rows;
    struct report_row *averages; // over the layers, one for each component; [n_averages]
    int n_averages;
};

// Sentences; those with a mark say what the mark means.
struct report_note {
    unsigned mark; // report_mark, or 0
    const char *text;
};
struct report_notes {
    struct report_note *items;
    int count;
};

enum report_section_id {
    REPORT_LAYERS,      // data: a table for each run (the reference's too), a row per (layer, component), the
                        // metrics of the catalogue and then "elements", "fp_nonfinite", "mode_nonfinite",
                        // "mode_abs_mean", "worst_grade"; averages of mse, mae, relative_mae and correlation
    REPORT_SUMMARY,     // a row per run: "first_layer.M", "last_layer.M" (M: layer, component, mse, mae,
                        // relative_mae, correlation), "layers", "avg_mse", "avg_mae", "avg_correlation",
                        // "worst_grade"
    REPORT_RANKING,     // a row per mode: its places and interval at each layer shown; neighbours as notes
    REPORT_TRENDS,      // a row per calib_data_num, a column per mode: the error of the last layer
    REPORT_ORDERS,      // a row per mode: the range of that error over orders of the calibration samples
    REPORT_PREDICTIONS, // a row per mode: perplexity and its kin
    REPORT_SECTIONS
};

// Notes hold legends of marks that stand in the section's tables; a renderer that shows part of the columns
// leaves out those of marks that it did not show.
struct report_section {
    struct report_table *tables;
    int n_tables;
    struct report_notes notes; // below the tables, in order
};

// ---- the whole ----

enum { REPORT_GROUPS = 6 };
struct report_group {
    const char *title;
    int *columns, count; // of REPORT_LAYERS
};

struct report {
    const char *reference;               // mode
    const char *reference_weights;       // " (dequantized INT8 weights)", " (float model 1a2b3c4d)" or ""
    const struct report_column *metrics; // the catalogue: the first columns of REPORT_LAYERS, [n_metrics]
    int samples, n_metrics, n_cells;     // n_cells: sets of scales in the file
    long long tokens;
    struct report_group groups[REPORT_GROUPS]; // of the metrics, for a layer in detail
    bool has_outputs;                          // outputs of layers are stored
    int n_compared;                            // runs that are not the reference
    struct report_run *runs;                   // all that are compared, the reference's too
    int n_runs;
    struct report_section sections[REPORT_SECTIONS];
    struct report_block *memory; // opaque; holds everything above
};

// What a report is made from; borrowed until report_clear().
struct measurements {
    struct result *result;
    const struct comparison *comparison;
    const struct sweep_report *sweep; // zeroed: no intervals
    bool every_layer;                 // in the ranking; else the first and the last of many
};

// Local: for one rank.  STATUS_IO: memory is out.  Freed by report_clear().
enum status report_build(struct report *report, const struct measurements *from, struct error *err);
void report_clear(struct report *report); // a zeroed one is fine

// Place of a column; -1: no such key.
int report_column(const struct report_table *table, const char *key);

#endif
