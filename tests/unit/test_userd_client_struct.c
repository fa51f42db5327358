/* Programs of an older and of a newer header, and what both faces have in common. */
#include "userd_client_fixture.h"

#include <errno.h>
#include <stdlib.h>

static const struct userd_user *user;

struct told {
    unsigned done;
    unsigned messages;
    enum userd_code code;
    char backend[64];
    char seen[2][16];
    const struct userd_call *call;
};

static void keep_seen(struct told *told, size_t index)
{
    const char *seen = userd_call_metadata(told->call, "x-seen", index);

    (void)snprintf(told->seen[index], sizeof(told->seen[index]), "%s", seen == NULL ? "-" : seen);
}

static void on_end(void *context, const struct userd_error *error)
{
    struct told *told = context;

    told->done++;
    told->code = error->code;
    (void)snprintf(told->backend, sizeof(told->backend), "%s", error->backend);
    if (told->call != NULL) {
        keep_seen(told, 1);
    }
}

static void on_message(void *context, const void *bytes, size_t size)
{
    struct told *told = context;

    (void)bytes;
    (void)size;
    told->messages++;
    keep_seen(told, 0);
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *one)
{
    (void)one;
    on_end(context, error);
}

static void run_all(void)
{
    while (userd_client_pending(client) > 0) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
}

/* The structs of libuserd-client.so.0, as programs have them compiled in: a field that moves breaks
 * them all. New ones come behind these. */
START_TEST(struct_fields_stay_where_they_are)
{
    static_assert(sizeof(void *) == 8, "the numbers are those of LP64");
    ck_assert_uint_eq(offsetof(struct userd_error, index), 64);
    ck_assert_uint_eq(offsetof(struct userd_client_options, max_request), 148);
    ck_assert_uint_eq(offsetof(struct userd_client_options, interrupted_context), 200);
    ck_assert_uint_eq(offsetof(struct userd_call_options, metadata_count), 40);
    ck_assert_uint_eq(sizeof(struct userd_metadata), 24);
    ck_assert_uint_eq(offsetof(struct userd_user, etag), 96);
    ck_assert_uint_eq(offsetof(struct userd_new_user, request_id), 32);
    ck_assert_uint_eq(offsetof(struct userd_change, mask_count), 32);
    ck_assert_uint_eq(offsetof(struct userd_list_request, filter), 24);
    ck_assert_uint_eq(offsetof(struct userd_page, plan), 40);
    ck_assert_uint_eq(offsetof(struct userd_reply, error), 24);
    ck_assert_uint_eq(offsetof(struct userd_watch_events, ended), 16);
    ck_assert_uint_eq(offsetof(struct userd_stream_events, ended), 24);
    ck_assert_uint_eq(offsetof(struct userd_raw_events, ended), 24);
    ck_assert_uint_eq(offsetof(struct userd_backend, problem), 344);
    ck_assert_uint_eq(offsetof(struct userd_stats, backend_count), 52);
}

END_TEST

/* Of an older program the rest is what it would be by default; what lies behind its struct in
 * memory is never looked at. */
START_TEST(struct_of_an_older_program)
{
    struct userd_client_options options = test_options();
    struct userd_call_options call = USERD_CALL_OPTIONS_INIT;
    struct userd_new_user create = {.username = "ada", .email = "a@b.example", .password = "pw"};
    struct userd_user changed = {.email = "new@example.com", .first_name = "no field yet"};
    struct userd_change change = {.id = "u-1", .user = &changed, .mask_count = 1};
    struct userd_list_request list = {.page_size = 7, .filter = "no field yet"};
    const struct userd_page *page;

    start_server();
    options = test_options();
    options.size = offsetof(struct userd_client_options, max_message);
    options.max_message = 1; /* too little for any answer */
    options.breaker_failure_percent = 1000;
    client = new_client(&options);
    call.size = offsetof(struct userd_call_options, metadata);
    call.metadata_count = 1000;
    create.size = offsetof(struct userd_new_user, request_id);
    create.request_id = (const char *)1; /* to be touched by nobody */
    ck_assert_int_eq(userd_create_user(client, &call, &create, &user), USERD_OK);
    ck_assert_str_eq(user->username, "ada");
    ck_assert_str_eq(user->id, "");
    changed.size = offsetof(struct userd_user, first_name);
    change.size = offsetof(struct userd_change, mask);
    ck_assert_int_eq(userd_update_user(client, NULL, &change, &user), USERD_OK);
    ck_assert_str_eq(user->email, "new@example.com");
    ck_assert(!user->has_profile);
    list.size = offsetof(struct userd_list_request, filter);
    ck_assert_int_eq(userd_list_users(client, NULL, &list, &page), USERD_OK);
    ck_assert_str_eq(page->users[0]->id, "7 ");
    ck_assert_str_eq(page->users[0]->username, "");
    end();
}

END_TEST

/* Structs with room for fields that this library does not know. */
struct newer_options {
    struct userd_client_options now;
    const char *later;
    uint64_t later_ms;
};

struct newer_user {
    struct userd_user now;
    const char *later;
};

struct newer_new_user {
    struct userd_new_user now;
    const char *later;
};

struct newer_raw_events {
    struct userd_raw_events now;
    void (*later)(void *context);
};

/* A newer program is served as long as it asks for nothing that is not known here. */
START_TEST(struct_of_a_newer_program)
{
    struct newer_options options = {.later = NULL};
    struct newer_new_user create = {.now = {.size = sizeof(create), .username = "ada"}};
    struct newer_user one = {.now = {.size = sizeof(one), .id = "u-1"}};
    struct newer_raw_events events = {.now = {.size = sizeof(events), .ended = on_end}};
    struct userd_client *none;
    struct told told = {0};

    start_server();
    options.now = test_options();
    options.now.size = sizeof(options);
    client = new_client(&options.now);
    options.later_ms = 1;
    ck_assert_int_eq(userd_client_new(&options.now, &none), -EINVAL);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "newer"));
    ck_assert_int_eq(userd_create_user(client, NULL, &create.now, &user), USERD_OK);
    create.later = "wish";
    ck_assert_int_eq(userd_create_user(client, NULL, &create.now, &user), USERD_INVALID_ARGUMENT);
    ck_assert_ptr_null(user);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CALLER);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "userd_new_user"));
    ck_assert_int_eq(userd_sync_open(client, NULL, NULL, NULL), USERD_OK);
    ck_assert_int_eq(userd_sync_item(client, &one.now), USERD_OK);
    one.later = "wish";
    ck_assert_int_eq(userd_sync_item(client, &one.now), USERD_INVALID_ARGUMENT);
    ck_assert_int_eq(userd_batch_item(client, &create.now), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_stream_finish(client), USERD_OK);
    ck_assert_ptr_nonnull(userd_start_raw(client, NULL, "/echo.Echo/Probe", &events.now, &told));
    userd_client_free(client);
    ck_assert_uint_eq(told.done, 1);
    stop_server();
}

END_TEST

/* What a program sees of its own struct; the newer one finds out what was filled in. */
struct newer_stats {
    struct userd_stats now;
    uint64_t later;
};

struct newer_backend {
    struct userd_backend now;
    uint64_t later;
};

START_TEST(struct_is_filled_in_as_far_as_it_goes)
{
    struct userd_stats stats = USERD_STATS_INIT;
    struct newer_stats newer = {.now = {.size = sizeof(newer)}, .later = 77};
    struct newer_backend backend = {.now = {.size = sizeof(backend)}, .later = 77};

    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    stats.size = offsetof(struct userd_stats, retries);
    stats.retries = 77;
    ck_assert_int_eq(userd_client_stats(client, &stats), 0);
    ck_assert_uint_eq(stats.calls, 1);
    ck_assert_uint_eq(stats.retries, 77);
    ck_assert(USERD_HAS(&stats, calls));
    ck_assert(!USERD_HAS(&stats, retries));
    ck_assert_int_eq(userd_client_stats(client, &newer.now), 0);
    ck_assert_uint_eq(newer.now.size, sizeof(stats));
    ck_assert_uint_eq(newer.now.backend_count, 1);
    ck_assert_uint_eq(newer.later, 0);
    ck_assert_int_eq(userd_client_backend(client, 0, &backend.now), 0);
    ck_assert_uint_eq(backend.now.size, sizeof(backend.now));
    ck_assert_str_eq(backend.now.address, target);
    ck_assert_uint_eq(backend.later, 0);
    stats.size = 0;
    ck_assert_int_eq(userd_client_stats(client, &stats), -EINVAL);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "userd_stats has no size"));
    backend.now.size = 0;
    ck_assert_int_eq(userd_client_backend(client, 0, &backend.now), -EINVAL);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "userd_backend has no size"));
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", &user), USERD_OK);
    ck_assert_uint_eq(user->size, sizeof(*user));
    ck_assert_uint_eq(userd_client_error(client)->size, sizeof(struct userd_error));
    end();
}

END_TEST

static void expect_no_start(const struct userd_call *call, const char *problem)
{
    ck_assert_ptr_null(call);
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_msg(strstr(userd_last_problem(), problem) != NULL, "%s", userd_last_problem());
    errno = 0;
}

/* A struct that nobody has given a size, or none at all, is told as that. */
START_TEST(struct_without_a_size_is_refused)
{
    static const struct userd_new_user create = {.username = "ada"};
    static const struct userd_change empty = {.id = "u-1"};
    static const struct userd_user plain = {.id = "u-1"};
    static const struct userd_list_request list = {.page_size = 7};
    static const struct userd_call_options options = {.timeout_ms = 7};
    static const struct userd_client_options no_options = {.target = "localhost:1"};
    static const struct userd_watch_events watch = {.ended = on_end};
    static const struct userd_stream_events stream = {.ended = on_end};
    static const struct userd_raw_events raw = {.ended = on_end};
    const struct userd_change change = {.size = sizeof(change), .user = &plain};
    struct userd_client *none;

    begin();
    ck_assert_int_eq(userd_client_new(&no_options, &none), -EINVAL);
    ck_assert_int_eq(userd_client_new(NULL, &none), -EINVAL);
    expect_no_start(userd_start_get_user(client, &options, "u-1", NULL, NULL), "call_options");
    expect_no_start(userd_start_create_user(client, NULL, &create, NULL, NULL), "new_user");
    expect_no_start(userd_start_create_user(client, NULL, NULL, NULL, NULL), "new_user");
    expect_no_start(userd_start_update_user(client, NULL, &empty, NULL, NULL), "userd_change");
    expect_no_start(userd_start_update_user(client, NULL, &change, NULL, NULL), "userd_user");
    expect_no_start(userd_start_list_users(client, NULL, &list, NULL, NULL), "list_request");
    expect_no_start(userd_start_watch(client, NULL, "u-1", &watch, NULL), "watch_events");
    expect_no_start(userd_start_sync(client, NULL, &stream, NULL), "stream_events");
    expect_no_start(userd_start_raw(client, NULL, "/a/b", &raw, NULL), "raw_events");
    ck_assert_uint_eq(userd_client_pending(client), 0);
    end();
}

END_TEST

/* Nobody has to listen, but to the end of a stream. */
START_TEST(struct_callbacks_may_be_missing)
{
    struct userd_watch_events watch = USERD_WATCH_EVENTS_INIT;
    struct userd_stream_events stream = USERD_STREAM_EVENTS_INIT;
    struct userd_raw_events raw = USERD_RAW_EVENTS_INIT;
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    const struct userd_list_request list = USERD_LIST_REQUEST_INIT;
    struct told told = {0};
    struct userd_call *call;

    begin();
    expect_no_start(userd_start_watch(client, NULL, "u-1", &watch, &told), "ended");
    expect_no_start(userd_start_batch_create(client, NULL, true, &stream, &told), "ended");
    expect_no_start(userd_start_raw(client, NULL, "/a/b", &raw, &told), "ended");
    watch.ended = on_end;
    stream.ended = on_end;
    raw.ended = on_end;
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", NULL, NULL));
    ck_assert_ptr_nonnull(userd_start_list_users(client, NULL, &list, NULL, NULL));
    ck_assert_ptr_nonnull(userd_start_delete_user(client, NULL, "u-1", NULL, NULL, NULL));
    ck_assert_ptr_nonnull(userd_start_watch(client, NULL, "u-1", &watch, &told));
    call = userd_start_batch_create(client, NULL, true, &stream, &told);
    ck_assert_int_eq(userd_batch_send(call, &ada), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    call = userd_start_raw(client, NULL, "/echo.Echo/Stream", &raw, &told);
    ck_assert_int_eq(userd_raw_send(call, "ping", 4), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    run_all();
    ck_assert_uint_eq(told.done, 3);
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_int_eq(userd_watch_user(client, NULL, "u-1", NULL, NULL), USERD_OK);
    ck_assert_int_eq(userd_batch_open(client, NULL, true, NULL, NULL), USERD_OK);
    ck_assert_int_eq(userd_batch_item(client, &ada), USERD_OK);
    ck_assert_int_eq(userd_stream_finish(client), USERD_OK);
    end();
}

END_TEST

/* A name that was set and is in the mask arrives, whether or not the profile was announced. */
START_TEST(struct_profile_is_sent_when_it_is_set)
{
    static const char *const mask[] = {"profile.first_name"};
    struct userd_user wanted = USERD_USER_INIT;
    struct userd_change change = USERD_CHANGE_INIT;

    begin();
    change.id = "u-1";
    change.user = &wanted;
    change.mask = mask;
    change.mask_count = 1;
    ck_assert_int_eq(userd_update_user(client, NULL, &change, &user), USERD_OK);
    ck_assert(!user->has_profile);
    wanted.first_name = "Ada";
    ck_assert_int_eq(userd_update_user(client, NULL, &change, &user), USERD_OK);
    ck_assert(user->has_profile);
    ck_assert_str_eq(user->first_name, "Ada");
    end();
}

END_TEST

/* Head and trailers, in the order in which they came, to both faces. */
START_TEST(struct_metadata_comes_back)
{
    struct userd_raw_events events = USERD_RAW_EVENTS_INIT;
    struct told told = {0};
    struct userd_call *call;
    const void *reply;
    size_t size;

    begin();
    ck_assert_ptr_null(userd_client_metadata(client, "x-seen", 0));
    ck_assert_int_eq(userd_call_raw(client, NULL, "/echo.Echo/Probe", NULL, 0, &reply, &size), 0);
    ck_assert_str_eq(userd_client_metadata(client, "x-seen", 0), "head");
    ck_assert_str_eq(userd_client_metadata(client, "x-seen", 1), "trailers");
    ck_assert_ptr_null(userd_client_metadata(client, "x-seen", 2));
    ck_assert_ptr_null(userd_client_metadata(client, "x-other", 0));
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_ptr_null(userd_client_metadata(client, "x-seen", 0));
    events.message = on_message;
    events.ended = on_end;
    call = userd_start_raw(client, NULL, "/echo.Echo/Probe", &events, &told);
    told.call = call;
    ck_assert_int_eq(userd_raw_send(call, NULL, 0), 0);
    ck_assert_int_eq(userd_call_finish(call), 0);
    run_all();
    ck_assert_uint_eq(told.messages, 1);
    ck_assert_str_eq(told.seen[0], "head");
    ck_assert_str_eq(told.seen[1], "trailers");
    end();
}

END_TEST

static void expect_probe(const struct userd_call_options *options, const char *probe)
{
    const void *reply;
    size_t size;

    ck_assert_msg(userd_call_raw(client, options, "/echo.Echo/Probe", NULL, 0, &reply, &size) ==
                      USERD_OK,
                  "%s", userd_client_error(client)->message);
    ck_assert_str_eq(reply, probe);
}

static void expect_refusal(const struct userd_call_options *options, const char *problem)
{
    ck_assert_int_eq(userd_get_user(client, options, "u-1", &user), USERD_INVALID_ARGUMENT);
    ck_assert_msg(strstr(userd_client_error(client)->message, problem) != NULL, "%s",
                  userd_client_error(client)->message);
}

/* Bytes travel as base64, texts as they are; a value that has a size needs no NUL. */
START_TEST(struct_metadata_goes_out)
{
    static const char bytes[] = {'\0', '\x01', '\xff', 'x'};
    struct userd_metadata field = {"x-probe-bin", bytes, 3};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    begin();
    options.metadata = &field;
    options.metadata_count = 1;
    expect_probe(&options, "AAH/");
    field = (struct userd_metadata){"x-probe-bin", "AAEC", 0};
    expect_probe(&options, "AAEC");
    field = (struct userd_metadata){"x-probe", "no end here", 2};
    expect_probe(&options, "no");
    field = (struct userd_metadata){"x-probe", bytes, 3};
    expect_refusal(&options, "printable");
    end();
}

END_TEST

/* What would break the call on the way is refused here, with what to do. */
START_TEST(struct_metadata_has_limits)
{
    struct userd_metadata fields[2] = {{"x-a", NULL, 0}, {"authorization", "Basic YTpi", 0}};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    char *value = malloc(8193);

    ck_assert_ptr_nonnull(value);
    (void)memset(value, 'v', 8192);
    value[8192] = '\0';
    begin();
    options.metadata = fields;
    options.metadata_count = 1;
    expect_refusal(&options, "x-a");
    fields[0].value = value;
    expect_refusal(&options, "8192");
    value[8192 - 5] = '\0'; /* with the name and two NULs all there may be */
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", &user), USERD_OK);
    options.metadata = fields + 1;
    expect_refusal(&options, "token");
    options.token = "";
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", &user), USERD_OK);
    ck_assert_str_eq(user->username, "Basic YTpi");
    ck_assert_str_eq(user->etag, "viewer"); /* says the server when no HPACK table keeps it */
    free(value);
    end();
}

END_TEST

/* An empty token is none: nothing is sent in its place. An agent that is no field is refused. */
START_TEST(struct_options_that_are_empty)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.token = "";
    options.user_agent = "";
    client = new_client(&options);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", &user), USERD_OK);
    ck_assert_str_eq(user->username, "");
    userd_client_free(client);
    options.user_agent = "two\r\nlines";
    ck_assert_int_eq(userd_client_new(&options, &client), -EINVAL);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "user_agent"));
    stop_server();
}

END_TEST

/* An answer that is right and too large for its memory is not the server's fault. */
START_TEST(struct_answer_without_room)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.max_message = 4096;
    client = new_client(&options);
    ck_assert_int_eq(userd_get_user(client, NULL, "many", &user), USERD_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_MEMORY);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "max_message"));
    ck_assert_int_eq(userd_get_user(client, NULL, "garbage", &user), USERD_INTERNAL);
    userd_client_free(client);
    options.max_message = 0;
    client = new_client(&options);
    ck_assert_int_eq(userd_get_user(client, NULL, "many", &user), USERD_OK);
    ck_assert_uint_eq(user->role_count, MANY_ROLES);
    end();
}

END_TEST

/* A message beyond max_request goes nowhere, and that is the caller's doing. */
START_TEST(struct_requests_have_a_limit)
{
    struct userd_client_options options;
    struct userd_raw_events events = USERD_RAW_EVENTS_INIT;
    struct told told = {0};
    struct userd_call *call;
    const void *reply;
    size_t size;

    start_server();
    options = test_options();
    options.max_request = 8;
    client = new_client(&options);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/echo.Echo/Unary", "12345678", 8, &reply, &size),
                     USERD_OK);
    ck_assert_uint_eq(size, 8);
    ck_assert_int_eq(userd_call_raw(client, NULL, "/echo.Echo/Unary", "123456789", 9, NULL, NULL),
                     USERD_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CALLER);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "max_request"));
    events.ended = on_end;
    call = userd_start_raw(client, NULL, "/echo.Echo/Stream", &events, &told);
    ck_assert_int_eq(userd_raw_send(call, "12345678", 8), 0);
    ck_assert_int_eq(userd_raw_send(call, "123456789", 9), USERD_OVER);
    run_all();
    ck_assert_uint_eq(told.done, 1);
    ck_assert_int_eq(told.code, USERD_RESOURCE_EXHAUSTED);
    end();
}

END_TEST

/* The backend is told of successes and failures alike, in both faces. */
START_TEST(struct_error_names_the_backend)
{
    struct told told = {0};

    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_str_eq(userd_client_error(client)->backend, target);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &told));
    run_all();
    ck_assert_int_eq(told.code, USERD_OK);
    ck_assert_str_eq(told.backend, target);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "unknown", on_user, &told));
    run_all();
    ck_assert_int_eq(told.code, USERD_NOT_FOUND);
    ck_assert_str_eq(told.backend, target);
    ck_assert_str_eq(userd_client_error(client)->backend, target);
    end();
}

END_TEST

/* What would be read beyond a NULL is refused, with its name. */
START_TEST(struct_texts_are_all_there)
{
    static const char *const texts[] = {"email", NULL};
    struct userd_change change = USERD_CHANGE_INIT;
    struct userd_user one = USERD_USER_INIT;
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    begin();
    change.mask = texts;
    change.mask_count = 2;
    ck_assert_int_eq(userd_update_user(client, NULL, &change, NULL), USERD_INVALID_ARGUMENT);
    ck_assert_str_eq(userd_client_error(client)->message, "text 1 of the 2 in `mask` is NULL");
    change.mask = NULL;
    ck_assert_int_eq(userd_update_user(client, NULL, &change, NULL), USERD_INVALID_ARGUMENT);
    change.mask_count = 0;
    change.user = &one;
    one.role_count = 1;
    ck_assert_int_eq(userd_update_user(client, NULL, &change, NULL), USERD_INVALID_ARGUMENT);
    ck_assert_str_eq(userd_client_error(client)->message, "text 0 of the 1 in `roles` is NULL");
    options.metadata_count = 1;
    ck_assert_int_eq(userd_get_user(client, &options, "u-1", NULL), USERD_INVALID_ARGUMENT);
    ck_assert_str_eq(userd_client_error(client)->message, "metadata_count is 1, and metadata NULL");
    end();
}

END_TEST

UNIT_MAIN("userd_client_struct", struct_fields_stay_where_they_are, struct_of_an_older_program,
          struct_of_a_newer_program, struct_is_filled_in_as_far_as_it_goes,
          struct_without_a_size_is_refused, struct_callbacks_may_be_missing,
          struct_profile_is_sent_when_it_is_set, struct_metadata_comes_back,
          struct_metadata_goes_out, struct_metadata_has_limits, struct_options_that_are_empty,
          struct_answer_without_room, struct_requests_have_a_limit, struct_error_names_the_backend,
          struct_texts_are_all_there)
