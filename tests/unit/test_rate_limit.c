#include "lib/unit.h"

#include "core/random.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "service/caller.h"
#include "service/rate_limit.h"

#include <stdio.h>

#define S UINT64_C(1000000000)

static const struct grpc_method get = {.path = "/users.v1.UserService/GetUser"};
static const struct grpc_method create = {.path = "/users.v1.UserService/CreateUser"};
static const struct grpc_method batch = {.path = "/users.v1.UserService/BatchCreateUsers"};
static const struct grpc_method health = {.path = "/grpc.health.v1.Health/Check"};

static const struct caller alice = {.subject = "alice"};
static const struct caller bob = {.subject = "bob"};
static const struct caller nobody;

static struct reactor reactor = {.now_ns = 1000 * S};
static struct grpc_call_host host = {.reactor = &reactor};
static struct rate_limit *limit;
static struct grpc_error failure; /* how the call was failed */
static char failure_limit[64];
static unsigned failure_count;

/* Stands in for the one of grpc_call_answer.c. */
void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    (void)call;
    failure = *error;
    ck_assert_uint_eq(error->metadata_count, 1);
    ck_assert_str_eq(error->metadata[0].key, "limit");
    (void)snprintf(failure_limit, sizeof(failure_limit), "%s", error->metadata[0].value);
    failure_count++;
}

static struct rate_limit_options options(uint64_t identity, uint64_t write, uint64_t address)
{
    return (struct rate_limit_options){
        .identity_per_s = identity,
        .identity_burst = 5,
        .write_identity_per_s = write,
        .write_identity_burst = 3,
        .address_per_s = address,
        .address_burst = 4,
        .max_tracked = 100,
    };
}

static void open_with(uint64_t identity, uint64_t write, uint64_t address)
{
    const struct rate_limit_options all = options(identity, write, address);

    ck_assert_int_eq(rate_limit_new(random_system(), &all, &limit), 0);
}

/* Does one call get past both stages? */
static bool passes(const struct grpc_method *method, const char *address,
                   const struct caller *caller)
{
    struct grpc_stage first = rate_limit_address_stage(limit);
    struct grpc_stage second = rate_limit_identity_stage(limit);
    struct grpc_call call = {.host = &host, .method = method, .identity = caller};

    failure_count = 0;
    host.peer_address = address != NULL ? bytes_from_text(address) : (struct bytes){0};
    if (first.begin(first.context, &call) && second.begin(second.context, &call)) {
        ck_assert_uint_eq(failure_count, 0);
        return true;
    }
    ck_assert_uint_eq(failure_count, 1);
    return false;
}

static unsigned count_passing(const struct grpc_method *method, const char *address,
                              const struct caller *caller)
{
    unsigned count = 0;

    while (count < 1000 && passes(method, address, caller)) {
        count++;
    }
    return count;
}

static void assert_refused(const char *name, int64_t retry_ms)
{
    ck_assert_int_eq(failure.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(failure.message, "Rate limit exceeded");
    ck_assert_str_eq(failure.reason, "RATE_LIMIT_EXCEEDED");
    ck_assert_str_eq(failure.domain, "users.v1");
    ck_assert_str_eq(failure_limit, name);
    ck_assert_int_eq(failure.retry_delay_ms, retry_ms);
}

/* With rates of 0 nothing is counted, and nothing is kept. */
START_TEST(rate_limit_is_off)
{
    open_with(0, 0, 0);
    ck_assert_uint_eq(count_passing(&create, "a", &alice), 1000);
    ck_assert_uint_eq(rate_limit_stats(limit).identities, 0);
    ck_assert_uint_eq(rate_limit_stats(limit).addresses, 0);
    rate_limit_free(limit);
}

END_TEST

/* Calls of one address, whoever makes them; another one is not affected, nor who has none. */
START_TEST(rate_limit_counts_addresses)
{
    open_with(0, 0, 10);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 4);
    assert_refused("rate.address_per_s", 100);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_RATE_ADDRESS], 1);
    ck_assert_uint_eq(count_passing(&get, "a", &bob), 0);
    ck_assert_uint_eq(count_passing(NULL, "a", NULL), 0); /* a method that there is not */
    ck_assert_uint_eq(count_passing(&get, "b", &alice), 4);
    ck_assert_uint_eq(count_passing(&get, NULL, &alice), 1000);
    reactor.now_ns += 99999999;
    ck_assert(!passes(&get, "a", &alice));
    assert_refused("rate.address_per_s", 1); /* never 0, which would be no answer */
    reactor.now_ns += 1;
    ck_assert(passes(&get, "a", &alice));
    rate_limit_free(limit);
}

END_TEST

/* Calls of one caller, from wherever they come. */
START_TEST(rate_limit_counts_identities)
{
    const struct caller certificate = {.certificate = "uri:alice"};
    const struct caller same_text = {.subject = "uri:alice"};
    const struct caller both = {.subject = "bob", .certificate = "uri:alice"};

    open_with(10, 0, 0);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 5);
    assert_refused("rate.identity_per_s", 100);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_RATE_IDENTITY], 1);
    ck_assert_uint_eq(count_passing(&create, "b", &alice), 0);
    ck_assert_uint_eq(count_passing(&get, "a", &certificate), 5);
    ck_assert_uint_eq(count_passing(&get, "a", &same_text), 5);
    ck_assert_uint_eq(count_passing(&get, "a", &both), 5);
    ck_assert_uint_eq(count_passing(&get, "a", &bob), 0); /* the subject counts */
    ck_assert_uint_eq(count_passing(&get, "a", &nobody), 1000);
    ck_assert_uint_eq(count_passing(&get, "a", NULL), 1000);
    rate_limit_free(limit);
}

END_TEST

/* Changes count beside calls; a change that is refused costs no call. */
START_TEST(rate_limit_counts_changes)
{
    open_with(10, 1, 0);
    ck_assert_uint_eq(count_passing(&create, "a", &alice), 3);
    assert_refused("rate.write_identity_per_s", 1000);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_RATE_WRITE], 1);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 2);
    ck_assert_uint_eq(count_passing(&create, "a", &bob), 3);
    rate_limit_free(limit);
    open_with(0, 1, 0); /* changes alone */
    ck_assert_uint_eq(count_passing(&create, "a", &alice), 3);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 1000);
    rate_limit_free(limit);
}

END_TEST

/* Each message of a stream is a change; opening the stream is none. */
START_TEST(rate_limit_counts_messages)
{
    struct grpc_call call = {.host = &host, .method = &batch, .identity = &alice};
    struct grpc_call anonymous = {.host = &host, .method = &batch, .identity = &nobody};

    open_with(0, 1, 0);
    ck_assert(passes(&batch, "a", &alice));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(rate_limit_take_change(limit, &call), 0);
    }
    ck_assert_int_eq(rate_limit_take_change(limit, &call), 1000);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_RATE_WRITE], 1);
    ck_assert(!passes(&create, "a", &alice));
    reactor.now_ns += S;
    ck_assert_int_eq(rate_limit_take_change(limit, &call), 0);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(rate_limit_take_change(limit, &anonymous), 0);
        ck_assert_int_eq(rate_limit_take_change(NULL, &call), 0);
    }
    rate_limit_free(limit);
    open_with(1, 0, 1);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(rate_limit_take_change(limit, &call), 0);
    }
    rate_limit_free(limit);
}

END_TEST

/* Health checks are never limited, and use up nothing. */
START_TEST(rate_limit_spares_health)
{
    open_with(1, 1, 1);
    ck_assert_uint_eq(count_passing(&health, "a", &alice), 1000);
    ck_assert_uint_eq(rate_limit_stats(limit).addresses, 0);
    ck_assert_uint_eq(rate_limit_stats(limit).identities, 0);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 4);
    ck_assert_uint_eq(count_passing(&health, "a", &alice), 1000);
    rate_limit_free(limit);
}

END_TEST

/* New options hold at once; who was refused is not let in by them. */
START_TEST(rate_limit_takes_new_options)
{
    struct rate_limit_options all = options(10, 0, 0);

    open_with(10, 0, 0);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 5);
    all.identity_burst = 50;
    rate_limit_set_options(limit, &all);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 0);
    ck_assert_uint_eq(count_passing(&get, "a", &bob), 50);
    all.identity_per_s = 0;
    all.address_per_s = 1;
    rate_limit_set_options(limit, &all);
    ck_assert_uint_eq(rate_limit_stats(limit).identities, 0);
    ck_assert_uint_eq(count_passing(&get, "a", &alice), 4);
    rate_limit_free(limit);
    rate_limit_free(NULL);
}

END_TEST

UNIT_MAIN("rate_limit", rate_limit_is_off, rate_limit_counts_addresses,
          rate_limit_counts_identities, rate_limit_counts_changes, rate_limit_counts_messages,
          rate_limit_spares_health, rate_limit_takes_new_options)
