#include "lib/h2_peer.h"
#include "lib/unit.h"

#include "http2/h2_memo.h"

#include <stdio.h>

static struct h2_memo memo;
static char objects[1000]; /* addresses to know entries by */

static void begin(void)
{
    memo = (struct h2_memo){0};
}

static struct h2_memo_entry content(size_t name, size_t value, size_t size)
{
    return (struct h2_memo_entry){
        .name_object = &objects[name],
        .value_object = &objects[value],
        .value = {(const uint8_t *)objects, size},
    };
}

/* Keeps a field as the engine does. Returns how many others went for it. */
static unsigned keep(size_t name, size_t value, size_t size)
{
    const struct h2_memo_entry new = content(name, value, size);
    struct h2_memo_entry *entry;
    unsigned dropped = 0;

    while ((entry = h2_memo_make_room(&memo, size)) != NULL && entry->name_object != NULL) {
        h2_memo_drop(&memo, entry);
        dropped++;
    }
    ck_assert_ptr_nonnull(entry);
    h2_memo_fill(&memo, entry, &new);
    return dropped;
}

/* What is kept is found, whatever came before; what has one object of it is not. */
START_TEST(memo_finds_what_it_keeps)
{
    size_t round;
    size_t i;

    begin();
    ck_assert_ptr_null(h2_memo_find(&memo, &objects[0], &objects[0]));
    for (i = 0; i < 10; i++) {
        ck_assert_uint_eq(keep(i, i + 100, 10), 0);
    }
    for (round = 1; round < 8; round++) {
        for (i = 0; i < 10; i++) {
            size_t which = i * round % 10;
            struct h2_memo_entry *entry =
                h2_memo_find(&memo, &objects[which], &objects[which + 100]);

            ck_assert_ptr_nonnull(entry);
            ck_assert_ptr_eq(entry->name_object, &objects[which]);
            ck_assert_ptr_eq(entry->value_object, &objects[which + 100]);
            ck_assert_ptr_null(h2_memo_find(&memo, &objects[which], &objects[which + 101]));
            ck_assert_ptr_null(h2_memo_find(&memo, &objects[which + 1], &objects[which + 100]));
        }
    }
}

END_TEST

/* Neither entries nor bytes go over their limits, and every place can be reached. */
START_TEST(memo_is_bounded)
{
    size_t i;

    begin();
    ck_assert_ptr_null(h2_memo_make_room(&memo, H2_MEMO_BYTES / 2 + 1));
    for (i = 0; i < 900; i++) {
        (void)keep(i, i, i * 37 % (H2_MEMO_BYTES / 2));
        ck_assert_uint_le(memo.bytes, H2_MEMO_BYTES);
        ck_assert_uint_lt(memo.last, H2_MEMO_ENTRIES);
        ck_assert_uint_lt(memo.hand, H2_MEMO_ENTRIES);
        ck_assert_ptr_nonnull(h2_memo_find(&memo, &objects[i], &objects[i]));
    }
    for (i = 0; i < H2_MEMO_ENTRIES; i++) {
        h2_memo_drop(&memo, &memo.entries[i]);
    }
    ck_assert_uint_eq(memo.bytes, 0);
}

END_TEST

/* A field that is new each time pushes out its like, and not those that come each time. */
START_TEST(memo_keeps_what_comes_again)
{
    size_t missed = 0;
    size_t i;
    size_t k;

    begin();
    for (k = 0; k < 9; k++) {
        (void)keep(k, k, 40);
    }
    for (i = 100; i < 900; i++) {
        for (k = 0; k < 9; k++) {
            if (h2_memo_find(&memo, &objects[k], &objects[k]) == NULL) {
                (void)keep(k, k, 40);
                missed++;
            }
        }
        (void)keep(i, i, 40);
    }
    ck_assert_uint_eq(missed, 0);
}

END_TEST

static char heard[200];

static void *on_opened(void *owner, struct h2_stream *stream)
{
    (void)stream;
    heard[0] = '\0';
    return owner;
}

static void on_field(void *context, const struct h2_field *field)
{
    size_t used = strlen(heard);

    (void)context;
    if (field->name.size == 1) {
        (void)snprintf(heard + used, sizeof(heard) - used, "%.1s=%.*s;",
                       (const char *)field->name.data, (int)field->value.size,
                       (const char *)field->value.data);
    }
    if (field->note != NULL) {
        ck_assert(*field->note == 0 || *field->note == (uint8_t)('A' + field->value.size));
        *field->note = (uint8_t)('A' + field->value.size);
    }
}

static const struct h2_events events = {.stream_opened = on_opened, .field = on_field};

/* The texts of a request are its own, however many requests with others came before: as literals
 * that lie where the ones before lay, and as references. */
START_TEST(memo_never_tells_old_texts)
{
    struct h2_session *session;
    struct h2_peer peer;
    unsigned i;

    ck_assert_int_eq(
        h2_session_new(H2_ROLE_SERVER, &(struct h2_options){0}, &events, &peer, 1, &session), 0);
    h2_peer_init(&peer, NULL);
    for (i = 0; i < 2000; i++) {
        struct h2_peer_call call;
        struct buf out = {0};
        char expected[200];
        char a[16];
        char b[16];
        char c[16];

        (void)snprintf(a, sizeof(a), "%u", i % 3);
        (void)snprintf(b, sizeof(b), "%u", i * 7919 % 101);
        (void)snprintf(c, sizeof(c), "%u", 10000 + i);
        h2_peer_begin(&peer, &call, "/s.S/M",
                      (const char *const[]){"a", a, "b", b, "c", c, "authorization", c, NULL});
        h2_stream_reset(call.stream, H2_ERROR_NO_ERROR);
        h2_peer_call_deinit(&call);
        h2_peer_begin(&peer, &call, "/s.S/M", (const char *const[]){"a", a, "b", b, "c", c, NULL});
        h2_peer_drain(&peer);
        ck_assert_int_eq(h2_session_feed(session, buf_bytes(&peer.out), 1, &out), 0);
        buf_clear(&peer.out);
        h2_peer_feed(&peer, buf_bytes(&out));
        buf_deinit(&out);
        (void)snprintf(expected, sizeof(expected), "a=%s;b=%s;c=%s;", a, b, c);
        ck_assert_str_eq(heard, expected);
        h2_stream_reset(call.stream, H2_ERROR_CANCEL);
        h2_peer_call_deinit(&call);
    }
    h2_session_free(session);
    h2_peer_deinit(&peer);
}

END_TEST

UNIT_MAIN("h2_memo", memo_finds_what_it_keeps, memo_is_bounded, memo_keeps_what_comes_again,
          memo_never_tells_old_texts)
