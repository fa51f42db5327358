#include "core/limits_hit.h"

#include <assert.h>

const char *limits_hit_name(enum limits_hit_reason reason)
{
    static const char *const names[] = {
#define LIMITS_HIT_NAME(name, option) [LIMITS_HIT_##name] = (option),
        LIMITS_HIT_LIST(LIMITS_HIT_NAME)
#undef LIMITS_HIT_NAME
    };

    assert(reason < LIMITS_HIT_COUNT);
    return names[reason];
}
