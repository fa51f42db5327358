#include "lib/unit.h"

#include "service/app_parts.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#define DAY 86400

/* A certificate is worth a warning from fourteen days before its end on. */
START_TEST(app_parts_judges_certificates)
{
    static const struct {
        int64_t left_s;
        enum app_certificate state;
    } rows[] = {
        {365LL * DAY, APP_CERTIFICATE_GOOD},  {14LL * DAY + 1, APP_CERTIFICATE_GOOD},
        {14LL * DAY, APP_CERTIFICATE_ENDING}, {0, APP_CERTIFICATE_ENDING},
        {-1, APP_CERTIFICATE_EXPIRED},        {-365LL * DAY, APP_CERTIFICATE_EXPIRED},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq(app_certificate_judge(1700000000 + rows[i].left_s, 1700000000),
                         rows[i].state);
    }
}

END_TEST

/* Times are written as the log writes its own; one that no calendar has is a number. */
START_TEST(app_parts_formats_times)
{
    char text[APP_TIME_SIZE];

    app_time_format(1700000000, text);
    ck_assert_str_eq(text, "2023-11-14T22:13:20Z");
    app_time_format(INT64_MAX, text);
    ck_assert_str_eq(text, "9223372036854775807");
}

END_TEST

/* Nobody but owner and group may have any right on a secret; what is no file, or not there, passes.
 */
START_TEST(app_parts_checks_rights)
{
    char path[] = "/tmp/app_parts.XXXXXX";
    char problem[APP_PROBLEM_SIZE] = "";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    for (mode_t mode = 0; mode <= 0777; mode++) {
        ck_assert_int_eq(chmod(path, mode), 0);
        ck_assert_int_eq(app_parts_check_private("a.b", path, problem),
                         (mode & 07) == 0 ? EX_OK : EX_CONFIG);
    }
    ck_assert_ptr_nonnull(strstr(problem, "a.b: everybody may access /tmp/app_parts."));
    ck_assert_ptr_nonnull(strstr(problem, "(mode 0777)"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(app_parts_check_private("a.b", path, problem), EX_OK);
    ck_assert_int_eq(app_parts_check_private("a.b", "/dev/zero", problem), EX_OK);
}

END_TEST

UNIT_MAIN("app_parts", app_parts_judges_certificates, app_parts_formats_times,
          app_parts_checks_rights)
