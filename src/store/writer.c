// SPDX-License-Identifier: Apache-2.0
#include "writer.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/team.h"

// A record's data lie behind it in the ring, in one piece: where the end of the ring is too near, a SKIP
// fills it.
enum kind { KIND_DATA, KIND_ACCOUNT, KIND_SKIP };
struct record {
    enum kind kind;
    size_t room_bytes; // the record with all behind it
    size_t data_bytes;
    int run;
    float seconds;
    union {
        struct slot slot;              // of KIND_DATA
        struct writer_account account; // of KIND_ACCOUNT
    };
};

// Room in the ring is handed out in units that hold a record, so that a SKIP fits wherever anything is left.
enum { RECORD_ROOM = 256, TENSORS_IN_RING = 4 };
enum { MANY_BYTES = 1 << 18, COPIES = 16, COPY_BYTES = 4 << 10 }; // of what is copied by several threads
_Static_assert(sizeof(struct record) <= RECORD_ROOM, "a record fits its room");

// A run's sample under way.
struct under_way {
    struct hash *hash;
    struct error failure; // under the lock: of a write since the last settle
};

// A thread that empties the ring: the runs that are its own, in their order.
struct hand {
    struct writer *writer;
    pthread_t thread;
    uint64_t taken; // under the lock: it went so far
};

struct writer {
    struct sink *sink;
    struct team *team; // that is lent, or NULL
    struct under_way *runs;
    int n_runs;
    unsigned char *ring; // NULL: no thread
    size_t ring_bytes;
    struct hand hands[WRITER_MOST_THREADS];
    int n_hands;
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    // Under the lock.  The counts only grow; the place in the ring is the remainder.
    uint64_t put;
    bool ending;
};

// With the lock: what all threads have taken.
static uint64_t taken(const struct writer *writer)
{
    uint64_t least = writer->put;
    for (int i = 0; i < writer->n_hands; i++)
        if (writer->hands[i].taken < least) least = writer->hands[i].taken;
    return least;
}

static size_t round_up(size_t bytes)
{
    return (bytes + RECORD_ROOM - 1) / RECORD_ROOM * RECORD_ROOM;
}

size_t writer_room_bytes(size_t most_bytes)
{
    return TENSORS_IN_RING * (2 * RECORD_ROOM + round_up(most_bytes));
}

// ---- to the file ----

static enum status write_data(struct writer *writer, int run, const struct slot *slot, const void *data,
                              size_t bytes, struct error *err)
{
    hash_update(writer->runs[run].hash, data, bytes);
    return sink_put(writer->sink, slot, data, bytes, "cannot write layer outputs", err);
}

static enum status write_account(struct writer *writer, int run, const struct writer_account *account,
                                 float seconds, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    hash_finish(writer->runs[run].hash, digest);
    if (sink_put(writer->sink, &account->digest, digest, sizeof digest, "cannot write a digest", err) ||
        sink_put(writer->sink, &account->seconds, &seconds, sizeof seconds, "cannot write a time", err))
        return err->status;
    return sink_put(writer->sink, &account->state, &account->done, 1, "cannot mark an item", err);
}

static void forget_sample(struct writer *writer, int run)
{
    unsigned char unused[HASH_BYTES];
    if (writer->runs[run].hash) hash_finish(writer->runs[run].hash, unused);
}

// ---- the threads ----

static void run_record(struct writer *writer, const struct record *record, struct error *err)
{
    if (record->kind == KIND_DATA)
        write_data(writer, record->run, &record->slot, (const char *)record + RECORD_ROOM, record->data_bytes,
                   err);
    else if (record->kind == KIND_ACCOUNT)
        write_account(writer, record->run, &record->account, record->seconds, err);
}

// Runs come in steps of any length, and fall to all threads.
static bool is_of(const struct record *record, const struct hand *hand)
{
    const struct writer *writer = hand->writer;
    const unsigned mixed = (unsigned)record->run * 2654435761u >> 16;
    return record->kind != KIND_SKIP && &writer->hands[mixed % (unsigned)writer->n_hands] == hand;
}

// With the lock, which it gives up while it writes.
static void take_record(struct hand *hand)
{
    struct writer *writer = hand->writer;
    const struct record *record = (const void *)(writer->ring + hand->taken % writer->ring_bytes);
    const uint64_t before = taken(writer);
    struct error err = {0};
    if (is_of(record, hand) && !writer->runs[record->run].failure.status) {
        pthread_mutex_unlock(&writer->lock);
        run_record(writer, record, &err);
        pthread_mutex_lock(&writer->lock);
        if (err.status) writer->runs[record->run].failure = err;
    }
    hand->taken += record->room_bytes;
    if (taken(writer) != before) pthread_cond_signal(&writer->emptied);
}

static void *empty_ring(void *context)
{
    struct hand *hand = context;
    struct writer *writer = hand->writer;
    thread_settle();
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (hand->taken == writer->put && !writer->ending)
            pthread_cond_wait(&writer->filled, &writer->lock);
        if (hand->taken == writer->put) break;
        take_record(hand);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

// ---- the producer ----

// Runs that came later have a hash from their first data on.
static enum status need_hash(struct writer *writer, int run, struct error *err)
{
    struct under_way *way = &writer->runs[run];
    if (!way->hash) way->hash = hash_open();
    return way->hash ? STATUS_OK : error_memory(err, HASH_BYTES, "a writer");
}

// Waits for room and gives it; NULL after a failed write of the run.  Without the lock on return: nobody
// looks at it before publish().
static struct record *begin_record(struct writer *writer, int run, size_t data_bytes, struct error *err)
{
    const struct error *failure = &writer->runs[run].failure;
    const size_t needed = RECORD_ROOM + round_up(data_bytes);
    size_t at = (size_t)(writer->put % writer->ring_bytes), skipped = 0;
    if (at + needed > writer->ring_bytes) skipped = writer->ring_bytes - at;
    pthread_mutex_lock(&writer->lock);
    while (writer->put + skipped + needed - taken(writer) > writer->ring_bytes && !failure->status)
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
    pthread_cond_broadcast(&writer->filled);
    pthread_mutex_unlock(&writer->lock);
}

void writer_lend(struct writer *writer, struct team *team)
{
    writer->team = team;
}

struct copying {
    char *to;
    const char *from;
};

static void copy_some(void *context, int part, int begin, int end)
{
    const struct copying *c = context;
    (void)part;
    memcpy(c->to + begin, c->from + begin, (size_t)(end - begin));
}

static void copy(const struct writer *writer, void *to, const void *from, size_t bytes)
{
    struct copying copying = {to, from};
    if (writer->team && bytes >= MANY_BYTES && bytes <= INT_MAX)
        team_divide(writer->team, COPIES, (int)bytes, COPY_BYTES, copy_some, &copying);
    else
        memcpy(to, from, bytes);
}

enum status writer_put(struct writer *writer, int run, const struct slot *slot, const void *data,
                       size_t bytes, struct error *err)
{
    if (need_hash(writer, run, err)) return err->status;
    if (!writer->ring) {
        struct error *failure = &writer->runs[run].failure;
        if (!failure->status) write_data(writer, run, slot, data, bytes, failure);
        if (failure->status) *err = *failure;
        return err->status;
    }
    struct record *record = begin_record(writer, run, bytes, err);
    if (!record) return err->status;
    record->kind = KIND_DATA;
    record->slot = *slot;
    copy(writer, (char *)record + RECORD_ROOM, data, bytes);
    publish(writer, record);
    return STATUS_OK;
}

enum status writer_put_account(struct writer *writer, int run, const struct writer_account *account,
                               float seconds, struct error *err)
{
    if (need_hash(writer, run, err)) return err->status;
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
    while (taken(writer) != writer->put)
        pthread_cond_wait(&writer->emptied, &writer->lock);
    if (writer->runs[run].failure.status && !err->status) *err = writer->runs[run].failure;
    writer->runs[run].failure = (struct error){0};
    pthread_mutex_unlock(&writer->lock);
    forget_sample(writer, run); // the threads sleep
    return err->status;
}

// ---- life ----

// One more, while nothing is under way.  Signals are the main thread's business.
static int start_thread(struct writer *writer)
{
    sigset_t all, before;
    struct hand *hand = &writer->hands[writer->n_hands];
    hand->writer = writer;
    hand->taken = writer->put;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&hand->thread, NULL, empty_ring, hand);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code == 0) writer->n_hands++;
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

enum status writer_open(struct writer **writer, struct sink *sink, size_t most_bytes, int runs, bool threaded,
                        struct error *err)
{
    struct writer *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a writer");
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->filled, NULL);
    pthread_cond_init(&made->emptied, NULL);
    made->sink = sink;
    if (open_runs(made, runs, err) == STATUS_OK && threaded) open_ring(made, most_bytes, err);
    if (err->status)
        writer_close(made);
    else
        *writer = made;
    return err->status;
}

// A ring that cannot be had stays as it is.
static void widen_ring(struct writer *writer, int times)
{
    const size_t most = WRITER_MOST_BYTES / writer->ring_bytes;
    const size_t bytes = writer->ring_bytes * (most < (size_t)times ? most : (size_t)times);
    void *ring;
    if (bytes <= writer->ring_bytes || posix_memalign(&ring, HUGE_PAGE_BYTES, bytes) != 0) return;
    madvise(ring, bytes, MADV_HUGEPAGE); // else filling it for the first time takes as long as writing
    unsigned char *before = writer->ring;
    pthread_mutex_lock(&writer->lock); // the threads sleep
    writer->ring = ring, writer->ring_bytes = bytes;
    writer->put = 0;
    for (int i = 0; i < writer->n_hands; i++)
        writer->hands[i].taken = 0;
    pthread_mutex_unlock(&writer->lock);
    free(before);
}

enum status writer_widen(struct writer *writer, int runs, int times, int threads, struct error *err)
{
    if (writer->ring) widen_ring(writer, times);
    while (writer->ring && writer->sink->kind->apart && writer->n_hands < threads &&
           writer->n_hands < WRITER_MOST_THREADS && start_thread(writer) == 0)
        ;
    if (runs <= writer->n_runs) return STATUS_OK;
    struct under_way *more = realloc(writer->runs, (size_t)runs * sizeof *more);
    if (!more) return error_memory(err, (size_t)runs * sizeof *more, "a writer");
    memset(more + writer->n_runs, 0, (size_t)(runs - writer->n_runs) * sizeof *more);
    writer->runs = more; // the threads sleep
    writer->n_runs = runs;
    return STATUS_OK;
}

void writer_close(struct writer *writer)
{
    if (!writer) return;
    if (writer->ring) {
        pthread_mutex_lock(&writer->lock);
        writer->ending = true;
        pthread_cond_broadcast(&writer->filled);
        pthread_mutex_unlock(&writer->lock);
        for (int i = 0; i < writer->n_hands; i++)
            pthread_join(writer->hands[i].thread, NULL);
    }
    free(writer->ring);
    for (int r = 0; r < writer->n_runs; r++)
        hash_close(writer->runs[r].hash);
    free(writer->runs);
    pthread_cond_destroy(&writer->emptied);
    pthread_cond_destroy(&writer->filled);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}
