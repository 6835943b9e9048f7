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
#include <time.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/findings.h"
#include "ssmsweep/report/gate.h"
#include "ssmsweep/report/sweep_file.h"
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
    REPORT_RERUN = 512,        // there are re-runs of it: noise is known
    REPORT_SURE = 1024,        // a change that is significant, corrected for the number of tests
    REPORT_ABSENT = 128,       // not measured, or means nothing here: programs get no such key
};
// The sign behind a number: '#' for REPORT_APART, else '~' for REPORT_NOISE, '*' for REPORT_SURE, else ' '.
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

struct report_ranges {
    const char **items;
    int count;
};

// One run of the result file.
struct report_run {
    const char *mode;
    const char *name;    // for people: MODE, or "MODE (n=16)" where the file has several sets of scales
    const char *stem;    // how the names of its files begin: "mode_MODE", "mode_MODE_n16"
    const char *summary; // what the mode is, one line; NULL: unknown
    struct cell cell;    // its scales; zeroed: a float mode
    bool is_reference;
    // Where it is compared: it and its reference are there in all samples; else how many samples
    // both have, and which of the run are not there, as ranges, "4" or "4-7".
    bool complete;
    int samples_compared;
    struct report_ranges missing, failed;
};

enum { REPORT_NO_LAYER = -1 };

struct report_row {
    const struct report_run *run; // NULL: a row of several runs, such as "noise"
    const char *name;             // of the row, for people
    int layer;                    // of the model, or REPORT_NO_LAYER
    const char *component;        // its name; NULL: none
    bool main;                    // this component stands for its layer
    const char *note;             // a line under the table; NULL: none
    struct report_cell *cells;    // [count], of the first columns; NULL: report_row() makes them
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
    struct layer_source *source; // of the model: where the cells of REPORT_LAYERS come from
};
// Local.  A row with its cells, which are good until the next call for the same table.
struct report_row report_row(const struct report_table *table, int row);

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
    REPORT_LAYERS,   // data: a table for each run (the reference's too), a row per (layer, component), the
                     // metrics of the catalogue and then "elements", "fp_nonfinite", "mode_nonfinite",
                     // "mode_abs_mean", "worst_grade"; averages of mse, mae, relative_mae and correlation
    REPORT_SUMMARY,  // a row per run: "first_layer.M", "last_layer.M" (M: layer, component, mse, mae,
                     // relative_mae, correlation), "layers", "avg_mse", "avg_mae", "avg_correlation",
                     // "worst_grade"
    REPORT_BY_LAYER, // where layers or components were asked for and several modes are compared: a table for
                     // each component, a row per layer and their average, a column per run: MSE
    REPORT_RANKING,  // a row per mode: its places and interval at each layer shown; neighbours as notes
    REPORT_TRENDS,   // a row per calib_data_num, a column per mode: the error of the last layer
    REPORT_ORDERS,   // a row per mode: the range of that error over orders of the calibration samples
    REPORT_PREDICTIONS, // a row per mode: perplexity and its kin

    // For pages with figures (measurements.figures).
    REPORT_ANSWER,    // notes alone: what the numbers say
    REPORT_ABOUT,     // a row per fact: name, "value"
    REPORT_SERIES,    // data: a table for each run but the reference's, a row per (layer, component) of the
                      // model: the metrics with intervals, then "elements"
    REPORT_POSITIONS, // data: as REPORT_SERIES; a column per bucket of token positions: MSE
    REPORT_BINS,    // data: as REPORT_SERIES, of main rows: "p50" ... as low and high, then a column per bin
                    // of |difference|, with its low and high bound as key: elements
    REPORT_SAMPLES, // data: a row per sample, worst first: "tokens", then MSE at the last layer in each run
    REPORT_PLACES,  // data: a row per (main row, metric by which modes are ranked), whose name is the
                    // metric's key; a column per mode
    REPORT_PAIRS,   // data: a row per (main row, pair of modes), by MSE: "first", "second", "change",
                    // "p_adjusted", "better", "samples_needed"; of predictions without layer
    REPORT_SCALES,  // data: a table for each set of scales, a row per layer, a column per site

    // What other commands found (measurements.findings).
    REPORT_ATTRIBUTION,   // a row per piece, those that cost most
    REPORT_PIECES,        // data: a row per piece, by place; its name is the unit, or "all"
    REPORT_AMPLIFICATION, // a row per layer: its error in the model, by itself, their quotient
    REPORT_BISECT,        // a row per run of a bisection
    REPORT_MIX,           // mixes and what they are compared with, a row each; then a row per round
    REPORT_UNITS,         // a row per unit of a layer, those with the largest error
    REPORT_UNIT_VALUES,   // data: a row per unit of a layer
    REPORT_SECTIONS
};

// Notes hold legends of marks that stand in the section's tables; a renderer that shows part of the columns
// leaves out those of marks that it did not show.
struct report_section {
    struct report_table *tables;
    int n_tables;
    struct report_notes notes; // below the tables, in order
};

// ---- series: every number of the statistics, for programs and figures ----
// They are made when asked for: kept, they would take as much memory as what they are made from.

// By token: the error of tokens first..last of all samples.
struct report_position {
    int first_token, last_token; // last_token -1: to the end
    double elements, mse, mae;
};

// A (run, layer, component), or the predictions of a run, over the samples that all runs share.
struct report_entry {
    const struct report_run *run;
    int layer;                           // REPORT_NO_LAYER: the predictions of the whole model
    const char *component;               // NULL: of predictions
    double elements;                     // or predictions
    double fp_nonfinite, mode_nonfinite; // NaN or Inf among them
    double largest;                      // |difference|, or KL
    double top1_correct;                 // share of the predictions that are the text's token
    const struct report_column *metrics; // [n_metrics]
    int n_metrics;
    struct report_cell cells[METRIC_INTERVALS]; // value, interval, noise, apart, marks
    const double (*percentiles)[2]; // low and high bound of |difference|, or KL, at statistics->percentiles
    struct report_position positions[PROFILE_POSITIONS]; // without those of no token; none of predictions
    int n_positions;
};

// The modes of one set of scales at a layer and component (or their predictions) by one metric.
struct report_place {
    const struct report_run *run;
    int best, worst;             // 0: unknown
    uint64_t tied, equal, noise; // bit i: places[i] cannot be told from it, is equal to it in every sample,
                                 // or differs by noise alone
};
struct report_ranking {
    const struct report_run *cell; // a run of the set of scales; NULL: float modes alone
    int layer;                     // REPORT_NO_LAYER: of predictions
    const char *component, *metric;
    const char *change; // what a pair's change is: "ratio", "difference", "atanh_difference", "odds_ratio"
    struct report_place places[BOOTSTRAP_MAX_RUNS];
    int n_places;
    // For the functions below.
    const struct report *report;
    const struct sweep_family *family;
    int unit, k;
};
struct report_pair {
    const struct report_run *first, *second;
    double change, low, high; // of first to second
    enum interval_state state;
    const char *better;   // "first", "second", "tie", "equal", "unknown"
    double p, p_adjusted; // adjusted for all pairs of the ranking
    bool is_noise;
    bool is_tie;   // then `needed` says how many samples would tell the two apart
    double needed; // NaN: unknown; infinite: beyond reach
};

// A mode under growing calib_data_num.
struct report_point {
    const struct report_run *run;
    struct report_cell cell; // REPORT_NOISE: no more than noise divides it from the point before
};
struct report_trend {
    int layer;
    const char *component, *metric;
    struct report_point points[BOOTSTRAP_MAX_RUNS];
    int n_points;
    int settles;          // the point from which on nothing is better; -1: unknown, or the last
    bool still_improving; // the last step still was better
    bool knows_noise;     // there are re-runs of every point
};

// A mode under several orders of the calibration samples.
struct report_order {
    const struct report_run *run; // under the first of them
    int layer;
    const char *component, *metric;
    int orders;
    double least, most;
    bool within_noise;
};

// How sure it all is.
struct report_statistics {
    int samples; // that all runs share
    long long tokens;
    int resamples, noisy_reruns; // noisy_reruns: of each mode that has some
    uint64_t seed;
    const double *percentiles; // 50 ... 99.9
    int n_percentiles;
    bool knows_noise; // there are re-runs
    int n_entries, n_rankings, n_trends, n_orders;
    // For the functions below.
    const struct report_column *of_outputs, *of_predictions;
    struct report_ranked *ranked;
    int n_ranked, *ordered;
};

// Local.  Number `index` of a report that has statistics: entries by run, then layer and component, then the
// run's predictions; rankings by set of scales; trends by mode.
struct report;
void report_entry(const struct report *report, int index, struct report_entry *entry);
void report_ranking(const struct report *report, int index, struct report_ranking *ranking);
struct report_pair report_pair(const struct report_ranking *ranking, int first, int second); // first < second
void report_trend(const struct report *report, int index, struct report_trend *trend);
void report_order(const struct report *report, int index, struct report_order *order);

// ---- the whole ----

// One thing said of where a result comes from: words, a number, or neither (null).
struct report_fact {
    const char *key, *text;
    double number;
    bool is_number;
};

// A run of a sweep that did not end, noisy re-runs too.
struct report_incomplete {
    const char *mode;
    int noise; // number of the re-run; 0: none
    struct cell cell;
    int samples_done, n_failed;
    struct report_ranges missing, failed;
};

// How the scales of the cells differ, over the layers, in parts of those of the most calibration samples.
struct report_site {
    const char *name, *heading[2]; // heading: two lines
    const char *observer;          // NULL: unknown
};
struct report_extent {
    double min, median, max;
};
struct report_cell_scales {
    struct cell cell;
    bool first;                   // of the orders of its samples: the others differ little
    struct report_extent *ratio;  // [n_sites]
    struct report_extent *spread; // [n_sites] largest minus smallest scale over the orders of this cell, in
                                  // parts of that of the first; NULL: one order, or not the first
};
struct report_scales {
    const char *title, *note;    // note: what `spread` is; NULL: there is none
    const char *calibration_ids; // SHA-256
    double percentile_alpha;
    int n_layer, n_sites, n_cells, orders;
    int most; // calibration samples of the cell that the others are compared with
    struct report_site *sites;
    struct report_cell_scales *cells;
};

enum { REPORT_GROUPS = 6 };
struct report_group {
    const char *title;
    int *columns, count; // of REPORT_LAYERS
};

struct report {
    const char *title;                   // of findings alone; NULL: its modes against the reference
    const char *reference;               // mode
    const char *reference_weights;       // " (dequantized INT8 weights)", " (float model 1a2b3c4d)" or ""
    const struct report_column *metrics; // the catalogue: the first columns of REPORT_LAYERS, [n_metrics]
    int samples, n_metrics, n_cells;     // n_cells: sets of scales in the file
    int most_tokens;                     // of a sample
    long long tokens;
    struct report_group groups[REPORT_GROUPS]; // of the metrics, for a layer in detail
    struct report_group graded;                // those that have grades
    bool has_outputs;                          // outputs of layers are stored as they were computed
    bool has_layers;                           // outputs of chosen layers are stored, maybe as halves
    bool chosen;                               // layers or components were asked for
    int n_compared;                            // runs that are not the reference
    struct report_run *runs;                   // all of the result file
    int n_runs;
    struct report_section sections[REPORT_SECTIONS];
    const struct report_statistics *statistics; // NULL: none were made
    const struct report_scales *scales;         // NULL: one set of scales, or not from a calibration
    const struct checks *checks;                // of gates and baseline; NULL until they are judged
    const char *timestamp;                      // UTC, ISO 8601
    const char *output_dir;
    struct report_fact *provenance, *evaluation;  // of the result; of the text that modes are compared on
    int n_provenance, n_evaluation, n_attributes; // n_attributes: provenance of the file, then of its job
    struct report_fact *recipes; // of modes that recipe files define: name and canonical text
    int n_recipes;
    bool complete; // every run of the sweep ended
    struct report_incomplete *incomplete;
    int n_incomplete;
    const struct measurements *from; // what cells and series are made of
    struct report_block *memory;     // opaque; holds everything above
};

// What a report is made from; borrowed, this struct too, until report_clear().
struct measurements {
    struct result *result;
    const struct comparison *comparison;
    const struct sweep_report *sweep; // zeroed, or NULL: no intervals
    const struct sweep_file *file;    // in place of the three: then only sections of the statistics are made
    const struct findings *findings;  // of the same model, or alone: then only their sections; NULL: none
    bool every_layer;                 // in the ranking; else the first and the last of many
    bool figures;                     // sections for figures as well
    const char *output_dir;
    time_t time;
};

// Local: for one rank.  In caller memory, where it must stay: the model points into itself.  STATUS_IO:
// memory is out; STATUS_INPUT: the scales in the result file are torn.  Freed by report_clear().
enum status report_build(struct report *report, const struct measurements *from, struct error *err);
void report_clear(struct report *report); // a zeroed one is fine

// Local.  What the sections for figures and a page of them take, about: of reports of that size, with so many
// components of a layer and tokens of a sample.
size_t report_figures_bytes(const struct sweep_report_size *size, int components, int max_tokens);

// Place of a column; -1: no such key.
int report_column(const struct report_table *table, const char *key);
// A fact of the provenance; NULL: no such key.
const struct report_fact *report_fact(const struct report *report, const char *key);

#endif
