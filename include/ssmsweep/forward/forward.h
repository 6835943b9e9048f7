// SPDX-License-Identifier: Apache-2.0
// The forward pass of one sample under any recipe (docs/numerics.md, sections 1 and 5): embedding, the layers
// of the model's family, lm_head; captures and observers on the way.  The same bits for any number of threads
// and any instruction set.
//
// Knows: packed weights, the families' interface (arch/), a backend (compute/), observers (calibrate/).  Must
// not know: the equations of a layer, a mode's name, ranks, files.  Called by: sweep/, tools/.
#ifndef SSMSWEEP_FORWARD_FORWARD_H
#define SSMSWEEP_FORWARD_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/backend.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/recipe/recipe.h"

struct forward; // opaque: workspace of one thread team, sized for the longest sample; no allocation
                // afterwards

// Where captured tensors go.  `take` gets values[length, width], row-major, FP32, valid only during the call;
// false stops the pass.  between_layers (NULL: none) is called in front of every layer of a whole pass, for
// what has to be seen to meanwhile; false stops the pass too.
struct capture {
    const uint32_t *want; // [n_layer], bit mask 1u << component; NULL: nothing is captured
    // The place for a component in memory of the backend, which `take` gets then.  NULL, or where it gives
    // NULL: `take` gets values on the host.
    float *(*place)(void *context, int component);
    bool (*take)(void *context, int layer, int component, const float *values, int length, int width);
    // NULL, or asked before `take`, where a copy may be spared: the step as it stands and, on a backend that
    // sees, room for a part of it (struct pair).  True: that was all that is wanted of it.
    bool (*see)(void *context, int layer, int component, const struct seen *seen, float *room);
    bool (*between_layers)(void *context, int layer);
    void *context;
};

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads); // size of the workspace
size_t forward_bytes_on(const struct backend *backend, const struct dims *dims, int max_tokens, int threads);
enum status forward_open(struct forward **forward, const struct weights *weights, int max_tokens, int threads,
                         struct error *err);
// On another backend than that of the process; the weights are packed already.  Streams of others are in
// memory of the backend.
enum status forward_open_on(struct forward **forward, const struct backend *backend,
                            const struct weights *weights, int max_tokens, int threads, struct error *err);
// Passes to come are of so many samples, one behind the other in ids, captures and streams, where the backend
// can (struct backend): a capture's `length` is that of all.  False: it takes one at a time.
bool forward_divide(struct forward *forward, const int *lengths, int samples);
// For measurements: steps go to these from now on, which hand them on to those of forward_backend(), with the
// same batch.
void forward_intercept(struct forward *forward, const struct backend *steps);
// Waits until what was begun is done.  STATUS_IO: a step failed (a device's memory, a lost device), and what
// came since the last call is worthless.
enum status forward_settle(struct forward *forward, struct error *err);
void forward_close(struct forward *forward);
const struct backend *forward_backend(const struct forward *forward);
struct team *forward_team(const struct forward *forward); // free between two calls

// Measuring by the backend, of tensors in its memory: as struct backend has it, of samples of `tokens` tokens
// in all.
void forward_measure(struct forward *forward, const struct pair *pairs, int count, int tokens,
                     struct measured *found);
void forward_expect(struct forward *forward, const float *reference_logits, int count, int ids);
void forward_predict(struct forward *forward, struct prediction *predictions, const float *reference_logits,
                     const float *mode_logits, const int32_t *next, int count, int first_id, int ids);
void forward_collect(struct forward *forward, int left);
// `count` floats from memory of the backend, on the host until the next call; NULL: lost, see
// forward_settle().
const float *forward_fetch(struct forward *forward, const float *from, long count);

// One sample through all layers.  scales: [n_layer][n_sites] for recipes by unit, else NULL.  ids: [length],
// each below vocab_size, 1 <= length <= max_tokens.  False: capture stopped it.
bool forward_run(struct forward *forward, const struct recipe *recipe, const float *scales,
                 const int32_t *ids, int length, const struct capture *capture);

// The FP32 pass that also observes the activations.  capture may be NULL.  ids of a divided pass: those of
// all samples; only a backend that can look() does that, see struct observation.
bool forward_observe(struct forward *forward, const struct observation *observation, const int32_t *ids,
                     int length, const struct capture *capture);

// Local.  The values [rows][depth] of a weight, a unit of layer `layer`, in the basis in which it is
// quantized; malloc'ed.
enum status forward_unit_values(const struct forward *forward, int layer, int unit, float **values, int *rows,
                                int *depth, struct error *err);

// Local.  Are there two forms of a weight, a unit of layer `layer`, and they are the same bits?
bool forward_same_weight(const struct forward *forward, int layer, int unit, enum format a, enum format b);

// A pass that is taken layer by layer, so that several modes can go through a layer side by side in one
// workspace: what a mode carries from layer to layer is its residual stream and the last mixer's output.
struct stream {
    float *residual, *h; // [length][D rounded up to 16]; zeros behind D
    bool rotated;        // basis of both
};
size_t stream_floats(const struct dims *dims, int length); // of each of the two
// Embedding rows into stream->h, zeros into stream->residual.
void forward_start(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                   const int32_t *ids, int length);
// The same bits in the same basis?
bool stream_same(struct forward *forward, const struct stream *a, const struct stream *b, int length);
void stream_copy(struct forward *forward, const struct stream *from, struct stream *to, int length);
// The stream `from` in the basis of to->rotated, in to->residual and to->h.
void stream_turn(struct forward *forward, const struct stream *from, struct stream *to, int length);
// Local.  The quantile of |v| of a sample on the processor (calibrate_quantile()), of a compact copy in
// observed->scratch, which may lie where the values do.
float observed_quantile(const struct observed *observed, double alpha);

// Layer `layer` of the sample of `length` tokens.  observation: NULL, or where to put what is seen in this
// layer (FP32 modes alone).
bool forward_step(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                  const float *scales, int layer, int length, const struct capture *capture,
                  const struct observation *observation);
// forward_logits() in two steps, so that a piece of the vocabulary serves many streams while it is in the
// caches. Tokens [first, first + count) of a stream behind its last layer: normed[count][D rounded up to 16],
// final norm with its weight; where lm_head is codes, INT8 codes in the first quarter of that room, and
// behind them for each token whether it is finite.
void stream_norm(struct forward *forward, const struct stream *stream, int first, int count, float *normed);
// Their logits[count][ids rounded up to 16] of ids [first_id, first_id + ids), of which the first is a
// multiple of 16; `rotated` is that of the stream.
void head_logits(struct forward *forward, bool rotated, const float *normed, int count, int first_id, int ids,
                 float *logits);

// Implementation noise: with a seed other than 0, W8A8 passes move every element of the scan output y by -1,
// 0 or +1 unit in the last place of FP32 before it is rounded to FP16, at random but the same everywhere for
// the same seed.  Another legal order of the scan's sums does as much (docs/numerics.md), so what such passes
// differ by means nothing.
void forward_set_dither(struct forward *forward, uint64_t seed);
// One for each sample of a divided pass; they are kept by the caller.
void forward_set_dithers(struct forward *forward, const uint64_t *seeds);

// One layer on a given input, for checks against a reference: residual and h are [length, D] in the basis of
// the recipe (rotated where it is by unit) and are updated in place as the pass would.  On the processor
// alone, as forward_observe() and forward_logits().
bool forward_layer(struct forward *forward, const struct recipe *recipe, const float *scales, int layer,
                   int length, float *residual, float *h, const struct capture *capture);

// Logits of tokens [first, first + count) of the last whole pass: logits[count, vocab rounded up to 16],
// zeros behind vocab.  Final norm with its weight, then lm_head, in FP32 for every mode; where a W8A8
// checkpoint has codes as lm_head, the W8A8 modes take those.  Needs
// WEIGHTS_LM_HEAD.
void forward_logits(struct forward *forward, int first, int count, float *logits);

#endif
