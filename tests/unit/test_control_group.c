#include "lib/unit.h"

#include "core/control_group.h"

#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder with a file of groups, and their folders under root/. */

static char folder[32];
static char groups[64];
static char root[64];
static struct control_group_files files = {groups, root};

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (char *slash = strchr(path + strlen(folder) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(path, 0700); /* may be there already */
        *slash = '/';
    }
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void setup(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/test_group.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(groups, sizeof(groups), "%s/groups", folder);
    (void)snprintf(root, sizeof(root), "%s/root", folder);
}

static void teardown(void)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* Version 2: the least of the group and those above it. */
START_TEST(group_of_version_2)
{
    setup();
    put("groups", "0::/outer/inner\n");
    put("root/outer/inner/cpu.max", "max 100000\n");
    ck_assert_uint_eq(control_group_processors(&files), UINT64_MAX);
    put("root/outer/cpu.max", "150000 100000\n");
    ck_assert_uint_eq(control_group_processors(&files), 1500);
    put("root/outer/inner/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(control_group_processors(&files), 500);
    put("root/cpu.max", "1000 100000\n");
    ck_assert_uint_eq(control_group_processors(&files), 10);
    put("root/outer/inner/memory.max", "3000\n");
    put("root/outer/memory.max", "max\n");
    ck_assert_uint_eq(control_group_memory(&files), 3000);
    put("root/memory.max", "2000\n");
    ck_assert_uint_eq(control_group_memory(&files), 2000);
    teardown();
}

END_TEST

/* Version 1: each controller has a tree of its own. */
START_TEST(group_of_version_1)
{
    setup();
    put("groups", "5:cpuset:/a\n4:memory:/a\n3:cpu,cpuacct:/a/b\n1:name=systemd:/a\n");
    put("root/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n");
    put("root/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(control_group_processors(&files), UINT64_MAX);
    put("root/cpu,cpuacct/a/cpu.cfs_quota_us", "250000\n");
    put("root/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(control_group_processors(&files), 2500);
    put("root/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    ck_assert_uint_eq(control_group_memory(&files), 9223372036854771712U);
    put("root/memory/a/memory.limit_in_bytes", "536870912\n");
    ck_assert_uint_eq(control_group_memory(&files), 536870912);
    /* Both versions at once: the less counts. */
    put("groups", "4:memory:/a\n0::/c\n");
    put("root/c/memory.max", "1000\n");
    ck_assert_uint_eq(control_group_memory(&files), 1000);
    teardown();
}

END_TEST

/* In a container the path is that of the host, and the root is the container's group. */
START_TEST(group_of_container)
{
    setup();
    put("groups", "7:memory:/docker/0123\n6:cpu,cpuacct:/docker/0123\n");
    put("root/memory/memory.limit_in_bytes", "4096\n");
    put("root/cpu,cpuacct/cpu.cfs_quota_us", "50000\n");
    put("root/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    ck_assert_uint_eq(control_group_memory(&files), 4096);
    ck_assert_uint_eq(control_group_processors(&files), 500);
    put("groups", "0::/../../kubepods/pod\n");
    put("root/memory.max", "8192\n");
    ck_assert_uint_eq(control_group_memory(&files), 8192);
    put("groups", "0::/\n");
    ck_assert_uint_eq(control_group_memory(&files), 8192);
    teardown();
}

END_TEST

/* What cannot be read or understood is no limit. */
START_TEST(group_that_says_nothing)
{
    static const char *const lines[] = {
        "", "\n", "x\n", "0:\n", "0::\n", "0::relative\n", "3:cpu\n", "3:cpu:\n", "3:cpus:/a\n",
    };
    static const char *const limits[] = {
        "",      "x",       "max\n",   "-5 100\n",
        "100\n", "100 x\n", "100 0\n", "99999999999999999999999 100000\n"};

    setup();
    ck_assert_uint_eq(control_group_memory(&files), UINT64_MAX);
    put("root/a/cpu.max", "100 100000\n");
    put("root/a/memory.max", "100\n");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        put("groups", lines[i]);
        ck_assert_uint_eq(control_group_memory(&files), UINT64_MAX);
        ck_assert_uint_eq(control_group_processors(&files), UINT64_MAX);
    }
    put("groups", "0::/a\n");
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        put("root/a/cpu.max", limits[i]);
        ck_assert_uint_eq(control_group_processors(&files), UINT64_MAX);
    }
    teardown();
}

END_TEST

/* Threads: what is paid for, rounded up, on the processors that may be used. */
START_TEST(group_pays_for_threads)
{
    cpu_set_t set;
    unsigned all;

    setup();
    ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
    all = (unsigned)CPU_COUNT(&set);
    ck_assert_uint_eq(control_group_threads(&files), all);
    put("groups", "0::/\n");
    put("root/cpu.max", "50000 100000\n");
    ck_assert_uint_eq(control_group_threads(&files), 1);
    put("root/cpu.max", "0 100000\n");
    ck_assert_uint_eq(control_group_threads(&files), 1);
    put("root/cpu.max", "150000 100000\n");
    ck_assert_uint_eq(control_group_threads(&files), all < 2 ? all : 2);
    put("root/cpu.max", "100000000 100000\n");
    ck_assert_uint_eq(control_group_threads(&files), all);
    CPU_ZERO(&set);
    CPU_SET((size_t)sched_getcpu(), &set);
    ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
    ck_assert_uint_eq(control_group_threads(&files), 1);
    ck_assert_uint_ge(control_group_threads(&control_group_system), 1);
    teardown();
}

END_TEST

UNIT_MAIN("control_group", group_of_version_2, group_of_version_1, group_of_container,
          group_that_says_nothing, group_pays_for_threads)
