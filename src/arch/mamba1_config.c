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

static enum status check_architecture(const struct config_source *in, struct config *config,
                                      struct error *err)
{
    if (config_check_type(in, config->dims.arch, err) || read_mixer_eps(in, &config->dims, err) ||
        config_read_kind(in, "Mamba1", false, config, err) || config_check_parts(in, config, err))
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
