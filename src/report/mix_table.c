// SPDX-License-Identifier: Apache-2.0
// The table that `ssmsweep mix` prints.
#include <math.h>
#include <string.h>

#include "mix.h"

enum { CHARS = 48, LINE = 96 };

static const char *range(const struct interval *interval, char text[CHARS])
{
    if (interval->state == INTERVAL_OK)
        snprintf(text, CHARS, "%.3e %.2e..%.2e", interval->value, interval->low, interval->high);
    else
        snprintf(text, CHARS, "%.3e %s", interval->value, interval_state_name(interval->state));
    return text;
}

static const char *change(const struct change *change, char text[CHARS])
{
    if (change->value >= 1000)
        snprintf(text, CHARS, "x %.1e", change->value);
    else if (change->state == INTERVAL_OK)
        snprintf(text, CHARS, "x %.3f %.3f..%.3f", change->value, change->low, change->high);
    else
        snprintf(text, CHARS, "x %.3f %s", change->value, interval_state_name(change->state));
    return text;
}

// "x 0.612 0.559..0.669 +"
static const char *duel(const struct duel *duel, char text[CHARS + 4])
{
    char what[CHARS];
    snprintf(text, CHARS + 4, "%s%s", change(&duel->change, what),
             duel->better  ? " +"
             : duel->worse ? " -"
                           : "");
    return text;
}

static void print_taken(const struct mix *m, FILE *out)
{
    char piece[MIX_PIECE_CHARS], what[CHARS];
    fputs("round  changes  takes                                 as           on the texts that choose\n",
          out);
    for (int r = 0; r < m->n_rounds; r++) {
        const struct mix_round *round = &m->rounds[r];
        const struct mix_candidate *c = round->taken < 0 ? NULL : &round->items[round->taken];
        if (!c)
            fprintf(out, "%5d  %7d  none is surely better\n", r + 1, round->count);
        else
            fprintf(out, "%5d  %7d  %-36.36s  %-11.11s  %s\n", r + 1, round->count,
                    mix_piece_text(m, c->part, piece), m->choices[c->choice].mode->name,
                    change(&c->change, what));
    }
    static const char *const why[] = {
        [MIX_BUDGET] = "of what the budget still allows nothing is surely better",
        [MIX_EXHAUSTED] = "every piece has been what it may be",
        [MIX_NOT_SIGNIFICANT] = "of what is left nothing is significant on these texts (95 %, Holm)",
        [MIX_NOISE] = "what is left and significant is no more than rounding noise",
        [MIX_ROUNDS] = "--rounds"};
    fprintf(out, "Ended: %s.\n", why[m->stop]);
}

static void print_points(const struct mix *m, FILE *out)
{
    const bool user = m->budget.costs.table != NULL;
    char value[CHARS];
    fprintf(out, "\n %-12s  %6s  %10s%s  %s\n", "which", "INT8", "bytes", user ? "        cost" : "",
            "on the texts that judge");
    for (int i = 0; i < m->n_all; i++) {
        const struct mix_point *p = &m->points[i];
        char cost[16] = "";
        if (user) snprintf(cost, sizeof cost, "%12.4g", p->takes.user);
        fprintf(out, "%c%-12.12s  %5.1f%%  %10lld%s  %s%s\n", p->on_front ? '>' : ' ', p->name,
                100 * p->takes.int8_share, (long long)p->takes.price.weight_bytes, cost,
                range(&p->judged, value), p->takes.fits ? "" : "  beyond the budget");
    }
    fputs(">: nothing here is as cheap and better.\n", out);
}

static void print_rivals(const struct mix *m, FILE *out)
{
    char at_cost[CHARS + 4], last[CHARS + 4];
    fprintf(out, "\n %-12s  %-38s  %s\n", "against", "the mix at its cost", mix_final(m)->name);
    for (int i = m->n_points; i < m->n_all; i++) {
        const struct mix_point *p = &m->points[i];
        if (p->takes.fits)
            fprintf(out, " %-12.12s  %-8.8s  %-28.28s  %s\n", p->name, m->points[p->against].name,
                    duel(&p->at_cost, at_cost), duel(&p->last, last));
    }
    fputs("+ -: the mix is surely better, worse (95 %, Holm).\n", out);
}

static void print_answer(const struct mix *m, FILE *out)
{
    int p = mix_unbeaten(m, -1);
    if (p < 0) {
        fprintf(out, "Within the budget %s is surely better than every one of these modes alone.\n",
                mix_final(m)->name);
        return;
    }
    fputs("Within the budget no mix is surely better than", out);
    for (const char *comma = ""; p >= 0; p = mix_unbeaten(m, p), comma = ",")
        fprintf(out, "%s %s", comma, m->points[p].name);
    fputs(".\n", out);
}

static void print_layers(const struct mix *m, FILE *out)
{
    const int common = mix_common_layer(m);
    int column = fprintf(out, "Layers that are not as layer %d is:", common), count = 0;
    for (int l = 0; l < m->trials.dims.n_layer; l++) {
        if (!mix_is_other(m, l)) continue;
        if (column > LINE - 8) column = fprintf(out, ",\n ") - 2;
        column += fprintf(out, "%s%d", count++ && column > 2 ? "," : " ", l);
    }
    fputs(count ? "\n" : " none\n", out);
}

// By how much re-runs change the metric.
static double change_of(const struct mix *m, int point)
{
    return scale_change(m->trials.place.metric->scale, m->points[point].floor.change);
}

void mix_print(const struct mix *m, FILE *out)
{
    char place[READING_PLACE_CHARS];
    const struct job *job = m->trials.with.job;
    fprintf(out, "\nA mix of %.50s under %.40s, from %s\n", job->modes, job->budget,
            m->choices[m->start].mode->name);
    fprintf(out, "%s of %s against %s; %d samples choose, %d judge\n\n", m->trials.place.metric->label,
            reading_place_text(m->trials.place.layer, m->trials.component, place), job->reference,
            m->n_choosing, m->n_samples - m->n_choosing);
    print_taken(m, out);
    print_points(m, out);
    print_rivals(m, out);
    print_answer(m, out);
    print_layers(m, out);
    if (job->noise == 0)
        fputs("Which changes are mere rounding noise is not known; --noise K measures it.\n", out);
    else
        fprintf(
            out,
            "Rounding noise on the texts that judge: %d re-runs of %s differ from it by x %.3f, of %s by x "
            "%.3f.\n",
            job->noise, m->points[0].name, change_of(m, 0), mix_final(m)->name,
            change_of(m, m->n_points - 1));
}
