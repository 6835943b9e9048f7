// SPDX-License-Identifier: Apache-2.0
// The safetensors format: 8 bytes of header length, a JSON header, then the bytes of the tensors.
#ifndef SSMSWEEP_INPUT_SAFETENSORS_H
#define SSMSWEEP_INPUT_SAFETENSORS_H

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

// Adds the tensors of a mapped file to the list; they point into the mapping.  `path` is for messages. Local.
// STATUS_INPUT: torn file, header or tensor that is not as the format demands (tensor named), dtype not
// known. After an error the list may hold some of the tensors.
enum status safetensors_read(struct tensor_list *list, const struct file_map *file, const char *path,
                             struct error *err);

#endif
