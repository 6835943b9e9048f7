// SPDX-License-Identifier: Apache-2.0
// Completion scripts of the shells, from the tables of commands, options, modes, metrics and families.
#ifndef SSMSWEEP_TOOLS_MANUAL_COMPLETION_H
#define SSMSWEEP_TOOLS_MANUAL_COMPLETION_H

#include <stdbool.h>
#include <stdio.h>

// Local.  shell: "bash", "zsh" or "fish"; false: another.
bool completion_print(FILE *out, const char *shell);

#endif
