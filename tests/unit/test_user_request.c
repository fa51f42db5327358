#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/user_request.h"

#include <errno.h>

#define MAX_FIELDS 256

static const struct user_password_rule rule = {8, 64};

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

static void add_text(struct buf *out, uint32_t number, const char *text)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, bytes_from_text(text)), 0);
}

static void add_message(struct buf *out, uint32_t number, struct buf *message)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, buf_bytes(message)), 0);
    buf_deinit(message);
}

/* The id is read in place, the last one counts, unknown fields are passed over. */
START_TEST(user_request_reads_get)
{
    struct buf message = {0};
    struct bytes id = {0};

    ck_assert_int_eq(user_request_read_get(buf_bytes(&message), MAX_FIELDS, &id), 0);
    ck_assert_uint_eq(id.size, 0);
    add_text(&message, 1, "first");
    ck_assert_int_eq(proto_wire_append_varint(&message, 2, 5), 0);
    add_text(&message, 77, "unknown");
    add_text(&message, 1, "last");
    ck_assert_int_eq(user_request_read_get(buf_bytes(&message), MAX_FIELDS, &id), 0);
    ck_assert(is_text(id, "last"));
    buf_deinit(&message);
}

END_TEST

/* However long it is, an id is the same when its key is spelled as libraries do, which is read
 * faster, and when it is not. */
START_TEST(user_request_reads_get_both_ways)
{
    static const size_t sizes[] = {0, 1, 36, 126, 127, 128, 200, 20000};
    static uint8_t text[20000];

    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct buf usual = {0};
        struct buf other = {0};
        struct bytes ids[2] = {{0}};

        ck_assert_int_eq(proto_wire_append_bytes(&usual, 1, (struct bytes){text, sizes[i]}), 0);
        ck_assert_int_eq(buf_append(&other, "\x8a", 1), 0);
        ck_assert_int_eq(buf_append(&other, "", 1), 0);
        ck_assert_int_eq(buf_append(&other, usual.data + 1, buf_size(&usual) - 1), 0);
        ck_assert_int_eq(user_request_read_get(buf_bytes(&usual), MAX_FIELDS, &ids[0]), 0);
        ck_assert_int_eq(user_request_read_get(buf_bytes(&other), MAX_FIELDS, &ids[1]), 0);
        ck_assert_uint_eq(ids[0].size, sizes[i]);
        ck_assert(bytes_equal(ids[0], ids[1]));
        buf_deinit(&usual);
        buf_deinit(&other);
    }
}

END_TEST

/* Whatever follows the id must be well formed too. */
START_TEST(user_request_refuses_a_malformed_get)
{
    const struct bytes bad[] = {
        BYTES_LITERAL("\x0a"),         BYTES_LITERAL("\x0a\x05x"), BYTES_LITERAL("\x0a\x01x\x0a"),
        BYTES_LITERAL("\x0a\x01\xff"), BYTES_LITERAL("\x08\x01"),  BYTES_LITERAL("\x0b"),
        BYTES_LITERAL("garbage"),
    };
    struct bytes id = BYTES_LITERAL("untouched");

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(user_request_read_get(bad[i], MAX_FIELDS, &id), -EBADMSG);
    }
    ck_assert(is_text(id, "untouched"));
}

END_TEST

/* More fields than allowed, or more than 16 unknown ones, are refused before anything is unpacked.
 */
START_TEST(user_request_counts_fields)
{
    struct arena arena = {0};
    struct buf message = {0};
    struct buf unknown = {0};
    struct bytes id;
    struct user_delete_request request;
    struct user_faults faults;

    for (unsigned i = 0; i < 10; i++) {
        add_text(&message, 1, "x");
    }
    ck_assert_int_eq(user_request_read_get(buf_bytes(&message), 10, &id), 0);
    ck_assert_int_eq(user_request_read_get(buf_bytes(&message), 9, &id), USER_REQUEST_E_TOO_MANY);
    for (unsigned i = 0; i < USER_REQUEST_UNKNOWN_MAX; i++) {
        add_text(&unknown, 50 + i, "x");
    }
    ck_assert_int_eq(user_request_read_delete(buf_bytes(&unknown), 256, &arena, &request, &faults),
                     0);
    add_text(&unknown, 99, "x");
    ck_assert_int_eq(user_request_read_delete(buf_bytes(&unknown), 256, &arena, &request, &faults),
                     USER_REQUEST_E_TOO_MANY);
    buf_deinit(&message);
    buf_deinit(&unknown);
    arena_deinit(&arena);
}

END_TEST

/* All texts of a create come as they are. */
START_TEST(user_request_reads_create)
{
    struct buf message = {0};
    struct user_draft draft;
    struct user_faults faults;

    add_text(&message, 1, " Anna ");
    add_text(&message, 2, "a@b");
    add_text(&message, 3, " secret ");
    add_text(&message, 4, "r-1");
    ck_assert_int_eq(
        user_request_read_create(buf_bytes(&message), MAX_FIELDS, &rule, &draft, &faults), 0);
    ck_assert(is_text(draft.username, "Anna"));
    ck_assert(is_text(draft.email, "a@b"));
    ck_assert(is_text(draft.password, " secret "));
    ck_assert(is_text(draft.request_id, "r-1"));
    add_text(&message, 3, "secret");
    ck_assert_int_eq(
        user_request_read_create(buf_bytes(&message), MAX_FIELDS, &rule, &draft, &faults),
        USER_REQUEST_E_FAULTS);
    ck_assert_uint_eq(faults.count, 1);
    ck_assert_str_eq(faults.items[0].field, "password");
    buf_deinit(&message);
}

END_TEST

/* True when the faults are these fields, each for a NUL. */
static void check_nuls(const struct user_faults *faults, const char *const *fields)
{
    unsigned count = 0;

    ck_assert(faults->has_nul);
    for (; fields[count] != NULL; count++) {
        ck_assert_uint_lt(count, faults->count);
        ck_assert_str_eq(faults->items[count].field, fields[count]);
        ck_assert_str_eq(faults->items[count].problem, "must not have U+0000");
    }
    ck_assert_uint_eq(faults->count, count);
}

static void add_nul(struct buf *out, uint32_t number)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, BYTES_LITERAL("a\0b")), 0);
}

/* Every text of an update that holds a NUL, however deep, is named, and named once; outside of
 * texts a NUL is fine. */
START_TEST(user_request_names_nuls_of_an_update)
{
    static const char *const fields[] = {
        "id",
        "user.id",
        "user.username",
        "user.email",
        "user.roles",
        "user.profile.first_name",
        "user.profile.last_name",
        "user.profile.avatar_url",
        "user.etag",
        "update_mask",
        NULL,
    };
    static const uint32_t texts[] = {1, 2, 3, 5, 5, 9};
    struct arena arena = {0};
    struct buf message = {0};
    struct buf user = {0};
    struct buf profile = {0};
    struct buf mask = {0};
    struct user_update_request request;
    struct user_faults faults;

    for (uint32_t i = 1; i <= 3; i++) {
        add_nul(&profile, i);
    }
    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (texts[i] == 9) {
            add_message(&user, 7, &profile);
        }
        add_nul(&user, texts[i]);
    }
    add_nul(&mask, 1);
    add_nul(&mask, 1);
    add_nul(&message, 1);
    add_message(&message, 2, &user);
    add_message(&message, 3, &mask);
    ck_assert_int_eq(
        user_request_read_update(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    check_nuls(&faults, fields);
    buf_clear(&message);
    ck_assert_int_eq(proto_wire_append_varint(&user, 6, 0), 0);
    add_nul(&user, 99);
    add_message(&message, 2, &user);
    ck_assert_int_eq(
        user_request_read_update(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    ck_assert_uint_eq(faults.count, 0);
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* So it is with the flat requests. Nothing else is said of a text with a NUL, and what is wrong
 * with the others is told along with it. */
START_TEST(user_request_names_nuls_of_the_others)
{
    static const char *const of_create[] = {"username", "email", "password", "request_id", NULL};
    static const char *const of_delete[] = {"id", "etag", NULL};
    struct arena arena = {0};
    struct buf message = {0};
    struct user_draft draft;
    struct user_delete_request request;
    struct user_faults faults;
    struct bytes id;

    add_nul(&message, 1);
    ck_assert_int_eq(user_request_read_get(buf_bytes(&message), MAX_FIELDS, &id),
                     USER_REQUEST_E_NUL);
    add_text(&message, 2, "nobody");
    ck_assert_int_eq(
        user_request_read_create(buf_bytes(&message), MAX_FIELDS, &rule, &draft, &faults),
        USER_REQUEST_E_FAULTS);
    ck_assert(faults.has_nul && faults.missing);
    ck_assert_uint_eq(faults.count, 3);
    ck_assert_str_eq(faults.items[0].field, "username");
    ck_assert_str_eq(faults.items[1].field, "email");
    ck_assert_str_eq(faults.items[2].field, "password");
    add_nul(&message, 2);
    ck_assert_int_eq(
        user_request_read_delete(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    check_nuls(&faults, of_delete);
    add_nul(&message, 3);
    add_nul(&message, 4);
    ck_assert_int_eq(
        user_request_read_create(buf_bytes(&message), MAX_FIELDS, &rule, &draft, &faults),
        USER_REQUEST_E_FAULTS);
    check_nuls(&faults, of_create);
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* A User of SyncUsers has the same texts under shorter names. */
START_TEST(user_request_names_nuls_of_a_sync)
{
    static const char *const fields[] = {"id",
                                         "username",
                                         "email",
                                         "roles",
                                         "etag",
                                         "profile.first_name",
                                         "profile.last_name",
                                         "profile.avatar_url",
                                         NULL};
    static const uint32_t texts[] = {1, 2, 3, 5, 9};
    struct buf message = {0};
    struct buf profile = {0};
    struct user user;
    struct user_faults faults;

    for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        add_nul(&message, texts[i]);
    }
    for (uint32_t i = 1; i <= 3; i++) {
        add_nul(&profile, i);
    }
    add_message(&message, 7, &profile);
    ck_assert_int_eq(user_request_read_sync(buf_bytes(&message), MAX_FIELDS, &user, &faults),
                     USER_REQUEST_E_FAULTS);
    check_nuls(&faults, fields);
    buf_deinit(&message);
}

END_TEST

/* Id, all fields of the user and the paths of the mask. */
START_TEST(user_request_reads_update)
{
    struct arena arena = {0};
    struct buf message = {0};
    struct buf user = {0};
    struct buf profile = {0};
    struct buf mask = {0};
    struct user_update_request request;
    struct user_faults faults;

    add_text(&profile, 1, "Anna");
    add_text(&profile, 3, "http://a");
    add_text(&user, 1, "other");
    add_text(&user, 2, "anna");
    add_text(&user, 3, "a@b");
    add_text(&user, 5, "r1");
    add_text(&user, 5, "r2");
    ck_assert_int_eq(proto_wire_append_varint(&user, 6, 77), 0);
    add_message(&user, 7, &profile);
    add_text(&user, 9, "\"1\"");
    add_text(&mask, 1, "email");
    add_text(&mask, 1, "roles");
    add_text(&message, 1, "id-1");
    add_message(&message, 2, &user);
    add_message(&message, 3, &mask);
    ck_assert_int_eq(
        user_request_read_update(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    ck_assert(is_text(request.id, "id-1"));
    ck_assert(is_text(request.user.id, "other"));
    ck_assert(is_text(request.user.username, "anna"));
    ck_assert(is_text(request.user.email, "a@b"));
    ck_assert_uint_eq(request.user.role_count, 2);
    ck_assert(is_text(request.user.roles[1], "r2"));
    ck_assert_int_eq(request.user.status, 77);
    ck_assert(is_text(request.user.first_name, "Anna"));
    ck_assert_uint_eq(request.user.last_name.size, 0);
    ck_assert(is_text(request.user.avatar_url, "http://a"));
    ck_assert(is_text(request.user.etag, "\"1\""));
    ck_assert_uint_eq(request.path_count, 2);
    ck_assert(is_text(request.paths[0], "email"));
    ck_assert(is_text(request.paths[1], "roles"));
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* An update may lack user and mask. */
START_TEST(user_request_reads_an_empty_update)
{
    struct arena arena = {0};
    struct user_update_request request;
    struct user_faults faults;

    ck_assert_int_eq(
        user_request_read_update((struct bytes){0}, MAX_FIELDS, &arena, &request, &faults), 0);
    ck_assert_uint_eq(request.id.size, 0);
    ck_assert_uint_eq(request.user.username.size, 0);
    ck_assert_uint_eq(request.path_count, 0);
    arena_deinit(&arena);
}

END_TEST

/* More roles than a user may have are counted, for the answer, and not kept. */
START_TEST(user_request_counts_roles)
{
    struct arena arena = {0};
    struct buf message = {0};
    struct buf user = {0};
    struct user_update_request request;
    struct user_faults faults;

    for (unsigned i = 0; i < USER_ROLES_MAX + 1; i++) {
        add_text(&user, 5, "r");
    }
    add_message(&message, 2, &user);
    ck_assert_int_eq(
        user_request_read_update(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    ck_assert_uint_eq(request.user.role_count, USER_ROLES_MAX + 1);
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* Damage inside nested messages, and texts that are no UTF-8, are malformed. */
START_TEST(user_request_refuses_malformed_updates)
{
    const struct bytes bad[] = {
        BYTES_LITERAL("\x12\x02\x0a\x05"),
        BYTES_LITERAL("\x12\x04\x3a\x02\x0a\x05"),
        BYTES_LITERAL("\x12\x03\x12\x01\xff"),
        BYTES_LITERAL("\x1a\x03\x0a\x01\xc0"),
        BYTES_LITERAL("\x0a\x02x"),
        BYTES_LITERAL("\x12\x02\x10\x01"),
    };
    struct arena arena = {0};
    struct user_update_request request;
    struct user_faults faults;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(user_request_read_update(bad[i], MAX_FIELDS, &arena, &request, &faults),
                         -EBADMSG);
    }
    arena_deinit(&arena);
}

END_TEST

/* An arena that is full is no memory, not a malformed message. */
START_TEST(user_request_tells_when_memory_is_out)
{
    struct arena arena = {.size_max = 64};
    struct buf message = {0};
    struct user_delete_request request;
    struct user_faults faults;

    add_text(&message, 1, "a long id that does not fit into what is left of the arena");
    add_text(&message, 2, "etag");
    ck_assert_int_eq(
        user_request_read_delete(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults),
        -ENOMEM);
    arena_deinit(&arena);
    arena.size_max = 0;
    ck_assert_int_eq(
        user_request_read_delete(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults), 0);
    ck_assert(is_text(request.etag, "etag"));
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* A text larger than any that is valid is no lack of memory: trying again would not help. */
START_TEST(user_request_tells_when_a_text_is_too_large)
{
    static char large[300 * 1024];
    struct arena arena = {0};
    struct buf user = {0};
    struct buf message = {0};
    struct user_update_request request;
    struct user_faults faults;

    memset(large, 'x', sizeof(large) - 1);
    add_text(&user, 2, large);
    add_message(&message, 2, &user);
    ck_assert_int_eq(
        user_request_read_update(buf_bytes(&message), MAX_FIELDS, &arena, &request, &faults),
        USER_REQUEST_E_TOO_LARGE);
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* A User of SyncUsers is read in place, trimmed and judged; a field of another type than its own
 * makes it no such message. */
START_TEST(user_request_reads_sync)
{
    const struct bytes bad[] = {BYTES_LITERAL("garbage"), BYTES_LITERAL("\x08\x01"),
                                BYTES_LITERAL("\x32\x01x"), BYTES_LITERAL("\x0a\x01\xff")};
    struct buf message = {0};
    struct buf profile = {0};
    struct user user;
    struct user_faults faults;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(user_request_read_sync(bad[i], MAX_FIELDS, &user, &faults), -EBADMSG);
    }
    add_text(&message, 1, "id-1");
    add_text(&message, 2, "\tanna ");
    add_text(&message, 3, " a@b");
    add_text(&message, 5, "admin");
    ck_assert_int_eq(proto_wire_append_varint(&message, 6, USER_STATUS_INACTIVE), 0);
    add_text(&profile, 1, "Anna");
    add_message(&message, 7, &profile);
    add_text(&message, 9, "\"1\"");
    add_text(&message, 77, "unknown");
    ck_assert_int_eq(user_request_read_sync(buf_bytes(&message), MAX_FIELDS, &user, &faults), 0);
    ck_assert(is_text(user.id, "id-1"));
    ck_assert(is_text(user.username, "anna"));
    ck_assert(is_text(user.email, "a@b"));
    ck_assert(is_text(user.roles[0], "admin"));
    ck_assert(is_text(user.first_name, "Anna"));
    ck_assert(is_text(user.etag, "\"1\""));
    ck_assert_int_eq(user.status, USER_STATUS_INACTIVE);
    ck_assert_int_eq(user_request_read_sync(buf_bytes(&message), 5, &user, &faults),
                     USER_REQUEST_E_TOO_MANY);
    ck_assert_int_eq(proto_wire_append_varint(&message, 6, USER_STATUS_DELETED), 0);
    ck_assert_int_eq(user_request_read_sync(buf_bytes(&message), MAX_FIELDS, &user, &faults),
                     USER_REQUEST_E_FAULTS);
    ck_assert_str_eq(faults.items[0].field, "status");
    ck_assert_int_eq(proto_wire_append_bytes(&message, 2, BYTES_LITERAL("x\0y")), 0);
    ck_assert_int_eq(user_request_read_sync(buf_bytes(&message), MAX_FIELDS, &user, &faults),
                     USER_REQUEST_E_FAULTS);
    ck_assert_uint_eq(faults.count, 2);
    ck_assert_str_eq(faults.items[0].field, "username");
    ck_assert_str_eq(faults.items[1].field, "status");
    buf_deinit(&message);
}

END_TEST

UNIT_MAIN("user_request", user_request_reads_get, user_request_reads_get_both_ways,
          user_request_refuses_a_malformed_get, user_request_counts_fields,
          user_request_reads_create, user_request_names_nuls_of_an_update,
          user_request_names_nuls_of_the_others, user_request_names_nuls_of_a_sync,
          user_request_reads_update, user_request_reads_an_empty_update, user_request_counts_roles,
          user_request_refuses_malformed_updates, user_request_tells_when_memory_is_out,
          user_request_tells_when_a_text_is_too_large, user_request_reads_sync)
