#include "lib/unit.h"

#include "core/ini.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char seen[4096];
static const char *stop_at;

/* Writes each entry down as "line:[section]key=value;". */
static int note(void *context, const char *section, const char *key, const char *value, int line)
{
    size_t used = strlen(seen);

    ck_assert_ptr_eq(context, seen);
    (void)snprintf(seen + used, sizeof(seen) - used, "%d:[%s]%s=%s;", line, section, key, value);
    return stop_at != NULL && strcmp(key, stop_at) == 0;
}

static int read_text(const char *text, int *ret_line)
{
    seen[0] = '\0';
    return ini_read_text(text, note, seen, ret_line);
}

/* Entries come with their section and line, trimmed; comments and empty lines count as lines. */
START_TEST(ini_gives_entries_with_lines)
{
    int line = 0;

    ck_assert_int_eq(read_text("; comment\n# comment\n\n[server]\n  listen =  0.0.0.0:1 \r\n"
                               "[policy]\nallow /a.B/C = role:x, role:y\nempty=\nlast = 1",
                               &line),
                     0);
    ck_assert_str_eq(seen, "5:[server]listen=0.0.0.0:1;7:[policy]allow /a.B/C=role:x, role:y;"
                           "8:[policy]empty=;9:[policy]last=1;");
}

END_TEST

/* An indented line is an entry of its own, not the continuation of the one before. */
START_TEST(ini_knows_no_continuation)
{
    int line = 0;

    ck_assert_int_eq(read_text("[a]\nx = 1\n  y = 2\n", &line), 0);
    ck_assert_str_eq(seen, "2:[a]x=1;3:[a]y=2;");
    ck_assert_int_eq(read_text("[a]\nx = 1\n  more of x\n", &line), INI_E_SYNTAX);
    ck_assert_int_eq(line, 3);
}

END_TEST

/* The first bad line ends the reading and is named. */
START_TEST(ini_names_the_bad_line)
{
    int line = 0;

    ck_assert_int_eq(read_text("[a]\nx = 1\nnonsense\ny = 2\n", &line), INI_E_SYNTAX);
    ck_assert_int_eq(line, 3);
    ck_assert_str_eq(seen, "2:[a]x=1;");
    ck_assert_int_eq(read_text("\n[unclosed\nx=1\n", &line), INI_E_SYNTAX);
    ck_assert_int_eq(line, 2);
    ck_assert_str_eq(seen, "");
}

END_TEST

/* The callback can stop the reading; nothing more is delivered and the line is told. */
START_TEST(ini_stops_when_told)
{
    int line = 0;

    stop_at = "y";
    ck_assert_int_eq(read_text("[a]\nx=1\ny=2\nz=3\n", &line), INI_E_STOPPED);
    ck_assert_int_eq(line, 3);
    ck_assert_str_eq(seen, "2:[a]x=1;3:[a]y=2;");
}

END_TEST

/* A long line comes whole; one beyond the limit is refused instead of cut. */
START_TEST(ini_never_cuts_a_line)
{
    static char text[20000];
    int line = 0;

    memset(text, 'v', sizeof(text) - 1);
    memcpy(text, "[a]\nk=", 6);
    text[3000] = '\n';
    text[3001] = '\0';
    ck_assert_int_eq(read_text(text, &line), 0);
    ck_assert_uint_eq(strlen(seen), strlen("2:[a]k=;") + 3000 - 6);
    memset(text + 3000, 'v', 10000);
    text[13000] = '\0';
    ck_assert_int_eq(read_text(text, &line), INI_E_SYNTAX);
    ck_assert_int_eq(line, 2);
    ck_assert_str_eq(seen, "");
}

END_TEST

/* A file gives what its text gives; a missing one its errno, one with NUL bytes a syntax error. */
START_TEST(ini_reads_files)
{
    char path[] = "/tmp/userd-ini-XXXXXX";
    int fd = mkstemp(path);
    int line = 0;

    ck_assert_int_ge(fd, 0);
    seen[0] = '\0';
    ck_assert_int_eq(write(fd, "[a]\nx=1\n", 8), 8);
    ck_assert_int_eq(ini_read_file(path, note, seen, &line), 0);
    ck_assert_str_eq(seen, "2:[a]x=1;");
    ck_assert_int_eq(write(fd, "y=1\0\n", 5), 5);
    ck_assert_int_eq(ini_read_file(path, note, seen, &line), INI_E_SYNTAX);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(ini_read_file(path, note, seen, &line), -ENOENT);
}

END_TEST

UNIT_MAIN("ini", ini_gives_entries_with_lines, ini_knows_no_continuation, ini_names_the_bad_line,
          ini_stops_when_told, ini_never_cuts_a_line, ini_reads_files)
