#include "allocation_faults.h"
#include "userd_client_fixture.h"

#include <errno.h>
#include <limits.h>

/* The server is a process of its own, so only the client's allocations count here. */

static void on_reply(void *context, const struct userd_reply *reply)
{
    (void)reply;
    ++*(unsigned *)context;
}

static bool on_state(void *context, const struct userd_user *one)
{
    (void)context;
    (void)one;
    return true;
}

static char wrong[256]; /* what was not as it should be; asserting takes memory */

static void check(enum userd_code code)
{
    const struct userd_error *error = userd_client_error(client);

    if (error->code != code || (code != USERD_OK && code != USERD_RESOURCE_EXHAUSTED &&
                                code != USERD_UNAVAILABLE && code != USERD_INTERNAL)) {
        (void)snprintf(wrong, sizeof(wrong), "%s: %s", userd_code_name((int)code), error->message);
    }
}

/* One call of each kind, with options that have to be kept. */
static void call_all(void)
{
    static const char *const mask[] = {"email"};
    const struct userd_metadata field = {"x-request", "0123456789", 0};
    const struct userd_new_user ada = {.size = sizeof(ada),
                                       .username = "ada",
                                       .email = "a@b.example",
                                       .password = "correct horse"};
    const struct userd_change change = {
        .size = sizeof(change), .id = "u-1", .mask = mask, .mask_count = 1};
    const struct userd_list_request list = {.size = sizeof(list), .page_size = 7};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    unsigned replies = 0;
    const void *reply;
    size_t size;

    options.metadata = &field;
    options.metadata_count = 1;
    options.token = "other";
    check(userd_get_user(client, &options, "u-1", NULL));
    check(userd_create_user(client, NULL, &ada, NULL));
    check(userd_update_user(client, NULL, &change, NULL));
    check(userd_delete_user(client, NULL, "victim", NULL, NULL));
    check(userd_list_users(client, NULL, &list, NULL));
    check(userd_call_raw(client, NULL, "/echo.Echo/Unary", "ping", 4, &reply, &size));
    check(userd_check_health(client, NULL, "", NULL));
    check(userd_watch_user(client, NULL, "u-1", on_state, NULL));
    if (userd_batch_open(client, NULL, true, on_reply, &replies) == USERD_OK) {
        check(userd_batch_item(client, &ada));
        (void)userd_batch_item(client, &ada);
        check(userd_stream_finish(client));
    } else {
        check(userd_client_error(client)->code);
    }
}

/* The JSON library calls it a syntax error when it has no memory for a name. */
static bool is_lack_of_memory(int ret)
{
    return ret == -ENOMEM ||
           (ret == -EINVAL && strstr(userd_last_problem(), "not well-formed JSON") != NULL);
}

/* Whatever allocation fails while a client is made: it is not made, and says so, or it works. Not
 * while it connects: there nghttp2 frees an item twice when its queue cannot grow. */
START_TEST(memory_may_run_out_at_the_start)
{
    struct userd_client_options options;
    unsigned nth = 0;
    bool has_failed;

    start_server();
    options = test_options();
    options.user_agent = "test/1";
    options.server_name = "users.example";
    do {
        int ret;

        client = NULL;
        allocation_faults_arm(++nth);
        ret = userd_client_new(&options, &client);
        has_failed = allocation_faults_disarm();
        ck_assert_msg(ret == 0 || (has_failed && client == NULL && is_lack_of_memory(ret)),
                      "%d: %s", ret, userd_last_problem());
        if (ret == 0) {
            ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
        }
        userd_client_free(client);
    } while (has_failed);
    ck_assert_uint_gt(nth, 10);
    stop_server();
}

END_TEST

/* The same for every kind of call. The client goes on after it. */
START_TEST(memory_may_run_out_in_calls)
{
    struct userd_client_options options;
    unsigned nth = 0;
    bool has_failed;

    start_server();
    options = test_options();
    do {
        client = new_client(&options);
        ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
        allocation_faults_arm(++nth);
        call_all();
        has_failed = allocation_faults_disarm();
        ck_assert_str_eq(wrong, "");
        ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
        ck_assert_uint_eq(userd_client_pending(client), 0);
        userd_client_free(client);
    } while (has_failed);
    ck_assert_uint_gt(nth, 10);
    stop_server();
}

END_TEST

static void on_user(void *context, const struct userd_error *error, const struct userd_user *one)
{
    (void)one;
    *(unsigned *)context += error->code == USERD_OK ? 1 : 1000000;
}

/* Returns how many went well. */
static unsigned call_many(unsigned count)
{
    unsigned done = 0;

    for (unsigned i = 0; i < count; i++) {
        (void)userd_start_get_user(client, NULL, "u-1", on_user, &done);
    }
    while (userd_client_pending(client) > 0 && userd_client_run(client, USERD_NO_TIMEOUT) == 0) {
    }
    return done;
}

/* A warm client allocates less than once for a call: there is memory from the calls before. */
START_TEST(memory_is_used_again)
{
    unsigned done = 0;
    unsigned used;

    begin();
    for (unsigned i = 0; i < 10; i++) {
        done += call_many(50);
    }
    allocation_faults_arm(UINT_MAX);
    for (unsigned i = 0; i < 10; i++) {
        done += call_many(50);
    }
    used = UINT_MAX - allocations_left;
    ck_assert(!allocation_faults_disarm());
    ck_assert_uint_eq(done, 1000);
    ck_assert_uint_lt(used, 500);
    end();
}

END_TEST

static void on_ended(void *context, const struct userd_error *error)
{
    (void)context;
    (void)error;
}

/* Why nothing was taken is told, and not what went wrong before. */
START_TEST(memory_that_runs_out_is_told)
{
    static char password[100000];
    const struct userd_new_user ada = {.size = sizeof(ada), .password = password};
    struct userd_stream_events events = {.size = sizeof(events), .ended = on_ended};
    struct userd_raw_events raw_events = {.size = sizeof(raw_events), .ended = on_ended};
    struct userd_call *batch;
    struct userd_call *raw;
    int ret;

    memset(password, 'p', sizeof(password) - 1);
    begin();
    batch = userd_start_batch_create(client, NULL, true, &events, NULL);
    raw = userd_start_raw(client, NULL, "/echo.Echo/Stream", &raw_events, NULL);
    ck_assert_int_eq(userd_raw_send(batch, "x", 1), -EINVAL);
    ck_assert_str_ne(userd_last_problem(), "out of memory");
    allocation_faults_arm(1);
    ret = userd_batch_send(batch, &ada);
    ck_assert(allocation_faults_disarm());
    ck_assert_int_eq(ret, -ENOMEM);
    ck_assert_str_eq(userd_last_problem(), "out of memory");
    ck_assert_int_eq(userd_raw_send(batch, "x", 1), -EINVAL);
    allocation_faults_arm(1);
    ret = userd_raw_send(raw, password, sizeof(password));
    ck_assert(allocation_faults_disarm());
    ck_assert_int_eq(ret, -ENOMEM);
    ck_assert_str_eq(userd_last_problem(), "out of memory");
    end();
}

END_TEST

UNIT_MAIN("userd_client_memory", memory_may_run_out_at_the_start, memory_may_run_out_in_calls,
          memory_is_used_again, memory_that_runs_out_is_told)
