// SPDX-License-Identifier: Apache-2.0
// A model folder: config.json and weights, float or quantized, checked and mapped.
#ifndef SSMSWEEP_ARCH_MODEL_H
#define SSMSWEEP_ARCH_MODEL_H

#include <stdbool.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/checkpoint.h"

// What weights are; those of a quantized model are codes and scales: docs/numerics.md, "Quantized weights".
enum model_kind {
    MODEL_FLOAT,
    MODEL_W8A8,  // INT8 codes, with scales of activations
    MODEL_W4A8,  // projections in 4 bits, the rest as W8A8
    MODEL_W4A16, // projections in 4 bits, the rest FP16: no scales of activations
    MODEL_W4AX,  // each layer W4A8 or W4A16
    MODEL_KINDS
};

// What stands around its layers, where that is codes too: docs/numerics.md, section 4.
struct code_ends {
    const struct tensor *embedding; // [vocab] scales of the embedding's rows; NULL: it is float
    float lm_head, lm_head_input;   // scales of an INT8 lm_head and of what goes into it; 0: there is none
    bool lm_head_4bit; // lm_head is in 4 bits; lm_head_input as above, or 0 where FP16 goes into it
};

struct groups;
struct kernels;

struct model {
    enum model_kind kind;
    char *directory;
    struct checkpoint *checkpoint;
    struct dims dims;
    unsigned char *layer_kinds;     // [n_layer] enum model_kind of MODEL_W4AX; NULL: kind
    const struct tensor *embedding; // [vocab, D]; of codes: rows rotated, float, I8, or I32 [vocab, D / 8]
    const struct tensor *norm_f;    // [D]; of codes: all ones
    const struct tensor *lm_head;   // [vocab, D]; the embedding if the checkpoint has none; rotated alike;
                                    // words of 4 bits as they are stored
    const struct tensor **tensors;  // [n_layer][n_tensors] in the order of the family, shapes as stored
    float *scales; // [n_layer][n_sites + n_tensors] that a checkpoint of codes or model_set_scales() brings;
                   // 0, NULL: none
    char scales_hex[HASH_HEX_CHARS + 1]; // digest of the latter; "": none
    struct code_ends ends;               // of a checkpoint of codes
    bool reordered;       // its heads and channels stand in another order than in the float model
    struct groups *order; // that one, beside a reference; its dims are NULL, its ends mean nothing
    struct tensor *views; // what tensors and lm_head point to where the file stores it otherwise
    // The float weights that the float modes use, borrowed; NULL: the model's own (of codes: those,
    // dequantized and rotated back).
    const struct model *reference;
    enum dtype dtype;                    // of the embedding: what reports call the model's dtype
    char digest_hex[HASH_HEX_CHARS + 1]; // of the weights: checkpoint_piece()
    struct digesting *digesting;         // NULL: none under way
    struct notes notes;                  // what was taken though files contradict each other, and the like
};

// Are its weights codes and scales?
static inline bool model_is_codes(const struct model *model)
{
    return model->kind != MODEL_FLOAT;
}
static inline enum model_kind model_layer_kind(const struct model *model, int layer)
{
    return model->layer_kinds ? (enum model_kind)model->layer_kinds[layer] : model->kind;
}

// Local.  A tensor of a layer, and the scales of a layer of codes: of its sites, and behind those of its
// tensors.
static inline const struct tensor *model_tensor(const struct model *model, int layer, int tensor)
{
    return model->tensors[layer * model->dims.arch->n_tensors + tensor];
}
static inline const float *model_scales(const struct model *model, int layer)
{
    return model->scales + (long)layer * (model->dims.arch->n_sites + model->dims.arch->n_tensors);
}

// Local.  Row `id` of the embedding of a struct model, out[d_model]; of codes: code * scale of the row, which
// is exact.  As struct embedding has it.
void model_embedding_row(const void *model, int32_t id, float *out);

const char *model_kind_name(enum model_kind kind);       // "W8A8", ...; "float"
const char *model_dtype_name(const struct model *model); // "F16", ... or that

// Local.  What a checkpoint of codes makes of the modes: the format that their weights start in, unless
// `given` by the user, and its layers without scales of activations.  Before any recipe is made.
void model_set_modes(const struct model *model, bool given);

// Makes `reference` (a float model, which must outlive this one) the source of the float modes, and finds the
// order of its heads and channels where the checkpoint has another.  STATUS_INPUT: another size, no float
// model, or none that has those heads.
enum status model_set_reference(struct model *model, const struct model *reference,
                                const struct kernels *kernels, struct error *err);

// Local.  Takes the scales of FORMAT_INT8_GIVEN for a float model from a JSON file; 0 where it has none: the
// unit's own.  path NULL: nothing.  STATUS_USAGE: a W8A8 checkpoint, a family without the format;
// STATUS_INPUT: another number of layers, an unknown name, no scale.
enum status model_set_scales(struct model *model, const char *path, struct error *err);

// Local.  The norm behind the scan in so many equal parts; 0 leaves it.  STATUS_USAGE: the family has none,
// or d_inner is no multiple.
enum status model_set_norm_groups(struct model *model, int groups, struct error *err);

// Local.  Reads config.json and the weights of `directory`; checks architecture (Jamba, ... are
// named and refused), every shape, that the Hadamard rotation exists for D and I, and that no weight is NaN
// or Inf. Errors: STATUS_INPUT, STATUS_IO.  model_close() frees; a zeroed model is fine.
enum status model_open(struct model *model, const char *directory, struct error *err);
void model_close(struct model *model);

// The same in steps, for processes that share the work on one file.  model_open_unread() does all that does
// not read the weights themselves.
enum status model_open_unread(struct model *model, const char *directory, struct error *err);
// Weight number 0, 1, ... of those that must be finite, on a token's way through the model; NULL behind the
// last.  Codes are finite.
const struct tensor *model_weight(const struct model *model, size_t number);
// Gives the memory of weights that were read so far, also those of the reference, back to the page cache.
void model_release(const struct model *model);
// Local.  Begins to read the weights, in threads of its own: hashes the pieces of this part of the `parts`
// processes, until one holds NaN or Inf.
enum status model_digest_begin(struct model *model, int part, int parts, int threads, struct error *err);
// Local.  Waits.  *digests, the model's: those of all pieces, zeros for the pieces of other parts and from
// one with NaN or Inf on; the caller brings those of all parts together.  NULL where none are under way.
enum status model_digest_join(struct model *model, unsigned char **digests, size_t *size_bytes,
                              struct error *err);
// Local.  From the digests of all pieces digest_hex.  Nothing where none are under way.  STATUS_INPUT: a
// weight is not finite; which of several is named does not depend on who read what.
enum status model_digest_finish(struct model *model, struct error *err);
void model_digest_cancel(struct model *model); // model_close() does so too

// Folder of the embedded demo model: $SSMSWEEP_DEMO where it is set, else share/ssmsweep/demo of the prefix
// that holds the program or the source tree's jobs/demo, whichever exists first.  Caller frees.  STATUS_INPUT
// if it is in none of them.
enum status model_demo_directory(char **directory, struct error *err);

// Folder of the model that a user names: NULL: the demo model's; "mamba2-demo", where no folder is called so:
// that of the Mamba-2 demo model, which lies beside the first and is called like it with "-mamba2" behind;
// else the name itself.  Caller frees.  STATUS_INPUT: a demo model is not there.
enum status model_find_directory(const char *named, char **directory, struct error *err);

#endif
