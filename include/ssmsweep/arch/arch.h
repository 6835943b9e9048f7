// SPDX-License-Identifier: Apache-2.0
// What a family of models is: its sizes, the tensors of a layer, what can be captured and where activations
// are observed.  A family never knows a mode's name, a rank or a file; nobody else counts its components and
// sites or knows them by name.
#ifndef SSMSWEEP_ARCH_ARCH_H
#define SSMSWEEP_ARCH_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

struct arch;

// The letters of the equations: L tokens of a sample, D = d_model, I = d_inner, N = d_state, K = d_conv, R =
// dt_rank.  What a family has no use for is 0.
struct dims {
    int n_layer;
    int d_model; // D
    int d_inner; // I = expand * D
    int d_state; // N
    int d_conv;  // K
    int dt_rank; // R
    int vocab_size;
    float norm_eps;
    const struct arch *arch;
};

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
    EXTENT_VOCAB
};
int64_t arch_size(enum arch_extent extent, const struct dims *dims); // 1 for EXTENT_END

// Masks of components and of sites are uint32_t.
enum { ARCH_MOST_COMPONENTS = 32, ARCH_MOST_SITES = 32, ARCH_NAME_CHARS = 32 };

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
};

struct arch {
    const char *name;  // in result files
    const char *title; // for people
    const struct arch_component *components;
    const struct arch_site *sites;
    int n_components, n_sites;
};

// The families, the first is what a file is of that names none; NULL behind the last.
const struct arch *arch_at(int index);
const struct arch *arch_find(const char *name); // NULL: no such family

// Of names: `length` characters.  -1: it is none of the family.
int arch_find_component(const struct arch *arch, const char *name, size_t length);
int arch_width(const struct dims *dims, int component); // elements per token
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

// Local.  Comma list of indices (negative count from the end), ranges a-b, `first`, `last`, `all` ->
// wanted[n_layer], each 0 or 1.  STATUS_USAGE names an index outside the model.
enum status layer_select(const char *list, int n_layer, uint32_t *wanted, struct error *err);

#endif
