// SPDX-License-Identifier: Apache-2.0
// Values of a sweep.json, or of another file of comparisons/, and what is said where one is not what it
// should be.
#ifndef SSMSWEEP_REPORT_SWEEP_READER_H
#define SSMSWEEP_REPORT_SWEEP_READER_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/report/sweep_file.h"

enum { READER_WHERE = 160 };

// A file on its way into a sweep_file (of others `file` is NULL).  Once `err` has a status, what is read is
// of no use but harmless.
struct reader {
    struct sweep_file *file;
    const char *path, *name, *again; // "sweep.json"; how to make it again
    char where[READER_WHERE];        // in the file, for messages
    struct error *err;
    bool *seen; // entries, then rankings
    int reruns; // of each mode that has some
};

// The place in the file that the next messages name.
void reader_at(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
// STATUS_INPUT, unless there is an error already: a value is not what is expected; parts do not fit together.
void reader_wrong(struct reader *r, const char *key, const char *expected, const struct json *found);
void reader_torn(struct reader *r, const char *what);

// Members of an object.  What is wrong is said, and something harmless given back.
double reader_number(struct reader *r, const struct json *object, const char *key); // or null with a word
double reader_count(struct reader *r, const struct json *object, const char *key, double least, double most);
int reader_int(struct reader *r, const struct json *object, const char *key, int least);
bool reader_bool(struct reader *r, const struct json *object, const char *key);
const char *reader_text(struct reader *r, const struct json *object, const char *key);
const struct json *reader_array(struct reader *r, const struct json *object, const char *key);
const struct json *reader_object(struct reader *r, const struct json *object, const char *key);
struct cell reader_cell(struct reader *r, const struct json *object); // calib_data_num and order
enum interval_state reader_state(struct reader *r, const struct json *object, const char *key);

void *reader_take(struct reader *r, size_t count, size_t bytes); // zeroed, one more than asked for; free()

#endif
