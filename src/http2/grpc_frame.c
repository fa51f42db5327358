#include "http2/grpc_frame.h"

#include <assert.h>
#include <errno.h>

/*
 * A message is announced by five bytes: a flag (1 = compressed) and its length, big-endian. Its
 * borders have nothing to do with those of DATA frames, so the reader keeps two things between
 * calls: the head bytes seen so far, and what it gathered of a message that was cut.
 *
 *   1. Head bytes are collected until there are five, then judged, before anything is kept.
 *   2. A message that lies whole in the input is lent from there.
 *   3. Any other is gathered; when it is complete it is lent from the reader's memory.
 *
 * A finished message leaves a complete head behind as the mark that the next call begins anew.
 * After an outcome other than 0 and GRPC_FRAME_E_MORE the stream is beyond repair: the reader is
 * not used again.
 */

static bool head_is_complete(const struct grpc_frame_reader *reader)
{
    return reader->head_size == GRPC_FRAME_HEAD_SIZE;
}

static void skip(struct bytes *input, size_t size)
{
    if (size > 0) {
        *input = (struct bytes){input->data + size, input->size - size};
    }
}

/* Moves head bytes over. Returns 0 when the head is complete and acceptable, or an outcome. */
static int read_head(struct grpc_frame_reader *reader, struct bytes *input)
{
    size_t missing = (size_t)(GRPC_FRAME_HEAD_SIZE - reader->head_size);
    size_t size = input->size < missing ? input->size : missing;

    if (size > 0) {
        memcpy(reader->head + reader->head_size, input->data, size);
        reader->head_size = (uint8_t)(reader->head_size + size);
        skip(input, size);
    }
    if (!head_is_complete(reader)) {
        return GRPC_FRAME_E_MORE;
    }
    if (reader->head[0] > 1) {
        return GRPC_FRAME_E_BAD_FLAG;
    }
    reader->declared_size = (uint32_t)reader->head[1] << 24 | (uint32_t)reader->head[2] << 16 |
                            (uint32_t)reader->head[3] << 8 | reader->head[4];
    return reader->declared_size > reader->size_max ? GRPC_FRAME_E_TOO_LARGE : 0;
}

/* Before the gathered bytes are forgotten. */
static void wipe(struct grpc_frame_reader *reader)
{
    if (reader->is_secret && reader->gathered.end > 0) {
        explicit_bzero(reader->gathered.data, reader->gathered.end);
    }
}

/* Adds to what is gathered. For secrets the room is made at once: a buffer that grows leaves copies
 * behind. */
static int gather(struct grpc_frame_reader *reader, struct bytes bytes)
{
    if (reader->is_secret && bytes.size > 0 && buf_size(&reader->gathered) == 0 &&
        buf_reserve(&reader->gathered, reader->declared_size) == NULL) {
        return -ENOMEM;
    }
    return buf_append(&reader->gathered, bytes.data, bytes.size);
}

int grpc_frame_read(struct grpc_frame_reader *reader, struct bytes *input,
                    struct grpc_message *ret_message)
{
    size_t missing;

    if (reader->is_lent) {
        wipe(reader);
        buf_clear(&reader->gathered);
        reader->head_size = 0;
        reader->is_lent = false;
    }
    if (!head_is_complete(reader)) {
        int outcome = read_head(reader, input);

        if (outcome != 0) {
            return outcome;
        }
    }
    assert(buf_size(&reader->gathered) <= reader->declared_size);
    missing = reader->declared_size - buf_size(&reader->gathered);
    if (input->size < missing) {
        if (gather(reader, *input) != 0) {
            return -ENOMEM;
        }
        skip(input, input->size);
        return GRPC_FRAME_E_MORE;
    }
    ret_message->compressed = reader->head[0] == 1;
    if (buf_size(&reader->gathered) == 0) {
        ret_message->bytes = (struct bytes){input->data, missing};
    } else {
        if (gather(reader, (struct bytes){input->data, missing}) != 0) {
            return -ENOMEM;
        }
        ret_message->bytes = buf_bytes(&reader->gathered);
    }
    skip(input, missing);
    reader->is_lent = true;
    return 0;
}

int grpc_frame_keep(struct grpc_frame_reader *reader, struct grpc_message *message)
{
    assert(reader->is_lent);
    if (message->bytes.size == 0 || buf_size(&reader->gathered) > 0) {
        return 0;
    }
    if (gather(reader, message->bytes) != 0) {
        return -ENOMEM;
    }
    message->bytes = buf_bytes(&reader->gathered);
    return 0;
}

size_t grpc_frame_held_size(const struct grpc_frame_reader *reader)
{
    size_t size = buf_size(&reader->gathered);

    return reader->is_secret && size > 0 ? reader->declared_size : size;
}

bool grpc_frame_is_at_border(const struct grpc_frame_reader *reader)
{
    return reader->is_lent || reader->head_size == 0;
}

void grpc_frame_reader_reset(struct grpc_frame_reader *reader, size_t keep_max)
{
    wipe(reader);
    if (reader->gathered.capacity > keep_max) {
        buf_deinit(&reader->gathered);
    }
    buf_clear(&reader->gathered);
    reader->head_size = 0;
    reader->is_lent = false;
    reader->is_secret = false;
}

void grpc_frame_reader_deinit(struct grpc_frame_reader *reader)
{
    wipe(reader);
    buf_deinit(&reader->gathered);
}

void grpc_frame_encode_head(uint8_t head[GRPC_FRAME_HEAD_SIZE], bool compressed, uint32_t size)
{
    head[0] = compressed ? 1 : 0;
    head[1] = (uint8_t)(size >> 24);
    head[2] = (uint8_t)(size >> 16);
    head[3] = (uint8_t)(size >> 8);
    head[4] = (uint8_t)size;
}
