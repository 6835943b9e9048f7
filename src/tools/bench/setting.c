// SPDX-License-Identifier: Apache-2.0
#include "setting.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ssmsweep/base/team.h"

// ---- timing ----

enum { MAX_LOADS = 4, MAX_RUNS = 1000, LEAST_RUNS = 2 };

static double read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double clock_seconds(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double processor_seconds(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static double time_run(const struct load *load)
{
    const clockid_t clock = load->team ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    const double started = read_clock(clock);
    load->run(load->context);
    return read_clock(clock) - started;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void measure(struct load *loads, int count, double seconds)
{
    static const double shortest = 1e-9; // no run takes no time
    double times[MAX_LOADS][MAX_RUNS];
    int runs = 0;
    for (int i = 0; i < count; i++)
        loads[i].run(loads[i].context);
    const double end = clock_seconds() + seconds;
    while (runs < LEAST_RUNS || (runs < MAX_RUNS && clock_seconds() < end)) {
        for (int i = 0; i < count; i++) {
            const double time = time_run(&loads[i]);
            times[i][runs] = time > shortest ? time : shortest;
        }
        runs++;
    }
    for (int i = 0; i < count; i++) {
        qsort(times[i], (size_t)runs, sizeof times[i][0], compare_doubles);
        loads[i].best_seconds = times[i][0];
        loads[i].median_seconds = times[i][runs / 2];
        loads[i].runs = runs;
    }
}

double load_rate(const struct load *load)
{
    return load->work / load->best_seconds;
}

void load_lengthen(const struct load *load, long *rounds, double seconds)
{
    const long most = 1L << 30;
    while (time_run(load) < seconds && *rounds < most)
        *rounds *= 2;
}

// ---- rows ----

void rows_title(const struct row_list *rows, const char *title)
{
    if (!rows->print) return;
    printf("\n%s\n%-13s %-22s %7s %11s %11s %11s %-9s %7s %8s\n", title, "group", "what",
           rows->of_gpu ? "samples" : "threads", "best ms", "median ms", "rate", "unit", "share",
           rows->of_gpu ? "x core" : "x bound");
    fflush(stdout);
}

static void print_row(const struct row *row)
{
    printf("%-13s %-22s", row->group, row->name);
    if (row->threads + row->samples > 0)
        printf(" %7d", row->threads + row->samples);
    else
        printf(" %7s", "");
    printf(" %11.4f %11.4f %11.2f %-9s", 1e3 * row->seconds, 1e3 * row->median_seconds, row->rate, row->unit);
    if (row->bound_seconds > 0) printf(" %6.1f%%", 100 * row->bound_seconds / row->seconds);
    if (row->bound_seconds > 0 && row->threads > 0) printf(" %8.2f", row->seconds / row->bound_seconds);
    if (row->core_seconds > 0) printf(" %8.1f", row->core_seconds / row->seconds);
    putchar('\n');
    fflush(stdout);
}

void rows_print(const struct row_list *rows, const char *group)
{
    for (const struct row *row = rows->items; row < rows->items + rows->count; row++)
        if (strcmp(row->group, group) == 0) print_row(row);
}

const struct row *rows_find(const struct row_list *rows, const char *group, const char *name, int threads)
{
    for (const struct row *row = rows->items; row < rows->items + rows->count; row++)
        if (strcmp(row->group, group) == 0 && strcmp(row->name, name) == 0 && row->threads == threads)
            return row;
    return NULL;
}

static enum status make_room(struct row_list *rows, struct error *err)
{
    if (rows->count < rows->room) return STATUS_OK;
    const int room = rows->room ? 2 * rows->room : 64;
    struct row *grown = realloc(rows->items, (size_t)room * sizeof *grown);
    if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the measurements");
    rows->items = grown;
    rows->room = room;
    return STATUS_OK;
}

static enum status add_row(struct row_list *rows, const struct row *like, const char *name,
                           const struct load *load, struct bench_unit unit, struct error *err)
{
    if (make_room(rows, err)) return err->status;
    struct row *row = &rows->items[rows->count++];
    *row = *like;
    row->seconds = load->best_seconds;
    row->median_seconds = load->median_seconds;
    row->runs = load->runs;
    row->rate = load_rate(load) * unit.factor;
    row->unit = unit.name;
    snprintf(row->name, sizeof row->name, "%s", name);
    if (rows->print) print_row(row);
    return STATUS_OK;
}

enum status rows_add(struct row_list *rows, const char *group, const char *name, int threads,
                     const struct load *load, struct bench_unit unit, double bound_seconds, struct error *err)
{
    const struct row like = {.group = group, .threads = threads, .bound_seconds = bound_seconds};
    return add_row(rows, &like, name, load, unit, err);
}

enum status rows_add_of_gpu(struct row_list *rows, const char *group, const char *name, int samples,
                            const struct load *load, struct bench_unit unit, double bound_seconds,
                            double core_seconds, struct error *err)
{
    const struct row like = {
        .group = group, .samples = samples, .bound_seconds = bound_seconds, .core_seconds = core_seconds};
    return add_row(rows, &like, name, load, unit, err);
}

void rows_put_json(const struct row_list *rows, struct json_writer *writer)
{
    json_begin_array(writer, "measurements");
    for (const struct row *row = rows->items; row < rows->items + rows->count; row++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "group", row->group);
        json_put_string(writer, "name", row->name);
        if (!rows->of_gpu) json_put_integer(writer, "threads", row->threads);
        if (row->samples > 0) json_put_integer(writer, "samples", row->samples);
        json_put_double(writer, "best_seconds", row->seconds);
        json_put_double(writer, "median_seconds", row->median_seconds);
        json_put_integer(writer, "runs", row->runs);
        json_put_double(writer, "rate", row->rate);
        json_put_string(writer, "unit", row->unit);
        if (row->bound_seconds > 0) {
            json_put_double(writer, "bound_seconds", row->bound_seconds);
            json_put_double(writer, "share", row->bound_seconds / row->seconds);
        }
        if (row->core_seconds > 0) {
            json_put_double(writer, "one_core_seconds", row->core_seconds);
            json_put_double(writer, "to_one_core", row->core_seconds / row->seconds);
        }
        json_end_object(writer);
    }
    json_end_array(writer);
}

void rows_clear(struct row_list *rows)
{
    free(rows->items);
    *rows = (struct row_list){0};
}

// ---- setting ----

enum { BANDWIDTH_FLOATS = 48 << 20 }; // 192 MiB in three arrays

float random_uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

enum status setting_open(struct bench_setting *setting, const struct model *model, int vocab, int threads,
                         struct error *err)
{
    const struct dims *d = &model->dims;
    const long weights = 2L * (d->d_inner + KERNEL_LANES) * d->d_model * d->n_layer;
    const long head = ((long)vocab + KERNEL_LANES) * d->d_model;
    memset(setting, 0, sizeof *setting);
    setting->gpu = (struct gpu){.index = -1, .rows.of_gpu = true};
    if (kernels_choose(&setting->kernels, err) || team_open(&setting->team, threads, err)) return err->status;
    setting->threads = threads;
    setting->model = model;
    setting->vocab = vocab;
    setting->pool_floats = weights > BANDWIDTH_FLOATS ? weights : BANDWIDTH_FLOATS;
    if (head > setting->pool_floats) setting->pool_floats = head;
    const size_t bytes = (size_t)setting->pool_floats * sizeof(float);
    if (arena_init(&setting->arena, bytes, "the bench", err)) return err->status;
    setting->pool = arena_take(&setting->arena, bytes);
    uint32_t state = 1;
    for (long i = 0; i < setting->pool_floats; i++)
        setting->pool[i] = random_uniform(&state);
    return STATUS_OK;
}

void setting_close(struct bench_setting *setting)
{
    team_close(setting->team);
    arena_clear(&setting->arena);
    rows_clear(&setting->rows);
    rows_clear(&setting->gpu.rows);
}
