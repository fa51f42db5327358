#include "lib/unit.h"

#include "client/target.h"

static char problem[TARGET_PROBLEM_SIZE];

static void expect_parts(const char *text, const char *host, const char *port)
{
    struct target target;

    ck_assert_int_eq(target_parse(text, problem, &target), 0);
    ck_assert_str_eq(target.host, host);
    ck_assert_str_eq(target.port, port);
    ck_assert_uint_eq(target.count, 0);
}

/* Names, IPv4 and bracketed IPv6 addresses come apart at the right colon. */
START_TEST(target_parse_takes_names_and_addresses)
{
    expect_parts("localhost:50051", "localhost", "50051");
    expect_parts("10.1.2.3:1", "10.1.2.3", "1");
    expect_parts("[::1]:65535", "::1", "65535");
    expect_parts("users.example.com:443", "users.example.com", "443");
}

END_TEST

/* Anything else is refused, and the problem quotes it. */
START_TEST(target_parse_refuses_the_rest)
{
    static const char *const texts[] = {
        "",     "localhost", "localhost:", ":50051",   "localhost:0", "localhost:65536",
        "a:b",  "a:1x",      "::1:50051",  "[::1]",    "[::1]50051",  "[::1:50051",
        "[]:1", "a:-1",      "a: 1",       "a:123456",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct target target = {.host = "untouched"};

        ck_assert_msg(target_parse(texts[i], problem, &target) == TARGET_E_MALFORMED, "'%s' passed",
                      texts[i]);
        ck_assert_ptr_nonnull(strstr(problem, texts[i]));
        ck_assert_str_eq(target.host, "untouched");
    }
}

END_TEST

/* A host that does not fit is refused, not cut. */
START_TEST(target_parse_refuses_a_long_host)
{
    char text[TARGET_HOST_SIZE + 8];
    struct target target;

    memset(text, 'a', sizeof(text));
    memcpy(text + TARGET_HOST_SIZE - 1, ":80", 4);
    ck_assert_int_eq(target_parse(text, problem, &target), 0);
    text[TARGET_HOST_SIZE - 1] = 'a';
    memcpy(text + TARGET_HOST_SIZE, ":80", 4);
    ck_assert_int_eq(target_parse(text, problem, &target), TARGET_E_MALFORMED);
}

END_TEST

/* Addresses stand for themselves, and are shown as they are written. */
START_TEST(target_resolve_finds_addresses)
{
    static const char *const texts[] = {"127.0.0.1:50051", "[::1]:50051"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct target target;
        char shown[64];

        ck_assert_int_eq(target_parse(texts[i], problem, &target), 0);
        ck_assert_int_eq(target_resolve(&target, problem), 0);
        ck_assert_uint_eq(target.count, 1);
        target_format_address(&target, 0, shown, sizeof(shown));
        ck_assert_str_eq(shown, texts[i]);
    }
}

END_TEST

/* A name that no resolver may know (RFC 6761) is an outcome of its own, and is named. */
START_TEST(target_resolve_reports_unknown_hosts)
{
    struct target target;

    ck_assert_int_eq(target_parse("userd.invalid:1", problem, &target), 0);
    ck_assert_int_eq(target_resolve(&target, problem), TARGET_E_UNRESOLVED);
    ck_assert_ptr_nonnull(strstr(problem, "userd.invalid"));
    ck_assert_uint_eq(target.count, 0);
}

END_TEST

UNIT_MAIN("target", target_parse_takes_names_and_addresses, target_parse_refuses_the_rest,
          target_parse_refuses_a_long_host, target_resolve_finds_addresses,
          target_resolve_reports_unknown_hosts)
