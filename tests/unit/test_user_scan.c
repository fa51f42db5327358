#include "list_fixture.h"

/* A scan gives way to the loop when its time is over: no turn is held up for longer, and what comes
 * and goes meanwhile is looked at once or not at all. */
START_TEST(user_scan_scans_in_slices)
{
    static struct fake_call call;
    const struct page *page;
    unsigned turns = 0;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = 10000;
    list(&call, 1000, NULL, "roles:admin");
    ck_assert(!call.answered);
    ck_assert_uint_eq(fixture.stats->slices, 1);
    ck_assert_uint_eq(fixture.stats->scans_running, 1);
    for (; !call.answered; turns++) {
        uint64_t before_ns = fixture.clock.now_ns;

        ck_assert_uint_eq(call.call.holds, 1);
        turn();
        ck_assert_uint_le(fixture.clock.now_ns - before_ns,
                          USER_LIST_SLICE_NS + 3 * fixture.clock.jump_ns);
        drop(turns);               /* it was looked at */
        drop(1999 - turns);        /* it was not */
        put(1000 + turns, "Anew"); /* in its place */
        put(2000 + turns, "New");
    }
    ck_assert_uint_ge(turns, 5);
    ck_assert_uint_lt(turns, 100);
    page = page_of(&call);
    ck_assert_uint_eq(page->count, page->total);
    ck_assert_uint_gt(page->count, (1999 - turns) / 10);
    for (unsigned i = 0; i < page->count; i++) {
        if (10 * i < 1999 - turns) {
            ck_assert_uint_eq(page->numbers[i], 10 * i);
        } else {
            ck_assert_uint_gt(page->numbers[i], page->numbers[i - 1]);
        }
    }
    fake_call_deinit(&call);
    finish();
}

END_TEST

/* What was counted while users came and went is in no token: the next page counts for itself. */
START_TEST(user_scan_trusts_no_count_that_changed)
{
    static struct fake_call call;
    char token[PAGE_TOKEN_SIZE_MAX];
    uint64_t examined;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = 10000;
    list(&call, 10, NULL, "roles:admin");
    ck_assert(!call.answered);
    drop(0);
    turn_until_answered(&call);
    (void)snprintf(token, sizeof(token), "%s", page_of(&call)->token);
    fake_call_deinit(&call);
    examined = fixture.stats->users_examined;
    fixture.clock.jump_ns = 0;
    ck_assert_uint_eq(get_page(10, token, "roles:admin")->total, 199);
    ck_assert_uint_eq(fixture.stats->users_examined, examined + 1999);
    finish();
}

END_TEST

/* A scan whose call ends is over at once, and leaves nothing behind. */
START_TEST(user_scan_stops_cancelled_scans)
{
    static struct fake_call first;
    static struct fake_call second;
    uint64_t examined;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = 10000;
    list(&first, 10, NULL, "roles:admin");
    list(&second, 10, NULL, "roles:admin");
    turn();
    ck_assert_uint_eq(fixture.stats->scans_running, 2);
    fake_call_cancel(&first);
    ck_assert_uint_eq(fixture.stats->scans_running, 1);
    ck_assert_uint_eq(first.call.holds, 0);
    turn();
    fake_call_cancel(&second);
    examined = fixture.stats->users_examined;
    for (unsigned i = 0; i < 5; i++) {
        turn();
    }
    ck_assert_uint_eq(fixture.stats->users_examined, examined);
    ck_assert_int_eq(first.answer_count + second.answer_count, 0);
    fake_call_deinit(&first);
    fake_call_deinit(&second);
    finish();
}

END_TEST

/* Several scans share the slice of a turn: the later ones are as quick as the first. One more than
 * max_scans is sent away until later, and one that needs no scan is served meanwhile. */
START_TEST(user_scan_shares_the_slices)
{
    static struct fake_call calls[3];
    static struct fake_call other;
    unsigned answered = 0;
    unsigned turns = 0;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = 10000;
    for (unsigned i = 0; i < 3; i++) {
        list(&calls[i], 1000, NULL, "roles:admin");
    }
    ck_assert_uint_eq(fixture.stats->slices, 1); /* of the first; the others wait for their turn */
    list(&other, 0, NULL, "roles:admin");
    expect_refusal(&other, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_SCANS", "");
    ck_assert_int_gt(other.retry_ms, 0);
    ck_assert_ptr_nonnull(strstr(other.message, "limits.max_scans"));
    fake_call_deinit(&other);
    ck_assert_uint_eq(get_page(0, NULL, NULL)->count, 50);
    ck_assert_uint_eq(get_page(0, NULL, "id = u1")->count, 1);
    for (; answered < 3; turns++) {
        uint64_t before_ns = fixture.clock.now_ns;

        answered = 0;
        turn();
        ck_assert_uint_le(fixture.clock.now_ns - before_ns,
                          USER_LIST_SLICE_NS + 3 * fixture.clock.jump_ns);
        for (unsigned i = 0; i < 3; i++) {
            answered += calls[i].answered;
        }
        /* They began within a turn of each other, and end so. */
        ck_assert(answered == 0 || fixture.stats->users_examined > 3 * 2000 - 3 * 200);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(page_of(&calls[i])->total, 200);
        fake_call_deinit(&calls[i]);
    }
    ck_assert_uint_eq(fixture.stats->scans_refused, 1);
    fixture.clock.jump_ns = 0;
    ck_assert_uint_eq(get_page(0, NULL, "roles:admin")->total, 200);
    finish();
}

END_TEST

/* Several calls in one turn of the loop have one slice together, however many they are. */
START_TEST(user_scan_shares_the_first_slice)
{
    static struct fake_call calls[3];

    start();
    put_many(0, 100);
    fixture.clock.jump_ns = 10000;
    for (unsigned i = 0; i < 3; i++) {
        list(&calls[i], 1000, NULL, "roles:admin"); /* 13 looks at the clock each */
    }
    ck_assert(calls[0].answered);
    ck_assert(!calls[1].answered);
    ck_assert(!calls[2].answered);
    for (unsigned i = 0; i < 3; i++) {
        turn_until_answered(&calls[i]);
        ck_assert_uint_eq(page_of(&calls[i])->total, 10);
        fake_call_deinit(&calls[i]);
    }
    finish();
}

END_TEST

/* A filter that would look at too many users is refused, with advice, before it begins; or when
 * they become too many on the way. One that an index answers is not. */
START_TEST(user_scan_limits_what_a_scan_looks_at)
{
    struct user_lister_options options = DEFAULTS;
    static struct fake_call call;

    start();
    put_many(0, 501);
    options.max_scan_users = 500;
    make_lister(&options);
    list(&call, 0, NULL, "roles:admin");
    expect_refusal(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "SCAN_TOO_LARGE", "");
    ck_assert_ptr_nonnull(strstr(call.message, "limits.max_scan_users"));
    ck_assert_ptr_nonnull(strstr(call.message, "id, username or email"));
    ck_assert_int_eq(call.retry_ms, 0);
    fake_call_deinit(&call);
    ck_assert_uint_eq(fixture.stats->users_examined, 0);
    ck_assert_uint_eq(get_page(0, NULL, "id = u17")->count, 1);
    drop(0);
    ck_assert_uint_eq(get_page(0, NULL, "roles:admin")->total, 50);
    fixture.clock.jump_ns = 10000;
    list(&call, 0, NULL, "roles:admin");
    ck_assert(!call.answered);
    put(600, "New");
    turn_until_answered(&call);
    expect_refusal(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "SCAN_TOO_LARGE", "");
    fake_call_deinit(&call);
    ck_assert_uint_eq(fixture.stats->scans_cut, 2);
    finish();
}

END_TEST

UNIT_MAIN("user_scan", user_scan_scans_in_slices, user_scan_trusts_no_count_that_changed,
          user_scan_stops_cancelled_scans, user_scan_shares_the_slices,
          user_scan_shares_the_first_slice, user_scan_limits_what_a_scan_looks_at)
