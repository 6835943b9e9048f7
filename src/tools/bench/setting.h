// SPDX-License-Identifier: Apache-2.0
// Inside the bench: how things are timed, kept and shared, and the measurements of one process.
#ifndef SSMSWEEP_TOOLS_BENCH_SETTING_H
#define SSMSWEEP_TOOLS_BENCH_SETTING_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/weights.h"

// ---- timing ----
//
// Timing on a machine that is shared: loads are run in turn, so that all of them see the same disturbances,
// and the best of many short runs counts.  What one thread does is timed by the processor time it gets, which
// leaves out the time in which another process has the core; what a team does, by the clock on the wall.

// A repeatable piece of work, and what became of its runs.
struct load {
    void (*run)(void *context);
    void *context;
    double work; // of one run: operations, bytes or elements
    bool team;   // several threads
    // from measure()
    double best_seconds, median_seconds;
    int runs;
};

double clock_seconds(void);     // monotonic
double processor_seconds(void); // that this process used

// Runs all loads in turn, again and again, for about `seconds` (at least three turns, one of them
// unmeasured).
void measure(struct load *loads, int count, double seconds);

double load_rate(const struct load *load); // work per second of the best run

enum { LENGTHENED_US = 500 };
// Doubles *rounds, which `load` obeys, until a run takes so long.  For one thread: the first run of a team
// takes long whatever it does.
void load_lengthen(const struct load *load, long *rounds, double seconds);

// ---- rows ----
//
// What a bench run found: one row per measurement, printed as it comes and kept for the JSON file.

enum { ROW_NAME_CHARS = 40 };

struct row {
    const char *group; // machine, gemm_f32, ...
    char name[ROW_NAME_CHARS];
    int threads;                    // 0: on a GPU
    int samples;                    // there: at once, 0: it has none
    double seconds, median_seconds; // best and median of `runs` runs
    int runs;
    double rate; // work per second of the best run, in `unit`
    const char *unit;
    double bound_seconds; // the least time by what was measured beside it; 0: nothing to compare with
    double core_seconds;  // of one thread of the processor in the same run; 0: not measured
};

struct row_list {
    struct row *items;
    int count, room;
    bool print; // on stdout, as they come
    bool of_gpu;
};

// Units are given with the factor from work to unit: {"GFLOP/s", 1e-9}.
struct bench_unit {
    const char *name;
    double factor;
};

// Adds a row from a measured load.
enum status rows_add(struct row_list *rows, const char *group, const char *name, int threads,
                     const struct load *load, struct bench_unit unit, double bound_seconds,
                     struct error *err);
// The same on a GPU, where it takes so many samples at once (0: it has none).
enum status rows_add_of_gpu(struct row_list *rows, const char *group, const char *name, int samples,
                            const struct load *load, struct bench_unit unit, double bound_seconds,
                            double core_seconds, struct error *err);
const struct row *rows_find(const struct row_list *rows, const char *group, const char *name, int threads);
void rows_title(const struct row_list *rows, const char *title);
void rows_print(const struct row_list *rows, const char *group); // of a group
void rows_put_json(const struct row_list *rows, struct json_writer *writer);
void rows_clear(struct row_list *rows);

// ---- setting ----
//
// What all measurements of one run share.

// The GPU beside the machine.
struct gpu {
    int index;  // -1: none
    bool alone; // it was asked for by name: of the processor only what its passes are compared with
    struct cuda_device about;
    double rates[CUDA_PEAKS]; // work per second, at best
    struct row_list rows;
};

struct bench_setting {
    const struct kernels *kernels;
    const struct model *model;
    int length;  // tokens
    int vocab;   // logits of a token
    int threads; // "all"
    struct team *team;
    double seconds; // for each measurement
    float *pool;    // far more than the caches hold, random in [-1, 1)
    long pool_floats;
    struct arena arena; // owns the pool
    struct gpu gpu;
    struct row_list rows;
};

// The pool holds the weights of one matrix of every layer, or those of lm_head, and at least what bandwidth
// takes to measure.  vocab: may be another one than the model's.
enum status setting_open(struct bench_setting *setting, const struct model *model, int vocab, int threads,
                         struct error *err);
void setting_close(struct bench_setting *setting);

// Uniform in [-1, 1); the state is any number.
float random_uniform(uint32_t *state);

// Team sizes to measure: 1 and, if it is another one, `threads`.
static inline int team_sizes(const struct bench_setting *setting, int sizes[2])
{
    sizes[0] = 1;
    sizes[1] = setting->threads;
    return setting->threads > 1 ? 2 : 1;
}

// ---- the machine ----
//
// Loads that say what the machine can do at best, to be run beside what is compared with them.

// The GEMMs' multiply-adds on registers alone, on every thread of a team.
struct peak {
    const struct kernels *kernels;
    struct team *team;
    int threads;
    bool int8;
    long rounds;
    double operations; // of the last run on one thread
};
struct load peak_load(struct peak *peak, const struct bench_setting *setting, int threads, bool int8);

// The exp kernel on arrays that stay in the first-level cache.
enum { EXP_COUNT = 1024 };
struct exps {
    const struct kernels *kernels;
    struct team *team;
    int threads;
    long rounds;
    float in[EXP_COUNT];
};
struct load exps_load(struct exps *exps, const struct bench_setting *setting, int threads);

// a = b + s c over arrays that no cache holds; work: bytes as STREAM counts them.
struct triad {
    struct team *team;
    float *a, *b, *c;
    int count, threads;
};
struct load triad_load(struct triad *triad, const struct bench_setting *setting, int threads);

// Rows of group `machine`.
enum status machine_measure(struct bench_setting *setting, struct error *err);

// ---- projections ----
//
// The projections of a layer as GEMMs, four in Mamba-1, two in Mamba-2, in FP32 and INT8, beside the peak of
// their instructions.

// Rows of groups gemm_f32, gemm_s8 (row sums and the layer's own epilogue counted in) and gemm_s8_plain.
enum status gemms_measure(struct bench_setting *setting, struct error *err);

// The projection of a layer with this shape into name[ROW_NAME_CHARS]; the shape where it is none of them.
void gemms_name(const struct dims *dims, int outputs, int depth, char *name);

// Operations (2 per multiply-add) of the projections of one layer over `length` tokens.
double gemms_operations(const struct dims *dims, int length);

// ---- other kernels ----
//
// The kernels of a layer that are no GEMM: scans beside their exponentials, the rest by what it moves.

// Rows of groups scan and elementwise.
enum status vectors_measure(struct bench_setting *setting, struct error *err);

// Exponentials of the selective scans of one layer of Mamba-1 over `length` tokens: of step times state
// decay.
double vectors_exps(const struct dims *dims, int length);

// ---- Mamba-2 ----
//
// What the family has of its own: scans, beside their multiply-adds and exponentials; gated norm, scales of
// columns, weights in 4 bits.

// Rows of groups scan and elementwise.
enum status ssd_measure(struct bench_setting *setting, int threads, struct error *err);
// Operations (2 per multiply-add, and per product of its own) and exponentials of the scans of one layer over
// `length` tokens.
double ssd_operations(const struct dims *dims, enum ssd_order order, int length);
double ssd_exps(const struct dims *dims, enum ssd_order order, int length);

// ---- metrics ----
//
// What a sweep adds to its passes: moments and profiles of pairs, logits and what is made of them.

// Rows of group metrics, one thread.
enum status metrics_measure(struct bench_setting *setting, struct error *err);

// ---- forward passes ----
//
// The forward pass per mode beside its roofline.

// Rows of group forward for the chosen modes ([mode_count()]); rate in tokens/s, bound = the GEMMs at the
// peak of their instructions plus the exponentials of the scan at the rate of the exp kernel, in Mamba-2 its
// multiply-adds as well, at the peak of FP32.
enum status passes_measure(struct bench_setting *setting, const bool *chosen, struct error *err);

// The roofline of a pass of `length` tokens in all.  Rates per second: operations of the projections' own
// multiply-adds, of those of FP32, exponentials.
double passes_bound(const struct dims *dims, const struct recipe *recipe, int length, double gemm, double f32,
                    double exps);

// ---- on a GPU ----
//
// What it does at best, and passes and kernels there, many samples in a batch; rows go to setting->gpu.rows
// and are printed at the end.

// Fills setting->gpu as --device says.  STATUS_USAGE: it asks for a GPU that is not there.
enum status gpu_open(struct bench_setting *setting, const char *word, struct error *err);
void gpu_print_head(const struct gpu *gpu);
void gpu_print(const struct bench_setting *setting);
void gpu_put_json(const struct bench_setting *setting, struct json_writer *writer);

// Rows of group machine: multiply-adds, exponentials, copies.
enum status gpu_measure_peaks(struct bench_setting *setting, struct error *err);

// What pairs and predictions take there: rows of group metrics.
enum status gpu_measure_metrics(struct bench_setting *setting, struct error *err);

// Modes of one precision, whose weights are packed.
struct gpu_modes {
    const struct weights *weights;
    const bool *chosen; // [mode_count()]
    enum precision precision;
    const float *scales; // [n_layer][n_sites], for modes by unit
};
// Rows of group forward, whose rows on one thread are there, and of the steps of a layer: gemm_f32, gemm_s8,
// scan, elementwise.  No step has two rows.
enum status gpu_measure_modes(struct bench_setting *setting, const struct gpu_modes *modes,
                              struct error *err);

// The steps that a layer of a recipe takes, each by itself, for `tokens` tokens in `samples` samples.
struct forward;
enum status gpu_measure_steps(struct bench_setting *setting, struct forward *forward,
                              const struct recipe *recipe, const float *scales, const int32_t *ids,
                              int tokens, int samples, struct error *err);

// ---- start-up ----
//
// Start-up: opening and packing a model folder beside reading its bytes.

// Rows of group start, for a folder that holds model.safetensors (any other gives none); bound is reading
// that file.
enum status start_measure(struct bench_setting *setting, const char *directory, struct error *err);

#endif
