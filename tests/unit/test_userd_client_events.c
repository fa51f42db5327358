#include "userd_client_fixture.h"

#include <errno.h>

static const struct userd_user *user;

/* What callbacks have told, in the order of their coming. */
struct told {
    unsigned done;
    unsigned ok;
    unsigned messages;
    unsigned writable;
    enum userd_code code;
    enum userd_cause cause;
    char message[128];
    char backend[64];
    char name[64];
    struct userd_call *call; /* to cancel */
    unsigned chain;          /* calls to start, one from the `done` of the other */
    bool starts_fail;        /* what was started inside a callback was refused */
    bool success;
};

static void tell_error(struct told *told, const struct userd_error *error)
{
    told->done++;
    told->ok += error->code == USERD_OK;
    told->code = error->code;
    told->cause = error->cause;
    (void)snprintf(told->message, sizeof(told->message), "%s", error->message);
    (void)snprintf(told->backend, sizeof(told->backend), "%s", error->backend);
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *one)
{
    struct told *told = context;

    tell_error(told, error);
    ck_assert((one != NULL) == (error->code == USERD_OK));
    if (one != NULL) {
        (void)snprintf(told->name, sizeof(told->name), "%s", one->username);
    }
    if (told->chain > 0) {
        told->chain--;
        told->starts_fail =
            userd_start_get_user(client, NULL, "u-1", on_user, told) == NULL && errno == ECANCELED;
    }
    if (told->call != NULL) {
        userd_call_cancel(told->call);
        told->call = NULL;
    }
}

static void on_page(void *context, const struct userd_error *error, const struct userd_page *page)
{
    struct told *told = context;

    tell_error(told, error);
    ck_assert_ptr_nonnull(page);
    ck_assert_uint_eq(page->count, 1);
    ck_assert_str_eq(page->plan, "walk");
}

static void on_deleted(void *context, const struct userd_error *error, bool success)
{
    struct told *told = context;

    tell_error(told, error);
    told->success = success;
}

static void run_until(const unsigned *count, unsigned wanted)
{
    while (*count < wanted) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    ck_assert_uint_eq(*count, wanted);
}

/* Every typed call tells its answer, once, from the loop and not before. */
START_TEST(events_tell_answers)
{
    const struct userd_new_user new_user = {
        .size = sizeof(new_user), .username = "ada", .password = "correct horse"};
    const struct userd_user grace = {.size = sizeof(grace), .username = "grace"};
    const struct userd_change change = {.size = sizeof(change), .id = "u-1", .user = &grace};
    const struct userd_list_request list = {.size = sizeof(list), .page_size = 7};
    struct told told[5] = {0};

    begin();
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &told[0]));
    ck_assert_ptr_nonnull(userd_start_create_user(client, NULL, &new_user, on_user, &told[1]));
    ck_assert_ptr_nonnull(userd_start_update_user(client, NULL, &change, on_user, &told[2]));
    ck_assert_ptr_nonnull(
        userd_start_delete_user(client, NULL, "victim", "v1", on_deleted, &told[3]));
    ck_assert_ptr_nonnull(userd_start_list_users(client, NULL, &list, on_page, &told[4]));
    ck_assert_uint_eq(userd_client_pending(client), 5);
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(told[i].done, 0);
    }
    while (userd_client_pending(client) > 0) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_eq(told[i].done, 1);
        ck_assert_int_eq(told[i].code, USERD_OK);
        ck_assert_str_eq(told[i].message, "");
    }
    ck_assert_str_eq(told[0].name, "Bearer t0ken");
    ck_assert_str_eq(told[1].name, "ada");
    ck_assert_str_eq(told[2].name, "grace");
    ck_assert(told[3].success);
    end();
}

END_TEST

/* A failure names its backend and its attempts. */
START_TEST(events_tell_failures)
{
    struct told told = {0};

    begin();
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "unknown", on_user, &told));
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_NOT_FOUND);
    ck_assert_int_eq(told.cause, USERD_CAUSE_ANSWER);
    ck_assert_str_eq(told.message, "User unknown not found");
    ck_assert_str_eq(told.backend, target);
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", NULL), USERD_NOT_FOUND);
    ck_assert_str_eq(userd_client_error(client)->backend, target);
    ck_assert_uint_eq(userd_client_error(client)->attempts, 1);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_OK);
    ck_assert_str_eq(userd_client_error(client)->backend, target);
    end();
}

END_TEST

/* More calls than a connection takes at once all get their answers. */
START_TEST(events_run_many_calls)
{
    struct told told = {0};

    begin();
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &told));
    }
    ck_assert_uint_eq(userd_client_pending(client), 1000);
    run_until(&told.done, 1000);
    ck_assert_uint_eq(told.ok, 1000);
    ck_assert_uint_eq(userd_client_pending(client), 0);
    end();
}

END_TEST

/* A callback may start the next call and cancel another one. */
START_TEST(events_start_and_cancel_in_callbacks)
{
    struct told chained = {.chain = 20};
    struct told silent = {0};

    begin();
    chained.call = userd_start_get_user(client, NULL, "silent", on_user, &silent);
    ck_assert_ptr_nonnull(chained.call);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &chained));
    run_until(&chained.done, 21);
    ck_assert_uint_eq(chained.ok, 21);
    run_until(&silent.done, 1);
    ck_assert_int_eq(silent.code, USERD_CANCELLED);
    ck_assert_int_eq(silent.cause, USERD_CAUSE_CANCELLED);
    end();
}

END_TEST

/* Cancelling tells once, whether the call has reached the server or not, however often. */
START_TEST(events_cancel)
{
    struct told told = {0};
    struct userd_call *call;

    begin();
    call = userd_start_get_user(client, NULL, "silent", on_user, &told);
    userd_call_cancel(call);
    userd_call_cancel(call);
    ck_assert_uint_eq(told.done, 0);
    run_until(&told.done, 1);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    call = userd_start_get_user(client, NULL, "silent", on_user, &told);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    userd_call_cancel(call);
    run_until(&told.done, 2);
    ck_assert_int_eq(told.code, USERD_CANCELLED);
    end();
    ck_assert_uint_eq(told.done, 2);
}

END_TEST

/* Freeing ends what is under way with its callbacks; what these start is refused. */
START_TEST(events_end_with_the_client)
{
    struct told told = {.chain = 1};
    struct told unsent = {0};

    begin();
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "silent", on_user, &told));
    ck_assert_int_eq(userd_check_health(client, NULL, "", &(int){0}), USERD_OK);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &unsent));
    end();
    ck_assert_uint_eq(told.done, 1);
    ck_assert_int_eq(told.code, USERD_CANCELLED);
    ck_assert(told.starts_fail);
    ck_assert_uint_eq(unsent.done, 1);
}

END_TEST

/* There is a limit to what is under way, and it is said. */
START_TEST(events_refuse_too_many_calls)
{
    struct told told = {0};
    struct userd_call_options soon = USERD_CALL_OPTIONS_INIT;
    unsigned started = 0;

    begin();
    while (userd_start_get_user(client, NULL, "silent", on_user, &told) != NULL) {
        started++;
    }
    ck_assert_int_eq(errno, EBUSY);
    ck_assert_uint_eq(started, 10000);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "10000"));
    soon.timeout_ms = 10;
    ck_assert_int_eq(userd_get_user(client, &soon, "u-1", NULL), USERD_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CALLER);
    end();
    ck_assert_uint_eq(told.done, 10000);
}

END_TEST

static void on_created(void *context, const struct userd_reply *reply)
{
    struct told *told = context;

    ck_assert_uint_eq(reply->index, told->messages);
    told->messages++;
    if (reply->user != NULL) {
        (void)snprintf(told->name, sizeof(told->name), "%s", reply->user->email);
    }
}

static void on_writable(void *context)
{
    struct told *told = context;

    told->writable++;
}

static void on_ended(void *context, const struct userd_error *error)
{
    tell_error(context, error);
}

static const struct userd_stream_events stream_events = {
    .size = sizeof(stream_events), .reply = on_created, .writable = on_writable, .ended = on_ended};

/* Wrong metadata is refused before it is sent; the right one arrives, and the call's own token. */
START_TEST(events_send_metadata)
{
    static const char *const bad[][2] = {
        {"Name", "x"},  {"grpc-timeout", "x"}, {"te", "x"},    {"", "x"},
        {":path", "x"}, {"name", "a\nb"},      {"name", " x"}, {"name", "x "},
    };
    const struct userd_metadata good = {"users-continue-on-error", "probe", 0};
    const struct userd_metadata many[16] = {{0}};
    struct userd_metadata field;
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    struct told told = {0};
    struct userd_call *call;

    begin();
    options.metadata = &field;
    options.metadata_count = 1;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        field = (struct userd_metadata){bad[i][0], bad[i][1], 0};
        errno = 0;
        ck_assert_ptr_null(userd_start_get_user(client, &options, "u-1", on_user, &told));
        ck_assert_int_eq(errno, EINVAL);
    }
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", NULL), USERD_INVALID_ARGUMENT);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CALLER);
    options.metadata = many;
    options.metadata_count = 16;
    ck_assert_ptr_null(userd_start_get_user(client, &options, "u-1", on_user, &told));
    options.metadata = &good;
    options.metadata_count = 1;
    call = userd_start_batch_create(client, &options, false, &stream_events, &told);
    ck_assert_int_eq(userd_batch_send(call, &ada), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_str_eq(told.name, "probe");
    options = (struct userd_call_options)USERD_CALL_OPTIONS_INIT;
    options.token = "other";
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", &user), USERD_OK);
    ck_assert_str_eq(user->username, "Bearer other");
    options.token = "";
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", &user), USERD_OK);
    ck_assert_str_eq(user->username, "");
    options.token = "two words";
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", &user), USERD_INVALID_ARGUMENT);
    end();
}

END_TEST

static void on_state(void *context, const struct userd_user *one)
{
    struct told *told = context;

    told->messages++;
    (void)snprintf(told->name, sizeof(told->name), "%s %d", one->id, one->status);
}

/* A watch tells its states and its end. */
START_TEST(events_watch)
{
    static const struct userd_watch_events events = {
        .size = sizeof(events), .state = on_state, .ended = on_ended};
    struct told told = {0};
    struct userd_call *call;

    begin();
    ck_assert_ptr_nonnull(userd_start_watch(client, NULL, "u-1", &events, &told));
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_uint_eq(told.messages, 2);
    ck_assert_str_eq(told.name, "u-1 4");
    call = userd_start_watch(client, NULL, "silent", &events, &told);
    run_until(&told.messages, 3);
    userd_call_cancel(call);
    run_until(&told.done, 2);
    ck_assert_int_eq(told.code, USERD_CANCELLED);
    end();
}

END_TEST

/* A stream that takes no more says so, and says when it does again; nothing is lost. */
START_TEST(events_hold_a_sender_back)
{
    const struct userd_new_user ada = {
        .size = sizeof(ada), .username = "ada", .email = "ada@example.com"};
    struct told told = {0};
    struct userd_call *call;
    unsigned sent = 0;
    int ret;

    begin();
    call = userd_start_batch_create(client, NULL, true, &stream_events, &told);
    ck_assert_ptr_nonnull(call);
    while ((ret = userd_batch_send(call, &ada)) == 0) {
        sent++;
        ck_assert_uint_lt(sent, 1000000);
    }
    ck_assert_int_eq(ret, USERD_FULL);
    ck_assert_uint_eq(told.writable, 0);
    run_until(&told.writable, 1);
    ck_assert_int_eq(userd_batch_send(call, &ada), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    ck_assert_int_eq(userd_batch_send(call, &ada), USERD_OVER);
    ck_assert_int_eq(userd_call_finish(call), USERD_OVER);
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_uint_eq(told.messages, sent + 1);
    end();
}

END_TEST

/* Who sends what a call does not take is told so, and the call goes on. */
START_TEST(events_refuse_wrong_items)
{
    const struct userd_user one = {.size = sizeof(one), .id = "u-1"};
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    struct told told = {0};
    struct userd_call *call;

    begin();
    call = userd_start_sync(client, NULL, &stream_events, &told);
    ck_assert_int_eq(userd_batch_send(call, &ada), -EINVAL);
    ck_assert_int_eq(userd_raw_send(call, "", 0), -EINVAL);
    ck_assert_int_eq(userd_sync_send(call, &one), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_uint_eq(told.messages, 1);
    end();
}

END_TEST

static void on_bytes(void *context, const void *bytes, size_t size)
{
    struct told *told = context;

    told->messages++;
    (void)snprintf(told->name, sizeof(told->name), "%.*s", (int)size, (const char *)bytes);
}

/* Any method can be called by bytes, as a stream or as a call that waits. */
START_TEST(events_call_by_bytes)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_bytes, .ended = on_ended};
    const void *reply;
    size_t size;
    struct told told = {0};
    struct userd_call *call;

    begin();
    call = userd_start_raw(client, NULL, "/echo.Echo/Stream", &events, &told);
    ck_assert_int_eq(userd_raw_send(call, "one", 3), 0);
    ck_assert_int_eq(userd_raw_send(call, "two", 3), 0);
    run_until(&told.messages, 2);
    ck_assert_str_eq(told.name, "two");
    ck_assert_int_eq(userd_raw_send(call, NULL, 0), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    run_until(&told.done, 1);
    ck_assert_uint_eq(told.messages, 3);
    ck_assert_str_eq(told.name, "");
    ck_assert_int_eq(userd_call_raw(client, NULL, "/echo.Echo/Unary", "ping", 4, &reply, &size),
                     USERD_OK);
    ck_assert_uint_eq(size, 4);
    ck_assert_int_eq(memcmp(reply, "ping", 4), 0);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/echo.Echo/Unary", NULL, 0, &reply, &size),
                     USERD_OK);
    ck_assert_uint_eq(size, 0);
    ck_assert_ptr_nonnull(reply);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/no.Such/Method", NULL, 0, &reply, &size),
                     USERD_UNIMPLEMENTED);
    end();
}

END_TEST

/* A path that is none is refused. */
START_TEST(events_refuse_bad_paths)
{
    static const char *const bad[] = {"", "x", "/", "/a", "/a/", "//b", "/a b/c", "/a/b\n"};
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_bytes, .ended = on_ended};
    const void *reply;
    size_t size;

    begin();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        ck_assert_ptr_null(userd_start_raw(client, NULL, bad[i], &events, NULL));
        ck_assert_int_eq(errno, EINVAL);
        ck_assert_int_eq(userd_call_raw(client, NULL, bad[i], "x", 1, &reply, &size),
                         USERD_INVALID_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "is no method"));
    }
    end();
}

END_TEST

/* A paused stream tells nothing until it goes on, and then everything. */
START_TEST(events_pause)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_bytes, .ended = on_ended};
    struct told told = {0};
    struct userd_call *call;

    begin();
    call = userd_start_raw(client, NULL, "/echo.Echo/Stream", &events, &told);
    userd_call_pause(call);
    ck_assert_int_eq(userd_raw_send(call, "one", 3), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_uint_eq(told.messages + told.done, 0);
    userd_call_resume(call);
    run_until(&told.done, 1);
    ck_assert_uint_eq(told.messages, 1);
    end();
}

END_TEST

/* grpc.health.v1 for the whole server and for a service. */
START_TEST(events_ask_for_health)
{
    int status = 0;

    begin();
    ck_assert_int_eq(userd_check_health(client, NULL, "", &status), USERD_OK);
    ck_assert_int_eq(status, 1);
    ck_assert_int_eq(userd_check_health(client, NULL, "users.v1.UserService", &status), USERD_OK);
    ck_assert_int_eq(status, 2);
    ck_assert_int_eq(userd_check_health(client, NULL, NULL, &status), USERD_OK);
    ck_assert_int_eq(status, 1);
    end();
}

END_TEST

static void on_misuse(void *context, const struct userd_error *error, const struct userd_user *one)
{
    struct told *told = context;

    (void)one;
    tell_error(told, error);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "callback"));
    ck_assert_int_eq(userd_batch_open(client, NULL, true, on_created, told),
                     USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_run(client, 0), -EBUSY);
    userd_stream_cancel(client);
}

/* A callback that waits is told so, and nothing breaks. */
START_TEST(events_refuse_waiting_in_callbacks)
{
    struct told told = {0};

    begin();
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_misuse, &told));
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", &user), USERD_OK);
    run_until(&told.done, 1);
    ck_assert_int_eq(told.code, USERD_OK);
    end();
}

END_TEST

/* Without a stream there is nothing to send or finish; with one, no second; and only its items. */
START_TEST(events_keep_one_blocking_stream)
{
    const struct userd_user one = {.size = sizeof(one), .id = "u-1"};
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    struct told told = {0};

    begin();
    ck_assert_int_eq(userd_batch_item(client, &ada), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_stream_finish(client), USERD_FAILED_PRECONDITION);
    userd_stream_cancel(client);
    ck_assert_int_eq(userd_sync_open(client, NULL, on_created, &told), USERD_OK);
    ck_assert_int_eq(userd_batch_open(client, NULL, true, on_created, &told),
                     USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_batch_item(client, &ada), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_sync_item(client, &one), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", NULL), USERD_NOT_FOUND);
    ck_assert_int_eq(userd_stream_finish(client), USERD_OK);
    ck_assert_uint_eq(told.messages, 1);
    end();
}

END_TEST

/* Statistics count what was done, and name the backend. */
START_TEST(events_are_counted)
{
    struct userd_stats stats = USERD_STATS_INIT;
    struct userd_backend backend = USERD_BACKEND_INIT;
    struct userd_stats small = {.size = offsetof(struct userd_stats, retries), .retries = 77};

    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    userd_client_stats(client, &stats);
    ck_assert_uint_eq(stats.calls, 2);
    ck_assert_uint_eq(stats.backend_count, 1);
    ck_assert_int_eq(userd_client_backend(client, 0, &backend), 0);
    ck_assert_str_eq(backend.address, target);
    ck_assert_int_eq(backend.state, USERD_BACKEND_READY);
    ck_assert_int_eq(backend.breaker, USERD_BREAKER_CLOSED);
    ck_assert_uint_eq(backend.calls, 2);
    ck_assert_uint_eq(backend.connects, 1);
    ck_assert_ptr_nonnull(backend.problem);
    ck_assert_int_eq(userd_client_backend(client, 1, &backend), -ENOENT);
    ck_assert_str_eq(userd_last_problem(), "the client has no backend 1");
    userd_client_stats(client, &small);
    ck_assert_uint_eq(small.calls, 2);
    ck_assert_uint_eq(small.size, offsetof(struct userd_stats, retries));
    ck_assert_uint_eq(small.retries, 77);
    end();
}

END_TEST

UNIT_MAIN("userd_client_events", events_tell_answers, events_tell_failures, events_run_many_calls,
          events_start_and_cancel_in_callbacks, events_cancel, events_end_with_the_client,
          events_refuse_too_many_calls, events_send_metadata, events_watch,
          events_hold_a_sender_back, events_refuse_wrong_items, events_call_by_bytes,
          events_refuse_bad_paths, events_pause, events_ask_for_health,
          events_refuse_waiting_in_callbacks, events_keep_one_blocking_stream, events_are_counted)
