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

enum { COST_CHARS = 24 };

// What a piece takes more without it, in bytes.
static const char *bytes_text(long long bytes, char text[COST_CHARS])
{
    const double kib = (double)bytes / 1024;
    if (bytes == 0)
        snprintf(text, COST_CHARS, "-");
    else if (kib > -1000 && kib < 1000)
        snprintf(text, COST_CHARS, "%+.1f KiB", kib);
    else
        snprintf(text, COST_CHARS, "%+.1f MiB", kib / 1024);
    return text;
}

// The part of all multiply-adds that are INT8 no longer.
static const char *products_text(const struct pieces *pieces, long long int8, char text[COST_CHARS])
{
    snprintf(text, COST_CHARS, "-");
    if (int8 != 0) snprintf(text, COST_CHARS, "%+.1f%%", 100 * (double)int8 / (double)pieces->multiply_adds);
    return text;
}

// By the user's table; a column only with one.
static const char *user_text(const struct pieces *pieces, double cost, char text[COST_CHARS])
{
    text[0] = '\0';
    if (isnan(pieces->user_cost)) return text;
    if (cost == 0)
        snprintf(text, COST_CHARS, " %8s", "-");
    else
        snprintf(text, COST_CHARS, " %+8.3g", cost);
    return text;
}

static void print_item(FILE *out, const struct attribution *a, const struct attributed *item)
{
    char layer[16] = "all", without[RANGE_CHARS], bytes[COST_CHARS], products[COST_CHARS], user[COST_CHARS];
    const struct piece *piece = item->piece;
    if (piece->layer != PIECE_ALL) snprintf(layer, sizeof layer, "%d", piece->layer);
    fprintf(out, "%5d  %-18s %5s  %-21s %6.1f%%%c %6.1f%% %11s %7s%s\n", item->place,
            piece->unit ? piece->unit : "all", layer, range(&item->without_change, without),
            100 * item->share_without,
            item->within_noise  ? '~'
            : item->significant ? '*'
                                : ' ',
            100 * item->share_only, bytes_text(piece->weight_bytes, bytes),
            products_text(a->pieces, piece->int8_multiply_adds, products),
            user_text(a->pieces, piece->user_cost, user));
}

// Where there are many pieces, those that change no bit are left out.
static int count_shown(const struct attribution *a)
{
    int shown = 0;
    while (shown < a->count && shown < SHOWN &&
           (a->count <= SHOWN || a->items[shown].without_change.state != INTERVAL_EQUAL))
        shown++;
    return shown;
}

static void print_rest(FILE *out, const struct attribution *a)
{
    const int rest = a->count - count_shown(a);
    int equal = 0;
    for (int i = count_shown(a); i < a->count; i++)
        equal += a->items[i].without_change.state == INTERVAL_EQUAL;
    fprintf(
        out,
        "%d more pieces are in attribution.json and attribution.csv; without %s%d of them no bit changes.\n",
        rest, equal == rest ? "all " : "", equal);
}

static void print_notes(FILE *out, const struct attribution *a)
{
    int significant = 0;
    for (int i = 0; i < a->count; i++)
        significant += a->items[i].significant;
    if (a->count > SHOWN) print_rest(out, a);
    fprintf(
        out,
        "Interaction: the shares of the whole lack %.1f%% (without) and %.1f%% (only); what pieces do to\n"
        "each other belongs to none of them.\n",
        100 * a->interaction_without, 100 * a->interaction_only);
    fprintf(out, "*: the error surely changes without the piece (95 %%, Holm over %d pieces): %d of them.\n",
            a->count, significant);
    fprintf(
        out,
        "weights, INT8: what mending takes, more bytes of weights and fewer of the multiply-adds in INT8;\n"
        "%s has %.1f MiB, and %.1f%% of %.1f million multiply-adds of a token in INT8.\n",
        a->pieces->mode->name, (double)a->pieces->weight_bytes / 0x1p20,
        100 * (double)a->pieces->int8_multiply_adds / (double)a->pieces->multiply_adds,
        (double)a->pieces->multiply_adds * 1e-6);
    if (!isnan(a->pieces->user_cost))
        fprintf(out, "cost: by the table of --costs; %s has %.6g.\n", a->pieces->mode->name,
                a->pieces->user_cost);
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
    fprintf(out, "%5s  %-18s %5s  %-21s %7s %8s %11s %7s%s\n", "place", "unit", "layer", "without it",
            "share", "alone", "weights", "INT8", isnan(a->pieces->user_cost) ? "" : "     cost");
    for (int i = 0; i < count_shown(a); i++)
        print_item(out, a, &a->items[i]);
    print_notes(out, a);
}
