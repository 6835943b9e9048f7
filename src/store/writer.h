// SPDX-License-Identifier: Apache-2.0
// Writes outputs while the next ones are computed: a ring of bytes, and a thread, or several, that empty it
// into a sink. Samples of several runs may be under way, one of each.  It knows neither HDF5 nor MPI.  One
// producer.
#ifndef SSMSWEEP_STORE_WRITER_H
#define SSMSWEEP_STORE_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "sink.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"

struct writer; // opaque

// Where the account of a sample goes.
struct writer_account {
    struct slot digest, seconds, state; // 32 bytes, a float, a byte
    unsigned char done;                 // what `state` becomes
};

// The sink must stay open until writer_close().  most_bytes: the largest writer_put(); the ring holds
// several. Without a thread every call writes before it returns.
size_t writer_room_bytes(size_t most_bytes);
enum status writer_open(struct writer **writer, struct sink *sink, size_t most_bytes, int runs, bool threaded,
                        struct error *err);
// Waits for what is under way; loses what writer_settle() did not ask about.  NULL is fine.
void writer_close(struct writer *writer);
// From now on there are so many runs, not fewer than before, the ring is so many times as large, up to
// WRITER_MOST_BYTES, and up to so many threads empty it, where the sink can be asked by several at once;
// nothing may be under way.
enum { WRITER_MOST_BYTES = 512 << 20, WRITER_MOST_THREADS = 4 };
enum status writer_widen(struct writer *writer, int runs, int times, int threads, struct error *err);

// Threads by which the next calls copy what is large; NULL: none but the caller's.
void writer_lend(struct writer *writer, struct team *team);

// Copies `bytes` of data, to be put into the slot and to count in the digest of the sample of this run (0 to
// runs - 1); waits while the ring is full.  An error is that of an earlier write of the run: nothing more is
// written of it until writer_settle().
enum status writer_put(struct writer *writer, int run, const struct slot *slot, const void *data,
                       size_t bytes, struct error *err);

// Ends a sample: digest, seconds and state, in this order and behind its data.
enum status writer_put_account(struct writer *writer, int run, const struct writer_account *account,
                               float seconds, struct error *err);

// Waits until all is written.  Afterwards the run is as new: a sample begun is forgotten, and so is a
// failure.
enum status writer_settle(struct writer *writer, int run, struct error *err);

#endif
