/*
 * What every unit test file includes: libcheck, and a main() made of the list of tests.
 *
 *     START_TEST(ring_runs_a_nop) { ... } END_TEST
 *     UNIT_MAIN("ring", ring_runs_a_nop, ring_counts_operations)
 *
 * Each test runs in a process of its own (CK_FORK=no runs them all in one, for a debugger) and has
 * 60 seconds (CK_DEFAULT_TIMEOUT and CK_TIMEOUT_MULTIPLIER change that). CK_RUN_CASE picks nothing
 * here, for there is one case per program; UNIT_TEST=name in the environment runs that test alone.
 *
 * Thread: one per test.
 */

#ifndef TESTS_LIB_UNIT_H
#define TESTS_LIB_UNIT_H

#include <check.h>

#include <stdlib.h>
#include <string.h>

#define UNIT_TIMEOUT_S 60

/* Runs the tests of a NULL-terminated array; the exit code of a program that ends with them. */
static inline int unit_run(const char *suite_name, const TTest *const *tests)
{
    const char *only = getenv("UNIT_TEST");
    Suite *suite = suite_create(suite_name);
    TCase *tcase = tcase_create(suite_name);
    SRunner *runner = srunner_create(suite);
    int failed;
    int ran;

    if (getenv("CK_DEFAULT_TIMEOUT") == NULL) {
        tcase_set_timeout(tcase, UNIT_TIMEOUT_S);
    }
    for (; *tests != NULL; tests++) {
        if (only == NULL || strcmp(only, (*tests)->name) == 0) {
            tcase_add_test(tcase, *tests);
        }
    }
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    ran = srunner_ntests_run(runner);
    srunner_free(runner);
    return failed == 0 && ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(suite_name, ...)                                                                 \
    int main(void)                                                                                 \
    {                                                                                              \
        const TTest *const tests[] = {__VA_ARGS__, NULL};                                          \
                                                                                                   \
        return unit_run(suite_name, tests);                                                        \
    }

#endif
