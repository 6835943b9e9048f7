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

#endif
