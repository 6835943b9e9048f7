// SPDX-License-Identifier: Apache-2.0
#include "hdf.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "ssmsweep/store/store.h"

enum { MAX_EXTENT = 1 << 28, MAX_TEXT_BYTES = STORE_MOST_JOB_BYTES + 1 };

// ---- errors ----

struct deepest {
    char text[HDF_REASON_ROOM];
};

// The ordinary driver adds time, buffers and offsets, and that of MPI-IO more words; of all that only the
// text of errno or of MPI's error is kept.
static void shorten(char *text, size_t room)
{
    char cause[100] = "";
    const char *message = strstr(text, "error message = '"), *mpi = strstr(text, "MPI error string is '");
    if (!message && !mpi) return;
    sscanf(message ? message : mpi, "%*[^']'%99[^']", cause);
    char *colon = strchr(text, ':');
    if (colon) snprintf(colon, room - (size_t)(colon - text), ": %s", cause);
}

static herr_t take_first(unsigned n, const H5E_error2_t *entry, void *context)
{
    struct deepest *deepest = context;
    if (n > 0 || !entry->desc) return 0;
    snprintf(deepest->text, sizeof deepest->text, "%s", entry->desc);
    shorten(deepest->text, sizeof deepest->text);
    return 0;
}

// errno is stale after an HDF5 call, so the room on the file system is told instead.
static void free_space(const char *path, char *text, size_t room)
{
    char folder[1024];
    struct statvfs info;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    text[0] = '\0';
    if (statvfs(slash ? folder : ".", &info) == 0)
        snprintf(text, room, " (%llu MiB free there)",
                 (unsigned long long)info.f_bavail * info.f_frsize / (1024ull * 1024ull));
}

void hdf_reason(char text[HDF_REASON_ROOM])
{
    struct deepest deepest = {"no reason given"};
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &deepest);
    H5Eclear2(H5E_DEFAULT);
    snprintf(text, HDF_REASON_ROOM, "%s", deepest.text);
}

enum status hdf_error(struct error *err, const char *path, const char *what)
{
    char reason[HDF_REASON_ROOM], space[64];
    hdf_reason(reason);
    free_space(path, space, sizeof space);
    return error_set(err, STATUS_IO, "%s: %s: %s%s", path, what, reason, space);
}

enum status hdf_torn(const struct hdf_file *file, const char *name, const char *what, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: %.200s: %s; the file is torn or was not written by ssmsweep",
                     file->path, name, what);
}

// ---- the library ----

void hdf_silence(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

void store_library(char *text, size_t room)
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(text, room, "%u.%u.%u", major, minor, release);
}

void store_prepare(void)
{
    H5dont_atexit();
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 1); // overrules what it was; claim.c does it
    // Open MPI's own MPI-IO overflows on long paths and can hang where /tmp is full; ROMIO does neither.
    setenv("OMPI_MCA_io", "^ompio", 0);
    H5open(); // before MPI_Init, else HDF5 hooks itself into MPI_Finalize
    hdf_silence();
}

hid_t hdf_access(enum hdf_cache cache_bytes)
{
    enum { SIEVE_BYTES = 1 << 12 }; // of each open dataset
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5AC_cache_config_t cache = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    H5Pset_sieve_buf_size(access, SIEVE_BYTES);
    if (H5Pget_mdc_config(access, &cache) < 0) return access;
    cache.set_initial_size = true;
    cache.initial_size = cache.min_size = cache.max_size = cache_bytes;
    cache.incr_mode = H5C_incr__off;
    cache.flash_incr_mode = H5C_flash_incr__off;
    cache.decr_mode = H5C_decr__off;
    H5Pset_mdc_config(access, &cache);
    return access;
}

void hdf_tidy(void)
{
    H5garbage_collect();
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

// ---- datasets ----

bool hdf_exists(hid_t file, const char *path)
{
    char part[256];
    for (const char *end = path + 1;; end++) {
        if (*end != '/' && *end != '\0') continue;
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (H5Lexists(file, part, H5P_DEFAULT) <= 0) return false;
        if (*end == '\0') return true;
    }
}

static const char *check_type(hid_t data, const struct hdf_expected *expected)
{
    const hid_t type = H5Dget_type(data);
    if (type < 0) return "unreadable type";
    const bool fits = expected->exact ? H5Tequal(type, expected->type) > 0
                                      : H5Tget_class(type) == H5Tget_class(expected->type) &&
                                            H5Tget_size(type) == H5Tget_size(expected->type);
    H5Tclose(type);
    return fits ? NULL : "unexpected element type";
}

static const char *check_shape(hid_t data, struct hdf_expected *expected)
{
    hsize_t shape[HDF_RANKS] = {1, 1, 1, 1, 1};
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

// Deflate makes no more than a thousandth of anything, so sizes can be believed here, too.
static const char *check_chunks(const struct hdf_file *file, hid_t data, hid_t list,
                                const struct hdf_expected *expected, double bytes)
{
    enum { MOST_DEFLATED = 1032 };
    hsize_t chunk[HDF_RANKS], there = 0, wanted = 1;
    const hid_t space = H5Dget_space(data);
    const bool counted =
        H5Pget_chunk(list, HDF_RANKS, chunk) == expected->rank && H5Dget_num_chunks(data, space, &there) >= 0;
    H5Sclose(space);
    for (int d = 0; counted && d < expected->rank; d++)
        wanted *= ((hsize_t)expected->shape[d] + chunk[d] - 1) / chunk[d];
    if (!counted || there != wanted) return "expected every chunk to be there";
    return bytes > (double)file->size_bytes * MOST_DEFLATED ? "data reach beyond the end" : NULL;
}

// The bytes of the whole dataset must lie inside the file: a cut file is found here, and sizes are believed
// only now.
static const char *check_storage(const struct hdf_file *file, hid_t data, const struct hdf_expected *expected)
{
    double bytes = (double)H5Tget_size(expected->type);
    for (int d = 0; d < expected->rank; d++)
        bytes *= (double)expected->shape[d];
    hid_t list = H5Dget_create_plist(data);
    const H5D_layout_t layout = list < 0 ? H5D_LAYOUT_ERROR : H5Pget_layout(list);
    const bool chunked = layout == H5D_CHUNKED && file->packed;
    const bool contiguous = layout == H5D_CONTIGUOUS && H5Pget_external_count(list) == 0;
    const char *problem = chunked ? check_chunks(file, data, list, expected, bytes) : NULL;
    H5Pclose(list);
    if (chunked) return problem;
    if (!contiguous) return "expected contiguous storage inside the file";
    haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF || (double)offset + bytes > (double)file->size_bytes)
        return "data reach beyond the end";
    return NULL;
}

hid_t hdf_open(const struct hdf_file *file, const char *name, struct hdf_expected *expected,
               struct error *err)
{
    hid_t data = H5Dopen2(file->id, name, H5P_DEFAULT);
    if (data < 0) {
        hdf_torn(file, name, "missing dataset", err);
        return 0;
    }
    const char *problem = check_type(data, expected);
    if (!problem) problem = check_shape(data, expected);
    if (!problem) problem = check_storage(file, data, expected);
    if (!problem) return data;
    hdf_torn(file, name, problem, err);
    H5Dclose(data);
    return 0;
}

#if H5_VERSION_GE(1, 12, 0)
long long hdf_object(hid_t data)
{
    H5O_info2_t info;
    haddr_t address = HADDR_UNDEF;
    if (H5Oget_info3(data, &info, H5O_INFO_BASIC) < 0 ||
        H5VLnative_token_to_addr(data, info.token, &address) < 0)
        return -1;
    return (long long)address;
}

long long hdf_count_attributes(hid_t object)
{
    H5O_info2_t info;
    return H5Oget_info3(object, &info, H5O_INFO_NUM_ATTRS) < 0 ? -1 : (long long)info.num_attrs;
}

hid_t hdf_open_object(hid_t file, long long object)
{
    H5O_token_t token;
    if (H5VLnative_addr_to_token(file, (haddr_t)object, &token) < 0) return -1;
    return H5Oopen_by_token(file, token);
}
#else
long long hdf_object(hid_t data)
{
    H5O_info_t info;
    return H5Oget_info2(data, &info, H5O_INFO_BASIC) < 0 ? -1 : (long long)info.addr;
}

long long hdf_count_attributes(hid_t object)
{
    H5O_info_t info;
    return H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS) < 0 ? -1 : (long long)info.num_attrs;
}

hid_t hdf_open_object(hid_t file, long long object)
{
    return H5Oopen_by_addr(file, (haddr_t)object);
}
#endif

enum status hdf_read_all(const struct hdf_file *file, const char *name, struct hdf_expected *expected,
                         void *values, struct error *err)
{
    hid_t data = hdf_open(file, name, expected, err);
    if (!data) return err->status;
    if (H5Dread(data, expected->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        hdf_torn(file, name, "unreadable", err);
    H5Dclose(data);
    return err->status;
}

bool hdf_read_block(hid_t data, const struct hdf_block *block, hid_t type, void *values,
                    char reason[HDF_REASON_ROOM])
{
    const hid_t file_space = H5Dget_space(data),
                memory_space = H5Screate_simple(block->rank, block->count, NULL);
    const bool good =
        file_space >= 0 &&
        H5Sselect_hyperslab(file_space, H5S_SELECT_SET, block->start, NULL, block->count, NULL) >= 0 &&
        H5Dread(data, type, memory_space, file_space, H5P_DEFAULT, values) >= 0;
    if (!good) hdf_reason(reason); // before the next call clears it
    H5Sclose(memory_space);
    H5Sclose(file_space);
    return good;
}

// ---- attributes ----

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

char *hdf_read_text(const struct hdf_file *file, const char *name)
{
    return hdf_read_text_at(file->id, name);
}

char *hdf_read_text_at(hid_t object, const char *name)
{
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) return calloc(1, 1);
    hid_t type = H5Aget_type(attribute);
    size_t room = type < 0 ? 0 : text_room(attribute, type);
    char *text = calloc(room ? room : 1, 1);
    if (text && room && H5Aread(attribute, type, text) < 0) text[0] = '\0';
    if (type >= 0) H5Tclose(type);
    H5Aclose(attribute);
    return text;
}

// What is asked for is read, if it is so many elements of this class and size (0: of any).
static bool read_elements(const struct hdf_file *file, const char *name, H5T_class_t type_class, size_t bytes,
                          int n, hid_t memory, void *values)
{
    hid_t attribute = H5Aopen(file->id, name, H5P_DEFAULT);
    hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute),
          type = attribute < 0 ? -1 : H5Aget_type(attribute);
    bool fits = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == n &&
                H5Tget_class(type) == type_class && (bytes == 0 || H5Tget_size(type) == bytes) &&
                H5Aread(attribute, memory ? memory : type, values) >= 0;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (attribute >= 0) H5Aclose(attribute);
    return fits;
}

bool hdf_read_integer(const struct hdf_file *file, const char *name, int *value)
{
    return read_elements(file, name, H5T_INTEGER, 0, 1, H5T_NATIVE_INT, value);
}

bool hdf_read_names(const struct hdf_file *file, const char *name, int n, size_t room, void *names)
{
    return read_elements(file, name, H5T_STRING, room, n, 0, names);
}
