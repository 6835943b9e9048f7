// SPDX-License-Identifier: Apache-2.0
// The sections of a sweep report that people read: which modes can be told apart, and what they do to the
// predictions of the whole model.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/report/view.h"

// ---- marks of rounding noise ----

unsigned marks_of_value(const struct sweep_report *sweep, int unit, int k, int run)
{
    return (sweep_within_apart(sweep, unit, k, run) ? REPORT_APART : 0u) |
           (sweep_within_noise(sweep, unit, k, run) ? REPORT_NOISE : 0u);
}

int marks_find_run(const struct sweep_report *sweep, int run)
{
    for (int r = 0; r < sweep->n_runs; r++)
        if (sweep->runs[r] == run) return r;
    return -1;
}

int marks_find_unit(const struct sweep_report *sweep, int layer, int component)
{
    for (int u = 0; u < sweep->n_units; u++)
        if (sweep->units[u].layer == layer && sweep->units[u].component == component) return u;
    return -1;
}

void build_noise_notes(struct builder *b, enum report_section_id section, unsigned marks, const char *other)
{
    const struct sweep_report *sweep = b->from->sweep;
    if (sweep->n_reruns == 0)
        builder_note(b, section, 0,
                     "Which differences are mere rounding noise is not known; --noise K measures it.");
    if (marks & REPORT_NOISE)
        builder_note(b, section, REPORT_NOISE,
                     builder_text(b,
                                  "~: mere rounding noise lies between it and %s: another order of sums "
                                  "makes as much.",
                                  other));
    if (marks & REPORT_APART)
        builder_note(b, section, REPORT_APART,
                     builder_text(b,
                                  "#: no further from %s than from its own re-run with another order of "
                                  "sums.",
                                  sweep->reference));
}

void build_rerun_notes(struct builder *b, const struct report_table *table, enum report_section_id section)
{
    for (int r = 0; r < table->n_rows; r++)
        if (strcmp(table->rows[r].name, "noise") == 0)
            builder_note(b, section, 0,
                         "noise: the most by which another order of sums changed any number above.");
        else if (strcmp(table->rows[r].name, "apart") == 0)
            builder_note(
                b, section, 0,
                "apart: a mode against its own re-run with another order of sums, the worst of all modes.");
}

const char *build_noise_text(struct builder *b, int unit, int k, const int *runs, int count)
{
    double most = -1;
    for (int i = 0; i < count; i++) {
        const struct noise_floor *floor = &sweep_entry_at(b->from->sweep, unit, runs[i])->floors[k];
        if (floor->reruns > 0) most = fmax(most, floor->change); // which passes over what is not known
    }
    return most == -1 ? "" : builder_text(b, "+-%.2g %%", 100 * (scale_change(SCALE_LOG, most) - 1));
}

// The worst of these runs against their own re-runs, by a metric that is a distance; NaN: no re-runs.
static double worst_apart(const struct sweep_report *sweep, int unit, int k,
                          const struct sweep_family *family)
{
    const bool larger = sweep_metric(&sweep->units[unit], k)->better == BETTER_LARGER;
    double worst = NAN;
    for (int i = 0; i < family->count; i++) {
        const struct noise_floor *floor = &sweep_entry_at(sweep, unit, family->runs[i])->floors[k];
        if (floor->reruns > 0) worst = larger ? fmin(worst, floor->value) : fmax(worst, floor->value);
    }
    return worst;
}

// ---- what is shown ----

// Whether a layer's outputs were captured, if those of any were; of layers that were asked for all are shown.
static bool captured(const struct sweep_report *sweep, int layer)
{
    if (sweep->chosen) return true;
    const int layers = sweep->result ? result_layers(sweep->result) : 0;
    for (int l = 0; l < layers; l++)
        if (result_layer_at(sweep->result, l) == layer) return true;
    return layers == 0;
}

int *build_units(struct builder *b, bool all, int *count)
{
    enum { MANY_LAYERS = 6 };
    const struct sweep_report *sweep = b->from->sweep;
    int *units = builder_take(b, (size_t)sweep->n_units + 1, sizeof *units), n = 0;
    for (int u = 0; units && u < sweep->n_units; u++)
        if (build_stands_for_layer(sweep, u) && captured(sweep, sweep->units[u].layer)) units[n++] = u;
    if (!all && n > MANY_LAYERS) {
        units[1] = units[n - 1];
        n = 2;
    }
    *count = n;
    return units;
}

int build_main_metric(const struct sweep_unit *unit)
{
    return unit->layer == SWEEP_END_OF_MODEL ? 0 : metric_interval_place(METRIC_MSE);
}

const struct sweep_family *build_main_family(const struct sweep_report *sweep)
{
    const struct sweep_family *family = &sweep->families[0];
    for (int f = 1; f < sweep->n_families; f++)
        if (sweep->families[f].cell && sweep->families[f].cell->cell.order == 0) family = &sweep->families[f];
    return family;
}

const struct report_run *build_run_of(const struct builder *b, int place)
{
    return builder_run(b, b->from->sweep->runs[place]);
}

static const char *mode_of(const struct builder *b, int place)
{
    return sweep_run_at(b->from->sweep, place)->mode;
}

// ", calib_data_num 50" where there are several.
static const char *cell_text(struct builder *b, const struct sweep_family *family)
{
    return family->cell && b->from->sweep->n_families > 1
               ? builder_text(b, ", calib_data_num %d", family->cell->cell.calib_data_num)
               : "";
}

// A row for each mode of a family, and those of the re-runs.
static struct report_table *family_table(struct builder *b, enum report_section_id section,
                                         const struct sweep_family *family, const char *title,
                                         const struct report_column *columns, int n_columns)
{
    const bool reruns = b->from->sweep->n_reruns > 0;
    const struct builder_shape shape = {
        .columns = columns, .n_columns = n_columns, .n_rows = family->count + (reruns ? 2 : 0)};
    struct report_table *table = columns ? builder_table(b, section, 1, title, &shape) : NULL;
    for (int i = 0; table && i < family->count; i++) {
        table->rows[i].run = build_run_of(b, family->runs[i]);
        table->rows[i].name = mode_of(b, family->runs[i]);
    }
    if (table && reruns) {
        table->rows[family->count].name = "noise";
        table->rows[family->count + 1].name = "apart";
    }
    return table;
}

// ---- which modes can be told apart ----

static struct report_cell place_cell(struct builder *b, const struct standing *ranks, int count, int mode)
{
    int best, worst;
    sweep_places(ranks, count, mode, &best, &worst);
    struct report_cell cell = report_words(best == 0       ? "?"
                                           : best == worst ? builder_text(b, "%d", best)
                                                           : builder_text(b, "%d-%d", best, worst));
    cell.low = best;
    cell.high = worst;
    if (best && ranks[mode].equal) cell.marks |= REPORT_EQUAL;
    return cell;
}

static void fill_ranking(struct builder *b, struct report_table *table, const struct sweep_family *family,
                         int unit, int column)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int k = build_main_metric(&sweep->units[unit]);
    const struct standing *ranks = sweep_ranks_at(sweep, unit, k, family);
    for (int mode = 0; mode < family->count; mode++) {
        struct report_cell *cells = table->rows[mode].cells + column;
        cells[0] = place_cell(b, ranks, family->count, mode);
        if (cells[0].low > 0 && sweep_noise_set(sweep, unit, k, family, mode)) cells[0].marks |= REPORT_NOISE;
        if (cells[0].low > 0 && sweep_within_apart(sweep, unit, k, family->runs[mode]))
            cells[0].marks |= REPORT_APART;
        cells[1] = report_estimate(&sweep_entry_at(sweep, unit, family->runs[mode])->intervals[k]);
    }
    if (sweep->n_reruns == 0) return;
    const double apart = worst_apart(sweep, unit, k, family);
    table->rows[family->count].cells[column + 1] =
        report_words(build_noise_text(b, unit, k, family->runs, family->count));
    if (!isnan(apart))
        table->rows[family->count + 1].cells[column + 1] = report_words(builder_text(b, "%.2e", apart));
}

// Ascending by value; runs without one last.
static void order_by_value(const struct sweep_report *sweep, const struct sweep_family *family, int unit,
                           int k, int *order)
{
    for (int i = 0; i < family->count; i++) {
        double v = sweep_entry_at(sweep, unit, family->runs[i])->intervals[k].value;
        int at = i;
        for (; at > 0; at--) {
            double before = sweep_entry_at(sweep, unit, family->runs[order[at - 1]])->intervals[k].value;
            if (!(before > v || (isnan(before) && !isnan(v)))) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

// "?240": samples to two digits, more than there are.  "?" where they are beyond reach.
static const char *tie_text(struct builder *b, double needed, int samples)
{
    if (isnan(needed) || isinf(needed)) return "?";
    const double least = fmax(needed, samples + 1);
    double unit = 1;
    while (least / unit >= 100)
        unit *= 10;
    return builder_text(b, "?%.0f", ceil(least / unit) * unit);
}

static const char *relation_text(struct builder *b, const struct standing *ranks,
                                 const struct sweep_pair *pair, int first, int second)
{
    const enum sweep_verdict verdict = sweep_verdict(ranks, pair, first, second);
    if (verdict == VERDICT_EQUAL) return "=";
    if (sweep_is_noise(pair)) return "~";
    if (verdict == VERDICT_TIE) return tie_text(b, pair->needed, b->from->sweep->samples);
    return verdict == VERDICT_UNKNOWN ? "?" : "<";
}

// "  layer 23   fp16 < 3 ~ 2-4 ?14 0 = 2-0"; adds the marks in it.
static const char *neighbours_text(struct builder *b, const struct sweep_family *family, int unit,
                                   unsigned *marks)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int k = build_main_metric(&sweep->units[unit]);
    int order[BOOTSTRAP_MAX_RUNS];
    const struct standing *ranks = sweep_ranks_at(sweep, unit, k, family);
    const struct sweep_pair *pairs = sweep_pairs_at(sweep, unit, k, family);
    const char *text = builder_text(b, "  layer %-3d", sweep->units[unit].layer);
    order_by_value(sweep, family, unit, k, order);
    for (int i = 0; i < family->count; i++) {
        if (i > 0) {
            int first = order[i - 1] < order[i] ? order[i - 1] : order[i],
                second = order[i - 1] + order[i] - first;
            const char *relation =
                relation_text(b, ranks, &pairs[pair_index(family->count, first, second)], first, second);
            if (relation[0] == '~') *marks |= REPORT_NOISE;
            text = builder_text(b, "%s %s", text, relation);
        }
        text = builder_text(b, "%s %s", text, mode_of(b, family->runs[order[i]]));
    }
    return text;
}

static void note_ranking(struct builder *b, const struct report_table *table, const char *const *neighbours,
                         int count, unsigned marks)
{
    const bool several = build_main_family(b->from->sweep)->count > 1;
    bool range = false;
    for (int r = 0; r < table->n_rows; r++)
        for (int c = 0; c < table->rows[r].count; c += 2)
            range |= table->rows[r].cells[c].low < table->rows[r].cells[c].high;
    if (range)
        builder_note(b, REPORT_RANKING, 0,
                     "Place 4-8: three modes are surely better; whether it is 4th or 8th, these samples do "
                     "not tell.");
    if (several)
        builder_note(b, REPORT_RANKING, 0,
                     "Modes are compared text by text, so places may differ where intervals overlap.");
    if (marks & REPORT_EQUAL)
        builder_note(b, REPORT_RANKING, REPORT_EQUAL, "=: equal to another mode in every sample.");
    build_unbounded_note(b, REPORT_RANKING, marks);
    build_noise_notes(b, REPORT_RANKING, marks, "another mode");
    build_rerun_notes(b, table, REPORT_RANKING);
    if (!several) return;
    builder_note(
        b, REPORT_RANKING, 0,
        "Neighbours, best first (<: surely smaller; ?90: not told apart, about 90 samples would do it):");
    for (int i = 0; i < count; i++)
        builder_note(b, REPORT_RANKING, 0, neighbours[i]);
}

// Two columns for each unit: place and interval.
static const struct report_column *ranking_columns(struct builder *b, const int *units, int count)
{
    struct report_column *columns = builder_take(b, 2 * (size_t)count, sizeof *columns);
    for (int i = 0; columns && i < count; i++) {
        const int layer = b->from->sweep->units[units[i]].layer;
        columns[2 * i] = (struct report_column){
            "place", "place", NULL, builder_text(b, "layer %d", layer), 2, REPORT_PLACE};
        columns[2 * i + 1] =
            (struct report_column){"mse", "MSE, 95 % interval", NULL, NULL, 0, REPORT_INTERVAL};
    }
    return columns;
}

static bool is_unranked(const struct sweep_report *sweep)
{
    return sweep->n_pieces > 0 && build_main_family(sweep)->count == 0;
}

bool build_unranked_note(struct builder *b, enum report_section_id section)
{
    const struct sweep_report *sweep = b->from->sweep;
    if (!is_unranked(sweep)) return false;
    builder_note(b, section, 0,
                 builder_text(b,
                              "%d modes are too many to be ranked; compare up to %d of them (--modes).  The "
                              "intervals of all, of predictions too, are in sweep.json.",
                              sweep->n_runs, BOOTSTRAP_MAX_RUNS));
    return true;
}

void build_ranking(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    int n;
    const int *units = build_units(b, b->from->every_layer, &n);
    if (n == 0 || build_unranked_note(b, REPORT_RANKING)) return;
    const struct sweep_family *family = build_main_family(sweep);
    const char *title = builder_text(b, "Which modes can be told apart?  %s against %s, %d sample%s%s",
                                     sweep->units[units[0]].name, sweep->reference, sweep->samples,
                                     sweep->samples == 1 ? "" : "s", cell_text(b, family));
    const char **neighbours = builder_take(b, (size_t)n, sizeof *neighbours);
    struct report_table *table =
        family_table(b, REPORT_RANKING, family, title, ranking_columns(b, units, n), 2 * n);
    if (!table || !neighbours) return;
    unsigned marks = 0;
    for (int i = 0; i < n; i++) {
        fill_ranking(b, table, family, units[i], 2 * i);
        neighbours[i] = neighbours_text(b, family, units[i], &marks);
    }
    note_ranking(b, table, neighbours, n, marks | builder_marks(b, REPORT_RANKING));
}

void build_unbounded_note(struct builder *b, enum report_section_id section, unsigned marks)
{
    if (marks & REPORT_UNBOUNDED)
        builder_note(b, section, REPORT_UNBOUNDED,
                     "unbounded: so few or so uneven samples do not tell it to within a factor of ten.");
}

// ---- predictions of the whole model ----

// A column shows `scale` (value - offset).
static const struct shown {
    enum metric_id metric;
    const char *digits;
    double scale, offset;
} shown[] = {{METRIC_PERPLEXITY, "%.2f", 1, 0},
             {METRIC_PERPLEXITY_RATIO, "%+.2f", 100, 1},
             {METRIC_KL_MEAN, "%.1e", 1, 0},
             {METRIC_TOP1_AGREEMENT, "%.2f", 100, 0}};
enum { SHOWN = sizeof shown / sizeof shown[0] };
static const struct report_column prediction_columns[SHOWN] = {
    {"perplexity", "perplexity", NULL, NULL, 0, REPORT_DECIMALS},
    {"perplexity_ratio", "change of it, %", NULL, NULL, 0, REPORT_SIGNED},
    {"kl_mean", "KL, nats", NULL, NULL, 0, REPORT_SMALL},
    {"top1_agreement", "same top token, %", NULL, NULL, 0, REPORT_DECIMALS}};

static double as_shown(const struct shown *s, double value)
{
    return s->scale * (value - s->offset);
}

static struct report_cell prediction_cell(const struct sweep_report *sweep, const struct shown *s, int unit,
                                          int k, int run)
{
    struct report_cell cell = report_estimate(&sweep_entry_at(sweep, unit, run)->intervals[k]);
    cell.value = as_shown(s, cell.value);
    cell.low = as_shown(s, cell.low);
    cell.high = as_shown(s, cell.high);
    cell.marks |= marks_of_value(sweep, unit, k, run);
    return cell;
}

// In the unit of the column, the most that re-runs of any mode change; "" where there are none.
static const char *prediction_noise(struct builder *b, const struct shown *s,
                                    const struct sweep_family *family, int unit, int k)
{
    double most = -1;
    for (int i = 0; i < family->count; i++) {
        const struct sweep_entry *entry = sweep_entry_at(b->from->sweep, unit, family->runs[i]);
        const double phi = entry->intervals[k].phi, step = entry->floors[k].change;
        if (entry->floors[k].reruns == 0) continue;
        for (int sign = -1; sign <= 1; sign += 2) {
            double moved =
                scale_value(metric_table[s->metric].scale, phi + sign * step) - entry->intervals[k].value;
            most = fmax(most, fabs(moved)); // which passes over what is not known
        }
    }
    return most < 0 ? "" : builder_text(b, "+-%.2g", s->scale * most);
}

static void fill_predictions(struct builder *b, struct report_table *table, const struct sweep_family *family,
                             int unit, int column)
{
    const struct sweep_report *sweep = b->from->sweep;
    const struct shown *s = &shown[column];
    const int k = metric_interval_place(s->metric);
    for (int i = 0; i < family->count; i++)
        table->rows[i].cells[column] = prediction_cell(sweep, s, unit, k, family->runs[i]);
    if (sweep->n_reruns == 0) return;
    const double apart = worst_apart(sweep, unit, k, family);
    table->rows[family->count].cells[column] = report_words(prediction_noise(b, s, family, unit, k));
    if (!isnan(apart))
        table->rows[family->count + 1].cells[column] =
            report_words(builder_text(b, s->digits, as_shown(s, apart)));
}

static void note_nonfinite(struct builder *b, const struct sweep_family *family, int unit)
{
    for (int i = 0; i < family->count; i++) {
        const double count = sweep_entry_at(b->from->sweep, unit, family->runs[i])->nonfinite[1];
        if (count > 0)
            builder_note(b, REPORT_PREDICTIONS, 0,
                         builder_text(b,
                                      "%s: %.0f predictions not compared: NaN or Inf in them or in the "
                                      "reference's.",
                                      mode_of(b, family->runs[i]), count));
    }
}

// Why there is nothing to show; NULL: there is.
static const char *no_predictions(const struct sweep_report *sweep, const struct sweep_family *family,
                                  int unit)
{
    double most = 0;
    for (int i = 0; i < family->count; i++)
        most = fmax(most, sweep_entry_at(sweep, unit, family->runs[i])->elements);
    if (sweep->tokens <= sweep->samples) // the first token of a text is not predicted
        return "No predictions of the whole model: every sample has one token.";
    if (most < 1)
        return "No predictions of the whole model to compare: NaN or Inf in all, of the modes or of the "
               "reference.";
    return NULL;
}

void build_predictions(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int unit = sweep->n_units - 1;
    if (sweep->units[unit].layer != SWEEP_END_OF_MODEL || is_unranked(sweep)) return;
    const struct sweep_family *family = build_main_family(sweep);
    const char *title = no_predictions(sweep, family, unit);
    if (title) {
        builder_table(b, REPORT_PREDICTIONS, 1, title, &(struct builder_shape){0});
        return;
    }
    title = builder_text(b, "Predictions of the whole model against %s: %lld tokens, with 95 %% intervals%s",
                         sweep->reference, sweep->tokens - sweep->samples, cell_text(b, family));
    struct report_table *table =
        family_table(b, REPORT_PREDICTIONS, family, title, prediction_columns, SHOWN);
    if (!table) return;
    for (int c = 0; c < SHOWN; c++)
        fill_predictions(b, table, family, unit, c);
    const unsigned marks = builder_marks(b, REPORT_PREDICTIONS);
    note_nonfinite(b, family, unit);
    build_unbounded_note(b, REPORT_PREDICTIONS, marks);
    build_noise_notes(b, REPORT_PREDICTIONS, marks, "another mode");
    build_rerun_notes(b, table, REPORT_PREDICTIONS);
}
