// SPDX-License-Identifier: Apache-2.0
// config.json of a Mamba-1 model.
#include <math.h>
#include <string.h>

#include "config_parts.h"
#include "mamba1_parts.h"

enum {
    MAX_D_INNER = 262144,
    MAX_EXPAND = 64,
    MAX_D_STATE = 256,
    MAX_D_CONV = 16,
    DEFAULT_D_STATE = 16,
    DEFAULT_D_CONV = 4,
    DEFAULT_EXPAND = 2
};
static const double DEFAULT_MIXER_EPS = 1e-6;

static const struct fact d_state_fact = {"state_size", "d_state", "d_state"},
                         d_conv_fact = {"conv_kernel", "d_conv", "d_conv"},
                         expand_fact = {"expand", NULL, "expand"},
                         d_inner_fact = {"intermediate_size", "d_inner", "d_inner"},
                         dt_rank_fact = {"time_step_rank", "dt_rank", "dt_rank"},
                         bias_fact = {"use_bias", "bias", "bias"},
                         conv_bias_fact = {"use_conv_bias", "conv_bias", "conv_bias"},
                         rms_norm_fact = {NULL, "rms_norm", NULL};

// ---- the kind of model ----

// Norms of dt_low, B and C: Falcon-Mamba has them, whatever else the file says.
static enum status read_mixer_eps(const struct config_source *in, struct dims *dims, struct error *err)
{
    static const struct fact fact = {"mixer_rms_eps", NULL, NULL};
    const char *key;
    const struct json *value = config_find(in, &fact, &key);
    const double eps = value ? json_number(value) : DEFAULT_MIXER_EPS;
    if (dims->arch != &arch_falcon_mamba)
        return value ? config_bad_value(in, key,
                                        "no such key, or model_type 'falcon_mamba' (Falcon-Mamba normalizes "
                                        "B, C and dt)",
                                        err)
                     : STATUS_OK;
    if (!(eps > 1e-30 && eps < 1)) return config_bad_value(in, key, "a number above 0 and below 1", err);
    dims->mixer_eps = (float)eps;
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

static enum status read_layer_kind(const struct config_source *in, const struct json *ssm,
                                   enum model_kind *kind, struct error *err)
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

static enum status check_norm(const struct config_source *in, enum model_kind kind, struct error *err)
{
    const char *wanted = kind == MODEL_W8A8 ? "QRMSNorm" : "RMSNorm";
    const struct json *value = json_get(json_get(in->root, "norm_cfg"), "norm");
    const char *name = json_string(value);
    if (!value || json_is_null(value) || (name && strcmp(name, wanted) == 0)) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key 'norm_cfg.norm': expected '%s', got '%.64s'; not supported",
                     in->path, wanted, name ? name : "no string");
}

// What stands around the layers: float, or INT8 codes in a W8A8 checkpoint.
static enum status read_part(const struct config_source *in, const char *section, const char *as_float,
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

static enum status check_parts(const struct config_source *in, struct config *config, struct error *err)
{
    const bool codes = config->kind == MODEL_W8A8;
    if (check_norm(in, config->kind, err) ||
        read_part(in, "embedding_cfg", "Embedding", codes ? "W8O16Embedding" : NULL, &config->embedding, err))
        return err->status;
    return read_part(in, "lm_head_cfg", "Linear", codes ? "W8A8B16O16Linear" : NULL, &config->lm_head, err);
}

static enum status check_architecture(const struct config_source *in, struct config *config,
                                      struct error *err)
{
    if (config_check_type(in, config->dims.arch, err) || read_mixer_eps(in, &config->dims, err) ||
        read_layer_kind(in, in->ssm, &config->kind, err) || check_parts(in, config, err))
        return err->status;
    if (config->kind != MODEL_FLOAT && config->dims.arch->float_only)
        return config_bad_value(in, "ssm_cfg.layer", "a float model", err);
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

// ---- sizes ----

// dt_rank: a number, or "auto" for ceil(D/16).
static enum status read_dt_rank(const struct config_source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, &dt_rank_fact, &key);
    const char *word = json_string(value);
    if (word && strcmp(word, "auto") != 0)
        return config_bad_value(in, key, "a whole number or \"auto\"", err);
    dims->dt_rank = (dims->d_model + 15) / 16;
    if (!value || word) return STATUS_OK;
    return config_read_whole(in, key, value, MAX_D_MODEL, &dims->dt_rank, err);
}

// What is stated wins over int(expand * d_model), as in the models' own code.
static enum status read_inner(const struct config_source *in, struct dims *dims, struct error *err)
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

static enum status read_dims(const struct config_source *in, struct dims *dims, struct error *err)
{
    if (config_read_sizes(in, dims, err) ||
        config_read_int(in, &d_state_fact, MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        config_read_int(in, &d_conv_fact, MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        read_inner(in, dims, err))
        return err->status;
    return read_dt_rank(in, dims, err);
}

enum status mamba1_describe(struct config *config, const struct config_source *in, struct error *err)
{
    if (check_architecture(in, config, err)) return err->status;
    const bool classes = !config_is_empty(json_get(in->root, "architectures"));
    if (!config_is_there(json_get(in->root, "model_type")) &&
        !config_is_there(json_get(in->root, "d_model")) && !classes)
        return error_set(err, STATUS_INPUT, "%s: key 'model_type' is missing; expected 'mamba'", in->path);
    return read_dims(in, &config->dims, err) ? err->status : config_read_rest(in, config, err);
}
