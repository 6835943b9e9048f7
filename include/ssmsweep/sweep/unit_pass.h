// SPDX-License-Identifier: Apache-2.0
// What INT8 makes of each unit by itself: how its values lie on their grid in each layer, and what another
// scale would change in its own error.  The values are those of the FP32 pass: what the unit gets where all
// in front of it is exact.
//
// A place is an activation that has a scale, or a weight, of one layer.  Channels are the columns of an
// activation, the outputs of a weight.  code = clamp(rint(v / scale), -128, 127) for all of them.
#ifndef SSMSWEEP_SWEEP_UNIT_PASS_H
#define SSMSWEEP_SWEEP_UNIT_PASS_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"

// Scales whose error is told: the place's own; one for each channel, of its largest |v| in the calibration
// (of a weight in itself); one for each token; and what each observer makes of the calibration.
enum unit_scale {
    UNIT_SCALE_OWN,
    UNIT_SCALE_CHANNEL,
    UNIT_SCALE_TOKEN,
    UNIT_SCALE_OBSERVER, // + enum observer
    UNIT_SCALES = UNIT_SCALE_OBSERVER + OBSERVER_COUNT
};

enum { UNIT_CODES = 256 };

struct unit_place {
    const char *name; // of the unit, of a site where units have none
    int layer;
    bool weight;
    int channels;
    float scale;
    uint64_t values, clipped;   // all that are no NaN; those whose rint(v / scale) is outside [-128, 127]
    uint64_t codes[UNIT_CODES]; // how many values have code c, at c + 128
    double squares;             // sum of v²
    double errors[UNIT_SCALES]; // sums of (code · scale - v)²; NaN: a weight has no tokens and no observers
    float *largest;             // [channels] |v|, in memory of the pass
};

// In caller memory, zeroed before use; freed by unit_pass_clear().
struct unit_pass {
    struct unit_place *places; // by layer, activations in a token's way through it, then weights
    int count, samples, calibration_samples;
    long long tokens;
    const struct arch *arch;
    enum observer own[ARCH_MOST_SITES]; // observer of each site
    bool checkpoint;                    // scales are those of a W8A8 checkpoint
    float *largest;
    char digest_hex[72]; // of the weights
};

// Collective.  Model and texts of the job; two passes, one over the calibration's samples and one over those
// that are evaluated, divided among the ranks, or those of them that have a GPU.  Rank 0 gets the sums; the
// same bits for any ranks, threads and GPUs.  STATUS_STOPPED: a signal came.
enum status unit_pass_run(struct unit_pass *pass, const struct job *job, const struct comm *comm,
                          const struct log *log, struct stop *stop, struct error *err);
void unit_pass_clear(struct unit_pass *pass);

#endif
