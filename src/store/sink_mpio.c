// SPDX-License-Identifier: Apache-2.0
// A sink over HDF5's MPI-IO driver.  Writing is independent: nothing here is collective but opening, syncing
// and closing.  These three can wait for ever inside HDF5 and MPI when a rank's I/O fails there (1.10: a rank
// that cannot open the file, the superblock that cannot be rewritten when it is closed).  So each rank first
// tries for itself what the call will do, ranks agree, and a watch bounds the call.
//
// HDF5 is not made for threads: one lock is around all its calls while a sink is open.
#include <errno.h>
#include <hdf5.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hdf.h"
#include "sink.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/base/team.h"

// MPI counts bytes in an int.
enum { MOST_BYTES = 1 << 30, SUPERBLOCK_BYTES = 96 };

// ---- the watch ----

// A thread that ends the program unless it is told in time that all went well.
struct watch {
    const struct sink_file *file;
    const struct comm *comm;
    const struct store_io *io;
    const char *what;    // "open it" ...
    struct error failed; // under the lock: what HDF5 told this rank
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool over; // under the lock
};

enum { LEAST_PATIENCE_SECONDS = 5 };

static double patience(const struct watch *watch)
{
    const double asked = watch->io->patience_seconds;
    return asked > LEAST_PATIENCE_SECONDS ? asked : LEAST_PATIENCE_SECONDS;
}

// With the lock.  False when that time has passed.
static bool wait_until_over(struct watch *watch, double seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)(1e9 * (seconds - (double)(time_t)seconds));
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    while (!watch->over)
        if (pthread_cond_timedwait(&watch->ended, &watch->lock, &until) == ETIMEDOUT) break;
    return watch->over;
}

static void say_overdue(const struct watch *watch)
{
    const char *path = watch->file->path, *reason = watch->failed.text;
    const size_t length = strlen(path);
    char seconds[NUMBER_ROOM];
    if (strncmp(reason, path, length) == 0 && reason[length] == ':') reason += length + 2;
    (watch->comm->rank == 0 ? log_job : log_rank)(
        watch->io->log, LOG_ERROR,
        "%s: MPI-IO did not %s on all ranks within %s s (--grace)%s%.600s; what is marked as done is kept, "
        "the same command with --resume goes on; --io posix does without MPI-IO",
        path, watch->what, number_shortest(patience(watch), seconds), reason[0] ? ": " : "", reason);
}

// One rank speaks: who knows a reason, else rank 0, unless a launcher ends it already because another one has
// spoken and ended.
static void *keep_watch(void *context)
{
    struct watch *watch = context;
    thread_settle();
    pthread_mutex_lock(&watch->lock);
    if (!wait_until_over(watch, patience(watch))) {
        stop_silence();
        wait_until_over(watch, watch->failed.status ? 0.2 : watch->comm->rank == 0 ? 1.5 : 5);
    }
    const bool over = watch->over;
    const bool speaks = watch->failed.status || (watch->comm->rank == 0 && !stop_is_ended());
    pthread_mutex_unlock(&watch->lock);
    if (over) return NULL;
    if (speaks) say_overdue(watch);
    _exit((int)STATUS_IO); // MPI would wait for the other ranks, too
}

// Collective.  `err`: what trying showed.  All ranks are on watch if and only if it succeeds.
static enum status begin_watch(struct watch *watch, struct error *err)
{
    sigset_t all, before;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->ended, NULL);
    if (comm_agree(watch->comm, err)) return err->status;
    sigfillset(&all); // signals are the main thread's business
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int code = pthread_create(&watch->thread, NULL, keep_watch, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        error_set(err, STATUS_IO, "cannot start a thread: %s; allow more processes", strerror(code));
    const bool mine = code == 0;
    if (comm_agree(watch->comm, err) == STATUS_OK) return STATUS_OK;
    if (mine) {
        pthread_mutex_lock(&watch->lock);
        watch->over = true;
        pthread_cond_signal(&watch->ended);
        pthread_mutex_unlock(&watch->lock);
        pthread_join(watch->thread, NULL);
    }
    return err->status;
}

// Collective.  `err`: what became of the call here.
static enum status end_watch(struct watch *watch, struct error *err)
{
    pthread_mutex_lock(&watch->lock);
    watch->failed = *err;
    pthread_mutex_unlock(&watch->lock);
    comm_agree(watch->comm, err);
    pthread_mutex_lock(&watch->lock);
    watch->over = true;
    pthread_cond_signal(&watch->ended);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    return err->status;
}

// ---- rows ----

struct mpio {
    struct sink_file file; // first
    struct comm comm;
    struct store_io io;
    hid_t id;
    pthread_mutex_t lock; // around HDF5
    bool broken;          // on all ranks: a collective call failed, none may follow
};

static struct mpio *mpio_of(struct sink *sink)
{
    return (struct mpio *)(void *)sink;
}

// A dataset that is open, to be written to by its own type: nothing is converted.
struct target {
    hid_t data, type, space, memory; // the last two: of the file, and of the block at hand
    size_t element_bytes;
    int rank;
    hsize_t shape[HDF_RANKS];
};

static bool open_target(struct target *target, hid_t file, long long object)
{
    *target = (struct target){.data = hdf_open_object(file, object), .type = -1, .space = -1, .memory = -1};
    if (target->data < 0) return false;
    target->type = H5Dget_type(target->data);
    target->space = H5Dget_space(target->data);
    if (target->type < 0 || target->space < 0) return false;
    target->element_bytes = H5Tget_size(target->type);
    target->rank = H5Sget_simple_extent_ndims(target->space);
    return target->element_bytes > 0 && target->rank > 0 && target->rank <= HDF_RANKS &&
           H5Sget_simple_extent_dims(target->space, target->shape, NULL) == target->rank;
}

static void close_target(const struct target *target)
{
    if (target->memory >= 0) H5Sclose(target->memory);
    if (target->space >= 0) H5Sclose(target->space);
    if (target->type >= 0) H5Tclose(target->type);
    if (target->data >= 0) H5Dclose(target->data);
}

// The largest block that begins at element `at`, in the order of the file, and holds up to `left` elements in
// one piece.  Gives their number.
static hsize_t next_block(const struct target *target, hsize_t at, hsize_t left, struct hdf_block *block)
{
    hsize_t stride = 1, most = MOST_BYTES / target->element_bytes, held = 1, rest = at;
    if (left > most) left = most;
    int axis = target->rank - 1;
    block->rank = target->rank;
    while (axis > 0 && at % (stride * target->shape[axis]) == 0 && left >= stride * target->shape[axis])
        stride *= target->shape[axis--];
    for (int d = target->rank - 1; d >= 0; d--) {
        block->start[d] = d > 0 ? rest % target->shape[d] : rest;
        rest /= target->shape[d];
        block->count[d] = d > axis ? target->shape[d] : 1;
    }
    const hsize_t ahead = target->shape[axis] - block->start[axis];
    block->count[axis] = left / stride < ahead ? left / stride : ahead;
    for (int d = 0; d < target->rank; d++)
        held *= block->count[d];
    return held;
}

// After a failure nothing of HDF5 is called: that would clear the reasons.
static bool write_block(struct target *target, const struct hdf_block *block, hsize_t elements,
                        const void *data)
{
    if (target->memory >= 0) H5Sclose(target->memory);
    target->memory = H5Screate_simple(1, &elements, NULL);
    return target->memory >= 0 &&
           H5Sselect_hyperslab(target->space, H5S_SELECT_SET, block->start, NULL, block->count, NULL) >= 0 &&
           H5Dwrite(target->data, target->type, target->memory, target->space, H5P_DEFAULT, data) >= 0;
}

static bool write_row(struct target *target, const struct slot *slot, const char *data, size_t bytes)
{
    const size_t each = target->element_bytes;
    hsize_t at = (hsize_t)slot->row * (slot->row_bytes / each), left = bytes / each;
    while (left > 0) {
        struct hdf_block block;
        const hsize_t n = next_block(target, at, left, &block);
        if (!write_block(target, &block, n, data)) return false;
        at += n;
        left -= n;
        data += n * each;
    }
    return true;
}

static enum status mpio_put(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                            const char *what, struct error *err)
{
    struct mpio *mpio = mpio_of(sink);
    struct target target;
    pthread_mutex_lock(&mpio->lock);
    if (!open_target(&target, mpio->id, slot->of.object) || !write_row(&target, slot, data, bytes))
        hdf_error(err, mpio->file.path, what);
    close_target(&target);
    pthread_mutex_unlock(&mpio->lock);
    return err->status;
}

// ---- collective ----

static struct watch watch_for(const struct mpio *mpio, const char *what)
{
    return (struct watch){.file = &mpio->file, .comm = &mpio->comm, .io = &mpio->io, .what = what};
}

// What was written is synced first by each rank's own descriptor, which takes its time and fails by itself;
// then there is little left for HDF5, which does it again, as it wants to be asked.
static enum status mpio_sync(struct sink *sink, struct error *err)
{
    struct mpio *mpio = mpio_of(sink);
    struct watch watch = watch_for(mpio, "sync it");
    sink_file_sync(sink, err);
    if (begin_watch(&watch, err)) return err->status;
    pthread_mutex_lock(&mpio->lock);
    if (H5Fflush(mpio->id, H5F_SCOPE_GLOBAL) < 0)
        hdf_error(err, mpio->file.path, "cannot sync layer outputs");
    pthread_mutex_unlock(&mpio->lock);
    mpio->broken = end_watch(&watch, err) != STATUS_OK;
    return err->status;
}

// Rank 0 rewrites the superblock when the file is closed: here with the bytes that it has.
static enum status try_superblock(const struct mpio *mpio, struct error *err)
{
    char bytes[SUPERBLOCK_BYTES];
    const long long n = file_read_at(mpio->file.descriptor, bytes, sizeof bytes, 0);
    if (n < 0) return error_errno(err, mpio->file.path, "cannot read the superblock");
    if (!file_write_at(mpio->file.descriptor, bytes, (size_t)n, 0))
        return error_errno(err, mpio->file.path, "cannot write the superblock");
    return STATUS_OK;
}

// A file that is left open stays as it is: HDF5 has nothing to write but the superblock as it was.
static enum status close_file(struct mpio *mpio, const struct error *loss, struct error *err)
{
    struct watch watch = watch_for(mpio, "close it");
    struct error verdict = *loss;
    if (!verdict.status && mpio->comm.rank == 0) try_superblock(mpio, &verdict);
    if (!begin_watch(&watch, &verdict)) {
        if (H5Fclose(mpio->id) < 0) hdf_error(&verdict, mpio->file.path, "cannot close");
        end_watch(&watch, &verdict);
    }
    if (verdict.status && !err->status) *err = verdict;
    return verdict.status;
}

static void free_mpio(struct mpio *mpio)
{
    pthread_mutex_destroy(&mpio->lock);
    sink_file_close(&mpio->file);
    free(mpio);
}

static void mpio_close(struct sink *sink, const struct error *loss, struct error *err)
{
    struct mpio *mpio = mpio_of(sink);
    if (!mpio->broken) close_file(mpio, loss, err);
    free_mpio(mpio);
    hdf_tidy(); // what follows needs the memory
}

// MPI passes over keys that it does not know.
static MPI_Info hints_of(const char *lines)
{
    MPI_Info info;
    MPI_Info_create(&info);
    for (const char *line = lines; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char key[STORE_MOST_HINT_BYTES + 1], value[STORE_MOST_HINT_BYTES + 1];
        const int before = (int)strcspn(line, "="), behind = (int)strcspn(line, "\n") - before - 1;
        snprintf(key, sizeof key, "%.*s", before, line);
        snprintf(value, sizeof value, "%.*s", behind, line + before + 1);
        MPI_Info_set(info, key, value);
    }
    return info;
}

// What MPI-IO made of the hints, as it tells rank 0.
static void log_hints(const struct mpio *mpio)
{
    MPI_File *file;
    MPI_Info info;
    char text[900] = "";
    int n = 0;
    if (mpio->comm.rank != 0 || mpio->io.log->level < LOG_VERBOSE) return;
    if (H5Fget_vfd_handle(mpio->id, H5P_DEFAULT, (void **)&file) < 0 ||
        MPI_File_get_info(*file, &info) != MPI_SUCCESS)
        return;
    MPI_Info_get_nkeys(info, &n);
    for (int i = 0, at = 0, known; i < n && at < (int)sizeof text; i++) {
        char key[MPI_MAX_INFO_KEY + 1], value[STORE_MOST_HINT_BYTES + 1] = "";
        MPI_Info_get_nthkey(info, i, key);
        MPI_Info_get(info, key, STORE_MOST_HINT_BYTES, value, &known);
        at += snprintf(text + at, sizeof text - (size_t)at, " %s=%s", key, value);
    }
    MPI_Info_free(&info);
    log_job(mpio->io.log, LOG_VERBOSE, "MPI-IO hints:%s", text);
}

static enum status open_file(struct mpio *mpio, struct error *err)
{
    struct watch watch = watch_for(mpio, "open it");
    if (begin_watch(&watch, err)) return err->status;
    const hid_t access = hdf_access(HDF_KEEPS_OPEN);
    MPI_Info hints = hints_of(mpio->io.hints);
    mpio->id = -1;
    if (H5Pset_fapl_mpio(access, mpio->comm.world, hints) >= 0)
        mpio->id = H5Fopen(mpio->file.path, H5F_ACC_RDWR, access);
    if (mpio->id < 0) hdf_error(err, mpio->file.path, "cannot open through MPI-IO (--io posix does without)");
    MPI_Info_free(&hints);
    H5Pclose(access);                               // MPI would miss its communicator at the end
    if (end_watch(&watch, err)) return err->status; // those that have it open leave it so
    log_hints(mpio);
    return STATUS_OK;
}

enum status sink_open_mpio(struct sink **sink, const char *path, const struct comm *comm,
                           const struct store_io *io, struct error *err)
{
    static const struct sink_kind kind = {"mpio", false, mpio_put, sink_file_get, mpio_sync, mpio_close};
    struct mpio *mpio = calloc(1, sizeof *mpio);
    if (!mpio) error_memory(err, sizeof *mpio, "a writer");
    if (comm_agree(comm, err)) {
        free(mpio);
        return err->status;
    }
    mpio->file.sink.kind = &kind;
    mpio->comm = *comm;
    mpio->io = *io;
    pthread_mutex_init(&mpio->lock, NULL);
    sink_file_open(&mpio->file, path, err);
    if (open_file(mpio, err)) {
        free_mpio(mpio);
        return err->status;
    }
    *sink = &mpio->file.sink;
    return STATUS_OK;
}
