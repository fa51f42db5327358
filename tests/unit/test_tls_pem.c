#include "lib/unit.h"

#include "core/tls_pem.h"

#include <errno.h>

/* Takes the next block and compares it with a text; returns the outcome. */
static int next(struct bytes *text, const char *expected)
{
    uint8_t *der = NULL;
    size_t size = 0;
    int result = tls_pem_next(text, "THING", &der, &size);

    if (result == 0) {
        ck_assert(bytes_equal((struct bytes){der, size}, bytes_from_text(expected)));
    }
    free(der);
    return result;
}

/* Blocks of the kind come one after the other; other kinds and the text between are passed over. */
START_TEST(tls_pem_finds_its_blocks)
{
    struct bytes text = BYTES_LITERAL("a remark\n"
                                      "-----BEGIN THING-----\naGVsbG8=\n-----END THING-----\n"
                                      "-----BEGIN OTHER-----\nb3RoZXI=\n-----END OTHER-----\n"
                                      "-----BEGIN THING-----\r\nd29y\r\nbGQ=\r\n"
                                      "-----END THING-----");

    ck_assert_int_eq(next(&text, "hello"), 0);
    ck_assert_int_eq(next(&text, "world"), 0);
    ck_assert_int_eq(next(&text, ""), TLS_PEM_E_END);
    text = (struct bytes){0};
    ck_assert_int_eq(next(&text, ""), TLS_PEM_E_END);
}

END_TEST

/* A block without end, without content, or with something else than base64 is damaged. */
START_TEST(tls_pem_refuses_damage)
{
    static const char *const texts[] = {
        "-----BEGIN THING-----\naGVsbG8=\n",
        "-----BEGIN THING-----\naGVsbG8=\n-----END OTHER-----\n",
        "-----BEGIN THING-----\n-----END THING-----\n",
        "-----BEGIN THING-----\nV\n-----END THING-----\n",
        "-----BEGIN THING-----\na!VsbG8=\n-----END THING-----\n",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct bytes text = bytes_from_text(texts[i]);

        ck_assert_int_eq(next(&text, ""), -EBADMSG);
        ck_assert_ptr_eq(text.data, texts[i]);
    }
}

END_TEST

UNIT_MAIN("tls_pem", tls_pem_finds_its_blocks, tls_pem_refuses_damage)
