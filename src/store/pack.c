// SPDX-License-Identifier: Apache-2.0
// HDF5 compresses by one thread, and would do it inside H5Dwrite().  Here chunks are shuffled and deflated by
// a team of threads, as its filters do it, and handed over whole (H5Dwrite_chunk()).
#include "ssmsweep/store/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "handle.h"
#include "hdf.h"
#include "result.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/half.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/store/claim.h"

enum {
    DEFLATE_LEVEL = 1,     // more takes three times as long for a few percent
    ROWS_OF_METRICS = 32,  // samples in a chunk of one layer: readers take a layer of many samples
    LEAST_BYTES = 1 << 13, // a smaller dataset stays as it is
    CHUNKS_OF_A_THREAD = 2 // at a time
};

// ---- chunks ----

// A dataset that is packed: how it lies in memory and in chunks.
struct shape {
    hid_t type, packed_type; // in memory, and in the packed file: the same, or halves
    size_t element_bytes, packed_element_bytes, chunk_elements;
    int rank;
    hsize_t size[HDF_RANKS], chunk[HDF_RANKS];
};

static bool is_of(const char *name, const char *group)
{
    return strncmp(name, group, strlen(group)) == 0;
}

// A sample is a chunk of outputs, a layer of some samples one of metrics.
static void choose_chunks(struct shape *shape, const char *name)
{
    shape->chunk_elements = 1;
    for (int d = 0; d < shape->rank; d++)
        shape->chunk[d] = d == 0 ? 1 : shape->size[d];
    if (is_of(name, "metrics/") && shape->rank > 2) {
        shape->chunk[0] = shape->size[0] < ROWS_OF_METRICS ? shape->size[0] : ROWS_OF_METRICS;
        shape->chunk[1] = 1;
    }
    for (int d = 0; d < shape->rank; d++)
        shape->chunk_elements *= (size_t)shape->chunk[d];
}

static size_t chunk_bytes(const struct shape *shape)
{
    return shape->chunk_elements * shape->element_bytes;
}

static bool is_rounded(const struct shape *shape)
{
    return shape->packed_element_bytes != shape->element_bytes;
}

// `half`: the type that outputs become, or 0.
static bool read_shape(struct shape *shape, hid_t data, const char *name, hid_t half)
{
    const hid_t space = H5Dget_space(data);
    const bool rounds = half && is_of(name, "outputs/");
    shape->type = rounds ? H5Tcopy(H5T_NATIVE_FLOAT) : H5Dget_type(data);
    shape->element_bytes = H5Tget_size(shape->type);
    shape->packed_type = rounds ? half : shape->type;
    shape->packed_element_bytes = H5Tget_size(shape->packed_type);
    shape->rank = H5Sget_simple_extent_ndims(space);
    const bool fits = shape->rank > 1 && shape->rank <= HDF_RANKS;
    if (fits) H5Sget_simple_extent_dims(space, shape->size, NULL);
    H5Sclose(space);
    if (!fits || !(is_of(name, "outputs/") || is_of(name, "metrics/") || is_of(name, "calibration/")))
        return false;
    choose_chunks(shape, name);
    size_t bytes = shape->element_bytes;
    for (int d = 0; d < shape->rank; d++)
        bytes *= (size_t)shape->size[d];
    return bytes >= LEAST_BYTES || is_rounded(shape);
}

// Where chunk number `index` begins, and how much of it is inside the dataset: only rows may be missing.
static struct hdf_block block_of(const struct shape *shape, hsize_t index)
{
    struct hdf_block block = {.rank = shape->rank};
    for (int d = shape->rank - 1; d >= 0; d--) {
        const hsize_t chunks = (shape->size[d] + shape->chunk[d] - 1) / shape->chunk[d];
        block.start[d] = index % chunks * shape->chunk[d];
        index /= chunks;
        const hsize_t left = shape->size[d] - block.start[d];
        block.count[d] = left < shape->chunk[d] ? left : shape->chunk[d];
    }
    return block;
}

static hsize_t count_chunks(const struct shape *shape)
{
    hsize_t n = 1;
    for (int d = 0; d < shape->rank; d++)
        n *= (shape->size[d] + shape->chunk[d] - 1) / shape->chunk[d];
    return n;
}

// ---- compressing ----

struct piece {
    unsigned char *plain, *shuffled, *packed;
    size_t packed_bytes; // 0: it could not be deflated
    size_t beyond;       // values that are finite, and as halves are not
};

struct batch {
    const struct shape *shape;
    struct piece *pieces;
};

// As HDF5's filter: byte 0 of all elements, byte 1 of all, ...
static void shuffle(unsigned char *to, const unsigned char *from, size_t elements, size_t element_bytes)
{
    for (size_t b = 0; b < element_bytes; b++)
        for (size_t i = 0; i < elements; i++)
            *to++ = from[i * element_bytes + b];
}

// FP32 to halves, in place.  Gives how many finite values are beyond them.
static size_t round_values(unsigned char *values, size_t count)
{
    size_t beyond = 0;
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, values + i * sizeof value, sizeof value);
        const uint16_t half = half_of_float(value);
        beyond += isfinite(value) && !isfinite(half_to_float(half));
        memcpy(values + i * sizeof half, &half, sizeof half);
    }
    return beyond;
}

static void pack_piece(void *context, int part)
{
    const struct batch *batch = context;
    const struct shape *shape = batch->shape;
    struct piece *piece = &batch->pieces[part];
    const uLong bytes = (uLong)(shape->chunk_elements * shape->packed_element_bytes);
    uLongf room = compressBound(bytes);
    piece->beyond = is_rounded(shape) ? round_values(piece->plain, shape->chunk_elements) : 0;
    shuffle(piece->shuffled, piece->plain, shape->chunk_elements, shape->packed_element_bytes);
    piece->packed_bytes = 0;
    if (compress2(piece->packed, &room, piece->shuffled, bytes, DEFLATE_LEVEL) == Z_OK)
        piece->packed_bytes = room;
}

static void close_pieces(struct piece *pieces, int n)
{
    for (int i = 0; pieces && i < n; i++) {
        free(pieces[i].plain);
        free(pieces[i].shuffled);
        free(pieces[i].packed);
    }
    free(pieces);
}

static struct piece *open_pieces(const struct shape *shape, int n, struct error *err)
{
    const size_t bytes = chunk_bytes(shape), packed = compressBound((uLong)bytes);
    struct piece *pieces = calloc((size_t)n, sizeof *pieces);
    bool good = pieces != NULL;
    for (int i = 0; good && i < n; i++) {
        pieces[i] =
            (struct piece){.plain = calloc(1, bytes), .shuffled = malloc(bytes), .packed = malloc(packed)};
        good = pieces[i].plain && pieces[i].shuffled && pieces[i].packed;
    }
    if (good) return pieces;
    close_pieces(pieces, n);
    error_memory(err, (unsigned long long)n * (2 * bytes + packed), "chunks of a result file");
    return NULL;
}

// ---- a dataset ----

struct packing {
    const char *path, *part; // the file, and the packed one in the making
    hid_t from, to, links;
    hid_t half; // the type that outputs become; 0: they stay as they are
    struct team *team;
    int at_once; // chunks
    struct error *err;
};

static enum status write_pieces(const struct packing *packing, const struct shape *shape, hid_t data,
                                hsize_t first, int n, const struct piece *pieces)
{
    for (int i = 0; i < n; i++) {
        const struct hdf_block block = block_of(shape, first + (hsize_t)i);
        if (pieces[i].packed_bytes == 0) return error_memory(packing->err, chunk_bytes(shape), "a chunk");
        if (H5Dwrite_chunk(data, H5P_DEFAULT, 0, block.start, pieces[i].packed_bytes, pieces[i].packed) < 0)
            return hdf_error(packing->err, packing->part, "cannot write a chunk");
    }
    return STATUS_OK;
}

static enum status read_piece(const struct packing *packing, const struct shape *shape, hid_t data,
                              hid_t type, hsize_t index, unsigned char *plain)
{
    char reason[HDF_REASON_ROOM];
    const struct hdf_block block = block_of(shape, index);
    if (block.count[0] < shape->chunk[0]) memset(plain, 0, chunk_bytes(shape));
    if (hdf_read_block(data, &block, type, plain, reason)) return STATUS_OK;
    return error_set(packing->err, STATUS_IO, "%s: cannot read a dataset: %s", packing->path, reason);
}

static enum status check_range(const struct packing *packing, const char *name, const struct piece *pieces,
                               int n)
{
    size_t beyond = 0;
    for (int i = 0; i < n; i++)
        beyond += pieces[i].beyond;
    if (beyond == 0) return STATUS_OK;
    return error_set(packing->err, STATUS_INPUT,
                     "%s: /%s: %zu values or more are beyond 65504, the largest half; pack without "
                     "--store-dtype f16",
                     packing->path, name, beyond);
}

static enum status write_all(const struct packing *packing, const struct shape *shape, const char *name,
                             hid_t from, hid_t to, struct piece *pieces)
{
    const hsize_t chunks = count_chunks(shape);
    const struct batch batch = {shape, pieces};
    for (hsize_t first = 0; first < chunks; first += (hsize_t)packing->at_once) {
        const int n = chunks - first < (hsize_t)packing->at_once ? (int)(chunks - first) : packing->at_once;
        for (int i = 0; i < n; i++)
            if (read_piece(packing, shape, from, shape->type, first + (hsize_t)i, pieces[i].plain))
                return packing->err->status;
        team_run(packing->team, n, pack_piece, (void *)(uintptr_t)&batch);
        if (check_range(packing, name, pieces, n) || write_pieces(packing, shape, to, first, n, pieces))
            return packing->err->status;
    }
    return STATUS_OK;
}

// By HDF5's own filters.
static enum status compare_all_chunks(const struct packing *packing, const struct shape *shape, hid_t from,
                                      hid_t to, struct piece *piece)
{
    const hsize_t chunks = count_chunks(shape);
    for (hsize_t i = 0; i < chunks; i++) {
        if (read_piece(packing, shape, from, shape->type, i, piece->plain) ||
            read_piece(packing, shape, to, shape->packed_type, i, piece->shuffled))
            return packing->err->status;
        if (is_rounded(shape)) round_values(piece->plain, shape->chunk_elements);
        if (memcmp(piece->plain, piece->shuffled, shape->chunk_elements * shape->packed_element_bytes) != 0)
            return error_set(packing->err, STATUS_IO,
                             "%s: what was packed is not read back as it was; the disk may be failing",
                             packing->part);
    }
    return STATUS_OK;
}

static hid_t make_dataset(const struct packing *packing, const struct shape *shape, const char *name)
{
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE),
                space = H5Screate_simple(shape->rank, shape->size, NULL);
    H5Pset_chunk(list, shape->rank, shape->chunk);
    H5Pset_shuffle(list);
    H5Pset_deflate(list, DEFLATE_LEVEL);
    H5Pset_fill_time(list, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(list, false);
    const hid_t data =
        H5Dcreate2(packing->to, name, shape->packed_type, space, packing->links, list, H5P_DEFAULT);
    if (data < 0) hdf_error(packing->err, packing->part, name);
    H5Sclose(space);
    H5Pclose(list);
    return data;
}

static herr_t copy_attribute(hid_t from, const char *name, const H5A_info_t *info, void *context)
{
    const hid_t to = *(const hid_t *)context, attribute = H5Aopen(from, name, H5P_DEFAULT);
    void *value = malloc(info->data_size ? (size_t)info->data_size : 1);
    herr_t code = -1;
    if (attribute >= 0 && value) {
        const hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
        const hid_t copy = H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
        if (copy >= 0 && H5Aread(attribute, type, value) >= 0) code = H5Awrite(copy, type, value);
        if (copy >= 0) H5Aclose(copy);
        H5Sclose(space);
        H5Tclose(type);
    }
    if (attribute >= 0) H5Aclose(attribute);
    free(value);
    return code;
}

static enum status copy_attributes(const struct packing *packing, hid_t from, hid_t to)
{
    if (H5Aiterate2(from, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, copy_attribute, &to) >= 0) return STATUS_OK;
    return hdf_error(packing->err, packing->part, "cannot copy attributes");
}

static enum status pack_dataset(const struct packing *packing, const struct shape *shape, hid_t from,
                                const char *name)
{
    const hid_t to = make_dataset(packing, shape, name);
    if (to < 0) return packing->err->status;
    struct piece *pieces = open_pieces(shape, packing->at_once, packing->err);
    if (pieces && !copy_attributes(packing, from, to) && !write_all(packing, shape, name, from, to, pieces))
        compare_all_chunks(packing, shape, from, to, &pieces[0]);
    close_pieces(pieces, packing->at_once);
    H5Dclose(to);
    return packing->err->status;
}

// ---- the file ----

static enum status copy_object(const struct packing *packing, const char *name)
{
    const hid_t data = H5Dopen2(packing->from, name, H5P_DEFAULT);
    struct shape shape;
    if (data < 0) return hdf_error(packing->err, packing->path, name);
    if (read_shape(&shape, data, name, packing->half))
        pack_dataset(packing, &shape, data, name);
    else if (H5Ocopy(packing->from, name, packing->to, name, H5P_DEFAULT, packing->links) < 0)
        hdf_error(packing->err, packing->part, name);
    H5Tclose(shape.type);
    H5Dclose(data);
    return packing->err->status;
}

static enum status copy_group(const struct packing *packing, const char *name)
{
    const hid_t from = H5Gopen2(packing->from, name, H5P_DEFAULT);
    const hid_t list = H5Pcreate(H5P_GROUP_CREATE);
    H5Pset_obj_track_times(list, false); // the same bytes at any time
    const hid_t to = H5Gcreate2(packing->to, name, packing->links, list, H5P_DEFAULT);
    if (from < 0 || to < 0)
        hdf_error(packing->err, packing->part, name);
    else
        copy_attributes(packing, from, to);
    H5Pclose(list);
    if (to >= 0) H5Gclose(to);
    if (from >= 0) H5Gclose(from);
    return packing->err->status;
}

static herr_t visit(hid_t root, const char *name, const hdf_object_info *info, void *context)
{
    const struct packing *packing = context;
    (void)root;
    if (strcmp(name, ".") == 0)
        copy_attributes(packing, packing->from, packing->to);
    else if (info->type == H5O_TYPE_DATASET)
        copy_object(packing, name);
    else
        copy_group(packing, name);
    return packing->err->status ? -1 : 0;
}

static enum status mark(const struct packing *packing, const char *name, const char *text)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    const hid_t attribute = H5Acreate2(packing->to, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, text) < 0) hdf_error(packing->err, packing->part, name);
    if (attribute >= 0) H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    return packing->err->status;
}

// Who does not know them refuses them by their version.
static void mark_halves(const struct packing *packing)
{
    const int32_t version = LAYOUT_SCHEMA_VERSION;
    const char *name = layout_attributes[ATTRIBUTE_VERSION].name;
    const hid_t attribute = H5Aopen(packing->to, name, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_INT32, &version) < 0)
        hdf_error(packing->err, packing->part, name);
    if (attribute >= 0) H5Aclose(attribute);
    if (!packing->err->status) mark(packing, HDF_OUTPUTS_DTYPE, "float16");
}

static enum status copy_all(struct packing *packing, struct error *err)
{
    packing->err = err;
    packing->from = H5Fopen(packing->path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (packing->from < 0) return hdf_error(err, packing->path, "cannot open as HDF5");
    const hid_t access = hdf_access(HDF_LOOKS_ONCE);
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST); // long jobs, and smaller
    const hid_t list = H5Pcreate(H5P_FILE_CREATE);
    H5Pset_obj_track_times(list, false);
    packing->to = H5Fcreate(packing->part, H5F_ACC_TRUNC, list, access);
    if (packing->to < 0) hdf_error(err, packing->part, "cannot create the packed file");
    H5Pclose(list);
    H5Pclose(access);
    packing->links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(packing->links, 1);
    if (packing->to >= 0) {
        if (HDF_VISIT(packing->from, H5_INDEX_NAME, H5_ITER_INC, visit, packing, H5O_INFO_BASIC) < 0 &&
            !err->status)
            hdf_error(err, packing->path, "cannot list the objects");
        if (!err->status) mark(packing, HDF_PACKED, "shuffle, deflate");
        if (!err->status && packing->half) mark_halves(packing);
        if (H5Fclose(packing->to) < 0) hdf_error(err, packing->part, "cannot write the packed file");
    }
    H5Pclose(packing->links);
    H5Fclose(packing->from);
    hdf_tidy();
    return err->status;
}

// ---- before and after ----

static enum status check_finished(const char *path, bool halves, struct error *err)
{
    struct result *result = NULL;
    if (result_open(&result, path, err)) return err->status;
    if (result_packed(result))
        error_set(err, STATUS_INPUT, "%s: is packed already", path);
    else if (halves && !result_has_outputs(result))
        error_set(err, STATUS_INPUT,
                  "%s: the result file keeps no tensors (--store none); pack it without --store-dtype f16",
                  path);
    else if (halves && !result_has_metrics(result))
        error_set(err, STATUS_INPUT,
                  "%s: the result file was imported and holds no metrics, which cannot be computed from "
                  "halves; pack it without --store-dtype f16",
                  path);
    for (int r = 0; r < result_all_runs(result) && !err->status; r++)
        if (!result_run_at(result, r)->complete)
            error_set(
                err, STATUS_INPUT,
                "%s: mode %s is not finished, and a packed file cannot be continued; end the sweep with "
                "--resume first",
                path, result_run_at(result, r)->mode);
    result_close(result);
    return err->status;
}

// HDF5 does not survive a disk that is full, so the room of the worst case is tried first: nothing shrinks.
static enum status try_room(const char *part, unsigned long long bytes, struct error *err)
{
    const int descriptor = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (descriptor < 0) return error_errno(err, part, "cannot create the packed file");
    const int code = posix_fallocate(descriptor, 0, (off_t)(bytes + bytes / 64));
    close(descriptor);
    if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return STATUS_OK; // it cannot promise
    return error_set(err, STATUS_IO,
                     "%s: cannot reserve %.1f MiB, as much as the file itself has: %s; free space", part,
                     (double)bytes / 0x1p20, strerror(code));
}

static enum status sync_part(const char *part, struct error *err)
{
    const int descriptor = open(part, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return error_errno(err, part, "cannot open");
    if (fsync(descriptor) != 0) error_errno(err, part, "cannot sync");
    close(descriptor);
    return err->status;
}

static unsigned long long size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (unsigned long long)info.st_size : 0;
}

static enum status replace(const char *path, hid_t half, int threads, struct pack_sizes *sizes,
                           struct error *err)
{
    struct packing packing = {.path = path, .half = half, .at_once = CHUNKS_OF_A_THREAD * threads};
    char *part = file_beside(path, STORE_PART, err);
    if (!part || team_open(&packing.team, threads, err)) {
        free(part);
        return err->status;
    }
    packing.part = part;
    sizes->before_bytes = size_of(path);
    if (!try_room(part, sizes->before_bytes, err) && !copy_all(&packing, err) && !sync_part(part, err)) {
        sizes->after_bytes = size_of(part);
        if (rename(part, path) != 0) error_errno(err, path, "cannot rename the packed file into place");
    }
    if (err->status) unlink(part);
    team_close(packing.team);
    free(part);
    return err->status;
}

enum status store_pack(const char *path, bool halves, int threads, const struct log *log,
                       struct pack_sizes *sizes, struct error *err)
{
    struct layout_types types = {{0}};
    struct claim claim = {0};
    int locked = -1;
    store_prepare(); // HDF5 takes no locks
    if (check_finished(path, halves, err) || claim_take(&claim, path, log, err)) return err->status;
    if (!file_lock_open(&locked, path, FILE_LOCK_EXCLUSIVE, err) && !layout_open_types(&types, err))
        replace(path, halves ? types.of[ELEMENT_F16] : 0, threads, sizes, err);
    layout_close_types(&types);
    if (locked >= 0) close(locked);
    claim_drop(&claim);
    return err->status;
}
