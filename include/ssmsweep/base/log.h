// SPDX-License-Identifier: Apache-2.0
// Two kinds of line on stderr: once per job (rank 0 speaks), and per rank with "[rank N] " in front.
#ifndef SSMSWEEP_BASE_LOG_H
#define SSMSWEEP_BASE_LOG_H

enum log_level { LOG_QUIET = -1, LOG_ERROR = 0, LOG_NORMAL = 1, LOG_VERBOSE = 2 };

// Caller-owned settings, passed down; there is no global logger.  LOG_QUIET still prints errors.
struct log {
    enum log_level level;
    int rank;
    int ranks;
};

// One line for the whole job: printed by rank 0 only, when `level` <= log->level.  Local.
void log_job(const struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// One line of this rank, "[rank N] ..." (no prefix if there is a single rank).  Local.
void log_rank(const struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// What a reader has to tell of a file that it took: how it resolved a contradiction, what it left out.  In
// caller memory, zeroed before use; copied as a value.
enum { NOTES_MOST = 12, NOTE_CHARS = 400 };
struct notes {
    int count;
    char lines[NOTES_MOST][NOTE_CHARS];
};

// Local.  Adds a line, cut to NOTE_CHARS, unless it is there already; beyond NOTES_MOST lines nothing.
void notes_add(struct notes *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Local.  Each as a line of the job, at LOG_NORMAL.
void notes_log(const struct log *log, const struct notes *notes);

#endif
