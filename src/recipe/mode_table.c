// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/mode_table.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/recipe/mode.h"

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
