// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/memory_plan.h"

#include <string.h>

#include "ssmsweep/base/footprint.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/percentile.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/sweep_report.h"
#include "ssmsweep/sweep/predict.h"
#include "sweep_parts.h"

// Of the numbers of a report: file buffers, texts of tables and small files.
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
                                     .families = plan->n_cells > 0 ? plan->n_cells : 1};
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

// One after the other: records of stored outputs, then intervals and reports.
static size_t comparison_bytes(const struct sweep *sweep, int rank, int ranks)
{
    const size_t output = widest_output(sweep);
    const size_t records =
        output > 0 ? 2 * output + percentile_bytes(output / sizeof(float) * (size_t)sweep->plan.samples) : 0;
    const struct sweep_report_size size = report_size(sweep);
    const size_t entries = (size_t)(size.runs + 1) * (size_t)size.units * sizeof(struct comparison_entry);
    return entries +
           larger(records, sweep_report_bytes(&size, rank, ranks) + (rank == 0 ? REPORTS_BYTES : 0));
}

// ---- the ranks of a node ----

struct memory_plan memory_plan_make(const struct sweep *sweep)
{
    const struct comm *comm = sweep->comm;
    const struct predicted_sweep predicted = predict_sweep(sweep);
    struct footprint now;
    const bool known = footprint_read(&now);
    const unsigned long long started = now.own_bytes + now.shared_bytes;
    const unsigned long long items = started + predicted.rank,
                             report = started + predicted.reader +
                                      comparison_bytes(sweep, comm->rank, comm->ranks) - predicted.ids;
    unsigned long long sums[3] = {items, report, known}, most[1] = {larger(items, report)};
    MPI_Allreduce(MPI_IN_PLACE, sums, 3, MPI_UNSIGNED_LONG_LONG, MPI_SUM, comm->node);
    MPI_Allreduce(MPI_IN_PLACE, most, 1, MPI_UNSIGNED_LONG_LONG, MPI_MAX, comm->node);
    if (sums[2] != (unsigned long long)comm->node_ranks)
        return (struct memory_plan){.ranks = comm->node_ranks, .weights = predicted.weights};
    return (struct memory_plan){.ranks = comm->node_ranks,
                                .node = larger(sums[0] + predicted.weights, sums[1]),
                                .weights = predicted.weights,
                                .rank = most[0],
                                .started = started};
}

static double mebibytes(size_t bytes)
{
    return (double)bytes / (1 << 20);
}

void memory_plan_print(FILE *out, const struct memory_plan *plan)
{
    if (plan->node == 0) {
        fprintf(out, "memory: %.1f MiB of weights per node; this system does not tell the rest\n",
                mebibytes(plan->weights));
        return;
    }
    fprintf(out, "memory: %.1f MiB on a node with %d rank%s: %.1f MiB of weights, up to %.1f MiB in a rank",
            mebibytes(plan->node), plan->ranks, plan->ranks == 1 ? "" : "s", mebibytes(plan->weights),
            mebibytes(plan->rank));
    fprintf(out, " (%.1f MiB before the sweep)\n", mebibytes(plan->started));
}
