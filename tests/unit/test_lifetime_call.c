#include "lib/call_rig.h"
#include "lib/unit.h"

/*
 * A call may end in every state it can be in, by every hand that can end it. Whatever comes first
 * decides, and afterwards: `finished` was told once, a handler at work heard of it once, its late
 * answer does no harm, and nothing is left (the rig counts, and LeakSanitizer).
 */

static struct call_rig rig;
static struct h2_peer_call client;
static unsigned cancels;
static bool releases; /* the handler lets go as soon as it hears */

static void on_cancel(struct grpc_call *call, void *context)
{
    ck_assert_ptr_eq(context, &rig);
    ck_assert(!grpc_call_is_wanted(call));
    cancels++;
    if (releases) {
        grpc_call_release(call);
    }
}

static const struct grpc_call_events events = {.cancelled = on_cancel};

/* A handler that holds the call, wants to hear of its end, and answers later. */
static void work(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_hold(call);
    grpc_call_listen(call, &events, &rig);
}

enum where {
    IN_HEAD,      /* half a header block */
    IN_RECEIVING, /* half a message */
    IN_RUNNING,   /* with a handler */
    IN_ANSWERED,  /* the answer waits for the client's window */
};

enum how {
    BY_CLIENT_RESET,
    BY_CONNECTION_LOSS,
    BY_DEADLINE,
    BY_SHUTDOWN, /* grpc_call_cancel() */
};

static uint8_t large[200000];

static void bring_to(enum where where)
{
    static const char *const more[] = {"grpc-timeout", "1S", NULL};
    const struct bytes half = BYTES_LITERAL("\0\0\0\0\4pi");
    const struct bytes rest = BYTES_LITERAL("ng");
    const struct bytes reply = {large, sizeof(large)};

    cancels = 0;
    call_rig_init(&rig);
    rig.on_request = work;
    if (where == IN_HEAD) {
        struct buf in = {0};

        h2_frame_append(&in, H2_FRAME_HEADERS, 0, 1, "\x83", 1);
        call_rig_feed(&rig, &in);
        buf_deinit(&in);
        ck_assert_int_eq(rig.call->state, GRPC_CALL_HEAD);
        client = (struct h2_peer_call){0};
        return;
    }
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    client.holds_credit = true;
    ck_assert_int_eq(h2_stream_write(client.stream, &half, 1), 0);
    call_rig_talk(&rig);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_RECEIVING);
    if (where == IN_RECEIVING) {
        return;
    }
    ck_assert_int_eq(h2_stream_write(client.stream, &rest, 1), 0);
    h2_peer_end(&client);
    call_rig_talk(&rig);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_RUNNING);
    if (where == IN_ANSWERED) {
        grpc_call_reply(rig.call, &reply, 1);
        grpc_call_release(rig.call);
        call_rig_talk(&rig);
        ck_assert_int_eq(rig.call->state, GRPC_CALL_ANSWERED);
    }
}

static void end_by(enum how how)
{
    switch (how) {
    case BY_CLIENT_RESET:
        h2_stream_reset(client.stream, H2_ERROR_CANCEL);
        call_rig_talk(&rig);
        break;
    case BY_CONNECTION_LOSS:
        call_rig_lose(&rig);
        break;
    case BY_DEADLINE:
        call_rig_advance(&rig, CLOCK_NS_PER_S);
        break;
    case BY_SHUTDOWN:
        grpc_call_cancel(rig.call, GRPC_STATUS_UNAVAILABLE, "TEST", "shutting down");
        break;
    }
}

static enum grpc_status status_of(enum how how)
{
    switch (how) {
    case BY_DEADLINE:
        return GRPC_STATUS_DEADLINE_EXCEEDED;
    case BY_SHUTDOWN:
        return GRPC_STATUS_UNAVAILABLE;
    case BY_CLIENT_RESET:
    case BY_CONNECTION_LOSS:
    default:
        return GRPC_STATUS_CANCELLED;
    }
}

static void clean_up(void)
{
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
}

/* A call that no handler has seen ends with the status its end deserves. */
START_TEST(call_ends_before_its_handler)
{
    static const enum where wheres[] = {IN_HEAD, IN_RECEIVING};
    enum how how;
    size_t i;

    for (i = 0; i < 2; i++) {
        for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
            if (wheres[i] == IN_HEAD && (how == BY_CLIENT_RESET || how == BY_DEADLINE)) {
                continue; /* nothing may come between, and there is no deadline yet */
            }
            bring_to(wheres[i]);
            end_by(how);
            ck_assert_uint_eq(rig.finished, 1);
            ck_assert_int_eq(rig.status, status_of(how));
            ck_assert_uint_eq(rig.requests, 0);
            ck_assert_uint_eq(cancels, 0);
            clean_up();
        }
    }
}

END_TEST

/* A call in the hands of a handler: it hears once, and may let go there and then. */
START_TEST(call_ends_under_its_handler_which_lets_go)
{
    enum how how;

    releases = true;
    for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
        bring_to(IN_RUNNING);
        end_by(how);
        ck_assert_uint_eq(cancels, 1);
        ck_assert_uint_eq(rig.finished, 1);
        ck_assert_int_eq(rig.status, status_of(how));
        clean_up();
    }
}

END_TEST

/* The same with a handler that goes on: its answer, of every kind, is dropped, and then the call
 * goes. */
START_TEST(call_ends_under_its_handler_which_answers_late)
{
    const struct bytes reply = BYTES_LITERAL("late");
    enum how how;
    unsigned kind;

    releases = false;
    for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
        for (kind = 0; kind < 3; kind++) {
            struct grpc_call *call;

            bring_to(IN_RUNNING);
            call = rig.call;
            end_by(how);
            if (rig.session != NULL) {
                call_rig_talk(&rig); /* the stream closes */
            }
            ck_assert_int_eq(call->state, GRPC_CALL_CLOSED);
            ck_assert_uint_eq(rig.freed, 0);
            if (kind == 0) {
                grpc_call_reply(call, &reply, 1);
            } else if (kind == 1) {
                grpc_call_fail_text(call, GRPC_STATUS_NOT_FOUND, "TEST", "late");
            } else {
                grpc_call_cancel(call, GRPC_STATUS_UNAVAILABLE, "TEST", "later still");
            }
            ck_assert_uint_eq(rig.finished, 1);
            ck_assert_int_eq(rig.status, status_of(how));
            ck_assert_uint_eq(cancels, 1);
            grpc_call_release(call);
            ck_assert_uint_eq(rig.freed, 1);
            clean_up();
        }
    }
}

END_TEST

/* An answer that came a moment before the end stands, and its handler is not told of a
 * cancellation. */
START_TEST(call_answered_before_its_end_stays_answered)
{
    enum how how;

    for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
        bring_to(IN_ANSWERED);
        end_by(how);
        ck_assert_uint_eq(cancels, 0);
        ck_assert_uint_eq(rig.finished, 1);
        ck_assert_int_eq(rig.status, GRPC_STATUS_OK);
        clean_up();
    }
}

END_TEST

/* Two ends at once: the first decides. */
START_TEST(call_ends_once_however_often_it_is_ended)
{
    enum how first;
    enum how second;

    releases = false;
    for (first = BY_CLIENT_RESET; first <= BY_SHUTDOWN; first++) {
        for (second = BY_CONNECTION_LOSS; second <= BY_SHUTDOWN; second++) {
            struct grpc_call *call;

            if (first == BY_CONNECTION_LOSS && second == BY_CONNECTION_LOSS) {
                continue;
            }
            bring_to(IN_RUNNING);
            call = rig.call;
            end_by(first);
            end_by(second);
            ck_assert_uint_eq(rig.finished, 1);
            ck_assert_int_eq(rig.status, status_of(first));
            ck_assert_uint_eq(cancels, 1);
            grpc_call_release(call);
            clean_up();
        }
    }
}

END_TEST

/* The connection goes while the deadline's answer still waits to be sent. */
START_TEST(call_expired_then_lost)
{
    releases = true;
    bring_to(IN_RUNNING);
    call_rig_advance(&rig, CLOCK_NS_PER_S);
    ck_assert_int_eq(rig.call->state, GRPC_CALL_ANSWERED);
    call_rig_lose(&rig);
    ck_assert_uint_eq(rig.freed, 1);
    clean_up();
}

END_TEST

/* A handler that has lost interest hears nothing. */
START_TEST(call_with_its_cancel_cleared_tells_nobody)
{
    struct grpc_call *call;

    bring_to(IN_RUNNING);
    call = rig.call;
    grpc_call_listen(call, NULL, NULL);
    end_by(BY_CLIENT_RESET);
    ck_assert_uint_eq(cancels, 0);
    grpc_call_release(call);
    clean_up();
}

END_TEST

/* Several holds: the last one counts, before the end and after it. */
START_TEST(call_lives_as_long_as_anybody_holds_it)
{
    struct grpc_call *call;

    releases = false;
    bring_to(IN_RUNNING);
    call = rig.call;
    grpc_call_hold(call);
    grpc_call_release(call);
    grpc_call_hold(call);
    end_by(BY_CONNECTION_LOSS);
    grpc_call_release(call);
    ck_assert_uint_eq(rig.freed, 0);
    ck_assert_int_eq(call->state, GRPC_CALL_CLOSED);
    grpc_call_release(call);
    ck_assert_uint_eq(rig.freed, 1);
    clean_up();
}

END_TEST

/* Where a stream of requests can be, beside the states. */
enum stream_where {
    STREAM_RESTS,    /* between messages */
    STREAM_INSIDE,   /* half a message */
    STREAM_WAITS,    /* paused, with bytes waiting */
    STREAM_PENDING,  /* resumed: delivery comes at the end of the turn */
    STREAM_SHUT,     /* the host holds its messages back */
    STREAM_ENDED,    /* half-closed, the handler has everything */
    STREAM_STUCK,    /* messages were sent that the client does not take */
    STREAM_ANSWERED, /* finished behind these */
};

static void hold_stream(struct grpc_call *call)
{
    work(call, (struct bytes){0});
}

static void bring_stream_to(enum stream_where where)
{
    static const char *const more[] = {"grpc-timeout", "1S", NULL};
    const struct bytes reply = {large, sizeof(large)};

    cancels = 0;
    call_rig_init(&rig);
    rig.method = &call_rig_bidi_stream;
    rig.on_open = hold_stream;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    client.holds_credit = true;
    call_rig_talk(&rig);
    rig.is_shut = where == STREAM_SHUT;
    if (where == STREAM_WAITS || where == STREAM_PENDING) {
        grpc_call_pause(rig.call);
    }
    if (where == STREAM_INSIDE) {
        call_rig_write(&rig, &client, BYTES_LITERAL("\0\0\0\0\4pi"), 1);
    } else if (where != STREAM_RESTS) {
        h2_peer_send(&client, 0, "ping", 4);
        h2_peer_end(&client);
        call_rig_talk(&rig);
    }
    if (where == STREAM_PENDING) {
        grpc_call_resume(rig.call);
        ck_assert(!list_is_empty(&rig.reactor.tasks));
    }
    if (where >= STREAM_STUCK) {
        ck_assert_int_eq(grpc_call_send(rig.call, &reply, 1), 0);
        call_rig_talk(&rig);
    }
    if (where == STREAM_ANSWERED) {
        grpc_call_finish(rig.call);
    }
}

/* A stream ends wherever it is, by every hand: once, with the status its end deserves, nothing left
 * to be delivered, and its handler's late answers dropped; whether that lets go at once or later.
 */
START_TEST(stream_ends_wherever_it_is)
{
    const struct bytes late = BYTES_LITERAL("late");
    unsigned where;
    unsigned how;
    unsigned kind;

    for (where = STREAM_RESTS; where <= STREAM_STUCK; where++) {
        for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
            for (kind = 0; kind < 4; kind++) {
                struct grpc_call *call;

                bring_stream_to((enum stream_where)where);
                call = rig.call;
                releases = kind == 0;
                end_by((enum how)how);
                ck_assert_uint_eq(cancels, 1);
                ck_assert_uint_eq(rig.finished, 1);
                ck_assert_int_eq(rig.status, status_of((enum how)how));
                ck_assert(list_is_empty(&rig.reactor.tasks));
                ck_assert_ptr_null(call->waiting.data);
                rig.is_shut = false;
                if (kind == 1) {
                    ck_assert_int_eq(grpc_call_send(call, &late, 1), 0);
                    grpc_call_finish(call);
                } else if (kind == 2) {
                    grpc_call_resume(call);
                    grpc_call_deliver(call);
                } else if (kind == 3) {
                    grpc_call_fail_text(call, GRPC_STATUS_ABORTED, "TEST", "late");
                }
                ck_assert(list_is_empty(&rig.reactor.tasks));
                if (kind > 0) {
                    grpc_call_release(call);
                }
                clean_up();
            }
        }
    }
}

END_TEST

/* A stream that was finished stays so, whatever becomes of its connection, and nobody is told. */
START_TEST(stream_finished_before_its_end_stays_finished)
{
    unsigned how;

    for (how = BY_CLIENT_RESET; how <= BY_SHUTDOWN; how++) {
        bring_stream_to(STREAM_ANSWERED);
        end_by((enum how)how);
        ck_assert_uint_eq(cancels, 0);
        ck_assert_uint_eq(rig.finished, 1);
        ck_assert_int_eq(rig.status, GRPC_STATUS_OK);
        grpc_call_release(rig.call);
        clean_up();
    }
}

END_TEST

static void end_inside(struct grpc_call *call, void *context, struct bytes message)
{
    (void)context;
    ck_assert(bytes_equal(message, BYTES_LITERAL("ping")));
    grpc_call_finish(call);
    grpc_call_release(call);
    ck_assert(bytes_equal(message, BYTES_LITERAL("ping")));
}

/* A handler may end a call and let go of it from inside a message, fresh or delivered late. */
START_TEST(stream_ended_inside_a_message)
{
    static const struct grpc_call_events inside = {.message = end_inside, .cancelled = on_cancel};
    unsigned paused;

    for (paused = 0; paused < 2; paused++) {
        bring_stream_to(STREAM_RESTS);
        grpc_call_listen(rig.call, &inside, &rig);
        if (paused == 1) {
            grpc_call_pause(rig.call);
        }
        h2_peer_send(&client, 0, "ping", 4);
        h2_peer_send(&client, 0, "more", 4);
        h2_peer_end(&client);
        call_rig_talk(&rig);
        if (paused == 1) {
            grpc_call_resume(rig.call);
            call_rig_turn(&rig);
            call_rig_talk(&rig);
        }
        ck_assert_uint_eq(cancels, 0);
        ck_assert_uint_eq(rig.freed, 1);
        clean_up();
    }
}

END_TEST

/* What was left of an earlier call does not reach the next one that its object serves. */
START_TEST(stream_leaves_nothing_to_the_next_call)
{
    struct grpc_call *first;

    bring_stream_to(STREAM_WAITS);
    first = rig.call;
    releases = true;
    grpc_call_trim(first);
    end_by(BY_CLIENT_RESET);
    h2_peer_call_deinit(&client);
    rig.on_open = call_rig_open;
    h2_peer_begin(&rig.peer, &client, "/s.S/M", NULL);
    h2_peer_send(&client, 0, "fresh", 5);
    h2_peer_end(&client);
    call_rig_talk(&rig);
    ck_assert_ptr_eq(rig.call, first);
    ck_assert_str_eq(rig.heard, "[fresh]$");
    ck_assert_uint_eq(cancels, 1);
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

UNIT_MAIN("lifetime_call", call_ends_before_its_handler, call_ends_under_its_handler_which_lets_go,
          call_ends_under_its_handler_which_answers_late,
          call_answered_before_its_end_stays_answered, call_ends_once_however_often_it_is_ended,
          call_expired_then_lost, call_with_its_cancel_cleared_tells_nobody,
          call_lives_as_long_as_anybody_holds_it, stream_ends_wherever_it_is,
          stream_finished_before_its_end_stays_finished, stream_ended_inside_a_message,
          stream_leaves_nothing_to_the_next_call)
