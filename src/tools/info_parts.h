// SPDX-License-Identifier: Apache-2.0
// The parts of `ssmsweep info`.
#ifndef SSMSWEEP_TOOLS_INFO_PARTS_H
#define SSMSWEEP_TOOLS_INFO_PARTS_H

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/tools/info.h"

// What is worked out about a model.
struct model_facts {
    const struct model *model;
    long long parameters;            // each once: a tied lm_head is the embedding
    long long elements[DTYPE_COUNT]; // of the checkpoint's tensors
    bool tied;
    unsigned long long fp32_bytes, fp16_bytes, w8a8_bytes, lm_head_bytes,
        workspace_bytes;   // in memory, packed
    double flop_per_token; // multiplications and additions; exp and such count as one
    int tokens, threads;
    double fp32_seconds, w8a8_seconds; // of a sample, measured on one layer
};

enum status model_facts_find(struct model_facts *facts, const struct model *model, int tokens, int threads,
                             struct error *err);
void model_facts_print(FILE *out, const struct model_facts *facts);
void model_facts_put(struct json_writer *w, const struct model_facts *facts);

// Closes the writer and prints it.
enum status info_finish_json(FILE *out, struct json_writer *w, struct error *err);

enum status info_print_result(FILE *out, const char *path, bool json, struct error *err);

#endif
