// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/config.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/base/json.h"

// Bounds keep every later product of sizes far from overflow.
enum {
    MAX_D_MODEL = 65536,
    MAX_D_INNER = 262144,
    MAX_EXPAND = 64,
    MAX_LAYERS = 1024,
    MAX_VOCAB = 1 << 24,
    MAX_D_STATE = 256,
    MAX_D_CONV = 16,
    DEFAULT_D_STATE = 16,
    DEFAULT_D_CONV = 4,
    DEFAULT_EXPAND = 2,
    DEFAULT_VOCAB_MULTIPLE = 8
};

struct source {
    const char *path;
    const struct json *root, *ssm; // `ssm`: ssm_cfg of the original layout
    struct notes *notes;
};

// One fact under the names that it has: of Hugging Face's layout, of the original, and of the original inside
// ssm_cfg.  NULL: no such name.
struct fact {
    const char *hugging_face, *original, *in_ssm;
};
static const struct fact d_model_fact = {"hidden_size", "d_model", NULL},
                         n_layer_fact = {"num_hidden_layers", "n_layer", NULL},
                         vocab_fact = {"vocab_size", NULL, NULL},
                         d_state_fact = {"state_size", "d_state", "d_state"},
                         d_conv_fact = {"conv_kernel", "d_conv", "d_conv"},
                         expand_fact = {"expand", NULL, "expand"},
                         d_inner_fact = {"intermediate_size", "d_inner", "d_inner"},
                         dt_rank_fact = {"time_step_rank", "dt_rank", "dt_rank"},
                         eps_fact = {"layer_norm_epsilon", "norm_epsilon", NULL},
                         tied_fact = {"tie_word_embeddings", "tie_embeddings", NULL},
                         bias_fact = {"use_bias", "bias", "bias"},
                         conv_bias_fact = {"use_conv_bias", "conv_bias", "conv_bias"},
                         rms_norm_fact = {NULL, "rms_norm", NULL};

// ---- values ----

static enum status bad_value(const struct source *in, const char *key, const char *expected,
                             struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %s; this model is not supported as it is",
                     in->path, key, expected);
}

static bool is_there(const struct json *value)
{
    return value && !json_is_null(value);
}

// Numbers, texts and switches alike; what is none of them is for the reader of the fact to refuse.
static bool same_value(const struct json *a, const struct json *b)
{
    const char *x = json_string(a), *y = json_string(b);
    if (x || y) return x && y && strcmp(x, y) == 0;
    if (json_is_bool(a) || json_is_bool(b))
        return json_is_bool(a) && json_is_bool(b) && json_bool(a) == json_bool(b);
    return json_number(a) == json_number(b);
}

static void note_contradiction(const struct source *in, const char *used, const char *left)
{
    notes_add(in->notes, "%s: keys '%s' and '%s' contradict each other; '%s' is taken", in->path, used, left,
              used);
}

// The value of a fact, NULL where no name of it is there, and the name that it stands under: the first one
// that is there, or the first one at all.
static const struct json *find(const struct source *in, const struct fact *fact, const char **key)
{
    const struct {
        const struct json *object;
        const char *key;
    } places[] = {{in->root, fact->hugging_face}, {in->root, fact->original}, {in->ssm, fact->in_ssm}};
    const struct json *found = NULL;
    *key = fact->hugging_face ? fact->hugging_face : fact->original;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct json *value = places[i].key ? json_get(places[i].object, places[i].key) : NULL;
        if (!is_there(value)) continue;
        if (found && !same_value(found, value)) note_contradiction(in, *key, places[i].key);
        if (found) continue;
        found = value;
        *key = places[i].key;
    }
    return found;
}

static enum status missing(const struct source *in, const struct fact *fact, struct error *err)
{
    if (!fact->original)
        return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a Mamba model names it", in->path,
                         fact->hugging_face);
    return error_set(err, STATUS_INPUT,
                     "%s: key '%s' is missing, and so is '%s'; a Mamba model names one of them", in->path,
                     fact->hugging_face, fact->original);
}

// Whole number from 1 to `most`.
static enum status read_whole(const struct source *in, const char *key, const struct json *value, int most,
                              int *out, struct error *err)
{
    const double v = json_number(value);
    if (!json_is_number(value))
        return error_set(err, STATUS_INPUT,
                         "%s: key '%s': expected a whole number from 1 to %d, got no number", in->path, key,
                         most);
    if (!(v >= 1 && v <= most) || v != floor(v))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected a whole number from 1 to %d, got %.17g",
                         in->path, key, most, v);
    *out = (int)v;
    return STATUS_OK;
}

// A missing fact is `otherwise`, where 0 says that it is required.
static enum status read_int(const struct source *in, const struct fact *fact, int most, int otherwise,
                            int *out, struct error *err)
{
    const char *key;
    const struct json *value = find(in, fact, &key);
    if (value) return read_whole(in, key, value, most, out, err);
    if (!otherwise) return missing(in, fact, err);
    *out = otherwise;
    return STATUS_OK;
}

// dt_rank: a number, or "auto" for ceil(D/16).
static enum status read_dt_rank(const struct source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = find(in, &dt_rank_fact, &key);
    const char *word = json_string(value);
    if (word && strcmp(word, "auto") != 0) return bad_value(in, key, "a whole number or \"auto\"", err);
    dims->dt_rank = (dims->d_model + 15) / 16;
    if (!value || word) return STATUS_OK;
    return read_whole(in, key, value, MAX_D_MODEL, &dims->dt_rank, err);
}

static enum status read_eps(const struct source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = find(in, &eps_fact, &key);
    double eps = value ? json_number(value) : 1e-5;
    if (!(eps > 1e-30 && eps < 1)) return bad_value(in, key, "a number above 0 and below 1", err);
    dims->norm_eps = (float)eps;
    return STATUS_OK;
}

// A switch that Mamba-1 fixes: missing is fine, the other value is another model.
static enum status want_bool(const struct source *in, const struct fact *fact, bool wanted, struct error *err)
{
    const char *key;
    const struct json *value = find(in, fact, &key);
    if (!value || (json_is_bool(value) && json_bool(value) == wanted)) return STATUS_OK;
    return bad_value(in, key, wanted ? "true" : "false", err);
}

static bool is_empty(const struct json *value)
{
    return !value || json_is_null(value) ||
           ((json_is_array(value) || json_is_object(value)) && json_count(value) == 0);
}

// ---- architectures that look alike ----

// `type`: model_type.  `class`: how names in `architectures` begin; the longer of two that begin alike is
// first.
static const struct family {
    const char *type, *class, *name;
} families[] = {{"mamba2", "Mamba2", "Mamba-2"},
                {"jamba", "Jamba", "Jamba, a hybrid with attention"},
                {"falcon_mamba", "FalconMamba", "Falcon-Mamba, which normalizes B, C and dt"},
                {"zamba2", "Zamba2", "Zamba2, a hybrid with attention"},
                {"zamba", "Zamba", "Zamba, a hybrid with attention"},
                {"bamba", "Bamba", "Bamba, a hybrid with attention"},
                {"nemotron_h", "NemotronH", "Nemotron-H, a hybrid with attention"},
                {"falcon_h1", "FalconH1", "Falcon-H1, a hybrid with attention"},
                {"plamo2", "Plamo2", "PLaMo 2, a hybrid with attention"},
                {"granitemoehybrid", "GraniteMoeHybrid", "Granite 4, a hybrid with attention"}};
enum { FAMILIES = sizeof families / sizeof families[0] };

static const char *describe(const char *type)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(families[i].type, type) == 0) return families[i].name;
    return "another architecture";
}

static enum status check_class(const struct source *in, const char *class, struct error *err)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strncmp(class, families[i].class, strlen(families[i].class)) == 0)
            return error_set(err, STATUS_INPUT,
                             "%s: key 'architectures': expected a Mamba-1 model, got '%.64s' (%s); this "
                             "architecture is not supported, whatever 'model_type' says",
                             in->path, class, families[i].name);
    return STATUS_OK;
}

// model_type, architectures, and a key that only Falcon-Mamba has: each alone may tell that it is another
// model.
static enum status check_type(const struct source *in, struct error *err)
{
    const struct json *value = json_get(in->root, "model_type");
    const char *type = json_string(value);
    if (value && !type) return bad_value(in, "model_type", "a string", err);
    if (type && strcmp(type, "mamba") != 0)
        return error_set(
            err, STATUS_INPUT,
            "%s: key 'model_type': expected 'mamba' (Mamba-1), got '%.64s' (%s); this architecture is not "
            "supported",
            in->path, type, describe(type));
    const struct json *classes = json_get(in->root, "architectures");
    for (const struct json *class = json_is_array(classes) ? json_first(classes) : NULL; class;
         class = json_next(class))
        if (json_string(class) && check_class(in, json_string(class), err)) return err->status;
    if (is_there(json_get(in->root, "mixer_rms_eps")))
        return bad_value(in, "mixer_rms_eps", "no such key (Falcon-Mamba has it, and normalizes B, C and dt)",
                         err);
    return STATUS_OK;
}

// What a layer's class name says, or NULL.  The names are those of Quamba2's writer.
static const char *describe_layer(const char *name)
{
    static const struct {
        const char *name, *meaning;
    } known[] = {{"Mamba2", "Mamba-2"},
                 {"W8A8QMamba2", "Mamba-2, W8A8"},
                 {"W4A8QMamba2", "Mamba-2 with 4-bit weights and 8-bit activations"},
                 {"W4A16QMamba2", "Mamba-2 with 4-bit weights"},
                 {"W4A8QMamba", "Mamba-1 with 4-bit weights and 8-bit activations"},
                 {"W4A16QMamba", "Mamba-1 with 4-bit weights"}};
    for (size_t i = 0; name && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0) return known[i].meaning;
    return NULL;
}

// A list names the class of each layer, {"W4A8": "W4A8QMamba2"}: the mixture of precisions that is called
// W4AX.
static const char *first_of_list(const struct json *list)
{
    return json_is_array(list) ? json_string(json_first(json_first(list))) : NULL;
}

static enum status read_layer_kind(const struct source *in, const struct json *ssm, enum model_kind *kind,
                                   struct error *err)
{
    const struct json *value = json_get(ssm, "layer");
    const char *name = json_string(value), *listed = first_of_list(value);
    *kind = name && strcmp(name, "W8A8QMamba") == 0 ? MODEL_W8A8 : MODEL_FLOAT;
    if (!value || json_is_null(value) || *kind == MODEL_W8A8 || (name && strcmp(name, "Mamba1") == 0))
        return STATUS_OK;
    const char *meaning = listed ? "layers of several precisions, W4AX" : describe_layer(name);
    return error_set(
        err, STATUS_INPUT,
        "%s: key 'ssm_cfg.layer': expected 'Mamba1' or 'W8A8QMamba', got %s'%.64s' (%s); use a float or W8A8 "
        "Mamba-1 checkpoint",
        in->path, listed ? "a list that begins with " : "",
        listed ? listed
        : name ? name
               : "no string",
        meaning ? meaning : "another kind of layer");
}

static enum status check_norm(const struct source *in, enum model_kind kind, struct error *err)
{
    const char *wanted = kind == MODEL_W8A8 ? "QRMSNorm" : "RMSNorm";
    const struct json *value = json_get(json_get(in->root, "norm_cfg"), "norm");
    const char *name = json_string(value);
    if (!value || json_is_null(value) || (name && strcmp(name, wanted) == 0)) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key 'norm_cfg.norm': expected '%s', got '%.64s'; not supported",
                     in->path, wanted, name ? name : "no string");
}

// What stands around the layers: float, or INT8 codes in a W8A8 checkpoint.
static enum status read_part(const struct source *in, const char *section, const char *as_float,
                             const char *as_int8, enum config_part *part, struct error *err)
{
    const struct json *value = json_get(json_get(in->root, section), "layer");
    const char *name = json_string(value);
    *part = PART_UNSAID;
    if (!value || json_is_null(value)) return STATUS_OK;
    if (name && strcmp(name, as_float) == 0) *part = PART_FLOAT;
    if (name && as_int8 && strcmp(name, as_int8) == 0) *part = PART_INT8;
    if (*part != PART_UNSAID) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key '%s.layer': expected '%s'%s%s%s, got '%.64s'; not supported",
                     in->path, section, as_float, as_int8 ? " or '" : "", as_int8 ? as_int8 : "",
                     as_int8 ? "'" : "", name ? name : "no string");
}

static enum status check_parts(const struct source *in, struct config *config, struct error *err)
{
    const bool codes = config->kind == MODEL_W8A8;
    if (check_norm(in, config->kind, err) ||
        read_part(in, "embedding_cfg", "Embedding", codes ? "W8O16Embedding" : NULL, &config->embedding, err))
        return err->status;
    return read_part(in, "lm_head_cfg", "Linear", codes ? "W8A8B16O16Linear" : NULL, &config->lm_head, err);
}

static enum status check_architecture(const struct source *in, struct config *config, struct error *err)
{
    if (check_type(in, err) || read_layer_kind(in, in->ssm, &config->kind, err) ||
        check_parts(in, config, err))
        return err->status;
    if (!is_empty(json_get(in->root, "attn_layer_idx")))
        return bad_value(in, "attn_layer_idx", "no attention layers, got some (a hybrid model)", err);
    if (json_number(json_get(in->root, "d_intermediate")) != 0)
        return bad_value(in, "d_intermediate", "0 (no MLP between the Mamba blocks)", err);
    if (!is_empty(json_get(in->root, "quantization_config")))
        return bad_value(in, "quantization_config", "a float checkpoint, got a quantized one", err);
    const struct json *act = json_get(in->root, "hidden_act");
    const char *name = json_string(act);
    if (act && (!name || (strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0)))
        return error_set(err, STATUS_INPUT,
                         "%s: key 'hidden_act': expected 'silu', got '%.64s'; not supported", in->path,
                         name ? name : "no string");
    if (want_bool(in, &bias_fact, false, err) || want_bool(in, &conv_bias_fact, true, err))
        return err->status;
    return want_bool(in, &rms_norm_fact, true, err);
}

// ---- sizes ----

// What is stated wins over int(expand * d_model), as in the models' own code.
static enum status read_inner(const struct source *in, struct dims *dims, struct error *err)
{
    const char *key, *inner_key;
    const struct json *value = find(in, &expand_fact, &key), *stated = find(in, &d_inner_fact, &inner_key);
    const double expand = value ? json_number(value) : DEFAULT_EXPAND;
    if (value && !(json_is_number(value) && expand > 0 && expand <= MAX_EXPAND))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected a number above 0, up to %d", in->path,
                         key, MAX_EXPAND);
    const double product = floor(expand * dims->d_model);
    if (stated) {
        if (read_whole(in, inner_key, stated, MAX_D_INNER, &dims->d_inner, err)) return err->status;
        if (value && product != dims->d_inner) note_contradiction(in, inner_key, key);
        return STATUS_OK;
    }
    if (!(product >= 1 && product <= MAX_D_INNER))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected 1 to %d inner channels, got %.17g",
                         in->path, key, MAX_D_INNER, product);
    dims->d_inner = (int)product;
    return STATUS_OK;
}

// In the original layout the vocabulary is padded to a multiple that the embedding has and vocab_size does
// not show; Hugging Face's names the rows.
static enum status read_vocab(const struct source *in, struct dims *dims, struct error *err)
{
    static const struct fact multiple_fact = {"pad_vocab_size_multiple", NULL, NULL};
    int multiple = DEFAULT_VOCAB_MULTIPLE;
    if (read_int(in, &vocab_fact, MAX_VOCAB, 0, &dims->vocab_size, err) ||
        read_int(in, &multiple_fact, 65536, DEFAULT_VOCAB_MULTIPLE, &multiple, err))
        return err->status;
    if (!is_there(json_get(in->root, d_model_fact.hugging_face)))
        dims->vocab_size = (dims->vocab_size + multiple - 1) / multiple * multiple;
    return STATUS_OK;
}

static enum status read_dims(const struct source *in, struct dims *dims, struct error *err)
{
    if (read_int(in, &d_model_fact, MAX_D_MODEL, 0, &dims->d_model, err) ||
        read_int(in, &n_layer_fact, MAX_LAYERS, 0, &dims->n_layer, err) || read_vocab(in, dims, err) ||
        read_int(in, &d_state_fact, MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        read_int(in, &d_conv_fact, MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        read_inner(in, dims, err) || read_dt_rank(in, dims, err))
        return err->status;
    return read_eps(in, dims, err);
}

// Not said: tied, unless the file has an lm_head of its own.
static enum status read_tied(const struct source *in, struct config *config, struct error *err)
{
    const char *key;
    const struct json *value = find(in, &tied_fact, &key);
    if (value && !json_is_bool(value)) return bad_value(in, key, "true or false", err);
    config->tied = !value || json_bool(value);
    config->tied_key = value && config->tied ? key : NULL;
    return STATUS_OK;
}

static enum status read_root(struct config *config, const struct source *in, struct error *err)
{
    if (!json_is_object(in->root))
        return error_set(err, STATUS_INPUT, "%s: expected a JSON object", in->path);
    struct config found = {.dims.arch = &arch_mamba1};
    if (check_architecture(in, &found, err)) return err->status;
    const bool classes = !is_empty(json_get(in->root, "architectures"));
    if (!is_there(json_get(in->root, "model_type")) && !is_there(json_get(in->root, "d_model")) && !classes)
        return error_set(err, STATUS_INPUT, "%s: key 'model_type' is missing; expected 'mamba'", in->path);
    if (read_dims(in, &found.dims, err) || read_tied(in, &found, err)) return err->status;
    *config = found;
    return STATUS_OK;
}

enum status config_read(struct config *config, const char *path, struct notes *notes, struct error *err)
{
    struct json *root;
    if (json_read_file(&root, path, err)) return err->status;
    read_root(config, &(struct source){path, root, json_get(root, "ssm_cfg"), notes}, err);
    json_close(root);
    return err->status;
}
