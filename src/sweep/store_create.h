// SPDX-License-Identifier: Apache-2.0
// The file before the ranks open it together.
#ifndef SSMSWEEP_SWEEP_STORE_CREATE_H
#define SSMSWEEP_SWEEP_STORE_CREATE_H

#include "ssmsweep/sweep/store.h"

// Local: for one rank.  Makes the file (under PATH.part, until it is whole) with all its datasets, its
// attributes and the samples, closes it and reserves its space.  STATUS_INPUT if it exists; STATUS_IO
// otherwise, and then nothing is left behind.
enum status store_create_file(const char *path, const struct plan *plan, const struct dims *dims,
                              const struct corpus *corpus, const struct store_identity *identity,
                              struct error *err);

#endif
