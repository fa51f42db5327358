/*
 * A lister over a real reactor whose clock only jumps when it is read, with fake calls, for the
 * tests of what clients of ListUsers see. Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_LIST_FIXTURE_H
#define UNIT_LIST_FIXTURE_H

#include "lib/unit.h"

#include "call_fakes.h"
#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "http2/proto_wire.h"
#include "service/user_list.h"
#include "service/user_store.h"

#include <stdio.h>

#define USERS_MAX 5000
#define IDS_MAX   1000

/* A clock that stands still, or jumps whenever it is read: then work takes time. */
struct jumping_clock {
    struct clock_source source;
    uint64_t now_ns;
    uint64_t jump_ns;
};

static inline uint64_t read_clock(struct clock_source *source)
{
    struct jumping_clock *clock = CONTAINER_OF(source, struct jumping_clock, source);

    clock->now_ns += clock->jump_ns;
    return clock->now_ns;
}

struct fixture {
    struct jumping_clock clock;
    struct reactor reactor;
    struct user_store *store;
    struct user_lister *lister;
    const struct user_lister_stats *stats;
    uint64_t change;
    uint64_t sequences[USERS_MAX]; /* by the number of the user; 0 = not there */
    bool slow_reader;              /* the client of all calls takes no answers */
};

static struct fixture fixture;

static inline bool may_deliver(struct grpc_call_host *host)
{
    (void)host;
    return !fixture.slow_reader;
}

static const struct grpc_call_host_ops host_ops = {.may_deliver = may_deliver};
static struct grpc_call_host host = {.ops = &host_ops, .reactor = &fixture.reactor};

static const struct user_lister_options DEFAULTS = {
    .page_token_key = {{1, 2, 3}},
    .max_page_size = 1000,
    .max_page_bytes = 1024 * 1024,
    .max_filter = 100,
    .max_scans = 3,
    .max_scan_users = 1000000,
    .max_fields = 20,
};

static inline void make_lister(const struct user_lister_options *options)
{
    user_lister_free(fixture.lister);
    ck_assert_int_eq(
        user_lister_new(&fixture.reactor, fixture.store, random_system(), options, &fixture.lister),
        0);
    fixture.stats = user_lister_stats(fixture.lister);
}

static inline void start(void)
{
    const struct ring_options ring = {.entries = 8};
    const struct hash_seed seed = {{1, 2}};
    char problem[RING_PROBLEM_SIZE] = "";

    fixture = (struct fixture){.clock = {{read_clock, read_clock}, 1000, 0}};
    ck_assert_msg(reactor_init(&fixture.reactor, &ring, &fixture.clock.source, NULL, problem) == 0,
                  "%s", problem);
    ck_assert_int_eq(user_store_new(USERS_MAX, seed, &fixture.store), 0);
    make_lister(&DEFAULTS);
}

static inline void finish(void)
{
    ck_assert_uint_eq(fixture.stats->scans_running, 0);
    user_lister_free(fixture.lister);
    user_store_free(fixture.store);
    reactor_deinit(&fixture.reactor);
}

static inline void apply(const struct user *user, struct user_record *record, uint8_t type)
{
    struct buf message = {0};
    struct buf body = {0};
    struct commit_event event = {.revision = fixture.change, .record_type = type};

    ck_assert_int_eq(user_record_append_user(user, &message), 0);
    record->message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(record, &body), 0);
    event.record = buf_bytes(&body);
    ck_assert_int_eq(user_store_apply(fixture.store, &event), 0);
    buf_deinit(&message);
    buf_deinit(&body);
}

/* Stores user `number`, new or changed: u17, User17, user17@x, every tenth of them an admin. */
static inline void put(unsigned number, const char *last_name)
{
    char id[16];
    char username[32];
    char email[32];
    char etag[USER_ETAG_SIZE];
    struct user user = {.status = USER_STATUS_ACTIVE, .last_name = bytes_from_text(last_name)};
    struct user_record record = {0};

    ck_assert_uint_lt(number, USERS_MAX);
    (void)snprintf(id, sizeof(id), "u%u", number);
    (void)snprintf(username, sizeof(username), "User%u", number);
    (void)snprintf(email, sizeof(email), "user%u@x", number);
    fixture.change++;
    user.id = bytes_from_text(id);
    user.username = bytes_from_text(username);
    user.email = bytes_from_text(email);
    user.etag = (struct bytes){(uint8_t *)etag, user_record_format_etag(fixture.change, etag)};
    if (number % 10 == 0) {
        user.roles[user.role_count++] = BYTES_LITERAL("admin");
    }
    if (fixture.sequences[number] == 0) {
        fixture.sequences[number] = fixture.change;
    }
    record.sequence = fixture.sequences[number];
    apply(&user, &record, USER_RECORD_PUT);
}

static inline void put_many(unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        put(i, "");
    }
}

static inline void drop(unsigned number)
{
    char id[16];
    char etag[USER_ETAG_SIZE];
    struct user user = {.id = {(uint8_t *)id, 0}};
    struct user_record record = {0};

    user.id.size = (size_t)snprintf(id, sizeof(id), "u%u", number);
    fixture.change++;
    user.etag = (struct bytes){(uint8_t *)etag, user_record_format_etag(fixture.change, etag)};
    fixture.sequences[number] = 0;
    apply(&user, &record, USER_RECORD_DELETE);
}

/* A request, as its fields. */
struct request {
    int page_size;
    const char *token;
    const char *filter;
};

/* Hands over a message in memory that is gone when the handler returns. */
static inline void call_with(struct fake_call *call, struct bytes message)
{
    uint8_t *copy = malloc(message.size + 1);

    ck_assert_ptr_nonnull(copy);
    if (message.size > 0) {
        memcpy(copy, message.data, message.size);
    }
    fake_call_init(call);
    call->call.host = &host;
    user_lister_handle(fixture.lister, &call->call, (struct bytes){copy, message.size});
    free(copy);
}

static inline struct buf message_of(const struct request *request)
{
    struct buf message = {0};

    if (request->page_size != 0) {
        ck_assert_int_eq(
            proto_wire_append_varint(&message, 1, (uint64_t)(int64_t)request->page_size), 0);
    }
    if (request->token != NULL) {
        ck_assert_int_eq(proto_wire_append_bytes(&message, 2, bytes_from_text(request->token)), 0);
    }
    if (request->filter != NULL) {
        ck_assert_int_eq(proto_wire_append_bytes(&message, 3, bytes_from_text(request->filter)), 0);
    }
    return message;
}

static inline void list(struct fake_call *call, int page_size, const char *token,
                        const char *filter)
{
    struct request request = {page_size, token, filter};
    struct buf message = message_of(&request);

    call_with(call, buf_bytes(&message));
    buf_deinit(&message);
}

/* A reply, as its fields. */
struct page {
    unsigned numbers[IDS_MAX]; /* of the users */
    unsigned count;
    char token[PAGE_TOKEN_SIZE_MAX];
    uint64_t total;
};

static inline void read_user(struct page *page, struct bytes message)
{
    struct user user;
    char id[16];

    ck_assert_int_eq(user_record_read_user(message, &user), 0);
    (void)snprintf(id, sizeof(id), "%.*s", (int)user.id.size, (const char *)user.id.data);
    ck_assert_int_eq(id[0], 'u');
    ck_assert_uint_lt(page->count, IDS_MAX);
    page->numbers[page->count++] = (unsigned)strtoul(id + 1, NULL, 10);
}

static inline const struct page *page_of(const struct fake_call *call)
{
    static struct page page;
    struct bytes reply = buf_bytes(&call->reply);
    struct proto_wire_field field;

    page = (struct page){0};
    ck_assert(call->answered);
    ck_assert_msg(call->status == GRPC_STATUS_OK, "%s %s", call->message, call->fields);
    while (reply.size > 0) {
        ck_assert_int_eq(proto_wire_read(&reply, &field), 0);
        if (field.number == 1) {
            read_user(&page, field.bytes);
        } else if (field.number == 2) {
            ck_assert_uint_gt(field.bytes.size, 0);
            (void)snprintf(page.token, sizeof(page.token), "%.*s", (int)field.bytes.size,
                           (const char *)field.bytes.data);
        } else {
            ck_assert_uint_eq(field.number, 3);
            page.total = field.value;
        }
    }
    return &page;
}

/* One whole call that must be answered at once. The page is good until the next call. */
static inline const struct page *get_page(int page_size, const char *token, const char *filter)
{
    static struct fake_call call;
    const struct page *page;

    list(&call, page_size, token, filter);
    page = page_of(&call);
    fake_call_deinit(&call);
    return page;
}

/* The first users of a page, or as many as there are: "1 2 3". */
static inline const char *numbers_of(const struct page *page)
{
    static char text[256];
    size_t used = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < page->count && used + 16 < sizeof(text); i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, i == 0 ? "%u" : " %u",
                                 page->numbers[i]);
    }
    return text;
}

static inline void expect_refusal(const struct fake_call *call, enum grpc_status status,
                                  const char *reason, const char *field)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->reason, reason);
    if (field[0] == '\0') {
        ck_assert_str_eq(call->fields, "");
    } else {
        ck_assert_msg(strncmp(call->fields, field, strlen(field)) == 0, "%s", call->fields);
    }
}

static inline void turn(void)
{
    ck_assert_int_eq(reactor_turn(&fixture.reactor, 0), 0);
}

static inline void turn_until_answered(const struct fake_call *call)
{
    for (unsigned i = 0; !call->answered; i++) {
        ck_assert_uint_lt(i, 10000);
        turn();
    }
}

#endif
