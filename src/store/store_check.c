// SPDX-License-Identifier: Apache-2.0
#include "store_check.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <stdbool.h>
#include <stdlib.h>

#include "ssmsweep/store/store.h"
#include "store_layout.h"

enum { MAX_EXTENT = 1 << 28, MAX_TEXT_BYTES = STORE_MOST_JOB_BYTES + 1 };

enum status store_torn(const struct store_file *file, const char *name, const char *what, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: %.200s: %s; the file is torn or was not written by ssmsweep",
                     file->path, name, what);
}

static const char *check_type(hid_t data, const struct store_expected *expected)
{
    hid_t type = H5Dget_type(data);
    if (type < 0) return "unreadable type";
    bool fits = H5Tget_class(type) == expected->type_class && H5Tget_size(type) == expected->type_bytes;
    H5Tclose(type);
    return fits ? NULL : "unexpected element type";
}

static const char *check_shape(hid_t data, struct store_expected *expected)
{
    hsize_t shape[STORE_RANKS] = {1, 1, 1, 1, 1};
    hid_t space = H5Dget_space(data);
    if (space < 0) return "unreadable shape";
    bool fits =
        H5Sget_simple_extent_type(space) == H5S_SIMPLE && H5Sget_simple_extent_ndims(space) == expected->rank;
    if (fits) H5Sget_simple_extent_dims(space, shape, NULL);
    H5Sclose(space);
    for (int d = 0; fits && d < expected->rank; d++) {
        if (shape[d] == 0 || shape[d] > MAX_EXTENT) fits = false;
        if (expected->shape[d] >= 0 && (hsize_t)expected->shape[d] != shape[d]) fits = false;
        expected->shape[d] = (long long)shape[d];
    }
    return fits ? NULL : "unexpected shape";
}

// The bytes of the whole dataset must lie inside the file: a cut file is found here, and sizes are believed
// only now.
static const char *check_storage(const struct store_file *file, hid_t data,
                                 const struct store_expected *expected)
{
    hid_t list = H5Dget_create_plist(data);
    bool contiguous = list >= 0 && H5Pget_layout(list) == H5D_CONTIGUOUS && H5Pget_external_count(list) == 0;
    H5Pclose(list);
    if (!contiguous) return "expected contiguous storage inside the file";
    double bytes = (double)expected->type_bytes;
    for (int d = 0; d < expected->rank; d++)
        bytes *= (double)expected->shape[d];
    haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF || (double)offset + bytes > (double)file->size_bytes)
        return "data reach beyond the end";
    return NULL;
}

hid_t store_access(void)
{
    enum { CACHE_BYTES = 1 << 19, SIEVE_BYTES = 1 << 12 }; // the latter of each open dataset
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5AC_cache_config_t cache = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    H5Pset_sieve_buf_size(access, SIEVE_BYTES);
    if (H5Pget_mdc_config(access, &cache) < 0) return access;
    cache.set_initial_size = true;
    cache.initial_size = cache.min_size = cache.max_size = CACHE_BYTES;
    cache.incr_mode = H5C_incr__off;
    cache.flash_incr_mode = H5C_flash_incr__off;
    cache.decr_mode = H5C_decr__off;
    H5Pset_mdc_config(access, &cache);
    return access;
}

void store_tidy(void)
{
    H5garbage_collect();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

hid_t store_open_data(const struct store_file *file, const char *name, struct store_expected *expected,
                      struct error *err)
{
    hid_t data = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (data < 0) {
        store_torn(file, name, "missing dataset", err);
        return 0;
    }
    const char *problem = check_type(data, expected);
    if (!problem) problem = check_shape(data, expected);
    if (!problem) problem = check_storage(file, data, expected);
    if (!problem) return data;
    store_torn(file, name, problem, err);
    H5Dclose(data);
    return 0;
}

enum status store_read_all(const struct store_file *file, const char *name, struct store_expected *expected,
                           hid_t type, void *values, struct error *err)
{
    hid_t data = store_open_data(file, name, expected, err);
    if (!data) return err->status;
    if (H5Dread(data, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        store_torn(file, name, "unreadable", err);
    H5Dclose(data);
    return err->status;
}

// Room for the terminating NUL included; 0 where the attribute is no scalar string of fixed size.
static size_t text_room(hid_t attribute, hid_t type)
{
    hid_t space = H5Aget_space(attribute);
    bool scalar = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (space >= 0) H5Sclose(space);
    if (!scalar || H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0) return 0;
    size_t bytes = H5Tget_size(type);
    return bytes <= MAX_TEXT_BYTES ? bytes + 1 : 0;
}

char *store_read_text(const struct store_file *file, const char *name)
{
    hid_t attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    if (attribute < 0) return calloc(1, 1);
    hid_t type = H5Aget_type(attribute);
    size_t room = type < 0 ? 0 : text_room(attribute, type);
    char *text = calloc(room ? room : 1, 1);
    if (text && room && H5Aread(attribute, type, text) < 0) text[0] = '\0';
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    return text;
}
