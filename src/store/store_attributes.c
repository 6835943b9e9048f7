// SPDX-License-Identifier: Apache-2.0
// What a result file says of the model, the text and the job it is from.
#include <stdlib.h>
#include <string.h>

#include "store_check.h"
#include "store_result.h"

static const char *const names[RESULT_ATTRIBUTES] = {"tool_version",      "job",
                                                     "weights_digest",    "tokenizer_sha256",
                                                     "ids_sha256",        "reference_mode",
                                                     "model_dtype",       "scales_source",
                                                     "reference_weights", "model_config",
                                                     "numerics_version",  "calibration_ids_sha256",
                                                     "evaluation_text"};

enum status store_read_attributes(struct result *result, struct error *err)
{
    for (int a = 0; a < RESULT_ATTRIBUTES; a++) {
        result->attributes[a] = store_read_text(&result->file, names[a]);
        if (!result->attributes[a]) return error_memory(err, 1, "an attribute");
    }
    return STATUS_OK;
}

void store_free_attributes(struct result *result)
{
    for (int a = 0; a < RESULT_ATTRIBUTES; a++)
        free(result->attributes[a]);
}

const char *result_attribute_name(int index)
{
    return index < RESULT_ATTRIBUTES ? names[index] : NULL;
}

const char *result_attribute(const struct result *result, const char *name)
{
    for (int a = 0; a < RESULT_ATTRIBUTES; a++)
        if (strcmp(names[a], name) == 0) return result->attributes[a];
    return "";
}
