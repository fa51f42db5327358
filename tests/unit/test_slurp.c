#include "lib/unit.h"

#include "core/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/userd-slurp-XXXXXX";

/* A file of `size` bytes 'a' at `path`; remove it with unlink(). */
static void make_file(size_t size)
{
    int fd;
    FILE *file;

    memcpy(path, "/tmp/userd-slurp-XXXXXX", sizeof(path));
    fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    file = fdopen(fd, "w");
    for (size_t i = 0; i < size; i++) {
        ck_assert_int_eq(fputc('a', file), 'a');
    }
    ck_assert_int_eq(fclose(file), 0);
}

/* Every size up to the limit comes back whole with a NUL behind; one more is too large. */
START_TEST(slurp_reads_up_to_the_limit)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 20000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char *content = NULL;
        size_t size = 7;

        make_file(sizes[i]);
        ck_assert_int_eq(slurp_file(path, sizes[i], &content, &size), 0);
        ck_assert_uint_eq(size, sizes[i]);
        ck_assert_uint_eq(strlen(content), sizes[i]);
        ck_assert_uint_eq(strspn(content, "a"), sizes[i]);
        slurp_free(content, size);
        if (sizes[i] > 0) {
            content = NULL;
            ck_assert_int_eq(slurp_file(path, sizes[i] - 1, &content, &size), SLURP_E_TOO_LARGE);
            ck_assert_ptr_null(content);
        }
        ck_assert_int_eq(unlink(path), 0);
    }
}

END_TEST

/* What cannot be opened or read says why. */
START_TEST(slurp_reports_errors)
{
    char *content = NULL;
    size_t size;

    ck_assert_int_eq(slurp_file("/nonexistent/file", 10, &content, &size), -ENOENT);
    ck_assert_int_eq(slurp_file("/tmp", 10, &content, &size), -EISDIR);
    ck_assert_ptr_null(content);
    slurp_free(NULL, 0);
}

END_TEST

/* The name "-" means standard input, also when that is a pipe that gives little at a time. */
START_TEST(slurp_reads_standard_input)
{
    char *content = NULL;
    size_t size;
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(write(ends[1], "secret\n", 7), 7);
    ck_assert_int_eq(close(ends[1]), 0);
    ck_assert_int_eq(slurp_file("-", 100, &content, &size), 0);
    ck_assert_str_eq(content, "secret\n");
    slurp_free(content, size);
}

END_TEST

/* What is no regular file is not waited for: a pipe that nobody writes to would be for ever. */
START_TEST(slurp_takes_regular_files_alone)
{
    char *content = NULL;
    size_t size = 7;

    make_file(5);
    ck_assert_int_eq(slurp_regular_file(path, 5, &content, &size), 0);
    ck_assert_uint_eq(size, 5);
    ck_assert_str_eq(content, "aaaaa");
    slurp_free(content, size);
    content = NULL;
    ck_assert_int_eq(slurp_regular_file(path, 4, &content, &size), SLURP_E_TOO_LARGE);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(slurp_regular_file(path, 5, &content, &size), -ENOENT);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(slurp_regular_file(path, 5, &content, &size), SLURP_E_NOT_REGULAR);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(slurp_regular_file("/tmp", 5, &content, &size), SLURP_E_NOT_REGULAR);
    ck_assert_int_eq(slurp_regular_file("-", 5, &content, &size), -ENOENT);
    ck_assert_ptr_null(content);
}

END_TEST

UNIT_MAIN("slurp", slurp_reads_up_to_the_limit, slurp_reports_errors, slurp_reads_standard_input,
          slurp_takes_regular_files_alone)
