// SPDX-License-Identifier: Apache-2.0
// What every number of a report comes from: sums of each sample by itself, of (reference, run) pairs.  They
// are read from the metrics of the result file; where it has none (imported arrays), or those of another
// reference, they are made from the stored outputs, with the same bits.
#ifndef SSMSWEEP_REPORT_SAMPLES_H
#define SSMSWEEP_REPORT_SAMPLES_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/store/store.h"

struct samples; // opaque

// Local.  result, reference (a mode of it) and stop (may be NULL) are borrowed.
enum status samples_open(struct samples **samples, struct result *result, const char *reference,
                         struct stop *stop, struct error *err);
void samples_close(struct samples *samples);

// Layers of which there are sums, ascending: of the whole model, or those whose outputs are stored; and the
// components of each that the sweep's --components asked for (a mask).
int samples_layers(const struct samples *samples);
int samples_layer_at(const struct samples *samples, int index);
unsigned samples_components(const struct samples *samples, int index);
// Local.  Leaves these layers and components alone, as --layers and --components list them; NULL: those that
// are there (captured: of which outputs are stored, where there are some).  The metrics have any of the
// model. STATUS_USAGE: the model has no such layer or component; STATUS_INPUT: the file lacks it.
enum status samples_choose(struct samples *samples, const char *layers, const char *components, bool captured,
                           struct error *err);
// Are outputs of all of them stored, as they were computed?
bool samples_are_stored(const struct samples *samples);

// rows[result_samples()]: cleared where uses[sample] is false; what is used must be done in both runs.
// *total: the profile of those that are used; may be NULL.  STATUS_STOPPED: a signal came, and the time of
// grace is over.
enum status samples_read(struct samples *samples, int run, int layer, int component, const bool *uses,
                         struct accumulator *rows, struct profile *total, struct error *err);

// The same, and unless it is NULL the record over all samples that are used.
enum status samples_measure(struct samples *samples, int run, int layer, int component, const bool *uses,
                            struct accumulator *rows, struct profile *total, struct record *record,
                            struct error *err);

// Are there errors of layers by themselves (report/isolated.h)?
bool samples_have_isolated(const struct samples *samples);
enum status samples_read_isolated(struct samples *samples, int run, int layer, int component,
                                  struct accumulator *rows, struct error *err); // rows[result_samples()]

// Noisy re-runs can be read as other runs can, and against the runs that they repeat.
bool samples_have_reruns(const struct samples *samples);
enum status samples_read_apart(struct samples *samples, int run, int layer, int component,
                               struct accumulator *rows, struct error *err); // rows[result_samples()]

// The predictions of the whole model; rows[range.count].
bool samples_has_end_of_model(const struct samples *samples);
enum status samples_read_end_of_model(struct samples *samples, int run, struct sample_range range,
                                      struct end_of_model *rows, struct error *err);
enum status samples_read_end_apart(struct samples *samples, int run, struct sample_range range,
                                   struct end_of_model *rows, struct error *err); // of a re-run

#endif
