// SPDX-License-Identifier: Apache-2.0
// Scales that a user gives: docs/recipes.md, "Scales of your own".
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/json.h"

// A file in the reading.
struct reading {
    const char *path;
    const struct arch *arch;
    struct error *err;
};

// Place of a name among the scales of a layer: sites, and behind them the tensors.  -1: there is none.
static int place_of(const struct arch *arch, const char *name)
{
    for (int s = 0; s < arch->n_sites; s++)
        if (strcmp(arch->sites[s].name, name) == 0) return s;
    const int unit = strncmp(name, UNIT_WEIGHT, sizeof UNIT_WEIGHT - 1) ? -1 : units_find(&arch->units, name);
    return unit < 0 ? -1 : arch->n_sites + unit + 1;
}

static enum status read_layer(const struct reading *in, const struct json *layer, int index, float *scales)
{
    char got[JSON_DESCRIBE_CHARS];
    json_describe(layer, got);
    if (!json_is_object(layer))
        return error_set(in->err, STATUS_INPUT, "%s: layer %d: expected an object of scales, got %s",
                         in->path, index, got);
    for (const struct json *scale = json_first(layer); scale; scale = json_next(scale)) {
        const int place = place_of(in->arch, json_key(scale));
        const float value = (float)json_number(scale);
        json_describe(scale, got);
        if (place < 0)
            return error_set(
                in->err, STATUS_INPUT,
                "%s: layer %d: '%.64s' is no site and no weight of %s; docs/recipes.md lists them", in->path,
                index, json_key(scale), in->arch->title);
        if (!json_is_number(scale) || !(value > 0) || isinf(value))
            return error_set(in->err, STATUS_INPUT,
                             "%s: layer %d: '%.64s': expected one finite number above 0, got %s", in->path,
                             index, json_key(scale), got);
        scales[place] = value;
    }
    return STATUS_OK;
}

static enum status read_layers(const struct reading *in, const struct json *root, int n_layer, float *scales)
{
    const struct json *layers = json_get(root, "layers");
    const size_t row = (size_t)(in->arch->n_sites + in->arch->n_tensors);
    if (!json_is_array(layers) || json_count(layers) != (size_t)n_layer)
        return error_set(
            in->err, STATUS_INPUT,
            "%s: 'layers': expected a list of %d objects, one for each layer of the model, got %s "
            "of %zu",
            in->path, n_layer, json_is_array(layers) ? "a list" : "something else", json_count(layers));
    int index = 0;
    for (const struct json *layer = json_first(layers); layer; layer = json_next(layer), index++)
        if (read_layer(in, layer, index, scales + (size_t)index * row)) return in->err->status;
    return STATUS_OK;
}

// What results depend on is the scales, not how the file writes them.
static enum status digest(struct model *model, size_t count, struct error *err)
{
    unsigned char bytes[HASH_BYTES];
    struct hash *hash = hash_open();
    if (!hash) return error_memory(err, 1, "a digest");
    hash_update(hash, model->scales, count * sizeof *model->scales);
    hash_finish(hash, bytes);
    hash_close(hash);
    hash_hex(bytes, model->scales_hex);
    return STATUS_OK;
}

enum status model_set_scales(struct model *model, const char *path, struct error *err)
{
    const struct arch *arch = model->dims.arch;
    const struct reading in = {path, arch, err};
    const size_t count = (size_t)model->dims.n_layer * (size_t)(arch->n_sites + arch->n_tensors);
    struct json *root = NULL;
    if (!path) return STATUS_OK;
    if (model_is_codes(model))
        return error_set(err, STATUS_USAGE,
                         "--scales: the scales come from the %s checkpoint %s; leave the option out",
                         model_kind_name(model->kind), model->directory);
    if (!arch->site_of)
        return error_set(err, STATUS_USAGE, "--scales: %s has no units of format int8-given; leave it out",
                         arch->title);
    float *scales = calloc(count, sizeof *scales);
    if (!scales) return error_memory(err, count * sizeof *scales, "the scales");
    if (json_read_file(&root, path, err) || read_layers(&in, root, model->dims.n_layer, scales)) {
        free(scales);
        json_close(root);
        return err->status;
    }
    json_close(root);
    model->scales = scales;
    return digest(model, count, err);
}
