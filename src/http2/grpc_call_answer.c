#include "http2/grpc_answer.h"
#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"
#include "http2/grpc_gzip.h"

#include <assert.h>
#include <errno.h>

/*
 * What goes to the client. The head waits for the first message, or the end: a call that fails
 * before has one block of fields for all of its answer, and its client may still try elsewhere
 * (P19). A call that ends well without a message sends a head all the same; so does one that fails
 * after its handler gave fields for a head.
 *
 * Messages are compressed one by one, when the head has announced it, the client takes it, and it
 * makes them smaller (C4, C6). A unary answer with nothing special about it takes a shorter way.
 */

_Static_assert(GRPC_CALL_METADATA_MAX <= GRPC_ANSWER_CUSTOM_MAX, "what is added can be sent");

/* There is an answer on the stream. `error`: what it met on the way there. */
static void answered(struct grpc_call *call, enum grpc_status status, int error)
{
    if (error != 0) {
        h2_stream_reset_unblamed(call->stream, H2_ERROR_ENHANCE_YOUR_CALM);
        status = GRPC_STATUS_RESOURCE_EXHAUSTED;
    }
    grpc_call_conclude(call, GRPC_CALL_ANSWERED, status);
    call->host->ops->touched(call->host, call);
}

static int send_head(struct grpc_call *call)
{
    const struct grpc_call_metadata *metadata = call->metadata;
    struct grpc_answer_head head = {0};
    int error;

    if (call->head_sent) {
        return 0;
    }
    call->sends_gzip = call->compresses && call->head.accepts_gzip;
    head.gzip = call->sends_gzip;
    head.discloses = call->head.encoding.size > 0 || call->head.uses_gzip;
    if (metadata != NULL) {
        head.fields = metadata->headers;
        head.field_count = metadata->header_count;
    }
    error = grpc_answer_head(call->stream, &head);
    call->head_sent = error == 0;
    return error;
}

static size_t size_of(const struct bytes *parts, size_t count)
{
    size_t size = 0;
    size_t i;

    for (i = 0; i < count; i++) {
        size += parts[i].size;
    }
    return size;
}

static int send_message(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    const struct grpc_call_host *host = call->host;
    struct buf packed = {0};
    int error;

    if (call->sends_gzip && call->compresses && size_of(parts, count) >= host->compress_min &&
        size_of(parts, count) <= host->compress_max &&
        grpc_gzip_deflate(parts, count, &packed) == 0) {
        const struct bytes part = buf_bytes(&packed);

        error = grpc_answer_write(call->stream, &part, 1, true);
    } else {
        error = grpc_answer_write(call->stream, parts, count, false);
    }
    buf_deinit(&packed);
    if (error == 0) {
        grpc_call_count_sent(call);
    }
    return error;
}

static int send_end(struct grpc_call *call, const struct grpc_error *error)
{
    const struct grpc_call_metadata *metadata = call->metadata;
    struct grpc_answer answer = {.error = error};

    if (metadata != NULL) {
        answer.trailers = metadata->trailers;
        answer.trailer_count = metadata->trailer_count;
    }
    return grpc_answer_end(call->stream, &call->arena, &answer);
}

/* Nothing but the message and the status is to be sent. */
static bool is_plain(const struct grpc_call *call)
{
    return call->metadata == NULL && call->head.encoding.size == 0 &&
           !(call->compresses && call->head.accepts_gzip);
}

void grpc_call_reply(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    int error;

    assert(call->state >= GRPC_CALL_RUNNING);
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    assert(!call->head_sent);
    if (is_plain(call)) {
        error = grpc_answer_message(call->stream, parts, count);
        grpc_call_count_sent(call);
    } else {
        error = send_head(call);
        if (error == 0) {
            error = send_message(call, parts, count);
        }
        if (error == 0) {
            error = send_end(call, NULL);
        }
    }
    answered(call, GRPC_STATUS_OK, error);
}

int grpc_call_send(struct grpc_call *call, const struct bytes *parts, size_t count)
{
    int error;

    assert(call->state >= GRPC_CALL_RUNNING);
    if (!grpc_call_is_wanted(call)) {
        return 0;
    }
    error = send_head(call);
    if (error == 0) {
        error = send_message(call, parts, count);
        call->host->ops->touched(call->host, call);
    }
    return error;
}

void grpc_call_finish(struct grpc_call *call)
{
    int error;

    assert(call->state >= GRPC_CALL_RUNNING);
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    error = send_head(call);
    if (error == 0) {
        error = send_end(call, NULL);
    }
    answered(call, GRPC_STATUS_OK, error);
}

size_t grpc_call_unsent_size(const struct grpc_call *call)
{
    return call->stream != NULL ? h2_stream_unsent_size(call->stream) : 0;
}

/* The answer's custom metadata, made when it is first asked for; NULL when out of memory. */
static struct grpc_call_metadata *metadata_of(struct grpc_call *call)
{
    if (call->metadata == NULL) {
        call->metadata = arena_alloc(&call->arena, sizeof(*call->metadata));
        if (call->metadata != NULL) {
            call->metadata->header_count = 0;
            call->metadata->trailer_count = 0;
        }
    }
    return call->metadata;
}

/* Fills in a field, with copies in the arena. Returns 0 or -ENOMEM. */
static int set_field(struct arena *arena, const char *name, struct bytes value,
                     struct h2_field *ret_field)
{
    struct bytes name_bytes = bytes_from_text(name);
    bool is_binary = grpc_metadata_is_binary(name_bytes);
    char *name_copy = arena_copy_text(arena, name_bytes);
    char *value_copy = is_binary ? arena_alloc(arena, (value.size + 2) / 3 * 4 + 1)
                                 : arena_copy_text(arena, value);

    if (name_copy == NULL || value_copy == NULL) {
        return -ENOMEM;
    }
    *ret_field = (struct h2_field){
        .name = {(const uint8_t *)name_copy, name_bytes.size},
        .value = {(const uint8_t *)value_copy,
                  is_binary ? grpc_base64_encode(value, value_copy) : value.size}};
    return 0;
}

static int add_field(struct grpc_call *call, struct h2_field *fields, unsigned *count,
                     const char *name, struct bytes value)
{
    int error;

    if (*count == GRPC_CALL_METADATA_MAX) {
        return -ENOSPC;
    }
    error = set_field(&call->arena, name, value, &fields[*count]);
    *count += error == 0;
    return error;
}

int grpc_call_add_header(struct grpc_call *call, const char *name, struct bytes value)
{
    struct grpc_call_metadata *metadata;

    if (!grpc_call_is_wanted(call)) {
        return 0;
    }
    if (call->head_sent) {
        return -ENOSPC;
    }
    metadata = metadata_of(call);
    return metadata == NULL
               ? -ENOMEM
               : add_field(call, metadata->headers, &metadata->header_count, name, value);
}

int grpc_call_add_trailer(struct grpc_call *call, const char *name, struct bytes value)
{
    struct grpc_call_metadata *metadata;

    if (!grpc_call_is_wanted(call)) {
        return 0;
    }
    metadata = metadata_of(call);
    return metadata == NULL
               ? -ENOMEM
               : add_field(call, metadata->trailers, &metadata->trailer_count, name, value);
}

void grpc_call_compress(struct grpc_call *call, bool compress)
{
    call->compresses = compress;
}

/* Behind a head, or instead of one. */
static void send_error(struct grpc_call *call, struct grpc_answer *answer)
{
    const struct grpc_call_metadata *metadata = call->metadata;
    int error = 0;

    if (!grpc_call_is_wanted(call)) {
        return;
    }
    if (metadata != NULL && metadata->header_count > 0) {
        error = send_head(call);
    }
    if (error == 0 && call->head_sent) {
        error = send_end(call, answer->error);
    } else if (error == 0) {
        answer->trailers = metadata != NULL ? metadata->trailers : NULL;
        answer->trailer_count = metadata != NULL ? metadata->trailer_count : 0;
        error = grpc_answer_error(call->stream, &call->arena, answer);
    }
    answered(call, answer->error->status, error);
}

void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    send_error(call, &(struct grpc_answer){.http_status = 200, .error = error});
}

void grpc_call_fail_with_field(struct grpc_call *call, const struct grpc_error *error,
                               const char *name, const char *value)
{
    send_error(call,
               &(struct grpc_answer){
                   .http_status = 200, .error = error, .extra_name = name, .extra_value = value});
}

static struct grpc_error framework_error(enum grpc_status status, const char *reason,
                                         const char *message)
{
    return (struct grpc_error){
        .status = status, .message = message, .reason = reason, .domain = "grpc"};
}

void grpc_call_fail_text(struct grpc_call *call, enum grpc_status status, const char *reason,
                         const char *message)
{
    const struct grpc_error error = framework_error(status, reason, message);

    grpc_call_fail(call, &error);
}

void grpc_call_reject(struct grpc_call *call, int http_status, enum grpc_status status,
                      const char *message)
{
    const struct grpc_error error = framework_error(status, "BAD_REQUEST_HEAD", message);
    struct grpc_answer answer = {.http_status = http_status, .error = &error};

    if (http_status == 405) {
        answer.extra_name = "allow";
        answer.extra_value = "POST";
    }
    send_error(call, &answer);
}
