// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/statistics/floor.h"

#include <math.h>

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
