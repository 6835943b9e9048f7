// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/stop.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

// A signal handler can reach nothing else.
static volatile sig_atomic_t caught;

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"},
};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static void note(int number)
{
    if (caught && number == SIGINT) { // Ctrl-C twice: somebody has no patience
        signal(number, SIG_DFL);
        raise(number);
    }
    if (!caught) caught = number;
}

void stop_catch(void)
{
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (int s = 0; s < SIGNALS; s++) {
        struct sigaction before;
        // What is ignored stays so: nohup has the end of a terminal ignored.
        if (sigaction(signals[s].number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[s].number, &action, NULL);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void stop_hear(struct stop *stop, int signal)
{
    if (stop->signal || !signal) return;
    stop->signal = signal;
    stop->since = now();
}

bool stop_wanted(struct stop *stop)
{
    stop_hear(stop, caught);
    return stop->signal != 0;
}

bool stop_overdue(struct stop *stop, double graces)
{
    return stop_wanted(stop) && now() - stop->since >= graces * stop->grace_seconds;
}

const char *stop_signal_name(int signal)
{
    for (int s = 0; s < SIGNALS; s++)
        if (signals[s].number == signal) return signals[s].name;
    return "a signal";
}
