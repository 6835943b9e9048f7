// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <stdlib.h>
#include <time.h>

#include "ssmsweep/base/thread.h"

enum { MAX_LOADS = 4, MAX_RUNS = 1000, LEAST_RUNS = 2 };

static double read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

double clock_seconds(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

double processor_seconds(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

static double time_run(const struct load *load)
{
    const clockid_t clock = load->team ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID;
    const double started = read_clock(clock);
    load->run(load->context);
    return read_clock(clock) - started;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void measure(struct load *loads, int count, double seconds)
{
    static const double shortest = 1e-9; // no run takes no time
    double times[MAX_LOADS][MAX_RUNS];
    int runs = 0;
    for (int i = 0; i < count; i++)
        loads[i].run(loads[i].context);
    const double end = clock_seconds() + seconds;
    while (runs < LEAST_RUNS || (runs < MAX_RUNS && clock_seconds() < end)) {
        for (int i = 0; i < count; i++) {
            const double time = time_run(&loads[i]);
            times[i][runs] = time > shortest ? time : shortest;
        }
        runs++;
    }
    for (int i = 0; i < count; i++) {
        qsort(times[i], (size_t)runs, sizeof times[i][0], compare_doubles);
        loads[i].best_seconds = times[i][0];
        loads[i].median_seconds = times[i][runs / 2];
        loads[i].runs = runs;
    }
}

double load_rate(const struct load *load)
{
    return load->work / load->best_seconds;
}

void load_lengthen(const struct load *load, long *rounds)
{
    static const double enough = 0.5e-3;
    const long most = 1L << 30;
    while (time_run(load) < enough && *rounds < most)
        *rounds *= 2;
}
