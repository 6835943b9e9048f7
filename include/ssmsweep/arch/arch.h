// SPDX-License-Identifier: Apache-2.0
// What a family of models is: its sizes, the tensors of a layer, what can be captured and where activations
// are observed, how a layer is packed and computed.
//
// Knows: config.json and checkpoints (input/), the settings of a layer (recipe/), the steps of a backend
// (compute/).  Must not know: a mode's name, a rank, a result file, who captures or observes and why.
// Called by: forward/ (packing, layers), plan/, store/, sweep/, report/ and tools/ (names and counts).
// Nobody else counts components and sites or knows them by name.
#ifndef SSMSWEEP_ARCH_ARCH_H
#define SSMSWEEP_ARCH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/recipe.h"

struct arch;
struct arena;
struct config;
struct config_source;
struct groups;
struct kernels;
struct model;
struct packing;
struct pass;

// The letters of the equations: L tokens of a sample and those below.  What a family has no use for is 0.
struct dims {
    int n_layer;
    int d_model; // D
    int d_inner; // I = expand * D
    int d_state; // N
    int d_conv;  // K
    int dt_rank; // R
    int vocab_size;
    int n_heads;     // H
    int head_dim;    // P = I / H
    int n_groups;    // G, of heads that share B and C
    int chunk_size;  // Q
    int norm_groups; // parts of the norm behind the scan
    bool gate_last;  // behind that norm, not in front of it
    float dt_min, dt_max;
    float norm_eps;
    float mixer_eps; // of norms inside the mixer; 0: there are none
    bool grouped;    // scales of groups of heads and channels are calibrated (arch/groups.h)
    const struct arch *arch;
};

// The sizes among them that the family has, by name: for people and for telling models apart.
struct arch_dim {
    const char *name;
    int value;
};
enum { ARCH_MOST_DIMS = 16 };
int arch_dims(const struct dims *dims, struct arch_dim found[ARCH_MOST_DIMS]); // how many
// All of it that decides results, in one line of text.
void arch_dims_text(const struct dims *dims, char *text, size_t room);

// Sizes in terms of the dims.
enum arch_extent {
    EXTENT_END,
    EXTENT_ONE,
    EXTENT_D,
    EXTENT_I,
    EXTENT_2I,
    EXTENT_N,
    EXTENT_K,
    EXTENT_R,
    EXTENT_R_2N,
    EXTENT_H,
    EXTENT_GN,
    EXTENT_I_2GN,    // channels of conv1d
    EXTENT_2I_2GN_H, // z, x, B, C, dt
    EXTENT_VOCAB
};
int64_t arch_size(enum arch_extent extent, const struct dims *dims); // 1 for EXTENT_END

// Masks of components and of sites are uint32_t.
enum {
    ARCH_MOST_COMPONENTS = 32,
    ARCH_MOST_SITES = 32,
    ARCH_NAME_CHARS = 32,
    ARCH_MOST_POINTERS_BYTES = 8192
}; // of layer_bytes and of work_bytes

// A tensor that can be captured at every layer: [L, width].  In a token's way through the layer; the last is
// the layer's output, by which reports judge where they show one number for a layer.
struct arch_component {
    const char *name;
    enum arch_extent width;
};

// Where activations are observed for their scales.
enum site_kind { SITE_OF_EXTREMES, SITE_OF_QUANTILES }; // what the reference implementation looks at
enum site_group { SITE_INPUT = 1, SITE_OUTPUT = 2 };    // of a projection; groups of --observer
struct arch_site {
    const char *name, *option; // in result files; on the command line
    enum site_kind kind;
    unsigned groups;        // site_group; 0: in none
    const char *heading[2]; // of a column, in two lines
    bool grouped;           // has a scale for each group where dims->grouped is set
};

// A tensor of a layer in a float checkpoint.
struct arch_tensor {
    const char *name; // behind "backbone.layers.<layer>."
    enum arch_extent shape[4];
    bool squeezes; // dimensions of size 1 may be there or not
    bool halves;   // is rounded to FP16 in modes of that precision
};

// Forms in which a layer's weights lie in memory.
enum packed_form { PACKED_FP32, PACKED_FP16, PACKED_BY_UNIT, PACKED_FORMS };

// What is needed of each unit of a layer that is a weight: bits that the family knows.
struct needs {
    uint32_t of[RECIPE_MOST_UNITS];
};

struct arch {
    const char *name;       // in result files
    const char *title;      // for people
    const char *model_type; // of config.json
    const char
        *layer_class; // what names of its layers there have in them, in ssm_cfg.layer; NULL: the first's

    // Local.  The rest of config.json, once the family is known.
    enum status (*describe)(struct config *config, const struct config_source *source, struct error *err);
    // Binds the layers, and what is codes around them, of a quantized checkpoint; NULL: the family has none.
    enum status (*bind_codes)(struct model *model, const struct config *config, struct error *err);
    // Is it the name of something in such a checkpoint?
    bool (*knows_codes)(const struct model *model, const char *name);
    // Makes rows of the channels of the float model of which such a checkpoint, where it is reordered, has
    // its own, and settles them.  STATUS_INPUT: it was made of another.  NULL: none is ever reordered.
    enum status (*find_order)(const struct model *model, const struct model *reference,
                              const struct kernels *kernels, struct groups *order, struct error *err);
    bool rotates_inner; // d_inner must have a Hadamard transform; d_model must
    bool groups;        // groups of heads and channels may have scales of their own (arch/groups.h)
    bool float_only;    // it has no quantized modes

    const struct arch_tensor *tensors;
    const struct arch_component *components;
    const struct arch_site *sites;
    int n_tensors, n_components, n_sites;
    // What of a layer may be on a grid (recipe/recipe.h); weights first, in the order of the tensors behind
    // the first of those.
    struct units units;
    uint64_t products; // 1 << unit: weights that tokens are multiplied with
    // Local.  Does a layer's product with a weight take codes on both sides?  NULL: it always does.
    bool (*takes_codes)(const struct setting *setting, int unit);
    // Local.  The site whose scale an activation has that is a unit; -1: it has none.  NULL: no unit of the
    // family may be FORMAT_INT8_GIVEN.
    int (*site_of)(int unit);
    // Local.  The values of a unit that is a weight, [rows][depth] in scratch, in the basis in which it is
    // quantized.  NULL: nobody may ask.
    const float *(*weight_values)(const struct packing *packing, int unit, int *rows, int *depth);
    // Local.  Are two forms of a weight in a packed layer the same bits?  False: the unit is none, or one is
    // not there.
    bool (*same_weight)(const struct dims *dims, const void *layer, int unit, enum format a, enum format b);

    // The weights of a layer: layer_bytes of pointers into the block, which carve_layer() takes or measures.
    size_t layer_bytes;
    // needs: of the layer, for PACKED_BY_UNIT.
    void (*carve_layer)(const struct dims *dims, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer);
    // Local.  Adds what a layer's setting needs of its weights; NULL: every setting needs the same.
    void (*need)(const struct setting *setting, struct needs *needs);
    // Local.  Settings that give the same bits become the same; NULL: none do but those that are equal.
    void (*canonical)(struct setting *setting);
    // Local.  Inputs of a unit that is the weight of a projection, which groups of 4-bit formats divide; else
    // 0.
    int (*depth)(const struct dims *dims, int unit);
    size_t (*scratch_bytes)(const struct dims *dims);
    void (*pack)(const struct packing *packing, enum packed_form form, void *layer);

    // Activations of the longest sample: work_bytes of pointers, and room for captures (struct pass).
    size_t work_bytes;
    float *(*carve)(const struct dims *dims, int max_tokens, struct arena *arena, void *work);
    // Local.  One layer: residual and h in, residual and h out.  False: give() ended it.
    bool (*layer)(const struct pass *pass);

    // What a token takes in a layer: in multiplications of a float mode, roughly, and in operations.
    double (*cost)(const struct dims *dims, const struct recipe *recipe, int layer);
    double (*operations)(const struct dims *dims);
};

// The families, the first is what a file is of that names none; NULL behind the last.
const struct arch *arch_at(int index);
const struct arch *arch_find(const char *name); // NULL: no such family

// The component of this name of `length` characters; -1: the family has none.
int arch_find_component(const struct arch *arch, const char *name, size_t length);
int arch_width(const struct dims *dims, int component); // elements per token

// Local.  The recipe of a mode in a model (recipe/recipe.h), and whether its formats suit the model's sizes.
// STATUS_INPUT: what recipe_make() says, or groups that do not divide the inputs of a weight.
struct mode;
enum status arch_recipe(struct recipe *recipe, const struct mode *mode, const struct dims *dims,
                        struct error *err);

// Local.  Outputs of a unit that is a weight; 0: it is none.
int64_t arch_weight_rows(const struct dims *dims, int unit);

static inline int arch_output(const struct arch *arch)
{
    return arch->n_components - 1;
}
static inline uint32_t arch_all_components(const struct arch *arch)
{
    return (uint32_t)((UINT64_C(1) << arch->n_components) - 1);
}

// Local.  Comma list of names or `all` -> bit mask (1u << component).  arch NULL: before the model is known;
// some family must have all the names, *mask is that family's.  STATUS_USAGE names the unknown word.
enum status component_select(const struct arch *arch, const char *list, uint32_t *mask, struct error *err);
// Is the name in such a list?
bool component_listed(const char *list, const char *name);

#endif
