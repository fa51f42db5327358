#include "lib/party.h"

#include "core/clock.h"

#include <check.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LONG_NS   (50 * CLOCK_NS_PER_S)
#define FLUSH_MAX 65536

static uint8_t pattern_byte(size_t index)
{
    return (uint8_t)(index * 31 + index / 253);
}

static void reach(struct party *party, enum party_place place)
{
    if (party->script_at == place) {
        party->script_at = PARTY_NOWHERE;
        party->script(party);
    }
}

static void on_opened(void *owner)
{
    struct party *party = owner;

    party->opened_count++;
    party->late_count += party->silenced;
    reach(party, PARTY_OPENED);
}

static void on_received(void *owner, struct bytes bytes)
{
    struct party *party = owner;

    ck_assert_uint_gt(bytes.size, 0);
    party->received_count++;
    party->late_count += party->silenced || party->opened_count == 0;
    reach(party, PARTY_RECEIVED);
    /* Kept after the script on purpose: the bytes are borrowed until this returns. */
    ck_assert_int_eq(buf_append(&party->got, bytes.data, bytes.size), 0);
}

static void on_ended(void *owner)
{
    struct party *party = owner;

    party->ended_count++;
    party->late_count += party->silenced;
    reach(party, PARTY_ENDED);
    if (party->close_when_ended && !party->silenced) {
        party_close(party);
    }
}

static void on_drain(void *owner)
{
    struct party *party = owner;

    party->drain_count++;
    reach(party, PARTY_DRAIN);
    while (buf_size(&party->to_send) > 0 && conn_has_room(party->conn)) {
        struct bytes bytes = buf_bytes(&party->to_send);

        if (bytes.size > 1000) {
            bytes.size = 1000;
        }
        ck_assert_int_eq(buf_append(conn_output(party->conn), bytes.data, bytes.size), 0);
        buf_consume(&party->to_send, bytes.size);
    }
    if (party->close_when_sent && buf_size(&party->to_send) == 0 && !party->silenced) {
        party_close(party);
    }
}

static void on_closed(void *owner, enum conn_end end, const char *detail)
{
    struct party *party = owner;

    party->closed_count++;
    reach(party, PARTY_CLOSED);
    party->conn = NULL;
    party->end = end;
    (void)snprintf(party->detail, sizeof(party->detail), "%s", detail);
}

static const struct conn_events events = {
    .opened = on_opened,
    .received = on_received,
    .ended = on_ended,
    .drain = on_drain,
    .closed = on_closed,
};

void loop_init(struct loop *loop)
{
    struct ring_options options = {
        .entries = 256, .recv_buffer_count = 16, .recv_buffer_size = 16384};
    char problem[RING_PROBLEM_SIZE];

    ck_assert_int_eq(reactor_init(&loop->reactor, &options, clock_system(), NULL, problem), 0);
    loop->settings = (struct conn_settings){
        .reactor = &loop->reactor,
        .events = &events,
        .handshake_timeout_ns = LONG_NS,
        .send_timeout_ns = LONG_NS,
        .linger_timeout_ns = LONG_NS,
        .flush_bytes_max = FLUSH_MAX,
    };
}

void loop_deinit(struct loop *loop)
{
    ck_assert_uint_eq(ring_pending_count(loop->reactor.ring), 0);
    reactor_deinit(&loop->reactor);
}

void loop_turn(struct loop *loop)
{
    ck_assert_int_eq(reactor_turn(&loop->reactor, 10 * CLOCK_NS_PER_MS), 0);
}

void party_open(struct party *party, struct loop *loop, int fd, struct tls_context *tls,
                const char *server_name)
{
    ck_assert_int_eq(conn_new(&loop->settings, fd, tls, server_name, party, &party->conn), 0);
    ck_assert_uint_eq(party->opened_count + party->closed_count, 0);
}

void party_send_pattern(struct party *party, size_t size)
{
    uint8_t *room = buf_reserve(&party->to_send, size);

    ck_assert_ptr_nonnull(room);
    for (size_t i = 0; i < size; i++) {
        room[i] = pattern_byte(i);
    }
    buf_commit(&party->to_send, size);
    conn_touch(party->conn);
}

bool party_got_pattern(const struct party *party, size_t size)
{
    struct bytes got = buf_bytes(&party->got);

    if (got.size != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (got.data[i] != pattern_byte(i)) {
            return false;
        }
    }
    return true;
}

void party_send(struct party *party, const char *text)
{
    ck_assert_int_eq(buf_append(&party->to_send, text, strlen(text)), 0);
    conn_touch(party->conn);
}

bool party_got(const struct party *party, const char *text)
{
    return bytes_equal(buf_bytes(&party->got), bytes_from_text(text));
}

void party_close(struct party *party)
{
    unsigned closed_count = party->closed_count;

    conn_close(party->conn);
    party->silenced = true;
    ck_assert_uint_eq(party->closed_count, closed_count);
}

void party_abort(struct party *party)
{
    unsigned closed_count = party->closed_count;

    conn_abort(party->conn);
    party->silenced = true;
    ck_assert_uint_eq(party->closed_count, closed_count);
}

void party_deinit(struct party *party)
{
    ck_assert_ptr_null(party->conn);
    ck_assert_uint_eq(party->closed_count, 1);
    ck_assert_uint_eq(party->late_count, 0);
    buf_deinit(&party->to_send);
    buf_deinit(&party->got);
    *party = (struct party){0};
}

void sockets_pair(int fds[2])
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

void sockets_tcp(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr *any = (struct sockaddr *)(void *)&address;
    socklen_t size = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, any, size), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, any, &size), 0);
    ck_assert_int_eq(connect(fds[0], any, size), 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fds[1], 0);
    ck_assert_int_eq(close(listener), 0);
}
