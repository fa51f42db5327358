#include "lib/unit.h"

#include "service/user_patch.h"
#include "service/user_validate.h"

#include <stdio.h>

static const struct user_password_rule RULE = {8, 64};

static struct user_draft good_draft(void)
{
    return (struct user_draft){
        .username = BYTES_LITERAL("anna"),
        .email = BYTES_LITERAL("anna@example.org"),
        .password = BYTES_LITERAL("correct horse"),
    };
}

/* What is wrong with this username, "" when nothing. */
static const char *username_problem(struct bytes username)
{
    static struct user_faults faults;
    struct user_draft draft = good_draft();

    faults = (struct user_faults){0};
    draft.username = username;
    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_le(faults.count, 1);
    return faults.count == 0 ? "" : faults.items[0].problem;
}

static bool is_good_username(const char *username)
{
    return username_problem(bytes_from_text(username))[0] == '\0';
}

static bool is_good_email(const char *email)
{
    struct user_faults faults = {0};
    struct user_draft draft = good_draft();

    draft.email = bytes_from_text(email);
    user_validate_draft(&draft, &RULE, &faults);
    return faults.count == 0;
}

/* Trimming takes ASCII white space at both ends, and nothing else. */
START_TEST(user_validate_trims)
{
    struct bytes text = user_validate_trim(BYTES_LITERAL(" \t\r\n An Na\xc3\x84 \n"));

    ck_assert(bytes_equal(text, BYTES_LITERAL("An Na\xc3\x84")));
    ck_assert_uint_eq(user_validate_trim(BYTES_LITERAL(" \t ")).size, 0);
    ck_assert_uint_eq(user_validate_trim(BYTES_LITERAL("")).size, 0);
}

END_TEST

/* Usernames may be in any script. */
START_TEST(user_validate_accepts_usernames)
{
    ck_assert(is_good_username("a"));
    ck_assert(is_good_username("anna.berg-1_x+y"));
    ck_assert(is_good_username("Anna Berg"));
    ck_assert(is_good_username("\xc3\x84rger"));
    ck_assert(is_good_username("\xe5\xbc\xa0\xe4\xbc\x9f"));
    ck_assert(is_good_username("\xf0\x9f\x98\x80"));
    ck_assert(is_good_username("anna@example.org"));
}

END_TEST

/* Characters that nobody sees are refused wherever they stand. */
START_TEST(user_validate_refuses_hidden_characters)
{
    static const char *const hidden[] = {
        "\x01",         "\x7f",         "\xc2\x80",     "\xc2\xa0",         "\xc2\xad",
        "\xe2\x80\x8b", "\xe2\x80\x8e", "\xe2\x80\xae", "\xe2\x81\xa6",     "\xe3\x80\x80",
        "\xef\xb8\x8f", "\xef\xbb\xbf", "\xef\xbf\xbe", "\xf3\xa0\x80\x81", "\xf0\x9f\xbf\xbf",
        "\n",           "\xef\xb7\x90", "\xe2\x80\x83", "\xf0\x9b\xb2\xa0", "\xf0\x9d\x85\xb3",
    };
    char name[16];

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        (void)snprintf(name, sizeof(name), "a%sb", hidden[i]);
        ck_assert_msg(!is_good_username(name), "case %zu", i);
    }
}

END_TEST

/* Each fault of a name has words of its own. */
START_TEST(user_validate_names_the_fault_of_a_name)
{
    static const struct {
        const char *name;
        const char *problem;
    } samples[] = {
        {"a\xff", "must be UTF-8"},
        {"a\xe2\x80\xae", "must not have control or invisible characters"},
        {"a\xcd\xb8", "must not have unassigned or private-use characters"},
        {"a\xe3\x80\x80z",
         "must not have other spaces than U+0020, nor one at an end when it is normalized"},
        {"\xc2\xb4z",
         "must not have other spaces than U+0020, nor one at an end when it is normalized"},
        {"\xcc\x81", "must not have a combining mark first, nor more than 30 in a row"},
        {"\xd7\x90z", "must not mix writing directions against RFC 5893"},
    };

    char longest[3 * USER_USERNAME_CHARACTERS_MAX];

    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        ck_assert_str_eq(username_problem(bytes_from_text(samples[i].name)), samples[i].problem);
    }
    for (size_t i = 0; i < sizeof(longest); i += 3) {
        memcpy(longest + i, "\xef\xb7\xba", 3);
    }
    ck_assert_str_eq(username_problem((struct bytes){(const uint8_t *)longest, 3 * 15}), "");
    ck_assert_str_eq(username_problem((struct bytes){(const uint8_t *)longest, sizeof(longest)}),
                     "must be shorter: its normalized form has more than 512 bytes");
}

END_TEST

/* The limit of usernames counts characters, not bytes. */
START_TEST(user_validate_limits_usernames)
{
    char name[2 * 65];

    for (size_t i = 0; i < 65; i++) {
        memcpy(name + 2 * i, "\xc3\xa4", 2);
    }
    ck_assert_str_eq(username_problem((struct bytes){(const uint8_t *)name, 2 * 64}), "");
    ck_assert_str_eq(username_problem((struct bytes){(const uint8_t *)name, 2 * 65}),
                     "must have at most 64 characters");
}

END_TEST

START_TEST(user_validate_accepts_emails)
{
    ck_assert(is_good_email("a@b"));
    ck_assert(is_good_email("anna+tag.x_y%z@mail-1.example.org"));
    ck_assert(is_good_email("\xc3\xa4@example.org"));
    ck_assert(is_good_email("a\xcc\x88@example.org"));
    ck_assert(is_good_email("\xd7\x90\xd7\x91.\xd7\x92@example.org"));
    ck_assert(is_good_email("A!#$&*/=?^{|}~-@EXAMPLE.ORG"));
}

END_TEST

/* The rules of D3: one @, no quotes, a plain domain. */
START_TEST(user_validate_refuses_emails)
{
    static const char *const emails[] = {
        "a",
        "@",
        "@b",
        "a@",
        "a@b@c",
        "a b@c",
        "\"a\"@b",
        "a'@b",
        "a`@b",
        "a@b_c",
        "a@-b",
        "a@b-",
        "a@.b",
        "a@b.",
        "a@b..c",
        "a@b-.c",
        "a@b.-c",
        "a@[::1]",
        "a@b\x01",
        "a\xe2\x80\x8b@b",
        "a@b c",
        "a\t@b",
        "a@\xc3\xa4.org",
        "a\xef\xbc\xa0z@b", /* a full width @ */
        "a\xef\xbc\x82@b",  /* a full width quote */
        "a\xc2\xa8z@b",     /* a diaeresis on a space */
        "\xd7\x90z@b",      /* two directions */
        "\xcc\x81z@b",      /* a mark on nothing */
        "a\xe3\x80\x80z@b", /* an ideographic space */
        "a\xee\x80\x80@b",  /* a private character */
    };

    for (size_t i = 0; i < sizeof(emails) / sizeof(emails[0]); i++) {
        ck_assert_msg(!is_good_email(emails[i]), "%s", emails[i]);
    }
}

END_TEST

/* Lengths: 63 before the @, 63 in a label, 254 in all. */
START_TEST(user_validate_limits_emails)
{
    char local[80];
    char label[80];
    char email[400];

    memset(local, 'a', sizeof(local));
    memset(label, 'b', sizeof(label));
    (void)snprintf(email, sizeof(email), "%.63s@%.63s.org", local, label);
    ck_assert(is_good_email(email));
    (void)snprintf(email, sizeof(email), "%.64s@b", local);
    ck_assert(!is_good_email(email));
    (void)snprintf(email, sizeof(email), "a@%.64s", label);
    ck_assert(!is_good_email(email));
    (void)snprintf(email, sizeof(email), "%.63s@%.63s.%.63s.%.62s", local, label, label, label);
    ck_assert_uint_eq(strlen(email), 254);
    ck_assert(is_good_email(email));
    (void)snprintf(email, sizeof(email), "%.63s@%.63s.%.63s.%.63s", local, label, label, label);
    ck_assert(!is_good_email(email));
}

END_TEST

/* An address whose folded form would be too long is refused, however short it is itself. */
START_TEST(user_validate_limits_folded_emails)
{
    char local[USER_EMAIL_LOCAL_BYTES_MAX + 1];
    char label[USER_EMAIL_LABEL_BYTES_MAX + 1];
    char email[USER_EMAIL_BYTES_MAX + 1];

    for (size_t i = 0; i + 3 < sizeof(local); i += 3) {
        memcpy(local + i, "\xe3\x8c\x96", 4); /* "kilometre", which folds into six characters */
    }
    memset(label, 'b', sizeof(label));
    (void)snprintf(email, sizeof(email), "%s@b", local);
    ck_assert(is_good_email(email));
    (void)snprintf(email, sizeof(email), "%s@%.63s.%.63s", local, label, label);
    ck_assert(is_good_email(email));
    (void)snprintf(email, sizeof(email), "%s@%.63s.%.63s.%.6s", local, label, label, label);
    ck_assert(!is_good_email(email));
}

END_TEST

static const char *password_problem(const char *password)
{
    static struct user_faults faults;
    struct user_draft draft = good_draft();

    faults = (struct user_faults){0};
    draft.password = bytes_from_text(password);
    user_validate_draft(&draft, &RULE, &faults);
    return faults.count == 0 ? "" : faults.items[0].problem;
}

/* Passwords are short by characters and long by bytes; anything may be in them. */
START_TEST(user_validate_limits_passwords)
{
    char long_one[66];

    memset(long_one, 'x', sizeof(long_one));
    long_one[64] = '\0';
    ck_assert_str_eq(password_problem("        "), "");
    ck_assert_str_eq(password_problem("\x01\x02\x03\x04\x05\x06\x07\x08"), "");
    ck_assert_str_eq(password_problem("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"),
                     "must have at least 8 characters");
    ck_assert_str_eq(password_problem("1234567"), "must have at least 8 characters");
    ck_assert_str_eq(password_problem(long_one), "");
    long_one[64] = 'x';
    long_one[65] = '\0';
    ck_assert_str_eq(password_problem(long_one), "must have at most 64 bytes");
}

END_TEST

/* All that is wrong is told at once, and whether something is missing. */
START_TEST(user_validate_tells_all_faults)
{
    struct user_faults faults = {0};
    struct user_draft draft = {.email = BYTES_LITERAL("nobody"),
                               .request_id = BYTES_LITERAL("a b")};

    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_eq(faults.count, 4);
    ck_assert(faults.missing);
    ck_assert_str_eq(faults.items[0].field, "username");
    ck_assert_str_eq(faults.items[0].problem, "must not be empty");
    ck_assert_str_eq(faults.items[1].field, "email");
    ck_assert_str_eq(faults.items[2].field, "password");
    ck_assert_str_eq(faults.items[3].field, "request_id");

    faults = (struct user_faults){0};
    draft = good_draft();
    draft.email = BYTES_LITERAL("nobody");
    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_eq(faults.count, 1);
    ck_assert(!faults.missing);
}

END_TEST

/* A request_id has at most 36 printable characters. */
START_TEST(user_validate_limits_request_ids)
{
    struct user_draft draft = good_draft();
    struct user_faults faults = {0};

    draft.request_id = BYTES_LITERAL("123e4567-e89b-12d3-a456-426614174000");
    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_eq(faults.count, 0);
    draft.request_id = BYTES_LITERAL("123e4567-e89b-12d3-a456-4266141740001");
    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_eq(faults.count, 1);
    draft.request_id = BYTES_LITERAL("\xc3\xa4");
    user_validate_draft(&draft, &RULE, &faults);
    ck_assert_uint_eq(faults.count, 2);
}

END_TEST

static unsigned patch_faults(struct user_patch *patch)
{
    struct user_faults faults = {0};

    user_validate_patch(patch, &faults);
    return faults.count;
}

/* Of a patch only the fields that count are judged, each by its own rule. */
START_TEST(user_validate_judges_what_a_patch_sets)
{
    struct user_patch patch = {0};
    struct user_faults faults = {0};

    ck_assert_uint_eq(patch_faults(&patch), 0);
    patch.fields = 0x7f;
    user_validate_patch(&patch, &faults);
    ck_assert_uint_eq(faults.count, 3); /* username, email, status; the rest may be empty */
    ck_assert(faults.missing);
    ck_assert_str_eq(faults.items[0].field, "user.username");
    ck_assert_str_eq(faults.items[1].field, "user.email");
    ck_assert_str_eq(faults.items[2].field, "user.status");
}

END_TEST

/* The three states that may be set, and no other number. */
START_TEST(user_validate_knows_the_states)
{
    static const int32_t good[] = {USER_STATUS_ACTIVE, USER_STATUS_INACTIVE, USER_STATUS_SUSPENDED};
    static const int32_t bad[] = {USER_STATUS_UNSPECIFIED, USER_STATUS_DELETED, 5, -1, 1000};
    struct user_patch patch = {.fields = USER_PATCH_STATUS};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        patch.user.status = good[i];
        ck_assert_uint_eq(patch_faults(&patch), 0);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        patch.user.status = bad[i];
        ck_assert_uint_eq(patch_faults(&patch), 1);
    }
}

END_TEST

/* At most 64 roles of at most 64 bytes, none of them empty. */
START_TEST(user_validate_limits_roles)
{
    char role[USER_ROLE_BYTES_MAX + 2];
    struct user_patch patch = {.fields = USER_PATCH_ROLES};

    memset(role, 'r', sizeof(role));
    for (size_t i = 0; i < USER_ROLES_MAX; i++) {
        patch.user.roles[i] = (struct bytes){(const uint8_t *)role, USER_ROLE_BYTES_MAX};
    }
    patch.user.role_count = USER_ROLES_MAX;
    ck_assert_uint_eq(patch_faults(&patch), 0);
    patch.user.role_count = USER_ROLES_MAX + 1;
    ck_assert_uint_eq(patch_faults(&patch), 1);
    patch.user.role_count = 2;
    patch.user.roles[1].size = USER_ROLE_BYTES_MAX + 1;
    ck_assert_uint_eq(patch_faults(&patch), 1);
    patch.user.roles[1] = (struct bytes){0};
    ck_assert_uint_eq(patch_faults(&patch), 1);
    patch.user.roles[1] = BYTES_LITERAL("a\nb");
    ck_assert_uint_eq(patch_faults(&patch), 1);
    patch.user.roles[1] = BYTES_LITERAL("a\xe2\x80\xae");
    ck_assert_uint_eq(patch_faults(&patch), 1);
}

END_TEST

/* Texts of a profile have at most 320 bytes without controls; joiners, which names need, are fine.
 */
START_TEST(user_validate_limits_profile_texts)
{
    char text[USER_TEXT_BYTES_MAX + 1];
    struct user_patch patch = {.fields = USER_PATCH_PROFILE};

    memset(text, 't', sizeof(text));
    patch.user.first_name = (struct bytes){(const uint8_t *)text, USER_TEXT_BYTES_MAX};
    patch.user.last_name = BYTES_LITERAL("\xe2\x80\x8c");
    ck_assert_uint_eq(patch_faults(&patch), 0);
    patch.user.first_name.size++;
    patch.user.last_name = BYTES_LITERAL("a\x1b[1m");
    patch.user.avatar_url = BYTES_LITERAL("\xc2\x85");
    ck_assert_uint_eq(patch_faults(&patch), 3);
}

END_TEST

static unsigned sync_faults(const struct user *user)
{
    struct user_faults faults = {0};

    user_validate_sync(user, &faults);
    return faults.count;
}

static struct user good_user(void)
{
    return (struct user){.username = BYTES_LITERAL("anna"), .email = BYTES_LITERAL("anna@x.org")};
}

/* SyncUsers needs the names; the rest may be empty. */
START_TEST(user_validate_accepts_synced_users)
{
    struct user user = good_user();

    ck_assert_uint_eq(sync_faults(&user), 0);
    user.id = BYTES_LITERAL("AZaz09._~-");
    user.status = USER_STATUS_SUSPENDED;
    user.roles[0] = BYTES_LITERAL("viewer");
    user.role_count = 1;
    user.first_name = BYTES_LITERAL("Anna");
    ck_assert_uint_eq(sync_faults(&user), 0);
}

END_TEST

/* Ids that a client chooses have at most 64 characters, of those that need no escape in a URL. */
START_TEST(user_validate_limits_synced_ids)
{
    static const char *const bad[] = {"a b", "a/b", "a\xc3\xa4", "a%20",
                                      "a\n", "{1}", "a:b",       "a@b"};
    uint8_t id[USER_ID_BYTES_MAX + 1];
    struct user user = good_user();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        user.id = bytes_from_text(bad[i]);
        ck_assert_msg(sync_faults(&user) == 1, "%s", bad[i]);
    }
    user.id = BYTES_LITERAL("a\0z");
    ck_assert_uint_eq(sync_faults(&user), 1);
    memset(id, 'x', sizeof(id));
    user.id = (struct bytes){id, USER_ID_BYTES_MAX};
    ck_assert_uint_eq(sync_faults(&user), 0);
    user.id.size++;
    ck_assert_uint_eq(sync_faults(&user), 1);
}

END_TEST

/* All that is wrong with a synced user is told at once, by the paths of its fields. */
START_TEST(user_validate_tells_all_faults_of_synced_users)
{
    static const char *const fields[] = {
        "id",
        "username",
        "email",
        "roles",
        "status",
        "profile.first_name",
        "profile.last_name",
        "profile.avatar_url",
    };
    struct user user = {
        .id = BYTES_LITERAL("/"),
        .email = BYTES_LITERAL("x"),
        .roles = {{0}},
        .role_count = 1,
        .status = USER_STATUS_DELETED,
        .first_name = BYTES_LITERAL("\n"),
        .last_name = BYTES_LITERAL("\xe2\x80\xae"),
        .avatar_url = BYTES_LITERAL("\x7f"),
    };
    struct user_faults faults = {0};

    user_validate_sync(&user, &faults);
    ck_assert_uint_eq(faults.count, 8);
    ck_assert(faults.missing);
    for (size_t i = 0; i < 8; i++) {
        ck_assert_str_eq(faults.items[i].field, fields[i]);
    }
    user = good_user();
    user.status = 17;
    ck_assert_uint_eq(sync_faults(&user), 1);
}

END_TEST

/* The id that a request is about may be any that a user can have. */
START_TEST(user_validate_checks_ids_asked_for)
{
    struct user_faults faults = {0};
    uint8_t id[USER_ID_BYTES_MAX + 1];

    memset(id, '*', sizeof(id));
    user_validate_id((struct bytes){id, USER_ID_BYTES_MAX}, &faults);
    ck_assert_uint_eq(faults.count, 0);
    user_validate_id((struct bytes){id, sizeof(id)}, &faults);
    ck_assert_uint_eq(faults.count, 1);
    ck_assert(!faults.missing);
    user_validate_id((struct bytes){0}, &faults);
    ck_assert_uint_eq(faults.count, 2);
    ck_assert(faults.missing);
    ck_assert_str_eq(faults.items[1].field, "id");
}

END_TEST

/* Of a field that holds a NUL nothing else is said, before the table is full and after. */
START_TEST(user_validate_names_a_nul_once)
{
    struct user_faults faults = {0};

    user_faults_add_nul(&faults, "id");
    user_faults_add_nul(&faults, "id");
    user_validate_id((struct bytes){0}, &faults);
    ck_assert_uint_eq(faults.count, 1);
    ck_assert(faults.has_nul && !faults.missing);
    for (unsigned i = 0; i < USER_FAULTS_MAX; i++) {
        user_faults_add_path(&faults, BYTES_LITERAL("x"), "is odd");
    }
    ck_assert_uint_eq(faults.count, USER_FAULTS_MAX);
    user_faults_add_nul(&faults, "id");
    ck_assert_uint_eq(faults.count, USER_FAULTS_MAX);
}

END_TEST

UNIT_MAIN("user_validate", user_validate_trims, user_validate_accepts_usernames,
          user_validate_refuses_hidden_characters, user_validate_limits_usernames,
          user_validate_accepts_emails, user_validate_refuses_emails, user_validate_limits_emails,
          user_validate_limits_passwords, user_validate_tells_all_faults,
          user_validate_limits_request_ids, user_validate_judges_what_a_patch_sets,
          user_validate_knows_the_states, user_validate_limits_roles,
          user_validate_limits_profile_texts, user_validate_names_the_fault_of_a_name,
          user_validate_limits_folded_emails, user_validate_accepts_synced_users,
          user_validate_limits_synced_ids, user_validate_tells_all_faults_of_synced_users,
          user_validate_checks_ids_asked_for, user_validate_names_a_nul_once)
