#include "lib/unit.h"

#include "core/random.h"

/* Two draws differ, every byte is reached, and nothing beyond the size is touched. */
START_TEST(random_fills_exactly)
{
    struct random_source *source = random_system();
    unsigned char bytes[66] = {0};
    unsigned char others[64];
    unsigned char seen[64] = {0};

    bytes[0] = 0xaa;
    bytes[65] = 0xbb;
    random_fill(source, bytes + 1, 64);
    random_fill(source, others, 64);
    ck_assert_int_ne(memcmp(bytes + 1, others, 64), 0);
    ck_assert_uint_eq(bytes[0], 0xaa);
    ck_assert_uint_eq(bytes[65], 0xbb);
    for (int round = 0; round < 100; round++) {
        random_fill(source, others, 64);
        for (int i = 0; i < 64; i++) {
            seen[i] |= others[i];
        }
    }
    for (int i = 0; i < 64; i++) {
        ck_assert_uint_ne(seen[i], 0);
    }
}

END_TEST

UNIT_MAIN("random", random_fills_exactly)
