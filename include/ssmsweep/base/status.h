// SPDX-License-Identifier: Apache-2.0
// base/ is what any C program of this kind needs: status and words of errors, log, memory, files, JSON, NumPy
// arrays, hashes, random numbers, threads, signals.  It knows nothing of models, modes or sweeps, and no MPI;
// everybody uses it, and it uses the C library alone (json.c: cJSON, hash.c: OpenSSL).
//
// One status type for the whole program: the value is the exit status, the text is the one line that the
// user reads.  Who finds an error words it once, with error_set(); callers pass it on untouched.
#ifndef SSMSWEEP_BASE_STATUS_H
#define SSMSWEEP_BASE_STATUS_H

// The documented exit statuses; functions return them as well.
enum status {
    STATUS_OK = 0,        // done
    STATUS_GATE = 1,      // a gate failed
    STATUS_USAGE = 2,     // bad usage: option, mode, layer or key that does not exist
    STATUS_INPUT = 3,     // bad input: model, text, job or result file
    STATUS_IO = 4,        // I/O failed: disk full, no permission
    STATUS_STOPPED = 5,   // stopped early, --resume continues
    STATUS_BUSY = 6,      // another run, or another program, has the result file
    STATUS_INTERNAL = 70, // a defect of ssmsweep itself
};

// Caller-owned; `text` is a single line without a newline, empty while status is STATUS_OK.
struct error {
    enum status status;
    char text[1024];
};

// Fills *err (control characters become '?', too long a text is cut) and returns `status`, so that a
// function can say: return error_set(err, STATUS_INPUT, "%s: tensor '%s': expected ..., got ...; ...", ...).
// Word it: where, what, expected, got, remedy.  If *err already holds an error, the first one stays.
enum status error_set(struct error *err, enum status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// Shorthand for a failed system call: "WHERE: WHAT: strerror(errno)"; status is STATUS_IO.
enum status error_errno(struct error *err, const char *where, const char *what);

#define ERROR_MEMORY "out of memory" // its first words
// "out of memory: cannot get N bytes for WHAT"; status is STATUS_IO.
enum status error_memory(struct error *err, unsigned long long bytes, const char *what);

// ---- log ----

// Two kinds of line on stderr: once per job (rank 0 speaks), and per rank with "[rank N] " in front.

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
