// SPDX-License-Identifier: Apache-2.0
// Text as token ids: the first samples of a text in any of the formats of documents.h, or of an .npy array
// of ids.
#ifndef SSMSWEEP_INPUT_CORPUS_H
#define SSMSWEEP_INPUT_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/documents.h"

// In the order of the words of the option --ids-dtype.
enum ids_dtype { IDS_BY_HEADER, IDS_UINT16, IDS_UINT32, IDS_INT32, IDS_INT64 };

// Owned by the caller, freed by corpus_clear().  Each sample keeps its own length; none is empty.
struct corpus {
    int samples;     // S
    int max_tokens;  // L of the longest sample
    int32_t *ids;    // [S, max_tokens], padded with -1
    int32_t *length; // [S], 1 .. max_tokens
    long skipped_empty;
    struct notes notes;                     // what the tokenizer does or leaves out
    char tokenizer_hex[HASH_HEX_CHARS + 1]; // SHA-256 of tokenizer.json; "" where ids were given directly
    char ids_hex[HASH_HEX_CHARS + 1]; // SHA-256 of (int32 length, int32 ids) of every sample, little-endian
};

struct corpus_request {
    const char *path; // file, folder of .txt, or "-" for standard input; .npy: ids [samples, L]; .bin
    struct text_style style;
    enum ids_dtype ids_dtype; // of .bin
    int pad_id; // of .npy: a negative one ends a sample, another is padding where it ends the row
    const char *tokenizer_path; // tokenizer.json of the model; unused for ids
    bool no_special_tokens;     // none around a text, whatever tokenizer.json says
    int samples;                // how many to read
    const char *samples_option; // that says so, for messages; NULL: calib_data_num
    int seqlen;                 // truncate every sample to that many tokens (calib_seqlen)
    int vocab_size;             // ids must be below it
};

// Local.  Reads, and inflates, only as far as needed.  STATUS_INPUT: file or key missing (line named), fewer
// samples than asked for, id out of range, invalid UTF-8.
enum status corpus_read(struct corpus *corpus, const struct corpus_request *request, struct error *err);
// Local.  A copy of some samples, as corpus_read() would have read them: those of which[samples]; NULL: the
// first.
enum status corpus_take(struct corpus *part, const struct corpus *whole, const int *which, int samples,
                        struct error *err);
// Local.  Divides 0 .. samples-1 by chance: which[samples] has first the half, or one more, that is for
// choosing, then that for judging, each ascending.  How many are in the first.
int corpus_split(int samples, int seed, int *which);
void corpus_clear(struct corpus *corpus);
void corpus_drop_ids(struct corpus *corpus); // frees them; ids is NULL afterwards, the lengths stay

#endif
