/*
 * One call: its memory, its options, its start and its end. What comes back is the matter of its
 * type.
 *
 * The memory of a call that has ended waits for the next one, so that a warm client allocates
 * nothing here. It goes there only after the last callback has returned: until then whoever holds
 * the call may still cancel it in vain.
 */
#include "client/userd_client_internal.h"
#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static_assert((int)CALL_CAUSE_ANSWER == (int)USERD_CAUSE_ANSWER, "");
static_assert((int)CALL_CAUSE_CONNECT == (int)USERD_CAUSE_CONNECT, "");
static_assert((int)CALL_CAUSE_TLS == (int)USERD_CAUSE_TLS, "");
static_assert((int)CALL_CAUSE_LOST == (int)USERD_CAUSE_LOST, "");
static_assert((int)CALL_CAUSE_REFUSED == (int)USERD_CAUSE_REFUSED, "");
static_assert((int)CALL_CAUSE_DEADLINE == (int)USERD_CAUSE_DEADLINE, "");
static_assert((int)CALL_CAUSE_CANCELLED == (int)USERD_CAUSE_CANCELLED, "");
static_assert((int)CALL_CAUSE_BREAKER == (int)USERD_CAUSE_BREAKER, "");
static_assert((int)CALL_CAUSE_MEMORY == (int)USERD_CAUSE_MEMORY, "");
static_assert((int)CALL_CAUSE_CALLER == (int)USERD_CAUSE_CALLER, "");
static_assert(USERD_CALL_METADATA_MAX + 1 <= CALL_FIELDS_MAX, "");
static_assert(CALL_NO_DEADLINE == UINT64_MAX, "");

/* Of the call, or the client's in its place. */
static bool has_token(const struct userd_client *client, const struct userd_call_options *options)
{
    if (options->token != NULL) {
        return options->token[0] != '\0';
    }
    return client->token != NULL || client->token_file != NULL;
}

/* Takes what the program gave; `*ret_size` is what copies of its texts take. Returns 0 or -EINVAL.
 */
static int take_options(const struct userd_client *client, const struct userd_call_options *given,
                        struct userd_call_options *ret_options, size_t *ret_size)
{
    int ret = 0;

    *ret_size = 0;
    if (given != NULL) {
        ret = userd_struct_take(ret_options, sizeof(*ret_options), given, "userd_call_options");
    }
    if (ret == 0 && ret_options->token != NULL && !userd_is_token(ret_options->token)) {
        userd_set_last_problem("the token of the call is not printable ASCII without blanks");
        ret = -EINVAL;
    }
    return ret != 0 ? ret
                    : userd_metadata_check(ret_options, has_token(client, ret_options), ret_size);
}

static size_t text_size(const char *text)
{
    return text == NULL ? 0 : strlen(text) + 1;
}

/* There is room for it. */
static const char *keep_text(struct buf *texts, const char *text)
{
    const size_t size = text_size(text);
    const char *copy = (const char *)buf_bytes(texts).data + buf_size(texts);

    (void)buf_append(texts, text, size);
    return copy;
}

/* Copies what the channel borrows until the end; `size` is that of the metadata. Returns 0 or
 * -ENOMEM. */
static int keep_texts(struct userd_call *call, const struct userd_call_options *options,
                      size_t size, const char *path)
{
    struct channel_call *channel_call = &call->channel_call;

    size += text_size(path) + text_size(options->token);
    if (size == 0) {
        return 0;
    }
    if (buf_reserve(&call->texts, size) == NULL) {
        return -ENOMEM;
    }
    if (path != NULL) {
        channel_call->path = keep_text(&call->texts, path);
    }
    if (options->token != NULL) {
        channel_call->token =
            options->token[0] == '\0' ? NULL : keep_text(&call->texts, options->token);
        channel_call->token_file = NULL;
    }
    for (size_t i = 0; i < options->metadata_count; i++) {
        userd_metadata_copy(&call->texts, &options->metadata[i], &call->fields[i]);
    }
    channel_call->field_count = options->metadata_count;
    return 0;
}

static uint64_t timeout_ns(const struct userd_call *call, const struct userd_call_options *options)
{
    if (options->timeout_ms == 0) {
        return call->type->message == NULL ? call->client->timeout_ns : CALL_NO_DEADLINE;
    }
    return userd_ns_from_ms(options->timeout_ms);
}

/* Back among those that wait for work. */
static void release(struct userd_call *call)
{
    struct userd_client *client = call->client;

    if (call->texts.end > 0) {
        explicit_bzero(call->texts.data, call->texts.end); /* a token may be among them */
        buf_clear(&call->texts);
    }
    if (client->kept_count == USERD_CALLS_KEPT) {
        buf_deinit(&call->texts);
        free(call);
        return;
    }
    client->kept_count++;
    list_push_back(&client->kept, &call->link);
}

static struct userd_call *take(struct userd_client *client)
{
    struct list *link = list_pop_front(&client->kept);
    struct userd_call *call;
    struct buf texts;

    if (link == NULL) {
        call = calloc(1, sizeof(*call));
        if (call == NULL) {
            return NULL;
        }
    } else {
        client->kept_count--;
        call = CONTAINER_OF(link, struct userd_call, link);
        texts = call->texts;
        *call = (struct userd_call){.texts = texts};
    }
    list_init(&call->link);
    return call;
}

/* The backend of the last attempt. */
static const char *backend_of(const struct userd_call *call)
{
    const size_t backend = call->channel_call.backend;

    return backend == BALANCER_NONE
               ? ""
               : channel_backend_name(call->client->channel, (unsigned)backend);
}

/* The last good token of a file that cannot be read any more is used on, and may be out of date. */
static void tell_of_token_file(struct userd_problem *problem, const struct userd_call *call)
{
    const struct token_file *file = call->channel_call.token_file;

    if (problem->error.code == USERD_UNAUTHENTICATED && file != NULL &&
        token_file_problem(file)[0] != '\0') {
        userd_problem_add(problem, token_file_problem(file));
    }
}

static void describe(struct userd_problem *problem, const struct userd_call *call,
                     const struct call_result *result)
{
    userd_problem_clear(problem);
    problem->error.attempts = call->channel_call.attempts;
    if (call->refusal != NULL) {
        userd_problem_say(problem, USERD_INTERNAL, USERD_CAUSE_ANSWER, call->refusal);
    } else if (call->is_short_of_memory) {
        (void)userd_call_judge(problem, -ENOMEM);
    } else if (result->status != GRPC_STATUS_OK) {
        userd_problem_set(problem, (enum userd_code)result->status, (enum userd_cause)result->cause,
                          result->message, result->details);
        tell_of_token_file(problem, call);
    }
    problem->error.backend = backend_of(call);
    problem->fields = result->fields;
}

static void on_done(struct channel_call *channel_call, const struct call_result *result)
{
    struct userd_call *call = CONTAINER_OF(channel_call, struct userd_call, channel_call);
    struct userd_client *client = call->client;

    call->is_over = true;
    list_remove(&call->link);
    client->call_count--;
    if (!call->is_abandoned) {
        call->fields_got = result->fields;
        describe(&client->problem, call, result);
        call->type->ended(call, &client->problem, result);
    }
    release(call);
}

static void on_message(struct channel_call *channel_call, struct bytes message)
{
    struct userd_call *call = CONTAINER_OF(channel_call, struct userd_call, channel_call);

    if (!call->is_abandoned && call->refusal == NULL && !call->is_short_of_memory) {
        call->type->message(call, message);
    }
}

/* Frees what was not started. */
static struct userd_call *fail(struct userd_call *call, int error)
{
    if (error == -ENOMEM) {
        userd_set_last_problem("out of memory");
    } else if (error == -EBUSY) {
        userd_set_last_problem("%d calls of this client are under way", CHANNEL_CALLS_MAX);
    }
    release(call);
    errno = -error;
    return NULL;
}

struct userd_call *userd_call_new(struct userd_client *client,
                                  const struct userd_call_options *options,
                                  const struct userd_call_type *type, const char *path,
                                  bool copy_path, void *context)
{
    struct userd_call_options known = USERD_CALL_OPTIONS_INIT;
    struct userd_call *call;
    size_t size = 0;
    int ret = userd_may_start(client);

    if (ret == 0) {
        ret = take_options(client, options, &known, &size);
    }
    if (ret != 0) {
        errno = -ret;
        return NULL;
    }
    call = take(client);
    if (call == NULL) {
        userd_set_last_problem("out of memory");
        errno = ENOMEM;
        return NULL;
    }
    call->client = client;
    call->type = type;
    call->context = context;
    call->arena = &client->answers;
    call->channel_call.path = path;
    call->channel_call.token = client->token;
    call->channel_call.token_file = client->token_file;
    call->channel_call.done = on_done;
    call->channel_call.fields = call->fields;
    call->channel_call.timeout_ns = timeout_ns(call, &known);
    call->channel_call.timeout_is_default = known.timeout_ms == 0;
    call->channel_call.has_wait_for_ready = client->wait_for_ready || known.wait_for_ready >= 0;
    call->channel_call.wait_for_ready =
        known.wait_for_ready >= 0 ? known.wait_for_ready != 0 : client->wait_for_ready;
    if (type->message != NULL) {
        call->channel_call.message = on_message;
    }
    ret = keep_texts(call, &known, size, copy_path ? path : NULL);
    return ret == 0 ? call : fail(call, ret);
}

void userd_call_add_field(struct userd_call *call, const char *name, const char *value)
{
    struct channel_call *channel_call = &call->channel_call;

    assert(channel_call->field_count <= USERD_CALL_METADATA_MAX);
    call->fields[channel_call->field_count++] = (struct call_field){name, value};
}

static struct userd_call *started(struct userd_call *call, int ret)
{
    struct userd_client *client = call->client;

    if (ret != 0) {
        return fail(call, ret == CHANNEL_E_BUSY ? -EBUSY : ret);
    }
    client->call_count++;
    list_push_back(&client->calls, &call->link);
    return call;
}

struct userd_call *userd_call_start(struct userd_call *call, int packed_ret)
{
    struct userd_client *client = call->client;
    int ret = packed_ret;

    if (ret == 0) {
        ret = channel_start(client->channel, &call->channel_call, buf_bytes(&client->packed));
    }
    userd_packed_wipe(client);
    return started(call, ret);
}

struct userd_call *userd_call_start_bytes(struct userd_call *call, struct bytes request)
{
    return started(call, channel_start(call->client->channel, &call->channel_call, request));
}

struct userd_call *userd_call_open(struct userd_call *call)
{
    return started(call, channel_open(call->client->channel, &call->channel_call));
}

int userd_call_send(struct userd_call *call, int packed_ret)
{
    int ret = packed_ret;

    if (ret == 0) {
        ret = userd_call_send_bytes(call, buf_bytes(&call->client->packed));
    } else if (ret == -ENOMEM) {
        userd_set_last_problem("out of memory");
    }
    userd_packed_wipe(call->client);
    return ret;
}

int userd_call_send_bytes(struct userd_call *call, struct bytes message)
{
    int ret = CHANNEL_E_OVER;

    if (!userd_is_mine(call->client)) {
        return -EPERM;
    }
    if (!call->is_over && !call->is_finished && call->refusal == NULL) {
        ret = channel_send(&call->channel_call, message);
    }
    switch (ret) {
    case 0:
        call->sent++;
        return 0;
    case CHANNEL_E_FULL:
        call->is_full = true;
        return USERD_FULL;
    case CHANNEL_E_OVER:
        return USERD_OVER;
    default:
        userd_set_last_problem("out of memory");
        return ret;
    }
}

int userd_call_finish(struct userd_call *call)
{
    int ret;

    if (!userd_is_mine(call->client)) {
        return -EPERM;
    }
    if (call->type->message == NULL || call->is_over || call->is_finished) {
        return USERD_OVER;
    }
    ret = channel_half_close(&call->channel_call);
    if (ret == 0) {
        call->is_finished = true;
    } else if (ret == -ENOMEM) {
        userd_set_last_problem("out of memory");
    }
    return ret == CHANNEL_E_OVER ? USERD_OVER : ret;
}

int userd_call_cancel(struct userd_call *call)
{
    if (!userd_is_mine(call->client)) {
        return -EPERM;
    }
    if (!call->is_over) {
        channel_cancel(&call->channel_call);
    }
    return 0;
}

bool userd_call_has_end(void (*ended)(void *context, const struct userd_error *error))
{
    if (ended == NULL) {
        userd_set_last_problem("`ended` is NULL: nobody would learn that the call is over");
    }
    return ended != NULL;
}

/* Only for who was told to wait. */
static void on_writable(struct channel_call *channel_call)
{
    struct userd_call *call = CONTAINER_OF(channel_call, struct userd_call, channel_call);

    if (call->is_full && !call->is_abandoned) {
        call->is_full = false;
        call->writable(call->context);
    }
}

void userd_call_want_writable(struct userd_call *call, void (*writable)(void *context))
{
    if (writable != NULL) {
        call->writable = writable;
        call->channel_call.writable = on_writable;
    }
}

void userd_call_abandon(struct userd_call *call)
{
    call->is_abandoned = true;
    (void)userd_call_cancel(call);
}

int userd_call_pause(struct userd_call *call)
{
    if (!userd_is_mine(call->client)) {
        return -EPERM;
    }
    if (!call->is_over && call->type->message != NULL) {
        channel_pause(&call->channel_call);
    }
    return 0;
}

int userd_call_resume(struct userd_call *call)
{
    if (!userd_is_mine(call->client)) {
        return -EPERM;
    }
    if (!call->is_over && call->type->message != NULL) {
        channel_resume(&call->channel_call);
    }
    return 0;
}

void userd_call_refuse(struct userd_call *call, const char *message)
{
    call->refusal = message;
    (void)userd_call_cancel(call);
}

void userd_call_refuse_message(struct userd_call *call, int error, const char *message)
{
    if (error == -ENOMEM) {
        call->is_short_of_memory = true;
        (void)userd_call_cancel(call);
    } else {
        userd_call_refuse(call, message);
    }
}

bool userd_call_judge(struct userd_problem *problem, int ret)
{
    switch (ret) {
    case 0:
        return true;
    case -ENOMEM:
        userd_problem_say(problem, USERD_RESOURCE_EXHAUSTED, USERD_CAUSE_MEMORY,
                          "no memory for the answer; unpacked it may take four times "
                          "max_message");
        return false;
    case USERD_E_NO_USER:
        userd_problem_say(problem, USERD_INTERNAL, USERD_CAUSE_ANSWER, "the answer holds no user");
        return false;
    default:
        userd_problem_say(problem, USERD_INTERNAL, USERD_CAUSE_ANSWER,
                          "the answer is not the message it should be");
        return false;
    }
}
