#include "client/retry_throttle.h"

#define TOKEN 1000 /* in thousandths */

void retry_throttle_init(struct retry_throttle *throttle, uint32_t max_thousandths,
                         uint32_t ratio_thousandths)
{
    throttle->max = max_thousandths;
    throttle->ratio = ratio_thousandths;
    throttle->tokens = max_thousandths;
}

void retry_throttle_failed(struct retry_throttle *throttle)
{
    throttle->tokens = throttle->tokens > TOKEN ? throttle->tokens - TOKEN : 0;
}

void retry_throttle_succeeded(struct retry_throttle *throttle)
{
    uint32_t missing = throttle->max - throttle->tokens;

    throttle->tokens += throttle->ratio < missing ? throttle->ratio : missing;
}

bool retry_throttle_allows(const struct retry_throttle *throttle)
{
    return throttle->max == 0 || throttle->tokens > throttle->max / 2;
}
