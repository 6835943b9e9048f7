// SPDX-License-Identifier: Apache-2.0
// Where the bytes of an open result file go: the one interface through which raw data are written and read
// back.  A sink is asked for rows of datasets, so that it may be pwrite() at an offset (sink_open_posix()) or
// HDF5 over MPI-IO, which wants the dataset (sink_open_mpio()).  It is called by the writer's threads and
// by the main one, in turn or at once for different rows; it knows no runs.  Putting waits: what waits in a
// queue, and is settled, is the writer's (writer.h).
#ifndef SSMSWEEP_STORE_SINK_H
#define SSMSWEEP_STORE_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/store/store.h"

// Where a dataset is in the file.
struct data_place {
    long long data;   // where its raw data begin, which lie in one piece; 0: there is no such dataset
    long long object; // its header, by which HDF5 opens it
};

// A row of a dataset: what one sample has in it, or all of it as one row.  Rows lie one behind the other.
struct slot {
    struct data_place of;
    long long row;
    size_t row_bytes;
};

struct sink {
    const struct sink_kind *kind;
};

struct sink_kind {
    const char *name;
    bool apart; // put() may be called by several of the writer's threads at once
    enum status (*put)(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                       const char *what, struct error *err);
    bool (*get)(struct sink *sink, const struct slot *slot, size_t first, void *data, size_t bytes);
    enum status (*sync)(struct sink *sink, struct error *err);
    void (*close)(struct sink *sink, const struct error *loss, struct error *err);
};

// Local.  The file must exist.  By pwrite(), at offsets: nothing is collective.
enum status sink_open_posix(struct sink **sink, const char *path, struct error *err);

// Collective, and then so are sink_sync() and sink_close().  The file must exist, whole and closed.  By
// independent H5Dwrite() through the MPI-IO driver of HDF5, which all ranks open on the communicator.  Ranks
// agree before and after each collective call of HDF5, and what it will do is tried first, by each rank for
// itself.  What does not end all the same ends the program after io->patience_seconds, with STATUS_IO and one
// line; the file is as it was, with what was put.
enum status sink_open_mpio(struct sink **sink, const char *path, const struct comm *comm,
                           const struct store_io *io, struct error *err);

// Local, as sink_get().  Writes `bytes` from the beginning of the slot on, at most a row, before it returns.
// `what` begins the words of an error.
static inline enum status sink_put(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                                   const char *what, struct error *err)
{
    return sink->kind->put(sink, slot, data, bytes, what, err);
}

// What is in the file at byte `first` of the slot; false with errno set where that cannot be read.
static inline bool sink_get(struct sink *sink, const struct slot *slot, size_t first, void *data,
                            size_t bytes)
{
    return sink->kind->get(sink, slot, first, data, bytes);
}

// What was put is on the disk.  Local under posix, and each rank has a verdict of its own.
static inline enum status sink_sync(struct sink *sink, struct error *err)
{
    return sink->kind->sync(sink, err);
}

// `loss` holds an error where this rank saw that the file is lost or cut: HDF5 would bring a cut file back to
// its size, so it is left as it is.  NULL is fine, on all ranks.
static inline void sink_close(struct sink *sink, const struct error *loss, struct error *err)
{
    if (sink) sink->kind->close(sink, loss, err);
}

// ---- what both kinds have: the file as a descriptor ----
struct sink_file {
    struct sink sink; // first
    int descriptor;
    char *path;
};
enum status sink_file_open(struct sink_file *file, const char *path, struct error *err);
void sink_file_close(struct sink_file *file); // a zeroed one is fine
bool sink_file_get(struct sink *sink, const struct slot *slot, size_t first, void *data, size_t bytes);
enum status sink_file_sync(struct sink *sink, struct error *err);

#endif
