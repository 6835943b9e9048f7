// SPDX-License-Identifier: Apache-2.0
// The files of a report.  Equal results give equal bytes, but for the line of the time stamp.
//
//   COMPARISON_DIR/mode_<m>_vs_<ref>.json   one for each compared mode (the reference itself has none)
//   COMPARISON_DIR/summary.json             all modes
//   COMPARISON_DIR/sweep.json, sweep.csv    the statistics (docs/schema/sweep.schema.json), without time or
//                                           place
//   COMPARISON_DIR/calibration.json         how the scales differ, where there are several sets
//   OUTPUT_DIR/mode_<m>_stats.json          one for each mode, the reference among them
// Where the result file holds several calib_data_num, quantized modes have them in the name:
// mode_<m>_n<N>_vs_<ref>.json.
#ifndef SSMSWEEP_REPORT_REPORT_WRITE_H
#define SSMSWEEP_REPORT_REPORT_WRITE_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/render.h"
#include "ssmsweep/report/report.h"

// Where to; folders are made if they do not exist.
struct report_files {
    const char *comparison_dir;
    // NULL, or the file that takes the place of the one comparison if one mode is compared, else of
    // summary.json.
    const char *save_comparison;
    bool without_stats; // report->output_dir is somebody else's
};

// Local, all of them: for one rank.  Every file is written whole or not at all.  STATUS_IO names the file.
enum status report_write(const struct report *report, const struct report_files *files, struct error *err);
enum status report_write_stats(const struct report *report, struct error *err); // the stats files alone
enum status report_write_junit(const struct report *report, const char *path, struct error *err);
// The page with figures, as render_html().
enum status report_write_page(const struct html_part *parts, int n_parts, const char *path, const char *title,
                              struct error *err);

#endif
