// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/checks.h"

#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/base/file.h"

enum status checks_add(struct checks *checks, const struct check *check, struct error *err)
{
    if (checks->count == checks->room) {
        int room = checks->room ? 2 * checks->room : 32;
        struct check *grown = realloc(checks->items, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the gates");
        checks->items = grown;
        checks->room = room;
    }
    checks->items[checks->count++] = *check;
    return STATUS_OK;
}

int checks_broken(const struct checks *checks)
{
    int broken = 0;
    for (int i = 0; i < checks->count; i++)
        broken += !checks->items[i].good;
    return broken;
}

void checks_clear(struct checks *checks)
{
    free(checks->items);
    *checks = (struct checks){0};
}

static void put_escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            fputs("&amp;", out);
        else if (*text == '<')
            fputs("&lt;", out);
        else if (*text == '>')
            fputs("&gt;", out);
        else if (*text == '"')
            fputs("&quot;", out);
        else
            fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
}

static void put_case(FILE *out, const struct check *check)
{
    fprintf(out, "  <testcase classname=\"ssmsweep.%s\" name=\"", check->kind);
    put_escaped(out, check->name);
    if (check->good) {
        fputs("\"/>\n", out);
        return;
    }
    fputs("\">\n    <failure message=\"", out);
    put_escaped(out, check->text);
    fputs("\"/>\n  </testcase>\n", out);
}

enum status checks_write_junit(const struct checks *checks, const char *path, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return error_memory(err, 1u << 16, path);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuite name=\"ssmsweep\" tests=\"%d\" failures=\"%d\" errors=\"0\">\n",
            checks->count, checks_broken(checks));
    for (int i = 0; i < checks->count; i++)
        put_case(out, &checks->items[i]);
    fputs("</testsuite>\n", out);
    if (fclose(out))
        error_memory(err, bytes, path);
    else
        file_replace(path, text, bytes, err);
    free(text);
    return err->status;
}
