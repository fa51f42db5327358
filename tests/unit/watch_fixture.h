/*
 * WatchUser between fake calls, a store whose changes the test makes, and a real reactor on a clock
 * that the test moves. Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_WATCH_FIXTURE_H
#define UNIT_WATCH_FIXTURE_H

#include "lib/unit.h"

#include "call_fakes.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "http2/proto_wire.h"
#include "service/commit_log.h"
#include "service/user_record.h"
#include "service/user_store.h"
#include "service/user_watch.h"

#include <errno.h>
#include <stdio.h>

/* A struct user is large: not in every frame that makes a change. */
#define WATCH_OWN_FRAME __attribute__((noinline, unused))

struct watch_fixture {
    struct reactor reactor;
    struct clock_source clock;
    uint64_t now_ns;
    uint64_t step_ns; /* so far the clock goes on each time somebody looks */
    struct grpc_call_host host;
    struct user_store *store;
    struct user_watch *watch;
    const struct user_watch_stats *stats;
    uint64_t change; /* number of the last one */
};

static inline uint64_t watch_fixture_ns(struct clock_source *source)
{
    struct watch_fixture *fixture = CONTAINER_OF(source, struct watch_fixture, clock);

    fixture->now_ns += fixture->step_ns;
    return fixture->now_ns;
}

static const struct user_watch_options watch_defaults = {
    .max_per_connection = 1000000,
    .max_per_user = 1000000,
    .max_total = 1000000,
    .max_unsent = 1000,
    .max_fields = 10,
};

static inline void watch_start(struct watch_fixture *fixture,
                               const struct user_watch_options *options)
{
    const struct ring_options ring_options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE];

    *fixture = (struct watch_fixture){
        .clock = {watch_fixture_ns, watch_fixture_ns},
        .now_ns = CLOCK_NS_PER_S,
    };
    ck_assert_int_eq(reactor_init(&fixture->reactor, &ring_options, &fixture->clock, NULL, problem),
                     0);
    fixture->host.reactor = &fixture->reactor;
    ck_assert_int_eq(user_store_new(1000, (struct hash_seed){{1, 2}}, &fixture->store), 0);
    ck_assert_int_eq(user_watch_new(&fixture->reactor, fixture->store, options, &fixture->watch),
                     0);
    fixture->stats = user_watch_stats(fixture->watch);
}

/* All watchers must have ended. */
static inline void watch_finish(struct watch_fixture *fixture)
{
    ck_assert_uint_eq(fixture->stats->watchers, 0);
    ck_assert_uint_eq(fixture->host.long_streams, 0);
    user_watch_free(fixture->watch);
    user_store_free(fixture->store);
    reactor_deinit(&fixture->reactor);
}

static inline void watch_turn(struct watch_fixture *fixture)
{
    ck_assert_int_eq(reactor_turn(&fixture->reactor, 0), 0);
}

/* Turns until everybody has been told what can be told. */
static inline void watch_settle(struct watch_fixture *fixture)
{
    do {
        watch_turn(fixture);
    } while (!list_is_empty(&fixture->reactor.tasks) ||
             !list_is_empty(&fixture->reactor.slow_tasks));
}

/* Logs and applies a record with the next number, as the service does with what its log says. */
static inline void watch_commit(struct watch_fixture *fixture, uint8_t type, struct user *user)
{
    char etag[USER_ETAG_SIZE];
    struct user_record record = {.sequence = fixture->change + 1};
    struct commit_event event = {.revision = fixture->change + 1, .record_type = type};
    struct buf message = {0};
    struct buf body = {0};

    fixture->change++;
    user->etag =
        (struct bytes){(const uint8_t *)etag, user_record_format_etag(fixture->change, etag)};
    ck_assert_int_eq(user_record_append_user(user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    event.record = buf_bytes(&body);
    user_watch_note(fixture->watch, &event);
    ck_assert_int_eq(user_store_apply(fixture->store, &event), 0);
    buf_deinit(&message);
    buf_deinit(&body);
}

/* Creates or changes a user. */
WATCH_OWN_FRAME static void watch_put(struct watch_fixture *fixture, const char *id)
{
    char name[80];
    char email[80];
    struct user user = {
        .id = bytes_from_text(id),
        .created_at = 1000,
        .status = USER_STATUS_ACTIVE,
        .first_name = BYTES_LITERAL("Anna"),
        .updated_at = (int64_t)fixture->change + 5000,
    };

    (void)snprintf(name, sizeof(name), "name-%s", id);
    (void)snprintf(email, sizeof(email), "%s@example.com", id);
    user.username = bytes_from_text(name);
    user.email = bytes_from_text(email);
    watch_commit(fixture, USER_RECORD_PUT, &user);
}

WATCH_OWN_FRAME static void watch_delete(struct watch_fixture *fixture, const char *id)
{
    struct user user = {.id = bytes_from_text(id)};

    watch_commit(fixture, USER_RECORD_DELETE, &user);
}

/* Makes a call of such a request, in memory that is gone when the handler returns. */
static inline void watch_call(struct watch_fixture *fixture, struct fake_call *call,
                              struct bytes request)
{
    uint8_t *copy = malloc(request.size + 1);

    fake_call_init(call);
    call->call.host = &fixture->host;
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, request.data, request.size);
    user_watch_handle(fixture->watch, &call->call, (struct bytes){copy, request.size});
    free(copy);
}

static inline void watch_open(struct watch_fixture *fixture, struct fake_call *call, const char *id)
{
    uint8_t request[256] = {1 << 3 | PROTO_WIRE_BYTES, (uint8_t)strlen(id)};

    ck_assert_uint_lt(strlen(id), 128);
    memcpy(request + 2, id, strlen(id));
    watch_call(fixture, call, (struct bytes){request, 2 + strlen(id)});
}

static inline void watch_close(struct fake_call *call)
{
    fake_call_cancel(call);
    fake_call_deinit(call);
}

static inline struct user watch_seen(const struct fake_call *call, unsigned index)
{
    struct user user;

    ck_assert_int_eq(user_record_read_user(fake_call_sent(call, index), &user), 0);
    return user;
}

/* The number of the change that a client sees in its message number `index`. */
WATCH_OWN_FRAME static uint64_t watch_seen_change(const struct fake_call *call, unsigned index)
{
    struct user user = watch_seen(call, index);

    return strtoull((const char *)user.etag.data + 1, NULL, 16);
}

/* The call has ended with OK, and its last message says that the user is deleted. */
WATCH_OWN_FRAME static void watch_check_deleted(const struct fake_call *call)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, GRPC_STATUS_OK);
    ck_assert_int_eq(watch_seen(call, call->sent_count - 1).status, USER_STATUS_DELETED);
    ck_assert_uint_eq(call->call.holds, 0);
}

static inline void watch_check_failed(const struct fake_call *call, enum grpc_status status,
                                      const char *reason)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->reason, reason);
    ck_assert_uint_eq(call->call.holds, 0);
}

#endif
