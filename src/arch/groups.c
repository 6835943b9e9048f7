// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/groups.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_GROUPS = GROUPS_OF_HEADS, RUNS = GROUPS_OF_CHANNELS, MOST_ROUNDS = 300 };

// ---- sizes ----

const char *groups_obstacle(const struct dims *dims)
{
    if (!dims->arch->groups) return "the family has one scale for each site";
    if (dims->n_heads / dims->n_groups < HEAD_GROUPS) return "a group of B and C has fewer than 4 heads";
    if (dims->head_dim % RUNS != 0) return "head_dim is no multiple of 4";
    if (dims->n_groups % dims->norm_groups != 0) return "parts of the norm behind the scan share heads";
    return NULL;
}

int groups_row(const struct dims *dims)
{
    return dims->d_inner + dims->n_groups * HEAD_GROUPS * (1 + RUNS);
}

struct groups_scales groups_scales(const struct dims *dims)
{
    const int G = dims->n_groups, of_u = G * HEAD_GROUPS * RUNS;
    if (!dims->grouped) return (struct groups_scales){0};
    return (struct groups_scales){
        .B = of_u, .C = of_u + G, .state = of_u + 2 * G, .count = of_u + 2 * G + of_u * dims->d_state};
}

// ---- all layers ----

static size_t made_row(const struct dims *dims)
{
    const size_t I = (size_t)dims->d_inner, BC = (size_t)dims->n_groups * (size_t)dims->d_state;
    return 2 * (size_t)dims->n_heads + 2 * I + 2 * BC;
}

size_t groups_bytes(const struct dims *dims)
{
    const size_t integers = (size_t)groups_row(dims) + made_row(dims), means = 2 * (size_t)dims->d_inner;
    return (size_t)dims->n_layer *
           (integers * sizeof(int32_t) + means * sizeof(float) + sizeof(struct layer_groups));
}

enum status groups_open(struct groups *groups, const struct dims *dims, struct error *err)
{
    const size_t layers = (size_t)dims->n_layer, row = (size_t)groups_row(dims), made = made_row(dims);
    *groups = (struct groups){.dims = dims,
                              .rows = calloc(layers * row, sizeof *groups->rows),
                              .made = calloc(layers * made, sizeof *groups->made),
                              .layers = calloc(layers, sizeof *groups->layers)};
    if (!groups->rows || !groups->made || !groups->layers) {
        groups_clear(groups);
        return error_memory(err, layers * (row + made) * sizeof *groups->rows, "the groups of heads");
    }
    for (size_t l = 0; l < layers; l++) {
        int32_t *channels = groups->rows + l * row, *heads = groups->made + l * made;
        struct layer_groups *layer = &groups->layers[l];
        layer->channels = channels;
        layer->head_ends = channels + dims->d_inner;
        layer->channel_ends = layer->head_ends + dims->n_groups * HEAD_GROUPS;
        layer->heads = heads;
        layer->head_places = heads + dims->n_heads;
        layer->of_place = layer->head_places + dims->n_heads;
        layer->places = layer->of_place + dims->d_inner;
    }
    return STATUS_OK;
}

void groups_clear(struct groups *groups)
{
    free(groups->rows);
    free(groups->made);
    free(groups->layers);
    *groups = (struct groups){0};
}

// ---- what is made of a row ----

static bool ascends(const int32_t *ends, int count, int last)
{
    for (int i = 0; i < count; i++)
        if (ends[i] <= (i ? ends[i - 1] : 0)) return false;
    return ends[count - 1] == last;
}

static bool ends_are_good(const struct dims *d, const struct layer_groups *layer)
{
    for (int g = 0; g < d->n_groups; g++)
        if (!ascends(layer->head_ends + g * HEAD_GROUPS, HEAD_GROUPS, d->n_heads / d->n_groups)) return false;
    for (int k = 0; k < d->n_groups * HEAD_GROUPS; k++)
        if (!ascends(layer->channel_ends + k * RUNS, RUNS, d->head_dim)) return false;
    return true;
}

// places: of channels in their head, heads in their group; -1 where there is none yet.
static bool channels_are_good(const struct dims *d, const int32_t *channels, int32_t *heads, int32_t *places)
{
    const int P = d->head_dim, per_group = d->n_heads / d->n_groups;
    for (int c = 0; c < d->d_inner; c++)
        places[c] = -1;
    for (int place = 0; place < d->d_inner; place++) {
        const int channel = channels[place];
        if (channel < 0 || channel >= d->d_inner || places[channel] >= 0) return false;
        places[channel] = place;
        if (place % P == 0) heads[place / P] = channel / P;
        if (channel / P != heads[place / P] || channel / P / per_group != place / P / per_group) return false;
    }
    return true;
}

static bool settle_layer(const struct dims *d, const struct layer_groups *layer, int32_t *made)
{
    const int P = d->head_dim, H = d->n_heads, I = d->d_inner, per_group = H / d->n_groups;
    int32_t *heads = made, *head_places = made + H, *of_place = made + 2 * H, *places = of_place + I;
    if (!ends_are_good(d, layer) || !channels_are_good(d, layer->channels, heads, places)) return false;
    for (int h = 0; h < H; h++) {
        const int g = h / per_group;
        int k = g * HEAD_GROUPS, run = 0;
        while (h % per_group >= layer->head_ends[k])
            k++;
        head_places[heads[h]] = h;
        for (int p = 0; p < P; p++) {
            while (p >= layer->channel_ends[k * RUNS + run])
                run++;
            of_place[h * P + p] = k * RUNS + run;
        }
    }
    for (int c = I; c < I + 2 * d->n_groups * d->d_state; c++)
        places[c] = c;
    return true;
}

bool groups_settle(struct groups *groups)
{
    const size_t made = made_row(groups->dims);
    for (int l = 0; l < groups->dims->n_layer; l++)
        if (!settle_layer(groups->dims, &groups->layers[l], groups->made + (size_t)l * made)) return false;
    return true;
}

// ---- Ward's clusters ----

struct clusters {
    int points, width;
    const double *values; // [points][width]
    double *centres;      // [points][width] of clusters, each at its first point
    double *costs;        // [points][points] of joining two, the first in front
    int *sizes;           // [points]; 0: the point has joined another
    int *label;           // [points]: the first point of the cluster
};

static void weigh(struct clusters *c, int a, int b)
{
    const double m = c->sizes[a], n = c->sizes[b];
    double squares = 0;
    for (int i = 0; i < c->width; i++) {
        const double apart = c->centres[a * c->width + i] - c->centres[b * c->width + i];
        squares += apart * apart;
    }
    c->costs[(a < b ? a : b) * c->points + (a < b ? b : a)] = m * n / (m + n) * squares;
}

static void join(struct clusters *c, int a, int b)
{
    const double m = c->sizes[a], n = c->sizes[b];
    for (int i = 0; i < c->width; i++)
        c->centres[a * c->width + i] =
            (m * c->centres[a * c->width + i] + n * c->centres[b * c->width + i]) / (m + n);
    c->sizes[a] += c->sizes[b];
    c->sizes[b] = 0;
    for (int i = 0; i < c->points; i++) {
        if (c->label[i] == b) c->label[i] = a;
        if (i != a && c->sizes[i]) weigh(c, a, i);
    }
}

// Joins the two clusters that raise the sum of squares least, the first of equals, until HEAD_GROUPS are
// left.
static void join_clusters(struct clusters *c)
{
    memcpy(c->centres, c->values, (size_t)(c->points * c->width) * sizeof *c->centres);
    for (int a = 0; a < c->points; a++)
        c->sizes[a] = 1, c->label[a] = a;
    for (int a = 0; a < c->points; a++)
        for (int b = a + 1; b < c->points; b++)
            weigh(c, a, b);
    for (int left = c->points; left > HEAD_GROUPS; left--) {
        int first = -1, second = -1;
        for (int a = 0; a < c->points; a++)
            for (int b = a + 1; b < c->points && c->sizes[a]; b++)
                if (c->sizes[b] &&
                    (first < 0 || c->costs[a * c->points + b] < c->costs[first * c->points + second]))
                    first = a, second = b;
        join(c, first, second);
    }
}

// ---- K-means of channels ----

// values[heads][P] of the chosen heads; a point is a column.
struct kmeans {
    const double *const *rows; // [heads]
    int heads, P;
    double *centres; // [RUNS][heads]
    int *label;      // [P]
};

static int nearest(const struct kmeans *c, int column)
{
    int best = 0;
    double least = INFINITY;
    for (int k = 0; k < RUNS; k++) {
        double squares = 0;
        for (int h = 0; h < c->heads; h++) {
            const double apart = c->rows[h][column] - c->centres[k * c->heads + h];
            squares += apart * apart;
        }
        if (squares < least) best = k, least = squares;
    }
    return best;
}

static void move_centres(const struct kmeans *c)
{
    for (int k = 0; k < RUNS; k++) {
        int count = 0;
        for (int p = 0; p < c->P; p++)
            count += c->label[p] == k;
        for (int h = 0; h < c->heads && count > 0; h++) {
            double sum = 0;
            for (int p = 0; p < c->P; p++)
                if (c->label[p] == k) sum += c->rows[h][p];
            c->centres[k * c->heads + h] = sum / count;
        }
    }
}

// Are all means of the heads 0?  So they are where nothing of a layer is finite.
static bool is_empty(const struct kmeans *c)
{
    for (int h = 0; h < c->heads; h++)
        if (c->rows[h][c->P - 1] > 0) return false; // the largest
    return true;
}

// Running ends of the runs of equal labels; equal parts where there is nothing to tell columns apart.  False:
// labels are no RUNS runs that ascend.
static bool find_runs(const struct kmeans *c, int32_t *ends)
{
    for (int k = 0; k < RUNS && is_empty(c); k++)
        ends[k] = (k + 1) * (c->P / RUNS);
    if (is_empty(c)) return true;
    for (int k = 0; k < RUNS; k++)
        for (int h = 0; h < c->heads; h++)
            c->centres[k * c->heads + h] = c->rows[h][k * (c->P / RUNS)];
    for (int p = 0; p < c->P; p++)
        c->label[p] = -1;
    bool changed = true;
    for (int round = 0; changed && round < MOST_ROUNDS; round++) {
        changed = false;
        for (int p = 0; p < c->P; p++) {
            const int label = nearest(c, p);
            changed = changed || label != c->label[p];
            c->label[p] = label;
        }
        if (changed) move_centres(c);
    }
    for (int k = 0, p = 0; k < RUNS; k++) {
        if (p == c->P || c->label[p] != k) return false;
        while (p < c->P && c->label[p] == k)
            p++;
        ends[k] = p;
        if (k == RUNS - 1 && p < c->P) return false;
    }
    return true;
}

// ---- a layer ----

// Room for a group of B and C.
struct forming {
    double *ranked; // [heads][P] means in their order, each row of length 1
    int32_t *order; // [heads][P] channels of a head by their means
    const double **rows;
    struct clusters clusters;
    struct kmeans columns;
};

static void forming_close(struct forming *f)
{
    free(f->ranked);
    free(f->order);
    free((void *)f->rows);
    free(f->clusters.centres);
    free(f->clusters.costs);
    free(f->clusters.sizes);
    free(f->columns.centres);
    free(f->columns.label);
}

static enum status forming_open(struct forming *f, int heads, int P, struct error *err)
{
    const size_t values = (size_t)heads * (size_t)P, pairs = (size_t)heads * (size_t)heads;
    *f = (struct forming){.ranked = malloc(values * sizeof *f->ranked),
                          .order = malloc(values * sizeof *f->order),
                          .rows = malloc((size_t)heads * sizeof *f->rows),
                          .clusters = {.points = heads,
                                       .width = P,
                                       .centres = malloc(values * sizeof *f->clusters.centres),
                                       .costs = malloc(pairs * sizeof *f->clusters.costs),
                                       .sizes = malloc(2 * (size_t)heads * sizeof *f->clusters.sizes)},
                          .columns = {.P = P,
                                      .centres = malloc((size_t)(RUNS * heads) * sizeof *f->columns.centres),
                                      .label = malloc((size_t)P * sizeof *f->columns.label)}};
    if (!f->ranked || !f->order || !f->rows || !f->clusters.centres || !f->clusters.costs ||
        !f->clusters.sizes || !f->columns.centres || !f->columns.label) {
        forming_close(f);
        return error_memory(err, (2 * values + pairs) * sizeof(double), "the groups of heads");
    }
    f->clusters.values = f->ranked;
    f->clusters.label = f->clusters.sizes + heads;
    f->columns.rows = f->rows;
    return STATUS_OK;
}

// The channels of a head, ascending by their means; equal ones stay in their order.
static void rank_head(const float *means, int P, int32_t *order, double *ranked)
{
    double squares = 0;
    for (int p = 0; p < P; p++) {
        const float mean = isfinite(means[p]) ? means[p] : 0;
        int at = p;
        for (; at > 0 && ranked[at - 1] > (double)mean; at--)
            ranked[at] = ranked[at - 1], order[at] = order[at - 1];
        ranked[at] = (double)mean, order[at] = p;
        squares += (double)mean * (double)mean;
    }
    const double length = sqrt(squares);
    for (int p = 0; p < P && length > 0; p++)
        ranked[p] /= length;
}

// The k-th cluster, counted by first heads: its heads and channels go behind `place`.  False: no runs.
static bool place_cluster(struct forming *f, int first, int32_t *channels, int *place, int32_t *ends)
{
    const int P = f->columns.P;
    f->columns.heads = 0;
    for (int h = 0; h < f->clusters.points; h++) {
        if (f->clusters.label[h] != first) continue;
        f->rows[f->columns.heads++] = f->ranked + (size_t)h * (size_t)P;
        for (int p = 0; p < P; p++)
            channels[*place * P + p] = h * P + f->order[(size_t)h * (size_t)P + (size_t)p];
        ++*place;
    }
    return find_runs(&f->columns, ends);
}

// means, channels: of the heads of one group of B and C.
static bool form_group(struct forming *f, const float *means, int32_t *channels, int32_t *head_ends,
                       int32_t *channel_ends)
{
    const int heads = f->clusters.points, P = f->columns.P;
    for (int h = 0; h < heads; h++)
        rank_head(means + (long)h * P, P, f->order + (long)h * P, f->ranked + (long)h * P);
    join_clusters(&f->clusters);
    int place = 0, k = 0;
    for (int first = 0; first < heads; first++) {
        if (f->clusters.sizes[first] == 0) continue;
        if (!place_cluster(f, first, channels, &place, channel_ends + k * RUNS)) return false;
        head_ends[k++] = place;
    }
    return true;
}

enum status groups_form(struct groups *groups, int layer, const float *means, struct error *err)
{
    const struct dims *d = groups->dims;
    const int heads = d->n_heads / d->n_groups, I = d->d_inner / d->n_groups;
    int32_t *channels = groups->rows + (long)layer * groups_row(d), *head_ends = channels + d->d_inner,
            *channel_ends = head_ends + d->n_groups * HEAD_GROUPS;
    struct forming forming;
    if (forming_open(&forming, heads, d->head_dim, err)) return err->status;
    for (int g = 0; g < d->n_groups && !err->status; g++) {
        if (!form_group(&forming, means + (long)g * I, channels + (long)g * I, head_ends + g * HEAD_GROUPS,
                        channel_ends + g * HEAD_GROUPS * RUNS))
            error_set(err, STATUS_INPUT,
                      "calibration: layer %d: the channels of heads %d to %d do not fall into %d groups of "
                      "neighbours; --group_heads off takes one scale for each site",
                      layer, g * heads, (g + 1) * heads - 1, RUNS);
        for (int i = 0; i < I; i++)
            channels[g * I + i] += g * I;
    }
    forming_close(&forming);
    return err->status;
}
