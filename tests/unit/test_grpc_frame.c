#include "lib/unit.h"

#include "http2/grpc_frame.h"

#include <errno.h>

/* Two messages of 3 and 0 bytes, and one of 5 that is compressed. */
static const uint8_t stream[] = {0, 0, 0, 0, 3, 'a', 'b', 'c', 0,   0,   0,  0,
                                 0, 1, 0, 0, 0, 5,   'v', 'w', 'x', 'y', 'z'};

/* Reads all messages from the stream when it comes in pieces of `step` bytes, into "abc||vwxyz|".
 */
static void read_all(size_t step, char *text, size_t room)
{
    struct grpc_frame_reader reader = {.size_max = 5};
    size_t used = 0;
    size_t at;

    for (at = 0; at < sizeof(stream); at += step) {
        size_t size = sizeof(stream) - at < step ? sizeof(stream) - at : step;
        uint8_t *piece = malloc(size); /* of its own, so that a read past its end is seen */
        struct bytes input = {piece, size};
        struct grpc_message message;
        int outcome;

        memcpy(piece, stream + at, size);
        while ((outcome = grpc_frame_read(&reader, &input, &message)) == 0) {
            ck_assert_uint_lt(used + message.bytes.size + 1, room);
            memcpy(text + used, message.bytes.data, message.bytes.size);
            used += message.bytes.size;
            text[used++] = message.compressed ? '!' : '|';
        }
        ck_assert_int_eq(outcome, GRPC_FRAME_E_MORE);
        ck_assert_uint_eq(input.size, 0);
        free(piece);
    }
    text[used] = '\0';
    ck_assert(grpc_frame_is_at_border(&reader));
    grpc_frame_reader_deinit(&reader);
}

/* The messages are the same wherever the stream is cut: one byte at a time, inside heads, at once.
 */
START_TEST(frame_reader_cares_for_no_cut)
{
    size_t step;

    for (step = 1; step <= sizeof(stream); step++) {
        char text[64];

        read_all(step, text, sizeof(text));
        ck_assert_str_eq(text, "abc||vwxyz!");
    }
}

END_TEST

/* A message that lies whole in the input is lent from there. */
START_TEST(frame_reader_copies_nothing_that_is_whole)
{
    struct grpc_frame_reader reader = {.size_max = 16};
    struct bytes input = {stream, sizeof(stream)};
    struct grpc_message message;

    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), 0);
    ck_assert_ptr_eq(message.bytes.data, stream + 5);
    ck_assert_uint_eq(reader.gathered.capacity, 0);
    grpc_frame_reader_deinit(&reader);
}

END_TEST

/* A kept message no longer needs the input it came from. */
START_TEST(frame_reader_keeps_a_message_on_demand)
{
    struct grpc_frame_reader reader = {.size_max = 16};
    uint8_t input_bytes[8];
    struct bytes input = {input_bytes, sizeof(input_bytes)};
    struct grpc_message message;

    memcpy(input_bytes, stream, sizeof(input_bytes));
    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), 0);
    ck_assert_int_eq(grpc_frame_keep(&reader, &message), 0);
    memset(input_bytes, 0xff, sizeof(input_bytes));
    ck_assert(bytes_equal(message.bytes, BYTES_LITERAL("abc")));
    grpc_frame_reader_deinit(&reader);
}

END_TEST

/* The declared length is judged before a byte of the message is kept; exactly the limit passes
 * (P15). */
START_TEST(frame_reader_refuses_on_the_declared_length)
{
    struct grpc_frame_reader reader = {.size_max = 2};
    struct bytes input = {stream, 5};
    struct grpc_message message;

    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), GRPC_FRAME_E_TOO_LARGE);
    ck_assert_uint_eq(reader.declared_size, 3);
    ck_assert_uint_eq(reader.gathered.capacity, 0);
    grpc_frame_reader_deinit(&reader);

    reader = (struct grpc_frame_reader){.size_max = 3};
    input = (struct bytes){stream, 8};
    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), 0);
    grpc_frame_reader_deinit(&reader);
}

END_TEST

/* A flag that is neither 0 nor 1 is told apart (P12). */
START_TEST(frame_reader_refuses_an_unknown_flag)
{
    static const uint8_t bad[] = {2, 0, 0, 0, 0};
    struct grpc_frame_reader reader = {.size_max = 16};
    struct bytes input = {bad, sizeof(bad)};
    struct grpc_message message;

    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), GRPC_FRAME_E_BAD_FLAG);
    grpc_frame_reader_deinit(&reader);
}

END_TEST

/* Inside a head or a message the stream may not end; before and after it may. */
START_TEST(frame_reader_knows_borders)
{
    struct grpc_frame_reader reader = {.size_max = 16};
    struct grpc_message message;
    struct bytes input;
    size_t size;

    ck_assert(grpc_frame_is_at_border(&reader));
    for (size = 1; size < 8; size++) {
        input = (struct bytes){stream, size};
        ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), GRPC_FRAME_E_MORE);
        ck_assert(!grpc_frame_is_at_border(&reader));
        grpc_frame_reader_reset(&reader, 0);
        ck_assert(grpc_frame_is_at_border(&reader));
    }
    input = (struct bytes){stream, 8};
    ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), 0);
    ck_assert(grpc_frame_is_at_border(&reader));
    grpc_frame_reader_deinit(&reader);
}

END_TEST

/* What is encoded is what is read. */
START_TEST(frame_head_is_written_big_endian)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];

    grpc_frame_encode_head(head, true, 0x01020304);
    ck_assert_mem_eq(head, "\x01\x01\x02\x03\x04", 5);
    grpc_frame_encode_head(head, false, 0);
    ck_assert_mem_eq(head, "\0\0\0\0\0", 5);
}

END_TEST

/* A secret message is gathered in one place, whatever its pieces, and nothing of it is left there
 * when the next message or another stream begins; what follows is not secret by itself. */
START_TEST(frame_reader_wipes_secrets)
{
    struct grpc_frame_reader reader = {.size_max = 2000, .is_secret = true};
    const uint8_t *memory = NULL;
    struct grpc_message message;
    uint8_t bytes[5 + 1500];
    size_t at;

    memset(bytes, 's', sizeof(bytes));
    grpc_frame_encode_head(bytes, false, 1500);
    for (at = 0; at < sizeof(bytes); at++) {
        struct bytes input = {bytes + at, 1};
        int outcome = grpc_frame_read(&reader, &input, &message);

        ck_assert_int_eq(outcome, at + 1 < sizeof(bytes) ? GRPC_FRAME_E_MORE : 0);
        memory = at == 5 ? reader.gathered.data : memory;
    }
    ck_assert_ptr_eq(message.bytes.data, memory);
    for (at = 0; at < 2; at++) {
        struct bytes input = {bytes, 5 + 10};

        ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), GRPC_FRAME_E_MORE);
        ck_assert_ptr_eq(memchr(memory + 10, 's', 1490), NULL);
        input = (struct bytes){bytes + 15, 1490};
        ck_assert_int_eq(grpc_frame_read(&reader, &input, &message), 0);
    }
    grpc_frame_reader_reset(&reader, 16384);
    ck_assert_ptr_eq(reader.gathered.data, memory);
    ck_assert_ptr_null(memchr(memory, 's', 1500));
    ck_assert(!reader.is_secret);
    grpc_frame_reader_deinit(&reader);
}

END_TEST

UNIT_MAIN("grpc_frame", frame_reader_cares_for_no_cut, frame_reader_copies_nothing_that_is_whole,
          frame_reader_keeps_a_message_on_demand, frame_reader_refuses_on_the_declared_length,
          frame_reader_refuses_an_unknown_flag, frame_reader_knows_borders,
          frame_head_is_written_big_endian, frame_reader_wipes_secrets)
