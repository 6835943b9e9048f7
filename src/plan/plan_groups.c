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
    for (int c = 0; c < dims->arch->n_components; c++)
        values += arch_width(dims, c);
    return dims->n_layer * values * MEASURED_VALUE + (plan->logits ? dims->vocab_size * MEASURED_LOGIT : 0);
}

// Of a run with that; a re-run is compared with the run that it repeats as well.
static double run_cost(const struct plan *plan, const struct dims *dims, int run)
{
    return pass_cost(plan, dims, run) + measure_cost(plan, dims) * (plan->runs[run].dither ? 2 : 1);
}

double plan_run_cost(const struct plan *plan, const struct dims *dims, int run)
{
    return run_cost(plan, dims, run);
}

double plan_predictions_cost(const struct plan *plan, const struct dims *dims)
{
    return plan->logits ? dims->vocab_size * (dims->d_model + MEASURED_LOGIT) : 0;
}

// ---- pieces ----

// What always is in one group: a run with its re-runs or, where these are divided, with the first part of
// them, or a further part, for which the run is computed once more.  Re-runs of a reference are pieces
// without it: every group computes that.
struct piece {
    int lead, reference; // runs; the lead has the lowest number in the piece
    double cost;
};

// The lead of the piece of a run where re-runs are divided into so many parts.
static int lead_of(const struct plan *plan, int run, int parts)
{
    const struct run *about = &plan->runs[run];
    const int reruns = plan_reruns(plan), before = about->dither - 1;
    if (about->dither == 0) return run;
    const int part = before * parts / reruns, first = (part * reruns + parts - 1) / parts;
    if (part == 0 && about->repeats != about->reference) return about->repeats;
    return run - (before - first) * plan->n_repeated; // re-runs stand in rounds
}

// By reference, that itself in front, then the costly ones first.
static int compare_pieces(const void *a, const void *b)
{
    const struct piece *x = a, *y = b;
    if (x->reference != y->reference) return x->reference < y->reference ? -1 : 1;
    if ((x->lead == x->reference) != (y->lead == y->reference)) return x->lead == x->reference ? -1 : 1;
    if (x->cost != y->cost) return x->cost > y->cost ? -1 : 1;
    return x->lead < y->lead ? -1 : 1;
}

// ---- families ----

// A group while it is filled.
struct filled {
    int group, reference, members;
    double cost;
};

// What a division is made with.
struct maker {
    const struct plan *plan;
    const struct dims *dims;
    int parts;            // of the re-runs of a run
    struct piece *pieces; // [n_pieces], a family (a reference and what is compared with it) after the other
    int n_pieces;
    int *group;             // [n_runs] of each lead
    struct filled *filled;  // [n_runs]
    struct least *cheapest; // [n_runs]
    int *place;             // [n_runs] of a group in the order of their costs
};

static void cut_pieces(struct maker *maker, int parts)
{
    const struct plan *plan = maker->plan;
    int *at = maker->place; // of a lead
    maker->parts = parts;
    maker->n_pieces = 0;
    for (int r = 0; r < plan->n_runs; r++) {
        const struct run *run = &plan->runs[r];
        const int lead = lead_of(plan, r, parts);
        if (lead == r) {
            at[r] = maker->n_pieces++;
            maker->pieces[at[r]] = (struct piece){.lead = r, .reference = run->reference};
            if (run->dither && run->repeats != run->reference) // once more
                maker->pieces[at[r]].cost = pass_cost(plan, maker->dims, run->repeats);
        }
        maker->pieces[at[lead]].cost += run_cost(plan, maker->dims, r);
    }
    qsort(maker->pieces, (size_t)maker->n_pieces, sizeof *maker->pieces, compare_pieces);
}

// Pieces beside the reference of the family that begins at `first`; its reference is a run of the plan.
static int family_size(const struct maker *maker, int first)
{
    int end = first + 1;
    while (end < maker->n_pieces && maker->pieces[end].reference == maker->pieces[first].reference)
        end++;
    return end - first - 1;
}

static int groups_of(int pieces, int most_pieces)
{
    return pieces > most_pieces ? (pieces + most_pieces - 1) / most_pieces : 1;
}

static int count_groups(const struct maker *maker, int most_pieces, int *largest)
{
    int groups = 0;
    *largest = 1;
    for (int first = 0, size; first < maker->n_pieces; first += size + 1) {
        size = family_size(maker, first);
        groups += groups_of(size, most_pieces);
        *largest = size > *largest ? size : *largest;
    }
    return groups;
}

// ---- a division ----

// A reference's own run goes to the costliest group.
static void add_reference(struct maker *maker, const struct piece *reference, struct filled *filled,
                          int groups)
{
    struct filled *costliest = filled;
    for (struct filled *f = filled; f < filled + groups; f++)
        if (f->cost > costliest->cost) costliest = f;
    maker->group[reference->lead] = costliest->group;
    costliest->cost += measure_cost(maker->plan, maker->dims); // its pass is there already
}

// Every piece to the cheapest group that has room, the costly ones first.
static void deal(struct maker *maker, int first, int size, int most_pieces, struct filled *filled, int group)
{
    const struct piece *family = &maker->pieces[first];
    const double reference = pass_cost(maker->plan, maker->dims, family->lead);
    const int groups = groups_of(size, most_pieces);
    int open = groups;
    least_start(maker->cheapest, open);
    for (int g = 0; g < open; g++)
        filled[g] = (struct filled){.group = group + g, .reference = family->reference, .cost = reference};
    for (int i = 1; i <= size; i++) {
        struct least *cheapest = &maker->cheapest[0];
        struct filled *into = &filled[cheapest->id];
        maker->group[family[i].lead] = into->group;
        into->cost += family[i].cost;
        cheapest->value = into->cost;
        if (++into->members == most_pieces) *cheapest = maker->cheapest[--open];
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

static int place_of(const struct maker *maker, int run)
{
    return maker->place[maker->group[lead_of(maker->plan, run, maker->parts)]];
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
        division->groups[place_of(maker, r)].count++;
    for (int g = 1; g < division->n_groups; g++)
        division->groups[g].first = division->groups[g - 1].first + division->groups[g - 1].count;
    memset(maker->filled, 0, (size_t)division->n_groups * sizeof *maker->filled);
    for (int r = 0; r < n_runs; r++) {
        const int g = place_of(maker, r);
        division->members[division->groups[g].first + maker->filled[g].members++] = r;
    }
}

static enum status make_division(struct division *division, struct maker *maker, int most_pieces,
                                 struct error *err)
{
    const int n_runs = maker->plan->n_runs;
    int largest, group = 0;
    const size_t groups = (size_t)count_groups(maker, most_pieces, &largest);
    *division = (struct division){.n_groups = (int)groups,
                                  .members = calloc((size_t)n_runs, sizeof *division->members),
                                  .groups = calloc(groups, sizeof *division->groups),
                                  .cost = calloc(groups, sizeof *division->cost)};
    if (!division->members || !division->groups || !division->cost)
        return error_memory(err, groups * sizeof *division->groups, "the plan");
    for (int first = 0, size; first < maker->n_pieces; first += size + 1) {
        size = family_size(maker, first);
        deal(maker, first, size, most_pieces, &maker->filled[group], group);
        group += groups_of(size, most_pieces);
    }
    list_groups(division, maker);
    return STATUS_OK;
}

// ---- all divisions ----

static void maker_close(struct maker *maker)
{
    free(maker->pieces);
    free(maker->group);
    free(maker->filled);
    free(maker->cheapest);
    free(maker->place);
}

static enum status maker_open(struct maker *maker, const struct plan *plan, const struct dims *dims,
                              struct error *err)
{
    const size_t n = (size_t)plan->n_runs;
    *maker = (struct maker){.plan = plan,
                            .dims = dims,
                            .pieces = calloc(n, sizeof *maker->pieces),
                            .group = calloc(n, sizeof *maker->group),
                            .filled = calloc(n, sizeof *maker->filled),
                            .cheapest = calloc(n, sizeof *maker->cheapest),
                            .place = calloc(n, sizeof *maker->place)};
    if (!maker->pieces || !maker->group || !maker->filled || !maker->cheapest || !maker->place)
        return error_memory(err, n * sizeof *maker->filled, "the plan");
    return STATUS_OK;
}

// How many there are next: one more, later half as many again.
static int more(int parts)
{
    return parts > 3 ? parts + parts / 2 : parts + 1;
}

static bool is_beyond(const struct maker *maker, int most_pieces, int most_groups)
{
    int largest;
    return count_groups(maker, most_pieces, &largest) > most_groups;
}

// Where every piece has a group: re-runs in more and more parts.
static enum status divide_reruns(struct divisions *divisions, struct maker *maker, int most_groups,
                                 struct error *err)
{
    const int reruns = plan_reruns(maker->plan);
    for (int parts = 2; parts <= reruns && divisions->n < MOST_DIVISIONS; parts = more(parts)) {
        cut_pieces(maker, more(parts) > reruns ? reruns : parts);
        if (is_beyond(maker, 1, most_groups)) break;
        if (make_division(&divisions->of[divisions->n++], maker, 1, err)) return err->status;
    }
    return STATUS_OK;
}

// The largest family in more and more groups.
static enum status make_all(struct divisions *divisions, struct maker *maker, int room, int most_groups,
                            struct error *err)
{
    int largest, last = 0;
    cut_pieces(maker, 1);
    count_groups(maker, room, &largest);
    for (int groups = groups_of(largest, room); divisions->n < MOST_DIVISIONS && last != 1;
         groups = more(groups)) {
        const int most_pieces = groups < largest ? (largest + groups - 1) / groups : 1;
        if (most_pieces == last) continue;
        if (divisions->n > 0 && is_beyond(maker, most_pieces, most_groups)) return STATUS_OK;
        last = most_pieces;
        if (make_division(&divisions->of[divisions->n++], maker, most_pieces, err)) return err->status;
    }
    return divide_reruns(divisions, maker, most_groups, err);
}

enum status divisions_make(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                           int room, int most_groups, struct error *err)
{
    struct maker maker;
    *divisions = (struct divisions){.of = calloc(MOST_DIVISIONS, sizeof *divisions->of)};
    if (!divisions->of) return error_memory(err, MOST_DIVISIONS * sizeof *divisions->of, "the plan");
    divisions->run_cost = calloc((size_t)plan->n_runs, sizeof *divisions->run_cost);
    divisions->measure_cost = measure_cost(plan, dims);
    divisions->runs = plan->runs;
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
