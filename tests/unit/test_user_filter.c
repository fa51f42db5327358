#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/user_filter.h"
#include "service/user_fold.h"
#include "service/user_record.h"

#include <stdio.h>

/*
 * Four users, called by letters; a test says which of them a filter matches.
 */

#define PEOPLE 4

struct person {
    struct user user;
    struct bytes extra; /* appended to the message as it is */
    struct buf message;
    uint8_t username[USER_FOLDED_BYTES_MAX];
    uint8_t email[USER_FOLDED_BYTES_MAX];
    struct user_filter_subject subject;
};

#define TEXT(text) BYTES_LITERAL(text)

static struct arena arena;
static struct person people[PEOPLE];

static void fill_in(void)
{
    people[0].user = (struct user){
        .id = TEXT("A1"),
        .username = TEXT("Anna"),
        .email = TEXT("Anna@Example.com"),
        .created_at = 1000,
        .updated_at = 2000,
        .roles = {TEXT("admin"), TEXT("Editor")},
        .role_count = 2,
        .status = USER_STATUS_ACTIVE,
        .first_name = TEXT("Anna"),
        .last_name = TEXT("Lind"),
        .avatar_url = TEXT("https://img.example.com/Anna.png?x=1"),
    };
    people[1].user = (struct user){
        .id = TEXT("b2"),
        .username = TEXT("bob"),
        .email = TEXT("bob@corp.org"),
        .created_at = 1704067200000, /* 2024-01-01T00:00:00Z */
        .roles = {TEXT("viewer")},
        .role_count = 1,
        .status = USER_STATUS_SUSPENDED,
    };
    people[2].user = (struct user){
        .id = TEXT("c3"),
        .username = TEXT("\xc3\x9cnal*"), /* a capital U with dots */
        .email = TEXT("c.d@example.com"),
        .created_at = 1704067200001,
        .updated_at = 1,
        .status = USER_STATUS_INACTIVE,
        .last_name = TEXT("O'Brien \"\\\" \xc3\x84rger"),
    };
    people[3].user = (struct user){
        .id = TEXT("d4"),
        .username = TEXT("dora"),
        .email = TEXT("dora@example.com"),
        .created_at = -5,
        .updated_at = 1,
        .roles = {TEXT("admin:ops")},
        .role_count = 1,
        .status = 7,
    };
    people[3].extra = TEXT("\x3a\x00"); /* a profile with nothing in it */
}

static void pack(struct person *person)
{
    struct user_filter_subject *subject = &person->subject;

    ck_assert_int_eq(user_record_append_user(&person->user, &person->message), 0);
    if (person->extra.size > 0) {
        ck_assert_int_eq(buf_append(&person->message, person->extra.data, person->extra.size), 0);
    }
    subject->message = buf_bytes(&person->message);
    subject->username.data = person->username;
    subject->email.data = person->email;
    ck_assert_int_eq(user_fold(person->user.username, person->username, &subject->username.size),
                     0);
    ck_assert_int_eq(user_fold(person->user.email, person->email, &subject->email.size), 0);
}

static void set_up(void)
{
    fill_in();
    for (unsigned i = 0; i < PEOPLE; i++) {
        pack(&people[i]);
    }
}

static void tear_down(void)
{
    for (unsigned i = 0; i < PEOPLE; i++) {
        buf_deinit(&people[i].message);
        people[i] = (struct person){0};
    }
    arena_deinit(&arena);
}

/* Parses a text that is gone afterwards. */
static const struct user_filter *parse(const char *text)
{
    size_t size = strlen(text);
    uint8_t *copy = malloc(size + 1);
    const struct user_filter *filter = NULL;
    struct user_filter_problem problem;
    int result;

    ck_assert_ptr_nonnull(copy);
    memcpy(copy, text, size);
    result = user_filter_parse((struct bytes){copy, size}, &arena, &filter, &problem);
    free(copy);
    ck_assert_msg(result == 0, "%s: at %zu: %s", text, problem.position, problem.text);
    return filter;
}

struct expectation {
    const char *filter;
    const char *who; /* letters */
};

static void check(const struct expectation *expectations, size_t count)
{
    set_up();
    for (size_t i = 0; i < count; i++) {
        const struct user_filter *filter = parse(expectations[i].filter);
        char who[PEOPLE + 1] = "";
        size_t size = 0;

        for (unsigned k = 0; k < PEOPLE; k++) {
            if (user_filter_matches(filter, &people[k].subject)) {
                who[size++] = (char)('a' + k);
            }
        }
        ck_assert_msg(strcmp(who, expectations[i].who) == 0, "%s: matches %s, not %s",
                      expectations[i].filter, who, expectations[i].who);
        arena_reset(&arena);
    }
    tear_down();
}

#define CHECK(expectations) check(expectations, sizeof(expectations) / sizeof((expectations)[0]))

/* Texts compare by their bytes, usernames and e-mail addresses in their folded form. */
START_TEST(user_filter_compares_texts)
{
    static const struct expectation expectations[] = {
        {"id = A1", "a"},
        {"id = a1", ""},
        {"id=\"A1\"", "a"},
        {"id='A1'", "a"},
        {"id != A1", "bcd"},
        {"id < b2", "a"},
        {"id <= b2", "ab"},
        {"id > b2", "cd"},
        {"id >= b2", "bcd"},
        {"id > b", "bcd"},
        {"id = \"\"", ""},
        {"username = anna", "a"},
        {"username = ANNA", "a"},
        {"username = \"\xc3\xbcNAL\\*\"", "c"},
        {"username != Anna", "bcd"},
        {"username < BOB", "a"},
        {"username <= BOB", "ab"},
        {"username > BOB", "cd"},
        {"username >= BOB", "bcd"},
        {"email = anna@example.COM", "a"},
        {"email > c", "cd"},
        {"profile.first_name = Anna", "a"},
        {"profile.first_name = anna", ""},
        {"profile.avatar_url = 'https://img.example.com/Anna.png?x=1'", "a"},
        {"profile.last_name = \"O'Brien \\\"\\\\\\\" \xc3\x84rger\"", "c"},
        {"profile.last_name = 'O\\'Brien \"\\\\\" \xc3\x84rger'", "c"},
    };

    CHECK(expectations);
}

END_TEST

/* Nothing compares with a field of a profile that is not there; a text that is not there, in a
 * profile that is, compares as the empty one. */
START_TEST(user_filter_passes_over_a_missing_profile)
{
    static const struct expectation expectations[] = {
        {"profile.first_name != x", "acd"},
        {"NOT profile.first_name = x", "abcd"},
        {"NOT profile.first_name != x", "b"},
        {"profile.first_name = \"\"", "cd"},
        {"profile.first_name != \"\"", "a"},
        {"profile.first_name < B", "acd"},
        {"profile.first_name = *", "acd"},
        {"profile.first_name != *", ""},
        {"profile.avatar_url:\"\"", "acd"},
        {"profile:*", "ac"},
        {"NOT profile:*", "bd"},
    };

    CHECK(expectations);
}

END_TEST

/* `*` at the ends of a text stands for anything; escaped it is a character. */
START_TEST(user_filter_knows_wildcards)
{
    static const struct expectation expectations[] = {
        {"email = *@example.com", "acd"},
        {"email = \"*@EXAMPLE.com\"", "acd"},
        {"email != *@example.com", "b"},
        {"email = *@corp*", "b"},
        {"email = dora*", "d"},
        {"email = *", "abcd"},
        {"email = **", "abcd"},
        {"email = '*'", "abcd"},
        {"username = \"*\\*\"", "c"},
        {"username = \"\\**\"", ""},
        {"username = \"*\\**\"", "c"},
        {"id = *A1", "a"},
        {"id = A1*", "a"},
        {"id = *a*", ""},
        {"id = *AA1", ""},
        {"id = A11*", ""},
        {"id = *A11*", ""},
        {"profile.last_name = *in*", "a"},
        {"profile.last_name = *IN*", ""},
        {"profile.last_name != *in*", "cd"},
    };

    CHECK(expectations);
}

END_TEST

/* `:` is "contains" for texts, folded; "has" for roles; `:*` asks for presence. */
START_TEST(user_filter_knows_has)
{
    static const struct expectation expectations[] = {
        {"username:NN", "a"},
        {"username:\"\xc3\x9c\"", "c"},
        {"username:\"u\xcc\x88\"", "c"},
        {"username:\"\\*\"", "c"},
        {"email:EXAMPLE", "acd"},
        {"email : example", "acd"},
        {"id:a", "a"},
        {"id:\"\"", "abcd"},
        {"profile.first_name:NN", "a"},
        {"profile.last_name:\xc3\xa4RG", "c"},
        {"profile.last_name:a\xcc\x88", "c"},
        {"profile.last_name:l", "a"},
        {"profile.avatar_url:https://IMG.", "a"},
        {"roles:admin", "a"},
        {"roles:Admin", ""},
        {"roles:editor", ""},
        {"roles:\"Editor\"", "a"},
        {"roles:admin:ops", "d"},
        {"NOT roles:admin", "bcd"},
        {"roles:*", "abd"},
        {"roles:\"\"", ""},
        {"username:*", "abcd"},
        {"profile.first_name:*", "a"},
        {"profile.avatar_url:'*'", "a"},
        {"created_at:*", "abcd"},
        {"updated_at:*", "acd"},
        {"status:*", "abcd"},
    };

    CHECK(expectations);
}

END_TEST

/* Times compare with times and with milliseconds; between two milliseconds lies no user. */
START_TEST(user_filter_compares_times)
{
    static const struct expectation expectations[] = {
        {"created_at = 1000", "a"},
        {"created_at = \"1000\"", "a"},
        {"created_at != 1000", "bcd"},
        {"created_at < 0", "d"},
        {"created_at <= -5", "d"},
        {"created_at > -5", "abc"},
        {"created_at >= -5", "abcd"},
        {"created_at < -9223372036854775808", ""},
        {"created_at >= -9223372036854775808", "abcd"},
        {"created_at > 9223372036854775807", ""},
        {"created_at <= 9223372036854775807", "abcd"},
        {"created_at = 2024-01-01T00:00:00Z", "b"},
        {"created_at = \"2024-01-01T02:00:00+02:00\"", "b"},
        {"created_at = 2023-12-31T19:30:00-04:30", "b"},
        {"created_at >= 2024-01-01T00:00:00Z", "bc"},
        {"created_at > 2024-01-01T00:00:00Z", "c"},
        {"created_at = 2024-01-01T00:00:00.001Z", "c"},
        {"created_at < 2024-01-01T00:00:00.0005Z", "abd"},
        {"created_at <= 2024-01-01T00:00:00.0005Z", "abd"},
        {"created_at > 2024-01-01T00:00:00.0005Z", "c"},
        {"created_at >= 2024-01-01T00:00:00.0005Z", "c"},
        {"created_at = 2024-01-01T00:00:00.0005Z", ""},
        {"created_at != 2024-01-01T00:00:00.0005Z", "abcd"},
        {"created_at = 1970-01-01T00:00:01Z", "a"},
        {"created_at = 1969-12-31T23:59:59.995Z", "d"},
        {"updated_at = 0", "b"},
        {"updated_at >= 1970-01-01T00:00:02Z", "a"},
    };

    CHECK(expectations);
}

END_TEST

/* A status goes by its name, short or in full. */
START_TEST(user_filter_compares_statuses)
{
    static const struct expectation expectations[] = {
        {"status = ACTIVE", "a"},        {"status = USER_STATUS_ACTIVE", "a"},
        {"status = \"SUSPENDED\"", "b"}, {"status:INACTIVE", "c"},
        {"status != ACTIVE", "bcd"},     {"status != USER_STATUS_SUSPENDED", "acd"},
        {"status = UNSPECIFIED", ""},    {"status = DELETED", ""},
    };

    CHECK(expectations);
}

END_TEST

/* A text alone is looked for in the names of a user, folded; and nowhere else. */
START_TEST(user_filter_looks_for_literals)
{
    static const struct expectation expectations[] = {
        {"ANN", "a"},          {"\"anna\"", "a"},   {"example.com", "acd"}, {"corp", "b"},
        {"lind", "a"},         {"img", ""},         {"viewer", ""},         {"b2", ""},
        {"\xc3\xa4rger", "c"}, {"'\"\\\\\"'", "c"}, {"-example", "b"},      {"and", ""},
        {"username", ""},      {"\"AND\"", ""},     {"\"\"", "abcd"},
    };

    CHECK(expectations);
}

END_TEST

/* OR binds tighter than AND; a blank is AND; NOT and minus bind tightest. */
START_TEST(user_filter_joins_restrictions)
{
    static const struct expectation expectations[] = {
        {"id = A1 OR id = b2", "ab"},
        {"email:example AND username:o", "d"},
        {"email:example username:o", "d"},
        {"id = b2 AND id = A1 OR id = b2", "b"},
        {"id = A1 OR id = b2 AND id = b2", "b"},
        {"id = A1 OR (id = b2 AND id = b2)", "ab"},
        {"id = A1 OR id = b2 id = b2 OR id = c3", "b"},
        {"id = b2 OR id = c3 AND id = c3 OR id = d4 AND NOT id = d4", "c"},
        {"id = b2 OR id = c3 id = c3 OR id = d4 -id = d4", "c"},
        {"NOT id = A1 OR id = A1", "abcd"},
        {"NOT (id = A1 OR id = b2)", "cd"},
        {"-(id = A1 OR id = b2)", "cd"},
        {"NOT(id = A1)", "bcd"},
        {"NOT (NOT id = A1)", "a"},
        {"NOT (id > A AND NOT (id = b2 OR id = c3))", "bc"},
        {"(id = A1)", "a"},
        {"((id = A1) OR ((id = b2)))", "ab"},
        {"(id = A1 OR id = b2) (id = b2 OR id = c3)", "b"},
        {"(id = A1)OR(id = b2)", "ab"},
        {"  id\t=\nA1  \r", "a"},
        {"id=A1 OR\tid=b2", "ab"},
        {"id = A1 OR id = b2 OR id = c3 OR id = d4", "abcd"},
        {"id > A AND id > A AND id > A AND id > c3", "d"},
    };

    CHECK(expectations);
}

END_TEST

static bool matches_message(const char *text, struct bytes message)
{
    struct user_filter_subject subject = {.message = message};

    return user_filter_matches(parse(text), &subject);
}

/* A message is read like protobuf reads it, however it is written: the last value wins, profiles
 * are merged, unknown fields and those of another wire type are passed over, keys and lengths may
 * be longer than they need. */
START_TEST(user_filter_reads_any_message)
{
    static const uint8_t twice[] = "\x0a\x01x\x0a\x01y"         /* id */
                                   "\x30\x01\x30\x03"           /* status */
                                   "\x20\x05\x20\x06"           /* created_at */
                                   "\x3a\x06\x0a\x01p\x12\x01q" /* profile */
                                   "\x2a\x01r"                  /* roles */
                                   "\x3a\x03\x0a\x01P"          /* profile */
                                   "\x2a\x01s";                 /* roles */
    static const uint8_t odd[] = "\xa2\x06\x01x"                /* field 100 */
                                 "\x08\x07"                     /* id as a number */
                                 "\x32\x01\x03"                 /* status as text */
                                 "\x0d\x01\x02\x03\x04"         /* fixed32 */
                                 "\x21\x01\x02\x03\x04\x05\x06\x07\x08"
                                 "\x8a\x00\x81\x00z"            /* id, key and size too long */
                                 "\xb0\x80\x00\x83\x80\x80\x00" /* status, likewise */
                                 "\x3a\x05\x08\x01\x12\x01w";
    static const uint8_t negative[] = "\x20\xfb\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                                      "\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    struct buf message = {0};
    uint8_t id[300];
    struct bytes bytes = {twice, sizeof(twice) - 1};

    ck_assert(matches_message("id=y status=SUSPENDED created_at=6 roles:r roles:s", bytes));
    ck_assert(matches_message("profile.first_name=P profile.last_name=q", bytes));
    ck_assert(!matches_message("id=x OR status=ACTIVE OR created_at=5", bytes));
    bytes = (struct bytes){odd, sizeof(odd) - 1};
    ck_assert(matches_message("id=z status=SUSPENDED created_at=0 profile.last_name=w", bytes));
    bytes = (struct bytes){negative, sizeof(negative) - 1};
    ck_assert(matches_message("created_at=-5 status!=ACTIVE status:*", bytes));
    bytes = (struct bytes){0};
    ck_assert(matches_message("id='' status=UNSPECIFIED -roles:* -profile:*", bytes));
    ck_assert(matches_message("id=* id=** id:'' id<a username=* email:''", bytes));

    memset(id, 'i', sizeof(id));
    ck_assert_int_eq(proto_wire_append_bytes(&message, 1, (struct bytes){id, sizeof(id)}), 0);
    ck_assert_int_eq(proto_wire_append_varint(&message, 6, 2), 0);
    ck_assert(matches_message("id=iii* status=INACTIVE", buf_bytes(&message)));
    buf_deinit(&message);
    arena_deinit(&arena);
}

END_TEST

/* A message that ends too early is read as far as it goes, and no further. */
START_TEST(user_filter_stops_where_a_message_is_broken)
{
    static const uint8_t whole[] = "\x0a\x01x\x30\x03\x20\x80\x01\x3a\x03\x0a\x01p\x2a\x01r";

    for (size_t size = 0; size < sizeof(whole); size++) {
        uint8_t *copy = malloc(size + 1);
        struct bytes message = {copy, size};

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, whole, size);
        ck_assert(matches_message("id=x", message) == (size >= 3));
        ck_assert(matches_message("status=SUSPENDED", message) == (size >= 5));
        ck_assert(matches_message("created_at=128", message) == (size >= 8));
        ck_assert(matches_message("profile.first_name=p", message) == (size >= 13));
        ck_assert(matches_message("roles:r", message) == (size >= 16));
        free(copy);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

END_TEST

/* The short way for ASCII names gives what user_fold() gives, for each character, at each length.
 */
START_TEST(user_filter_folds_ascii_like_user_fold)
{
    uint8_t name[USER_FOLDED_BYTES_MAX + 1];
    uint8_t folded[USER_FOLDED_BYTES_MAX];
    size_t size;

    for (unsigned c = 1; c < 0x80; c++) {
        char text[64];
        const char *escape = strchr("\\\"*", (int)c) != NULL ? "\\" : "";
        struct buf message = {0};

        name[0] = (uint8_t)c;
        ck_assert_int_eq(user_fold((struct bytes){name, 1}, folded, &size), 0);
        ck_assert_uint_eq(size, 1);
        (void)snprintf(text, sizeof(text), "profile.first_name:\"%s%c\"", escape, folded[0]);
        ck_assert_int_eq(buf_append(&message, "\x3a\x03\x0a\x01", 4), 0);
        ck_assert_int_eq(buf_append(&message, name, 1), 0);
        ck_assert_msg(matches_message(text, buf_bytes(&message)), "character %u", c);
        buf_deinit(&message);
    }
    memset(name, 'N', sizeof(name));
    for (size = USER_FOLDED_BYTES_MAX - 1; size <= USER_FOLDED_BYTES_MAX + 1; size++) {
        struct buf profile = {0};
        struct buf message = {0};
        struct bytes text = {name, size};
        size_t folded_size;

        ck_assert_int_eq(proto_wire_append_bytes(&profile, 1, text), 0);
        ck_assert_int_eq(proto_wire_append_bytes(&message, 7, buf_bytes(&profile)), 0);
        ck_assert(matches_message("profile.first_name:nnn", buf_bytes(&message)) ==
                  (user_fold(text, folded, &folded_size) == 0));
        ck_assert(matches_message("profile.first_name:\"\"", buf_bytes(&message)) ==
                  (user_fold(text, folded, &folded_size) == 0));
        buf_deinit(&profile);
        buf_deinit(&message);
    }
    arena_deinit(&arena);
}

END_TEST

/* The unique key is a value that all matches have: only an equality that nothing can do without. */
START_TEST(user_filter_finds_the_unique_key)
{
    static const struct {
        const char *filter;
        enum user_filter_key key;
        const char *value;
    } cases[] = {
        {"id = A1", USER_FILTER_KEY_ID, "A1"},
        {"username = BOB", USER_FILTER_KEY_USERNAME, "bob"},
        {"email = \"Bob@Corp.org\"", USER_FILTER_KEY_EMAIL, "bob@corp.org"},
        {"status = ACTIVE AND id = A1", USER_FILTER_KEY_ID, "A1"},
        {"status = ACTIVE id = A1 roles:x OR roles:y", USER_FILTER_KEY_ID, "A1"},
        {"(roles:x OR -roles:y) AND (id = A1 AND (z))", USER_FILTER_KEY_ID, "A1"},
        {"NOT (id = a OR id = b) email = c", USER_FILTER_KEY_EMAIL, "c"},
        {"NOT (NOT id = A1)", USER_FILTER_KEY_ID, "A1"},
        {"NOT (x OR NOT id = A1)", USER_FILTER_KEY_ID, "A1"},
        {"email = a email = b", USER_FILTER_KEY_EMAIL, "a"},
        {"id = ''", USER_FILTER_KEY_ID, ""},
        {"id = '\\*'", USER_FILTER_KEY_ID, "*"},
        {"id = A1 OR id = b2", USER_FILTER_KEY_NONE, NULL},
        {"id = A1 OR status = ACTIVE", USER_FILTER_KEY_NONE, NULL},
        {"(id = A1 AND x) OR (id = A1 AND y)", USER_FILTER_KEY_NONE, NULL},
        {"NOT id = A1", USER_FILTER_KEY_NONE, NULL},
        {"NOT (id = A1 AND x)", USER_FILTER_KEY_NONE, NULL},
        {"id != A1", USER_FILTER_KEY_NONE, NULL},
        {"NOT id != A1", USER_FILTER_KEY_NONE, NULL},
        {"id = A*", USER_FILTER_KEY_NONE, NULL},
        {"id >= A1", USER_FILTER_KEY_NONE, NULL},
        {"username:bob", USER_FILTER_KEY_NONE, NULL},
        {"profile.first_name = Anna", USER_FILTER_KEY_NONE, NULL},
        {"bob", USER_FILTER_KEY_NONE, NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes value = {0};
        enum user_filter_key key = user_filter_unique_key(parse(cases[i].filter), &value);

        ck_assert_msg(key == cases[i].key, "%s: key %d", cases[i].filter, (int)key);
        if (key != USER_FILTER_KEY_NONE) {
            ck_assert_msg(bytes_equal(value, bytes_from_text(cases[i].value)), "%s: %.*s",
                          cases[i].filter, (int)value.size, (const char *)value.data);
        } else {
            ck_assert_ptr_null(value.data);
        }
    }
    arena_deinit(&arena);
}

END_TEST

UNIT_MAIN("user_filter", user_filter_compares_texts, user_filter_passes_over_a_missing_profile,
          user_filter_knows_wildcards, user_filter_knows_has, user_filter_compares_times,
          user_filter_compares_statuses, user_filter_looks_for_literals,
          user_filter_joins_restrictions, user_filter_reads_any_message,
          user_filter_stops_where_a_message_is_broken, user_filter_folds_ascii_like_user_fold,
          user_filter_finds_the_unique_key)
