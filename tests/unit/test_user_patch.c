#include "lib/unit.h"

#include "service/user_patch.h"

static bool is_text(struct bytes bytes, const char *text)
{
    return bytes_equal(bytes, bytes_from_text(text));
}

static struct user present(void)
{
    return (struct user){
        .id = BYTES_LITERAL("id"),
        .username = BYTES_LITERAL("anna"),
        .email = BYTES_LITERAL("anna@x.org"),
        .roles = {BYTES_LITERAL("admin"), BYTES_LITERAL("viewer")},
        .role_count = 2,
        .status = USER_STATUS_INACTIVE,
        .first_name = BYTES_LITERAL("Anna"),
        .last_name = BYTES_LITERAL("Berg"),
        .created_at = 5,
    };
}

static unsigned fields_of(const char *path)
{
    struct user_patch patch = {.user.status = USER_STATUS_ACTIVE};

    ck_assert_int_eq(user_patch_add_path(&patch, bytes_from_text(path)), 0);
    return patch.fields;
}

/* Every settable path names its field; a whole profile is its three texts. */
START_TEST(user_patch_knows_the_paths)
{
    ck_assert_uint_eq(fields_of("username"), USER_PATCH_USERNAME);
    ck_assert_uint_eq(fields_of("email"), USER_PATCH_EMAIL);
    ck_assert_uint_eq(fields_of("roles"), USER_PATCH_ROLES);
    ck_assert_uint_eq(fields_of("status"), USER_PATCH_STATUS);
    ck_assert_uint_eq(fields_of("profile"), USER_PATCH_PROFILE);
    ck_assert_uint_eq(fields_of("profile.first_name"), USER_PATCH_FIRST_NAME);
    ck_assert_uint_eq(fields_of("profile.last_name"), USER_PATCH_LAST_NAME);
    ck_assert_uint_eq(fields_of("profile.avatar_url"), USER_PATCH_AVATAR_URL);
    ck_assert_uint_eq(fields_of("*"), 0x7f);
}

END_TEST

/* What only the server sets may be named, and names nothing. */
START_TEST(user_patch_ignores_output_only_paths)
{
    static const char *const paths[] = {"id", "created_at", "updated_at", "etag"};

    for (size_t i = 0; i < 4; i++) {
        ck_assert_uint_eq(fields_of(paths[i]), 0);
    }
}

END_TEST

/* Anything else is refused. */
START_TEST(user_patch_refuses_unknown_paths)
{
    static const char *const paths[] = {
        "",          "Username", "user.email", "roles.0",   "roles[0]",   "password",   "profile.",
        "profile.*", " email",   "email,",     "firstName", "profile.id", "username.x", "**",
    };
    struct user_patch patch = {0};

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        ck_assert_int_eq(user_patch_add_path(&patch, bytes_from_text(paths[i])),
                         USER_PATCH_E_UNKNOWN);
    }
    ck_assert_uint_eq(patch.fields, 0);
}

END_TEST

/* `*` leaves an unspecified status alone, in any order of paths; named on its own, it counts. */
START_TEST(user_patch_star_keeps_an_unspecified_status)
{
    struct user_patch patch = {0};

    ck_assert_int_eq(user_patch_add_path(&patch, BYTES_LITERAL("*")), 0);
    ck_assert_uint_eq(patch.fields, 0x7f & ~USER_PATCH_STATUS);
    ck_assert_int_eq(user_patch_add_path(&patch, BYTES_LITERAL("status")), 0);
    ck_assert_int_eq(user_patch_add_path(&patch, BYTES_LITERAL("*")), 0);
    ck_assert_uint_eq(patch.fields, 0x7f);
}

END_TEST

/* Without a mask the fields that hold something count, and no others. */
START_TEST(user_patch_finds_populated_fields)
{
    struct user_patch patch = {.user = {.email = BYTES_LITERAL("new@x.org"),
                                        .last_name = BYTES_LITERAL("Dahl"),
                                        .id = BYTES_LITERAL("other")}};
    struct user_patch nothing = {0};

    user_patch_add_populated(&patch);
    ck_assert_uint_eq(patch.fields, USER_PATCH_EMAIL | USER_PATCH_LAST_NAME);
    user_patch_add_populated(&nothing);
    ck_assert_uint_eq(nothing.fields, 0);
    patch = (struct user_patch){.user = present()};
    user_patch_add_populated(&patch);
    ck_assert_uint_eq(patch.fields, 0x7f & ~USER_PATCH_AVATAR_URL);
}

END_TEST

/* Fields that count are taken, empty ones too; the rest stays as it was. */
START_TEST(user_patch_applies_its_fields)
{
    struct user user = present();
    struct user_patch patch = {.user = {.username = BYTES_LITERAL("berta"),
                                        .email = BYTES_LITERAL("no@x.org"),
                                        .status = USER_STATUS_ACTIVE},
                               .fields =
                                   USER_PATCH_USERNAME | USER_PATCH_ROLES | USER_PATCH_FIRST_NAME};

    user_patch_apply(&patch, &user);
    ck_assert(is_text(user.username, "berta"));
    ck_assert(is_text(user.email, "anna@x.org"));
    ck_assert_uint_eq(user.role_count, 0);
    ck_assert_uint_eq(user.first_name.size, 0);
    ck_assert(is_text(user.last_name, "Berg"));
    ck_assert_int_eq(user.status, USER_STATUS_INACTIVE);
    ck_assert_int_eq(user.created_at, 5);
    ck_assert(is_text(user.id, "id"));
}

END_TEST

/* A full replacement takes everything that a client may set. */
START_TEST(user_patch_replaces_everything)
{
    struct user user = present();
    struct user_patch patch = {.user = {.id = BYTES_LITERAL("other"),
                                        .username = BYTES_LITERAL("berta"),
                                        .email = BYTES_LITERAL("b@x.org"),
                                        .roles = {BYTES_LITERAL("r")},
                                        .role_count = 1,
                                        .status = USER_STATUS_ACTIVE,
                                        .avatar_url = BYTES_LITERAL("http://a")}};

    ck_assert_int_eq(user_patch_add_path(&patch, BYTES_LITERAL("*")), 0);
    user_patch_apply(&patch, &user);
    ck_assert(is_text(user.id, "id"));
    ck_assert(is_text(user.username, "berta"));
    ck_assert(is_text(user.email, "b@x.org"));
    ck_assert_uint_eq(user.role_count, 1);
    ck_assert(is_text(user.roles[0], "r"));
    ck_assert_int_eq(user.status, USER_STATUS_ACTIVE);
    ck_assert_uint_eq(user.first_name.size, 0);
    ck_assert_uint_eq(user.last_name.size, 0);
    ck_assert(is_text(user.avatar_url, "http://a"));
    ck_assert_int_eq(user.created_at, 5);
}

END_TEST

UNIT_MAIN("user_patch", user_patch_knows_the_paths, user_patch_ignores_output_only_paths,
          user_patch_refuses_unknown_paths, user_patch_star_keeps_an_unspecified_status,
          user_patch_finds_populated_fields, user_patch_applies_its_fields,
          user_patch_replaces_everything)
