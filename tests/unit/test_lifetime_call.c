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

/* A handler that holds the call, wants to hear of its end, and answers later. */
static void work(struct grpc_call *call, struct bytes message)
{
    (void)message;
    grpc_call_hold(call);
    grpc_call_on_cancel(call, on_cancel, &rig);
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
    grpc_call_on_cancel(call, NULL, NULL);
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

UNIT_MAIN("lifetime_call", call_ends_before_its_handler, call_ends_under_its_handler_which_lets_go,
          call_ends_under_its_handler_which_answers_late,
          call_answered_before_its_end_stays_answered, call_ends_once_however_often_it_is_ended,
          call_expired_then_lost, call_with_its_cancel_cleared_tells_nobody,
          call_lives_as_long_as_anybody_holds_it)
