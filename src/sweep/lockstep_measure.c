// SPDX-License-Identifier: Apache-2.0
// Measuring the outputs of a layer.  A device sums them while the next lanes go through it: what was begun
// stands in a ring, and is taken in that order once it is full, or somebody has to know.
#include <string.h>

#include "lockstep_parts.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/sweep/progress.h"

// ---- what becomes of it ----

static void keep_profile(const struct profile *profile, uint32_t *histogram, double *position)
{
    for (int i = 0; i < PROFILE_BINS; i++)
        histogram[i] = profile->bins[i] < UINT32_MAX ? (uint32_t)profile->bins[i] : UINT32_MAX;
    for (int i = 0; i < PROFILE_POSITIONS; i++) {
        position[2 * i] = profile->position_squares[i];
        position[2 * i + 1] = profile->position_abs[i];
    }
}

static void keep(const struct lockstep *l, const struct measuring *m, const struct measured *found,
                 size_t place)
{
    if (m->as == MEASURED_APART) m->lane->apart[place] = found->moments;
    if (m->as == MEASURED_ALONE) m->lane->isolated[place] = found->moments;
    if (m->as != MEASURED_AGAINST) return;
    m->lane->moments[place] = found->moments;
    if (l->worker->plan->profiles)
        keep_profile(&found->profile, m->lane->histogram + place * PROFILE_BINS,
                     m->lane->position + place * PLACE_POSITIONS);
}

// What is measured of a lane in a layer is that of those that follow it as well.
static void share_sample(const struct lane *lane, const struct lane *other, size_t place, size_t components,
                         bool profiles)
{
    memcpy(other->moments + place, lane->moments + place, components * sizeof *lane->moments);
    if (profiles) {
        memcpy(other->histogram + place * PROFILE_BINS, lane->histogram + place * PROFILE_BINS,
               components * PROFILE_BINS * sizeof *lane->histogram);
        memcpy(other->position + place * PLACE_POSITIONS, lane->position + place * PLACE_POSITIONS,
               components * PLACE_POSITIONS * sizeof *lane->position);
    }
    if (other->repeats) memcpy(other->apart + place, lane->apart + place, components * sizeof *lane->apart);
}

static void share(const struct lockstep *l, const struct lane *lane, int layer)
{
    for (int i = 1; i < l->n_lanes; i++) {
        const struct lane *other = &l->buffers.lanes[i];
        if (other == lane || lockstep_computes(l, other, layer) != lane) continue;
        for (int s = 0; s < l->n_samples; s++)
            share_sample(lane, other, place_of(l, s, layer, 0), (size_t)l->worker->dims->arch->n_components,
                         l->worker->plan->profiles);
    }
}

static void take_known(const struct lockstep *l, const struct measuring *m)
{
    const size_t components = (size_t)l->worker->dims->arch->n_components;
    for (int s = 0; s < l->n_samples; s++) {
        const size_t place = place_of(l, s, m->layer, 0);
        memcpy(m->lane->isolated + place, m->known + place, components * sizeof *m->known);
    }
}

// ---- the ring ----

static void take_oldest(struct lockstep *l)
{
    const struct measuring *m = &l->ring[l->taken++ % MEASURING];
    if (m->count > 0) forward_collect(l->forward, --l->summing);
    for (int c = 0; c < m->count; c++)
        for (int s = 0; s < l->n_samples; s++)
            keep(l, m, &m->found[c * l->n_samples + s], place_of(l, s, m->layer, m->first + c));
    if (m->as == MEASURED_SHARED) share(l, m->lane, m->layer);
    if (m->as == MEASURED_KNOWN) take_known(l, m);
}

void lockstep_measured(struct lockstep *l)
{
    while (l->taken < l->begun)
        take_oldest(l);
}

static struct measuring *begin(struct lockstep *l, enum measured_as as, struct lane *lane)
{
    if (l->begun - l->taken == MEASURING) take_oldest(l);
    struct measuring *m = &l->ring[l->begun++ % MEASURING];
    m->as = as, m->lane = lane, m->layer = l->layer, m->count = 0;
    return m;
}

// Against what a lane kept; pairs: what is measured.
static void begin_pairs(struct lockstep *l, enum measured_as as, int first, int count,
                        const struct lane *kept, struct pair *pairs)
{
    struct measuring *m = begin(l, as, l->lane);
    m->first = first, m->count = count;
    for (int c = 0; c < count; c++) {
        pairs[c].ref = lockstep_kept(l, kept, first + c);
        pairs[c].width = arch_width(l->worker->dims, first + c);
        pairs[c].stamp = lane_is_reference(l, kept) ? l->reference_stamp : 0;
        if (as != MEASURED_AGAINST) continue;
        pairs[c].profiled = l->worker->plan->profiles;
        pairs[c].known = l->known[first + c];
        if (!measures_at_once(&l->shape) || !lane_is_reference(l, l->lane)) continue;
        pairs[c].keep = l->buffers.known[first + c];
        l->known[first + c] = pairs[c].keep;
    }
    forward_measure(l->forward, pairs, count, l->tokens, m->found);
    l->summing++;
}

// What is memory of the host is there at once, and in its caches.
static void take_here(struct lockstep *l)
{
    if (l->shape.on_host) lockstep_measured(l);
}

void lockstep_measure(struct lockstep *l, enum measured_as as, int first, int count,
                      const float *const *values)
{
    struct pair against[ARCH_MOST_COMPONENTS] = {{0}}, apart[ARCH_MOST_COMPONENTS] = {{0}};
    for (int c = 0; c < count; c++)
        against[c].mode = apart[c].mode = values[c];
    begin_pairs(l, as, first, count, &l->buffers.lanes[0], against);
    if (as == MEASURED_AGAINST && l->lane->repeats)
        begin_pairs(l, MEASURED_APART, first, count, l->lane->repeats, apart);
    take_here(l);
}

void lockstep_measure_seen(struct lockstep *l, int component, const struct seen *seen, float *room)
{
    struct pair pair = {.seen = seen, .room = room};
    begin_pairs(l, MEASURED_AGAINST, component, 1, &l->buffers.lanes[0], &pair);
    take_here(l);
}

void lockstep_measure_again(struct lockstep *l, int component)
{
    const struct lane *lane = l->lane;
    const size_t place = place_of(l, 0, l->layer, component), before = place - 1;
    l->known[component] = l->known[component - 1];
    lane->moments[place] = lane->moments[before];
    if (!l->worker->plan->profiles) return;
    memcpy(lane->histogram + place * PROFILE_BINS, lane->histogram + before * PROFILE_BINS,
           PROFILE_BINS * sizeof *lane->histogram);
    memcpy(lane->position + place * PLACE_POSITIONS, lane->position + before * PLACE_POSITIONS,
           PLACE_POSITIONS * sizeof *lane->position);
}

void lockstep_share(struct lockstep *l, struct lane *lane)
{
    begin(l, MEASURED_SHARED, lane);
    take_here(l);
}

void lockstep_know(struct lockstep *l, struct lane *lane, const struct accumulator *known)
{
    begin(l, MEASURED_KNOWN, lane)->known = known;
    take_here(l);
}

void lockstep_spend(struct lockstep *l, struct lane *lane, double started, double cost)
{
    lane->spent += l->shape.on_host ? progress_clock() - started : cost;
}
