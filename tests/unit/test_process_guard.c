#include "lib/unit.h"

#include "core/process_guard.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static unsigned long core_filter(void)
{
    FILE *file = fopen("/proc/self/coredump_filter", "re");
    char text[32];

    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof(text), file));
    ck_assert_int_eq(fclose(file), 0);
    return strtoul(text, NULL, 16);
}

#if defined(__SANITIZE_ADDRESS__)
#define EXPECTED_DUMPABLE 1 /* the leak checker needs it */
#else
#define EXPECTED_DUMPABLE 0
#endif

/* Each lock is shut, and shutting it again does no harm. */
START_TEST(process_guard_shuts_every_way_to_a_core_file)
{
    struct rlimit limit;

    ck_assert_uint_ne(core_filter(), 0);
    ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
    ck_assert_int_eq(process_guard_close(), 0);
    ck_assert_uint_eq(core_filter(), 0);
    ck_assert_int_eq(prctl(PR_GET_DUMPABLE), EXPECTED_DUMPABLE);
    ck_assert_int_eq(getrlimit(RLIMIT_CORE, &limit), 0);
    ck_assert_uint_eq(limit.rlim_cur, 0);
    ck_assert_uint_eq(limit.rlim_max, 0);
}

END_TEST

UNIT_MAIN("process_guard", process_guard_shuts_every_way_to_a_core_file)
