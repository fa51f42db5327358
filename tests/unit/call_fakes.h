/*
 * Calls without streams: the functions of http2/grpc_call.h that handlers use, which note what they
 * were told. They stand in for the real ones in the whole program, so include it in one file of a
 * test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_CALL_FAKES_H
#define UNIT_CALL_FAKES_H

#include "lib/unit.h"

#include "http2/grpc_call.h"

#include <stdio.h>
#include <stdlib.h>

struct fake_call {
    struct grpc_call call;
    bool answered;
    bool ended; /* the client has gone, or the deadline has passed */
    int answer_count;
    struct buf reply;
    enum grpc_status status;
    char message[256];
    char reason[64];
    char fields[512];   /* "username: must not be empty; ..." */
    char metadata[256]; /* "id=...; " */
    char resource[512]; /* "type:name" */
    char precondition[64];
    int64_t retry_ms;
};

static inline struct fake_call *fake_call_of(struct grpc_call *call)
{
    return CONTAINER_OF(call, struct fake_call, call);
}

static inline void fake_call_init(struct fake_call *fake)
{
    *fake = (struct fake_call){0};
}

/* Everybody must have let go of it. */
static inline void fake_call_deinit(struct fake_call *fake)
{
    ck_assert_uint_eq(fake->call.holds, 0);
    ck_assert(fake->call.on_cancel == NULL);
    arena_deinit(&fake->call.arena);
    buf_deinit(&fake->reply);
}

/* The call ends before it was answered. */
static inline void fake_call_cancel(struct fake_call *fake)
{
    void (*on_cancel)(struct grpc_call * call, void *context) = fake->call.on_cancel;

    fake->ended = true;
    if (on_cancel != NULL) {
        fake->call.on_cancel = NULL;
        on_cancel(&fake->call, fake->call.on_cancel_context);
    }
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

void grpc_call_on_cancel(struct grpc_call *call,
                         void (*on_cancel)(struct grpc_call *call, void *context), void *context)
{
    call->on_cancel = on_cancel;
    call->on_cancel_context = context;
}

void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    struct fake_call *fake = fake_call_of(call);

    fake->answer_count++;
    if (fake->ended || fake->answered) {
        return;
    }
    fake->answered = true;
    fake->status = GRPC_STATUS_OK;
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(buf_append(&fake->reply, parts[i].data, parts[i].size), 0);
    }
}

static inline void fake_call_add(char *text, size_t room, const char *name, const char *sign,
                                 const char *value)
{
    size_t used = strlen(text);

    (void)snprintf(text + used, room - used, "%s%s%s; ", name, sign, value);
}

void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    struct fake_call *fake = fake_call_of(call);

    fake->answer_count++;
    if (fake->ended || fake->answered) {
        return;
    }
    fake->answered = true;
    fake->status = error->status;
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
