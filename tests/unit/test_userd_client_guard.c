#include "lib/syscall_filter.h"

#include "client/channel_internal.h"
#include "client/userd_client_internal.h"
#include "userd_client_fixture.h"

#include <errno.h>
#include <pthread.h>

/* How a call ended, and what its callback was refused. */
struct told {
    unsigned done;
    enum userd_code code;
    enum userd_cause cause;
    unsigned pending; /* that were under way when it was told */
    char backend[TARGET_AUTHORITY_SIZE];
    enum userd_code nested;
    bool is_start_refused;
};

static void note(struct told *told, const struct userd_error *error)
{
    told->done++;
    told->code = error->code;
    told->cause = error->cause;
    told->pending = userd_client_pending(client);
    (void)snprintf(told->backend, sizeof(told->backend), "%s", error->backend);
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    (void)user;
    note(context, error);
}

static void run_until(const unsigned *count)
{
    while (*count == 0) {
        ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), 0);
    }
}

/* ------------------------------------------------------------------ blocking inside callbacks */

static struct told late;

static void on_late(void *context, const struct userd_error *error, const struct userd_user *user)
{
    struct told *told = context;

    (void)user;
    note(told, error);
    told->nested = userd_get_user(client, NULL, "u-1", NULL);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "callback"));
    ck_assert_int_eq(userd_stream_cancel(client), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_wait_ready(client, 0), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_free(client), -EBUSY);
}

/* The server has all it is to get: it goes, and takes everything along. */
static void on_last(void *context, const struct userd_error *error, const struct userd_user *user)
{
    on_user(context, error, user);
    stop_server();
}

/* Behind the call that is waited for. */
static void on_first(void *context, const struct userd_error *error, const struct userd_user *user)
{
    on_user(context, error, user);
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "silent", on_late, &late));
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_last, context));
}

/* Two calls end in one turn, with their connection. What the callback of the second is refused is
 * no news about the first, which somebody waits for. */
START_TEST(guard_keeps_the_outcome_of_the_outer_call)
{
    struct userd_client_options options;
    struct told told = {0};

    start_server();
    options = test_options();
    options.service_config = "{}"; /* nothing is tried again */
    client = new_client(&options);
    late = (struct told){0};
    ck_assert_ptr_nonnull(userd_start_get_user(client, NULL, "u-1", on_first, &told));
    ck_assert_int_eq(userd_get_user(client, NULL, "silent", NULL), USERD_UNAVAILABLE);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_UNAVAILABLE);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_LOST);
    ck_assert_uint_eq(told.done, 2);
    ck_assert_uint_eq(late.done, 1);
    ck_assert_uint_eq(late.pending, 0); /* the outer one had ended */
    ck_assert_int_eq(late.nested, USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_free(client), 0);
}

END_TEST

struct asked {
    unsigned count;
    enum userd_code nested;
    int run;
    int freed;
};

static bool on_interrupted(void *context)
{
    struct asked *asked = context;

    if (asked->count++ == 0) {
        asked->nested = userd_get_user(client, NULL, "u-2", NULL);
        asked->run = userd_client_run(client, 0);
        asked->freed = userd_client_free(client);
    }
    return false;
}

/* The question whether a wait goes on cannot wait itself. */
START_TEST(guard_holds_in_the_question_too)
{
    struct userd_client_options options;
    const struct userd_user *user = NULL;
    struct asked asked = {0};

    start_server();
    options = test_options();
    options.interrupted = on_interrupted;
    options.interrupted_context = &asked;
    client = new_client(&options);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", &user), USERD_OK);
    ck_assert_str_eq(user->id, "u-1");
    ck_assert_uint_ge(asked.count, 1);
    ck_assert_int_eq(asked.nested, USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(asked.run, -EBUSY);
    ck_assert_int_eq(asked.freed, -EBUSY);
    end();
}

END_TEST

/* ------------------------------------------------------------------------------------- threads */

static struct userd_call *under_way;

static void expect_refused(void)
{
    errno = 0;
    ck_assert_ptr_null(userd_start_get_user(client, NULL, "u-1", on_user, NULL));
    ck_assert_int_eq(errno, EPERM);
    ck_assert_ptr_nonnull(strstr(userd_last_problem(), "thread"));
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_CALLER);
    ck_assert_ptr_nonnull(strstr(userd_client_error(client)->message, "thread"));
    ck_assert_int_eq(userd_client_wait_ready(client, 0), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_stream_finish(client), USERD_FAILED_PRECONDITION);
    ck_assert_int_eq(userd_client_run(client, 0), -EPERM);
    ck_assert_int_eq(userd_client_fd(client), -EPERM);
    ck_assert_int_eq(userd_client_connect(client), -EPERM);
    ck_assert_int_eq(userd_client_reset_backoff(client), -EPERM);
    ck_assert_int_eq(userd_raw_send(under_way, "x", 1), -EPERM);
    ck_assert_int_eq(userd_call_pause(under_way), -EPERM);
    ck_assert_int_eq(userd_call_resume(under_way), -EPERM);
    ck_assert_int_eq(userd_call_finish(under_way), -EPERM);
    ck_assert_int_eq(userd_call_cancel(under_way), -EPERM);
    ck_assert_int_eq(userd_client_free(client), -EPERM);
}

static void *use_elsewhere(void *context)
{
    (void)context;
    expect_refused();
    return NULL;
}

static void on_bytes(void *context, const void *bytes, size_t size)
{
    unsigned *count = context;

    (void)bytes;
    *count += size == 5;
}

static void on_over(void *context, const struct userd_error *error)
{
    (void)context;
    (void)error;
}

/* Another thread, and a child, are refused everything; the client, its last outcome and its calls
 * are as they were. */
START_TEST(guard_refuses_other_threads)
{
    struct userd_raw_events events = USERD_RAW_EVENTS_INIT;
    unsigned messages = 0;
    pthread_t thread;
    int status;
    pid_t pid;

    begin();
    events.message = on_bytes;
    events.ended = on_over;
    under_way = userd_start_raw(client, NULL, "/echo.Echo/Stream", &events, &messages);
    ck_assert_ptr_nonnull(under_way);
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", NULL), USERD_NOT_FOUND);
    ck_assert_int_eq(pthread_create(&thread, NULL, use_elsewhere, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    pid = fork();
    if (pid == 0) {
        expect_refused();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(userd_client_error(client)->code, USERD_NOT_FOUND);
    ck_assert_int_eq(userd_raw_send(under_way, "hello", 5), 0);
    run_until(&messages);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    end();
}

END_TEST

static void *make_there(void *context)
{
    client = new_client(context);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    return NULL;
}

static void *use_there(void *context)
{
    *(int *)context = userd_client_free(client);
    return NULL;
}

/* The second thread gets the stack and the number of the first one, which has ended. */
static int outlive_a_thread(void *options)
{
    pthread_t first;
    pthread_t second;
    int freed = 0;

    if (pthread_create(&first, NULL, make_there, options) != 0 || pthread_join(first, NULL) != 0 ||
        pthread_create(&second, NULL, use_there, &freed) != 0 || pthread_join(second, NULL) != 0) {
        return 1;
    }
    return freed == -EPERM ? 0 : 2;
}

/* In a child, as the client cannot be freed any more. */
START_TEST(guard_knows_a_thread_that_has_ended)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    ck_assert_int_eq(run_in_child(outlive_a_thread, &options), 0);
    stop_server();
}

END_TEST

/* ----------------------------------------------------------------------- a loop that has failed */

static void on_lost(void *context, const struct userd_error *error, const struct userd_user *user)
{
    struct told *told = context;

    on_user(told, error, user);
    told->is_start_refused =
        userd_start_get_user(client, NULL, "u-1", on_user, told) == NULL && errno == ECANCELED;
    told->nested = userd_get_user(client, NULL, "u-1", NULL);
}

static void on_watch_lost(void *context, const struct userd_error *error)
{
    note(context, error);
    ck_assert_int_eq(userd_call_cancel(under_way), 0); /* in vain, whether it was told or not */
}

static const struct userd_new_user ada = {
    .size = sizeof(ada), .username = "ada", .password = "correct horse"};

/* Calls of each kind are under way when the kernel refuses to serve the ring. */
static void lose_the_loop(struct told *told)
{
    struct userd_call_options own_token = USERD_CALL_OPTIONS_INIT;
    struct userd_watch_events events = USERD_WATCH_EVENTS_INIT;

    own_token.token = "another-token";
    events.ended = on_watch_lost;
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
    ck_assert_ptr_nonnull(userd_start_watch(client, NULL, "silent", &events, &told[1]));
    under_way = userd_start_get_user(client, &own_token, "silent", on_lost, &told[0]);
    ck_assert_ptr_nonnull(under_way);
    ck_assert_int_eq(userd_batch_open(client, NULL, true, NULL, NULL), USERD_OK);
    ck_assert_int_eq(userd_batch_item(client, &ada), USERD_OK);
    ck_assert_int_eq(syscall_filter_refuse(SYS_io_uring_enter, ENXIO), 0);
}

static int free_without_a_loop(void *options)
{
    struct told told[2] = {{0}};
    const struct buf *health;

    client = new_client(options);
    lose_the_loop(told);
    ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_INTERNAL);
    ck_assert_int_eq(userd_batch_item(client, &ada), USERD_INTERNAL); /* nobody will send it */
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_LOST);
    ck_assert_int_eq(userd_stream_finish(client), USERD_INTERNAL);
    ck_assert_int_eq(userd_client_error(client)->cause, USERD_CAUSE_LOST);
    ck_assert_uint_eq(userd_client_next_ms(client), 0);
    ck_assert_int_eq(userd_client_run(client, USERD_NO_TIMEOUT), -ENXIO);
    ck_assert_ptr_null(userd_start_get_user(client, NULL, "u-1", on_user, NULL));
    ck_assert_int_eq(errno, EIO);
    ck_assert_int_eq(userd_client_connect(client), -EIO);
    ck_assert_int_eq(userd_client_wait_ready(client, USERD_NO_TIMEOUT), USERD_INTERNAL);
    ck_assert_uint_eq(told[0].done + told[1].done, 0);
    health = &client->channel->health_authorization;
    ck_assert_str_eq((const char *)health->data, "Bearer t0ken");
    ck_assert_int_eq(userd_client_free(client), -ENXIO);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(told[i].done, 1);
        ck_assert_int_eq(told[i].code, USERD_INTERNAL);
        ck_assert_int_eq(told[i].cause, USERD_CAUSE_LOST);
        ck_assert_str_eq(told[i].backend, target);
    }
    ck_assert(told[0].is_start_refused);
    ck_assert_int_eq(told[0].nested, USERD_FAILED_PRECONDITION);
    ck_assert_ptr_null(client->token); /* what is left behind is there, without that */
    ck_assert_mem_eq(health->data, "\0\0\0\0\0\0\0\0\0\0\0\0", sizeof("Bearer t0ken") - 1);
    return 0;
}

/* The names that the target had when the calls went out are gone. */
static int free_without_backends(void *options)
{
    struct told told[2] = {{0}};

    client = new_client(options);
    lose_the_loop(told);
    client->channel->backend_count = 0;
    ck_assert_int_eq(userd_client_free(client), -ENXIO);
    ck_assert_uint_eq(told[0].done, 1);
    ck_assert_uint_eq(told[1].done, 1);
    ck_assert_str_eq(told[0].backend, "");
    return 0;
}

/* Whoever waits is told so, in the call that waits and at the end; nobody sleeps for ever. */
START_TEST(guard_tells_of_a_failed_loop)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    options.service_config = "{\"healthCheckConfig\": {\"serviceName\": \"\"}}";
    ck_assert_int_eq(run_in_child(free_without_a_loop, &options), 0);
    ck_assert_int_eq(run_in_child(free_without_backends, &options), 0);
    stop_server();
}

END_TEST

static int wait_without_a_loop(void *options)
{
    client = new_client(options);
    if (syscall_filter_refuse(SYS_io_uring_enter, ENXIO) != 0) {
        return 1;
    }
    if (userd_client_wait_ready(client, USERD_NO_TIMEOUT) != USERD_INTERNAL ||
        userd_client_error(client)->cause != USERD_CAUSE_CALLER) {
        return 2; /* no call was under way */
    }
    return 0;
}

/* Asked between the start of a call and the turn that would send it. */
static bool refuse_the_loop(void *context)
{
    bool *wanted = context;

    if (*wanted) {
        *wanted = false;
        ck_assert_int_eq(syscall_filter_refuse(SYS_io_uring_enter, ENXIO), 0);
    }
    return false;
}

static int call_without_a_loop(void *context)
{
    struct userd_client_options options = *(struct userd_client_options *)context;
    bool wanted = false;

    options.interrupted = refuse_the_loop;
    options.interrupted_context = &wanted;
    client = new_client(&options);
    if (userd_get_user(client, NULL, "u-1", NULL) != USERD_OK) {
        return 1;
    }
    wanted = true;
    if (userd_get_user(client, NULL, "silent", NULL) != USERD_INTERNAL || wanted) {
        return 2;
    }
    return userd_client_error(client)->cause == USERD_CAUSE_LOST ? 0 : 3;
}

/* A call that was on its way may have been done: the cause does not deny it. */
START_TEST(guard_says_what_a_failed_loop_means)
{
    struct userd_client_options options;

    start_server();
    options = test_options();
    ck_assert_int_eq(run_in_child(wait_without_a_loop, &options), 0);
    ck_assert_int_eq(run_in_child(call_without_a_loop, &options), 0);
    stop_server();
}

END_TEST

UNIT_MAIN("userd_client_guard", guard_keeps_the_outcome_of_the_outer_call,
          guard_holds_in_the_question_too, guard_refuses_other_threads,
          guard_knows_a_thread_that_has_ended, guard_tells_of_a_failed_loop,
          guard_says_what_a_failed_loop_means)
