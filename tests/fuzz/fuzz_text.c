// SPDX-License-Identifier: Apache-2.0
// Text streams: decompression, lines, JSON members, documents, and the tokenizer on what comes out.  The
// first byte chooses format and split.
#define _GNU_SOURCE
#include "fuzz_file.h"
#include "ssmsweep/input/documents.h"
#include "ssmsweep/input/tokenizer.h"

enum { MAX_DOCUMENTS = 64, MAX_IDS = 64 };

static struct tokenizer *demo_tokenizer(void)
{
    static struct tokenizer *tokenizer;
    struct error err = {0};
    if (!tokenizer && tokenizer_open(&tokenizer, SOURCE_DIR "/jobs/demo/tokenizer.json", &err)) abort();
    return tokenizer;
}

static void read_documents(struct documents *documents, struct error *err)
{
    struct document document;
    bool end = false;
    for (int n = 0; n < MAX_DOCUMENTS; n++) {
        int32_t *ids = NULL;
        size_t count = 0;
        if (documents_next(documents, &document, &end, err) || end) return;
        if (tokenizer_encode(demo_tokenizer(), document.text, document.bytes, MAX_IDS, &ids, &count, err))
            return;
        for (size_t i = 0; i < count; i++)
            if (ids[i] < 0 || ids[i] >= tokenizer_vocab_size(demo_tokenizer())) abort();
        free(ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_file file;
    struct error err = {0};
    struct source *source = NULL;
    struct documents *documents = NULL;
    if (size == 0) return 0;
    struct text_style style = {.format = (enum text_format)(data[0] % 3),
                               .split = (enum text_split)(data[0] / 3 % 3)};
    const char *path = fuzz_file_put(&file, data + 1, size - 1);
    if (source_open(&source, path, &err)) return 0;
    if (style.format == TEXT_AUTO && text_format_find(&style, source, path, &err)) goto close;
    if (style.format != TEXT_NPY && !documents_open(&documents, source, &style, &err))
        read_documents(documents, &err);
close:
    documents_close(documents);
    source_close(source);
    return 0;
}
