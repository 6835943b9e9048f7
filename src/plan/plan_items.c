// SPDX-License-Identifier: Apache-2.0
#include "plan_items.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "plan_groups.h"
#include "plan_order.h"
#include "plan_tail.h"
#include "ssmsweep/plan/finished.h"
#include "ssmsweep/plan/lane.h"

// What the runs of a group may take beside the workspace; a few of them in any case, one with its re-runs.
enum { GROUP_BYTES = 128 << 20, LEAST_ROOM = 4 };

static int group_room(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    const int times = 1 + plan_reruns(plan), least = LEAST_ROOM < times ? 1 : LEAST_ROOM / times;
    const double room = GROUP_BYTES / ((double)lane_bytes(plan, dims, max_tokens) * times + 1);
    return room < least ? least : room > plan->n_runs ? plan->n_runs : (int)room;
}

// Groups that are worth a thought: some for each rank, and none but the coarsest where items are many.
static int most_groups(int samples, int ranks)
{
    enum { GROUPS_PER_RANK = 4 };
    if (ranks == 1 || samples / ranks > PLAN_FEW_ITEMS * 8) return 0;
    return ranks < PLAN_MAX_RUNS / GROUPS_PER_RANK ? GROUPS_PER_RANK * ranks : PLAN_MAX_RUNS;
}

// Of the first `samples` places.
static struct extent measure(const struct corpus *corpus, const int *order, int samples, int ranks,
                             int given_shard, const struct finished *finished)
{
    struct extent extent = {.ranks = ranks,
                            .samples = samples,
                            .given_shard = given_shard < samples ? given_shard : samples,
                            .length = corpus->length,
                            .order = order,
                            .finished = finished};
    for (int place = 0; place < samples; place++)
        extent.tokens += corpus->length[order ? order[place] : place];
    return extent;
}

// The groups of a division behind those that the plan has; room was made for them.
static void add_division(struct plan *plan, const struct division *division, int n_divisions)
{
    const int members = n_divisions * plan->n_runs;
    memcpy(plan->members + members, division->members, (size_t)plan->n_runs * sizeof *plan->members);
    for (int g = 0; g < division->n_groups; g++) {
        plan->groups[plan->n_groups] = division->groups[g];
        plan->groups[plan->n_groups++].first += members;
    }
}

static enum status add_stretches(struct plan *plan, const struct trial *trial,
                                 const struct divisions *divisions, struct error *err)
{
    long long items = 0;
    int place = 0, groups = 0, n_divisions = 0;
    for (int i = 0; i < trial->n; i++) {
        const struct trial_stretch *from = &trial->stretches[i];
        const struct division *division = &divisions->of[from->division];
        const bool again = i > 0 && trial->stretches[i - 1].division == from->division;
        if (!again) groups = plan->n_groups;
        if (!again) add_division(plan, division, n_divisions++);
        const long long shards = ((long long)from->samples + from->shard - 1) / from->shard,
                        here = shards * division->n_groups;
        if (items + here > INT_MAX)
            return error_set(err, STATUS_USAGE,
                             "the sweep has %lld items, more than %d; give a larger --shard", items + here,
                             INT_MAX);
        plan->stretches[plan->n_stretches++] = (struct stretch){.first_item = (int)items,
                                                                .n_items = (int)here,
                                                                .first_place = place,
                                                                .samples = from->samples,
                                                                .shard = from->shard,
                                                                .first_group = groups,
                                                                .n_groups = division->n_groups};
        items += here;
        place += from->samples;
    }
    plan->n_items = (int)items;
    return STATUS_OK;
}

static enum status fill(struct plan *plan, const struct trial *trial, const struct divisions *divisions,
                        struct error *err)
{
    size_t groups = 0, members = (size_t)trial->n * (size_t)plan->n_runs;
    for (int i = 0; i < trial->n; i++)
        groups += (size_t)divisions->of[trial->stretches[i].division].n_groups;
    plan->members = calloc(members, sizeof *plan->members);
    plan->groups = calloc(groups, sizeof *plan->groups);
    if (!plan->members || !plan->groups)
        return error_memory(err, members * sizeof *plan->members + groups * sizeof *plan->groups, "the plan");
    return add_stretches(plan, trial, divisions, err);
}

// The first `samples` places, where nothing (NULL) or something is finished.
static enum status divide(struct plan *plan, const struct job *job, const struct dims *dims,
                          const struct corpus *corpus, int samples, int ranks,
                          const struct finished *finished, struct error *err)
{
    struct divisions divisions;
    struct trial trial;
    if (divisions_make(&divisions, plan, dims, group_room(plan, dims, corpus->max_tokens),
                       most_groups(samples, ranks), err))
        return err->status;
    const struct extent extent = measure(corpus, plan->order, samples, ranks, job->shard, finished);
    if (tail_choose(&trial, &divisions, &extent, err) == STATUS_OK) fill(plan, &trial, &divisions, err);
    divisions_clear(&divisions);
    return err->status;
}

enum status plan_make_items(struct plan *plan, const struct job *job, const struct dims *dims,
                            const struct corpus *corpus, int ranks, struct error *err)
{
    if (order_samples(&plan->order, corpus, err)) return err->status;
    return divide(plan, job, dims, corpus, corpus->samples, ranks, NULL, err);
}

// ---- what is left of a sweep ----

static bool is_open(const struct plan *plan, const struct finished *finished, int sample)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (!finished_has(finished, r, sample)) return true;
    return false;
}

// Samples of which something is left.
static int count_open(const struct plan *plan, const struct finished *finished)
{
    int open = 0;
    for (int s = 0; s < plan->samples; s++)
        open += is_open(plan, finished, s);
    return open;
}

// In the order of hand-out; order[as many as count_open() says].
static void list_open(const struct plan *plan, const struct finished *finished, int *order)
{
    for (int place = 0; place < plan->samples; place++)
        if (is_open(plan, finished, plan_sample(plan, place))) *order++ = plan_sample(plan, place);
}

// Gives the items of `from` to the plan.
static void take_items(struct plan *plan, struct plan *from)
{
    free(plan->members);
    free(plan->groups);
    free(plan->order);
    free(plan->left);
    free(plan->left_before);
    *plan = *from;
}

enum status plan_renew(struct plan *plan, const struct job *job, const struct dims *dims,
                       const struct corpus *corpus, int ranks, const struct finished *finished,
                       struct error *err)
{
    const int open = count_open(plan, finished);
    if (open == 0 || most_groups(open, ranks) == 0) return plan_drop(plan, finished, err);
    struct plan renewed = *plan;
    renewed.members = NULL;
    renewed.groups = NULL;
    renewed.left = NULL;
    renewed.left_before = NULL;
    renewed.n_groups = renewed.n_stretches = renewed.n_items = 0;
    renewed.order = calloc((size_t)open, sizeof *renewed.order);
    if (!renewed.order) return error_memory(err, (size_t)open * sizeof *renewed.order, "the plan");
    list_open(plan, finished, renewed.order);
    if (divide(&renewed, job, dims, corpus, open, ranks, finished, err) == STATUS_OK &&
        plan_drop(&renewed, finished, err) == STATUS_OK) {
        take_items(plan, &renewed);
        return STATUS_OK;
    }
    free(renewed.members);
    free(renewed.groups);
    free(renewed.order);
    return err->status;
}
