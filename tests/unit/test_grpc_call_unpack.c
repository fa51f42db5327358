#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/grpc_call_internal.h"
#include "http2/grpc_frame.h"
#include "http2/grpc_gzip.h"

/* Compressed messages, in all shapes of calls. */

static struct call_rig rig;
static struct h2_peer_call client;
static struct buf body; /* of a request */

static void begin(const struct grpc_method *method)
{
    call_rig_init(&rig);
    rig.method = method;
    buf_clear(&body);
}

static void start(const char *const *more)
{
    h2_peer_begin(&rig.peer, &client, "/s.S/M", more);
    call_rig_talk(&rig);
}

static void end(void)
{
    h2_peer_end(&client);
    call_rig_talk(&rig);
}

static void clean_up(void)
{
    h2_peer_call_deinit(&client);
    call_rig_deinit(&rig);
    buf_deinit(&body);
}

static void add(bool compressed, struct bytes message)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];

    grpc_frame_encode_head(head, compressed, (uint32_t)message.size);
    ck_assert_int_eq(buf_append(&body, head, sizeof(head)), 0);
    ck_assert_int_eq(buf_append(&body, message.data, message.size), 0);
}

/* Sends what was added, in pieces. */
static void write_body(size_t step)
{
    call_rig_write(&rig, &client, buf_bytes(&body), step);
    buf_clear(&body);
}

static const char *const gzip[] = {"grpc-encoding", "gzip", NULL};
static bool was_compressed;

static void note_compression(struct grpc_call *call, struct bytes message)
{
    was_compressed = call->message_compressed;
    if (call->state == GRPC_CALL_RUNNING && !grpc_method_streams_requests(call->method)) {
        grpc_call_reply(call, &message, 1);
    }
}

/* Adds a message of `size` equal bytes, compressed. */
static void add_packed(size_t size)
{
    struct bytes plain = {malloc(size), size};
    struct buf packed = {0};

    ck_assert_ptr_nonnull(plain.data);
    memset((void *)(uintptr_t)plain.data, 'g', size);
    ck_assert_int_eq(grpc_gzip_deflate(&plain, 1, &packed), 0);
    add(true, buf_bytes(&packed));
    free((void *)(uintptr_t)plain.data);
    buf_deinit(&packed);
}

/* Compressed messages come out plain, each by its own flag (C4), and the handler can know; the
 * answer says what is taken (C5). */
START_TEST(gzip_requests_are_inflated)
{
    begin(&call_rig_bidi_stream);
    rig.on_message = note_compression;
    start(gzip);
    add_packed(50);
    write_body(7);
    ck_assert(was_compressed);
    add(false, BYTES_LITERAL("plain"));
    write_body(SIZE_MAX);
    ck_assert(!was_compressed);
    add_packed(1000);
    write_body(SIZE_MAX);
    end();
    ck_assert_str_eq(rig.heard,
                     "[gggggggggggggggggggggggggggggggggggggggggggggggggg][plain][#1000]$");
    grpc_call_finish(rig.call);
    call_rig_talk(&rig);
    ck_assert_str_eq(h2_peer_field(&client, "grpc-accept-encoding"), "identity,gzip");
    ck_assert_str_eq(h2_peer_field(&client, "grpc-encoding"), "");
    clean_up();

    begin(&call_rig_server_stream);
    rig.on_request = note_compression;
    start(gzip);
    add_packed(500);
    write_body(5);
    end();
    ck_assert(was_compressed);
    ck_assert_uint_eq(strlen(rig.message), 500);
    call_rig_check(&client, GRPC_STATUS_OK, "");
    clean_up();
}

END_TEST

/* A bomb ends at the limit, damage is INTERNAL, in all shapes; the limit itself is allowed (C3). */
START_TEST(gzip_requests_are_bounded)
{
    const struct grpc_method *const methods[] = {&call_rig_server_stream, &call_rig_bidi_stream};
    unsigned i;
    unsigned kind;

    for (i = 0; i < 2; i++) {
        for (kind = 0; kind < 3; kind++) {
            begin(methods[i]);
            start(gzip);
            if (kind == 0) {
                add_packed(1001);
            } else if (kind == 1) {
                add(true, BYTES_LITERAL("no gzip"));
            } else {
                add(true, (struct bytes){0});
            }
            write_body(SIZE_MAX);
            if (client.stream != NULL) {
                end();
            }
            call_rig_check(&client,
                           kind == 0 ? GRPC_STATUS_RESOURCE_EXHAUSTED : GRPC_STATUS_INTERNAL,
                           kind == 0 ? "grpc: received message after decompression larger than max "
                                       "(1000); raise limits.max_message"
                                     : "grpc: failed to decompress the received message");
            ck_assert_str_eq(rig.heard, i == 0 ? "" : "x");
            ck_assert_uint_eq(rig.requests, 0);
            clean_up();
        }
    }
}

END_TEST

/* Runs the slow task that is due first. False when there is none. */
static bool run_slow_task(void)
{
    struct list *link = list_pop_front(&rig.reactor.slow_tasks);

    if (link == NULL) {
        return false;
    }
    CONTAINER_OF(link, struct reactor_task, link)
        ->run(CONTAINER_OF(link, struct reactor_task, link));
    call_rig_talk(&rig);
    return true;
}

#define SHARE 132 /* messages of 1000 bytes: one more is begun below GRPC_CALL_UNPACK_SLICE */

/* A burst of compressed messages does not keep the others waiting: what is over the share of a turn
 * comes from slow tasks, a share each, in order and with the end; a call without compression is not
 * held up. */
START_TEST(gzip_streams_give_way)
{
    struct h2_peer_call other;
    unsigned i;

    begin(&call_rig_bidi_stream);
    start(gzip);
    for (i = 0; i < 3 * SHARE; i++) {
        add_packed(1000);
    }
    write_body(SIZE_MAX);
    end();
    ck_assert_uint_eq(strlen(rig.heard), SHARE * strlen("[#1000]"));
    rig.method = NULL;
    rig.on_request = call_rig_echo;
    h2_peer_call_unary(&rig.peer, &other, "/s.S/M", "plain", 5);
    call_rig_talk(&rig);
    call_rig_check(&other, GRPC_STATUS_OK, "");
    h2_peer_call_deinit(&other);
    ck_assert(run_slow_task());
    ck_assert_uint_eq(strlen(rig.heard), 2 * SHARE * strlen("[#1000]"));
    ck_assert(run_slow_task());
    ck_assert_uint_eq(strlen(rig.heard), 3 * SHARE * strlen("[#1000]") + strlen("$"));
    ck_assert(!run_slow_task());
    h2_stream_reset(client.stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    clean_up();
}

END_TEST

/* So do calls with one message: each runs later, unless it ends before; in the next turn there is a
 * new share. */
START_TEST(gzip_requests_give_way)
{
    static struct h2_peer_call calls[SHARE + 2];
    unsigned i;

    begin(NULL);
    rig.on_request = call_rig_echo;
    add_packed(1000);
    for (i = 0; i < SHARE + 2; i++) {
        h2_peer_begin(&rig.peer, &calls[i], "/s.S/M", gzip);
        call_rig_write(&rig, &calls[i], buf_bytes(&body), SIZE_MAX);
        h2_peer_end(&calls[i]);
        call_rig_talk(&rig);
    }
    ck_assert_uint_eq(rig.requests, SHARE);
    h2_stream_reset(calls[SHARE].stream, H2_ERROR_CANCEL);
    call_rig_talk(&rig);
    ck_assert(run_slow_task());
    ck_assert(!run_slow_task());
    ck_assert_uint_eq(rig.requests, SHARE + 1);
    call_rig_check(&calls[SHARE + 1], GRPC_STATUS_OK, "");
    for (i = 0; i < SHARE + 2; i++) {
        h2_peer_call_deinit(&calls[i]);
    }
    rig.pool.unpacked_size = GRPC_CALL_UNPACK_SLICE;
    call_rig_advance(&rig, 1);
    start(gzip);
    write_body(SIZE_MAX);
    end();
    ck_assert_uint_eq(rig.requests, SHARE + 2);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_call_unpack", gzip_requests_are_inflated, gzip_requests_are_bounded,
          gzip_streams_give_way, gzip_requests_give_way)
