#include "lib/unit.h"

#include "service/user_id.h"
#include "write_fakes.h"

#include <ctype.h>

#define NOW_MS 0x0190a0b0c0d0ULL

/* An id is a UUID of version 7 with the time in front. */
START_TEST(user_id_has_the_form_of_a_uuid_7)
{
    struct fake_random random;
    struct user_id_source source = {.random = &random.source};
    char id[USER_ID_SIZE];

    fake_random_init(&random, 1);
    user_id_next(&source, NOW_MS, id);
    ck_assert_uint_eq(strlen(id), 36);
    ck_assert_mem_eq(id, "0190a0b0-c0d0-7", 15);
    ck_assert_int_eq(id[18], '-');
    ck_assert_ptr_nonnull(strchr("89ab", id[19]));
    for (size_t i = 0; i < 36; i++) {
        bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

        ck_assert(is_dash ? id[i] == '-' : isxdigit((unsigned char)id[i]) && !isupper(id[i]));
    }
}

END_TEST

/* Ids grow, in a millisecond, between them, and when the clock goes back. */
START_TEST(user_id_grows_whatever_the_clock_does)
{
    static const int64_t steps_ms[] = {0, 0, 1, 0, -5, 0, -100000, 3, 0, 200000};
    struct fake_random random;
    struct user_id_source source = {.random = &random.source};
    uint64_t now_ms = NOW_MS;
    char last[USER_ID_SIZE] = "";
    char id[USER_ID_SIZE];

    fake_random_init(&random, 2);
    for (size_t i = 0; i < 1000; i++) {
        now_ms += (uint64_t)steps_ms[i % 10];
        user_id_next(&source, now_ms, id);
        ck_assert_int_gt(strcmp(id, last), 0);
        memcpy(last, id, sizeof(last));
    }
}

END_TEST

/* When the counting bits of a millisecond run out, the id goes into the next one. */
START_TEST(user_id_carries_into_the_next_millisecond)
{
    struct fake_random random;
    struct user_id_source source = {.random = &random.source};
    char before[USER_ID_SIZE];
    char after[USER_ID_SIZE];

    fake_random_init(&random, 3);
    user_id_next(&source, NOW_MS, before);
    source.high = 0xfff;
    source.low = 0x3fffffffffffffffULL;
    user_id_next(&source, NOW_MS, after);
    ck_assert_mem_eq(after, "0190a0b0-c0d1-7", 15);
    ck_assert_int_gt(strcmp(after, before), 0);
}

END_TEST

/* Two servers that start in the same millisecond make different ids. */
START_TEST(user_id_differs_by_randomness)
{
    struct fake_random random;
    struct user_id_source one = {.random = &random.source};
    struct user_id_source two = {.random = &random.source};
    char id[2][USER_ID_SIZE];

    fake_random_init(&random, 4);
    user_id_next(&one, NOW_MS, id[0]);
    user_id_next(&two, NOW_MS, id[1]);
    ck_assert_str_ne(id[0], id[1]);
}

END_TEST

UNIT_MAIN("user_id", user_id_has_the_form_of_a_uuid_7, user_id_grows_whatever_the_clock_does,
          user_id_carries_into_the_next_millisecond, user_id_differs_by_randomness)
