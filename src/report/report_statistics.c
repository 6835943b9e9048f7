// SPDX-License-Identifier: Apache-2.0
// The series of the report model: every number of a sweep report, made when asked for.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/recipe/mode.h"

// A metric by which modes are ranked, at a unit.
struct report_ranked {
    int unit, k;
};

static const struct report_run *run_of(const struct report *report, int place)
{
    return &report->runs[report->from->sweep->runs[place]];
}

static int layer_of(const struct sweep_unit *unit)
{
    return unit->layer == SWEEP_END_OF_MODEL ? (int)REPORT_NO_LAYER : unit->layer;
}

static const char *component_of(const struct sweep_unit *unit)
{
    return unit->layer == SWEEP_END_OF_MODEL ? NULL : unit->name;
}

// ---- values ----

static struct report_cell estimate_cell(const struct sweep_report *sweep, int unit, int k, int run)
{
    const struct metric *metric = sweep_metric(&sweep->units[unit], k);
    const struct sweep_entry *entry = sweep_entry_at(sweep, unit, run);
    const struct noise_floor *floor = &entry->floors[k];
    struct report_cell cell = report_estimate(&entry->intervals[k]);
    if (sweep->n_reruns == 0) return cell;
    cell.marks |= REPORT_KNOWS_NOISE;
    if (sweep_within_noise(sweep, unit, k, run)) cell.marks |= REPORT_NOISE;
    if (floor->reruns == 0) return cell;
    cell.marks |= REPORT_RERUN;
    cell.noise = scale_change(metric->scale, floor->change);
    if (metric->no_distance) return cell;
    cell.marks |= REPORT_KNOWS_APART;
    cell.apart = floor->value;
    if (sweep_within_apart(sweep, unit, k, run)) cell.marks |= REPORT_APART;
    return cell;
}

static void fill_positions(const struct sweep_entry *from, struct report_entry *entry)
{
    for (int p = 0; p < PROFILE_POSITIONS; p++) {
        struct report_position position = {
            .elements = from->position_count[p], .mse = from->position_mse[p], .mae = from->position_mae[p]};
        if (from->position_count[p] == 0) continue;
        profile_tokens(p, &position.first_token, &position.last_token);
        if (p == PROFILE_POSITIONS - 1) position.last_token = -1;
        entry->positions[entry->n_positions++] = position;
    }
}

void report_entry(const struct report *report, int index, struct report_entry *entry)
{
    const struct sweep_report *sweep = report->from->sweep;
    const struct report_statistics *statistics = report->statistics;
    const int run = index / sweep->n_units, unit = index % sweep->n_units;
    const struct sweep_entry *from = sweep_entry_at(sweep, unit, run);
    entry->run = run_of(report, run);
    entry->layer = layer_of(&sweep->units[unit]);
    entry->component = component_of(&sweep->units[unit]);
    entry->elements = from->elements;
    entry->fp_nonfinite = from->nonfinite[0];
    entry->mode_nonfinite = from->nonfinite[1];
    entry->largest = from->largest;
    entry->top1_correct = from->top1_correct;
    entry->percentiles = from->percentiles;
    entry->metrics = entry->component ? statistics->of_outputs : statistics->of_predictions;
    entry->n_metrics = sweep_metric_count(&sweep->units[unit]);
    for (int k = 0; k < entry->n_metrics; k++)
        entry->cells[k] = estimate_cell(sweep, unit, k, run);
    entry->n_positions = 0;
    if (entry->component) fill_positions(from, entry);
}

// ---- who is better than whom ----

static void fill_places(struct report_ranking *ranking)
{
    const struct sweep_report *sweep = ranking->report->from->sweep;
    const struct sweep_family *family = ranking->family;
    const struct standing *ranks = sweep_ranks_at(sweep, ranking->unit, ranking->k, family);
    for (int i = 0; i < family->count; i++) {
        struct report_place *place = &ranking->places[i];
        sweep_places(ranks, family->count, i, &place->best, &place->worst);
        place->run = run_of(ranking->report, family->runs[i]);
        place->tied = ranks[i].tied & ~ranks[i].equal;
        place->equal = ranks[i].equal;
        place->noise = sweep->n_reruns > 0 ? sweep_noise_set(sweep, ranking->unit, ranking->k, family, i) : 0;
        if (place->run->cell.calib_data_num > 0) ranking->cell = place->run;
    }
}

void report_ranking(const struct report *report, int index, struct report_ranking *ranking)
{
    const struct sweep_report *sweep = report->from->sweep;
    const struct report_statistics *statistics = report->statistics;
    const struct report_ranked *at = &statistics->ranked[index % statistics->n_ranked];
    const struct sweep_unit *u = &sweep->units[at->unit];
    ranking->report = report;
    ranking->family = &sweep->families[index / statistics->n_ranked];
    ranking->unit = at->unit;
    ranking->k = at->k;
    ranking->cell = NULL;
    ranking->layer = layer_of(u);
    ranking->component = component_of(u);
    ranking->metric = sweep_metric(u, at->k)->name;
    ranking->change = scale_change_name(sweep_metric(u, at->k)->scale);
    ranking->n_places = ranking->family->count;
    fill_places(ranking);
}

struct report_pair report_pair(const struct report_ranking *ranking, int first, int second)
{
    static const char *const names[] = {"first", "second", "tie", "equal", "unknown"}; // enum sweep_verdict
    const struct sweep_report *sweep = ranking->report->from->sweep;
    const struct standing *ranks = sweep_ranks_at(sweep, ranking->unit, ranking->k, ranking->family);
    const struct sweep_pair *pair = &sweep_pairs_at(
        sweep, ranking->unit, ranking->k, ranking->family)[pair_index(ranking->n_places, first, second)];
    const enum sweep_verdict verdict = sweep_verdict(ranks, pair, first, second);
    return (struct report_pair){.first = ranking->places[first].run,
                                .second = ranking->places[second].run,
                                .change = pair->change.value,
                                .low = pair->change.low,
                                .high = pair->change.high,
                                .state = pair->change.state,
                                .better = names[verdict],
                                .p = pair->change.p,
                                .p_adjusted = pair->adjusted,
                                .is_noise = sweep_is_noise(pair),
                                .is_tie = verdict == VERDICT_TIE,
                                .needed = pair->needed};
}

// ---- against calib_data_num, and over orders ----

void report_trend(const struct report *report, int index, struct report_trend *trend)
{
    const struct sweep_report *sweep = report->from->sweep;
    const struct report_statistics *statistics = report->statistics;
    const struct report_ranked *at = &statistics->ranked[index % statistics->n_ranked];
    const int t = index / statistics->n_ranked;
    const struct sweep_trend *from = &sweep->trends[t];
    const int settles = (int)*sweep_settles_at(sweep, at->unit, at->k, t);
    trend->layer = layer_of(&sweep->units[at->unit]);
    trend->component = component_of(&sweep->units[at->unit]);
    trend->metric = sweep_metric(&sweep->units[at->unit], at->k)->name;
    trend->settles = settles < from->count - 1 ? settles : -1;
    trend->still_improving = settles == from->count - 1;
    trend->knows_noise = sweep_knows_noise(sweep, at->unit, from);
    trend->n_points = from->count;
    for (int i = 0; i < from->count; i++) {
        struct report_point *point = &trend->points[i];
        point->run = run_of(report, from->runs[i]);
        point->cell = report_estimate(&sweep_entry_at(sweep, at->unit, from->runs[i])->intervals[at->k]);
        if (i > 0 && trend->knows_noise) point->cell.marks |= REPORT_KNOWS_NOISE;
        if (i > 0 && sweep_runs_within_noise(sweep, at->unit, at->k, from->runs + i - 1, 2))
            point->cell.marks |= REPORT_NOISE;
    }
}

void report_order(const struct report *report, int index, struct report_order *order)
{
    const struct sweep_report *sweep = report->from->sweep;
    const struct report_statistics *statistics = report->statistics;
    const struct report_ranked *at = &statistics->ranked[index % statistics->n_ranked];
    const int *places = statistics->ordered + index / statistics->n_ranked * (sweep->n_runs + 1);
    const int count = places[0];
    *order = (struct report_order){.run = run_of(report, places[1]),
                                   .layer = layer_of(&sweep->units[at->unit]),
                                   .component = component_of(&sweep->units[at->unit]),
                                   .metric = sweep_metric(&sweep->units[at->unit], at->k)->name,
                                   .orders = count,
                                   .within_noise =
                                       sweep_runs_within_noise(sweep, at->unit, at->k, places + 1, count)};
    sweep_orders_range(sweep, at->unit, at->k, places + 1, count, &order->least, &order->most);
}

// ---- the whole ----

static const struct report_column *metric_columns(struct builder *b, const struct sweep_unit *unit)
{
    const int count = sweep_metric_count(unit);
    struct report_column *columns = builder_take(b, (size_t)count, sizeof *columns);
    for (int k = 0; columns && k < count; k++) {
        const struct metric *metric = sweep_metric(unit, k);
        columns[k] = (struct report_column){
            metric->name,
            metric->unit ? builder_text(b, "%s (%s)", metric->label, metric->unit) : metric->label,
            NULL,
            NULL,
            0,
            REPORT_POINT};
    }
    return columns;
}

static void find_columns(struct builder *b, struct report_statistics *statistics)
{
    const struct sweep_report *sweep = b->from->sweep;
    for (int u = 0; u < sweep->n_units; u++)
        if (sweep->units[u].layer == SWEEP_END_OF_MODEL)
            statistics->of_predictions = metric_columns(b, &sweep->units[u]);
        else if (!statistics->of_outputs)
            statistics->of_outputs = metric_columns(b, &sweep->units[u]);
}

static void find_ranked(struct builder *b, struct report_statistics *statistics)
{
    const struct sweep_report *sweep = b->from->sweep;
    statistics->ranked =
        builder_take(b, (size_t)sweep->n_units * METRIC_INTERVALS, sizeof *statistics->ranked);
    for (int u = 0; statistics->ranked && u < sweep->n_units; u++)
        for (int k = 0; k < sweep_metric_count(&sweep->units[u]); k++)
            if (sweep_ranks_by(&sweep->units[u], k))
                statistics->ranked[statistics->n_ranked++] = (struct report_ranked){u, k};
}

// Finds each run that is the first of several orders: how many there are, and their places.
static void find_orders(struct builder *b, struct report_statistics *statistics)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int room = sweep->n_runs + 1;
    int runs = 0;
    statistics->ordered =
        builder_take(b, ((size_t)sweep->n_runs + 1) * (size_t)room, sizeof *statistics->ordered);
    for (int r = 0; statistics->ordered && r < sweep->n_runs; r++) {
        int *places = statistics->ordered + runs * room;
        places[0] = sweep_orders(sweep, r, places + 1);
        runs += places[0] > 1;
    }
    statistics->n_orders = runs * statistics->n_ranked;
}

// Counts the re-runs of each mode that has some.
static int count_reruns(const struct sweep_report *sweep)
{
    int most = 0;
    for (int r = 0; r < sweep->n_runs && sweep->n_units > 0; r++) {
        int reruns = sweep_entry_at(sweep, 0, r)->floors[0].reruns;
        most = reruns > most ? reruns : most;
    }
    return most;
}

void build_statistics(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct report_statistics *statistics = builder_take(b, 1, sizeof *statistics);
    if (!statistics) return;
    *statistics = (struct report_statistics){.samples = sweep->samples,
                                             .tokens = sweep->tokens,
                                             .resamples = sweep->replicates,
                                             .noisy_reruns = count_reruns(sweep),
                                             .seed = sweep->seed,
                                             .percentiles = sweep_percentiles,
                                             .n_percentiles = SWEEP_PERCENTILES,
                                             .knows_noise = sweep->n_reruns > 0};
    find_columns(b, statistics);
    find_ranked(b, statistics);
    find_orders(b, statistics);
    statistics->n_entries = sweep->n_runs * sweep->n_units;
    statistics->n_rankings = sweep->n_families * statistics->n_ranked;
    statistics->n_trends = sweep->n_trends * statistics->n_ranked;
    b->report->statistics = statistics;
}

// ---- report trends ----

// The sections of a sweep report over calib_data_num, and over orders of the calibration samples.

// ---- against calib_data_num ----

// A trend at the unit and by the metric that are shown.
struct course {
    const struct sweep_trend *trend;
    int unit, k;
    int settles; // the place from which on nothing is better; -1: unknown
};

// A mode that is another one by definition needs no column of its own.
static bool has_column(const struct sweep_report *sweep, const struct sweep_trend *trend)
{
    const struct mode *mode = mode_find(sweep_run_at(sweep, trend->runs[0])->mode);
    for (int t = 0; mode && mode->equals && t < sweep->n_trends; t++)
        if (strcmp(sweep_run_at(sweep, sweep->trends[t].runs[0])->mode, mode->equals) == 0) return false;
    return true;
}

static bool later_has_less(const struct sweep_report *sweep, const struct course *c, int cell)
{
    const double less = 0.05; // counts, though these samples do not tell it for sure
    const double own = sweep_entry_at(sweep, c->unit, c->trend->runs[cell])->intervals[c->k].value;
    for (int later = cell + 1; later < c->trend->count; later++) {
        const int pair[2] = {c->trend->runs[cell], c->trend->runs[later]};
        if (sweep_entry_at(sweep, c->unit, pair[1])->intervals[c->k].value < (1 - less) * own &&
            !sweep_runs_within_noise(sweep, c->unit, c->k, pair, 2))
            return true;
    }
    return false;
}

static struct report_cell point_cell(const struct sweep_report *sweep, const struct course *c, int cell)
{
    const int *runs = c->trend->runs;
    struct report_cell point = report_estimate(&sweep_entry_at(sweep, c->unit, runs[cell])->intervals[c->k]);
    if (c->settles == cell && cell + 1 < c->trend->count)
        point.marks |= later_has_less(sweep, c, cell) ? REPORT_SETTLED_MAYBE : REPORT_SETTLED;
    if (sweep_within_apart(sweep, c->unit, c->k, runs[cell])) point.marks |= REPORT_APART;
    if (cell > 0 && sweep_runs_within_noise(sweep, c->unit, c->k, runs + cell - 1, 2))
        point.marks |= REPORT_NOISE;
    return point;
}

static void note_trends(struct builder *b, const struct report_table *table, bool improving)
{
    const unsigned marks = builder_marks(b, REPORT_TRENDS);
    if (marks & REPORT_SETTLED)
        builder_note(b, REPORT_TRENDS, REPORT_SETTLED,
                     "*: from here on, no larger calib_data_num is better for sure, or has 5 % less error.");
    if (marks & REPORT_SETTLED_MAYBE)
        builder_note(b, REPORT_TRENDS, REPORT_SETTLED_MAYBE,
                     "?: from here on, none is better for sure, but one has 5 % less error or more: too few "
                     "samples.");
    if (improving)
        builder_note(b, REPORT_TRENDS, 0,
                     "A mode without such a mark: its last calib_data_num still was better, for sure.");
    build_unbounded_note(b, REPORT_TRENDS, marks);
    build_noise_notes(b, REPORT_TRENDS, marks, "the line above");
    build_rerun_notes(b, table, REPORT_TRENDS);
}

static const struct report_column *trend_columns(struct builder *b, const struct course *courses, int count)
{
    struct report_column *columns = builder_take(b, (size_t)count, sizeof *columns);
    for (int i = 0; columns && i < count; i++) {
        const char *mode = sweep_run_at(b->from->sweep, courses[i].trend->runs[0])->mode;
        columns[i] = (struct report_column){mode, mode, NULL, NULL, 0, REPORT_POINT};
    }
    return columns;
}

// Every trend has the same cells: each mode ran in every cell.
static void fill_trends(struct builder *b, struct report_table *table, const struct course *courses,
                        int count)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int cells = courses[0].trend->count;
    for (int cell = 0; cell < cells; cell++) {
        table->rows[cell].name =
            builder_text(b, "%d", sweep_run_at(sweep, courses[0].trend->runs[cell])->cell.calib_data_num);
        for (int i = 0; i < count; i++)
            table->rows[cell].cells[i] = point_cell(sweep, &courses[i], cell);
    }
    if (sweep->n_reruns == 0) return;
    table->rows[cells].name = "noise";
    for (int i = 0; i < count; i++)
        table->rows[cells].cells[i] = report_words(build_noise_text(
            b, courses[i].unit, courses[i].k, courses[i].trend->runs, courses[i].trend->count));
}

void build_trends(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct course courses[BOOTSTRAP_MAX_RUNS];
    int shown, n = 0;
    const int *units = build_units(b, true, &shown);
    if (shown == 0) return;
    const int unit = units[shown - 1], k = build_main_metric(&sweep->units[unit]);
    for (int t = 0; t < sweep->n_trends && n < BOOTSTRAP_MAX_RUNS; t++)
        if (has_column(sweep, &sweep->trends[t]))
            courses[n++] =
                (struct course){&sweep->trends[t], unit, k, (int)*sweep_settles_at(sweep, unit, k, t)};
    if (n == 0) return;
    const char *title =
        builder_text(b, "MSE of layer %d, %s, against calib_data_num: 95 %% intervals over %d samples",
                     sweep->units[unit].layer, sweep->units[unit].name, sweep->samples);
    const struct builder_shape shape = {.columns = trend_columns(b, courses, n),
                                        .n_columns = n,
                                        .n_rows = courses[0].trend->count + (sweep->n_reruns > 0)};
    struct report_table *table = shape.columns ? builder_table(b, REPORT_TRENDS, 1, title, &shape) : NULL;
    if (!table) return;
    bool improving = false;
    for (int i = 0; i < n; i++)
        improving |= courses[i].settles == courses[i].trend->count - 1;
    fill_trends(b, table, courses, n);
    note_trends(b, table, improving);
}

// ---- over orders of the calibration samples ----

static const struct report_column order_columns[] = {{"mse", "MSE", NULL, NULL, 0, REPORT_SPAN}};

static struct report_cell order_cell(const struct sweep_report *sweep, int unit, const int *places, int count)
{
    const int k = build_main_metric(&sweep->units[unit]);
    struct report_cell cell = report_number((double)NAN);
    sweep_orders_range(sweep, unit, k, places, count, &cell.low, &cell.high);
    if (sweep_runs_within_noise(sweep, unit, k, places, count)) cell.marks |= REPORT_NOISE;
    return cell;
}

void build_orders(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    int shown, *places = builder_take(b, (size_t)sweep->n_runs + 1, sizeof *places);
    const int *units = build_units(b, true, &shown);
    if (shown == 0 || !places) return;
    const int unit = units[shown - 1];
    const struct sweep_family *family = build_main_family(sweep);
    struct report_table *table = NULL;
    int rows = 0;
    for (int i = 0; i < family->count; i++) {
        const int count = sweep_orders(sweep, family->runs[i], places);
        if (count < 2) continue;
        const struct builder_shape shape = {
            .columns = order_columns, .n_columns = 1, .n_rows = family->count};
        const char *title =
            builder_text(b, "MSE of layer %d over %d orders of the calibration samples, calib_data_num %d:",
                         sweep->units[unit].layer, count, family->cell->cell.calib_data_num);
        if (!table) table = builder_table(b, REPORT_ORDERS, 1, title, &shape);
        if (!table) return;
        table->rows[rows].run = build_run_of(b, family->runs[i]);
        table->rows[rows].name = sweep_run_at(sweep, family->runs[i])->mode;
        table->rows[rows++].cells[0] = order_cell(sweep, unit, places, count);
    }
    if (!table) return;
    table->n_rows = rows;
    build_noise_notes(b, REPORT_ORDERS, builder_marks(b, REPORT_ORDERS), "the other orders");
}
