#include "list_fixture.h"
#include "service/user_filter.h"
#include "service/user_scan.h"

/* How long each look at the clock takes, and so each batch of users between two. */
#define LOOK_NS 25000

/* A scan gives way to the loop when its time is over: no turn is held up for longer, and what comes
 * and goes meanwhile is looked at once or not at all. */
START_TEST(user_scan_scans_in_slices)
{
    static struct fake_call call;
    const struct page *page;
    unsigned turns = 0;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = LOOK_NS;
    list(&call, 1000, NULL, "roles:admin");
    ck_assert(!call.answered);
    ck_assert_uint_eq(fixture.stats->slices, 1);
    ck_assert_uint_eq(fixture.stats->scans_running, 1);
    for (; !call.answered; turns++) {
        uint64_t before_ns = fixture.clock.now_ns;

        ck_assert_uint_eq(call.call.holds, 1);
        turn();
        ck_assert_uint_le(fixture.clock.now_ns - before_ns, USER_LIST_SLICE_NS + 6 * LOOK_NS);
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
    fixture.clock.jump_ns = LOOK_NS;
    list(&call, 10, NULL, "roles:admin");
    ck_assert(!call.answered);
    drop(0);
    turn_until_answered(&call);
    (void)snprintf(token, sizeof(token), "%s", page_of(&call)->token);
    fake_call_deinit(&call);
    examined = fixture.stats->users_examined;
    fixture.clock.jump_ns = 0;
    turn(); /* with time of its own */
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
    fixture.clock.jump_ns = LOOK_NS;
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
    fixture.clock.jump_ns = LOOK_NS;
    for (unsigned i = 0; i < 3; i++) {
        list(&calls[i], 1000, NULL, "roles:admin");
    }
    ck_assert_uint_eq(fixture.stats->slices, 1); /* of the first; the others wait for their turn */
    list(&other, 0, NULL, "roles:admin");
    expect_refusal(&other, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_SCANS", "");
    ck_assert_uint_eq(fixture.reactor.limits_hit.counts[LIMITS_HIT_SCANS], 1);
    ck_assert_int_gt(other.retry_ms, 0);
    ck_assert_ptr_nonnull(strstr(other.message, "limits.max_scans"));
    fake_call_deinit(&other);
    ck_assert_uint_eq(get_page(0, NULL, NULL)->count, 50);
    ck_assert_uint_eq(get_page(0, NULL, "id = u1")->count, 1);
    for (; answered < 3; turns++) {
        uint64_t before_ns = fixture.clock.now_ns;

        answered = 0;
        turn();
        /* A look of each scan is not in its share, nor one more of each that ends. */
        ck_assert_uint_le(fixture.clock.now_ns - before_ns, USER_LIST_SLICE_NS + 9 * LOOK_NS);
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
    turn(); /* with time of its own */
    ck_assert_uint_eq(get_page(0, NULL, "roles:admin")->total, 200);
    finish();
}

END_TEST

/* Several calls in one turn of the loop have one slice together, however many they are. */
START_TEST(user_scan_shares_the_first_slice)
{
    static struct fake_call calls[3];

    start();
    put_many(0, 150);
    fixture.clock.jump_ns = LOOK_NS;
    for (unsigned i = 0; i < 3; i++) {
        list(&calls[i], 1000, NULL, "roles:admin"); /* 5 looks at the clock each */
    }
    ck_assert(calls[0].answered);
    ck_assert(!calls[1].answered);
    ck_assert(!calls[2].answered);
    for (unsigned i = 0; i < 3; i++) {
        turn_until_answered(&calls[i]);
        ck_assert_uint_eq(page_of(&calls[i])->total, 15);
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
    ck_assert_uint_eq(fixture.reactor.limits_hit.counts[LIMITS_HIT_SCAN_USERS], 1);
    ck_assert_ptr_nonnull(strstr(call.message, "limits.max_scan_users"));
    ck_assert_ptr_nonnull(strstr(call.message, "id, username or email"));
    ck_assert_int_eq(call.retry_ms, 0);
    fake_call_deinit(&call);
    ck_assert_uint_eq(fixture.stats->users_examined, 0);
    ck_assert_uint_eq(get_page(0, NULL, "id = u17")->count, 1);
    drop(0);
    ck_assert_uint_eq(get_page(0, NULL, "roles:admin")->total, 50);
    fixture.clock.jump_ns = LOOK_NS;
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

/* The time is looked at the more often the more a user may cost, whatever the users before did. */
START_TEST(user_scan_looks_at_the_time_by_cost)
{
    static const struct {
        const char *filter;
        unsigned looks_min;
        unsigned looks_max;
    } cases[] = {
        {"roles:admin", 5, 10},
        {"roles:a OR roles:b OR roles:c OR roles:d", 17, 22},
        {"profile.last_name:x", 60, 70},
        {"anna", 121, 126},
        {"anna OR bob OR cleo", 121, 126},
    };

    start();
    put_many(0, 120);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t before_ns = fixture.clock.now_ns;

        fixture.clock.jump_ns = 1;
        (void)get_page(0, NULL, cases[i].filter);
        ck_assert_uint_ge(fixture.clock.now_ns - before_ns, cases[i].looks_min);
        ck_assert_uint_le(fixture.clock.now_ns - before_ns, cases[i].looks_max);
    }
    finish();
}

END_TEST

static unsigned slow_ends;

/* An owner that takes most of a slice. */
static void end_slowly(struct user_scan *scan, int result)
{
    (void)scan;
    ck_assert_int_eq(result, 0);
    fixture.clock.now_ns += USER_LIST_SLICE_NS - LOOK_NS / 2;
    slow_ends++;
}

/* What the owner of a scan does at its end is taken from the time of the scans: scans that end
 * together do not hold up the loop one after the other. */
START_TEST(user_scan_counts_the_time_of_ends)
{
    struct user_lister_stats stats = {0};
    struct user_scanner scanner = {.max_scans = 3, .max_users = 1000, .stats = &stats};
    struct user_scan scans[3] = {{0}};
    struct user_filter_problem problem;
    const struct user_filter *filter;
    struct arena arena = {0};

    start();
    put_many(0, 10);
    ck_assert_int_eq(user_filter_parse(BYTES_LITERAL("roles:admin"), &arena, &filter, &problem), 0);
    scanner.reactor = &fixture.reactor;
    scanner.store = fixture.store;
    scanner.turn_ns = fixture.reactor.now_ns;
    scanner.spent_ns = USER_LIST_SLICE_NS; /* so none is over at once */
    user_scanner_init(&scanner);
    for (unsigned i = 0; i < 3; i++) {
        scans[i] = (struct user_scan){.filter = filter, .is_counted = true, .done = end_slowly};
        ck_assert_int_eq(user_scan_start(&scanner, &scans[i]), USER_SCAN_E_RUNNING);
    }
    for (unsigned i = 1; i <= 3; i++) {
        fixture.clock.now_ns++;
        turn();
        ck_assert_uint_eq(slow_ends, i);
    }
    user_scanner_deinit(&scanner);
    arena_deinit(&arena);
    finish();
}

END_TEST

/* Scans of a client that takes no answers rest, and go on when it does: their pages would pile up
 * at its connection otherwise. Meanwhile the loop sleeps. */
START_TEST(user_scan_rests_while_there_is_no_room)
{
    static struct fake_call calls[2];
    uint64_t examined;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = LOOK_NS;
    list(&calls[0], 10, NULL, "roles:admin");
    list(&calls[1], 10, NULL, "roles:admin");
    fixture.slow_reader = true;
    turn();
    examined = fixture.stats->users_examined;
    fixture.clock.jump_ns = 0;
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(list_is_empty(&fixture.reactor.slow_tasks));
        turn();
        ck_assert_uint_eq(fixture.stats->users_examined, examined);
        ck_assert_uint_eq(fixture.stats->scans_running, 2);
        fixture.clock.now_ns += 10 * CLOCK_NS_PER_MS; /* it is looked whether there is room */
        turn();
    }
    fake_call_cancel(&calls[1]);
    ck_assert_uint_eq(fixture.stats->scans_running, 1);
    fixture.slow_reader = false;
    fixture.clock.now_ns += 10 * CLOCK_NS_PER_MS;
    turn_until_answered(&calls[0]);
    ck_assert_uint_eq(page_of(&calls[0])->total, 200);
    fake_call_deinit(&calls[0]);
    fake_call_deinit(&calls[1]);
    finish();
}

END_TEST

/* Who takes no answers keeps no other from scanning: of the scans that rest the oldest gives up its
 * place when there is none left. */
START_TEST(user_scan_gives_the_place_of_one_that_rests_away)
{
    static struct fake_call calls[3];
    static struct fake_call other;

    start();
    put_many(0, 2000);
    fixture.clock.jump_ns = LOOK_NS;
    for (unsigned i = 0; i < 3; i++) {
        list(&calls[i], 10, NULL, "roles:admin");
    }
    fixture.slow_reader = true;
    turn();
    list(&other, 10, NULL, "roles:admin");
    ck_assert(!other.answered);
    expect_refusal(&calls[0], GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_SCANS", "");
    ck_assert(!calls[1].answered);
    ck_assert_uint_eq(fixture.stats->scans_running, 3);
    ck_assert_uint_eq(fixture.stats->scans_refused, 1);
    fixture.slow_reader = false;
    fake_call_deinit(&calls[0]);
    fake_call_cancel(&calls[1]);
    fake_call_cancel(&calls[2]);
    fake_call_deinit(&calls[1]);
    fake_call_deinit(&calls[2]);
    turn_until_answered(&other);
    ck_assert_uint_eq(page_of(&other)->total, 200);
    fake_call_deinit(&other);
    finish();
}

END_TEST

UNIT_MAIN("user_scan", user_scan_scans_in_slices, user_scan_trusts_no_count_that_changed,
          user_scan_stops_cancelled_scans, user_scan_shares_the_slices,
          user_scan_shares_the_first_slice, user_scan_limits_what_a_scan_looks_at,
          user_scan_looks_at_the_time_by_cost, user_scan_counts_the_time_of_ends,
          user_scan_rests_while_there_is_no_room, user_scan_gives_the_place_of_one_that_rests_away)
