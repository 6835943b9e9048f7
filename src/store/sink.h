// SPDX-License-Identifier: Apache-2.0
// Where the bytes of an open result file go: the one interface through which raw data are written and read
// back.  A sink is asked for rows of datasets, so that it may be pwrite() at an offset (sink_open_posix()) or
// a library that wants the dataset.  It is called by the writer's thread and by the main one, in turn or at
// once for different rows; it knows neither runs nor MPI.  Putting waits: what waits in a queue, and is
// settled, is the writer's (writer.h).
#ifndef SSMSWEEP_STORE_SINK_H
#define SSMSWEEP_STORE_SINK_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"

// A row of a dataset: what one sample has in it, or all of it as one row.  Rows lie one behind the other.
struct slot {
    long long data; // where the raw data of the dataset begin in the file
    long long row;
    size_t row_bytes;
};

struct sink {
    const struct sink_kind *kind;
};

struct sink_kind {
    const char *name;
    enum status (*put)(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                       const char *what, struct error *err);
    bool (*get)(struct sink *sink, const struct slot *slot, size_t first, void *data, size_t bytes);
    enum status (*sync)(struct sink *sink, struct error *err);
    void (*close)(struct sink *sink);
};

// Local, as all of these.  The file must exist.  By pwrite(), at offsets.
enum status sink_open_posix(struct sink **sink, const char *path, struct error *err);

// Writes `bytes` from the beginning of the slot on, at most a row, before it returns.  `what` begins the
// words of an error.
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

// What was put is on the disk.
static inline enum status sink_sync(struct sink *sink, struct error *err)
{
    return sink->kind->sync(sink, err);
}

static inline void sink_close(struct sink *sink) // NULL is fine
{
    if (sink) sink->kind->close(sink);
}

#endif
