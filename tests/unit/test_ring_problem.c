#include "lib/syscall_filter.h"
#include "lib/unit.h"

#include "core/ring.h"
#include "core/ring_problem.h"

#include <errno.h>
#include <stdio.h>
#include <sys/syscall.h>

struct expectation {
    long call;
    int error;
    const char *cause;
    const char *remedy;
};

/* In a child whose call fails: 0 when ring_new() says why and what to do. */
static int expect_problem(void *context)
{
    const struct expectation *expected = context;
    struct ring_options options = {.entries = 8, .recv_buffer_count = 2, .recv_buffer_size = 64};
    char problem[RING_PROBLEM_SIZE] = "";
    struct ring *ring = NULL;

    if (syscall_filter_refuse(expected->call, expected->error) != 0) {
        perror("cannot install the filter");
        return 2;
    }
    if (ring_new(&options, problem, &ring) != -expected->error || ring != NULL) {
        return 3;
    }
    if (strstr(problem, expected->cause) == NULL || strstr(problem, expected->remedy) == NULL) {
        (void)fprintf(stderr, "unexpected text: %s\n", problem);
        return 4;
    }
    return 0;
}

/* A container's seccomp filter is named as the cause, with what the profile must allow. */
START_TEST(ring_problem_names_seccomp)
{
    static const long calls[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct expectation expected = {calls[i], EPERM, "seccomp", "allows io_uring_setup"};

        ck_assert_int_eq(run_in_child(expect_problem, &expected), 0);
    }
}

END_TEST

/* So are a kernel without io_uring, one too old, one out of locked memory or descriptors. */
START_TEST(ring_problem_names_other_causes)
{
    struct expectation expected[] = {
        {SYS_io_uring_setup, ENOSYS, "no io_uring here", "Linux 6.1"},
        {SYS_io_uring_setup, EINVAL, "too old", "Linux 6.1"},
        {SYS_io_uring_register, EINVAL, "restrictions", "Linux 6.1"},
        {SYS_io_uring_setup, ENOMEM, "no memory", "emory"},
        {SYS_io_uring_setup, EMFILE, "Too many open files", "LimitNOFILE"},
        {SYS_io_uring_setup, EIO, "cannot start", "Input/output error"},
    };

    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        ck_assert_int_eq(run_in_child(expect_problem, &expected[i]), 0);
    }
}

END_TEST

/* The error passes through, for every text, and the text ends within its room. */
START_TEST(ring_problem_returns_the_error)
{
    char problem[RING_PROBLEM_SIZE];

    for (int error = 1; error < 133; error++) {
        memset(problem, 'x', sizeof(problem));
        ck_assert_int_eq(ring_problem_explain(-error, problem), -error);
        ck_assert_uint_gt(strnlen(problem, sizeof(problem)), 10);
        ck_assert_uint_lt(strnlen(problem, sizeof(problem)), sizeof(problem) - 1);
    }
}

END_TEST

UNIT_MAIN("ring_problem", ring_problem_names_seccomp, ring_problem_names_other_causes,
          ring_problem_returns_the_error)
