// SPDX-License-Identifier: Apache-2.0
// Makes manual pages and completion scripts from the tables that the program itself parses by:
//   ssmsweep_manual page docs/man/run.scd       a whole page for scdoc on standard output; prose comes from
//   the file ssmsweep_manual completion bash|zsh|fish    a completion script ssmsweep_manual commands the
//   names of the commands, a line each
// A page's file has what people write, sections of scdoc; a line "@options" stands for the options of the
// command of that name, "@commands" for the table of commands, "@keys" for the keys of a job file.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "completion.h"
#include "ssmsweep/input/option.h"

enum { LINE_ROOM = 1024 };

// scdoc takes * _ \ and some others as its own; lines of a help text become one.
static void put_text(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n') {
            putchar(' ');
            continue;
        }
        if (strchr("\\*_<>#~`[]|", *text)) putchar('\\');
        putchar(*text);
    }
}

// A sentence of a table begins small and has no full stop.
static void put_sentence(const char *text)
{
    put_text(text);
    puts(text[0] && text[strlen(text) - 1] == '.' ? "" : ".");
}

static void put_option(const struct option *option)
{
    putchar('\n');
    if (option->letter) printf("*-%c*, ", option->letter);
    fputs("*--", stdout);
    put_text(option->name);
    putchar('*');
    if (option->argument) {
        putchar(' ');
        putchar('_');
        put_text(option->argument);
        putchar('_');
    }
    fputs("\n\t", stdout);
    put_sentence(option->help);
}

// Those that apply to a command, or (NULL) to every one; by group.
static void put_options(const struct command_entry *command)
{
    unsigned wanted = command ? 1u << command->command : 0;
    for (int c = 0; !command && c < command_count(); c++)
        wanted |= 1u << command_at(c)->command;
    for (int group = 0; group < GROUP_COUNT; group++) {
        bool titled = false;
        for (int i = 0; i < option_count(); i++) {
            const struct option *option = option_at(i);
            if (option->group != (enum option_group)group || (option->commands & wanted) != wanted) continue;
            if (!titled && command) {
                printf("\n## ");
                put_text(option_group_title((enum option_group)group));
                putchar('\n');
            }
            titled = true;
            put_option(option);
        }
    }
}

static void put_commands(void)
{
    for (int c = 0; c < command_count(); c++) {
        const struct command_entry *command = command_at(c);
        printf("\n*");
        put_text(command->name);
        putchar('*');
        if (command->arguments) {
            putchar(' ');
            put_text(command->arguments);
        }
        fputs("\n\t", stdout);
        put_text(command->help);
        if (command->command != COMMAND_HELP && command->command != COMMAND_VERSION)
            printf("; see *ssmsweep-%s*(1)", command->name);
        puts(".");
    }
}

static const char *kind_of_value(const struct option *option)
{
    switch (option->kind) {
    case OPTION_INT:
    case OPTION_DOUBLE:
        return option->word ? "number or string" : "number";
    case OPTION_BYTES:
        return "number or string";
    case OPTION_INT_LIST:
        return "number or array of numbers";
    case OPTION_LIST:
        return "string or array";
    case OPTION_TEXT:
    case OPTION_CHOICE:
    case OPTION_LINES:
        return "string";
    default:
        return "true or false";
    }
}

static void put_keys(void)
{
    const unsigned sweeps = 1u << COMMAND_RUN | 1u << COMMAND_SAVE | 1u << COMMAND_COMPARE |
                            1u << COMMAND_ATTRIBUTE | 1u << COMMAND_REPORT;
    for (int i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        if (!option_in_job_file(option) || !(option->commands & sweeps)) continue;
        printf("\n*");
        put_text(option->name);
        printf("*: %s\n\t", kind_of_value(option));
        put_sentence(option->help);
    }
}

static void put_head(const struct command_entry *command)
{
    printf("ssmsweep-%s(1)\n\n# NAME\n\nssmsweep-%s - ", command->name, command->name);
    put_text(command->help);
    printf("\n\n# SYNOPSIS\n\n*ssmsweep %s*", command->name);
    if (command->arguments) {
        putchar(' ');
        put_text(command->arguments);
    }
    puts(" \\[OPTION...\\]\n");
    if (command->target) {
        fputs("The argument is the same as *--", stdout);
        put_text(command->target);
        puts("*.\n");
    }
}

static void put_tail(void)
{
    puts("\n# EXIT STATUS\n\nThose of *ssmsweep*(1).\n\n# SEE ALSO\n\n*ssmsweep*(1), *ssmsweep.json*(5)");
}

static void copy_prose(FILE *in, const struct command_entry *command)
{
    char line[LINE_ROOM];
    while (fgets(line, sizeof line, in)) {
        if (strcmp(line, "@options\n") == 0)
            put_options(command);
        else if (strcmp(line, "@commands\n") == 0)
            put_commands();
        else if (strcmp(line, "@keys\n") == 0)
            put_keys();
        else
            fputs(line, stdout);
    }
}

// "docs/man/import-npy.scd" -> the command of that name; NULL: a page of its own.
static const struct command_entry *command_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char name[64];
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    char *dot = strstr(name, ".scd");
    if (dot) *dot = '\0';
    return command_find(name);
}

static int page(const char *path)
{
    FILE *in = fopen(path, "r");
    if (!in) {
        perror(path);
        return EXIT_FAILURE;
    }
    const struct command_entry *command = command_of(path);
    if (command) put_head(command);
    copy_prose(in, command);
    if (command) put_tail();
    fclose(in);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    int status = EXIT_FAILURE;
    if (argc == 3 && strcmp(argv[1], "page") == 0) {
        status = page(argv[2]);
    } else if (argc == 2 && strcmp(argv[1], "commands") == 0) {
        for (int c = 0; c < command_count(); c++)
            puts(command_at(c)->name);
        status = EXIT_SUCCESS;
    } else if (argc == 3 && strcmp(argv[1], "completion") == 0 && completion_print(stdout, argv[2])) {
        status = EXIT_SUCCESS;
    } else {
        fputs("usage: ssmsweep_manual page FILE.scd | completion bash|zsh|fish | commands\n", stderr);
    }
    return fflush(stdout) ? EXIT_FAILURE : status;
}
