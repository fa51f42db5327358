/*
 * The 5-byte message frame of gRPC (P12), cut out of a byte stream that is cut anywhere. Pure.
 *
 * Owns:    the message being gathered.
 * Thread:  one at a time.
 */
#ifndef HTTP2_GRPC_FRAME_H
#define HTTP2_GRPC_FRAME_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

#define GRPC_FRAME_HEAD_SIZE 5

#define GRPC_FRAME_E_MORE 1 /* no whole message yet */
#define GRPC_FRAME_E_TOO_LARGE                                                                     \
    2                           /* the declared length is over the limit; nothing of it was kept   \
                                 */
#define GRPC_FRAME_E_BAD_FLAG 3 /* neither 0 nor 1 */

/* Zero-initialise and set `size_max`; set `is_secret` before the first byte or never. */
struct grpc_frame_reader {
    struct buf gathered; /* incomplete messages only */
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    uint8_t head_size;
    bool is_lent;           /* the last message was complete: the next call begins anew */
    bool is_secret;         /* gathered bytes are wiped before their memory is used again */
    uint32_t size_max;      /* largest message */
    uint32_t declared_size; /* of the present message, once the head is complete */
};

struct grpc_message {
    struct bytes bytes;
    bool compressed;
};

/* Takes bytes from the front of `*input` and moves it on. A message that lies whole in the input is
 * passed without copying, else from the reader's memory: borrowed until the next call with this
 * reader or the end of the input's life.
 *
 * Returns 0 with a message, GRPC_FRAME_E_*, or -ENOMEM. */
int grpc_frame_read(struct grpc_frame_reader *reader, struct bytes *input,
                    struct grpc_message *ret_message);

/* Keeps a message that grpc_frame_read() just lent: from here on it is borrowed from the reader
 * alone, until the next grpc_frame_read(). Returns 0 or -ENOMEM. */
int grpc_frame_keep(struct grpc_frame_reader *reader, struct grpc_message *message);

/* Bytes of a message that the reader keeps or, for a secret one, has made room for. */
size_t grpc_frame_held_size(const struct grpc_frame_reader *reader);

/* True when the stream may end here: no message is half read. */
bool grpc_frame_is_at_border(const struct grpc_frame_reader *reader);

/* Back to the beginning, for another stream, and not secret any more; memory is kept up to
 * `keep_max` bytes. */
void grpc_frame_reader_reset(struct grpc_frame_reader *reader, size_t keep_max);

void grpc_frame_reader_deinit(struct grpc_frame_reader *reader);

void grpc_frame_encode_head(uint8_t head[GRPC_FRAME_HEAD_SIZE], bool compressed, uint32_t size);

#endif
