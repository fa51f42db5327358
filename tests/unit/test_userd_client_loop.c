#include "lib/syscall_filter.h"

#include "userd_client_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>

#if defined(__SANITIZE_ADDRESS__)
#define ROUNDS 2000 /* LeakSanitizer sees what is lost */
#else
#define ROUNDS 10000
#endif

struct told {
    unsigned done;
    unsigned ok;
};

static void on_user(void *context, const struct userd_error *error, const struct userd_user *one)
{
    struct told *told = context;

    (void)one;
    told->done++;
    told->ok += error->code == USERD_OK;
}

static int poll_ms(uint64_t ms)
{
    return ms == USERD_NO_TIMEOUT ? -1 : (int)(ms < INT_MAX ? ms : INT_MAX);
}

/* One turn of a program's own loop over two clients, as client.h tells it. Returns how often a
 * descriptor was ready. */
static unsigned turn(struct userd_client *const *clients)
{
    struct pollfd fds[2];
    uint64_t wait_ms = USERD_NO_TIMEOUT;
    unsigned ready = 0;

    for (unsigned i = 0; i < 2; i++) {
        const uint64_t next_ms = userd_client_next_ms(clients[i]);

        fds[i] = (struct pollfd){.fd = userd_client_fd(clients[i]), .events = POLLIN};
        wait_ms = next_ms < wait_ms ? next_ms : wait_ms;
    }
    ck_assert_int_ge(poll(fds, 2, poll_ms(wait_ms)), 0);
    for (unsigned i = 0; i < 2; i++) {
        ready += fds[i].revents != 0;
        ck_assert_int_eq(userd_client_run(clients[i], 0), 0);
    }
    return ready;
}

/* A program's own poll() drives two clients: connecting, calls, timers. It sleeps meanwhile: the
 * turns are not many more than the events. */
START_TEST(loop_is_driven_from_outside)
{
    struct userd_client_options options;
    struct userd_call_options soon = USERD_CALL_OPTIONS_INIT;
    struct userd_client *clients[2];
    struct told told = {0};
    struct told late = {0};
    unsigned turns = 0;
    unsigned ready = 0;

    start_server();
    options = test_options();
    soon.timeout_ms = 50;
    for (unsigned i = 0; i < 2; i++) {
        clients[i] = new_client(&options);
        ck_assert_uint_eq(userd_client_next_ms(clients[i]), USERD_NO_TIMEOUT);
    }
    for (unsigned round = 1; round <= 100; round++) {
        for (unsigned i = 0; i < 2; i++) {
            ck_assert_ptr_nonnull(userd_start_get_user(clients[i], NULL, "u-1", on_user, &told));
            ck_assert_uint_eq(userd_client_next_ms(clients[i]), 0);
        }
        while (told.done < 2 * round) {
            ready += turn(clients);
            turns++;
        }
    }
    ck_assert_uint_eq(told.ok, 200);
    ck_assert_uint_gt(ready, 0);
    ck_assert_uint_lt(turns, 100 * 20);
    ck_assert_ptr_nonnull(userd_start_get_user(clients[1], &soon, "silent", on_user, &late));
    while (late.done == 0) {
        (void)turn(clients);
        turns++;
    }
    ck_assert_uint_eq(late.ok, 0);
    ck_assert_uint_lt(turns, 100 * 20 + 1000);
    userd_client_free(clients[0]);
    userd_client_free(clients[1]);
    stop_server();
}

END_TEST

/* A cancel between two turns of the outer loop makes the next one come at once. */
START_TEST(loop_hears_of_a_cancel)
{
    struct userd_client *clients[2];
    struct userd_client_options options;
    struct told told = {0};
    struct userd_call *call;

    start_server();
    options = test_options();
    clients[0] = new_client(&options);
    clients[1] = new_client(&options);
    call = userd_start_get_user(clients[0], NULL, "silent", on_user, &told);
    while (userd_client_next_ms(clients[0]) == 0) {
        (void)turn(clients);
    }
    userd_call_cancel(call);
    while (told.done == 0) {
        (void)turn(clients);
    }
    userd_client_free(clients[0]);
    userd_client_free(clients[1]);
    stop_server();
}

END_TEST

static unsigned count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    ck_assert_ptr_nonnull(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    ck_assert_int_eq(closedir(folder), 0);
    return count;
}

/* Connects, calls, cancels and disconnects, each time another way. */
static void one_round(const struct userd_client_options *options, unsigned number)
{
    struct userd_client *one = new_client(options);
    struct told told = {0};
    struct userd_call *call = NULL;

    if (number % 5 == 4) {
        userd_client_connect(one); /* and goes away at once */
    } else if (number % 5 != 3) {
        ck_assert_int_eq(userd_get_user(one, NULL, "u-1", NULL), USERD_OK);
        call = userd_start_get_user(one, NULL, "silent", on_user, &told);
        ck_assert_ptr_nonnull(call);
        ck_assert_ptr_nonnull(userd_start_get_user(one, NULL, "u-1", on_user, &told));
    }
    if (number % 5 >= 1 && call != NULL) {
        ck_assert_int_eq(userd_client_run(one, 0), 0);
        userd_call_cancel(call);
    }
    if (number % 5 == 2) {
        while (told.done < 2) {
            ck_assert_int_eq(userd_client_run(one, USERD_NO_TIMEOUT), 0);
        }
    }
    userd_client_free(one);
    ck_assert_uint_eq(told.done, call == NULL ? 0 : 2);
}

/* However often a client comes and goes, nothing is left of it. */
static void run_rounds(unsigned first, unsigned count)
{
    struct userd_client_options options;
    unsigned descriptors = 0;
    size_t memory = 0;

    start_server();
    options = test_options();
    for (unsigned i = 0; i < count; i++) {
        if (i == count / 10) {
            descriptors = count_descriptors();
            memory = mallinfo2().uordblks;
        }
        one_round(&options, first + i);
    }
    ck_assert_uint_eq(count_descriptors(), descriptors);
    ck_assert_uint_le(mallinfo2().uordblks, memory + 64 * 1024);
    stop_server();
}

/* In two halves, as each test has its time. */
START_TEST(loop_leaves_nothing_behind)
{
    run_rounds(0, ROUNDS / 2);
}

END_TEST

START_TEST(loop_leaves_nothing_behind_later)
{
    run_rounds(ROUNDS / 2, ROUNDS / 2);
}

END_TEST

/* A name is asked for on a thread of the client's own, which goes with it. */
START_TEST(loop_resolves_a_name)
{
    struct userd_client_options options;
    char named[64];

    start_server();
    (void)snprintf(named, sizeof(named), "localhost%s", strchr(target, ':'));
    options = test_options();
    options.target = named;
    for (unsigned i = 0; i < 10; i++) {
        client = new_client(&options);
        if (i % 2 == 0) {
            ck_assert_int_eq(userd_get_user(client, NULL, "u-1", NULL), USERD_OK);
        } else {
            userd_client_connect(client);
            ck_assert_int_eq(userd_client_run(client, 0), 0);
        }
        userd_client_free(client);
    }
    stop_server();
}

END_TEST

/* Where io_uring is forbidden a client says so, with what to do. */
static int make_forbidden(void *context)
{
    struct userd_client *made = NULL;

    if (syscall_filter_refuse(SYS_io_uring_setup, EPERM) != 0) {
        return 1;
    }
    if (userd_client_new(context, &made) != -EPERM || made != NULL) {
        return 2;
    }
    return strstr(userd_last_problem(), "io_uring is blocked") != NULL &&
                   strstr(userd_last_problem(), "seccomp") != NULL
               ? 0
               : 3;
}

START_TEST(loop_tells_what_forbids_it)
{
    struct userd_client_options options = test_options();

    options.target = "127.0.0.1:1";
    ck_assert_int_eq(run_in_child(make_forbidden, &options), 0);
}

END_TEST

struct worker {
    pthread_t thread;
    const struct userd_client_options *options;
    unsigned ok;
    bool has_own_problem;
};

static void *work(void *context)
{
    struct worker *worker = context;
    struct userd_client_options bad = *worker->options;
    struct userd_client *mine = NULL;

    bad.target = "no port";
    worker->has_own_problem = userd_last_problem()[0] == '\0' &&
                              userd_client_new(&bad, &mine) == -EINVAL &&
                              strstr(userd_last_problem(), "no port") != NULL;
    if (userd_client_new(worker->options, &mine) != 0) {
        return NULL;
    }
    for (unsigned i = 0; i < 100; i++) {
        worker->ok += userd_get_user(mine, NULL, "u-1", NULL) == USERD_OK;
    }
    userd_client_free(mine);
    return NULL;
}

/* Each thread has a client and a last problem of its own. */
START_TEST(loop_runs_on_several_threads)
{
    struct userd_client_options options;
    struct worker workers[4];

    start_server();
    options = test_options();
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.options = &options};
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
        ck_assert_uint_eq(workers[i].ok, 100);
        ck_assert(workers[i].has_own_problem);
    }
    stop_server();
}

END_TEST

/* A read that fails for want of a server is tried again by the default config, and says how often;
 * a write is not. */
START_TEST(loop_retries_reads_by_default)
{
    const struct userd_new_user ada = {.size = sizeof(ada), .username = "ada"};
    struct userd_client_options options;
    struct userd_stats stats = USERD_STATS_INIT;

    start_server();
    options = test_options();
    client = new_client(&options);
    ck_assert_int_eq(userd_get_user(client, NULL, "unavailable", NULL), USERD_UNAVAILABLE);
    ck_assert_uint_eq(userd_client_error(client)->attempts, 3);
    userd_client_stats(client, &stats);
    ck_assert_uint_eq(stats.retries, 2);
    ck_assert_int_eq(userd_get_user(client, NULL, "unknown", NULL), USERD_NOT_FOUND);
    ck_assert_uint_eq(userd_client_error(client)->attempts, 1);
    ck_assert_int_eq(userd_create_user(client, NULL, &ada, NULL), USERD_OK);
    ck_assert_uint_eq(userd_client_error(client)->attempts, 1);
    ck_assert_ptr_nonnull(strstr(userd_default_service_config(), "GetUser"));
    /* The most that there may be: one lost connection takes a token for each of its calls. */
    ck_assert_ptr_nonnull(strstr(userd_default_service_config(), "\"maxTokens\": 1000,"));
    userd_client_free(client);
    stop_server();
}

END_TEST

UNIT_MAIN("userd_client_loop", loop_is_driven_from_outside, loop_hears_of_a_cancel,
          loop_leaves_nothing_behind, loop_leaves_nothing_behind_later, loop_resolves_a_name,
          loop_tells_what_forbids_it, loop_runs_on_several_threads, loop_retries_reads_by_default)
