#include "channel_fixture.h"
#include "client/backoff.h"
#include "client/health_watch.h"

static struct subchannel *subchannel;
static struct health_watch *watch;
static unsigned changes;
static bool is_gone;
static uint64_t answer_timeout_ns; /* 0 = none */

static void on_subchannel_changed(void *owner)
{
    (void)owner;
}

static void on_subchannel_closed(void *owner)
{
    (void)owner;
    is_gone = true;
}

static void on_health_changed(void *owner)
{
    ck_assert_ptr_eq(owner, &changes);
    changes++;
}

static const char *give_authorization(void *owner)
{
    ck_assert_ptr_eq(owner, &changes);
    return "Bearer me";
}

static void be_connected(void)
{
    subchannel_connect(subchannel);
    UNTIL(subchannel_state(subchannel) == SUBCHANNEL_READY);
}

/* One server that says this, a connection to it, and a watch that has not begun. */
static void begin_watch(int health, const char *service)
{
    static const struct subchannel_events events = {
        .changed = on_subchannel_changed,
        .closed = on_subchannel_closed,
    };
    static const struct health_watch_events health_events = {
        .changed = on_health_changed,
        .authorization = give_authorization,
    };
    const struct health_watch_options watched = {service, answer_timeout_ns};
    const struct subchannel_options made = {
        .transport = {.authority = "t", .connect_timeout_ns = 30 * CLOCK_NS_PER_S},
        .backoff = backoff_defaults,
    };
    static struct target_address addresses[TARGET_ADDRESSES_MAX];
    char problem[TARGET_PROBLEM_SIZE];
    unsigned count;
    char text[64];

    begin_reactor();
    begin_places(1, NULL);
    places[0].health = health;
    changes = 0;
    is_gone = false;
    name_places(text, sizeof(text), 1);
    ck_assert_int_eq(target_parse(text, problem, &target), 0);
    ck_assert_int_eq(target_resolve(&target, addresses, &count, problem), 0);
    ck_assert_int_eq(subchannel_new(&reactor, &made, &addresses[0], &events, NULL, &subchannel), 0);
    ck_assert_int_eq(
        health_watch_new(&reactor, subchannel, &watched, &health_events, &changes, &watch), 0);
    be_connected();
    ck_assert_int_eq(health_watch_state(watch), HEALTH_WATCH_UNKNOWN);
}

static void end_watch(void)
{
    health_watch_free(watch);
    subchannel_close(subchannel);
    UNTIL(is_gone);
    end();
}

static void expect_state(enum health_watch_state state)
{
    UNTIL(health_watch_state(watch) == state);
}

static void say(int health)
{
    places[0].health = health;
    say_health(&places[0]);
}

/* It follows what the server says, and tells each change once. */
START_TEST(health_watch_follows)
{
    begin_watch(1, "t.T");
    health_watch_start(watch);
    ck_assert_uint_eq(changes, 0);
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(changes, 1);
    ck_assert_mem_eq(places[0].watch->body.data, "\0\0\0\0\5\n\3t.T", 10);
    ck_assert_str_eq(places[0].watch->authorization, "Bearer me");
    say(2);
    expect_state(HEALTH_WATCH_NOT_SERVING);
    say(0); /* UNKNOWN */
    say(3); /* SERVICE_UNKNOWN */
    turn_quietly();
    ck_assert_uint_eq(changes, 2);
    say(1);
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(changes, 3);
    end_watch();
}

END_TEST

/* The server as a whole has no name; a message without a field is UNKNOWN, garbage is no health. */
START_TEST(health_watch_reads_answers)
{
    const char *const answers[] = {"", "\x10\x01", "\x08", "\x0a\x01\x01", "\xff"};

    begin_watch(1, "");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(buf_size(&places[0].watch->body), 5);
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        scripted_request_send(places[0].watch, bytes_from_text(answers[i]));
        expect_state(HEALTH_WATCH_NOT_SERVING);
        scripted_request_send(places[0].watch, BYTES_LITERAL("\x12\x01x\x08\x01"));
        expect_state(HEALTH_WATCH_SERVING);
    }
    end_watch();
}

END_TEST

/* A server without the service is as good as healthy, and is asked again with the next connection.
 */
START_TEST(health_watch_may_be_unsupported)
{
    begin_watch(0, "t.T");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_UNSUPPORTED);
    ck_assert_uint_eq(changes, 1);
    health_watch_stop(watch);
    ck_assert_int_eq(health_watch_state(watch), HEALTH_WATCH_UNKNOWN);
    places[0].health = 1;
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(places[0].watches, 2);
    end_watch();
}

END_TEST

/* A stream that ends is no good sign, and is opened again. */
START_TEST(health_watch_begins_anew)
{
    begin_watch(1, "t.T");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    scripted_request_finish(places[0].watch, "0", NULL, NULL);
    expect_state(HEALTH_WATCH_NOT_SERVING);
    ck_assert_uint_eq(places[0].watches, 1);
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(places[0].watches, 2);
    end_watch();
}

END_TEST

/* Stopped and started before the old stream has ended: one stream in the end, and nothing of the
 * old one is told. */
START_TEST(health_watch_restarts)
{
    begin_watch(2, "t.T");
    health_watch_start(watch);
    UNTIL(places[0].watches == 1);
    say(1);
    health_watch_stop(watch);
    health_watch_stop(watch);
    health_watch_start(watch);
    health_watch_start(watch);
    places[0].health = 2;
    expect_state(HEALTH_WATCH_NOT_SERVING);
    ck_assert_uint_eq(changes, 1);
    ck_assert_uint_eq(places[0].watches, 2);
    health_watch_stop(watch);
    UNTIL(places[0].server.resets == 2);
    ck_assert_uint_eq(changes, 1);
    end_watch();
}

END_TEST

/* Without a connection it waits for the next start; the loss of one is no health either. */
START_TEST(health_watch_loses_its_connection)
{
    begin_watch(1, "t.T");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    conn_abort(places[0].watch->connection->conn);
    expect_state(HEALTH_WATCH_NOT_SERVING);
    health_watch_stop(watch);
    health_watch_start(watch); /* too early */
    turn_quietly();
    ck_assert_int_eq(health_watch_state(watch), HEALTH_WATCH_UNKNOWN);
    health_watch_stop(watch);
    be_connected();
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    end_watch();
}

END_TEST

/* Freed while it waits for its next stream, and right after it was started. */
START_TEST(health_watch_ends_early)
{
    begin_watch(1, "t.T");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_SERVING);
    scripted_request_finish(places[0].watch, "14", NULL, NULL);
    expect_state(HEALTH_WATCH_NOT_SERVING);
    end_watch();

    begin_watch(1, "t.T");
    health_watch_start(watch);
    end_watch();
    ck_assert_uint_eq(changes, 0);
    health_watch_free(NULL);
}

END_TEST

/* A server that never answers: it cannot be known whether it serves. It is asked again, and as long
 * as it likes to be silent after an answer it may be. */
START_TEST(health_watch_does_not_wait_for_ever)
{
    answer_timeout_ns = 10 * CLOCK_NS_PER_S;
    begin_watch(-1, "t.T");
    use_shifted_clock();
    health_watch_start(watch);
    UNTIL(places[0].watches == 1);
    turn_quietly();
    ck_assert_int_eq(health_watch_state(watch), HEALTH_WATCH_UNKNOWN);
    clock_offset_ns += 11 * CLOCK_NS_PER_S;
    expect_state(HEALTH_WATCH_NOT_SERVING);
    ck_assert_ptr_nonnull(strstr(health_watch_problem(watch), "no answer within 10000 ms"));
    ck_assert_uint_eq(changes, 1);
    UNTIL(places[0].server.resets == 1);

    places[0].health = 1;
    clock_offset_ns += 5 * CLOCK_NS_PER_S; /* the backoff */
    expect_state(HEALTH_WATCH_SERVING);
    ck_assert_uint_eq(places[0].watches, 2);
    clock_offset_ns += 600 * CLOCK_NS_PER_S;
    turn_quietly();
    ck_assert_int_eq(health_watch_state(watch), HEALTH_WATCH_SERVING);
    answer_timeout_ns = 0;
    end_watch();
}

END_TEST

/* Why it is not serving is said: by the server's own word, or by how the stream ended. */
START_TEST(health_watch_says_why)
{
    begin_watch(2, "t.T");
    health_watch_start(watch);
    expect_state(HEALTH_WATCH_NOT_SERVING);
    ck_assert_str_eq(health_watch_problem(watch), "its health is not SERVING");
    say(1);
    expect_state(HEALTH_WATCH_SERVING);
    scripted_request_finish(places[0].watch, "7", "grpc-message", "no%20rights");
    expect_state(HEALTH_WATCH_NOT_SERVING);
    ck_assert_ptr_nonnull(
        strstr(health_watch_problem(watch), "Watch ended with PERMISSION_DENIED: no rights"));
    end_watch();
}

END_TEST

UNIT_MAIN("health_watch", health_watch_follows, health_watch_reads_answers,
          health_watch_may_be_unsupported, health_watch_begins_anew, health_watch_restarts,
          health_watch_loses_its_connection, health_watch_ends_early,
          health_watch_does_not_wait_for_ever, health_watch_says_why)
