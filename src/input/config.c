// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/config.h"

#include <math.h>
#include <string.h>

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
    const struct json *root;
};

// ---- values ----

static enum status bad_value(const struct source *in, const char *key, const char *expected,
                             struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %s; this model is not supported as it is",
                     in->path, key, expected);
}

// Whole number from 1 to `most`; a missing key or null gives `otherwise`, where 0 says that the key is
// required.
static enum status read_int(const struct source *in, const struct json *object, const char *key, int most,
                            int otherwise, int *out, struct error *err)
{
    const struct json *value = json_get(object, key);
    double v = json_number(value);
    if ((!value || json_is_null(value)) && otherwise) {
        *out = otherwise;
        return STATUS_OK;
    }
    if (!value)
        return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a Mamba model names it", in->path, key);
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

// dt_rank: a number, or "auto" for ceil(D/16).
static enum status read_dt_rank(const struct source *in, const struct json *object, const char *key,
                                struct dims *dims, struct error *err)
{
    const char *word = json_string(json_get(object, key));
    int automatic = (dims->d_model + 15) / 16;
    if (word && strcmp(word, "auto") != 0) return bad_value(in, key, "a whole number or \"auto\"", err);
    if (word) {
        dims->dt_rank = automatic;
        return STATUS_OK;
    }
    return read_int(in, object, key, MAX_D_MODEL, automatic, &dims->dt_rank, err);
}

static enum status read_eps(const struct source *in, const char *key, struct dims *dims, struct error *err)
{
    const struct json *value = json_get(in->root, key);
    double eps = value ? json_number(value) : 1e-5;
    if (!(eps > 1e-30 && eps < 1)) return bad_value(in, key, "a number above 0 and below 1", err);
    dims->norm_eps = (float)eps;
    return STATUS_OK;
}

// A switch that Mamba-1 fixes: missing is fine, the other value is another model.
static enum status want_bool(const struct source *in, const struct json *object, const char *key, bool wanted,
                             struct error *err)
{
    const struct json *value = json_get(object, key);
    if (!value || (json_is_bool(value) && json_bool(value) == wanted)) return STATUS_OK;
    return bad_value(in, key, wanted ? "true" : "false", err);
}

static bool is_empty(const struct json *value)
{
    return !value || json_is_null(value) ||
           ((json_is_array(value) || json_is_object(value)) && json_count(value) == 0);
}

// ---- architectures that look alike ----

static const char *describe(const char *type)
{
    static const struct {
        const char *type, *name;
    } known[] = {{"mamba2", "Mamba-2"},
                 {"jamba", "Jamba, a hybrid with attention"},
                 {"falcon_mamba", "Falcon-Mamba, which normalizes B, C and dt"},
                 {"zamba", "Zamba, a hybrid with attention"},
                 {"zamba2", "Zamba2, a hybrid with attention"},
                 {"bamba", "Bamba, a hybrid with attention"},
                 {"nemotron_h", "Nemotron-H, a hybrid with attention"},
                 {"falcon_h1", "Falcon-H1, a hybrid with attention"},
                 {"granitemoehybrid", "Granite 4, a hybrid with attention"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].type, type) == 0) return known[i].name;
    return "another architecture";
}

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
    return STATUS_OK;
}

// "Mamba2" is another architecture, "W8A8QMamba" a quantized checkpoint; other widths are not read.
static enum status read_layer_kind(const struct source *in, const struct json *ssm, enum model_kind *kind,
                                   struct error *err)
{
    const struct json *value = json_get(ssm, "layer");
    const char *name = json_string(value);
    if (name && strcmp(name, "W8A8QMamba") == 0) {
        *kind = MODEL_W8A8;
        return STATUS_OK;
    }
    *kind = MODEL_FLOAT;
    if (!value || json_is_null(value) || (name && strcmp(name, "Mamba1") == 0)) return STATUS_OK;
    return error_set(
        err, STATUS_INPUT,
        "%s: key 'ssm_cfg.layer': expected 'Mamba1' or 'W8A8QMamba', got '%.64s'; use a float or "
        "W8A8 Mamba-1 checkpoint",
        in->path, name ? name : "no string");
}

// The parts around the layers of a quantized checkpoint: only float ones are read.
static enum status check_part(const struct source *in, const char *section, const char *key,
                              const char *wanted, struct error *err)
{
    const struct json *value = json_get(json_get(in->root, section), key);
    const char *name = json_string(value);
    if (!value || json_is_null(value) || (name && strcmp(name, wanted) == 0)) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key '%s.%s': expected '%s', got '%.64s'; not supported",
                     in->path, section, key, wanted, name ? name : "no string");
}

static enum status check_parts(const struct source *in, enum model_kind kind, struct error *err)
{
    const char *norm = kind == MODEL_W8A8 ? "QRMSNorm" : "RMSNorm";
    if (check_part(in, "norm_cfg", "norm", norm, err) ||
        check_part(in, "embedding_cfg", "layer", "Embedding", err))
        return err->status;
    return check_part(in, "lm_head_cfg", "layer", "Linear", err);
}

static enum status check_architecture(const struct source *in, enum model_kind *kind, struct error *err)
{
    const struct json *ssm = json_get(in->root, "ssm_cfg");
    if (check_type(in, err) || read_layer_kind(in, ssm, kind, err) || check_parts(in, *kind, err))
        return err->status;
    if (!is_empty(json_get(in->root, "attn_layer_idx")))
        return bad_value(in, "attn_layer_idx", "no attention layers, got some (a hybrid model)", err);
    if (!is_empty(json_get(in->root, "attn_cfg")))
        return bad_value(in, "attn_cfg", "no attention layers, got some (a hybrid model)", err);
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
    if (want_bool(in, in->root, "use_bias", false, err) ||
        want_bool(in, in->root, "use_conv_bias", true, err) ||
        want_bool(in, in->root, "rms_norm", true, err) || want_bool(in, ssm, "bias", false, err))
        return err->status;
    return want_bool(in, ssm, "conv_bias", true, err);
}

// ---- the two layouts ----

static enum status read_inner(const struct source *in, const struct json *object, const char *key,
                              struct dims *dims, struct error *err)
{
    int expand = 0, stated = 0;
    if (read_int(in, object, "expand", MAX_EXPAND, DEFAULT_EXPAND, &expand, err)) return err->status;
    int d_inner = expand * dims->d_model;
    if (d_inner > MAX_D_INNER)
        return error_set(err, STATUS_INPUT, "%s: key 'expand': expected at most %d inner channels, got %d",
                         in->path, MAX_D_INNER, d_inner);
    if (read_int(in, in->root, key, MAX_D_INNER, d_inner, &stated, err)) return err->status;
    if (stated != d_inner)
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected expand * d_model = %d, got %d", in->path,
                         key, d_inner, stated);
    dims->d_inner = d_inner;
    return STATUS_OK;
}

static enum status read_hugging_face(const struct source *in, struct dims *dims, struct error *err)
{
    const struct json *root = in->root;
    if (read_int(in, root, "hidden_size", MAX_D_MODEL, 0, &dims->d_model, err) ||
        read_int(in, root, "num_hidden_layers", MAX_LAYERS, 0, &dims->n_layer, err) ||
        read_int(in, root, "vocab_size", MAX_VOCAB, 0, &dims->vocab_size, err) ||
        read_int(in, root, "state_size", MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        read_int(in, root, "conv_kernel", MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        read_inner(in, root, "intermediate_size", dims, err))
        return err->status;
    return read_dt_rank(in, root, "time_step_rank", dims, err);
}

// The vocabulary is padded to a multiple that the embedding has and vocab_size does not show.
static enum status read_original(const struct source *in, struct dims *dims, struct error *err)
{
    const struct json *root = in->root, *ssm = json_get(root, "ssm_cfg");
    int multiple, vocab;
    if (read_int(in, root, "d_model", MAX_D_MODEL, 0, &dims->d_model, err) ||
        read_int(in, root, "n_layer", MAX_LAYERS, 0, &dims->n_layer, err) ||
        read_int(in, root, "vocab_size", MAX_VOCAB - 65536, 0, &vocab, err) ||
        read_int(in, root, "pad_vocab_size_multiple", 65536, DEFAULT_VOCAB_MULTIPLE, &multiple, err) ||
        read_int(in, ssm, "d_state", MAX_D_STATE, DEFAULT_D_STATE, &dims->d_state, err) ||
        read_int(in, ssm, "d_conv", MAX_D_CONV, DEFAULT_D_CONV, &dims->d_conv, err) ||
        read_inner(in, ssm, "d_inner", dims, err))
        return err->status;
    dims->vocab_size = (vocab + multiple - 1) / multiple * multiple;
    return read_dt_rank(in, ssm, "dt_rank", dims, err);
}

static enum status read_root(struct config *config, const struct source *in, struct error *err)
{
    if (!json_is_object(in->root))
        return error_set(err, STATUS_INPUT, "%s: expected a JSON object", in->path);
    struct config found = {0};
    if (check_architecture(in, &found.kind, err)) return err->status;
    bool original = !json_get(in->root, "model_type") && json_get(in->root, "d_model");
    if (!original && !json_get(in->root, "model_type"))
        return error_set(err, STATUS_INPUT, "%s: key 'model_type' is missing; expected 'mamba'", in->path);
    if (original ? read_original(in, &found.dims, err) : read_hugging_face(in, &found.dims, err))
        return err->status;
    if (read_eps(in, original ? "norm_epsilon" : "layer_norm_epsilon", &found.dims, err)) return err->status;
    const struct json *tied = json_get(in->root, original ? "tie_embeddings" : "tie_word_embeddings");
    found.tied = !tied || json_bool(tied);
    *config = found;
    return STATUS_OK;
}

enum status config_read(struct config *config, const char *path, struct error *err)
{
    struct json *root;
    if (json_read_file(&root, path, err)) return err->status;
    read_root(config, &(struct source){path, root}, err);
    json_close(root);
    return err->status;
}
