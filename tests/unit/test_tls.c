#include "lib/certs.h"
#include "lib/unit.h"

#include "core/tls.h"

#include <errno.h>
#include <stdio.h>

/* One end of a connection whose wire is two buffers. */
struct end {
    struct tls *tls;
    struct buf out; /* cipher bytes that the other end will get */
    struct buf got; /* plain bytes that came */
    int result;     /* of the last read */
};

static struct certs certs;
static struct tls_context *server_context;
static struct tls_context *client_context;
static struct end server;
static struct end client;

static void make_contexts(enum tls_version version, const char *ca)
{
    char problem[TLS_PROBLEM_SIZE];
    struct tls_server_options server_options = {
        .cert_file = certs.cert, .key_file = certs.key, .min_version = version};
    struct tls_client_options client_options = {.ca_file = ca};

    ck_assert_int_eq(tls_context_new_server(&server_options, problem, &server_context), 0);
    ck_assert_int_eq(tls_context_new_client(&client_options, problem, &client_context), 0);
}

/* Both ends, the client's hello on the wire. */
static void begin(const char *server_name)
{
    ck_assert_int_eq(tls_new(server_context, &server.out, NULL, &server.tls), 0);
    ck_assert_int_eq(tls_new(client_context, &client.out, server_name, &client.tls), 0);
    ck_assert_int_eq(tls_start(server.tls), 0);
    ck_assert_uint_eq(buf_size(&server.out), 0);
    ck_assert_int_eq(tls_start(client.tls), 0);
    ck_assert_uint_gt(buf_size(&client.out), 0);
}

static void setup(enum tls_version version, const char *ca, const char *server_name)
{
    make_contexts(version, ca);
    begin(server_name);
}

static void finish(void)
{
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    tls_free(server.tls);
    tls_free(client.tls);
    buf_deinit(&server.out);
    buf_deinit(&server.got);
    buf_deinit(&client.out);
    buf_deinit(&client.got);
    tls_free(NULL);
}

/* Reads until more is wanted, or something ends. `room` bytes at a time. */
static void read_all(struct end *end, size_t room)
{
    static uint8_t plain[TLS_PLAIN_MAX];
    size_t size = 0;

    while ((end->result = tls_read(end->tls, plain, room, &size)) == 0) {
        ck_assert_uint_gt(size, 0);
        ck_assert_uint_le(size, room);
        ck_assert_int_eq(buf_append(&end->got, plain, size), 0);
    }
}

/* Carries what `from` has put on the wire to `to`, `step` bytes at a time. */
static void carry(struct end *from, struct end *to, size_t step)
{
    while (buf_size(&from->out) > 0) {
        struct bytes bytes = buf_bytes(&from->out);

        if (bytes.size > step) {
            bytes.size = step;
        }
        tls_feed(to->tls, bytes, 0);
        read_all(to, TLS_PLAIN_MAX);
        (void)tls_take_unread(to->tls);
        buf_consume(&from->out, bytes.size);
    }
}

/* Until the wire is silent. */
static void exchange(size_t step)
{
    while (buf_size(&client.out) + buf_size(&server.out) > 0) {
        carry(&client, &server, step);
        carry(&server, &client, step);
    }
}

static void check_open(void)
{
    ck_assert(tls_is_established(client.tls));
    ck_assert(tls_is_established(server.tls));
    ck_assert(tls_alpn_is_h2(client.tls));
    ck_assert(tls_alpn_is_h2(server.tls));
}

static void write_text(struct end *end, const char *text)
{
    ck_assert_int_eq(tls_write(end->tls, bytes_from_text(text)), 0);
}

/* A handshake gives both ends h2, and bytes flow both ways, for both minimal versions. */
START_TEST(tls_shakes_hands_and_carries_bytes)
{
    static const enum tls_version versions[] = {TLS_VERSION_1_3, TLS_VERSION_1_2};

    for (int i = 0; i < 2; i++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(versions[i], certs.ca, "localhost");
        ck_assert(!tls_is_established(client.tls));
        exchange(SIZE_MAX);
        check_open();
        write_text(&client, "ping");
        write_text(&server, "pong");
        exchange(SIZE_MAX);
        ck_assert(bytes_equal(buf_bytes(&server.got), BYTES_LITERAL("ping")));
        ck_assert(bytes_equal(buf_bytes(&client.got), BYTES_LITERAL("pong")));
        ck_assert_int_eq(client.result, TLS_E_WANT_MORE);
        finish();
    }
}

END_TEST

/* It does not matter how the network cuts the stream. */
START_TEST(tls_accepts_any_cut)
{
    static const size_t steps[] = {1, 2, 3, 7, 100, 1000};

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(TLS_VERSION_1_3, certs.ca, "localhost");
        exchange(steps[i]);
        check_open();
        write_text(&client, "first");
        write_text(&client, "second");
        exchange(steps[i]);
        ck_assert(bytes_equal(buf_bytes(&server.got), BYTES_LITERAL("firstsecond")));
        finish();
    }
}

END_TEST

/* A large write becomes many records and arrives whole, also when it is read in small pieces. */
START_TEST(tls_carries_large_writes)
{
    static uint8_t pattern[1024 * 1024 + 17];

    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 7 + i / 251);
    }
    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    exchange(SIZE_MAX);
    ck_assert_int_eq(tls_write(server.tls, (struct bytes){pattern, sizeof(pattern)}), 0);
    ck_assert_uint_lt(buf_size(&server.out), sizeof(pattern) + 65 * 64);
    carry(&server, &client, 5000);
    ck_assert(bytes_equal(buf_bytes(&client.got), (struct bytes){pattern, sizeof(pattern)}));
    ck_assert_int_eq(tls_write(client.tls, (struct bytes){pattern, 40000}), 0);
    tls_feed(server.tls, buf_bytes(&client.out), 0);
    read_all(&server, 333);
    ck_assert_int_eq(server.result, TLS_E_WANT_MORE);
    ck_assert(bytes_equal(buf_bytes(&server.got), (struct bytes){pattern, 40000}));
    finish();
}

END_TEST

/* Reading can stop between any two pieces: what was lent is given back and can be fed again. */
START_TEST(tls_gives_unread_bytes_back)
{
    static uint8_t pattern[100000];
    uint8_t plain[1000];
    struct buf kept = {0};
    size_t size;
    int result;

    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)(i * 13 + i / 255);
    }
    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    exchange(SIZE_MAX);
    ck_assert_int_eq(tls_write(client.tls, (struct bytes){pattern, sizeof(pattern)}), 0);
    kept = client.out;
    client.out = (struct buf){0};
    do {
        struct bytes bytes = buf_bytes(&kept);

        tls_feed(server.tls, bytes, 0);
        result = tls_read(server.tls, plain, sizeof(plain), &size);
        if (result == 0) {
            ck_assert_int_eq(buf_append(&server.got, plain, size), 0);
        }
        buf_consume(&kept, bytes.size - tls_take_unread(server.tls).size);
    } while (result == 0);
    ck_assert_int_eq(result, TLS_E_WANT_MORE);
    ck_assert(bytes_equal(buf_bytes(&server.got), (struct bytes){pattern, sizeof(pattern)}));
    buf_deinit(&kept);
    finish();
}

END_TEST

/* The names and addresses in the certificate are accepted, in any spelling of the address. */
START_TEST(tls_client_accepts_right_names)
{
    static const char *const names[] = {"localhost", "LocalHost", "a.wild.test",
                                        "127.0.0.1", "::1",       "0:0:0:0:0:0:0:1"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(TLS_VERSION_1_3, certs.ca, names[i]);
        exchange(SIZE_MAX);
        check_open();
        finish();
    }
}

END_TEST

/* Any other name or address fails at the client, which tells the server by an alert. */
START_TEST(tls_client_refuses_wrong_names)
{
    static const char *const names[] = {
        "example.com", "localhost.example.com", "wild.test", "a.b.wild.test", "127.0.0.2", "::2"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(TLS_VERSION_1_3, certs.ca, names[i]);
        exchange(SIZE_MAX);
        ck_assert_int_eq(client.result, -EPROTO);
        ck_assert_uint_gt(strlen(tls_problem(client.tls)), 0);
        ck_assert(!tls_is_established(server.tls));
        ck_assert_int_eq(server.result, -EPROTO);
        ck_assert_ptr_nonnull(strstr(tls_problem(server.tls), "alert"));
        finish();
    }
}

END_TEST

/* A certificate of another authority fails at the client; every later call fails again. */
START_TEST(tls_client_refuses_a_foreign_authority)
{
    uint8_t plain[16];
    size_t size = 77;

    setup(TLS_VERSION_1_3, certs.other_ca, "localhost");
    exchange(SIZE_MAX);
    ck_assert_int_eq(client.result, -EPROTO);
    ck_assert_int_eq(server.result, -EPROTO);
    ck_assert_int_eq(tls_read(client.tls, plain, sizeof(plain), &size), -EPROTO);
    ck_assert_int_eq(tls_handshake(client.tls), -EPROTO);
    ck_assert_uint_eq(size, 77);
    tls_end(client.tls);
    ck_assert_uint_eq(buf_size(&client.out), 0);
    finish();
}

END_TEST

/* close_notify ends one direction: after it the other still carries bytes. */
START_TEST(tls_ends_each_direction_by_itself)
{
    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    tls_end(client.tls);
    exchange(SIZE_MAX);
    check_open();
    write_text(&client, "last");
    tls_end(client.tls);
    tls_end(client.tls);
    carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.result, TLS_E_ENDED);
    ck_assert(bytes_equal(buf_bytes(&server.got), BYTES_LITERAL("last")));
    write_text(&server, "answer");
    tls_end(server.tls);
    carry(&server, &client, SIZE_MAX);
    ck_assert(bytes_equal(buf_bytes(&client.got), BYTES_LITERAL("answer")));
    ck_assert_int_eq(client.result, TLS_E_ENDED);
    finish();
}

END_TEST

/* Plain HTTP on the TLS port is refused at its first byte, and nothing is answered. */
START_TEST(tls_refuses_plain_http)
{
    static const char *const requests[] = {"GET / HTTP/1.1\r\n\r\n",
                                           "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};

    for (int i = 0; i < 2; i++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(TLS_VERSION_1_3, certs.ca, "localhost");
        tls_feed(server.tls, (struct bytes){(const uint8_t *)requests[i], 1}, 0);
        read_all(&server, 100);
        ck_assert_int_eq(server.result, -EPROTO);
        ck_assert_str_eq(tls_problem(server.tls), "not TLS");
        ck_assert_uint_eq(buf_size(&server.out), 0);
        finish();
    }
}

END_TEST

/* Garbage in the shape of a handshake is refused by the library. */
START_TEST(tls_refuses_a_garbled_hello)
{
    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    for (size_t i = 9; i < 60; i++) {
        client.out.data[i] = 0xff;
    }
    carry(&client, &server, SIZE_MAX);
    ck_assert_int_eq(server.result, -EPROTO);
    ck_assert_uint_gt(strlen(tls_problem(server.tls)), 0);
    finish();
}

END_TEST

/* A hello that stops halfway just wants more. */
START_TEST(tls_waits_for_the_rest_of_a_hello)
{
    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    tls_feed(server.tls, (struct bytes){buf_bytes(&client.out).data, buf_size(&client.out) / 2}, 0);
    read_all(&server, 100);
    ck_assert_int_eq(server.result, TLS_E_WANT_MORE);
    ck_assert_uint_eq(buf_size(&server.out), 0);
    finish();
}

END_TEST

/* One changed bit anywhere in a sealed record fails, with an alert for the peer. */
START_TEST(tls_detects_a_changed_bit)
{
    for (size_t position = 5; position < 5 + 4 + 17; position++) {
        server = (struct end){0};
        client = (struct end){0};
        setup(TLS_VERSION_1_3, certs.ca, "localhost");
        exchange(SIZE_MAX);
        write_text(&client, "ping");
        ck_assert_uint_eq(buf_size(&client.out), 5 + 4 + 17);
        client.out.data[client.out.start + position] ^= 1;
        carry(&client, &server, SIZE_MAX);
        ck_assert_int_eq(server.result, -EPROTO);
        ck_assert_uint_eq(buf_size(&server.got), 0);
        ck_assert_uint_gt(buf_size(&server.out), 0);
        finish();
    }
}

END_TEST

/* The record of CVE-2024-0901, nothing but a tag, never reaches the library. */
START_TEST(tls_refuses_a_record_without_type)
{
    static const uint8_t record[5 + 16] = {23, 3, 3, 0, 16};

    setup(TLS_VERSION_1_3, certs.ca, "localhost");
    exchange(SIZE_MAX);
    tls_feed(server.tls, (struct bytes){record, sizeof(record)}, 0);
    read_all(&server, 100);
    ck_assert_int_eq(server.result, -EPROTO);
    ck_assert_ptr_nonnull(strstr(tls_problem(server.tls), "too short"));
    finish();
}

END_TEST

/* A context may go while its connections live. */
START_TEST(tls_outlives_the_reference_to_its_context)
{
    make_contexts(TLS_VERSION_1_3, certs.ca);
    begin("localhost");
    tls_context_unref(server_context);
    tls_context_unref(client_context);
    server_context = NULL;
    client_context = NULL;
    exchange(SIZE_MAX);
    check_open();
    finish();
}

END_TEST

int main(void)
{
    const TTest *const tests[] = {tls_shakes_hands_and_carries_bytes,
                                  tls_accepts_any_cut,
                                  tls_carries_large_writes,
                                  tls_gives_unread_bytes_back,
                                  tls_client_accepts_right_names,
                                  tls_client_refuses_wrong_names,
                                  tls_client_refuses_a_foreign_authority,
                                  tls_ends_each_direction_by_itself,
                                  tls_refuses_plain_http,
                                  tls_refuses_a_garbled_hello,
                                  tls_waits_for_the_rest_of_a_hello,
                                  tls_detects_a_changed_bit,
                                  tls_refuses_a_record_without_type,
                                  tls_outlives_the_reference_to_its_context,
                                  NULL};
    int result;

    certs_make(&certs);
    result = unit_run("tls", tests);
    certs_remove(&certs);
    return result;
}
