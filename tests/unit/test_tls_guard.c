#include "lib/unit.h"

#include "core/tls_guard.h"

#define HANDSHAKE 22
#define ALERT     21
#define CHANGE    20
#define DATA      23
#define SECOND_NS 1000000000ULL

/* Gives the guard a record of `size` zero bytes; returns its verdict. */
static enum tls_guard_verdict give(struct tls_guard *guard, uint8_t type, uint32_t size)
{
    static const uint8_t zeros[70000];
    uint8_t header[5] = {type, 3, 3, (uint8_t)(size >> 8), (uint8_t)size};
    enum tls_guard_verdict verdict = tls_guard_check(guard, (struct bytes){header, 5});

    return verdict != TLS_GUARD_PASS ? verdict
                                     : tls_guard_check(guard, (struct bytes){zeros, size});
}

/* A guard after the handshake. */
static struct tls_guard established(void)
{
    struct tls_guard guard = {0};

    ck_assert_int_eq(give(&guard, HANDSHAKE, 300), TLS_GUARD_PASS);
    guard.established = true;
    return guard;
}

/* What is no TLS is known by its first byte, before a record could be complete. */
START_TEST(tls_guard_knows_foreign_protocols)
{
    static const char *const openings[] = {
        "G",       "PRI * HTTP/2.0\r\n",   "\x80\x2e\x01",
        "SSH-2.0", "\x15\x03\x01\x00\x02", "\x17\x03\x03\x00\x20"};

    for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++) {
        struct tls_guard guard = {0};

        ck_assert_int_eq(tls_guard_check(&guard, (struct bytes){(const uint8_t *)openings[i], 1}),
                         TLS_GUARD_NOT_TLS);
    }
}

END_TEST

/* A handshake type with a wrong version is no TLS either. */
START_TEST(tls_guard_checks_the_version)
{
    struct tls_guard guard = {0};

    ck_assert_int_eq(tls_guard_check(&guard, BYTES_LITERAL("\x16")), TLS_GUARD_PASS);
    ck_assert_int_eq(tls_guard_check(&guard, BYTES_LITERAL("\x02")), TLS_GUARD_NOT_TLS);
}

END_TEST

/* A client accepts that the server's first record is an alert. */
START_TEST(tls_guard_lets_a_server_refuse)
{
    struct tls_guard guard = {.is_client = true};

    ck_assert_int_eq(give(&guard, ALERT, 2), TLS_GUARD_PASS);
}

END_TEST

/* Lengths: 16,640 at most; a tag and a type at least in encrypted records; none empty otherwise. */
START_TEST(tls_guard_checks_lengths)
{
    static const uint8_t clear[] = {HANDSHAKE, ALERT, CHANGE};
    struct tls_guard guard = established();

    ck_assert_int_eq(give(&guard, DATA, 16640), TLS_GUARD_PASS);
    ck_assert_int_eq(give(&guard, DATA, 17), TLS_GUARD_PASS);
    guard = established();
    ck_assert_int_eq(give(&guard, DATA, 16641), TLS_GUARD_BAD_LENGTH);
    /* The shape of CVE-2024-0901: nothing but a tag. */
    guard = established();
    ck_assert_int_eq(give(&guard, DATA, 16), TLS_GUARD_TOO_SHORT);
    guard = established();
    ck_assert_int_eq(give(&guard, DATA, 0), TLS_GUARD_TOO_SHORT);
    for (size_t i = 0; i < sizeof(clear); i++) {
        guard = established();
        guard.established = false;
        ck_assert_int_eq(give(&guard, clear[i], 0), TLS_GUARD_BAD_LENGTH);
    }
}

END_TEST

/* Only the four types exist, and after the handshake no clear handshake or cipher change comes. */
START_TEST(tls_guard_checks_types)
{
    for (unsigned type = 0; type < 256; type++) {
        struct tls_guard guard = established();
        bool good = type == DATA || type == ALERT;

        ck_assert_int_eq(give(&guard, (uint8_t)type, 20),
                         good ? TLS_GUARD_PASS : TLS_GUARD_BAD_TYPE);
        guard = established();
        guard.established = false;
        good = type >= CHANGE && type <= DATA;
        ck_assert_int_eq(give(&guard, (uint8_t)type, 20),
                         good ? TLS_GUARD_PASS : TLS_GUARD_BAD_TYPE);
    }
}

END_TEST

/* A hello may have 16 KiB in 4 records. */
START_TEST(tls_guard_limits_the_hello)
{
    struct tls_guard guard = {0};

    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(give(&guard, HANDSHAKE, 4096), TLS_GUARD_PASS);
    }
    ck_assert_int_eq(give(&guard, HANDSHAKE, 1), TLS_GUARD_FLIGHT_TOO_LARGE);
    guard = (struct tls_guard){0};
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(give(&guard, HANDSHAKE, 1), TLS_GUARD_PASS);
    }
    ck_assert_int_eq(give(&guard, HANDSHAKE, 1), TLS_GUARD_FLIGHT_TOO_LARGE);
    guard = (struct tls_guard){0};
    ck_assert_int_eq(give(&guard, HANDSHAKE, 16384), TLS_GUARD_PASS);
    ck_assert_int_eq(give(&guard, HANDSHAKE, 1), TLS_GUARD_FLIGHT_TOO_LARGE);
}

END_TEST

/* After our answer a flight may have 20 KiB, for the client's chain, in 32 records, in clear or
 * encrypted; and so may the next. */
START_TEST(tls_guard_limits_later_flights)
{
    static const uint8_t types[] = {HANDSHAKE, DATA};

    for (size_t i = 0; i < sizeof(types); i++) {
        struct tls_guard guard = {0};

        ck_assert_int_eq(give(&guard, HANDSHAKE, 300), TLS_GUARD_PASS);
        for (int flight = 0; flight < 2; flight++) {
            tls_guard_note_answer(&guard);
            ck_assert_int_eq(give(&guard, types[i], 16384), TLS_GUARD_PASS);
            ck_assert_int_eq(give(&guard, types[i], 4096), TLS_GUARD_PASS);
        }
        ck_assert_int_eq(give(&guard, types[i], 20), TLS_GUARD_FLIGHT_TOO_LARGE);
        guard = (struct tls_guard){0};
        ck_assert_int_eq(give(&guard, HANDSHAKE, 300), TLS_GUARD_PASS);
        tls_guard_note_answer(&guard);
        for (int j = 0; j < 32; j++) {
            ck_assert_int_eq(give(&guard, types[i], 20), TLS_GUARD_PASS);
        }
        ck_assert_int_eq(give(&guard, types[i], 20), TLS_GUARD_FLIGHT_TOO_LARGE);
    }
}

END_TEST

/* Some alerts and cipher changes pass, a flood does not. */
START_TEST(tls_guard_stops_floods_in_clear)
{
    static const uint8_t types[] = {ALERT, CHANGE};

    for (size_t i = 0; i < sizeof(types); i++) {
        struct tls_guard guard = established();
        int passed = 0;

        guard.established = false;
        while (passed < 100 && give(&guard, types[i], 2) == TLS_GUARD_PASS) {
            passed++;
        }
        ck_assert_int_eq(passed, 4);
    }
}

END_TEST

/* Records that bring data may be as many as they like; 33 that bring none in a MiB are a flood, at
 * whatever pace they come. */
START_TEST(tls_guard_stops_records_without_data)
{
    struct tls_guard guard = established();
    uint64_t now_ns = 0;

    for (int i = 0; i < 10000; i++) {
        ck_assert_int_eq(give(&guard, DATA, 18), TLS_GUARD_PASS);
        tls_guard_note_data(&guard, 1, true);
        ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_PASS);
    }
    for (int i = 0; i < 32; i++) {
        now_ns += 10 * SECOND_NS;
        ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
        ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_PASS);
    }
    now_ns += 10 * SECOND_NS;
    ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
    ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_FLOOD);
}

END_TEST

/* More than 10 of them in a second are a flood too, one by one or all at once, however much data
 * comes between them; 10 in each second are none. */
START_TEST(tls_guard_stops_fast_records_without_data)
{
    struct tls_guard guard = established();
    uint64_t now_ns = 77 * SECOND_NS;

    for (int second = 0; second < 50; second++) {
        for (int i = 0; i < 10; i++) {
            ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
            ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_PASS);
            ck_assert_int_eq(give(&guard, DATA, 16384 + 17), TLS_GUARD_PASS);
            tls_guard_note_data(&guard, 1024 * 1024, true);
            ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_PASS);
        }
        now_ns += SECOND_NS;
    }
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
        ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns + (uint64_t)i), TLS_GUARD_PASS);
    }
    ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
    ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns + SECOND_NS - 1), TLS_GUARD_FLOOD);
    guard = established();
    for (int i = 0; i < 11; i++) {
        ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
    }
    ck_assert_int_eq(tls_guard_note_all_read(&guard, now_ns), TLS_GUARD_FLOOD);
}

END_TEST

/* After a MiB of data the count of records without data starts afresh. */
START_TEST(tls_guard_forgives_with_data)
{
    struct tls_guard guard = established();

    for (uint64_t window = 0; window < 10; window++) {
        for (uint64_t i = 0; i < 30; i++) {
            ck_assert_int_eq(give(&guard, DATA, 22), TLS_GUARD_PASS);
            ck_assert_int_eq(tls_guard_note_all_read(&guard, (window * 30 + i) * SECOND_NS),
                             TLS_GUARD_PASS);
        }
        for (int i = 0; i < 64; i++) {
            ck_assert_int_eq(give(&guard, DATA, 16384 + 17), TLS_GUARD_PASS);
            tls_guard_note_data(&guard, 8192, false);
            tls_guard_note_data(&guard, 8192, true);
        }
        ck_assert_int_eq(tls_guard_note_all_read(&guard, (window * 30 + 29) * SECOND_NS),
                         TLS_GUARD_PASS);
    }
}

END_TEST

/* The verdict does not depend on how the stream is cut. */
START_TEST(tls_guard_accepts_any_cut)
{
    uint8_t stream[3000] = {0};
    size_t size = 0;

    for (uint8_t body = 20; size + 5 + body < sizeof(stream); body = (uint8_t)(body + 7) | 16) {
        const uint8_t header[5] = {size == 0 ? HANDSHAKE : DATA, 3, 3, 0, body};

        memcpy(stream + size, header, 5);
        size += 5U + body;
    }
    for (size_t step = 1; step < 300; step++) {
        struct tls_guard guard = {.answered = true};

        for (size_t offset = 0; offset < size; offset += step) {
            size_t part = size - offset < step ? size - offset : step;

            guard.established = guard.started;
            ck_assert_int_eq(tls_guard_check(&guard, (struct bytes){stream + offset, part}),
                             TLS_GUARD_PASS);
        }
        ck_assert_uint_eq(guard.header_size, 0);
        ck_assert_uint_eq(guard.body_left, 0);
        ck_assert_int_eq(tls_guard_check(&guard, BYTES_LITERAL("\x18\x03\x03\x00\x20")),
                         TLS_GUARD_BAD_TYPE);
    }
}

END_TEST

/* Every verdict has words of its own. */
START_TEST(tls_guard_names_verdicts)
{
    for (int i = TLS_GUARD_PASS; i <= TLS_GUARD_FLOOD; i++) {
        ck_assert_uint_gt(strlen(tls_guard_verdict_text((enum tls_guard_verdict)i)), 0);
        for (int j = TLS_GUARD_PASS; j < i; j++) {
            ck_assert_str_ne(tls_guard_verdict_text((enum tls_guard_verdict)i),
                             tls_guard_verdict_text((enum tls_guard_verdict)j));
        }
    }
}

END_TEST

UNIT_MAIN("tls_guard", tls_guard_knows_foreign_protocols, tls_guard_checks_the_version,
          tls_guard_lets_a_server_refuse, tls_guard_checks_lengths, tls_guard_checks_types,
          tls_guard_limits_the_hello, tls_guard_limits_later_flights,
          tls_guard_stops_floods_in_clear, tls_guard_stops_records_without_data,
          tls_guard_stops_fast_records_without_data, tls_guard_forgives_with_data,
          tls_guard_accepts_any_cut, tls_guard_names_verdicts)
