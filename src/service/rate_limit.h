/*
 * How much one peer may ask for: token buckets by address, before anything else is known of a call,
 * and by caller once auth knows who it is; changes count a second time.
 *
 * Health checks are not counted. A caller is the token's subject, else the certificate's name; who
 * has neither is counted by address only. Peers over a Unix socket have no address.
 *
 * Owns:    the buckets.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef SERVICE_RATE_LIMIT_H
#define SERVICE_RATE_LIMIT_H

#include "http2/grpc_dispatch.h"

#include <stddef.h>
#include <stdint.h>

struct random_source;
struct rate_limit;

/* The section [rate]. A rate of 0 switches its limit off. */
struct rate_limit_options {
    uint64_t identity_per_s;
    uint64_t identity_burst;
    uint64_t write_identity_per_s;
    uint64_t write_identity_burst;
    uint64_t address_per_s;
    uint64_t address_burst;
    uint64_t max_tracked; /* callers, and addresses, with a bucket of their own */
};

/* Counts since start, but for the first two, which are now. What was refused is counted in the
 * reactor's limits_hit. */
struct rate_limit_stats {
    size_t identities;
    size_t addresses;
    uint64_t shared; /* calls on the bucket of those for whom there was no room */
};

/* Returns 0 or -ENOMEM. */
int rate_limit_new(struct random_source *random, const struct rate_limit_options *options,
                   struct rate_limit **ret_limit);

/* The stages: one goes before that of auth, the other behind it. */
struct grpc_stage rate_limit_address_stage(struct rate_limit *limit);
struct grpc_stage rate_limit_identity_stage(struct rate_limit *limit);

/* A message of a stream of changes: takes what one change costs. Returns 0, or, when there is
 * nothing left, the milliseconds to wait; the caller of this fails the call. NULL is no limit. */
int64_t rate_limit_take_change(struct rate_limit *limit, const struct grpc_call *call);

/* From now on these. What a caller has left stays, up to the new burst. */
void rate_limit_set_options(struct rate_limit *limit, const struct rate_limit_options *options);

struct rate_limit_stats rate_limit_stats(const struct rate_limit *limit);

/* NULL is fine. */
void rate_limit_free(struct rate_limit *limit);

#endif
