/*
 * Who may come in: limits on connections and on those in their TLS handshake, in all and by
 * address. No I/O, no clock.
 *
 * Owns:    the addresses that have a connection.
 * Borrows: a guest from grpc_admission_seat() to its end.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_ADMISSION_H
#define HTTP2_GRPC_ADMISSION_H

#include "core/bytes.h"
#include "core/limits_hit.h"
#include "core/list.h"
#include "core/map.h"
#include "http2/h2_budget.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct grpc_address;

#define GRPC_ADMISSION_SHARES 64

#define GRPC_ADMISSION_E_REFUSED 1 /* a limit was reached */

/* 0 = no limit. */
struct grpc_admission_limits {
    uint32_t max_connections;
    uint32_t max_connections_per_ip;
    uint32_t max_handshakes;
    uint32_t max_handshakes_per_ip;
    uint32_t handshake_rate; /* per second */
};

struct grpc_admission {
    struct grpc_admission_limits limits;
    struct map addresses;   /* of struct grpc_address */
    struct list handshakes; /* of struct grpc_guest, oldest first */
    uint32_t guest_count;
    uint32_t handshake_count;
    struct h2_bucket rate;                          /* handshakes begun */
    struct h2_bucket shares[GRPC_ADMISSION_SHARES]; /* the same, by address */
};

/* One connection, embedded in it. Copied once, between enter and seat. */
struct grpc_guest {
    struct list link;             /* among the handshakes */
    struct grpc_address *address; /* NULL = it has none */
    bool is_shaking;
};

void grpc_admission_init(struct grpc_admission *admission,
                         const struct grpc_admission_limits *limits, uint64_t now_ns);

/* No guest may be left. */
void grpc_admission_deinit(struct grpc_admission *admission);

/* Counts at once for all. */
void grpc_admission_set_limits(struct grpc_admission *admission,
                               const struct grpc_admission_limits *limits, uint64_t now_ns);

struct grpc_admission_verdict {
    enum limits_hit_reason reason; /* the limit that was reached, when it refuses */
    struct grpc_guest *evicted;    /* drop this one: its handshake made room; NULL = nobody */
};

/* Judges a peer and counts it in. Returns 0 with a guest; GRPC_ADMISSION_E_REFUSED with a reason;
 * or -ENOMEM. */
int grpc_admission_enter(struct grpc_admission *admission, const struct sockaddr_storage *peer,
                         bool has_handshake, uint64_t now_ns, struct grpc_guest *ret_guest,
                         struct grpc_admission_verdict *ret_verdict);

/* The guest has its place in memory now: it may be evicted. */
void grpc_admission_seat(struct grpc_admission *admission, struct grpc_guest *guest);

/* Its handshake is over, well or not. Safe to repeat. */
void grpc_admission_settle(struct grpc_admission *admission, struct grpc_guest *guest);

/* It has gone; its address with it, when it was the last from there. */
void grpc_admission_leave(struct grpc_admission *admission, struct grpc_guest *guest);

/* What limits by address go by, good until the guest leaves: of an IPv6 address the first 64 bits,
 * for that is what one customer gets. Size 0 = it has none. */
struct bytes grpc_admission_address(const struct grpc_guest *guest);

#endif
