/*
 * Calls without HTTP/2: the functions of http2/grpc_call.h that handlers use, which note what they
 * were told. They stand in for the real ones in the whole program, so include it in one file of a
 * test program only. The events of a call are told by the fake_call_...() functions.
 *
 * Thread: one.
 */
#ifndef UNIT_CALL_FAKES_H
#define UNIT_CALL_FAKES_H

#include "lib/unit.h"

#include "core/reactor.h"
#include "http2/grpc_call.h"

#include <stdio.h>
#include <stdlib.h>

struct fake_call {
    struct grpc_call call; /* must be the first */
    bool answered;
    bool ended; /* the client has gone, or the deadline has passed */
    int answer_count;
    struct buf reply;    /* of grpc_call_reply() */
    struct buf sent;     /* by grpc_call_send(): see fake_call_sent() */
    unsigned sent_count; /* messages */
    int send_result;     /* what the next grpc_call_send() returns: -ENOMEM sends nothing */
    size_t unsent_size;  /* what grpc_call_unsent_size() returns */
    bool paused;
    bool compresses;
    bool trimmed;
    enum grpc_status status;
    char message[256];
    char reason[64];
    char fields[512];   /* "username: must not be empty; ..." */
    char metadata[256]; /* "id=...; " */
    char resource[512]; /* "type:name" */
    char precondition[64];
    char headers[256]; /* "name=value; " */
    char trailers[256];
    int64_t retry_ms;
};

static inline struct fake_call *fake_call_of(struct grpc_call *call)
{
    return CONTAINER_OF(call, struct fake_call, call);
}

static inline void fake_call_init(struct fake_call *fake)
{
    static struct reactor reactor; /* only counts */
    static struct grpc_call_host host = {.reactor = &reactor};

    *fake = (struct fake_call){.call.host = &host};
}

/* How often the limit was reached, by all calls of the program. */
static inline uint64_t fake_call_hits(const struct fake_call *fake, enum limits_hit_reason reason)
{
    return fake->call.host->reactor->limits_hit.counts[reason];
}

/* Everybody must have let go of it. */
static inline void fake_call_deinit(struct fake_call *fake)
{
    ck_assert_uint_eq(fake->call.holds, 0);
    ck_assert(fake->call.events == NULL);
    arena_deinit(&fake->call.arena);
    buf_deinit(&fake->reply);
    buf_deinit(&fake->sent);
}

/* The call ends before it was answered. */
static inline void fake_call_cancel(struct fake_call *fake)
{
    const struct grpc_call_events *events = fake->call.events;

    fake->ended = true;
    fake->call.events = NULL;
    fake->call.cancelled = true;
    if (events != NULL && events->cancelled != NULL) {
        events->cancelled(&fake->call, fake->call.events_context);
    }
}

/* The client sends a message: lent in memory of its own, so that a sanitizer sees who keeps it. */
static inline void fake_call_message(struct fake_call *fake, const void *message, size_t size)
{
    const struct grpc_call_events *events = fake->call.events;
    uint8_t *copy = malloc(size > 0 ? size : 1);

    ck_assert(!fake->paused);
    ck_assert_ptr_nonnull(copy);
    if (size > 0) {
        memcpy(copy, message, size);
    }
    if (events != NULL && events->message != NULL) {
        events->message(&fake->call, fake->call.events_context, (struct bytes){copy, size});
    }
    free(copy);
}

/* The client ends its side. */
static inline void fake_call_half_close(struct fake_call *fake)
{
    const struct grpc_call_events *events = fake->call.events;

    ck_assert(!fake->paused);
    fake->call.peer_ended = true;
    if (events != NULL && events->half_closed != NULL) {
        events->half_closed(&fake->call, fake->call.events_context);
    }
}

/* The client has taken everything. */
static inline void fake_call_writable(struct fake_call *fake)
{
    const struct grpc_call_events *events = fake->call.events;

    fake->unsent_size = 0;
    if (events != NULL && events->writable != NULL) {
        events->writable(&fake->call, fake->call.events_context);
    }
}

/* The message that was sent as number `index`, borrowed. */
static inline struct bytes fake_call_sent(const struct fake_call *fake, unsigned index)
{
    const uint8_t *at = buf_bytes(&fake->sent).data;
    size_t size;

    ck_assert_uint_lt(index, fake->sent_count);
    for (;;) {
        memcpy(&size, at, sizeof(size));
        at += sizeof(size);
        if (index == 0) {
            return (struct bytes){at, size};
        }
        at += size;
        index--;
    }
}

static inline bool fake_call_is_over(const struct fake_call *fake)
{
    return fake->ended || fake->answered;
}

/* The first answer counts; after it nothing more is told. */
static inline bool fake_call_answer(struct fake_call *fake, enum grpc_status status)
{
    fake->answer_count++;
    if (fake_call_is_over(fake)) {
        return false;
    }
    fake->answered = true;
    fake->status = status;
    fake->call.events = NULL;
    return true;
}

void grpc_call_hold(struct grpc_call *call)
{
    call->holds++;
}

void grpc_call_release(struct grpc_call *call)
{
    ck_assert_uint_gt(call->holds, 0);
    call->holds--;
}

bool grpc_call_is_wanted(const struct grpc_call *call)
{
    return !fake_call_is_over((const struct fake_call *)(const void *)call);
}

void grpc_call_listen(struct grpc_call *call, const struct grpc_call_events *events, void *context)
{
    if (!fake_call_is_over(fake_call_of(call))) {
        call->events = events;
        call->events_context = context;
    }
}

void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    struct fake_call *fake = fake_call_of(call);

    ck_assert_uint_eq(fake->sent_count, 0);
    if (!fake_call_answer(fake, GRPC_STATUS_OK)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(buf_append(&fake->reply, parts[i].data, parts[i].size), 0);
    }
}

int grpc_call_send(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    struct fake_call *fake = fake_call_of(call);
    size_t size = 0;

    if (fake_call_is_over(fake) || fake->send_result != 0) {
        return fake_call_is_over(fake) ? 0 : fake->send_result;
    }
    for (size_t i = 0; i < count; i++) {
        size += parts[i].size;
    }
    ck_assert_int_eq(buf_append(&fake->sent, &size, sizeof(size)), 0);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(buf_append(&fake->sent, parts[i].data, parts[i].size), 0);
    }
    fake->sent_count++;
    return 0;
}

void grpc_call_finish(struct grpc_call *call)
{
    (void)fake_call_answer(fake_call_of(call), GRPC_STATUS_OK);
}

size_t grpc_call_unsent_size(const struct grpc_call *call)
{
    return ((const struct fake_call *)(const void *)call)->unsent_size;
}

void grpc_call_pause(struct grpc_call *call)
{
    fake_call_of(call)->paused = true;
}

void grpc_call_resume(struct grpc_call *call)
{
    fake_call_of(call)->paused = false;
}

void grpc_call_trim(struct grpc_call *call)
{
    fake_call_of(call)->trimmed = true;
}

void grpc_call_compress(struct grpc_call *call, bool compress)
{
    fake_call_of(call)->compresses = compress;
}

static inline void fake_call_add(char *text, size_t room, const char *name, const char *sign,
                                 const char *value)
{
    size_t used = strlen(text);

    (void)snprintf(text + used, room - used, "%s%s%s; ", name, sign, value);
}

static inline int fake_call_add_metadata(char *text, size_t room, const char *name,
                                         struct bytes value)
{
    char copy[128];

    (void)snprintf(copy, sizeof(copy), "%.*s", (int)value.size, (const char *)value.data);
    fake_call_add(text, room, name, "=", copy);
    return 0;
}

int grpc_call_add_header(struct grpc_call *call, const char *name, struct bytes value)
{
    struct fake_call *fake = fake_call_of(call);

    return fake_call_add_metadata(fake->headers, sizeof(fake->headers), name, value);
}

int grpc_call_add_trailer(struct grpc_call *call, const char *name, struct bytes value)
{
    struct fake_call *fake = fake_call_of(call);

    return fake_call_add_metadata(fake->trailers, sizeof(fake->trailers), name, value);
}

void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    struct fake_call *fake = fake_call_of(call);

    if (!fake_call_answer(fake, error->status)) {
        return;
    }
    fake->retry_ms = error->retry_delay_ms;
    ck_assert_str_eq(error->domain, "users.v1");
    (void)snprintf(fake->message, sizeof(fake->message), "%s", error->message);
    (void)snprintf(fake->reason, sizeof(fake->reason), "%s", error->reason);
    for (unsigned i = 0; i < error->field_count; i++) {
        fake_call_add(fake->fields, sizeof(fake->fields), error->fields[i].field, ": ",
                      error->fields[i].description);
    }
    for (unsigned i = 0; i < error->metadata_count; i++) {
        fake_call_add(fake->metadata, sizeof(fake->metadata), error->metadata[i].key, "=",
                      error->metadata[i].value);
    }
    if (error->resource_type != NULL) {
        (void)snprintf(fake->resource, sizeof(fake->resource), "%s:%s", error->resource_type,
                       error->resource_name);
    }
    if (error->precondition_type != NULL) {
        (void)snprintf(fake->precondition, sizeof(fake->precondition), "%s",
                       error->precondition_type);
    }
}

#endif
