// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

// A signal handler can reach nothing else.
static volatile sig_atomic_t caught, speaks;
// Monotonic milliseconds: when the process that started this one sent SIGCONT, and how much later SIGTERM.
static _Atomic long long continued, left;

// Shares of the time until a launcher kills: for running items, and as much again for reports; the rest is
// for the file.
enum { LAUNCHER_SHARES = 3, LONGEST_MILLISECONDS = 100 * 1000 };

static const struct {
    int number;
    const char *name;
} signals[] = {
    {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"},
};
enum { SIGNALS = sizeof signals / sizeof signals[0] };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

// Open MPI's launcher, told to end, sends SIGCONT at once, SIGTERM after a time, and SIGKILL after as long
// again.  SIGCONT alone means nothing: it also follows Ctrl-Z.
static void note_launcher(int number)
{
    // The newline in front ends the line of the progress.
    static const char line[] =
        "\nssmsweep: mpirun ends this run (Ctrl-C, a signal, or a rank that was lost) and kills it soon; "
        "what is stored stays, the same command with --resume does the rest\n";
    const long long milliseconds = (long long)(1e3 * now());
    if (number == SIGCONT) {
        continued = milliseconds;
    } else if (number == SIGTERM && continued > 0 && milliseconds - continued < LONGEST_MILLISECONDS) {
        left = milliseconds - continued + 1;
        if (speaks && write(STDERR_FILENO, line, sizeof line - 1) < 0) return; // nobody reads it
    }
}

static void note(int number, siginfo_t *info, void *unused)
{
    const int interrupted = errno;
    (void)unused;
    if (info->si_code <= 0 && info->si_pid == getppid()) note_launcher(number);
    errno = interrupted;
    if (number == SIGCONT) return;
    if (caught && number == SIGINT) { // Ctrl-C twice: somebody has no patience
        signal(number, SIG_DFL);
        raise(number);
    }
    if (!caught) caught = number;
}

void stop_catch(bool first_rank)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_RESTART | SA_SIGINFO};
    speaks = first_rank;
    sigemptyset(&action.sa_mask);
    sigaction(SIGCONT, &action, NULL);
    for (int s = 0; s < SIGNALS; s++) {
        struct sigaction before;
        // What is ignored stays so: nohup has the end of a terminal ignored.
        if (sigaction(signals[s].number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[s].number, &action, NULL);
    }
}

void stop_silence(void)
{
    speaks = false;
}

bool stop_is_ended(void)
{
    const long long milliseconds = (long long)(1e3 * now());
    return left > 0 || (continued > 0 && milliseconds - continued < LONGEST_MILLISECONDS);
}

void stop_note(struct stop *stop, int signal)
{
    if (stop->signal || !signal) return;
    stop->signal = signal;
    stop->since = now();
}

bool stop_wanted(struct stop *stop)
{
    stop_note(stop, caught);
    return stop->signal != 0;
}

bool stop_overdue(struct stop *stop, double graces)
{
    const double share = 1e-3 * (double)left / LAUNCHER_SHARES;
    if (left > 0 && share < stop->grace_seconds) stop->grace_seconds = share;
    return stop_wanted(stop) && now() - stop->since >= graces * stop->grace_seconds;
}

const char *stop_signal_name(int signal)
{
    for (int s = 0; s < SIGNALS; s++)
        if (signals[s].number == signal) return signals[s].name;
    return "a signal";
}
