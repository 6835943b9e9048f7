// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct hash {
    EVP_MD_CTX *context;
};

// libcrypto's SHA-256 can only fail for want of memory at its start; later calls then have nothing to fail
// on.
static void check(int ok)
{
    if (ok == 1) return;
    fputs("ssmsweep: internal error: SHA-256 of libcrypto failed\n", stderr);
    abort();
}

struct hash *hash_open(void)
{
    struct hash *hash = malloc(sizeof *hash);
    if (!hash) return NULL;
    hash->context = EVP_MD_CTX_new();
    if (!hash->context) {
        free(hash);
        return NULL;
    }
    check(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL));
    return hash;
}

void hash_update(struct hash *hash, const void *data, size_t size_bytes)
{
    check(EVP_DigestUpdate(hash->context, data, size_bytes));
}

void hash_finish(struct hash *hash, unsigned char digest[HASH_BYTES])
{
    check(EVP_DigestFinal_ex(hash->context, digest, NULL));
    check(EVP_DigestInit_ex(hash->context, EVP_sha256(), NULL));
}

void hash_close(struct hash *hash)
{
    if (hash) EVP_MD_CTX_free(hash->context);
    free(hash);
}

void hash_hex(const unsigned char digest[HASH_BYTES], char hex[HASH_HEX_CHARS + 1])
{
    for (int i = 0; i < HASH_BYTES; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
