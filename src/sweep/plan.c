// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/plan.h"

#include <math.h>
#include <stdlib.h>

#include "orders.h"
#include "ssmsweep/numerics/forward.h"

enum { ITEMS_PER_RANK = 8, MAX_SHARD = 64, MAX_ITEMS = 1 << 26 };

static const struct mode *find_reference(const struct job *job, struct error *err)
{
    const struct mode *mode = mode_find(job->reference);
    if (!mode)
        error_set(err, STATUS_USAGE, "--reference: unknown mode '%.100s'; `ssmsweep modes` lists them",
                  job->reference);
    return mode;
}

// chosen[mode_count()] in malloc'ed memory, the reference among them.
static enum status choose_modes(const struct job *job, bool **chosen, struct error *err)
{
    bool *made = calloc((size_t)mode_count(), sizeof *made);
    if (!made) return error_memory(err, (unsigned long long)mode_count(), "the modes");
    const struct mode *reference = find_reference(job, err);
    if (!reference || mode_select(job->modes, made, err)) {
        free(made);
        return err->status;
    }
    for (int m = 0; m < mode_count(); m++)
        if (mode_at(m) == reference) made[m] = true;
    *chosen = made;
    return STATUS_OK;
}

enum status plan_check_names(const struct job *job, struct error *err)
{
    bool *chosen = NULL;
    unsigned mask;
    struct observers observers;
    if (choose_modes(job, &chosen, err)) return err->status;
    free(chosen);
    if (observers_parse(&observers, job->observer, err)) return err->status;
    return component_select(job->components, &mask, err);
}

// ---- runs ----

static void add_run(struct plan *plan, int cell, const struct mode *mode)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (plan->runs[r].cell == cell && plan->runs[r].mode == mode) return;
    plan->runs[plan->n_runs++] = (struct run){.cell = cell, .mode = mode};
}

static int count_orders(const struct job *job)
{
    return job->shuffle_calib > 1 ? job->shuffle_calib : 1;
}

static enum status make_runs(struct plan *plan, const struct job *job, struct error *err)
{
    bool *chosen = NULL;
    if (choose_modes(job, &chosen, err)) return err->status;
    const int cells = job->n_cells * count_orders(job);
    size_t room = (size_t)mode_count() * (size_t)(cells + 1);
    plan->runs = calloc(room, sizeof *plan->runs);
    if (!plan->runs) {
        free(chosen);
        return error_memory(err, room * sizeof *plan->runs, "the plan");
    }
    const struct mode *reference = mode_find(job->reference);
    add_run(plan, mode_is_float(reference) ? PLAN_FLOAT_CELL : 0, reference);
    for (int m = 0; m < mode_count(); m++)
        if (chosen[m] && mode_is_float(mode_at(m))) add_run(plan, PLAN_FLOAT_CELL, mode_at(m));
    for (int cell = 0; cell < cells; cell++)
        for (int m = 0; m < mode_count(); m++)
            if (chosen[m] && !mode_is_float(mode_at(m))) add_run(plan, cell, mode_at(m));
    free(chosen);
    if (plan->n_runs <= PLAN_MAX_RUNS) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "the sweep has %d runs, more than %d; give fewer --calib_data_num, --shuffle-calib or "
                     "--modes",
                     plan->n_runs, PLAN_MAX_RUNS);
}

static enum status make_cells(struct plan *plan, const struct job *job, struct error *err)
{
    plan->observed_run = -1;
    plan->n_orders = count_orders(job);
    plan->observers.percentile_alpha = job->percentile_alpha;
    if (observers_parse(&plan->observers, job->observer, err)) return err->status;
    for (int r = 0; r < plan->n_runs; r++)
        if (plan->runs[r].cell != PLAN_FLOAT_CELL) plan->n_cells = job->n_cells * plan->n_orders;
    for (int r = 0; r < plan->n_runs && plan->n_cells > 0; r++)
        if (plan->runs[r].cell == PLAN_FLOAT_CELL && forward_observes(plan->runs[r].mode))
            plan->observed_run = r;
    plan->cells = calloc((size_t)plan->n_cells + 1, sizeof *plan->cells);
    if (!plan->cells) return error_memory(err, (size_t)plan->n_cells * sizeof *plan->cells, "the plan");
    for (int c = 0; c < plan->n_cells; c++)
        plan->cells[c] = (struct cell){job->calib_data_num[c / plan->n_orders], c % plan->n_orders};
    return orders_make(&plan->orders, &plan->places, plan->n_orders, plan->calibration_samples,
                       (uint64_t)job->seed, err);
}

const char *plan_cell_name(const struct plan *plan, int cell, char name[CELL_NAME_ROOM])
{
    return cell_name(cell == PLAN_FLOAT_CELL ? (struct cell){0} : plan->cells[cell], name);
}

// ---- what to capture ----

static enum status make_want(struct plan *plan, const struct job *job, const struct dims *dims,
                             struct error *err)
{
    unsigned mask = 0;
    plan->n_layer = dims->n_layer;
    plan->want = calloc((size_t)dims->n_layer, 1);
    if (!plan->want) return error_memory(err, (unsigned long long)dims->n_layer, "the plan");
    if (component_select(job->components, &mask, err)) return err->status;
    if (layer_select(job->layers, dims->n_layer, plan->want, err)) return err->status;
    for (int l = 0; l < dims->n_layer; l++)
        plan->want[l] = plan->want[l] ? (unsigned char)mask : 0;
    return STATUS_OK;
}

// ---- items ----

// Rough cost of a token, in sixths of what a float mode takes: for the order of hand-out and the size of
// shards.
static long long token_cost(const struct mode *mode)
{
    if (mode_is_float(mode)) return 6;
    return mode->scan_order == SCAN_BLOCKED ? 3 : 2;
}

// Multiplications of a token in the projections of all layers.
static double token_products(const struct dims *dims)
{
    const double I = dims->d_inner, D = dims->d_model, R = dims->dt_rank, N = dims->d_state;
    return dims->n_layer * I * (3 * D + (R + 2 * N) + R);
}

// Samples that are worth a message: the cheapest of them take 20 ms or so on a core of today.
static int worthwhile_shard(const struct plan *plan, const struct dims *dims, const struct corpus *corpus)
{
    const double float_products_per_second = 5e10, seconds = 0.02;
    double tokens = 0;
    long long cheapest = 6;
    for (int s = 0; s < corpus->samples; s++)
        tokens += corpus->length[s];
    for (int r = 0; r < plan->n_runs; r++)
        if (token_cost(plan->runs[r].mode) < cheapest) cheapest = token_cost(plan->runs[r].mode);
    double per_sample = tokens / corpus->samples * token_products(dims) * (double)cheapest / 6;
    double samples = ceil(seconds * float_products_per_second / (per_sample + 1));
    return samples < MAX_SHARD ? (int)samples : MAX_SHARD;
}

// An item with what its place in the order depends on.
struct ranked_item {
    struct item item;
    bool reference;
    long long cost;
};

static int compare_items(const void *a, const void *b)
{
    const struct ranked_item *x = a, *y = b;
    if (x->reference != y->reference) return x->reference ? -1 : 1;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    if (x->item.run != y->item.run) return x->item.run < y->item.run ? -1 : 1;
    return x->item.first_sample < y->item.first_sample ? -1 : 1;
}

// Large enough to be worth a message, small enough for 8 items per rank.
static int choose_shard(const struct plan *plan, const struct job *job, const struct dims *dims,
                        const struct corpus *corpus, int ranks)
{
    if (job->shard > 0) return job->shard < corpus->samples ? job->shard : corpus->samples;
    long long balanced = (long long)plan->n_runs * corpus->samples / ((long long)ITEMS_PER_RANK * ranks);
    long long shard = worthwhile_shard(plan, dims, corpus);
    if (shard > balanced) shard = balanced;
    if (shard > corpus->samples) shard = corpus->samples;
    return shard < 1 ? 1 : (int)shard;
}

static struct ranked_item rank_item(const struct plan *plan, const struct corpus *corpus, int run, int first,
                                    int shard)
{
    int left = corpus->samples - first;
    struct ranked_item ranked = {
        .item = {.run = run, .first_sample = first, .samples = left < shard ? left : shard},
        .reference = run == plan->reference_run};
    for (int s = 0; s < ranked.item.samples; s++)
        ranked.cost += corpus->length[first + s] * token_cost(plan->runs[run].mode);
    return ranked;
}

// The reference first, as every comparison needs it; then the costly ones, so that the tail of the sweep
// stays short.
static enum status make_items(struct plan *plan, const struct corpus *corpus, int shard, struct error *err)
{
    int shards = (corpus->samples + shard - 1) / shard;
    long long count = (long long)plan->n_runs * shards;
    if (count > MAX_ITEMS)
        return error_set(err, STATUS_USAGE, "the sweep has %lld items, more than %d; give a larger --shard",
                         count, MAX_ITEMS);
    struct ranked_item *ranked = calloc((size_t)count, sizeof *ranked);
    plan->items = calloc((size_t)count, sizeof *plan->items);
    if (!ranked || !plan->items) {
        free(ranked);
        return error_memory(err, (unsigned long long)count * sizeof *ranked, "the plan");
    }
    for (int r = 0; r < plan->n_runs; r++)
        for (int first = 0; first < corpus->samples; first += shard)
            ranked[plan->n_items++] = rank_item(plan, corpus, r, first, shard);
    qsort(ranked, (size_t)count, sizeof *ranked, compare_items);
    for (int i = 0; i < plan->n_items; i++)
        plan->items[i] = ranked[i].item;
    free(ranked);
    return STATUS_OK;
}

enum status plan_make(struct plan *plan, const struct job *job, const struct dims *dims,
                      const struct corpus *corpus, int ranks, struct error *err)
{
    struct plan made = {.samples = corpus->samples, .calibration_samples = job_calibration_samples(job)};
    if (!job->eval_data)
        made.shared_samples =
            made.samples < made.calibration_samples ? made.samples : made.calibration_samples;
    if (make_runs(&made, job, err) || make_cells(&made, job, err) || make_want(&made, job, dims, err))
        goto clear_plan;
    if (make_items(&made, corpus, choose_shard(&made, job, dims, corpus, ranks), err)) goto clear_plan;
    *plan = made;
    return STATUS_OK;
clear_plan:
    plan_clear(&made);
    return err->status;
}

// Appends what is left of an item; counts only where `items` is NULL.
static int add_rest(struct item *items, int n, const struct item *item, const unsigned char *finished)
{
    int added = 0;
    bool open = false;
    for (int s = item->first_sample; s < item->first_sample + item->samples; s++) {
        bool left = !finished[s];
        if (left && !open) {
            if (items) items[n + added] = (struct item){.run = item->run, .first_sample = s};
            added++;
        }
        if (left && items) items[n + added - 1].samples++;
        open = left;
    }
    return added;
}

static int list_rest(struct item *items, const struct plan *plan, const unsigned char *finished)
{
    int n = 0;
    for (int i = 0; i < plan->n_items; i++) {
        const struct item *item = &plan->items[i];
        n += add_rest(items, n, item, finished + (size_t)item->run * (size_t)plan->samples);
    }
    return n;
}

enum status plan_drop(struct plan *plan, const unsigned char *finished, struct error *err)
{
    int n = list_rest(NULL, plan, finished);
    struct item *rest = calloc((size_t)n + 1, sizeof *rest);
    if (!rest) return error_memory(err, (unsigned long long)n * sizeof *rest, "the plan");
    list_rest(rest, plan, finished);
    free(plan->items);
    plan->items = rest;
    plan->n_items = n;
    return STATUS_OK;
}

void plan_clear(struct plan *plan)
{
    free(plan->cells);
    free(plan->orders);
    free(plan->places);
    free(plan->runs);
    free(plan->items);
    free(plan->want);
    *plan = (struct plan){0};
}
