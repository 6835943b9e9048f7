// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/percentile.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Non-negative doubles order as their bit patterns: 63 bits, taken from the top in steps of DIGIT_BITS.
enum {
    KEY_BITS = 63,
    DIGIT_BITS = 16,
    DIGITS = 1 << DIGIT_BITS,
    TARGETS = 2 * PERCENTILES,
    CANDIDATES = 1 << 17,
    CHUNK = 512
};

static const double percents[PERCENTILES] = {50, 90, 95, 99};

// A wanted rank and what is known of its value: the top bits.
struct target {
    uint64_t rank;   // 0-based in ascending order
    uint64_t prefix; // top `bits` bits
    uint64_t below;  // values with a smaller prefix
    uint64_t count;  // values with this prefix
};

// Values that share a prefix with a target that is not yet exact.
struct prefix_group {
    uint64_t prefix, count;
    size_t first, used; // range of candidates[]
};

enum phase { PHASE_COUNT, PHASE_COLLECT, PHASE_DONE };

struct percentile {
    enum phase phase;
    int bits;   // known of every prefix
    int digits; // bits counted in this pass
    bool changed;
    uint64_t n;
    struct target targets[TARGETS];
    struct prefix_group groups[TARGETS];
    int n_groups;
    unsigned char first_group[DIGITS]; // top digit -> 1 + index of the first group that has it, 0: none
    uint64_t *counts;                  // [TARGETS][DIGITS]
    uint64_t *candidates;              // [CANDIDATES]
};

struct percentile *percentile_open(void)
{
    struct percentile *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->counts = malloc(sizeof *p->counts * TARGETS * DIGITS);
    p->candidates = malloc(sizeof *p->candidates * CANDIDATES);
    if (!p->counts || !p->candidates) {
        percentile_close(p);
        return NULL;
    }
    percentile_start(p);
    return p;
}

// A first digit spans 3 % of a value's size: around four percentiles lie some 6 % of the values.
size_t percentile_bytes(size_t values)
{
    const size_t near = values / 16 + 1, once = sizeof(struct percentile) + sizeof(uint64_t) * DIGITS;
    if (near <= CANDIDATES) return once + sizeof(uint64_t) * near;
    return once + sizeof(uint64_t) * ((PERCENTILES - 1) * DIGITS + CANDIDATES);
}

void percentile_close(struct percentile *p)
{
    if (!p) return;
    free(p->counts);
    free(p->candidates);
    free(p);
}

void percentile_start(struct percentile *p)
{
    p->phase = PHASE_COUNT;
    p->bits = 0;
    p->digits = DIGIT_BITS;
    p->changed = false;
    p->n = 0;
    p->n_groups = 1;
    p->groups[0] = (struct prefix_group){0};
    memset(p->counts, 0, sizeof *p->counts * DIGITS);
}

// ---- feeding ----

static void count_first(struct percentile *p, const uint64_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p->counts[keys[i] >> (KEY_BITS - DIGIT_BITS)]++;
    p->n += n;
}

static void take(struct percentile *p, int g, uint64_t key)
{
    struct prefix_group *group = &p->groups[g];
    if (p->phase == PHASE_COUNT)
        p->counts[g * DIGITS + (int)(key >> (KEY_BITS - p->bits - p->digits) & ((1u << p->digits) - 1))]++;
    else if (group->used < group->count)
        p->candidates[group->first + group->used++] = key;
    else
        p->changed = true;
}

static void count_groups(struct percentile *p, const uint64_t *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int g = p->first_group[keys[i] >> (KEY_BITS - DIGIT_BITS)];
        if (!g) continue;
        uint64_t prefix = keys[i] >> (KEY_BITS - p->bits);
        for (g--; g < p->n_groups && p->groups[g].prefix <= prefix; g++)
            if (p->groups[g].prefix == prefix) take(p, g, keys[i]);
    }
}

void percentile_add(struct percentile *p, const float *ref, const float *mode, size_t count)
{
    uint64_t keys[CHUNK];
    for (size_t i = 0; i < count; i += CHUNK) {
        size_t n = count - i < CHUNK ? count - i : CHUNK;
        for (size_t j = 0; j < n; j++) {
            double d = fabs((double)mode[i + j] - (double)ref[i + j]);
            memcpy(&keys[j], &d, sizeof d);
        }
        if (p->bits == 0)
            count_first(p, keys, n);
        else if (p->phase != PHASE_DONE)
            count_groups(p, keys, n);
    }
}

// ---- between the passes ----

// NumPy: the virtual index is (n - 1) * (percent / 100), its neighbours are floor and floor + 1.
static double virtual_index(const struct percentile *p, int k)
{
    return (double)(p->n - 1) * (percents[k] / 100);
}

static void set_ranks(struct percentile *p)
{
    for (int k = 0; k < PERCENTILES; k++) {
        uint64_t low = (uint64_t)virtual_index(p, k);
        low = low < p->n - 1 ? low : p->n - 1;
        p->targets[2 * k] = (struct target){.rank = low};
        p->targets[2 * k + 1] = (struct target){.rank = low < p->n - 1 ? low + 1 : low};
    }
}

// A difference of floats is 0 or at least 2^-149: all-zero top bits mean 0 exactly.
static bool target_exact(const struct percentile *p, const struct target *t)
{
    return p->bits == KEY_BITS || t->prefix == 0;
}

static int group_of(const struct percentile *p, const struct target *t)
{
    for (int g = 0; g < p->n_groups; g++)
        if (p->groups[g].prefix == t->prefix) return g;
    return -1;
}

// Lengthens the target's prefix by the digit in whose count its rank falls.
static void refine(struct percentile *p, struct target *t)
{
    int g = p->bits == 0 ? 0 : group_of(p, t);
    if (g < 0) { // exact already: 0
        t->prefix = 0;
        return;
    }
    const uint64_t *counts = p->counts + (size_t)g * DIGITS;
    uint64_t below = t->below, digit = 0, end = 1u << p->digits;
    while (digit < end && below + counts[digit] <= t->rank)
        below += counts[digit++];
    if (digit == end) {
        p->changed = true;
        digit = 0;
    }
    *t = (struct target){t->rank, t->prefix << p->digits | digit, below, counts[digit]};
}

// Keeps the groups distinct and ascending; neighbouring percentiles of few values share or swap ranks.
static void insert_group(struct percentile *p, const struct target *t)
{
    int at = p->n_groups;
    if (group_of(p, t) >= 0) return;
    for (; at > 0 && p->groups[at - 1].prefix > t->prefix; at--)
        p->groups[at] = p->groups[at - 1];
    p->groups[at] = (struct prefix_group){.prefix = t->prefix, .count = t->count};
    p->n_groups++;
}

// Returns how many values the groups hold.
static uint64_t make_groups(struct percentile *p)
{
    uint64_t total = 0;
    p->n_groups = 0;
    memset(p->first_group, 0, sizeof p->first_group);
    for (int i = 0; i < TARGETS; i++)
        if (!target_exact(p, &p->targets[i])) insert_group(p, &p->targets[i]);
    for (int g = 0; g < p->n_groups; g++) {
        unsigned char *first = &p->first_group[p->groups[g].prefix >> (p->bits - DIGIT_BITS)];
        if (!*first) *first = (unsigned char)(g + 1);
        p->groups[g].first = (size_t)total;
        total += p->groups[g].count;
    }
    return total;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void sort_candidates(struct percentile *p)
{
    for (int g = 0; g < p->n_groups; g++) {
        struct prefix_group *group = &p->groups[g];
        if (group->used != group->count) p->changed = true;
        qsort(p->candidates + group->first, group->used, sizeof *p->candidates, compare_keys);
    }
}

bool percentile_next_pass(struct percentile *p)
{
    if (p->phase == PHASE_COLLECT) sort_candidates(p);
    if (p->phase != PHASE_COUNT || p->n == 0 || p->changed) {
        p->phase = PHASE_DONE;
        return false;
    }
    if (p->bits == 0) set_ranks(p);
    for (int i = 0; i < TARGETS; i++)
        refine(p, &p->targets[i]);
    p->bits += p->digits;
    p->digits = KEY_BITS - p->bits < DIGIT_BITS ? KEY_BITS - p->bits : DIGIT_BITS;
    uint64_t total = make_groups(p);
    p->phase = p->n_groups == 0 || p->changed ? PHASE_DONE
               : total <= CANDIDATES          ? PHASE_COLLECT
                                              : PHASE_COUNT;
    if (p->phase == PHASE_COUNT) memset(p->counts, 0, sizeof *p->counts * (size_t)p->n_groups * DIGITS);
    return p->phase != PHASE_DONE;
}

static double target_value(const struct percentile *p, const struct target *t)
{
    uint64_t key = t->prefix;
    if (!target_exact(p, t)) {
        const struct prefix_group *group = &p->groups[group_of(p, t)];
        key = p->candidates[group->first + (size_t)(t->rank - t->below)];
    }
    double value;
    memcpy(&value, &key, sizeof value);
    return value;
}

bool percentile_values(struct percentile *p, double values[PERCENTILES])
{
    if (p->changed) return false;
    for (int k = 0; k < PERCENTILES; k++) {
        values[k] = NAN;
        if (p->n == 0) continue;
        double a = target_value(p, &p->targets[2 * k]), b = target_value(p, &p->targets[2 * k + 1]);
        double index = virtual_index(p, k), t = index - floor(index), step = b - a;
        values[k] = t >= 0.5 ? b - step * (1 - t) : a + step * t; // as NumPy's _lerp
    }
    return true;
}
