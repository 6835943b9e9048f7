// SPDX-License-Identifier: Apache-2.0
#include "mix.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/input/corpus.h"
#include "ssmsweep/recipe/recipe_file.h"
#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/report.h"
#include "ssmsweep/report/report_write.h"
#include "ssmsweep/report/verdict.h"
#include "ssmsweep/sweep/progress.h"

enum { LEAST_SAMPLES = 2 * BOOTSTRAP_MIN_SAMPLES, NAME_CHARS = RECIPE_NAME_CHARS + 1 };
enum { MOST_CANDIDATES = BOOTSTRAP_MAX_RUNS * (BOOTSTRAP_MAX_RUNS - 1) / 2 }; // as holm_adjust() takes

enum status mix_check(const struct job *job, struct error *err)
{
    struct budget budget = {0};
    if (job->cost_template) return STATUS_OK;
    if (!job->budget)
        return error_set(err, STATUS_USAGE,
                         "mix: say what it may cost: ssmsweep mix --budget 'int8>=0.9', 'bytes<=1.2M', or "
                         "'cost<=12' with --costs FILE.json");
    if (budget_parse(&budget, job->budget, err)) return err->status;
    if (budget.kind == BUDGET_COST && !job->costs)
        return error_set(err, STATUS_USAGE,
                         "mix: --budget '%.64s' needs a table of costs: --costs FILE.json; `ssmsweep mix "
                         "--cost-template` prints one to start from",
                         job->budget);
    if (job_evaluation_samples(job) < LEAST_SAMPLES)
        return error_set(
            err, STATUS_USAGE,
            "mix: expected %d evaluated samples or more, of which one half chooses and the other "
            "judges, got %d; give --eval_data_num",
            LEAST_SAMPLES, job_evaluation_samples(job));
    return STATUS_OK;
}

// ---- names ----

const char *mix_stop_name(enum mix_stop stop)
{
    static const char *const names[] = {"budget", "exhausted", "not_significant", "noise", "rounds"};
    return names[stop];
}

const char *mix_kind_name(enum mix_kind kind)
{
    static const char *const names[] = {"mix", "uniform", "random"};
    return names[kind];
}

const char *mix_piece_text(const struct mix *m, int part, char text[MIX_PIECE_CHARS])
{
    const struct part *p = &m->parts.items[part];
    const char *unit = part_unit_name(&m->parts, p);
    if (!unit && p->layer == PART_ALL)
        snprintf(text, MIX_PIECE_CHARS, "every piece");
    else if (!unit)
        snprintf(text, MIX_PIECE_CHARS, "layer %d", p->layer);
    else if (p->layer == PART_ALL)
        snprintf(text, MIX_PIECE_CHARS, "%.40s", unit);
    else
        snprintf(text, MIX_PIECE_CHARS, "%.40s of layer %d", unit, p->layer);
    return text;
}

int mix_common_layer(const struct mix *m)
{
    const struct recipe *recipe = &mix_final(m)->recipe;
    int best = 0, most = 0;
    for (int l = 0; l < recipe->n_layer; l++) {
        int alike = 0;
        for (int k = 0; k < recipe->n_layer; k++)
            alike += setting_equal(&recipe->layers[l], &recipe->layers[k]);
        if (alike > most) best = l;
        if (alike > most) most = alike;
    }
    return best;
}

bool mix_is_other(const struct mix *m, int layer)
{
    const struct setting *layers = mix_final(m)->recipe.layers;
    return !setting_equal(&layers[layer], &layers[mix_common_layer(m)]);
}

// ---- opening ----

static enum status add_choice(struct mix *m, const struct mode *mode, struct error *err)
{
    const struct dims *dims = &m->trials.dims;
    struct mix_choice *choice = &m->choices[m->n_choices++];
    struct recipe recipe = {0};
    choice->mode = mode;
    if (arch_recipe(&recipe, mode, dims, err) == STATUS_OK) parts_copy(&choice->recipe, &recipe, err);
    recipe_clear(&recipe);
    return err->status ? err->status : budget_takes(&m->budget, dims, &choice->recipe, &choice->takes, err);
}

static enum status open_choices(struct mix *m, struct error *err)
{
    const struct job *job = m->trials.with.job;
    bool *chosen = calloc((size_t)mode_count() + 1, sizeof *chosen);
    m->choices = calloc((size_t)mode_count() + 1, sizeof *m->choices);
    if (!chosen || !m->choices)
        error_memory(err, (unsigned)mode_count() * sizeof *m->choices, "the modes");
    else if (mode_select(job->modes, chosen, err) == STATUS_OK)
        for (int i = 0; i < mode_count() && !err->status; i++)
            if (chosen[i]) add_choice(m, mode_at(i), err);
    free(chosen);
    if (!err->status && m->n_choices < 2)
        error_set(err, STATUS_USAGE,
                  "mix: expected two modes or more to choose from, got '%.64s'; give --modes", job->modes);
    if (err->status) return err->status;
    for (int c = 1; c < m->n_choices; c++)
        if (m->choices[c].takes.cost < m->choices[m->start].takes.cost) m->start = c;
    const struct mix_choice *start = &m->choices[m->start];
    if (start->takes.fits) return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "--budget '%.64s': the cheapest mode, '%s', is beyond it (INT8 share %.4g, %lld bytes of "
        "weights%s%.4g); give a larger one",
        job->budget, start->mode->name, start->takes.int8_share, (long long)start->takes.price.weight_bytes,
        m->budget.costs.table ? ", cost " : ", no cost ", m->budget.costs.table ? start->takes.user : 0);
}

static enum status open_parts(struct mix *m, struct error *err)
{
    const struct job *job = m->trials.with.job;
    const struct parts_request wanted = {job->by != JOB_BY_LAYER, job->by != JOB_BY_UNIT, job->units,
                                         job->piece_layers};
    if (parts_open(&m->parts, &wanted, &m->trials.dims.arch->units, m->trials.dims.n_layer, err))
        return err->status;
    m->parts.items[m->parts.count++] = (struct part){PART_ALL, PART_ALL}; // all at once
    const size_t changes = (size_t)m->parts.count * (size_t)m->n_choices;
    m->used = calloc(changes + 1, sizeof *m->used);
    if (!m->used) return error_memory(err, changes, "the pieces");
    for (int p = 0; p < m->parts.count; p++)
        m->used[p * m->n_choices + m->start] = true;
    if (changes - (size_t)m->parts.count <= MOST_CANDIDATES) return STATUS_OK;
    return error_set(
        err, STATUS_USAGE,
        "mix: expected up to %d changes of a piece to another mode, got %zu; give fewer with --by, "
        "--units, --layers or --modes",
        MOST_CANDIDATES, changes - (size_t)m->parts.count);
}

static enum status open_samples(struct mix *m, struct error *err)
{
    m->n_samples = job_evaluation_samples(m->trials.with.job);
    m->samples = calloc((size_t)m->n_samples, sizeof *m->samples);
    if (!m->samples) return error_memory(err, (unsigned)m->n_samples * sizeof *m->samples, "the samples");
    m->n_choosing = corpus_split(m->n_samples, m->trials.with.job->seed, m->samples);
    return STATUS_OK;
}

// The start is the first point.
static enum status open_points(struct mix *m, struct error *err)
{
    const size_t most = (size_t)m->parts.count * (size_t)m->n_choices + (size_t)m->n_choices + 8;
    m->points = calloc(most, sizeof *m->points);
    m->rounds = calloc(most, sizeof *m->rounds);
    if (!m->points || !m->rounds) return error_memory(err, most * sizeof *m->points, "the mixes");
    m->n_points = 1;
    m->points[0].takes = m->choices[m->start].takes;
    return parts_copy(&m->points[0].recipe, &m->choices[m->start].recipe, err);
}

static enum status open(struct mix *m, const struct program *with, struct error *err)
{
    const struct job *job = with->job;
    if (trials_open(&m->trials, with, "mix", err)) return err->status;
    const struct units *units = &m->trials.dims.arch->units;
    if (budget_parse(&m->budget, job->budget, err) == STATUS_OK &&
        (!job->costs || costs_read(&m->budget.costs, job->costs, units, err) == STATUS_OK) &&
        open_choices(m, err) == STATUS_OK && open_parts(m, err) == STATUS_OK &&
        open_samples(m, err) == STATUS_OK)
        open_points(m, err);
    return comm_agree(with->comm, err);
}

static void close_mix(struct mix *m)
{
    for (int c = 0; c < m->n_choices; c++)
        recipe_clear(&m->choices[c].recipe);
    for (int r = 0; r < m->n_rounds; r++) {
        for (int i = 0; i < m->rounds[r].count; i++)
            recipe_clear(&m->rounds[r].items[i].recipe);
        free(m->rounds[r].items);
    }
    for (int p = 0; p < (m->n_all ? m->n_all : m->n_points); p++)
        recipe_clear(&m->points[p].recipe);
    free(m->choices);
    free(m->rounds);
    free(m->points);
    free(m->used);
    free(m->samples);
    budget_clear(&m->budget);
    parts_close(&m->parts);
    trials_close(&m->trials);
}

// ---- a round ----

static bool is_there(const struct mix_round *round, const struct recipe *recipe)
{
    for (int i = 0; i < round->count; i++)
        if (recipe_equal(&round->items[i].recipe, recipe)) return true;
    return false;
}

// One more candidate, if the budget allows it and no other is the same; *over: one was beyond the budget.
static enum status add_candidate(struct mix *m, struct mix_round *round, int part, int choice, bool *over,
                                 struct error *err)
{
    const struct recipe *base = &mix_final(m)->recipe, *from = &m->choices[choice].recipe;
    const struct part *piece = &m->parts.items[part];
    struct mix_candidate *made = &round->items[round->count];
    char name[NAME_CHARS];
    if (!part_differs(&m->parts, piece, base, from)) return STATUS_OK;
    *made = (struct mix_candidate){.part = part, .choice = choice};
    if (parts_copy(&made->recipe, base, err)) return err->status;
    part_take(&m->parts, piece, &made->recipe, from);
    const bool bad = budget_takes(&m->budget, &m->trials.dims, &made->recipe, &made->takes, err) != STATUS_OK;
    if (!bad && !made->takes.fits) *over = true;
    if (bad || !made->takes.fits || is_there(round, &made->recipe)) {
        recipe_clear(&made->recipe);
        return err->status;
    }
    snprintf(name, sizeof name, "r%d.%d", m->n_rounds + 1, round->count);
    round->count++;
    return parts_add_mode("mix", name, &made->recipe, m->parts.units, &made->mode, err);
}

// Local.
static enum status make_candidates(struct mix *m, struct mix_round *round, bool *over, struct error *err)
{
    const int changes = m->parts.count * m->n_choices;
    round->items = calloc((size_t)changes + 1, sizeof *round->items);
    if (!round->items) return error_memory(err, (unsigned)changes * sizeof *round->items, "the candidates");
    for (int p = 0; p < m->parts.count; p++)
        for (int c = 0; c < m->n_choices; c++)
            if (!m->used[p * m->n_choices + c] && add_candidate(m, round, p, c, over, err))
                return err->status;
    return STATUS_OK;
}

// Collective.
static enum status run_modes(struct mix *m, const struct mode **modes, int count, int noise,
                             struct error *err)
{
    const struct trials_list list = {modes, count, JOB_CHOOSING_SAMPLES, noise, false};
    return trials_run(&m->trials, &list, err);
}

static enum status run_candidates(struct mix *m, struct mix_round *round, struct error *err)
{
    const struct mode **modes = calloc((size_t)round->count + 1, sizeof *modes);
    if (!modes) error_memory(err, (unsigned)round->count * sizeof *modes, "the modes");
    for (int i = 0; modes && i < round->count; i++)
        modes[i] = round->items[i].mode;
    if (comm_agree(m->trials.with.comm, err) == STATUS_OK &&
        run_modes(m, modes, round->count, 0, err) == STATUS_OK)
        round->sweep = m->trials.sweeps;
    free(modes);
    return err->status;
}

static void measure(struct mix *m, struct mix_round *round)
{
    const struct metric *metric = m->trials.place.metric;
    const struct mix_point *base = mix_final(m);
    const struct trial *from = trials_find(&m->trials, base->mode, JOB_CHOOSING_SAMPLES);
    double p[MOST_CANDIDATES];
    for (int i = 0; i < round->count; i++) {
        struct mix_candidate *c = &round->items[i];
        trials_measure(&m->trials, trials_find(&m->trials, c->mode, JOB_CHOOSING_SAMPLES), from, &c->interval,
                       &c->change);
        c->gain = reading_error(metric, &base->chosen) - reading_error(metric, &c->interval);
        c->within_noise = change_below_floor(c->change.phi, &round->floor, &round->floor);
        p[i] = c->change.p;
    }
    holm_adjust(p, round->count, p);
    for (int i = 0; i < round->count; i++) {
        round->items[i].adjusted = p[i];
        round->items[i].significant = p[i] <= 1 - BOOTSTRAP_LEVEL;
    }
}

// What costs nothing comes first.
static bool is_better(const struct mix_candidate *a, const struct mix_candidate *b, double cost)
{
    const double x = a->takes.cost - cost, y = b->takes.cost - cost;
    if ((x <= 0) != (y <= 0)) return x <= 0;
    return x <= 0 ? a->gain > b->gain : a->gain / x > b->gain / y;
}

static int choose(const struct mix *m, const struct mix_round *round, bool *noise)
{
    int best = -1;
    for (int i = 0; i < round->count; i++) {
        const struct mix_candidate *c = &round->items[i];
        if (!c->significant || !(c->gain > 0)) continue;
        *noise = *noise || c->within_noise;
        if (!c->within_noise && (best < 0 || is_better(c, &round->items[best], mix_final(m)->takes.cost)))
            best = i;
    }
    return best;
}

// The candidate becomes the next point.
static enum status take(struct mix *m, struct mix_round *round, struct error *err)
{
    const struct mix_candidate *c = &round->items[round->taken];
    struct mix_point *point = &m->points[m->n_points];
    if (parts_copy(&point->recipe, &c->recipe, err)) return err->status;
    point->mode = c->mode;
    point->takes = c->takes;
    point->chosen = c->interval;
    m->used[c->part * m->n_choices + c->choice] = true;
    m->n_points++;
    return STATUS_OK;
}

static void tell(const struct mix *m, const struct mix_round *round, double seconds)
{
    char piece[MIX_PIECE_CHARS], took[32];
    progress_write_time(took, sizeof took, seconds);
    const struct mix_candidate *c = round->taken < 0 ? NULL : &round->items[round->taken];
    if (!c)
        log_job(m->trials.with.log, LOG_NORMAL, "mix: round %d: %d changes in %s, none is surely better",
                m->n_rounds, round->count, took);
    else
        log_job(m->trials.with.log, LOG_NORMAL,
                "mix: round %d: %d changes in %s, takes %s as in %s: %s %.3e (x %.3f), INT8 share %.4f",
                m->n_rounds, round->count, took, mix_piece_text(m, c->part, piece),
                m->choices[c->choice].mode->name, m->trials.place.metric->label, c->interval.value,
                c->change.value, c->takes.int8_share);
}

// Collective.  Re-runs of the mix so far, over the samples that choose: the floor of the round.
static enum status measure_noise(struct mix *m, struct mix_round *round, struct error *err)
{
    const struct mode *mode = mix_final(m)->mode;
    const int noise = m->trials.with.job->noise;
    const bool known = m->n_points == 1; // of the start
    if (noise > 0 && !known && run_modes(m, &mode, 1, noise, err)) return err->status;
    round->floor = trials_floor(&m->trials, trials_find(&m->trials, mode, JOB_CHOOSING_SAMPLES));
    return STATUS_OK;
}

// Collective.  *ended: m->stop says why.
static enum status run_round(struct mix *m, bool *ended, struct error *err)
{
    struct mix_round *round = &m->rounds[m->n_rounds];
    const double started = progress_clock();
    bool over = false, noise = false;
    round->taken = -1;
    make_candidates(m, round, &over, err);
    m->n_rounds++;
    if (comm_agree(m->trials.with.comm, err)) return err->status;
    if (round->count == 0) {
        m->n_rounds--;
        free(round->items);
        m->stop = over ? MIX_BUDGET : MIX_EXHAUSTED;
        *ended = true;
        return STATUS_OK;
    }
    if (measure_noise(m, round, err) || run_candidates(m, round, err)) return err->status;
    measure(m, round);
    round->taken = choose(m, round, &noise);
    tell(m, round, progress_clock() - started);
    *ended = round->taken < 0;
    m->stop = noise ? MIX_NOISE : over ? MIX_BUDGET : MIX_NOT_SIGNIFICANT;
    if (!*ended) take(m, round, err);
    return comm_agree(m->trials.with.comm, err);
}

// Collective.  The start by itself, with re-runs; then rounds.
static enum status search(struct mix *m, struct error *err)
{
    const struct job *job = m->trials.with.job;
    struct mix_point *start = &m->points[0];
    bool ended = false;
    parts_add_mode("mix", "r0", &start->recipe, m->parts.units, &start->mode, err);
    if (comm_agree(m->trials.with.comm, err) || run_modes(m, &start->mode, 1, job->noise, err))
        return err->status;
    const struct trial *trial = trials_find(&m->trials, start->mode, JOB_CHOOSING_SAMPLES);
    trials_measure(&m->trials, trial, NULL, &start->chosen, NULL);
    while (!ended && !err->status) {
        if (job->rounds > 0 && m->n_rounds == job->rounds) {
            m->stop = MIX_ROUNDS;
            break;
        }
        run_round(m, &ended, err);
    }
    return err->status;
}

// ---- the whole ----

// Each change is taken once at most, and each round tries one less; in front of each the mix so far has its
// re-runs, and behind the last one all points are judged.
static enum status tell_beforehand(struct mix *m, struct error *err)
{
    struct mix_round *round = &m->rounds[m->n_rounds];
    const struct job *job = m->trials.with.job;
    bool over = false;
    make_candidates(m, round, &over, err);
    m->n_rounds++;
    const long changes = round->count, all = (long)m->parts.count * (m->n_choices - 1);
    const long rounds = job->rounds > 0 && job->rounds < all ? job->rounds : all;
    const long tried = rounds * all - rounds * (rounds - 1) / 2, judged = rounds + 1 + m->n_choices + 3;
    const long reruns = job->noise > 0 ? rounds : 1; // sweeps of the mix so far alone
    const struct mode **modes = calloc((size_t)changes + 1, sizeof *modes);
    if (!modes) error_memory(err, (unsigned)changes * sizeof *modes, "the modes");
    for (int i = 0; modes && i < changes; i++)
        modes[i] = round->items[i].mode;
    const struct trials_list list = {modes, (int)changes, JOB_CHOOSING_SAMPLES, 0, false};
    if (comm_agree(m->trials.with.comm, err) == STATUS_OK)
        trials_dry_run(&m->trials, &list, (int)(rounds + reruns + 1),
                       tried + (reruns + judged) * (1 + job->noise), err);
    free(modes);
    return err->status;
}

// Rank 0: the last mix, on the texts that judge.
static enum status judge(const struct mix *m, struct error *err)
{
    const struct program *with = &m->trials.with;
    struct verdict *verdict = with->verdict;
    const struct report report = {.checks = &verdict->checks};
    if (attribution_judge_whole(mix_final(m)->judged.value, mix_final(m)->name, &verdict->gates,
                                &verdict->checks, err) ||
        (with->job->junit && report_write_junit(&report, with->job->junit, err)))
        return err->status;
    return verdict_tell(verdict, with->log, err);
}

static enum status write(const struct mix *m, struct error *err)
{
    const struct program *with = &m->trials.with;
    if (with->comm->rank == 0 && mix_write(m, err) == STATUS_OK && with->job->verbosity != LOG_QUIET)
        mix_print(m, stdout);
    if (comm_agree(with->comm, err) == STATUS_OK)
        log_job(with->log, LOG_NORMAL, "mix: %s/mix.json, mix.csv, mix-recipes.json",
                with->job->comparison_dir);
    if (with->comm->rank == 0 && !err->status) judge(m, err);
    return comm_agree(with->comm, err);
}

// Collective.
static enum status print_template(const struct program *with, struct error *err)
{
    struct trials trials = {0};
    if (trials_open(&trials, with, "mix", err) == STATUS_OK && with->comm->rank == 0)
        costs_print_template(stdout, &trials.dims);
    trials_close(&trials);
    return err->status;
}

enum status mix_run(const struct program *with, struct error *err)
{
    struct mix m = {0};
    if (with->job->cost_template) return print_template(with, err);
    if (open(&m, with, err) == STATUS_OK && with->job->dry_run)
        tell_beforehand(&m, err);
    else if (!err->status && search(&m, err) == STATUS_OK && mix_judge(&m, err) == STATUS_OK)
        write(&m, err);
    close_mix(&m);
    return err->status;
}
