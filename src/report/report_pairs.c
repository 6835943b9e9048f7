// SPDX-License-Identifier: Apache-2.0
// The sections that figures of places and pairs are drawn from, of the last set of scales in the order of the
// text; and what they say in words.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/report/view.h"

static const char *name_of(const struct builder *b, const struct sweep_family *family, int mode)
{
    const struct report_run *run = build_run_of(b, family->runs[mode]);
    return run ? run->name : "";
}

static bool is_shown(const struct sweep_report *sweep, int unit)
{
    return sweep->units[unit].layer == SWEEP_END_OF_MODEL || build_stands_for_layer(sweep, unit);
}

static void name_unit(const struct sweep_unit *unit, struct report_row *row)
{
    row->layer = unit->layer == SWEEP_END_OF_MODEL ? REPORT_NO_LAYER : unit->layer;
    row->component = unit->layer == SWEEP_END_OF_MODEL ? "predictions" : unit->name;
    row->main = true;
}

// ---- places ----

static void fill_places(const struct builder *b, const struct sweep_family *family, int unit, int k,
                        struct report_row *row)
{
    const struct sweep_report *sweep = b->from->sweep;
    const struct standing *ranks = sweep_ranks_at(sweep, unit, k, family);
    name_unit(&sweep->units[unit], row);
    row->name = sweep_metric(&sweep->units[unit], k)->name;
    for (int mode = 0; mode < family->count; mode++) {
        int best, worst;
        sweep_places(ranks, family->count, mode, &best, &worst);
        struct report_cell *cell = &row->cells[mode];
        *cell = report_number(NAN);
        if (best == 0) continue;
        cell->low = best;
        cell->high = worst;
        cell->marks = (ranks[mode].equal ? REPORT_EQUAL : 0u) |
                      (sweep_noise_set(sweep, unit, k, family, mode) ? REPORT_NOISE : 0u) |
                      (sweep_within_apart(sweep, unit, k, family->runs[mode]) ? REPORT_APART : 0u);
    }
}

static void build_places(struct builder *b, const struct sweep_family *family)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct report_column *columns = builder_take(b, (size_t)family->count, sizeof *columns);
    int rows = 0;
    for (int mode = 0; columns && mode < family->count; mode++) {
        const char *name = name_of(b, family, mode);
        columns[mode] = (struct report_column){name, name, NULL, NULL, 0, REPORT_PLACE};
    }
    for (int u = 0; u < sweep->n_units; u++)
        for (int k = 0; is_shown(sweep, u) && k < sweep_metric_count(&sweep->units[u]); k++)
            rows += sweep_ranks_by(&sweep->units[u], k);
    const struct builder_shape shape = {columns, family->count, rows, false};
    struct report_table *table =
        columns ? builder_table(b, REPORT_PLACES, 1, "Places of the modes", &shape) : NULL;
    for (int u = 0, row = 0; table && u < sweep->n_units; u++)
        for (int k = 0; is_shown(sweep, u) && k < sweep_metric_count(&sweep->units[u]); k++)
            if (sweep_ranks_by(&sweep->units[u], k)) fill_places(b, family, u, k, &table->rows[row++]);
}

// ---- pairs ----

static const struct report_column pair_columns[] = {
    {"first", "mode", NULL, NULL, 0, REPORT_WORDS},
    {"second", "against", NULL, NULL, 0, REPORT_WORDS},
    {"change", "change, 95 % interval", NULL, NULL, 0, REPORT_POINT},
    {"p_adjusted", "p, corrected", NULL, NULL, 0, REPORT_SMALL},
    {"better", "better", NULL, NULL, 0, REPORT_WORDS},
    {"samples_needed", "samples needed", NULL, NULL, 0, REPORT_COUNT},
};
enum { FIRST, SECOND, CHANGE, P_ADJUSTED, BETTER, NEEDED, PAIR_COLUMNS };

static const char *better_text(const char *first, const char *second, enum sweep_verdict verdict, bool noise)
{
    switch (verdict) {
    case VERDICT_FIRST:
        return noise ? "only rounding noise" : first;
    case VERDICT_SECOND:
        return noise ? "only rounding noise" : second;
    case VERDICT_TIE:
        return noise ? "only rounding noise" : "not told apart";
    case VERDICT_EQUAL:
        return "equal";
    default:
        return "unknown";
    }
}

// Also how the first is compared with the second: a ratio, a difference ...
static void fill_pair(const struct builder *b, const struct sweep_family *family, int unit,
                      const int modes[2], struct report_row *row)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int k = build_main_metric(&sweep->units[unit]);
    const struct standing *ranks = sweep_ranks_at(sweep, unit, k, family);
    const struct sweep_pair *pair =
        &sweep_pairs_at(sweep, unit, k, family)[pair_index(family->count, modes[0], modes[1])];
    const enum sweep_verdict verdict = sweep_verdict(ranks, pair, modes[0], modes[1]);
    const bool noise = sweep_is_noise(pair);
    const char *first = name_of(b, family, modes[0]), *second = name_of(b, family, modes[1]);
    name_unit(&sweep->units[unit], row);
    row->name = scale_change_name(sweep_metric(&sweep->units[unit], k)->scale);
    row->cells[FIRST] = report_words(first);
    row->cells[SECOND] = report_words(second);
    row->cells[CHANGE] = report_number(pair->change.value);
    row->cells[CHANGE].low = pair->change.low;
    row->cells[CHANGE].high = pair->change.high;
    row->cells[CHANGE].state = pair->change.state;
    if (noise) row->cells[CHANGE].marks |= REPORT_NOISE;
    if (verdict == VERDICT_EQUAL) row->cells[CHANGE].marks |= REPORT_EQUAL;
    row->cells[P_ADJUSTED] = report_number(pair->adjusted);
    row->cells[BETTER] = report_words(better_text(first, second, verdict, noise));
    row->cells[NEEDED] = verdict == VERDICT_TIE && !noise && isfinite(pair->needed)
                             ? report_number(pair->needed)
                             : report_words("");
}

void build_pairs(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    const struct sweep_family *family = build_main_family(sweep);
    int units = 0;
    if (family->count == 0) return;
    for (int u = 0; u < sweep->n_units; u++)
        units += is_shown(sweep, u);
    const struct builder_shape shape = {pair_columns, PAIR_COLUMNS, units * pair_count(family->count), false};
    build_places(b, family);
    struct report_table *table = builder_table(b, REPORT_PAIRS, 1, "Pairs of modes", &shape);
    for (int u = 0, row = 0; table && u < sweep->n_units; u++)
        for (int first = 0; is_shown(sweep, u) && first < family->count; first++)
            for (int second = first + 1; second < family->count; second++)
                fill_pair(b, family, u, (const int[]){first, second}, &table->rows[row++]);
}

// ---- the answer ----

// "a, b and c", of the modes in a set; never empty.
static const char *list_text(struct builder *b, const struct sweep_family *family, uint64_t set)
{
    const char *text = "";
    for (int mode = 0; mode < family->count; mode++) {
        const uint64_t rest = set >> mode;
        if (!(rest & 1)) continue;
        const char *before = !text[0] ? "" : rest >> 1 ? ", " : " and ";
        text = builder_text(b, "%s%s%s", text, before, name_of(b, family, mode));
    }
    return text;
}

// What the modes of a family are at a unit.
struct outcome {
    const struct sweep_family *family;
    const struct standing *ranks;
    int unit, k;
    uint64_t all, first; // modes with a place; those that no other is surely better than
};

static struct outcome outcome_of(const struct builder *b, int unit)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct outcome s = {.family = build_main_family(sweep), .unit = unit};
    s.k = build_main_metric(&sweep->units[unit]);
    s.ranks = sweep_ranks_at(sweep, unit, s.k, s.family);
    for (int mode = 0; mode < s.family->count; mode++) {
        int best, worst;
        sweep_places(s.ranks, s.family->count, mode, &best, &worst);
        if (best > 0) s.all |= UINT64_C(1) << mode;
        if (best == 1) s.first |= UINT64_C(1) << mode;
    }
    return s;
}

// The others that some mode of the set is surely better than.
static uint64_t worse_than(const struct outcome *s, uint64_t set)
{
    uint64_t worse = 0;
    for (int mode = 0; mode < s->family->count; mode++)
        if (s->all >> mode & 1 && s->ranks[mode].better & set) worse |= UINT64_C(1) << mode;
    return worse & ~set;
}

static void say_best(struct builder *b, const struct outcome *s)
{
    const struct sweep_unit *unit = &b->from->sweep->units[s->unit];
    const char *reference = b->report->reference, *first = list_text(b, s->family, s->first);
    const char *where = builder_text(b, "At layer %d, in %s by mean squared error,", unit->layer, unit->name);
    const uint64_t behind = s->all & ~s->first;
    const char *others = list_text(b, s->family, behind);
    if (!s->first) return;
    if (!behind)
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b,
                                  "%s no mode is surely nearer to %s than another: %d samples do not tell "
                                  "them apart.",
                                  where, reference, b->from->sweep->samples));
    else if ((s->first & (s->first - 1)) == 0 && worse_than(s, s->first) == behind)
        builder_note(
            b, REPORT_ANSWER, 0,
            builder_text(b, "%s %s is surely nearer to %s than %s.", where, first, reference, others));
    else
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b,
                                  "%s nothing is surely nearer to %s than %s; before %s there is a mode that "
                                  "surely is.",
                                  where, reference, first, others));
}

// Modes of which rounding noise, or nothing at all, divides one from the next.
static void say_noise(struct builder *b, const struct outcome *s)
{
    const struct sweep_report *sweep = b->from->sweep;
    const char *text = "";
    uint64_t told = 0;
    if (sweep->n_reruns == 0) {
        builder_note(
            b, REPORT_ANSWER, 0,
            "Whether mere rounding noise divides modes is not known: no re-runs were made (--noise).");
        return;
    }
    for (int mode = 0; mode < s->family->count; mode++) {
        const uint64_t set = sweep_noise_set(sweep, s->unit, s->k, s->family, mode) | s->ranks[mode].equal;
        if (!set || told >> mode & 1) continue;
        const uint64_t group = (set | UINT64_C(1) << mode) & ~told;
        told |= group;
        if ((group & (group - 1)) == 0) continue;
        text = builder_text(b, "%s%s%s", text, text[0] ? "; and " : "", list_text(b, s->family, group));
    }
    builder_note(b, REPORT_ANSWER, 0,
                 text[0] ? builder_text(b, "No more than rounding noise divides %s.", text)
                         : "Every difference between two modes is larger than rounding noise.");
}

// Where more samples would tell two modes apart, the fewest.
static void say_needed(struct builder *b, const struct outcome *s)
{
    const struct sweep_report *sweep = b->from->sweep;
    const struct sweep_pair *pairs = sweep_pairs_at(sweep, s->unit, s->k, s->family), *least = NULL;
    int ties = 0, modes[2] = {0, 0};
    for (int first = 0; first < s->family->count; first++)
        for (int second = first + 1; second < s->family->count; second++) {
            const struct sweep_pair *pair = &pairs[pair_index(s->family->count, first, second)];
            if (sweep_verdict(s->ranks, pair, first, second) != VERDICT_TIE || sweep_is_noise(pair)) continue;
            ties++;
            if (!isfinite(pair->needed) || (least && least->needed <= pair->needed)) continue;
            least = pair;
            modes[0] = first;
            modes[1] = second;
        }
    if (ties == 0)
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b, "These %d samples tell every other pair apart.", sweep->samples));
    else if (!least)
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b, "%d pair%s left that no number of samples within reach would settle.",
                                  ties, ties == 1 ? " is" : "s are"));
    else
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b,
                                  "%d pair%s not told apart; the first to be settled by more text would be "
                                  "%s and %s, with about %.0f samples in place of %d.",
                                  ties, ties == 1 ? " is" : "s are", name_of(b, s->family, modes[0]),
                                  name_of(b, s->family, modes[1]),
                                  fmax(ceil(least->needed), sweep->samples + 1), sweep->samples));
}

void build_answer(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    int unit = sweep->n_units - 1;
    while (unit >= 0 && !build_stands_for_layer(sweep, unit))
        unit--;
    if (unit < 0 || build_unranked_note(b, REPORT_ANSWER) || build_main_family(sweep)->count == 0) return;
    const struct outcome s = outcome_of(b, unit);
    say_best(b, &s);
    if (s.family->count < 2) return;
    say_noise(b, &s);
    say_needed(b, &s);
}
