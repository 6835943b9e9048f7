// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/input/help.h"

enum { WHERE_CHARS = 400 };

static char *join_lines(const char *first, const char *second)
{
    size_t room = strlen(first) + strlen(second) + 2;
    char *joined = malloc(room);
    if (joined) snprintf(joined, room, "%s\n%s", first, second);
    return joined;
}

// Takes over `text`.  Where the option was given before, its line goes below the others.
static enum status add_line(struct settings *settings, const struct option *option, char **text,
                            struct error *err)
{
    for (int i = 0; i < settings->count; i++) {
        struct job_setting *setting = &settings->items[i];
        if (setting->option != option) continue;
        char *joined = join_lines(setting->text, *text);
        free(*text);
        *text = NULL;
        if (!joined) return error_memory(err, 0, "an option");
        free(setting->text);
        setting->text = joined;
    }
    return STATUS_OK;
}

// Takes over `text`, which may be NULL after a failed allocation.
static enum status add(struct settings *settings, const struct option *option, char *text, struct error *err)
{
    if (!text) return error_memory(err, 0, "an option");
    if (option->kind == OPTION_LINES) {
        add_line(settings, option, &text, err);
        if (!text) return err->status;
    }
    if (settings->count == settings->room) {
        int room = settings->room ? 2 * settings->room : 16;
        struct job_setting *grown = realloc(settings->items, (size_t)room * sizeof *grown);
        if (!grown) {
            free(text);
            return error_memory(err, (size_t)room * sizeof *grown, "the options");
        }
        settings->items = grown;
        settings->room = room;
    }
    settings->items[settings->count++] = (struct job_setting){option, text};
    return STATUS_OK;
}

void settings_clear(struct settings *settings)
{
    for (int i = 0; i < settings->count; i++)
        free(settings->items[i].text);
    free(settings->items);
    *settings = (struct settings){0};
}

// How messages name a setting: "--name", or "FILE: key 'name'".
static void name_setting(const struct settings *settings, const struct option *option,
                         char where[WHERE_CHARS])
{
    if (settings->path)
        snprintf(where, WHERE_CHARS, "%.300s: key '%s'", settings->path, option->name);
    else
        snprintf(where, WHERE_CHARS, "--%s", option->name);
}

// Different options for the same thing.  In a file also the same one twice, written with '-' and with '_'.
static bool contradict(const struct settings *settings, const struct option *a, const struct option *b)
{
    if (a == b) return settings->path || a->kind == OPTION_FILE;
    return option_in_job_file(a) && option_in_job_file(b) && a->offset == b->offset;
}

static enum status check_contradictions(const struct settings *settings, struct error *err)
{
    for (int i = 0; i < settings->count; i++)
        for (int j = 0; j < i; j++) {
            const struct option *a = settings->items[j].option, *b = settings->items[i].option;
            if (!contradict(settings, a, b)) continue;
            char where[WHERE_CHARS];
            name_setting(settings, a, where);
            return error_set(err, STATUS_USAGE, "%s contradicts %s%s; give one of them, see ssmsweep --help",
                             where, settings->path ? "" : "--", b->name);
        }
    return STATUS_OK;
}

// ---- the command line ----

static enum status unknown_option(const char *shown, size_t shown_length, const char *name, size_t length,
                                  struct error *err)
{
    const char *nearest = option_nearest(name, length);
    if (!nearest)
        return error_set(err, STATUS_USAGE, "unknown option '%.*s'; see ssmsweep --help", (int)shown_length,
                         shown);
    return error_set(err, STATUS_USAGE, "unknown option '%.*s': did you mean '--%s'? see ssmsweep --help",
                     (int)shown_length, shown, nearest);
}

// May the next word be an argument?  "-1" may: layers count from the end.
static bool is_argument(const char *word)
{
    return word && (word[0] != '-' || word[1] == '\0' || (word[1] >= '0' && word[1] <= '9'));
}

// `inline_text` follows a '=', or is NULL; then the argument is *at + 1, and *at moves onto it.
static enum status add_option(struct settings *settings, const struct option *option, const char *inline_text,
                              char **argv, int *at, struct error *err)
{
    const char *text = inline_text ? inline_text : "true";
    if (inline_text && !option_takes_argument(option))
        return error_set(err, STATUS_USAGE, "--%s: takes no argument, got '%.64s'; see ssmsweep --help",
                         option->name, inline_text);
    if (!inline_text && option_takes_argument(option)) {
        if (!is_argument(argv[*at + 1]))
            return error_set(err, STATUS_USAGE, "--%s: expected an argument, %s; see ssmsweep --help",
                             option->name, option->argument);
        text = argv[++*at];
    }
    return add(settings, option, strdup(text), err);
}

static enum status add_dashed(struct settings *settings, char **argv, int *at, struct error *err)
{
    const char *word = argv[*at];
    if (word[1] != '-') {
        const struct option *option = word[2] == '\0' ? option_find_letter(word[1]) : NULL;
        if (!option) return unknown_option(word, strlen(word), word + 1, strlen(word + 1), err);
        return add_option(settings, option, NULL, argv, at, err);
    }
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    const struct option *option = option_find_for(name, length, settings->command);
    if (!option) return unknown_option(word, length + 2, name, length, err);
    return add_option(settings, option, name[length] ? name + length + 1 : NULL, argv, at, err);
}

static bool holds(const struct settings *settings, const char *name)
{
    const struct option *option = option_find_for(name, strlen(name), settings->command);
    for (int i = 0; i < settings->count; i++)
        if (settings->items[i].option == option) return true;
    return false;
}

static enum status unknown_command(const char *word, struct error *err)
{
    const char *nearest = command_nearest(word);
    return error_set(err, STATUS_USAGE, "unknown command '%.64s'%s%s%s see ssmsweep --help", word,
                     nearest ? ": did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : ";");
}

// The positional arguments of the line, for the option that the command says: one word, or several as a list.
struct positional {
    const struct command_entry *command;
    const char *first_word; // where it is no command
    char *text;
};

static enum status add_positional(struct positional *positional, const char *word, struct error *err)
{
    const struct command_entry *command = positional->command;
    const struct option *target =
        command->target ? option_find_for(command->target, strlen(command->target), command->command) : NULL;
    const bool takes_several = target && (target->kind == OPTION_LIST || target->kind == OPTION_LINES);
    if (!target || (positional->text && !takes_several))
        return error_set(err, STATUS_USAGE, "unexpected argument '%.64s': '%s' takes %s; see ssmsweep --help",
                         word, command->name, target ? "one" : "none");
    size_t used = positional->text ? strlen(positional->text) : 0, room = used + strlen(word) + 2;
    char *grown = realloc(positional->text, room);
    if (!grown) return error_memory(err, room, "the arguments");
    snprintf(grown + used, room - used, "%s%s", !used ? "" : target->kind == OPTION_LIST ? "," : "\n", word);
    positional->text = grown;
    return STATUS_OK;
}

// The first word is the command; any other word is that of `run`, a model's name.
static enum status read_word(struct settings *settings, struct positional *positional, const char *word,
                             struct error *err)
{
    if (settings->command == COMMAND_HELP && !settings->topic) {
        settings->topic = word;
        return command_find(word) || strcmp(word, HELP_ALL) == 0 ? STATUS_OK : unknown_command(word, err);
    }
    if (positional->command) return add_positional(positional, word, err);
    positional->command = command_find(word);
    if (!positional->command) {
        positional->command = command_find(command_name(COMMAND_RUN));
        positional->first_word = word;
        add_positional(positional, word, err);
    }
    settings->command = positional->command->command;
    return err->status;
}

// Everything that begins with '-' up to "--" is an option; the first other word is the command.
static enum status read_words(struct settings *settings, int argc, char **argv, struct positional *positional,
                              struct error *err)
{
    bool options_end = false;
    for (int i = 1; i < argc && !err->status; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1]) {
            if (add_dashed(settings, argv, &i, err)) break;
            const struct option *last = settings->items[settings->count - 1].option;
            if (last->kind != OPTION_COMMAND) continue;
            settings->command = last->command;
            if (!settings->topic && !positional->first_word)
                settings->topic = positional->command ? positional->command->name : NULL;
            return STATUS_OK;
        } else {
            read_word(settings, positional, argv[i], err);
        }
    }
    return err->status;
}

// Without --pretrained_dir an unknown first word is a command that was mistyped.
static enum status apply_positional(struct settings *settings, struct positional *positional,
                                    struct error *err)
{
    const char *target = positional->command->target;
    char *text = positional->text;
    if (positional->first_word && !holds(settings, "pretrained_dir"))
        return unknown_command(positional->first_word, err);
    if (holds(settings, target))
        return error_set(err, STATUS_USAGE,
                         "--%s contradicts the argument '%.64s'; give one of them, see ssmsweep --help",
                         target, text);
    positional->text = NULL;
    settings->model_by_name = strcmp(target, "model") == 0;
    return add(settings, option_find_for(target, strlen(target), settings->command), text, err);
}

enum status settings_from_line(struct settings *settings, int argc, char **argv, struct error *err)
{
    struct settings found = {.command = COMMAND_RUN};
    struct positional positional = {0};
    if (read_words(&found, argc, argv, &positional, err)) goto clear;
    if (found.command == COMMAND_HELP || found.command == COMMAND_VERSION) {
        const enum command command = found.command;
        const char *topic = found.topic;
        settings_clear(&found);
        found.command = command;
        found.topic = topic;
    } else if (positional.text && apply_positional(&found, &positional, err)) {
        goto clear;
    }
    if (check_contradictions(&found, err)) goto clear;
    free(positional.text);
    *settings = found;
    return STATUS_OK;
clear:
    free(positional.text);
    settings_clear(&found);
    return err->status;
}

// ---- the job file ----

static const char *expected_kind(const struct option *option)
{
    switch (option->kind) {
    case OPTION_DOUBLE:
        return option->word ? "a number, or a string" : "a number";
    case OPTION_INT:
        return "a number";
    case OPTION_BYTES:
        return "a number, or a string as \"5G\"";
    case OPTION_TEXT:
    case OPTION_CHOICE:
    case OPTION_LINES:
        return "a string";
    case OPTION_LIST:
        return "a string, or an array of strings or numbers";
    case OPTION_INT_LIST:
        return "a number, or an array of numbers";
    default:
        return "true or false";
    }
}

// A scalar as text, behind what `list` already holds; false if it is neither string nor number, or memory is
// out.
static bool append_scalar(char **list, const struct json *value, bool strings, bool numbers)
{
    char digits[NUMBER_ROOM];
    const char *text = json_is_number(value) && numbers
                           ? number_text(json_number(value), NUMBER_EXACT, digits)
                       : strings ? json_string(value)
                                 : NULL;
    if (!text) return false;
    size_t used = *list ? strlen(*list) : 0, room = used + strlen(text) + 2;
    char *grown = realloc(*list, room);
    if (!grown) return false;
    snprintf(grown + used, room - used, "%s%s", used ? "," : "", text);
    *list = grown;
    return true;
}

// The value as the command line would spell it; NULL if it is of the wrong kind.
static char *value_text(const struct option *option, const struct json *value)
{
    bool list = option->kind == OPTION_LIST || option->kind == OPTION_INT_LIST;
    bool bytes = option->kind == OPTION_BYTES;
    bool number = option->kind == OPTION_INT || option->kind == OPTION_DOUBLE || bytes;
    bool string = option->kind == OPTION_TEXT || option->kind == OPTION_CHOICE ||
                  option->kind == OPTION_LINES || bytes || (option->kind == OPTION_DOUBLE && option->word);
    if (!option_takes_argument(option))
        return json_is_bool(value) ? strdup(json_bool(value) ? "true" : "false") : NULL;
    char *text = NULL;
    bool good = true;
    if (list && json_is_array(value)) {
        text = strdup("");
        for (const struct json *item = json_first(value); item && good; item = json_next(item))
            good = append_scalar(&text, item, option->kind == OPTION_LIST, true);
    } else {
        good = append_scalar(&text, value, list || string, list || number);
    }
    if (good) return text;
    free(text);
    return NULL;
}

// "logits": false is --no-logits; so a stored job has it.  NULL: no such option, or no such value.
static const struct option *find_opposite(const struct json *value)
{
    char name[64];
    const int length = snprintf(name, sizeof name, "no-%s", json_key(value));
    const struct option *option = length < (int)sizeof name ? option_find(name, (size_t)length) : NULL;
    return option && option->kind == OPTION_FLAG && json_is_bool(value) ? option : NULL;
}

// To `compare` a job's layers and components are those of its sweep: it has others on its line alone.
static const struct option *find_key(const struct settings *settings, const char *key)
{
    return settings->command == COMMAND_COMPARE ? option_find(key, strlen(key))
                                                : option_find_for(key, strlen(key), settings->command);
}

static enum status add_member(struct settings *settings, const struct json *value, struct error *err)
{
    const struct option *opposite = find_opposite(value);
    if (opposite) return add(settings, opposite, strdup(json_bool(value) ? "false" : "true"), err);
    const char *key = json_key(value);
    const struct option *option = find_key(settings, key);
    if (!option || !option_in_job_file(option)) {
        const char *nearest = option ? NULL : option_nearest(key, strlen(key));
        return error_set(err, STATUS_USAGE, "%s: unknown key '%.64s'%s%s%s see ssmsweep --help",
                         settings->path, key, nearest ? ": did you mean '" : "", nearest ? nearest : "",
                         nearest ? "'?" : ";");
    }
    if (json_is_null(value)) return STATUS_OK; // as if it were not there
    char *text = value_text(option, value);
    if (!text)
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected %s; correct the job file", settings->path,
                         key, expected_kind(option));
    bool unset = !option_takes_argument(option) && option->kind != OPTION_FLAG && strcmp(text, "false") == 0;
    if (!unset) return add(settings, option, text, err);
    free(text);
    return STATUS_OK;
}

enum status settings_from_file(struct settings *settings, enum command command, const char *path,
                               struct error *err)
{
    struct json *root;
    if (json_read_file(&root, path, err)) return err->status;
    struct settings found = {.path = path, .command = command};
    if (!json_is_object(root))
        error_set(err, STATUS_INPUT, "%s: expected a JSON object with options as keys", path);
    for (const struct json *value = json_first(root); value && !err->status; value = json_next(value))
        add_member(&found, value, err);
    if (err->status || check_contradictions(&found, err))
        settings_clear(&found);
    else
        *settings = found;
    json_close(root);
    return err->status;
}

// ---- into the job ----

const char *settings_find_file(const struct settings *settings)
{
    for (int i = 0; i < settings->count; i++)
        if (settings->items[i].option->kind == OPTION_FILE) return settings->items[i].text;
    return NULL;
}

enum status settings_apply(const struct settings *settings, struct job *job, struct error *err)
{
    for (int i = 0; i < settings->count; i++) {
        const struct job_setting *setting = &settings->items[i];
        char where[WHERE_CHARS];
        name_setting(settings, setting->option, where);
        bool applies = setting->option->commands & 1u << job->command;
        if (!applies && !settings->path)
            return error_set(err, STATUS_USAGE, "%s: does not apply to '%s'; see ssmsweep --help", where,
                             command_name(job->command));
        if (applies && option_store(setting->option, setting->text, where, job, err)) return err->status;
    }
    return STATUS_OK;
}
