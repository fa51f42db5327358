/*
 * The token bucket that stops retries when too much fails (gRFC A6, "throttling retry attempts").
 * One per channel. Pure. Tokens are kept in thousandths, as the ratio has three digits.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef CLIENT_RETRY_THROTTLE_H
#define CLIENT_RETRY_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

struct retry_throttle {
    uint32_t max;   /* thousandths of tokens; 0 = there is no throttling */
    uint32_t ratio; /* thousandths that a success gives back */
    uint32_t tokens;
};

void retry_throttle_init(struct retry_throttle *throttle, uint32_t max_thousandths,
                         uint32_t ratio_thousandths);

/* An attempt ended with a status that may be retried, or with a pushback that says not to: takes
 * one token. */
void retry_throttle_failed(struct retry_throttle *throttle);

/* An attempt got an answer that is no such failure. */
void retry_throttle_succeeded(struct retry_throttle *throttle);

/* More than half of the tokens are there. */
bool retry_throttle_allows(const struct retry_throttle *throttle);

#endif
