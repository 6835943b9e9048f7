// SPDX-License-Identifier: Apache-2.0
#include "writer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/thread.h"

// A record's data lie behind it in the ring, in one piece: where the end of the ring is too near, a SKIP
// fills it.
enum kind { KIND_DATA, KIND_ACCOUNT, KIND_SKIP };
struct record {
    enum kind kind;
    size_t room_bytes; // the record with all behind it
    size_t data_bytes;
    int run;
    long long offset;
    struct writer_account account;
    float seconds;
};

// Room in the ring is handed out in units that hold a record, so that a SKIP fits wherever anything is left.
enum { RECORD_ROOM = 128, TENSORS_IN_RING = 4 };
_Static_assert(sizeof(struct record) <= RECORD_ROOM, "a record fits its room");

// A run's sample under way.
struct under_way {
    struct hash *hash;
    struct error failure; // under the lock: of a write since the last settle
};

struct writer {
    int descriptor;
    char *path;
    struct under_way *runs;
    int n_runs;
    unsigned char *ring; // NULL: no thread
    size_t ring_bytes;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    // Under the lock.  Both counts only grow; the place in the ring is the remainder.
    uint64_t put, taken;
    bool ending;
};

static size_t round_up(size_t bytes)
{
    return (bytes + RECORD_ROOM - 1) / RECORD_ROOM * RECORD_ROOM;
}

size_t writer_room_bytes(size_t most_bytes)
{
    return TENSORS_IN_RING * (2 * RECORD_ROOM + round_up(most_bytes));
}

// ---- to the file ----

static enum status fail(const struct writer *writer, const char *what, int code, struct error *err)
{
    struct statvfs disk;
    double free_mebibytes = 0;
    if (fstatvfs(writer->descriptor, &disk) == 0)
        free_mebibytes = (double)disk.f_bavail * (double)disk.f_frsize / (1024.0 * 1024.0);
    return error_set(err, STATUS_IO, "%s: %s: %s (%.1f MiB free there)", writer->path, what, strerror(code),
                     free_mebibytes);
}

enum status writer_write(struct writer *writer, long long offset, const void *data, size_t bytes,
                         const char *what, struct error *err)
{
    const char *at = data;
    while (bytes > 0) {
        ssize_t n = pwrite(writer->descriptor, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(writer, what, n < 0 ? errno : ENOSPC, err);
        at += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status write_data(struct writer *writer, int run, long long offset, const void *data,
                              size_t bytes, struct error *err)
{
    hash_update(writer->runs[run].hash, data, bytes);
    return writer_write(writer, offset, data, bytes, "cannot write layer outputs", err);
}

static enum status write_account(struct writer *writer, int run, const struct writer_account *account,
                                 float seconds, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    hash_finish(writer->runs[run].hash, digest);
    if (writer_write(writer, account->digest, digest, sizeof digest, "cannot write a digest", err) ||
        writer_write(writer, account->seconds, &seconds, sizeof seconds, "cannot write a time", err))
        return err->status;
    return writer_write(writer, account->state, &account->done, 1, "cannot mark an item", err);
}

static void forget_sample(struct writer *writer, int run)
{
    unsigned char unused[HASH_BYTES];
    hash_finish(writer->runs[run].hash, unused);
}

bool writer_read(const struct writer *writer, long long offset, void *data, size_t bytes)
{
    char *at = data;
    while (bytes > 0) {
        const ssize_t n = pread(writer->descriptor, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return true;
}

// ---- the thread ----

static void run_record(struct writer *writer, const struct record *record, struct error *err)
{
    if (record->kind == KIND_DATA)
        write_data(writer, record->run, record->offset, (const char *)record + RECORD_ROOM,
                   record->data_bytes, err);
    else if (record->kind == KIND_ACCOUNT)
        write_account(writer, record->run, &record->account, record->seconds, err);
}

// With the lock, which it gives up while it writes.
static void take_record(struct writer *writer)
{
    const struct record *record = (const void *)(writer->ring + writer->taken % writer->ring_bytes);
    struct error err = {0};
    if (!writer->runs[record->run].failure.status) {
        pthread_mutex_unlock(&writer->lock);
        run_record(writer, record, &err);
        pthread_mutex_lock(&writer->lock);
        if (err.status) writer->runs[record->run].failure = err;
    }
    writer->taken += record->room_bytes;
    pthread_cond_signal(&writer->emptied);
}

static void *empty_ring(void *context)
{
    struct writer *writer = context;
    thread_settle();
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (writer->taken == writer->put && !writer->ending)
            pthread_cond_wait(&writer->filled, &writer->lock);
        if (writer->taken == writer->put) break;
        take_record(writer);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

// ---- the producer ----

// Waits for room and gives it; NULL after a failed write of the run.  Without the lock on return: nobody
// looks at it before publish().
static struct record *begin_record(struct writer *writer, int run, size_t data_bytes, struct error *err)
{
    const struct error *failure = &writer->runs[run].failure;
    const size_t needed = RECORD_ROOM + round_up(data_bytes);
    size_t at = (size_t)(writer->put % writer->ring_bytes), skipped = 0;
    if (at + needed > writer->ring_bytes) skipped = writer->ring_bytes - at;
    pthread_mutex_lock(&writer->lock);
    while (writer->put + skipped + needed - writer->taken > writer->ring_bytes && !failure->status)
        pthread_cond_wait(&writer->emptied, &writer->lock);
    if (failure->status) *err = *failure;
    if (!err->status && skipped > 0) {
        *(struct record *)(void *)(writer->ring + at) =
            (struct record){.kind = KIND_SKIP, .room_bytes = skipped};
        writer->put += skipped;
        at = 0;
    }
    pthread_mutex_unlock(&writer->lock);
    if (err->status) return NULL;
    struct record *record = (void *)(writer->ring + at);
    *record = (struct record){.room_bytes = needed, .data_bytes = data_bytes, .run = run};
    return record;
}

static void publish(struct writer *writer, const struct record *record)
{
    pthread_mutex_lock(&writer->lock);
    writer->put += record->room_bytes;
    pthread_cond_signal(&writer->filled);
    pthread_mutex_unlock(&writer->lock);
}

enum status writer_put(struct writer *writer, int run, long long offset, const void *data, size_t bytes,
                       struct error *err)
{
    if (!writer->ring) {
        struct error *failure = &writer->runs[run].failure;
        if (!failure->status) write_data(writer, run, offset, data, bytes, failure);
        if (failure->status) *err = *failure;
        return err->status;
    }
    struct record *record = begin_record(writer, run, bytes, err);
    if (!record) return err->status;
    record->kind = KIND_DATA;
    record->offset = offset;
    memcpy((char *)record + RECORD_ROOM, data, bytes);
    publish(writer, record);
    return STATUS_OK;
}

enum status writer_put_account(struct writer *writer, int run, const struct writer_account *account,
                               float seconds, struct error *err)
{
    if (!writer->ring) {
        struct error *failure = &writer->runs[run].failure;
        if (!failure->status) write_account(writer, run, account, seconds, failure);
        if (failure->status) *err = *failure;
        return err->status;
    }
    struct record *record = begin_record(writer, run, 0, err);
    if (!record) return err->status;
    record->kind = KIND_ACCOUNT;
    record->account = *account;
    record->seconds = seconds;
    publish(writer, record);
    return STATUS_OK;
}

enum status writer_settle(struct writer *writer, int run, struct error *err)
{
    pthread_mutex_lock(&writer->lock);
    while (writer->taken != writer->put)
        pthread_cond_wait(&writer->emptied, &writer->lock);
    if (writer->runs[run].failure.status && !err->status) *err = writer->runs[run].failure;
    writer->runs[run].failure = (struct error){0};
    pthread_mutex_unlock(&writer->lock);
    forget_sample(writer, run); // the thread sleeps
    return err->status;
}

enum status writer_sync(struct writer *writer, struct error *err)
{
    if (fsync(writer->descriptor) == 0 || errno == EINVAL || errno == EROFS) return STATUS_OK;
    return fail(writer, "cannot sync layer outputs", errno, err);
}

// ---- life ----

// Signals are the main thread's business.
static int start_thread(struct writer *writer)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&writer->thread, NULL, empty_ring, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

static enum status open_ring(struct writer *writer, size_t most_bytes, struct error *err)
{
    void *ring;
    writer->ring_bytes = writer_room_bytes(most_bytes);
    if (posix_memalign(&ring, RECORD_ROOM, writer->ring_bytes) != 0)
        return error_memory(err, writer->ring_bytes, "the outputs on their way to the file");
    int code = start_thread(writer);
    if (code != 0) {
        free(ring);
        return error_set(err, STATUS_IO, "cannot start a thread: %s; allow more processes", strerror(code));
    }
    writer->ring = ring;
    return STATUS_OK;
}

// What was made is freed by writer_close().
static enum status open_runs(struct writer *writer, int runs, struct error *err)
{
    writer->runs = calloc((size_t)runs, sizeof *writer->runs);
    if (!writer->runs) return error_memory(err, (size_t)runs * sizeof *writer->runs, "a writer");
    writer->n_runs = runs;
    for (int r = 0; r < runs; r++) {
        writer->runs[r].hash = hash_open();
        if (!writer->runs[r].hash) return error_memory(err, HASH_BYTES, "a writer");
    }
    return STATUS_OK;
}

enum status writer_open(struct writer **writer, const char *path, size_t most_bytes, int runs, bool threaded,
                        struct error *err)
{
    struct writer *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a writer");
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->filled, NULL);
    pthread_cond_init(&made->emptied, NULL);
    made->path = strdup(path);
    made->descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (made->descriptor < 0)
        error_errno(err, path, "cannot open for writing");
    else if (!made->path)
        error_memory(err, HASH_BYTES, "a writer");
    else if (open_runs(made, runs, err) == STATUS_OK && threaded)
        open_ring(made, most_bytes, err);
    if (err->status)
        writer_close(made);
    else
        *writer = made;
    return err->status;
}

void writer_close(struct writer *writer)
{
    if (!writer) return;
    if (writer->ring) {
        pthread_mutex_lock(&writer->lock);
        writer->ending = true;
        pthread_cond_signal(&writer->filled);
        pthread_mutex_unlock(&writer->lock);
        pthread_join(writer->thread, NULL);
    }
    if (writer->descriptor >= 0) close(writer->descriptor);
    free(writer->ring);
    for (int r = 0; r < writer->n_runs; r++)
        hash_close(writer->runs[r].hash);
    free(writer->runs);
    free(writer->path);
    pthread_cond_destroy(&writer->emptied);
    pthread_cond_destroy(&writer->filled);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}
