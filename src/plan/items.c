// SPDX-License-Identifier: Apache-2.0
// Items: in which order samples are handed out, and in which groups of runs.
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "plan_parts.h"
#include "ssmsweep/plan/lane.h"
#include "ssmsweep/plan/plan.h"

// ---- the order of samples ----

enum { MOST_SORTED = 1 << 20 }; // with more samples the end of the sweep is short in any order

// The samples with the most tokens first, of equal ones as in the text.
static void sort_by_length(int *order, int n, const int32_t *length, int *place, int32_t longest)
{
    for (int s = 0; s < n; s++)
        place[length[s]]++;
    for (int32_t tokens = longest, first = 0; tokens >= 0; tokens--) {
        const int count = place[tokens];
        place[tokens] = first;
        first += count;
    }
    for (int s = 0; s < n; s++)
        order[place[length[s]]++] = s;
}

static bool is_sorted(const struct corpus *corpus)
{
    for (int s = 1; s < corpus->samples; s++)
        if (corpus->length[s] > corpus->length[s - 1]) return false;
    return true;
}

// *order stays NULL where samples are handed out as in the text.
static enum status order_samples(int **order, const struct corpus *corpus, struct error *err)
{
    if (corpus->samples > MOST_SORTED || is_sorted(corpus)) return STATUS_OK;
    int32_t longest = 0;
    for (int s = 0; s < corpus->samples; s++)
        longest = corpus->length[s] > longest ? corpus->length[s] : longest;
    int *sorted = calloc((size_t)corpus->samples, sizeof *sorted);
    int *place = calloc((size_t)longest + 1, sizeof *place); // of the next sample with so many tokens
    if (sorted && place) {
        sort_by_length(sorted, corpus->samples, corpus->length, place, longest);
        *order = sorted;
    } else {
        free(sorted);
        error_memory(err, ((size_t)corpus->samples + (size_t)longest) * sizeof *place, "the plan");
    }
    free(place);
    return err->status;
}

int plan_sample(const struct plan *plan, int place)
{
    return plan->order ? plan->order[place] : place;
}

struct item plan_item(const struct plan *plan, int index)
{
    const struct stretch *stretch = &plan->stretches[plan->n_stretches - 1];
    while (index < stretch->first_item)
        stretch--;
    const int i = index - stretch->first_item, begin = i / stretch->n_groups * plan->shard,
              rest = stretch->samples - begin;
    return (struct item){.group = stretch->first_group + i % stretch->n_groups,
                         .first_place = stretch->first_place + begin,
                         .samples = rest < plan->shard ? rest : plan->shard};
}

// ---- how the order ends ----

// The last `tail` shards are in the groups of the division `fine`, those before them in those of `coarse`.
struct ending {
    int coarse, fine, tail;
};

struct rank {
    double free_at;
    int rank;
};

struct search {
    const struct divisions *divisions;
    const double *tokens; // [shards]
    int shards, ranks;
    struct rank *heap; // [ranks], the one that is free first in front
    struct ending best;
    double shortest;
    long long steps; // items of all simulations
};

static bool is_before(const struct rank *a, const struct rank *b)
{
    return a->free_at != b->free_at ? a->free_at < b->free_at : a->rank < b->rank;
}

// Moves the front, which is busy now, to its place.
static void settle(struct rank *heap, int n)
{
    const struct rank moved = heap[0];
    int at = 0;
    for (int child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && is_before(&heap[child + 1], &heap[child])) child++;
        if (!is_before(&heap[child], &moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

// When all is done if every item goes to the rank that is free first.  The last rank is slower by SPREAD than
// the first, the others are between them; an item costs ITEM_COST beside its passes.
static double simulate(struct search *search, const struct ending *ending)
{
    static const double SPREAD = 0.07, ITEM_COST = 5e6;
    const int ranks = search->ranks, coarse = search->shards - ending->tail;
    double last = 0;
    for (int r = 0; r < ranks; r++)
        search->heap[r] = (struct rank){.rank = r};
    for (int shard = 0; shard < search->shards; shard++) {
        const struct division *division =
            &search->divisions->of[shard < coarse ? ending->coarse : ending->fine];
        for (int g = 0; g < division->n_groups; g++) {
            struct rank *rank = &search->heap[0];
            rank->free_at += (search->tokens[shard] * division->groups[g].cost + ITEM_COST) *
                             (1 + SPREAD * rank->rank / ranks);
            last = fmax(last, rank->free_at);
            settle(search->heap, ranks);
        }
        search->steps += division->n_groups;
    }
    return last;
}

static void try(struct search *search, struct ending ending)
{
    static const double WORTHWHILE = 0.002; // costs are estimates
    const double ends = simulate(search, &ending) * (ending.tail > 0 ? 1 + WORTHWHILE : 1);
    if (ends >= search->shortest) return;
    search->shortest = ends;
    search->best = ending;
}

// Tails of up to some rounds of all ranks.
static void choose(struct search *search)
{
    enum { MOST_STEPS = 1 << 22, ROUNDS = 2 }; // about a tenth of a second
    const int n = search->divisions->n, step = (search->ranks + 15) / 16;
    for (int coarse = 0; coarse < n; coarse++) {
        try(search, (struct ending){.coarse = coarse});
        for (int tail = step; tail < search->shards && tail <= ROUNDS * search->ranks; tail += step)
            for (int fine = coarse + 1; fine < n && search->steps < MOST_STEPS; fine++)
                try(search, (struct ending){coarse, fine, tail});
    }
}

// ---- the division ----

// Beyond so many items for each rank the end is short however they are divided.
enum { FEW_ITEMS = 64 };

static int count_shards(const struct plan *plan, int places)
{
    return places > 0 ? (places - 1) / plan->shard + 1 : 0;
}

static double *list_tokens(const struct plan *plan, const struct corpus *corpus, int places,
                           struct error *err)
{
    double *tokens = calloc((size_t)count_shards(plan, places) + 1, sizeof *tokens);
    if (!tokens) error_memory(err, (size_t)places * sizeof *tokens, "the plan");
    for (int p = 0; tokens && p < places; p++)
        tokens[p / plan->shard] += corpus->length[plan_sample(plan, p)];
    return tokens;
}

static struct ending find_ending(const struct plan *plan, const struct corpus *corpus, int places, int ranks,
                                 const struct divisions *divisions, struct error *err)
{
    struct search search = {
        .divisions = divisions, .shards = count_shards(plan, places), .ranks = ranks, .shortest = INFINITY};
    const double coarse = (double)search.shards * divisions->of[0].n_groups;
    if (ranks == 1 || coarse > (double)FEW_ITEMS * ranks) return search.best;
    double *tokens = list_tokens(plan, corpus, places, err);
    search.tokens = tokens;
    search.heap = calloc((size_t)ranks, sizeof *search.heap);
    if (!search.heap) error_memory(err, (size_t)ranks * sizeof *search.heap, "the plan");
    if (!err->status) choose(&search);
    free(search.heap);
    free(tokens);
    return search.best;
}

// The next places of the order in the groups of a division, behind what the plan has.
static enum status add_stretch(struct plan *plan, const struct divisions *divisions, int which, int samples,
                               struct error *err)
{
    const struct division *division = &divisions->of[which];
    const struct stretch *before = plan->n_stretches > 0 ? &plan->stretches[plan->n_stretches - 1] : NULL;
    const int first_member = plan->n_stretches * divisions->n_runs;
    const long long items = plan->n_items + (long long)count_shards(plan, samples) * division->n_groups;
    if (items > INT_MAX)
        return error_set(err, STATUS_USAGE, "the sweep has %lld items, more than %d; give a larger --shard",
                         items, INT_MAX);
    plan->stretches[plan->n_stretches++] =
        (struct stretch){.first_item = plan->n_items,
                         .first_place = before ? before->first_place + before->samples : 0,
                         .samples = samples,
                         .first_group = plan->n_groups,
                         .n_groups = division->n_groups};
    memcpy(plan->members + first_member, division->members,
           (size_t)divisions->n_runs * sizeof *plan->members);
    for (int g = 0; g < division->n_groups; g++) {
        plan->groups[plan->n_groups] = division->groups[g];
        plan->groups[plan->n_groups++].first += first_member;
    }
    plan->n_items = (int)items;
    return STATUS_OK;
}

static enum status fill(struct plan *plan, const struct divisions *divisions, const struct ending *ending,
                        int places, struct error *err)
{
    const int shards = count_shards(plan, places) - ending->tail, rest = shards * plan->shard,
              first = rest < places ? rest : places;
    const size_t groups = (size_t)divisions->of[ending->coarse].n_groups +
                          (size_t)divisions->of[ending->fine].n_groups,
                 members = 2 * (size_t)divisions->n_runs;
    plan->members = calloc(members, sizeof *plan->members);
    plan->groups = calloc(groups, sizeof *plan->groups);
    if (!plan->members || !plan->groups)
        return error_memory(err, members * sizeof *plan->members + groups * sizeof *plan->groups, "the plan");
    if (add_stretch(plan, divisions, ending->coarse, first, err) || ending->tail == 0) return err->status;
    return add_stretch(plan, divisions, ending->fine, places - first, err);
}

// What the runs of a group may take beside the workspace; a few of them in any case.
static int group_room(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    enum { GROUP_BYTES = 128 << 20, LEAST_ROOM = 4 };
    const double room = GROUP_BYTES / ((double)lane_bytes(plan, dims, max_tokens) + 1);
    return room < LEAST_ROOM ? LEAST_ROOM : room > plan->n_runs ? plan->n_runs : (int)room;
}

// Groups that are worth a thought: some for each rank, and none but the coarsest where items are many.
static int most_groups(int places, int ranks)
{
    enum { GROUPS_PER_RANK = 4 };
    if (ranks == 1 || places / ranks > FEW_ITEMS * 8) return 0;
    return ranks < PLAN_MAX_RUNS / GROUPS_PER_RANK ? GROUPS_PER_RANK * ranks : PLAN_MAX_RUNS;
}

// The first places of the order, where nothing (NULL) or something is finished.
static enum status divide(struct plan *plan, const struct dims *dims, const struct corpus *corpus, int places,
                          int ranks, const struct finished *finished, struct error *err)
{
    struct divisions divisions;
    if (divisions_make(&divisions, plan, dims, finished, group_room(plan, dims, corpus->max_tokens),
                       most_groups(places, ranks), err) == STATUS_OK) {
        const struct ending ending = find_ending(plan, corpus, places, ranks, &divisions, err);
        if (!err->status) fill(plan, &divisions, &ending, places, err);
    }
    divisions_clear(&divisions);
    return err->status;
}

enum status plan_make_items(struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                            int ranks, struct error *err)
{
    if (order_samples(&plan->order, corpus, err)) return err->status;
    return divide(plan, dims, corpus, corpus->samples, ranks, NULL, err);
}

// ---- what is left of a sweep ----

static bool is_open(const struct plan *plan, const struct finished *finished, int sample)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (!finished_has(finished, r, sample)) return true;
    return false;
}

static int count_places(const struct plan *plan)
{
    const struct stretch *last = &plan->stretches[plan->n_stretches - 1];
    return plan->n_stretches > 0 ? last->first_place + last->samples : 0;
}

// In the order of hand-out; NULL: only counted.
static int list_open(const struct plan *plan, const struct finished *finished, int *order)
{
    const int places = count_places(plan);
    int open = 0;
    for (int place = 0; place < places; place++) {
        if (!is_open(plan, finished, plan_sample(plan, place))) continue;
        if (order) order[open] = plan_sample(plan, place);
        open++;
    }
    return open;
}

static void clear_items(struct plan *plan)
{
    free(plan->members);
    free(plan->groups);
    plan->members = NULL;
    plan->groups = NULL;
    plan->n_groups = plan->n_stretches = plan->n_items = 0;
}

enum status plan_renew(struct plan *plan, const struct dims *dims, const struct corpus *corpus, int ranks,
                       const struct finished *finished, struct error *err)
{
    int open = list_open(plan, finished, NULL), *order = NULL;
    if (open > MOST_SORTED) { // items of finished samples cost less than a list of the others
        open = count_places(plan);
    } else if (open > 0) {
        order = calloc((size_t)open, sizeof *order);
        if (!order) return error_memory(err, (size_t)open * sizeof *order, "the plan");
        list_open(plan, finished, order);
        free(plan->order);
        plan->order = order;
    }
    clear_items(plan);
    return open > 0 ? divide(plan, dims, corpus, open, ranks, finished, err) : STATUS_OK;
}
