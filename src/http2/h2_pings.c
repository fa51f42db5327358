#include "http2/h2_pings.h"

#include "core/clock.h"

/*
 * The rule of grpc-go and C-core, which clients are tuned to: the first PING of a connection is
 * free, and so is the first one after we sent something.
 *
 * That is enough for clients that measure the path whenever data comes: they wait for the answer to
 * one PING before the next, and it comes behind all data that was sent before it. So the data that
 * calls forth the next PING was sent after that answer.
 *
 * Clients that are set to the very time that is allowed come a little earlier now and then: their
 * clocks tick in milliseconds, and the PING before may have been slower on its way. Without a
 * tolerance C-core with 10 s against 10 s is cut off after 40 s, on a network without delay.
 */

#define WITHOUT_CALLS_NS (7200 * CLOCK_NS_PER_S) /* K4 */
#define TOLERANCE_PART   32                      /* of the time that must lie between two */

bool h2_pings_take(struct h2_pings *pings, const struct h2_ping_limits *limits, bool has_calls,
                   uint64_t now_ns)
{
    uint64_t min_ns = has_calls || limits->without_calls ? limits->min_ns : WITHOUT_CALLS_NS;
    bool is_first = pings->last_ns == 0;

    if (limits->min_ns == 0) {
        return true;
    }
    pings->gap_ns = now_ns - pings->last_ns;
    pings->last_ns = now_ns;
    if (pings->is_free) {
        pings->is_free = false;
        pings->strikes = 0;
    } else if (!is_first && pings->gap_ns < min_ns - min_ns / TOLERANCE_PART) {
        pings->strikes++;
    }
    return pings->strikes <= limits->max_strikes;
}

void h2_pings_clear(struct h2_pings *pings)
{
    pings->is_free = true;
}
