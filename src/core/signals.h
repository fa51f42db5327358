/*
 * Signals as completions on the loop, by a signalfd.
 *
 * Owns:    the descriptor, the pending poll.
 * Thread:  loop only; block the signals before any thread starts.
 */
#ifndef CORE_SIGNALS_H
#define CORE_SIGNALS_H

#include "core/ring.h"
#include "core/timer.h"

#include <stdbool.h>

struct reactor;

struct signals {
    struct ring_op op;
    struct timer retry_timer; /* always armed, so that moving it needs no memory */
    struct reactor *reactor;
    void (*caught)(struct signals *signals, int number);
    int fd;       /* -1 when closed */
    bool reading; /* its signals are being told */
    bool closing;
};

/* Blocks SIGHUP and SIGUSR1, so that who asks for something before signals_open() does not end the
 * process, but is heard then.
 *
 * As process 1, of a container, it also sees to what the kernel does for all others: SIGTERM and
 * SIGINT end the process until signals_open(), with exit code 128 + number; and processes that it
 * inherits are gone when they end. */
void signals_hold_requests(void);

/* Blocks SIGTERM, SIGINT, SIGHUP and SIGUSR1 for the process, and starts listening. `caught` runs
 * from the loop, once per signal. SIGPIPE and SIGXFSZ are ignored: the calls that would raise them
 * fail with EPIPE and EFBIG, and whoever made them says what happened.
 *
 * Returns 0 or negative errno. */
int signals_open(struct signals *signals, struct reactor *reactor,
                 void (*caught)(struct signals *signals, int number));

/* Asks; the poll completes in a later turn (ring_pending_count() tells), after which the memory may
 * go. Safe to repeat. The signals stay blocked. */
void signals_close(struct signals *signals);

#endif
