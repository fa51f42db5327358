/* Single calls and streams, each by a command. */
#include "client/client_driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_SIZE    512
#define MESSAGE_SIZE 4096

enum stream_kind {
    STREAM_NONE,
    STREAM_BATCH,
    STREAM_SYNC,
    STREAM_RAW
};

struct one {
    struct userd_call *call; /* NULL = this entry is free */
    int tag;
    const char *method;
    double began_ms;
    enum stream_kind kind;
    uint64_t items;    /* to be sent */
    uint64_t sent;     /* so far */
    uint64_t taken_at; /* the item whose name is taken already */
    uint64_t replies;
    uint64_t failed;
    uint64_t full; /* times that there was no room */
    bool is_in_order;
    bool is_quiet;
    char prefix[TEXT_SIZE];
};

static struct one table[DRIVER_TAGS_MAX];

/* ---------------------------------------------------------------- what is told */

static void finish_line(struct one *one, const struct userd_error *error)
{
    line_number("took_ms", driver_now_ms() - one->began_ms);
    line_error(error);
    if (one->kind != STREAM_NONE) {
        line_number("sent", (double)one->sent);
        line_number("replies", (double)one->replies);
        line_number("failed", (double)one->failed);
        line_number("full", (double)one->full);
        line_number("in_order", one->is_in_order);
    }
    line_close();
    one->call = NULL;
}

static void open_line(const struct one *one, const char *event)
{
    line_open(event);
    line_number("tag", one->tag);
    line_text("method", one->method);
}

static void on_user(void *context, const struct userd_error *error, const struct userd_user *user)
{
    open_line(context, "call");
    if (user != NULL)
        line_user(user);
    finish_line(context, error);
}

static void on_page(void *context, const struct userd_error *error, const struct userd_page *page)
{
    open_line(context, "call");
    if (page != NULL) {
        line_number("count", (double)page->count);
        line_number("total", page->total_count);
        line_text("next", page->next_page_token);
    }
    finish_line(context, error);
}

static void on_delete(void *context, const struct userd_error *error, bool success)
{
    open_line(context, "call");
    line_number("success", success);
    finish_line(context, error);
}

static void on_state(void *context, const struct userd_user *user)
{
    struct one *one = context;

    one->replies++;
    if (one->is_quiet)
        return;
    open_line(one, "state");
    line_user(user);
    line_close();
}

static void on_end(void *context, const struct userd_error *error)
{
    struct one *one = context;

    open_line(one, "call");
    if (one->kind == STREAM_NONE)
        line_number("states", (double)one->replies);
    finish_line(one, error);
}

static void on_reply(void *context, const struct userd_reply *reply)
{
    struct one *one = context;
    char name[TEXT_SIZE + 24];

    snprintf(name, sizeof(name), "%s%llu", one->prefix, (unsigned long long)one->replies);
    if (reply->index != one->replies ||
        (reply->user != NULL && strcmp(reply->user->username, name) != 0))
        one->is_in_order = false;
    one->replies++;
    if (reply->user != NULL)
        return;
    one->failed++;
    open_line(one, "reply");
    line_number("item", (double)reply->index);
    line_error(reply->error);
    line_close();
}

static void on_message(void *context, const void *bytes, size_t size)
{
    struct one *one = context;

    (void)bytes;
    one->replies++;
    open_line(one, "message");
    line_number("size", (double)size);
    line_close();
}

/* ----------------------------------------------------------------- what is sent */

static int send_item(struct one *one)
{
    char name[TEXT_SIZE + 24];
    char email[TEXT_SIZE + 40];

    snprintf(name, sizeof(name), "%s%llu", one->prefix, (unsigned long long)one->sent);
    snprintf(email, sizeof(email), "%s@example.com", name);
    if (one->kind == STREAM_BATCH) {
        struct userd_new_user user = {
            .size = sizeof(user), .username = name, .email = email, .password = "correct horse"};

        if (one->sent == one->taken_at)
            user.username = "taken";
        return userd_batch_send(one->call, &user);
    }
    return userd_sync_send(
        one->call,
        &(struct userd_user){.size = sizeof(struct userd_user), .username = name, .email = email});
}

/* As many as there is room for. */
static void send_items(void *context)
{
    struct one *one = context;

    while (one->sent < one->items) {
        int result = send_item(one);

        if (result == USERD_FULL)
            one->full++;
        if (result != 0)
            return;
        one->sent++;
    }
    userd_call_finish(one->call);
}

/* ------------------------------------------------------------------ how it begins */

static struct one *find(int tag)
{
    for (size_t i = 0; i < DRIVER_TAGS_MAX; i++)
        if (table[i].call != NULL && table[i].tag == tag)
            return &table[i];
    return NULL;
}

static struct one *take(void)
{
    for (size_t i = 0; i < DRIVER_TAGS_MAX; i++) {
        if (table[i].call == NULL) {
            table[i] = (struct one){.began_ms = driver_now_ms(), .is_in_order = true};
            return &table[i];
        }
    }
    return NULL;
}

static void read_options(const struct words *words, struct userd_call_options *options,
                         struct userd_metadata *field, char *name)
{
    const char *text = words_text(words, "field", "");
    const char *colon = strchr(text, ':');

    options->timeout_ms = words_number(words, "timeout_ms", 0);
    if (words_text(words, "wait", NULL) != NULL)
        options->wait_for_ready = (int)words_number(words, "wait", 0);
    options->token = words_text(words, "token", NULL);
    if (colon != NULL && colon - text < TEXT_SIZE) {
        memcpy(name, text, (size_t)(colon - text));
        name[colon - text] = 0;
        *field = (struct userd_metadata){.name = name, .value = colon + 1};
        options->metadata = field;
        options->metadata_count = 1;
    }
}

static struct userd_call *begin_unary(struct one *one, struct userd_client *client,
                                      const struct words *words,
                                      const struct userd_call_options *options)
{
    const char *id = words_text(words, "id", "");

    if (strcmp(words->command, "get") == 0) {
        one->method = "GetUser";
        return userd_start_get_user(client, options, id, on_user, one);
    }
    if (strcmp(words->command, "create") == 0) {
        const char *username = words_text(words, "username", "");
        char email[TEXT_SIZE];
        struct userd_new_user user = {.size = sizeof(user),
                                      .username = username,
                                      .email = words_text(words, "email", email),
                                      .password = words_text(words, "password", "correct horse"),
                                      .request_id = words_text(words, "request_id", NULL)};

        one->method = "CreateUser";
        snprintf(email, sizeof(email), "%s@example.com", username);
        return userd_start_create_user(client, options, &user, on_user, one);
    }
    if (strcmp(words->command, "update") == 0) {
        const struct userd_user user = {
            .size = sizeof(user),
            .has_profile = true,
            .first_name = words_text(words, "first_name", NULL),
            .etag = words_text(words, "etag", NULL),
        };
        const struct userd_change change = {.size = sizeof(change), .id = id, .user = &user};

        one->method = "UpdateUser";
        return userd_start_update_user(client, options, &change, on_user, one);
    }
    if (strcmp(words->command, "delete") == 0) {
        one->method = "DeleteUser";
        return userd_start_delete_user(client, options, id, words_text(words, "etag", NULL),
                                       on_delete, one);
    }
    one->method = "ListUsers";
    return userd_start_list_users(
        client, options,
        &(struct userd_list_request){.size = sizeof(struct userd_list_request),
                                     .page_size = (int32_t)words_number(words, "page_size", 0),
                                     .filter = words_text(words, "filter", NULL)},
        on_page, one);
}

static struct userd_call *begin_items(struct one *one, struct userd_client *client,
                                      const struct words *words,
                                      const struct userd_call_options *options)
{
    static const struct userd_stream_events events = {
        .size = sizeof(events), .reply = on_reply, .writable = send_items, .ended = on_end};

    one->items = words_number(words, "count", 0);
    one->taken_at = words_number(words, "taken_at", UINT64_MAX);
    snprintf(one->prefix, sizeof(one->prefix), "%s", words_text(words, "prefix", "item"));
    if (strcmp(words->command, "batch") == 0) {
        one->kind = STREAM_BATCH;
        one->method = "BatchCreateUsers";
        one->call = userd_start_batch_create(client, options,
                                             words_number(words, "continue", 0) != 0, &events, one);
    } else {
        one->kind = STREAM_SYNC;
        one->method = "SyncUsers";
        one->call = userd_start_sync(client, options, &events, one);
    }
    if (one->call != NULL)
        send_items(one);
    return one->call;
}

static size_t from_hex(const char *digits, unsigned char *bytes, size_t room)
{
    size_t size = 0;
    unsigned value;

    for (; size < room && sscanf(digits, "%2x", &value) == 1 && digits[1] != 0; digits += 2)
        bytes[size++] = (unsigned char)value;
    return size;
}

static struct userd_call *begin_raw(struct one *one, struct userd_client *client,
                                    const struct words *words,
                                    const struct userd_call_options *options)
{
    static const struct userd_raw_events events = {
        .size = sizeof(events), .message = on_message, .ended = on_end};
    unsigned char bytes[MESSAGE_SIZE];
    size_t size = from_hex(words_text(words, "hex", ""), bytes, sizeof(bytes));

    one->kind = STREAM_RAW;
    one->method = "raw";
    one->call = userd_start_raw(client, options, words_text(words, "path", "/"), &events, one);
    if (one->call != NULL) {
        one->sent += userd_raw_send(one->call, bytes, size) == 0;
        userd_call_finish(one->call);
    }
    return one->call;
}

static bool is_among(const char *word, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(word, *list) == 0)
            return true;
    return false;
}

bool calls_begin(struct userd_client *client, const struct words *words)
{
    static const char *const unary[] = {"get", "create", "update", "delete", "list", NULL};
    static const char *const streams[] = {"watch", "batch", "sync", "raw", NULL};
    static const struct userd_watch_events watch = {
        .size = sizeof(watch), .state = on_state, .ended = on_end};
    struct userd_call_options options = USERD_CALL_OPTIONS_INIT;
    struct userd_metadata field;
    char field_name[TEXT_SIZE];
    struct one *one;

    if (!is_among(words->command, unary) && !is_among(words->command, streams))
        return false;
    one = take();
    if (one == NULL) {
        fprintf(stderr, "client-driver: more than %d calls\n", DRIVER_TAGS_MAX);
        return true;
    }
    one->tag = (int)words_number(words, "tag", 0);
    one->is_quiet = words_number(words, "quiet", 0) != 0;
    read_options(words, &options, &field, field_name);
    if (is_among(words->command, unary)) {
        one->call = begin_unary(one, client, words, &options);
    } else if (strcmp(words->command, "watch") == 0) {
        one->method = "WatchUser";
        one->call = userd_start_watch(client, &options, words_text(words, "id", ""), &watch, one);
    } else if (strcmp(words->command, "raw") == 0) {
        one->call = begin_raw(one, client, words, &options);
    } else {
        one->call = begin_items(one, client, words, &options);
    }
    if (one->call == NULL)
        fprintf(stderr, "client-driver: %s cannot be begun: %s\n", words->command, strerror(errno));
    return true;
}

bool calls_meddle(const struct words *words)
{
    static const char *const commands[] = {"cancel", "pause", "resume", NULL};
    struct one *one = find((int)words_number(words, "tag", 0));

    if (!is_among(words->command, commands))
        return false;
    if (one == NULL)
        return true; /* it is over */
    if (strcmp(words->command, "cancel") == 0)
        userd_call_cancel(one->call);
    else if (strcmp(words->command, "pause") == 0)
        userd_call_pause(one->call);
    else
        userd_call_resume(one->call);
    return true;
}
