// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4), by OpenSSL's libcrypto: identities of inputs and digests of results.
#ifndef SSMSWEEP_BASE_HASH_H
#define SSMSWEEP_BASE_HASH_H

#include <stddef.h>

enum { HASH_BYTES = 32, HASH_HEX_CHARS = 64 };

struct hash; // opaque running state

struct hash *hash_open(void); // NULL when memory is out
void hash_update(struct hash *hash, const void *data, size_t size_bytes);
void hash_finish(struct hash *hash,
                 unsigned char digest[HASH_BYTES]); // the state can be used again afterwards
void hash_close(struct hash *hash);                 // NULL is fine
void hash_hex(const unsigned char digest[HASH_BYTES], char hex[HASH_HEX_CHARS + 1]);

#endif
