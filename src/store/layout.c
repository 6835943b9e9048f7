// SPDX-License-Identifier: Apache-2.0
#include "layout.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"

_Static_assert(ARCH_MOST_SITES <= ARCH_MOST_COMPONENTS, "layout_names has room for sites");

// ---- the tables ----

#define WITH_THE_FILE "rank 0, with the file"
#define OF_CALIBRATION "the rank of the sample; where `/calibration/state` is 1"
#define OF_ITEM "the rank of the item; where `state` is 1"

const char *const layout_axis_names[LAYOUT_AXES] = {
    [AXIS_SAMPLES] = "sample",
    [AXIS_TOKENS] = "token",
    [AXIS_OBSERVED] = "calibration_sample",
    [AXIS_LAYERS] = "layer",
    [AXIS_SITES] = "site",
    [AXIS_GROUP_SCALES] = "scale",
    [AXIS_GROUPS] = "field",
    [AXIS_COMPONENTS] = "component",
    [AXIS_WIDTH] = "channel",
    [AXIS_DIGEST] = "byte",
    [AXIS_OBSERVER_BINS] = "magnitude_bin",
    [AXIS_PROFILE_BINS] = "difference_bin",
    [AXIS_POSITIONS] = "position_bucket",
    [AXIS_TWO] = "squared_absolute",
};

const struct layout_row layout_rows[LAYOUT_DATA] = {
    [DATA_TOKEN_IDS] = {"/samples/token_ids",
                        SCOPE_FILE,
                        ELEMENT_I32,
                        {AXIS_SAMPLES, AXIS_TOKENS},
                        .written = WITH_THE_FILE,
                        .holds = "the tokens, padded with -1"},
    [DATA_LENGTH] = {"/samples/length",
                     SCOPE_FILE,
                     ELEMENT_I32,
                     {AXIS_SAMPLES},
                     .written = WITH_THE_FILE,
                     .holds = "valid tokens of each sample"},
    [DATA_SCALES] = {"/calibration/<cell>/scales",
                     SCOPE_CELL,
                     ELEMENT_F32,
                     {AXIS_LAYERS, AXIS_SITES},
                     .needs = NEEDS_SCALES,
                     .names_sites = true,
                     .names_observers = true,
                     .written = "rank 0; before the first sample of a mode",
                     .holds = "activation scales of a cell; attribute `sites` names the columns, `observers` "
                              "what made them"},
    [DATA_GROUP_SCALES] = {"/calibration/<cell>/group_scales",
                           SCOPE_CELL,
                           ELEMENT_F32,
                           {AXIS_LAYERS, AXIS_GROUP_SCALES},
                           .needs = NEEDS_SCALES | NEEDS_GROUPS,
                           .written = "as `scales`",
                           .holds = "with groups of heads and channels: the scale of each group, see below; "
                                    "`scales` has the largest of a site"},
    [DATA_OBSERVED] = {"/calibration/observed",
                       SCOPE_FILE,
                       ELEMENT_F32,
                       {AXIS_OBSERVED, AXIS_LAYERS, AXIS_SITES},
                       .needs = NEEDS_SCALES,
                       .names_sites = true,
                       .written = OF_CALIBRATION,
                       .holds =
                           "what each sample showed at each site, max \\|v\\| or the α-quantile; scales are "
                           "made of these"},
    [DATA_OBSERVED_GROUPS] = {"/calibration/observed_groups",
                              SCOPE_FILE,
                              ELEMENT_F32,
                              {AXIS_OBSERVED, AXIS_LAYERS, AXIS_GROUP_SCALES},
                              .needs = NEEDS_SCALES | NEEDS_GROUPS,
                              .written = OF_CALIBRATION,
                              .holds = "likewise: max \\|v\\| of each sample in each group"},
    [DATA_OBSERVED_HISTOGRAM] =
        {"/calibration/histogram",
         SCOPE_FILE,
         ELEMENT_U32,
         {AXIS_OBSERVED, AXIS_LAYERS, AXIS_SITES, AXIS_OBSERVER_BINS},
         .needs = NEEDS_SCALES | NEEDS_BINS,
         .written = OF_CALIBRATION,
         .holds = "with the observers mse and entropy: how many \\|v\\| of each sample lie "
                  "in each bin; zeros at sites of other observers"},
    [DATA_OBSERVED_STATE] = {"/calibration/state",
                             SCOPE_FILE,
                             ELEMENT_U8,
                             {AXIS_OBSERVED},
                             .needs = NEEDS_SCALES,
                             .written = "the rank of the sample, last",
                             .holds = "as in `/items`, of the observations"},
    [DATA_OBSERVED_DIGEST] = {"/calibration/digest",
                              SCOPE_FILE,
                              ELEMENT_U8,
                              {AXIS_OBSERVED, AXIS_DIGEST},
                              .needs = NEEDS_SCALES,
                              .written = OF_CALIBRATION,
                              .holds = "likewise: SHA-256 of the rows of `observed`, `observed_groups` and "
                                       "`histogram`, those that there are"},
    [DATA_GROUPS] = {"/calibration/groups",
                     SCOPE_FILE,
                     ELEMENT_I32,
                     {AXIS_LAYERS, AXIS_GROUPS},
                     .needs = NEEDS_SCALES | NEEDS_GROUPS,
                     .written = "rank 0; before the first observation",
                     .holds = "which heads and channels the groups have, see below"},
    [DATA_GROUPS_DIGEST] = {"/calibration/groups_digest",
                            SCOPE_FILE,
                            ELEMENT_U8,
                            {AXIS_DIGEST},
                            .needs = NEEDS_SCALES | NEEDS_GROUPS,
                            .written = "rank 0, behind `groups`",
                            .holds = "SHA-256 of `groups`; zeros before they are formed"},
    [DATA_WIDTH] = {"/metrics/width",
                    SCOPE_FILE,
                    ELEMENT_I32,
                    {AXIS_COMPONENTS},
                    .needs = NEEDS_METRICS,
                    .written = WITH_THE_FILE,
                    .holds = "elements of a token in each component"},
    [DATA_OUTPUT] = {"/outputs/<cell>/<mode>/layer_<l>/<component>",
                     SCOPE_TENSOR,
                     ELEMENT_F32,
                     {AXIS_SAMPLES, AXIS_TOKENS, AXIS_WIDTH},
                     .written = OF_ITEM,
                     .holds = "what a mode gave, a quantized one with the scales of `/calibration/<cell>`"},
    [DATA_STATE] = {"/items/<cell>/<mode>/state",
                    SCOPE_RUN,
                    ELEMENT_U8,
                    {AXIS_SAMPLES},
                    .written = "the rank of the item, last",
                    .holds = "1 where the sample is done, 2 where it could not be stored, else 0"},
    [DATA_DIGEST] = {"/items/<cell>/<mode>/digest",
                     SCOPE_RUN,
                     ELEMENT_U8,
                     {AXIS_SAMPLES, AXIS_DIGEST},
                     .written = OF_ITEM,
                     .holds =
                         "SHA-256 of what was written for the sample: its outputs, by layer and component, "
                         "then its rows of `moments`, `histogram`, `position`, `apart`, `end_of_model`, "
                         "`end_of_model_apart`, `isolated`, those that it has"},
    [DATA_SECONDS] = {"/items/<cell>/<mode>/seconds",
                      SCOPE_RUN,
                      ELEMENT_F32,
                      {AXIS_SAMPLES},
                      .written = OF_ITEM,
                      .units = "s",
                      .holds = "time it took: the only content that differs between two runs of one job"},
    [DATA_MOMENTS] = {"/metrics/<cell>/<mode>/moments",
                      SCOPE_RUN,
                      ELEMENT_MOMENTS,
                      {AXIS_SAMPLES, AXIS_LAYERS, AXIS_COMPONENTS},
                      .needs = NEEDS_METRICS,
                      .written = OF_ITEM,
                      .holds =
                          "sums and extremes of the (reference, mode) pairs of a sample, of every layer and "
                          "component, stored or not: see below"},
    [DATA_HISTOGRAM] = {"/metrics/<cell>/<mode>/histogram",
                        SCOPE_RUN,
                        ELEMENT_U32,
                        {AXIS_SAMPLES, AXIS_LAYERS, AXIS_COMPONENTS, AXIS_PROFILE_BINS},
                        .needs = NEEDS_METRICS | NEEDS_PROFILES,
                        .written = OF_ITEM,
                        .holds = "how many differences \\|mode - reference\\| lie in each bin; neither this "
                                 "nor the next in an attribution"},
    [DATA_POSITION] = {"/metrics/<cell>/<mode>/position",
                       SCOPE_RUN,
                       ELEMENT_F64,
                       {AXIS_SAMPLES, AXIS_LAYERS, AXIS_COMPONENTS, AXIS_POSITIONS, AXIS_TWO},
                       .needs = NEEDS_METRICS | NEEDS_PROFILES,
                       .written = OF_ITEM,
                       .holds = "sums of squared and of absolute differences by token position"},
    [DATA_APART] = {"/metrics/<cell>/<mode>/apart",
                    SCOPE_RUN,
                    ELEMENT_MOMENTS,
                    {AXIS_SAMPLES, AXIS_LAYERS, AXIS_COMPONENTS},
                    .needs = NEEDS_METRICS | NEEDS_RERUN,
                    .written = OF_ITEM,
                    .holds = "as `moments`, of a noisy re-run (`--noise`) against the run that it repeats"},
    [DATA_END_OF_MODEL] = {"/metrics/<cell>/<mode>/end_of_model",
                           SCOPE_RUN,
                           ELEMENT_END_OF_MODEL,
                           {AXIS_SAMPLES},
                           .needs = NEEDS_METRICS | NEEDS_LOGITS,
                           .written = OF_ITEM,
                           .holds = "what the mode does to the predictions of the next token; not with "
                                    "`--no-logits`"},
    [DATA_END_APART] = {"/metrics/<cell>/<mode>/end_of_model_apart",
                        SCOPE_RUN,
                        ELEMENT_END_OF_MODEL,
                        {AXIS_SAMPLES},
                        .needs = NEEDS_METRICS | NEEDS_LOGITS | NEEDS_RERUN,
                        .written = OF_ITEM,
                        .holds = "as `end_of_model`, of a noisy re-run against the run that it repeats"},
    [DATA_ISOLATED] = {"/metrics/<cell>/<mode>/isolated",
                       SCOPE_RUN,
                       ELEMENT_MOMENTS,
                       {AXIS_SAMPLES, AXIS_LAYERS, AXIS_COMPONENTS},
                       .needs = NEEDS_METRICS | NEEDS_ISOLATED,
                       .written = OF_ITEM,
                       .holds = "with `--isolated`: as `moments`, of each layer by itself, fed with the "
                                "reference's stream"},
};

#define TEXT(member) offsetof(struct store_identity, member)
const struct layout_attribute layout_attributes[LAYOUT_ATTRIBUTES] = {
    {"schema_version", LAYOUT_NO_OFFSET, IDENTITY_FREE,
     "7; files of version 6 have no descriptions, those of version 5 lack the next three: both are read "
     "only"},
    {"arch", LAYOUT_NO_OFFSET, IDENTITY_FREE, "the family of the model: `mamba1`, `falcon_mamba`, `mamba2`"},
    {"components", LAYOUT_NO_OFFSET, IDENTITY_FREE,
     "its components by name, in the order in which `/metrics` has them"},
    {"sites", LAYOUT_NO_OFFSET, IDENTITY_FREE,
     "its sites by name, in the order in which `/calibration` has them"},
    {"tool_version", TEXT(tool_version), IDENTITY_FREE, "version of ssmsweep"},
    {"job", TEXT(job_json), IDENTITY_JOB,
     "JSON: every option that defines the numbers; modes by name, as the file has them"},
    {"weights_digest", TEXT(weights_hex), IDENTITY_DIGEST, "of the weights, see below; \"\" after an import"},
    {"tokenizer_sha256", TEXT(tokenizer_hex), IDENTITY_DIGEST, "of the tokenizer file; \"\" without one"},
    {"ids_sha256", TEXT(ids_hex), IDENTITY_DIGEST, "of the ids of the samples"},
    {"reference_mode", LAYOUT_NO_OFFSET, IDENTITY_FREE, "the mode that the others were compared with"},
    {"model_dtype", TEXT(model_dtype), IDENTITY_FREE, "of the weights in the checkpoint"},
    {"scales_source", TEXT(scales_source), IDENTITY_FREE, "`calibration` or `checkpoint`, see below"},
    {"reference_weights", TEXT(reference_weights), IDENTITY_TEXT,
     "what the float modes computed with, see below"},
    {"model_config", TEXT(model_config), IDENTITY_TEXT, "dimensions and constants"},
    {"numerics_version", TEXT(numerics_version), IDENTITY_TEXT, "results of one version are the same bits"},
    {"calibration_ids_sha256", TEXT(calibration_ids_hex), IDENTITY_DIGEST,
     "of the ids that gave the scales; \"\" where none did"},
    {"evaluation_text", TEXT(evaluation_text), IDENTITY_TEXT, "what the samples are, see below"},
};

const char *layout_attribute_text(int attribute, const struct plan *plan,
                                  const struct store_identity *identity)
{
    const size_t offset = layout_attributes[attribute].offset;
    if (offset == LAYOUT_NO_OFFSET) return plan->runs[plan->reference_run].mode->name;
    return *(const char *const *)(const void *)((const char *)identity + offset);
}

int layout_component_names(const struct arch *arch, layout_names names)
{
    memset(names, 0, sizeof(layout_names)); // no byte of a file is left to chance
    for (int c = 0; c < arch->n_components; c++)
        snprintf(names[c], LAYOUT_NAME_ROOM, "%s", arch->components[c].name);
    return arch->n_components;
}

int layout_site_names(const struct arch *arch, layout_names names)
{
    memset(names, 0, sizeof(layout_names));
    for (int s = 0; s < arch->n_sites; s++)
        snprintf(names[s], LAYOUT_NAME_ROOM, "%s", arch->sites[s].name);
    return arch->n_sites;
}

// ---- names ----

struct layout_run layout_run_of(const struct plan *plan, int run)
{
    const struct run *of = &plan->runs[run];
    const struct cell none = {0};
    return (struct layout_run){of->cell == PLAN_FLOAT_CELL ? none : plan->cells[of->cell], of->mode->name,
                               of->dither};
}

static void append(char path[LAYOUT_PATH_ROOM], size_t *used, const char *text, size_t length)
{
    while (length-- > 0 && *used + 1 < LAYOUT_PATH_ROOM)
        path[(*used)++] = *text++;
    path[*used] = '\0';
}

// What stands for a <word> of a template.
static void write_word(char text[LAYOUT_PATH_ROOM], const char *word, const struct layout_run *run, int layer,
                       const char *component)
{
    if (strncmp(word, "<cell>", 6) == 0)
        cell_name(run->cell, text);
    else if (strncmp(word, "<component>", 11) == 0)
        snprintf(text, LAYOUT_PATH_ROOM, "%.40s", component);
    else if (strncmp(word, "<l>", 3) == 0)
        snprintf(text, LAYOUT_PATH_ROOM, "%d", layer);
    else if (run->dither)
        snprintf(text, LAYOUT_PATH_ROOM, "%.40s" RUN_DITHER "%d", run->mode, run->dither);
    else
        snprintf(text, LAYOUT_PATH_ROOM, "%.40s", run->mode);
}

static void expand(const char *template, const struct layout_run *run, int layer, const char *component,
                   char path[LAYOUT_PATH_ROOM])
{
    size_t used = 0;
    path[0] = '\0';
    for (const char *at = template; *at;) {
        const size_t plain = strcspn(at, "<");
        append(path, &used, at, plain);
        at += plain;
        if (!*at) break;
        char text[LAYOUT_PATH_ROOM];
        write_word(text, at, run, layer, component);
        append(path, &used, text, strlen(text));
        at = strchr(at, '>') + 1;
    }
}

const char *layout_path(enum layout_data data, const struct layout_run *run, int layer, const char *component,
                        char path[LAYOUT_PATH_ROOM])
{
    expand(layout_rows[data].path, run, layer, component, path);
    return path;
}

void layout_group(const char *group, const struct layout_run *run, char path[LAYOUT_PATH_ROOM])
{
    char template[LAYOUT_PATH_ROOM];
    snprintf(template, sizeof template, "%s/<cell>/<mode>", group);
    expand(template, run, 0, "", path);
}

const char *layout_place_path(const struct plan *plan, const struct layout_place *place,
                              char path[LAYOUT_PATH_ROOM])
{
    struct layout_run run = {.mode = ""};
    if (layout_rows[place->data].scope == SCOPE_CELL) run.cell = plan->cells[place->cell];
    if (layout_rows[place->data].scope >= SCOPE_RUN) run = layout_run_of(plan, place->run);
    return layout_path(place->data, &run, place->layer, plan->arch->components[place->component].name, path);
}

// ---- shapes ----

struct layout_sizes layout_sizes_of(const struct arch *arch, int n_layer, int samples, int max_tokens,
                                    int observed)
{
    return (struct layout_sizes){{[AXIS_END] = 1,
                                  [AXIS_SAMPLES] = samples,
                                  [AXIS_TOKENS] = max_tokens,
                                  [AXIS_OBSERVED] = observed,
                                  [AXIS_LAYERS] = n_layer,
                                  [AXIS_SITES] = arch->n_sites,
                                  [AXIS_GROUP_SCALES] = -1,
                                  [AXIS_GROUPS] = -1,
                                  [AXIS_COMPONENTS] = arch->n_components,
                                  [AXIS_WIDTH] = -1,
                                  [AXIS_DIGEST] = HASH_BYTES,
                                  [AXIS_OBSERVER_BINS] = HISTOGRAM_BINS,
                                  [AXIS_PROFILE_BINS] = PROFILE_BINS,
                                  [AXIS_POSITIONS] = PROFILE_POSITIONS,
                                  [AXIS_TWO] = 2}};
}

// A type is looked at closely where nobody else's would do: what other programs made may have other integers
// and floats of the same size.
static const struct {
    size_t bytes;
    bool exact;
} elements[LAYOUT_ELEMENTS] = {[ELEMENT_U8] = {1, false},
                               [ELEMENT_I32] = {4, false},
                               [ELEMENT_U32] = {4, true},
                               [ELEMENT_F16] = {2, false},
                               [ELEMENT_F32] = {4, false},
                               [ELEMENT_F64] = {8, true},
                               [ELEMENT_MOMENTS] = {sizeof(struct accumulator), true},
                               [ELEMENT_END_OF_MODEL] = {sizeof(struct end_of_model), true}};

struct hdf_expected layout_expected(enum layout_data data, const struct layout_sizes *sizes,
                                    const struct layout_types *types)
{
    const struct layout_row *row = &layout_rows[data];
    struct hdf_expected expected = {.type = types->of[row->element], .exact = elements[row->element].exact};
    for (int d = 0; d < HDF_RANKS; d++) {
        expected.shape[d] = sizes->of[row->axes[d]];
        expected.rank += row->axes[d] != AXIS_END;
    }
    return expected;
}

size_t layout_row_bytes(enum layout_data data, const struct layout_sizes *sizes)
{
    size_t bytes = elements[layout_rows[data].element].bytes;
    for (int d = 1; d < HDF_RANKS; d++)
        bytes *= (size_t)sizes->of[layout_rows[data].axes[d]];
    return bytes;
}

// ---- all of a file ----

static unsigned run_has(const struct plan *plan, int run)
{
    return (plan->n_cells > 0 ? NEEDS_SCALES : 0u) |
           (observers_take_histogram(&plan->observers) ? NEEDS_BINS : 0u) |
           (plan->metrics ? NEEDS_METRICS : 0u) | (plan->profiles ? NEEDS_PROFILES : 0u) |
           (plan->logits ? NEEDS_LOGITS : 0u) | (plan->group_scales > 0 ? NEEDS_GROUPS : 0u) |
           (plan->runs[run].dither ? NEEDS_RERUN
            : plan->isolated       ? NEEDS_ISOLATED
                                   : 0u);
}

static enum status each_tensor(const struct plan *plan, struct layout_place place, layout_visit *visit,
                               void *context, struct error *err)
{
    for (place.layer = 0; place.layer < plan->n_layer; place.layer++)
        for (place.component = 0; place.component < plan->arch->n_components; place.component++)
            if (plan_wants(plan, place.run, place.layer) & 1u << place.component &&
                visit(context, &place, err))
                return err->status;
    return err->status;
}

static enum status each_of_run(const struct plan *plan, int run, layout_visit *visit, void *context,
                               struct error *err)
{
    const unsigned has = run_has(plan, run);
    for (int d = 0; d < LAYOUT_DATA && !err->status; d++) {
        const struct layout_place place = {.data = (enum layout_data)d, .run = run};
        if (!layout_keeps(place.data, has)) continue;
        if (layout_rows[d].scope == SCOPE_TENSOR) each_tensor(plan, place, visit, context, err);
        if (layout_rows[d].scope == SCOPE_RUN) visit(context, &place, err);
    }
    return err->status;
}

enum status layout_each(const struct plan *plan, layout_visit *visit, void *context, struct error *err)
{
    for (int d = 0; d < LAYOUT_DATA && !err->status; d++) {
        struct layout_place place = {.data = (enum layout_data)d};
        if (!layout_keeps(place.data, run_has(plan, 0))) continue;
        if (layout_rows[d].scope == SCOPE_FILE) visit(context, &place, err);
        if (layout_rows[d].scope != SCOPE_CELL) continue;
        for (; place.cell < plan->n_cells && !err->status; place.cell++)
            visit(context, &place, err);
    }
    for (int r = 0; r < plan->n_runs && !err->status; r++)
        each_of_run(plan, r, visit, context, err);
    return err->status;
}

// ---- types ----

// A field of a struct; a `struct wide` is two.
struct field {
    const char *name;
    size_t offset;
    enum { U64, F32, F64, BINS } type;
};

#define WIDE_FIELDS(name, member)                                                                            \
    {name "_hi", offsetof(struct accumulator, member.hi), F64},                                              \
    {                                                                                                        \
        name "_lo", offsetof(struct accumulator, member.lo), F64                                             \
    }

#define SIDE_FIELDS(name, side)                                                                              \
    WIDE_FIELDS(name "_sum", side.sum), WIDE_FIELDS(name "_abs_sum", side.abs_sum),                          \
        WIDE_FIELDS(name "_squares", side.squares),                                                          \
        {name "_min", offsetof(struct accumulator, side.min), F32},                                          \
        {name "_max", offsetof(struct accumulator, side.max), F32},                                          \
    {                                                                                                        \
        name "_nonfinite", offsetof(struct accumulator, side.nonfinite), U64                                 \
    }

static const struct field accumulator_fields[] = {
    {"count", offsetof(struct accumulator, count), U64},
    SIDE_FIELDS("ref", ref),
    SIDE_FIELDS("mode", mode),
    WIDE_FIELDS("products", products),
    WIDE_FIELDS("abs_diff", abs_diff),
    WIDE_FIELDS("diff_squares", diff_squares),
    {"diff_min", offsetof(struct accumulator, diff_min), F64},
    {"diff_max", offsetof(struct accumulator, diff_max), F64},
};
// Bytes that belong to no field would differ between runs.
_Static_assert(sizeof(struct side) == 6 * 8 + 2 * 4 + 8, "no padding");
_Static_assert(sizeof(struct accumulator) == 8 + 2 * sizeof(struct side) + 8 * 8, "no padding");

static const struct field end_of_model_fields[] = {
    {"tokens", offsetof(struct end_of_model, tokens), U64},
    {"top1_agree", offsetof(struct end_of_model, top1_agree), U64},
    {"top1_correct", offsetof(struct end_of_model, top1_correct), U64},
    {"nonfinite", offsetof(struct end_of_model, nonfinite), U64},
    {"nll", offsetof(struct end_of_model, nll), F64},
    {"kl", offsetof(struct end_of_model, kl), F64},
    {"kl_squares", offsetof(struct end_of_model, kl_squares), F64},
    {"kl_max", offsetof(struct end_of_model, kl_max), F64},
    {"kl_bins", offsetof(struct end_of_model, kl_bins), BINS},
};
_Static_assert(sizeof(struct end_of_model) == 8 * (8 + PROFILE_BINS), "no padding");

static void close_type(hid_t type)
{
    if (type > 0) H5Tclose(type);
}

static hid_t make_compound(size_t bytes, const struct field *fields, size_t n)
{
    const hsize_t bin_count = PROFILE_BINS;
    const hid_t compound = H5Tcreate(H5T_COMPOUND, bytes);
    const hid_t bins = H5Tarray_create2(H5T_STD_U64LE, 1, &bin_count);
    bool good = compound >= 0 && bins >= 0;
    for (size_t i = 0; good && i < n; i++) {
        const hid_t types[] = {
            [U64] = H5T_STD_U64LE, [F32] = H5T_IEEE_F32LE, [F64] = H5T_IEEE_F64LE, [BINS] = bins};
        good = H5Tinsert(compound, fields[i].name, fields[i].offset, types[fields[i].type]) >= 0;
    }
    close_type(bins);
    if (good) return compound;
    close_type(compound);
    return 0;
}

// IEEE binary16, as h5py has it.
static hid_t make_half(void)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

enum status layout_open_types(struct layout_types *types, struct error *err)
{
    *types = (struct layout_types){
        {[ELEMENT_U8] = H5Tcopy(H5T_STD_U8LE),
         [ELEMENT_I32] = H5Tcopy(H5T_STD_I32LE),
         [ELEMENT_U32] = H5Tcopy(H5T_STD_U32LE),
         [ELEMENT_F16] = make_half(),
         [ELEMENT_F32] = H5Tcopy(H5T_IEEE_F32LE),
         [ELEMENT_F64] = H5Tcopy(H5T_IEEE_F64LE),
         [ELEMENT_MOMENTS] = make_compound(sizeof(struct accumulator), accumulator_fields,
                                           sizeof accumulator_fields / sizeof accumulator_fields[0]),
         [ELEMENT_END_OF_MODEL] = make_compound(sizeof(struct end_of_model), end_of_model_fields,
                                                sizeof end_of_model_fields / sizeof end_of_model_fields[0])}};
    for (int e = 0; e < LAYOUT_ELEMENTS && !err->status; e++)
        if (types->of[e] <= 0) error_memory(err, 1, "a type of HDF5");
    return err->status;
}

void layout_close_types(const struct layout_types *types)
{
    for (int e = 0; e < LAYOUT_ELEMENTS; e++)
        close_type(types->of[e]);
}
