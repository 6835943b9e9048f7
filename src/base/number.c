// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/number.h"

#include <stdio.h>
#include <stdlib.h>

const char *number_text(double value, int digits, char text[NUMBER_ROOM])
{
    snprintf(text, NUMBER_ROOM, "%.*g", digits, value);
    return text;
}

const char *number_shortest(double value, char text[NUMBER_ROOM])
{
    for (int digits = 6; digits <= NUMBER_EXACT; digits++)
        if (number_read(number_text(value, digits, text), NULL) == value) break;
    return text;
}

double number_read(const char *text, char **end)
{
    return strtod(text, end);
}
