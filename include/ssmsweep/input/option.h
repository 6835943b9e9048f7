// SPDX-License-Identifier: Apache-2.0
// The table of commands and the table of options: the one source for command line, job file and --help.
// To add an option, add a row (and a member of struct job); to add a command, add a row and a bit.
#ifndef SSMSWEEP_INPUT_OPTION_H
#define SSMSWEEP_INPUT_OPTION_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/job.h"

enum option_kind {
    OPTION_FLAG,   // bool
    OPTION_INT,    // int within [least, most]
    OPTION_DOUBLE, // double within [least, most], or (least, most] with `above_least`; or -1, -2 ... for the
                   // words that `word` lists, divided by '|'
    OPTION_BYTES,  // long long within [least, most]: digits, maybe followed by K, M, G or T (powers of 1000)
    OPTION_CHOICE, // int: position of the argument among the words that `word` lists, divided by '|'
    OPTION_TEXT,   // const char *, not empty
    OPTION_LIST,   // const char *: comma list; an array in a job file
    OPTION_LINES,  // const char *: may be given again, each time a line of its own
    OPTION_INT_LIST, // calib_data_num and n_cells: sorted, without duplicates, each within [least, most]
    OPTION_WORD,     // takes no argument; stores `word` in a const char *
    OPTION_LEVEL,    // takes no argument; stores `level` in an enum log_level
    OPTION_COMMAND,  // takes no argument; stores `command`, and nothing else is looked at
    OPTION_FILE      // const char *: names the job file itself
};

enum option_group {
    GROUP_INPUT,
    GROUP_SWEEP,
    GROUP_OUTPUT,
    GROUP_STATISTICS,
    GROUP_ATTRIBUTE,
    GROUP_MIX,
    GROUP_SYNTH,
    GROUP_RUN,
    GROUP_BENCH,
    GROUP_GENERAL,
    GROUP_ADVANCED,
    GROUP_COUNT
};

struct option {
    const char *name; // without dashes; `-` and `_` are the same in it; also the key of the job file
    char letter;      // short form, or 0
    enum option_kind kind;
    enum option_group group;
    unsigned commands;    // mask of 1u << enum command: where it applies
    size_t offset;        // in struct job; unused by OPTION_COMMAND
    const char *argument; // placeholder for --help
    const char *help;     // one line, or several divided by '\n'
    const char *brief;    // one line for --help without a command; NULL: it is not there
    double least, most;
    bool above_least;
    const char *word;
    enum log_level level;
    enum command command;
};

struct command_entry {
    const char *name;
    enum command command;
    const char *arguments; // placeholder of its positional arguments; NULL: it takes none
    const char *target;    // the option that they set: one word, or a list where that is OPTION_LIST
    const char *help;
};

int option_count(void);
const struct option *option_at(int index);
const struct option *option_find(const char *name, size_t length); // NULL: no such option
// The row of that name that applies to the command, else the first: commands may give one name two meanings.
const struct option *option_find_for(const char *name, size_t length, enum command command);
const struct option *option_find_letter(char letter);
const char *option_nearest(const char *name,
                           size_t length); // nearest name by edit distance, NULL if none is near
const char *option_group_title(enum option_group group);
bool option_takes_argument(const struct option *option);
bool option_in_job_file(const struct option *option);

int command_count(void);
const struct command_entry *command_at(int index);
const struct command_entry *command_find(const char *name); // NULL: no such command
const char *command_nearest(const char *name);
const char *command_name(enum command command);

// Converts `text` and stores it in the job, which keeps pointing into `text`.  `where` starts the message.
// STATUS_USAGE: no number, out of range, empty.
enum status option_store(const struct option *option, const char *text, const char *where, struct job *job,
                         struct error *err);

#endif
