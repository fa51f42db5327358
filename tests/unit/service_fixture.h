/*
 * A user service between fake calls and a fake log, for the tests of what clients see. Include it
 * in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_SERVICE_FIXTURE_H
#define UNIT_SERVICE_FIXTURE_H

#include "lib/unit.h"

#include "call_fakes.h"
#include "core/reactor.h"
#include "http2/grpc_method.h"
#include "http2/proto_wire.h"
#include "service/user_record.h"
#include "service/user_service.h"
#include "write_fakes.h"

#define NOW_MS 1700000000000ULL

/* Rows of the method table. */
enum {
    GET_USER,
    CREATE_USER,
    UPDATE_USER,
    DELETE_USER,
    LIST_USERS,
    WATCH_USER,
    BATCH_CREATE_USERS,
    SYNC_USERS,
};

struct service_fixture {
    struct reactor reactor;
    struct fake_log log;
    struct fake_clock clock;
    struct fake_random random;
    struct user_service_options options;
    struct user_service *service;
    struct grpc_method methods[USER_SERVICE_METHOD_COUNT];
    enum commit_log_state log_state;
    char problem[WAL_PROBLEM_SIZE];
};

static inline void note_state(void *context, enum commit_log_state state, const char *reason)
{
    struct service_fixture *fixture = context;

    (void)reason;
    fixture->log_state = state;
}

/* A service over the log as it is. Returns what user_service_start() does. */
static inline int service_restart(struct service_fixture *fixture)
{
    (void)fake_reactor_turn(&fixture->reactor);
    user_service_free(fixture->service);
    fixture->service = NULL;
    ck_assert_int_eq(user_service_new(&fixture->reactor, &fixture->random.source, NULL,
                                      &fixture->options, &fixture->service),
                     0);
    user_service_methods(fixture->service, fixture->methods);
    return user_service_start(fixture->service, &fixture->log.log, note_state, fixture,
                              fixture->problem);
}

static inline void service_start(struct service_fixture *fixture)
{
    *fixture = (struct service_fixture){
        .options = {.max_users = 100,
                    .password_memory_kib = 8,
                    .password_iterations = 1,
                    .password_min_length = 8,
                    .password_max_length = 64,
                    .max_fields = 100,
                    .lister = {.max_page_size = 1000,
                               .max_page_bytes = 1 << 20,
                               .max_filter = 1024,
                               .max_scans = 4,
                               .max_scan_users = 1000,
                               .max_fields = 100},
                    .watch = {.max_per_connection = 4,
                              .max_per_user = 4,
                              .max_total = 4,
                              .max_unsent = 4096,
                              .max_fields = 100},
                    .streams = {.max_messages = 100,
                                .max_inflight = 10,
                                .max_hashing = 10,
                                .max_submitted = 10,
                                .max_unsent = 4096,
                                .max_fields = 100,
                                .password_rule = {8, 64}}},
    };
    fake_pool_init(10);
    fake_log_init(&fixture->log);
    fake_clock_init(&fixture->clock, NOW_MS);
    fake_random_init(&fixture->random, 6);
    fake_reactor_init(&fixture->reactor, &fixture->clock.source);
    ck_assert_int_eq(service_restart(fixture), 0);
}

static inline void service_finish(struct service_fixture *fixture)
{
    (void)fake_reactor_turn(&fixture->reactor);
    user_service_free(fixture->service);
    fake_log_deinit(&fixture->log);
    fake_reactor_deinit(&fixture->reactor);
}

/* Hands a request to a handler, in memory of its own that is gone when the handler returns. */
static inline void service_call(struct service_fixture *fixture, unsigned method,
                                struct fake_call *call, struct bytes request)
{
    uint8_t *copy = malloc(request.size + 1);
    const struct grpc_method *row = &fixture->methods[method];

    ck_assert_ptr_nonnull(copy);
    if (request.size > 0) {
        memcpy(copy, request.data, request.size);
    }
    row->handler(row->service, &call->call, (struct bytes){copy, request.size});
    free(copy);
}

/* Lets everything on its way come to its end. */
static inline void service_settle(struct service_fixture *fixture)
{
    bool any = true;

    while (any) {
        any = fake_pool_run_one(false);
        any |= fake_log_settle(&fixture->log, COMMIT_DONE);
        any |= fake_reactor_turn(&fixture->reactor);
    }
}

static inline void add_text(struct buf *out, uint32_t number, const char *text)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, bytes_from_text(text)), 0);
}

/* Field `number` is the message, which is freed. */
static inline void add_message(struct buf *out, uint32_t number, struct buf *message)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, buf_bytes(message)), 0);
    buf_deinit(message);
}

static inline void send_request(struct service_fixture *fixture, unsigned method,
                                struct fake_call *call, struct buf *request)
{
    fake_call_init(call);
    service_call(fixture, method, call, buf_bytes(request));
    buf_deinit(request);
}

static inline void send_create(struct service_fixture *fixture, struct fake_call *call,
                               const char *username, const char *email, const char *request_id)
{
    struct buf request = {0};

    add_text(&request, 1, username);
    add_text(&request, 2, email);
    add_text(&request, 3, "correct horse");
    add_text(&request, 4, request_id);
    send_request(fixture, CREATE_USER, call, &request);
}

static inline void send_get(struct service_fixture *fixture, struct fake_call *call, const char *id)
{
    struct buf request = {0};

    add_text(&request, 1, id);
    send_request(fixture, GET_USER, call, &request);
}

/* An UpdateUser that renames the user. */
static inline void send_rename(struct service_fixture *fixture, struct fake_call *call,
                               const char *id, const char *username)
{
    struct buf request = {0};
    struct buf user = {0};

    add_text(&user, 2, username);
    add_text(&request, 1, id);
    add_message(&request, 2, &user);
    send_request(fixture, UPDATE_USER, call, &request);
}

static inline void send_delete(struct service_fixture *fixture, struct fake_call *call,
                               const char *id)
{
    struct buf request = {0};

    add_text(&request, 1, id);
    send_request(fixture, DELETE_USER, call, &request);
}

/* The user in the reply, whose texts live as long as the call. */
static inline struct user reply_user_of(const struct fake_call *call)
{
    struct bytes reply = buf_bytes(&call->reply);
    struct proto_wire_field field;
    struct user user;

    ck_assert_int_eq(call->status, GRPC_STATUS_OK);
    ck_assert(call->answered);
    ck_assert_int_eq(proto_wire_read(&reply, &field), 0);
    ck_assert_uint_eq(field.number, 1);
    ck_assert_uint_eq(reply.size, 0);
    ck_assert_int_eq(user_record_read_user(field.bytes, &user), 0);
    return user;
}

/* Creates a user and writes its id, 36 characters and a NUL, to `id`. */
static inline void make_user(struct service_fixture *fixture, const char *username,
                             const char *email, char *id)
{
    static struct fake_call call;

    send_create(fixture, &call, username, email, "");
    service_settle(fixture);
    (void)snprintf(id, 37, "%.36s", (const char *)reply_user_of(&call).id.data);
    fake_call_deinit(&call);
}

#endif
