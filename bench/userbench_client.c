/*
 * A client that costs little beside what it measures: requests are put together
 * by hand, answers are not unpacked, and the loop spins instead of sleeping
 * unless it is told to sleep, so that no time of waking up is part of a result.
 */
#include "userbench_client.h"

#include "core/clock.h"
#include "core/slurp.h"
#include "core/tls.h"
#include "core/workpool.h"
#include "http2/proto_wire.h"
#include "userbench_data.h"
#include "userbench_memory.h"
#include "userbench_options.h"
#include "userbench_problem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_NS (10 * CLOCK_NS_PER_S)
#define CALL_TIMEOUT_NS    (60 * CLOCK_NS_PER_S)
#define MESSAGE_MAX        65536
#define TOKEN_SIZE_MAX     8192
#define RING_ENTRIES       256
#define RING_BUFFERS       64
#define RING_BUFFER_SIZE   16384
#define RESOLVERS          1 /* threads */
#define RESOLVES_MAX       USERBENCH_CONNECTIONS_MAX

/* Field numbers of users.v1. */
#define UPDATE_ID          1
#define UPDATE_USER        2
#define UPDATE_MASK        3
#define GET_ID             1
#define USER_PROFILE       7
#define PROFILE_FIRST_NAME 1
#define MASK_PATHS         1

static void need(int result)
{
    if (result != 0) {
        userbench_problem("no memory");
    }
}

static void read_token(struct userbench_client *client, const char *path)
{
    int result = slurp_file(path, TOKEN_SIZE_MAX, &client->token, &client->token_size);

    if (result != 0) {
        userbench_problem("%s: %s", path, result < 0 ? strerror(-result) : "too large");
    }
    client->token[strcspn(client->token, "\r\n")] = '\0';
}

static void on_closed(void *context)
{
    struct userbench_client *client = context;

    client->closed_count++;
}

/* Each channel has a connection to each address of the target, and calls them in turn. */
static void open_channels(struct userbench_client *client, const struct userbench_options *options)
{
    const struct channel_options channel_options = {
        .target = client->target,
        .pool = client->pool,
        .tls = client->tls,
        .connect_timeout_ns = CONNECT_TIMEOUT_NS,
        .max_message = MESSAGE_MAX,
        .backoff = backoff_defaults,
        /* No breaker: a call that fails ends the program. */
    };

    for (unsigned i = 0; i < options->connections; i++) {
        need(channel_new(&client->reactor, &channel_options, on_closed, client,
                         &client->channels[i]));
        client->channel_count++;
    }
}

static void read_target(struct userbench_client *client, const struct userbench_options *options)
{
    char problem[TARGET_PROBLEM_SIZE];

    if (options->target == NULL) {
        userbench_problem("--target is missing");
    }
    if (options->connections > USERBENCH_CONNECTIONS_MAX) {
        userbench_problem("--connections: at most %d", USERBENCH_CONNECTIONS_MAX);
    }
    client->target = userbench_memory_get(1, sizeof(*client->target));
    if (target_parse(options->target, problem, client->target) != 0) {
        userbench_problem("%s", problem);
    }
    if (!target_is_numeric(client->target)) {
        need(workpool_new(&client->reactor, RESOLVERS, RESOLVES_MAX, &client->pool));
    }
}

void userbench_client_init(struct userbench_client *client, const struct userbench_options *options)
{
    const struct ring_options ring_options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
    };
    const struct tls_client_options tls_options = {.ca_file = options->ca_file};
    char problem[TLS_PROBLEM_SIZE + RING_PROBLEM_SIZE];

    *client = (struct userbench_client){.sleeps = options->sleeps};
    if (options->token_file != NULL) {
        read_token(client, options->token_file);
    }
    if (reactor_init(&client->reactor, &ring_options, clock_system(), NULL, problem) != 0) {
        userbench_problem("%s", problem);
    }
    if (options->ca_file != NULL &&
        tls_context_new_client(&tls_options, problem, &client->tls) != 0) {
        userbench_problem("%s", problem);
    }
    read_target(client, options);
    open_channels(client, options);
}

void userbench_client_turn(struct userbench_client *client, uint64_t timeout_ns)
{
    int result = reactor_turn(&client->reactor, client->sleeps ? timeout_ns : 0);

    if (result != 0) {
        userbench_problem("the loop: %s", strerror(-result));
    }
}

void userbench_client_deinit(struct userbench_client *client)
{
    for (unsigned i = 0; i < client->channel_count; i++) {
        channel_close(client->channels[i]);
    }
    while (client->closed_count < client->channel_count) {
        userbench_client_turn(client, UINT64_MAX);
    }
    workpool_close(client->pool);
    while (ring_pending_count(client->reactor.ring) > 0) {
        userbench_client_turn(client, UINT64_MAX);
    }
    free(client->target);
    reactor_deinit(&client->reactor);
    tls_context_unref(client->tls);
    slurp_free(client->token, client->token_size);
    buf_deinit(&client->request);
    buf_deinit(&client->user);
    buf_deinit(&client->profile);
}

static void pack_get(struct userbench_client *client, const char *id)
{
    need(proto_wire_append_bytes(&client->request, GET_ID, bytes_from_text(id)));
}

static void pack_update(struct userbench_client *client, const char *id)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "First%" PRIu64, ++client->change); /* fits */
    buf_clear(&client->profile);
    need(proto_wire_append_bytes(&client->profile, PROFILE_FIRST_NAME, bytes_from_text(name)));
    buf_clear(&client->user);
    need(proto_wire_append_bytes(&client->user, USER_PROFILE, buf_bytes(&client->profile)));
    need(proto_wire_append_bytes(&client->request, UPDATE_ID, bytes_from_text(id)));
    need(proto_wire_append_bytes(&client->request, UPDATE_USER, buf_bytes(&client->user)));
    buf_clear(&client->profile);
    need(
        proto_wire_append_bytes(&client->profile, MASK_PATHS, BYTES_LITERAL("profile.first_name")));
    need(proto_wire_append_bytes(&client->request, UPDATE_MASK, buf_bytes(&client->profile)));
}

static void on_done(struct channel_call *channel_call, const struct call_result *result)
{
    struct userbench_call *call = CONTAINER_OF(channel_call, struct userbench_call, call);

    if (result->status != GRPC_STATUS_OK) {
        userbench_problem("a call failed with status %d: %.*s", (int)result->status,
                          (int)result->message.size, (const char *)result->message.data);
    }
    if (result->reply.size == 0) {
        userbench_problem("an answer holds no user");
    }
    call->done(call, clock_monotonic_ns(clock_system()));
}

void userbench_client_start(struct userbench_client *client, struct userbench_call *call)
{
    struct channel *channel = client->channels[client->next_channel];
    char id[USERBENCH_ID_SIZE];

    client->next_channel = (client->next_channel + 1) % client->channel_count;
    userbench_data_format_id(call->user, id);
    buf_clear(&client->request);
    if (call->is_update) {
        pack_update(client, id);
    } else {
        pack_get(client, id);
    }
    call->call = (struct channel_call){
        .path =
            call->is_update ? "/users.v1.UserService/UpdateUser" : "/users.v1.UserService/GetUser",
        .token = client->token,
        .timeout_ns = CALL_TIMEOUT_NS,
        .done = on_done,
    };
    if (channel_start(channel, &call->call, buf_bytes(&client->request)) != 0) {
        userbench_problem("a call could not be started");
    }
}
