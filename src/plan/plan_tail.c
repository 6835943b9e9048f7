// SPDX-License-Identifier: Apache-2.0
#include "plan_tail.h"

#include <math.h>
#include <stdlib.h>

#include "least.h"
#include "ssmsweep/plan/finished.h"

enum { ITEMS_PER_RANK = 8, MAX_SHARD = 64 };

// Of a core of today: multiplications of a float mode in a second, and what is worth a message.
static const double PRODUCTS_PER_SECOND = 5e10, WORTHWHILE_SECONDS = 0.02, ITEM_SECONDS = 1e-4;

int tail_shard(const struct division *division, const struct extent *extent)
{
    const double cheapest = division->cost[division->n_groups - 1],
                 mean_tokens = extent->tokens / extent->samples;
    const double worthwhile = ceil(WORTHWHILE_SECONDS * PRODUCTS_PER_SECOND / (mean_tokens * cheapest + 1)),
                 balanced = floor((double)division->n_groups * extent->samples /
                                  ((double)ITEMS_PER_RANK * extent->ranks));
    const double shard = fmin(fmin(worthwhile, MAX_SHARD), balanced);
    if (extent->given_shard > 0) return extent->given_shard;
    return shard < 1 ? 1 : shard > extent->samples ? extent->samples : (int)shard;
}

// ---- simulation ----

struct search {
    const struct divisions *divisions;
    const struct extent *extent;
    struct least *ranks; // [ranks] when each is free
    long long steps;     // of all simulations: samples and items
    struct trial best;
    double shortest;
};

static int sample_at(const struct extent *extent, int place)
{
    return extent->order ? extent->order[place] : place;
}

static double shard_tokens(const struct extent *extent, int first, int end)
{
    double tokens = 0;
    for (int place = first; place < end; place++)
        tokens += extent->length[sample_at(extent, place)];
    return tokens;
}

// Members of a group that are not finished.
struct open_members {
    const struct divisions *divisions;
    const struct finished *finished;
    const int *members;
    int reference, sample;
};

static bool is_open(const struct open_members *open, int member)
{
    return !finished_has(open->finished, open->members[member], open->sample);
}

// Is a re-run the first for which the run that it repeats, finished or of another group, is computed again?
static bool computes_again(const struct open_members *open, int member)
{
    const struct run *runs = open->divisions->runs, *run = &runs[open->members[member]];
    if (run->dither == 0 || run->repeats == open->reference) return false;
    for (int i = 0; i < member; i++)
        if (runs[open->members[i]].repeats == run->repeats && is_open(open, i)) return false;
    return true;
}

// Of a token of a sample, where some of the runs of a group are finished; 0: all.
static double open_cost(const struct search *search, const struct division *division, int group, int sample)
{
    const struct divisions *divisions = search->divisions;
    const struct group *g = &division->groups[group];
    const double measured = divisions->measure_cost, *run_cost = divisions->run_cost;
    const struct open_members open = {divisions, search->extent->finished, division->members + g->first,
                                      g->reference, sample};
    double cost = 0;
    for (int m = 0; m < g->count; m++) {
        const int run = open.members[m];
        if (!is_open(&open, m)) continue;
        cost += run == g->reference ? measured : run_cost[run];
        if (computes_again(&open, m)) cost += run_cost[divisions->runs[run].repeats] - measured;
    }
    return cost > 0 ? cost + run_cost[g->reference] - measured : 0;
}

// Of places [first, end), which have so many tokens, in a group.
static double item_cost(struct search *search, const struct division *division, int group, int first, int end,
                        double tokens)
{
    double cost = 0;
    if (!search->extent->finished) return tokens * division->cost[group];
    for (int place = first; place < end; place++) {
        const int sample = sample_at(search->extent, place);
        cost += search->extent->length[sample] * open_cost(search, division, group, sample);
    }
    search->steps += (long long)(end - first) * division->groups[group].count;
    return cost;
}

struct ending {
    double first, last; // a rank without work, the end of the last item
};

// The last rank is slower by `spread` than the first; the others are between them.
static struct ending simulate(struct search *search, const struct trial *trial, double spread)
{
    const int ranks = search->extent->ranks;
    const double slower = ranks > 1 ? spread / (ranks - 1) : 0;
    double last = 0;
    int place = 0;
    least_start(search->ranks, ranks);
    for (const struct trial_stretch *s = trial->stretches; s < trial->stretches + trial->n; s++) {
        const struct division *division = &search->divisions->of[s->division];
        const int end = place + s->samples;
        for (int next; place < end; place = next) {
            next = end - place > s->shard ? place + s->shard : end;
            const double tokens = shard_tokens(search->extent, place, next);
            search->steps += next - place + division->n_groups;
            for (int g = 0; g < division->n_groups; g++) {
                struct least *rank = &search->ranks[0];
                const double cost = item_cost(search, division, g, place, next, tokens);
                if (cost == 0) continue; // finished
                rank->value += (cost + ITEM_SECONDS * PRODUCTS_PER_SECOND) * (1 + slower * rank->id);
                last = fmax(last, rank->value);
                least_settle(search->ranks, ranks);
            }
        }
    }
    return (struct ending){search->ranks[0].value, last};
}

// How long a trial takes.  A long tail counts further: speeds and costs are estimates, and the more of the
// sweep is tail the more they cost.  So does each stretch, which must be worth it.
static double rate(struct search *search, const struct trial *trial)
{
    static const double spreads[] = {0.02, 0.05, 0.1};
    static const double SHORT_TAIL = 0.03, TAIL_WEIGHT = 0.5, STRETCH_WEIGHT = 0.002;
    enum { SPREADS = sizeof spreads / sizeof spreads[0] };
    double sum = 0;
    for (int i = 0; i < SPREADS; i++) {
        const struct ending ending = simulate(search, trial, spreads[i]);
        const double tail = ending.last - ending.first;
        sum += ending.last + TAIL_WEIGHT * fmax(0, tail - SHORT_TAIL * ending.last);
    }
    return sum * (1 + STRETCH_WEIGHT * (trial->n - 1));
}

static void try(struct search *search, const struct trial *trial)
{
    const double rating = rate(search, trial);
    if (rating >= search->shortest) return;
    search->shortest = rating;
    search->best = *trial;
}

// ---- search ----

enum { MOST_STEPS = 1 << 22 }; // about a tenth of a second

static bool is_tired(const struct search *search)
{
    return search->steps > MOST_STEPS;
}

static struct trial uniform(const struct search *search, int division)
{
    struct trial trial = {.n = 1};
    trial.stretches[0] = (struct trial_stretch){division, search->extent->samples,
                                                tail_shard(&search->divisions->of[division], search->extent)};
    return trial;
}

// The last samples of a trial in a finer division, or in smaller shards.
static void try_tails(struct search *search, const struct trial *start, int samples)
{
    struct trial trial = *start;
    struct trial_stretch *before = &trial.stretches[trial.n - 1], *tail = &trial.stretches[trial.n++];
    before->samples -= samples;
    for (int d = before->division; d < search->divisions->n && !is_tired(search); d++) {
        const int shard = tail_shard(&search->divisions->of[d], search->extent);
        *tail = (struct trial_stretch){d, samples, shard};
        if (d > before->division) try(search, &trial);
        tail->shard = 1;
        if (shard > 1 && search->extent->given_shard == 0) try(search, &trial);
    }
}

// Tails of all lengths up to some rounds of all ranks, in growing steps.
static void extend(struct search *search, const struct trial *start)
{
    enum { FINE_STEPS = 16, ROUNDS = 4 };
    const struct trial_stretch *last = &start->stretches[start->n - 1];
    const double most =
        fmin(last->samples - 1.0, (double)ROUNDS * last->shard * search->extent->ranks + FINE_STEPS);
    for (int samples = 1; samples <= most && !is_tired(search);
         samples += samples < FINE_STEPS ? 1 : samples / 4)
        try_tails(search, start, samples);
}

static void choose(struct search *search)
{
    for (int d = 0; d < search->divisions->n && !is_tired(search); d++) {
        const struct trial trial = uniform(search, d);
        try(search, &trial);
        extend(search, &trial);
    }
    for (int n = 2; n < PLAN_STRETCHES && search->best.n == n; n++) {
        const struct trial start = search->best;
        extend(search, &start);
    }
}

enum status tail_choose(struct trial *chosen, const struct divisions *divisions, const struct extent *extent,
                        struct error *err)
{
    struct search search = {.divisions = divisions,
                            .extent = extent,
                            .ranks = calloc((size_t)extent->ranks, sizeof *search.ranks),
                            .shortest = INFINITY};
    if (!search.ranks) return error_memory(err, (size_t)extent->ranks * sizeof *search.ranks, "the plan");
    search.best = uniform(&search, 0);
    const double shards = ceil((double)extent->samples / search.best.stretches[0].shard);
    if (extent->ranks > 1 && divisions->of[0].n_groups * shards <= (double)PLAN_FEW_ITEMS * extent->ranks)
        choose(&search);
    free(search.ranks);
    *chosen = search.best;
    return STATUS_OK;
}
