// SPDX-License-Identifier: Apache-2.0
// Reading facts out of config.json, for the families.
#ifndef SSMSWEEP_ARCH_CONFIG_PARTS_H
#define SSMSWEEP_ARCH_CONFIG_PARTS_H

#include "ssmsweep/arch/config.h"
#include "ssmsweep/base/json.h"

// Bounds keep every later product of sizes far from overflow.
enum { MAX_D_MODEL = 65536, MAX_LAYERS = CONFIG_MOST_LAYERS, MAX_VOCAB = 1 << 24 };

struct config_source {
    const char *path;
    const struct json *root, *ssm; // `ssm`: ssm_cfg of the original layout
    struct notes *notes;
};

// One fact under the names that it has: of Hugging Face's layout, of the original, and of the original inside
// ssm_cfg.  NULL: no such name.
struct fact {
    const char *hugging_face, *original, *in_ssm;
};

bool config_is_there(const struct json *value);
bool config_is_empty(const struct json *value); // not there, or an empty list or object
// The value of a fact, NULL where no name of it is there, and the name that it stands under: the first one
// that is there, or the first one at all.
const struct json *config_find(const struct config_source *in, const struct fact *fact, const char **key);
void config_note_contradiction(const struct config_source *in, const char *used, const char *left);

enum status config_bad_value(const struct config_source *in, const char *key, const char *expected,
                             struct error *err);
// Whole number from 1 to `most`.
enum status config_read_whole(const struct config_source *in, const char *key, const struct json *value,
                              int most, int *out, struct error *err);
// A missing fact is `otherwise`, where 0 says that it is required.
enum status config_read_int(const struct config_source *in, const struct fact *fact, int most, int otherwise,
                            int *out, struct error *err);
// A switch that the family fixes: missing is fine, the other value is another model.
enum status config_want_bool(const struct config_source *in, const struct fact *fact, bool wanted,
                             struct error *err);

// model_type and architectures: each alone may tell that it is another model.
enum status config_check_type(const struct config_source *in, const struct arch *arch, struct error *err);
// The layers' class in ssm_cfg, the first of a list; NULL: none is said.
const char *config_layer_name(const struct config_source *in);
// The kind of model that its layers make: `plain`, W8A8Q..., W4A8Q..., W4A16Q... of it, or a list of the last
// two, one for each layer (W4AX).  STATUS_INPUT: something else.
enum status config_read_kind(const struct config_source *in, const char *plain, bool lists,
                             struct config *config, struct error *err);
// Norm, embedding and lm_head as they must be for a model of config->kind; config->embedding and lm_head.
enum status config_check_parts(const struct config_source *in, struct config *config, struct error *err);
// No attention, MLP, bias of projections, other activation, and the like.
enum status config_check_plain(const struct config_source *in, struct error *err);
// d_inner: stated, or expand * d_model.
enum status config_read_inner(const struct config_source *in, struct dims *dims, struct error *err);
// What every family has, before and behind its own sizes: d_model, n_layer, vocab_size; norm_eps and what is
// tied.
enum status config_read_sizes(const struct config_source *in, struct dims *dims, struct error *err);
enum status config_read_rest(const struct config_source *in, struct config *config, struct error *err);

#endif
