/*
 * How often a client may PING (K3 to K6): more often is a strike, and too many strikes end the
 * connection. Pure: no clock, no I/O.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef HTTP2_H2_PINGS_H
#define HTTP2_H2_PINGS_H

#include <stdbool.h>
#include <stdint.h>

struct h2_ping_limits {
    uint64_t min_ns;      /* between two of them, but for a 32nd, keepalive.min_ping_s; 0 = any */
    uint32_t max_strikes; /* forgiven, keepalive.max_strikes */
    bool without_calls;   /* min_ns also holds without an open call; else 2 hours do */
};

/* Zero-initialise. */
struct h2_pings {
    uint64_t last_ns; /* when the last one came; 0 = there was none */
    uint64_t gap_ns;  /* between the last two */
    uint32_t strikes; /* since we last sent HEADERS or DATA */
    bool is_free;     /* the next one costs nothing */
};

/* A PING came that is no acknowledgement. False when it is one too many. */
bool h2_pings_take(struct h2_pings *pings, const struct h2_ping_limits *limits, bool has_calls,
                   uint64_t now_ns);

/* We sent HEADERS or DATA: clients measure the path with a PING when these come (K6). */
void h2_pings_clear(struct h2_pings *pings);

#endif
