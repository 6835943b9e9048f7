// SPDX-License-Identifier: Apache-2.0
// What a process makes of the signals by which a launcher ends it.
#include "../support.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/stop.h"

static void nap(long milliseconds)
{
    struct timespec time = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    while (nanosleep(&time, &time) != 0)
        ;
}

// In the child: what stop_catch() made of SIGCONT, and that it has run.
static struct sigaction on_continue;
static int handled;

static void tell_continue(int number, siginfo_t *info, void *context)
{
    on_continue.sa_sigaction(number, info, context);
    if (write(handled, "c", 1) != 1) _exit(255);
}

// In the child: waits for a wish to stop and gives the grace that it then has, in tenths of seconds.
static void follow(int ready)
{
    struct stop stop = {.grace_seconds = 20};
    stop_catch(true);
    handled = ready;
    sigaction(SIGCONT, NULL, &on_continue);
    struct sigaction telling = on_continue;
    telling.sa_sigaction = tell_continue;
    sigaction(SIGCONT, &telling, NULL);
    if (write(ready, "r", 1) != 1) _exit(255);
    while (!stop_wanted(&stop))
        nap(1);
    stop_overdue(&stop, 1);
    _exit((int)(10 * stop.grace_seconds));
}

// The child's exit status after these signals of its parent, with as long or longer between them; `said` is
// what it wrote.
static int send(const int *signals, int count, long milliseconds, char said[512])
{
    int ready[2], output[2], status;
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(output), 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(output[1], STDERR_FILENO);
        follow(ready[1]);
    }
    close(output[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    for (int i = 0; i < count; i++) {
        if (i > 0) nap(milliseconds);
        kill(child, signals[i]);
        // The child may be late to notice: the time counts from there.
        if (signals[i] == SIGCONT) assert_int_equal(read(ready[0], &byte, 1), 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    const ssize_t n = read(output[0], said, 511);
    said[n > 0 ? n : 0] = '\0';
    close(output[0]), close(ready[0]), close(ready[1]);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void ordinary_signals(void **state)
{
    (void)state;
    char said[512];
    assert_int_equal(send((const int[]){SIGTERM}, 1, 0, said), 200);
    assert_string_equal(said, "");
    assert_int_equal(send((const int[]){SIGCONT, SIGUSR1}, 2, 100, said),
                     200); // Ctrl-Z, fg, and later a wish
    assert_string_equal(said, "");
}

// mpirun kills as long after SIGTERM as that came after SIGCONT: a third of it may go to running items.
static void launcher_ends_it(void **state)
{
    (void)state;
    char said[512];
    const int grace = send((const int[]){SIGCONT, SIGTERM}, 2, 900, said);
    assert_in_range(grace, 3, 199); // on a busy machine the signals come later
    assert_non_null(strstr(said, "--resume"));
    assert_ptr_equal(strchr(said + 1, '\n'),
                     said + strlen(said) - 1); // it ends the line of the progress first
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ordinary_signals),
                                       cmocka_unit_test(launcher_ends_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
