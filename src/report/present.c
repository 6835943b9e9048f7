// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/present.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/report/render.h"

bool present_in_color(enum present_color wanted, FILE *out)
{
    if (wanted != COLOR_AUTO) return wanted == COLOR_ALWAYS;
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    if (no_color && no_color[0]) return false;
    // mpirun gives its processes a pseudo-terminal, whatever stands behind it.
    if (getenv("OMPI_COMM_WORLD_SIZE")) return false;
    return isatty(fileno(out)) && !(terminal && strcmp(terminal, "dumb") == 0);
}

static void tables(FILE *out, const struct job *job, const struct report *report)
{
    const struct page_style style = {.color = present_in_color((enum present_color)job->color, out),
                                     .detailed = job->verbosity == LOG_VERBOSE};
    render_text(out, report, &style);
}

enum status present(FILE *out, const struct job *job, const struct report *report,
                    const struct report_files *files, struct error *err)
{
    switch ((enum present_format)job->format) {
    case FORMAT_TABLE:
        if (job->verbosity != LOG_QUIET) tables(out, job, report);
        break;
    case FORMAT_JSON:
        return report_print(out, files, err);
    case FORMAT_CSV:
        render_csv(out, report);
        break;
    case FORMAT_MARKDOWN:
        render_markdown(out, report);
        break;
    }
    return STATUS_OK;
}
