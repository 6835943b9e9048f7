// SPDX-License-Identifier: Apache-2.0
// What runs cost, and how they are divided into groups.
#include <stdlib.h>

#include "plan_parts.h"
#include "ssmsweep/arch/arch.h"
#include "ssmsweep/plan/plan.h"

enum { MOST_DIVISIONS = 16 };

// ---- costs ----

// Roughly what a token takes, in multiplications of a float mode.  Measured on x86-64 with 256- and 512-bit
// vectors.
static const double MEASURED_VALUE = 50, MEASURED_LOGIT = 40;

static double pass_cost(const struct plan *plan, const struct dims *dims, int run)
{
    double layers = 0;
    for (int l = 0; l < dims->n_layer; l++)
        layers += dims->arch->cost(dims, plan->runs[run].recipe, l);
    return layers + (plan->logits ? (double)dims->vocab_size * dims->d_model : 0);
}

// What comes beside the pass of a run that is compared with another one.
static double measure_cost(const struct plan *plan, const struct dims *dims)
{
    double values = 0;
    for (int c = 0; c < dims->arch->n_components; c++)
        values += arch_width(dims, c);
    return dims->n_layer * values * MEASURED_VALUE + (plan->logits ? dims->vocab_size * MEASURED_LOGIT : 0);
}

double plan_run_cost(const struct plan *plan, const struct dims *dims, int run)
{
    return pass_cost(plan, dims, run) + measure_cost(plan, dims) * (plan->runs[run].dither ? 2 : 1);
}

double plan_layer_cost(const struct plan *plan, const struct dims *dims, int run)
{
    return (plan_run_cost(plan, dims, run) - plan_predictions_cost(plan, dims)) / plan->n_layer;
}

double plan_predictions_cost(const struct plan *plan, const struct dims *dims)
{
    return plan->logits ? dims->vocab_size * (dims->d_model + MEASURED_LOGIT) : 0;
}

// Every group computes the reference, and what its re-runs repeat.  A run costs the layers that no other has.
static double group_cost(const struct plan *plan, const struct dims *dims, const int *members,
                         const struct group *group)
{
    double cost = pass_cost(plan, dims, group->reference);
    int computed = group->reference;
    for (int i = 0; i < group->count; i++) {
        const int run = members[group->first + i], repeats = plan->runs[run].repeats;
        const double left = 1 - (double)plan_fork(plan, members, group, i) / plan->n_layer;
        cost += run == group->reference ? measure_cost(plan, dims) : plan_run_cost(plan, dims, run) * left;
        cost += plan_isolated_layers(plan, members, group, i) * plan_layer_cost(plan, dims, run);
        if (repeats != run && repeats != computed && repeats != group->reference)
            cost += pass_cost(plan, dims, repeats);
        computed = repeats;
    }
    return cost;
}

// ---- the list that is cut into groups ----

// By reference, that itself in front, then every run with its re-runs behind it.
struct entry {
    int run, reference, repeats;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if ((x->run == x->reference) != (y->run == y->reference)) return x->run == x->reference ? -1 : 1;
    if (x->repeats != y->repeats) return x->repeats < y->repeats ? -1 : 1;
    return (x->run > y->run) - (x->run < y->run);
}

static bool is_open(const struct plan *plan, const struct finished *finished, int run)
{
    for (int s = 0; finished && s < plan->samples; s++)
        if (!finished_has(finished, run, s)) return true;
    return !finished;
}

static int list_entries(struct entry *entries, const struct plan *plan, const struct finished *finished)
{
    int n = 0;
    for (int r = 0; r < plan->n_runs; r++)
        if (is_open(plan, finished, r))
            entries[n++] = (struct entry){r, plan->runs[r].reference, plan->runs[r].repeats};
    qsort(entries, (size_t)n, sizeof *entries, compare_entries);
    return n;
}

// Entries of one reference.
struct family {
    int first, own, others; // own: 1 where the reference's own run is the first of them
};

static struct family family_at(const struct entry *entries, int n, int first)
{
    int end = first;
    while (end < n && entries[end].reference == entries[first].reference)
        end++;
    const int own = entries[first].run == entries[first].reference;
    return (struct family){first, own, end - first - own};
}

static int groups_of(const struct family *family, int most_runs)
{
    return family->others > most_runs ? (family->others + most_runs - 1) / most_runs : 1;
}

static int count_groups(const struct entry *entries, int n, int most_runs, int *largest)
{
    int groups = 0;
    *largest = 1;
    for (int first = 0; first < n;) {
        const struct family family = family_at(entries, n, first);
        groups += groups_of(&family, most_runs);
        if (family.others > *largest) *largest = family.others;
        first += family.own + family.others;
    }
    return groups;
}

// ---- divisions ----

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

// Neighbours of the list, as many in each group; the reference's own run is in the first one.
static void cut_family(struct division *division, const struct entry *entries, const struct family *family,
                       int groups)
{
    const int own = family->own;
    for (int g = 0, from = 0; g < groups; g++) {
        const int end = (int)((long long)family->others * (g + 1) / groups);
        const int first = family->first + (g > 0 ? own + from : 0);
        division->groups[division->n_groups++] = (struct group){.reference = entries[family->first].reference,
                                                                .first = first,
                                                                .count = end - from + (g == 0 ? own : 0)};
        from = end;
    }
}

static enum status make_division(struct division *division, const struct plan *plan, const struct dims *dims,
                                 const struct entry *entries, int n, int most_runs, struct error *err)
{
    int largest;
    const size_t groups = (size_t)count_groups(entries, n, most_runs, &largest);
    *division = (struct division){.members = calloc((size_t)n, sizeof *division->members),
                                  .groups = calloc(groups, sizeof *division->groups)};
    if (!division->members || !division->groups)
        return error_memory(err, groups * sizeof *division->groups, "the plan");
    for (int i = 0; i < n; i++)
        division->members[i] = entries[i].run;
    for (int first = 0; first < n;) {
        const struct family family = family_at(entries, n, first);
        cut_family(division, entries, &family, groups_of(&family, most_runs));
        first += family.own + family.others;
    }
    for (int g = 0; g < division->n_groups; g++)
        division->groups[g].cost = group_cost(plan, dims, division->members, &division->groups[g]);
    qsort(division->groups, (size_t)division->n_groups, sizeof *division->groups, compare_groups);
    return STATUS_OK;
}

// The largest family in more and more groups: one more each time, later half as many again.
static enum status make_all(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                            const struct entry *entries, int room, int most_groups, struct error *err)
{
    int largest, last = 0;
    count_groups(entries, divisions->n_runs, room, &largest);
    for (int groups = (largest + room - 1) / room; divisions->n < MOST_DIVISIONS && last != 1;
         groups += groups > 3 ? groups / 2 : 1) {
        const int most_runs = groups < largest ? (largest + groups - 1) / groups : 1;
        int ignored;
        if (most_runs == last) continue;
        if (divisions->n > 0 && count_groups(entries, divisions->n_runs, most_runs, &ignored) > most_groups)
            break;
        last = most_runs;
        if (make_division(&divisions->of[divisions->n++], plan, dims, entries, divisions->n_runs, most_runs,
                          err))
            break;
    }
    return err->status;
}

enum status divisions_make(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                           const struct finished *finished, int room, int most_groups, struct error *err)
{
    struct entry *entries = calloc((size_t)plan->n_runs, sizeof *entries);
    *divisions = (struct divisions){.of = calloc(MOST_DIVISIONS, sizeof *divisions->of)};
    if (entries && divisions->of) {
        divisions->n_runs = list_entries(entries, plan, finished);
        make_all(divisions, plan, dims, entries, room, most_groups, err);
    } else {
        error_memory(err, (size_t)plan->n_runs * sizeof *entries, "the plan");
    }
    free(entries);
    return err->status;
}

void divisions_clear(struct divisions *divisions)
{
    for (int d = 0; d < divisions->n; d++) {
        free(divisions->of[d].members);
        free(divisions->of[d].groups);
    }
    free(divisions->of);
    *divisions = (struct divisions){0};
}
