#include "userd_client_fixture.h"

#define FOR_EVER_MS (24ULL * 3600 * 1000)

/* One timeout for all methods. */
#define CONFIG(timeout) "{\"methodConfig\":[{\"name\":[{}],\"timeout\":\"" timeout "\"}]}"

static bool on_state(void *context, const struct userd_user *user)
{
    (void)context;
    (void)user;
    return true;
}

static void begin_with(const char *service_config, uint64_t timeout_ms)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.service_config = service_config;
    options.timeout_ms = timeout_ms;
    client = new_client(&options);
}

static void expect_deadline(enum userd_code code)
{
    ck_assert_int_eq(code, USERD_DEADLINE_EXCEEDED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_DEADLINE);
}

/* A timeout of the service config that is the lesser one ends calls of each shape, whatever the
 * client and the call say. */
START_TEST(timeout_of_the_service_config)
{
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    begin_with(CONFIG("0.05s"), FOR_EVER_MS);
    expect_deadline(userd_get_user(client, NULL, "silent", NULL));
    expect_deadline(userd_get_user(client, &options, "silent", NULL));
    expect_deadline(userd_watch_user(client, NULL, "silent", on_state, NULL));
    options.timeout_ms = USERD_NO_TIMEOUT;
    expect_deadline(userd_get_user(client, &options, "silent", NULL));
    expect_deadline(userd_watch_user(client, &options, "silent", on_state, NULL));
    options.timeout_ms = FOR_EVER_MS;
    expect_deadline(userd_get_user(client, &options, "silent", NULL));
    expect_deadline(userd_watch_user(client, &options, "silent", on_state, NULL));
    end();
}

END_TEST

/* A call that says less gets less. */
START_TEST(timeout_of_the_call)
{
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;

    begin_with(CONFIG("86400s"), 0);
    options.timeout_ms = 50;
    expect_deadline(userd_get_user(client, &options, "silent", NULL));
    expect_deadline(userd_watch_user(client, &options, "silent", on_state, NULL));
    end();
}

END_TEST

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    (void)user;
    *(int *)context = (int)error->code;
}

/* The client's own is a default: for methods that the service config gives no timeout. */
START_TEST(timeout_of_the_client)
{
    int code = -1;

    begin_with(CONFIG("86400s"), 1);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, &code));
    pause_ms(20); /* it has not even been sent */
    while (userd_client_pending(client) > 0) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    ck_assert_int_eq(code, USERD_OK);
    end();
    begin_with("{}", 50);
    expect_deadline(userd_get_user(client, NULL, "silent", NULL));
    end();
}

END_TEST

UNIT_MAIN("userd_client_timeout", timeout_of_the_service_config, timeout_of_the_call,
          timeout_of_the_client)
