// SPDX-License-Identifier: Apache-2.0
#include "store_metrics.h"

#include <stddef.h>

// ---- compound types ----

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
    store_close_metric_type(bins);
    if (good) return compound;
    store_close_metric_type(compound);
    return 0;
}

hid_t store_metric_type(enum store_metric metric)
{
    switch (metric) {
    case STORE_MOMENTS:
    case STORE_APART:
        return make_compound(sizeof(struct accumulator), accumulator_fields,
                             sizeof accumulator_fields / sizeof accumulator_fields[0]);
    case STORE_HISTOGRAM:
        return H5Tcopy(H5T_STD_U32LE);
    case STORE_POSITION:
        return H5Tcopy(H5T_IEEE_F64LE);
    default:
        return make_compound(sizeof(struct end_of_model), end_of_model_fields,
                             sizeof end_of_model_fields / sizeof end_of_model_fields[0]);
    }
}

void store_close_metric_type(hid_t type)
{
    if (type > 0) H5Tclose(type);
}

// ---- shapes ----

// Behind samples, layers and components.
static const struct {
    const char *name;
    H5T_class_t type_class;
    size_t bytes;
    int rank;
    long long further[2];
} layouts[STORE_METRICS] = {
    [STORE_MOMENTS] = {"moments", H5T_COMPOUND, sizeof(struct accumulator), 3, {1, 1}},
    [STORE_HISTOGRAM] = {"histogram", H5T_INTEGER, sizeof(uint32_t), 4, {PROFILE_BINS, 1}},
    [STORE_POSITION] = {"position", H5T_FLOAT, sizeof(double), 5, {PROFILE_POSITIONS, 2}},
    [STORE_APART] = {"apart", H5T_COMPOUND, sizeof(struct accumulator), 3, {1, 1}},
    [STORE_END_OF_MODEL] = {"end_of_model", H5T_COMPOUND, sizeof(struct end_of_model), 1, {1, 1}},
    [STORE_END_APART] = {"end_of_model_apart", H5T_COMPOUND, sizeof(struct end_of_model), 1, {1, 1}},
};

// Of the whole model, not of its layers.
static bool is_end(enum store_metric metric)
{
    return metric == STORE_END_OF_MODEL || metric == STORE_END_APART;
}

const char *store_metric_name(enum store_metric metric)
{
    return layouts[metric].name;
}

size_t store_metric_element_bytes(enum store_metric metric)
{
    return layouts[metric].bytes;
}

static size_t layer_bytes(enum store_metric metric, const struct arch *arch)
{
    const size_t components = is_end(metric) ? 1 : (size_t)arch->n_components;
    return components * (size_t)(layouts[metric].further[0] * layouts[metric].further[1]) *
           layouts[metric].bytes;
}

static int layers_of(enum store_metric metric, int n_layer)
{
    return is_end(metric) ? 1 : n_layer;
}

size_t store_metric_row_bytes(enum store_metric metric, const struct arch *arch, int n_layer)
{
    return (size_t)layers_of(metric, n_layer) * layer_bytes(metric, arch);
}

struct store_expected store_metric_expected(enum store_metric metric, const struct arch *arch, int samples,
                                            int n_layer)
{
    struct store_expected expected = {.type_class = layouts[metric].type_class,
                                      .type_bytes = layouts[metric].bytes,
                                      .rank = layouts[metric].rank,
                                      .shape = {samples, 1, 1, 1, 1}};
    if (is_end(metric)) return expected;
    expected.shape[1] = n_layer;
    expected.shape[2] = arch->n_components;
    expected.shape[3] = layouts[metric].further[0];
    expected.shape[4] = layouts[metric].further[1];
    return expected;
}

hid_t store_open_metric(const struct store_file *file, const char *name, struct store_expected *expected,
                        hid_t type, struct error *err)
{
    const hid_t data = store_open_data(file, name, expected, err);
    if (data <= 0) return 0;
    const hid_t found = H5Dget_type(data);
    const bool fits = found > 0 && H5Tequal(found, type) > 0;
    if (found > 0) H5Tclose(found);
    if (fits) return data;
    H5Dclose(data);
    store_torn(file, name, "unexpected element type", err);
    return 0;
}

bool store_metric_belongs(enum store_metric metric, bool rerun, bool logits)
{
    if (is_end(metric) && !logits) return false;
    return rerun || (metric != STORE_APART && metric != STORE_END_APART);
}

bool store_keeps_metric(const struct plan *plan, int run, enum store_metric metric)
{
    return plan->metrics && store_metric_belongs(metric, plan->runs[run].dither != 0, plan->logits);
}
