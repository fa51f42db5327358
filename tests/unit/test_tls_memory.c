#include "lib/mapping.h"
#include "lib/unit.h"

#include "core/signature.h"
#include "core/tls_memory.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdint.h>

/* Blocks as the library asks for them. */

/* What is allocated while the switch is on is left out of core files, and only that. */
START_TEST(tls_memory_is_secret_while_asked_to)
{
    void *before;
    void *secret;
    void *after;

    tls_memory_install();
    before = wolfSSL_Malloc(32);
    tls_memory_set_secret(true);
    secret = wolfSSL_Malloc(32);
    tls_memory_set_secret(false);
    after = wolfSSL_Malloc(32);
    ck_assert(!mapping_has_flag(before, "dd"));
    ck_assert(mapping_has_flag(secret, "dd"));
    ck_assert(!mapping_has_flag(after, "dd"));
    wolfSSL_Free(before);
    wolfSSL_Free(secret);
    wolfSSL_Free(after);
    wolfSSL_Free(NULL);
}

END_TEST

/* A block that grows or shrinks keeps its content, and a secret one stays secret for as long as the
 * switch is on. */
START_TEST(tls_memory_moves_what_it_holds)
{
    static const size_t sizes[] = {1, 16, 17, 5000, 64, 1};
    uint8_t *block = NULL;
    size_t size = 0;

    tls_memory_install();
    for (unsigned round = 0; round < 2; round++) {
        tls_memory_set_secret(round == 1);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            size_t kept = size < sizes[i] ? size : sizes[i];

            block = wolfSSL_Realloc(block, sizes[i]);
            ck_assert_ptr_nonnull(block);
            ck_assert_uint_eq((uintptr_t)block % 16, 0);
            for (size_t j = 0; j < kept; j++) {
                ck_assert_uint_eq(block[j], (uint8_t)j);
            }
            size = sizes[i];
            for (size_t j = 0; j < size; j++) {
                block[j] = (uint8_t)j;
            }
            ck_assert(mapping_has_flag(block, "dd") == (round == 1));
        }
    }
    tls_memory_set_secret(false);
    wolfSSL_Free(block);
    ck_assert_ptr_null(wolfSSL_Malloc(SIZE_MAX));
}

END_TEST

/* Keys of tokens use the library, too, also before there is a TLS context: blocks that it allocates
 * for one and frees after the other's end must be of one allocator. */
START_TEST(tls_memory_is_there_for_signatures)
{
    static const uint8_t point[32] = {0xe0}; /* none that is taken, so nothing is left behind */
    struct signature_key *key = NULL;
    wolfSSL_Malloc_cb get = NULL;
    wolfSSL_Free_cb give = NULL;
    wolfSSL_Realloc_cb resize = NULL;

    ck_assert_int_eq(signature_key_new_p256((struct bytes){point, sizeof(point)},
                                            (struct bytes){point, sizeof(point)}, &key),
                     SIGNATURE_E_NUMBER);
    ck_assert_int_eq(wolfSSL_GetAllocators(&get, &give, &resize), 0);
    ck_assert(get != NULL && give != NULL && resize != NULL);
}

END_TEST

UNIT_MAIN("tls_memory", tls_memory_is_secret_while_asked_to, tls_memory_moves_what_it_holds,
          tls_memory_is_there_for_signatures)
