// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/progress.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const double TERMINAL_SECONDS = 0.2;

double progress_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// Where mpirun hands on what the ranks say: is its own standard error a terminal?  Of a rank on another host
// the parent is a daemon, which has none.
static bool launcher_has_terminal(void)
{
    char path[40];
    if (!getenv("OMPI_COMM_WORLD_RANK")) return false;
    snprintf(path, sizeof path, "/proc/%ld/fd/2", (long)getppid());
    const int descriptor = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    const bool terminal = descriptor >= 0 && isatty(descriptor);
    if (descriptor >= 0) close(descriptor);
    return terminal;
}

void progress_start(struct progress *progress, const char *phase, int total, double seconds, bool quiet)
{
    const bool automatic = seconds == PROGRESS_AUTO && !quiet;
    const bool terminal =
        seconds == PROGRESS_ALWAYS || (automatic && (isatty(STDERR_FILENO) || launcher_has_terminal()));
    double now = progress_clock();
    *progress = (struct progress){.phase = phase,
                                  .total = total,
                                  .started = now,
                                  .shown = now,
                                  .interval_seconds = terminal ? TERMINAL_SECONDS : seconds,
                                  .terminal = terminal};
    if (quiet) progress->interval_seconds = -1;
}

static double share_done(const struct progress *progress)
{
    const double share = progress->all_work > 0 ? progress->work / progress->all_work
                         : progress->total > 0  ? (double)progress->done / progress->total
                                                : 1;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

void progress_write_time(char *text, size_t room, double seconds)
{
    if (seconds < 10)
        snprintf(text, room, "%.1f s", seconds);
    else if (seconds < 120)
        snprintf(text, room, "%.0f s", seconds);
    else if (seconds < 120 * 60)
        snprintf(text, room, "%.0f min", seconds / 60);
    else
        snprintf(text, room, "%.1f h", seconds / 3600);
}

// Before anything is done nobody knows what is left.
static void show(struct progress *progress, double now, bool ends)
{
    char line[200], time[32], left[48] = "";
    const double spent = now - progress->started, share = share_done(progress);
    progress_write_time(time, sizeof time, ends ? spent : spent * (1 - share) / (share > 0 ? share : 1));
    if (ends || share > 0) snprintf(left, sizeof left, ", %s%s", time, ends ? "" : " left");
    int n = snprintf(line, sizeof line, "%sssmsweep: %s %.0f %%, %d/%d items%s%s",
                     progress->terminal ? "\r" : "", progress->phase, 100 * share, progress->done,
                     progress->total, left, progress->terminal ? "\033[K" : "\n");
    if (n > 0) fwrite(line, 1, (size_t)n, stderr);
    progress->shown = now;
}

void progress_step(struct progress *progress, int items, double work)
{
    progress->done += items;
    progress->work += work;
    if (progress->interval_seconds < 0) return;
    double now = progress_clock();
    if (now - progress->shown >= progress->interval_seconds) show(progress, now, false);
}

void progress_end(struct progress *progress)
{
    if (progress->interval_seconds < 0) return;
    show(progress, progress_clock(), true);
    if (progress->terminal) fputc('\n', stderr);
}
