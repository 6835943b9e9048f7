// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/help.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "ssmsweep/input/option.h"

enum { HELP_COLUMN = 30, PAGE = 100 };

// Words from column `indent` to the edge of the page, *column being where the line stands.  Line breaks of
// the text are blanks.
static void print_words(FILE *out, const char *text, int indent, int *column)
{
    for (text += strspn(text, " \n"); *text; text += strspn(text, " \n")) {
        const int length = (int)strcspn(text, " \n"), blanks = *column == indent ? 0 : 1;
        if (*column > indent && *column + blanks + length > PAGE) {
            fprintf(out, "\n%*s%.*s", indent, "", length, text);
            *column = indent + length;
        } else {
            fprintf(out, "%*s%.*s", blanks, "", length, text);
            *column += blanks + length;
        }
        text += length;
    }
}

// `left` in the left column, `help` in the right one.
static void print_entry(FILE *out, const char *left, const char *help)
{
    int width = fprintf(out, "%s", left), column = HELP_COLUMN;
    if (width > HELP_COLUMN - 2) {
        fputc('\n', out);
        width = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - (width < 0 ? 0 : width), "");
    print_words(out, help, HELP_COLUMN, &column);
    fputc('\n', out);
}

static void print_paragraph(FILE *out, const char *text)
{
    int column = 0;
    print_words(out, text, 0, &column);
    fputc('\n', out);
}

static void print_option(FILE *out, const struct option *option, const char *help)
{
    char left[128], letter[8] = "    ";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "  %s--%s%s%s", letter, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    print_entry(out, left, help);
}

// Those that apply to a command of the mask; brief: those used most, a line each.
static void print_options(FILE *out, unsigned commands, bool brief)
{
    if (brief) fputs("\nOptions used most:\n", out);
    for (int group = 0; group < GROUP_COUNT; group++) {
        bool titled = brief;
        for (int i = 0; i < option_count(); i++) {
            const struct option *option = option_at(i);
            if (option->group != (enum option_group)group || !(option->commands & commands) ||
                (brief && !option->brief))
                continue;
            if (!titled) fprintf(out, "\n%s:\n", option_group_title((enum option_group)group));
            titled = true;
            print_option(out, option, brief ? option->brief : option->help);
        }
    }
}

static void print_command(FILE *out, const struct command_entry *command)
{
    fprintf(out, "Usage: ssmsweep %s%s%s [OPTION...]\n\n%c%s.\n", command->name,
            command->arguments ? " " : "", command->arguments ? command->arguments : "",
            toupper((unsigned char)command->help[0]), command->help + 1);
    if (command->target) fprintf(out, "The argument is the same as --%s.\n", command->target);
    print_options(out, 1u << command->command, false);
    fputs("\n`ssmsweep help` has all commands, and what their exit status means.\n", out);
}

static void print_commands(FILE *out)
{
    fputs("Usage: ssmsweep [COMMAND] [OPTION...]\n"
          "       mpirun -n RANKS ssmsweep [COMMAND] [OPTION...]\n\n",
          out);
    print_paragraph(
        out,
        "Runs a Mamba model in a float reference and in quantized modes over calibration text, keeps the "
        "outputs of the chosen layers, and compares every mode with the reference.");
    fputs("\nCommands:\n", out);
    for (int i = 0; i < command_count(); i++) {
        const struct command_entry *command = command_at(i);
        char left[128];
        snprintf(left, sizeof left, "  %s %s", command->name, command->arguments ? command->arguments : "");
        print_entry(out, left, command->help);
    }
}

void help_print(FILE *out, const char *topic)
{
    const bool all = topic && strcmp(topic, HELP_ALL) == 0;
    if (topic && !all) {
        print_command(out, command_find(topic));
        return;
    }
    print_commands(out);
    print_options(out, ~0u, !all);
    fputc('\n', out);
    print_paragraph(
        out,
        "`ssmsweep help COMMAND` has the options of one command, `ssmsweep help all` every option.  In their "
        "names `-` and `_` are the same.");
    print_paragraph(
        out,
        "Environment: SSMSWEEP_ISA=avx512|avxvnni|avx2|scalar chooses the instruction set (default: the "
        "fastest here; info --machine lists them), OMP_NUM_THREADS the threads where --threads does not.");
    print_paragraph(
        out, "Exit status: 0 done, 1 a gate failed, 2 bad usage, 3 bad input, 4 I/O failed, 5 stopped early "
             "(--resume continues), 6 another run writes to the result file, 70 internal error.");
}
