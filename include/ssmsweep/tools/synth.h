// SPDX-License-Identifier: Apache-2.0
// Random models of published shapes, to size a machine before anything is downloaded.
#ifndef SSMSWEEP_TOOLS_SYNTH_H
#define SSMSWEEP_TOOLS_SYNTH_H

#include "ssmsweep/base/status.h"

// In the order of the words of the options --preset and --dtype.
enum synth_preset {
    SYNTH_TINY,
    SYNTH_130M,
    SYNTH_370M,
    SYNTH_790M,
    SYNTH_1_4B,
    SYNTH_2_8B,
    SYNTH_MAMBA2_TINY,
    SYNTH_MAMBA2_130M,
    SYNTH_MAMBA2_370M,
    SYNTH_MAMBA2_780M,
    SYNTH_MAMBA2_1_3B,
    SYNTH_MAMBA2_2_7B,
    SYNTH_MAMBA2_8B,
    SYNTH_CODESTRAL_7B,
    SYNTH_PRESETS
};
enum synth_dtype { SYNTH_F16, SYNTH_BF16, SYNTH_F32 };

struct synth_request {
    enum synth_preset preset;
    enum synth_dtype dtype;
    unsigned seed;
    const char *out; // folder: new, or empty
    long long shard_bytes;
    int threads; // 0: as many as there are cores
};

struct synth_summary {
    long long parameters, weight_bytes;
    int files; // of weights
};

// Local.  Writes config.json, model.safetensors (or shards with an index) and calibration.npy, int32 [64,
// 512]. A few MiB of memory for any size.  The same preset, dtype and seed give the same tensors everywhere.
// STATUS_USAGE: folder missing from the request or not empty; STATUS_IO: no room on the disk, or writing
// failed: then the files are removed again.
enum status synth_write(const struct synth_request *request, struct synth_summary *summary,
                        struct error *err);

#endif
