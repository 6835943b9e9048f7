// SPDX-License-Identifier: Apache-2.0
// The mixes, each mode by itself and mixes by chance, on the samples that chose nothing.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/recipe/recipe_file.h"

enum { RANDOM_MIXES = 3 };

// ---- the rivals ----

static enum status add_uniform(struct mix *m, const struct mix_choice *choice, struct error *err)
{
    struct mix_point *point = &m->points[m->n_all];
    *point = (struct mix_point){.kind = MIX_UNIFORM, .takes = choice->takes};
    snprintf(point->name, sizeof point->name, "%.31s", choice->mode->name);
    if (parts_copy(&point->recipe, &choice->recipe, err)) return err->status;
    m->n_all++;
    return STATUS_OK;
}

// Changes of pieces in an order by chance, each piece once, as far as they cost no more than the last mix.
static enum status add_random(struct mix *m, int number, struct error *err)
{
    const int changes = (m->parts.count - 1) * m->n_choices; // not all pieces at once
    char stream[32];
    struct mix_point *point = &m->points[m->n_all];
    int *order = calloc((size_t)changes + 1, sizeof *order);
    bool *done = calloc((size_t)m->parts.count + 1, sizeof *done);
    *point = (struct mix_point){.kind = MIX_RANDOM, .takes = m->points[0].takes};
    snprintf(point->name, sizeof point->name, "random-%d", number);
    snprintf(stream, sizeof stream, "random mix %d", number);
    if (!order || !done) error_memory(err, (unsigned)changes * sizeof *order, "a mix by chance");
    if (!err->status && parts_copy(&point->recipe, &m->points[0].recipe, err) == STATUS_OK) m->n_all++;
    for (int i = 0; order && i < changes; i++)
        order[i] = i;
    if (!err->status)
        random_shuffle(order, changes, random_stream((uint64_t)m->trials.with.job->seed, stream));
    for (int i = 0; i < changes && !err->status; i++) {
        const int p = order[i] / m->n_choices, c = order[i] % m->n_choices;
        struct recipe tried = {0};
        struct takes takes;
        if (c == m->start || done[p] || parts_copy(&tried, &point->recipe, err)) continue;
        part_take(&m->parts, &m->parts.items[p], &tried, &m->choices[c].recipe);
        if (budget_takes(&m->budget, &m->trials.dims, &tried, &takes, err) == STATUS_OK &&
            takes.cost <= mix_final(m)->takes.cost) {
            struct recipe before = point->recipe;
            point->recipe = tried;
            point->takes = takes;
            tried = before;
            done[p] = true;
        }
        recipe_clear(&tried);
    }
    free(order);
    free(done);
    return err->status;
}

// ---- running them ----

static enum status add_mode(struct mix *m, struct mix_point *point, struct error *err)
{
    char name[RECIPE_NAME_CHARS + 1];
    snprintf(name, sizeof name, "%s%.24s", point->kind == MIX_UNIFORM ? "all-" : "", point->name);
    return parts_add_mode("mix", name, &point->recipe, m->parts.units, &point->mode, err);
}

// Local.
static enum status make_rivals(struct mix *m, struct error *err)
{
    m->n_all = m->n_points;
    for (int p = 0; p < m->n_points; p++)
        snprintf(m->points[p].name, sizeof m->points[p].name, "mix-%d", p);
    for (int c = 0; c < m->n_choices; c++)
        if (add_uniform(m, &m->choices[c], err)) return err->status;
    for (int k = 1; k <= RANDOM_MIXES; k++)
        if (add_random(m, k, err)) return err->status;
    for (int p = 0; p < m->n_all; p++)
        if (add_mode(m, &m->points[p], err)) return err->status;
    return STATUS_OK;
}

static enum status run_all(struct mix *m, struct error *err)
{
    const struct mode **modes = calloc((size_t)m->n_all + 1, sizeof *modes);
    if (!modes) error_memory(err, (unsigned)m->n_all * sizeof *modes, "the modes");
    for (int p = 0; modes && p < m->n_all; p++)
        modes[p] = m->points[p].mode;
    const struct trials_list list = {modes, m->n_all, JOB_JUDGING_SAMPLES, m->trials.with.job->noise, false};
    if (comm_agree(m->trials.with.comm, err) == STATUS_OK) trials_run(&m->trials, &list, err);
    free(modes);
    return err->status;
}

// ---- comparing ----

static const struct trial *judged(const struct mix *m, int point)
{
    return trials_find(&m->trials, m->points[point].mode, JOB_JUDGING_SAMPLES);
}

static double error_of(const struct mix *m, int point)
{
    return reading_error(m->trials.place.metric, &m->points[point].judged);
}

static void find_front(struct mix *m)
{
    for (int p = 0; p < m->n_all; p++) {
        const double cost = m->points[p].takes.cost, error = error_of(m, p);
        bool beaten = isnan(error);
        for (int q = 0; q < m->n_all && !beaten; q++) {
            const double other = m->points[q].takes.cost, its = error_of(m, q);
            beaten = other <= cost && its <= error && (other < cost || its < error);
        }
        m->points[p].on_front = !beaten;
    }
}

// The last mix that costs no more; the start where none does.
static int rival_of(const struct mix *m, const struct mix_point *rival)
{
    for (int p = m->n_points - 1; p > 0; p--)
        if (m->points[p].takes.cost <= rival->takes.cost) return p;
    return 0;
}

static void fight(const struct mix *m, int point, int rival, struct duel *duel)
{
    struct interval unused;
    trials_measure(&m->trials, judged(m, point), judged(m, rival), &unused, &duel->change);
}

static void settle(const struct mix *m, int point, int rival, struct duel *duel)
{
    const double change = error_of(m, point) - error_of(m, rival);
    const bool sure = duel->adjusted <= 1 - BOOTSTRAP_LEVEL &&
                      !change_below_floor(duel->change.phi, &m->points[point].floor, &m->points[rival].floor);
    duel->better = sure && change < 0;
    duel->worse = sure && change > 0;
}

// Each rival twice, all in one family.
static enum status compare(struct mix *m, struct error *err)
{
    const int first = m->n_points, last = m->n_points - 1, rivals = m->n_all - first;
    double *p = calloc(2 * (size_t)rivals + 1, sizeof *p);
    if (!p) return error_memory(err, 2 * (unsigned)rivals * sizeof *p, "the tests");
    for (int i = 0; i < rivals; i++) {
        struct mix_point *rival = &m->points[first + i];
        rival->against = rival_of(m, rival);
        fight(m, rival->against, first + i, &rival->at_cost);
        fight(m, last, first + i, &rival->last);
        p[i] = rival->at_cost.change.p;
        p[rivals + i] = rival->against == last ? (double)NAN : rival->last.change.p; // the same test
    }
    holm_adjust(p, 2 * rivals, p);
    for (int i = 0; i < rivals; i++) {
        struct mix_point *rival = &m->points[first + i];
        rival->at_cost.adjusted = p[i];
        rival->last.adjusted = rival->against == last ? p[i] : p[rivals + i];
        settle(m, rival->against, first + i, &rival->at_cost);
        settle(m, last, first + i, &rival->last);
    }
    free(p);
    return STATUS_OK;
}

const char *mix_verdict(const struct duel *duel)
{
    return duel->better ? "better" : duel->worse ? "worse" : "tied";
}

int mix_unbeaten(const struct mix *m, int after)
{
    for (int p = after < m->n_points ? m->n_points : after + 1; p < m->n_all; p++) {
        const struct mix_point *rival = &m->points[p];
        if (rival->kind == MIX_UNIFORM && rival->takes.fits && !rival->last.better) return p;
    }
    return -1;
}

enum status mix_judge(struct mix *m, struct error *err)
{
    make_rivals(m, err);
    if (comm_agree(m->trials.with.comm, err) || run_all(m, err)) return err->status;
    for (int p = 0; p < m->n_all; p++) {
        trials_measure(&m->trials, judged(m, p), NULL, &m->points[p].judged, NULL);
        m->points[p].floor = trials_floor(&m->trials, judged(m, p));
    }
    find_front(m);
    compare(m, err);
    return comm_agree(m->trials.with.comm, err);
}
