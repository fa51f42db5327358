#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"

/*
 * What calls keep of requests that no handler has had is counted twice, whenever bytes have come
 * and whenever a call lets go of some.
 *
 * All of it, for all connections together (limits.max_buffered): a message being gathered (of a
 * secret one its whole declared size, for that room is made at once), one that waits for its turn,
 * and body bytes of a stream that wait. This limit is one that a few greedy clients could keep the
 * others from ever getting below. So while it is reached only those connections are refused that
 * keep more than an equal share of it. All together stay below twice the limit so.
 *
 * What a client keeps unfinished, for its connection (limits.max_buffered_per_connection):
 * messages, and for each call that has not had a whole one the memory of the call itself, or
 * filling every stream with one byte would cost us megabytes that nobody counts. The rest of a
 * usual head is part of that; of a larger head the excess counts from its arrival on. What waits of
 * a stream because its handler has paused is no fault of the client, which has but used the window
 * it was given: it does not count here.
 *
 * Who is over a limit loses the call whose bytes came, with all it has kept, at once. Over the one
 * of its own connection that is its doing: it costs what a reset does, so that it does not go on
 * for ever. A single call is never over it.
 */

static size_t excess_of_head(const struct grpc_call *call)
{
    return call->arena.used > GRPC_CALL_HEAD_USUAL ? call->arena.used - GRPC_CALL_HEAD_USUAL : 0;
}

/* Of the call, for its connection. */
static size_t unfinished_size(const struct grpc_call *call)
{
    size_t size = grpc_frame_held_size(&call->reader);

    if (call->messages_received == 0 && grpc_call_is_wanted(call)) {
        size += excess_of_head(call);
        size += grpc_frame_is_at_border(&call->reader) ? 0 : GRPC_CALL_COST;
    }
    return size;
}

void grpc_call_account(struct grpc_call *call)
{
    struct grpc_call_host *host = call->host;
    size_t size = grpc_frame_held_size(&call->reader) + buf_size(&call->waiting);
    size_t unfinished = unfinished_size(call);

    host->buffered += size - call->buffered; /* unsigned: also right when it got less */
    host->pool->buffered += size - call->buffered;
    call->buffered = size;
    host->unfinished += unfinished - call->unfinished;
    call->unfinished = unfinished;
}

static uint64_t equal_share(const struct grpc_call_pool *pool)
{
    return pool->host_count > 1 ? pool->max_buffered / pool->host_count : pool->max_buffered;
}

static void refuse(struct grpc_call *call, enum limits_hit_reason reason, const char *message)
{
    limits_hit_add(&call->host->reactor->limits_hit, reason);
    grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MUCH_BUFFERED", message);
}

void grpc_call_account_arrival(struct grpc_call *call)
{
    const struct grpc_call_host *host = call->host;
    const struct grpc_call_pool *pool = host->pool;
    uint64_t connection_max = pool->max_buffered_per_connection;
    size_t buffered = call->buffered;
    size_t unfinished = call->unfinished;

    grpc_call_account(call);
    if (!grpc_call_is_wanted(call)) {
        return;
    }
    if (call->unfinished > unfinished && connection_max != 0 && host->unfinished > connection_max &&
        host->unfinished > call->unfinished) {
        h2_stream_blame(call->stream);
        refuse(call, LIMITS_HIT_BUFFERED_PER_CONNECTION,
               "the unfinished requests of this connection take more than "
               "limits.max_buffered_per_connection");
    } else if (call->buffered > buffered && pool->max_buffered != 0 &&
               pool->buffered > pool->max_buffered && host->buffered > equal_share(pool)) {
        refuse(call, LIMITS_HIT_BUFFERED,
               "more request bytes wait to be handled than limits.max_buffered");
    }
}

void grpc_call_drop_request(struct grpc_call *call)
{
    grpc_call_drop_waiting(call);
    if (!call->is_lending) {
        /* Memory of a usual size is worth keeping, unless a client can hold the call open. */
        bool is_held_open = call->stream != NULL && grpc_frame_held_size(&call->reader) > 0;
        size_t keep_max = is_held_open ? 0 : GRPC_CALL_KEPT_MESSAGE_MAX;

        call->request = (struct bytes){0};
        grpc_frame_reader_reset(&call->reader, keep_max);
    }
    grpc_call_account(call);
}
