// SPDX-License-Identifier: Apache-2.0
// The table that `ssmsweep attribute` prints.
#include <math.h>

#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/reading.h"

enum { SHOWN = 24, RANGE_CHARS = 32 };

static const char *range(const struct change *change, char text[RANGE_CHARS])
{
    if (change->state == INTERVAL_OK)
        snprintf(text, RANGE_CHARS, "x %.3f %.3f..%.3f", change->value, change->low, change->high);
    else if (isnan(change->value))
        snprintf(text, RANGE_CHARS, "%s", interval_state_name(change->state));
    else
        snprintf(text, RANGE_CHARS, "x %.3f %s", change->value, interval_state_name(change->state));
    return text;
}

static void print_item(FILE *out, const struct attributed *item)
{
    char layer[16] = "all", without[RANGE_CHARS], only[RANGE_CHARS];
    if (item->piece->layer != PIECE_ALL) snprintf(layer, sizeof layer, "%d", item->piece->layer);
    fprintf(out, "%5d  %-18s %5s  %-22s %6.1f%%%c  %-22s %6.1f%%\n", item->place,
            item->piece->unit ? item->piece->unit : "all", layer, range(&item->without_change, without),
            100 * item->share_without,
            item->within_noise  ? '~'
            : item->significant ? '*'
                                : ' ',
            range(&item->only_change, only), 100 * item->share_only);
}

static void print_notes(FILE *out, const struct attribution *a)
{
    int significant = 0;
    for (int i = 0; i < a->count; i++)
        significant += a->items[i].significant;
    if (a->count > SHOWN)
        fprintf(out, "%d more pieces are in attribution.json and attribution.csv.\n", a->count - SHOWN);
    fprintf(
        out,
        "Interaction: the shares of the whole lack %.1f%% (without) and %.1f%% (only); what pieces do to\n"
        "each other belongs to none of them.\n",
        100 * a->interaction_without, 100 * a->interaction_only);
    fprintf(out, "*: the error surely changes without the piece (95 %%, Holm over %d pieces): %d of them.\n",
            a->count, significant);
    if (a->n_reruns > 0)
        fprintf(out, "~: changes no more than two re-runs of %s with other last bits do (%d re-runs).\n",
                a->pieces->mode->name, a->n_reruns);
    else
        fputs("Which changes are mere rounding noise is not known; --noise K measures it.\n", out);
}

void attribution_print(const struct attribution *a, FILE *out)
{
    char at[READING_PLACE_CHARS];
    fprintf(out, "\nWhat the pieces of %s cost: %s of %s against %s, %d sample%s\n", a->pieces->mode->name,
            a->metric->label, reading_place_text(a->layer, a->component, at), a->reference, a->samples,
            a->samples == 1 ? "" : "s");
    fprintf(out, "%s %.3e, as a whole; %.3e with every piece as in %s\n\n", a->metric->label, a->whole.value,
            a->none.value, a->pieces->toward->name);
    fprintf(out, "%5s  %-18s %5s  %-22s %7s   %-22s %7s\n", "place", "unit", "layer", "without it", "share",
            "only it", "share");
    for (int i = 0; i < a->count && i < SHOWN; i++)
        print_item(out, &a->items[i]);
    print_notes(out, a);
}
