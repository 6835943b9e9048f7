// SPDX-License-Identifier: Apache-2.0
// Numbers as text and back: the one pair for what is written into files and read from users and files. Always
// with a decimal point: the threads are settled (thread.h).
#ifndef SSMSWEEP_BASE_NUMBER_H
#define SSMSWEEP_BASE_NUMBER_H

enum { NUMBER_ROOM = 40, NUMBER_EXACT = 17 };

// `value` with so many significant digits, at least 1; every double comes back from NUMBER_EXACT of them.
// Gives `text`.
const char *number_text(double value, int digits, char text[NUMBER_ROOM]);

// The shortest of 6 digits and more that is read back as the same number.
const char *number_shortest(double value, char text[NUMBER_ROOM]);

// The number at the beginning of `text`, as strtod() takes it; *end (may be NULL) points behind it.
double number_read(const char *text, char **end);

#endif
