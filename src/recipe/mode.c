// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/mode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"

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

// ---- mode table ----

// ---- the steps of a layer, in their order ----

static const char *float_name(const struct mode *mode)
{
    return mode->precision == PRECISION_FP16 ? "FP16" : "FP32";
}

static const char *weights(const struct mode *mode)
{
    return mode_is_float(mode) ? float_name(mode) : "INT8";
}

static const char *in_proj_input(const struct mode *mode)
{
    return mode_is_float(mode) ? float_name(mode) : "rotated INT8";
}

static const char *conv1d_input(const struct mode *mode)
{
    if (mode_is_float(mode)) return float_name(mode);
    return mode->conv1d_input == CONV1D_IN_STATIC ? "INT8 static" : "INT8 per sample";
}

static const char *conv1d_output(const struct mode *mode)
{
    if (mode_is_float(mode)) return float_name(mode);
    return mode->conv1d_output == CONV1D_OUT_INT8 ? "INT8" : "FP32";
}

static const char *x_proj_input(const struct mode *mode)
{
    if (mode_is_float(mode)) return float_name(mode);
    return mode->conv1d_output == CONV1D_OUT_INT8 ? "same codes" : "requantized";
}

static const char *scan_input(const struct mode *mode)
{
    static const char *const texts[] = {
        [SCAN_IN_CODES] = "INT8 codes",
        [SCAN_IN_REQUANT] = "INT8 requantized",
        [SCAN_IN_GRID] = "FP32 on INT8 grid",
        [SCAN_IN_FLOAT] = "FP32",
    };
    return mode_is_float(mode) ? float_name(mode) : texts[mode->scan_input];
}

static const char *scan_order(const struct mode *mode)
{
    return mode->scan_order == SCAN_BLOCKED ? "blocked" : "sequential";
}

static const char *out_proj_input(const struct mode *mode)
{
    return mode_is_float(mode) ? float_name(mode) : "rotated INT8";
}

static const struct step {
    const char *key; // of JSON
    const char *title;
    const char *(*text)(const struct mode *mode);
} steps[] = {
    {"weights", "weights", weights},
    {"in_proj_input", "in_proj gets", in_proj_input},
    {"conv1d_input", "conv1d gets", conv1d_input},
    {"conv1d_output", "gives", conv1d_output},
    {"x_proj_input", "x_proj gets", x_proj_input},
    {"scan_input", "scan gets", scan_input},
    {"scan_order", "scan", scan_order},
    {"out_proj_input", "out_proj gets", out_proj_input},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

// ---- for people ----

static int column_width(const struct step *step)
{
    size_t width = strlen(step->title);
    for (int m = 0; m < mode_count(); m++) {
        size_t length = strlen(step->text(mode_at(m)));
        width = length > width ? length : width;
    }
    return (int)width;
}

static void print_row(FILE *out, const struct mode *mode)
{
    fprintf(out, "%-5s", mode ? mode->name : "mode");
    for (int s = 0; s < STEPS; s++) {
        bool last = s + 1 == STEPS; // no blanks at the end of a line
        fprintf(out, "  %-*s", last ? 0 : column_width(&steps[s]),
                mode ? steps[s].text(mode) : steps[s].title);
    }
    fputc('\n', out);
}

static void print_table(FILE *out)
{
    print_row(out, NULL);
    for (int m = 0; m < mode_count(); m++)
        print_row(out, mode_at(m));
    fputc('\n', out);
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        fprintf(out, "  %-5s %s", mode->name, mode->summary);
        if (mode->equals) fprintf(out, " (same results as %s)", mode->equals);
        fputc('\n', out);
    }
}

// ---- for programs ----

static void put_sets(struct json_writer *w, const struct mode *mode)
{
    static const struct {
        unsigned bit;
        const char *name;
    } sets[] = {{MODE_SET_ESSENTIAL, "essential"},
                {MODE_SET_FP_ONLY, "fp_only"},
                {MODE_SET_QUANT_ONLY, "quant_only"}};
    json_begin_array(w, "sets");
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (mode->sets & sets[i].bit) json_put_string(w, NULL, sets[i].name);
    json_end_array(w);
}

static void put_mode(struct json_writer *w, const struct mode *mode)
{
    json_begin_object(w, NULL);
    json_put_string(w, "name", mode->name);
    json_put_string(w, "summary", mode->summary);
    json_put_bool(w, "float", mode_is_float(mode));
    put_sets(w, mode);
    json_begin_object(w, "steps");
    for (int s = 0; s < STEPS; s++)
        json_put_string(w, steps[s].key, steps[s].text(mode));
    json_end_object(w);
    json_put_string(w, "equals", mode->equals);
    json_end_object(w);
}

enum status mode_table_print(FILE *out, bool json, struct error *err)
{
    if (!json) {
        print_table(out);
        return STATUS_OK;
    }
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, "the table of modes");
    json_begin_object(w, NULL);
    json_begin_array(w, "modes");
    for (int m = 0; m < mode_count(); m++)
        put_mode(w, mode_at(m));
    json_end_array(w);
    json_end_object(w);
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1, "the table of modes");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}
