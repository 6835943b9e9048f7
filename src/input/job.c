// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/input/option.h"
#include "ssmsweep/input/settings.h"

enum { CHOICE_ROOM = 16 };

static const struct job defaults = {
    .command = COMMAND_RUN,
    .toward = "fp32",
    .metric = "kl_mean",
    .at = "last",
    .calib_data_num = {10},
    .n_cells = 1,
    .calib_seqlen = 512,
    .text_field = "text",
    .pad_id = -1,
    .shard_bytes = 5000000000,
    .percentile_alpha = 0.9995,
    .shuffle_calib = 1,
    .modes = "all",
    .layers = "first,last",
    .components = "mixer_output",
    .reference = "fp32",
    .output_dir = "layer_outputs",
    .result_name = "sweep.h5",
    .device = "auto",
    .limit = -1,
    .comparison_dir = "comparisons",
    .grace_seconds = 30,
    .progress_seconds = -1,
    .bench_seconds = 1,
    .bootstrap = 999,
    .verbosity = LOG_NORMAL,
};

// ---- parsing ----

static const char **text_member(const struct option *option, struct job *job)
{
    bool text = option->kind == OPTION_TEXT || option->kind == OPTION_LIST || option->kind == OPTION_LINES ||
                option->kind == OPTION_FILE;
    return text ? (const char **)(void *)((char *)job + option->offset) : NULL;
}

// Copies every text of the job into one block, which the job owns.
static enum status own_texts(struct job *job, struct error *err)
{
    size_t room = 1;
    for (int i = 0; i < option_count(); i++) {
        const char **text = text_member(option_at(i), job);
        if (text && *text) room += strlen(*text) + 1;
    }
    char *block = malloc(room), *at = block;
    if (!block) return error_memory(err, room, "the job");
    for (int i = 0; i < option_count(); i++) {
        const char **text = text_member(option_at(i), job);
        if (!text || !*text) continue;
        size_t bytes = strlen(*text) + 1;
        *text = memcpy(at, *text, bytes);
        at += bytes;
    }
    job->storage = block;
    return STATUS_OK;
}

// A relative --model lies in --pretrained_dir; without --model the folder itself is the model.
static char *place_model(const struct job *job)
{
    if (!job->model_dir) return strdup(job->pretrained_dir);
    char *inside = file_join(job->pretrained_dir, job->model_dir);
    if (!inside || !job->model_by_name || file_exists(inside)) return inside;
    free(inside);
    return strdup(job->pretrained_dir);
}

// A stored job has both the folder and the model's place in it.
static bool is_placed(const struct job *job)
{
    const size_t bytes = strlen(job->pretrained_dir);
    if (!job->model_dir) return false;
    if (job->model_dir[0] == '/') return true;
    if (strncmp(job->model_dir, job->pretrained_dir, bytes) != 0 || !strchr("/", job->model_dir[bytes]))
        return false;
    struct stat itself, other;
    char *inside = file_join(job->pretrained_dir, job->model_dir);
    const bool placed = inside && stat(job->model_dir, &itself) == 0 &&
                        (stat(inside, &other) != 0 || // "./DIR" is in "." as well
                         (itself.st_dev == other.st_dev && itself.st_ino == other.st_ino));
    free(inside);
    return placed;
}

static enum status finish(struct job *job, struct error *err)
{
    if (!job->pretrained_dir || is_placed(job)) return own_texts(job, err);
    char *placed = place_model(job);
    if (!placed) return error_memory(err, strlen(job->pretrained_dir) + 1, "a path");
    job->model_dir = placed;
    own_texts(job, err);
    free(placed);
    return err->status;
}

enum status job_parse(struct job *job, int argc, char **argv, struct error *err)
{
    struct settings line = {0}, file = {0};
    struct job parsed = defaults;
    if (settings_from_line(&line, argc, argv, err)) return err->status;
    parsed.command = line.command;
    parsed.topic = line.topic;
    parsed.model_by_name = line.model_by_name;
    if (line.command == COMMAND_ATTRIBUTE) {
        parsed.store = JOB_STORE_NONE;
        parsed.result_name = "attribution.h5";
    }
    if (line.command == COMMAND_MIX) {
        parsed.store = JOB_STORE_NONE;
        parsed.by = JOB_BY_LAYER;
        parsed.modes = "2-1,2-4,fp32";
    }
    const char *path = settings_find_file(&line);
    if (path && settings_from_file(&file, line.command, path, err)) goto clear_line;
    // The command line comes last: it wins.
    if (!settings_apply(&file, &parsed, err) && !settings_apply(&line, &parsed, err) && !finish(&parsed, err))
        *job = parsed;
    settings_clear(&file);
clear_line:
    settings_clear(&line);
    return err->status;
}

void job_clear(struct job *job)
{
    free(job->storage);
    *job = (struct job){0};
}

// ---- numbers of samples ----

bool job_sweeps(const struct job *job)
{
    return job->command == COMMAND_RUN || job->command == COMMAND_SAVE || job->command == COMMAND_ATTRIBUTE ||
           job->command == COMMAND_MIX;
}

int job_calibration_samples(const struct job *job)
{
    return job->calib_data_num[job->n_cells - 1];
}

int job_evaluation_samples(const struct job *job)
{
    return job->eval_data_num > 0 ? job->eval_data_num : job_calibration_samples(job);
}

// ---- identity ----

// An OPTION_CHOICE by its word.
static void put_choice(struct json_writer *writer, const char *key, int choice)
{
    char word[CHOICE_ROOM];
    const char *words = option_find(key, strlen(key))->word;
    for (; choice > 0; choice--)
        words += strcspn(words, "|") + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(words, "|"), words);
    json_put_string(writer, key, word);
}

char *job_identity_json(const struct job *job)
{
    struct json_writer *writer = json_writer_open();
    if (!writer) return NULL;
    json_begin_object(writer, NULL);
    json_put_string(writer, "model", job->model_dir);
    json_put_string(writer, "pretrained_dir", job->pretrained_dir);
    json_put_string(writer, "reference_model", job->reference_model);
    if (job->tokenizer) json_put_string(writer, "tokenizer", job->tokenizer);
    if (job->weights) json_put_string(writer, "weights", job->weights);
    if (job->norm_groups) json_put_integer(writer, "norm_groups", job->norm_groups);
    json_put_string(writer, "calib_data", job->calib_data);
    json_put_string(writer, "eval_data", job->eval_data);
    json_put_integer(writer, "eval_data_num", job_evaluation_samples(job));
    put_choice(writer, "text_format", job->text_format);
    put_choice(writer, "txt_split", job->txt_split);
    json_put_string(writer, "text_field", job->text_field);
    json_put_integer(writer, "pad_id", job->pad_id);
    if (job->ids_dtype) put_choice(writer, "ids_dtype", job->ids_dtype);
    if (job->no_special_tokens) json_put_bool(writer, "no_special_tokens", true);
    json_begin_array(writer, "calib_data_num");
    for (int i = 0; i < job->n_cells; i++)
        json_put_integer(writer, NULL, job->calib_data_num[i]);
    json_end_array(writer);
    json_put_integer(writer, "calib_seqlen", job->calib_seqlen);
    json_put_double(writer, "percentile_alpha", job->percentile_alpha);
    json_put_string(writer, "observer", job->observer);
    if (job->group_heads == JOB_GROUPS_ON) put_choice(writer, "group_heads", job->group_heads);
    if (job->scales) json_put_string(writer, "scales", job->scales);
    json_put_integer(writer, "shuffle_calib", job->shuffle_calib);
    json_put_integer(writer, "seed", job->shuffle_calib > 1 ? job->seed : 0); // else nothing is drawn
    json_put_string(writer, "modes", job->modes);
    json_put_string(writer, "reference", job->reference);
    json_put_string(writer, "layers", job->layers);
    json_put_string(writer, "components", job->components);
    put_choice(writer, "store", job->store);
    json_put_bool(writer, "logits", !job->no_logits);
    if (job->isolated) json_put_bool(writer, "isolated", true);
    json_put_integer(writer, "noise", job->noise);
    json_end_object(writer);
    return json_writer_finish(writer);
}

// ---- job line ----

// From a stored job back to a command line.

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
    if (json_is_bool(value) && !json_bool(value)) { // what is usual is turned off
        fprintf(out, " --no-%s", key);
        return;
    }
    if (!option) return;
    fprintf(out, " --%s", option->name);
    if (json_is_bool(value)) return;
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
