// SPDX-License-Identifier: Apache-2.0
#include "rows.h"

#include <stdio.h>
#include <stdlib.h>

void rows_title(const struct row_list *rows, const char *title)
{
    if (!rows->print) return;
    printf("\n%s\n%-13s %-22s %7s %11s %11s %11s %-9s %7s %8s\n", title, "group", "what", "threads",
           "best ms", "median ms", "rate", "unit", "share", "x bound");
    fflush(stdout);
}

static void print_row(const struct row *row)
{
    printf("%-13s %-22s %7d %11.4f %11.4f %11.2f %-9s", row->group, row->name, row->threads,
           1e3 * row->seconds, 1e3 * row->median_seconds, row->rate, row->unit);
    if (row->bound_seconds > 0)
        printf(" %6.1f%% %8.2f", 100 * row->bound_seconds / row->seconds, row->seconds / row->bound_seconds);
    putchar('\n');
    fflush(stdout);
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

enum status rows_add(struct row_list *rows, const char *group, const char *name, int threads,
                     const struct load *load, struct unit unit, double bound_seconds, struct error *err)
{
    if (make_room(rows, err)) return err->status;
    struct row *row = &rows->items[rows->count++];
    *row = (struct row){.group = group,
                        .threads = threads,
                        .seconds = load->best_seconds,
                        .median_seconds = load->median_seconds,
                        .runs = load->runs,
                        .rate = load_rate(load) * unit.factor,
                        .unit = unit.name,
                        .bound_seconds = bound_seconds};
    snprintf(row->name, sizeof row->name, "%s", name);
    if (rows->print) print_row(row);
    return STATUS_OK;
}

void rows_put_json(const struct row_list *rows, struct json_writer *writer)
{
    json_begin_array(writer, "measurements");
    for (const struct row *row = rows->items; row < rows->items + rows->count; row++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "group", row->group);
        json_put_string(writer, "name", row->name);
        json_put_integer(writer, "threads", row->threads);
        json_put_double(writer, "best_seconds", row->seconds);
        json_put_double(writer, "median_seconds", row->median_seconds);
        json_put_integer(writer, "runs", row->runs);
        json_put_double(writer, "rate", row->rate);
        json_put_string(writer, "unit", row->unit);
        if (row->bound_seconds > 0) {
            json_put_double(writer, "bound_seconds", row->bound_seconds);
            json_put_double(writer, "share", row->bound_seconds / row->seconds);
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
