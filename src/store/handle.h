// SPDX-License-Identifier: Apache-2.0
// The open result file of a sweep, and the steps to it: make the file, or look whether it is of the same job
// and add modes; open it; write.
#ifndef SSMSWEEP_STORE_HANDLE_H
#define SSMSWEEP_STORE_HANDLE_H

#include <stdbool.h>
#include <sys/types.h>

#include "layout.h"
#include "sink.h"
#include "ssmsweep/store/store.h"
#include "writer.h"

// What a file is made of.
struct contents {
    const struct plan *plan;
    const struct dims *dims;
    const struct corpus *corpus;
    const struct store_identity *identity;
    const struct store_io *io;
};
struct layout_sizes contents_sizes(const struct contents *contents);
// Those of a dataset, with the width of its component.
struct layout_sizes contents_sizes_at(const struct contents *contents, const struct layout_place *place);

struct store {
    struct comm comm;
    char *path;
    int locked; // descriptor that holds the lock of the file, on rank 0 alone; else -1
    int n_cells, n_layer;
    const struct arch *arch;
    struct layout_sizes sizes;
    int width[ARCH_MOST_COMPONENTS];
    // Where the datasets are.  HDF5 is not asked again: one that stays open takes 17 KiB and more.
    struct data_place of_file[LAYOUT_DATA];
    struct data_place *of_cells; // [n_cells][2], scales and those of groups
    struct data_place *of_runs;  // [n_runs][LAYOUT_DATA]
    struct data_place *outputs;  // [n_runs][n_layer][n_components]
    struct sink *sink;
    struct writer *writer;
    // Samples under way, where they may be several: the i-th of run r is run i * n_runs + r of the writer.
    int *expected;
    int n_expected, n_runs;
    // The file itself, to be found again under its path.
    dev_t device;
    ino_t inode;
    unsigned long long size_bytes;
    bool shows_holes;  // every block was there at the start, and the file system tells when one is gone
    struct error loss; // set once the file was seen to be lost
};

// Where the store keeps the place of a dataset.
struct data_place *store_data_at(struct store *store, const struct layout_place *place);

// ---- create.c ----

#define STORE_PART ".part" // ends the name of a file in the making

// Local: for one rank.  Makes the file (under PATH.part, until it is whole) with all its datasets, its
// attributes and the samples, closes it and reserves its space.  STATUS_INPUT if it exists; STATUS_IO
// otherwise, and then nothing is left behind.
enum status create_file(const char *path, const struct contents *contents, struct error *err);

// Local.  Makes in a file of the same job, by HDF5's ordinary driver, the datasets that the plan needs and
// the file lacks, and stores identity->job_json.
enum status create_missing(const char *path, const struct contents *contents, struct error *err);

// Local.  Reserves blocks up to `bytes`.  STATUS_OK also where the file system cannot promise them.
enum status create_room(int descriptor, unsigned long long bytes, const char *path, struct error *err);

// ---- extend.c ----

// Local: for one rank, which holds the exclusive lock of the file, while no other has it open.  Adds what the
// plan needs and the file lacks, and stores identity->job_json as its job.  STATUS_IO: no room or no
// permission; the file is as it was, or is finished by the next command.
enum status extend_file(const char *path, const struct contents *contents, struct error *err);

// Local.  Finishes an interrupted extension of the file, if there is one.  STATUS_BUSY: another program has
// the file open; nothing has changed.
enum status extend_finish(const char *path, struct error *err);

// Local.  Takes away what belonged to a file that is no more.
enum status extend_discard(const char *path, struct error *err);

// ---- identity.c ----

// Local.  STATUS_INPUT names each key in which the job of the file differs; modes are not compared where the
// file is to be extended by those that it lacks.
enum status identity_check(const struct result *result, const char *path, const struct store_identity *now,
                           bool extends, struct error *err);

// ---- write.c ----

// Local.  Looks whether the file is still there and whole: store->loss tells.
void write_look(struct store *store);
// Local.  Remembers which file it is.
enum status write_remember(struct store *store, struct error *err);
// Local, for rank 0.
enum status write_samples(struct store *store, const struct corpus *corpus, struct error *err);

#endif
