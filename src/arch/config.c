// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "config_parts.h"

enum { DEFAULT_VOCAB_MULTIPLE = 8, MAX_D_INNER = 262144, MAX_EXPAND = 64, DEFAULT_EXPAND = 2 };

static const struct fact d_model_fact = {"hidden_size", "d_model", NULL},
                         n_layer_fact = {"num_hidden_layers", "n_layer", NULL},
                         vocab_fact = {"vocab_size", NULL, NULL},
                         eps_fact = {"layer_norm_epsilon", "norm_epsilon", NULL},
                         tied_fact = {"tie_word_embeddings", "tie_embeddings", NULL},
                         expand_fact = {"expand", NULL, "expand"},
                         d_inner_fact = {"intermediate_size", "d_inner", "d_inner"},
                         bias_fact = {"use_bias", "bias", "bias"},
                         conv_bias_fact = {"use_conv_bias", "conv_bias", "conv_bias"},
                         rms_norm_fact = {NULL, "rms_norm", NULL};

// ---- values ----

enum status config_bad_value(const struct config_source *in, const char *key, const char *expected,
                             struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %s; this model is not supported as it is",
                     in->path, key, expected);
}

bool config_is_there(const struct json *value)
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

void config_note_contradiction(const struct config_source *in, const char *used, const char *left)
{
    notes_add(in->notes, "%s: keys '%s' and '%s' contradict each other; '%s' is taken", in->path, used, left,
              used);
}

const struct json *config_find(const struct config_source *in, const struct fact *fact, const char **key)
{
    const struct {
        const struct json *object;
        const char *key;
    } places[] = {{in->root, fact->hugging_face}, {in->root, fact->original}, {in->ssm, fact->in_ssm}};
    const struct json *found = NULL;
    *key = fact->hugging_face ? fact->hugging_face : fact->original;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const struct json *value = places[i].key ? json_get(places[i].object, places[i].key) : NULL;
        if (!config_is_there(value)) continue;
        if (found && !same_value(found, value)) config_note_contradiction(in, *key, places[i].key);
        if (found) continue;
        found = value;
        *key = places[i].key;
    }
    return found;
}

static enum status config_missing(const struct config_source *in, const struct fact *fact, struct error *err)
{
    if (!fact->original)
        return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a Mamba model names it", in->path,
                         fact->hugging_face);
    return error_set(err, STATUS_INPUT,
                     "%s: key '%s' is missing, and so is '%s'; a Mamba model names one of them", in->path,
                     fact->hugging_face, fact->original);
}

enum status config_read_whole(const struct config_source *in, const char *key, const struct json *value,
                              int most, int *out, struct error *err)
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

enum status config_read_int(const struct config_source *in, const struct fact *fact, int most, int otherwise,
                            int *out, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, fact, &key);
    if (value) return config_read_whole(in, key, value, most, out, err);
    if (!otherwise) return config_missing(in, fact, err);
    *out = otherwise;
    return STATUS_OK;
}

enum status config_want_bool(const struct config_source *in, const struct fact *fact, bool wanted,
                             struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, fact, &key);
    if (!value || (json_is_bool(value) && json_bool(value) == wanted)) return STATUS_OK;
    return config_bad_value(in, key, wanted ? "true" : "false", err);
}

bool config_is_empty(const struct json *value)
{
    return !value || json_is_null(value) ||
           ((json_is_array(value) || json_is_object(value)) && json_count(value) == 0);
}

// ---- architectures that look alike ----

// `type`: model_type.  `class`: how names in `architectures` begin; the longer of two that begin alike is
// first.
static const struct {
    const char *type, *class, *name;
} known[] = {{"mamba", "MambaFor", "Mamba-1"},
             {"mamba2", "Mamba2", "Mamba-2"},
             {"mamba3", "Mamba3", "Mamba-3"},
             {"jamba", "Jamba", "Jamba, a hybrid with attention"},
             {"falcon_mamba", "FalconMamba", "Falcon-Mamba"},
             {"zamba2", "Zamba2", "Zamba2, a hybrid with attention"},
             {"zamba", "Zamba", "Zamba, a hybrid with attention"},
             {"bamba", "Bamba", "Bamba, a hybrid with attention"},
             {"nemotron_h", "NemotronH", "Nemotron-H, a hybrid with attention"},
             {"falcon_h1", "FalconH1", "Falcon-H1, a hybrid with attention"},
             {"plamo2", "Plamo2", "PLaMo 2, a hybrid with attention"},
             {"granitemoehybrid", "GraniteMoeHybrid", "Granite 4, a hybrid with attention"}};
enum { KNOWN = sizeof known / sizeof known[0] };

static const char *describe_type(const char *type)
{
    for (size_t i = 0; i < KNOWN; i++)
        if (strcmp(known[i].type, type) == 0) return known[i].name;
    return "another architecture";
}

static enum status check_class(const struct config_source *in, const struct arch *arch, const char *class,
                               struct error *err)
{
    size_t i = 0;
    while (i < KNOWN && strncmp(class, known[i].class, strlen(known[i].class)) != 0)
        i++;
    if (i == KNOWN || strcmp(known[i].type, arch->model_type) == 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: key 'architectures': expected a %s model, as 'model_type' or its absence says, got "
                     "'%.64s' (%s); correct one of the two keys",
                     in->path, arch->title, class, known[i].name);
}

enum status config_check_type(const struct config_source *in, const struct arch *arch, struct error *err)
{
    const struct json *value = json_get(in->root, "model_type");
    const char *type = json_string(value);
    if (value && !type) return config_bad_value(in, "model_type", "a string", err);
    if (type && strcmp(type, arch->model_type) != 0)
        return error_set(
            err, STATUS_INPUT,
            "%s: key 'model_type': expected '%s' (%s), got '%.64s' (%s); this architecture is not "
            "supported",
            in->path, arch->model_type, arch->title, type, describe_type(type));
    const struct json *classes = json_get(in->root, "architectures");
    for (const struct json *class = json_is_array(classes) ? json_first(classes) : NULL; class;
         class = json_next(class))
        if (json_string(class) && check_class(in, arch, json_string(class), err)) return err->status;
    return STATUS_OK;
}

// ---- the kind of model ----

// Names of classes are those of Quamba2's writer: KIND and Q, then the class of a float layer.
static const struct {
    enum model_kind kind;
    const char *key, *prefix, *norm;
} kinds[] = {{MODEL_W8A8, "W8A8", "W8A8Q", "QRMSNorm"},
             {MODEL_W4A8, "W4A8", "W4A8Q", "QRMSNorm"},
             {MODEL_W4A16, "W4A16", "W4A16Q", "RMSNorm"}};
enum { CODE_KINDS = sizeof kinds / sizeof kinds[0] };

// MODEL_FLOAT: none of them.
static enum model_kind kind_of_class(const char *name, const char *base)
{
    for (int i = 0; name && i < CODE_KINDS; i++) {
        const size_t bytes = strlen(kinds[i].prefix);
        if (strncmp(name, kinds[i].prefix, bytes) == 0 && strcmp(name + bytes, base) == 0)
            return kinds[i].kind;
    }
    return MODEL_FLOAT;
}

static const char *norm_of(enum model_kind kind)
{
    for (int i = 0; i < CODE_KINDS; i++)
        if (kinds[i].kind == kind) return kinds[i].norm;
    return "RMSNorm";
}

static enum status bad_layer(const struct config_source *in, const char *base, const char *place,
                             const char *name, const char *why, struct error *err)
{
    return error_set(
        err, STATUS_INPUT,
        "%s: key 'ssm_cfg.layer'%s: expected the class of its layers, of a float %s, or W8A8Q%s, "
        "W4A8Q%s or W4A16Q%s, got '%.64s'%s; not supported",
        in->path, place, base, base, base, base, name ? name : "no string", why);
}

// {"W4A8": "W4A8QMamba2"} for each layer.
static enum status read_listed(const struct config_source *in, const struct json *list, const char *base,
                               struct config *config, struct error *err)
{
    int layer = 0;
    for (const struct json *one = json_first(list); one; one = json_next(one), layer++) {
        char place[48];
        const struct json *value = json_is_object(one) ? json_first(one) : NULL;
        const enum model_kind kind = kind_of_class(json_string(value), base);
        snprintf(place, sizeof place, ", layer %d", layer);
        if (value && json_count(one) > 1)
            return bad_layer(in, base, place, json_string(value), " and another, two precisions in one layer",
                             err);
        if (layer == CONFIG_MOST_LAYERS || (kind != MODEL_W4A8 && kind != MODEL_W4A16))
            return bad_layer(in, base, place, json_string(value),
                             " in a list (W4AX has layers of W4A8 and W4A16)", err);
        config->layer_kinds[layer] = (unsigned char)kind;
    }
    config->listed = layer;
    config->kind = MODEL_W4AX;
    return layer > 0 ? STATUS_OK : bad_layer(in, base, "", "[]", ", an empty list", err);
}

enum status config_read_kind(const struct config_source *in, const char *plain, bool lists,
                             struct config *config, struct error *err)
{
    const struct json *value = json_get(in->ssm, "layer");
    const char *name = json_string(value), *listed = config_layer_name(in);
    const char *base = strcmp(plain, "Mamba1") == 0 ? "Mamba" : plain;
    config->kind = kind_of_class(name, base);
    if (!config_is_there(value) || (name && strcmp(name, plain) == 0) || config->kind != MODEL_FLOAT)
        return STATUS_OK;
    if (json_is_array(value) && lists) return read_listed(in, value, base, config, err);
    return bad_layer(in, base, "", listed ? listed : name,
                     json_is_array(value) ? " and others, a list (W4AX, which Mamba-2 alone has)" : "", err);
}

// ---- what every family wants ----

static enum status bad_norm(const struct config_source *in, const char *wanted, const char *name,
                            struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key 'norm_cfg.norm': expected '%s', got '%.64s'; not supported",
                     in->path, wanted, name ? name : "no string");
}

// The class of the first layer's norm, or of each.
static enum status check_norm(const struct config_source *in, const struct config *config, struct error *err)
{
    const struct json *value = json_get(json_get(in->root, "norm_cfg"), "norm");
    int layer = 0;
    if (!config_is_there(value)) return STATUS_OK;
    if (config->kind != MODEL_W4AX || !json_is_array(value)) {
        const char *name = json_string(value),
                   *wanted = norm_of(config->listed ? (enum model_kind)config->layer_kinds[0] : config->kind);
        return name && strcmp(name, wanted) == 0 ? STATUS_OK : bad_norm(in, wanted, name, err);
    }
    for (const struct json *one = json_first(value); one && layer < config->listed;
         one = json_next(one), layer++) {
        const char *name = json_is_object(one) ? json_string(json_first(one)) : json_string(one),
                   *wanted = norm_of((enum model_kind)config->layer_kinds[layer]);
        if (!name || strcmp(name, wanted) != 0) return bad_norm(in, wanted, name, err);
    }
    return STATUS_OK;
}

// What stands around the layers: float, or in a checkpoint of codes one of these.
struct part_class {
    const char *name;
    enum config_part part;
};
static const struct part_class embeddings[] = {{"Embedding", PART_FLOAT},
                                               {"W8O16Embedding", PART_INT8},
                                               {"W4O16Embedding", PART_INT4_A16},
                                               {NULL, PART_UNSAID}},
                               lm_heads[] = {{"Linear", PART_FLOAT},
                                             {"W8A8B16O16Linear", PART_INT8},
                                             {"W4A8B16O16Linear", PART_INT4_A8},
                                             {"W4A16B16O16Linear", PART_INT4_A16},
                                             {NULL, PART_UNSAID}};

static enum status read_part(const struct config_source *in, const char *section,
                             const struct part_class *classes, bool codes, enum config_part *part,
                             struct error *err)
{
    const struct json *value = json_get(json_get(in->root, section), "layer");
    const char *name = json_string(value);
    char expected[128] = "";
    *part = PART_UNSAID;
    if (!config_is_there(value)) return STATUS_OK;
    for (int i = 0; classes[i].name && (i == 0 || codes); i++) {
        const size_t used = strlen(expected);
        snprintf(expected + used, sizeof expected - used, "%s'%s'", i ? " or " : "", classes[i].name);
        if (name && strcmp(name, classes[i].name) == 0) *part = classes[i].part;
    }
    if (*part != PART_UNSAID) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key '%s.layer': expected %s, got '%.64s'; not supported",
                     in->path, section, expected, name ? name : "no string");
}

enum status config_check_parts(const struct config_source *in, struct config *config, struct error *err)
{
    const bool codes = config->kind != MODEL_FLOAT;
    if (check_norm(in, config, err) ||
        read_part(in, "embedding_cfg", embeddings, codes, &config->embedding, err))
        return err->status;
    return read_part(in, "lm_head_cfg", lm_heads, codes, &config->lm_head, err);
}

enum status config_check_plain(const struct config_source *in, struct error *err)
{
    if (!config_is_empty(json_get(in->root, "attn_layer_idx")))
        return config_bad_value(in, "attn_layer_idx", "no attention layers, got some (a hybrid model)", err);
    if (json_number(json_get(in->root, "d_intermediate")) != 0)
        return config_bad_value(in, "d_intermediate", "0 (no MLP between the Mamba blocks)", err);
    if (!config_is_empty(json_get(in->root, "quantization_config")))
        return config_bad_value(in, "quantization_config", "a float checkpoint, got a quantized one", err);
    const struct json *act = json_get(in->root, "hidden_act");
    const char *name = json_string(act);
    if (act && (!name || (strcmp(name, "silu") != 0 && strcmp(name, "swish") != 0)))
        return error_set(err, STATUS_INPUT,
                         "%s: key 'hidden_act': expected 'silu', got '%.64s'; not supported", in->path,
                         name ? name : "no string");
    if (config_want_bool(in, &bias_fact, false, err) || config_want_bool(in, &conv_bias_fact, true, err))
        return err->status;
    return config_want_bool(in, &rms_norm_fact, true, err);
}

// ---- what every family has ----

// In the original layout the vocabulary is padded to a multiple that the embedding has and vocab_size does
// not show; Hugging Face's names the rows.
static enum status read_vocab(const struct config_source *in, struct dims *dims, struct error *err)
{
    static const struct fact multiple_fact = {"pad_vocab_size_multiple", NULL, NULL};
    int multiple = DEFAULT_VOCAB_MULTIPLE;
    if (config_read_int(in, &vocab_fact, MAX_VOCAB, 0, &dims->vocab_size, err) ||
        config_read_int(in, &multiple_fact, 65536, DEFAULT_VOCAB_MULTIPLE, &multiple, err))
        return err->status;
    if (!config_is_there(json_get(in->root, d_model_fact.hugging_face)))
        dims->vocab_size = (dims->vocab_size + multiple - 1) / multiple * multiple;
    return STATUS_OK;
}

enum status config_read_sizes(const struct config_source *in, struct dims *dims, struct error *err)
{
    if (config_read_int(in, &d_model_fact, MAX_D_MODEL, 0, &dims->d_model, err) ||
        config_read_int(in, &n_layer_fact, MAX_LAYERS, 0, &dims->n_layer, err))
        return err->status;
    return read_vocab(in, dims, err);
}

// What is stated wins over int(expand * d_model), as in the models' own code.
enum status config_read_inner(const struct config_source *in, struct dims *dims, struct error *err)
{
    const char *key, *inner_key;
    const struct json *value = config_find(in, &expand_fact, &key),
                      *stated = config_find(in, &d_inner_fact, &inner_key);
    const double expand = value ? json_number(value) : DEFAULT_EXPAND;
    if (value && !(json_is_number(value) && expand > 0 && expand <= MAX_EXPAND))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected a number above 0, up to %d", in->path,
                         key, MAX_EXPAND);
    const double product = floor(expand * dims->d_model);
    if (stated) {
        if (config_read_whole(in, inner_key, stated, MAX_D_INNER, &dims->d_inner, err)) return err->status;
        if (value && product != dims->d_inner) config_note_contradiction(in, inner_key, key);
        return STATUS_OK;
    }
    if (!(product >= 1 && product <= MAX_D_INNER))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected 1 to %d inner channels, got %.17g",
                         in->path, key, MAX_D_INNER, product);
    dims->d_inner = (int)product;
    return STATUS_OK;
}

static enum status read_eps(const struct config_source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, &eps_fact, &key);
    double eps = value ? json_number(value) : 1e-5;
    if (!(eps > 1e-30 && eps < 1)) return config_bad_value(in, key, "a number above 0 and below 1", err);
    dims->norm_eps = (float)eps;
    return STATUS_OK;
}

// Not said: tied, unless the file has an lm_head of its own.
static enum status read_tied(const struct config_source *in, struct config *config, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, &tied_fact, &key);
    if (value && !json_is_bool(value)) return config_bad_value(in, key, "true or false", err);
    config->tied = !value || json_bool(value);
    config->tied_key = value && config->tied ? key : NULL;
    return STATUS_OK;
}

enum status config_read_rest(const struct config_source *in, struct config *config, struct error *err)
{
    if (config->listed && config->listed != config->dims.n_layer)
        return error_set(err, STATUS_INPUT,
                         "%s: key 'ssm_cfg.layer': expected %d layers, as n_layer says, got %d", in->path,
                         config->dims.n_layer, config->listed);
    return read_eps(in, &config->dims, err) ? err->status : read_tied(in, config, err);
}

// ---- the family ----

static const struct arch *family_of_type(const char *type)
{
    for (int i = 0; type && arch_at(i); i++)
        if (strcmp(arch_at(i)->model_type, type) == 0) return arch_at(i);
    return NULL;
}

const char *config_layer_name(const struct config_source *in)
{
    const struct json *value = json_get(in->ssm, "layer");
    return json_is_array(value) ? json_string(json_first(json_first(value))) : json_string(value);
}

// The one that model_type names, else the class of the model, else that of its layers; the first one refuses
// what is none.
static const struct arch *family_of(const struct config_source *in)
{
    const char *type = json_string(json_get(in->root, "model_type")), *layer = config_layer_name(in);
    const struct json *classes = json_get(in->root, "architectures");
    const char *class = json_is_array(classes) ? json_string(json_first(classes)) : NULL;
    for (size_t i = 0; !type && class && i < KNOWN; i++)
        if (strncmp(class, known[i].class, strlen(known[i].class)) == 0) type = known[i].type;
    const struct arch *found = family_of_type(type);
    for (int i = 0; !type && layer && arch_at(i); i++)
        if (arch_at(i)->layer_class && strstr(layer, arch_at(i)->layer_class)) found = arch_at(i);
    return found ? found : arch_at(0);
}

enum status config_read(struct config *config, const char *path, struct notes *notes, struct error *err)
{
    struct json *root;
    if (json_read_file(&root, path, err)) return err->status;
    const struct config_source in = {path, root, json_get(root, "ssm_cfg"), notes};
    struct config found = {.dims.arch = family_of(&in)};
    if (!json_is_object(root))
        error_set(err, STATUS_INPUT, "%s: expected a JSON object", path);
    else if (found.dims.arch->describe(&found, &in, err) == STATUS_OK)
        *config = found;
    json_close(root);
    return err->status;
}
