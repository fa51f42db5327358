/*
 * Any bytes as a compressed message: bounded, and the same with and without secrets; and any bytes
 * there and back.
 *
 * Thread: one.
 */
#include "http2/grpc_gzip.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN_MAX 100000

static void read_hostile(struct bytes input)
{
    struct buf plain = {0};
    struct buf secret = {0};
    int outcome = grpc_gzip_inflate(input, PLAIN_MAX, false, &plain);

    assert(grpc_gzip_inflate(input, PLAIN_MAX, true, &secret) == outcome);
    assert(buf_size(&plain) <= PLAIN_MAX + 1);
    assert(outcome != 0 || buf_size(&plain) <= PLAIN_MAX);
    assert(bytes_equal(buf_bytes(&plain), buf_bytes(&secret)));
    buf_deinit(&plain);
    buf_deinit(&secret);
}

static void read_own(struct bytes input)
{
    const size_t cut = input.size / 3;
    const struct bytes parts[] = {{input.data, cut}, {input.data + cut, input.size - cut}};
    struct buf packed = {0};
    struct buf plain = {0};

    if (grpc_gzip_deflate(parts, 2, &packed) == 0) {
        assert(buf_size(&packed) < input.size);
        assert(grpc_gzip_inflate(buf_bytes(&packed), input.size, false, &plain) == 0);
        assert(bytes_equal(buf_bytes(&plain), input));
    }
    buf_deinit(&packed);
    buf_deinit(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};

    read_hostile(input);
    if (size > 0) {
        read_own(input);
    }
    return 0;
}
