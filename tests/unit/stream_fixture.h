/*
 * Streams of changes between fake calls, a fake log and a fake pool. Include it in one file of a
 * test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_STREAM_FIXTURE_H
#define UNIT_STREAM_FIXTURE_H

#include "lib/unit.h"

#include "call_fakes.h"
#include "core/reactor.h"
#include "http2/proto_wire.h"
#include "service/user_record.h"
#include "service/user_store.h"
#include "service/user_stream.h"
#include "service/user_write.h"
#include "write_fakes.h"

#define NOW_MS 1700000000000ULL

struct stream_fixture {
    struct reactor reactor;
    struct fake_log log;
    struct fake_clock clock;
    struct fake_random random;
    struct user_writer writer;
    struct user_streams streams;
};

static inline void stream_apply(void *context, const struct commit_event *events, size_t count)
{
    struct stream_fixture *fixture = context;

    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(user_store_apply(fixture->writer.store, &events[i]), 0);
    }
}

static inline void stream_start(struct stream_fixture *fixture)
{
    static const struct hash_seed seed = {{3, 4}};
    static const struct commit_log_callbacks callbacks = {.events = stream_apply};

    *fixture = (struct stream_fixture){0};
    fake_pool_init(100);
    fake_clock_init(&fixture->clock, NOW_MS);
    fake_reactor_init(&fixture->reactor, &fixture->clock.source);
    fake_log_init(&fixture->log);
    fixture->log.callbacks = &callbacks;
    fixture->log.context = fixture;
    fixture->log.reactor = &fixture->reactor;
    fake_random_init(&fixture->random, 5);
    fixture->writer = (struct user_writer){
        .log = &fixture->log.log,
        .clock = &fixture->clock.source,
        .ids = {.random = &fixture->random.source},
        .cost = {8, 1},
    };
    ck_assert_int_eq(user_store_new(100, seed, &fixture->writer.store), 0);
    fixture->streams = (struct user_streams){
        .reactor = &fixture->reactor,
        .writer = &fixture->writer,
        .options = {.max_messages = 100,
                    .max_inflight = 20,
                    .max_unsent = 1000,
                    .max_fields = 100,
                    .max_hashing = 50,
                    .max_submitted = 50,
                    .password_rule = {8, 64}},
    };
    list_init(&fixture->streams.hash_turns);
}

/* All streams must have ended: the reactor and the store see to that, with the sanitizers. */
static inline void stream_finish(struct stream_fixture *fixture)
{
    ck_assert_uint_eq(fixture->writer.live_count, 0);
    ck_assert_uint_eq(fixture->streams.hash_count, 0);
    ck_assert_uint_eq(fixture->streams.submitted_count, 0);
    ck_assert(list_is_empty(&fixture->streams.hash_turns));
    ck_assert_uint_eq(timer_set_next_ns(&fixture->reactor.timers), UINT64_MAX);
    user_writer_deinit(&fixture->writer);
    user_store_free(fixture->writer.store);
    fake_log_deinit(&fixture->log);
    fake_reactor_deinit(&fixture->reactor);
}

static inline void open_batch(struct stream_fixture *fixture, struct fake_call *call)
{
    fake_call_init(call);
    user_stream_open_batch(&fixture->streams, &call->call);
}

/* Gives a call the metadata `users-continue-on-error`; `field` holds it. */
static inline void set_goes_on(struct fake_call *call, struct grpc_metadata_field *field,
                               const char *value)
{
    *field = (struct grpc_metadata_field){bytes_from_text("users-continue-on-error"),
                                          bytes_from_text(value)};
    call->call.head.custom = field;
    call->call.head.custom_count = 1;
}

/* A batch with that metadata. */
static inline void open_lenient(struct stream_fixture *fixture, struct fake_call *call,
                                const char *value)
{
    struct grpc_metadata_field field;

    fake_call_init(call);
    set_goes_on(call, &field, value);
    user_stream_open_batch(&fixture->streams, &call->call);
    call->call.head.custom_count = 0;
}

static inline void open_sync(struct stream_fixture *fixture, struct fake_call *call)
{
    fake_call_init(call);
    user_stream_open_sync(&fixture->streams, &call->call);
}

static inline void turn(struct stream_fixture *fixture)
{
    (void)fake_reactor_turn(&fixture->reactor);
}

static inline void let_time_pass(struct stream_fixture *fixture, uint64_t ms)
{
    fixture->clock.now_ms += ms;
    timer_set_run(&fixture->reactor.timers, fixture->clock.now_ms * CLOCK_NS_PER_MS);
    turn(fixture);
}

/* Lets everything on its way come to its end, but for what waits for a timer. */
static inline void settle(struct stream_fixture *fixture)
{
    bool any = true;

    while (any) {
        any = fake_reactor_turn(&fixture->reactor);
        any |= fake_pool_run_one(false);
        any |= fake_reactor_turn(&fixture->reactor);
        any |= fake_log_settle(&fixture->log, COMMIT_DONE);
    }
}

static inline void add_text(struct buf *out, uint32_t number, const char *text)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, bytes_from_text(text)), 0);
}

/* Sends the message, and frees it. */
static inline void send_message(struct fake_call *call, struct buf *message)
{
    fake_call_message(call, buf_bytes(message).data, buf_size(message));
    buf_deinit(message);
}

/* An item of a batch: `name`, `name`@x. */
static inline void send_create_as(struct fake_call *call, const char *name, const char *request_id)
{
    struct buf message = {0};
    char email[64];

    (void)snprintf(email, sizeof(email), "%s@x", name);
    add_text(&message, 1, name);
    add_text(&message, 2, email);
    add_text(&message, 3, "correct horse");
    add_text(&message, 4, request_id);
    send_message(call, &message);
}

static inline void send_create(struct fake_call *call, const char *name)
{
    send_create_as(call, name, "");
}

/* An item of a sync: id, `name`, `name`@x, and an etag. */
static inline void send_user_as(struct fake_call *call, const char *id, const char *name,
                                const char *etag)
{
    struct buf message = {0};
    char email[64];

    (void)snprintf(email, sizeof(email), "%s@x", name);
    add_text(&message, 1, id);
    add_text(&message, 2, name);
    add_text(&message, 3, email);
    add_text(&message, 9, etag);
    send_message(call, &message);
}

static inline void send_user(struct fake_call *call, const char *id, const char *name)
{
    send_user_as(call, id, name, "");
}

/* The user in answer number `index` of a sync. */
static inline struct user synced_user(const struct fake_call *call, unsigned index)
{
    struct user user;

    ck_assert_int_eq(user_record_read_user(fake_call_sent(call, index), &user), 0);
    return user;
}

/* What field `number` of answer `index` of a batch holds; nothing else may be in it. */
static inline struct bytes answer_field(const struct fake_call *call, unsigned index,
                                        uint32_t number)
{
    struct bytes answer = fake_call_sent(call, index);
    struct proto_wire_field field;

    ck_assert_int_eq(proto_wire_read(&answer, &field), 0);
    ck_assert_uint_eq(field.number, number);
    ck_assert_uint_eq(answer.size, 0);
    return field.bytes;
}

static inline struct user created_user(const struct fake_call *call, unsigned index)
{
    struct user user;

    ck_assert_int_eq(user_record_read_user(answer_field(call, index, 1), &user), 0);
    return user;
}

/* The username in record number `index` of the log. */
static inline struct bytes logged_name(const struct stream_fixture *fixture, unsigned index)
{
    struct user_record record;

    ck_assert_uint_lt(index, fixture->log.record_count);
    ck_assert_int_eq(user_record_read(fixture->log.records[index].type,
                                      fixture->log.records[index].body, &record),
                     0);
    return record.user.username;
}

static inline bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

static inline unsigned submitted_count(const struct stream_fixture *fixture)
{
    unsigned count = 0;

    for (const struct list *link = fixture->log.submitted.next; link != &fixture->log.submitted;
         link = link->next) {
        count++;
    }
    return count;
}

/* Ends the stream with OK and lets go of the call. */
static inline void end_well(struct stream_fixture *fixture, struct fake_call *call)
{
    settle(fixture);
    ck_assert(!call->answered);
    ck_assert(!call->paused);
    fake_call_half_close(call);
    settle(fixture);
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, GRPC_STATUS_OK);
    fake_call_deinit(call);
}

/* The stream has failed, at the item `index`. */
static inline void check_failed(const struct fake_call *call, enum grpc_status status,
                                const char *reason, const char *index)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->reason, reason);
    ck_assert_ptr_nonnull(strstr(call->metadata, index));
    ck_assert_uint_eq(call->call.holds, 0);
}

#endif
