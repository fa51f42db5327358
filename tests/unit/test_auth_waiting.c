#include "auth_fixture.h"

/*
 * Calls whose token waits to be verified. The reactor is not run: its time and its timers are moved
 * by hand.
 */

#define CALLS 8

static struct grpc_call_host hosts[2];
static struct grpc_call calls[CALLS];
static unsigned begun;
static unsigned tokens_made;

static void set_up(uint32_t per_turn)
{
    realtime_ns = 1700000000 * CLOCK_NS_PER_S;
    open_with(&clock_fake, 4);
    auth.waiting.per_turn = per_turn;
    reactor.now_ns = 1000;
    reactor.turning = true; /* as whenever calls come */
    begun = 0;
    proceeded_count = 0;
    for (unsigned i = 0; i < 2; i++) {
        hosts[i] = (struct grpc_call_host){.ops = &host_ops, .reactor = &reactor};
    }
}

/* All calls end, and so do their connections. */
static void clean_up(void)
{
    for (unsigned i = 0; i < begun; i++) {
        calls[i].stages_begun = 0;
        stage.end(stage.context, &calls[i]);
        ck_assert(!calls[i].waits);
        ck_assert_ptr_null(calls[i].stage_state[0]);
        arena_deinit(&calls[i].arena);
    }
    ck_assert_uint_eq(auth.waiting.count, 0);
    ck_assert(!timer_is_armed(&auth.waiting.timer));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert(hosts[i].waiting_calls.next == NULL || list_is_empty(&hosts[i].waiting_calls));
        if (hosts[i].memo != NULL) {
            hosts[i].memo_release(hosts[i].memo);
        }
    }
    done();
    timer_set_deinit(&reactor.timers);
}

/* A token that nobody has seen; or, when `good` is not set, one with a wrong signature. */
static char *fresh_token(bool good)
{
    char subject[32];
    struct token_request request = {.subject = subject, .roles = "admin", .expires_s = EXPIRY_S};
    char *fresh = NULL;

    (void)snprintf(subject, sizeof(subject), "user%u", ++tokens_made);
    ck_assert_int_eq(token_sign_hs256(good ? BYTES_LITERAL(SECRET)
                                           : BYTES_LITERAL("another secret, of 32 bytes or so"),
                                      &request, &fresh),
                     0);
    return fresh;
}

static struct grpc_call *begin_with(unsigned host_number, const char *sent)
{
    struct grpc_call *new_call = &calls[begun++];
    size_t size = strlen(sent) + 8;
    char *value;

    *new_call =
        (struct grpc_call){.host = &hosts[host_number], .method = &unary, .stages_begun = 1};
    value = arena_alloc(&new_call->arena, size);
    (void)snprintf(value, size, "Bearer %s", sent);
    new_call->head.authorization_count = 1;
    new_call->head.authorization = bytes_from_text(value);
    (void)stage.begin(stage.context, new_call);
    return new_call;
}

static struct grpc_call *begin_fresh(unsigned host_number, bool good)
{
    char *fresh = fresh_token(good);
    struct grpc_call *new_call = begin_with(host_number, fresh);

    free(fresh);
    return new_call;
}

static void next_turn(void)
{
    reactor.now_ns += 1000;
    timer_set_run(&reactor.timers, reactor.now_ns);
}

/* So many signatures per turn, and the rest wait: connections in turns, the calls of each in their
 * order. */
START_TEST(auth_waiting_takes_turns)
{
    set_up(2);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert(begin_fresh(0, true)->waits == (i >= 2));
    }
    ck_assert(begin_fresh(1, true)->waits);
    ck_assert_uint_eq(auth.waiting.count, 4);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_VERIFICATIONS], 4);
    next_turn();
    ck_assert_uint_eq(proceeded_count, 2);
    ck_assert_ptr_eq(proceeded[0], &calls[2]);
    ck_assert_ptr_eq(proceeded[1], &calls[5]);
    ck_assert_uint_eq(auth.waiting.count, 2);
    next_turn();
    ck_assert_ptr_eq(proceeded[2], &calls[3]);
    ck_assert_ptr_eq(proceeded[3], &calls[4]);
    ck_assert_uint_eq(auth.passed, 6);
    ck_assert_uint_eq(token_verifier_checked(verifier), 6);
    ck_assert(!timer_is_armed(&auth.waiting.timer));
    clean_up();
}

END_TEST

/* Who is known does not wait for who is not: neither by the connection's memory nor by the cache.
 * New ones stand behind those that wait. */
START_TEST(auth_waiting_lets_the_known_pass)
{
    set_up(1);
    ck_assert(!begin_with(0, token)->waits);
    ck_assert(begin_fresh(0, true)->waits);
    ck_assert(!begin_with(0, token)->waits);
    ck_assert(!begin_with(1, token)->waits);
    ck_assert_uint_eq(auth.passed, 3);
    reactor.now_ns += 1000; /* a new turn, in which those that wait had no turn yet */
    ck_assert(begin_fresh(1, true)->waits);
    next_turn();
    ck_assert_ptr_eq(proceeded[0], &calls[1]);
    next_turn();
    ck_assert_ptr_eq(proceeded[1], &calls[4]);
    clean_up();
}

END_TEST

/* Refused ones cost as much. */
START_TEST(auth_waiting_counts_forgeries)
{
    set_up(2);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(begin_fresh(0, false)->waits == (i >= 2));
    }
    failure_count = 0;
    next_turn();
    ck_assert_uint_eq(failure_count, 2);
    ck_assert_uint_eq(auth.refused[TOKEN_BAD_SIGNATURE], 4);
    clean_up();
}

END_TEST

/* A call that ends while it waits leaves its place, and the last one the timer. */
START_TEST(auth_waiting_forgets_what_ends)
{
    set_up(1);
    (void)begin_fresh(0, true);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(begin_fresh(i % 2, true)->waits);
    }
    calls[1].stages_begun = 0;
    stage.end(stage.context, &calls[1]);
    ck_assert_uint_eq(auth.waiting.count, 2);
    ck_assert(!list_is_empty(&hosts[0].waiting_calls));
    next_turn();
    ck_assert_uint_eq(proceeded_count, 1);
    ck_assert_uint_eq(auth.waiting.count, 1);
    ck_assert(timer_is_armed(&auth.waiting.timer));
    clean_up(); /* ends the last one */
}

END_TEST

/* 0 allows any number, and what already waits comes next when an operator says so. */
START_TEST(auth_waiting_may_be_off)
{
    set_up(0);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(!begin_fresh(0, true)->waits);
    }
    auth.waiting.per_turn = 1;
    ck_assert(begin_fresh(0, true)->waits);
    ck_assert(begin_fresh(0, true)->waits);
    auth.waiting.per_turn = 0;
    ck_assert(!begin_fresh(0, true)->waits);
    next_turn();
    ck_assert_uint_eq(proceeded_count, 2);
    ck_assert_uint_eq(auth.passed, 7);
    clean_up();
}

END_TEST

UNIT_MAIN("auth_waiting", auth_waiting_takes_turns, auth_waiting_lets_the_known_pass,
          auth_waiting_counts_forgeries, auth_waiting_forgets_what_ends, auth_waiting_may_be_off)
