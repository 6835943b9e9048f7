// SPDX-License-Identifier: Apache-2.0
#include "plan_items.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep.h"
#include "plan_groups.h"
#include "plan_order.h"
#include "plan_tail.h"

// What the runs of a group may take beside the workspace; a few of them in any case.
enum { GROUP_BYTES = 128 << 20, LEAST_ROOM = 4 };

static int group_room(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    const double room = GROUP_BYTES / ((double)lockstep_run_bytes(plan, dims, max_tokens) + 1);
    return room < LEAST_ROOM ? LEAST_ROOM : room > plan->n_runs ? plan->n_runs : (int)room;
}

// Groups that are worth a thought: some for each rank, and none but the coarsest where items are many.
static int most_groups(const struct corpus *corpus, int ranks)
{
    enum { GROUPS_PER_RANK = 4 };
    if (ranks == 1 || corpus->samples / ranks > PLAN_FEW_ITEMS * 8) return 0;
    return ranks < PLAN_MAX_RUNS / GROUPS_PER_RANK ? GROUPS_PER_RANK * ranks : PLAN_MAX_RUNS;
}

static struct extent measure(const struct corpus *corpus, const int *order, int ranks, int given_shard)
{
    struct extent extent = {.ranks = ranks,
                            .samples = corpus->samples,
                            .given_shard = given_shard < corpus->samples ? given_shard : corpus->samples,
                            .length = corpus->length,
                            .order = order};
    for (int s = 0; s < corpus->samples; s++)
        extent.tokens += corpus->length[s];
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

enum status plan_make_items(struct plan *plan, const struct job *job, const struct dims *dims,
                            const struct corpus *corpus, int ranks, struct error *err)
{
    struct divisions divisions;
    struct trial trial;
    if (order_samples(&plan->order, corpus, err)) return err->status;
    if (divisions_make(&divisions, plan, dims, group_room(plan, dims, corpus->max_tokens),
                       most_groups(corpus, ranks), err))
        return err->status;
    const struct extent extent = measure(corpus, plan->order, ranks, job->shard);
    if (tail_choose(&trial, &divisions, &extent, err) == STATUS_OK) fill(plan, &trial, &divisions, err);
    divisions_clear(&divisions);
    return err->status;
}
