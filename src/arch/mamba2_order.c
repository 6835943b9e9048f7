// SPDX-License-Identifier: Apache-2.0
// In which order heads and channels of a checkpoint with groups stand, by the float model that was quantized:
// the file does not say.  Both have the same numbers of a head and of a channel, the file's rounded once: a
// head or channel may be another where all of its numbers lie within a step, and of those that may be it is
// the nearest, all heads and all channels taken together.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codes_parts.h"
#include "mamba2_parts.h"
#include "ssmsweep/arch/codes4.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/pack.h"

// Numbers of a head; and of a channel: the weight of the gated norm, conv1d's bias, and its taps.
enum { HEAD_DT_BIAS, HEAD_A_LOG, HEAD_D_SKIP, OF_HEAD };
enum { CHANNEL_GATE, CHANNEL_BIAS, CHANNEL_TAPS };

static const double FAR = 1e9;      // more than all that is near adds up to
static const double UNLIKE = 1e4;   // of rows of in_proj that have nothing in common
static const float HALF = 0x1p-10f; // what FP16 may move a number by, with room

// A layer of one of the two models.
struct order_side {
    const struct model *model;
    float *heads;    // [OF_HEAD][H]
    float *channels; // [numbers][I]
    float *sorted;   // [numbers][I], ascending in each head
    float *rows;     // [P][D] of in_proj, rotated
};

struct search {
    struct order_side file, floats;
    const struct kernels *kernels;
    struct rotation rotation;
    int layer, numbers;          // of a channel
    float head_steps[OF_HEAD];   // of the file's codes; 0: they are FP16
    float *channel_steps;        // [numbers]
    float *tensor;               // room for one of few inputs,
    int8_t *codes;               // for its codes, or for those of P rows
    float *scales, *norm;        // [P], [D]
    double *costs, *potentials;  // [most][most], [3][most + 1]: the larger of H and P
    int *trail;                  // [3][most + 1]
    int32_t *heads, *channels;   // [H], [P]: which of the float model's
    struct arena arena, scratch; // the second lies in the first
};

// ---- memory ----

static float *take(struct search *s, long count)
{
    return arena_take(&s->arena, (size_t)count * sizeof(float));
}

static void carve_side(struct search *s, struct order_side *side, const struct dims *d)
{
    side->heads = take(s, (long)OF_HEAD * d->n_heads);
    side->channels = take(s, (long)s->numbers * d->d_inner);
    side->sorted = take(s, (long)s->numbers * d->d_inner);
    side->rows = take(s, (long)d->head_dim * d->d_model);
}

static void carve(struct search *s)
{
    const struct dims *d = &s->file.model->dims;
    const long conv = (long)arch_size(EXTENT_I_2GN, d) * d->d_conv, rows = (long)d->head_dim * d->d_model;
    const size_t most = (size_t)(d->n_heads > d->head_dim ? d->n_heads : d->head_dim),
                 scratch = (size_t)d->d_model * sizeof(float) + 8 * ARENA_ALIGN;
    carve_side(s, &s->file, d);
    carve_side(s, &s->floats, d);
    s->channel_steps = take(s, s->numbers);
    s->tensor = take(s, conv);
    s->codes = arena_take(&s->arena, (size_t)(conv > rows ? conv : rows));
    s->scales = take(s, d->head_dim);
    s->norm = take(s, d->d_model);
    s->costs = arena_take(&s->arena, most * most * sizeof *s->costs);
    s->potentials = arena_take(&s->arena, 3 * (most + 1) * sizeof *s->potentials);
    s->trail = arena_take(&s->arena, 3 * (most + 1) * sizeof *s->trail);
    s->heads = arena_take(&s->arena, (size_t)d->n_heads * sizeof *s->heads);
    s->channels = arena_take(&s->arena, (size_t)d->head_dim * sizeof *s->channels);
    arena_init_over(&s->scratch, arena_take(&s->arena, scratch), scratch);
}

static enum status open_search(struct search *s, const struct model *model, const struct model *reference,
                               const struct kernels *kernels, struct error *err)
{
    *s = (struct search){.file.model = model,
                         .floats.model = reference,
                         .kernels = kernels,
                         .numbers = CHANNEL_TAPS + model->dims.d_conv};
    arena_init_measure(&s->arena);
    carve(s);
    if (arena_init(&s->arena, s->arena.used_bytes, "the order of heads", err)) return err->status;
    carve(s);
    rotation_init(&s->rotation, model->dims.d_model);
    return STATUS_OK;
}

// ---- the numbers of a layer ----

static float step_of(const struct search *s, enum mamba2_tensor tensor, const float parts[6])
{
    const struct model *model = s->file.model;
    if (model_tensor(model, s->layer, (int)tensor)->dtype != DTYPE_I8) return 0;
    if (tensor == MAMBA2_CONV_W) return parts[0]; // of x
    if (tensor == MAMBA2_CONV_B) return parts[3];
    return model_scales(model, s->layer)[MAMBA2_SITES + (int)tensor];
}

// The first `count` rows of a tensor [*, depth] -> out[depth][count]; codes times their step.
static void load(struct search *s, const struct order_side *side, enum mamba2_tensor name, int count,
                 int depth, float step, float *out)
{
    const struct tensor *tensor = model_tensor(side->model, s->layer, (int)name);
    if (tensor->dtype != DTYPE_I8) {
        tensor_to_f32(tensor, s->tensor);
    } else {
        tensor_to_i8(tensor, s->codes);
        for (long i = 0; i < (long)count * depth; i++)
            s->tensor[i] = (float)s->codes[i] * step;
    }
    for (int i = 0; i < count; i++)
        for (int k = 0; k < depth; k++)
            out[(long)k * count + i] = s->tensor[(long)i * depth + k];
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void load_side(struct search *s, struct order_side *side)
{
    const struct dims *d = &s->file.model->dims;
    const int H = d->n_heads, I = d->d_inner, P = d->head_dim;
    float *channels = side->channels;
    load(s, side, MAMBA2_DT_BIAS, H, 1, s->head_steps[HEAD_DT_BIAS], side->heads + HEAD_DT_BIAS * H);
    load(s, side, MAMBA2_A_LOG, H, 1, s->head_steps[HEAD_A_LOG], side->heads + HEAD_A_LOG * H);
    load(s, side, MAMBA2_D_SKIP, H, 1, s->head_steps[HEAD_D_SKIP], side->heads + HEAD_D_SKIP * H);
    load(s, side, MAMBA2_GATE, I, 1, s->channel_steps[CHANNEL_GATE], channels + (long)CHANNEL_GATE * I);
    load(s, side, MAMBA2_CONV_B, I, 1, s->channel_steps[CHANNEL_BIAS], channels + (long)CHANNEL_BIAS * I);
    load(s, side, MAMBA2_CONV_W, I, d->d_conv, s->channel_steps[CHANNEL_TAPS],
         channels + (long)CHANNEL_TAPS * I);
    memcpy(side->sorted, channels, (size_t)s->numbers * (size_t)I * sizeof *channels);
    for (long h = 0; h < (long)s->numbers * H; h++)
        qsort(side->sorted + h * P, (size_t)P, sizeof(float), compare_floats);
}

static void load_layer(struct search *s)
{
    struct error ignored = {0}; // they were read before
    float parts[6] = {0};
    if (model_layer_kind(s->file.model, s->layer) != MODEL_W4A16)
        mamba2_part_scales(s->file.model, s->layer, parts, &ignored);
    s->head_steps[HEAD_DT_BIAS] = step_of(s, MAMBA2_DT_BIAS, parts);
    s->head_steps[HEAD_A_LOG] = step_of(s, MAMBA2_A_LOG, parts);
    s->head_steps[HEAD_D_SKIP] = step_of(s, MAMBA2_D_SKIP, parts);
    s->channel_steps[CHANNEL_GATE] = step_of(s, MAMBA2_GATE, parts);
    s->channel_steps[CHANNEL_BIAS] = step_of(s, MAMBA2_CONV_B, parts);
    for (int k = CHANNEL_TAPS; k < s->numbers; k++)
        s->channel_steps[k] = step_of(s, MAMBA2_CONV_W, parts);
    tensor_to_f32(model_tensor(s->floats.model, s->layer, MAMBA2_NORM), s->norm);
    load_side(s, &s->file);
    load_side(s, &s->floats);
}

// ---- how near two are ----

// The square of the distance in steps; FAR where it is above one, or not a number.
static double apart(float file, float other, float step)
{
    const float room = step > 0 ? step : HALF * fabsf(file) + 0x1p-24f;
    const double steps = (double)((file - other) / room);
    return steps >= -1 && steps <= 1 ? steps * steps : FAR;
}

static double heads_apart(const struct search *s, int place, int head)
{
    const struct dims *d = &s->file.model->dims;
    const int H = d->n_heads, P = d->head_dim;
    double sum = 0;
    for (int k = 0; k < OF_HEAD; k++)
        sum += apart(s->file.heads[k * H + place], s->floats.heads[k * H + head], s->head_steps[k]);
    for (int k = 0; k < s->numbers; k++) {
        const float *a = s->file.sorted + (long)k * d->d_inner + (long)place * P,
                    *b = s->floats.sorted + (long)k * d->d_inner + (long)head * P;
        for (int p = 0; p < P; p++)
            sum += apart(a[p], b[p], s->channel_steps[k]);
    }
    return sum < FAR ? sum : FAR;
}

static double channels_apart(const struct search *s, int place, int channel)
{
    const long I = s->file.model->dims.d_inner;
    double sum = 0;
    for (int k = 0; k < s->numbers; k++)
        sum +=
            apart(s->file.channels[k * I + place], s->floats.channels[k * I + channel], s->channel_steps[k]);
    return sum < FAR ? sum : FAR;
}

// ---- rows of in_proj, where the numbers leave a choice ----

// Rows [first, first + count) of the file's, but for a factor.
static void load_file_rows(struct search *s, int first, int count)
{
    const struct dims *d = &s->file.model->dims;
    const struct tensor *in_proj = model_tensor(s->file.model, s->layer, MAMBA2_IN_PROJ);
    if (in_proj->dtype == DTYPE_I8) {
        const struct tensor rows = pack_rows(in_proj, first, count);
        tensor_to_i8(&rows, s->codes);
        for (long i = 0; i < (long)count * d->d_model; i++)
            s->file.rows[i] = (float)s->codes[i];
        return;
    }
    char name[CODES_NAME_CHARS];
    codes_layer_name(s->layer, "mixer.in_proj", name);
    const struct codes4 words =
        codes4_find(s->file.model, name, (int)arch_size(EXTENT_2I_2GN_H, d), d->d_model);
    codes4_load(&words, s->kernels, &s->scratch, first, count, s->codes, s->scales, s->file.rows);
}

static void load_float_rows(struct search *s, int first, int count)
{
    const int D = s->file.model->dims.d_model;
    const struct tensor rows =
        pack_rows(model_tensor(s->floats.model, s->layer, MAMBA2_IN_PROJ), first, count);
    tensor_to_f32(&rows, s->floats.rows);
    for (int n = 0; n < count; n++) {
        float *row = s->floats.rows + (long)n * D;
        for (int k = 0; k < D; k++)
            row[k] *= s->norm[k];
        s->kernels->hadamard(&s->rotation.forward, row);
    }
}

// 0 where two rows are the same but for a factor.
static double rows_apart(const struct search *s, int file, int other)
{
    const int D = s->file.model->dims.d_model;
    const float *a = s->file.rows + (long)file * D, *b = s->floats.rows + (long)other * D;
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < D; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return aa > 0 && bb > 0 ? UNLIKE * (1 - ab / sqrt(aa * bb)) : 0;
}

static bool is_ambiguous(const struct search *s, int count)
{
    for (int row = 0; row < count; row++) {
        int near = 0;
        for (int column = 0; column < count; column++)
            near += s->costs[row * count + column] < FAR;
        if (near > 1) return true;
    }
    return false;
}

// Adds what rows of in_proj say of `count` of the file's, from row `file` on, and of the other's from `other`
// on; at most P are there at a time.
static void weigh_rows(struct search *s, int file, int other, int count)
{
    const int P = s->file.model->dims.head_dim;
    for (int a = 0; a < count; a += P)
        for (int b = 0; b < count; b += P) {
            const int rows = count - a < P ? count - a : P, columns = count - b < P ? count - b : P;
            load_file_rows(s, file + a, rows);
            load_float_rows(s, other + b, columns);
            for (int i = 0; i < rows; i++)
                for (int k = 0; k < columns; k++)
                    if (s->costs[(a + i) * count + b + k] < FAR)
                        s->costs[(a + i) * count + b + k] += rows_apart(s, i, k);
        }
}

// ---- each its own ----

// One more row, 1 .. count, gets a column, which others may have to change for (Hungarian method).  Arrays
// are [count + 1]; row_of: of each column, 0 where it is free.
static void assign_row(const double *costs, int count, int row, double *rows, double *columns, double *least,
                       int *row_of, int *from, int *done)
{
    int column = 0;
    row_of[0] = row;
    for (int k = 0; k <= count; k++)
        least[k] = INFINITY, done[k] = 0;
    do {
        int next = 0;
        done[column] = 1;
        for (int k = 1; k <= count; k++) {
            if (done[k]) continue;
            const int at = row_of[column];
            const double cost = costs[(at - 1) * count + k - 1] - rows[at] - columns[k];
            if (cost < least[k]) least[k] = cost, from[k] = column;
            if (next == 0 || least[k] < least[next]) next = k;
        }
        const double step = least[next];
        for (int k = 0; k <= count; k++)
            if (done[k])
                rows[row_of[k]] += step, columns[k] -= step;
            else
                least[k] -= step;
        column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = from[column])
        row_of[column] = row_of[from[column]];
}

// Column of each row, so that the costs [count][count] add up to the least.  False: one is FAR.
static bool assign(const struct search *s, int count, int32_t *column_of)
{
    double *rows = s->potentials, *columns = rows + count + 1, *least = columns + count + 1;
    int *row_of = s->trail, *from = row_of + count + 1, *done = from + count + 1;
    memset(rows, 0, 2 * (size_t)(count + 1) * sizeof *rows);
    memset(row_of, 0, 2 * (size_t)(count + 1) * sizeof *row_of);
    for (int row = 1; row <= count; row++)
        assign_row(s->costs, count, row, rows, columns, least, row_of, from, done);
    bool near = true;
    for (int column = 1; column <= count; column++) {
        column_of[row_of[column] - 1] = column - 1;
        near = near && s->costs[(row_of[column] - 1) * count + column - 1] < FAR;
    }
    return near;
}

// ---- a layer ----

static enum status refuse(const struct search *s, int first, int count, const char *what, struct error *err)
{
    return error_set(
        err, STATUS_INPUT,
        "--reference-model: %s: layer %d: %s %d to %d are not those of %s in another order; give "
        "the float model that was quantized",
        s->floats.model->directory, s->layer, what, first, first + count - 1, s->file.model->directory);
}

// Heads of one group of B and C.
static enum status find_heads(struct search *s, int g, struct error *err)
{
    const struct dims *d = &s->file.model->dims;
    const int count = d->n_heads / d->n_groups, first = g * count,
              dt = 2 * d->d_inner + 2 * d->n_groups * d->d_state;
    for (int place = 0; place < count; place++)
        for (int head = 0; head < count; head++)
            s->costs[place * count + head] = heads_apart(s, first + place, first + head);
    if (is_ambiguous(s, count)) weigh_rows(s, dt + first, dt + first, count);
    if (!assign(s, count, s->heads + first)) return refuse(s, first, count, "heads", err);
    for (int place = first; place < first + count; place++)
        s->heads[place] += first;
    return STATUS_OK;
}

static enum status find_channels(struct search *s, int place, int32_t *channels, struct error *err)
{
    const struct dims *d = &s->file.model->dims;
    const int P = d->head_dim, here = place * P, there = s->heads[place] * P;
    for (int p = 0; p < P; p++)
        for (int c = 0; c < P; c++)
            s->costs[p * P + c] = channels_apart(s, here + p, there + c);
    if (is_ambiguous(s, P)) {
        weigh_rows(s, here, there, P);                           // z
        weigh_rows(s, d->d_inner + here, d->d_inner + there, P); // x
    }
    if (!assign(s, P, s->channels)) return refuse(s, there, P, "channels", err);
    for (int p = 0; p < P; p++)
        channels[here + p] = there + s->channels[p];
    return STATUS_OK;
}

// row: as struct groups has it; ends are of equal parts, as nobody asks for them beside scales of the file.
static enum status find_layer(struct search *s, int32_t *row, struct error *err)
{
    const struct dims *d = &s->file.model->dims;
    const int heads = d->n_heads / d->n_groups, of_heads = d->n_groups * GROUPS_OF_HEADS;
    int32_t *head_ends = row + d->d_inner, *channel_ends = head_ends + of_heads;
    load_layer(s);
    for (int g = 0; g < d->n_groups; g++)
        if (find_heads(s, g, err)) return err->status;
    for (int place = 0; place < d->n_heads; place++)
        if (find_channels(s, place, row, err)) return err->status;
    for (int k = 0; k < of_heads; k++)
        head_ends[k] = heads * (k % GROUPS_OF_HEADS + 1) / GROUPS_OF_HEADS;
    for (int k = 0; k < of_heads * GROUPS_OF_CHANNELS; k++)
        channel_ends[k] = d->head_dim * (k % GROUPS_OF_CHANNELS + 1) / GROUPS_OF_CHANNELS;
    return STATUS_OK;
}

enum status mamba2_find_order(const struct model *model, const struct model *reference,
                              const struct kernels *kernels, struct groups *order, struct error *err)
{
    const struct dims *d = &model->dims;
    struct search search;
    if (open_search(&search, model, reference, kernels, err)) return err->status;
    for (search.layer = 0; search.layer < d->n_layer && !err->status; search.layer++) {
        find_layer(&search, order->rows + (size_t)search.layer * (size_t)groups_row(d), err);
        model_release(reference);
    }
    if (!err->status && !groups_settle(order))
        error_set(err, STATUS_INTERNAL, "%s: an order of heads that is none", model->directory);
    arena_clear(&search.arena);
    return err->status;
}
