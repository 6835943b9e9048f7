// SPDX-License-Identifier: Apache-2.0
#include "table_chosen.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/report/sweep_files.h"

enum { MANY_LAYERS = 6 };

const struct result_run *table_run_of(const struct sweep_report *report, int place)
{
    return result_run_at(report->result, report->runs[place]);
}

int table_main_statistic(const struct sweep_unit *unit)
{
    return unit->layer == SWEEP_END_OF_MODEL ? 0 : metric_interval_place(METRIC_MSE);
}

static bool captured(const struct sweep_report *report, int layer)
{
    int layers = result_layers(report->result);
    for (int l = 0; l < layers; l++)
        if (result_layer_at(report->result, l) == layer) return true;
    return layers == 0;
}

// mixer_output, or the first component of the layer.
static bool is_main(const struct sweep_report *report, int unit)
{
    const struct sweep_unit *u = &report->units[unit];
    const int output = arch_output(result_arch(report->result));
    if (u->layer == SWEEP_END_OF_MODEL || !captured(report, u->layer)) return false;
    for (int i = 0; i < report->n_units; i++)
        if (report->units[i].layer == u->layer && i != unit &&
            (report->units[i].component == output || i < unit) && u->component != output)
            return false;
    return true;
}

int table_choose_units(const struct sweep_report *report, bool all, int *units)
{
    int n = 0;
    for (int u = 0; u < report->n_units; u++)
        if (is_main(report, u)) units[n++] = u;
    if (all || n <= MANY_LAYERS) return n;
    units[1] = units[n - 1];
    return 2;
}

const struct sweep_family *table_main_family(const struct sweep_report *report)
{
    const struct sweep_family *family = &report->families[0];
    for (int f = 1; f < report->n_families; f++)
        if (report->families[f].cell && report->families[f].cell->order == 0) family = &report->families[f];
    return family;
}

int table_name_width(const struct sweep_report *report)
{
    int width = 5;
    for (int r = 0; r < report->n_runs; r++)
        width = (int)strlen(table_run_of(report, r)->mode) > width
                    ? (int)strlen(table_run_of(report, r)->mode)
                    : width;
    return width;
}

bool table_any_unbounded(const struct sweep_report *report, int unit, int k, const int *runs, int count)
{
    for (int i = 0; i < count; i++)
        if (sweep_entry_at(report, unit, runs[i])->intervals[k].state == INTERVAL_UNBOUNDED) return true;
    return false;
}

void table_print_unbounded_legend(FILE *out)
{
    fputs("unbounded: so few or so uneven samples do not tell it to within a factor of ten.\n", out);
}

void table_print_cell(FILE *out, const struct sweep_report *report, const struct sweep_family *family)
{
    if (family->cell && report->n_families > 1)
        fprintf(out, ", calib_data_num %d", family->cell->calib_data_num);
    fputc('\n', out);
}

// ---- what is mere rounding noise ----

const char *table_sign(bool within_apart, bool within_noise)
{
    return within_apart ? "#" : within_noise ? "~" : " ";
}

static int find_run(const struct sweep_report *report, int run)
{
    for (int r = 0; r < report->n_runs; r++)
        if (report->runs[r] == run) return r;
    return -1;
}

static int find_unit(const struct sweep_report *report, int layer, int component)
{
    for (int u = 0; u < report->n_units; u++)
        if (report->units[u].layer == layer && report->units[u].component == component) return u;
    return -1;
}

const char *table_value_sign(const struct sweep_report *report, int unit, int k, int run)
{
    return table_sign(sweep_within_apart(report, unit, k, run), sweep_within_noise(report, unit, k, run));
}

// Where the report has a value of the comparison.
struct place {
    int unit, k, run;
};

// False where it has none, or nothing is known of noise.
static bool find_place(struct place *place, const struct sweep_report *report, int run, int layer,
                       int component, enum metric_id metric)
{
    if (!report || report->n_reruns == 0 || metric_table[metric].scale == SCALE_NONE) return false;
    *place = (struct place){find_unit(report, layer, component), metric_interval_place(metric),
                            find_run(report, run)};
    return place->unit >= 0 && place->run >= 0;
}

bool table_within_noise(const struct sweep_report *report, int run, int layer, int component,
                        enum metric_id metric)
{
    struct place at;
    return find_place(&at, report, run, layer, component, metric) &&
           sweep_within_noise(report, at.unit, at.k, at.run);
}

bool table_within_apart(const struct sweep_report *report, int run, int layer, int component,
                        enum metric_id metric)
{
    struct place at;
    return find_place(&at, report, run, layer, component, metric) &&
           sweep_within_apart(report, at.unit, at.k, at.run);
}

const char *table_value_sign_of(const struct sweep_report *report, int run, int layer, int component,
                                enum metric_id metric)
{
    struct place at;
    if (!find_place(&at, report, run, layer, component, metric)) return table_sign(false, false);
    return table_value_sign(report, at.unit, at.k, at.run);
}

void table_print_noise_legend(FILE *out, const struct sweep_report *report, const char *other)
{
    if (report->n_reruns > 0)
        fprintf(out, "~: mere rounding noise lies between it and %s: another order of sums makes as much.\n",
                other);
    else
        fputs("Which differences are mere rounding noise is not known; --noise K measures it.\n", out);
}

static bool any_within_apart(const struct sweep_report *report)
{
    for (int u = 0; u < report->n_units; u++)
        for (int k = 0; k < sweep_metric_count(&report->units[u]); k++)
            for (int r = 0; r < report->n_runs; r++)
                if (sweep_within_apart(report, u, k, r)) return true;
    return false;
}

void table_print_apart_legend(FILE *out, const struct sweep_report *report)
{
    if (any_within_apart(report))
        fprintf(out, "#: no further from %s than from its own re-run with another order of sums.\n",
                report->reference);
}

void table_print_value_legend(FILE *out, const struct sweep_report *report)
{
    table_print_noise_legend(out, report, "another mode");
    table_print_apart_legend(out, report);
}

void table_print_noise_row_legend(FILE *out, const struct sweep_report *report)
{
    if (report->n_reruns > 0)
        fputs("noise: the most by which another order of sums changed any number above.\n", out);
}

void table_print_apart_row_legend(FILE *out, const struct sweep_report *report)
{
    if (report->n_reruns > 0)
        fputs("apart: a mode against its own re-run with another order of sums, the worst of all modes.\n",
              out);
}

double table_apart(const struct sweep_report *report, int unit, int k, const int *runs, int count)
{
    const bool larger = sweep_metric(&report->units[unit], k)->better == BETTER_LARGER;
    double worst = NAN;
    for (int i = 0; i < count; i++) {
        const struct noise_floor *floor = &sweep_entry_at(report, unit, runs[i])->floors[k];
        if (floor->reruns > 0) worst = larger ? fmin(worst, floor->value) : fmax(worst, floor->value);
    }
    return worst;
}

const char *table_noise_cell(char *cell, size_t bytes, const struct sweep_report *report, int unit, int k,
                             const int *runs, int count)
{
    double most = -1;
    for (int i = 0; i < count; i++) {
        const struct noise_floor *floor = &sweep_entry_at(report, unit, runs[i])->floors[k];
        if (floor->reruns > 0) most = fmax(most, floor->change); // which passes over what is not known
    }
    snprintf(cell, bytes, "+-%.2g %%", 100 * (scale_change(SCALE_LOG, most) - 1));
    return most == -1 ? "" : cell;
}
