// SPDX-License-Identifier: Apache-2.0
#include "completion.h"

#include <stdio.h>
#include <string.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/input/help.h"
#include "ssmsweep/input/option.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"

enum { WORDS_ROOM = 4096 };

// What may stand behind an option, or be the argument of a command.
enum value_kind { VALUE_NONE, VALUE_ANY, VALUE_WORDS, VALUE_LIST, VALUE_FOLDER, VALUE_FILE };
struct value {
    enum value_kind kind;
    char words[WORDS_ROOM]; // blank separated, of VALUE_WORDS and VALUE_LIST
};

static void add_word(struct value *value, const char *word)
{
    const size_t used = strlen(value->words), length = strlen(word);
    for (const char *at = value->words; (at = strstr(at, word)); at += length) // once
        if ((at == value->words || at[-1] == ' ') && strchr(" ", at[length])) return;
    snprintf(value->words + used, WORDS_ROOM - used, "%s%s", used ? " " : "", word);
}

static void add_words(struct value *value, const char *words, char divider)
{
    while (*words) {
        const char *end = strchr(words, divider);
        const int length = end ? (int)(end - words) : (int)strlen(words);
        char word[64];
        snprintf(word, sizeof word, "%.*s", length, words);
        add_word(value, word);
        words += length + (end != NULL);
    }
}

static void add_modes(struct value *value)
{
    for (int i = 0; i < mode_count(); i++)
        add_word(value, mode_at(i)->name);
}

static void add_components(struct value *value)
{
    for (int a = 0; arch_at(a); a++)
        for (int c = 0; c < arch_at(a)->n_components; c++)
            add_word(value, arch_at(a)->components[c].name);
    add_word(value, "all");
}

static void add_units(struct value *value)
{
    for (int a = 0; arch_at(a); a++)
        for (int u = 0; u < arch_at(a)->units.count; u++)
            add_word(value, arch_at(a)->units.of[u].name);
}

static void add_observers(struct value *value)
{
    for (int kind = 0; kind < OBSERVER_COUNT; kind++)
        add_word(value, observer_name((enum observer)kind));
}

static void add_formats_of_weights(struct value *value)
{
    for (int format = FORMAT_NONE + 1; format < FORMATS; format++)
        if (format_is_of_weights((enum format)format)) add_word(value, format_name((enum format)format));
}

static void add_metrics(struct value *value)
{
    for (int metric = 0; metric < METRICS; metric++)
        add_word(value, metric_table[metric].name);
}

static bool is(const struct option *option, const char *name)
{
    return strcmp(option->name, name) == 0;
}

static void fill_by_name(const struct option *option, struct value *value)
{
    const bool list = option->kind == OPTION_LIST;
    value->kind = list ? VALUE_LIST : VALUE_WORDS;
    if (option->word && option->kind != OPTION_WORD)
        add_words(value, option->word, '|');
    else if (is(option, "layers") || is(option, "at"))
        add_words(value, list ? "first last all" : "first last", ' ');
    else if (is(option, "components"))
        add_components(value);
    else if (is(option, "observer"))
        add_observers(value);
    else if (is(option, "units"))
        add_units(value);
    else if (is(option, "weights"))
        add_formats_of_weights(value);
    else if (is(option, "gate"))
        add_words(value, "mode= layer= component= calib_data_num=", ' '), add_metrics(value);
    else if (is(option, "metric"))
        add_metrics(value);
    else if (is(option, "modes") || is(option, "mode") || strcmp(option->argument, "MODE") == 0)
        add_modes(value);
    else
        value->kind = VALUE_ANY;
    if (list && is(option, "modes")) add_words(value, "all essential fp_only quant_only", ' ');
}

static void fill(const struct option *option, struct value *value)
{
    *value = (struct value){VALUE_NONE, ""};
    if (!option_takes_argument(option)) return;
    if (strncmp(option->argument, "DIR", 3) == 0)
        value->kind = VALUE_FOLDER;
    else if (strncmp(option->argument, "FILE", 4) == 0 || strstr(option->argument, ".json"))
        value->kind = VALUE_FILE;
    else
        fill_by_name(option, value);
}

// What the arguments of a command are.
static void fill_argument(const struct command_entry *command, struct value *value)
{
    *value = (struct value){VALUE_NONE, ""};
    if (command->command == COMMAND_HELP) {
        value->kind = VALUE_WORDS;
        for (int i = 0; i < command_count(); i++)
            add_word(value, command_at(i)->name);
        add_word(value, HELP_ALL);
        return;
    }
    if (!command->target) return;
    fill(option_find_for(command->target, strlen(command->target), command->command), value);
    if (value->kind == VALUE_LIST) value->kind = VALUE_WORDS; // words of their own
    if (command->arguments && strchr(command->arguments, '.') && value->kind != VALUE_WORDS)
        value->kind = VALUE_FILE; // RESULT.h5|DIR
}

static bool applies(const struct option *option, const struct command_entry *command)
{
    return option->commands & 1u << command->command;
}

// ---- bash ----

static void bash_action(FILE *out, const struct value *value)
{
    static const char *const actions[] = {[VALUE_NONE] = ":",
                                          [VALUE_ANY] = ":",
                                          [VALUE_WORDS] = "_ssmsweep_words",
                                          [VALUE_LIST] = "_ssmsweep_list",
                                          [VALUE_FOLDER] = "_ssmsweep_folders",
                                          [VALUE_FILE] = "_ssmsweep_files"};
    fputs(actions[value->kind], out);
    if (value->words[0]) fprintf(out, " '%s'", value->words);
}

static void bash_values(FILE *out)
{
    struct value value;
    fputs("    case $command:${prev//_/-} in\n", out);
    for (int i = 0; i < option_count(); i++) {
        const struct option *option = option_at(i);
        char name[64];
        if (!option_takes_argument(option)) continue;
        snprintf(name, sizeof name, "%s", option->name);
        for (char *c = name; *c; c++)
            if (*c == '_') *c = '-';
        const char *between = "    ";
        for (int c = 0; c < command_count(); c++)
            if (applies(option, command_at(c))) {
                fprintf(out, "%s%s:--%s", between, command_at(c)->name, name);
                between = "|";
            }
        fill(option, &value);
        fputs(") ", out);
        bash_action(out, &value);
        fputs("; return ;;\n", out);
    }
    fputs("    esac\n", out);
}

static void bash_commands(FILE *out)
{
    struct value value;
    fputs("    case $command in\n", out);
    for (int c = 0; c < command_count(); c++) {
        const struct command_entry *command = command_at(c);
        fprintf(out, "    %s)\n        if [[ $cur == -* ]]; then _ssmsweep_words '", command->name);
        const char *between = "";
        for (int i = 0; i < option_count(); i++)
            if (applies(option_at(i), command)) {
                fprintf(out, "%s--%s", between, option_at(i)->name);
                between = " ";
            }
        fill_argument(command, &value);
        fputs("'; return; fi\n        ", out);
        bash_action(out, &value);
        fputs(" ;;\n", out);
    }
    fputs("    esac\n", out);
}

static void command_names(FILE *out, const char *between)
{
    for (int c = 0; c < command_count(); c++)
        fprintf(out, "%s%s", c ? between : "", command_at(c)->name);
}

static void print_bash(FILE *out)
{
    fputs("# bash completion for ssmsweep; made from its tables of commands and options.\n"
          "_ssmsweep_words() { COMPREPLY+=($(compgen -W \"$1\" -- \"$cur\")); }\n"
          "_ssmsweep_folders() { COMPREPLY+=($(compgen -d -- \"$cur\")); compopt -o filenames; }\n"
          "_ssmsweep_files() { COMPREPLY+=($(compgen -f -- \"$cur\")); compopt -o filenames; }\n"
          "_ssmsweep_list() { # the next word of a comma list\n"
          "    local head=\n"
          "    [[ $cur == *,* ]] && head=${cur%,*},\n"
          "    COMPREPLY+=($(compgen -P \"$head\" -W \"$1\" -- \"${cur##*,}\"))\n"
          "    compopt -o nospace\n}\n"
          "_ssmsweep() {\n"
          "    # The line, not COMP_WORDS, which bash cuts at : and = as well.\n"
          "    local line=${COMP_LINE:0:COMP_POINT} command=run named= cur prev word colon\n"
          "    COMPREPLY=()\n"
          "    cur=${line##* } prev=${line% *} prev=${prev%\"${prev##*[! ]}\"} prev=${prev##* }\n"
          "    if [[ $cur == --*=* ]]; then prev=${cur%%=*} cur=${cur#*=}; fi\n"
          "    _ssmsweep_fill\n"
          "    [[ $cur == *:* && $COMP_WORDBREAKS == *:* ]] && colon=${cur%\"${cur##*:}\"} &&\n"
          "        COMPREPLY=(\"${COMPREPLY[@]#\"$colon\"}\")\n"
          "    return 0\n}\n"
          "_ssmsweep_fill() {\n"
          "    for word in ${line% *}; do\n        case $word in\n        ",
          out);
    command_names(out, "|");
    fputs(") command=$word named=1; break ;;\n        esac\n    done\n", out);
    bash_values(out);
    fputs("    if [[ -z $named && $cur != -* ]]; then _ssmsweep_words '", out);
    command_names(out, " ");
    fputs("'; fi\n", out);
    bash_commands(out);
    fputs("}\ncomplete -F _ssmsweep ssmsweep\n", out);
}

// ---- zsh ----

// The first line of help, for a shell that quotes with ' and takes [ ] and : as its own.
static void zsh_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr("[]:\\", *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void zsh_action(FILE *out, const struct value *value)
{
    if (value->kind == VALUE_WORDS)
        fprintf(out, "compadd - %s", value->words);
    else if (value->kind == VALUE_LIST)
        fprintf(out, "_sequence compadd - %s", value->words);
    else
        fputs(value->kind == VALUE_FOLDER ? "_files -/" : value->kind == VALUE_FILE ? "_files" : " ", out);
}

static void zsh_option(FILE *out, const struct option *option)
{
    struct value value;
    const bool again = option->kind == OPTION_LINES;
    fill(option, &value);
    fprintf(out, "      '%s--%s%s[", again ? "*" : "", option->name, value.kind ? "=" : "");
    zsh_text(out, option->help);
    fputs("]", out);
    if (value.kind) {
        fputs(":", out);
        zsh_text(out, option->argument);
        fputs(":", out);
        zsh_action(out, &value);
    }
    fputs("' \\\n", out);
}

static void print_zsh(FILE *out)
{
    fputs("#compdef ssmsweep\n# zsh completion for ssmsweep; made from its tables of commands and options.\n"
          "_ssmsweep_commands() {\n  local -a commands=(\n",
          out);
    for (int c = 0; c < command_count(); c++) {
        fprintf(out, "    '%s:", command_at(c)->name);
        zsh_text(out, command_at(c)->help);
        fputs("'\n", out);
    }
    fputs("  )\n  _describe command commands\n}\n"
          "_ssmsweep() {\n  local curcontext=$curcontext command=run named= word\n"
          "  for word in ${words[2,CURRENT-1]}; do\n    case $word in\n    ",
          out);
    command_names(out, "|");
    fputs(") command=$word named=1; break ;;\n    esac\n  done\n"
          "  [[ -z $named && $words[CURRENT] != -* ]] && _ssmsweep_commands\n  case $command in\n",
          out);
    for (int c = 0; c < command_count(); c++) {
        struct value value;
        fprintf(out, "  %s)\n    _arguments \\\n", command_at(c)->name);
        for (int i = 0; i < option_count(); i++)
            if (applies(option_at(i), command_at(c))) zsh_option(out, option_at(i));
        fill_argument(command_at(c), &value);
        fputs("      '*: :", out);
        zsh_action(out, &value);
        fputs("' ;;\n", out);
    }
    fputs("  esac\n}\n_ssmsweep \"$@\"\n", out);
}

// ---- fish ----

static void fish_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') fputc('\\', out);
        fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void fish_action(FILE *out, const struct value *value)
{
    if (value->kind == VALUE_WORDS)
        fprintf(out, " -a '%s'", value->words);
    else if (value->kind == VALUE_LIST)
        fprintf(out, " -a '(__fish_append , %s)'", value->words);
    else if (value->kind == VALUE_FOLDER)
        fputs(" -a '(__fish_complete_directories)'", out);
    else if (value->kind == VALUE_FILE)
        fputs(" -F", out);
}

static void fish_option(FILE *out, const struct option *option)
{
    struct value value;
    fputs("complete -c ssmsweep -n '__ssmsweep_in", out);
    for (int c = 0; c < command_count(); c++)
        if (applies(option, command_at(c))) fprintf(out, " %s", command_at(c)->name);
    fprintf(out, "' -l %s", option->name);
    if (option->letter) fprintf(out, " -s %c", option->letter);
    fill(option, &value);
    if (value.kind) fputs(" -r", out);
    fish_action(out, &value);
    fputs(" -d '", out);
    fish_text(out, option->help);
    fputs("'\n", out);
}

static void print_fish(FILE *out)
{
    fputs("# fish completion for ssmsweep; made from its tables of commands and options.\n"
          "function __ssmsweep_command\n    for word in (commandline -opc)[2..]\n"
          "        if contains -- $word ",
          out);
    command_names(out, " ");
    fputs("\n            echo $word\n            return\n        end\n    end\n"
          "    test (count $argv) -eq 0; and echo run\nend\n"
          "function __ssmsweep_in\n    contains -- (__ssmsweep_command) $argv\nend\n"
          "complete -c ssmsweep -f\n",
          out);
    for (int c = 0; c < command_count(); c++) {
        struct value value;
        fprintf(out, "complete -c ssmsweep -n 'test -z (__ssmsweep_command -)' -a %s -d '",
                command_at(c)->name);
        fish_text(out, command_at(c)->help);
        fputs("'\n", out);
        fill_argument(command_at(c), &value);
        if (value.kind <= VALUE_ANY) continue;
        fprintf(out, "complete -c ssmsweep -n '__ssmsweep_in %s'", command_at(c)->name);
        fish_action(out, &value);
        fputs("\n", out);
    }
    for (int i = 0; i < option_count(); i++)
        fish_option(out, option_at(i));
}

bool completion_print(FILE *out, const char *shell)
{
    if (strcmp(shell, "bash") == 0)
        print_bash(out);
    else if (strcmp(shell, "zsh") == 0)
        print_zsh(out);
    else if (strcmp(shell, "fish") == 0)
        print_fish(out);
    else
        return false;
    return true;
}
