// SPDX-License-Identifier: Apache-2.0
// What a file is by its first bytes, so that a wrong one is named before anything takes it for text.
#ifndef SSMSWEEP_BASE_SIGNATURE_H
#define SSMSWEEP_BASE_SIGNATURE_H

#include <stddef.h>

#include "ssmsweep/base/status.h"

// Kinds of files that some reader takes, as bits; SIGNATURE_OTHER is the rest.
enum {
    SIGNATURE_SAFETENSORS = 1u << 0,
    SIGNATURE_ZIP = 1u << 1,
    SIGNATURE_PICKLE = 1u << 2,
    SIGNATURE_NPY = 1u << 3,
    SIGNATURE_INSTEAD = 1u << 4, // what was fetched instead of the file: a git-lfs pointer, a page
    SIGNATURE_OTHER = 1u << 5,
};

enum { SIGNATURE_BYTES = 512 }; // how many of the first bytes are looked at

// STATUS_INPUT where the beginning of a file has a signature of a kind that is not in `allowed`: "WHERE:
// expected EXPECTED, got ...; REMEDY".  Nothing is said of bytes without a known signature.  Local.
enum status signature_check(const void *data, size_t bytes, unsigned allowed, const char *where,
                            const char *expected, struct error *err);

#endif
