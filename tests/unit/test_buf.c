#include "lib/unit.h"

#include "core/buf.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

/* An empty buffer has no content, can be consumed by nothing, cleared and freed twice. */
START_TEST(buf_starts_empty)
{
    struct buf buf = {0};

    ck_assert_uint_eq(buf_size(&buf), 0);
    ck_assert_uint_eq(buf_bytes(&buf).size, 0);
    buf_consume(&buf, 0);
    buf_clear(&buf);
    buf_deinit(&buf);
    buf_deinit(&buf);
}

END_TEST

/* Bytes leave in the order in which they came, however appends and consumes are mixed. */
START_TEST(buf_keeps_order)
{
    struct buf buf = {0};
    uint32_t in = 0;
    uint32_t out = 0;

    for (int round = 0; round < 2000; round++) {
        uint8_t piece[97];
        size_t size = (size_t)(round * 31 % 97);
        size_t taken;

        for (size_t i = 0; i < size; i++) {
            piece[i] = (uint8_t)in++;
        }
        ck_assert_int_eq(buf_append(&buf, piece, size), 0);
        taken = buf_size(&buf) < 47 ? buf_size(&buf) : 47;
        for (size_t i = 0; i < taken; i++) {
            ck_assert_uint_eq(buf_bytes(&buf).data[i], (uint8_t)out++);
        }
        buf_consume(&buf, taken);
    }
    ck_assert_uint_eq(buf_size(&buf), in - out);
    buf_deinit(&buf);
}

END_TEST

/* A buffer through which much flows, but which never holds much, does not grow. */
START_TEST(buf_reuses_room_in_front)
{
    struct buf buf = {0};
    uint8_t piece[100] = {0};

    for (int round = 0; round < 1000; round++) {
        ck_assert_int_eq(buf_append(&buf, piece, sizeof(piece)), 0);
        if (round > 0) {
            buf_consume(&buf, sizeof(piece));
        }
    }
    ck_assert_uint_eq(buf_size(&buf), sizeof(piece));
    ck_assert_uint_le(buf.capacity, 512);
    buf_deinit(&buf);
}

END_TEST

/* However near to its capacity the content stays, a byte is moved about once, not at every append.
 */
START_TEST(buf_moves_little)
{
    struct buf buf = {0};
    uint8_t piece[24] = {0};
    size_t moved = 0;

    for (int i = 0; i < 42; i++) {
        ck_assert_int_eq(buf_append(&buf, piece, sizeof(piece)), 0);
    }
    for (int round = 0; round < 10000; round++) {
        struct buf before;

        buf_consume(&buf, sizeof(piece));
        before = buf;
        ck_assert_int_eq(buf_append(&buf, piece, sizeof(piece)), 0);
        if (buf.data != before.data || buf.start != before.start) {
            moved += buf_size(&before);
        }
    }
    ck_assert_uint_le(moved, 2 * 10000 * sizeof(piece));
    ck_assert_uint_le(buf.capacity, 4096);
    buf_deinit(&buf);
}

END_TEST

/* Reserved room counts only when committed, and is as large as asked. */
START_TEST(buf_commits_what_was_reserved)
{
    struct buf buf = {0};
    uint8_t *room;

    ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
    room = buf_reserve(&buf, 5000);
    ck_assert_ptr_nonnull(room);
    memset(room, 'x', 5000);
    ck_assert_uint_eq(buf_size(&buf), 3);
    buf_commit(&buf, 2);
    ck_assert(bytes_equal(buf_bytes(&buf), BYTES_LITERAL("abcxx")));
    buf_deinit(&buf);
}

END_TEST

/* A size that no memory can hold is refused, and the content stays. */
START_TEST(buf_refuses_absurd_sizes)
{
    struct buf buf = {0};

    ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
    ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX / 4 + 1));
    ck_assert(bytes_equal(buf_bytes(&buf), BYTES_LITERAL("abc")));
    buf_deinit(&buf);
}

END_TEST

/* Nothing but the content is in its memory. */
static void expect_wiped(const struct buf *buf)
{
    for (size_t i = 0; i < buf->capacity; i++) {
        if (i < buf->start || i >= buf->end) {
            ck_assert_uint_eq(buf->data[i], 0);
        } else {
            ck_assert_uint_ne(buf->data[i], 0);
        }
    }
}

static const uint8_t *watched; /* looked at when it is freed */
static size_t watched_size;
static unsigned unwiped; /* bytes that were freed as they were */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED
#endif

#ifdef SANITIZED
#define REAL_FREE __interceptor_free
#else
#define REAL_FREE __libc_free
#endif

void REAL_FREE(void *memory);

/* Instead of the system's. */
void free(void *memory)
{
    if (memory != NULL && memory == watched) {
        for (size_t i = 0; i < watched_size; i++) {
            unwiped += watched[i] != 0;
        }
        watched = NULL;
    }
    REAL_FREE(memory);
}

static void watch(const struct buf *buf)
{
    watched = buf->data;
    watched_size = buf->capacity;
    unwiped = 0;
}

static void expect_freed(bool is_wiped)
{
    ck_assert_ptr_null(watched);
    ck_assert((unwiped == 0) == is_wiped);
}

/* What leaves a secret buffer, moves in it or is freed with it is wiped; of any other nothing is.
 */
START_TEST(buf_wipes_what_is_secret)
{
    for (int is_secret = 0; is_secret < 2; is_secret++) {
        struct buf buf = {.is_secret = is_secret != 0};
        uint8_t *room = buf_reserve(&buf, 256);

        memset(room, 0, 256);
        memset(room, 'x', 200);
        buf_commit(&buf, 200);
        buf_consume(&buf, 150);
        if (is_secret) {
            expect_wiped(&buf);
        }
        room = buf_reserve(&buf, 200); /* moves to the front */
        ck_assert_ptr_eq(room, buf.data + 50);
        if (is_secret) {
            expect_wiped(&buf);
        }
        watch(&buf);
        ck_assert_ptr_nonnull(buf_reserve(&buf, 1000)); /* moves elsewhere */
        expect_freed(is_secret);
        ck_assert(buf.is_secret == is_secret);
        memset(buf.data + buf.end, 0, buf.capacity - buf.end);
        ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
        ck_assert_mem_eq(buf_bytes(&buf).data, "xxx", 3);
        buf_clear(&buf);
        ck_assert((buf.data[0] == 0) == is_secret);
        if (is_secret) {
            expect_wiped(&buf);
        }
        ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
        watch(&buf);
        buf_deinit(&buf);
        expect_freed(is_secret);
        ck_assert(buf.is_secret == is_secret);
    }
}

END_TEST

UNIT_MAIN("buf", buf_starts_empty, buf_keeps_order, buf_reuses_room_in_front, buf_moves_little,
          buf_commits_what_was_reserved, buf_refuses_absurd_sizes, buf_wipes_what_is_secret)
