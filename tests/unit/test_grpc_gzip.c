#include "lib/unit.h"

#include "http2/grpc_gzip.h"

static uint8_t text[300000]; /* compresses well */

static void begin(void)
{
    size_t i;

    for (i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)((uint8_t) "users"[i % 5] + i / 1000 % 3);
    }
}

/* Compresses what must be compressible. */
static struct buf pack(struct bytes plain)
{
    struct buf packed = {0};

    ck_assert_int_eq(grpc_gzip_deflate(&plain, 1, &packed), 0);
    return packed;
}

static int unpack(struct bytes packed, size_t size_max, struct buf *plain)
{
    return grpc_gzip_inflate(packed, size_max, false, plain);
}

/* What was packed comes out, whatever its size, in one part or many, and smaller it was. */
START_TEST(gzip_round_trip)
{
    static const size_t sizes[] = {100, 511, 512, 513, 5000, 32768, 32769, sizeof(text)};
    size_t i;

    begin();
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        const struct bytes parts[] = {
            {text, 7}, {NULL, 0}, {text + 7, sizes[i] - 50}, {text + sizes[i] - 43, 43}};
        struct buf packed = {0};
        struct buf plain = {0};
        bool is_secret = i % 2 == 0;

        ck_assert_int_eq(grpc_gzip_deflate(parts, 4, &packed), 0);
        ck_assert_uint_lt(buf_size(&packed), sizes[i]);
        ck_assert_int_eq(grpc_gzip_inflate(buf_bytes(&packed), sizes[i], is_secret, &plain), 0);
        ck_assert(bytes_equal(buf_bytes(&plain), (struct bytes){text, sizes[i]}));
        buf_deinit(&packed);
        buf_deinit(&plain);
    }
}

END_TEST

/* Bytes without a pattern: a linear congruential generator's upper bits. */
static void fill_noise(uint8_t *noise, size_t size)
{
    uint64_t state = 1;
    size_t i;

    for (i = 0; i < size; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        noise[i] = (uint8_t)(state >> 56);
    }
}

/* What does not shrink is told so: too short, or noise (C6). */
START_TEST(gzip_tells_when_nothing_is_gained)
{
    uint8_t noise[1000];
    const struct bytes parts[] = {
        {NULL, 0}, BYTES_LITERAL("a"), BYTES_LITERAL("a short text"), {noise, sizeof(noise)}};
    size_t i;

    fill_noise(noise, sizeof(noise));
    for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct buf packed = {0};

        ck_assert_int_eq(grpc_gzip_deflate(&parts[i], 1, &packed), GRPC_GZIP_E_NO_GAIN);
        buf_deinit(&packed);
    }
}

END_TEST

/* The limit holds to the byte, and a bomb costs no more memory than the limit (C3). */
START_TEST(gzip_stops_at_the_limit)
{
    struct bytes bomb = {calloc(1, 100000000), 100000000};
    struct buf packed;
    struct buf plain = {0};

    begin();
    packed = pack((struct bytes){text, 5000});
    ck_assert_int_eq(unpack(buf_bytes(&packed), 5000, &plain), 0);
    buf_deinit(&plain);
    ck_assert_int_eq(unpack(buf_bytes(&packed), 4999, &plain), GRPC_GZIP_E_TOO_LARGE);
    ck_assert_uint_eq(buf_size(&plain), 5000);
    buf_deinit(&plain);
    buf_deinit(&packed);

    ck_assert_ptr_nonnull(bomb.data);
    packed = pack(bomb);
    ck_assert_uint_lt(buf_size(&packed), 500000);
    ck_assert_int_eq(unpack(buf_bytes(&packed), 1000000, &plain), GRPC_GZIP_E_TOO_LARGE);
    ck_assert_uint_eq(buf_size(&plain), 1000001);
    ck_assert_uint_le(plain.capacity, 1100000);
    buf_deinit(&plain);
    buf_deinit(&packed);
    free((void *)(uintptr_t)bomb.data);
}

END_TEST

/* Every cut, every changed byte and every addition is found out, or comes to the same plain bytes
 * (some bytes of the head mean nothing). */
START_TEST(gzip_refuses_damage)
{
    struct buf packed;
    size_t i;

    begin();
    packed = pack((struct bytes){text, 2000});
    for (i = 0; i < buf_size(&packed); i++) {
        struct buf plain = {0};
        struct bytes cut = {buf_bytes(&packed).data, i};

        ck_assert_int_eq(unpack(cut, 4000, &plain), GRPC_GZIP_E_BROKEN);
        buf_deinit(&plain);
        packed.data[i] ^= 0x41;
        if (unpack(buf_bytes(&packed), 4000, &plain) == 0) {
            ck_assert_uint_lt(i, 10);
            ck_assert(bytes_equal(buf_bytes(&plain), (struct bytes){text, 2000}));
        }
        buf_deinit(&plain);
        packed.data[i] ^= 0x41;
    }
    ck_assert_int_eq(buf_append(&packed, "", 1), 0);
    for (i = 0; i < 2; i++) {
        struct buf plain = {0};

        ck_assert_int_eq(unpack(buf_bytes(&packed), 4000, &plain), GRPC_GZIP_E_BROKEN);
        buf_deinit(&plain);
        packed.end--;
        ck_assert_int_eq(buf_append(&packed, buf_bytes(&packed).data, 20), 0); /* a second one */
    }
    buf_deinit(&packed);
}

END_TEST

/* A message that lies about its size is read as what it is; what is no gzip at all is refused. */
START_TEST(gzip_believes_no_sizes)
{
    static const struct bytes rows[] = {{NULL, 0}, {(const uint8_t *)"abcdefghijklmnopqrst", 20}};
    struct buf packed;
    struct buf plain = {0};
    size_t i;

    for (i = 0; i < 2; i++) {
        ck_assert_int_eq(unpack(rows[i], 1000, &plain), GRPC_GZIP_E_BROKEN);
        buf_deinit(&plain);
    }
    begin();
    packed = pack((struct bytes){text, 200000});
    memset(packed.data + packed.end - 4, 0xff, 4);
    ck_assert_int_eq(unpack(buf_bytes(&packed), 1000000000, &plain), GRPC_GZIP_E_BROKEN);
    ck_assert_uint_lt(plain.capacity, 1000000);
    buf_deinit(&plain);
    memset(packed.data + packed.end - 4, 0, 4);
    ck_assert_int_eq(grpc_gzip_inflate(buf_bytes(&packed), 200000, true, &plain),
                     GRPC_GZIP_E_BROKEN);
    buf_deinit(&plain);
    buf_deinit(&packed);
}

END_TEST

UNIT_MAIN("grpc_gzip", gzip_round_trip, gzip_tells_when_nothing_is_gained, gzip_stops_at_the_limit,
          gzip_refuses_damage, gzip_believes_no_sizes)
