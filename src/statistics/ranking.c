// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/statistics/ranking.h"

#include <math.h>
#include <stdlib.h>

#include "ssmsweep/statistics/student.h"

enum { MAX_PAIRS = BOOTSTRAP_MAX_RUNS * (BOOTSTRAP_MAX_RUNS - 1) / 2 };

// ---- Holm ----

// Ascending, NaN last; equal ones stay in their order.
static void sort_indices(const double *p, int count, int *order)
{
    for (int i = 0; i < count; i++) {
        int at = i;
        for (; at > 0 && (p[order[at - 1]] > p[i] || (isnan(p[order[at - 1]]) && !isnan(p[i]))); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

void holm_adjust(const double *p, int count, double *adjusted)
{
    int order[MAX_PAIRS], tests = 0;
    double largest = 0;
    if (count > MAX_PAIRS) count = MAX_PAIRS;
    sort_indices(p, count, order);
    for (int i = 0; i < count; i++)
        tests += !isnan(p[i]);
    for (int rank = 0; rank < tests; rank++) {
        largest = fmax(largest, fmin(1, p[order[rank]] * (tests - rank)));
        adjusted[order[rank]] = largest;
    }
    for (int rank = tests; rank < count; rank++)
        adjusted[order[rank]] = NAN;
}

static void adjust_changes(const struct change *changes, int count, double *adjusted)
{
    for (int i = 0; i < count; i++)
        adjusted[i] = changes[i].p;
    holm_adjust(adjusted, count, adjusted);
}

// ---- ranks ----

// Is the first of the pair better, were the change real?
static bool first_better(const struct metric *metric, const struct change *change)
{
    return metric->better == BETTER_LARGER ? change->phi > 0 : change->phi < 0;
}

static void judge(const struct metric *metric, const struct change *change, bool significant, int a, int b,
                  struct standing *ranks)
{
    uint64_t bit_a = UINT64_C(1) << a, bit_b = UINT64_C(1) << b;
    if (significant) {
        bool a_better = first_better(metric, change);
        ranks[a_better ? b : a].better |= a_better ? bit_a : bit_b;
        return;
    }
    ranks[a].tied |= bit_b;
    ranks[b].tied |= bit_a;
    if (change->state != INTERVAL_EQUAL) return;
    ranks[a].equal |= bit_b;
    ranks[b].equal |= bit_a;
}

void ranking_make(const struct metric *metric, const struct interval *intervals, const struct change *changes,
                  int runs, double alpha, struct standing *ranks, double *adjusted)
{
    double own[MAX_PAIRS], *p = adjusted ? adjusted : own;
    adjust_changes(changes, pair_count(runs), p);
    for (int r = 0; r < runs; r++)
        ranks[r] = (struct standing){0};
    for (int a = 0; a < runs; a++)
        for (int b = a + 1; b < runs; b++) {
            int pair = pair_index(runs, a, b);
            if (!isnan(intervals[a].phi) && !isnan(intervals[b].phi))
                judge(metric, &changes[pair], p[pair] <= alpha, a, b, ranks);
        }
    for (int r = 0; r < runs; r++)
        ranks[r].rank = isnan(intervals[r].phi) ? 0 : 1 + __builtin_popcountll(ranks[r].better);
}

// ---- trend ----

// What a trend is judged by.
struct steps {
    const struct metric *metric;
    const struct change *changes;
    const double *noise; // or NULL
    const double *p;     // corrected
    int runs;
    double alpha;
};

static bool later_is_better(const struct steps *steps, int from)
{
    for (int later = from + 1; later < steps->runs; later++) {
        const int pair = pair_index(steps->runs, from, later);
        const struct change *change = &steps->changes[pair];
        bool noise = steps->noise && fabs(change->phi) <= steps->noise[pair];
        if (steps->p[pair] <= steps->alpha && !noise && !first_better(steps->metric, change)) return true;
    }
    return false;
}

int trend_settles(const struct metric *metric, const struct change *changes, const double *noise, int runs,
                  double alpha)
{
    double p[MAX_PAIRS];
    const struct steps steps = {metric, changes, noise, p, runs, alpha};
    adjust_changes(changes, pair_count(runs), p);
    for (int i = 0; i < pair_count(runs); i++)
        if (isnan(p[i])) return -1;
    int from = 0;
    while (from < runs - 1 && later_is_better(&steps, from))
        from++;
    return runs > 0 ? from : -1;
}

// ---- power ----

// Beyond so many samples Student's t is taken as it is there, half a per cent too many samples at most: its
// series has as many terms.
enum { MANY = 500 };

struct demands {
    double alpha, normal; // normal: quantile of the power
    int families;
    double *of; // [families][MANY], 0: not computed yet
};

enum status demands_open(struct demands **demands, double alpha, double power, int families,
                         struct error *err)
{
    struct demands *made = malloc(sizeof *made);
    const size_t count = (size_t)families * MANY + 1;
    if (made)
        *made = (struct demands){.alpha = alpha,
                                 .normal = student_quantile(2 * (1 - power), STUDENT_MOST),
                                 .families = families,
                                 .of = calloc(count, sizeof *made->of)};
    if (!made || !made->of) {
        free(made);
        return error_memory(err, count * sizeof(double), "numbers of samples");
    }
    *demands = made;
    return STATUS_OK;
}

void demands_close(struct demands *demands)
{
    if (!demands) return;
    free(demands->of);
    free(demands);
}

// Squared distance of the change from 0, in standard errors, at which its t passes the level with the power:
// the noncentral t as Abramowitz & Stegun have it, 26.7.10.
static double demand(const struct demands *demands, int samples, int family)
{
    double *known = &demands->of[(size_t)(family - 1) * MANY + (size_t)(samples - 1)];
    if (*known > 0) return *known;
    const double freedom = samples - 1, t = student_quantile(demands->alpha / family, samples - 1);
    const double distance = t * (1 - 1 / (4 * freedom)) + demands->normal * sqrt(1 + t * t / (2 * freedom));
    return *known = distance * distance;
}

double samples_needed(struct demands *demands, const struct change *change, double least, int family)
{
    if (isnan(change->phi) || change->state == INTERVAL_UNBOUNDED) return NAN;
    if (change->phi == 0 || fabs(change->phi) <= least) return INFINITY;
    if (!(change->se > 0)) return NAN;
    double spread = change->se * sqrt((double)change->samples);
    double ratio = spread / change->phi * (spread / change->phi);
    double many = ceil(demand(demands, MANY, family) * ratio);
    if (many > MANY) return many > SAMPLES_MOST ? (double)INFINITY : many;
    int low = 1, high = MANY; // one sample has no spread
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (middle >= demand(demands, middle, family) * ratio)
            high = middle;
        else
            low = middle;
    }
    return fmax(high, BOOTSTRAP_MIN_SAMPLES);
}

// ---- the noise floor ----

// What is ordered: larger is worse.
struct keys {
    const double *values;
    double own; // phi of the run itself; NaN: the values are ordered, not their distance from it
    enum scale scale;
    bool larger_is_better;
};

static double key(const struct keys *keys, int k)
{
    double v = keys->values[k];
    if (isnan(keys->own)) return keys->larger_is_better ? -v : v;
    double phi = scale_phi(keys->scale, v);
    return phi == keys->own ? 0 : fabs(phi - keys->own); // equal ones may be infinite
}

// The smallest key that `quantile` of them do not exceed; NaN if any is.  An infinite distance is none: it
// lies between a value and the end of its scale, as of a run that is the reference in every bit.
static double order_statistic(const struct keys *keys, int count, double quantile)
{
    int finite = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(key(keys, i))) return NAN;
        finite += key(keys, i) < (double)INFINITY;
    }
    if (finite == 0) return NAN;
    int k = (int)ceil(quantile * finite - 1e-9);
    k = k < 1 ? 1 : k > finite ? finite : k;
    for (int i = 0; i < count; i++) {
        int below = 0, same = 0;
        for (int j = 0; j < count; j++) {
            below += key(keys, j) < key(keys, i);
            same += key(keys, j) == key(keys, i);
        }
        if (below < k && k <= below + same) return key(keys, i);
    }
    return NAN;
}

struct noise_floor noise_floor_make(const struct metric *metric, double own, const double *against_reference,
                                    const double *against_self, int reruns, double quantile)
{
    struct noise_floor floor = {NAN, NAN, reruns};
    double phi = scale_phi(metric->scale, own);
    bool larger = metric->better == BETTER_LARGER;
    if (against_reference && !isnan(phi))
        floor.change =
            order_statistic(&(struct keys){against_reference, phi, metric->scale, larger}, reruns, quantile);
    if (against_self) {
        double worst =
            order_statistic(&(struct keys){against_self, NAN, metric->scale, larger}, reruns, quantile);
        floor.value = larger ? -worst : worst;
    }
    return floor;
}

bool value_below_floor(const struct metric *metric, double value, const struct noise_floor *floor)
{
    return metric->better == BETTER_LARGER ? value >= floor->value : value <= floor->value;
}

static double known(const struct noise_floor *floor)
{
    return floor && !isnan(floor->change) ? floor->change : 0;
}

double change_floor(const struct noise_floor *a, const struct noise_floor *b)
{
    return known(a) + known(b);
}

bool change_below_floor(double phi, const struct noise_floor *a, const struct noise_floor *b)
{
    return fabs(phi) <= change_floor(a, b);
}
