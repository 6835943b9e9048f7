// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/mode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"

// Each is a part for all layers: what it changes of each unit's first format, which is mode 2-1.  What a
// family does not know of it is passed over: `blocked` is Mamba-1's, `chunked-gpu` Mamba-2's.
#define CHANGES(...)                                                                                         \
    .parts =                                                                                                 \
        &(const struct recipe_part){.choices = (const struct choice[]){__VA_ARGS__, {NULL, FORMAT_NONE}}},   \
    .n_parts = 1

// For w4a16: weights that are not in 4 bits, and what goes from step to step; then what is Mamba-2's alone,
// which has a norm behind its scan.
#define HALF_LAYER                                                                                           \
    {"weight:conv1d*", FORMAT_FP16}, {"weight:dt_proj", FORMAT_FP16}, {"weight:dt_bias", FORMAT_FLOAT},      \
        {"weight:A_log", FORMAT_FLOAT}, {"weight:D", FORMAT_FLOAT}, {"in_proj:input", FORMAT_FP16},          \
        {"conv1d:input", FORMAT_FP16}, {"gate:input", FORMAT_FP16}, {"conv1d:output", FORMAT_FP16},          \
        {"x_proj:input", FORMAT_FLOAT}, {"scan:u", FORMAT_FLOAT}, {"dt_proj:input", FORMAT_FP16},            \
        {"scan:B", FORMAT_FP16}, {"scan:C", FORMAT_FP16}, {"scan:dt", FORMAT_FP16},                          \
    {                                                                                                        \
        "out_proj:input", FORMAT_FP16                                                                        \
    }
#define HALF_HEADS                                                                                           \
    {                                                                                                        \
        .has = "norm:output", .choices = (const struct choice[])                                             \
        {                                                                                                    \
            {"weight:dt_bias", FORMAT_FP16}, {"weight:A_log", FORMAT_FP16}, {"weight:D", FORMAT_FP16},       \
            {                                                                                                \
                NULL, FORMAT_NONE                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }
#define HALF_CHANGES(...)                                                                                    \
    .parts =                                                                                                 \
        (const struct recipe_part[]){{.choices = (const struct choice[]){__VA_ARGS__, {NULL, FORMAT_NONE}}}, \
                                     HALF_HEADS},                                                            \
    .n_parts = 2

// docs/numerics.md, section 5.  To add a mode, add a row.
static const struct mode modes[] = {
    {.name = "fp32",
     .precision = PRECISION_FP32,
     CHANGES({"*", FORMAT_FLOAT}),
     .sets = MODE_SET_ESSENTIAL | MODE_SET_FP_ONLY,
     .summary = "float reference: FP32 throughout"},
    {.name = "fp16",
     .precision = PRECISION_FP16,
     CHANGES({"*", FORMAT_FLOAT}, {"*", FORMAT_FP16}),
     .sets = MODE_SET_FP_ONLY,
     .summary = "weights and activations rounded to FP16, sums, scan state and residual FP32"},
    {.name = "0",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"scan:order", FORMAT_BLOCKED}, {"scan:order", FORMAT_CHUNKED_GPU}),
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "W8A8 baseline: INT8 into the scan, block scan"},
    {.name = "2-0",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"scan:u", FORMAT_INT8}, {"scan:order", FORMAT_BLOCKED}, {"scan:order", FORMAT_CHUNKED_GPU}),
     .sets = MODE_SET_QUANT_ONLY,
     .equals = "0",
     .summary = "conv1d output dequantized and quantized again, block scan"},
    {.name = "2-1",
     .precision = PRECISION_BY_UNIT,
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "INT8 into the scan, sequential scan"},
    {.name = "2-2",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"scan:u", FORMAT_FLOAT}),
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .equals = "2-1",
     .summary = "FP32 values on the INT8 grid into the scan, sequential scan"},
    {.name = "2-3",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"conv1d:output", FORMAT_FLOAT}, {"scan:u", FORMAT_INT8}),
     .sets = MODE_SET_QUANT_ONLY,
     .summary = "FP32 conv1d output, quantized to INT8 in front of the scan"},
    {.name = "2-4",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"conv1d:output", FORMAT_FLOAT}, {"scan:u", FORMAT_FLOAT}),
     .sets = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "FP32 conv1d output straight into the scan"},
    {.name = "3",
     .precision = PRECISION_BY_UNIT,
     CHANGES({"conv1d:input", FORMAT_DYNAMIC}, {"conv1d:output", FORMAT_FLOAT}, {"scan:u", FORMAT_FLOAT}),
     .sets = MODE_SET_QUANT_ONLY,
     .summary = "conv1d input quantized per sample, FP32 conv1d output into the scan"},
    {.name = "0-fp32",
     .precision = PRECISION_BY_UNIT,
     .order = FORMAT_CHUNKED,
     CHANGES({"scan:order", FORMAT_CHUNKED}),
     .summary = "Mamba-2: mode 0 with the chunked scan in FP32; in no set"},
    {.name = "w4a16",
     .precision = PRECISION_BY_UNIT,
     .weights = FORMAT_INT4_G128,
     HALF_CHANGES(HALF_LAYER, {"scan:order", FORMAT_BLOCKED}, {"scan:order", FORMAT_CHUNKED_FP16}),
     .sets_of_half = MODE_SET_ESSENTIAL | MODE_SET_QUANT_ONLY,
     .summary = "4-bit weights, FP16 between the steps, block scan; in the sets of W4A16 checkpoints"},
    {.name = "w4a16-seq",
     .precision = PRECISION_BY_UNIT,
     .weights = FORMAT_INT4_G128,
     HALF_CHANGES(HALF_LAYER),
     .sets_of_half = MODE_SET_QUANT_ONLY,
     .summary = "4-bit weights, FP16 between the steps, sequential scan; in the sets of W4A16 checkpoints"},
};

enum { NAMED = sizeof modes / sizeof modes[0] };

// ---- formats of weights ----

static enum format weights_start = FORMAT_INT8;

void mode_set_weights(enum format format)
{
    weights_start = format;
}

enum format mode_weights(void)
{
    return weights_start;
}

// ---- layers without scales of activations ----

enum { MOST_LAYERS = 1024 };
static struct {
    unsigned char is[MOST_LAYERS];
    int count, halves;
} half_layers;

void mode_set_half_layers(const unsigned char *half, int n_layer)
{
    half_layers.count = half_layers.halves = 0;
    for (int l = 0; half && l < n_layer && l < MOST_LAYERS; l++) {
        half_layers.is[half_layers.count++] = half[l];
        half_layers.halves += half[l];
    }
}

bool mode_layer_is_half(int layer)
{
    return layer < half_layers.count && half_layers.is[layer];
}

bool mode_layers_are_mixed(void)
{
    return half_layers.halves > 0 && half_layers.halves < half_layers.count;
}

bool mode_layers_are_half(void)
{
    return half_layers.halves > 0 && half_layers.halves == half_layers.count;
}

const struct mode *mode_of_half_layers(void)
{
    return mode_find("w4a16");
}

// MODE@FORMAT and what it points to, in one piece.
struct variant {
    struct mode mode;
    char name[64], base[64], summary[160];
    struct variant *next;
};
static struct variant *variants;

static void forget_variants(void)
{
    while (variants) {
        struct variant *next = variants->next;
        free(variants);
        variants = next;
    }
    weights_start = FORMAT_INT8;
    mode_set_half_layers(NULL, 0);
}

// ---- added modes: before anything else asks for a mode, and never again ----

static struct {
    const struct mode **modes;
    int count, room;
} added;

enum status mode_add(const struct mode *mode, struct error *err)
{
    if (mode_find(mode->name))
        return error_set(err, STATUS_INPUT, "recipe '%s': a mode of this name is there; choose another name",
                         mode->name);
    if (added.count == added.room) {
        const int room = 2 * added.room + 8;
        const struct mode **more = realloc(added.modes, (size_t)room * sizeof *more);
        if (!more) return error_memory(err, (size_t)room * sizeof *more, "the modes");
        added.modes = more;
        added.room = room;
    }
    added.modes[added.count++] = mode;
    return STATUS_OK;
}

void modes_clear(void)
{
    free(added.modes);
    added.modes = NULL;
    added.count = added.room = 0;
    forget_variants();
}

static enum status add_variant(const char *word, size_t length, struct error *err)
{
    enum { MOST_CHARS = 31 }; // of a name
    const size_t base = (size_t)((const char *)memchr(word, '@', length) - word);
    enum format format = FORMAT_NONE;
    struct variant *v = calloc(1, sizeof *v);
    if (!v) return error_memory(err, sizeof *v, "the modes");
    v->next = variants;
    variants = v;
    snprintf(v->name, sizeof v->name, "%.*s", (int)(length < 63 ? length : 63), word);
    snprintf(v->base, sizeof v->base, "%.*s", (int)(base < 63 ? base : 63), word);
    const struct mode *of = mode_find(v->base);
    if (mode_find(v->name)) return STATUS_OK;
    if (!of || mode_is_float(of))
        return error_set(err, STATUS_USAGE,
                         "mode '%s': '%s' is no quantized mode; expected MODE@FORMAT, as 2-1@int4-g128",
                         v->name, v->base);
    if (!format_find(v->name + base + 1, &format) || !format_is_of_weights(format))
        return error_set(err, STATUS_USAGE,
                         "mode '%s': '%s' is no format of weights; expected int8, int8-channel, int4-g128, "
                         "int4-g64, int4-g32, fp16 or float",
                         v->name, v->name + base + 1);
    if (length > MOST_CHARS)
        return error_set(err, STATUS_USAGE, "mode '%s': expected up to %d characters; choose a shorter name",
                         v->name, MOST_CHARS);
    snprintf(v->summary, sizeof v->summary, "%s with weights in %s", v->base, format_name(format));
    v->mode = (struct mode){.name = v->name,
                            .precision = PRECISION_BY_UNIT,
                            .base = v->base,
                            .weights = format,
                            .summary = v->summary,
                            .added = true};
    return mode_add(&v->mode, err);
}

enum status mode_add_variants(const char *list, struct error *err)
{
    for (const char *at = list; at && *at && !err->status;) {
        const size_t length = strcspn(at, ", ");
        if (length > 0 && memchr(at, '@', length)) add_variant(at, length, err);
        at += length + (at[length] != '\0');
    }
    return err->status;
}

int mode_count(void)
{
    return NAMED + added.count;
}

const struct mode *mode_at(int index)
{
    return index < NAMED ? &modes[index] : added.modes[index - NAMED];
}

const struct mode *mode_find(const char *name)
{
    for (int i = 0; i < mode_count(); i++)
        if (strcmp(mode_at(i)->name, name) == 0) return mode_at(i);
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

static unsigned sets_of(const struct mode *mode)
{
    return mode_layers_are_half() && !mode_is_float(mode) && !mode->added ? mode->sets_of_half : mode->sets;
}

bool mode_is_set(const char *name)
{
    return set_bits(name) != 0;
}

static enum status unknown_mode(const char *word, struct error *err)
{
    char known[256] = "";
    for (int i = 0; i < mode_count(); i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s, ", mode_at(i)->name);
    }
    return error_set(err, STATUS_USAGE,
                     "unknown mode '%s': expected one of %sor all, essential, fp_only, quant_only", word,
                     known);
}

static enum status select_word(const char *word, bool *chosen, struct error *err)
{
    unsigned bits = set_bits(word);
    bool found = bits != 0;
    for (int i = 0; i < mode_count(); i++) {
        if (!(sets_of(mode_at(i)) & bits) && strcmp(mode_at(i)->name, word) != 0) continue;
        if (chosen) chosen[i] = true;
        found = true;
    }
    return found ? STATUS_OK : unknown_mode(word, err);
}

enum status mode_select(const char *list, bool *chosen, struct error *err)
{
    if (chosen) memset(chosen, 0, (size_t)mode_count() * sizeof *chosen);
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

bool mode_is_listed(const char *list, const struct mode *mode)
{
    for (const char *at = list; *at;) {
        size_t length = strcspn(at, ", ");
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)(length < 63 ? length : 63), at);
        if (length > 0 && ((sets_of(mode) & set_bits(word)) || strcmp(mode->name, word) == 0)) return true;
        at += length + (at[length] != '\0');
    }
    return false;
}

void mode_write_list(const bool *chosen, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < mode_count() && used < room; i++)
        if (chosen[i])
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? "," : "", mode_at(i)->name);
}

// ---- mode table ----

// ---- the steps of a layer, in their order ----

// A mode and a layer's setting.
struct shown {
    const struct mode *mode;
    const struct units *units;
    struct setting setting;
};

static const char *float_name(const struct shown *s)
{
    return s->mode->precision == PRECISION_FP16 ? "FP16" : "FP32";
}

static enum format format_of(const struct shown *s, const char *unit)
{
    const int u = units_find(s->units, unit);
    return u < 0 ? FORMAT_NONE : (enum format)s->setting.of[u];
}

// In words of its own where `word` is not NULL.
static const char *text_of(const struct shown *s, const char *unit, enum format format, const char *word)
{
    const enum format is = format_of(s, unit);
    if (mode_is_float(s->mode) || is == FORMAT_FLOAT) return float_name(s);
    if (is == FORMAT_FP16) return "FP16";
    return is == format ? word : is == FORMAT_INT8 ? "INT8" : format_name(is);
}

static const char *weights(const struct shown *s)
{
    return text_of(s, "weight:in_proj", FORMAT_INT8, "INT8");
}

static const char *in_proj_input(const struct shown *s)
{
    return text_of(s, "in_proj:input", FORMAT_INT8, "rotated INT8");
}

static const char *conv1d_input(const struct shown *s)
{
    return format_of(s, "conv1d:input") == FORMAT_DYNAMIC
               ? "INT8 per sample"
               : text_of(s, "conv1d:input", FORMAT_INT8, "INT8 static");
}

static const char *conv1d_output(const struct shown *s)
{
    return text_of(s, "conv1d:output", FORMAT_INT8, "INT8");
}

static const char *x_proj_input(const struct shown *s)
{
    const bool int8 = format_of(s, "conv1d:output") == FORMAT_INT8;
    return text_of(s, "x_proj:input", FORMAT_INT8, int8 ? "same codes" : "requantized");
}

static const char *scan_input(const struct shown *s)
{
    if (mode_is_float(s->mode)) return float_name(s);
    switch (format_of(s, "scan:u")) {
    case FORMAT_CODES:
        return "INT8 codes";
    case FORMAT_INT8:
        return "INT8 requantized";
    default:
        return format_of(s, "conv1d:output") == FORMAT_INT8 ? "FP32 on INT8 grid" : "FP32";
    }
}

static const char *scan_order(const struct shown *s)
{
    const enum format order = s->mode->order ? s->mode->order : format_of(s, "scan:order");
    return order == FORMAT_NONE ? format_name(FORMAT_SEQUENTIAL) : format_name(order);
}

static const char *out_proj_input(const struct shown *s)
{
    return text_of(s, "out_proj:input", FORMAT_INT8, "rotated INT8");
}

static const struct step {
    const char *key; // of JSON
    const char *title;
    const char *(*text)(const struct shown *s);
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

struct row {
    const struct mode *mode;
    const char *texts[STEPS];
};

static void show_layer(struct row *row, const struct shown *shown, bool first)
{
    for (int s = 0; s < STEPS; s++) {
        const char *text = steps[s].text(shown);
        if (first)
            row->texts[s] = text;
        else if (strcmp(row->texts[s], text) != 0)
            row->texts[s] = "by layer";
    }
}

// No model is known here, so what a recipe says of layers is tried on a deep one.
static enum status show(struct row *row, const struct mode *mode, const struct units *units,
                        struct error *err)
{
    enum { DEEP = 1024 };
    struct recipe recipe = {0};
    if (recipe_make(&recipe, mode, units, mode->added ? DEEP : 1, err)) return err->status;
    row->mode = mode;
    for (int l = 0; l < recipe.n_layer; l++)
        show_layer(row, &(struct shown){mode, units, recipe.layers[l]}, l == 0);
    recipe_clear(&recipe);
    return STATUS_OK;
}

// ---- for people ----

static int column_width(int step, const struct row *all)
{
    size_t width = strlen(steps[step].title);
    for (int m = 0; m < mode_count(); m++) {
        size_t length = strlen(all[m].texts[step]);
        width = length > width ? length : width;
    }
    return (int)width;
}

static int name_width(void)
{
    int width = 5;
    for (int m = 0; m < mode_count(); m++) {
        const int length = (int)strlen(mode_at(m)->name);
        width = length > width ? length : width;
    }
    return width;
}

static void print_row(FILE *out, const struct row *all, const struct row *row)
{
    fprintf(out, "%-*s", name_width(), row ? row->mode->name : "mode");
    for (int s = 0; s < STEPS; s++) {
        bool last = s + 1 == STEPS; // no blanks at the end of a line
        fprintf(out, "  %-*s", last ? 0 : column_width(s, all), row ? row->texts[s] : steps[s].title);
    }
    fputc('\n', out);
}

static void print_table(FILE *out, const struct row *all, const struct mode *only)
{
    print_row(out, all, NULL);
    for (int m = 0; m < mode_count(); m++)
        if (!only || mode_at(m) == only) print_row(out, all, &all[m]);
    fputc('\n', out);
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        if (only && mode != only) continue;
        fprintf(out, "  %-*s %s", name_width(), mode->name, mode->summary);
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

static void put_mode(struct json_writer *w, const struct row *row)
{
    const struct mode *mode = row->mode;
    json_begin_object(w, NULL);
    json_put_string(w, "name", mode->name);
    json_put_string(w, "summary", mode->summary);
    json_put_bool(w, "float", mode_is_float(mode));
    put_sets(w, mode);
    json_begin_object(w, "steps");
    for (int s = 0; s < STEPS; s++)
        json_put_string(w, steps[s].key, row->texts[s]);
    json_end_object(w);
    json_put_string(w, "equals", mode->equals);
    json_end_object(w);
}

static enum status print_json(FILE *out, const struct row *all, const struct mode *only, struct error *err)
{
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, "the table of modes");
    json_begin_object(w, NULL);
    json_begin_array(w, "modes");
    for (int m = 0; m < mode_count(); m++)
        if (!only || mode_at(m) == only) put_mode(w, &all[m]);
    json_end_array(w);
    json_end_object(w);
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1, "the table of modes");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}

enum status mode_table_print(FILE *out, bool json, const struct mode *only, const struct units *units,
                             struct error *err)
{
    struct row *all = calloc((size_t)mode_count(), sizeof *all);
    if (!all) return error_memory(err, (size_t)mode_count() * sizeof *all, "the table of modes");
    for (int m = 0; m < mode_count() && !err->status; m++)
        show(&all[m], mode_at(m), units, err);
    if (!err->status && json) print_json(out, all, only, err);
    if (!err->status && !json) print_table(out, all, only);
    free(all);
    return err->status;
}
