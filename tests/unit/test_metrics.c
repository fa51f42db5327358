#include "lib/unit.h"

#include "core/limits_hit.h"
#include "http2/grpc_server.h"
#include "service/metrics.h"
#include "service/token.h"

#include <stdio.h>
#include <string.h>

static char *written(const struct metrics_sources *sources, struct buf *out)
{
    ck_assert_int_eq(metrics_write(sources, out), 0);
    ck_assert_int_eq(buf_append(out, "", 1), 0);
    return (char *)(uintptr_t)buf_bytes(out).data;
}

static void check_line(const char *text, const char *line)
{
    const char *found = strstr(text, line);

    ck_assert_msg(found != NULL && (found == text || found[-1] == '\n') &&
                      found[strlen(line)] == '\n',
                  "no line \"%s\" in:\n%s", line, text);
}

/* Every source's numbers are told, each under its name. */
START_TEST(numbers_of_all_sources_are_written)
{
    struct limits_hit hits = {.counts = {[LIMITS_HIT_STREAMS] = 3}};
    struct grpc_server_stats server = {
        .connections_open = 4, .connections_accepted = 50, .calls_running = 6};
    struct token_stats tokens = {.signatures_checked = 7, .cache_hits = 8};
    const struct metrics_sources sources = {
        .limits_hit = &hits,
        .server = &server,
        .tokens = &tokens,
        .auth_refused = 9,
        .access_denied = 10,
        .certificate_not_after_s = 1900000000,
    };
    struct buf out = {0};
    const char *text = written(&sources, &out);

    check_line(text, "userd_limit_hits_total{limit=\"http2.max_concurrent_streams\"} 3");
    check_line(text, "userd_limit_hits_total{limit=\"limits.max_connections\"} 0");
    check_line(text, "userd_connections 4");
    check_line(text, "userd_connections_accepted_total 50");
    check_line(text, "userd_calls 6");
    check_line(text, "userd_token_signatures_checked_total 7");
    check_line(text, "userd_token_cache_hits_total 8");
    check_line(text, "userd_auth_refused_total 9");
    check_line(text, "userd_access_denied_total 10");
    check_line(text, "userd_tls_certificate_not_after_seconds 1900000000");
    buf_deinit(&out);
}

END_TEST

/* Without TLS there is no certificate whose end could be told. */
START_TEST(what_is_not_there_is_not_written)
{
    const struct metrics_sources sources = {0};
    struct buf out = {0};
    const char *text = written(&sources, &out);

    ck_assert_ptr_null(strstr(text, "certificate"));
    ck_assert_ptr_null(strstr(text, "userd_connections"));
    check_line(text, "userd_auth_refused_total 0");
    buf_deinit(&out);
}

END_TEST

/* A name is explained once, before its first value: what scrapers insist on. */
START_TEST(every_value_stands_below_its_type)
{
    struct limits_hit hits = {{0}};
    struct grpc_server_stats server = {0};
    const struct metrics_sources sources = {.limits_hit = &hits, .server = &server};
    struct buf out = {0};
    char *rest = written(&sources, &out);
    char name[64] = "";
    unsigned values = 0;

    for (char *line = strtok_r(rest, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            ck_assert_int_eq(sscanf(line, "# HELP %63s", name), 1);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            ck_assert_int_eq(strncmp(line + 7, name, strlen(name)), 0);
        } else {
            values++;
            ck_assert_int_eq(strncmp(line, name, strlen(name)), 0);
            ck_assert_uint_eq(strcspn(line, "{ "), strlen(name));
        }
    }
    ck_assert_uint_gt(values, LIMITS_HIT_COUNT);
    buf_deinit(&out);
}

END_TEST

UNIT_MAIN("metrics", numbers_of_all_sources_are_written, what_is_not_there_is_not_written,
          every_value_stands_below_its_type)
