// SPDX-License-Identifier: Apache-2.0
// What a bench run found: one row per measurement, printed as it comes and kept for the JSON file.
#ifndef SSMSWEEP_TOOLS_BENCH_ROWS_H
#define SSMSWEEP_TOOLS_BENCH_ROWS_H

#include <stdbool.h>

#include "measure.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"

enum { ROW_NAME_CHARS = 40 };

struct row {
    const char *group; // machine, gemm_f32, ...
    char name[ROW_NAME_CHARS];
    int threads;
    double seconds, median_seconds; // best and median of `runs` runs
    int runs;
    double rate; // work per second of the best run, in `unit`
    const char *unit;
    double bound_seconds; // the least time by what was measured beside it; 0: nothing to compare with
};

struct row_list {
    struct row *items;
    int count, room;
    bool print; // on stdout, as they come
};

// Units are given with the factor from work to unit: {"GFLOP/s", 1e-9}.
struct unit {
    const char *name;
    double factor;
};

// Adds a row from a measured load.
enum status rows_add(struct row_list *rows, const char *group, const char *name, int threads,
                     const struct load *load, struct unit unit, double bound_seconds, struct error *err);
void rows_title(const struct row_list *rows, const char *title);
void rows_put_json(const struct row_list *rows, struct json_writer *writer);
void rows_clear(struct row_list *rows);

#endif
