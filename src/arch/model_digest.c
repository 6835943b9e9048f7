// SPDX-License-Identifier: Apache-2.0
// Reading all the weights once, by threads of its own, while they are put to use: their digest, and whether
// they are numbers.  Each piece is looked at while it is in the cache.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/input/checkpoint.h"

enum { BLOCK_BYTES = 256 << 10 }; // fits the second-level cache

struct reader {
    pthread_t thread;
    bool started;
    struct digesting *work;
    size_t first; // piece
    struct error err;
};

struct digesting {
    const struct checkpoint *checkpoint;
    const struct tensor **weights;
    size_t n_weights, pieces, stride;
    unsigned char *digests; // [pieces][HASH_BYTES]
    atomic_bool ends;
    int n_readers;
    struct reader readers[];
};

static bool is_finite(const struct digesting *work, const unsigned char *from, const unsigned char *to)
{
    for (size_t i = 0; i < work->n_weights; i++)
        if (tensor_nonfinite_within(work->weights[i], from, to)) return false;
    return true;
}

// False, and no digest: it holds NaN or Inf.
static bool read_piece(const struct digesting *work, size_t index, struct hash *hash)
{
    unsigned char digest[HASH_BYTES];
    const struct file_map piece = checkpoint_piece(work->checkpoint, index);
    bool finite = true;
    for (size_t at = 0; at < piece.size_bytes && finite; at += BLOCK_BYTES) {
        const size_t left = piece.size_bytes - at, bytes = left < BLOCK_BYTES ? left : BLOCK_BYTES;
        finite = is_finite(work, piece.data + at, piece.data + at + bytes);
        hash_update(hash, piece.data + at, bytes);
    }
    hash_finish(hash, digest); // ready for the next one
    if (finite) memcpy(work->digests + index * HASH_BYTES, digest, HASH_BYTES);
    file_release(&piece);
    return finite;
}

static void want_piece(const struct digesting *work, size_t index)
{
    if (index >= work->pieces) return;
    const struct file_map piece = checkpoint_piece(work->checkpoint, index);
    file_want(&piece);
}

static void *read_pieces(void *context)
{
    struct reader *reader = context;
    struct digesting *work = reader->work;
    thread_settle();
    struct hash *hash = hash_open();
    if (!hash) {
        error_memory(&reader->err, HASH_BYTES, "a SHA-256");
        return NULL;
    }
    want_piece(work, reader->first);
    for (size_t i = reader->first; i < work->pieces && !work->ends; i += work->stride) {
        want_piece(work, i + work->stride);
        if (!read_piece(work, i, hash)) work->ends = true;
    }
    hash_close(hash);
    return NULL;
}

static void start_readers(struct digesting *work, size_t part)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
    for (int i = 0; i < work->n_readers; i++) {
        struct reader *reader = &work->readers[i];
        reader->work = work;
        reader->first = part * (size_t)work->n_readers + (size_t)i;
        reader->started = pthread_create(&reader->thread, NULL, read_pieces, reader) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (int i = 0; i < work->n_readers; i++)
        if (!work->readers[i].started) read_pieces(&work->readers[i]);
}

static void clear(struct digesting *work)
{
    free(work->weights);
    free(work->digests);
    free(work);
}

enum status model_digest_begin(struct model *model, int part, int parts, int threads, struct error *err)
{
    const size_t pieces = checkpoint_pieces(model->checkpoint);
    size_t n_weights = 0;
    while (model_weight(model, n_weights))
        n_weights++;
    struct digesting *work = calloc(1, sizeof *work + (size_t)threads * sizeof work->readers[0]);
    if (!work) return error_memory(err, sizeof *work, "a digest");
    work->checkpoint = model->checkpoint;
    work->pieces = pieces;
    work->n_readers = threads;
    work->stride = (size_t)parts * (size_t)threads;
    work->weights = calloc(n_weights, sizeof *work->weights);
    work->digests = calloc(pieces, HASH_BYTES);
    if (!work->weights || !work->digests) {
        clear(work);
        return error_memory(err, pieces * HASH_BYTES, "a digest");
    }
    for (; work->n_weights < n_weights; work->n_weights++)
        work->weights[work->n_weights] = model_weight(model, work->n_weights);
    start_readers(work, (size_t)part);
    model->digesting = work;
    return STATUS_OK;
}

static enum status join(struct digesting *work, struct error *err)
{
    for (int i = 0; i < work->n_readers; i++) {
        struct reader *reader = &work->readers[i];
        if (reader->started) pthread_join(reader->thread, NULL);
        reader->started = false;
        if (!err->status) *err = reader->err;
    }
    return err->status;
}

enum status model_digest_join(struct model *model, unsigned char **digests, size_t *size_bytes,
                              struct error *err)
{
    *digests = NULL;
    *size_bytes = 0;
    if (!model->digesting || join(model->digesting, err)) return err->status;
    *digests = model->digesting->digests;
    *size_bytes = model->digesting->pieces * HASH_BYTES;
    return STATUS_OK;
}

// Which pieces were looked at, and by whom, does not matter here.
static enum status refuse_nonfinite(const struct digesting *work, struct error *err)
{
    const char *path = checkpoint_path(work->checkpoint);
    int64_t index;
    for (size_t i = 0; i < work->n_weights; i++)
        if (tensor_find_nonfinite(work->weights[i], &index))
            return error_set(err, STATUS_INPUT,
                             "%s: tensor '%.200s': expected finite weights, got NaN or Inf at element %lld; "
                             "the model is broken",
                             path, work->weights[i]->name, (long long)index);
    return error_set(err, STATUS_INPUT, "%s: the file changes while it is read; start again when it is whole",
                     path);
}

static bool is_whole(const struct digesting *work)
{
    static const unsigned char none[HASH_BYTES];
    for (size_t i = 0; i < work->pieces; i++)
        if (memcmp(work->digests + i * HASH_BYTES, none, sizeof none) == 0) return false;
    return true;
}

enum status model_digest_finish(struct model *model, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    struct digesting *work = model->digesting;
    if (!work) return STATUS_OK;
    if (!is_whole(work)) return refuse_nonfinite(work, err);
    struct hash *hash = hash_open();
    if (!hash) return error_memory(err, HASH_BYTES, "a SHA-256");
    hash_update(hash, work->digests, work->pieces * HASH_BYTES);
    hash_finish(hash, digest);
    hash_hex(digest, model->digest_hex);
    hash_close(hash);
    model->digesting = NULL;
    clear(work);
    return STATUS_OK;
}

void model_digest_cancel(struct model *model)
{
    struct error ignored = {0};
    struct digesting *work = model->digesting;
    if (!work) return;
    work->ends = true;
    join(work, &ignored);
    model->digesting = NULL;
    clear(work);
}
