// SPDX-License-Identifier: Apache-2.0
// tokenizer.json, and a tokenizer that was accepted on text of several kinds.
#define _GNU_SOURCE
#include "fuzz_file.h"
#include "ssmsweep/input/tokenizer.h"

static void encode(const struct tokenizer *tokenizer, const char *text, size_t bytes)
{
    struct error err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    if (!tokenizer_encode(tokenizer, text, bytes, -1, &ids, &count, &err))
        for (size_t i = 0; i < count; i++)
            if (ids[i] < 0 || ids[i] >= tokenizer_vocab_size(tokenizer)) abort();
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "the \xc3\xa9 e\xcc\x81 <|endoftext|>\0 don't  12\n\n\xf0\x9f\x98\x80 aaaa, "
                               "_<|endoftext|> \xef\xac\x81";
    static struct fuzz_file file;
    struct error err = {0};
    struct tokenizer *tokenizer = NULL;
    if (tokenizer_open(&tokenizer, fuzz_file_put(&file, data, size), &err)) return 0;
    encode(tokenizer, text, sizeof text - 1);
    tokenizer_drop_special_tokens(tokenizer);
    encode(tokenizer, text, sizeof text - 1);
    tokenizer_close(tokenizer);
    return 0;
}
