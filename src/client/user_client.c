/*
 * A blocking front over a channel.
 *
 * A call packs its request, starts it and turns the loop until `done` was called. Answers are
 * unpacked into an arena that is emptied by the next one: nothing that a caller sees has to be
 * freed.
 *
 * What can go wrong: the call fails (a status, a text, details), the answer is not the message it
 * should be (INTERNAL), or the loop fails (negative errno: the client can only be freed then).
 */
#include "client/user_client.h"

#include "client/user_client_internal.h"
#include "core/clock.h"
#include "core/ring.h"
#include "core/tls.h"
#include "http2/grpc_error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONNECT_TIMEOUT_NS (10 * CLOCK_NS_PER_S)
#define RING_ENTRIES       64
#define RING_BUFFERS       16
#define RING_BUFFER_SIZE   16384

/* How long a connection may take to end: a server that reads nothing must not hold the program. */
#define GOODBYE_NS (1 * CLOCK_NS_PER_S)

/* How late a signal may be heard of that comes between the look at it and the wait. */
#define INTERRUPT_SLICE_NS (100 * CLOCK_NS_PER_MS)

static void problem_clear(struct user_client_problem *problem)
{
    buf_clear(&problem->message);
    buf_clear(&problem->details);
    problem->failure = (struct user_client_failure){.message = "", .details = "", .index = -1};
}

static void problem_deinit(struct user_client_problem *problem)
{
    buf_deinit(&problem->message);
    buf_deinit(&problem->details);
}

/* Without memory a text is shorter; the status is what counts. */
static const char *end_text(struct buf *text)
{
    return buf_append(text, "", 1) == 0 ? (const char *)buf_bytes(text).data : "";
}

void user_client_set_problem(struct user_client_problem *problem, enum grpc_status status,
                             enum channel_cause cause, struct bytes message, struct bytes details)
{
    problem_clear(problem);
    (void)buf_append(&problem->message, message.data, message.size);
    (void)grpc_error_describe(details, &problem->details); /* what it can make of them */
    problem->failure = (struct user_client_failure){
        .status = status,
        .cause = cause,
        .message = end_text(&problem->message),
        .details = end_text(&problem->details),
        .index = user_client_error_index(details),
    };
}

int user_client_fail(struct user_client *client, enum grpc_status status, const char *message)
{
    user_client_set_problem(&client->problem, status, CHANNEL_CAUSE_ANSWER,
                            bytes_from_text(message), (struct bytes){0});
    return USER_CLIENT_E_FAILED;
}

int user_client_fail_memory(struct user_client *client)
{
    user_client_set_problem(&client->problem, GRPC_STATUS_RESOURCE_EXHAUSTED, CHANNEL_CAUSE_MEMORY,
                            BYTES_LITERAL("out of memory"), (struct bytes){0});
    return USER_CLIENT_E_FAILED;
}

void user_client_begin(struct user_client *client)
{
    arena_reset(&client->arena);
    buf_clear(&client->reply);
    buf_clear(&client->fields);
    problem_clear(&client->problem);
    problem_clear(&client->item);
}

int user_client_turn(struct user_client *client, uint64_t timeout_ns)
{
    if (client->interrupted != NULL) {
        if (*client->interrupted != 0 && !client->is_done) {
            channel_cancel(&client->call);
        }
        timeout_ns = timeout_ns < INTERRUPT_SLICE_NS ? timeout_ns : INTERRUPT_SLICE_NS;
    }
    return reactor_turn(&client->reactor, timeout_ns);
}

int user_client_wait(struct user_client *client)
{
    int ret = 0;

    while (!client->is_done && ret == 0) {
        ret = user_client_turn(client, UINT64_MAX);
    }
    if (ret != 0) {
        return ret;
    }
    return client->problem.failure.status == GRPC_STATUS_OK ? 0 : USER_CLIENT_E_FAILED;
}

const struct user_client_failure *user_client_failure(const struct user_client *client)
{
    return &client->problem.failure;
}

static void on_closed(void *context)
{
    struct user_client *client = context;

    client->is_closed = true;
}

static int open_tls(struct user_client *client, const struct user_client_options *options,
                    char *problem)
{
    const struct tls_client_options tls_options = {
        .ca_file = options->ca_file,
        .cert_file = options->cert_file,
        .key_file = options->key_file,
    };

    if (options->ca_file == NULL) {
        return 0;
    }
    if ((options->cert_file == NULL) != (options->key_file == NULL)) {
        (void)snprintf(problem, USER_CLIENT_PROBLEM_SIZE,
                       "a certificate and its key are given together or not at all");
        return USER_CLIENT_E_OPTIONS;
    }
    return tls_context_new_client(&tls_options, problem, &client->tls) == 0 ? 0
                                                                            : USER_CLIENT_E_OPTIONS;
}

static int open_channel(struct user_client *client, const struct user_client_options *options,
                        char *problem)
{
    struct channel_options channel_options = {
        .connect_timeout_ns = CONNECT_TIMEOUT_NS,
        .max_message = USER_CLIENT_MESSAGE_MAX,
    };

    if (target_parse(options->target, problem, &channel_options.target) != 0) {
        return USER_CLIENT_E_OPTIONS;
    }
    if (target_resolve(&channel_options.target, problem) != 0) {
        return USER_CLIENT_E_UNRESOLVED;
    }
    channel_options.tls = client->tls;
    return channel_new(&client->reactor, &channel_options, on_closed, client, &client->channel);
}

int user_client_new(const struct user_client_options *options, char *problem,
                    struct user_client **ret_client)
{
    const struct ring_options ring_options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    struct user_client *client = calloc(1, sizeof(*client));
    int ret;

    (void)snprintf(problem, USER_CLIENT_PROBLEM_SIZE, "out of memory");
    if (client == NULL) {
        return -ENOMEM;
    }
    client->token = options->token;
    client->timeout_ns = options->timeout_ns;
    client->interrupted = options->interrupted;
    client->is_done = true;
    client->arena.size_max = 4 * USER_CLIENT_MESSAGE_MAX;
    ret = reactor_init(&client->reactor, &ring_options, clock_system(), NULL, problem);
    if (ret != 0) {
        free(client);
        return ret;
    }
    ret = open_tls(client, options, problem);
    if (ret == 0) {
        ret = open_channel(client, options, problem);
    }
    if (ret != 0) {
        user_client_free(client);
        return ret;
    }
    *ret_client = client;
    return 0;
}

/* Returns 0 or negative errno. */
static int close_channel(struct user_client *client)
{
    uint64_t end_ns = clock_monotonic_ns(clock_system()) + GOODBYE_NS;
    int ret = 0;

    channel_cancel(&client->call); /* so that an unfinished stream tells nothing more */
    channel_close(client->channel);
    while (ret == 0 && !client->is_closed) {
        uint64_t now_ns = clock_monotonic_ns(clock_system());

        if (now_ns >= end_ns) {
            channel_abort(client->channel);
        }
        ret = reactor_turn(&client->reactor, now_ns < end_ns ? end_ns - now_ns : UINT64_MAX);
    }
    return ret;
}

void user_client_free(struct user_client *client)
{
    if (client == NULL) {
        return;
    }
    if (client->channel != NULL && close_channel(client) != 0) {
        return; /* Not tested: the kernel still holds our memory, so it is left behind. */
    }
    reactor_deinit(&client->reactor);
    tls_context_unref(client->tls);
    buf_deinit(&client->reply);
    buf_deinit(&client->fields);
    problem_deinit(&client->problem);
    problem_deinit(&client->item);
    arena_deinit(&client->arena);
    free(client);
}
