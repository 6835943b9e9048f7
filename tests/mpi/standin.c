// SPDX-License-Identifier: Apache-2.0
#include "standin.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/recipe/mode.h"

struct weights {
    struct dims dims;
};

struct forward {
    const struct weights *weights;
    float *values; // [max_tokens, d_inner]
    uint64_t dither;
};

float standin_value(const struct mode *mode, float scale, int layer, int component, int first_id, long index)
{
    int letter = mode->name[0] + 3 * mode->name[mode->name[1] ? 2 : 0];
    return (float)(letter * 100 + layer * 10 + component) + (float)first_id / 4096.0f +
           (float)(index % 8191) * 0.5f + scale;
}

float standin_observation(int first_id, int length, int layer, int site)
{
    return (float)(first_id % 97) + (float)length * 0.25f + (float)(layer * MAMBA1_SITES + site) / 64.0f;
}

const struct dims *weights_dims(const struct weights *weights)
{
    return &weights->dims;
}

size_t weights_bytes(const struct model *model, unsigned parts, const struct needs *needs)
{
    (void)model, (void)parts, (void)needs;
    return 64;
}

enum status weights_open(struct weights **weights, const struct model *model, unsigned parts,
                         const struct needs *needs, void *memory, struct error *err)
{
    (void)parts, (void)needs, (void)memory;
    struct weights *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "weights");
    made->dims = model->dims;
    *weights = made;
    return STATUS_OK;
}

void weights_close(struct weights *weights)
{
    free(weights);
}

void weights_set_groups(struct weights *weights, const struct groups *groups)
{
    (void)weights, (void)groups; // its model has none
}

int weights_tasks(const struct weights *weights)
{
    (void)weights;
    return 0;
}

enum status weights_pack(struct weights *weights, int task, struct arena *scratch, struct error *err)
{
    (void)weights, (void)task, (void)scratch, (void)err;
    return STATUS_OK;
}

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads)
{
    (void)threads;
    return (size_t)dims->d_inner * (size_t)max_tokens * sizeof(float);
}

size_t forward_bytes_on(const struct backend *backend, const struct dims *dims, int max_tokens, int threads)
{
    (void)backend;
    return forward_bytes(dims, max_tokens, threads);
}

enum status forward_open(struct forward **forward, const struct weights *weights, int max_tokens, int threads,
                         struct error *err)
{
    struct forward *made = calloc(1, sizeof *made);
    if (made) made->values = malloc(forward_bytes(&weights->dims, max_tokens, threads));
    if (!made || !made->values) return error_memory(err, 1, "workspace");
    made->weights = weights;
    *forward = made;
    return STATUS_OK;
}

enum status forward_open_on(struct forward **forward, const struct backend *backend,
                            const struct weights *weights, int max_tokens, int threads, struct error *err)
{
    (void)backend;
    return forward_open(forward, weights, max_tokens, threads, err);
}

const struct backend *forward_backend(const struct forward *forward)
{
    (void)forward;
    return &backend_cpu;
}

bool forward_divide(struct forward *forward, const int *lengths, int samples)
{
    (void)forward, (void)lengths, (void)samples;
    return false;
}

enum status forward_settle(struct forward *forward, struct error *err)
{
    (void)forward, (void)err;
    return STATUS_OK;
}

struct team *forward_team(const struct forward *forward)
{
    (void)forward; // the tests run one thread
    return NULL;
}

void forward_close(struct forward *forward)
{
    if (forward) free(forward->values);
    free(forward);
}

// The mode that is this recipe.
static const struct mode *mode_of(const struct recipe *recipe)
{
    for (int m = 0; m < mode_count(); m++) {
        struct recipe made = {0};
        struct error err = {0};
        if (recipe_make(&made, mode_at(m), &arch_mamba1.units, recipe->n_layer, &err)) abort();
        const bool same = recipe_equal(&made, recipe);
        recipe_clear(&made);
        if (same) return mode_at(m);
    }
    abort();
}

static bool give(struct forward *forward, const struct mode *mode, float scale, int layer, int component,
                 const int32_t *ids, int length, const struct capture *capture)
{
    int width = arch_width(&forward->weights->dims, component);
    float *place = capture->place ? capture->place(capture->context, component) : NULL;
    float *values = place ? place : forward->values;
    for (long i = 0; i < (long)length * width; i++)
        values[i] = standin_value(mode, scale, layer, component, ids[0], i) + (float)(forward->dither >> 44);
    return capture->take(capture->context, layer, component, values, length, width);
}

static bool go_on(const struct capture *capture, int layer)
{
    return !capture || !capture->between_layers || capture->between_layers(capture->context, layer);
}

size_t stream_floats(const struct dims *dims, int length)
{
    return (size_t)dims->d_model * (size_t)length;
}

void forward_set_dither(struct forward *forward, uint64_t seed)
{
    forward->dither = seed;
}

void forward_set_dithers(struct forward *forward, const uint64_t *seeds)
{
    forward->dither = seeds[0];
}

void forward_measure(struct forward *forward, const struct pair *pairs, int count, int tokens,
                     struct measured *found)
{
    (void)forward;
    for (int i = 0; i < count; i++) {
        accumulator_clear(&found[i].moments);
        profile_clear(&found[i].profile);
        pairs_add_sample(&found[i].moments, &found[i].profile, pairs[i].ref, pairs[i].mode, (size_t)tokens,
                         pairs[i].width);
    }
}

void forward_expect(struct forward *forward, const float *reference_logits, int count, int ids)
{
    (void)forward, (void)reference_logits, (void)count, (void)ids;
}

void forward_predict(struct forward *forward, struct prediction *predictions, const float *reference_logits,
                     const float *mode_logits, const int32_t *next, int count, int first_id, int ids)
{
    (void)forward;
    predictions_add(predictions, reference_logits, mode_logits, next, count, first_id, ids, round_up16(ids));
}

void forward_collect(struct forward *forward, int left)
{
    (void)forward, (void)left;
}

const float *forward_fetch(struct forward *forward, const float *from, long count)
{
    (void)forward, (void)count;
    return from;
}

// What distinguishes one pass from another stands at the beginning of its stream.
void forward_start(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                   const int32_t *ids, int length)
{
    (void)forward, (void)length;
    stream->rotated = !recipe_is_float(recipe);
    stream->residual[0] = (float)ids[0];
    stream->h[0] = 0;
}

void stream_turn(struct forward *forward, const struct stream *from, struct stream *to, int length)
{
    const size_t bytes = stream_floats(&forward->weights->dims, length) * sizeof(float);
    memcpy(to->residual, from->residual, bytes);
    memcpy(to->h, from->h, bytes);
}

void stream_copy(struct forward *forward, const struct stream *from, struct stream *to, int length)
{
    to->rotated = from->rotated;
    stream_turn(forward, from, to, length);
}

bool stream_same(struct forward *forward, const struct stream *a, const struct stream *b, int length)
{
    const size_t bytes = stream_floats(&forward->weights->dims, length) * sizeof(float);
    return a->rotated == b->rotated && memcmp(a->h, b->h, bytes) == 0 &&
           memcmp(a->residual, b->residual, bytes) == 0;
}

bool forward_step(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                  const float *scales, int layer, int length, const struct capture *capture,
                  const struct observation *observation)
{
    const int32_t first_id = (int32_t)stream->residual[0];
    const struct mode *mode = mode_of(recipe);
    (void)observation;
    if ((int)stream->h[0] != layer) abort(); // every layer once
    stream->h[0] = (float)(layer + 1);
    stream->residual[1] = standin_value(mode, 0, 0, COMPONENT_MIXER_INPUT, 0, 0);
    for (int c = 0; c < MAMBA1_COMPONENTS; c++)
        if (capture->want[layer] & 1u << c && !give(forward, mode, scales ? scales[layer * MAMBA1_SITES] : 0,
                                                    layer, c, &first_id, length, capture))
            return false;
    return true;
}

void stream_norm(struct forward *forward, const struct stream *stream, int first, int count, float *normed)
{
    const size_t ld = stream_floats(&forward->weights->dims, 1);
    for (int t = 0; t < count; t++) {
        normed[(size_t)t * ld] = (float)(first + t);
        normed[(size_t)t * ld + 1] = stream->residual[1];
    }
}

void head_logits(struct forward *forward, bool rotated, const float *normed, int count, int first_id, int ids,
                 float *logits)
{
    const size_t ld = stream_floats(&forward->weights->dims, 1);
    (void)rotated;
    for (int t = 0; t < count; t++)
        for (int i = 0; i < ids; i++)
            logits[t * ids + i] = (float)(((first_id + i) * 7 + (int)normed[(size_t)t * ld] * 3 +
                                           (int)normed[(size_t)t * ld + 1]) %
                                          13);
}

bool forward_observe(struct forward *forward, const struct observation *observation, const int32_t *ids,
                     int length, const struct capture *capture)
{
    for (int l = 0; l < forward->weights->dims.n_layer; l++) {
        if (!go_on(capture, l)) return false;
        for (int s = 0; s < MAMBA1_SITES; s++)
            observation->numbers[l * MAMBA1_SITES + s] = standin_observation(ids[0], length, l, s);
    }
    return true;
}

// The order of the samples matters to the last bit, as it does in the true one.
float calibrate_scale(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      int layer, int site)
{
    const float *numbers = set->observed + layer * MAMBA1_SITES + (int)site;
    const long stride = (long)n_layer * MAMBA1_SITES;
    (void)observers;
    float m = numbers[set->order ? set->order[0] * stride : 0];
    for (int s = 1; s < set->samples; s++)
        m += 0.01f * (numbers[(set->order ? set->order[s] : s) * stride] - m);
    return m;
}

float calibrate_group_scale(const struct calibration_set *set, int n_layer, int n_sites, long number)
{
    (void)set, (void)n_layer, (void)n_sites, (void)number;
    return 1; // likewise
}

void calibrate_scales(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      float *scales)
{
    for (int i = 0; i < n_layer * MAMBA1_SITES; i++)
        scales[i] = calibrate_scale(observers, set, n_layer, i / MAMBA1_SITES, (i % MAMBA1_SITES));
}
