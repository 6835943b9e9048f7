// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/reporting.h"

#include <string.h>

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/percentile.h"
#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/render.h"
#include "ssmsweep/report/sweep_report.h"
#include "sweep_parts.h"

// What a report takes beside its numbers: file buffers, texts of tables and small files.
enum { REPORTS_BYTES = 300 << 10 };

// ---- what the comparison is about ----

// Components and layers in the reports: with metrics of every layer.
static int count_units(const struct sweep *sweep)
{
    const struct plan *plan = &sweep->plan;
    struct error ignored = {0};
    uint32_t asked = 0;
    int stored = 0;
    for (int l = 0; l < plan->n_layer; l++)
        stored += __builtin_popcount(plan->want[l]);
    if (!plan->metrics || component_select(plan->arch, sweep->job->components, &asked, &ignored))
        return stored;
    return plan->n_layer * __builtin_popcount(asked) + plan->logits;
}

static bool is_compared(const struct plan *plan, const struct run *run)
{
    return run->dither == 0 && run->mode != plan->runs[plan->reference_run].mode;
}

static struct sweep_report_size report_size(const struct sweep *sweep)
{
    const struct plan *plan = &sweep->plan;
    int floats = 0, first = 0;
    struct sweep_report_size size = {.units = count_units(sweep),
                                     .samples = plan->samples,
                                     .replicates = sweep->job->bootstrap,
                                     .families = plan->n_cells > 0 ? plan->n_cells : 1,
                                     .isolated = plan->isolated};
    for (int r = 0; r < plan->n_runs; r++) {
        const bool compared = is_compared(plan, &plan->runs[r]);
        size.runs += compared;
        floats += compared && plan->runs[r].cell == PLAN_FLOAT_CELL;
        first += compared && plan->runs[r].cell == 0;
    }
    size.of_family = floats + first;
    size.trends = plan->n_cells > plan->n_orders ? first : 0;
    return size;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static size_t widest_output(const struct sweep *sweep)
{
    size_t widest = 0;
    for (int l = 0; l < sweep->plan.n_layer; l++)
        for (int c = 0; c < sweep->plan.arch->n_components; c++)
            if (sweep->plan.want[l] & 1u << c)
                widest = larger(widest, (size_t)arch_width(&sweep->model.dims, c));
    return widest * (size_t)sweep->corpus.max_tokens * sizeof(float);
}

static size_t attribution_bytes(const struct sweep *sweep)
{
    return (size_t)pieces_made()->count * sizeof(struct attributed) +
           bootstrap_bytes(sweep->job->bootstrap, sweep->plan.samples, 2) + REPORTS_BYTES;
}

// One after the other: records of stored outputs, then intervals and reports.
size_t reporting_bytes(const struct sweep *sweep)
{
    const int rank = sweep->comm->rank, ranks = sweep->comm->ranks;
    const size_t output = widest_output(sweep);
    if (sweep->job->command == COMMAND_ATTRIBUTE) return rank == 0 ? attribution_bytes(sweep) : 0;
    const size_t records =
        output > 0 ? 2 * output + percentile_bytes(output / sizeof(float) * (size_t)sweep->plan.samples) : 0;
    const struct sweep_report_size size = report_size(sweep);
    const size_t entries = (size_t)(size.runs + 1) * (size_t)size.units * sizeof(struct comparison_entry);
    const bool page = render_html_is_built() && !sweep->job->no_html && sweep->job->command != COMMAND_SAVE;
    const int layers = sweep->plan.n_layer > 0 ? sweep->plan.n_layer : 1;
    const size_t figures =
        page ? report_figures_bytes(&size, size.units / layers, sweep->corpus.max_tokens) : 0;
    return entries + larger(records, sweep_report_bytes(&size, rank, ranks) +
                                         (rank == 0 ? REPORTS_BYTES + figures : 0));
}
