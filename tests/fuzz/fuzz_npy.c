// SPDX-License-Identifier: Apache-2.0
// .npy: mapped, and streamed as token ids (which may be compressed); both readers must agree on the ids.  The
// same bytes as ids without a header.
#define _GNU_SOURCE
#include "fuzz_file.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/input/corpus.h"

enum { VOCAB = 1000, SEQLEN = 16 };

// The first token of the mapped array, for a comparison; -1 if it holds none.
static int64_t first_id(const struct npy *npy)
{
    bool integers = npy_is_integer(npy->dtype);
    double sum = 0;
    for (size_t i = 0; i < npy->count && i < 1000; i++)
        sum += integers ? (double)npy_integer(npy, i) : npy_number(npy, i);
    return integers && npy->count > 0 && sum == sum ? npy_integer(npy, 0) : -1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_file file;
    struct error err = {0}, mapped = {0};
    struct npy npy = {0};
    struct corpus corpus = {0};
    const char *path = fuzz_file_put(&file, data, size);
    struct corpus_request request = {.path = path,
                                     .style = {.format = TEXT_NPY},
                                     .pad_id = -1,
                                     .samples = 1,
                                     .seqlen = SEQLEN,
                                     .vocab_size = VOCAB};
    npy_map(&npy, path, &mapped);
    int64_t first = mapped.status ? -1 : first_id(&npy);
    if (!corpus_read(&corpus, &request, &err) && first >= 0 && corpus.ids[0] != first) abort();
    corpus_clear(&corpus);
    err = (struct error){0};
    request.style.format = TEXT_BIN;
    request.ids_dtype = (enum ids_dtype)(size % (IDS_INT64 + 1));
    if (!corpus_read(&corpus, &request, &err) && (corpus.length[0] < 1 || corpus.length[0] > SEQLEN)) abort();
    corpus_clear(&corpus);
    npy_unmap(&npy);
    return 0;
}
