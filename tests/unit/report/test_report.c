// SPDX-License-Identifier: Apache-2.0
// The report model of a small measurement made by hand: sections, cells, marks, notes; and that renderers
// show what it says.  The result file is made up: its functions are wrapped by the linker.
#include <math.h>

#include "../support.h"
#include "ssmsweep/report/render.h"
#include "ssmsweep/report/report.h"

// ---- a result of three runs, two samples, layers 0 and 5 ----

enum { RUNS = 3, SAMPLES = 2, UNITS = 2 };
static struct result_run runs[RUNS] = {{.mode = "fp32", .done = 2, .complete = true},
                                       {.mode = "0", .cell = {8, 0}, .done = 2, .complete = true},
                                       {.mode = "2-1", .cell = {8, 0}, .done = 2, .complete = true}};
static bool stored; // are there outputs?
static bool alone;  // was each layer computed by itself?

#define WRAP(type, name, ...)                                                                                \
    type __wrap_##name(__VA_ARGS__);                                                                         \
    type __wrap_##name(__VA_ARGS__)

WRAP(const struct result_run *, result_run_at, const struct result *result, int run)
{
    (void)result;
    return &runs[run];
}

WRAP(int, result_runs, const struct result *result)
{
    (void)result;
    return RUNS;
}

WRAP(int, result_all_runs, const struct result *result)
{
    (void)result;
    return RUNS;
}

WRAP(int, result_samples, const struct result *result)
{
    (void)result;
    return SAMPLES;
}

WRAP(int, result_max_tokens, const struct result *result)
{
    (void)result;
    return 7;
}

WRAP(int, result_length, const struct result *result, int sample)
{
    (void)result;
    return 6 + sample;
}

WRAP(int, result_layers, const struct result *result)
{
    (void)result;
    return stored ? UNITS : 0;
}

WRAP(bool, result_has_outputs, const struct result *result)
{
    (void)result;
    return stored;
}

WRAP(int, result_layer_at, const struct result *result, int index)
{
    (void)result;
    return index * 5;
}

WRAP(int, result_width, const struct result *result, int layer, int component)
{
    (void)result;
    (void)layer;
    (void)component;
    return 96;
}

WRAP(enum store_state, result_state, const struct result *result, int run, int sample)
{
    (void)result;
    return runs[run].complete || sample == 0 ? STORE_ITEM_DONE : STORE_ITEM_ABSENT;
}

WRAP(const char *, result_attribute, const struct result *result, const char *name)
{
    (void)result;
    if (strcmp(name, "reference_mode") == 0) return "fp32";
    return strcmp(name, "evaluation_text") == 0 ? "a text" : strcmp(name, "ids_sha256") == 0 ? "beef" : "";
}

WRAP(bool, result_has_isolated, const struct result *result)
{
    (void)result;
    return alone;
}

WRAP(int, result_recipes, const struct result *result)
{
    (void)result;
    return 0;
}

WRAP(const struct arch *, result_arch, const struct result *result)
{
    (void)result;
    return arch_find("mamba1");
}

// ---- what was measured: mode 0 has an MSE of 1e-3 (1 + layer), mode 2-1 of 1 % more ----

static struct comparison_entry entries[RUNS * UNITS];
static struct comparison comparison = {.entries = entries, .count = RUNS * UNITS};
static struct sweep_unit units[UNITS];
static struct sweep_entry sweep_entries[UNITS * (RUNS - 1)];
static struct sweep_pair pairs[UNITS * 8];
static struct standing ranks[UNITS * 16];
static int places[RUNS - 1] = {1, 2};
static struct sweep_family family = {.cell = &runs[1], .count = 2, .runs = {0, 1}};
static struct sweep_report sweep;

static double mse_of(int run, int unit)
{
    return run == 0 ? 0 : 1e-3 * (1 + 5 * unit) * (run == 2 ? 1.01 : 1);
}

static void make_comparison(void)
{
    const struct arch *arch = arch_find("mamba1");
    const int output = arch_output(arch);
    for (int r = 0; r < RUNS; r++)
        for (int u = 0; u < UNITS; u++) {
            struct comparison_entry *e = &entries[r * UNITS + u];
            *e = (struct comparison_entry){
                .run = r, .layer = 5 * u, .component = output, .name = arch->components[output].name};
            e->is_output = true;
            e->record.count = 1248;
            for (int m = 0; m < METRICS; m++)
                e->record.value[m] = NAN;
            e->record.value[METRIC_MSE] = mse_of(r, u);
            e->record.value[METRIC_MAE] = 0.25;
            e->record.value[METRIC_CORRELATION] = 0.9995;
            e->record.value[METRIC_RELATIVE_MAE] = 0.02;
        }
    for (int u = 0; u < UNITS; u++)
        units[u] = (struct sweep_unit){5 * u, output, arch->components[output].name, false};
}

// `change`: what re-runs make of any metric, in phi.
static void make_sweep(int reruns, double change)
{
    const int k = metric_interval_place(METRIC_MSE);
    memset(sweep_entries, 0, sizeof sweep_entries);
    for (int u = 0; u < UNITS; u++)
        for (int r = 0; r < RUNS - 1; r++) {
            struct sweep_entry *e = &sweep_entries[u * (RUNS - 1) + r];
            const double v = mse_of(r + 1, u);
            for (int i = 0; i < METRIC_INTERVALS; i++)
                e->intervals[i] = (struct interval){.value = NAN, .low = NAN, .high = NAN, .phi = NAN};
            e->intervals[k] = (struct interval){v, 0.9 * v, 1.1 * v, log(v), 0.1, SAMPLES, INTERVAL_OK};
            e->floors[k] = (struct noise_floor){change, v * 1e-6, reruns};
        }
    for (int i = 0; i < UNITS * 16; i++)
        ranks[i] = (struct standing){.rank = 1, .tied = i % 2 ? 1 : 2};
    sweep = (struct sweep_report){.result = (const struct result *)(const void *)runs,
                                  .arch = arch_find("mamba1"),
                                  .reference = "fp32",
                                  .samples = SAMPLES,
                                  .tokens = 13,
                                  .runs = places,
                                  .units = units,
                                  .families = &family,
                                  .n_runs = RUNS - 1,
                                  .n_units = UNITS,
                                  .n_families = 1,
                                  .n_reruns = reruns,
                                  .n_ranks = 2,
                                  .n_pairs = 1,
                                  .ranked = metric_ranked_most(),
                                  .unit_step = 1,
                                  .held_units = UNITS,
                                  .entries = sweep_entries,
                                  .pairs = pairs,
                                  .ranks = ranks};
}

static struct measurements measured;

static struct report model;

static const struct report *build(int reruns, double change)
{
    struct error err = {0};
    make_comparison();
    comparison.from_outputs = stored;
    make_sweep(reruns, change);
    measured = (struct measurements){.result = (struct result *)(void *)runs,
                                     .comparison = &comparison,
                                     .sweep = &sweep,
                                     .output_dir = "out"};
    assert_int_equal(report_build(&model, &measured, &err), STATUS_OK);
    return &model;
}

static const struct report_note *find_note(const struct report *report, enum report_section_id id,
                                           const char *begin)
{
    const struct report_notes *notes = &report->sections[id].notes;
    for (int i = 0; i < notes->count; i++)
        if (strncmp(notes->items[i].text, begin, strlen(begin)) == 0) return &notes->items[i];
    return NULL;
}

// ---- tests ----

static void every_layer_has_its_cells(void **state)
{
    (void)state;
    stored = true;
    const struct report *report = build(0, NAN);
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    assert_int_equal(layers->n_tables, RUNS);
    assert_int_equal(report->n_compared, RUNS - 1);
    assert_true(layers->tables[0].run->is_reference);
    assert_string_equal(layers->tables[2].title, "Mode 2-1 against fp32");
    const int mse = report_column(&layers->tables[2], "mse"),
              p99 = report_column(&layers->tables[2], "abs_diff_p99");
    const struct report_row row = report_row(&layers->tables[2], 1);
    assert_int_equal(row.layer, 5);
    assert_true(row.main);
    assert_true(row.cells[mse].value == mse_of(2, 1));
    assert_int_equal(row.cells[mse].grade, GRADE_FAIR);
    assert_int_equal(row.cells[mse].marks, 0);
    assert_int_equal(row.cells[p99].marks & REPORT_ABSENT, 0);
    assert_int_equal(row.cells[p99].grade, REPORT_NO_GRADE);
    assert_string_equal(row.cells[report_column(&layers->tables[2], "worst_grade")].text, "fair");
    assert_int_equal(report_column(&layers->tables[2], "nothing"), -1);
    assert_int_equal(layers->tables[2].n_averages, 1);
    assert_true(fabs(layers->tables[2].averages[0].cells[mse].value - (mse_of(2, 0) + mse_of(2, 1)) / 2) <
                1e-15);
    report_clear(&model);
    stored = false;
    report = build(0, NAN);
    assert_true(report_row(&report->sections[REPORT_LAYERS].tables[2], 0).cells[p99].marks & REPORT_ABSENT);
    report_clear(&model);
}

static void the_summary_takes_first_and_last(void **state)
{
    (void)state;
    const struct report *report = build(0, NAN);
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    assert_int_equal(summary->n_rows, RUNS);
    assert_string_equal(summary->title, "All modes against fp32: mixer_output, 2 samples, 13 tokens");
    const struct report_row *row = &summary->rows[1];
    assert_true(row->cells[report_column(summary, "first_layer.mse")].value == mse_of(1, 0));
    assert_true(row->cells[report_column(summary, "last_layer.mse")].value == mse_of(1, 1));
    assert_true(row->cells[report_column(summary, "avg_mae")].value == 0.25);
    assert_string_equal(summary->columns[report_column(summary, "last_layer.mse")].group, "layer 5");
    assert_non_null(find_note(report, REPORT_SUMMARY, "Compared on: a text."));
    assert_non_null(find_note(report, REPORT_SUMMARY, "Worst of the layers"));
    report_clear(&model);
}

// 1 % between the modes; re-runs change 2 %, or nearly nothing.
static void noise_is_marked_and_explained_where_it_is(void **state)
{
    (void)state;
    const struct report *report = build(1, 0.02);
    const struct report_table *table = &report->sections[REPORT_LAYERS].tables[1];
    const int mse = report_column(table, "mse");
    assert_int_equal(report_row(table, 0).cells[mse].marks & REPORT_NOISE, REPORT_NOISE);
    assert_int_equal(report_sign(report_row(table, 0).cells[mse].marks), '~');
    assert_int_equal(find_note(report, REPORT_LAYERS, "~: ")->mark, REPORT_NOISE);
    assert_non_null(find_note(report, REPORT_RANKING, "~: "));
    assert_null(find_note(report, REPORT_LAYERS, "#: "));
    const struct report_table *ranking = report->sections[REPORT_RANKING].tables;
    assert_int_equal(ranking->n_rows, 2 + 2); // with "noise" and "apart"
    assert_string_equal(ranking->rows[2].name, "noise");
    assert_string_equal(ranking->rows[2].cells[1].text, "+-2 %");
    report_clear(&model);

    report = build(1, 1e-9);
    assert_int_equal(report_row(&report->sections[REPORT_LAYERS].tables[1], 0).cells[mse].marks, 0);
    assert_null(find_note(report, REPORT_LAYERS, "~: "));
    assert_null(find_note(report, REPORT_RANKING, "~: "));
    assert_null(find_note(report, REPORT_RANKING, "Which differences"));
    report_clear(&model);

    report = build(0, NAN);
    assert_null(find_note(report, REPORT_RANKING, "~: "));
    assert_non_null(
        find_note(report, REPORT_RANKING, "Which differences are mere rounding noise is not known"));
    assert_int_equal(report->sections[REPORT_RANKING].tables->n_rows, 2);
    report_clear(&model);
}

static void places_and_series_say_the_same(void **state)
{
    (void)state;
    const struct report *report = build(1, 0.02);
    const struct report_table *ranking = report->sections[REPORT_RANKING].tables;
    assert_string_equal(ranking->columns[2].group, "layer 5");
    assert_string_equal(ranking->rows[0].cells[0].text, "1-2");
    assert_true(ranking->rows[0].cells[0].low == 1 && ranking->rows[0].cells[0].high == 2);
    assert_int_equal(report->statistics->n_entries, UNITS * (RUNS - 1));
    struct report_entry entry;
    report_entry(report, UNITS + 1, &entry); // mode 2-1, layer 5
    assert_string_equal(entry.run->mode, "2-1");
    assert_int_equal(entry.layer, 5);
    const struct report_cell *cell = &entry.cells[metric_interval_place(METRIC_MSE)];
    assert_string_equal(entry.metrics[metric_interval_place(METRIC_MSE)].key, "mse");
    assert_true(cell->value == mse_of(2, 1) && cell->low == 0.9 * mse_of(2, 1));
    assert_int_equal(cell->marks, REPORT_NOISE | REPORT_KNOWS_NOISE | REPORT_RERUN | REPORT_KNOWS_APART);
    assert_true(fabs(cell->noise - exp(0.02)) < 1e-12);
    struct report_ranking first;
    report_ranking(report, 0, &first);
    assert_string_equal(first.metric, "mse");
    assert_int_equal(first.n_places, 2);
    assert_int_equal(first.places[1].tied, 1);
    assert_int_equal(first.places[0].noise, 2);
    assert_string_equal(first.cell->mode, "2-1");
    report_clear(&model);
}

static char *rendered; // the last text

static const char *text_of(const struct report *report, bool markdown)
{
    size_t bytes;
    free(rendered);
    FILE *out = open_memstream(&rendered, &bytes);
    if (markdown)
        render_markdown(out, report);
    else
        render_text(out, report, &(struct page_style){0});
    fclose(out);
    return rendered;
}

static int count_of(const char *text, const char *word)
{
    int count = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        count++;
    return count;
}

static void renderers_explain_the_signs_that_they_show(void **state)
{
    (void)state;
    stored = true;
    const struct report *report = build(1, 0.02);
    const char *text = text_of(report, false);
    assert_non_null(strstr(text, "    5  6.060e-03~fair "));
    assert_int_equal(count_of(text, "~: mere rounding noise"), 2); // of the summary, of the ranking
    text = text_of(report, true);
    assert_non_null(strstr(text, "| 5 | mixer_output | 6.060e-03~ | 2.500e-01 | 2.000 % | 0.999500 | n/a"));
    assert_int_equal(count_of(text, "~: mere rounding noise"), 1);
    report_clear(&model);
    report = build(1, 1e-9);
    assert_int_equal(count_of(text_of(report, false), "~"), 0);
    assert_int_equal(count_of(text_of(report, true), "~"), 0);
    report_clear(&model);
}

static void what_is_missing_is_said(void **state)
{
    (void)state;
    runs[2].complete = false;
    runs[2].done = 1;
    const struct report *report = build(0, NAN);
    assert_false(report->complete);
    assert_int_equal(report->n_incomplete, 1);
    assert_int_equal(report->runs[2].samples_compared, 1);
    assert_int_equal(report->runs[2].missing.count, 1);
    assert_string_equal(report->runs[2].missing.items[0], "1");
    assert_true(report->runs[1].complete);
    assert_non_null(find_note(report, REPORT_SUMMARY, "INCOMPLETE."));
    assert_non_null(find_note(report, REPORT_SUMMARY, "  mode 2-1 (n=8): 1 of 2 samples"));
    runs[2].complete = true;
    runs[2].done = SAMPLES;
    report_clear(&model);
}

static void a_layer_by_itself_has_columns_of_its_own(void **state)
{
    (void)state;
    stored = true;
    const struct report *report = build(0, NAN);
    const int metrics = report->n_metrics;
    assert_int_equal(report_column(&report->sections[REPORT_LAYERS].tables[1], "isolated_mse"), -1);
    assert_null(strstr(text_of(report, false), "own MSE"));
    assert_null(strstr(text_of(report, true), "own MSE"));
    report_clear(&model);
    alone = true;
    report = build(0, NAN);
    assert_int_equal(report->n_metrics, metrics + 2);
    const struct report_table *table = &report->sections[REPORT_LAYERS].tables[1];
    assert_int_equal(report_column(table, "isolated_mse"), metrics);
    assert_int_equal(report_column(table, "amplification"), metrics + 1);
    assert_int_equal(report_column(table, "elements"), metrics + 2);
    assert_true(report_row(table, 1).cells[report_column(table, "elements")].value == 1248);
    assert_non_null(strstr(text_of(report, false), "own MSE"));
    assert_non_null(strstr(text_of(report, false), "amplified"));
    assert_non_null(strstr(text_of(report, true), "| own MSE | amplification |"));
    report_clear(&model);
    alone = stored = false;
}

static void layers_that_are_asked_for_stand_beside_modes(void **state)
{
    (void)state;
    stored = true;
    const struct report *report = build(1, 0.02);
    assert_int_equal(report->sections[REPORT_BY_LAYER].n_tables, 0);
    assert_int_equal(count_of(text_of(report, false), "MSE of each layer"), 0);
    assert_int_equal(count_of(text_of(report, false), "Mode 2-1 against fp32, mixer_output"), 1);
    report_clear(&model);
    comparison.chosen = true;
    report = build(1, 0.02);
    const struct report_section *section = &report->sections[REPORT_BY_LAYER];
    assert_int_equal(section->n_tables, 1);
    const struct report_table *table = section->tables;
    assert_string_equal(table->title, "MSE of each layer against fp32: mixer_output, 2 samples, 13 tokens");
    assert_int_equal(table->n_columns, RUNS - 1);
    assert_int_equal(table->n_rows, UNITS + 1);
    assert_string_equal(table->columns[1].key, "2-1");
    assert_true(table->rows[1].cells[1].value == mse_of(2, 1));
    assert_true(table->rows[1].cells[1].marks & REPORT_NOISE);
    assert_true(fabs(table->rows[2].cells[0].value - (mse_of(1, 0) + mse_of(1, 1)) / 2) < 1e-15);
    const char *text = text_of(report, false);
    assert_non_null(strstr(text, "\n    5 6.000e-03~ 6.060e-03~\n  avg 3.500e-03  3.535e-03\n"));
    assert_int_equal(count_of(text, "Mode 2-1 against fp32"), 0);
    assert_int_equal(count_of(text, "~: mere rounding noise"), 2); // of the summary, of the ranking
    assert_non_null(
        strstr(text_of(report, true), "| layer | 0 | 2-1 |\n|---:|---:|---:|\n| 0 | 1.000e-03~ |"));
    comparison.chosen = stored = false;
    report_clear(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_has_its_cells),
        cmocka_unit_test(the_summary_takes_first_and_last),
        cmocka_unit_test(noise_is_marked_and_explained_where_it_is),
        cmocka_unit_test(places_and_series_say_the_same),
        cmocka_unit_test(renderers_explain_the_signs_that_they_show),
        cmocka_unit_test(what_is_missing_is_said),
        cmocka_unit_test(a_layer_by_itself_has_columns_of_its_own),
        cmocka_unit_test(layers_that_are_asked_for_stand_beside_modes),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(rendered);
    return failed;
}
