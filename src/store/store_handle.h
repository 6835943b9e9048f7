// SPDX-License-Identifier: Apache-2.0
// The open result file of a sweep, for the parts of its writing half.
#ifndef SSMSWEEP_STORE_STORE_HANDLE_H
#define SSMSWEEP_STORE_STORE_HANDLE_H

#include <hdf5.h>
#include <sys/types.h>

#include "ssmsweep/store/store.h"
#include "store_check.h"
#include "store_metrics.h"

// Accounts of rows: state[S], digest[S, 32] and, of (run, sample) alone, seconds[S].
struct store_rows {
    hid_t state, digest, seconds;
};

struct store {
    struct comm comm;
    char *path;
    hid_t file; // read-only
    int locked; // descriptor that holds the lock of the file, on rank 0 alone; else -1
    int n_runs, n_cells, n_layer, samples, max_tokens;
    const struct arch *arch;
    int width[ARCH_MOST_COMPONENTS];
    // Where raw data lies in the file, 0 where there is none: a dataset that is open takes 17 KiB and more.
    long long *outputs;       // [n_runs][n_layer][n_components]
    long long *metrics;       // [n_runs][STORE_METRICS]
    struct store_rows *items; // [n_runs]
    hid_t *scales;            // [n_cells]
    hid_t observed;           // 0 where no run needs scales
    hid_t histogram;          // 0 where no observer takes it
    struct store_rows calibration;
    hid_t token_ids, length;
    struct writer *writer;
    // The file itself, to be found again under its path.
    dev_t device;
    ino_t inode;
    unsigned long long size_bytes;
    bool shows_holes;  // every block was there at the start, and the file system tells when one is gone
    struct error loss; // set once the file was seen to be lost
};

long long *store_output_at(const struct store *store, int run, int layer, int component);

// Local.  NULL with *err set when memory is out.
struct store *store_new(const struct comm *comm, const char *path, const struct plan *plan,
                        const struct dims *dims, const struct corpus *corpus, struct error *err);

// Collective.  Opens the file at store->path, its datasets and the writer.
enum status store_open_file(struct store *store, const struct plan *plan, const struct dims *dims,
                            const struct corpus *corpus, struct error *err);

// Local, for rank 0.
enum status store_write_samples(struct store *store, const struct corpus *corpus, struct error *err);

// Local.  Remembers which file it is.
enum status store_remember(struct store *store, struct error *err);

#endif
