// SPDX-License-Identifier: Apache-2.0
// Text as a sequence of documents, whatever holds it: JSON lines, a text file, or a folder of text files.
// Streamed: what is not asked for is neither read nor inflated.
#ifndef SSMSWEEP_INPUT_DOCUMENTS_H
#define SSMSWEEP_INPUT_DOCUMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/lines.h"

// In the order of the words of the options --text-format and --txt-split.
enum text_format { TEXT_AUTO, TEXT_JSONL, TEXT_TXT, TEXT_NPY, TEXT_BIN };
enum text_split { SPLIT_AUTO, SPLIT_BLANK, SPLIT_FILE };

// How the text is written.  All zero: found out, field `text`.
struct text_style {
    enum text_format format;
    enum text_split split; // of .txt; SPLIT_AUTO: a folder has one document a file, a file has blank lines
    const char *field;     // of a JSON line; NULL: "text"
};

enum { DOCUMENT_WHERE_CHARS = 400 };

struct document {
    const char *text;                 // UTF-8 as far as the format checks it; may hold NUL; not terminated
    size_t bytes;                     // 0: an empty document
    char where[DOCUMENT_WHERE_CHARS]; // "PATH: line N", for messages
};

// What a stream holds, by its name (.jsonl, .json, .ndjson, .txt, .npy, .bin, before .gz or .zst), else by
// its first bytes.  style->format is not TEXT_AUTO afterwards.  STATUS_INPUT: a table (.csv, .tsv), JSON
// lines named .txt.  Local.
enum status text_format_find(struct text_style *style, struct source *source, const char *path,
                             struct error *err);

struct documents; // opaque

// One file or stream; the source is borrowed.  style->format is TEXT_JSONL or TEXT_TXT.  JSON may also be one
// array of objects, or objects that take several lines each.  STATUS_INPUT: another kind of file, by its
// signature.  Local.
enum status documents_open(struct documents **documents, struct source *source,
                           const struct text_style *style, struct error *err);

// The *.txt, *.txt.gz and *.txt.zst of a folder in the order of their bytes.  STATUS_INPUT: none in it.
// Local.
enum status documents_open_folder(struct documents **documents, const char *path,
                                  const struct text_style *style, struct error *err);
void documents_close(struct documents *documents); // NULL is fine

// The next document, valid until the next call; *end instead after the last.  STATUS_INPUT: torn stream, bad
// JSON, field missing or no string, longer than LINES_MAX_BYTES, a NUL in a text file.
enum status documents_next(struct documents *documents, struct document *document, bool *end,
                           struct error *err);

#endif
