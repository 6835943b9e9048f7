// SPDX-License-Identifier: Apache-2.0
// What the renderers of JSON share.
#ifndef SSMSWEEP_REPORT_RENDER_PARTS_H
#define SSMSWEEP_REPORT_RENDER_PARTS_H

#include "ssmsweep/base/json.h"
#include "ssmsweep/report/report.h"

// Into an open object: calib_data_num, null without scales (or NULL for `cell`), and where it is not 0,
// order.
void render_json_cell(struct json_writer *writer, const struct cell *cell);
// "complete"; where it is false also "incomplete_runs".
void render_json_coverage(struct json_writer *writer, const struct report *report);
// The object "provenance"; of a run, or NULL.
void render_json_provenance(struct json_writer *writer, const struct report *report,
                            const struct report_run *run);

#endif
