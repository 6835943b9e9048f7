// SPDX-License-Identifier: Apache-2.0
// config.json of a Mamba-1 model.  A fact may stand under its name of the Hugging Face layout (hidden_size,
// ...), of the original one (d_model, ...), or in ssm_cfg, in any mixture.
#ifndef SSMSWEEP_ARCH_CONFIG_H
#define SSMSWEEP_ARCH_CONFIG_H

#include <stdbool.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/status.h"

// What embedding and lm_head of a checkpoint of codes are, as the configuration says.  4 bits of an lm_head:
// with INT8 or with FP16 activations; of an embedding PART_INT4_A16.
enum config_part { PART_UNSAID, PART_FLOAT, PART_INT8, PART_INT4_A8, PART_INT4_A16 };
enum { CONFIG_MOST_LAYERS = 1024 };

struct config {
    struct dims dims;
    enum model_kind kind;
    unsigned char layer_kinds[CONFIG_MOST_LAYERS]; // enum model_kind of MODEL_W4AX, of so many layers
    int listed;
    enum config_part embedding, lm_head;
    bool tied;            // lm_head is the embedding, or may be
    const char *tied_key; // the key that says so; NULL: none does
};

// Local.  STATUS_INPUT: not JSON, key missing or out of range, or an architecture that is not Mamba-1
// (named).  Names of one fact that contradict each other are noted: the one named first above is taken.
enum status config_read(struct config *config, const char *path, struct notes *notes, struct error *err);

#endif
