// SPDX-License-Identifier: Apache-2.0
// config.json of a Mamba-1 model, in the Hugging Face layout (hidden_size, ...) or the original one (d_model,
// ...).
#ifndef SSMSWEEP_INPUT_CONFIG_H
#define SSMSWEEP_INPUT_CONFIG_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/model.h"

struct config {
    struct dims dims;
    enum model_kind kind;
    bool tied; // lm_head is the embedding
};

// Local.  STATUS_INPUT: not JSON, key missing or out of range, or an architecture that is not Mamba-1
// (named).
enum status config_read(struct config *config, const char *path, struct error *err);

#endif
