// SPDX-License-Identifier: Apache-2.0
// Raw data by independent writes, and the end.
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "store_handle.h"
#include "store_layout.h"
#include "writer.h"

// ---- is the file still there, and does it take more? ----

static unsigned long long block_bytes(const struct stat *info)
{
    return 512 * (unsigned long long)info->st_blocks; // of 512 bytes each on Linux, whatever the disk has
}

// Elsewhere blocks may vanish without a cut: servers that compress or deduplicate, answers that are old.
static bool counts_blocks(const char *path)
{
    static const long local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC,
                                 OVERLAYFS_SUPER_MAGIC};
    struct statfs disk;
    if (statfs(path, &disk) != 0) return false;
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        if ((long)disk.f_type == local[i]) return true;
    return false;
}

enum status store_remember(struct store *store, struct error *err)
{
    struct stat info;
    if (stat(store->path, &info) != 0) return error_errno(err, store->path, "cannot stat");
    store->device = info.st_dev;
    store->inode = info.st_ino;
    store->size_bytes = (unsigned long long)info.st_size;
    store->shows_holes = block_bytes(&info) >= store->size_bytes && counts_blocks(store->path);
    return STATUS_OK;
}

static enum status look_for_file(const struct store *store, struct error *err)
{
    struct stat info;
    if (stat(store->path, &info) != 0)
        return error_set(err, STATUS_IO,
                         "%s: the result file was lost while the sweep wrote to it: %s; put it back and give "
                         "--resume, or start anew",
                         store->path, strerror(errno));
    if (info.st_dev != store->device || info.st_ino != store->inode)
        return error_set(err, STATUS_IO,
                         "%s: the result file was replaced while the sweep wrote to it; put it back and give "
                         "--resume, or start anew",
                         store->path);
    if ((unsigned long long)info.st_size < store->size_bytes)
        return error_set(err, STATUS_IO,
                         "%s: the result file was cut from %llu to %llu bytes while the sweep wrote to it; "
                         "remove it and start anew",
                         store->path, store->size_bytes, (unsigned long long)info.st_size);
    if (store->shows_holes && block_bytes(&info) < store->size_bytes)
        return error_set(
            err, STATUS_IO,
            "%s: the result file was cut while the sweep wrote to it: %llu of %llu bytes are left; "
            "remove it and start anew",
            store->path, block_bytes(&info), store->size_bytes);
    return STATUS_OK;
}

// What is written behind a cut gives the file its size back, not its blocks.  Once lost is lost: a hole may
// be filled before the next look.
static enum status check_still_there(struct store *store, struct error *err)
{
    if (!store->loss.status) look_for_file(store, &store->loss);
    if (store->loss.status) *err = store->loss;
    return store->loss.status;
}

enum status store_still_there(struct store *store, struct error *err)
{
    check_still_there(store, err);
    return comm_agree(&store->comm, err);
}

// HDF5 does not say why a write failed, so the file system is asked for the blocks of the file itself.
bool store_can_write(struct store *store)
{
    struct error ignored = {0};
    if (check_still_there(store, &ignored)) return false;
    int descriptor = open(store->path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return false;
    struct statvfs disk;
    int code = posix_fallocate(descriptor, 0, (off_t)store->size_bytes);
    bool full = fstatvfs(descriptor, &disk) == 0 && disk.f_bavail == 0; // where blocks cannot be asked for
    close(descriptor);
    return code == 0 || ((code == EOPNOTSUPP || code == EINVAL) && !full);
}

// ---- the end ----

enum status store_sync(struct store *store, struct error *err)
{
    writer_sync(store->writer, err);
    return comm_agree(&store->comm, err);
}

// ---- raw data ----

// Where the element `index` of a dataset lies in the file.
static enum status find_place(const struct store *store, hid_t data, hsize_t index, size_t element_bytes,
                              long long *place, struct error *err)
{
    haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF)
        return error_set(err, STATUS_INTERNAL, "%s: a dataset without contiguous storage", store->path);
    *place = (long long)(offset + index * element_bytes);
    return STATUS_OK;
}

// The row `index` of a dataset, of `bytes`.
static enum status write_row(struct store *store, hid_t data, int index, const void *values, size_t bytes,
                             const char *what, struct error *err)
{
    long long place = 0;
    if (find_place(store, data, (hsize_t)index, bytes, &place, err)) return err->status;
    return writer_write(store->writer, place, values, bytes, what, err);
}

enum status store_write_samples(struct store *store, const struct corpus *corpus, struct error *err)
{
    const size_t samples = (size_t)store->samples, ids = samples * (size_t)store->max_tokens;
    if (write_row(store, store->token_ids, 0, corpus->ids, ids * sizeof *corpus->ids,
                  "cannot write the token ids", err))
        return err->status;
    return write_row(store, store->length, 0, corpus->length, samples * sizeof *corpus->length,
                     "cannot write the lengths", err);
}

enum status store_write_scales(struct store *store, const float *scales, struct error *err)
{
    size_t per_cell = (size_t)(store->n_layer * store->arch->n_sites);
    for (int c = 0; store->comm.rank == 0 && c < store->n_cells && !err->status; c++)
        write_row(store, store->scales[c], 0, scales + (size_t)c * per_cell, per_cell * sizeof *scales,
                  "cannot write the scales", err);
    return comm_agree(&store->comm, err);
}

// The state last: what is marked is there.  A file that was taken away shows here, before it is marked.
static enum status mark_row(struct store *store, const struct store_rows *rows, int sample,
                            const unsigned char digest[HASH_BYTES], struct error *err)
{
    const unsigned char done = STORE_ITEM_DONE;
    if (write_row(store, rows->digest, sample, digest, HASH_BYTES, "cannot write a digest", err) ||
        check_still_there(store, err))
        return err->status;
    return write_row(store, rows->state, sample, &done, sizeof done, "cannot mark an item", err);
}

enum status store_write_observed(struct store *store, int sample, const float *observed,
                                 const uint32_t *histogram, const unsigned char digest[32], struct error *err)
{
    const size_t sites = (size_t)(store->n_layer * store->arch->n_sites);
    if (write_row(store, store->observed, sample, observed, sites * sizeof *observed,
                  "cannot write observations", err))
        return err->status;
    if (histogram && write_row(store, store->histogram, sample, histogram,
                               sites * HISTOGRAM_BINS * sizeof *histogram, "cannot write a histogram", err))
        return err->status;
    return mark_row(store, &store->calibration, sample, digest, err);
}

static const struct store_rows *rows_of(const struct store *store, int run)
{
    return run == STORE_CALIBRATION ? &store->calibration : &store->items[run];
}

enum status store_write_state(struct store *store, int run, int sample, enum store_state state,
                              struct error *err)
{
    const unsigned char byte = (unsigned char)state;
    return write_row(store, rows_of(store, run)->state, sample, &byte, sizeof byte, "cannot mark an item",
                     err);
}

void store_mark_failed(struct store *store, int run, int sample)
{
    struct error ignored = {0};
    unsigned char *state = malloc((size_t)store->samples);
    bool stored = state && store_read_states(store, run, state, &ignored) == STATUS_OK &&
                  state[sample] == STORE_ITEM_DONE;
    free(state);
    ignored = (struct error){0};
    if (!stored) store_write_state(store, run, sample, STORE_ITEM_FAILED, &ignored);
}

enum status store_write_output(struct store *store, int run, int layer, int component, int sample,
                               const float *values, int length, int width, struct error *err)
{
    const long long first = *store_output_at(store, run, layer, component),
                    index = (long long)sample * store->max_tokens * width;
    if (!first)
        return error_set(err, STATUS_INTERNAL, "%s: layer %d %s is not in the plan", store->path, layer,
                         store->arch->components[component].name);
    return writer_put(store->writer, run, first + index * (long long)sizeof *values, values,
                      (size_t)length * (size_t)width * sizeof *values, err);
}

enum status store_write_metrics(struct store *store, int run, int sample, const struct store_metrics *metrics,
                                struct error *err)
{
    const void *const rows[STORE_METRICS] = {
        [STORE_MOMENTS] = metrics->moments,           [STORE_HISTOGRAM] = metrics->histogram,
        [STORE_POSITION] = metrics->position,         [STORE_APART] = metrics->apart,
        [STORE_END_OF_MODEL] = metrics->end_of_model, [STORE_END_APART] = metrics->end_apart};
    for (int m = 0; m < STORE_METRICS; m++) {
        const long long first = store->metrics[run * STORE_METRICS + m];
        const size_t bytes = store_metric_row_bytes((enum store_metric)m, store->arch, store->n_layer);
        if (first && writer_put(store->writer, run, first + sample * (long long)bytes, rows[m], bytes, err))
            return err->status;
    }
    return STATUS_OK;
}

enum status store_write_done(struct store *store, int run, int sample, float seconds, struct error *err)
{
    const struct store_rows *items = &store->items[run];
    struct writer_account account = {.done = STORE_ITEM_DONE};
    const hsize_t at = (hsize_t)sample;
    if (find_place(store, items->digest, at * HASH_BYTES, 1, &account.digest, err) ||
        find_place(store, items->seconds, at, sizeof seconds, &account.seconds, err) ||
        find_place(store, items->state, at, 1, &account.state, err) || check_still_there(store, err)) {
        store_write_cancel(store, run);
        return err->status;
    }
    writer_put_account(store->writer, run, &account, seconds, err);
    return writer_settle(store->writer, run, err);
}

void store_write_cancel(struct store *store, int run)
{
    struct error unused = {0};
    writer_settle(store->writer, run, &unused);
}
