// SPDX-License-Identifier: Apache-2.0
#include "plan_groups.h"

#include <stdlib.h>
#include <string.h>

#include "least.h"

enum { MOST_DIVISIONS = 32 };

// ---- costs ----

// Roughly what a token takes, in multiplications of a float mode: for the order of hand-out, the size of
// shards and the division into groups.  Measured on x86-64 with 256- and 512-bit vectors.
static const double INT8_PRODUCT = 0.2, SCAN_STEP = 35, BLOCKED_SCAN_STEP = 52, MEASURED_VALUE = 50,
                    MEASURED_LOGIT = 40;

static double pass_cost(const struct plan *plan, const struct dims *dims, int run)
{
    const struct mode *mode = plan->runs[run].mode;
    const double I = dims->d_inner, D = dims->d_model, R = dims->dt_rank, N = dims->d_state;
    const double products = I * (3 * D + (R + 2 * N) + R) * (mode_is_float(mode) ? 1 : INT8_PRODUCT);
    const double scan = I * N * (mode->scan_order == SCAN_BLOCKED ? BLOCKED_SCAN_STEP : SCAN_STEP);
    return dims->n_layer * (products + scan) + (plan->logits ? (double)dims->vocab_size * D : 0);
}

// Of a run that is compared with its reference, beside its pass.
static double measure_cost(const struct plan *plan, const struct dims *dims)
{
    double values = 0;
    for (int c = 0; c < COMPONENT_COUNT; c++)
        values += component_width(dims, (enum component)c);
    return dims->n_layer * values * MEASURED_VALUE + (plan->logits ? dims->vocab_size * MEASURED_LOGIT : 0);
}

// Of a run with that; a re-run is compared with the run that it repeats as well.
static double run_cost(const struct plan *plan, const struct dims *dims, int run)
{
    return pass_cost(plan, dims, run) + measure_cost(plan, dims) * (plan->runs[run].dither ? 2 : 1);
}

// ---- families ----

// A run with its re-runs, which go the same way.
struct ranked_run {
    int run, reference;
    double cost;
};

// By reference, that itself in front, then the costly ones first.
static int compare_runs(const void *a, const void *b)
{
    const struct ranked_run *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if ((x->run == x->reference) != (y->run == y->reference)) return x->run == x->reference ? -1 : 1;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->run < y->run ? -1 : 1;
}

// A family (a reference and what is compared with it) after the other; returns how many runs these are.  In
// a plan re-runs follow all others, which are not sorted yet when their costs come in.
static int rank_runs(const struct plan *plan, const struct dims *dims, struct ranked_run *runs)
{
    int count = 0;
    for (int r = 0; r < plan->n_runs; r++) {
        const struct run *run = &plan->runs[r];
        const double cost = run_cost(plan, dims, r);
        if (run->dither)
            runs[run->repeats].cost += cost;
        else
            runs[count++] = (struct ranked_run){.run = r, .reference = run->reference, .cost = cost};
    }
    qsort(runs, (size_t)count, sizeof *runs, compare_runs);
    return count;
}

// Runs beside the reference of the family that begins at `first`; its reference is a run of the plan.
static int family_runs(const struct ranked_run *runs, int n_runs, int first)
{
    int end = first + 1;
    while (end < n_runs && runs[end].reference == runs[first].reference)
        end++;
    return end - first - 1;
}

static int groups_of(int runs, int most_runs)
{
    return runs > most_runs ? (runs + most_runs - 1) / most_runs : 1;
}

static int count_groups(const struct ranked_run *runs, int n_runs, int most_runs, int *largest)
{
    int groups = 0;
    *largest = 1;
    for (int first = 0, size; first < n_runs; first += size + 1) {
        size = family_runs(runs, n_runs, first);
        groups += groups_of(size, most_runs);
        *largest = size > *largest ? size : *largest;
    }
    return groups;
}

// ---- a division ----

// A group while it is filled.
struct filled {
    int group, reference, runs;
    double cost;
};

// What a division is made with.
struct maker {
    const struct plan *plan;
    const struct dims *dims;
    const struct ranked_run *runs; // [n_ranked]
    int n_ranked;
    int *group;             // [n_runs] of each run but re-runs
    struct filled *filled;  // [n_runs]
    struct least *cheapest; // [n_runs]
    int *place;             // [n_runs] of a group in the order of their costs
};

// A reference's own run goes to the costliest group.
static void add_reference(struct maker *maker, const struct ranked_run *reference, struct filled *filled,
                          int groups)
{
    struct filled *costliest = filled;
    for (struct filled *f = filled; f < filled + groups; f++)
        if (f->cost > costliest->cost) costliest = f;
    maker->group[reference->run] = costliest->group;
    costliest->cost +=
        reference->cost - pass_cost(maker->plan, maker->dims, reference->run); // is there already
}

// Every run to the cheapest group that has room, the costly ones first.
static void deal(struct maker *maker, int first, int runs, int most_runs, struct filled *filled, int group)
{
    const struct ranked_run *family = &maker->runs[first];
    const double reference = pass_cost(maker->plan, maker->dims, family->run);
    const int groups = groups_of(runs, most_runs);
    int open = groups;
    least_start(maker->cheapest, open);
    for (int g = 0; g < open; g++)
        filled[g] = (struct filled){.group = group + g, .reference = family->reference, .cost = reference};
    for (int i = 1; i <= runs; i++) {
        struct least *cheapest = &maker->cheapest[0];
        struct filled *into = &filled[cheapest->id];
        maker->group[family[i].run] = into->group;
        into->cost += family[i].cost;
        cheapest->value = into->cost;
        if (++into->runs == most_runs) *cheapest = maker->cheapest[--open];
        least_settle(maker->cheapest, open);
    }
    add_reference(maker, family, filled, groups);
}

static int compare_filled(const void *a, const void *b)
{
    const struct filled *x = a, *y = b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->group < y->group ? -1 : 1;
}

// The groups of a division, as they were filled.
static void list_groups(struct division *division, struct maker *maker)
{
    const int n_runs = maker->plan->n_runs;
    qsort(maker->filled, (size_t)division->n_groups, sizeof *maker->filled, compare_filled);
    for (int g = division->n_groups - 1; g >= 0; g--) {
        maker->place[maker->filled[g].group] = g;
        division->cost[g] = maker->filled[g].cost;
        division->groups[g] = (struct group){.reference = maker->filled[g].reference};
    }
    for (int r = 0; r < n_runs; r++)
        division->groups[maker->place[maker->group[maker->plan->runs[r].repeats]]].count++;
    for (int g = 1; g < division->n_groups; g++)
        division->groups[g].first = division->groups[g - 1].first + division->groups[g - 1].count;
    memset(maker->filled, 0, (size_t)division->n_groups * sizeof *maker->filled);
    for (int r = 0; r < n_runs; r++) {
        const int g = maker->place[maker->group[maker->plan->runs[r].repeats]];
        division->members[division->groups[g].first + maker->filled[g].runs++] = r;
    }
}

static enum status make_division(struct division *division, struct maker *maker, int most_runs,
                                 struct error *err)
{
    const int n_runs = maker->plan->n_runs;
    int largest, group = 0;
    const size_t groups = (size_t)count_groups(maker->runs, maker->n_ranked, most_runs, &largest);
    *division = (struct division){.n_groups = (int)groups,
                                  .members = calloc((size_t)n_runs, sizeof *division->members),
                                  .groups = calloc(groups, sizeof *division->groups),
                                  .cost = calloc(groups, sizeof *division->cost)};
    if (!division->members || !division->groups || !division->cost)
        return error_memory(err, groups * sizeof *division->groups, "the plan");
    for (int first = 0, runs; first < maker->n_ranked; first += runs + 1) {
        runs = family_runs(maker->runs, maker->n_ranked, first);
        deal(maker, first, runs, most_runs, &maker->filled[group], group);
        group += groups_of(runs, most_runs);
    }
    list_groups(division, maker);
    return STATUS_OK;
}

// ---- all divisions ----

static void maker_close(struct maker *maker)
{
    free((void *)(size_t)maker->runs);
    free(maker->group);
    free(maker->filled);
    free(maker->cheapest);
    free(maker->place);
}

static enum status maker_open(struct maker *maker, const struct plan *plan, const struct dims *dims,
                              struct error *err)
{
    const size_t n = (size_t)plan->n_runs;
    struct ranked_run *runs = calloc(n, sizeof *runs);
    *maker = (struct maker){.plan = plan,
                            .dims = dims,
                            .runs = runs,
                            .group = calloc(n, sizeof *maker->group),
                            .filled = calloc(n, sizeof *maker->filled),
                            .cheapest = calloc(n, sizeof *maker->cheapest),
                            .place = calloc(n, sizeof *maker->place)};
    if (!runs || !maker->group || !maker->filled || !maker->cheapest || !maker->place)
        return error_memory(err, n * sizeof *maker->filled, "the plan");
    maker->n_ranked = rank_runs(plan, dims, runs);
    return STATUS_OK;
}

// The largest family in one part more each time, later in half as many again.
static enum status make_all(struct divisions *divisions, struct maker *maker, int room, int most_groups,
                            struct error *err)
{
    int largest, last = 0;
    count_groups(maker->runs, maker->n_ranked, room, &largest);
    for (int parts = groups_of(largest, room); divisions->n < MOST_DIVISIONS && last != 1;
         parts += parts > 3 ? parts / 2 : 1) {
        const int most_runs = parts < largest ? (largest + parts - 1) / parts : 1;
        if (most_runs == last) continue;
        if (divisions->n > 0 && count_groups(maker->runs, maker->n_ranked, most_runs, &largest) > most_groups)
            break;
        last = most_runs;
        if (make_division(&divisions->of[divisions->n++], maker, most_runs, err)) return err->status;
    }
    return STATUS_OK;
}

enum status divisions_make(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                           int room, int most_groups, struct error *err)
{
    struct maker maker;
    *divisions = (struct divisions){.of = calloc(MOST_DIVISIONS, sizeof *divisions->of)};
    if (!divisions->of) return error_memory(err, MOST_DIVISIONS * sizeof *divisions->of, "the plan");
    divisions->run_cost = calloc((size_t)plan->n_runs, sizeof *divisions->run_cost);
    divisions->measure_cost = measure_cost(plan, dims);
    if (!divisions->run_cost)
        error_memory(err, (size_t)plan->n_runs * sizeof *divisions->run_cost, "the plan");
    if (maker_open(&maker, plan, dims, err) == STATUS_OK) make_all(divisions, &maker, room, most_groups, err);
    for (int r = 0; r < plan->n_runs && !err->status; r++)
        divisions->run_cost[r] = run_cost(plan, dims, r);
    maker_close(&maker);
    if (err->status) divisions_clear(divisions);
    return err->status;
}

void divisions_clear(struct divisions *divisions)
{
    for (int d = 0; d < divisions->n; d++) {
        free(divisions->of[d].members);
        free(divisions->of[d].groups);
        free(divisions->of[d].cost);
    }
    free(divisions->of);
    free(divisions->run_cost);
    *divisions = (struct divisions){0};
}
