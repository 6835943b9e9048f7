// SPDX-License-Identifier: Apache-2.0
// Every dataset of the result file, once: made for a new file, opened and checked for an existing one.
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "store_handle.h"
#include "store_layout.h"
#include "writer.h"

hid_t *store_output_at(const struct store *store, int run, int layer, int component)
{
    return &store->outputs[((size_t)run * (size_t)store->n_layer + (size_t)layer) * COMPONENT_COUNT +
                           (size_t)component];
}

// ---- one dataset ----

struct element {
    hid_t stored;
    H5T_class_t type_class;
    size_t bytes;
};

static struct element float_element(void)
{
    return (struct element){H5T_IEEE_F32LE, H5T_FLOAT, sizeof(float)};
}

static struct element int_element(void)
{
    return (struct element){H5T_STD_I32LE, H5T_INTEGER, sizeof(int32_t)};
}

static struct element byte_element(void)
{
    return (struct element){H5T_STD_U8LE, H5T_INTEGER, 1};
}

static hid_t lay_out(struct store *store, const struct store_plan *view, const char *name,
                     struct element element, int rank, const long long *shape, struct error *err)
{
    if (err->status) return 0;
    if (view->existing) {
        struct store_expected expected = {element.type_class, element.bytes, rank, {1, 1, 1}};
        for (int d = 0; d < rank; d++)
            expected.shape[d] = shape[d];
        return store_open_data(view->existing, name, &expected, err);
    }
    hsize_t extent[3];
    for (int d = 0; d < rank; d++)
        extent[d] = (hsize_t)shape[d];
    hid_t space = H5Screate_simple(rank, extent, NULL);
    hid_t data =
        H5Dcreate2(store->file, name, element.stored, space, view->group_list, view->data_list, H5P_DEFAULT);
    H5Sclose(space);
    if (data >= 0) return data;
    store_hdf5_error(err, store->path, name);
    return 0;
}

static void put_site_names(struct store *store, hid_t data, struct error *err)
{
    enum { NAME_ROOM = 32 };
    char names[SITE_COUNT][NAME_ROOM] = {{0}};
    if (err->status) return;
    for (int s = 0; s < SITE_COUNT; s++)
        snprintf(names[s], NAME_ROOM, "%s", site_name((enum scale_site)s));
    hsize_t count = SITE_COUNT;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &count, NULL);
    H5Tset_size(type, NAME_ROOM);
    hid_t attribute = H5Acreate2(data, "sites", type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, names) < 0) store_hdf5_error(err, store->path, "sites");
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

// "float", or the cell's calib_data_num.
static void cell_label(const struct plan *plan, int cell, char label[STORE_LABEL_ROOM])
{
    if (cell == PLAN_FLOAT_CELL)
        snprintf(label, STORE_LABEL_ROOM, STORE_FLOAT_LABEL);
    else
        snprintf(label, STORE_LABEL_ROOM, "%d", plan->calib_data_num[cell]);
}

// ---- all of them ----

static void lay_out_rows(struct store *store, const struct store_plan *view, const char *under,
                         struct store_rows *rows, struct error *err)
{
    char name[STORE_PATH_ROOM];
    long long shape[2] = {store->samples, HASH_BYTES};
    snprintf(name, sizeof name, "%s/state", under);
    rows->state = lay_out(store, view, name, byte_element(), 1, shape, err);
    snprintf(name, sizeof name, "%s/digest", under);
    rows->digest = lay_out(store, view, name, byte_element(), 2, shape, err);
}

static void lay_out_calibration(struct store *store, const struct store_plan *view, struct error *err)
{
    long long observed[3] = {store->samples, store->n_layer, SITE_COUNT};
    if (store->n_cells == 0) return;
    for (int c = 0; c < store->n_cells; c++) {
        char label[STORE_LABEL_ROOM], name[STORE_PATH_ROOM];
        cell_label(view->plan, c, label);
        snprintf(name, sizeof name, "/calibration/%s/scales", label);
        store->scales[c] = lay_out(store, view, name, float_element(), 2, observed + 1, err);
        if (!view->existing) put_site_names(store, store->scales[c], err);
    }
    store->observed = lay_out(store, view, "/calibration/observed", float_element(), 3, observed, err);
    if (!view->existing) put_site_names(store, store->observed, err);
    lay_out_rows(store, view, "/calibration", &store->calibration, err);
}

static void lay_out_run(struct store *store, const struct store_plan *view, int run, struct error *err)
{
    char label[STORE_LABEL_ROOM], under[64], name[STORE_PATH_ROOM];
    const char *mode = view->plan->runs[run].mode->name;
    cell_label(view->plan, view->plan->runs[run].cell, label);
    for (int l = 0; l < store->n_layer; l++)
        for (int c = 0; c < COMPONENT_COUNT; c++) {
            if (!(view->plan->want[l] & 1u << c)) continue;
            long long shape[3] = {store->samples, view->corpus->max_tokens,
                                  component_width(view->dims, (enum component)c)};
            snprintf(name, sizeof name, "/outputs/%s/%s/layer_%d/%s", label, mode, l,
                     component_name((enum component)c));
            *store_output_at(store, run, l, c) = lay_out(store, view, name, float_element(), 3, shape, err);
        }
    snprintf(under, sizeof under, "/items/%s/%s", label, mode);
    lay_out_rows(store, view, under, &store->items[run], err);
    snprintf(name, sizeof name, "%s/seconds", under);
    long long samples = store->samples;
    store->items[run].seconds = lay_out(store, view, name, float_element(), 1, &samples, err);
}

void store_lay_out(struct store *store, const struct store_plan *view, struct error *err)
{
    long long ids[2] = {view->corpus->samples, view->corpus->max_tokens};
    store->token_ids = lay_out(store, view, "/samples/token_ids", int_element(), 2, ids, err);
    store->length = lay_out(store, view, "/samples/length", int_element(), 1, ids, err);
    lay_out_calibration(store, view, err);
    for (int r = 0; r < store->n_runs; r++)
        lay_out_run(store, view, r, err);
}

static void close_one(hid_t data)
{
    if (data > 0) H5Dclose(data);
}

static void close_rows(const struct store_rows *rows)
{
    close_one(rows->state);
    close_one(rows->digest);
    close_one(rows->seconds);
}

void store_close_data(struct store *store)
{
    for (int r = 0; r < store->n_runs; r++) {
        for (int l = 0; l < store->n_layer; l++)
            for (int c = 0; c < COMPONENT_COUNT; c++)
                close_one(*store_output_at(store, r, l, c));
        close_rows(&store->items[r]);
    }
    for (int c = 0; c < store->n_cells; c++)
        close_one(store->scales[c]);
    close_one(store->observed);
    close_rows(&store->calibration);
    close_one(store->token_ids);
    close_one(store->length);
}

// ---- the handle ----

void store_free(struct store *store)
{
    if (!store) return;
    writer_close(store->writer);
    free(store->outputs);
    free(store->items);
    free(store->scales);
    free(store->path);
    free(store);
}

struct store *store_new(const struct comm *comm, const char *path, const struct store_plan *view,
                        struct error *err)
{
    const struct plan *plan = view->plan;
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        error_memory(err, sizeof *store, "the store");
        return NULL;
    }
    store->comm = *comm;
    store->n_runs = plan->n_runs;
    store->n_cells = plan->n_cells;
    store->n_layer = plan->n_layer;
    store->samples = view->corpus->samples;
    store->max_tokens = view->corpus->max_tokens;
    for (int c = 0; c < COMPONENT_COUNT; c++)
        store->width[c] = component_width(view->dims, (enum component)c);
    size_t tensors = (size_t)plan->n_runs * (size_t)plan->n_layer * COMPONENT_COUNT;
    store->path = strdup(path);
    store->outputs = calloc(tensors + 1, sizeof *store->outputs);
    store->items = calloc((size_t)plan->n_runs + 1, sizeof *store->items);
    store->scales = calloc((size_t)plan->n_cells + 1, sizeof *store->scales);
    if (!store->path || !store->outputs || !store->items || !store->scales)
        error_memory(err, tensors * sizeof *store->outputs, "the store");
    return store;
}
