// SPDX-License-Identifier: Apache-2.0
// Texts and numbers in HTML and in the JSON of a page.
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "render_html.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

// ---- characters ----

// The next character of a text, which moves on; U+FFFD for a byte that is no UTF-8, 0 at the end.
static uint32_t next_character(const char **text)
{
    const unsigned char *at = (const unsigned char *)*text;
    if (at[0] == 0) return 0;
    const size_t bytes = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (strnlen(*text, bytes) < bytes || json_utf8_bytes(*text, bytes) < bytes) {
        ++*text;
        return 0xfffd;
    }
    uint32_t character = bytes == 1 ? at[0] : at[0] & (0x7fu >> bytes);
    for (size_t i = 1; i < bytes; i++)
        character = character << 6 | (at[i] & 0x3fu);
    *text += bytes;
    return character;
}

// Marks that turn the direction of what stands behind them.
static bool turns(uint32_t c)
{
    return c == 0x61c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

static bool is_control(uint32_t c)
{
    return (c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7f && c < 0xa0) || (c & 0xfffe) == 0xfffe;
}

static void put_utf8(FILE *out, uint32_t c)
{
    if (c < 0x80) {
        fputc((int)c, out);
        return;
    }
    const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    fputc((int)((0xff00u >> (more + 1) & 0xffu) | c >> 6 * more), out);
    for (int i = more - 1; i >= 0; i--)
        fputc((int)(0x80u | (c >> 6 * i & 0x3fu)), out);
}

// What both have in common; `escape` gives what a character needs.
static void put_characters(FILE *out, const char *text, const char *escape(uint32_t character))
{
    for (uint32_t c; (c = next_character(&text));) {
        const char *escaped = escape(c);
        if (turns(c))
            fprintf(out, "[U+%04X]", (unsigned)c);
        else if (escaped)
            fputs(escaped, out);
        else
            put_utf8(out, is_control(c) ? 0xfffd : c);
    }
}

static const char *escape_html(uint32_t c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static const char *escape_json(uint32_t c)
{
    switch (c) {
    case '<':
        return "\\u003c";
    case '>':
        return "\\u003e";
    case '&':
        return "\\u0026";
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\t':
        return "\\t";
    case 0x2028:
        return "\\u2028";
    case 0x2029:
        return "\\u2029";
    default:
        return NULL;
    }
}

void html_put_text(FILE *out, const char *text)
{
    put_characters(out, text, escape_html);
}

void html_put_json(FILE *out, const char *text)
{
    fputc('"', out);
    put_characters(out, text, escape_json);
    fputc('"', out);
}

// ---- numbers ----

enum { DIGITS = 4, END_DIGITS = 3 }; // of values, and of the ends of intervals in the JSON

// The more nines a correlation begins with, the more digits it needs.
static int digits_of(enum report_format format, double value, int least)
{
    if (format == REPORT_COUNT) return NUMBER_EXACT;
    if (format != REPORT_CORRELATION) return least;
    int digits = least;
    for (double rest = 1 - fabs(value); rest > 0 && rest < 0.1 && digits < NUMBER_EXACT; rest *= 10)
        digits++;
    return digits;
}

void html_put_value(FILE *out, enum report_format format, double value)
{
    char text[NUMBER_ROOM];
    if (isnan(value)) {
        fputs("n/a", out);
        return;
    }
    if (format == REPORT_SIGNED && value > 0) fputc('+', out);
    fputs(number_text(format == REPORT_SHARE ? 100 * value : value, digits_of(format, value, DIGITS), text),
          out);
    if (format == REPORT_SHARE) fputs(" %", out);
}

// In as few characters as its digits need: a page has a hundred thousand of them.  "1.5e-05" as "1.5e-5",
// "0.00015" too.
static void put_short(FILE *out, const char *number)
{
    const char *exponent = strchr(number, 'e'), *sign = number[0] == '-' ? "-" : "";
    const char *small = number + strlen(sign);
    if (exponent) {
        fprintf(out, "%.*s%s", (int)(exponent + 1 - number), number, exponent[1] == '-' ? "-" : "");
        exponent += 2;
        fputs(exponent + strspn(exponent, "0"), out);
    } else if (strncmp(small, "0.000", 5) == 0 && strlen(small) > 6) {
        const size_t zeros = strspn(small + 2, "0");
        const char *digits = small + 2 + zeros;
        fprintf(out, "%s%c%s%se-%d", sign, digits[0], digits[1] ? "." : "", digits + 1, (int)zeros + 1);
    } else {
        fputs(number, out);
    }
}

static void put_json_number(FILE *out, enum report_format format, double value, int digits)
{
    char text[NUMBER_ROOM];
    if (isnan(value))
        fputs("null", out);
    else if (isinf(value))
        fputs(value > 0 ? "\"inf\"" : "\"-inf\"", out);
    else
        put_short(out, number_text(value, digits_of(format, value, digits), text));
}

void html_put_json_value(FILE *out, enum report_format format, double value)
{
    put_json_number(out, format, value, DIGITS);
}

void html_put_json_end(FILE *out, enum report_format format, double value)
{
    put_json_number(out, format, value, format == REPORT_SPAN ? DIGITS : END_DIGITS);
}

const char *html_signs(unsigned marks, char text[HTML_SIGNS_ROOM])
{
    size_t used = 0;
    if (marks & REPORT_EQUAL) text[used++] = '=';
    if (marks & REPORT_NOISE && !(marks & REPORT_APART)) text[used++] = '~';
    if (marks & REPORT_APART) text[used++] = '#';
    if (marks & REPORT_SETTLED) text[used++] = '*';
    if (marks & REPORT_SETTLED_MAYBE) text[used++] = '?';
    if (marks & REPORT_SURE && !(marks & REPORT_NOISE)) text[used++] = '*';
    text[used] = '\0';
    return text;
}
