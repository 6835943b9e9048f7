// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "ssmsweep/base/team.h"

#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// Longer than most steps between two parallel ones, shorter than what a sleep and a wake-up cost together
// where the cores are busy.
static const double SPIN_SECONDS = 50e-6, ACTIVE_SECONDS = 0.1;
enum { LOOKS_PER_CLOCK = 16, PARTS_BITS = 16 };

struct member {
    struct team *team;
    pthread_t thread;
    int index; // the caller of team_run() is number 0
};

struct team {
    double spin_seconds;
    // A round is one team_run().  Its number and parts travel in one word, so that who comes late sees both
    // of the same round; body and context are read only after a part of it was taken, which keeps it open.
    _Atomic uint64_t round; // number << PARTS_BITS | parts
    team_body body;
    void *context;
    _Atomic uint64_t taken[TEAM_MOST_PARTS]; // number of the last round in which this part was taken
    atomic_int left;                         // parts that are not done
    atomic_bool ends;
    // those who sleep
    pthread_mutex_t lock;
    pthread_cond_t begins, done;
    atomic_int sleepers; // members
    atomic_bool awaited; // by the caller
    int n_members;       // without the caller
    struct member members[];
};

// ---- parts ----

static uint64_t number_of(uint64_t round)
{
    return round >> PARTS_BITS;
}

static int parts_of(uint64_t round)
{
    return (int)(round & ((1u << PARTS_BITS) - 1));
}

static bool take(struct team *team, uint64_t round, int part)
{
    uint64_t last = atomic_load(&team->taken[part]);
    return last < number_of(round) &&
           atomic_compare_exchange_strong(&team->taken[part], &last, number_of(round));
}

static void end_part(struct team *team)
{
    if (atomic_fetch_sub(&team->left, 1) != 1 || !atomic_load(&team->awaited)) return;
    pthread_mutex_lock(&team->lock);
    pthread_cond_signal(&team->done);
    pthread_mutex_unlock(&team->lock);
}

// Own part first, then whatever nobody has.
static void do_parts(struct team *team, uint64_t round, int index)
{
    const int parts = parts_of(round);
    for (int i = 0; i < parts; i++) {
        const int part = (index + i) % parts;
        if (!take(team, round, part)) continue;
        team->body(team->context, part);
        end_part(team);
    }
}

// ---- waiting ----

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

typedef bool (*condition)(struct team *team, uint64_t round);

static bool has_begun(struct team *team, uint64_t round)
{
    return atomic_load(&team->round) != round || atomic_load(&team->ends);
}

static bool is_done(struct team *team, uint64_t round)
{
    (void)round;
    return atomic_load(&team->left) == 0;
}

static bool spin(struct team *team, condition holds, uint64_t round)
{
    if (holds(team, round)) return true;
    if (team->spin_seconds <= 0) return false;
    for (const double end = now() + team->spin_seconds; now() < end;)
        for (int i = 0; i < LOOKS_PER_CLOCK; i++) {
            if (holds(team, round)) return true;
            relax();
        }
    return false;
}

static void await_round(struct team *team, uint64_t round)
{
    if (spin(team, has_begun, round)) return;
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->sleepers, 1); // before the look: who begins a round looks in the other order
    while (!has_begun(team, round))
        pthread_cond_wait(&team->begins, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
}

static void await_parts(struct team *team)
{
    if (spin(team, is_done, 0)) return;
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->awaited, true);
    while (!is_done(team, 0))
        pthread_cond_wait(&team->done, &team->lock);
    atomic_store(&team->awaited, false);
    pthread_mutex_unlock(&team->lock);
}

static void wake(struct team *team, int members)
{
    if (atomic_load(&team->sleepers) == 0) return;
    pthread_mutex_lock(&team->lock);
    if (members >= team->n_members)
        pthread_cond_broadcast(&team->begins);
    else
        for (int i = 0; i < members; i++)
            pthread_cond_signal(&team->begins);
    pthread_mutex_unlock(&team->lock);
}

static void *follow(void *context)
{
    thread_settle();
    const struct member *member = context;
    struct team *team = member->team;
    uint64_t round = 0;
    while (!atomic_load(&team->ends)) {
        await_round(team, round);
        round = atomic_load(&team->round);
        do_parts(team, round, member->index);
    }
    return NULL;
}

// ---- the team ----

void team_run(struct team *team, int parts, team_body body, void *context)
{
    if (parts < 1) return;
    if (parts == 1 || team->n_members == 0) {
        for (int part = 0; part < parts; part++)
            body(context, part);
        return;
    }
    const uint64_t number = number_of(atomic_load(&team->round)) + 1;
    team->body = body;
    team->context = context;
    atomic_store(&team->left, parts);
    atomic_store(&team->round, number << PARTS_BITS | (uint64_t)parts);
    wake(team, parts - 1);
    do_parts(team, atomic_load(&team->round), 0);
    await_parts(team);
}

struct division {
    int grains, parts, grain, count;
    team_range body;
    void *context;
};

static void run_range(void *context, int part)
{
    const struct division *d = context;
    const long begin = (long)d->grains * part / d->parts * d->grain;
    const long end = (long)d->grains * (part + 1) / d->parts * d->grain;
    d->body(d->context, part, (int)begin, end < d->count ? (int)end : d->count);
}

void team_divide(struct team *team, int parts, int count, int grain, team_range body, void *context)
{
    const int grains = count / grain + (count % grain > 0);
    struct division division = {grains, parts < grains ? parts : grains, grain, count, body, context};
    if (division.parts <= 1)
        body(context, 0, 0, count);
    else
        team_run(team, division.parts, run_range, &division);
}

static double choose_spin(void)
{
    const char *policy = getenv("OMP_WAIT_POLICY");
    if (policy && strcasecmp(policy, "passive") == 0) return 0;
    if (policy && strcasecmp(policy, "active") == 0) return ACTIVE_SECONDS;
    return SPIN_SECONDS;
}

static void start_members(struct team *team, int wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
    for (; team->n_members < wanted; team->n_members++) {
        struct member *member = &team->members[team->n_members];
        *member = (struct member){.team = team, .index = team->n_members + 1};
        if (pthread_create(&member->thread, NULL, follow, member) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

enum status team_open(struct team **team, int threads, struct error *err)
{
    const int members = threads > 1 ? threads - 1 : 0;
    struct team *made = calloc(1, sizeof *made + (size_t)members * sizeof made->members[0]);
    if (!made) return error_memory(err, sizeof *made, "the threads");
    made->spin_seconds = choose_spin();
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->begins, NULL);
    pthread_cond_init(&made->done, NULL);
    start_members(made, members);
    *team = made;
    return STATUS_OK;
}

void team_close(struct team *team)
{
    if (!team) return;
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->ends, true);
    pthread_cond_broadcast(&team->begins);
    pthread_mutex_unlock(&team->lock);
    for (int i = 0; i < team->n_members; i++)
        pthread_join(team->members[i].thread, NULL);
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->begins);
    pthread_mutex_destroy(&team->lock);
    free(team);
}

// ---- thread ----

void thread_settle(void)
{
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); // a constant of libc: nothing to free
    fesetenv(FE_DFL_ENV);
    if (plain) uselocale(plain);
}

// ---- cores ----

enum { LINE_ROOM = 8192, PATH_ROOM = 3 * PATH_MAX };

// ---- the files of a group ----

// The first line of FOLDER/NAME.
static bool read_line(const char *folder, const char *name, char line[LINE_ROOM])
{
    char path[PATH_ROOM];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return false;
    FILE *file = fopen(path, "r");
    if (!file) return false;
    const bool read = fgets(line, LINE_ROOM, file) != NULL;
    fclose(file);
    return read;
}

// Version 2: "50000 100000", or "max 100000".  Version 1: two files, the quota -1 where there is none.
static double quota_of(const char *folder, bool version_2)
{
    char line[LINE_ROOM], *behind;
    if (!read_line(folder, version_2 ? "cpu.max" : "cpu.cfs_quota_us", line)) return 0;
    const long long quota = strtoll(line, &behind, 10);
    if (behind == line || quota <= 0) return 0;
    if (!version_2 && !read_line(folder, "cpu.cfs_period_us", behind = line)) return 0;
    const long long period = strtoll(behind, NULL, 10);
    return period > 0 ? (double)quota / (double)period : 0;
}

// `folder` and those around it, up to where the hierarchy is mounted.
static void look_upwards(char *folder, size_t mount, bool version_2, struct cores_quota *tightest)
{
    for (;;) {
        struct stat group;
        const double cores = quota_of(folder, version_2);
        if (cores > 0 && (tightest->cores <= 0 || cores < tightest->cores) && stat(folder, &group) == 0)
            *tightest = (struct cores_quota){cores, group.st_dev, group.st_ino};
        char *end = strrchr(folder, '/');
        if (!end || (size_t)(end - folder) < mount) return;
        *end = '\0';
    }
}

// ---- where it is ----

static bool has_word(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (; *list; list += list[strcspn(list, ",")] == ',') {
        const size_t n = strcspn(list, ",\n");
        if (n == length && strncmp(list, word, n) == 0) return true;
        list += strcspn(list, ",");
    }
    return false;
}

// The path of this process in a hierarchy, as in "4:cpu,cpuacct:/docker/1a2b" or "0::/user.slice".
static bool find_group(const char *root, bool version_2, char path[LINE_ROOM])
{
    char name[PATH_ROOM], line[LINE_ROOM];
    bool found = false;
    snprintf(name, sizeof name, "%s/proc/self/cgroup", root);
    FILE *file = fopen(name, "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        char *controllers = strchr(line, ':'), *at = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!at) continue;
        *at++ = '\0';
        found = version_2 ? strncmp(line, "0:", 2) == 0 && !controllers[1] : has_word(controllers + 1, "cpu");
        at[strcspn(at, "\n")] = '\0';
        memmove(path, at, strlen(at) + 1);
    }
    if (file) fclose(file);
    return found;
}

// A line of mountinfo: "31 23 0:26 ROOT POINT rw ... - TYPE SOURCE OPTIONS".
static bool read_mount(char *line, bool version_2, char **mounted, char **point)
{
    char *dash = strstr(line, " - "), *rest, *type, *options = NULL;
    if (!dash) return false;
    *dash = '\0';
    type = strtok_r(dash + 3, " \n", &rest);
    if (strtok_r(NULL, " \n", &rest)) options = strtok_r(NULL, " \n", &rest);
    if (!type || strcmp(type, version_2 ? "cgroup2" : "cgroup") != 0) return false;
    if (!version_2 && (!options || !has_word(options, "cpu"))) return false;
    for (int skipped = 0; skipped < 3; skipped++)
        if (!strtok_r(skipped ? NULL : line, " ", &rest)) return false;
    *mounted = strtok_r(NULL, " ", &rest);
    *point = strtok_r(NULL, " ", &rest);
    return *mounted && *point;
}

// What of `path` lies below the part of the hierarchy that is mounted; a container may see nothing above it.
static const char *below(const char *path, const char *mounted)
{
    const size_t length = strcmp(mounted, "/") == 0 ? 0 : strlen(mounted);
    const bool inside = strncmp(path, mounted, length) == 0 && (path[length] == '/' || !path[length]);
    return inside && !strstr(path, "/..") && strcmp(path + length, "/") != 0 ? path + length : "";
}

static void look(const char *root, bool version_2, struct cores_quota *tightest)
{
    char name[PATH_ROOM], line[LINE_ROOM], group[LINE_ROOM], folder[PATH_ROOM], *mounted, *point;
    if (!find_group(root, version_2, group)) return;
    snprintf(name, sizeof name, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(name, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (!read_mount(line, version_2, &mounted, &point)) continue;
        if (snprintf(folder, sizeof folder, "%s%s%s", root, point, below(group, mounted)) <
            (int)sizeof folder)
            look_upwards(folder, strlen(root) + strlen(point), version_2, tightest);
        break;
    }
    if (file) fclose(file);
}

struct cores_quota cores_quota(const char *root)
{
    struct cores_quota tightest = {0};
    look(root, true, &tightest);
    look(root, false, &tightest);
    return tightest;
}

int cores_usable(void)
{
    cpu_set_t mine;
    const double quota = cores_quota("").cores;
    int cores =
        sched_getaffinity(0, sizeof mine, &mine) == 0 ? CPU_COUNT(&mine) : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (quota > 0 && quota < cores) cores = (int)quota;
    return cores > 1 ? cores : 1;
}
