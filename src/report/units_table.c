// SPDX-License-Identifier: Apache-2.0
// The table that `ssmsweep units` prints.
#include <math.h>
#include <stdlib.h>

#include "ssmsweep/report/units.h"

enum { SHOWN = 24, TEXT_CHARS = 40 };

static const char *ratio_text(double ratio, char text[TEXT_CHARS])
{
    if (isnan(ratio))
        snprintf(text, TEXT_CHARS, "-");
    else
        snprintf(text, TEXT_CHARS, ratio < 100 ? "%.3f" : "%.0f", ratio);
    return text;
}

// The observer with the least error; the first of equal ones.
static const char *best_text(const struct unit_said *said, char text[TEXT_CHARS])
{
    int best = -1;
    for (int o = 0; o < OBSERVER_COUNT; o++) {
        const double ratio = said->instead[UNIT_SCALE_OBSERVER + o];
        if (!isnan(ratio) && (best < 0 || ratio < said->instead[UNIT_SCALE_OBSERVER + best])) best = o;
    }
    if (best < 0)
        snprintf(text, TEXT_CHARS, "-");
    else
        snprintf(text, TEXT_CHARS, "%.3f %s", said->instead[UNIT_SCALE_OBSERVER + best],
                 observer_name((enum observer)best));
    return text;
}

static void print_place(FILE *out, const struct unit_said *said)
{
    char channel[TEXT_CHARS], token[TEXT_CHARS], best[TEXT_CHARS], largest[TEXT_CHARS] = "-";
    if (said->n_largest > 0)
        snprintf(largest, sizeof largest, "%d: x %.1f", said->largest[0].channel, said->largest[0].over);
    fprintf(out, "%-18s %5d %7.3f%% %5.2f %12s %7.3f%% %7s %7s  %s\n", said->place->name, said->place->layer,
            100 * said->clipped, said->bits, largest, 100 * said->error,
            ratio_text(said->instead[UNIT_SCALE_CHANNEL], channel),
            ratio_text(said->instead[UNIT_SCALE_TOKEN], token), best_text(said, best));
}

static int compare_errors(const void *x, const void *y)
{
    const struct unit_said *a = *(const struct unit_said *const *)x, *b = *(const struct unit_said *const *)y;
    if (isnan(a->error) != isnan(b->error)) return isnan(a->error) ? 1 : -1;
    if (!isnan(a->error) && a->error != b->error) return a->error > b->error ? -1 : 1;
    return a->place < b->place ? -1 : a->place > b->place;
}

void units_print(const struct unit_pass *pass, const struct unit_said *said, FILE *out)
{
    const struct unit_said **order = calloc((size_t)pass->count + 1, sizeof *order);
    if (!order) return;
    for (int i = 0; i < pass->count; i++)
        order[i] = &said[i];
    qsort(order, (size_t)pass->count, sizeof *order, compare_errors);
    fprintf(out, "\nWhat INT8 makes of each unit by itself: %d samples, %lld tokens; scales of %s\n\n",
            pass->samples, pass->tokens, pass->checkpoint ? "the checkpoint" : "the calibration");
    fprintf(out, "%-18s %5s %8s %5s %12s %8s %7s %7s  %s\n", "unit", "layer", "clipped", "bits", "largest",
            "error", "channel", "token", "observer");
    for (int i = 0; i < pass->count && i < SHOWN; i++)
        print_place(out, order[i]);
    if (pass->count > SHOWN)
        fprintf(out, "%d more are in units.json and units.csv, these have the largest error.\n",
                pass->count - SHOWN);
    fputs(
        "clipped: of its values, outside of the grid. bits: entropy of its codes, of 8. largest: its "
        "largest\n"
        "channel, against the median one. error: of INT8, against the values. Then the squared error with a\n"
        "scale for each channel, for each token, and of the best observer, against that of its own scale.\n",
        out);
    free(order);
}
