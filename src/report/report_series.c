// SPDX-License-Identifier: Apache-2.0
// The sections that figures are drawn from: every metric with its interval, the error by token position, the
// distribution of |difference|, and every sample by itself.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/report/samples.h"
#include "ssmsweep/report/view.h"

bool build_stands_for_layer(const struct sweep_report *sweep, int unit)
{
    const struct sweep_unit *u = &sweep->units[unit];
    if (u->layer == SWEEP_END_OF_MODEL) return false;
    const int output = arch_output(sweep->arch);
    for (int i = 0; i < sweep->n_units; i++)
        if (sweep->units[i].layer == u->layer && i != unit &&
            (sweep->units[i].component == output || i < unit) && u->component != output)
            return false;
    return true;
}

// ---- a table for each run, a row for each unit ----

static bool any_unit(const struct sweep_report *sweep, int unit)
{
    return sweep->units[unit].layer != SWEEP_END_OF_MODEL;
}

// What fills the cells of a row; `first` is its own.
struct filler {
    bool (*wanted)(const struct sweep_report *sweep, int unit);
    void (*fill)(const struct builder *b, int unit, int run, int first, struct report_row *row);
    int first;
};

static void build_tables(struct builder *b, enum report_section_id section,
                         const struct report_column *columns, int n_columns, const struct filler *filler)
{
    const struct sweep_report *sweep = b->from->sweep;
    int rows = 0;
    for (int u = 0; u < sweep->n_units; u++)
        rows += filler->wanted(sweep, u);
    const struct builder_shape shape = {columns, n_columns, rows, false};
    for (int r = 0; columns && r < sweep->n_runs; r++) {
        const struct report_run *run = build_run_of(b, r);
        struct report_table *table = run ? builder_table(b, section, sweep->n_runs, run->name, &shape) : NULL;
        if (!table) return;
        table->run = run;
        for (int u = 0, row = 0; u < sweep->n_units; u++) {
            if (!filler->wanted(sweep, u)) continue;
            table->rows[row].run = run;
            table->rows[row].layer = sweep->units[u].layer;
            table->rows[row].component = sweep->units[u].name;
            table->rows[row].main = build_stands_for_layer(sweep, u);
            filler->fill(b, u, r, filler->first, &table->rows[row++]);
        }
    }
}

// ---- every metric with its interval ----

static enum report_format format_of(const struct metric *metric)
{
    if (metric->scale == SCALE_FISHER) return REPORT_CORRELATION;
    if (metric->scale == SCALE_IDENTITY) return REPORT_DECIBEL;
    return metric == &metric_table[METRIC_RELATIVE_MAE] ? REPORT_SHARE : REPORT_ERROR;
}

// All layers have as many.
static int series_metrics(const struct sweep_report *sweep)
{
    for (int u = 0; u < sweep->n_units; u++)
        if (sweep->units[u].layer != SWEEP_END_OF_MODEL) return sweep_metric_count(&sweep->units[u]);
    return 0;
}

static const struct report_column *series_columns(struct builder *b)
{
    const int metrics = series_metrics(b->from->sweep);
    struct report_column *columns = builder_take(b, (size_t)metrics + 1, sizeof *columns);
    for (int k = 0; columns && k < metrics; k++) {
        const struct metric *metric = metric_with_interval(SUBJECT_OUTPUTS, k);
        const char *title =
            metric->unit ? builder_text(b, "%s (%s)", metric->label, metric->unit) : metric->label;
        columns[k] = (struct report_column){metric->name, title, NULL, NULL, 0, format_of(metric)};
    }
    if (columns)
        columns[metrics] = (struct report_column){"elements", "elements", NULL, NULL, 0, REPORT_COUNT};
    return columns;
}

static const struct sweep_family *family_of(const struct sweep_report *sweep, int run, int *mode)
{
    for (int f = 0; f < sweep->n_families; f++)
        for (*mode = 0; *mode < sweep->families[f].count; ++*mode)
            if (sweep->families[f].runs[*mode] == run) return &sweep->families[f];
    return NULL;
}

// Is there a run that is equal to this one in every sample, by every metric by which they are ranked?
static bool has_equal(const struct sweep_report *sweep, int unit, int run)
{
    int mode;
    const struct sweep_family *family = family_of(sweep, run, &mode);
    uint64_t equal = family ? UINT64_MAX : 0;
    for (int k = 0; family && k < sweep_metric_count(&sweep->units[unit]); k++)
        if (sweep_ranks_by(&sweep->units[unit], k))
            equal &= sweep_ranks_at(sweep, unit, k, family)[mode].equal;
    return equal != 0;
}

static void fill_series(const struct builder *b, int unit, int run, int first, struct report_row *row)
{
    const struct sweep_report *sweep = b->from->sweep;
    const struct sweep_entry *entry = sweep_entry_at(sweep, unit, run);
    const int metrics = sweep_metric_count(&sweep->units[unit]);
    const unsigned equal = has_equal(sweep, unit, run) ? REPORT_EQUAL : 0u;
    for (int k = first; k < metrics; k++) {
        row->cells[k] = report_estimate(&entry->intervals[k]);
        row->cells[k].marks |= marks_of_value(sweep, unit, k, run) | equal;
    }
    row->cells[metrics] = report_number(entry->elements);
}

static void note_series(struct builder *b)
{
    const unsigned marks = builder_marks(b, REPORT_SERIES);
    if (marks & REPORT_EQUAL)
        builder_note(b, REPORT_SERIES, REPORT_EQUAL, "=: equal to another mode in every sample.");
    build_unbounded_note(b, REPORT_SERIES, marks);
    build_noise_notes(b, REPORT_SERIES, marks, "another mode");
}

// ---- by token position ----

static const char *tokens_text(struct builder *b, int bucket)
{
    int first, last;
    profile_tokens(bucket, &first, &last);
    if (first == last) return builder_text(b, "%d", first);
    return bucket == PROFILE_POSITIONS - 1 ? builder_text(b, "%d-", first)
                                           : builder_text(b, "%d-%d", first, last);
}

static bool has_position(const struct sweep_report *sweep, int bucket)
{
    for (int u = 0; u < sweep->n_units; u++)
        if (any_unit(sweep, u)) return sweep_entry_at(sweep, u, 0)->position_count[bucket] > 0;
    return false;
}

static const struct report_column *position_columns(struct builder *b, int *count)
{
    struct report_column *columns = builder_take(b, PROFILE_POSITIONS, sizeof *columns);
    *count = 0;
    for (int p = 0; columns && p < PROFILE_POSITIONS && has_position(b->from->sweep, p); p++) {
        const char *tokens = tokens_text(b, p);
        columns[(*count)++] = (struct report_column){tokens, tokens, NULL, NULL, 0, REPORT_ERROR};
    }
    return columns;
}

static void fill_positions(const struct builder *b, int unit, int run, int first, struct report_row *row)
{
    const struct sweep_entry *entry = sweep_entry_at(b->from->sweep, unit, run);
    for (int p = first; p < row->count; p++)
        row->cells[p] = report_number(entry->position_mse[p]);
}

// ---- the distribution of |difference| ----

enum { QUANTILES = 4 }; // of sweep_percentiles

// Bins that hold something of a layer's output, from the first to the last.
static void find_bins(const struct sweep_report *sweep, int *first, int *last)
{
    *first = PROFILE_BINS;
    *last = -1;
    for (int u = 0; u < sweep->n_units; u++) {
        if (!build_stands_for_layer(sweep, u)) continue;
        for (int r = 0; r < sweep->n_runs; r++)
            for (int bin = 0; bin < PROFILE_BINS; bin++) {
                if (sweep_entry_at(sweep, u, r)->bins[bin] == 0) continue;
                if (bin > PROFILE_ZERO && bin < *first) *first = bin;
                if (bin > *last) *last = bin;
            }
    }
}

static const char *bin_text(struct builder *b, int bin)
{
    char low_text[NUMBER_ROOM], high_text[NUMBER_ROOM];
    double low, high;
    if (bin == PROFILE_ZERO) return "0";
    profile_bounds(bin, &low, &high);
    return builder_text(b, "%s %s", number_text(low, 4, low_text),
                        isinf(high) ? "" : number_text(high, 4, high_text));
}

// Zero stands first.
static const struct report_column *bin_columns(struct builder *b, int first, int last)
{
    const int bins = last - first + 2;
    struct report_column *columns = builder_take(b, (size_t)(QUANTILES + bins), sizeof *columns);
    for (int q = 0; columns && q < QUANTILES; q++) {
        const char *name = builder_text(b, "p%.0f", sweep_percentiles[q]);
        columns[q] = (struct report_column){name, name, NULL, NULL, 0, REPORT_SPAN};
    }
    for (int i = 0; columns && i < bins; i++) {
        const char *bounds = bin_text(b, i == 0 ? PROFILE_ZERO : first + i - 1);
        columns[QUANTILES + i] = (struct report_column){bounds, bounds, NULL, NULL, 0, REPORT_COUNT};
    }
    return columns;
}

static void fill_bins(const struct builder *b, int unit, int run, int first, struct report_row *row)
{
    const struct sweep_entry *entry = sweep_entry_at(b->from->sweep, unit, run);
    for (int q = 0; q < QUANTILES; q++) {
        row->cells[q] = report_number(NAN);
        row->cells[q].low = entry->percentiles[q][0];
        row->cells[q].high = entry->percentiles[q][1];
    }
    for (int i = QUANTILES; i < row->count; i++)
        row->cells[i] = report_number(
            (double)entry->bins[i == QUANTILES ? (int)PROFILE_ZERO : first + i - QUANTILES - 1]);
}

void build_series(struct builder *b)
{
    int positions, first, last;
    const struct report_column *of_positions = position_columns(b, &positions);
    find_bins(b->from->sweep, &first, &last);
    build_tables(b, REPORT_SERIES, series_columns(b), series_metrics(b->from->sweep) + 1,
                 &(struct filler){any_unit, fill_series, 0});
    note_series(b);
    build_tables(b, REPORT_POSITIONS, of_positions, positions, &(struct filler){any_unit, fill_positions, 0});
    if (last >= first)
        build_tables(b, REPORT_BINS, bin_columns(b, first, last), QUANTILES + last - first + 2,
                     &(struct filler){build_stands_for_layer, fill_bins, first});
}

size_t report_figures_bytes(const struct sweep_report_size *size, int components, int max_tokens)
{
    enum { USUAL_BINS = 48, PAGE = 384 << 10, CHARACTERS_OF_ESTIMATE = 29, CHARACTERS = 9 };
    const size_t rows = (size_t)size->units * (size_t)size->runs,
                 of_layers = rows / (size_t)(components > 0 ? components : 1),
                 metrics = (size_t)sweep_metric_count(&(struct sweep_unit){.isolated = size->isolated}),
                 positions = (size_t)profile_position(max_tokens > 0 ? max_tokens - 1 : 0) + 1;
    const size_t cells = rows * (metrics + 1 + positions) + of_layers * (QUANTILES + USUAL_BINS);
    const size_t text = rows * (metrics * CHARACTERS_OF_ESTIMATE + (1 + positions) * CHARACTERS) +
                        of_layers * USUAL_BINS * CHARACTERS;
    return cells * sizeof(struct report_cell) + 2 * rows * sizeof(struct report_row) + 2 * text + PAGE;
}

// ---- every sample ----

enum { MOST_SAMPLES = 500, WORST_SAMPLES = 100 };

struct sample {
    int index, tokens;
    double worst;   // of its values; a NaN is the worst
    double *values; // [n_runs]
};

static int compare_samples(const void *a, const void *b)
{
    const struct sample *x = a, *y = b;
    if (isnan(x->worst) != isnan(y->worst)) return isnan(x->worst) ? -1 : 1;
    if (!isnan(x->worst) && x->worst != y->worst) return x->worst > y->worst ? -1 : 1;
    return x->index - y->index;
}

// The last layer that stands in the report; -1: none.
static int last_unit(const struct sweep_report *sweep)
{
    for (int u = sweep->n_units - 1; u >= 0; u--)
        if (build_stands_for_layer(sweep, u)) return u;
    return -1;
}

// What all runs share, as the report has it.
static int list_samples(const struct sweep_report *sweep, struct sample *samples, bool *uses)
{
    int count = 0;
    for (int s = 0; s < result_samples(sweep->result); s++) {
        uses[s] = true;
        for (int r = 0; r < sweep->n_runs && uses[s]; r++)
            uses[s] = compare_uses(sweep->result,
                                   compare_reference_of(sweep->result, sweep->reference, sweep->runs[r]),
                                   sweep->runs[r], s);
        if (uses[s])
            samples[count++] = (struct sample){.index = s, .tokens = result_length(sweep->result, s)};
    }
    return count;
}

static enum status measure_samples(struct builder *b, const struct sweep_unit *unit, struct sample *samples,
                                   int count, const bool *uses, struct accumulator *rows)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct samples *sums = NULL;
    if (samples_open(&sums, b->from->result, sweep->reference, NULL, b->err)) return b->err->status;
    for (int r = 0; r < sweep->n_runs; r++) {
        if (samples_read(sums, sweep->runs[r], unit->layer, unit->component, uses, rows, NULL, b->err)) break;
        for (int i = 0; i < count; i++) {
            const struct measurement measurement = measurement_of_sums(&rows[samples[i].index]);
            samples[i].values[r] = record_make(&measurement).value[METRIC_MSE];
        }
    }
    samples_close(sums);
    return b->err->status;
}

// The worst ones, and of the others every so many.
static int thin(struct sample *samples, int count)
{
    qsort(samples, (size_t)count, sizeof *samples, compare_samples);
    if (count <= MOST_SAMPLES) return count;
    const int rest = MOST_SAMPLES - WORST_SAMPLES;
    for (int i = 0; i < rest; i++)
        samples[WORST_SAMPLES + i] =
            samples[WORST_SAMPLES + (int)((long long)i * (count - WORST_SAMPLES) / rest)];
    return MOST_SAMPLES;
}

static const struct report_column *sample_columns(struct builder *b)
{
    const int runs = b->from->sweep->n_runs;
    struct report_column *columns = builder_take(b, (size_t)runs + 1, sizeof *columns);
    if (!columns) return NULL;
    columns[0] = (struct report_column){"tokens", "tokens", NULL, NULL, 0, REPORT_COUNT};
    for (int r = 0; r < runs; r++) {
        const struct report_run *run = build_run_of(b, r);
        const char *name = run ? run->name : "";
        columns[r + 1] = (struct report_column){name, name, NULL, NULL, 0, REPORT_ERROR};
    }
    return columns;
}

static void fill_samples(struct builder *b, const struct sweep_unit *unit, const struct sample *samples,
                         int shown, int count)
{
    const int runs = b->from->sweep->n_runs;
    const struct builder_shape shape = {sample_columns(b), runs + 1, shown, false};
    const char *title = builder_text(b, "Every sample: MSE of %s at layer %d", unit->name, unit->layer);
    struct report_table *table = shape.columns ? builder_table(b, REPORT_SAMPLES, 1, title, &shape) : NULL;
    for (int i = 0; table && i < shown; i++) {
        struct report_row *row = &table->rows[i];
        row->name = builder_text(b, "%d", samples[i].index);
        row->layer = unit->layer;
        row->component = unit->name;
        row->cells[0] = report_number(samples[i].tokens);
        for (int r = 0; r < runs; r++)
            row->cells[r + 1] = report_number(samples[i].values[r]);
    }
    if (shown < count)
        builder_note(
            b, REPORT_SAMPLES, 0,
            builder_text(b, "%d of %d samples are shown: the %d worst, and of the others %d, evenly by rank.",
                         shown, count, (int)WORST_SAMPLES, shown - WORST_SAMPLES));
}

void build_samples(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int unit = last_unit(sweep);
    const size_t most = (size_t)result_samples(sweep->result), runs = (size_t)sweep->n_runs;
    if (unit < 0) return;
    struct sample *samples = builder_take(b, most, sizeof *samples);
    double *values = builder_take(b, most * runs, sizeof *values);
    bool *uses = builder_take(b, most, sizeof *uses);
    struct accumulator *rows = builder_take(b, most, sizeof *rows);
    if (!samples || !values || !uses || !rows) return;
    const int count = list_samples(sweep, samples, uses);
    for (int i = 0; i < count; i++)
        samples[i].values = values + (size_t)i * runs;
    if (measure_samples(b, &sweep->units[unit], samples, count, uses, rows)) return;
    for (int i = 0; i < count; i++)
        for (size_t r = 0; r < runs; r++)
            if (isnan(samples[i].values[r]) || samples[i].values[r] > samples[i].worst)
                samples[i].worst = isnan(samples[i].worst) ? samples[i].worst : samples[i].values[r];
    fill_samples(b, &sweep->units[unit], samples, thin(samples, count), count);
}
