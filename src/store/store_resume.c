// SPDX-License-Identifier: Apache-2.0
// The file of an earlier run: is it of the same job, and what of it is whole?
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/recipe/mode.h"
#include "store_extend.h"
#include "store_handle.h"
#include "store_layout.h"
#include "store_lock.h"
#include "writer.h"

// ---- the same job? ----

struct differences {
    char text[640];
    size_t used;
};

// Where the two texts begin to differ.
static size_t common_bytes(const char *a, const char *b)
{
    size_t common = 0;
    while (a[common] && a[common] == b[common])
        common++;
    return common;
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

// For the message alone: a long text is cut to the part in which the two differ.
static int write_part(char *part, size_t room, const char *text, size_t common, size_t shown)
{
    enum { BEFORE = 16 };
    size_t start = strlen(text) > shown && common > BEFORE ? common - BEFORE : 0, end = start + shown;
    while (start > 0 && continues_character(text[start]))
        start--;
    if (end > strlen(text)) end = strlen(text);
    while (end > start && continues_character(text[end]))
        end--;
    return snprintf(part, room, "%s%.*s%s", start > 0 ? "..." : "", (int)(end - start), text + start,
                    text[end] ? "..." : "");
}

// Of two values that were found to differ.
static void note_difference(struct differences *found, const char *key, const char *stored, const char *now,
                            size_t shown)
{
    char there[96], here[96];
    const size_t common = common_bytes(stored, now);
    if (found->used >= sizeof found->text) return;
    write_part(there, sizeof there, stored, common, shown);
    write_part(here, sizeof here, now, common, shown);
    int n = snprintf(found->text + found->used, sizeof found->text - found->used, "%s%s is %s there, %s here",
                     found->used ? "; " : "", key, there, here);
    if (n > 0) found->used += (size_t)n;
}

enum { VALUE_CHARS = 72, DIGEST_CHARS = 16 };

static void compare_texts(struct differences *found, const char *key, const char *stored, const char *now)
{
    if (strcmp(stored, now) != 0) note_difference(found, key, stored, now, VALUE_CHARS);
}

static void write_value(FILE *out, const struct json *value, int digits)
{
    if (json_is_array(value)) {
        for (const struct json *v = json_first(value); v; v = json_next(v))
            fprintf(out, "%s%.*g", v == json_first(value) ? "" : ",", digits, json_number(v));
    } else if (json_is_string(value)) {
        fprintf(out, "'%s'", json_string(value));
    } else if (json_is_number(value)) {
        fprintf(out, "%.*g", digits, json_number(value));
    } else if (json_is_bool(value)) {
        fputs(json_bool(value) ? "true" : "false", out);
    } else {
        fputs("not set", out);
    }
}

// In malloc'ed memory; NULL when that is out.
static char *describe(const struct json *value, int digits)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    write_value(out, value, digits);
    return fclose(out) == 0 ? text : NULL;
}

static void compare_values(struct differences *found, const char *key, const struct json *stored,
                           const struct json *now)
{
    if (json_equal(stored, now)) return;
    for (int digits = 10;; digits = 17) {
        char *there = describe(stored, digits), *here = describe(now, digits);
        const bool told_apart = !there || !here || strcmp(there, here) != 0 || digits == 17;
        if (told_apart)
            note_difference(found, key, there ? there : "one", here ? here : "another", VALUE_CHARS);
        free(there);
        free(here);
        if (told_apart) break;
    }
}

// Where model and text lie does not matter: their digests are compared.  Modes are no text, but a set.
static bool is_compared_otherwise(const char *key)
{
    static const char *const keys[] = {"model",      "pretrained_dir", "tokenizer",
                                       "calib_data", "eval_data",      "modes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

// Every key of either.
static void compare_keys(struct differences *found, const struct json *stored, const struct json *now)
{
    for (const struct json *value = json_first(stored); value; value = json_next(value))
        if (!is_compared_otherwise(json_key(value)))
            compare_values(found, json_key(value), value, json_get(now, json_key(value)));
    for (const struct json *value = json_first(now); value; value = json_next(value))
        if (!is_compared_otherwise(json_key(value)) && !json_get(stored, json_key(value)))
            compare_values(found, json_key(value), NULL, value);
}

// The reference is one of the modes.  False: the words of the job are none of this version.
static bool choose_modes(const struct json *job, bool *chosen)
{
    const char *list = json_string(json_get(job, "modes"));
    const char *reference = json_string(json_get(job, "reference"));
    struct error unknown = {0};
    if (!list || !reference || mode_select(list, chosen, &unknown)) return false;
    for (int m = 0; m < mode_count(); m++)
        chosen[m] = chosen[m] || strcmp(mode_at(m)->name, reference) == 0;
    return true;
}

// Sets, whatever words the jobs have for them.
static enum status compare_modes(struct differences *found, const struct json *stored, const struct json *now,
                                 struct error *err)
{
    enum { LIST_CHARS = 256 };
    const size_t modes = (size_t)mode_count();
    bool *chosen = calloc(2 * modes, sizeof *chosen);
    if (!chosen) return error_memory(err, modes, "the modes");
    if (!choose_modes(stored, chosen) || !choose_modes(now, chosen + modes)) {
        compare_values(found, "modes", json_get(stored, "modes"), json_get(now, "modes"));
    } else if (memcmp(chosen, chosen + modes, modes * sizeof *chosen) != 0) {
        char there[LIST_CHARS], here[LIST_CHARS];
        mode_write_list(chosen, there, sizeof there);
        mode_write_list(chosen + modes, here, sizeof here);
        note_difference(found, "modes", there, here, VALUE_CHARS);
    }
    free(chosen);
    return STATUS_OK;
}

static enum status compare_jobs(struct differences *found, const char *path, const char *stored,
                                const char *now, bool extends, struct error *err)
{
    struct json *a = NULL, *b = NULL;
    struct error torn = {0};
    if (json_parse(&a, stored, strlen(stored), "job", &torn) ||
        json_parse(&b, now, strlen(now), "job", &torn)) {
        error_set(err, STATUS_INPUT, "%s: attribute %s; the file is torn or was not written by ssmsweep",
                  path, torn.text);
    } else {
        compare_keys(found, a, b);
        if (!extends) compare_modes(found, a, b, err);
    }
    json_close(a);
    json_close(b);
    return err->status;
}

static void compare_digests(struct differences *found, const struct result *result, const char *name,
                            const char *now)
{
    const char *stored = result_attribute(result, name);
    if (strcmp(stored, now) == 0) return;
    note_difference(found, name, stored[0] ? stored : "none", now[0] ? now : "none", DIGEST_CHARS);
}

static enum status check_identity(const struct result *result, const char *path,
                                  const struct store_identity *now, bool extends, struct error *err)
{
    struct differences found = {.used = 0};
    if (!result_attribute(result, "weights_digest")[0])
        return error_set(
            err, STATUS_INPUT,
            "%.200s: no weights_digest in it, as it was imported from arrays; nothing can be added, "
            "choose another --output_dir",
            path);
    if (compare_jobs(&found, path, result_attribute(result, "job"), now->job_json, extends, err))
        return err->status;
    compare_digests(&found, result, "weights_digest", now->weights_hex);
    compare_digests(&found, result, "tokenizer_sha256", now->tokenizer_hex);
    compare_digests(&found, result, "ids_sha256", now->ids_hex);
    compare_digests(&found, result, "calibration_ids_sha256", now->calibration_ids_hex);
    compare_texts(&found, "evaluation_text", result_attribute(result, "evaluation_text"),
                  now->evaluation_text);
    compare_texts(&found, "reference_weights", result_attribute(result, "reference_weights"),
                  now->reference_weights);
    compare_texts(&found, "model_config", result_attribute(result, "model_config"), now->model_config);
    compare_texts(&found, "numerics_version", result_attribute(result, "numerics_version"),
                  now->numerics_version);
    if (!found.used) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%.200s: cannot go on with the result of another job: %s; repeat the first options, or "
                     "choose another --output_dir",
                     path, found.text);
}

// What a sweep brings along for a file that is there already.
struct comer {
    const char *path;
    const struct plan *plan;
    const struct dims *dims;
    const struct corpus *corpus;
    const struct store_identity *identity;
    bool extends; // may have more modes than the file
};

static bool holds_run(const struct result *result, const struct plan *plan, int run)
{
    const struct run *wanted = &plan->runs[run];
    const struct cell none = {0}, cell = wanted->cell == PLAN_FLOAT_CELL ? none : plan->cells[wanted->cell];
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *held = result_run_at(result, r);
        const struct cell there = {held->calib_data_num, held->order};
        if (cell_compare(there, cell) == 0 && held->dither == wanted->dither &&
            strcmp(held->mode, wanted->mode->name) == 0)
            return true;
    }
    return false;
}

static bool holds_all(const struct result *result, const struct plan *plan)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (!holds_run(result, plan, r)) return false;
    return true;
}

// Rank 0, before the others open the file.  The descriptor holds the lock as long as it is open.
static enum status look_at_file(const struct comer *comer, int *locked, struct error *err)
{
    struct result *result = NULL;
    if (store_finish_extension(comer->path, err) || // under a lock of its own
        store_open_locked(locked, comer->path, STORE_LOCK_SHARED, err) ||
        result_open(&result, comer->path, err))
        return err->status;
    check_identity(result, comer->path, comer->identity, comer->extends, err);
    bool whole = holds_all(result, comer->plan);
    result_close(result);
    if (err->status || whole || !comer->extends) return err->status;
    if (store_lock(*locked, comer->path, STORE_LOCK_EXCLUSIVE, err) ||
        store_extend_file(comer->path, comer->plan, comer->dims, comer->corpus, comer->identity, err))
        return err->status;
    return store_lock(*locked, comer->path, STORE_LOCK_SHARED, err);
}

static enum status open_again(struct store **store, const struct comm *comm, const struct comer *comer,
                              struct error *err)
{
    store_hdf5_silence();
    struct store *opened = store_new(comm, comer->path, comer->plan, comer->dims, comer->corpus, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) look_at_file(comer, &opened->locked, err);
    if (comm_agree(comm, err) || store_open_file(opened, comer->plan, comer->dims, comer->corpus, err))
        goto free_store;
    if (comm->rank == 0) store_write_samples(opened, comer->corpus, err); // small: no need to look
    if (comm_agree(comm, err)) goto free_store;
    *store = opened;
    return STATUS_OK;
free_store:
    store_close(opened);
    return err->status;
}

enum status store_resume(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    const struct comer comer = {path, plan, dims, corpus, identity, false};
    return open_again(store, comm, &comer, err);
}

enum status store_extend(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    const struct comer comer = {path, plan, dims, corpus, identity, true};
    return open_again(store, comm, &comer, err);
}

// ---- what is in it ----

static bool read_block(hid_t data, int rank, const hsize_t *start, const hsize_t *count, hid_t type,
                       void *values)
{
    hid_t file_space = H5Dget_space(data), memory_space = H5Screate_simple(rank, count, NULL);
    bool good = H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0 &&
                H5Dread(data, type, memory_space, file_space, H5P_DEFAULT, values) >= 0;
    H5Sclose(memory_space);
    H5Sclose(file_space);
    return good;
}

enum status store_read_ids(struct store *store, int sample, int length, int32_t *ids, struct error *err)
{
    const hsize_t start[2] = {(hsize_t)sample, 0}, count[2] = {1, (hsize_t)length};
    if (read_block(store->token_ids, 2, start, count, H5T_NATIVE_INT32, ids)) return STATUS_OK;
    return store_hdf5_error(err, store->path, "cannot read token ids back");
}

static const struct store_rows *rows_of(const struct store *store, int run)
{
    return run == STORE_CALIBRATION ? &store->calibration : &store->items[run];
}

enum status store_read_states(struct store *store, int run, unsigned char *state, struct error *err)
{
    if (H5Dread(rows_of(store, run)->state, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, state) < 0)
        return store_hdf5_error(err, store->path, "cannot read the states of the items");
    return STATUS_OK;
}

static bool digest_is(struct store *store, int run, int sample, struct hash *hash)
{
    unsigned char stored[HASH_BYTES], found[HASH_BYTES];
    hsize_t start[2] = {(hsize_t)sample, 0}, row[2] = {1, HASH_BYTES};
    hash_finish(hash, found);
    return read_block(rows_of(store, run)->digest, 2, start, row, H5T_NATIVE_UINT8, stored) &&
           memcmp(stored, found, HASH_BYTES) == 0;
}

// In pieces: no buffer of a whole tensor is needed.
static bool hash_raw(const struct store *store, long long place, size_t bytes, struct hash *hash)
{
    enum { PIECE_BYTES = 1 << 16 };
    unsigned char piece[PIECE_BYTES];
    for (size_t at = 0; at < bytes; at += PIECE_BYTES) {
        const size_t part = bytes - at < PIECE_BYTES ? bytes - at : PIECE_BYTES;
        if (!writer_read(store->writer, place + (long long)at, piece, part)) return false;
        hash_update(hash, piece, part);
    }
    return true;
}

static bool hash_output(const struct store *store, long long first, int component, int sample, int length,
                        struct hash *hash)
{
    const size_t row = (size_t)store->width[component] * sizeof(float);
    const size_t before = (size_t)sample * (size_t)store->max_tokens * row;
    return hash_raw(store, first + (long long)before, (size_t)length * row, hash);
}

// The row of a sample in a metric.
static bool hash_metric(const struct store *store, int run, enum store_metric metric, int sample,
                        struct hash *hash)
{
    const long long first = store->metrics[run * STORE_METRICS + (int)metric];
    const size_t row = store_metric_row_bytes(metric, store->arch, store->n_layer);
    return !first || hash_raw(store, first + sample * (long long)row, row, hash);
}

bool store_sample_is_whole(struct store *store, int run, int sample, int length, struct hash *hash)
{
    bool good = true;
    for (int l = 0; l < store->n_layer && good; l++)
        for (int c = 0; c < store->arch->n_components && good; c++) {
            const long long first = *store_output_at(store, run, l, c);
            if (first) good = hash_output(store, first, c, sample, length, hash);
        }
    for (int m = 0; m < STORE_METRICS && good; m++)
        good = hash_metric(store, run, (enum store_metric)m, sample, hash);
    return digest_is(store, run, sample, hash) && good; // in any case: the hash is used again
}

bool store_read_observed(struct store *store, int sample, float *observed, uint32_t *histogram,
                         struct hash *hash)
{
    const size_t row = (size_t)(store->n_layer * store->arch->n_sites);
    hsize_t start[4] = {(hsize_t)sample, 0, 0, 0};
    hsize_t count[4] = {1, (hsize_t)store->n_layer, (hsize_t)store->arch->n_sites, HISTOGRAM_BINS};
    bool good = read_block(store->observed, 3, start, count, H5T_NATIVE_FLOAT, observed);
    hash_update(hash, observed, row * sizeof *observed);
    if (histogram) {
        good &= read_block(store->histogram, 4, start, count, H5T_NATIVE_UINT32, histogram);
        hash_update(hash, histogram, row * HISTOGRAM_BINS * sizeof *histogram);
    }
    return digest_is(store, STORE_CALIBRATION, sample, hash) && good;
}
