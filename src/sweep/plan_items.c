// SPDX-License-Identifier: Apache-2.0
#include "plan_items.h"

#include <math.h>
#include <stdlib.h>

#include "lockstep.h"

enum { ITEMS_PER_RANK = 8, MAX_SHARD = 64, MAX_ITEMS = 1 << 26 };

// What the runs of a group may take beside the workspace; a few of them in any case.
enum { GROUP_BYTES = 128 << 20, LEAST_ROOM = 4 };

// ---- costs ----

// Rough cost of a token, in sixths of what a float mode takes: for the order of hand-out and the size of
// shards.
static double layers_cost(const struct mode *mode)
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

// In multiplications of a float mode.  Logits are float in every mode.
static double token_cost(const struct plan *plan, const struct dims *dims, int run)
{
    double logits = plan->logits ? (double)dims->vocab_size * dims->d_model : 0;
    return token_products(dims) * layers_cost(plan->runs[run].mode) / 6 + logits;
}

static double group_cost(const struct plan *plan, const struct dims *dims, const struct group *group)
{
    double cost = token_cost(plan, dims, group->reference);
    for (int i = 0; i < group->count; i++) {
        int run = plan->members[group->first + i];
        if (run != group->reference) cost += token_cost(plan, dims, run);
    }
    return cost;
}

// ---- groups ----

// The runs that share a reference, without that.
struct family {
    int reference, runs;
    double cost;
};

// families[n_runs]; returns how many there are.
static int list_families(const struct plan *plan, const struct dims *dims, struct family *families)
{
    int n = 0;
    for (int r = 0; r < plan->n_runs; r++) {
        int f = 0, reference = plan->runs[r].reference;
        while (f < n && families[f].reference != reference)
            f++;
        if (f == n) families[n++] = (struct family){.reference = reference};
        if (r == reference) continue;
        families[f].runs++;
        families[f].cost += token_cost(plan, dims, r);
    }
    return n;
}

static int groups_of(const struct family *family, int most_runs)
{
    return family->runs > most_runs ? (family->runs + most_runs - 1) / most_runs : 1;
}

// What the sweep is divided over.
struct extent {
    int ranks, parts;                   // parts: shards of the samples
    double mean_tokens, longest_tokens; // of a part
};

// About how long all items take, in cost: rounds of average ones, but no less than the longest one.
static double duration(const struct plan *plan, const struct dims *dims, const struct family *families,
                       int n_families, int most_runs, const struct extent *extent)
{
    double cost = 0, largest = 0, items = 0;
    for (int f = 0; f < n_families; f++) {
        const int groups = groups_of(&families[f], most_runs);
        const double reference = token_cost(plan, dims, families[f].reference);
        const double largest_here = reference + families[f].cost / groups;
        cost += groups * reference + families[f].cost;
        items += (double)groups * extent->parts;
        largest = largest_here > largest ? largest_here : largest;
    }
    const double rounds = ceil(items / extent->ranks);
    const double average = cost * extent->parts / items * extent->mean_tokens;
    return fmax(rounds * average, largest * extent->longest_tokens);
}

// Of as many as fit, as few groups as the ranks need: the reference is computed in each of them.
static int choose_most_runs(const struct plan *plan, const struct dims *dims, const struct family *families,
                            int n_families, int room, const struct extent *extent)
{
    int best = 1, largest = 1;
    double shortest = INFINITY;
    for (int f = 0; f < n_families; f++)
        largest = families[f].runs > largest ? families[f].runs : largest;
    for (int runs = largest < room ? largest : room; runs >= 1; runs--) {
        double seconds = duration(plan, dims, families, n_families, runs, extent);
        if (seconds < shortest) best = runs;
        shortest = fmin(seconds, shortest);
    }
    return best;
}

// The group of each run, while they are made.
struct division {
    int *group;   // [n_runs]
    int *runs;    // [n_groups], without the reference, as is
    double *cost; // [n_groups]
};

// Every run to the cheapest group that has room, the costly ones first; the reference is in the first.
static void divide_family(struct plan *plan, const struct dims *dims, const struct family *family,
                          int most_runs, struct division *division)
{
    enum { MOST_COST = 6 };
    const int first = plan->n_groups;
    plan->n_groups += groups_of(family, most_runs);
    for (int g = first; g < plan->n_groups; g++)
        plan->groups[g].reference = family->reference;
    division->group[family->reference] = first;
    for (int costly = MOST_COST; costly > 0; costly--)
        for (int r = 0; r < plan->n_runs; r++) {
            int least = -1;
            if (plan->runs[r].reference != family->reference || r == family->reference ||
                (int)layers_cost(plan->runs[r].mode) != costly)
                continue;
            for (int g = first; g < plan->n_groups; g++)
                if (division->runs[g] < most_runs && (least < 0 || division->cost[g] < division->cost[least]))
                    least = g;
            division->group[r] = least;
            division->runs[least]++;
            division->cost[least] += token_cost(plan, dims, r);
        }
}

static void list_members(struct plan *plan, const struct division *division)
{
    int n = 0;
    for (int g = 0; g < plan->n_groups; g++) {
        plan->groups[g].first = n;
        for (int r = 0; r < plan->n_runs; r++)
            if (division->group[r] == g) plan->members[n++] = r;
        plan->groups[g].count = n - plan->groups[g].first;
    }
}

static enum status make_groups(struct plan *plan, const struct dims *dims, int room,
                               const struct extent *extent, struct error *err)
{
    const size_t runs = (size_t)plan->n_runs;
    struct family *families = calloc(runs, sizeof *families);
    struct division division = {calloc(runs, sizeof *division.group), calloc(runs, sizeof *division.runs),
                                calloc(runs, sizeof *division.cost)};
    plan->members = calloc(runs, sizeof *plan->members);
    plan->groups = calloc(runs, sizeof *plan->groups);
    if (families && division.group && division.runs && division.cost && plan->members && plan->groups) {
        int n = list_families(plan, dims, families);
        int most_runs = choose_most_runs(plan, dims, families, n, room, extent);
        for (int f = 0; f < n; f++)
            divide_family(plan, dims, &families[f], most_runs, &division);
        list_members(plan, &division);
    } else {
        error_memory(err, runs * sizeof *families, "the plan");
    }
    free(families);
    free(division.group);
    free(division.runs);
    free(division.cost);
    return err->status;
}

// ---- items ----

// An item with what its place in the order depends on.
struct ranked_item {
    struct item item;
    double cost;
};

// The costly ones first, so that the tail of the sweep stays short.
static int compare_items(const void *a, const void *b)
{
    const struct ranked_item *x = a, *y = b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    if (x->item.group != y->item.group) return x->item.group < y->item.group ? -1 : 1;
    return x->item.first_sample < y->item.first_sample ? -1 : 1;
}

static struct ranked_item rank_item(const struct corpus *corpus, int group, double cost, int first, int shard)
{
    int left = corpus->samples - first;
    struct ranked_item ranked = {
        .item = {.group = group, .first_sample = first, .samples = left < shard ? left : shard}};
    for (int s = 0; s < ranked.item.samples; s++)
        ranked.cost += corpus->length[first + s] * cost;
    return ranked;
}

static enum status list_items(struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                              int shard, struct error *err)
{
    int shards = (corpus->samples + shard - 1) / shard;
    long long count = (long long)plan->n_groups * shards;
    if (count > MAX_ITEMS)
        return error_set(err, STATUS_USAGE, "the sweep has %lld items, more than %d; give a larger --shard",
                         count, MAX_ITEMS);
    struct ranked_item *ranked = calloc((size_t)count, sizeof *ranked);
    plan->items = calloc((size_t)count, sizeof *plan->items);
    if (!ranked || !plan->items) {
        free(ranked);
        return error_memory(err, (unsigned long long)count * sizeof *ranked, "the plan");
    }
    for (int g = 0; g < plan->n_groups; g++) {
        double cost = group_cost(plan, dims, &plan->groups[g]);
        for (int first = 0; first < corpus->samples; first += shard)
            ranked[plan->n_items++] = rank_item(corpus, g, cost, first, shard);
    }
    qsort(ranked, (size_t)count, sizeof *ranked, compare_items);
    for (int i = 0; i < plan->n_items; i++)
        plan->items[i] = ranked[i].item;
    free(ranked);
    return STATUS_OK;
}

// Samples that are worth a message: the items take 20 ms or so on a core of today.
static double worthwhile_shard(const struct plan *plan, const struct dims *dims, double mean_tokens)
{
    const double float_products_per_second = 5e10, seconds = 0.02;
    double cheapest = INFINITY;
    for (int g = 0; g < plan->n_groups; g++)
        cheapest = fmin(cheapest, group_cost(plan, dims, &plan->groups[g]));
    return ceil(seconds * float_products_per_second / (mean_tokens * cheapest + 1));
}

// Large enough to be worth a message, small enough for 8 items per rank.
static int choose_shard(const struct plan *plan, const struct dims *dims, const struct extent *extent)
{
    double balanced =
        floor((double)plan->n_groups * extent->parts / ((double)ITEMS_PER_RANK * extent->ranks));
    double shard = fmin(fmin(worthwhile_shard(plan, dims, extent->mean_tokens), MAX_SHARD), balanced);
    return shard < 1 ? 1 : shard > extent->parts ? extent->parts : (int)shard;
}

// Shards of `shard` samples.
static struct extent measure(const struct corpus *corpus, int ranks, int shard)
{
    struct extent extent = {.ranks = ranks, .parts = (corpus->samples + shard - 1) / shard};
    double all = 0, part = 0;
    for (int s = 0; s < corpus->samples; s++) {
        if (s % shard == 0) part = 0;
        part += corpus->length[s];
        all += corpus->length[s];
        extent.longest_tokens = fmax(extent.longest_tokens, part);
    }
    extent.mean_tokens = all / extent.parts;
    return extent;
}

static int group_room(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    const double room = GROUP_BYTES / ((double)lockstep_run_bytes(plan, dims, max_tokens) + 1);
    return room < LEAST_ROOM ? LEAST_ROOM : room > plan->n_runs ? plan->n_runs : (int)room;
}

enum status plan_make_items(struct plan *plan, const struct job *job, const struct dims *dims,
                            const struct corpus *corpus, int ranks, struct error *err)
{
    int given = job->shard < corpus->samples ? job->shard : corpus->samples;
    const struct extent extent = measure(corpus, ranks, given > 0 ? given : 1);
    if (make_groups(plan, dims, group_room(plan, dims, corpus->max_tokens), &extent, err)) return err->status;
    return list_items(plan, dims, corpus, given > 0 ? given : choose_shard(plan, dims, &extent), err);
}

void plan_drop(struct plan *plan, const unsigned char *finished)
{
    int n = 0;
    for (int i = 0; i < plan->n_items; i++) {
        const struct item item = plan->items[i];
        const struct group *group = &plan->groups[item.group];
        bool left = false;
        for (int m = 0; m < group->count && !left; m++) {
            const size_t run = (size_t)plan->members[group->first + m];
            for (int s = item.first_sample; s < item.first_sample + item.samples; s++)
                left = left || !finished[run * (size_t)plan->samples + (size_t)s];
        }
        if (left) plan->items[n++] = item;
    }
    plan->n_items = n;
}
