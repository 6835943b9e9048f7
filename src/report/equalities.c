// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/equalities.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/view.h"

enum { NONE = -1, NOWHERE = INT_MAX };

// One tensor of two runs that must hold the same bits.  Where it was not stored its metrics must.
struct equality {
    int run, other;
    int layer;
    int component;
    bool stored;
};

// Where they differ first; NOWHERE if they do not, and if the token is not known.  Nothing but ints: ranks
// exchange it as such.
struct difference {
    int sample, token;
};

// The complete run of the mode that `run` must equal, or NONE.
static int other_of(const struct result *result, int run)
{
    const struct result_run *r = result_run_at(result, run);
    const struct mode *mode = mode_find(r->mode);
    if (!mode || !mode->equals || !r->complete) return NONE;
    for (int o = 0; o < result_runs(result); o++) {
        const struct result_run *other = result_run_at(result, o);
        if (other->complete && cell_compare(other->cell, r->cell) == 0 &&
            strcmp(other->mode, mode->equals) == 0)
            return o;
    }
    return NONE;
}

static bool is_stored(const struct result *result, int layer, int component)
{
    for (int l = 0; result_has_outputs(result) && l < result_layers(result); l++)
        if (result_layer_at(result, l) == layer) return result_components(result, l) & 1u << component;
    return false;
}

// How many there are; fills equalities if that is not NULL.  The same order on every rank.
static int list_equalities(const struct result *result, struct equality *equalities)
{
    const bool metrics = result_has_metrics(result);
    const int layers = metrics ? result_model_layers(result) : result_layers(result);
    const int components = result_arch(result)->n_components;
    int n = 0;
    for (int r = 0; r < result_runs(result); r++) {
        int other = other_of(result, r);
        for (int l = 0; other != NONE && l < layers; l++)
            for (int c = 0; c < components; c++) {
                const int layer = metrics ? l : result_layer_at(result, l);
                const bool stored = is_stored(result, layer, c);
                if (!stored && !metrics) continue;
                if (equalities) equalities[n] = (struct equality){r, other, layer, c, stored};
                n++;
            }
    }
    return n;
}

// The bits, so that NaN equals itself and -0 is not 0.
static int first_token(const float *a, const float *b, int tokens, int width)
{
    size_t bytes = (size_t)width * sizeof(float);
    for (int t = 0; t < tokens; t++) {
        size_t at = (size_t)t * (size_t)width;
        if (memcmp(a + at, b + at, bytes) != 0) return t;
    }
    return NOWHERE;
}

// In the tensors, all samples.
static enum status find_difference(struct difference *difference, const struct equality *e,
                                   struct result *result, struct error *err)
{
    int width = result_width(result, e->layer, e->component);
    size_t elements = (size_t)result_max_tokens(result) * (size_t)width + 1;
    float *a = malloc(elements * sizeof *a), *b = malloc(elements * sizeof *b);
    *difference = (struct difference){NOWHERE, NOWHERE};
    if (!a || !b) error_memory(err, 2 * elements * sizeof(float), "two samples to compare");
    for (int s = 0; s < result_samples(result) && difference->sample == NOWHERE && !err->status; s++) {
        if (result_read(result, e->run, e->layer, e->component, s, a, err)) break;
        if (result_read(result, e->other, e->layer, e->component, s, b, err)) break;
        int token = first_token(a, b, result_length(result, s), width);
        if (token != NOWHERE) *difference = (struct difference){s, token};
    }
    free(a);
    free(b);
    return err->status;
}

// The metrics of one sample: `count` equalities of the same two runs.  a and b have room for a row each.
static enum status look_at_metrics(struct difference *differences, const struct equality *equalities,
                                   int count, int sample, struct accumulator *a, struct accumulator *b,
                                   struct result *result, struct error *err)
{
    if (result_read_sample_moments(result, equalities->run, sample, a, err) ||
        result_read_sample_moments(result, equalities->other, sample, b, err))
        return err->status;
    for (int i = 0; i < count; i++) {
        const struct equality *e = &equalities[i];
        const size_t at = (size_t)e->layer * (size_t)result_arch(result)->n_components + (size_t)e->component;
        if (!e->stored && differences[i].sample == NOWHERE && memcmp(&a[at], &b[at], sizeof *a) != 0)
            differences[i].sample = sample;
    }
    return STATUS_OK;
}

// Samples are dealt in turn.
static enum status find_in_metrics(struct difference *differences, const struct equality *equalities, int n,
                                   const struct comm *comm, struct result *result, struct error *err)
{
    _Static_assert(sizeof(struct accumulator) == 25 * 8, "no padding: its bytes are its value");
    const size_t row = (size_t)result_model_layers(result) * (size_t)result_arch(result)->n_components;
    struct accumulator *rows = calloc(2 * row + 1, sizeof *rows);
    if (!rows) error_memory(err, 2 * row * sizeof *rows, "the metrics of two samples");
    for (int i = 0, count; i < n; i += count) { // the equalities of a run lie together
        for (count = 1; i + count < n && equalities[i + count].run == equalities[i].run; count++) {
        }
        for (int s = comm->rank; s < result_samples(result) && !err->status; s += comm->ranks)
            look_at_metrics(differences + i, equalities + i, count, s, rows, rows + row, result, err);
    }
    free(rows);
    return err->status;
}

static int report(const struct equality *equalities, const struct difference *differences, int n,
                  const struct result *result, const struct log *log)
{
    int violated = 0;
    for (int i = 0; i < n; i++) {
        const struct equality *e = &equalities[i];
        if (differences[i].sample == NOWHERE) continue;
        char cell[CELL_NAME_ROOM], token[32] = " (by its metrics)";
        if (e->stored) snprintf(token, sizeof token, ", token %d", differences[i].token);
        violated++;
        log_job(log, LOG_ERROR,
                "modes %s and %s must be equal but differ: calib_data_num %s, layer %d, component %s, first "
                "at sample %d%s",
                result_run_at(result, e->run)->mode, result_run_at(result, e->other)->mode,
                cell_name(result_run_at(result, e->run)->cell, cell), e->layer,
                result_arch(result)->components[e->component].name, differences[i].sample, token);
    }
    return violated;
}

enum status equalities_check(const struct comm *comm, const struct log *log, struct result *result,
                             struct error *err)
{
    int n = list_equalities(result, NULL);
    struct equality *equalities = calloc((size_t)n + 1, sizeof *equalities);
    struct difference *differences = malloc(((size_t)n + 1) * sizeof *differences);
    if (!equalities || !differences) error_memory(err, (size_t)n * sizeof *equalities, "equalities of modes");
    if (comm_agree(comm, err)) goto free_lists;
    list_equalities(result, equalities);
    for (int i = 0; i < n; i++) { // dealt in turn; others keep NOWHERE, which is above every true place
        differences[i] = (struct difference){NOWHERE, NOWHERE};
        if (equalities[i].stored && i % comm->ranks == comm->rank && !err->status)
            find_difference(&differences[i], &equalities[i], result, err);
    }
    if (result_has_metrics(result) && !err->status)
        find_in_metrics(differences, equalities, n, comm, result, err);
    if (comm_agree(comm, err)) goto free_lists;
    MPI_Allreduce(MPI_IN_PLACE, differences, 2 * n, MPI_INT, MPI_MIN, comm->world);
    int violated = report(equalities, differences, n, result, log);
    if (violated)
        error_set(err, STATUS_GATE,
                  "result file: %d of %d equalities that the mode table declares do not hold; see 'ssmsweep "
                  "modes', and sweep anew if the file was altered",
                  violated, n);
    else
        log_job(log, LOG_VERBOSE, "%d declared equalities hold", n);
free_lists:
    free(equalities);
    free(differences);
    return err->status;
}
