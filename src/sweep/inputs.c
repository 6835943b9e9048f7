// SPDX-License-Identifier: Apache-2.0
#include "inputs.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/store/store.h"

// Collective.  The digests of the pieces, each from the rank that made it.
static void gather_digests(unsigned char *digests, size_t size_bytes, const struct comm *comm)
{
    enum { AT_ONCE_BYTES = 1 << 20 }; // MPI counts elements in an int
    for (size_t at = 0; at < size_bytes; at += AT_ONCE_BYTES) {
        const size_t left = size_bytes - at, bytes = left < AT_ONCE_BYTES ? left : AT_ONCE_BYTES;
        MPI_Allreduce(MPI_IN_PLACE, digests + at, (int)bytes, MPI_BYTE, MPI_BOR, comm->node);
    }
}

// Collective.  Ranks of different hosts may see different files under one name.
static enum status end_digest(struct model *model, const struct comm *comm, struct error *err)
{
    char first[HASH_HEX_CHARS + 1];
    unsigned char *digests;
    size_t size_bytes;
    model_digest_join(model, &digests, &size_bytes, err);
    if (comm_agree(comm, err)) return err->status;
    gather_digests(digests, size_bytes, comm);
    model_digest_finish(model, err);
    memcpy(first, model->digest_hex, sizeof first);
    MPI_Bcast(first, (int)sizeof first, MPI_CHAR, 0, comm->world);
    if (!err->status && memcmp(first, model->digest_hex, sizeof first) != 0)
        error_set(err, STATUS_INPUT, "%s: weights differ from those of rank 0; give all hosts the same model",
                  model->directory);
    return comm_agree(comm, err);
}

// Collective.  The ranks of a node share the reading of one file, which goes on in the background; a dry run
// has nothing to do meanwhile.
static enum status open_together(struct model *model, const struct comm *comm, const char *directory,
                                 int threads, bool wait, struct error *err)
{
    model_open_unread(model, directory, err);
    if (comm_agree(comm, err)) return err->status;
    model_digest_begin(model, comm->node_rank, comm->node_ranks, threads, err);
    if (comm_agree(comm, err)) return err->status;
    return wait ? end_digest(model, comm, err) : STATUS_OK;
}

static enum status open_model(struct model *model, const struct comm *comm, const struct job *job,
                              int threads, struct error *err)
{
    char *directory = NULL;
    model_find_directory(job->model_dir, &directory, err);
    if (comm_agree(comm, err) == STATUS_OK) open_together(model, comm, directory, threads, job->dry_run, err);
    free(directory);
    return err->status;
}

static enum status open_reference(struct model *model, struct model *reference, const struct comm *comm,
                                  const struct job *job, int threads, struct error *err)
{
    struct model opened = {0};
    if (!model_is_codes(model))
        return error_set(
            err, STATUS_USAGE,
            "--reference-model: expected a quantized checkpoint beside it, got the float model %s; "
            "leave the option out",
            model->directory);
    if (open_together(&opened, comm, job->reference_model, threads, job->dry_run, err) ||
        model_set_reference(model, &opened, kernels_default(), err)) {
        model_close(&opened);
        return err->status;
    }
    *reference = opened;
    model->reference = reference; // where it is now
    return STATUS_OK;
}

// The scales of a checkpoint are one set.
static enum status check_cells(const struct model *model, const struct job *job, struct error *err)
{
    if (!model_is_codes(model)) return STATUS_OK;
    if (job->observer || job->shuffle_calib > 1)
        return error_set(
            err, STATUS_USAGE, "--%s: the scales come from the %s checkpoint %s; leave the option out",
            job->observer ? "observer" : "shuffle-calib", model_kind_name(model->kind), model->directory);
    if (job->n_cells == 1) return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "--calib_data_num: expected one number, got %d: the scales come from the %s checkpoint %s",
        job->n_cells, model_kind_name(model->kind), model->directory);
}

enum status inputs_model(struct model *model, struct model *reference, const struct comm *comm,
                         const struct job *job, int threads, struct error *err)
{
    struct model opened = {0};
    if (open_model(&opened, comm, job, threads, err) ||
        model_set_norm_groups(&opened, job->norm_groups, err) || check_cells(&opened, job, err) ||
        model_set_scales(&opened, job->scales, err) ||
        (job->reference_model && open_reference(&opened, reference, comm, job, threads, err))) {
        model_close(&opened);
        return err->status;
    }
    *model = opened;
    model_set_modes(model, job->weights != NULL);
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

// What --tokenizer says.  A quantized folder often holds none: then that of the reference model, or of the
// folder around it.
static char *find_tokenizer(const struct job *job, const struct model *model, struct error *err)
{
    if (job->tokenizer && file_is_directory(job->tokenizer))
        return join(job->tokenizer, "tokenizer.json", err);
    if (job->tokenizer) {
        char *given = strdup(job->tokenizer);
        if (!given) error_memory(err, strlen(job->tokenizer) + 1, "a path");
        return given;
    }
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

// `given` is freed.
static enum status read_corpus(struct corpus *corpus, const struct job *job, const struct model *model,
                               char *given, const char *samples_option, int samples, struct error *err)
{
    char *tokenizer = given ? find_tokenizer(job, model, err) : NULL;
    if (!err->status) {
        struct corpus_request request = {.path = given,
                                         .style = {.format = (enum text_format)job->text_format,
                                                   .split = (enum text_split)job->txt_split,
                                                   .field = job->text_field},
                                         .ids_dtype = (enum ids_dtype)job->ids_dtype,
                                         .pad_id = job->pad_id,
                                         .tokenizer_path = tokenizer,
                                         .no_special_tokens = job->no_special_tokens,
                                         .samples = samples,
                                         .samples_option = samples_option,
                                         .seqlen = job->calib_seqlen,
                                         .vocab_size = model->dims.vocab_size};
        corpus_read(corpus, &request, err);
    }
    free(tokenizer);
    free(given);
    return err->status;
}

static const char calib_data_num[] = "calib_data_num", eval_data_num[] = "eval_data_num";

// One text: the larger number of samples is read, and the smaller one are the first of them.
static enum status read_one_text(struct corpus *evaluation, struct corpus *calibration, const struct job *job,
                                 const struct model *model, struct error *err)
{
    const int evaluated = job_evaluation_samples(job), calibrated = job_calibration_samples(job);
    const bool more = evaluated > calibrated;
    struct corpus *larger = more || evaluated == calibrated ? evaluation : calibration;
    if (read_corpus(larger, job, model, find_text(job, model, err), more ? eval_data_num : calib_data_num,
                    more ? evaluated : calibrated, err))
        return err->status;
    if (more) return corpus_take(calibration, evaluation, NULL, calibrated, err);
    return evaluated < calibrated ? corpus_take(evaluation, calibration, NULL, evaluated, err) : STATUS_OK;
}

static enum status read_two_texts(struct corpus *evaluation, struct corpus *calibration,
                                  const struct job *job, const struct model *model, struct error *err)
{
    if (job->calib_data && strcmp(job->calib_data, "-") == 0 && strcmp(job->eval_data, "-") == 0)
        return error_set(err, STATUS_USAGE,
                         "--eval-data -: standard input is the text of --calib-data already; give a file");
    char *given = strdup(job->eval_data);
    if (!given) error_memory(err, strlen(job->eval_data) + 1, "a path");
    if (read_corpus(evaluation, job, model, given, eval_data_num, job_evaluation_samples(job), err) ||
        model_is_codes(model)) // which brings its scales
        return err->status;
    return read_corpus(calibration, job, model, find_text(job, model, err), calib_data_num,
                       job_calibration_samples(job), err);
}

// Keeps the part of what is evaluated that the job says.  The scales come from the same samples as ever.
static enum status keep_part(struct corpus *evaluation, struct corpus *calibration, const struct job *job,
                             struct error *err)
{
    struct corpus whole = *evaluation, part = {0};
    int *which = malloc(((size_t)whole.samples + 1) * sizeof *which);
    if (!which) return error_memory(err, (size_t)whole.samples * sizeof *which, "the samples");
    const int first = corpus_split(whole.samples, job->seed, which), rest = whole.samples - first;
    const bool judges = job->part == JOB_JUDGING_SAMPLES;
    if (corpus_take(&part, &whole, judges ? which + first : which, judges ? rest : first, err) == STATUS_OK) {
        *evaluation = part;
        if (calibration->samples == 0 && !job->eval_data)
            *calibration = whole;
        else
            corpus_clear(&whole);
    }
    free(which);
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

// Collective.  From rank 0 to all.
static enum status share_corpus(struct corpus *corpus, const struct comm *comm, struct error *err)
{
    struct corpus shared = *corpus;
    MPI_Bcast(&shared, (int)sizeof shared, MPI_BYTE, 0, comm->world);
    if (comm->rank != 0) {
        size_t tokens = (size_t)shared.samples * (size_t)shared.max_tokens;
        *corpus = shared;
        corpus->ids = malloc(tokens * sizeof *corpus->ids + 1);
        corpus->length = malloc((size_t)shared.samples * sizeof *corpus->length + 1);
        if (!corpus->ids || !corpus->length) error_memory(err, tokens * sizeof *corpus->ids, "the token ids");
    }
    if (comm_agree(comm, err) == STATUS_OK) share_ids(corpus, comm);
    return err->status;
}

enum status inputs_texts(struct corpus *evaluation, struct corpus *calibration, const struct comm *comm,
                         const struct job *job, const struct model *model, struct error *err)
{
    *evaluation = *calibration = (struct corpus){0};
    if (comm->rank == 0)
        (job->eval_data ? read_two_texts : read_one_text)(evaluation, calibration, job, model, err);
    if (comm->rank == 0 && !err->status && job->part != JOB_ALL_SAMPLES)
        keep_part(evaluation, calibration, job, err);
    if (comm_agree(comm, err) || share_corpus(evaluation, comm, err)) return err->status;
    return share_corpus(calibration, comm, err);
}

// ---- the two texts of a sweep ----

const struct corpus *sweep_calibration_text(const struct sweep *sweep)
{
    return sweep->calibration.samples > 0 || sweep->job->eval_data ? &sweep->calibration : &sweep->corpus;
}

bool sweep_calibrates(const struct sweep *sweep)
{
    return sweep->plan.n_cells > 0 && !model_is_codes(&sweep->model);
}

const char *sweep_evaluation_text(const struct sweep *sweep)
{
    if (sweep->job->eval_data) return STORE_EVALUATES_OTHERS;
    return sweep->calibration.samples > 0 ? STORE_EVALUATES_ITS_TEXT : STORE_EVALUATES_CALIBRATION;
}

const char *sweep_tokenizer_hex(const struct sweep *sweep)
{
    const char *hex = sweep->corpus.tokenizer_hex;
    return hex[0] ? hex : sweep_calibration_text(sweep)->tokenizer_hex;
}

int sweep_longest_sample(const struct sweep *sweep)
{
    const int calibration = sweep->calibration.max_tokens, evaluation = sweep->corpus.max_tokens;
    return calibration > evaluation ? calibration : evaluation;
}
