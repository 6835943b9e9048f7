// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/compare.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/isolated.h"
#include "ssmsweep/report/samples.h"
#include "ssmsweep/report/view.h"

enum { RECORD_WORDS = sizeof(struct record) / sizeof(uint64_t) };
_Static_assert(sizeof(struct record) == RECORD_WORDS * sizeof(uint64_t), "records travel as 64-bit words");

// ---- which runs ----

// The first run of a mode, or -1.
static int find_run(const struct result *result, const char *mode)
{
    for (int r = 0; r < result_runs(result); r++)
        if (strcmp(result_run_at(result, r)->mode, mode) == 0) return r;
    return -1;
}

int compare_reference_of(const struct result *result, const char *reference, int run)
{
    int found = -1, best = -1;
    for (int r = 0; r < result_runs(result); r++) {
        if (strcmp(result_run_at(result, r)->mode, reference) != 0) continue;
        const int suits = cell_suits(result_run_at(result, r)->cell, result_run_at(result, run)->cell);
        if (suits > best) {
            best = suits;
            found = r;
        }
    }
    return found;
}

bool compare_uses(const struct result *result, int reference_run, int run, int sample)
{
    return result_state(result, run, sample) == STORE_ITEM_DONE &&
           result_state(result, reference_run, sample) == STORE_ITEM_DONE;
}

// What is to be compared of an unfinished sweep.
static bool is_comparable(const struct result *result, const struct compare_request *request, int run)
{
    int reference_run = compare_reference_of(result, request->reference, run);
    if (request->whole_runs)
        return result_run_at(result, run)->complete && result_run_at(result, reference_run)->complete;
    for (int s = 0; s < result_samples(result); s++)
        if (compare_uses(result, reference_run, run, s)) return true;
    return false;
}

static enum status check_reference(const char *reference, struct error *err)
{
    if (mode_find(reference)) return STATUS_OK;
    return error_set(err, STATUS_USAGE, "--reference: unknown mode '%s'; 'ssmsweep modes' lists them",
                     reference);
}

// "PATH: WHAT; the command that makes the modes".
static enum status name_command(const struct result *result, const struct compare_request *request,
                                const char *modes, const char *what, struct error *err)
{
    enum { MOST_CHARS = 700 }; // a command that is cut helps nobody
    if (!result_attribute(result, "weights_digest")[0])
        return error_set(err, STATUS_INPUT,
                         "%.200s/sweep.h5: %s; the file was imported: import the arrays of that mode as well",
                         request->output_dir, what);
    char *line = job_save_line(result_attribute(result, "job"), modes, request->output_dir);
    if (!line) return error_memory(err, strlen(modes), "a command");
    if (strlen(line) > MOST_CHARS)
        error_set(err, STATUS_INPUT,
                  "%.200s/sweep.h5: %s; make it with the options of before and: ssmsweep save %s",
                  request->output_dir, what, modes);
    else
        error_set(err, STATUS_INPUT, "%.200s/sweep.h5: %s; make it with: %s", request->output_dir, what,
                  line);
    free(line);
    return err->status;
}

static bool is_asked_for(const char *name, const struct compare_request *request, const bool *wanted, int m)
{
    return wanted[m] || strcmp(name, request->reference) == 0;
}

static enum status check_present(const struct result *result, const struct compare_request *request,
                                 const bool *wanted, struct error *err)
{
    char missing[256] = "", what[320];
    size_t used = 0;
    int count = 0;
    for (int m = 0; m < mode_count() && used < sizeof missing; m++) {
        const char *name = mode_at(m)->name;
        if (!is_asked_for(name, request, wanted, m) || find_run(result, name) >= 0) continue;
        used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? " " : "", name);
        count++;
    }
    if (!count) return STATUS_OK;
    const char *kind = find_run(result, request->reference) < 0 ? "reference mode" : "mode";
    if (count == 1)
        snprintf(what, sizeof what, "%s '%s' is not in it", kind, missing);
    else
        snprintf(what, sizeof what, "modes '%s' are not in it", missing);
    return name_command(result, request, missing, what, err);
}

static enum status check_complete(const struct result *result, const struct compare_request *request, int run,
                                  const char *what, struct error *err)
{
    const struct result_run *r = result_run_at(result, run);
    char text[160], cell[CELL_NAME_ROOM];
    if (r->complete) return STATUS_OK;
    snprintf(text, sizeof text, "%s '%s' (calib_data_num %s) is not complete", what, r->mode,
             cell_name(r->cell, cell));
    return name_command(result, request, r->mode, text, err);
}

// Asked for, or a run of the reference.
enum status compare_choose(const struct result *result, const struct compare_request *request, bool *chosen,
                           struct error *err)
{
    const char *reference = request->reference, *modes = request->modes;
    bool *wanted = calloc((size_t)mode_count(), sizeof *wanted);
    if (!wanted) return error_memory(err, (unsigned long long)mode_count(), "the modes");
    if (check_reference(reference, err) || (modes && mode_select(modes, wanted, err)) ||
        check_present(result, request, wanted, err))
        goto free_wanted;
    for (int r = 0; r < result_runs(result); r++) {
        const char *name = result_run_at(result, r)->mode;
        chosen[r] = !modes || strcmp(name, reference) == 0;
        for (int m = 0; m < mode_count(); m++)
            if (wanted[m] && strcmp(mode_at(m)->name, name) == 0) chosen[r] = true;
    }
    for (int r = 0; r < result_runs(result); r++) {
        if (request->partial)
            chosen[r] = chosen[r] && is_comparable(result, request, r);
        else if (chosen[r] && (check_complete(result, request, compare_reference_of(result, reference, r),
                                              "reference mode", err) ||
                               check_complete(result, request, r, "mode", err)))
            goto free_wanted;
    }
free_wanted:
    free(wanted);
    return err->status;
}

// ---- the entries and who measures them ----

// Fills entries in the order run, layer, component; counts only when entries is NULL.  sums: those of which
// there are entries; NULL: of all that was captured.
static int list_entries(const struct result *result, const struct samples *sums, const bool *chosen,
                        struct comparison_entry *entries)
{
    const int layers = sums ? samples_layers(sums) : result_layers(result);
    const struct arch *arch = result_arch(result);
    int n = 0;
    for (int r = 0; r < result_runs(result); r++)
        for (int l = 0; chosen[r] && l < layers; l++) {
            const unsigned components = sums ? samples_components(sums, l) : result_components(result, l);
            const int layer = sums ? samples_layer_at(sums, l) : result_layer_at(result, l);
            for (int c = 0; c < arch->n_components; c++) {
                if (!(components & 1u << c)) continue;
                if (entries)
                    entries[n] = (struct comparison_entry){.run = r,
                                                           .layer = layer,
                                                           .component = c,
                                                           .name = arch->components[c].name,
                                                           .is_output = c == arch_output(arch)};
                n++;
            }
        }
    return n;
}

// Each entry goes to the rank with the least to read so far, the lowest of equals.  The same on every rank.
static void deal(int *owner, const struct comparison_entry *entries, int n, const struct result *result,
                 double *load, int ranks)
{
    for (int i = 0; i < n; i++) {
        int least = 0;
        for (int r = 1; r < ranks; r++)
            if (load[r] < load[least]) least = r;
        owner[i] = least;
        load[least] += 1 + result_width(result, entries[i].layer, entries[i].component);
    }
}

// ---- measuring ----

struct reader {
    struct result *result;
    const struct comparison_entry *entry;
    int reference_run, width;
    int *samples; // those that count for the entry
    int n_samples;
    bool *uses;               // [samples of the file] which they are
    struct accumulator *rows; // likewise: room; NULL where no layer was computed by itself
    struct stop *stop;
    double graces;     // after which a signal ends the comparison
    float *ref, *mode; // [max tokens, max width]
};

static enum status read_sample(void *context, int place, struct output_pair *pair, struct error *err)
{
    struct reader *r = context;
    int index = r->samples[place];
    if (r->stop && stop_overdue(r->stop, r->graces))
        return error_set(err, STATUS_STOPPED,
                         "stopped by %s before the comparison was done; the same command goes on",
                         stop_signal_name(r->stop->signal));
    const struct comparison_entry *e = r->entry;
    bool self = e->run == r->reference_run;
    if (result_read(r->result, r->reference_run, e->layer, e->component, index, r->ref, err))
        return err->status;
    if (!self && result_read(r->result, e->run, e->layer, e->component, index, r->mode, err))
        return err->status;
    *pair = (struct output_pair){r->ref, self ? r->ref : r->mode,
                                 (size_t)result_length(r->result, index) * (size_t)r->width};
    return STATUS_OK;
}

static void choose_samples(struct reader *reader)
{
    reader->n_samples = 0;
    for (int s = 0; s < result_samples(reader->result); s++) {
        reader->uses[s] = compare_uses(reader->result, reader->reference_run, reader->entry->run, s);
        if (reader->uses[s]) reader->samples[reader->n_samples++] = s;
    }
}

static enum status reader_open(struct reader *reader, struct result *result,
                               const struct compare_request *request, struct error *err)
{
    struct stop *stop = request->stop;
    const size_t samples = (size_t)result_samples(result);
    const bool isolated = isolated_known(result, request->reference);
    int width = 0;
    for (int l = 0; l < result_layers(result); l++)
        for (int c = 0; c < result_arch(result)->n_components; c++) {
            if (!(result_components(result, l) & 1u << c)) continue;
            int w = result_width(result, result_layer_at(result, l), c);
            width = w > width ? w : width;
        }
    size_t elements = (size_t)result_max_tokens(result) * (size_t)width;
    *reader = (struct reader){.result = result, .stop = stop};
    if (stop) reader->graces = stop_wanted(stop) ? 2 : 1;
    reader->samples = malloc(samples * sizeof *reader->samples);
    reader->uses = malloc(samples * sizeof *reader->uses);
    reader->rows = isolated ? malloc(samples * sizeof *reader->rows) : NULL;
    reader->ref = malloc((elements + 1) * sizeof(float));
    reader->mode = malloc((elements + 1) * sizeof(float));
    if (reader->samples && reader->uses && reader->ref && reader->mode && (reader->rows || !isolated))
        return STATUS_OK;
    return error_memory(err, 2 * elements * sizeof(float), "the read buffers of a comparison");
}

static void reader_close(struct reader *reader)
{
    free(reader->samples);
    free(reader->uses);
    free(reader->rows);
    free(reader->ref);
    free(reader->mode);
}

// By the name of its mode, which in a file of arrays may be none that is known.
static bool is_float(const struct result_run *run)
{
    const struct mode *mode = mode_find(run->mode);
    return run->cell.calib_data_num == 0 && (!mode || mode_is_float(mode));
}

static enum status measure_own(struct comparison_entry *entries, const int *owner, int n,
                               const struct compare_request *request, int rank, struct result *result,
                               struct error *err)
{
    struct reader reader = {0};
    struct percentile *percentile = percentile_open();
    if (!percentile) error_memory(err, 5u << 20, "percentiles");
    if (!err->status) reader_open(&reader, result, request, err);
    for (int i = 0; i < n && !err->status; i++) {
        if (owner[i] != rank) continue;
        reader.entry = &entries[i];
        reader.reference_run = compare_reference_of(result, request->reference, entries[i].run);
        reader.width = result_width(result, entries[i].layer, entries[i].component);
        choose_samples(&reader);
        const struct pair_source source = {reader.n_samples, read_sample, &reader};
        struct measurement measurement;
        if (measure_pairs(&measurement, &source, percentile, err) ||
            (reader.rows && isolated_mse(&measurement.isolated_mse, result, entries[i].run, entries[i].layer,
                                         entries[i].component, reader.uses, reader.rows, err)))
            break;
        // Distances in ULP are those of float modes alone.
        if (!is_float(result_run_at(result, entries[i].run))) measurement.max_ulp = NAN;
        entries[i].record = record_make(&measurement);
    }
    if (request->log) footprint_log(request->log, "outputs are compared");
    reader_close(&reader);
    percentile_close(percentile);
    return err->status;
}

// ---- measuring without outputs ----

static enum status add_sums(struct comparison_entry *entry, const struct result *result, int reference_run,
                            struct samples *sums, bool *uses, struct accumulator *rows, struct error *err)
{
    for (int s = 0; s < result_samples(result); s++)
        uses[s] = compare_uses(result, reference_run, entry->run, s);
    return samples_measure(sums, entry->run, entry->layer, entry->component, uses, rows, NULL, &entry->record,
                           err);
}

static enum status measure_own_sums(struct comparison_entry *entries, const int *owner, int n,
                                    const struct compare_request *request, int rank,
                                    const struct result *result, struct samples *sums, struct error *err)
{
    const size_t samples = (size_t)result_samples(result) + 1;
    bool *uses = calloc(samples, sizeof *uses);
    struct accumulator *rows = calloc(samples, sizeof *rows);
    if (!uses || !rows) error_memory(err, samples * sizeof *rows, "the samples of a comparison");
    for (int i = 0; i < n && !err->status; i++)
        if (owner[i] == rank)
            add_sums(&entries[i], result, compare_reference_of(result, request->reference, entries[i].run),
                     sums, uses, rows, err);
    if (request->log) footprint_log(request->log, "metrics are compared");
    free(uses);
    free(rows);
    return err->status;
}

// ---- the whole ----

// Collective.  Each record is all zero bits on every rank but its owner: OR gives everybody the owner's bits.
static void exchange(struct comparison_entry *entries, uint64_t *words, int n, const struct comm *comm)
{
    if (comm->ranks == 1) return;
    for (int i = 0; i < n; i++)
        memcpy(words + (size_t)i * RECORD_WORDS, &entries[i].record, sizeof(struct record));
    for (int i = 0; i < n; i += 1024) { // bounded messages
        int part = n - i < 1024 ? n - i : 1024;
        MPI_Allreduce(MPI_IN_PLACE, words + (size_t)i * RECORD_WORDS, part * RECORD_WORDS, MPI_UINT64_T,
                      MPI_BOR, comm->world);
    }
    for (int i = 0; i < n; i++)
        memcpy(&entries[i].record, words + (size_t)i * RECORD_WORDS, sizeof(struct record));
}

// What every rank prepares by itself; all blocks are freed by the caller whether it failed or not.
struct preparation {
    bool *chosen;
    struct samples *sums; // where layers are asked for, or the file keeps no outputs as they were computed
    bool from_outputs;
    struct comparison_entry *entries;
    int n;
    int *owner;
    double *load;
    uint64_t *words;
};

static bool chooses(const struct compare_request *request)
{
    return request->layers || request->components;
}

static enum status open_sums(struct preparation *p, struct result *result,
                             const struct compare_request *request, struct error *err)
{
    p->from_outputs = result_has_outputs(result);
    if (p->from_outputs && !chooses(request)) return STATUS_OK;
    if (samples_open(&p->sums, result, request->reference, request->stop, err)) return err->status;
    if (!chooses(request)) return STATUS_OK;
    if (samples_choose(p->sums, request->layers, request->components, true, err)) return err->status;
    p->from_outputs = samples_are_stored(p->sums);
    return STATUS_OK;
}

static enum status prepare(struct preparation *p, const struct comm *comm, struct result *result,
                           const struct compare_request *request, struct error *err)
{
    size_t runs = (size_t)result_runs(result);
    p->chosen = calloc(runs + 1, sizeof *p->chosen);
    if (!p->chosen) return error_memory(err, runs, "the runs of a comparison");
    if (compare_choose(result, request, p->chosen, err) || open_sums(p, result, request, err))
        return err->status;
    const struct samples *sums = chooses(request) || result_layers(result) == 0 ? p->sums : NULL;
    p->n = list_entries(result, sums, p->chosen, NULL);
    size_t n = (size_t)p->n + 1, ranks = (size_t)comm->ranks;
    p->entries = calloc(n, sizeof *p->entries);
    p->owner = calloc(n, sizeof *p->owner);
    p->load = calloc(ranks, sizeof *p->load);
    p->words = calloc(n, sizeof(struct record));
    if (!p->entries || !p->owner || !p->load || !p->words)
        return error_memory(err, n * 2 * sizeof *p->entries, "the entries of a comparison");
    list_entries(result, sums, p->chosen, p->entries);
    deal(p->owner, p->entries, p->n, result, p->load, comm->ranks);
    return STATUS_OK;
}

enum status compare_all(struct comparison *comparison, const struct comm *comm, struct result *result,
                        const struct compare_request *request, struct error *err)
{
    struct preparation p = {0};
    prepare(&p, comm, result, request, err);
    if (comm_agree(comm, err)) goto free_preparation;
    if (p.from_outputs)
        measure_own(p.entries, p.owner, p.n, request, comm->rank, result, err);
    else
        measure_own_sums(p.entries, p.owner, p.n, request, comm->rank, result, p.sums, err);
    if (comm_agree(comm, err)) goto free_preparation;
    exchange(p.entries, p.words, p.n, comm);
    *comparison = (struct comparison){.entries = p.entries,
                                      .count = p.n,
                                      .reference_run = find_run(result, request->reference),
                                      .from_outputs = p.from_outputs,
                                      .chosen = chooses(request)};
    p.entries = NULL;
free_preparation:
    samples_close(p.sums);
    free(p.chosen);
    free(p.entries);
    free(p.owner);
    free(p.load);
    free(p.words);
    return err->status;
}

void compare_clear(struct comparison *comparison)
{
    free(comparison->entries);
    *comparison = (struct comparison){0};
}
