#include "service/caller.h"
#include "service/rate_limit.h"
#include "stream_fixture.h"

/* Streams of changes under rate.write_identity_per_s. */

static const struct rate_limit_options options = {
    .identity_burst = 1,
    .write_identity_per_s = 4,
    .write_identity_burst = 3,
    .address_burst = 1,
    .max_tracked = 16,
};

static const struct caller alice = {.subject = "alice"};
static const struct caller bob = {.subject = "bob"};
static struct grpc_call_host host;
static struct rate_limit *limit;

static void start(struct stream_fixture *fixture)
{
    stream_start(fixture);
    fixture->reactor.now_ns = 1000 * CLOCK_NS_PER_S;
    host.reactor = &fixture->reactor;
    ck_assert_int_eq(rate_limit_new(&fixture->random.source, &options, &limit), 0);
    fixture->streams.options.rate = limit;
}

static void finish(struct stream_fixture *fixture)
{
    rate_limit_free(limit);
    stream_finish(fixture);
}

static void open_as(struct stream_fixture *fixture, struct fake_call *call,
                    const struct caller *caller)
{
    open_sync(fixture, call);
    call->call.host = &host;
    call->call.identity = caller;
}

/* Each message takes one change. The one that is too many ends the stream, when those before it are
 * answered, and says when the next one may come. */
START_TEST(user_stream_counts_changes)
{
    static struct stream_fixture fixture;
    static struct fake_call call;
    char name[16];

    start(&fixture);
    open_as(&fixture, &call, &alice);
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof(name), "user%u", i);
        send_user(&call, name, name);
    }
    ck_assert(call.paused);
    settle(&fixture);
    ck_assert_uint_eq(call.sent_count, 3);
    ck_assert(call.answered);
    ck_assert_int_eq(call.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(call.message, "Rate limit exceeded");
    ck_assert_str_eq(call.reason, "RATE_LIMIT_EXCEEDED");
    ck_assert_str_eq(call.metadata, "index=3; limit=rate.write_identity_per_s; ");
    ck_assert_int_eq(call.retry_ms, 250);
    ck_assert_uint_eq(fixture.reactor.limits_hit.counts[LIMITS_HIT_RATE_WRITE], 1);
    fake_call_deinit(&call);
    finish(&fixture);
}

END_TEST

/* Two streams of one caller share the limit; another caller has his own. */
START_TEST(user_stream_counts_callers)
{
    static struct stream_fixture fixture;
    static struct fake_call calls[3];

    start(&fixture);
    open_as(&fixture, &calls[0], &alice);
    open_as(&fixture, &calls[1], &alice);
    open_as(&fixture, &calls[2], &bob);
    send_user(&calls[0], "a", "a");
    send_user(&calls[0], "b", "b");
    send_user(&calls[1], "c", "c");
    send_user(&calls[1], "d", "d");
    send_user(&calls[2], "e", "e");
    settle(&fixture);
    ck_assert_int_eq(calls[1].status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert(!calls[0].answered);
    fixture.reactor.now_ns += CLOCK_NS_PER_S / 4;
    send_user(&calls[0], "f", "f");
    settle(&fixture);
    ck_assert_uint_eq(calls[0].sent_count, 3);
    ck_assert_uint_eq(calls[1].sent_count, 1);
    ck_assert_uint_eq(calls[2].sent_count, 1);
    end_well(&fixture, &calls[0]);
    fake_call_deinit(&calls[1]);
    end_well(&fixture, &calls[2]);
    finish(&fixture);
}

END_TEST

UNIT_MAIN("user_stream_rate", user_stream_counts_changes, user_stream_counts_callers)
