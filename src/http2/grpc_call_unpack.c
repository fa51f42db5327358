#include "http2/grpc_call.h"
#include "http2/grpc_call_internal.h"
#include "http2/grpc_gzip.h"

#include <stdio.h>

/*
 * Compressed messages. One can be a thousand times what its client sent, and a window full of them
 * would keep the loop busy for seconds. So no more than about GRPC_CALL_UNPACK_SLICE bytes are
 * inflated in a turn, over all connections; calls with further messages give way: each waits for a
 * slow task, of which the reactor runs a few per turn, and has a slice of its own there.
 */

static void note_unpacked(const struct grpc_call_host *host, size_t size)
{
    struct grpc_call_pool *pool = host->pool;

    if (pool->unpacked_ns != host->reactor->now_ns) {
        pool->unpacked_ns = host->reactor->now_ns;
        pool->unpacked_size = 0;
    }
    pool->unpacked_size += size;
}

bool grpc_call_must_give_way(struct grpc_call *call)
{
    const struct grpc_call_host *host = call->host;

    if (!call->head.uses_gzip || host->pool->unpacked_ns != host->reactor->now_ns ||
        host->pool->unpacked_size < GRPC_CALL_UNPACK_SLICE) {
        return false;
    }
    call->gives_way = true;
    reactor_defer_slow(host->reactor, &call->delivery);
    return true;
}

void grpc_call_take_turn(struct grpc_call *call)
{
    if (call->gives_way) {
        call->gives_way = false;
        call->host->pool->unpacked_size = 0;
    }
}

bool grpc_call_unpack(struct grpc_call *call, struct bytes packed, struct buf *plain)
{
    uint32_t size_max = call->reader.size_max;
    char text[GRPC_CALL_TEXT_SIZE];
    int outcome = grpc_gzip_inflate(packed, size_max, call->reader.is_secret, plain);

    note_unpacked(call->host, buf_size(plain));
    switch (outcome) {
    case 0:
        return true;
    case GRPC_GZIP_E_TOO_LARGE:
        (void)snprintf(text, sizeof(text),
                       "grpc: received message after decompression larger than max (%u); raise "
                       "limits.max_message",
                       (unsigned)size_max);
        limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_MESSAGE);
        grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", text);
        return false;
    case GRPC_GZIP_E_BROKEN:
        grpc_call_cancel(call, GRPC_STATUS_INTERNAL, "BROKEN_COMPRESSION",
                         "grpc: failed to decompress the received message");
        return false;
    default:
        grpc_call_cancel(call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY", "out of memory");
        return false;
    }
}
