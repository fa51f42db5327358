#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/commit_log.h"
#include "service/user_record.h"
#include "service/user_store.h"
#include "service/user_watch.h"

#include <stdio.h>

/* A watcher over a real call and its stream: what a client that stops reading costs, and what it
 * sees when it reads again. */

static const uint8_t get_a[] = {1 << 3 | PROTO_WIRE_BYTES, 1, 'a'};

static struct call_rig rig;
static struct h2_peer_call client;
static struct user_store *store;
static struct user_watch *watch;
static const struct user_watch_stats *stats;
static uint64_t change;

static void on_request(struct grpc_call *call, struct bytes message)
{
    user_watch_handle(watch, call, message);
}

static uint64_t frozen_ns(struct clock_source *source)
{
    (void)source;
    return rig.reactor.now_ns;
}

static void start(void)
{
    const struct user_watch_options options = {.max_per_connection = 10,
                                               .max_per_user = 10,
                                               .max_total = 10,
                                               .max_unsent = 4096,
                                               .max_fields = 10};

    call_rig_init(&rig);
    rig.clock = (struct clock_source){frozen_ns, frozen_ns};
    rig.reactor.clock = &rig.clock;
    rig.method = &call_rig_server_stream;
    rig.on_request = on_request;
    ck_assert_int_eq(user_store_new(10, (struct hash_seed){{1, 2}}, &store), 0);
    ck_assert_int_eq(user_watch_new(&rig.reactor, store, &options, &watch), 0);
    stats = user_watch_stats(watch);
}

static void finish(void)
{
    ck_assert_uint_eq(stats->watchers, 0);
    ck_assert_uint_eq(rig.host.long_streams, 0);
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
    user_watch_free(watch);
    user_store_free(store);
}

/* Puts or deletes user "a", and lets both ends do what follows from it. */
static void commit(uint8_t type)
{
    char etag[USER_ETAG_SIZE];
    struct user user = {.id = BYTES_LITERAL("a")};
    struct user_record record = {.sequence = 1};
    struct commit_event event = {.revision = ++change, .record_type = type};
    struct buf message = {0};
    struct buf body = {0};

    user.etag = (struct bytes){(const uint8_t *)etag, user_record_format_etag(change, etag)};
    if (type == USER_RECORD_PUT) {
        user.username = BYTES_LITERAL("anna");
        user.email = BYTES_LITERAL("anna@example.com");
    }
    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    event.record = buf_bytes(&body);
    user_watch_note(watch, &event);
    ck_assert_int_eq(user_store_apply(store, &event), 0);
    buf_deinit(&message);
    buf_deinit(&body);
    call_rig_turn(&rig);
    call_rig_talk(&rig);
}

/* The client reads on. */
static void read_on(void)
{
    client.holds_credit = false;
    h2_stream_consume(client.stream, buf_size(&client.body));
    call_rig_talk(&rig);
    call_rig_turn(&rig);
    call_rig_talk(&rig);
}

/* Takes the next message off the body of the answer; false when there is none. */
static bool take(struct bytes *body, struct user *ret_user)
{
    size_t size;

    if (body->size == 0) {
        return false;
    }
    ck_assert_uint_gt(body->size, 5);
    ck_assert_uint_eq(body->data[0], 0);
    size = (size_t)body->data[3] << 8 | body->data[4];
    ck_assert_uint_le(size, body->size - 5);
    ck_assert_int_eq(user_record_read_user((struct bytes){body->data + 5, size}, ret_user), 0);
    *body = (struct bytes){body->data + 5 + size, body->size - 5 - size};
    return true;
}

/* Reads all that came: etags must grow. Returns the number of the last, with its status. */
static uint64_t last_seen(int32_t *ret_status)
{
    struct bytes body = buf_bytes(&client.body);
    struct user user;
    uint64_t last = 0;

    while (take(&body, &user)) {
        uint64_t number = strtoull((const char *)user.etag.data + 1, NULL, 16);

        ck_assert_uint_gt(number, last);
        last = number;
        *ret_status = user.status;
    }
    return last;
}

/* Opens the watcher, and changes the user until long after the client's window is full. */
static void stall(void)
{
    h2_peer_begin(&rig.peer, &client, "/s.S/M", NULL);
    client.holds_credit = true;
    h2_peer_send(&client, 0, get_a, sizeof(get_a));
    h2_peer_end(&client);
    call_rig_talk(&rig);
    ck_assert_uint_eq(stats->watchers, 1);
    for (unsigned i = 0; i < 5000; i++) {
        commit(USER_RECORD_PUT);
        ck_assert_uint_le(grpc_call_unsent_size(rig.call), 4096 + 100);
    }
    ck_assert_uint_ge(grpc_call_unsent_size(rig.call), 4096);
    ck_assert_uint_gt(stats->skipped, 1000);
}

/* It gets what waited, then the newest state, then every change again. */
START_TEST(watch_call_goes_on_with_the_newest)
{
    int32_t status = 0;

    start();
    commit(USER_RECORD_PUT);
    stall();
    read_on();
    ck_assert_uint_eq(last_seen(&status), 5001);
    for (unsigned i = 0; i < 3; i++) {
        commit(USER_RECORD_PUT);
        ck_assert_uint_eq(last_seen(&status), 5002 + i);
    }
    ck_assert_uint_eq(stats->sent + stats->skipped, 5004);
    h2_stream_reset(client.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    finish();
}

END_TEST

/* A delete meanwhile comes as the last message, and then OK. */
START_TEST(watch_call_ends_with_the_delete)
{
    int32_t status = 0;

    start();
    commit(USER_RECORD_PUT);
    stall();
    commit(USER_RECORD_DELETE);
    ck_assert_uint_eq(stats->watchers, 1);
    read_on();
    ck_assert_uint_eq(last_seen(&status), 5002);
    ck_assert_int_eq(status, USER_STATUS_DELETED);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    finish();
}

END_TEST

/* The end of the server does not wait for it; the connection's end takes it along. */
START_TEST(watch_call_does_not_hold_up_the_end)
{
    start();
    commit(USER_RECORD_PUT);
    stall();
    user_watch_end(watch);
    call_rig_turn(&rig);
    ck_assert_uint_eq(stats->watchers, 0);
    read_on();
    call_rig_check(&client, GRPC_STATUS_UNAVAILABLE, "the server is shutting down");
    finish();
}

END_TEST

/* A lost connection takes its watchers along. */
START_TEST(watch_call_ends_with_its_connection)
{
    start();
    commit(USER_RECORD_PUT);
    stall();
    call_rig_lose(&rig);
    ck_assert_uint_eq(stats->watchers, 0);
    finish();
}

END_TEST

UNIT_MAIN("user_watch_call", watch_call_goes_on_with_the_newest, watch_call_ends_with_the_delete,
          watch_call_does_not_hold_up_the_end, watch_call_ends_with_its_connection)
