// SPDX-License-Identifier: Apache-2.0
// What the user wrote, on the command line or in a job file, as (option, text) pairs in order: not yet
// converted.
#ifndef SSMSWEEP_INPUT_SETTINGS_H
#define SSMSWEEP_INPUT_SETTINGS_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/option.h"

struct job_setting {
    const struct option *option;
    char *text;
};

// In caller memory, zeroed before use; freed by settings_clear().
struct settings {
    const char *path; // of the job file; NULL: command line
    enum command command;
    const char *topic;  // of COMMAND_HELP: a command, HELP_ALL, or NULL
    bool model_by_name; // see struct job
    struct job_setting *items;
    int count, room;
};

// Local.  Stops at --help and --version: then `command` says so, `topic` what stood in front or behind
// `help`, and there are no settings.  STATUS_USAGE: unknown command or option (nearest one named), argument
// missing or not wanted, options that contradict each other.
enum status settings_from_line(struct settings *settings, int argc, char **argv, struct error *err);

// Local.  STATUS_INPUT: no JSON object, value of the wrong kind.  STATUS_USAGE: unknown key (nearest one
// named), keys that contradict each other.
enum status settings_from_file(struct settings *settings, enum command command, const char *path,
                               struct error *err);

const char *settings_find_file(const struct settings *settings); // --job, or NULL

// Stores the settings in the job, which keeps pointing into them.  What does not apply to job->command is an
// error on the command line; a job file may serve several commands.  STATUS_USAGE: bad value.
enum status settings_apply(const struct settings *settings, struct job *job, struct error *err);
void settings_clear(struct settings *settings);

#endif
