// SPDX-License-Identifier: Apache-2.0
// The file before the ranks open it together.
#ifndef SSMSWEEP_STORE_STORE_CREATE_H
#define SSMSWEEP_STORE_STORE_CREATE_H

#include "ssmsweep/store/store.h"

#define STORE_PART ".part" // ends the name of a file in the making

// Local: for one rank.  Makes the file (under PATH.part, until it is whole) with all its datasets, its
// attributes and the samples, closes it and reserves its space.  STATUS_INPUT if it exists; STATUS_IO
// otherwise, and then nothing is left behind.
enum status store_create_file(const char *path, const struct plan *plan, const struct dims *dims,
                              const struct corpus *corpus, const struct store_identity *identity,
                              struct error *err);

// Local.  Makes in a file of the same job, by HDF5's ordinary driver, the datasets that the plan needs and
// the file lacks, and stores identity->job_json.
enum status store_add_runs(const char *path, const struct plan *plan, const struct dims *dims,
                           const struct corpus *corpus, const struct store_identity *identity,
                           struct error *err);

// Local.  Reserves blocks up to `bytes`.  STATUS_OK also where the file system cannot promise them.
enum status store_allocate(int descriptor, unsigned long long bytes, const char *path, struct error *err);

// PATH with an ending, in malloc'ed memory; NULL with *err set when memory is out.
char *store_path_beside(const char *path, const char *ending, struct error *err);

#endif
