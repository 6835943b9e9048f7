// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compare/baseline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/compare/metric.h"
#include "ssmsweep/compare/view.h"

struct baseline {
    const char *path;
    const struct comparison *comparison;
    const struct result *result;
    struct checks *checks;
    int common;
};

// Which entry an object of the old file is about.
struct place {
    const char *mode, *component;
    struct cell cell;
    int layer;
};

static const struct comparison_entry *find_entry(const struct baseline *baseline, const struct place *place)
{
    const struct comparison *c = baseline->comparison;
    for (int i = 0; i < c->count; i++) {
        const struct result_run *run = result_run_at(baseline->result, c->entries[i].run);
        if (c->entries[i].layer == place->layer && cell_compare(view_cell(run), place->cell) == 0 &&
            strcmp(run->mode, place->mode) == 0 &&
            strcmp(component_name(c->entries[i].component), place->component) == 0)
            return &c->entries[i];
    }
    return NULL;
}

// Of a correlation that is undefined, equal outputs make 1.
static double settled(double value, double mse, bool correlation)
{
    return correlation && isnan(value) && mse == 0 ? 1 : value;
}

// A value that is no longer a number is worse; what was none can only be as bad.
static bool worse(double now, double old, bool higher_is_better)
{
    if (isnan(old)) return false;
    return isnan(now) || (higher_is_better ? now < old : now > old);
}

static double old_value(const struct json *object, const char *name)
{
    const struct json *value = json_get(object, name);
    return json_is_number(value) ? json_number(value) : (double)NAN;
}

static enum status check_object(struct baseline *baseline, const struct json *object,
                                const struct place *place, struct error *err)
{
    static const char *const names[] = {"mse", "mae", "relative_mae", "correlation"};
    const struct comparison_entry *entry = find_entry(baseline, place);
    if (!entry || view_is_reference(baseline->comparison, baseline->result, entry->run)) return STATUS_OK;
    struct check check = {.kind = "baseline", .good = true};
    char cell[CELL_NAME_ROOM];
    baseline->common++;
    snprintf(check.name, sizeof check.name, "mode %s, calib_data_num %s, layer %d, %s", place->mode,
             cell_name(place->cell, cell), place->layer, place->component);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool correlation = i == 3;
        double old = settled(old_value(object, names[i]), old_value(object, "mse"), correlation);
        double now = settled(metric_value(&entry->record, metric_find(names[i], strlen(names[i]))),
                             entry->record.mse, correlation);
        if (!worse(now, old, correlation)) continue;
        size_t used = strlen(check.text);
        snprintf(check.text + used, sizeof check.text - used, "%s%s is %.9g, was %.9g",
                 used ? ", " : "worse: ", names[i], now, old);
        check.good = false;
    }
    return checks_add(baseline->checks, &check, err);
}

static int whole_number(const struct json *object, const char *key)
{
    const struct json *n = json_get(object, key);
    double value = json_is_number(n) ? json_number(n) : 0;
    return value >= 0 && value <= 1e6 ? (int)value : 0;
}

static struct cell cell_of(const struct json *object)
{
    return (struct cell){whole_number(object, "calib_data_num"), whole_number(object, "order")};
}

// The object of a layer and, below it, of its other components.
static enum status check_layer(struct baseline *baseline, const struct json *layer, struct place place,
                               struct error *err)
{
    place.component = json_string(json_get(layer, "component"));
    if (place.component && check_object(baseline, layer, &place, err)) return err->status;
    for (const struct json *c = json_first(json_get(layer, "components")); c; c = json_next(c)) {
        place.component = json_key(c);
        if (check_object(baseline, c, &place, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status check_single(struct baseline *baseline, const struct json *root, struct error *err)
{
    struct place place = {.mode = json_string(json_get(root, "compared_mode")),
                          .cell = cell_of(json_get(root, "provenance"))};
    for (const struct json *layer = json_first(json_get(root, "layers")); layer && place.mode;
         layer = json_next(layer)) {
        if (sscanf(json_key(layer), "layer_%d", &place.layer) != 1) continue;
        if (check_layer(baseline, layer, place, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status check_summary(struct baseline *baseline, const struct json *root, struct error *err)
{
    static const char *const keys[] = {"first_layer", "last_layer"};
    for (const struct json *mode = json_first(json_get(root, "modes")); mode; mode = json_next(mode)) {
        struct place place = {.mode = json_string(json_get(mode, "mode")), .cell = cell_of(mode)};
        for (int k = 0; k < 2 && place.mode; k++) {
            const struct json *layer = json_get(mode, keys[k]), *number = json_get(layer, "layer");
            if (!json_is_number(number)) continue;
            int index = (int)fmin(1e6, fmax(-1, json_number(number)));
            if (k == 1 && index == place.layer) continue; // a single layer is both
            place.layer = index;
            if (check_layer(baseline, layer, place, err)) return err->status;
        }
    }
    return STATUS_OK;
}

enum status baseline_check(const char *path, const struct comparison *comparison, const struct result *result,
                           struct checks *checks, struct error *err)
{
    struct json *root;
    if (json_read_file(&root, path, err)) return err->status;
    struct baseline baseline = {path, comparison, result, checks, 0};
    const char *reference = json_string(json_get(root, "reference_mode"));
    if (!reference)
        error_set(err, STATUS_INPUT, "%s: no 'reference_mode' in it; give a comparison JSON of ssmsweep",
                  path);
    else if (strcmp(reference, view_reference_name(comparison, result)) != 0)
        error_set(err, STATUS_INPUT, "%s: compares with '%.32s', this comparison with '%s'; give --reference",
                  path, reference, view_reference_name(comparison, result));
    else if (json_is_array(json_get(root, "modes")))
        check_summary(&baseline, root, err);
    else
        check_single(&baseline, root, err);
    if (!err->status && baseline.common == 0)
        error_set(
            err, STATUS_INPUT,
            "%s: no mode, layer and component in common with this comparison; give that of the same job",
            path);
    json_close(root);
    return err->status;
}
