// SPDX-License-Identifier: Apache-2.0
// Is the file of an earlier run of the same job?
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handle.h"
#include "result.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/recipe/mode.h"

struct differences {
    char text[640];
    size_t used;
};

// Where the two texts begin to differ.
static size_t common_bytes(const char *a, const char *b)
{
    size_t common = 0;
    while (a[common] && a[common] == b[common])
        common++;
    return common;
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xc0) == 0x80;
}

// For the message alone: a long text is cut to the part in which the two differ.
static int write_part(char *part, size_t room, const char *text, size_t common, size_t shown)
{
    enum { BEFORE = 16 };
    size_t start = strlen(text) > shown && common > BEFORE ? common - BEFORE : 0, end = start + shown;
    while (start > 0 && continues_character(text[start]))
        start--;
    if (end > strlen(text)) end = strlen(text);
    while (end > start && continues_character(text[end]))
        end--;
    return snprintf(part, room, "%s%.*s%s", start > 0 ? "..." : "", (int)(end - start), text + start,
                    text[end] ? "..." : "");
}

// The two values were found to differ.
static void note_difference(struct differences *found, const char *key, const char *stored, const char *now,
                            size_t shown)
{
    char there[96], here[96];
    const size_t common = common_bytes(stored, now);
    if (found->used >= sizeof found->text) return;
    write_part(there, sizeof there, stored, common, shown);
    write_part(here, sizeof here, now, common, shown);
    int n = snprintf(found->text + found->used, sizeof found->text - found->used, "%s%s is %s there, %s here",
                     found->used ? "; " : "", key, there, here);
    if (n > 0) found->used += (size_t)n;
}

enum { VALUE_CHARS = 72, DIGEST_CHARS = 16 };

static void compare_texts(struct differences *found, const char *key, const char *stored, const char *now)
{
    if (strcmp(stored, now) != 0) note_difference(found, key, stored, now, VALUE_CHARS);
}

static void write_value(FILE *out, const struct json *value, int digits)
{
    if (json_is_array(value)) {
        for (const struct json *v = json_first(value); v; v = json_next(v))
            fprintf(out, "%s%.*g", v == json_first(value) ? "" : ",", digits, json_number(v));
    } else if (json_is_string(value)) {
        fprintf(out, "'%s'", json_string(value));
    } else if (json_is_number(value)) {
        fprintf(out, "%.*g", digits, json_number(value));
    } else if (json_is_bool(value)) {
        fputs(json_bool(value) ? "true" : "false", out);
    } else {
        fputs("not set", out);
    }
}

// In malloc'ed memory; NULL when that is out.
static char *describe(const struct json *value, int digits)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    write_value(out, value, digits);
    return fclose(out) == 0 ? text : NULL;
}

static void compare_values(struct differences *found, const char *key, const struct json *stored,
                           const struct json *now)
{
    if (json_equal(stored, now)) return;
    for (int digits = 10;; digits = 17) {
        char *there = describe(stored, digits), *here = describe(now, digits);
        const bool told_apart = !there || !here || strcmp(there, here) != 0 || digits == 17;
        if (told_apart)
            note_difference(found, key, there ? there : "one", here ? here : "another", VALUE_CHARS);
        free(there);
        free(here);
        if (told_apart) break;
    }
}

// Where model and text lie does not matter: their digests are compared.  Modes are no text, but a set.
static bool is_compared_otherwise(const char *key)
{
    static const char *const keys[] = {"model",      "pretrained_dir", "tokenizer",
                                       "calib_data", "eval_data",      "modes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(key, keys[i]) == 0) return true;
    return false;
}

// Every key of either.
static void compare_keys(struct differences *found, const struct json *stored, const struct json *now)
{
    for (const struct json *value = json_first(stored); value; value = json_next(value))
        if (!is_compared_otherwise(json_key(value)))
            compare_values(found, json_key(value), value, json_get(now, json_key(value)));
    for (const struct json *value = json_first(now); value; value = json_next(value))
        if (!is_compared_otherwise(json_key(value)) && !json_get(stored, json_key(value)))
            compare_values(found, json_key(value), NULL, value);
}

// The reference is one of the modes.  False: the words of the job are none of this version.
static bool choose_modes(const struct json *job, bool *chosen)
{
    const char *list = json_string(json_get(job, "modes"));
    const char *reference = json_string(json_get(job, "reference"));
    struct error unknown = {0};
    if (!list || !reference || mode_select(list, chosen, &unknown)) return false;
    for (int m = 0; m < mode_count(); m++)
        chosen[m] = chosen[m] || strcmp(mode_at(m)->name, reference) == 0;
    return true;
}

// Sets, whatever words the jobs have for them.
static enum status compare_modes(struct differences *found, const struct json *stored, const struct json *now,
                                 struct error *err)
{
    enum { LIST_CHARS = 256 };
    const size_t modes = (size_t)mode_count();
    bool *chosen = calloc(2 * modes, sizeof *chosen);
    if (!chosen) return error_memory(err, modes, "the modes");
    if (!choose_modes(stored, chosen) || !choose_modes(now, chosen + modes)) {
        compare_values(found, "modes", json_get(stored, "modes"), json_get(now, "modes"));
    } else if (memcmp(chosen, chosen + modes, modes * sizeof *chosen) != 0) {
        char there[LIST_CHARS], here[LIST_CHARS];
        mode_write_list(chosen, there, sizeof there);
        mode_write_list(chosen + modes, here, sizeof here);
        note_difference(found, "modes", there, here, VALUE_CHARS);
    }
    free(chosen);
    return STATUS_OK;
}

static enum status compare_jobs(struct differences *found, const char *path, const char *stored,
                                const char *now, bool extends, struct error *err)
{
    struct json *a = NULL, *b = NULL;
    struct error torn = {0};
    if (json_parse(&a, stored, strlen(stored), "job", &torn) ||
        json_parse(&b, now, strlen(now), "job", &torn)) {
        error_set(err, STATUS_INPUT, "%s: attribute %s; the file is torn or was not written by ssmsweep",
                  path, torn.text);
    } else {
        compare_keys(found, a, b);
        if (!extends) compare_modes(found, a, b, err);
    }
    json_close(a);
    json_close(b);
    return err->status;
}

static void compare_digests(struct differences *found, const char *key, const char *stored, const char *now)
{
    if (strcmp(stored, now) == 0) return;
    note_difference(found, key, stored[0] ? stored : "none", now[0] ? now : "none", DIGEST_CHARS);
}

// Not the job: that is compared key by key.
static void compare_attributes(struct differences *found, const struct result *result,
                               const struct store_identity *now)
{
    for (int a = LAYOUT_FIRST_TEXT; a < LAYOUT_ATTRIBUTES; a++) {
        const struct layout_attribute *attribute = &layout_attributes[a];
        const char *stored = result_attribute(result, attribute->name);
        if (attribute->identity == IDENTITY_DIGEST)
            compare_digests(found, attribute->name, stored, layout_attribute_text(a, NULL, now));
        if (attribute->identity == IDENTITY_TEXT)
            compare_texts(found, attribute->name, stored, layout_attribute_text(a, NULL, now));
    }
}

enum status identity_check(const struct result *result, const char *path, const struct store_identity *now,
                           bool extends, struct error *err)
{
    struct differences found = {.used = 0};
    if (result->version < LAYOUT_SCHEMA_VERSION)
        return error_set(
            err, STATUS_INPUT,
            "%.200s: schema_version: expected %d, got %d, of an earlier version of ssmsweep: compare, "
            "info and export read it, but nothing can be added; choose another --output_dir",
            path, LAYOUT_SCHEMA_VERSION, result->version);
    if (!result_attribute(result, "weights_digest")[0])
        return error_set(
            err, STATUS_INPUT,
            "%.200s: no weights_digest in it, as it was imported from arrays; nothing can be added, "
            "choose another --output_dir",
            path);
    if (compare_jobs(&found, path, result_attribute(result, "job"), now->job_json, extends, err))
        return err->status;
    compare_attributes(&found, result, now);
    if (!found.used) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%.200s: cannot go on with the result of another job: %s; repeat the first options, or "
                     "choose another --output_dir",
                     path, found.text);
}
