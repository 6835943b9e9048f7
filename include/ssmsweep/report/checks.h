// SPDX-License-Identifier: Apache-2.0
// What gates and baselines found: a list of checks, each good or with one line that says why not.
#ifndef SSMSWEEP_REPORT_CHECKS_H
#define SSMSWEEP_REPORT_CHECKS_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"

struct check {
    const char *kind; // "gate" or "baseline"
    bool good;
    char name[200];
    char text[400]; // empty where good
};

// In caller memory, zeroed before use; freed by checks_clear().
struct checks {
    struct check *items;
    int count, room;
};

enum status checks_add(struct checks *checks, const struct check *check, struct error *err);
int checks_broken(const struct checks *checks);
void checks_clear(struct checks *checks);

#endif
