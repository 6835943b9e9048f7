// SPDX-License-Identifier: Apache-2.0
// Between the sources of the bisection.
#ifndef SSMSWEEP_REPORT_BISECT_PARTS_H
#define SSMSWEEP_REPORT_BISECT_PARTS_H

#include <stdio.h>

#include "ssmsweep/recipe/parts.h"
#include "ssmsweep/report/bisect.h"

// What was tried: some pieces mended.
struct bisect_step {
    bool *mended; // [pieces]
    const struct mode *mode;
    int sweep; // from 1
    struct interval interval;
    bool enough;
};

enum bisect_answer {
    BISECT_NOTHING,     // the mode is at the limit as it is
    BISECT_UNREACHABLE, // not even with every piece mended
    BISECT_ONE,         // a piece alone
    BISECT_TOGETHER     // none alone: several
};

struct bisect {
    struct trials trials;
    struct parts parts; // items: those in which mode and target differ, [parts.count]
    const struct mode *mode, *toward;
    struct recipe mode_recipe, toward_recipe;
    double limit;       // of the metric
    double limit_error; // the error that it is
    struct bisect_step *steps;
    int n_steps, steps_room;
    bool *found; // [pieces]: the answer
    enum bisect_answer answer;
    struct noise_floor floor;
};

const char *bisect_answer_name(enum bisect_answer answer); // "nothing", "unreachable", "one", "together"
// The step in which just these pieces were mended; NULL: none.
const struct bisect_step *bisect_find_step(const struct bisect *b, const bool *mended);
// Is the metric surely at the limit: with its whole interval, and by more than the noise?
bool bisect_is_sure(const struct bisect *b, const struct bisect_step *step);

// Local.  "layers 0-11", "scan:u of layer 3 + scan:y", for people; cut where the room ends.  Gives `text`
// back.
const char *bisect_pieces_text(const struct bisect *b, const bool *mended, char *text, size_t room);
void bisect_print(const struct bisect *b, FILE *out);
enum status bisect_write(const struct bisect *b, struct error *err);

#endif
