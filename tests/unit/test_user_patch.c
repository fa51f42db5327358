#include "lib/unit.h"

#include "service/user_patch.h"

#include <stdio.h>

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

/* ------------------------------------------------------------------------- against a plain model
 */

/* The model knows users as rows of texts, and a mask as the paths that were sent: no bits. */
#define ROW_SIZE     11
#define ROW_SETTABLE 7 /* the first ones */
#define CELL_SIZE    64
#define MASK_MAX     5

enum {
    ROW_STATUS = 3
};

struct row {
    char cells[ROW_SIZE][CELL_SIZE];
};

static const char *const columns[ROW_SIZE] = {
    "username",
    "email",
    "roles",
    "status",
    "profile.first_name",
    "profile.last_name",
    "profile.avatar_url",
    "id",
    "created_at",
    "updated_at",
    "etag",
};

struct mask {
    const char *paths[MASK_MAX];
    size_t count;
};

static void write_cell(char cell[CELL_SIZE], struct bytes text)
{
    (void)snprintf(cell, CELL_SIZE, "%.*s", (int)text.size, (const char *)text.data);
}

static void write_number(char cell[CELL_SIZE], int64_t number)
{
    (void)snprintf(cell, CELL_SIZE, "%lld", (long long)number);
}

static struct row row_of(const struct user *user)
{
    struct row row = {0};

    write_cell(row.cells[0], user->username);
    write_cell(row.cells[1], user->email);
    for (size_t i = 0; i < user->role_count; i++) {
        size_t size = strlen(row.cells[2]);

        (void)snprintf(row.cells[2] + size, CELL_SIZE - size, "%.*s,", (int)user->roles[i].size,
                       (const char *)user->roles[i].data);
    }
    write_number(row.cells[3], user->status);
    write_cell(row.cells[4], user->first_name);
    write_cell(row.cells[5], user->last_name);
    write_cell(row.cells[6], user->avatar_url);
    write_cell(row.cells[7], user->id);
    write_number(row.cells[8], user->created_at);
    write_number(row.cells[9], user->updated_at);
    write_cell(row.cells[10], user->etag);
    return row;
}

/* A path names a column, or what the column is a part of. */
static bool is_named_by(const char *column, const char *path)
{
    size_t size = strlen(path);

    return strncmp(column, path, size) == 0 && (column[size] == '\0' || column[size] == '.');
}

static bool is_known(const char *path)
{
    bool known = strcmp(path, "*") == 0;

    for (size_t i = 0; i < ROW_SIZE; i++) {
        known = known || (path[0] != '\0' && is_named_by(columns[i], path));
    }
    return known;
}

/* A status of 0 is none: neither `*` nor the lack of a mask sets it. */
static bool is_set_by(size_t column, const struct row *values, const struct mask *mask)
{
    bool is_populated = strcmp(values->cells[column], column == ROW_STATUS ? "0" : "") != 0;

    if (mask->count == 0) {
        return is_populated;
    }
    for (size_t i = 0; i < mask->count; i++) {
        if (strcmp(mask->paths[i], "*") == 0 && (column != ROW_STATUS || is_populated)) {
            return true;
        }
        if (is_named_by(columns[column], mask->paths[i])) {
            return true;
        }
    }
    return false;
}

static struct row updated(const struct row *before, const struct row *values,
                          const struct mask *mask)
{
    struct row after = *before;

    for (size_t i = 0; i < ROW_SETTABLE; i++) {
        if (is_set_by(i, values, mask)) {
            memcpy(after.cells[i], values->cells[i], CELL_SIZE);
        }
    }
    return after;
}

/* The same numbers in every run. */
static unsigned next_random(uint64_t *state, unsigned limit)
{
    *state = *state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(*state >> 33) % limit;
}

static struct bytes random_text(uint64_t *random)
{
    static const char *const texts[] = {"", "a", "anna", "b@x.org", "\xc3\xa4", "Berg", "*"};

    return bytes_from_text(texts[next_random(random, sizeof(texts) / sizeof(texts[0]))]);
}

static struct user random_user(uint64_t *random)
{
    struct user user = {
        .id = random_text(random),
        .username = random_text(random),
        .email = random_text(random),
        .created_at = next_random(random, 9),
        .updated_at = next_random(random, 9),
        .status = (int32_t)next_random(random, 6),
        .first_name = random_text(random),
        .last_name = random_text(random),
        .avatar_url = random_text(random),
        .etag = random_text(random),
    };

    for (user.role_count = 0; user.role_count < next_random(random, 4); user.role_count++) {
        user.roles[user.role_count] = random_text(random);
    }
    return user;
}

static struct mask random_mask(uint64_t *random)
{
    static const char *const paths[] = {
        "*",
        "username",
        "email",
        "roles",
        "status",
        "profile",
        "profile.first_name",
        "profile",
        "status",
        "id",
        "etag",
        "profile.last_name",
        "profile.avatar_url",
        "created_at",
        "*",
        "",
        "roles.0",
        "profile.",
        "updated_at",
        "user.email",
        "Email",
        "use",
        "email.x",
        "profile.x",
        "password",
    };
    /* Half of the masks have known paths alone. */
    unsigned limit = next_random(random, 2) == 0 ? 15 : sizeof(paths) / sizeof(paths[0]);
    struct mask mask = {.count = next_random(random, MASK_MAX + 1)};

    for (size_t i = 0; i < mask.count; i++) {
        mask.paths[i] = paths[next_random(random, limit)];
    }
    return mask;
}

/* As the service does it. False when a path is refused. */
static bool patch_user(struct user *user, const struct user *values, const struct mask *mask)
{
    struct user_patch patch = {.user = *values};

    for (size_t i = 0; i < mask->count; i++) {
        if (user_patch_add_path(&patch, bytes_from_text(mask->paths[i])) != 0) {
            return false;
        }
    }
    if (mask->count == 0) {
        user_patch_add_populated(&patch);
    }
    user_patch_apply(&patch, user);
    return true;
}

static bool knows_all(const struct mask *mask)
{
    for (size_t i = 0; i < mask->count; i++) {
        if (!is_known(mask->paths[i])) {
            return false;
        }
    }
    return true;
}

/* Compares with the model. Returns whether the user changed. */
static bool is_changed_as_expected(struct user *user, const struct user *values,
                                   const struct mask *mask, unsigned round)
{
    struct row before = row_of(user);
    struct row from = row_of(values);
    struct row expected = updated(&before, &from, mask);
    struct row after;

    if (!patch_user(user, values, mask)) {
        ck_abort_msg("round %u: a known path is refused", round);
    }
    after = row_of(user);
    if (memcmp(&after, &expected, sizeof(after)) != 0) {
        ck_abort_msg("round %u: another outcome", round);
    }
    return memcmp(&after, &before, sizeof(after)) != 0;
}

/* Random users, values and masks: the outcome is that of the model, cell by cell. */
START_TEST(user_patch_does_what_the_model_does)
{
    uint64_t random = 3;
    unsigned refused = 0;
    unsigned changed = 0;

    for (unsigned round = 0; round < 20000; round++) {
        struct user user = random_user(&random);
        struct user values = random_user(&random);
        struct mask mask = random_mask(&random);

        if (knows_all(&mask)) {
            changed += is_changed_as_expected(&user, &values, &mask, round);
        } else if (patch_user(&user, &values, &mask)) {
            ck_abort_msg("round %u: an unknown path is taken", round);
        } else {
            refused++;
        }
    }
    ck_assert_uint_gt(refused, 2000);
    ck_assert_uint_gt(changed, 8000);
}

END_TEST

UNIT_MAIN("user_patch", user_patch_knows_the_paths, user_patch_ignores_output_only_paths,
          user_patch_refuses_unknown_paths, user_patch_star_keeps_an_unspecified_status,
          user_patch_finds_populated_fields, user_patch_applies_its_fields,
          user_patch_replaces_everything, user_patch_does_what_the_model_does)
