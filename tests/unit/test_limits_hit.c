#include "lib/unit.h"

#include "core/limits_hit.h"

#include <string.h>

/* Every reason has a name of its own, or two limits would be one for the operator. */
START_TEST(every_reason_has_its_own_name)
{
    for (unsigned i = 0; i < LIMITS_HIT_COUNT; i++) {
        const char *name = limits_hit_name((enum limits_hit_reason)i);

        ck_assert_ptr_nonnull(name);
        ck_assert_uint_gt(strlen(name), 0);
        for (unsigned j = 0; j < i; j++) {
            ck_assert_str_ne(name, limits_hit_name((enum limits_hit_reason)j));
        }
    }
}

END_TEST

/* A hit is counted for its reason and for no other. */
START_TEST(a_hit_counts_once_and_for_its_reason)
{
    struct limits_hit hits = {{0}};

    limits_hit_add(&hits, LIMITS_HIT_STREAMS);
    limits_hit_add(&hits, LIMITS_HIT_STREAMS);
    for (unsigned i = 0; i < LIMITS_HIT_COUNT; i++) {
        ck_assert_uint_eq(hits.counts[i], i == LIMITS_HIT_STREAMS ? 2 : 0);
    }
}

END_TEST

UNIT_MAIN("limits_hit", every_reason_has_its_own_name, a_hit_counts_once_and_for_its_reason)
