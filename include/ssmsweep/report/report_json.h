// SPDX-License-Identifier: Apache-2.0
// The JSON reports of a comparison.  Equal inputs give equal bytes, but for the line of the timestamp.
//
//   COMPARISON_DIR/mode_<m>_vs_<ref>.json   one per compared mode (the reference itself has none)
//   COMPARISON_DIR/summary.json             all modes
//   OUTPUT_DIR/mode_<m>_stats.json          one per mode, the reference among them
// Where the result file holds several calib_data_num, quantized modes have them in the name:
// mode_<m>_n<N>_vs_<ref>.json.
#ifndef SSMSWEEP_REPORT_REPORT_JSON_H
#define SSMSWEEP_REPORT_REPORT_JSON_H

#include <stdio.h>
#include <time.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/report/compare.h"

struct report_files {
    const struct result *result;
    const struct comparison *comparison;
    const char *output_dir, *comparison_dir; // made if they do not exist
    // NULL, or the file that takes the place of the one comparison if one mode is compared, else of
    // summary.json.
    const char *save_comparison;
    bool without_stats; // output_dir is somebody else's
    time_t time;        // printed in UTC
};

// Local: for one rank.  Every file is written whole or not at all.  STATUS_IO names the file.
enum status report_write(const struct report_files *report, struct error *err);
// Local.  The stats files alone.
enum status report_write_stats(const struct report_files *report, struct error *err);

// Local.  The object "provenance" of what is not of one run.
void report_put_provenance(struct json_writer *writer, const struct result *result);

// "mode_<m>" or "mode_<m>_n<N>": how the names of a run's files begin.
enum { REPORT_STEM_CHARS = 64 };
void report_stem(const struct report_files *report, int run, char stem[REPORT_STEM_CHARS]);

// Local.  One object with the content of all comparisons: "reference_mode", "comparisons" (array).
enum status report_print(FILE *out, const struct report_files *report, struct error *err);

int report_count_compared(const struct report_files *report); // runs that are not the reference

#endif
