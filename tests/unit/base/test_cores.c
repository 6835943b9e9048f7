// SPDX-License-Identifier: Apache-2.0
// CPU quotas of containers, of both versions of control groups.
#include "../support.h"

#include <sys/stat.h>

#include "ssmsweep/base/team.h"

static char root[] = "cores_test_XXXXXX";

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    return system(command);
}

static void put(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *at = strchr(path, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(path, 0777);
        *at = '/';
    }
    write_whole(path, text, strlen(text));
}

static const char v2_mount[] = "24 1 0:22 / /proc rw - proc proc rw\n30 23 0:26 / /sys/fs/cgroup rw,nosuid "
                               "shared:9 - cgroup2 cgroup2 rw\n";

static double cores(void)
{
    return cores_quota(root).cores;
}

static void nothing_known(void **state)
{
    (void)state;
    assert_true(cores() == 0);
    assert_true(cores_usable() >= 1);
}

static void version_2(void **state)
{
    (void)state;
    put("proc/self/mountinfo", v2_mount);
    put("proc/self/cgroup", "0::/a.slice/b\n");
    put("sys/fs/cgroup/a.slice/b/cpu.max", "max 100000\n");
    assert_true(cores() == 0);
    put("sys/fs/cgroup/a.slice/b/cpu.max", "50000 100000\n");
    assert_true(cores() == 0.5);
    put("sys/fs/cgroup/a.slice/cpu.max", "400000 100000\n"); // the tighter one counts
    assert_true(cores() == 0.5);
    put("sys/fs/cgroup/a.slice/cpu.max", "10000 40000\n");
    assert_true(cores() == 0.25);
    put("sys/fs/cgroup/a.slice/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a.slice/b/cpu.max", "250000 100000\n");
    assert_true(cores() == 2.5);
    // A container that sees its own group as the root.
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.max", "150000 100000\n");
    assert_true(cores() == 1.5);
    put("proc/self/cgroup", "0::/../../elsewhere\n");
    assert_true(cores() == 1.5);
}

static void version_1(void **state)
{
    (void)state;
    put("proc/self/mountinfo",
        "40 30 0:30 / /sys/fs/cgroup/set rw - cgroup cgroup rw,cpuset\n"
        "41 30 0:31 /docker/1a /sys/fs/cgroup/cpu,cpuacct rw master:3 - cgroup cgroup rw,cpu,cpuacct\n");
    put("proc/self/cgroup", "5:cpuset:/docker/1a\n4:cpu,cpuacct:/docker/1a/job\n0::/\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    assert_true(cores() == 0);
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "300000\n");
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    assert_true(cores() == 3);
    put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n");
    assert_true(cores() == 0.5);
}

// The group tells processes that share a quota from those that have one each.
static void groups_differ(void **state)
{
    (void)state;
    put("proc/self/mountinfo", v2_mount);
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/x/cpu.max", "50000 100000\n");
    put("sys/fs/cgroup/y/cpu.max", "50000 100000\n");
    put("proc/self/cgroup", "0::/x\n");
    const struct cores_quota x = cores_quota(root), again = cores_quota(root);
    put("proc/self/cgroup", "0::/y\n");
    const struct cores_quota y = cores_quota(root);
    assert_true(x.device == again.device && x.group == again.group);
    assert_true(x.cores == y.cores && x.group != y.group);
}

static void broken_files(void **state)
{
    (void)state;
    put("sys/fs/cgroup/x/cpu.max", "-5 100000\n");
    put("proc/self/cgroup", "0::/x\n");
    assert_true(cores() == 0);
    put("sys/fs/cgroup/x/cpu.max", "50000\n");
    assert_true(cores() == 0);
    put("sys/fs/cgroup/x/cpu.max", "");
    put("proc/self/cgroup", "no colon\n\n0:");
    put("proc/self/mountinfo", "\n1 2 - \n - cgroup2\n1 2 3 - cgroup2 x rw\n");
    assert_true(cores() == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_known), cmocka_unit_test(version_2),    cmocka_unit_test(version_1),
        cmocka_unit_test(groups_differ), cmocka_unit_test(broken_files),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
