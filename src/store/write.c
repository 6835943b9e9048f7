// SPDX-License-Identifier: Apache-2.0
// Writes rows of an open result file, looks whether it is still there, and reads back what an earlier run
// wrote.
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "handle.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/observer.h"

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

enum status write_remember(struct store *store, struct error *err)
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
void write_look(struct store *store)
{
    if (!store->loss.status) look_for_file(store, &store->loss);
}

static enum status check_still_there(struct store *store, struct error *err)
{
    write_look(store);
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

// ---- rows ----

// A row of a dataset of the file, or of a run.
static struct slot slot_of(struct store *store, enum layout_data data, int run, int row)
{
    const struct layout_place place = {.data = data, .run = run};
    return (struct slot){*store_data_at(store, &place), row, layout_row_bytes(data, &store->sizes)};
}

static struct slot slot_of_output(struct store *store, int run, int layer, int component, int sample)
{
    const struct layout_place place = {
        .data = DATA_OUTPUT, .run = run, .layer = layer, .component = component};
    struct layout_sizes sizes = store->sizes;
    sizes.of[AXIS_WIDTH] = store->width[component];
    return (struct slot){*store_data_at(store, &place), sample, layout_row_bytes(DATA_OUTPUT, &sizes)};
}

// The same for the items of a run, and for the observations.
static struct slot state_slot(struct store *store, int run, int sample)
{
    if (run == STORE_CALIBRATION) return slot_of(store, DATA_OBSERVED_STATE, 0, sample);
    return slot_of(store, DATA_STATE, run, sample);
}

static struct slot digest_slot(struct store *store, int run, int sample)
{
    if (run == STORE_CALIBRATION) return slot_of(store, DATA_OBSERVED_DIGEST, 0, sample);
    return slot_of(store, DATA_DIGEST, run, sample);
}

static enum status put_row(struct store *store, struct slot slot, const void *values, const char *what,
                           struct error *err)
{
    return sink_put(store->sink, &slot, values, slot.row_bytes, what, err);
}

// ---- what is there from the start, and the calibration ----

// A whole dataset.
static enum status put_whole(struct store *store, struct data_place place, const void *values, size_t bytes,
                             const char *what, struct error *err)
{
    const struct slot whole = {place, 0, bytes};
    return sink_put(store->sink, &whole, values, bytes, what, err);
}

enum status write_samples(struct store *store, const struct corpus *corpus, struct error *err)
{
    const size_t samples = (size_t)corpus->samples, ids = samples * (size_t)corpus->max_tokens;
    if (put_whole(store, store->of_file[DATA_TOKEN_IDS], corpus->ids, ids * sizeof *corpus->ids,
                  "cannot write the token ids", err))
        return err->status;
    return put_whole(store, store->of_file[DATA_LENGTH], corpus->length, samples * sizeof *corpus->length,
                     "cannot write the lengths", err);
}

enum status store_write_scales(struct store *store, const float *scales, struct error *err)
{
    const size_t of_sites = (size_t)store->n_layer * (size_t)store->arch->n_sites,
                 of_groups = (size_t)store->n_layer * (size_t)store->sizes.of[AXIS_GROUP_SCALES];
    for (int c = 0; store->comm.rank == 0 && c < store->n_cells && !err->status; c++) {
        const float *of_cell = scales + (size_t)c * (of_sites + of_groups);
        put_whole(store, store->of_cells[2 * c], of_cell, of_sites * sizeof *scales,
                  "cannot write the scales", err);
        if (of_groups > 0 && !err->status)
            put_whole(store, store->of_cells[2 * c + 1], of_cell + of_sites, of_groups * sizeof *scales,
                      "cannot write the scales of groups", err);
    }
    return comm_agree(&store->comm, err);
}

// The digest last: what has it is there.
enum status store_write_groups(struct store *store, const int32_t *rows, struct hash *hash, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    const size_t bytes = (size_t)store->n_layer * (size_t)store->sizes.of[AXIS_GROUPS] * sizeof *rows;
    if (store->comm.rank == 0) {
        hash_update(hash, rows, bytes);
        hash_finish(hash, digest);
        put_whole(store, store->of_file[DATA_GROUPS], rows, bytes, "cannot write the groups of heads", err);
        if (!err->status)
            put_whole(store, store->of_file[DATA_GROUPS_DIGEST], digest, sizeof digest,
                      "cannot write a digest", err);
    }
    return comm_agree(&store->comm, err);
}

bool store_read_groups(struct store *store, int32_t *rows, struct hash *hash)
{
    unsigned char stored[HASH_BYTES], found[HASH_BYTES];
    const size_t bytes = (size_t)store->n_layer * (size_t)store->sizes.of[AXIS_GROUPS] * sizeof *rows;
    const struct slot whole = {store->of_file[DATA_GROUPS], 0, bytes},
                      digest = {store->of_file[DATA_GROUPS_DIGEST], 0, sizeof stored};
    if (!sink_get(store->sink, &whole, 0, rows, bytes) ||
        !sink_get(store->sink, &digest, 0, stored, sizeof stored))
        return false;
    hash_update(hash, rows, bytes);
    hash_finish(hash, found);
    return memcmp(stored, found, HASH_BYTES) == 0;
}

// The state last: what is marked is there.  A file that was taken away shows here, before it is marked.
enum status store_write_observed(struct store *store, int sample, const float *observed,
                                 const uint32_t *histogram, const unsigned char digest[32], struct error *err)
{
    const float *groups = observed + (size_t)store->n_layer * (size_t)store->arch->n_sites;
    if (put_row(store, slot_of(store, DATA_OBSERVED, 0, sample), observed, "cannot write observations",
                err) ||
        (store->sizes.of[AXIS_GROUP_SCALES] > 0 &&
         put_row(store, slot_of(store, DATA_OBSERVED_GROUPS, 0, sample), groups, "cannot write observations",
                 err)) ||
        (histogram && put_row(store, slot_of(store, DATA_OBSERVED_HISTOGRAM, 0, sample), histogram,
                              "cannot write a histogram", err)) ||
        put_row(store, digest_slot(store, STORE_CALIBRATION, sample), digest, "cannot write a digest", err) ||
        check_still_there(store, err))
        return err->status;
    return store_write_state(store, STORE_CALIBRATION, sample, STORE_ITEM_DONE, err);
}

// ---- the samples of a run ----

enum status store_widen(struct store *store, int samples, int threads, struct error *err)
{
    int *expected = realloc(store->expected, (size_t)samples * sizeof *expected);
    if (!expected) return error_memory(err, (size_t)samples * sizeof *expected, "samples under way");
    store->expected = expected;
    store->n_expected = 0;
    return writer_widen(store->writer, samples * store->n_runs, samples * store->n_runs, threads, err);
}

void store_lend(struct store *store, struct team *team)
{
    writer_lend(store->writer, team);
}

void store_expect(struct store *store, const int *samples, int count)
{
    store->n_expected = store->expected ? count : 0; // one alone needs no place
    for (int i = 0; i < store->n_expected; i++)
        store->expected[i] = samples[i];
}

// Which of the samples under way it is, for the writer.
static int under_way(const struct store *store, int run, int sample)
{
    int place = 0;
    while (place < store->n_expected - 1 && store->expected[place] != sample)
        place++;
    return place * store->n_runs + run;
}

enum status store_write_state(struct store *store, int run, int sample, enum store_state state,
                              struct error *err)
{
    const unsigned char byte = (unsigned char)state;
    return put_row(store, state_slot(store, run, sample), &byte, "cannot mark an item", err);
}

void store_mark_failed(struct store *store, int run, int sample)
{
    struct error ignored = {0};
    const struct slot slot = state_slot(store, run, sample);
    unsigned char state = STORE_ITEM_ABSENT;
    const bool read = sink_get(store->sink, &slot, 0, &state, 1);
    if (!read || state != STORE_ITEM_DONE) store_write_state(store, run, sample, STORE_ITEM_FAILED, &ignored);
}

enum status store_write_output(struct store *store, int run, int layer, int component, int sample,
                               const float *values, int length, int width, struct error *err)
{
    const struct slot slot = slot_of_output(store, run, layer, component, sample);
    if (!slot.of.data)
        return error_set(err, STATUS_INTERNAL, "%s: layer %d %s is not in the plan", store->path, layer,
                         store->arch->components[component].name);
    return writer_put(store->writer, under_way(store, run, sample), &slot, values,
                      (size_t)length * (size_t)width * sizeof *values, err);
}

enum status store_write_metrics(struct store *store, int run, int sample, const struct store_metrics *metrics,
                                struct error *err)
{
    const void *const rows[LAYOUT_DATA] = {
        [DATA_MOMENTS] = metrics->moments,           [DATA_HISTOGRAM] = metrics->histogram,
        [DATA_POSITION] = metrics->position,         [DATA_APART] = metrics->apart,
        [DATA_END_OF_MODEL] = metrics->end_of_model, [DATA_END_APART] = metrics->end_apart,
        [DATA_ISOLATED] = metrics->isolated};
    for (int d = DATA_FIRST_METRIC; d < LAYOUT_DATA; d++) {
        const struct slot slot = slot_of(store, (enum layout_data)d, run, sample);
        if (slot.of.data && rows[d] &&
            writer_put(store->writer, under_way(store, run, sample), &slot, rows[d], slot.row_bytes, err))
            return err->status;
    }
    return STATUS_OK;
}

enum status store_write_end(struct store *store, int run, int sample, float seconds, struct error *err)
{
    const struct writer_account account = {.digest = digest_slot(store, run, sample),
                                           .seconds = slot_of(store, DATA_SECONDS, run, sample),
                                           .state = state_slot(store, run, sample),
                                           .done = STORE_ITEM_DONE};
    if (check_still_there(store, err)) {
        store_write_cancel(store, run, sample);
        return err->status;
    }
    return writer_put_account(store->writer, under_way(store, run, sample), &account, seconds, err);
}

enum status store_write_settle(struct store *store, int run, int sample, struct error *err)
{
    return writer_settle(store->writer, under_way(store, run, sample), err);
}

enum status store_write_done(struct store *store, int run, int sample, float seconds, struct error *err)
{
    store_write_end(store, run, sample, seconds, err);
    return store_write_settle(store, run, sample, err);
}

void store_write_cancel(struct store *store, int run, int sample)
{
    struct error unused = {0};
    writer_settle(store->writer, under_way(store, run, sample), &unused);
}

enum status store_sync(struct store *store, struct error *err)
{
    sink_sync(store->sink, err);
    return comm_agree(&store->comm, err);
}

// ---- reading back ----

static enum status unreadable(const struct store *store, const char *what, struct error *err)
{
    return error_set(err, STATUS_IO, "%s: cannot read %s: %s", store->path, what, strerror(errno));
}

enum status store_read_ids(struct store *store, int sample, int length, int32_t *ids, struct error *err)
{
    const struct slot slot = slot_of(store, DATA_TOKEN_IDS, 0, sample);
    if (sink_get(store->sink, &slot, 0, ids, (size_t)length * sizeof *ids)) return STATUS_OK;
    return unreadable(store, "token ids back", err);
}

enum status store_read_states(struct store *store, int run, unsigned char *state, struct error *err)
{
    const struct slot slot = state_slot(store, run, 0);
    const enum layout_axis axis = run == STORE_CALIBRATION ? AXIS_OBSERVED : AXIS_SAMPLES;
    if (sink_get(store->sink, &slot, 0, state, (size_t)store->sizes.of[axis])) return STATUS_OK;
    return unreadable(store, "the states of the items", err);
}

static bool digest_is(struct store *store, int run, int sample, struct hash *hash)
{
    unsigned char stored[HASH_BYTES], found[HASH_BYTES];
    const struct slot slot = digest_slot(store, run, sample);
    hash_finish(hash, found);
    return sink_get(store->sink, &slot, 0, stored, sizeof stored) && memcmp(stored, found, HASH_BYTES) == 0;
}

// In pieces: no buffer of a whole tensor is needed.
static bool hash_slot(struct store *store, const struct slot *slot, size_t bytes, struct hash *hash)
{
    enum { PIECE_BYTES = 1 << 16 };
    unsigned char piece[PIECE_BYTES];
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        const size_t part = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        if (!sink_get(store->sink, slot, at, piece, part)) return false;
        hash_update(hash, piece, part);
    }
    return true;
}

static bool hash_output(struct store *store, const struct slot *slot, int component, int length,
                        struct hash *hash)
{
    const size_t bytes = (size_t)length * (size_t)store->width[component] * sizeof(float);
    return !slot->of.data || hash_slot(store, slot, bytes, hash);
}

bool store_sample_is_whole(struct store *store, int run, int sample, int length, struct hash *hash)
{
    bool good = true;
    for (int l = 0; l < store->n_layer && good; l++)
        for (int c = 0; c < store->arch->n_components && good; c++) {
            const struct slot slot = slot_of_output(store, run, l, c, sample);
            good = hash_output(store, &slot, c, length, hash);
        }
    for (int d = DATA_FIRST_METRIC; d < LAYOUT_DATA && good; d++) {
        const struct slot slot = slot_of(store, (enum layout_data)d, run, sample);
        good = !slot.of.data || hash_slot(store, &slot, slot.row_bytes, hash);
    }
    return digest_is(store, run, sample, hash) && good; // in any case: the hash is used again
}

bool store_read_observed(struct store *store, int sample, float *observed, uint32_t *histogram,
                         struct hash *hash)
{
    const struct slot numbers = slot_of(store, DATA_OBSERVED, 0, sample),
                      bins = slot_of(store, DATA_OBSERVED_HISTOGRAM, 0, sample);
    bool good = sink_get(store->sink, &numbers, 0, observed, numbers.row_bytes);
    hash_update(hash, observed, numbers.row_bytes);
    if (store->sizes.of[AXIS_GROUP_SCALES] > 0) {
        const struct slot groups = slot_of(store, DATA_OBSERVED_GROUPS, 0, sample);
        float *of_groups = observed + numbers.row_bytes / sizeof *observed;
        good &= sink_get(store->sink, &groups, 0, of_groups, groups.row_bytes);
        hash_update(hash, of_groups, groups.row_bytes);
    }
    if (histogram) {
        good &= sink_get(store->sink, &bins, 0, histogram, bins.row_bytes);
        hash_update(hash, histogram, bins.row_bytes);
    }
    return digest_is(store, STORE_CALIBRATION, sample, hash) && good;
}
