/*
 * What a call sends. It goes two ways: to the attempt that is under way, and into `replay`, from
 * which another attempt can begin, until the call is committed to the one it has.
 *
 * A message that an attempt no longer takes, because its end is known to it and not yet to us, is
 * no loss while the call is not committed: either the next attempt sends it, or the outcome of this
 * one stands, and then it would have gone nowhere. So it is taken like any other.
 *
 * Replayed bytes may be a password: their memory is wiped before anybody else gets it.
 */
#include "client/channel_internal.h"
#include "client/token_file.h"
#include "http2/grpc_frame.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BEARER "Bearer "

struct buf channel_take_spare(struct channel *channel)
{
    struct buf none = {0};

    return channel->spare_count == 0 ? none : channel->spares[--channel->spare_count];
}

void channel_wipe(struct buf *buf)
{
    if (buf->end != 0) {
        explicit_bzero(buf->data, buf->end);
    }
    buf_clear(buf);
}

void channel_give_spare(struct channel *channel, struct buf *buf)
{
    channel_wipe(buf);
    if (buf->data != NULL && buf->capacity <= CHANNEL_SPARE_SIZE &&
        channel->spare_count < CHANNEL_SPARES_MAX) {
        channel->spares[channel->spare_count++] = *buf;
        *buf = (struct buf){0};
    }
    buf_deinit(buf);
}

/* As buf_reserve(), but what it leaves behind when it moves is wiped. */
static uint8_t *reserve(struct buf *buf, size_t size)
{
    struct buf moved = {0};

    if (buf->capacity - buf->end >= size) {
        return buf_reserve(buf, size);
    }
    if (buf_reserve(&moved, 2 * buf->end + size) == NULL) {
        return NULL;
    }
    (void)buf_append(&moved, buf->data, buf->end); /* there is room */
    channel_wipe(buf);
    buf_deinit(buf);
    *buf = moved;
    return buf_reserve(buf, size);
}

int channel_authorize(struct channel *channel, const char *token, struct token_file *token_file,
                      struct buf *out)
{
    size_t size;

    if (token_file != NULL) {
        token = token_file_token(token_file, reactor_now_ns(channel->reactor));
    }
    if (token == NULL) {
        return 0;
    }
    size = strlen(token) + 1;
    if (buf_reserve(out, strlen(BEARER) + size) == NULL) {
        return -ENOMEM;
    }
    (void)buf_append(out, BEARER, strlen(BEARER)); /* there is room */
    (void)buf_append(out, token, size);
    return 0;
}

bool channel_is_too_large(const struct channel_call *call, size_t size, char *ret_text)
{
    uint32_t options_max = call->channel->options.max_request;
    uint32_t method_max = call->method->max_request_bytes;
    uint32_t max = options_max == 0 ? UINT32_MAX : options_max;
    bool is_of_method = method_max != 0 && method_max < max;

    max = is_of_method ? method_max : max;
    if (size <= max) {
        return false;
    }
    (void)snprintf(
        ret_text, CHANNEL_TOO_LARGE_SIZE, "the message has %zu bytes, and %s allows %u", size,
        is_of_method ? "maxRequestMessageBytes of the service config" : "max_request", max);
    return true;
}

int channel_keep_message(struct channel_call *call, struct bytes message)
{
    uint8_t *room = reserve(&call->replay, GRPC_FRAME_HEAD_SIZE + message.size);

    if (room == NULL) {
        return -ENOMEM;
    }
    grpc_frame_encode_head(room, false, (uint32_t)message.size);
    if (message.size != 0) {
        memcpy(room + GRPC_FRAME_HEAD_SIZE, message.data, message.size);
    }
    buf_commit(&call->replay, GRPC_FRAME_HEAD_SIZE + message.size);
    return 0;
}

void channel_commit(struct channel_call *call)
{
    call->is_committed = true;
    channel_give_spare(call->channel, &call->replay);
}

static bool takes_no_more(const struct channel_call *call)
{
    return call->channel == NULL || call->state == CHANNEL_CALL_FINISHED || call->is_half_closed ||
           call->is_ending;
}

/* Keeps and sends. What was kept of a message that could not be sent is taken back. */
static int send_on_attempt(struct channel_call *call, struct bytes message)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    const struct bytes parts[] = {{head, sizeof(head)}, message};
    size_t kept = buf_size(&call->replay);
    int ret = 0;

    if (call_attempt_unsent_size(&call->attempt) >= TRANSPORT_UNSENT_MAX) {
        return CHANNEL_E_FULL;
    }
    if (!call->is_committed && kept + sizeof(head) + message.size > CHANNEL_REPLAY_MAX) {
        channel_commit(call);
    }
    if (!call->is_committed) {
        ret = channel_keep_message(call, message);
    }
    if (ret != 0) {
        return ret;
    }
    grpc_frame_encode_head(head, false, (uint32_t)message.size);
    ret = call_attempt_send(&call->attempt, parts, 2);
    if (ret == TRANSPORT_E_OVER && !call->is_committed) {
        return 0;
    }
    if (ret != 0 && !call->is_committed) {
        explicit_bzero(call->replay.data + kept, buf_size(&call->replay) - kept);
        call->replay.end = call->replay.start + kept;
    }
    return ret;
}

int channel_send(struct channel_call *call, struct bytes message)
{
    char text[CHANNEL_TOO_LARGE_SIZE];

    assert(call->is_stream);
    if (takes_no_more(call)) {
        return CHANNEL_E_OVER;
    }
    if (channel_is_too_large(call, message.size, text)) {
        channel_call_fail(call, GRPC_STATUS_RESOURCE_EXHAUSTED, CALL_CAUSE_CALLER, text);
        return CHANNEL_E_OVER;
    }
    if (call->state == CHANNEL_CALL_OPEN) {
        return send_on_attempt(call, message);
    }
    if (buf_size(&call->replay) >= TRANSPORT_UNSENT_MAX) {
        return CHANNEL_E_FULL;
    }
    return channel_keep_message(call, message);
}

int channel_half_close(struct channel_call *call)
{
    int ret = 0;

    if (takes_no_more(call)) {
        return CHANNEL_E_OVER;
    }
    if (call->state == CHANNEL_CALL_OPEN) {
        ret = call_attempt_half_close(&call->attempt);
    }
    if (ret == TRANSPORT_E_OVER && !call->is_committed) {
        ret = 0;
    }
    call->is_half_closed = ret == 0;
    return ret;
}

void channel_pause(struct channel_call *call)
{
    if (call->channel == NULL || call->is_paused) {
        return;
    }
    call->is_paused = true;
    if (call->state == CHANNEL_CALL_OPEN) {
        call_attempt_pause(&call->attempt);
    }
}

void channel_resume(struct channel_call *call)
{
    if (call->channel == NULL || !call->is_paused) {
        return;
    }
    call->is_paused = false;
    if (call->state == CHANNEL_CALL_OPEN) {
        call_attempt_resume(&call->attempt);
    }
}
