// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "ssmsweep/base/cores.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
