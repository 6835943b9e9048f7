// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/present.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/report/table.h"
#include "ssmsweep/report/table_sweep.h"

bool present_in_color(enum present_color wanted, FILE *out)
{
    if (wanted != COLOR_AUTO) return wanted == COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_color && no_color[0]) return false;
    // mpirun gives its processes a pseudo-terminal, whatever stands behind it.
    if (getenv("OMPI_COMM_WORLD_SIZE")) return false;
    return isatty(fileno(out)) && !(terminal && strcmp(terminal, "dumb") == 0);
}

static void tables(FILE *out, const struct job *job, const struct report *report,
                   const struct sweep_report *sweep)
{
    const struct comparison *comparison = report->comparison;
    bool color = present_in_color((enum present_color)job->color, out);
    const bool in_detail = job->verbosity == LOG_VERBOSE || report_count_compared(report) == 1;
    if (in_detail) table_print_blocks(out, comparison, report->result, sweep, color);
    // Without outputs all layers of the model are there, of all sets of scales.
    if (in_detail || result_layers(report->result) > 0)
        table_print_modes(out, comparison, report->result, sweep, color);
    table_print_summary(out, comparison, report->result, sweep, color);
    table_print_ranking(out, sweep, job->verbosity == LOG_VERBOSE);
    table_print_trends(out, sweep);
    table_print_orders(out, sweep);
    table_print_end_of_model(out, sweep);
}

enum status present(FILE *out, const struct job *job, const struct report *report,
                    const struct sweep_report *sweep, struct error *err)
{
    switch ((enum present_format)job->format) {
    case FORMAT_TABLE:
        if (job->verbosity != LOG_QUIET) tables(out, job, report, sweep);
        break;
    case FORMAT_JSON:
        return report_print(out, report, err);
    case FORMAT_CSV:
        present_csv(out, report->comparison, report->result, sweep);
        break;
    case FORMAT_MARKDOWN:
        present_markdown(out, report->comparison, report->result, sweep);
        break;
    }
    return STATUS_OK;
}
