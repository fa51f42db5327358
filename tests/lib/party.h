/*
 * Owners of conns for tests: a loop, and parties that count what they are told, keep what they
 * receive, send what they were given, and do one scripted thing at one place.
 *
 * Owns:    the loop's reactor; a party its buffers. The conns free themselves.
 * Thread:  one.
 */

#ifndef TESTS_LIB_PARTY_H
#define TESTS_LIB_PARTY_H

#include "core/buf.h"
#include "core/conn.h"
#include "core/reactor.h"

#include <stdbool.h>
#include <stdint.h>

struct tls_context;

/* A reactor with a receive pool of small buffers, and settings with timeouts that do not strike. */
struct loop {
    struct reactor reactor;
    struct conn_settings settings;
};

void loop_init(struct loop *loop);

/* Nothing may be left in it. */
void loop_deinit(struct loop *loop);

/* Turns the loop until the condition holds; each turn waits for an event, 10 ms at most. The time
 * limit of the test ends one that never holds. */
#define LOOP_UNTIL(loop_, condition_)                                                              \
    do {                                                                                           \
        while (!(condition_)) {                                                                    \
            loop_turn(loop_);                                                                      \
        }                                                                                          \
    } while (0)

void loop_turn(struct loop *loop);

/* Where a party may be scripted. */
enum party_place {
    PARTY_NOWHERE,
    PARTY_OPENED,
    PARTY_RECEIVED,
    PARTY_ENDED,
    PARTY_DRAIN,
    PARTY_CLOSED,
};

struct party {
    struct conn *conn;  /* NULL once it is closed */
    struct buf to_send; /* drain takes from here */
    struct buf got;
    bool close_when_ended;
    bool close_when_sent; /* once `to_send` is empty */

    /* Runs once, at the first time the place is reached. */
    enum party_place script_at;
    void (*script)(struct party *party);
    struct party *other; /* for scripts */

    unsigned opened_count;
    unsigned received_count;
    unsigned ended_count;
    unsigned drain_count;
    unsigned closed_count;
    unsigned late_count; /* callbacks after conn_close(), conn_abort() or `closed`: must stay 0 */
    bool silenced;       /* set by who calls conn_close() or conn_abort() */
    enum conn_end end;
    char detail[128];
};

/* The conn takes the socket. Settings: those of the loop. */
void party_open(struct party *party, struct loop *loop, int fd, struct tls_context *tls,
                const char *server_name);

/* Gives it bytes to send: `size` bytes of the pattern that party_check_pattern() knows. */
void party_send_pattern(struct party *party, size_t size);

/* True when exactly `size` bytes of the pattern came. */
bool party_got_pattern(const struct party *party, size_t size);

void party_send(struct party *party, const char *text);
bool party_got(const struct party *party, const char *text);

/* conn_close() and conn_abort() with the check that nothing is delivered afterwards. */
void party_close(struct party *party);
void party_abort(struct party *party);

void party_deinit(struct party *party);

/* Two connected stream sockets: of the UNIX kind, or over TCP on the loopback address. */
void sockets_pair(int fds[2]);
void sockets_tcp(int fds[2]);

#endif
