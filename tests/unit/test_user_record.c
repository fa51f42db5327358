#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/user_record.h"

#include <userd/storage/v1/record.pb-c.h>
#include <users/v1/users.pb-c.h>

#include <errno.h>

static char empty[] = "";
static char text_id[] = "id-1";
static char text_username[] = "Anna";
static char text_email[] = "Anna@Example.org";
static char text_first[] = "Anna";
static char text_etag[] = "\"1f\"";
static char *text_roles[] = {text_username, text_first};

/* The user that protobuf-c packs and ours reads. */
static struct buf packed_user(void)
{
    Users__V1__User user;
    Users__V1__User__Profile profile;
    struct buf out = {0};
    size_t size;

    users__v1__user__init(&user);
    users__v1__user__profile__init(&profile);
    profile.first_name = text_first;
    profile.last_name = empty;
    profile.avatar_url = text_email;
    user.id = text_id;
    user.username = text_username;
    user.email = text_email;
    user.created_at = 1700000000123;
    user.updated_at = 1700000000456;
    user.roles = text_roles;
    user.n_roles = 2;
    user.status = USERS__V1__USER_STATUS__USER_STATUS_SUSPENDED;
    user.profile = &profile;
    user.etag = text_etag;
    size = users__v1__user__get_packed_size(&user);
    users__v1__user__pack(&user, buf_reserve(&out, size));
    buf_commit(&out, size);
    return out;
}

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

/* What protobuf-c packs is read field by field, and packed again to the same bytes. */
START_TEST(user_record_agrees_with_protobuf_c)
{
    struct buf packed = packed_user();
    struct buf again = {0};
    struct user user;

    ck_assert_int_eq(user_record_read_user(buf_bytes(&packed), &user), 0);
    ck_assert(is_text(user.id, "id-1"));
    ck_assert(is_text(user.username, "Anna"));
    ck_assert(is_text(user.email, "Anna@Example.org"));
    ck_assert_int_eq(user.created_at, 1700000000123);
    ck_assert_int_eq(user.updated_at, 1700000000456);
    ck_assert_uint_eq(user.role_count, 2);
    ck_assert(is_text(user.roles[1], "Anna"));
    ck_assert_int_eq(user.status, USER_STATUS_SUSPENDED);
    ck_assert(is_text(user.first_name, "Anna"));
    ck_assert_uint_eq(user.last_name.size, 0);
    ck_assert(is_text(user.avatar_url, "Anna@Example.org"));
    ck_assert(is_text(user.etag, "\"1f\""));
    ck_assert_int_eq(user_record_append_user(&user, &again), 0);
    ck_assert(bytes_equal(buf_bytes(&packed), buf_bytes(&again)));
    buf_deinit(&packed);
    buf_deinit(&again);
}

END_TEST

/* Unknown fields are passed over, the last value of a field wins, numbers keep their sign. */
START_TEST(user_record_reads_what_others_may_write)
{
    struct buf packed = {0};
    struct user user;

    ck_assert_int_eq(proto_wire_append_bytes(&packed, 1, BYTES_LITERAL("first")), 0);
    ck_assert_int_eq(proto_wire_append_varint(&packed, 100, 7), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&packed, 101, BYTES_LITERAL("?")), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&packed, 1, BYTES_LITERAL("last")), 0);
    ck_assert_int_eq(proto_wire_append_varint(&packed, 6, UINT64_MAX), 0);
    ck_assert_int_eq(proto_wire_append_varint(&packed, 4, (uint64_t)-5), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&packed, 7, BYTES_LITERAL("\x0a\x01x")), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&packed, 7, BYTES_LITERAL("\x12\x01y")), 0);
    ck_assert_int_eq(user_record_read_user(buf_bytes(&packed), &user), 0);
    ck_assert(is_text(user.id, "last"));
    ck_assert_int_eq(user.status, -1);
    ck_assert_int_eq(user.created_at, -5);
    ck_assert(is_text(user.first_name, "x"));
    ck_assert(is_text(user.last_name, "y"));
    buf_deinit(&packed);
}

END_TEST

/* Roles beyond the limit are counted and not kept. */
START_TEST(user_record_counts_more_roles_than_it_keeps)
{
    struct buf packed = {0};
    struct user user;

    for (unsigned i = 0; i < USER_ROLES_MAX + 6; i++) {
        ck_assert_int_eq(proto_wire_append_bytes(&packed, 5, BYTES_LITERAL("r")), 0);
    }
    ck_assert_int_eq(user_record_read_user(buf_bytes(&packed), &user), 0);
    ck_assert_uint_eq(user.role_count, USER_ROLES_MAX + 6);
    buf_deinit(&packed);
}

END_TEST

static struct buf stored(void)
{
    struct buf message = packed_user();
    struct buf out = {0};
    struct user_record record = {
        .message = buf_bytes(&message),
        .password_hash = BYTES_LITERAL("$argon2id$"),
        .request_id = BYTES_LITERAL("r-1"),
        .sequence = 17,
    };

    ck_assert_int_eq(user_record_append(&record, &out), 0);
    buf_deinit(&message);
    return out;
}

/* A record is a StoredUser of the proto, and is read back whole. */
START_TEST(user_record_is_a_stored_user)
{
    struct buf body = stored();
    struct buf message = packed_user();
    Userd__Storage__V1__StoredUser *unpacked =
        userd__storage__v1__stored_user__unpack(NULL, buf_size(&body), buf_bytes(&body).data);
    struct user_record record;

    ck_assert_ptr_nonnull(unpacked);
    ck_assert_str_eq(unpacked->password_hash, "$argon2id$");
    ck_assert_str_eq(unpacked->request_id, "r-1");
    ck_assert_uint_eq(unpacked->sequence, 17);
    ck_assert_uint_eq(unpacked->user.len, buf_size(&message));
    userd__storage__v1__stored_user__free_unpacked(unpacked, NULL);

    ck_assert_int_eq(user_record_read(USER_RECORD_PUT, buf_bytes(&body), &record), 0);
    ck_assert(bytes_equal(record.message, buf_bytes(&message)));
    ck_assert(is_text(record.password_hash, "$argon2id$"));
    ck_assert(is_text(record.request_id, "r-1"));
    ck_assert_uint_eq(record.sequence, 17);
    ck_assert_uint_eq(record.change, 0x1f);
    ck_assert(is_text(record.user.id, "id-1"));
    buf_deinit(&body);
    buf_deinit(&message);
}

END_TEST

/* A record cut anywhere is refused or lacks a field that it must have: never read beyond its end.
 */
START_TEST(user_record_refuses_cut_records)
{
    struct buf body = stored();
    struct user_record record;
    size_t size = buf_size(&body);

    for (size_t i = 0; i < size; i++) {
        uint8_t *copy = malloc(i + 1); /* its own block: a sanitizer sees its end */

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, buf_bytes(&body).data, i);
        ck_assert_int_eq(user_record_read(USER_RECORD_PUT, (struct bytes){copy, i}, &record),
                         -EBADMSG);
        free(copy);
    }
    buf_deinit(&body);
}

END_TEST

/* An unknown type is refused: it was written by a newer version. */
START_TEST(user_record_refuses_unknown_types)
{
    struct buf body = stored();
    struct user_record record;

    ck_assert_int_eq(user_record_read(0, buf_bytes(&body), &record), -EBADMSG);
    ck_assert_int_eq(user_record_read(USER_RECORD_COUNTERS, buf_bytes(&body), &record), -EBADMSG);
    ck_assert_int_eq(user_record_read(4, buf_bytes(&body), &record), -EBADMSG);
    ck_assert_int_eq(user_record_read(USER_RECORD_DELETE, buf_bytes(&body), &record), 0);
    buf_deinit(&body);
}

END_TEST

/* Counters are StoredCounters of the proto; they are read back, zeros and all, and not when cut. */
START_TEST(user_record_counters_are_stored_counters)
{
    const struct user_counters given[] = {{0, 0}, {1, 0}, {0x123456789, 1700000000123}};

    for (unsigned i = 0; i < 3; i++) {
        struct buf body = {0};
        struct user_counters read = {7, 7};
        Userd__Storage__V1__StoredCounters *unpacked;
        size_t size;

        ck_assert_int_eq(user_record_append_counters(&given[i], &body), 0);
        size = buf_size(&body);
        unpacked = userd__storage__v1__stored_counters__unpack(NULL, size, buf_bytes(&body).data);
        ck_assert_ptr_nonnull(unpacked);
        ck_assert_uint_eq(unpacked->change, given[i].change);
        ck_assert_int_eq(unpacked->created_at, given[i].created_at);
        userd__storage__v1__stored_counters__free_unpacked(unpacked, NULL);
        if (size > 0) {
            struct bytes cut = {buf_bytes(&body).data, size - 1};

            ck_assert_int_eq(user_record_read_counters(cut, &read), -EBADMSG);
            ck_assert_uint_eq(read.change, 7);
        }
        ck_assert_int_eq(user_record_read_counters(buf_bytes(&body), &read), 0);
        ck_assert_uint_eq(read.change, given[i].change);
        ck_assert_int_eq(read.created_at, given[i].created_at);
        buf_deinit(&body);
    }
}

END_TEST

static int read_with_etag(const char *etag)
{
    struct user user = {.id = BYTES_LITERAL("x"), .etag = bytes_from_text(etag)};
    struct buf message = {0};
    struct buf body = {0};
    struct user_record record;
    int result;

    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record = (struct user_record){.message = buf_bytes(&message)};
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    result = user_record_read(USER_RECORD_DELETE, buf_bytes(&body), &record);
    buf_deinit(&message);
    buf_deinit(&body);
    return result;
}

/* An etag is a quoted number, and every number survives its etag. */
START_TEST(user_record_etags_are_numbers)
{
    char etag[USER_ETAG_SIZE];

    ck_assert_uint_eq(user_record_format_etag(UINT64_MAX, etag), 18);
    ck_assert_str_eq(etag, "\"ffffffffffffffff\"");
    ck_assert_int_eq(read_with_etag(etag), 0);
    ck_assert_uint_eq(user_record_format_etag(1, etag), 3);
    ck_assert_str_eq(etag, "\"1\"");
    ck_assert_int_eq(read_with_etag(etag), 0);
    ck_assert_uint_eq(user_record_format_etag(0x10af, etag), 6);
    ck_assert_str_eq(etag, "\"10af\"");
    ck_assert_int_eq(read_with_etag("\"0\""), -EBADMSG);
    ck_assert_int_eq(read_with_etag("\"\""), -EBADMSG);
    ck_assert_int_eq(read_with_etag("1f"), -EBADMSG);
    ck_assert_int_eq(read_with_etag("\"1g\""), -EBADMSG);
    ck_assert_int_eq(read_with_etag("\"11111111111111111\""), -EBADMSG);
    ck_assert_int_eq(read_with_etag(""), -EBADMSG);
}

END_TEST

UNIT_MAIN("user_record", user_record_agrees_with_protobuf_c,
          user_record_reads_what_others_may_write, user_record_counts_more_roles_than_it_keeps,
          user_record_is_a_stored_user, user_record_refuses_cut_records,
          user_record_refuses_unknown_types, user_record_counters_are_stored_counters,
          user_record_etags_are_numbers)
