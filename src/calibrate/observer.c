// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/calibrate/observer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ssmsweep/base/random.h"

// A float's exponent and the first 4 bits of its mantissa number the bins.
enum { MANTISSA_BITS = 23, SHIFT = MANTISSA_BITS - 4, BIAS = 127 };
#define BITS_OF(exponent) ((uint32_t)((exponent) + BIAS) << MANTISSA_BITS)
static const uint32_t lowest = BITS_OF(HISTOGRAM_LOWEST), highest = BITS_OF(HISTOGRAM_HIGHEST),
                      infinity = UINT32_C(0xff) << MANTISSA_BITS;
const struct bit_bins histogram_bit_bins = {BITS_OF(HISTOGRAM_LOWEST), BITS_OF(HISTOGRAM_HIGHEST), SHIFT,
                                            HISTOGRAM_BINS};

void histogram_add(uint32_t bins[HISTOGRAM_BINS], const float *values, long count)
{
    for (long i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= UINT32_C(0x7fffffff);
        if (bits < lowest)
            bins[0]++;
        else if (bits < highest)
            bins[1 + ((bits - lowest) >> SHIFT)]++;
        else if (bits <= infinity)
            bins[HISTOGRAM_ABOVE]++;
    }
}

double histogram_low(int bin)
{
    if (bin == 0) return 0;
    const uint32_t bits = lowest + ((uint32_t)(bin - 1) << SHIFT);
    float low;
    memcpy(&low, &bits, sizeof low);
    return (double)low;
}

// ---- observer ----

static const char *const names[OBSERVER_COUNT] = {
    [OBSERVER_MINMAX] = "minmax",
    [OBSERVER_PERCENTILE] = "percentile",
    [OBSERVER_EMA_PERCENTILE] = "ema-percentile",
    [OBSERVER_MSE] = "mse",
    [OBSERVER_ENTROPY] = "entropy",
};

const char *observer_name(enum observer observer)
{
    return names[observer];
}

bool observer_takes_quantile(enum observer observer)
{
    return observer == OBSERVER_PERCENTILE || observer == OBSERVER_EMA_PERCENTILE;
}

bool observer_takes_histogram(enum observer observer)
{
    return observer == OBSERVER_MSE || observer == OBSERVER_ENTROPY;
}

bool observers_take_histogram(const struct observers *observers)
{
    for (int s = 0; s < observers->n_sites; s++)
        if (observer_takes_histogram(observers->of_site[s])) return true;
    return false;
}

// ---- the option ----

// `-` and `_` are the same, as in options.
static bool same(const char *name, const char *text, size_t length)
{
    if (strlen(name) != length) return false;
    for (size_t i = 0; i < length; i++)
        if ((name[i] == '_' ? '-' : name[i]) != (text[i] == '_' ? '-' : text[i])) return false;
    return true;
}

static uint32_t find_sites(const struct arch *arch, const char *text, size_t length)
{
    const unsigned group = same("inputs", text, length)    ? SITE_INPUT
                           : same("outputs", text, length) ? SITE_OUTPUT
                                                           : 0;
    const bool all = same("all", text, length);
    uint32_t found = 0;
    for (int s = 0; s < arch->n_sites; s++) {
        const struct arch_site *site = &arch->sites[s];
        if (all || (site->groups & group) || same(site->option, text, length) ||
            same(site->name, text, length))
            found |= 1u << s;
    }
    return found;
}

static enum status unknown_site(const struct arch *arch, const char *text, size_t length, struct error *err)
{
    char known[ARCH_MOST_SITES * (ARCH_NAME_CHARS + 2)] = "";
    for (int s = 0; s < arch->n_sites; s++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s, ", arch->sites[s].option);
    }
    return error_set(err, STATUS_USAGE,
                     "--observer: unknown site '%.*s'; there are %sand the groups inputs, outputs and all",
                     (int)(length < 64 ? length : 64), text, known);
}

// "KIND" or "SITE=KIND"
static enum status parse_word(struct observers *observers, const struct arch *arch, const char *word,
                              size_t length, struct error *err)
{
    const char *equals = memchr(word, '=', length);
    const char *kind = equals ? equals + 1 : word;
    const size_t kind_length = length - (size_t)(kind - word);
    const uint32_t chosen = equals ? find_sites(arch, word, (size_t)(equals - word)) : UINT32_MAX;
    int observer = 0;
    while (observer < OBSERVER_COUNT && !same(names[observer], kind, kind_length))
        observer++;
    if (observer == OBSERVER_COUNT)
        return error_set(err, STATUS_USAGE,
                         "--observer: unknown observer '%.*s'; there are minmax, percentile, ema-percentile, "
                         "mse and entropy",
                         (int)(kind_length < 64 ? kind_length : 64), kind);
    if (!chosen) return unknown_site(arch, word, (size_t)(equals - word), err);
    for (int s = 0; s < arch->n_sites; s++)
        if (chosen & 1u << s) observers->of_site[s] = (enum observer)observer;
    return STATUS_OK;
}

static bool is_grouped(const struct observers *observers, const struct arch *arch, int site)
{
    return observers->grouped && arch->sites[site].grouped;
}

static enum status parse(struct observers *observers, const struct arch *arch, const char *text,
                         struct error *err)
{
    struct observers parsed = *observers;
    parsed.n_sites = arch->n_sites;
    for (int s = 0; s < arch->n_sites; s++)
        parsed.of_site[s] = arch->sites[s].kind == SITE_OF_QUANTILES && !is_grouped(observers, arch, s)
                                ? OBSERVER_EMA_PERCENTILE
                                : OBSERVER_MINMAX;
    for (const char *at = text; at;) {
        const size_t length = strcspn(at, ",");
        if (parse_word(&parsed, arch, at, length, err)) return err->status;
        at = at[length] ? at + length + 1 : NULL;
    }
    for (int s = 0; s < arch->n_sites; s++)
        if (is_grouped(observers, arch, s) && parsed.of_site[s] != OBSERVER_MINMAX)
            return error_set(
                err, STATUS_USAGE,
                "--observer: site '%s': expected minmax, as its scales are those of groups, got %s; "
                "leave the site out, or say --group_heads off",
                arch->sites[s].option, names[parsed.of_site[s]]);
    *observers = parsed;
    return STATUS_OK;
}

enum status observers_parse(struct observers *observers, const struct arch *arch, const char *text,
                            struct error *err)
{
    if (arch) return parse(observers, arch, text, err);
    for (int i = 0; (arch = arch_at(i)); i++) {
        struct error others = {0};
        if (parse(observers, arch, text, i ? &others : err)) continue;
        *err = (struct error){0};
        return STATUS_OK;
    }
    return err->status;
}

// ---- threshold ----

// Thresholds by histograms (docs/calibration.md).  Inside a bin |v| is taken to be spread evenly.  Integers
// and IEEE arithmetic only, and the project's own logarithm: the same bits everywhere.

enum { LEVELS = 127 }; // codes above 0

// ---- mean squared error ----

// Bins 1 .. bins with their moments; what is below 2^-24 counts as 0 and is never changed.
struct spread {
    int bins;
    double low[HISTOGRAM_BINS], high[HISTOGRAM_BINS], count[HISTOGRAM_BINS];
    // of all bins in front of this one: sums of 1, v and v^2
    double n[HISTOGRAM_BINS + 1], sum[HISTOGRAM_BINS + 1], squares[HISTOGRAM_BINS + 1];
};

static void spread_out(struct spread *spread, const uint64_t bins[HISTOGRAM_BINS], double max)
{
    spread->bins = 0;
    for (int b = 1; b < HISTOGRAM_BINS; b++)
        if (bins[b]) spread->bins = b;
    spread->n[1] = spread->sum[1] = spread->squares[1] = 0;
    for (int b = 1; b <= spread->bins; b++) {
        double low = histogram_low(b), high = b < HISTOGRAM_ABOVE ? histogram_low(b + 1) : max;
        if (b == spread->bins && max < high) high = max;
        if (high <= low) high = low * (1 + 0x1p-20); // the maximum is the lower bound itself
        const double count = (double)bins[b];
        spread->low[b] = low, spread->high[b] = high, spread->count[b] = count;
        spread->n[b + 1] = spread->n[b] + count;
        spread->sum[b + 1] = spread->sum[b] + count * (low + high) / 2;
        spread->squares[b + 1] = spread->squares[b] + count * (low * low + low * high + high * high) / 3;
    }
}

// Integral from 0 to v of (t - scale * code(t))^2, in units of scale^3; u = v / scale.
static double error_integral(double u)
{
    double code = floor(u + 0.5);
    if (code > LEVELS) code = LEVELS;
    const double rest = u - code;
    return code / 12 + rest * rest * rest / 3;
}

// Sum of squared errors under a threshold.
static double squared_error(const struct spread *spread, double threshold)
{
    const double scale = threshold / LEVELS;
    int first = 1, last = spread->bins + 1;
    while (first <= spread->bins && spread->high[first] <= scale / 2)
        first++; // code 0
    while (last > first && spread->low[last - 1] >= (LEVELS - 0.5) * scale)
        last--; // code 127
    const double n = spread->n[spread->bins + 1] - spread->n[last];
    const double sum = spread->sum[spread->bins + 1] - spread->sum[last];
    const double squares = spread->squares[spread->bins + 1] - spread->squares[last];
    double error = spread->squares[first] + (squares - 2 * threshold * sum + threshold * threshold * n);
    for (int b = first; b < last; b++) {
        if (spread->count[b] == 0) continue;
        const double low = spread->low[b] / scale, high = spread->high[b] / scale;
        error +=
            spread->count[b] * (error_integral(high) - error_integral(low)) / (high - low) * scale * scale;
    }
    return error;
}

struct best {
    double threshold, cost;
};

static void offer(struct best *best, double threshold, double cost)
{
    if (cost < best->cost) *best = (struct best){threshold, cost};
}

double threshold_mse(const uint64_t bins[HISTOGRAM_BINS], double max)
{
    enum { OCTAVES = 12, STEPS = 16 };
    struct spread spread;
    spread_out(&spread, bins, max);
    if (spread.bins == 0 || !(max <= 0x1p120)) return max; // nothing to choose, or nothing finite
    struct best best = {max, squared_error(&spread, max)};
    for (int b = spread.bins; b >= 1 && histogram_low(b) >= max / (1 << OCTAVES); b--)
        offer(&best, histogram_low(b), squared_error(&spread, histogram_low(b)));
    // Between the neighbours of the best bound; they are at most 1/16 away.
    const double low = best.threshold * (1 - 1.0 / HISTOGRAM_PER_OCTAVE), step = best.threshold / (8 * STEPS);
    for (int i = 0; i <= STEPS; i++)
        if (low + i * step <= max) offer(&best, low + i * step, squared_error(&spread, low + i * step));
    return best.threshold;
}

// ---- relative entropy ----

// Bins of |v| up to its maximum; all below 1/2048 of it is one.
struct segments {
    int count;
    double edge[HISTOGRAM_BINS + 2], mass[HISTOGRAM_BINS + 1], total;
};

static void add_segment(struct segments *segments, double high, double mass)
{
    segments->mass[segments->count++] = mass;
    segments->edge[segments->count] = high;
    segments->total += mass;
}

static void cut_segments(struct segments *segments, const uint64_t bins[HISTOGRAM_BINS], double max)
{
    const double base = max / 2048;
    double below = 0;
    int b = 0;
    for (; b < HISTOGRAM_ABOVE && histogram_low(b + 1) <= base; b++)
        below += (double)bins[b];
    *segments = (struct segments){.count = 0};
    const double low = histogram_low(b), high = b < HISTOGRAM_ABOVE ? histogram_low(b + 1) : max;
    const double inside = (base - low) / (high - low) * (double)bins[b]; // of the bin that holds `base`
    add_segment(segments, base, below + inside);
    add_segment(segments, high < max ? high : max, (double)bins[b] - inside);
    for (b++; b < HISTOGRAM_BINS && histogram_low(b) < max; b++) {
        const double end = b < HISTOGRAM_ABOVE ? histogram_low(b + 1) : max;
        add_segment(segments, end < max ? end : max, (double)bins[b]);
    }
    for (; b < HISTOGRAM_BINS; b++) { // the maximum may be the lower bound of its bin
        segments->mass[segments->count - 1] += (double)bins[b];
        segments->total += (double)bins[b];
    }
}

// A piece is where a segment and the values of a code meet.
struct piece {
    double mass, width;
};

static int list_pieces(const struct segments *segments, double low, double high, int *at,
                       struct piece *pieces)
{
    int count = 0;
    while (segments->edge[*at + 1] <= low)
        ++*at;
    for (int s = *at; s < segments->count && segments->edge[s] < high; s++) {
        const double from = segments->edge[s] > low ? segments->edge[s] : low;
        const double to = segments->edge[s + 1] < high ? segments->edge[s + 1] : high;
        const double whole = segments->edge[s + 1] - segments->edge[s];
        if (segments->mass[s] > 0 && to > from)
            pieces[count++] = (struct piece){segments->mass[s] * ((to - from) / whole), to - from};
    }
    return count;
}

// Divergence of Q, where each code spreads its mass evenly over what it stands for, from P, where what is
// clipped stands in the last piece: sum of P log(P / Q).  Both are multiplied by the total mass.
static double divergence(const struct segments *segments, double threshold)
{
    const double scale = threshold / LEVELS;
    double inside = 0, cost = 0;
    struct piece pieces[HISTOGRAM_BINS + 2];
    for (int s = 0; s < segments->count && segments->edge[s + 1] <= threshold; s++)
        inside += segments->mass[s];
    const double clipped = segments->total - inside;
    if (!(inside > 0)) return (double)INFINITY;
    for (int code = 0, at = 0; code <= LEVELS; code++) {
        const double low = code == 0 ? 0 : (code - 0.5) * scale;
        const double high = code == LEVELS ? threshold : (code + 0.5) * scale;
        const int count = list_pieces(segments, low, high, &at, pieces);
        const bool takes_clipped = code == LEVELS && clipped > 0;
        double mass = 0, width = 0;
        for (int i = 0; i < count; i++)
            mass += pieces[i].mass, width += pieces[i].width;
        if (count == 0 && takes_clipped) return (double)INFINITY;
        for (int i = 0; i < count && (count > 1 || takes_clipped); i++) {
            const double p = pieces[i].mass + (takes_clipped && i == count - 1 ? clipped : 0);
            cost += p * random_log(p / (mass * (pieces[i].width / width)));
        }
    }
    return cost + segments->total * random_log(inside / segments->total);
}

double threshold_entropy(const uint64_t bins[HISTOGRAM_BINS], double max)
{
    struct segments segments;
    if (!(max > 0) || !(max <= 0x1p120)) return max;
    cut_segments(&segments, bins, max);
    struct best best = {max, divergence(&segments, max)};
    for (int s = segments.count - 1; s > 0 && segments.edge[s] >= max / 16; s--)
        offer(&best, segments.edge[s], divergence(&segments, segments.edge[s]));
    return best.threshold;
}
