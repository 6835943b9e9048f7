// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const double TERMINAL_SECONDS = 0.2;

double progress_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void progress_start(struct progress *progress, const char *phase, int total, double seconds, bool quiet)
{
    bool terminal = seconds < 0 && isatty(STDERR_FILENO);
    double now = progress_clock();
    *progress = (struct progress){.phase = phase,
                                  .total = total,
                                  .started = now,
                                  .shown = now,
                                  .interval_seconds = terminal ? TERMINAL_SECONDS : seconds,
                                  .terminal = terminal};
    if (quiet) progress->interval_seconds = -1;
}

static void show(struct progress *progress, double now)
{
    char line[160];
    double spent = now - progress->started, rate = spent > 0 ? progress->done / spent : 0;
    double left = rate > 0 ? (progress->total - progress->done) / rate : 0;
    int n = snprintf(line, sizeof line, "%sssmsweep: %s %d/%d items, %.1f items/s, %.0f s left%s",
                     progress->terminal ? "\r" : "", progress->phase, progress->done, progress->total, rate,
                     left, progress->terminal ? "\033[K" : "\n");
    if (n > 0) fwrite(line, 1, (size_t)n, stderr);
    progress->shown = now;
}

void progress_step(struct progress *progress, int items)
{
    progress->done += items;
    if (progress->interval_seconds < 0) return;
    double now = progress_clock();
    if (now - progress->shown >= progress->interval_seconds) show(progress, now);
}

void progress_end(struct progress *progress)
{
    if (progress->interval_seconds < 0) return;
    show(progress, progress_clock());
    if (progress->terminal) fputc('\n', stderr);
}
