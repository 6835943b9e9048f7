// SPDX-License-Identifier: Apache-2.0
// Samples while they are read: one after the other in `ids`, as their number may be far more than there are.
#ifndef SSMSWEEP_INPUT_GATHERED_H
#define SSMSWEEP_INPUT_GATHERED_H

#include <stdbool.h>

#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/source.h"

struct gathered {
    const struct corpus_request *request;
    int32_t *ids;
    size_t ids_count, ids_room;
    int32_t *length;
    size_t samples, samples_room;
    int32_t longest;
    long skipped_empty;
    struct notes notes;
};

// Takes one sample, or counts it if it is empty.
enum status gathered_add(struct gathered *g, const int32_t *ids, size_t count, struct error *err);
bool gathered_is_complete(const struct gathered *g);

// Rows of an .npy array from a stream, until enough are there.
enum status gathered_read_ids(struct gathered *g, struct source *source, struct error *err);

// Ids without a header, of request->ids_dtype: one sample after the other, each of `seqlen` ids, the last of
// what is left.
enum status gathered_read_bare_ids(struct gathered *g, struct source *source, struct error *err);

#endif
