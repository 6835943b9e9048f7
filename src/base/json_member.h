// SPDX-License-Identifier: Apache-2.0
#ifndef SSMSWEEP_BASE_JSON_MEMBER_H
#define SSMSWEEP_BASE_JSON_MEMBER_H

#include <stdbool.h>
#include <stddef.h>

// Decodes the string member `key` of an object that json_parse() would accept but for \u0000 into out[bytes].
// False if there is no such member, or it is no string.  Local.
bool json_member_decode(const char *text, size_t bytes, const char *key, char *out, size_t *out_bytes);

#endif
