/*
 * One compressed message (C3, C4): gzip to plain bytes with a bound on what comes out, and back.
 * Each message has a context of its own, which is gone when the function returns.
 *
 * Owns:    nothing.
 * Thread:  any.
 */
#ifndef HTTP2_GRPC_GZIP_H
#define HTTP2_GRPC_GZIP_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>

#define GRPC_GZIP_E_BROKEN    1 /* no gzip, cut off, wrong checksum, or bytes behind its end */
#define GRPC_GZIP_E_TOO_LARGE 2 /* more than `size_max` would come out */
#define GRPC_GZIP_E_NO_GAIN   3 /* it does not get smaller */

/* Appends what `packed` stands for to the empty buffer `plain`; stops at `size_max` + 1 bytes. With
 * `is_secret` no copies are left behind in freed memory; `plain` is the caller's to wipe, over its
 * whole capacity. Returns 0, GRPC_GZIP_E_BROKEN, GRPC_GZIP_E_TOO_LARGE or -ENOMEM. */
int grpc_gzip_inflate(struct bytes packed, size_t size_max, bool is_secret, struct buf *plain);

/* Appends the parts, gathered and compressed, to the empty buffer `packed`. Returns 0,
 * GRPC_GZIP_E_NO_GAIN or -ENOMEM. */
int grpc_gzip_deflate(const struct bytes *parts, size_t count, struct buf *packed);

#endif
