// SPDX-License-Identifier: Apache-2.0
// Gates: limits that a comparison has to keep.  One per line (or divided by ';'), words divided by blanks,
// '#' starts a comment:
//
//   mode=2-4 layer=last correlation>=0.99 mse<1e-3
//
// Selectors: mode= (as in --modes), layer= (list of numbers, ranges, first, last, all: of the layers
// compared), component= (list or all; without it the one that stands for a layer), calib_data_num=.  Without
// one: everything but the reference.  Of an attribution: piece= (a unit, or all: of all units) and layer=.
// Each item of a list has to match something that is compared.  Limits: METRIC and <, <=, > or >=, then a
// number.
#ifndef SSMSWEEP_REPORT_GATE_H
#define SSMSWEEP_REPORT_GATE_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/compare.h"

// ---- what gates and baselines found: checks, each good or with one line that says why not ----

struct check {
    const char *kind; // "gate" or "baseline"
    bool good;
    char name[200];
    char text[400]; // empty where good
};

// In caller memory, zeroed before use; freed by checks_clear().
struct checks {
    struct check *items;
    int count, room;
};

enum status checks_add(struct checks *checks, const struct check *check, struct error *err);
int checks_broken(const struct checks *checks);
void checks_clear(struct checks *checks);

// ---- gates ----

enum { GATE_LIMITS = 16 };

struct gate_limit {
    int metric;
    bool above, or_equal; // value > limit, value >= limit; else <, <=
    double limit;
};

struct gate {
    char text[160];
    bool any_mode;
    char modes[160];      // a list as --modes has it
    char layers[96];      // empty: all
    char components[160]; // a list; empty: the one that stands for a layer
    char piece[64];       // a unit, or "all"; empty: the mode as a whole
    bool on_pieces;       // as in struct gates
    int calib_data_num;   // 0: any
    struct gate_limit limits[GATE_LIMITS];
    int n_limits;
};

// In caller memory, zeroed before use; freed by gates_clear().
struct gates {
    struct gate *items;
    int count;
    bool on_pieces; // of an attribution; set before they are read
};

// Local.  Adds the gates of a text; `where` starts messages.  STATUS_USAGE: unknown metric, mode or selector.
enum status gates_parse(struct gates *gates, const char *text, const char *where, struct error *err);
enum status gates_read_file(struct gates *gates, const char *path, struct error *err);
void gates_clear(struct gates *gates);

// Local.  STATUS_USAGE: a gate on what outputs alone tell, or layers by themselves (enum metric_needs), where
// there are none.
enum status gates_check_needs(const struct gates *gates, bool outputs, bool isolated, struct error *err);
// Local.  STATUS_USAGE: a gate names a mode that is not among swept[mode_count()], or is the reference.
enum status gates_check_modes(const struct gates *gates, const bool *swept, const char *reference,
                              struct error *err);
// Local.  One check per gate.  STATUS_USAGE: a gate, or one item of its selectors, applies to nothing of the
// comparison.
enum status gates_check(const struct gates *gates, const struct comparison *comparison,
                        const struct result *result, struct checks *checks, struct error *err);

// Local.  Does a gate's layer= list have the layer, of those from first to last?
bool gate_wants_layer(const struct gate *gate, int layer, int first, int last);
bool gate_value_kept(const struct gate_limit *limit, double value);

// A value keeps a limit; NaN keeps none, but for the correlation of outputs that are equal.
bool gate_limit_kept(const struct gate_limit *limit, const struct record *record);

#endif
