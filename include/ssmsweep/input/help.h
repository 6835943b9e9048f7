// SPDX-License-Identifier: Apache-2.0
// What --help prints, from the tables of commands and options (option.h).
#ifndef SSMSWEEP_INPUT_HELP_H
#define SSMSWEEP_INPUT_HELP_H

#include <stdio.h>

#define HELP_ALL "all" // the topic of every option

// Local.  topic NULL: the commands and the options used most, on one screen; HELP_ALL: every option; else
// the options of that command, which must be one.
void help_print(FILE *out, const char *topic);

#endif
