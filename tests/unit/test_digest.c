#include "lib/unit.h"

#include "core/digest.h"

static void check_digest(struct digest *digest, const char *expected)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t out[DIGEST_SIZE];
    char text[2 * DIGEST_SIZE + 1] = "";

    digest_end(digest, out);
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        text[2 * i] = digits[out[i] >> 4];
        text[2 * i + 1] = digits[out[i] & 15];
    }
    ck_assert_str_eq(text, expected);
}

/* The three examples of FIPS 180-4 come out: nothing, one block, two blocks. */
START_TEST(digest_is_sha256)
{
    struct digest digest;

    digest_init(&digest);
    check_digest(&digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_init(&digest);
    digest_add(&digest, BYTES_LITERAL("abc"));
    check_digest(&digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    digest_init(&digest);
    digest_add(&digest, BYTES_LITERAL("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"));
    check_digest(&digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

END_TEST

/* It does not matter in which pieces the bytes come. */
START_TEST(digest_takes_pieces)
{
    struct digest digest;

    digest_init(&digest);
    digest_add(&digest, (struct bytes){NULL, 0});
    digest_add(&digest, BYTES_LITERAL("abcdbcdecdefdefgefghfghighijhijkijkljkl"));
    digest_add(&digest, BYTES_LITERAL("m"));
    digest_add(&digest, BYTES_LITERAL("klmnlmnomnopnopq"));
    check_digest(&digest, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

END_TEST

UNIT_MAIN("digest", digest_is_sha256, digest_takes_pieces)
