#include "lib/mapping.h"
#include "lib/unit.h"

#include "core/secret.h"

#include <stdint.h>

/* No core file shows it, and none of it is swapped out. */
START_TEST(secret_memory_is_locked_and_left_out_of_core_files)
{
    char *ordinary = malloc(100);
    char *secret = secret_alloc(100);

    ck_assert_ptr_nonnull(ordinary);
    ck_assert_ptr_nonnull(secret);
    ck_assert(mapping_has_flag(secret, "dd"));
#ifndef __SANITIZE_ADDRESS__ /* whose mlock() does nothing */
    ck_assert(mapping_has_flag(secret, "lo"));
#endif
    ck_assert(!mapping_has_flag(ordinary, "dd"));
    secret_free(secret);
    free(ordinary);
}

END_TEST

/* It can be used like any other memory, whatever its size. */
START_TEST(secret_memory_is_zeroed_and_aligned)
{
    for (size_t size = 0; size < 70; size++) {
        uint8_t *secret = secret_alloc(size);

        ck_assert_ptr_nonnull(secret);
        ck_assert_uint_eq((uintptr_t)secret % 16, 0);
        for (size_t i = 0; i < size; i++) {
            ck_assert_uint_eq(secret[i], 0);
        }
        memset(secret, 0xa5, size);
        secret_free(secret);
    }
    secret_free(NULL);
}

END_TEST

/* Sizes that no memory has are refused, and do not wrap around. */
START_TEST(secret_memory_has_an_end)
{
    ck_assert_ptr_null(secret_alloc(SIZE_MAX));
    ck_assert_ptr_null(secret_alloc(SIZE_MAX - 16));
}

END_TEST

UNIT_MAIN("secret", secret_memory_is_locked_and_left_out_of_core_files,
          secret_memory_is_zeroed_and_aligned, secret_memory_has_an_end)
