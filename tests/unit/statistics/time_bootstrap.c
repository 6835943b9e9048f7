// SPDX-License-Identifier: Apache-2.0
// Seconds of one core per (replicate, sample) of an entry, for the sizes of docs/statistics.md.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ssmsweep/base/random.h"
#include "ssmsweep/statistics/bootstrap.h"

enum { RUNS = 8, MAX_N = 512 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fill(double *table, int n, uint64_t stream)
{
    for (int c = 0; c < MOMENT_COLUMNS; c++)
        for (int i = 0; i < n; i++)
            table[c * n + i] = c < MOMENT_REF_SUM || c > MOMENT_DIFF_SUM
                                   ? 1 + random_uniform(stream, (uint64_t)(c * n + i))
                                   : random_normal(stream, (uint64_t)(c * n + i));
}

static void measure(const char *name, int n, struct change *changes)
{
    static double tables[RUNS][MOMENT_COLUMNS * MAX_N];
    const double *pointers[RUNS];
    struct interval intervals[RUNS];
    struct bootstrap *b = NULL;
    struct error err = {0};
    if (bootstrap_open(&b, 1, BOOTSTRAP_REPLICATES, n, RUNS, &err)) exit(2);
    for (int r = 0; r < RUNS; r++) {
        fill(tables[r], n, (uint64_t)r);
        pointers[r] = tables[r];
    }
    const struct metric *s = &metric_table[metric_find(name, strlen(name))];
    int repeats = 1 + 2000 / n;
    double start = seconds();
    for (int i = 0; i < repeats; i++)
        bootstrap_run(b, s, pointers, NULL, RUNS, intervals, changes);
    double each = (seconds() - start) / repeats / RUNS;
    printf("%-12s n %3d %s: %6.3f ms per run, %6.2f ns per replicate and sample\n", name, n,
           changes ? "with all pairs" : "values only   ", 1e3 * each, 1e9 * each / BOOTSTRAP_REPLICATES / n);
    bootstrap_close(b);
}

int main(void)
{
    static struct change changes[RUNS * (RUNS - 1) / 2];
    static const int sizes[] = {10, 100, MAX_N};
    for (int i = 0; i < 3; i++)
        for (int pairs = 0; pairs < 2; pairs++) {
            measure("mse", sizes[i], pairs ? changes : NULL);
            measure("correlation", sizes[i], pairs ? changes : NULL);
        }
    return 0;
}
