// SPDX-License-Identifier: Apache-2.0
// From a stored job back to a command line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/input/option.h"

// For a shell.
static void put_word(FILE *out, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./,:@%";
    if (word[0] && strspn(word, plain) == strlen(word)) {
        fprintf(out, " %s", word);
        return;
    }
    fputs(" '", out);
    for (; *word; word++)
        fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, out);
    fputc('\'', out);
}

static void put_numbers(FILE *out, const struct json *array)
{
    char text[NUMBER_ROOM];
    for (const struct json *v = json_first(array); v; v = json_next(v))
        fprintf(out, "%s%s", v == json_first(array) ? " " : ",", number_shortest(json_number(v), text));
}

// The stored place of a model has the folder before it that --pretrained_dir names.  "": the folder itself.
static const char *inside(const char *model, const char *folder)
{
    size_t length = folder ? strlen(folder) : 0;
    if (!folder || strncmp(model, folder, length) != 0) return model;
    return model[length] == '/' ? model + length + 1 : model[length] ? model : "";
}

static void put_model(FILE *out, const struct json *job)
{
    const char *model = json_string(json_get(job, "model"));
    const char *name = model ? inside(model, json_string(json_get(job, "pretrained_dir"))) : "";
    if (!name[0]) return;
    fputs(" --model", out);
    put_word(out, name);
}

// Modes and reference are those of the file, whatever the line says.
static void put_option(FILE *out, const struct json *value)
{
    char text[NUMBER_ROOM];
    const char *key = json_key(value);
    const struct option *option = option_find(key, strlen(key));
    if (strcmp(key, "modes") == 0 || strcmp(key, "reference") == 0 || strcmp(key, "model") == 0) return;
    if (json_is_bool(value)) { // only what is usual can be turned off
        fprintf(out, " --no-%s", key);
        return;
    }
    if (!option) return;
    fprintf(out, " --%s", option->name);
    if (json_is_array(value))
        put_numbers(out, value);
    else if (json_is_string(value))
        put_word(out, json_string(value));
    else
        put_word(out, number_shortest(json_number(value), text));
}

static void put_options(FILE *out, const char *stored, const char *usual)
{
    struct json *job = NULL, *without = NULL;
    struct error torn = {0};
    if (json_parse(&job, stored, strlen(stored), "job", &torn) == STATUS_OK &&
        json_parse(&without, usual, strlen(usual), "job", &torn) == STATUS_OK) {
        put_model(out, job);
        for (const struct json *value = json_first(job); value; value = json_next(value))
            if (!json_equal(value, json_get(without, json_key(value))) && !json_is_null(value))
                put_option(out, value);
    }
    json_close(job);
    json_close(without);
}

static void put_folder(FILE *out, const char *output_dir, const struct job *usual)
{
    if (strcmp(output_dir, usual->output_dir) == 0) return;
    fputs(" --output_dir", out);
    put_word(out, output_dir);
}

char *job_compare_line(const char *output_dir, const char *reference)
{
    char *line = NULL, *arguments[] = {(char[]){"ssmsweep"}, NULL};
    size_t bytes;
    struct job usual = {0};
    struct error err = {0};
    FILE *out = open_memstream(&line, &bytes);
    if (out && job_parse(&usual, 1, arguments, &err) == STATUS_OK) {
        fputs("ssmsweep compare --all", out);
        if (strcmp(reference, usual.reference) != 0) {
            fputs(" --reference", out);
            put_word(out, reference);
        }
        put_folder(out, output_dir, &usual);
    }
    if (out) fclose(out);
    job_clear(&usual);
    return line;
}

char *job_save_line(const char *identity_json, const char *modes, const char *output_dir)
{
    char *line = NULL, *arguments[] = {(char[]){"ssmsweep"}, NULL};
    size_t bytes;
    struct job usual = {0};
    struct error err = {0};
    FILE *out = open_memstream(&line, &bytes);
    char *without = job_parse(&usual, 1, arguments, &err) == STATUS_OK ? job_identity_json(&usual) : NULL;
    if (out && without) {
        fprintf(out, "ssmsweep save %s", modes);
        put_options(out, identity_json, without);
        put_folder(out, output_dir, &usual);
    }
    if (out) fclose(out);
    if (!without && line) line[0] = '\0';
    job_clear(&usual);
    free(without);
    return line;
}
