// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/render.h"

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

void render_junit(FILE *out, const struct report *report)
{
    const struct checks *checks = report->checks;
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
            "<testsuite name=\"ssmsweep\" tests=\"%d\" failures=\"%d\" errors=\"0\">\n",
            checks->count, checks_broken(checks));
    for (int i = 0; i < checks->count; i++)
        put_case(out, &checks->items[i]);
    fputs("</testsuite>\n", out);
}
