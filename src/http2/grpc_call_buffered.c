#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"

/*
 * Bytes of requests that are kept and that no handler has had: a message being gathered (of a
 * secret one its whole declared size, for that room is made at once), one that waits for its turn,
 * and body bytes of a stream that wait. They are counted for the connection and for all of them,
 * whenever bytes have come and whenever a call lets go of some.
 *
 * The limit on all connections together is one that a few greedy clients could keep the others
 * from ever getting below. So while it is reached only those connections are refused that keep more
 * than an equal share of it. All together stay below twice the limit so.
 *
 * Who is over a limit loses the call whose bytes came, with all it has kept, at once. Over the one
 * of its own connection that is its doing: it costs what a reset does, so that it does not go on
 * for ever.
 */

static size_t held_size(const struct grpc_call *call)
{
    return grpc_frame_held_size(&call->reader) + buf_size(&call->waiting);
}

void grpc_call_account(struct grpc_call *call)
{
    struct grpc_call_host *host = call->host;
    size_t size = held_size(call);

    host->buffered += size - call->buffered; /* unsigned: also right when it got less */
    host->pool->buffered += size - call->buffered;
    call->buffered = size;
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
    size_t before = call->buffered;

    grpc_call_account(call);
    if (call->buffered <= before || !grpc_call_is_wanted(call)) {
        return;
    }
    if (pool->max_buffered_per_connection != 0 &&
        host->buffered > pool->max_buffered_per_connection) {
        h2_stream_blame(call->stream);
        refuse(call, LIMITS_HIT_BUFFERED_PER_CONNECTION,
               "more request bytes of this connection wait to be handled than "
               "limits.max_buffered_per_connection");
    } else if (pool->max_buffered != 0 && pool->buffered > pool->max_buffered &&
               host->buffered > equal_share(pool)) {
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
