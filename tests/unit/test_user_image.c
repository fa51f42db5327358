#include "lib/unit.h"

#include "service/user_image.h"
#include "service/user_patch.h"
#include "service/user_write.h"

/* A stored user with everything in it. */
static struct user_entry *stored(void)
{
    const struct user user = {
        .id = BYTES_LITERAL("id-1"),
        .username = BYTES_LITERAL("anna"),
        .email = BYTES_LITERAL("a@x"),
        .created_at = 5,
        .updated_at = 6,
        .status = USER_STATUS_INACTIVE,
        .roles = {BYTES_LITERAL("admin")},
        .role_count = 1,
        .first_name = BYTES_LITERAL("Anna"),
        .etag = BYTES_LITERAL("\"1\""),
    };
    struct user_image image = {.user = user,
                               .record = {.password_hash = BYTES_LITERAL("hash"),
                                          .request_id = BYTES_LITERAL("r-1"),
                                          .sequence = 7}};
    struct user_record record;
    struct user_entry *entry;
    struct buf packed = {0};

    ck_assert_int_eq(user_image_pack(&image, &packed), 0);
    ck_assert_int_eq(user_record_read(USER_RECORD_PUT, buf_bytes(&packed), &record), 0);
    ck_assert_int_eq(user_entry_new(&record, &entry), 0);
    buf_deinit(&packed);
    return entry;
}

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

/* Every change of a present user keeps what only the server sets; a sync replaces all the rest but
 * a status that is not said. */
START_TEST(user_image_keeps_what_the_server_sets)
{
    const struct user sent = {.username = BYTES_LITERAL("berta"),
                              .email = BYTES_LITERAL("b@x"),
                              .created_at = 99,
                              .updated_at = 99,
                              .etag = BYTES_LITERAL("\"77\"")};
    const struct user_patch patch = {.user = sent, .fields = USER_PATCH_USERNAME};
    struct user_write write = {.kind = USER_WRITE_SYNC, .id = BYTES_LITERAL("id-1"), .user = &sent};
    struct user_entry *entry = stored();
    struct user_image image;

    for (unsigned i = 0; i < 2; i++) {
        user_image_make(&write, entry, &image);
        ck_assert(is_text(image.user.id, "id-1"));
        ck_assert(is_text(image.user.username, "berta"));
        ck_assert_int_eq(image.user.created_at, 5);
        ck_assert_int_eq(image.user.updated_at, 6);
        ck_assert_int_eq(image.user.status, USER_STATUS_INACTIVE);
        ck_assert(is_text(image.user.etag, "\"1\""));
        ck_assert(is_text(image.record.password_hash, "hash"));
        ck_assert(is_text(image.record.request_id, "r-1"));
        ck_assert_uint_eq(image.record.sequence, 7);
        ck_assert_uint_eq(image.user.role_count, i);
        ck_assert_int_eq(user_image_differs(&image, entry), 1);
        write.kind = USER_WRITE_UPDATE;
        write.patch = &patch;
    }
    free(entry);
}

END_TEST

/* A new user is ACTIVE unless a sync says otherwise, and has no password but that of a create. */
START_TEST(user_image_makes_new_users)
{
    const struct user sent = {.username = BYTES_LITERAL("berta"), .email = BYTES_LITERAL("b@x")};
    const struct user suspended = {.status = USER_STATUS_SUSPENDED};
    struct user_write write = {.kind = USER_WRITE_SYNC, .user = &sent, .new_id = "new"};
    struct user_image image;

    user_image_make(&write, NULL, &image);
    ck_assert(is_text(image.user.id, "new"));
    ck_assert_int_eq(image.user.status, USER_STATUS_ACTIVE);
    ck_assert_uint_eq(image.record.password_hash.size, 0);
    write.user = &suspended;
    user_image_make(&write, NULL, &image);
    ck_assert_int_eq(image.user.status, USER_STATUS_SUSPENDED);
    write = (struct user_write){.kind = USER_WRITE_CREATE,
                                .new_id = "new",
                                .draft = {.username = BYTES_LITERAL("anna"),
                                          .email = BYTES_LITERAL("a@x"),
                                          .request_id = BYTES_LITERAL("r-1")},
                                .password = {.hash = "hash"}};
    user_image_make(&write, NULL, &image);
    ck_assert(is_text(image.user.id, "new"));
    ck_assert(is_text(image.user.email, "a@x"));
    ck_assert_int_eq(image.user.status, USER_STATUS_ACTIVE);
    ck_assert(is_text(image.record.password_hash, "hash"));
    ck_assert(is_text(image.record.request_id, "r-1"));
}

END_TEST

/* A delete leaves the id alone, and nothing else of the user. */
START_TEST(user_image_of_a_delete_is_the_id)
{
    struct user_write write = {.kind = USER_WRITE_DELETE, .id = BYTES_LITERAL("id-1")};
    struct user_entry *entry = stored();
    struct user_image image;

    user_image_make(&write, entry, &image);
    ck_assert(is_text(image.user.id, "id-1"));
    ck_assert_uint_eq(image.user.username.size, 0);
    ck_assert_uint_eq(image.record.password_hash.size, 0);
    ck_assert_uint_eq(image.record.sequence, 0);
    free(entry);
}

END_TEST

/* The same user again differs in nothing. */
START_TEST(user_image_sees_what_is_the_same)
{
    struct user_entry *entry = stored();
    struct user sent;
    struct user_write write = {.kind = USER_WRITE_SYNC, .id = BYTES_LITERAL("id-1"), .user = &sent};
    struct user_image image;

    ck_assert_int_eq(user_record_read_user(user_entry_message(entry), &sent), 0);
    sent.status = USER_STATUS_UNSPECIFIED;
    user_image_make(&write, entry, &image);
    ck_assert_int_eq(user_image_differs(&image, entry), 0);
    free(entry);
}

END_TEST

UNIT_MAIN("user_image", user_image_keeps_what_the_server_sets, user_image_makes_new_users,
          user_image_of_a_delete_is_the_id, user_image_sees_what_is_the_same)
