#include "lib/unit.h"

#include "core/clock.h"
#include "http2/grpc_admission.h"

#include <netinet/in.h>

#define GUESTS_MAX 64

static struct grpc_admission admission;
static struct grpc_guest guests[GUESTS_MAX];
static unsigned count; /* of guests that came in, in their order */
static struct grpc_admission_verdict verdict;
static uint64_t now_ns;

static void begin(const struct grpc_admission_limits *limits)
{
    now_ns = 1000 * CLOCK_NS_PER_S;
    count = 0;
    grpc_admission_init(&admission, limits, now_ns);
}

static struct sockaddr_storage v4(uint8_t last)
{
    struct sockaddr_storage peer = {0};
    const struct sockaddr_in in = {.sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(0x0a000000U + last)};

    memcpy(&peer, &in, sizeof(in));
    return peer;
}

static struct sockaddr_storage v6(const uint8_t address[16])
{
    struct sockaddr_storage peer = {0};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

    memcpy(in6.sin6_addr.s6_addr, address, 16);
    memcpy(&peer, &in6, sizeof(in6));
    return peer;
}

static int enter(const struct sockaddr_storage *peer, bool has_handshake)
{
    struct grpc_guest guest;
    int outcome = grpc_admission_enter(&admission, peer, has_handshake, now_ns, &guest, &verdict);

    if (outcome == 0) {
        ck_assert_uint_lt(count, GUESTS_MAX);
        guests[count] = guest;
        grpc_admission_seat(&admission, &guests[count]);
        count++;
    }
    return outcome;
}

static void admit(uint8_t from, bool has_handshake)
{
    const struct sockaddr_storage peer = v4(from);

    ck_assert_int_eq(enter(&peer, has_handshake), 0);
}

static void refuse(uint8_t from, bool has_handshake, enum limits_hit_reason reason)
{
    const struct sockaddr_storage peer = v4(from);

    ck_assert_int_eq(enter(&peer, has_handshake), GRPC_ADMISSION_E_REFUSED);
    ck_assert_int_eq(verdict.reason, reason);
}

static void end(void)
{
    while (count > 0) {
        grpc_admission_leave(&admission, &guests[--count]);
    }
    grpc_admission_deinit(&admission);
}

/* So many in all, and so many from one address; whoever leaves makes room. */
START_TEST(admission_limits_connections)
{
    begin(&(struct grpc_admission_limits){.max_connections = 5, .max_connections_per_ip = 3});
    admit(1, false);
    admit(1, false);
    admit(1, false);
    refuse(1, false, LIMITS_HIT_CONNECTIONS_PER_IP);
    admit(2, false);
    admit(3, false);
    refuse(4, false, LIMITS_HIT_CONNECTIONS);
    grpc_admission_leave(&admission, &guests[--count]);
    grpc_admission_leave(&admission, &guests[--count]);
    refuse(1, false, LIMITS_HIT_CONNECTIONS_PER_IP);
    grpc_admission_leave(&admission, &guests[--count]);
    admit(1, false);
    end();
}

END_TEST

/* Zero is no limit. */
START_TEST(admission_without_limits)
{
    begin(&(struct grpc_admission_limits){0});
    while (count < GUESTS_MAX) {
        admit(1, true);
    }
    ck_assert_uint_eq(admission.handshake_count, GUESTS_MAX);
    end();
}

END_TEST

/* One address may have so many handshakes at once; connections without TLS have none. */
START_TEST(admission_limits_handshakes_per_address)
{
    begin(&(struct grpc_admission_limits){.max_handshakes_per_ip = 2});
    admit(1, true);
    admit(1, true);
    refuse(1, true, LIMITS_HIT_HANDSHAKES_PER_IP);
    admit(1, false);
    admit(2, true);
    grpc_admission_settle(&admission, &guests[0]);
    grpc_admission_settle(&admission, &guests[0]); /* safe to repeat */
    admit(1, true);
    refuse(1, true, LIMITS_HIT_HANDSHAKES_PER_IP);
    end();
}

END_TEST

/* When all handshakes are taken, the oldest of the address with most of them makes room: silent
 * connections keep nobody else out. */
START_TEST(admission_evicts_the_oldest_of_who_has_most)
{
    unsigned i;

    begin(&(struct grpc_admission_limits){.max_handshakes = 6});
    admit(9, true);
    for (i = 0; i < 3; i++) {
        admit(1, true);
    }
    admit(2, true);
    admit(2, true);
    admit(3, true); /* [9] [1 1 1] [2 2]: the first of address 1 goes */
    ck_assert_ptr_eq(verdict.evicted, &guests[1]);
    admit(3, true); /* 1 and 2 have two each: the older one goes */
    ck_assert_ptr_eq(verdict.evicted, &guests[2]);
    ck_assert_uint_eq(admission.handshake_count, 6);
    refuse(3, true, LIMITS_HIT_HANDSHAKES); /* nobody has more than its own two */
    admit(4, true);
    ck_assert_ptr_eq(verdict.evicted, &guests[4]);
    grpc_admission_settle(&admission, &guests[4]); /* as its conn will tell */
    ck_assert_uint_eq(admission.handshake_count, 6);
    end();
}

END_TEST

/* An address alone with all handshakes does not push its own out. */
START_TEST(admission_refuses_who_has_most)
{
    begin(&(struct grpc_admission_limits){.max_handshakes = 2});
    admit(1, true);
    admit(1, true);
    refuse(1, true, LIMITS_HIT_HANDSHAKES);
    grpc_admission_settle(&admission, &guests[1]);
    admit(1, true);
    ck_assert_ptr_null(verdict.evicted);
    end();
}

END_TEST

/* Handshakes begin at a rate, of which one address gets half. */
START_TEST(admission_limits_the_rate_of_handshakes)
{
    unsigned i;

    begin(&(struct grpc_admission_limits){.handshake_rate = 4});
    admit(1, true);
    admit(1, true);
    refuse(1, true, LIMITS_HIT_HANDSHAKE_RATE);
    admit(1, false);
    now_ns += CLOCK_NS_PER_S / 2;
    admit(1, true);
    refuse(1, true, LIMITS_HIT_HANDSHAKE_RATE);
    now_ns += 10 * CLOCK_NS_PER_S;
    for (i = 0; i < 10; i++) { /* however they share: no more than four of them */
        const struct sockaddr_storage peer = v4((uint8_t)(10 + i));

        (void)enter(&peer, true);
    }
    ck_assert_uint_ge(count, 6);
    ck_assert_uint_le(count, 8);
    grpc_admission_set_limits(&admission, &(struct grpc_admission_limits){0}, now_ns);
    for (i = 0; i < 20; i++) {
        admit(1, true);
    }
    end();
}

END_TEST

/* New limits count at once, also for those that are over them. */
START_TEST(admission_takes_new_limits)
{
    begin(&(struct grpc_admission_limits){.max_connections = 10});
    admit(1, false);
    admit(2, false);
    grpc_admission_set_limits(&admission, &(struct grpc_admission_limits){.max_connections = 1},
                              now_ns);
    refuse(3, false, LIMITS_HIT_CONNECTIONS);
    grpc_admission_leave(&admission, &guests[--count]);
    refuse(3, false, LIMITS_HIT_CONNECTIONS);
    grpc_admission_leave(&admission, &guests[--count]);
    admit(3, false);
    end();
}

END_TEST

/* IPv6 counts by its first 64 bits, IPv4 inside IPv6 as IPv4; and no address has no limit. */
START_TEST(admission_knows_addresses)
{
    const struct sockaddr_storage one = v6((const uint8_t[16]){0x20, 1, [7] = 5, [15] = 1});
    const struct sockaddr_storage same = v6((const uint8_t[16]){0x20, 1, [7] = 5, [15] = 2});
    const struct sockaddr_storage other = v6((const uint8_t[16]){0x20, 1, [7] = 6, [15] = 1});
    const struct sockaddr_storage mapped =
        v6((const uint8_t[16]){[10] = 0xff, [11] = 0xff, [12] = 10, [15] = 1});
    const struct sockaddr_storage plain = v4(1);
    const struct sockaddr_storage none = {.ss_family = AF_UNIX};

    begin(&(struct grpc_admission_limits){.max_connections_per_ip = 1, .max_handshakes = 3});
    ck_assert_int_eq(enter(&one, false), 0);
    ck_assert_int_eq(enter(&same, false), GRPC_ADMISSION_E_REFUSED);
    ck_assert_int_eq(enter(&other, false), 0);
    ck_assert_int_eq(enter(&mapped, false), 0);
    ck_assert_int_eq(enter(&plain, false), GRPC_ADMISSION_E_REFUSED);
    ck_assert(
        bytes_equal(grpc_admission_address(&guests[0]), BYTES_LITERAL("\x20\1\0\0\0\0\0\5\x10")));
    ck_assert(bytes_equal(grpc_admission_address(&guests[2]), BYTES_LITERAL("\n\0\0\1\0\0\0\0\4")));
    while (count < 6) {
        ck_assert_int_eq(enter(&none, true), 0);
    }
    ck_assert_uint_eq(grpc_admission_address(&guests[4]).size, 0);
    ck_assert_int_eq(enter(&none, true), GRPC_ADMISSION_E_REFUSED); /* nobody to evict */
    ck_assert_int_eq(verdict.reason, LIMITS_HIT_HANDSHAKES);
    end();
}

END_TEST

UNIT_MAIN("grpc_admission", admission_limits_connections, admission_without_limits,
          admission_limits_handshakes_per_address, admission_evicts_the_oldest_of_who_has_most,
          admission_refuses_who_has_most, admission_limits_the_rate_of_handshakes,
          admission_takes_new_limits, admission_knows_addresses)
