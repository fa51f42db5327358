#include "lib/mapping.h"
#include "lib/unit.h"

#include "client/token_file.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define S      1000000000ULL
#define SECRET "S3CR3T-T0K3N"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif

#ifdef SANITIZED
#define REAL_FREE __interceptor_free
#else
#define REAL_FREE __libc_free
#endif

void REAL_FREE(void *memory);

static bool watching;   /* what is freed */
static unsigned leaked; /* pieces that still held the secret */

/* Instead of the system's: looks whether a secret goes back to the heap. */
void free(void *memory)
{
    if (watching && memory != NULL &&
        memmem(memory, malloc_usable_size(memory), SECRET, sizeof(SECRET) - 1) != NULL) {
        leaked++;
    }
    REAL_FREE(memory);
}

static char folder[] = "/tmp/userd-token-XXXXXX";
static char path[64];
static char other_path[64];
static char problem[TOKEN_FILE_PROBLEM_SIZE];
static uint64_t now;

static void begin(void)
{
    memcpy(folder, "/tmp/userd-token-XXXXXX", sizeof(folder));
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/token", folder);
    (void)snprintf(other_path, sizeof(other_path), "%s/token.new", folder);
    now = 5 * S;
}

static void end(void)
{
    (void)unlink(path);
    (void)unlink(other_path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void write_bytes(const char *to, const void *bytes, size_t size)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
    ck_assert_int_eq(close(fd), 0);
}

static void write_text(const char *to, const char *text)
{
    write_bytes(to, text, strlen(text));
}

/* As whoever rotates tokens should. */
static void replace(const char *text)
{
    write_text(other_path, text);
    ck_assert_int_eq(rename(other_path, path), 0);
}

static struct token_file *open_file(const char *text)
{
    struct token_file *file = NULL;

    write_text(path, text);
    ck_assert_msg(token_file_new(path, now, problem, &file) == 0, "%s", problem);
    ck_assert_str_eq(token_file_problem(file), "");
    return file;
}

/* Fails, and says so of this file. */
static void expect_failure(const char *of, int expected, const char *words)
{
    struct token_file *file = NULL;

    memset(problem, 'x', sizeof(problem));
    ck_assert_int_eq(token_file_new(of, now, problem, &file), expected);
    ck_assert_ptr_null(file);
    ck_assert_ptr_nonnull(memchr(problem, '\0', sizeof(problem)));
    ck_assert_msg(strstr(problem, of) != NULL, "no \"%s\" in: %s", of, problem);
    ck_assert_msg(strstr(problem, words) != NULL, "no \"%s\" in: %s", words, problem);
}

/* Blanks and line ends around it are no part of the token. */
START_TEST(token_file_trims)
{
    static const char *const texts[] = {"abc.DEF-123_~+/==", "abc.DEF-123_~+/==\n",
                                        "abc.DEF-123_~+/==\r\n", " \t\n abc.DEF-123_~+/== \n\n "};

    begin();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct token_file *file = open_file(texts[i]);

        ck_assert_str_eq(token_file_token(file, now), "abc.DEF-123_~+/==");
        token_file_free(file);
    }
    end();
}

END_TEST

/* What is no token is told, and the remedy. */
START_TEST(token_file_refuses_what_is_no_token)
{
    static char large[TOKEN_FILE_SIZE_MAX + 2];

    begin();
    expect_failure(path, -ENOENT, "path right?");
    expect_failure(folder, -EISDIR, "name a file");
    write_text(path, "");
    expect_failure(path, -EINVAL, "empty: put a token");
    write_text(path, " \r\n\t");
    expect_failure(path, -EINVAL, "empty: put a token");
    write_text(path, "Bearer abc\n");
    expect_failure(path, -EINVAL, "no \"Bearer\"");
    write_text(path, "abc\nEvil: 1\n");
    expect_failure(path, -EINVAL, "one token");
    write_text(path, "abc\xc3\xa9");
    expect_failure(path, -EINVAL, "ASCII");
    write_text(path, "abc\x7f");
    expect_failure(path, -EINVAL, "one token");
    write_bytes(path, "abc\0def", 7);
    expect_failure(path, -EINVAL, "one token");
    write_bytes(path, "\0", 1);
    expect_failure(path, -EINVAL, "one token");
    memset(large, 'a', sizeof(large));
    write_bytes(path, large, TOKEN_FILE_SIZE_MAX + 1);
    expect_failure(path, -EFBIG, "larger than 65536");
    expect_failure("-", -EINVAL, "standard input is not read here");
    end();
}

END_TEST

/* As large as may be. */
START_TEST(token_file_takes_the_largest)
{
    static char large[TOKEN_FILE_SIZE_MAX];
    struct token_file *file = NULL;

    begin();
    memset(large, 'a', sizeof(large));
    write_bytes(path, large, sizeof(large));
    ck_assert_int_eq(token_file_new(path, now, problem, &file), 0);
    ck_assert_uint_eq(strlen(token_file_token(file, now)), TOKEN_FILE_SIZE_MAX);
    token_file_free(file);
    token_file_free(NULL);
    end();
}

END_TEST

/* A new one is seen a second later, not before, and from then on a second after that look. */
START_TEST(token_file_follows_a_rename)
{
    struct token_file *file;

    begin();
    file = open_file("first");
    replace("second");
    ck_assert_str_eq(token_file_token(file, now), "first");
    ck_assert_str_eq(token_file_token(file, now + S - 1), "first");
    ck_assert_str_eq(token_file_token(file, now + S), "second");
    replace("third");
    ck_assert_str_eq(token_file_token(file, now + 2 * S - 1), "second");
    ck_assert_str_eq(token_file_token(file, now + 2 * S), "third");
    ck_assert_str_eq(token_file_problem(file), "");
    /* A clock that goes back is none that asks. */
    replace("fourth");
    ck_assert_str_eq(token_file_token(file, 0), "third");
    token_file_free(file);
    end();
}

END_TEST

/* Written in place with as many bytes, maybe within the same tick of the file's clock: seen. */
START_TEST(token_file_sees_a_change_in_place)
{
    struct token_file *file;

    begin();
    file = open_file("aaaa");
    for (char c = 'b'; c < 'z'; c++) {
        char text[5] = {c, c, c, c, '\0'};

        write_text(path, text);
        now += S;
        ck_assert_str_eq(token_file_token(file, now), text);
    }
    token_file_free(file);
    end();
}

END_TEST

/* The same token again is not copied again: the pointer stays. */
START_TEST(token_file_keeps_an_unchanged_token)
{
    struct token_file *file;
    const char *token;

    begin();
    file = open_file("same");
    token = token_file_token(file, now);
    replace("same\n");
    ck_assert_ptr_eq(token_file_token(file, now + S), token);
    token_file_free(file);
    end();
}

END_TEST

/* Emptied, removed, too large, a folder, a pipe in its place: the last good token stays, the
 * problem is there; once it is back, it is taken and the problem is over. */
START_TEST(token_file_keeps_the_last_good_token)
{
    static char large[TOKEN_FILE_SIZE_MAX + 1];
    struct token_file *file;

    begin();
    memset(large, 'a', sizeof(large));
    file = open_file("good");

    write_text(path, "");
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "empty"));
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), path));

    ck_assert_int_eq(unlink(path), 0);
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "path right?"));

    write_bytes(path, large, sizeof(large));
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "larger than"));

    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "regular file"));
    ck_assert_int_eq(rmdir(path), 0);

    ck_assert_int_eq(mkfifo(path, 0600), 0); /* nobody writes: reading would wait for ever */
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "regular file"));
    ck_assert_int_eq(unlink(path), 0);

    replace("two words");
    ck_assert_str_eq(token_file_token(file, now += S), "good");
    ck_assert_ptr_nonnull(strstr(token_file_problem(file), "one token"));

    replace("better");
    ck_assert_str_eq(token_file_token(file, now), "good"); /* looked within this second */
    ck_assert_str_eq(token_file_token(file, now += S), "better");
    ck_assert_str_eq(token_file_problem(file), "");
    token_file_free(file);
    end();
}

END_TEST

/* A pipe is read to its end, once. */
START_TEST(token_file_reads_a_pipe_once)
{
    struct token_file *file = NULL;
    char pipe_path[32];
    int ends[2];

    begin();
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "piped\n", 6), 6);
    ck_assert_int_eq(close(ends[1]), 0);
    (void)snprintf(pipe_path, sizeof(pipe_path), "/dev/fd/%d", ends[0]);
    ck_assert_msg(token_file_new(pipe_path, now, problem, &file) == 0, "%s", problem);
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(token_file_token(file, now += S), "piped");
        ck_assert_str_eq(token_file_problem(file), "");
    }
    token_file_free(file);
    ck_assert_int_eq(close(ends[0]), 0);
    end();
}

END_TEST

/* The token lies in memory for secrets alone, and what is freed on the way is wiped. */
START_TEST(token_file_wipes)
{
    struct token_file *file = NULL;
    char *witness = strdup(SECRET);

    begin();
    watching = true;
    free(witness);
    ck_assert_uint_eq(leaked, 1); /* the test can fail */
    leaked = 0;
    write_text(path, SECRET "\n");
    ck_assert_int_eq(token_file_new(path, now, problem, &file), 0);
    ck_assert(mapping_has_flag(token_file_token(file, now), "dd"));
    replace(SECRET "-2\n");
    ck_assert_str_eq(token_file_token(file, now += S), SECRET "-2");
    ck_assert(mapping_has_flag(token_file_token(file, now), "dd"));
    replace(SECRET " and more\n");
    ck_assert_str_eq(token_file_token(file, now += S), SECRET "-2");
    ck_assert_ptr_null(strstr(token_file_problem(file), SECRET));
    token_file_free(file);
    expect_failure(path, -EINVAL, "one token");
    ck_assert_ptr_null(strstr(problem, SECRET));
    watching = false;
    ck_assert_uint_eq(leaked, 0);
    end();
}

END_TEST

UNIT_MAIN("token_file", token_file_trims, token_file_refuses_what_is_no_token,
          token_file_takes_the_largest, token_file_follows_a_rename,
          token_file_sees_a_change_in_place, token_file_keeps_an_unchanged_token,
          token_file_keeps_the_last_good_token, token_file_reads_a_pipe_once, token_file_wipes)
