// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plan_parts.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/recipe/pieces.h"

// ---- cells ----

const char *cell_name(struct cell cell, char name[CELL_NAME_ROOM])
{
    if (cell.calib_data_num == 0)
        snprintf(name, CELL_NAME_ROOM, CELL_FLOAT);
    else if (cell.order == 0)
        snprintf(name, CELL_NAME_ROOM, "%d", cell.calib_data_num);
    else
        snprintf(name, CELL_NAME_ROOM, "%d_order%d", cell.calib_data_num, cell.order);
    return name;
}

// 1 and above, without a sign or leading zeros: a cell has one name.  Moves *at behind the digits.
static bool read_number(const char **at, int *number)
{
    size_t digits = strspn(*at, "0123456789");
    if (digits < 1 || digits > 9 || **at == '0') return false;
    *number = (int)strtol(*at, NULL, 10);
    *at += digits;
    return true;
}

bool cell_parse(struct cell *cell, const char *name)
{
    static const char order[] = "_order";
    struct cell parsed = {0};
    if (strcmp(name, CELL_FLOAT) != 0) {
        if (!read_number(&name, &parsed.calib_data_num)) return false;
        if (strncmp(name, order, sizeof order - 1) == 0) {
            name += sizeof order - 1;
            if (!read_number(&name, &parsed.order)) return false;
        }
        if (*name) return false;
    }
    *cell = parsed;
    return true;
}

int cell_compare(struct cell a, struct cell b)
{
    if (a.calib_data_num != b.calib_data_num) return a.calib_data_num < b.calib_data_num ? -1 : 1;
    return (a.order > b.order) - (a.order < b.order);
}

int cell_suits(struct cell reference, struct cell run)
{
    if (cell_compare(reference, run) == 0) return 2;
    return reference.calib_data_num == 0;
}

// ---- what is finished ----

enum { WORD_BITS = 64 };

enum status finished_open(struct finished *finished, int runs, int samples, struct error *err)
{
    const size_t words = ((size_t)samples + WORD_BITS - 1) / WORD_BITS;
    uint64_t *bits = calloc((size_t)runs * words + 1, sizeof *bits);
    if (!bits)
        return error_memory(err, (unsigned long long)runs * words * sizeof *bits, "the states of samples");
    *finished = (struct finished){.bits = bits, .runs = runs, .words = words};
    return STATUS_OK;
}

void finished_close(struct finished *finished)
{
    free(finished->bits);
    *finished = (struct finished){0};
}

void finished_set(struct finished *finished, int run, int sample, bool value)
{
    uint64_t *word = &finished->bits[(size_t)run * finished->words + (size_t)sample / WORD_BITS];
    const uint64_t bit = (uint64_t)1 << (sample % WORD_BITS);
    *word = value ? *word | bit : *word & ~bit;
}

size_t finished_words(const struct finished *finished)
{
    return (size_t)finished->runs * finished->words;
}

long long finished_count(const struct finished *finished)
{
    long long count = 0;
    for (size_t w = 0; w < finished_words(finished); w++)
        count += __builtin_popcountll(finished->bits[w]);
    return count;
}

// ---- names ----

static const struct mode *find_reference(const struct job *job, struct error *err)
{
    const struct mode *mode = mode_find(job->reference);
    if (!mode)
        error_set(err, STATUS_USAGE, "--reference: unknown mode '%.100s'; `ssmsweep modes` lists them",
                  job->reference);
    return mode;
}

// chosen[mode_count()] in malloc'ed memory, the reference among them.
static enum status choose_modes(const struct job *job, bool **chosen, struct error *err)
{
    bool *made = calloc((size_t)mode_count(), sizeof *made);
    if (!made) return error_memory(err, (unsigned long long)mode_count(), "the modes");
    const struct mode *reference = find_reference(job, err);
    if (!reference || mode_select(job->modes, made, err)) {
        free(made);
        return err->status;
    }
    for (int m = 0; m < mode_count(); m++)
        if (mode_at(m) == reference) made[m] = true;
    *chosen = made;
    return STATUS_OK;
}

enum status plan_check_names(const struct job *job, struct error *err)
{
    bool *chosen = NULL;
    uint32_t mask;
    struct observers observers = {0};
    if (choose_modes(job, &chosen, err)) return err->status;
    free(chosen);
    if (observers_parse(&observers, NULL, job->observer, err)) return err->status;
    return component_select(NULL, job->components, &mask, err);
}

// ---- runs ----

static int find_run(const struct plan *plan, int cell, const struct mode *mode)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (plan->runs[r].cell == cell && plan->runs[r].mode == mode && plan->runs[r].dither == 0) return r;
    return -1;
}

static void add_run(struct plan *plan, int cell, const struct mode *mode)
{
    if (find_run(plan, cell, mode) >= 0) return;
    plan->runs[plan->n_runs] = (struct run){.cell = cell, .mode = mode, .repeats = plan->n_runs};
    plan->n_runs++;
}

// The noise is asked for of a mode that is taken apart, not of each of its pieces.
static bool is_repeated(const struct mode *mode)
{
    return pieces_made()->count == 0 || pieces_made()->mode == mode;
}

// Further runs of all that are quantized.
static void add_noise(struct plan *plan, int times)
{
    const int ordinary = plan->n_runs;
    for (int k = 1; k <= times; k++)
        for (int r = 0; r < ordinary; r++) {
            if (mode_is_float(plan->runs[r].mode) || !is_repeated(plan->runs[r].mode)) continue;
            plan->runs[plan->n_runs] = plan->runs[r];
            plan->runs[plan->n_runs++].dither = k;
        }
}

static struct cell cell_of(const struct plan *plan, const struct run *run)
{
    return run->cell == PLAN_FLOAT_CELL ? (struct cell){0} : plan->cells[run->cell];
}

// Cells and runs are there.
static void set_references(struct plan *plan, const struct mode *reference)
{
    for (struct run *run = plan->runs; run < plan->runs + plan->n_runs; run++) {
        int best = -1;
        for (int r = 0; r < plan->n_runs; r++) {
            const struct run *other = &plan->runs[r];
            if (other->mode != reference || other->dither) continue;
            const int suits = cell_suits(cell_of(plan, other), cell_of(plan, run));
            if (suits > best) {
                best = suits;
                run->reference = r;
            }
            if (suits == 2 || mode_is_float(reference)) break; // none is better
        }
    }
}

static int count_orders(const struct job *job)
{
    return job->shuffle_calib > 1 ? job->shuffle_calib : 1;
}

// Does no layer of the mode look at scales?  What is wrong with a mode is said later.  Where a calibration
// forms groups, the order of the weights by unit is its own.
static bool is_unscaled(const struct mode *mode, const struct dims *dims)
{
    struct recipe recipe = {0};
    struct error later = {0};
    bool scaled = !mode_is_float(mode);
    if (scaled && dims->grouped) return false;
    if (!scaled || arch_recipe(&recipe, mode, dims, &later)) return !scaled;
    scaled = false;
    for (int l = 0; l < recipe.n_layer && !scaled; l++)
        scaled = setting_is_scaled(&recipe.layers[l], &dims->arch->units);
    recipe_clear(&recipe);
    return !scaled;
}

static enum status make_runs(struct plan *plan, const struct job *job, const struct dims *dims,
                             struct error *err)
{
    bool *chosen = NULL, *unscaled = calloc((size_t)mode_count(), sizeof *unscaled);
    if (!unscaled) return error_memory(err, (unsigned long long)mode_count(), "the modes");
    if (choose_modes(job, &chosen, err)) {
        free(unscaled);
        return err->status;
    }
    const int cells = job->n_cells * count_orders(job);
    size_t room = (size_t)mode_count() * ((size_t)cells + 1) * ((size_t)job->noise + 1);
    plan->runs = calloc(room, sizeof *plan->runs);
    if (!plan->runs) {
        free(unscaled);
        free(chosen);
        return error_memory(err, room * sizeof *plan->runs, "the plan");
    }
    const struct mode *reference = mode_find(job->reference);
    add_run(plan, is_unscaled(reference, dims) ? PLAN_FLOAT_CELL : 0, reference);
    for (int m = 0; m < mode_count(); m++) {
        unscaled[m] = chosen[m] && is_unscaled(mode_at(m), dims);
        if (unscaled[m]) add_run(plan, PLAN_FLOAT_CELL, mode_at(m));
    }
    for (int cell = 0; cell < cells; cell++)
        for (int m = 0; m < mode_count(); m++)
            if (chosen[m] && !unscaled[m]) add_run(plan, cell, mode_at(m));
    add_noise(plan, job->noise);
    free(unscaled);
    free(chosen);
    if (plan->n_runs <= PLAN_MAX_RUNS) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "the sweep has %d runs, more than %d; give fewer --calib_data_num, --shuffle-calib, "
                     "--noise or --modes",
                     plan->n_runs, PLAN_MAX_RUNS);
}

// ---- cells ----

// orders[n][samples]: the first one is 0, 1, ..., the others are drawn, each from a stream of its own, so
// that it does not depend on n.  places[n][samples]: where an order has a sample.
static enum status make_orders(int **orders, int **places, int n, int samples, uint64_t seed,
                               struct error *err)
{
    const size_t count = (size_t)n * (size_t)samples;
    int *made = malloc((count + 1) * sizeof *made), *found = malloc((count + 1) * sizeof *found);
    if (!made || !found) {
        free(made);
        free(found);
        return error_memory(err, 2 * count * sizeof *made, "the orders of the samples");
    }
    for (int k = 0; k < n; k++) {
        int *order = made + (size_t)k * (size_t)samples, *place = found + (size_t)k * (size_t)samples;
        char name[40];
        snprintf(name, sizeof name, "calibration order %d", k);
        for (int i = 0; i < samples; i++)
            order[i] = i;
        if (k > 0) random_shuffle(order, samples, random_stream(seed, name));
        for (int i = 0; i < samples; i++)
            place[order[i]] = i;
    }
    *orders = made;
    *places = found;
    return STATUS_OK;
}

// Can any weight of the family be in the format that a mode's weights start in?
static bool has_weights_in(const struct arch *arch, enum format format)
{
    for (int u = 0; u < arch->units.count; u++)
        if (strncmp(arch->units.of[u].name, UNIT_WEIGHT, sizeof UNIT_WEIGHT - 1) == 0 &&
            unit_allows(&arch->units.of[u], format))
            return true;
    return format == FORMAT_INT8;
}

static bool has_order(const struct arch *arch, enum format order)
{
    const int unit = units_find(&arch->units, "scan:order");
    return order == FORMAT_NONE || (unit >= 0 && unit_allows(&arch->units.of[unit], order));
}

static bool takes_given(const struct recipe *recipe, const struct arch *arch)
{
    for (int l = 0; l < recipe->n_layer && !recipe_is_float(recipe); l++)
        for (int u = 0; u < arch->units.count; u++)
            if (recipe->layers[l].of[u] == FORMAT_INT8_GIVEN) return true;
    return false;
}

static enum status check_given(const struct plan *plan, const struct job *job, struct error *err)
{
    for (int r = 0; r < plan->n_runs && !job->scales; r++)
        if (takes_given(plan->runs[r].recipe, plan->arch))
            return error_set(err, STATUS_USAGE,
                             "mode '%s' has units of format int8-given, whose scales come from a file: give "
                             "--scales FILE.json",
                             plan->runs[r].mode->name);
    return STATUS_OK;
}

static enum status check_modes(const struct plan *plan, struct error *err)
{
    const struct arch *arch = plan->arch;
    for (int r = 0; r < plan->n_runs; r++) {
        const struct mode *mode = plan->runs[r].mode;
        const enum format weights = mode->weights ? mode->weights : mode_weights();
        if (mode_is_float(mode)) continue;
        if (arch->float_only)
            return error_set(err, STATUS_USAGE,
                             "--modes: mode '%s' does not exist for %s, which has the float modes alone; say "
                             "--modes fp_only",
                             mode->name, arch->title);
        if (!has_order(arch, mode->order))
            return error_set(err, STATUS_USAGE,
                             "--modes: mode '%s': the scan of %s has no order '%s'; choose another mode",
                             mode->name, arch->title, format_name(mode->order));
        if (!has_weights_in(arch, weights))
            return error_set(
                err, STATUS_USAGE,
                "--modes: mode '%s': the weights of %s have no format '%s'; choose another mode or "
                "--weights",
                mode->name, arch->title, format_name(weights));
    }
    return STATUS_OK;
}

static enum status make_cells(struct plan *plan, const struct job *job, const struct dims *dims,
                              struct error *err)
{
    plan->n_orders = count_orders(job);
    plan->observers.grouped = dims->grouped;
    plan->group_scales = groups_scales(dims).count;
    plan->observers.percentile_alpha = job->percentile_alpha;
    if (observers_parse(&plan->observers, plan->arch, job->observer, err)) return err->status;
    for (int r = 0; r < plan->n_runs; r++)
        if (plan->runs[r].cell != PLAN_FLOAT_CELL) plan->n_cells = job->n_cells * plan->n_orders;
    plan->cells = calloc((size_t)plan->n_cells + 1, sizeof *plan->cells);
    if (!plan->cells) return error_memory(err, (size_t)plan->n_cells * sizeof *plan->cells, "the plan");
    for (int c = 0; c < plan->n_cells; c++)
        plan->cells[c] = (struct cell){job->calib_data_num[c / plan->n_orders], c % plan->n_orders};
    return make_orders(&plan->orders, &plan->places, plan->n_orders, plan->calibration_samples,
                       (uint64_t)job->seed, err);
}

int plan_reruns(const struct plan *plan)
{
    return plan->runs[plan->n_runs - 1].dither; // the last one is of the last round
}

const char *plan_run_name(const struct plan *plan, int run, char name[RUN_NAME_ROOM])
{
    const struct run *about = &plan->runs[run];
    if (about->dither)
        snprintf(name, RUN_NAME_ROOM, "%.31s" RUN_DITHER "%d", about->mode->name, about->dither);
    else
        snprintf(name, RUN_NAME_ROOM, "%.31s", about->mode->name);
    return name;
}

void plan_print_runs(const struct plan *plan, FILE *out)
{
    enum { MOST_SHOWN = 100 };
    const int noisy = plan_reruns(plan);
    int ordinary = 0;
    fprintf(out, "runs: %d\n", plan->n_runs);
    for (int r = 0; r < plan->n_runs; r++) {
        const struct run *run = &plan->runs[r];
        if (run->dither || ++ordinary > MOST_SHOWN) continue;
        fprintf(out, "  mode %s", run->mode->name);
        if (run->cell != PLAN_FLOAT_CELL) {
            const struct cell *cell = &plan->cells[run->cell];
            fprintf(out, ", calib_data_num %d", cell->calib_data_num);
            if (cell->order > 0) fprintf(out, ", order %d", cell->order);
        }
        fprintf(out, "%s\n", r == plan->reference_run ? " (reference)" : "");
    }
    if (ordinary > MOST_SHOWN) fprintf(out, "  and %d more\n", ordinary - MOST_SHOWN);
    if (noisy) fprintf(out, "  and %d noisy re-run%s of each W8A8 mode\n", noisy, noisy == 1 ? "" : "s");
}

const char *plan_cell_name(const struct plan *plan, int cell, char name[CELL_NAME_ROOM])
{
    return cell_name(cell == PLAN_FLOAT_CELL ? (struct cell){0} : plan->cells[cell], name);
}

// ---- recipes ----

static int first_of_mode(const struct plan *plan, int run)
{
    int first = 0;
    while (plan->runs[first].mode != plan->runs[run].mode)
        first++;
    return first;
}

// The first recipe that is the same as `run`'s in the layers in front of `layer`, where it is at layer - 1.
static int first_alike(const struct plan *plan, const struct setting *settings, int run, int layer)
{
    const int rows = plan->n_layer + 1;
    const int *own = plan->prefixes + (size_t)run * (size_t)rows;
    for (int other = 0; other < run; other++) {
        const int *theirs = plan->prefixes + (size_t)other * (size_t)rows;
        if (plan->runs[other].recipe != &plan->recipes[other]) continue; // not the first of its mode
        if (layer == 0) {
            const struct recipe *a = &plan->recipes[other], *b = &plan->recipes[run];
            if (a->precision == b->precision && a->embedding == b->embedding) return other;
        } else if (theirs[layer - 1] == own[layer - 1] &&
                   setting_equal(&settings[(size_t)other * (size_t)plan->n_layer + (size_t)layer - 1],
                                 &settings[(size_t)run * (size_t)plan->n_layer + (size_t)layer - 1])) {
            return other;
        }
    }
    return run;
}

static void settle(const struct plan *plan, const bool *settled, struct setting *settings)
{
    const int units = plan->arch->units.count;
    for (int l = 0; l < plan->n_layer && settled; l++)
        for (int u = 0; u < units; u++)
            if (settings[l].of[u] == FORMAT_INT8_GIVEN && settled[l * units + u])
                settings[l].of[u] = FORMAT_INT8;
}

// The first recipe with `run`'s setting in `layer`.
static int first_with_setting(const struct plan *plan, const struct setting *settings, int run, int layer)
{
    const size_t layers = (size_t)plan->n_layer, at = (size_t)layer;
    for (int other = 0; other < run; other++)
        if (plan->runs[other].recipe == &plan->recipes[other] &&
            plan->recipes[other].precision == plan->recipes[run].precision &&
            setting_equal(&settings[(size_t)other * layers + at], &settings[(size_t)run * layers + at]))
            return other;
    return run;
}

// Which recipes are the same so far, and in a layer, by their canonical settings.
static enum status make_prefixes(struct plan *plan, const struct dims *dims, const bool *settled,
                                 struct error *err)
{
    const size_t runs = (size_t)plan->n_runs, layers = (size_t)dims->n_layer;
    free(plan->prefixes);
    free(plan->alike);
    free(plan->unscaled);
    struct setting *settings = calloc(runs * layers, sizeof *settings);
    plan->prefixes = calloc(runs * (layers + 1), sizeof *plan->prefixes);
    plan->alike = calloc(runs * layers, sizeof *plan->alike);
    plan->unscaled = calloc(runs + 1, sizeof *plan->unscaled);
    if (!settings || !plan->prefixes || !plan->alike || !plan->unscaled) {
        free(settings);
        return error_memory(err, runs * layers * sizeof *settings, "the plan");
    }
    for (int r = 0; r < plan->n_runs; r++) {
        if (plan->runs[r].recipe != &plan->recipes[r]) continue;
        memcpy(settings + (size_t)r * layers, plan->recipes[r].layers, layers * sizeof *settings);
        settle(plan, settled, settings + (size_t)r * layers);
        for (size_t l = 0; l < layers && plan->arch->canonical; l++)
            plan->arch->canonical(&settings[(size_t)r * layers + l]);
        for (int l = 0; l <= dims->n_layer; l++)
            plan->prefixes[(size_t)r * (layers + 1) + (size_t)l] = first_alike(plan, settings, r, l);
        while (
            plan->unscaled[r] < dims->n_layer &&
            !setting_is_scaled(&settings[(size_t)r * layers + (size_t)plan->unscaled[r]], &plan->arch->units))
            plan->unscaled[r]++;
        for (int l = 0; l < dims->n_layer; l++)
            plan->alike[(size_t)r * layers + (size_t)l] = first_with_setting(plan, settings, r, l);
    }
    free(settings);
    return STATUS_OK;
}

enum status plan_settle(struct plan *plan, const struct dims *dims, const bool *settled, struct error *err)
{
    return make_prefixes(plan, dims, settled, err);
}

int plan_shared_layers(const struct plan *plan, int a, int b)
{
    const struct run *x = &plan->runs[a], *y = &plan->runs[b];
    if (!plan->forks || x->dither != y->dither || mode_is_float(x->mode)) return 0;
    const size_t rows = (size_t)plan->n_layer + 1;
    const int most = x->cell == y->cell ? plan->n_layer : plan->unscaled[x->recipe - plan->recipes];
    const int *one = plan->prefixes + (size_t)(x->recipe - plan->recipes) * rows,
              *two = plan->prefixes + (size_t)(y->recipe - plan->recipes) * rows;
    int same = -1, first = plan->n_layer + 1; // they are the same up to `same`, and not up to `first`
    while (first - same > 1) {
        const int middle = same + (first - same) / 2;
        if (one[middle] == two[middle])
            same = middle;
        else
            first = middle;
    }
    return same < 0 ? 0 : same < most ? same : most;
}

int plan_fork(const struct plan *plan, const int *members, const struct group *group, int member)
{
    const int run = members[group->first + member];
    int most = run == group->reference ? 0 : plan_shared_layers(plan, run, group->reference);
    for (int i = 0; i < member && most < plan->n_layer; i++) {
        const int shared = plan_shared_layers(plan, run, members[group->first + i]);
        if (shared > most) most = shared;
    }
    return most;
}

bool plan_same_layer(const struct plan *plan, int a, int b, int layer)
{
    const struct run *x = &plan->runs[a], *y = &plan->runs[b];
    const size_t layers = (size_t)plan->n_layer, at = (size_t)layer;
    return plan->forks && x->dither == y->dither &&
           plan->alike[(size_t)(x->recipe - plan->recipes) * layers + at] ==
               plan->alike[(size_t)(y->recipe - plan->recipes) * layers + at] &&
           (x->cell == y->cell || recipe_is_float(x->recipe) ||
            !setting_is_scaled(&x->recipe->layers[layer], &plan->arch->units));
}

int plan_isolated_layers(const struct plan *plan, const int *members, const struct group *group, int member)
{
    const int run = members[group->first + member];
    int layers = 0;
    if (!plan->isolated || plan->runs[run].dither || run == group->reference) return 0;
    for (int l = 1; l < plan->n_layer; l++) {
        bool same = false;
        for (int i = 0; i < member && !same; i++)
            same = plan_same_layer(plan, members[group->first + i], run, l);
        layers += !same;
    }
    return layers;
}

static enum status make_needs(struct plan *plan, const struct dims *dims, struct error *err)
{
    const size_t layers = (size_t)dims->n_layer;
    plan->needs = calloc(layers, sizeof *plan->needs);
    if (!plan->needs) return error_memory(err, layers * sizeof *plan->needs, "the plan");
    for (int r = 0; r < plan->n_runs && plan->arch->need; r++)
        for (int l = 0; l < dims->n_layer && !recipe_is_float(plan->runs[r].recipe); l++)
            plan->arch->need(&plan->runs[r].recipe->layers[l], &plan->needs[l]);
    return STATUS_OK;
}

// One for each mode, at the place of its first run.
static enum status make_recipes(struct plan *plan, const struct dims *dims, struct error *err)
{
    const size_t runs = (size_t)plan->n_runs;
    plan->recipes = calloc(runs, sizeof *plan->recipes);
    if (!plan->recipes) return error_memory(err, runs * sizeof *plan->recipes, "the plan");
    for (int r = 0; r < plan->n_runs; r++) {
        const int first = first_of_mode(plan, r);
        plan->runs[r].recipe = &plan->recipes[first];
        if (first == r && arch_recipe(&plan->recipes[r], plan->runs[r].mode, dims, err)) return err->status;
    }
    return make_needs(plan, dims, err) ? err->status : make_prefixes(plan, dims, NULL, err);
}

// ---- what to capture ----

static enum status make_want(struct plan *plan, const struct job *job, const struct dims *dims,
                             struct error *err)
{
    uint32_t mask = 0;
    plan->n_layer = dims->n_layer;
    plan->want = calloc((size_t)dims->n_layer, sizeof *plan->want);
    if (!plan->want) return error_memory(err, (unsigned long long)dims->n_layer, "the plan");
    if (component_select(plan->arch, job->components, &mask, err)) return err->status;
    if (layer_select("--layers", job->layers, dims->n_layer, plan->want, err)) return err->status;
    for (int l = 0; l < dims->n_layer; l++)
        plan->want[l] = plan->want[l] && job->store == JOB_STORE_SELECTED ? mask : 0;
    return STATUS_OK;
}

enum status plan_make(struct plan *plan, const struct job *job, const struct dims *dims,
                      const struct corpus *corpus, int ranks, struct error *err)
{
    struct plan made = {.arch = dims->arch,
                        .samples = corpus->samples,
                        .calibration_samples = job_calibration_samples(job),
                        .shard = job->shard > 0 ? job->shard : 1,
                        .metrics = true,
                        .profiles = job->command != COMMAND_ATTRIBUTE &&
                                    job->command != COMMAND_MIX, // which have no use for them
                        .logits = !job->no_logits,
                        .isolated = job->isolated,
                        .forks = !job->no_forks};
    if (make_runs(&made, job, dims, err) || check_modes(&made, err) || make_cells(&made, job, dims, err) ||
        make_want(&made, job, dims, err))
        goto clear_plan;
    set_references(&made, mode_find(job->reference));
    if (make_recipes(&made, dims, err) || check_given(&made, job, err) ||
        plan_make_items(&made, dims, corpus, ranks, err))
        goto clear_plan;
    *plan = made;
    return STATUS_OK;
clear_plan:
    plan_clear(&made);
    return err->status;
}

void plan_clear(struct plan *plan)
{
    free(plan->cells);
    free(plan->orders);
    free(plan->places);
    for (int r = 0; r < plan->n_runs && plan->recipes; r++)
        recipe_clear(&plan->recipes[r]);
    free(plan->recipes);
    free(plan->needs);
    free(plan->prefixes);
    free(plan->alike);
    free(plan->unscaled);
    free(plan->runs);
    free(plan->members);
    free(plan->groups);
    free(plan->order);
    free(plan->want);
    *plan = (struct plan){0};
}
