// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/signature.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define REFETCH "it was saved in the place of the file; fetch the file again"
#define UNPACK "unpack it and give what is inside"
#define TO_LINES "write the texts as JSON lines (docs/texts.md shows how)"
#define TO_UTF8 "convert it to UTF-8 (iconv)"
#define CHECK "check the path"

static const struct signature {
    const char *magic;
    size_t bytes, at;
    unsigned kind;
    const char *what, *remedy;
} signatures[] = {
#define MAGIC(text) (text), sizeof(text) - 1
    {MAGIC("version https://git-lfs.github.com/spec/"), 0, SIGNATURE_INSTEAD, "a git-lfs pointer",
     "the file itself was not fetched: git lfs pull, or download it again"},
    {MAGIC("\x93NUMPY"), 0, SIGNATURE_NPY, "a NumPy array", "give it a name that ends in .npy"},
    {MAGIC("PK\x03\x04"), 0, SIGNATURE_ZIP, "a zip archive (.npz and PyTorch's files are such)", UNPACK},
    {MAGIC("PK\x05\x06"), 0, SIGNATURE_ZIP, "an empty zip archive", CHECK},
    {MAGIC("\x80\x02"), 0, SIGNATURE_PICKLE, "a Python pickle", CHECK},
    {MAGIC("\x80\x03"), 0, SIGNATURE_PICKLE, "a Python pickle", CHECK},
    {MAGIC("\x80\x04"), 0, SIGNATURE_PICKLE, "a Python pickle", CHECK},
    {MAGIC("\x80\x05"), 0, SIGNATURE_PICKLE, "a Python pickle", CHECK},
    {MAGIC("PAR1"), 0, SIGNATURE_OTHER, "a Parquet file", TO_LINES},
    {MAGIC("ARROW1"), 0, SIGNATURE_OTHER, "an Arrow file", TO_LINES},
    {MAGIC("FEA1"), 0, SIGNATURE_OTHER, "a Feather file", TO_LINES},
    {MAGIC("\xff\xff\xff\xff"), 0, SIGNATURE_OTHER, "an Arrow stream", TO_LINES},
    {MAGIC("Obj\x01"), 0, SIGNATURE_OTHER, "an Avro file", TO_LINES},
    {MAGIC("ustar"), 257, SIGNATURE_OTHER, "a tar archive", UNPACK},
    {MAGIC("\x1f\x8b\x08"), 0, SIGNATURE_OTHER, "gzip data", "unpack it (gunzip)"},
    {MAGIC("\x28\xb5\x2f\xfd"), 0, SIGNATURE_OTHER, "Zstandard data", "unpack it (unzstd)"},
    {MAGIC("\xfd\x37zXZ"), 0, SIGNATURE_OTHER, "xz data", "unpack it (unxz)"},
    {MAGIC("\x04\x22\x4d\x18"), 0, SIGNATURE_OTHER, "LZ4 data", "unpack it (unlz4)"},
    {MAGIC("1AY&SY"), 4, SIGNATURE_OTHER, "bzip2 data", "unpack it (bunzip2)"},
    {MAGIC("7z\xbc\xaf\x27\x1c"), 0, SIGNATURE_OTHER, "a 7z archive", UNPACK},
    {MAGIC("Rar!\x1a\x07"), 0, SIGNATURE_OTHER, "a RAR archive", UNPACK},
    {MAGIC("%PDF-"), 0, SIGNATURE_OTHER, "a PDF file", "take the text out (pdftotext)"},
    {MAGIC("\x89HDF\r\n\x1a\n"), 0, SIGNATURE_OTHER, "an HDF5 file", CHECK},
    {MAGIC("GGUF"), 0, SIGNATURE_OTHER, "a GGUF file", CHECK},
    {MAGIC("SQLite format 3"), 0, SIGNATURE_OTHER, "an SQLite database", TO_LINES},
    {MAGIC("\x05<unk>"), 3, SIGNATURE_OTHER, "a SentencePiece model", CHECK},
    {MAGIC("\xff\xfe\0\0"), 0, SIGNATURE_OTHER, "UTF-32 text", TO_UTF8},
    {MAGIC("\0\0\xfe\xff"), 0, SIGNATURE_OTHER, "UTF-32 text", TO_UTF8},
    {MAGIC("\xff\xfe"), 0, SIGNATURE_OTHER, "UTF-16 text", TO_UTF8},
    {MAGIC("\xfe\xff"), 0, SIGNATURE_OTHER, "UTF-16 text", TO_UTF8},
#undef MAGIC
};
enum { SIGNATURES = sizeof signatures / sizeof signatures[0] };

// Behind eight bytes of length, a JSON object.  The length may look like anything: this comes before all
// others.
static bool is_safetensors(const unsigned char *d, size_t bytes)
{
    return bytes >= 10 && d[4] == 0 && d[5] == 0 && d[6] == 0 && d[7] == 0 && d[8] == '{' &&
           (d[9] == '"' || d[9] == '}' || d[9] == ' ');
}

static bool begins_in_any_case(const unsigned char *d, size_t bytes, const char *word)
{
    size_t n = strlen(word);
    if (bytes < n) return false;
    for (size_t i = 0; i < n; i++)
        if (tolower(d[i]) != word[i]) return false;
    return true;
}

static bool is_page(const unsigned char *d, size_t bytes)
{
    static const char *const words[] = {"<!doctype html", "<html", "<head>", "<?xml "};
    size_t at = bytes >= 3 && memcmp(d, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < bytes && memchr(" \t\r\n", d[at], 4))
        at++;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (begins_in_any_case(d + at, bytes - at, words[i])) return true;
    return false;
}

static const struct signature *find(const unsigned char *d, size_t bytes)
{
    static const struct signature safetensors = {.kind = SIGNATURE_SAFETENSORS,
                                                 .what = "a safetensors file",
                                                 .remedy = CHECK},
                                  page = {.kind = SIGNATURE_INSTEAD,
                                          .what = "an HTML or XML page",
                                          .remedy = REFETCH};
    if (is_safetensors(d, bytes)) return &safetensors;
    if (is_page(d, bytes)) return &page;
    for (size_t i = 0; i < SIGNATURES; i++) {
        const struct signature *s = &signatures[i];
        if (bytes >= s->at + s->bytes && memcmp(d + s->at, s->magic, s->bytes) == 0) return s;
    }
    return NULL;
}

enum status signature_check(const void *data, size_t bytes, unsigned allowed, const char *where,
                            const char *expected, struct error *err)
{
    const struct signature *found = bytes > 0 ? find(data, bytes) : NULL;
    if (!found || found->kind & allowed) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: expected %s, got %s; %s", where, expected, found->what,
                     found->remedy);
}
