// SPDX-License-Identifier: Apache-2.0
// The result file (HDF5): made, continued, written by the ranks of a sweep, and read.
//
// Knows: plans, cells and runs, the components and sites of a family of models, and HDF5, which nobody else
// includes.  What is in the file is one table (src/store/layout.h), and docs/result_file.md shows it.
// Must not know: how outputs are computed, who gets which item, what is made of the numbers.
// Called by: sweep/ (everything up to "reading"), report/ and tools/ (reading; import also writes).
//
// One rank creates everything before the first item, by HDF5's ordinary driver; after that only raw data
// moves, by independent writes through a sink (src/store/sink.h).
// What other ranks wrote is read only after store_sync() and result_open().
#ifndef SSMSWEEP_STORE_STORE_H
#define SSMSWEEP_STORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/plan/plan.h"

struct store; // opaque

// Local.  "1.10.8": of the HDF5 that is loaded.
void store_library(char *text, size_t room);

// Local.  Before comm_init(), and before there are threads: keeps HDF5 from closing by itself, at exit or in
// MPI_Finalize, a file that could not be closed in order; it would hang or crash there.  And from locking
// files, whatever HDF5_USE_FILE_LOCKING says: the locks of others are respected all the same, here.
void store_prepare(void);

struct store_identity {
    const char *job_json, *tool_version, *weights_hex, *tokenizer_hex, *ids_hex, *model_dtype;
    const char *scales_source;     // "calibration" or "checkpoint"
    const char *reference_weights; // "model", "dequantized-int8", "dequantized-int4", or the digest of
                                   // another float model
    const char *model_config;      // dimensions and constants
    const char *numerics_version;
    const char *calibration_ids_hex; // "" where no text gave the scales
    const char *evaluation_text;     // one of those below
};
// How raw data get into the file; the same bytes in either way.
enum store_driver {
    STORE_POSIX, // pwrite() at the places of the datasets
    STORE_MPIO   // independent H5Dwrite() of a file that all ranks opened by HDF5's MPI-IO driver
};
struct store_io {
    enum store_driver driver;
    const char *hints;            // for MPI-IO: KEY=VALUE, one per line; NULL: none
    unsigned long long alignment; // of datasets of so many bytes and more, in a new file; 0: none
    double patience_seconds;      // for what HDF5 does on all ranks at once: opening, syncing, closing
    const struct log *log;        // for what is said when that has passed, and for hints
};
enum { STORE_MOST_HINT_BYTES = 200 }; // of a key, and of a value

enum { STORE_MOST_JOB_BYTES = (1 << 20) - 1 }; // of job_json: more is not read back
// What ids_hex and /samples are: those of the calibration; others of its text; a text of their own.
#define STORE_EVALUATES_CALIBRATION "calibration samples"
#define STORE_EVALUATES_ITS_TEXT "calibration text"
#define STORE_EVALUATES_OTHERS "separate text"

// A state of (run, sample), and of the observations of a sample.
enum store_state { STORE_ITEM_ABSENT = 0, STORE_ITEM_DONE = 1, STORE_ITEM_FAILED = 2 };
enum { STORE_CALIBRATION = -1 }; // in place of a run: the observations

#define STORE_EXISTS                                                                                         \
    "the result file exists already; use --resume, `ssmsweep save` to add modes, another --output_dir, or "  \
    "--overwrite"

// Collective.  Makes the file with every dataset, reserves its space and opens it.  All arguments equal on
// all ranks. STATUS_INPUT if it exists, STATUS_IO if it cannot be made or the disk lacks room (nothing is
// left behind).
enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err);
// Local.  STATUS_BUSY while another program has the file open for writing; to add modes, if one has it open
// at all.  Before long work: who writes looks again.
enum status store_look_for_lock(const char *path, bool adds_modes, struct error *err);
// Local.  Takes away what an interrupted store_create() left; true if there was something.
bool store_discard_part(const char *path);

// Collective.  Opens the file of an earlier run of the same job for writing.  STATUS_INPUT if it is torn, or
// of another job: the message names each key that differs, with both values.  STATUS_IO: no permission.
// STATUS_BUSY: as store_look_for_lock() has it.
enum status store_resume(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err);
// Collective.  As store_resume(), of a file that may lack some of the plan's modes: their datasets are added
// first. The plan must have all the modes of the file.
enum status store_extend(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err);
// Local, after store_resume().  state[S], as enum store_state has it or anything else in an altered file.
enum status store_read_states(struct store *store, int run, unsigned char *state, struct error *err);
// Local.  Is what is stored what its digest says?  False also where it cannot be read.
bool store_sample_is_whole(struct store *store, int run, int sample, int length, struct hash *hash);
// The same of what a sample showed, which it gives: observed[plan_observed()] and
// histogram[n_layer, n_sites, HISTOGRAM_BINS], NULL where the plan has none.
bool store_read_observed(struct store *store, int sample, float *observed, uint32_t *histogram,
                         struct hash *hash);

unsigned long long store_estimate_bytes(const struct plan *plan, const struct dims *dims,
                                        const struct corpus *corpus, const struct store_io *io);

// Local.  ids[length] of a sample, as the file has them: what does not stay in memory does not grow with the
// samples.
enum status store_read_ids(struct store *store, int sample, int length, int32_t *ids, struct error *err);

// Collective.  scales: [n_cells][plan_observed()], equal on all ranks.
enum status store_write_scales(struct store *store, const float *scales, struct error *err);
// Collective.  rows: those of struct groups (arch/groups.h), needed on rank 0 alone.
enum status store_write_groups(struct store *store, const int32_t *rows, struct hash *hash,
                               struct error *err);
// Local.  False: they are not there, or torn.
bool store_read_groups(struct store *store, int32_t *rows, struct hash *hash);

// Local: values[length, width] of one sample at (run, layer, component).  They are copied, and written while
// the caller computes.  One sample of each run at a time, or those of store_expect(), the outputs of each in
// the order in which the digest takes them; runs and samples may take turns.  The error may be that of an
// output of the run before.
enum status store_write_output(struct store *store, int run, int layer, int component, int sample,
                               const float *values, int length, int width, struct error *err);
// What a run shows of a sample, against its reference.
struct store_metrics {
    const struct accumulator *moments;       // [n_layer][n_components]
    const uint32_t *histogram;               // [n_layer][n_components][PROFILE_BINS]
    const double *position;                  // [n_layer][n_components][PROFILE_POSITIONS][2]
    const struct end_of_model *end_of_model; // unused with --no-logits
    // A re-run has these as well, against the run that it repeats.
    const struct accumulator *apart;
    const struct end_of_model *end_apart;
    const struct accumulator *isolated; // of other runs, with --isolated: as moments, each layer by itself
};
// Local: behind the outputs, as these.  Nothing where the plan keeps no metrics.  What is NULL is left for
// another call; they are written in the order of the members but for `isolated`, which is the last.
enum status store_write_metrics(struct store *store, int run, int sample, const struct store_metrics *metrics,
                                struct error *err);
// Local: adds the digest and marks (run, sample) done behind all that; the second waits until it is written,
// and says whether that failed.  Both at once.
enum status store_write_end(struct store *store, int run, int sample, float seconds, struct error *err);
enum status store_write_settle(struct store *store, int run, int sample, struct error *err);
enum status store_write_done(struct store *store, int run, int sample, float seconds, struct error *err);
// Local: after a pass that stopped, in place of store_write_done(), and after an error of the two before.
void store_write_cancel(struct store *store, int run, int sample);
// Local, while nothing is under way: so many samples of each run may be from now on, there is room for more
// of them on their way to the file, and up to so many threads write.
enum status store_widen(struct store *store, int samples, int threads, struct error *err);
// Local: threads by which the next outputs are copied on their way, until NULL; not in use meanwhile.
void store_lend(struct store *store, struct team *team);
// Local: these are the samples of which outputs and metrics come next, in any order; up to that number.
void store_expect(struct store *store, const int *samples, int count);

// Bytes that a rank holds on their way to the file.
size_t store_room_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                        const struct store_io *io);
// What MPI and HDF5 keep of them when the file is closed.
size_t store_kept_bytes(const struct store_io *io);

// Local: what a sample showed in calibration, as above, and that it is there.
enum status store_write_observed(struct store *store, int sample, const float *observed,
                                 const uint32_t *histogram, const unsigned char digest[32],
                                 struct error *err);
// Local.
enum status store_write_state(struct store *store, int run, int sample, enum store_state state,
                              struct error *err);
// Local.  Where another attempt stored the sample it stays as it is; where nothing can be written, it is
// merely absent.
void store_mark_failed(struct store *store, int run, int sample);
// Local, after a write failed: may others succeed?  Not where the disk is full, or the file was taken away.
bool store_can_write(struct store *store);
// Collective.  Every rank sees to it that what it wrote is on the disk.
enum status store_sync(struct store *store, struct error *err);
// Collective.  STATUS_IO once any rank saw that the file was removed, replaced or cut since it was opened:
// what it held cannot be counted on.
enum status store_still_there(struct store *store, struct error *err);
// Collective.  Leaves the file as it is, with what was written; NULL is fine, on all ranks.  An error that
// *err holds already stays; else STATUS_IO where HDF5 could not close it, with what was written there all the
// same.
enum status store_close(struct store *store, struct error *err);

// ---- reading, without MPI: each process opens the file by itself ----
struct result; // opaque

// A mode of the file under one set of scales.
struct result_run {
    struct cell cell; // zeroed for float runs
    char mode[32];
    int dither;    // k of a noisy re-run, else 0
    int done;      // samples
    bool complete; // every sample done
};

// Local, before any mode is asked for.  Adds the recipes that the result file has kept to the modes, but for
// names that are there; nothing where there is no result file.  STATUS_INPUT: a torn recipe.
enum status result_adopt_recipes(const char *path, struct error *err);

// Local.  STATUS_INPUT: missing, torn or foreign file; a mode that is defined here is another recipe there.
enum status result_open(struct result **result, const char *path, struct error *err);
void result_close(struct result *result);
bool result_packed(const struct result *result);     // (store/pack.h)
bool result_has_halves(const struct result *result); // packed, with outputs as float16
// Outputs as they were computed.  Otherwise what is compared are the metrics, which are there.
bool result_has_outputs(const struct result *result);
// Collective.  All ranks see of a file that is still written to what rank 0 saw when it opened it.
// STATUS_BUSY: modes were added meanwhile.
enum status result_agree(struct result *result, const struct comm *comm, struct error *err);
const struct arch *result_arch(const struct result *result); // the family of its model
int result_samples(const struct result *result);
int result_length(const struct result *result, int sample);
int result_max_tokens(const struct result *result);
int result_runs(const struct result *result); // float first, then cells ascending, modes as in the table
// Noisy re-runs (--noise): they follow, so that result_run_at() has dither != 0 from result_runs() on; in the
// same order.  They have metrics and states, but no tensors.
int result_noise_runs(const struct result *result);
int result_all_runs(const struct result *result);
const struct result_run *result_run_at(const struct result *result, int run);
enum store_state result_state(const struct result *result, int run, int sample); // others are absent
int result_layers(const struct result *result);                     // how many layers were captured
int result_layer_at(const struct result *result, int index);        // ascending model layer numbers
uint32_t result_components(const struct result *result, int index); // mask at that layer
int result_width(const struct result *result, int layer, int component);
// A root attribute that is text, "" if it is absent; valid until result_close().
const char *result_attribute(const struct result *result, const char *name);
// The recipes of its modes, in the order of their names: canonical texts (recipe/recipe_file.h).
struct result_recipe {
    char *name, *text;
};
int result_recipes(const struct result *result);
const struct result_recipe *result_recipe_at(const struct result *result, int index);
const char *result_attribute_name(int index); // of all of them, from 0; NULL: there are no more
// scales[*n_layer, n_sites] of a cell, zeros before the calibration has ended; caller frees.
enum status result_read_scales(struct result *result, struct cell cell, float **scales, int *n_layer,
                               struct error *err);
// Those of groups of heads and channels: scales[*n_layer, *per_layer], u, B, C and the state, as
// arch/groups.h has them; NULL: the file has none.  Caller frees.
enum status result_read_group_scales(struct result *result, struct cell cell, float **scales, int *n_layer,
                                     int *per_layer, struct error *err);
// Groups of heads and channels: rows[n_layer][row] as arch/groups.h has them, row = d_inner + 20 n_groups.
struct result_groups {
    int32_t *rows; // NULL: the file has none, or they are not formed yet.  Caller frees
    int n_layer, d_inner, n_groups;
};
enum status result_read_groups(struct result *result, struct result_groups *groups, struct error *err);
// ---- metrics of (reference, run) pairs; the reference is compare_reference_of() of the file's reference
// mode. Rows of samples that are not done mean nothing.
bool result_has_metrics(const struct result *result);      // not in files that were imported
bool result_has_end_of_model(const struct result *result); // not with --no-logits
bool result_has_isolated(const struct result *result);     // with --isolated alone
int result_model_layers(const struct result *result);      // n_layer of the model; 0 without metrics
// Some samples at a time, so that memory need not grow with their number.
struct sample_range {
    int first, count;
};
// rows[range.count], each.
enum status result_read_moments(struct result *result, int run, int layer, int component,
                                struct sample_range range, struct accumulator *rows, struct error *err);
// rows[n_layer of the model][n_components] of one sample.
enum status result_read_sample_moments(struct result *result, int run, int sample, struct accumulator *rows,
                                       struct error *err);
// The same of a noisy re-run against the run that it repeats.
enum status result_read_moments_apart(struct result *result, int run, int layer, int component,
                                      struct sample_range range, struct accumulator *rows, struct error *err);
// The same of a layer by itself, fed with the reference's stream; not of re-runs.
enum status result_read_isolated(struct result *result, int run, int layer, int component,
                                 struct sample_range range, struct accumulator *rows, struct error *err);
enum status result_read_end_apart(struct result *result, int run, struct sample_range range,
                                  struct end_of_model *rows, struct error *err);
enum status result_read_profiles(struct result *result, int run, int layer, int component,
                                 struct sample_range range, struct profile *rows, struct error *err);
enum status result_read_end_of_model(struct result *result, int run, struct sample_range range,
                                     struct end_of_model *rows, struct error *err);

// values[length(sample), width] of one sample; of halves, what they are in FP32.
enum status result_read(struct result *result, int run, int layer, int component, int sample, float *values,
                        struct error *err);

#endif
