#include "http2/h2_inbound.h"
#include "transport_rig.h"

#include <nghttp2/nghttp2.h>

/* A lost connection fails what is on it, and says so before; what was not sent yet is safe to try
 * again. */
START_TEST(transport_survives_a_lost_connection)
{
    begin_ready();
    (void)start(0, "/drop");
    for (unsigned i = 1; i <= STREAMS_MAX; i++) {
        (void)start(i, "/silent");
    }
    wait_until_closed();
    for (unsigned i = 0; i < STREAMS_MAX; i++) {
        expect(&trials[i], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
        ck_assert_ptr_nonnull(strstr(trials[i].message, NAME_IN_TEXT));
        ck_assert(!trials[i].is_unsent);
    }
    expect(&trials[STREAMS_MAX], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    ck_assert(trials[STREAMS_MAX].is_unsent);
    ck_assert_uint_eq(draining_order, 0);
    ck_assert_int_eq(closed_cause, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(closed_problem, NAME_IN_TEXT));
    end();
}

END_TEST

/* A server that closes its side ends it, too. */
START_TEST(transport_notices_the_end)
{
    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    conn_close(silent_request->connection->conn);
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "the server closed the connection"));
    expect_not_ready();
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_LOST);
    end();
}

END_TEST

/* Garbage instead of frames ends it with the reason. */
START_TEST(transport_refuses_garbage)
{
    const uint8_t garbage[64] = {0xff};

    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    ck_assert_int_eq(
        buf_append(conn_output(silent_request->connection->conn), garbage, sizeof(garbage)), 0);
    conn_touch(silent_request->connection->conn);
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "the HTTP/2 session failed: "));
    end();
}

END_TEST

/* GOAWAY: no new attempts; what the server took is answered and then the connection ends, what it
 * has not looked at and what was not sent yet may be tried elsewhere, and everybody is told first.
 */
START_TEST(transport_drains_after_goaway)
{
    struct scripted_request *first;

    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    first = silent_request;
    for (unsigned i = 1; i <= STREAMS_MAX; i++) {
        (void)start(i, "/silent");
    }
    /* The final GOAWAY goes out before the others come in: they are above its id. */
    h2_session_end(first->connection->session, H2_ERROR_NO_ERROR, "maintenance");
    conn_touch(first->connection->conn);
    while (draining_count == 0) {
        turn();
    }
    ck_assert_int_eq(transport->state, TRANSPORT_DRAINING);
    ck_assert_uint_eq(draining_order, 0);
    expect_not_ready();
    for (unsigned i = 1; i <= STREAMS_MAX; i++) {
        expect(&trials[i], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
        ck_assert(trials[i].is_unsent == (i == STREAMS_MAX));
        ck_assert(!trials[i].has_head);
        ck_assert_ptr_nonnull(strstr(trials[i].message, NAME_IN_TEXT));
        ck_assert_ptr_nonnull(strstr(trials[i].message, "maintenance"));
    }
    turn_quietly();
    ck_assert_uint_eq(closed_count, 0);
    scripted_request_reply(first, BYTES_LITERAL("last"));
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "last");
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_ANSWER);
    ck_assert_ptr_nonnull(strstr(closed_problem, "maintenance"));
    ck_assert(!was_asked_for_patience);
    end();
}

END_TEST

/* The announcement of an end takes nothing back but what was not sent. */
START_TEST(transport_drains_after_an_announcement)
{
    struct scripted_request *first;

    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    first = silent_request;
    for (unsigned i = 1; i <= STREAMS_MAX; i++) {
        (void)start(i, "/silent");
    }
    h2_session_announce_end(first->connection->session);
    conn_touch(first->connection->conn);
    expect(&trials[STREAMS_MAX], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_REFUSED);
    ck_assert(trials[STREAMS_MAX].is_unsent);
    ck_assert_uint_eq(transport->attempt_count, STREAMS_MAX);
    ck_assert_uint_eq(done_count, 1);
    conn_abort(first->connection->conn); /* a loss after all: that is the reason now */
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_LOST);
    expect(&trials[0], GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_null(strstr(trials[0].message, "HTTP/2 error 0"));
    end();
}

END_TEST

/* A server that was pinged too often says so, and that is passed on. */
START_TEST(transport_hears_a_plea_for_patience)
{
    begin_ready();
    expect(start(0, "/calm"), GRPC_STATUS_UNAVAILABLE, CALL_CAUSE_LOST);
    ck_assert_ptr_nonnull(strstr(trials[0].message, "too_many_pings"));
    wait_until_closed();
    ck_assert(was_asked_for_patience);
    end();
}

END_TEST

/* A server that leaves in the same breath as it says hello was READY for no attempt. */
START_TEST(transport_hears_goodbye_with_hello)
{
    static const char words[] = "\0\0\0\4\0\0\0\0\0"
                                "\0\0\14\7\0\0\0\0\0\0\0\0\0\0\0\0\13"
                                "busy";
    struct sockaddr_in address;
    socklen_t size = sizeof(address);
    int port;
    int listener = open_socket(8, &port);
    int client;

    begin_reactor();
    connect_to(loopback_address(port));
    ck_assert_int_eq(reactor_turn(&reactor, 0), 0); /* gives the connect to the kernel */
    client = accept4(listener, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);
    ck_assert_int_ge(client, 0);
    ck_assert_int_eq(send(client, words, sizeof(words) - 1, MSG_NOSIGNAL), sizeof(words) - 1);
    wait_until_closed();
    ck_assert_uint_eq(ready_count, 1);
    ck_assert_int_eq(closed_cause, CALL_CAUSE_ANSWER);
    ck_assert_ptr_nonnull(strstr(closed_problem, "(HTTP/2 error 11, busy)"));
    ck_assert(!was_asked_for_patience);
    (void)close(client);
    (void)close(listener);
    end();
}

END_TEST

/* With the last stream id used, no attempt is taken, and those that are open are answered. */
START_TEST(transport_runs_out_of_stream_ids)
{
    begin_ready();
    ck_assert_int_eq(nghttp2_session_set_next_stream_id(transport->session->engine, INT32_MAX), 0);
    (void)start_text(0, "/echo", "last");
    expect_not_ready();
    expect_not_ready();
    expect(&trials[0], GRPC_STATUS_OK, CALL_CAUSE_ANSWER);
    ck_assert_str_eq(trials[0].reply, "last");
    wait_until_closed();
    ck_assert_int_eq(closed_cause, CALL_CAUSE_ANSWER);
    end();
}

END_TEST

/* The last words of a server do not paint the caller's terminal. */
START_TEST(transport_cleans_a_goodbye)
{
    begin_ready();
    (void)start(0, "/silent");
    while (silent_request == NULL) {
        turn();
    }
    h2_session_end(silent_request->connection->session, H2_ERROR_INTERNAL, "\x1b[2J\nbye");
    conn_touch(silent_request->connection->conn);
    conn_close(silent_request->connection->conn);
    wait_until_closed();
    ck_assert_ptr_nonnull(strstr(closed_problem, "?[2J bye"));
    ck_assert_ptr_null(strchr(closed_problem, 0x1b));
    end();
}

END_TEST

UNIT_MAIN("transport_drain", transport_survives_a_lost_connection, transport_notices_the_end,
          transport_refuses_garbage, transport_drains_after_goaway,
          transport_drains_after_an_announcement, transport_hears_a_plea_for_patience,
          transport_hears_goodbye_with_hello, transport_runs_out_of_stream_ids,
          transport_cleans_a_goodbye)
