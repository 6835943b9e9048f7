// SPDX-License-Identifier: Apache-2.0
// PyTorch's file format since 1.6: a zip archive of stored (not compressed) entries, ROOT/data.pkl and
// ROOT/data/KEY.
#ifndef SSMSWEEP_INPUT_TORCH_ZIP_H
#define SSMSWEEP_INPUT_TORCH_ZIP_H

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

// Adds tensors and numbers of the file's state dict to the lists, which are the caller's to sort and to
// clear, after a failure too.  Tensors point into `file`.  The CRC-32 of every entry is checked. STATUS_INPUT
// names the entry and what is wrong: no zip, legacy format, compressed, encrypted, overlapping or missing
// entries, and what pickle_read() refuses.  Local.
enum status torch_zip_read(struct tensor_list *tensors, struct scalar_list *scalars,
                           const struct file_map *file, const char *path, struct error *err);

#endif
