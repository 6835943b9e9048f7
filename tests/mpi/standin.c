// SPDX-License-Identifier: Apache-2.0
#include "standin.h"

#include <stdlib.h>

#include "ssmsweep/numerics/calibrate.h"

struct weights {
    struct dims dims;
};

struct forward {
    const struct weights *weights;
    float *values; // [max_tokens, d_inner]
};

float standin_value(const struct mode *mode, float scale, int layer, enum component component, int first_id,
                    long index)
{
    int letter = mode->name[0] + 3 * mode->name[mode->name[1] ? 2 : 0];
    return (float)(letter * 100 + layer * 10 + (int)component) + (float)first_id / 4096.0f +
           (float)(index % 8191) * 0.5f + scale;
}

float standin_observation(int first_id, int length, int layer, int site)
{
    return (float)(first_id % 97) + (float)length * 0.25f + (float)(layer * SITE_COUNT + site) / 64.0f;
}

const struct dims *weights_dims(const struct weights *weights)
{
    return &weights->dims;
}

size_t weights_bytes(const struct model *model, unsigned parts)
{
    (void)model, (void)parts;
    return 64;
}

enum status weights_open(struct weights **weights, const struct model *model, unsigned parts, void *memory,
                         struct error *err)
{
    (void)parts, (void)memory;
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

int weights_tasks(const struct weights *weights)
{
    (void)weights;
    return 0;
}

enum status weights_pack(struct weights *weights, int task, struct error *err)
{
    (void)weights, (void)task, (void)err;
    return STATUS_OK;
}

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads)
{
    (void)threads;
    return (size_t)dims->d_inner * (size_t)max_tokens * sizeof(float);
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

void forward_close(struct forward *forward)
{
    if (forward) free(forward->values);
    free(forward);
}

static bool give(struct forward *forward, const struct mode *mode, float scale, int layer,
                 enum component component, const int32_t *ids, int length, const struct capture *capture)
{
    int width = component_width(&forward->weights->dims, component);
    for (long i = 0; i < (long)length * width; i++)
        forward->values[i] = standin_value(mode, scale, layer, component, ids[0], i);
    return capture->take(capture->context, layer, component, forward->values, length, width);
}

static bool go_on(const struct capture *capture, int layer)
{
    return !capture || !capture->between_layers || capture->between_layers(capture->context, layer);
}

bool forward_run(struct forward *forward, const struct mode *mode, const float *scales, const int32_t *ids,
                 int length, const struct capture *capture)
{
    for (int l = 0; l < forward->weights->dims.n_layer; l++) {
        if (!go_on(capture, l)) return false;
        for (int c = 0; c < COMPONENT_COUNT; c++)
            if (capture->want[l] & 1u << c && !give(forward, mode, scales ? scales[l * SITE_COUNT] : 0, l,
                                                    (enum component)c, ids, length, capture))
                return false;
    }
    return true;
}

bool forward_observes(const struct mode *mode)
{
    return mode == mode_at(0);
}

bool forward_observe(struct forward *forward, const struct observation *observation, const int32_t *ids,
                     int length, const struct capture *capture)
{
    for (int l = 0; l < forward->weights->dims.n_layer; l++) {
        if (!go_on(capture, l)) return false;
        for (int c = 0; capture && capture->want && c < COMPONENT_COUNT; c++)
            if (capture->want[l] & 1u << c &&
                !give(forward, mode_at(0), 0, l, (enum component)c, ids, length, capture))
                return false;
        for (int s = 0; s < SITE_COUNT; s++)
            observation->numbers[l * SITE_COUNT + s] = standin_observation(ids[0], length, l, s);
    }
    return true;
}

// The order of the samples matters to the last bit, as it does in the true one.
float calibrate_scale(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      int layer, enum scale_site site)
{
    const float *numbers = set->observed + layer * SITE_COUNT + (int)site;
    const long stride = (long)n_layer * SITE_COUNT;
    (void)observers;
    float m = numbers[set->order ? set->order[0] * stride : 0];
    for (int s = 1; s < set->samples; s++)
        m += 0.01f * (numbers[(set->order ? set->order[s] : s) * stride] - m);
    return m;
}

void calibrate_scales(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      float *scales)
{
    for (int i = 0; i < n_layer * SITE_COUNT; i++)
        scales[i] =
            calibrate_scale(observers, set, n_layer, i / SITE_COUNT, (enum scale_site)(i % SITE_COUNT));
}
