// SPDX-License-Identifier: Apache-2.0
// Layer outputs as the original tool kept them: a folder of NumPy arrays.
//
//   mode_<m>_layer_<l>.npy              float32 [tokens, width]: mixer_output (or the only component); valid
//                                       tokens of all samples, one after the other
//   mode_<m>_layer_<l>_<component>.npy  the same of further components
//   mode_<m>_stats.json                 as beside a result file
//   export.json                         provenance, and the length of each sample
// Where there are several calib_data_num, quantized modes are mode_<m>_n<N>, as in reports.
#ifndef SSMSWEEP_TOOLS_NPY_FILES_H
#define SSMSWEEP_TOOLS_NPY_FILES_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/report/report.h"
#include "ssmsweep/store/store.h"

// Local: for one rank.  Writes every run of the comparison, of which the report is, into report->output_dir,
// which is made.  Each file is written whole or not at all; memory is that of one sample.
enum status npy_export(const struct report *report, const struct comparison *comparison,
                       struct result *result, struct error *err);

// Collective.  Makes a result file from a folder.  Without export.json (files of the original tool) arrays
// are [samples, tokens, width], or [rows, width] of the samples of equal length that a stats file tells.
// float32 or float64.  STATUS_INPUT names the file that is missing, torn, of an unknown mode or another size.
enum status npy_import(const struct comm *comm, const char *folder, const char *result_path,
                       const char *tool_version, struct error *err);

#endif
