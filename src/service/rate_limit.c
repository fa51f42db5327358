#include "service/rate_limit.h"

#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "service/caller.h"
#include "service/method_class.h"
#include "service/rate_table.h"

#include <errno.h>
#include <stdlib.h>

/*
 * Two tables of buckets: by address and by caller. A caller has two buckets, one for all calls and
 * one for changes; a change needs a token of both. What is refused costs nothing.
 *
 * BatchCreateUsers and SyncUsers are calls when they begin; each of their messages is a change.
 */

enum {
    BUCKET_CALLS,
    BUCKET_CHANGES, /* of the callers' table only */
};

#define WHICH(bucket) (1U << (bucket))

struct rate_limit {
    struct rate_table addresses;
    struct rate_table identities;
    struct hash_seed subject_seed;
    struct hash_seed certificate_seed; /* of its own: one name in both is two callers */
    struct hash_seed address_seed;
};

static void draw(struct random_source *random, struct hash_seed *seed)
{
    random_fill(random, seed, sizeof(*seed));
}

int rate_limit_new(struct random_source *random, const struct rate_limit_options *options,
                   struct rate_limit **ret_limit)
{
    struct rate_limit *limit = calloc(1, sizeof(*limit));
    struct hash_seed seed;

    if (limit == NULL) {
        return -ENOMEM;
    }
    draw(random, &limit->subject_seed);
    draw(random, &limit->certificate_seed);
    draw(random, &limit->address_seed);
    draw(random, &seed);
    rate_table_init(&limit->addresses, seed);
    rate_table_init(&limit->identities, seed);
    rate_limit_set_options(limit, options);
    *ret_limit = limit;
    return 0;
}

void rate_limit_set_options(struct rate_limit *limit, const struct rate_limit_options *options)
{
    const struct rate_rule addresses[RATE_TABLE_BUCKETS] = {
        [BUCKET_CALLS] = {options->address_per_s, options->address_burst},
    };
    const struct rate_rule identities[RATE_TABLE_BUCKETS] = {
        [BUCKET_CALLS] = {options->identity_per_s, options->identity_burst},
        [BUCKET_CHANGES] = {options->write_identity_per_s, options->write_identity_burst},
    };

    rate_table_set(&limit->addresses, addresses, options->max_tracked);
    rate_table_set(&limit->identities, identities, options->max_tracked);
}

void rate_limit_free(struct rate_limit *limit)
{
    if (limit != NULL) {
        rate_table_deinit(&limit->addresses);
        rate_table_deinit(&limit->identities);
        free(limit);
    }
}

struct rate_limit_stats rate_limit_stats(const struct rate_limit *limit)
{
    return (struct rate_limit_stats){
        .identities = limit->identities.map.count,
        .addresses = limit->addresses.map.count,
        .shared = limit->identities.shared_count + limit->addresses.shared_count,
    };
}

/* The buckets of `which` that the table counts at all. */
static unsigned counted(const struct rate_table *table, unsigned which)
{
    unsigned result = 0;

    for (unsigned i = 0; i < RATE_TABLE_BUCKETS; i++) {
        result |= table->rules[i].per_s > 0 ? which & WHICH(i) : 0;
    }
    return result;
}

/* Rounded up: who comes back then finds a token. */
static int64_t in_ms(uint64_t ns)
{
    return (int64_t)((ns + CLOCK_NS_PER_MS - 1) / CLOCK_NS_PER_MS);
}

static bool refuse(struct grpc_call *call, enum limits_hit_reason reason, uint64_t wait_ns)
{
    struct grpc_error error = {
        .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
        .message = "Rate limit exceeded",
        .reason = "RATE_LIMIT_EXCEEDED",
        .domain = "users.v1",
        .retry_delay_ms = in_ms(wait_ns),
    };

    grpc_error_add_metadata(&error, "limit", limits_hit_name(reason));
    limits_hit_add(&call->host->reactor->limits_hit, reason);
    grpc_call_fail(call, &error);
    return false;
}

static enum method_class class_of(const struct grpc_call *call)
{
    return call->method == NULL ? METHOD_CLASS_CALL : method_class_of(call->method->path);
}

static bool address_begin(void *context, struct grpc_call *call)
{
    struct rate_limit *limit = context;
    const struct grpc_call_host *host = call->host;
    unsigned bucket;
    uint64_t wait_ns;

    if (counted(&limit->addresses, WHICH(BUCKET_CALLS)) == 0 || host->peer_address.size == 0 ||
        class_of(call) == METHOD_CLASS_HEALTH) {
        return true;
    }
    wait_ns =
        rate_table_take(&limit->addresses, hash_siphash(&limit->address_seed, host->peer_address),
                        WHICH(BUCKET_CALLS), host->reactor->now_ns, &bucket);
    return wait_ns == 0 || refuse(call, LIMITS_HIT_RATE_ADDRESS, wait_ns);
}

/* False for a caller that has no name. */
static bool name_caller(const struct rate_limit *limit, const struct caller *caller,
                        uint64_t *ret_id)
{
    if (caller == NULL || !caller_is_authenticated(caller)) {
        return false;
    }
    *ret_id = caller->subject != NULL
                  ? hash_siphash(&limit->subject_seed, bytes_from_text(caller->subject))
                  : hash_siphash(&limit->certificate_seed, bytes_from_text(caller->certificate));
    return true;
}

static enum limits_hit_reason reason_of(unsigned bucket)
{
    return bucket == BUCKET_CHANGES ? LIMITS_HIT_RATE_WRITE : LIMITS_HIT_RATE_IDENTITY;
}

static bool identity_begin(void *context, struct grpc_call *call)
{
    struct rate_limit *limit = context;
    unsigned which = counted(&limit->identities, WHICH(BUCKET_CALLS) | WHICH(BUCKET_CHANGES));
    enum method_class class;
    unsigned bucket;
    uint64_t wait_ns;
    uint64_t id;

    if (which == 0) {
        return true;
    }
    class = class_of(call);
    if (class != METHOD_CLASS_CHANGE) {
        which &= WHICH(BUCKET_CALLS);
    }
    if (which == 0 || class == METHOD_CLASS_HEALTH || !name_caller(limit, call->identity, &id)) {
        return true;
    }
    wait_ns = rate_table_take(&limit->identities, id, which, call->host->reactor->now_ns, &bucket);
    return wait_ns == 0 || refuse(call, reason_of(bucket), wait_ns);
}

int64_t rate_limit_take_change(struct rate_limit *limit, const struct grpc_call *call)
{
    struct reactor *reactor = call->host->reactor;
    unsigned bucket;
    uint64_t wait_ns;
    uint64_t id;

    if (limit == NULL || counted(&limit->identities, WHICH(BUCKET_CHANGES)) == 0 ||
        !name_caller(limit, call->identity, &id)) {
        return 0;
    }
    wait_ns =
        rate_table_take(&limit->identities, id, WHICH(BUCKET_CHANGES), reactor->now_ns, &bucket);
    if (wait_ns > 0) {
        limits_hit_add(&reactor->limits_hit, LIMITS_HIT_RATE_WRITE);
    }
    return in_ms(wait_ns);
}

struct grpc_stage rate_limit_address_stage(struct rate_limit *limit)
{
    return (struct grpc_stage){.name = "rate_address", .begin = address_begin, .context = limit};
}

struct grpc_stage rate_limit_identity_stage(struct rate_limit *limit)
{
    return (struct grpc_stage){.name = "rate_identity", .begin = identity_begin, .context = limit};
}
