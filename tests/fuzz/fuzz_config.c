// SPDX-License-Identifier: Apache-2.0
// config.json: refused with one line, or dimensions that a model can have.
#define _GNU_SOURCE
#include <string.h>

#include "fuzz_file.h"
#include "ssmsweep/arch/config.h"

static void check_notes(const struct notes *notes)
{
    if (notes->count < 0 || notes->count > NOTES_MOST) abort();
    for (int i = 0; i < notes->count; i++)
        if (!notes->lines[i][0] || strchr(notes->lines[i], '\n') || !memchr(notes->lines[i], 0, NOTE_CHARS))
            abort();
}

static void check_dims(const struct dims *d)
{
    if (d->n_layer < 1 || d->d_model < 1 || d->d_inner < 1 || d->d_state < 1 || d->d_conv < 1 ||
        (d->dt_rank < 1 && d->n_heads < 1) || d->vocab_size < 1 || !(d->norm_eps >= 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_file file;
    struct config config = {0};
    struct notes notes = {0};
    struct error err = {0};
    const enum status status = config_read(&config, fuzz_file_put(&file, data, size), &notes, &err);
    if ((status != STATUS_OK) != (err.text[0] != '\0') || strchr(err.text, '\n')) abort();
    if (!status) check_dims(&config.dims);
    check_notes(&notes);
    return 0;
}
