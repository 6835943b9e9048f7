// SPDX-License-Identifier: Apache-2.0
// Between the sources of the sweep report.
#ifndef SSMSWEEP_REPORT_SWEEP_PARTS_H
#define SSMSWEEP_REPORT_SWEEP_PARTS_H

#include "ssmsweep/report/samples.h"
#include "ssmsweep/report/sweep_report.h"

struct sweep_measure; // opaque: the buffers of one rank

// Local.  uses[result_samples()] is borrowed.
enum status sweep_measure_open(struct sweep_measure **measure, const struct sweep_report *report,
                               struct samples *samples, const bool *uses, struct error *err);
void sweep_measure_close(struct sweep_measure *measure);
size_t sweep_measure_bytes(int runs, int most_runs, int samples, int replicates);

// Local.  Fills what the report holds of one unit.
enum status sweep_measure_unit(struct sweep_measure *measure, struct sweep_report *report, int unit,
                               struct error *err);

#endif
