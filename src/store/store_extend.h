// SPDX-License-Identifier: Apache-2.0
// Adds the datasets of further runs to a result file.  HDF5 cannot be interrupted while it changes a file, so
// it changes a shadow: a copy of all bytes but the raw data, with holes there.  A whole shadow is called
// PATH.extension, and its bytes are then copied over those of the file; whoever opens the file next finishes
// what was interrupted.  Raw data are never touched, moved or copied.
#ifndef SSMSWEEP_STORE_STORE_EXTEND_H
#define SSMSWEEP_STORE_STORE_EXTEND_H

#include "ssmsweep/store/store.h"

// Local: for one rank, which holds the exclusive lock of the file, while no other has it open.  Adds what the
// plan needs and the file lacks, and stores identity->job_json as its job.  STATUS_IO: no room or no
// permission; the file is as it was, or is finished by the next command.
enum status store_extend_file(const char *path, const struct plan *plan, const struct dims *dims,
                              const struct corpus *corpus, const struct store_identity *identity,
                              struct error *err);

// Local.  Finishes an interrupted extension of the file, if there is one.  STATUS_BUSY: another program has
// the file open; nothing has changed.
enum status store_finish_extension(const char *path, struct error *err);

// Local.  Takes away what belonged to a file that is no more.
enum status store_discard_extension(const char *path, struct error *err);

#endif
