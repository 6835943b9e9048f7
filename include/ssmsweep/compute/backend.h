// SPDX-License-Identifier: Apache-2.0
// What a layer is computed on: steps over all tokens of a batch, captures of what they leave, and measuring.
// A processor's batch is one sample; a device's may be many.  The bits of a step depend on neither, nor on
// threads or instruction set.
//
// Knows: the argument structs of compute/steps.h and the sums of measure/.  Must not know: families, modes,
// layers, files, ranks.  Called by: families (arch/), the pass (forward/), the sweep (measuring).
#ifndef SSMSWEEP_COMPUTE_BACKEND_H
#define SSMSWEEP_COMPUTE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/grid.h"
#include "ssmsweep/compute/pair_block.h"
#include "ssmsweep/compute/steps.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"

// What a batch has room for.
struct batch_shape {
    int max_tokens, threads;
    int d_state; // of scans; 0: there are none
    int chunk;   // of scans with heads; 0: there are none
};

struct backend;
// Each backend has its own struct behind this head.
struct batch {
    const struct backend *backend;
    int tokens; // at hand, set by who calls
    // A saturating cast makes a code of what is none.  So in a quantized layer it is looked for where it can
    // arise, and is put back into what comes of it: the first token that is not finite, or `tokens`.
    int broken;
    // Where there are many samples dither() moves those of sample i as if the key were larger by seeds[i] -
    // seeds[0]; NULL: by the key.
    const uint64_t *seeds;
};

// What a capture or an observer sees of a step: rows of values, or of codes with their scale.
struct seen {
    const float *values; // NULL: codes * *scale
    const int8_t *codes;
    const float *scale; // of the batch; [tokens] where by_row
    bool by_row;
    long ld;                         // between rows
    int width;                       // what counts of a row
    const int32_t *order;            // element i is the order[i]-th that counts; NULL: as they stand
    const struct hadamard *rotation; // that the rows go through then, on their way; NULL: none
    bool again;                      // the same numbers as what was given before it
};

// Rows of the embedding, which a file holds: out[width].  They do not change while a batch is open.
struct embedding {
    void (*row)(const void *context, int32_t id, float *out);
    const void *context;
    int rows;
};

// Captures that are compared: [tokens][width] each, in memory of the backend; may be the same.
struct pair {
    const float *ref, *mode;
    int width;
    bool profiled; // or only its moments are wanted
    // Where mode is NULL, on a backend that sees: what a step leaves, and the room as give() has it.
    const struct seen *seen;
    float *room;
    // For a backend that sees, of each block of PAIR_BLOCK elements: what is known of ref, NULL: nothing is;
    // and where to keep it, NULL: nowhere.
    const struct pair_known *known;
    struct pair_known *keep;
    long stamp; // of ref, where a number stands for one content of that memory; 0: none
};
// What is found of the tokens of one sample.
struct measured {
    struct accumulator moments;
    struct profile profile;
};

struct backend {
    const char *name;
    // Local.  Zeroed memory of the backend for `what`, given back by release().  STATUS_IO: there is not so
    // much.
    enum status (*reserve)(struct arena *arena, size_t bytes, const char *what, struct error *err);
    void (*release)(struct arena *arena);
    // Local.  The second takes what steps need besides their arguments out of an arena, or measures it.
    enum status (*open)(struct batch **batch, const struct batch_shape *shape, struct error *err);
    void (*carve)(struct batch *batch, const struct batch_shape *shape, struct arena *arena);
    // Local.  Steps take pointers into this block of the host, which must not change any more, as weights.
    enum status (*hold)(struct batch *batch, const void *weights, size_t bytes, struct error *err);
    // Memory of the host for `count` floats, of which put() makes what is at `to`, in memory of the backend;
    // it is gone then.  NULL: there is none left, and settle() says so.
    float *(*draft)(struct batch *batch, float *to, long count);
    void (*put)(struct batch *batch);
    // The tokens of the steps to come are those of so many samples, one behind the other; not where a step
    // is given another number of tokens.  NULL: a batch is one sample.
    void (*divide)(struct batch *batch, const int *lengths, int samples);
    // Where memory of the backend is not the host's: puts `count` floats from there into memory of the host
    // that is valid until the next call; NULL where they cannot be had.  NULL: it is the host's.
    const float *(*fetch)(struct batch *batch, const float *from, long count);
    // Local.  Waits for the steps.  STATUS_IO: since the last call one failed, and what it left is worthless.
    enum status (*settle)(struct batch *batch, struct error *err);
    void (*close)(struct batch *batch);              // NULL is fine
    struct team *(*team)(const struct batch *batch); // threads of the host, free between two calls

    // ---- steps; arrays are [tokens][ld] in memory of the backend ----
    void (*embed)(struct batch *batch, const struct embedding *embedding, const int32_t *ids, float *out,
                  long ld);
    void (*norm)(struct batch *batch, const struct norm *norm);
    // `outputs` is a multiple of 16.  Of codes: where bias128 is NULL it is computed, and kept for the next
    // product of the same a.
    void (*product_f32)(struct batch *batch, const struct gemm_f32 *gemm, int outputs);
    void (*product_s8)(struct batch *batch, struct gemm_s8 *gemm, int outputs);
    void (*conv1d)(struct batch *batch, const struct conv1d *conv1d, int channels);
    void (*scan)(struct batch *batch, const struct scan *scan);
    void (*ssd)(struct batch *batch, const struct ssd *ssd);
    void (*gated_norm)(struct batch *batch, const struct gated_norm *norm);
    void (*rotate)(struct batch *batch, const struct hadamard *hadamard, float *rows, long ld);
    // Where the step is that of a sample and its largest is not finite, or a token is broken, the whole
    // sample is.
    void (*quantize)(struct batch *batch, const struct quantize *quantize);
    void (*dequantize)(struct batch *batch, const struct dequantize *dequantize);
    void (*columns)(struct batch *batch, const struct columns *columns);
    // to[i] = from[i] / by, i < count; `from` may be weights.
    void (*quotients)(struct batch *batch, const float *from, int count, float by, float *to);
    void (*round_half)(struct batch *batch, float *x, long ld); // to FP16 and back
    void (*weigh)(struct batch *batch, float *x, long ld, int width,
                  const float *weight); // each row times weight[width]
    void (*zero)(struct batch *batch, float *x, long count);
    void (*copy)(struct batch *batch, const float *from, float *to, long count);
    // Moves every normal number by -1, 0 or +1 unit in the last place, at random but the same everywhere for
    // the same key.
    void (*dither)(struct batch *batch, float *x, long ld, int width, uint64_t key);
    // Are they the same bits?
    bool (*same)(struct batch *batch, const float *a, const float *b, long count);

    // ---- what is not finite ----
    void (*find_broken)(struct batch *batch, const float *rows, long ld, int width); // sets batch->broken
    // Makes NaN of the rows of `to` where one of `from` is not finite.
    void (*break_rows)(struct batch *batch, const float *from, long ld_from, int width_from, float *to,
                       long ld_to, int width_to);
    // finite[tokens]: 0 where a row holds what is not; and NaN for the rows that such marks leave out.
    void (*mark_finite)(struct batch *batch, const float *rows, long ld, int width, int8_t *finite);
    void (*break_marked)(struct batch *batch, const int8_t *finite, float *rows, long ld, int width);
    void (*break_rest)(struct batch *batch, float *rows, long ld, int width); // from batch->broken on

    // ---- captures and observers ----
    // A compact copy [tokens][width] on the host, rotated, NaN from batch->broken on; in `room`, in memory of
    // the batch until the next call, or where the values stand if nothing has to be done.
    const float *(*give)(struct batch *batch, const struct seen *seen, float *room);
    // May a step that is seen be measured without a copy of all of it?
    bool sees;
    // The same copy in memory of the backend, at `to`.
    void (*keep)(struct batch *batch, const struct seen *seen, float *to);
    float (*most)(struct batch *batch, const float *x,
                  long count); // max|x|, count a multiple of 16; NaN is passed over
    // Where memory of the backend is not the host's: finds what is asked of each sample; where that could not
    // be done settle() says so.  NULL: observers look at the values.
    void (*look)(struct batch *batch, const struct look_for *look);
    // How what is observed lies on grids, as struct grid_for has it; where that could not be done settle()
    // says so.
    void (*grid)(struct batch *batch, const struct grid_for *grid);
    // Beside look(): room for `count` floats of each sample at hand, until the next call; NULL: there is no
    // memory left, which settle() says.
    float *(*per_sample)(struct batch *batch, long count);

    // ---- measuring: bits are those of compute/measure.h ----
    // What is found and predicted may come later: where there is collect(), behind it or settle().  Where the
    // batch has no memory left settle() says so.
    // Fills for each pair and sample found[count][samples].
    void (*measure)(struct batch *batch, const struct pair *pairs, int count, struct measured *found);
    // Makes what predict() takes of these logits of the reference once for all modes, until the next call:
    // they must not change meanwhile.  NULL: predict() makes it.
    void (*expect)(struct batch *batch, const float *reference_logits, int count, int ids, int stride);
    // Arguments as predictions_add() has them, logits in memory of the backend, `ids` those of a piece of the
    // vocabulary.  Where that memory is not the host's all of the vocabulary.
    void (*predict)(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                    const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                    int stride);
    // Waits until no more than the last `left` calls of measure() have still to be filled; with 0 also for
    // all that is predicted.  NULL: it is at once.
    void (*collect)(struct batch *batch, int left);
};

extern const struct backend backend_cpu;

// The backend of this process.
static inline const struct backend *backend_default(void)
{
    return &backend_cpu;
}

#endif
