#include "client/userd_client_internal.h"
#include "core/ring.h"
#include "userd_client_fixture.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    (void)error;
    (void)user;
    ++*(unsigned *)context;
}

/* What there is to do after a start is done; what is left waits. */
static void settle(void)
{
    while (userd_client_next_ms(client) == 0) {
        ck_assert_int_eq(userd_client_run(client, 0), 0);
    }
}

/* ---------------------------------------------------------------------------- the connection */

/* The state follows the connection; who waits for it gets it, or the reason. */
START_TEST(state_follows_the_connection)
{
    begin();
    ck_assert_int_eq(userd_client_state(client), USERD_BACKEND_IDLE);
    ck_assert_int_eq(userd_client_connect(client), 0);
    ck_assert_int_eq(userd_client_state(client), USERD_BACKEND_CONNECTING);
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_OK);
    ck_assert_int_eq(userd_client_state(client), USERD_BACKEND_READY);
    ck_assert_int_eq(userd_client_wait_ready(client, 0), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK); /* it was of use */
    stop_server_for_another();
    while (userd_client_state(client) == USERD_BACKEND_READY) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    ck_assert_int_eq(userd_client_state(client), USERD_BACKEND_IDLE); /* nobody wants another */
    ck_assert_int_eq(userd_client_wait_ready(client, 0), USERD_DEADLINE_EXCEEDED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_DEADLINE);
    while (userd_client_state(client) != USERD_BACKEND_TRANSIENT_FAILURE) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    ck_assert_int_eq(userd_client_wait_ready(client, 1), USERD_DEADLINE_EXCEEDED);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "no backend is ready"));
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, target));
    start_another_server();
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    end();
}

END_TEST

/* With a backend whose breaker is open no call is sent: that is no READY. When its time comes the
 * wait ends, although nothing happens then. */
START_TEST(state_heeds_the_breaker)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.service_config = "{}";
    options.breaker_min_calls = 1;
    options.breaker_cooldown_ms = 2000; /* longer than any timer of an idle connection */
    client = new_client(&options);
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    ck_assert_int_eq(userd_get_user(client, NULL, "unavailable", NULL), USERD_UNAVAILABLE);
    if (userd_client_wait_ready(client, 0) != USERD_OK) { /* else this took the cool-down */
        ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "breaker"));
    }
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    end();
}

END_TEST

static unsigned count_connects(void)
{
    struct userd_backend backend = USERD_BACKEND_INIT;

    ck_assert_int_eq(userd_client_backend(client, 0, &backend), 0);
    return (unsigned)backend.connects;
}

/* After failures the next try is a second away and more; whoever knows better has it at once. */
START_TEST(state_can_be_tried_at_once)
{
    unsigned connects;

    begin();
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    stop_server_for_another();
    while (userd_client_state(client) != USERD_BACKEND_TRANSIENT_FAILURE) {
        ck_assert_int_eq(userd_client_connect(client), 0);
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
    settle();
    connects = count_connects();
    ck_assert_int_eq(userd_client_reset_backoff(client), 0);
    settle();
    ck_assert_uint_gt(count_connects(), connects);
    start_another_server();
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    end();
}

END_TEST

/* The program is asked while it waits, and may do something about it. */
static bool start_server_late(void *context)
{
    unsigned *asked = context;

    ++*asked;
    if (*asked == 2) {
        start_another_server();
        ck_assert_int_eq(userd_client_reset_backoff(client), 0);
    }
    return false;
}

static bool always(void *context)
{
    (void)context;
    return true;
}

/* A wait goes through failures until there is a server, or until it is interrupted. */
START_TEST(state_is_waited_for)
{
    struct userd_client_options options;
    unsigned asked = 0;

    start_server();
    stop_server_for_another();
    options = test_options();
    options.interrupted = start_server_late;
    options.interrupted_context = &asked;
    client = new_client(&options);
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    ck_assert_uint_ge(asked, 2);
    userd_client_free(client);
    options.interrupted = always;
    client = new_client(&options);
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_CANCELLED);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CANCELLED);
    end();
}

END_TEST

/* ---------------------------------------------------------------------------------- being woken */

static void *wake(void *context)
{
    userd_client_wake(context);
    return NULL;
}

/* A run that nothing would end returns when another thread says so; a word that came before it is
 * not lost, and two are as one. */
START_TEST(state_is_woken_by_a_thread)
{
    pthread_t thread;

    begin();
    for (unsigned i = 0; i < 100; i++) {
        ck_assert_int_eq(pthread_create(&thread, NULL, wake, client), 0);
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
    userd_client_wake(client);
    userd_client_wake(client);
    ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    ck_assert_uint_eq(userd_client_next_ms(client), USERD_NO_TIMEOUT);
    end();
}

END_TEST

/* Whoever runs the loop later hears of it, also when a blocking call turned it meanwhile. */
START_TEST(state_remembers_a_word)
{
    begin();
    userd_client_wake(client);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    }
    ck_assert_uint_eq(userd_client_next_ms(client), 0);
    ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    settle();
    end();
}

END_TEST

/* A program's own loop finds the descriptor readable, before its first turn too. */
START_TEST(state_wakes_a_loop_around)
{
    struct pollfd poller;

    begin();
    poller = (struct pollfd){.fd = userd_client_fd(client), .events = POLLIN};
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(userd_client_next_ms(client), USERD_NO_TIMEOUT);
        userd_client_wake(client);
        ck_assert_int_eq(poll(&poller, 1, -1), 1);
        ck_assert_int_eq(userd_client_run(client, 0), 0);
        settle();
    }
    end();
}

END_TEST

static void on_signal(int number)
{
    (void)number;
    userd_client_wake(client);
}

/* The signal comes before the wait, in the gap in which EINTR would be missed. */
START_TEST(state_is_woken_by_a_signal)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    begin();
    ck_assert_int_eq(sigaction(SIGUSR1, &action, NULL), 0);
    errno = ENOTTY;
    ck_assert_int_eq(raise(SIGUSR1), 0);
    ck_assert_int_eq(errno, ENOTTY);
    ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    end();
}

END_TEST

/* --------------------------------------------------------------------------- what a turn leaves */

static void start_another(void *context, const struct userd_error *error,
                          const struct userd_user *user)
{
    (void)user;
    ck_assert_int_eq(error->code, USERD_OK);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_user, context));
}

/* What a callback began is on its way when the turn ends: the next one may be far. */
START_TEST(state_sends_before_it_returns)
{
    const uint64_t waits[] = {0, 1000, USERD_NO_TIMEOUT};

    begin();
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_OK);
    for (unsigned i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
        unsigned done = 0;

        settle();
        ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", start_another, &done));
        while (done == 0) {
            ck_assert_int_eq(userd_client_run(client, waits[i]), 0);
            ck_assert(!ring_has_queued(client->reactor.ring));
        }
    }
    end();
}

END_TEST

UNIT_MAIN("userd_client_state", state_follows_the_connection, state_heeds_the_breaker,
          state_can_be_tried_at_once, state_is_waited_for, state_is_woken_by_a_thread,
          state_remembers_a_word, state_wakes_a_loop_around, state_is_woken_by_a_signal,
          state_sends_before_it_returns)
