/*
 * Any bytes as a stream of messages, cut two ways: the same messages come out, and none above the
 * limit.
 *
 * Thread: one.
 */
#include "http2/grpc_frame.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_MAX_OF_MESSAGE 1000

/* Reads all of it in pieces of `step`; returns a sum over what came out, and how it ended. */
static uint64_t read_all(struct bytes stream, size_t step, int *ret_outcome)
{
    struct grpc_frame_reader reader = {.size_max = SIZE_MAX_OF_MESSAGE};
    uint64_t sum = 1;
    int outcome = GRPC_FRAME_E_MORE;

    while (stream.size > 0 && outcome == GRPC_FRAME_E_MORE) {
        size_t size = stream.size < step ? stream.size : step;
        uint8_t *piece = malloc(size);
        struct bytes input = {piece, size};
        struct grpc_message message;

        assert(piece != NULL);
        memcpy(piece, stream.data, size);
        while ((outcome = grpc_frame_read(&reader, &input, &message)) == 0) {
            assert(message.bytes.size <= SIZE_MAX_OF_MESSAGE);
            assert(grpc_frame_keep(&reader, &message) == 0);
            assert(grpc_frame_is_at_border(&reader));
            for (size_t i = 0; i < message.bytes.size; i++) {
                sum = sum * 31 + message.bytes.data[i];
            }
            sum = sum * 31 + message.bytes.size + message.compressed;
        }
        free(piece);
        stream = (struct bytes){stream.data + size, stream.size - size};
    }
    grpc_frame_reader_deinit(&reader);
    *ret_outcome = outcome;
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes stream = {data, size};
    int whole_outcome;
    int cut_outcome;
    uint64_t whole;

    if (size == 0) {
        return 0;
    }
    whole = read_all(stream, size, &whole_outcome);
    assert(read_all(stream, 1 + data[0] % 16, &cut_outcome) == whole);
    assert(whole_outcome == cut_outcome);
    return 0;
}
