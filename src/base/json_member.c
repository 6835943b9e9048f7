// SPDX-License-Identifier: Apache-2.0
// One string out of a JSON object, decoded from the text itself: the parser's strings end at the first NUL.
#include "json_member.h"

#include <string.h>

// All of this reads JSON that the parser has accepted: quotes pair, escapes are whole.
struct cursor {
    const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && memchr(" \t\r\n", *c->at, 4))
        c->at++;
}

static unsigned hex4(const char *text)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[extra] | code >> (6 * extra));
    for (int i = 1; i <= extra; i++)
        out[i] = (char)(0x80 | (code >> (6 * (extra - i)) & 0x3f));
    return (size_t)extra + 1;
}

// c->at is behind the "\u".  Half of a surrogate pair gives its own code.
static unsigned take_code(struct cursor *c)
{
    if (c->end - c->at < 4) return 0xfffd;
    unsigned code = hex4(c->at);
    c->at += 4;
    if (code < 0xd800 || code > 0xdbff || c->end - c->at < 6 || memcmp(c->at, "\\u", 2) != 0) return code;
    unsigned low = hex4(c->at + 2);
    if (low < 0xdc00 || low > 0xdfff) return code;
    c->at += 6;
    return 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
}

// From behind the opening quote to behind the closing one.  `out` may be NULL; else it holds as many bytes as
// the text between the quotes, which no escape exceeds.
static size_t take_string(struct cursor *c, char *out)
{
    char code[4];
    size_t used = 0;
    while (c->at < c->end && *c->at != '"') {
        size_t bytes = 1;
        code[0] = *c->at++;
        if (code[0] == '\\' && c->at < c->end) {
            static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
            char letter = *c->at++;
            const char *known = letter ? strchr(from, letter) : NULL;
            code[0] = known ? to[known - from] : letter;
            if (letter == 'u') bytes = put_utf8(code, take_code(c));
        }
        if (out) memcpy(out + used, code, bytes);
        used += bytes;
    }
    if (c->at < c->end) c->at++;
    return used;
}

static void skip_value(struct cursor *c)
{
    int depth = 0;
    while (c->at < c->end) {
        char letter = *c->at;
        if (depth == 0 && (letter == ',' || letter == '}')) return;
        c->at++;
        if (letter == '"') take_string(c, NULL);
        if (letter == '{' || letter == '[') depth++;
        if (letter == '}' || letter == ']') depth--;
    }
}

// Does the string that begins here (behind its quote) say `key`?  Moves behind it.
static bool take_key(struct cursor *c, const char *key, char *scratch)
{
    size_t bytes = take_string(c, scratch);
    return bytes == strlen(key) && memcmp(scratch, key, bytes) == 0;
}

bool json_member_decode(const char *text, size_t bytes, const char *key, char *out, size_t *out_bytes)
{
    struct cursor c = {text, text + bytes};
    skip_blanks(&c);
    if (c.at == c.end || *c.at++ != '{') return false;
    for (;;) {
        skip_blanks(&c);
        if (c.at == c.end || *c.at++ != '"') return false;
        bool found = take_key(&c, key, out);
        skip_blanks(&c);
        if (c.at == c.end || *c.at++ != ':') return false;
        skip_blanks(&c);
        if (found) {
            if (c.at == c.end || *c.at++ != '"') return false;
            *out_bytes = take_string(&c, out);
            return true;
        }
        skip_value(&c);
        if (c.at == c.end || *c.at++ != ',') return false;
    }
}
