// SPDX-License-Identifier: Apache-2.0
// config.json of a Mamba-1 model.
#include <math.h>
#include <string.h>

#include "config_parts.h"
#include "mamba1_parts.h"

enum { MAX_D_STATE = 256, MAX_D_CONV = 16, DEFAULT_D_STATE = 16, DEFAULT_D_CONV = 4 };
static const double DEFAULT_MIXER_EPS = 1e-6;

static const struct fact d_state_fact = {"state_size", "d_state", "d_state"},
                         d_conv_fact = {"conv_kernel", "d_conv", "d_conv"},
                         dt_rank_fact = {"time_step_rank", "dt_rank", "dt_rank"};

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

static enum status check_architecture(const struct config_source *in, struct config *config,
                                      struct error *err)
{
    if (config_check_type(in, config->dims.arch, err) || read_mixer_eps(in, &config->dims, err) ||
        read_layer_kind(in, in->ssm, &config->kind, err) || config_check_parts(in, config, err))
        return err->status;
    if (config->kind != MODEL_FLOAT && config->dims.arch->float_only)
        return config_bad_value(in, "ssm_cfg.layer", "a float model", err);
    return config_check_plain(in, err);
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

static enum status read_dims(const struct config_source *in, struct dims *dims, struct error *err)
{
    if (config_read_sizes(in, dims, err) ||
        config_read_int(in, &d_state_fact, MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        config_read_int(in, &d_conv_fact, MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        config_read_inner(in, dims, err))
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
