// SPDX-License-Identifier: Apache-2.0
// Between the sources of the mixes.
#ifndef SSMSWEEP_REPORT_MIX_PARTS_H
#define SSMSWEEP_REPORT_MIX_PARTS_H

#include <stdio.h>

#include "ssmsweep/arch/price.h"
#include "ssmsweep/recipe/parts.h"
#include "ssmsweep/report/costs.h"
#include "ssmsweep/report/mix.h"
#include "ssmsweep/report/trials.h"

// ---- what it may cost ----

enum budget_kind { BUDGET_INT8, BUDGET_BYTES, BUDGET_COST };

struct budget {
    enum budget_kind kind;
    double limit; // least share of multiply-adds in INT8; most bytes of weights; most of the user's cost
    struct costs costs;
};

// What a recipe takes.
struct takes {
    struct price price;
    double int8_share;
    double user; // by the table; NaN without one
    double cost; // what the budget is about, the smaller the better: what of the share is not INT8, bytes,
                 // the user's cost
    bool fits;
};

// Local.  "int8>=0.9", "bytes<=1.2M", "cost<=12".  STATUS_USAGE.
enum status budget_parse(struct budget *budget, const char *text, struct error *err);
void budget_clear(struct budget *budget);
// Local.  STATUS_INPUT: the table lacks a format of a unit that it lists.
enum status budget_takes(const struct budget *budget, const struct dims *dims, const struct recipe *recipe,
                         struct takes *takes, struct error *err);
const char *budget_kind_name(enum budget_kind kind);

// ---- the search ----

struct mix_choice {
    const struct mode *mode;
    struct recipe recipe;
    struct takes takes;
};

// A change of one piece that was tried.
struct mix_candidate {
    int part, choice; // indices
    struct recipe recipe;
    const struct mode *mode;
    struct takes takes;
    struct interval interval;
    struct change change; // against the mix so far
    double gain, adjusted;
    bool significant, within_noise;
};

struct mix_round {
    struct mix_candidate *items;
    int count, taken; // taken: index; -1: none
    int sweep;
    struct noise_floor floor; // of the mix so far
};

// A point against a rival, on the samples that judge.
struct duel {
    struct change change;
    double adjusted;    // p by Holm over all duels
    bool better, worse; // the point, surely
};

// A mix, a mode in every piece, or one by chance, as the other samples judge it.
enum mix_kind { MIX_POINT, MIX_UNIFORM, MIX_RANDOM };
struct mix_point {
    enum mix_kind kind;
    char name[40];
    struct recipe recipe;
    const struct mode *mode; // in the sweep that judges
    struct takes takes;
    struct interval chosen; // of a point: by the samples that choose
    struct interval judged;
    struct noise_floor floor; // where it is judged
    bool on_front;            // none is as cheap and better, or as good and cheaper
    // Where it is no point: how the last point that costs no more differs from it, and how the last of all.
    int against;
    struct duel at_cost, last;
};

enum mix_stop { MIX_BUDGET, MIX_EXHAUSTED, MIX_NOT_SIGNIFICANT, MIX_NOISE, MIX_ROUNDS };

struct mix {
    struct trials trials;
    struct budget budget;
    struct parts parts;
    struct mix_choice *choices;
    int n_choices, start; // start: the cheapest choice
    bool *used;           // [parts][choices]: taken once, or what the piece started as
    struct mix_round *rounds;
    int n_rounds;
    enum mix_stop stop;
    struct mix_point *points; // n_points mixes, the start first, then the rivals
    int n_points, n_all;
    int *samples, n_choosing, n_samples; // [n_samples]: those that choose first
};

// The mix of the last round.
static inline const struct mix_point *mix_final(const struct mix *m)
{
    return &m->points[m->n_points - 1];
}

// Collective.  mix_judge.c: makes uniform and random mixes, runs all and compares them.
enum status mix_judge(struct mix *m, struct error *err);
// Local.  The next uniform mode that keeps the budget, and that the last mix does not surely beat; -1: none.
int mix_unbeaten(const struct mix *m, int after);
// Local.  The layer whose setting most layers of the last mix have; is another one not as it?
int mix_common_layer(const struct mix *m);
bool mix_is_other(const struct mix *m, int layer);
const char *mix_verdict(const struct duel *duel); // "better", "worse", "tied"

// Local, rank 0.
enum status mix_write(const struct mix *m, struct error *err);
void mix_print(const struct mix *m, FILE *out);
const char *mix_stop_name(enum mix_stop stop);
const char *mix_kind_name(enum mix_kind kind);
// "layer 3", "scan:u", "scan:u of layer 3".  Gives `text` back.
enum { MIX_PIECE_CHARS = 64 };
const char *mix_piece_text(const struct mix *m, int part, char text[MIX_PIECE_CHARS]);

#endif
