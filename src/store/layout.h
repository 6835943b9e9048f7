// SPDX-License-Identifier: Apache-2.0
// What is in a result file: one table of datasets, one of root attributes.  Creating, adding modes, opening,
// checking, reading, the size that is foretold and the table of docs/result_file.md iterate them.
#ifndef SSMSWEEP_STORE_LAYOUT_H
#define SSMSWEEP_STORE_LAYOUT_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>

#include "hdf.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/store/store.h"

// Files of version 5 name no family of models, those of version 6 do not explain themselves; both are read,
// but not written to.
enum { LAYOUT_OLDEST_VERSION = 5, LAYOUT_SCHEMA_VERSION = 7, LAYOUT_PATH_ROOM = 160, LAYOUT_NAME_ROOM = 32 };

// The group whose attributes are recipes: a mode's name, and its canonical text.
#define LAYOUT_RECIPES "/recipes"

// ---- datasets ----

// In the order in which they are made: those of the file and of its cells, then run by run.  The rows of a
// sample count in its digest in this order.
enum layout_data {
    DATA_TOKEN_IDS,
    DATA_LENGTH,
    DATA_SCALES,
    DATA_GROUP_SCALES,
    DATA_OBSERVED,
    DATA_OBSERVED_GROUPS,
    DATA_OBSERVED_HISTOGRAM,
    DATA_OBSERVED_STATE,
    DATA_OBSERVED_DIGEST,
    DATA_GROUPS,
    DATA_GROUPS_DIGEST,
    DATA_WIDTH,
    DATA_OUTPUT,
    DATA_STATE,
    DATA_DIGEST,
    DATA_SECONDS,
    DATA_MOMENTS,
    DATA_HISTOGRAM,
    DATA_POSITION,
    DATA_APART,
    DATA_END_OF_MODEL,
    DATA_END_APART,
    DATA_ISOLATED,
    LAYOUT_DATA,
    DATA_FIRST_METRIC = DATA_MOMENTS // all from here on
};

// How often a dataset is there.
enum layout_scope { SCOPE_FILE, SCOPE_CELL, SCOPE_RUN, SCOPE_TENSOR };

enum layout_element {
    ELEMENT_U8,
    ELEMENT_I32,
    ELEMENT_U32,
    ELEMENT_F16, // of outputs in packed files alone
    ELEMENT_F32,
    ELEMENT_F64,
    ELEMENT_MOMENTS,      // struct accumulator
    ELEMENT_END_OF_MODEL, // struct end_of_model
    LAYOUT_ELEMENTS
};

enum layout_axis {
    AXIS_END,
    AXIS_SAMPLES,      // S
    AXIS_TOKENS,       // L
    AXIS_OBSERVED,     // C, samples of the calibration
    AXIS_LAYERS,       // n_layer of the model
    AXIS_SITES,        // of the family of the model
    AXIS_GROUP_SCALES, // of a layer
    AXIS_GROUPS,       // integers that say what they are
    AXIS_COMPONENTS,   // likewise
    AXIS_WIDTH,        // of a component
    AXIS_DIGEST,
    AXIS_OBSERVER_BINS,
    AXIS_PROFILE_BINS,
    AXIS_POSITIONS,
    AXIS_TWO,
    LAYOUT_AXES
};
extern const char *const layout_axis_names[LAYOUT_AXES]; // what people call an entry of it

// What a file, or a run of it, must have for a dataset to be there.
enum {
    NEEDS_SCALES = 1,
    NEEDS_BINS = 2, // an observer takes histograms
    NEEDS_METRICS = 4,
    NEEDS_LOGITS = 8,
    NEEDS_RERUN = 16,
    NEEDS_ISOLATED = 32,
    NEEDS_GROUPS = 64, // scales of groups of heads and channels
    NEEDS_PROFILES = 128
};

struct layout_row {
    const char *path; // with <cell>, <mode>, <l> and <component>
    enum layout_scope scope;
    enum layout_element element;
    enum layout_axis axes[HDF_RANKS];
    unsigned needs;
    bool names_sites, names_observers; // attributes `sites`, `observers`: a name for each column
    const char *written;               // who writes it, and when it is complete
    const char *holds;
    const char *units; // NULL: "1", the unit of what the model computes, and of counts
};
extern const struct layout_row layout_rows[LAYOUT_DATA];

// A run by the names that the file has for it, maybe a noisy re-run.
struct layout_run {
    struct cell cell; // zeroed for float modes
    const char *mode;
    int dither;
};
struct layout_run layout_run_of(const struct plan *plan, int run);

// Gives `path` back.  What the scope has no use for is not looked at.
const char *layout_path(enum layout_data data, const struct layout_run *run, int layer, const char *component,
                        char path[LAYOUT_PATH_ROOM]);
// Up to the member of this name: "/outputs/10/2-1" for "layer_<l>".
void layout_group(const char *group, const struct layout_run *run, char path[LAYOUT_PATH_ROOM]);

// Sizes of the axes; -1: any.
struct layout_sizes {
    long long of[LAYOUT_AXES];
};
struct layout_sizes layout_sizes_of(const struct arch *arch, int n_layer, int samples, int max_tokens,
                                    int observed);

// Types of the elements, for as long as they are open.  STATUS_IO where HDF5 has no room for them.
struct layout_types {
    hid_t of[LAYOUT_ELEMENTS];
};
enum status layout_open_types(struct layout_types *types, struct error *err);
void layout_close_types(const struct layout_types *types); // zeroed ones are fine

struct hdf_expected layout_expected(enum layout_data data, const struct layout_sizes *sizes,
                                    const struct layout_types *types);
// What an entry of the first axis takes: the row of a sample, which lies in one piece.
size_t layout_row_bytes(enum layout_data data, const struct layout_sizes *sizes);

// Has a file or run that has `has` this dataset?
static inline bool layout_keeps(enum layout_data data, unsigned has)
{
    return (layout_rows[data].needs & ~has) == 0;
}

// One dataset of a plan's file; what its scope has no use for is 0.
struct layout_place {
    enum layout_data data;
    int cell, run, layer, component;
};
const char *layout_place_path(const struct plan *plan, const struct layout_place *place,
                              char path[LAYOUT_PATH_ROOM]);
// Calls visit() for all datasets of the file of a plan, in the order in which they are made, until it fails.
typedef enum status layout_visit(void *context, const struct layout_place *place, struct error *err);
enum status layout_each(const struct plan *plan, layout_visit *visit, void *context, struct error *err);

// ---- root attributes ----

enum layout_attribute_kind {
    ATTRIBUTE_VERSION,    // an integer
    ATTRIBUTE_ARCH,       // the family of the model, by name
    ATTRIBUTE_COMPONENTS, // its components, in the order of the axis
    ATTRIBUTE_SITES,      // its sites, likewise
    LAYOUT_FIRST_TEXT,    // one each: all others are text
    LAYOUT_ATTRIBUTES = LAYOUT_FIRST_TEXT + 13
};
enum layout_identity { IDENTITY_FREE, IDENTITY_JOB, IDENTITY_DIGEST, IDENTITY_TEXT };
struct layout_attribute {
    const char *name;
    size_t offset;                 // of a text of struct store_identity, or LAYOUT_NO_OFFSET
    enum layout_identity identity; // how it is compared, where a sweep goes on with the file
    const char *holds;
};
#define LAYOUT_NO_OFFSET SIZE_MAX // the reference mode of the plan
extern const struct layout_attribute layout_attributes[LAYOUT_ATTRIBUTES];
const char *layout_attribute_text(int attribute, const struct plan *plan,
                                  const struct store_identity *identity);

// Names of the components or of the sites of a family; gives their number.
typedef char layout_names[ARCH_MOST_COMPONENTS][LAYOUT_NAME_ROOM];
int layout_component_names(const struct arch *arch, layout_names names);
int layout_site_names(const struct arch *arch, layout_names names);

#endif
