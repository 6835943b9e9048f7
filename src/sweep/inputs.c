// SPDX-License-Identifier: Apache-2.0
#include "inputs.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"

// Collective.  The ranks of a node share the reading of one file: each looks for NaN and Inf in its part, and
// a thread of the first begins to hash it.
static enum status open_together(struct model *model, const struct comm *comm, const char *directory,
                                 bool digest, struct error *err)
{
    model_open_unread(model, directory, err);
    if (comm_agree(comm, err)) return err->status;
    if (digest && comm->node_rank == 0) model_digest_begin(model, err);
    if (!err->status) model_check_finite(model, comm->node_rank, comm->node_ranks, err);
    model_release(model);
    return comm_agree(comm, err);
}

static enum status open_model(struct model *model, const struct comm *comm, const struct job *job,
                              struct error *err)
{
    char *demo = NULL;
    if (!job->model_dir) model_demo_directory(&demo, err);
    if (comm_agree(comm, err) == STATUS_OK)
        open_together(model, comm, job->model_dir ? job->model_dir : demo, !job->dry_run, err);
    free(demo);
    return err->status;
}

// Ranks of different hosts may see different files under one name.
static enum status end_digest(struct model *model, const struct comm *comm, struct error *err)
{
    char first[HASH_HEX_CHARS + 1];
    model_digest_end(model, err);
    if (comm_agree(comm, err)) return err->status;
    MPI_Bcast(model->digest_hex, (int)sizeof model->digest_hex, MPI_CHAR, 0, comm->node);
    memcpy(first, model->digest_hex, sizeof first);
    MPI_Bcast(first, (int)sizeof first, MPI_CHAR, 0, comm->world);
    if (memcmp(first, model->digest_hex, sizeof first) != 0)
        error_set(err, STATUS_INPUT, "%s: weights differ from those of rank 0; give all hosts the same model",
                  model->directory);
    return comm_agree(comm, err);
}

static enum status open_reference(struct model *model, struct model *reference, const struct comm *comm,
                                  const struct job *job, struct error *err)
{
    struct model opened = {0};
    if (model->kind != MODEL_W8A8)
        return error_set(err, STATUS_USAGE,
                         "--reference-model: expected a W8A8 checkpoint beside it, got the float model %s; "
                         "leave the option out",
                         model->directory);
    if (open_together(&opened, comm, job->reference_model, !job->dry_run, err) ||
        model_set_reference(model, &opened, err)) {
        model_close(&opened);
        return err->status;
    }
    *reference = opened;
    model->reference = reference; // where it is now
    return STATUS_OK;
}

// The scales of a W8A8 checkpoint are one set.
static enum status check_cells(const struct model *model, const struct job *job, struct error *err)
{
    if (model->kind != MODEL_W8A8 || job->n_cells == 1) return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "--calib_data_num: expected one number, got %d: the scales come from the W8A8 checkpoint %s",
        job->n_cells, model->directory);
}

enum status inputs_model(struct model *model, struct model *reference, const struct comm *comm,
                         const struct job *job, struct error *err)
{
    struct model opened = {0};
    if (open_model(&opened, comm, job, err) || check_cells(&opened, job, err) ||
        (job->reference_model && open_reference(&opened, reference, comm, job, err))) {
        model_close(&opened);
        return err->status;
    }
    *model = opened;
    return STATUS_OK;
}

enum status inputs_digests(struct model *model, struct model *reference, const struct comm *comm,
                           struct error *err)
{
    if (end_digest(model, comm, err)) return err->status;
    return model->reference ? end_digest(reference, comm, err) : STATUS_OK;
}

// ---- text ----

static char *join(const char *directory, const char *name, struct error *err)
{
    char *path = file_join(directory, name);
    if (!path) error_memory(err, strlen(directory) + strlen(name) + 2, "a path");
    return path;
}

// What --calib-data says, else the model's own text, else that of the demo model.  Caller frees.
static char *find_text(const struct job *job, const struct model *model, struct error *err)
{
    if (job->calib_data) {
        char *given = strdup(job->calib_data);
        if (!given) error_memory(err, strlen(job->calib_data) + 1, "a path");
        return given;
    }
    char *demo = NULL;
    static const char *const names[] = {"calibration.jsonl", "calibration.npy"};
    for (int i = 0; i < 2; i++) {
        char *own = join(model->directory, names[i], err);
        if (!own || file_exists(own)) return own;
        free(own);
    }
    if (model_demo_directory(&demo, err)) return NULL;
    char *text = join(demo, "calibration.jsonl", err);
    free(demo);
    return text;
}

// A quantized folder often holds none: then that of the reference model, or of the folder around it.
static char *find_tokenizer(const struct job *job, const struct model *model, struct error *err)
{
    const char *others[] = {job->reference_model, job->pretrained_dir};
    char *own = join(model->directory, "tokenizer.json", err);
    for (size_t i = 0; own && !file_exists(own) && i < sizeof others / sizeof others[0]; i++) {
        char *other = others[i] ? file_join(others[i], "tokenizer.json") : NULL;
        if (other && file_exists(other)) {
            free(own);
            return other;
        }
        free(other);
    }
    return own;
}

static enum status read_corpus(struct corpus *corpus, const struct job *job, const struct model *model,
                               struct error *err)
{
    char *text = find_text(job, model, err);
    char *tokenizer = find_tokenizer(job, model, err);
    if (!err->status) {
        struct corpus_request request = {.path = text,
                                         .style = {.format = (enum text_format)job->text_format,
                                                   .split = (enum text_split)job->txt_split,
                                                   .field = job->text_field},
                                         .pad_id = job->pad_id,
                                         .tokenizer_path = tokenizer,
                                         .samples = job->calib_data_num[job->n_cells - 1],
                                         .seqlen = job->calib_seqlen,
                                         .vocab_size = model->dims.vocab_size};
        corpus_read(corpus, &request, err);
    }
    free(tokenizer);
    free(text);
    return err->status;
}

// MPI counts elements in an int; a row of ids always fits.
static void share_ids(struct corpus *corpus, const struct comm *comm)
{
    MPI_Bcast(corpus->length, corpus->samples, MPI_INT32_T, 0, comm->world);
    for (int s = 0; s < corpus->samples; s++)
        MPI_Bcast(corpus->ids + (size_t)s * (size_t)corpus->max_tokens, corpus->max_tokens, MPI_INT32_T, 0,
                  comm->world);
}

enum status inputs_corpus(struct corpus *corpus, const struct comm *comm, const struct job *job,
                          const struct model *model, struct error *err)
{
    struct corpus read = {0};
    if (comm->rank == 0) read_corpus(&read, job, model, err);
    if (comm_agree(comm, err)) goto clear_corpus;
    struct corpus shared = read;
    MPI_Bcast(&shared, (int)sizeof shared, MPI_BYTE, 0, comm->world);
    if (comm->rank != 0) {
        size_t tokens = (size_t)shared.samples * (size_t)shared.max_tokens;
        read = shared;
        read.ids = malloc(tokens * sizeof *read.ids);
        read.length = malloc((size_t)shared.samples * sizeof *read.length);
        if (!read.ids || !read.length) error_memory(err, tokens * sizeof *read.ids, "the token ids");
    }
    if (comm_agree(comm, err)) goto clear_corpus;
    share_ids(&read, comm);
    *corpus = read;
    return STATUS_OK;
clear_corpus:
    corpus_clear(&read);
    return err->status;
}
