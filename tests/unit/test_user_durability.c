#include "lib/unit.h"

#include "call_fakes.h"
#include "service/user_durability.h"

/* What may be lost is said in a trailer, and nothing where nothing may be lost. */
START_TEST(user_durability_says_the_interval)
{
    static const struct {
        uint64_t interval_ms;
        const char *trailers;
    } rows[] = {
        {0, ""},
        {1, "users-durability=interval=1ms; "},
        {10000, "users-durability=interval=10000ms; "},
    };

    for (unsigned i = 0; i < 3; i++) {
        static struct fake_call call;
        struct user_durability durability;

        fake_call_init(&call);
        user_durability_init(&durability, rows[i].interval_ms);
        ck_assert_int_eq(user_durability_add(&durability, &call.call), 0);
        ck_assert_str_eq(call.trailers, rows[i].trailers);
        fake_call_deinit(&call);
    }
}

END_TEST

UNIT_MAIN("user_durability", user_durability_says_the_interval)
