// SPDX-License-Identifier: Apache-2.0
// What the parts of `info` share.
#ifndef SSMSWEEP_TOOLS_INFO_PARTS_H
#define SSMSWEEP_TOOLS_INFO_PARTS_H

#include "ssmsweep/base/json.h"
#include "ssmsweep/tools/info.h"

// Local.  Closes the writer and prints it.
enum status info_finish_json(FILE *out, struct json_writer *w, struct error *err);
// Local.  Describes a model folder.
enum status info_print_model(FILE *out, const char *directory, const struct info_request *request,
                             struct error *err);

#endif
