/*
 * Making a client: its options, and what hangs on its loop.
 *
 * A client is made in the order in which a mistake is cheapest to tell: options and files first,
 * the loop and the channel last. Whatever was made before a failure goes the way of
 * userd_client_free().
 */
#include "client/userd_client_internal.h"
#include "core/clock.h"
#include "core/ring.h"
#include "core/tls.h"
#include "core/workpool.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define RING_ENTRIES     64
#define RING_BUFFERS     32
#define RING_BUFFER_SIZE 16384

#define TIMEOUT_MS           5000
#define CONNECT_TIMEOUT_MS   10000
#define KEEPALIVE_TIMEOUT_MS 20000

/* As many tokens as there may be: reads are cheap to repeat, and each call that a server which is
 * on its way down refuses takes one. */
static const char default_service_config[] =
    "{\n"
    "  \"methodConfig\": [{\n"
    "    \"name\": [\n"
    "      {\"service\": \"users.v1.UserService\", \"method\": \"GetUser\"},\n"
    "      {\"service\": \"users.v1.UserService\", \"method\": \"ListUsers\"}\n"
    "    ],\n"
    "    \"retryPolicy\": {\n"
    "      \"maxAttempts\": 3,\n"
    "      \"initialBackoff\": \"0.05s\",\n"
    "      \"maxBackoff\": \"1s\",\n"
    "      \"backoffMultiplier\": 2,\n"
    "      \"retryableStatusCodes\": [\"UNAVAILABLE\"]\n"
    "    }\n"
    "  }],\n"
    "  \"retryThrottling\": {\"maxTokens\": 1000, \"tokenRatio\": 0.1}\n"
    "}\n";

const char *userd_default_service_config(void)
{
    return default_service_config;
}

static uint64_t or_default(uint64_t value, uint64_t default_value)
{
    return value == 0 ? default_value : value;
}

static int out_of_memory(void)
{
    userd_set_last_problem("out of memory");
    return -ENOMEM;
}

static int refuse(const char *problem)
{
    userd_set_last_problem("%s", problem);
    return -EINVAL;
}

static int check_options(const struct userd_client_options *options)
{
    if (options->target == NULL || options->target[0] == '\0') {
        return refuse("no target: name the server, as in users.example:50051");
    }
    if (!options->plaintext && options->ca_file == NULL) {
        return refuse("no ca_file: TLS needs the PEM file of those who may vouch for the server; "
                      "set it, or `plaintext` for a connection without TLS");
    }
    if ((options->cert_file == NULL) != (options->key_file == NULL)) {
        return refuse("a certificate and its key are given together or not at all");
    }
    if (options->token != NULL && options->token_file != NULL) {
        return refuse("token and token_file exclude each other");
    }
    if (options->token != NULL && !userd_is_token(options->token)) {
        return refuse("the token is not printable ASCII without blanks");
    }
    if (options->user_agent != NULL && (!userd_is_field_value(options->user_agent) ||
                                        strlen(options->user_agent) > USERD_AGENT_SIZE_MAX)) {
        return refuse("user_agent is not printable ASCII without blanks around it, or longer than "
                      "256 bytes");
    }
    if (options->breaker_failure_percent > 100) {
        return refuse("breaker_failure_percent is more than 100");
    }
    if ((int)options->balancing < USERD_BALANCING_DEFAULT ||
        options->balancing > USERD_ROUND_ROBIN) {
        return refuse("balancing is none of enum userd_balancing");
    }
    return 0;
}

/* `text` may be NULL. */
static int copy_text(const char *text, char **ret_copy)
{
    *ret_copy = text == NULL ? NULL : strdup(text);
    return text != NULL && *ret_copy == NULL ? out_of_memory() : 0;
}

static int copy_options(struct userd_client *client, const struct userd_client_options *options)
{
    int ret = copy_text(options->server_name, &client->server_name);

    if (ret == 0) {
        ret = copy_text(options->user_agent, &client->user_agent);
    }
    if (ret == 0) {
        ret = copy_text(options->token, &client->token);
    }
    client->timeout_ns = userd_ns_from_ms(or_default(options->timeout_ms, TIMEOUT_MS));
    client->max_message = (uint32_t)or_default(options->max_message, USERD_MESSAGE_MAX);
    client->max_request = (uint32_t)or_default(options->max_request, USERD_MESSAGE_MAX);
    client->wait_for_ready = options->wait_for_ready;
    client->interrupted = options->interrupted;
    client->interrupted_context = options->interrupted_context;
    client->answers.size_max = (size_t)client->max_message * USERD_ARENA_PER_MESSAGE;
    client->kept_answers.size_max = client->answers.size_max;
    return ret;
}

static int open_tls(struct userd_client *client, const struct userd_client_options *options)
{
    const struct tls_client_options tls_options = {
        .ca_file = options->ca_file,
        .cert_file = options->cert_file,
        .key_file = options->key_file,
    };
    char problem[TLS_PROBLEM_SIZE];
    int ret;

    if (options->plaintext) {
        return 0;
    }
    ret = tls_context_new_client(&tls_options, problem, &client->tls);
    if (ret == 0 || ret == -ENOMEM) {
        return ret == 0 ? 0 : out_of_memory();
    }
    return refuse(problem);
}

static int open_token_file(struct userd_client *client, const char *path)
{
    char problem[TOKEN_FILE_PROBLEM_SIZE];
    int ret;

    if (path == NULL) {
        return 0;
    }
    ret = token_file_new(path, clock_monotonic_ns(clock_system()), problem, &client->token_file);
    if (ret == 0 || ret == -ENOMEM) {
        return ret == 0 ? 0 : out_of_memory();
    }
    return refuse(problem);
}

static int read_service_config(struct userd_client *client, const char *json)
{
    char problem[SERVICE_CONFIG_PROBLEM_SIZE];
    const int ret = service_config_parse(json == NULL ? default_service_config : json, problem,
                                         &client->service_config);

    if (ret == 0 || ret == -ENOMEM) {
        return ret == 0 ? 0 : out_of_memory();
    }
    return refuse(problem);
}

static int read_target(struct userd_client *client, const char *text)
{
    char problem[TARGET_PROBLEM_SIZE];

    return target_parse(text, problem, &client->target) == 0 ? 0 : refuse(problem);
}

static int open_loop(struct userd_client *client)
{
    const struct ring_options options = {
        .entries = RING_ENTRIES,
        .recv_buffer_count = RING_BUFFERS,
        .recv_buffer_size = RING_BUFFER_SIZE,
        .is_pollable = true,
    };
    char problem[RING_PROBLEM_SIZE];
    int ret = reactor_init(&client->reactor, &options, clock_system(), NULL, problem);

    if (ret != 0) {
        userd_set_last_problem("%s", problem);
        return ret;
    }
    client->has_reactor = true;
    ret = userd_wake_open(client);
    if (ret != 0) {
        return ret;
    }
    if (target_is_numeric(&client->target)) {
        return 0;
    }
    ret = workpool_new(&client->reactor, 1, 1, &client->pool);
    if (ret != 0) {
        userd_set_last_problem("the thread that resolves names cannot be started: %s",
                               strerror(-ret));
    }
    return ret;
}

static void on_closed(void *context)
{
    struct userd_client *client = context;

    client->is_closed = true;
}

static struct breaker_options breaker_options(const struct userd_client_options *options)
{
    return (struct breaker_options){
        .enabled = options->breaker,
        .window_ns = options->breaker_window_ms == 0 ? breaker_defaults.window_ns
                                                     : userd_ns_from_ms(options->breaker_window_ms),
        .min_calls = (uint32_t)or_default(options->breaker_min_calls, breaker_defaults.min_calls),
        .failure_percent = (uint32_t)or_default(options->breaker_failure_percent,
                                                breaker_defaults.failure_percent),
        .cooldown_ns = options->breaker_cooldown_ms == 0
                           ? breaker_defaults.cooldown_ns
                           : userd_ns_from_ms(options->breaker_cooldown_ms),
        .probe_count = (uint32_t)or_default(options->breaker_probes, breaker_defaults.probe_count),
    };
}

static int open_channel(struct userd_client *client, const struct userd_client_options *options)
{
    const struct channel_options channel_options = {
        .target = &client->target,
        .pool = client->pool,
        .tls = client->tls,
        .server_name = client->server_name,
        .user_agent = client->user_agent,
        .connect_timeout_ns =
            userd_ns_from_ms(or_default(options->connect_timeout_ms, CONNECT_TIMEOUT_MS)),
        .keepalive_time_ns = userd_ns_from_ms(options->keepalive_time_ms),
        .keepalive_timeout_ns =
            userd_ns_from_ms(or_default(options->keepalive_timeout_ms, KEEPALIVE_TIMEOUT_MS)),
        .keepalive_without_calls = options->keepalive_without_calls,
        .resolve_interval_ns = userd_ns_from_ms(options->resolve_interval_ms),
        .max_message = client->max_message,
        .max_request = client->max_request,
        .has_policy = options->balancing != USERD_BALANCING_DEFAULT,
        .policy =
            options->balancing == USERD_ROUND_ROBIN ? BALANCER_ROUND_ROBIN : BALANCER_PICK_FIRST,
        .service_config = client->service_config,
        .health_token = client->token,
        .health_token_file = client->token_file,
        .breaker = breaker_options(options),
        .backoff = backoff_defaults,
    };
    const int ret =
        channel_new(&client->reactor, &channel_options, on_closed, client, &client->channel);

    return ret == 0 ? 0 : out_of_memory();
}

/* All of it; userd_client_free() undoes what there is after a failure. */
static int set_up(struct userd_client *client, const struct userd_client_options *options)
{
    int ret = copy_options(client, options);

    if (ret == 0) {
        ret = read_target(client, options->target);
    }
    if (ret == 0) {
        ret = read_service_config(client, options->service_config);
    }
    if (ret == 0) {
        ret = open_token_file(client, options->token_file);
    }
    if (ret == 0) {
        ret = open_tls(client, options);
    }
    if (ret == 0) {
        ret = open_loop(client);
    }
    return ret == 0 ? open_channel(client, options) : ret;
}

/* Takes what the program gave. An empty text is none where both are the same wish. */
static int take_options(const struct userd_client_options *given,
                        struct userd_client_options *ret_options)
{
    int ret = userd_struct_take(ret_options, sizeof(*ret_options), given, "userd_client_options");

    if (ret != 0) {
        return ret;
    }
    if (ret_options->token != NULL && ret_options->token[0] == '\0') {
        ret_options->token = NULL;
    }
    if (ret_options->user_agent != NULL && ret_options->user_agent[0] == '\0') {
        ret_options->user_agent = NULL;
    }
    return check_options(ret_options);
}

int userd_client_new(const struct userd_client_options *options, struct userd_client **ret_client)
{
    struct userd_client_options known = USERD_CLIENT_OPTIONS_INIT;
    struct userd_client *client;
    int ret = take_options(options, &known);

    if (ret != 0) {
        return ret;
    }
    client = calloc(1, sizeof(*client));
    if (client == NULL) {
        return out_of_memory();
    }
    client->thread = userd_thread_number();
    client->wake_fd = -1;
    list_init(&client->calls);
    list_init(&client->kept);
    userd_problem_clear(&client->problem);
    userd_problem_clear(&client->item);
    userd_problem_clear(&client->last);
    userd_problem_clear(&client->stream.outcome);
    ret = set_up(client, &known);
    if (ret != 0) {
        (void)userd_client_free(client);
        return ret;
    }
    *ret_client = client;
    return 0;
}
