#include "lib/unit.h"

#include "core/control_group.h"
#include "core/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (1024 * 1024ULL)

static char folder[32]; /* holds the file of groups, and their folders under root/ */

static void path_of(const char *name, char path[256])
{
    (void)snprintf(path, 256, "%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    path_of(name, path);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void make(const char *name)
{
    char path[256];

    path_of(name, path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void drop(const char *name)
{
    char path[256];

    path_of(name, path);
    (void)remove(path);
}

static void setup(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/test_memory.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    make("root");
    make("root/outer");
    make("root/outer/inner");
    put("groups", "4:memory:/elsewhere\n0::/outer/inner\n");
}

static void teardown(void)
{
    static const char *const names[] = {"root/outer/inner/memory.max",
                                        "root/outer/memory.max",
                                        "root/memory.max",
                                        "root/outer/inner",
                                        "root/outer",
                                        "root",
                                        "groups",
                                        ""};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        drop(names[i]);
    }
}

static uint64_t allowed(void)
{
    char groups[256];
    char root[256];

    path_of("groups", groups);
    path_of("root", root);
    return memory_allowed_by(&(struct control_group_files){groups, root});
}

static uint64_t machine(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t used(const struct memory *memory)
{
    uint64_t bytes = 0;

    ck_assert_int_eq(memory_used(memory, &bytes), 0);
    return bytes;
}

/* What the process takes grows with what it touches, and falls when that is gone. */
START_TEST(memory_used_follows)
{
    const size_t size = 64 * MIB;
    struct memory memory;
    uint64_t before;
    uint8_t *bytes;

    ck_assert_int_eq(memory_open(&memory), 0);
    before = used(&memory);
    ck_assert_uint_gt(before, 0);
    bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(bytes, MAP_FAILED);
    memset(bytes, 1, size);
    ck_assert_uint_gt(used(&memory), before + size - 8 * MIB);
    ck_assert_int_eq(munmap(bytes, size), 0);
    ck_assert_uint_lt(used(&memory), before + 8 * MIB);
    memory_trim(); /* has nothing to do, and does it */
    memory_close(&memory);
    memory_close(&memory);
}

END_TEST

/* Without a limit, or with none that can be read, it is the machine's memory. */
START_TEST(memory_allowed_by_the_machine)
{
    setup();
    ck_assert_uint_eq(allowed(), machine());
    put("root/outer/inner/memory.max", "max\n");
    put("root/outer/memory.max", "");
    ck_assert_uint_eq(allowed(), machine());
    put("root/memory.max", "99999999999999999999999\n");
    ck_assert_uint_eq(allowed(), machine());
    put("groups", "4:memory:/outer\n");
    put("root/outer/memory.max", "1048576\n");
    ck_assert_uint_eq(allowed(), machine());
    drop("groups");
    ck_assert_uint_eq(allowed(), machine());
    ck_assert_uint_le(memory_allowed(), machine());
    ck_assert_uint_gt(memory_allowed(), 0);
    teardown();
}

END_TEST

/* The smallest limit counts, of the process's group and of all above it. */
START_TEST(memory_allowed_by_groups)
{
    setup();
    put("root/outer/inner/memory.max", "3145728\n");
    ck_assert_uint_eq(allowed(), 3 * MIB);
    put("root/outer/memory.max", "2097152\n");
    ck_assert_uint_eq(allowed(), 2 * MIB);
    put("root/memory.max", "1048576\n");
    ck_assert_uint_eq(allowed(), MIB);
    put("root/memory.max", "max\n");
    put("groups", "0::/\n");
    ck_assert_uint_eq(allowed(), machine());
    put("root/memory.max", "1048576\n");
    ck_assert_uint_eq(allowed(), MIB);
    teardown();
}

END_TEST

UNIT_MAIN("memory", memory_used_follows, memory_allowed_by_the_machine, memory_allowed_by_groups)
