#include "channel_fixture.h"
#include "client/channel_internal.h"

#define CALLS 60

static struct target_address known[PLACES_MAX]; /* what the test's own resolver says */
static unsigned known_count;                    /* 0 = nobody knows the name */

/* Runs on the pool; the test changes what it says only while nobody asks. */
static int resolve(const struct target *of, struct target_address *ret_addresses,
                   unsigned *ret_count, char *problem)
{
    (void)of;
    if (__atomic_load_n(&known_count, __ATOMIC_ACQUIRE) == 0) {
        (void)snprintf(problem, TARGET_PROBLEM_SIZE, "nobody knows users.test");
        return TARGET_E_UNRESOLVED;
    }
    *ret_count = __atomic_load_n(&known_count, __ATOMIC_ACQUIRE);
    memcpy(ret_addresses, known, *ret_count * sizeof(known[0]));
    return 0;
}

static void tell_resolver(unsigned first, unsigned count)
{
    __atomic_store_n(&known_count, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < count; i++) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)&known[i].address;

        known[i] = (struct target_address){.size = sizeof(*in)};
        in->sin_family = AF_INET;
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in->sin_port = htons((uint16_t)strtol(places[first + i].server.port, NULL, 10));
    }
    __atomic_store_n(&known_count, count, __ATOMIC_RELEASE);
}

/* A channel to a name, by the resolver above. */
static void begin_named(unsigned count)
{
    begin_reactor();
    begin_places(count, NULL);
    ck_assert_int_eq(workpool_new(&reactor, 1, 4, &pool), 0);
    options.pool = pool;
    options.resolve = resolve;
    options.resolve_interval_ns = CLOCK_NS_PER_MS;
}

/* Three addresses: round_robin without being told, and exactly even. */
START_TEST(backends_share_calls_evenly)
{
    begin(3);
    connect_all(3);
    call_often(CALLS);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(places[i].served, CALLS / 3);
        ck_assert_uint_eq(places[i].server.accepted, 1);
        ck_assert_uint_eq(backend(i).calls, CALLS / 3);
    }
    /* Together, too. */
    for (unsigned i = 0; i < CALLS; i++) {
        (void)start(i, "/echo", "");
    }
    for (unsigned i = 0; i < CALLS; i++) {
        expect(&trials[i], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    }
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(places[i].served, 2 * CALLS / 3);
    }
    end();
}

END_TEST

/* One that is killed costs the calls that it had; the others share the rest; it comes back by
 * itself. */
START_TEST(backends_come_and_go)
{
    begin(3);
    connect_all(3);
    call_often(3);
    kill_place(1);
    UNTIL(!is_in_state(1, SUBCHANNEL_READY));
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, CALLS / 2);
    ck_assert_uint_eq(places[2].served, CALLS / 2);
    UNTIL(backend(1).connections.connect_failures >= 2);
    ck_assert_uint_eq(channel_stats(channel).backend_count, 3);

    revive_place(1);
    UNTIL(is_in_state(1, SUBCHANNEL_READY));
    turn_quietly();
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, CALLS / 3);
    end();
}

END_TEST

/* All are gone: calls fail with the reason, those that wait for ready wait; one that comes back
 * serves them. */
START_TEST(backends_all_gone)
{
    begin(2);
    connect_all(2);
    call_often(2); /* connections that never served are not made anew at once */
    kill_place(0);
    kill_place(1);
    UNTIL(!is_in_state(0, SUBCHANNEL_READY) && !is_in_state(1, SUBCHANNEL_READY));
    (void)start_patiently(0, "/echo", "");
    expect(start(1, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    ck_assert_ptr_nonnull(strstr(trials[1].message, "Connection refused"));
    UNTIL(backend(0).connections.connect_failures + backend(1).connections.connect_failures > 4);
    ck_assert(!trials[0].is_done);
    revive_place(1);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[1].served, 2);
    end();
}

END_TEST

/* One that drains keeps the calls that it has and gets no more; when it comes back it gets its
 * share. */
START_TEST(backends_drain)
{
    struct scripted_request *open;

    begin(2);
    connect_all(2);
    (void)start(TRIALS_MAX - 2, "/silent", "");
    (void)start(TRIALS_MAX - 1, "/silent", "");
    UNTIL(places[0].silent != NULL && places[1].silent != NULL);
    open = places[0].silent;
    listener_close(places[0].server.listener);
    UNTIL(places[0].server.listener_closed);
    h2_session_end(open->connection->session, H2_ERROR_NO_ERROR, "bye");
    conn_touch(open->connection->conn);
    UNTIL(backend(0).connections.goaways == 1);
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, CALLS);
    ck_assert(!trials[TRIALS_MAX - 2].is_done && !trials[TRIALS_MAX - 1].is_done);
    scripted_request_reply(open, BYTES_LITERAL("late"));
    UNTIL(trials[TRIALS_MAX - 2].is_done || trials[TRIALS_MAX - 1].is_done);
    end();
}

END_TEST

/* pick_first: in the order of the addresses, one connection, which it keeps; the next one when that
 * is lost, and only when somebody calls. */
START_TEST(backends_of_pick_first)
{
    begin_reactor();
    begin_places(3, NULL);
    options.has_policy = true;
    options.policy = BALANCER_PICK_FIRST;
    kill_place(0);
    begin_channel_to_places();
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, CALLS);
    ck_assert_uint_eq(places[2].server.accepted, 0);
    revive_place(0);
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, 2 * CALLS);

    kill_place(1);
    UNTIL(!is_in_state(1, SUBCHANNEL_READY));
    UNTIL(is_in_state(0, SUBCHANNEL_IDLE)); /* its backoff is over */
    turn_quietly();
    ck_assert_uint_eq(places[0].server.accepted, 0);
    ck_assert_uint_eq(places[2].server.accepted, 0);
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, CALLS);
    ck_assert_uint_eq(places[2].server.accepted, 0);
    end();
}

END_TEST

/* The service config's policy wins over that of the options. */
START_TEST(backends_by_the_service_config)
{
    use_config("{\"loadBalancingConfig\":[{\"pick_first\":{}}]}");
    begin_round_robin(2);
    begin_channel_to_places();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, CALLS);
    end();
}

END_TEST

/* Answers of the resolver: new addresses get their share, those named again keep their connection,
 * others finish what they have and go. */
START_TEST(backends_follow_the_resolver)
{
    begin_named(3);
    tell_resolver(0, 2);
    begin_channel("dns:///users.test:1");
    connect_all(2);
    call_often(2);
    ck_assert_uint_eq(places[0].served, 1);
    ck_assert_uint_eq(places[1].served, 1);
    (void)start(100, "/silent", "");
    (void)start(101, "/silent", "");
    UNTIL(places[0].silent != NULL && places[1].silent != NULL);

    tell_resolver(1, 2);
    UNTIL(is_in_state(1, SUBCHANNEL_READY) &&
          strstr(backend(1).address, places[2].server.port) != NULL);
    turn_quietly();
    ck_assert_uint_eq(channel_stats(channel).backend_count, 2);
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, 0);
    ck_assert_uint_eq(places[1].served, CALLS / 2);
    ck_assert_uint_eq(places[2].served, CALLS / 2);
    ck_assert_uint_eq(places[1].server.accepted, 1);

    /* The one that left still answers, and is hung up on when it has. */
    ck_assert_uint_eq(places[0].server.open_count, 1);
    scripted_request_reply(places[0].silent, BYTES_LITERAL("bye"));
    UNTIL(trials[100].is_done || trials[101].is_done);
    UNTIL(places[0].server.open_count == 0);
    end();
}

END_TEST

/* A name that is not known at first: calls fail and say so, patient ones are served when it is; one
 * that is forgotten keeps the addresses of before. */
START_TEST(backends_outlive_the_name)
{
    begin_named(1);
    begin_channel("dns:///users.test:1");
    (void)start_patiently(0, "/echo", "");
    expect(start(1, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_CONNECT);
    ck_assert_ptr_nonnull(strstr(trials[1].message, "nobody knows users.test"));
    ck_assert(!trials[0].is_done);
    tell_resolver(0, 1);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    tell_resolver(0, 0);
    kill_place(0);
    UNTIL(!is_in_state(0, SUBCHANNEL_READY));
    revive_place(0);
    expect(start_patiently(2, "/echo", ""), GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(channel_stats(channel).backend_count, 1);
    end();
}

END_TEST

/* Closing while the resolver is asked, and with one backend gone already. */
START_TEST(backends_close_with_the_resolver)
{
    begin_named(2);
    tell_resolver(0, 2);
    begin_channel("dns:///users.test:1");
    (void)start(0, "/echo", "");
    close_channel();
    expect(&trials[0], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    UNTIL(workpool_is_idle(pool));
    end();
}

END_TEST

static void begin_with_health(unsigned count, int first, int second)
{
    use_config("{\"healthCheckConfig\":{\"serviceName\":\"t.T\"}}");
    begin_round_robin(count);
    places[0].health = first;
    places[1].health = second;
    options.health_token = "nurse";
    begin_channel_to_places();
}

/* One that says NOT_SERVING is not used until it says SERVING; one without the service is. */
START_TEST(backends_are_healthy)
{
    begin_with_health(2, 2, 0);
    connect_all(2);
    UNTIL(places[0].watches == 1 && places[1].watches == 1);
    ck_assert_str_eq(places[0].watch->authorization, "Bearer nurse");
    call_often(CALLS);
    ck_assert_uint_eq(places[1].served, CALLS);
    ck_assert(!backend(0).is_healthy);
    ck_assert(backend(1).is_healthy);

    places[0].health = 1;
    say_health(&places[0]);
    UNTIL(backend(0).is_healthy);
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, CALLS / 2);

    places[0].health = 2;
    say_health(&places[0]);
    UNTIL(!backend(0).is_healthy);
    forget_served();
    call_often(CALLS);
    ck_assert_uint_eq(places[0].served, 0);
    end();
}

END_TEST

/* None is healthy: calls fail and say so; patient ones wait for one that is. */
START_TEST(backends_are_all_sick)
{
    begin_with_health(2, 2, 3);
    (void)start_patiently(0, "/echo", "");
    expect(start(1, "/echo", ""), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_ptr_nonnull(strstr(trials[1].message, "not SERVING"));
    ck_assert(!trials[0].is_done);
    places[1].health = 1;
    say_health(&places[1]);
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_uint_eq(places[1].served, 1);
    end();
}

END_TEST

static void call_again(struct trial *trial)
{
    trial->then = NULL;
    (void)start(1, "/echo", "again");
}

/* A connection that is lost takes its health watch along: the loss is the reason, not the health,
 * and a call that is started as soon as the loss is known waits for the next connection. */
START_TEST(backends_lost_say_why)
{
    begin_with_health(1, 1, 0);
    connect_all(1);
    UNTIL(backend(0).is_healthy);
    expect_echo(0); /* it has served: dialled anew at once */
    trials[0].then = call_again;
    (void)start(0, "/silent", "");
    UNTIL(places[0].silent != NULL);
    conn_abort(places[0].watch->connection->conn);
    UNTIL(backend(0).connections.losses == 1);
    ck_assert_ptr_null(strstr(channel->problem, "SERVING"));
    ck_assert_ptr_nonnull(strstr(channel->problem, "connection"));
    ck_assert_int_eq(channel->problem_cause, CALL_CAUSE_CONNECT);
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    expect(&trials[1], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    end();
}

END_TEST

/* One that never tells its health: calls hear of it at their deadline; after a while it counts as
 * not serving, and calls that do not wait for ready fail with the reason. */
START_TEST(backends_that_hide_their_health)
{
    use_config("{\"healthCheckConfig\":{\"serviceName\":\"t.T\"}}");
    begin_round_robin(1);
    use_shifted_clock();
    places[0].health = -1;
    begin_channel_to_places();
    (void)start_patiently(0, "/echo", "");
    (void)start(1, "/echo", "");
    (void)start_with_timeout(2, "/echo", 5 * CLOCK_NS_PER_S);
    UNTIL(places[0].watches == 1);
    turn_quietly();
    clock_offset_ns += 6 * CLOCK_NS_PER_S;
    expect(&trials[2], GRPC_STATUS_DEADLINE_EXCEEDED, CALL_CAUSE_DEADLINE);
    ck_assert_ptr_nonnull(strstr(trials[2].message, "has not told its health"));
    ck_assert(!trials[1].is_done);
    clock_offset_ns += options.connect_timeout_ns;
    expect(&trials[1], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_ANSWER);
    ck_assert_ptr_nonnull(strstr(trials[1].message, "no answer within 30000 ms"));
    ck_assert(!trials[0].is_done);
    places[0].health = 1;
    clock_offset_ns += 5 * CLOCK_NS_PER_S; /* the backoff */
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    end();
}

END_TEST

/* A call that comes when the resolver has gone and the channel has not is told so, and makes no new
 * one. */
START_TEST(backends_are_not_resolved_while_closing)
{
    begin(1);
    expect_echo(0);
    channel_close(channel);
    while (channel->resolver != NULL) {
        turn();
    }
    ck_assert_uint_eq(closed_count, 0);
    (void)start(1, "/echo", "");
    ck_assert_ptr_null(channel->resolver);
    UNTIL(closed_count == 1);
    expect(&trials[1], GRPC_STATUS_CANCELLED, CALL_CAUSE_CANCELLED);
    end();
}

END_TEST

UNIT_MAIN("channel_backends", backends_share_calls_evenly, backends_come_and_go, backends_all_gone,
          backends_drain, backends_of_pick_first, backends_by_the_service_config,
          backends_follow_the_resolver, backends_outlive_the_name, backends_close_with_the_resolver,
          backends_are_healthy, backends_are_all_sick, backends_lost_say_why,
          backends_that_hide_their_health, backends_are_not_resolved_while_closing)
