// SPDX-License-Identifier: Apache-2.0
#include "bisect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/recipe_file.h"

// ---- the limit ----

static bool is_enough(const struct bisect *b, double value)
{
    return reading_error_of_value(b->trials.place.metric, value) <= b->limit_error;
}

bool bisect_is_sure(const struct bisect *b, const struct bisect_step *step)
{
    const struct metric *metric = b->trials.place.metric;
    const double worst = metric->better == BETTER_LARGER ? step->interval.low : step->interval.high;
    if (!is_enough(b, worst)) return false; // NaN: nothing is known
    return !change_below_floor(step->interval.phi - scale_phi(metric->scale, b->limit), &b->floor, NULL);
}

// ---- trying ----

const struct bisect_step *bisect_find_step(const struct bisect *b, const bool *mended)
{
    for (int s = 0; s < b->n_steps; s++)
        if (memcmp(b->steps[s].mended, mended, (size_t)b->parts.count * sizeof *mended) == 0)
            return &b->steps[s];
    return NULL;
}

static enum status add_mode(struct bisect *b, struct bisect_step *step, struct error *err)
{
    char name[RECIPE_NAME_CHARS + 1];
    struct recipe recipe = {0};
    if (parts_copy(&recipe, &b->mode_recipe, err)) return err->status;
    for (int p = 0; p < b->parts.count; p++)
        if (step->mended[p]) part_take(&b->parts, &b->parts.items[p], &recipe, &b->toward_recipe);
    snprintf(name, sizeof name, "bisect-%d", b->n_steps);
    parts_add_mode("attribute --bisect", name, &recipe, b->parts.units, &step->mode, err);
    recipe_clear(&recipe);
    return err->status;
}

static enum status add_step(struct bisect *b, const bool *mended, struct error *err)
{
    const size_t bytes = ((size_t)b->parts.count + 1) * sizeof *mended;
    if (b->n_steps == b->steps_room) {
        const int room = 2 * b->steps_room + 16;
        struct bisect_step *grown = realloc(b->steps, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the steps");
        b->steps = grown;
        b->steps_room = room;
    }
    struct bisect_step *step = &b->steps[b->n_steps];
    *step = (struct bisect_step){.mended = malloc(bytes), .sweep = b->trials.sweeps + 1};
    if (!step->mended) return error_memory(err, bytes, "the steps");
    memcpy(step->mended, mended, bytes - sizeof *mended);
    b->n_steps++;
    return add_mode(b, step, err);
}

// Collective.  The last steps, which were added, as one sweep.
static enum status run_steps(struct bisect *b, int count, int noise, struct error *err)
{
    const struct mode **modes = calloc((size_t)count + 1, sizeof *modes);
    struct bisect_step *steps = b->steps + b->n_steps - count;
    if (!modes) error_memory(err, (size_t)count * sizeof *modes, "the modes");
    for (int s = 0; modes && s < count; s++)
        modes[s] = steps[s].mode;
    const struct trials_list list = {modes, count, JOB_ALL_SAMPLES, noise, false};
    if (comm_agree(b->trials.with.comm, err) == STATUS_OK && trials_run(&b->trials, &list, err) == STATUS_OK)
        for (int s = 0; s < count; s++) {
            trials_measure(&b->trials, trials_find(&b->trials, steps[s].mode, JOB_ALL_SAMPLES), NULL,
                           &steps[s].interval, NULL);
            steps[s].enough = is_enough(b, steps[s].interval.value);
        }
    free(modes);
    return err->status;
}

// Collective.  Two sets in one sweep; the indices of their steps.
static enum status try_two(struct bisect *b, const bool *first, const bool *second, int noise, int steps[2],
                           struct error *err)
{
    steps[0] = b->n_steps;
    steps[1] = b->n_steps + 1;
    if (add_step(b, first, err) == STATUS_OK) add_step(b, second, err);
    if (comm_agree(b->trials.with.comm, err)) return err->status;
    return run_steps(b, 2, noise, err);
}

// ---- the search ----

static void mark(bool *mended, int first, int end, bool value)
{
    for (int p = first; p < end; p++)
        mended[p] = value;
}

static double error_of(const struct bisect *b, int step)
{
    return reading_error(b->trials.place.metric, &b->steps[step].interval);
}

// Collective.  The pieces of first .. end-1 that are needed beside b->found, which with all of them are
// enough; they are marked there.
static enum status search(struct bisect *b, int first, int end, struct error *err)
{
    const int middle = first + (end - first) / 2;
    const size_t room = (size_t)b->parts.count + 1;
    int steps[2];
    if (end - first == 1) {
        b->found[first] = true;
        return STATUS_OK;
    }
    bool *front = calloc(2 * room, sizeof *front), *back = front + room;
    if (!front) error_memory(err, 2 * room, "the pieces");
    if (comm_agree(b->trials.with.comm, err)) goto free_sets;
    memcpy(front, b->found, room * sizeof *front);
    memcpy(back, b->found, room * sizeof *back);
    mark(front, first, middle, true);
    mark(back, middle, end, true);
    if (try_two(b, front, back, 0, steps, err)) goto free_sets;
    const bool in_front = b->steps[steps[0]].enough, in_back = b->steps[steps[1]].enough;
    if (in_front && !(in_back && error_of(b, steps[1]) < error_of(b, steps[0]))) {
        search(b, first, middle, err);
    } else if (in_back) {
        search(b, middle, end, err);
    } else { // of both: those in front with all of the back, then the other way round
        mark(b->found, middle, end, true);
        if (search(b, first, middle, err) == STATUS_OK) {
            mark(b->found, middle, end, false);
            search(b, middle, end, err);
        }
    }
free_sets:
    free(front);
    return err->status;
}

static int count_found(const struct bisect *b, int *last)
{
    int count = 0;
    for (int p = 0; p < b->parts.count; p++)
        if (b->found[p]) {
            count++;
            *last = p;
        }
    return count;
}

// Collective.  Each piece of an answer of several by itself: one that is enough is the answer after all.
static enum status try_alone(struct bisect *b, struct error *err)
{
    const int pieces = b->parts.count, before = b->n_steps;
    bool *alone = calloc((size_t)pieces + 1, sizeof *alone);
    int last = 0, count = count_found(b, &last);
    if (!alone) error_memory(err, (unsigned)pieces, "the pieces");
    for (int p = 0; alone && p < pieces && !err->status; p++) {
        if (!b->found[p]) continue;
        mark(alone, p, p + 1, true);
        add_step(b, alone, err);
        mark(alone, p, p + 1, false);
    }
    if (comm_agree(b->trials.with.comm, err) == STATUS_OK && run_steps(b, count, 0, err) == STATUS_OK)
        for (int s = before; s < b->n_steps && b->answer == BISECT_TOGETHER; s++)
            if (b->steps[s].enough) {
                memcpy(b->found, b->steps[s].mended, (size_t)pieces * sizeof *b->found);
                b->answer = BISECT_ONE;
            }
    free(alone);
    return err->status;
}

// Collective.
static enum status search_all(struct bisect *b, struct error *err)
{
    const int pieces = b->parts.count;
    int steps[2], last = 0;
    bool *sets = calloc(2 * (size_t)pieces + 2, sizeof *sets), *all = sets + pieces + 1;
    if (!sets) error_memory(err, (unsigned)pieces, "the pieces");
    if (comm_agree(b->trials.with.comm, err)) return err->status;
    mark(all, 0, pieces, true);
    if (try_two(b, sets, all, b->trials.with.job->noise, steps, err) == STATUS_OK) {
        b->floor = trials_floor(&b->trials, trials_find(&b->trials, b->steps[0].mode, JOB_ALL_SAMPLES));
        b->answer = b->steps[0].enough ? BISECT_NOTHING : BISECT_UNREACHABLE;
        if (!b->steps[0].enough && b->steps[1].enough && search(b, 0, pieces, err) == STATUS_OK)
            b->answer = count_found(b, &last) == 1 ? BISECT_ONE : BISECT_TOGETHER;
    }
    free(sets);
    return b->answer == BISECT_TOGETHER && !err->status ? try_alone(b, err) : err->status;
}

// ---- the whole ----

static enum status choose_pieces(struct bisect *b, struct error *err)
{
    const struct job *job = b->trials.with.job;
    const struct units *units = &b->trials.dims.arch->units;
    const int n_layer = b->trials.dims.n_layer;
    const struct parts_request wanted = {job->by != JOB_BY_LAYER, job->by != JOB_BY_UNIT, job->units,
                                         job->piece_layers};
    if (parts_find_mode("--mode", job->modes, &b->mode, err) ||
        parts_find_mode("--toward", job->toward, &b->toward, err))
        return err->status;
    if (mode_is_float(b->mode))
        return error_set(err, STATUS_USAGE, "--mode: '%s' is a float mode: nothing in it is on a grid",
                         b->mode->name);
    if (recipe_make(&b->mode_recipe, b->mode, units, n_layer, err) ||
        recipe_make(&b->toward_recipe, b->toward, units, n_layer, err) ||
        parts_open(&b->parts, &wanted, units, n_layer, err))
        return err->status;
    int count = 0;
    for (int p = 0; p < b->parts.count; p++)
        if (part_differs(&b->parts, &b->parts.items[p], &b->mode_recipe, &b->toward_recipe))
            b->parts.items[count++] = b->parts.items[p];
    b->parts.count = count;
    if (count == 0)
        return error_set(
            err, STATUS_USAGE,
            "attribute --bisect: mode '%s' and --toward '%s' are the same in all units and layers "
            "asked for: nothing to take apart",
            b->mode->name, b->toward->name);
    b->found = calloc((size_t)count + 1, sizeof *b->found);
    return b->found ? STATUS_OK : error_memory(err, (unsigned)count, "the pieces");
}

static enum status open(struct bisect *b, const struct program *with, struct error *err)
{
    if (trials_open(&b->trials, with, "bisect", err)) return err->status;
    b->limit = with->job->limit;
    b->limit_error = reading_error_of_value(b->trials.place.metric, b->limit);
    choose_pieces(b, err);
    return comm_agree(with->comm, err);
}

static void clear(struct bisect *b)
{
    for (int s = 0; s < b->n_steps; s++)
        free(b->steps[s].mended);
    free(b->steps);
    free(b->found);
    recipe_clear(&b->mode_recipe);
    recipe_clear(&b->toward_recipe);
    parts_close(&b->parts);
    trials_close(&b->trials);
}

// A piece alone takes a sweep for each halving; several together more, told as twice as many.
static enum status tell_beforehand(struct bisect *b, struct error *err)
{
    int halvings = 0;
    while (1 << halvings < b->parts.count)
        halvings++;
    b->found[0] = true;
    if (add_step(b, b->found, err) == STATUS_OK) {
        b->found[0] = false;
        add_step(b, b->found, err);
    }
    if (comm_agree(b->trials.with.comm, err)) return err->status;
    const struct mode *const modes[2] = {b->steps[0].mode, b->steps[1].mode};
    const struct trials_list list = {modes, 2, JOB_ALL_SAMPLES, b->trials.with.job->noise, false};
    return trials_dry_run(&b->trials, &list, halvings + 1, 2L * (halvings + 1), err);
}

enum status bisect_run(const struct program *with, struct error *err)
{
    struct bisect b = {.floor = {(double)NAN, (double)NAN, 0}};
    const struct job *job = with->job;
    if (open(&b, with, err) == STATUS_OK && job->dry_run) {
        tell_beforehand(&b, err);
    } else if (!err->status && search_all(&b, err) == STATUS_OK) {
        if (with->comm->rank == 0 && bisect_write(&b, err) == STATUS_OK && job->verbosity != LOG_QUIET)
            bisect_print(&b, stdout);
        if (comm_agree(with->comm, err) == STATUS_OK)
            log_job(with->log, LOG_NORMAL, "bisection: %s/bisect.json", job->comparison_dir);
    }
    clear(&b);
    return err->status;
}
