// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/mode.h"

#include <stdio.h>
#include <string.h>

// docs/numerics.md, section 5.  To add a mode, add a row.
static const struct mode modes[] = {
    {.name = "fp32",
     .precision = PRECISION_FP32,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_FP_ONLY,
     .summary = "float reference: FP32 throughout"},
    {.name = "fp16",
     .precision = PRECISION_FP16,
     .sets = MODE_SET_FP_ONLY,
     .summary = "weights and activations rounded to FP16, sums, scan state and residual FP32"},
    {.name = "0",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_INT8,
     .scan_input = SCAN_IN_CODES,
     .scan_order = SCAN_BLOCKED,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "W8A8 baseline: INT8 into the scan, block scan"},
    {.name = "2-0",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_INT8,
     .scan_input = SCAN_IN_REQUANT,
     .scan_order = SCAN_BLOCKED,
     .sets = MODE_SET_QUANT_ONLY,
     .equals = "0",
     .summary = "conv1d output dequantized and quantized again, block scan"},
    {.name = "2-1",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_INT8,
     .scan_input = SCAN_IN_CODES,
     .scan_order = SCAN_SEQUENTIAL,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "INT8 into the scan, sequential scan"},
    {.name = "2-2",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_INT8,
     .scan_input = SCAN_IN_GRID,
     .scan_order = SCAN_SEQUENTIAL,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .equals = "2-1",
     .summary = "FP32 values on the INT8 grid into the scan, sequential scan"},
    {.name = "2-3",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_FP32,
     .scan_input = SCAN_IN_REQUANT,
     .scan_order = SCAN_SEQUENTIAL,
     .sets = MODE_SET_QUANT_ONLY,
     .summary = "FP32 conv1d output, quantized to INT8 in front of the scan"},
    {.name = "2-4",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_STATIC,
     .conv1d_output = CONV1D_OUT_FP32,
     .scan_input = SCAN_IN_FLOAT,
     .scan_order = SCAN_SEQUENTIAL,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "FP32 conv1d output straight into the scan"},
    {.name = "3",
     .precision = PRECISION_W8A8,
     .conv1d_input = CONV1D_IN_DYNAMIC,
     .conv1d_output = CONV1D_OUT_FP32,
     .scan_input = SCAN_IN_FLOAT,
     .scan_order = SCAN_SEQUENTIAL,
     .sets = MODE_SET_QUANT_ONLY,
     .summary = "conv1d input quantized per sample, FP32 conv1d output into the scan"},
};

enum { MODES = sizeof modes / sizeof modes[0] };

int mode_count(void)
{
    return MODES;
}

const struct mode *mode_at(int index)
{
    return &modes[index];
}

const struct mode *mode_find(const char *name)
{
    for (int i = 0; i < MODES; i++)
        if (strcmp(modes[i].name, name) == 0) return &modes[i];
    return NULL;
}

static unsigned set_bits(const char *word)
{
    static const struct {
        const char *name;
        unsigned bits;
    } sets[] = {{"all", MODE_SET_FP_ONLY | MODE_SET_QUANT_ONLY},
                {"essential", MODE_SET_ESSENTIAL},
                {"fp_only", MODE_SET_FP_ONLY},
                {"quant_only", MODE_SET_QUANT_ONLY}};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (strcmp(sets[i].name, word) == 0) return sets[i].bits;
    return 0;
}

static enum status unknown_mode(const char *word, struct error *err)
{
    char known[256] = "";
    for (int i = 0; i < MODES; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s, ", modes[i].name);
    }
    return error_set(err, STATUS_USAGE,
                     "unknown mode '%s': expected one of %sor all, essential, fp_only, quant_only", word,
                     known);
}

static enum status select_word(const char *word, bool *chosen, struct error *err)
{
    unsigned bits = set_bits(word);
    bool found = bits != 0;
    for (int i = 0; i < MODES; i++)
        if ((modes[i].sets & bits) || strcmp(modes[i].name, word) == 0) chosen[i] = found = true;
    return found ? STATUS_OK : unknown_mode(word, err);
}

enum status mode_select(const char *list, bool *chosen, struct error *err)
{
    memset(chosen, 0, MODES * sizeof *chosen);
    int words = 0;
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ", ");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)(length < 63 ? length : 63), at);
        if (length > 0 && words++ >= 0 && select_word(word, chosen, err)) return err->status;
        at += length + (at[length] != '\0');
    }
    return words ? STATUS_OK
                 : error_set(err, STATUS_USAGE, "--modes: the list is empty; name a mode, or all");
}

void mode_write_list(const bool *chosen, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < MODES && used < room; i++)
        if (chosen[i])
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? "," : "", modes[i].name);
}
