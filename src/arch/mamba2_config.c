// SPDX-License-Identifier: Apache-2.0
// config.json of a Mamba-2 model, in the original layout or Hugging Face's.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config_parts.h"
#include "mamba2_parts.h"

enum {
    MAX_D_STATE = 1024,
    MAX_D_CONV = 16,
    MAX_HEADS = 65536,
    MAX_CHUNK = 4096,
    DEFAULT_D_STATE = 128,
    DEFAULT_D_CONV = 4,
    DEFAULT_HEAD_DIM = 64,
    DEFAULT_GROUPS = 1,
    DEFAULT_GROUPS_HUGGING_FACE = 8,
    DEFAULT_CHUNK = 256
};

static const struct fact d_state_fact = {"state_size", "d_state", "d_state"},
                         d_conv_fact = {"conv_kernel", "d_conv", "d_conv"},
                         head_dim_fact = {"head_dim", "headdim", "headdim"},
                         n_heads_fact = {"num_heads", NULL, NULL},
                         n_groups_fact = {"n_groups", "ngroups", "ngroups"},
                         chunk_fact = {"chunk_size", "chunk_size", "chunk_size"},
                         limit_fact = {"time_step_limit", "dt_limit", "dt_limit"},
                         d_ssm_fact = {"d_ssm", NULL, "d_ssm"},
                         wide_skip_fact = {"D_has_hdim", NULL, "D_has_hdim"},
                         inner_norm_fact = {"rmsnorm", NULL, "rmsnorm"},
                         gate_fact = {NULL, "norm_before_gate", "norm_before_gate"};

static bool is_hugging_face(const struct config_source *in)
{
    return config_is_there(json_get(in->root, "hidden_size"));
}

// ---- the kind of model ----

static enum status check_architecture(const struct config_source *in, struct config *config,
                                      struct error *err)
{
    if (config_check_type(in, config->dims.arch, err) || config_read_kind(in, "Mamba2", true, config, err) ||
        config_check_parts(in, config, err) || config_check_plain(in, err) ||
        config_want_bool(in, &wide_skip_fact, false, err))
        return err->status;
    return config_want_bool(in, &inner_norm_fact, true, err);
}

// ---- sizes ----

// An MLP beside the scan: in_proj has rows for it.
static enum status check_d_ssm(const struct config_source *in, const struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, &d_ssm_fact, &key);
    if (!value || (json_is_number(value) && json_number(value) == dims->d_inner)) return STATUS_OK;
    return config_bad_value(in, key, "no such key, or all inner channels (no MLP beside the scan)", err);
}

static enum status read_heads(const struct config_source *in, struct dims *dims, struct error *err)
{
    const bool named = config_is_there(json_get(in->root, n_heads_fact.hugging_face));
    if (config_read_int(in, &head_dim_fact, dims->d_inner, DEFAULT_HEAD_DIM, &dims->head_dim, err))
        return err->status;
    dims->n_heads = dims->d_inner / dims->head_dim;
    if (named && config_read_int(in, &n_heads_fact, MAX_HEADS, 0, &dims->n_heads, err)) return err->status;
    if ((int64_t)dims->n_heads * dims->head_dim != dims->d_inner || dims->n_heads > MAX_HEADS)
        return error_set(err, STATUS_INPUT,
                         "%s: expected heads that make up the %d inner channels, got %d of head_dim %d",
                         in->path, dims->d_inner, dims->n_heads, dims->head_dim);
    const int groups = is_hugging_face(in) ? DEFAULT_GROUPS_HUGGING_FACE : DEFAULT_GROUPS;
    if (config_read_int(in, &n_groups_fact, dims->n_heads, groups, &dims->n_groups, err)) return err->status;
    if (dims->n_heads % dims->n_groups == 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected a divisor of the %d heads, got %d", in->path,
                     n_groups_fact.hugging_face, dims->n_heads, dims->n_groups);
}

// A number; infinity also as a text, or as newer versions of Hugging Face's library write it.
static bool read_limit(const struct json *value, float *out)
{
    const char *text = json_string(json_is_object(value) ? json_get(value, "__float__") : value);
    const bool infinite = text && (strcmp(text, "Infinity") == 0 || strcmp(text, "inf") == 0);
    if (!infinite && !json_is_number(value)) return false;
    *out = infinite ? INFINITY : (float)json_number(value);
    return *out >= 0;
}

static enum status read_limits(const struct config_source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = config_find(in, &limit_fact, &key), *first = json_first(value);
    dims->dt_min = 0, dims->dt_max = INFINITY;
    if (!value) return STATUS_OK;
    if (!json_is_array(value) || json_count(value) != 2 || !read_limit(first, &dims->dt_min) ||
        !read_limit(json_next(first), &dims->dt_max) || dims->dt_min > dims->dt_max)
        return config_bad_value(in, key, "two numbers from 0 to Infinity, the smaller one first", err);
    return STATUS_OK;
}

// Hugging Face's module has the gate in front of the norm, and one norm of all channels, whatever the file
// says.
static enum status read_norm(const struct config_source *in, struct dims *dims, struct error *err)
{
    const char *key;
    const struct json *value = is_hugging_face(in) ? NULL : config_find(in, &gate_fact, &key);
    if (value && !json_is_bool(value)) return config_bad_value(in, key, "true or false", err);
    dims->gate_last = value && json_bool(value);
    dims->norm_groups = is_hugging_face(in) ? 1 : dims->n_groups;
    return STATUS_OK;
}

enum status mamba2_describe(struct config *config, const struct config_source *in, struct error *err)
{
    struct dims *dims = &config->dims;
    if (check_architecture(in, config, err) || config_read_sizes(in, dims, err) ||
        config_read_int(in, &d_state_fact, MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        config_read_int(in, &d_conv_fact, MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        config_read_int(in, &chunk_fact, MAX_CHUNK, DEFAULT_CHUNK, &dims->chunk_size, err) ||
        config_read_inner(in, dims, err) || check_d_ssm(in, dims, err) || read_heads(in, dims, err) ||
        read_limits(in, dims, err) || read_norm(in, dims, err))
        return err->status;
    return config_read_rest(in, config, err);
}
