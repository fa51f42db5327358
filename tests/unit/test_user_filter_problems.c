#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/user_filter.h"
#include "service/user_fold.h"

#include <errno.h>

static struct arena arena;

/* Users with a name and nothing else. */
static const struct user_filter_subject anna = {.username = {(const uint8_t *)"anna", 4}};
static const struct user_filter_subject bob = {.username = {(const uint8_t *)"bob", 3}};

static const struct user_filter *filter;   /* NULL: it was refused */
static struct user_filter_problem problem; /* and this is why */

/* Parses the first bytes of a text. */
static int parse(const char *text, size_t size)
{
    filter = NULL;
    problem = (struct user_filter_problem){0};
    return user_filter_parse((struct bytes){(const uint8_t *)text, size}, &arena, &filter,
                             &problem);
}

static const struct {
    const char *filter;
    size_t position;
    const char *text; /* somewhere in it */
} problems[] = {
    {"foo = 1", 0, "unknown field `foo`: use id"},
    {"id = a AND fo\xc3\xa4 = 1", 11, "unknown field `fo\xc3\xa4`"},
    {"Id = a", 0, "unknown field `Id`"},
    {"profile.name = a", 0, "profile.first_name"},
    {"roles.x:a", 0, "unknown field"},
    {"password = a", 0, "unknown field"},
    {"status = active", 9, "unknown status `active`: use ACTIVE"},
    {"status = USER_STATUS_", 9, "unknown status"},
    {"status = 1", 9, "unknown status `1`"},
    {"status < ACTIVE", 7, "does not fit the field status: use = or !="},
    {"status = ACT*", 12, "no wildcard here"},
    {"roles = admin", 6, "write roles:admin"},
    {"roles:adm*", 9, "no wildcard here"},
    {"profile = a", 8, "`profile:*`"},
    {"profile:a", 7, "`profile:*`"},
    {"created_at = yesterday", 13, "`yesterday` is no time"},
    {"created_at = 2024-01-01", 13, "is no time"},
    {"created_at = 2024-01-01T00:00:00", 13, "zone"},
    {"created_at = 9223372036854775808", 13, "is no time"},
    {"created_at = -9223372036854775809", 13, "is no time"},
    {"created_at = -", 13, "is no time"},
    {"created_at = \"\"", 13, "is no time"},
    {"created_at:5", 10, "use = != <"},
    {"created_at = *", 13, "no wildcard here"},
    {"username:a*", 10, "no wildcard here"},
    {"username:**", 9, "no wildcard here"},
    {"username < *a", 11, "no wildcard here"},
    {"username < \"a*\"", 13, "no wildcard here"},
    {"exam*", 4, "no wildcard here"},
    {"*", 0, "no wildcard here"},
    {"username = a*b", 12, "`*` may stand only at the ends"},
    {"username = \"a*\\\"\"", 13, "`*` may stand only at the ends"},
    {"username = *a*b*", 13, "`*` may stand only at the ends"},
    {"username = ***", 12, "`*` may stand only at the ends"},
    {"username = \"a", 11, "does not end"},
    {"username = 'a\\'", 11, "does not end"},
    {"'a\\", 0, "does not end"},
    {"username = \"a\\n\"", 13, "unknown escape"},
    {"username = a\\*", 12, "backslash"},
    {"username = ", 11, "a value is missing"},
    {"username =", 10, "a value is missing"},
    {"(username = )", 12, "a value is missing"},
    {"username = AND", 11, "a value is missing"},
    {"username = (a OR b)", 11, "one value is expected"},
    {"username == a", 9, "write `=`"},
    {"username ! a", 9, "`!`"},
    {"!username", 0, "`!`"},
    {"username = = a", 11, "unexpected operator"},
    {"username = a=b", 12, "unexpected operator"},
    {"= a", 0, "unexpected operator"},
    {"\"username\" = a", 0, "a string is no field"},
    {"username = a, b", 12, "lists"},
    {"a && b", 2, "AND or OR"},
    {"a || b", 2, "AND or OR"},
    {"f(a)", 1, "function calls"},
    {"username = f(a)", 12, "function calls"},
    {"a\"b\"", 1, "a quote inside a word"},
    {"\"a\"b", 3, "a blank is missing"},
    {"\"a\"\"b\"", 3, "a blank before it"},
    {"username = \"a\"b", 14, "a blank is missing"},
    {"a\x01", 1, "control character"},
    {"(a", 0, "not closed"},
    {"a (b (c)", 2, "not closed"},
    {"a)", 1, "no parenthesis is open"},
    {"()", 1, "a restriction is missing"},
    {"AND a", 0, "a restriction is missing"},
    {"a AND", 5, "a restriction is missing"},
    {"a AND OR b", 6, "a restriction is missing"},
    {"a OR", 4, "a restriction is missing"},
    {"a OR )", 5, "a restriction is missing"},
    {"NOT", 3, "a restriction is missing"},
    {"NOT NOT a", 4, "one NOT"},
    {"NOT -a", 4, "one NOT"},
    {"--a", 1, "one NOT"},
    {"- a", 0, "a minus stands directly"},
    {"a -", 2, "a minus stands directly"},
    {"  ", 2, "a restriction is missing"},
    {"username = \xcd\xb8", 11, "no user has this text"},
};

/* What is wrong is told with its place, and with words that help. */
START_TEST(user_filter_explains_what_is_wrong)
{
    for (size_t i = 0; i < sizeof(problems) / sizeof(problems[0]); i++) {
        int result = parse(problems[i].filter, strlen(problems[i].filter));

        ck_assert_msg(result == USER_FILTER_E_INVALID, "%s: passes", problems[i].filter);
        ck_assert_ptr_null(filter);
        ck_assert_msg(problem.position == problems[i].position &&
                          strstr(problem.text, problems[i].text) != NULL,
                      "%s: at %zu: %s", problems[i].filter, problem.position, problem.text);
        ck_assert_msg(strlen(problem.text) + 1 < sizeof(problem.text), "%s: cut: %s",
                      problems[i].filter, problem.text);
        arena_reset(&arena);
    }
    arena_deinit(&arena);
}

END_TEST

/* A long name is cut between two characters when a problem tells it, and nothing else is; what no
 * terminal should see is replaced. */
START_TEST(user_filter_cuts_long_excerpts)
{
    for (size_t padding = 0; padding < 4; padding++) {
        char text[600] = "aaa";
        size_t size = padding;

        while (size < 500) {
            memcpy(text + size, "\xf0\x9f\x90\xbb", 4);
            size += 4;
        }
        memcpy(text + size, " = 1", 5);
        ck_assert_int_eq(parse(text, size + 4), USER_FILTER_E_INVALID);
        ck_assert(proto_wire_is_utf8(bytes_from_text(problem.text)));
        ck_assert_ptr_nonnull(strstr(problem.text, "\xf0\x9f\x90\xbb...`: use"));
        ck_assert_ptr_nonnull(strstr(problem.text, ".avatar_url"));
    }
    ck_assert_int_eq(parse("status = \"a\x01_\"", 14), USER_FILTER_E_INVALID);
    ck_assert_ptr_nonnull(strstr(problem.text, "`a?_`"));
    arena_deinit(&arena);
}

END_TEST

/* A literal that is too long to be folded is refused; at the most that can be it is not. */
START_TEST(user_filter_limits_folded_literals)
{
    char text[USER_FOLDED_BYTES_MAX + 16] = "username = ";
    size_t size = strlen(text);

    memset(text + size, 'a', USER_FOLDED_BYTES_MAX + 1);
    ck_assert_int_eq(parse(text, size + USER_FOLDED_BYTES_MAX), 0);
    ck_assert_int_eq(parse(text, size + USER_FOLDED_BYTES_MAX + 1), USER_FILTER_E_INVALID);
    ck_assert_uint_eq(problem.position, size);
    arena_deinit(&arena);
}

END_TEST

/* As many restrictions as allowed pass, one more is refused where it begins. */
START_TEST(user_filter_limits_restrictions)
{
    char text[6 * (USER_FILTER_TERMS_MAX + 1)];
    size_t size = 0;

    for (unsigned i = 0; i < USER_FILTER_TERMS_MAX + 1; i++) {
        memcpy(text + size, i % 2 == 0 ? "an OR " : "id>A  ", 6);
        size += 6;
    }
    ck_assert_int_eq(parse(text, size - 6), 0);
    ck_assert(user_filter_matches(filter, &anna));
    ck_assert(!user_filter_matches(filter, &bob));
    ck_assert_int_eq(parse(text, size - 4), USER_FILTER_E_INVALID);
    ck_assert_uint_eq(problem.position, size - 6);
    ck_assert_ptr_nonnull(strstr(problem.text, "may have 64"));
    arena_deinit(&arena);
}

END_TEST

static size_t repeat(char *out, unsigned count, const char *text)
{
    size_t size = strlen(text);

    for (unsigned i = 0; i < count; i++) {
        memcpy(out + i * size, text, size);
    }
    return count * size;
}

static int parse_nested(unsigned depth, const char *opening)
{
    char text[8 * USER_FILTER_DEPTH_MAX + 8];
    size_t size = repeat(text, depth, opening);

    size += repeat(text + size, 1, "anna");
    size += repeat(text + size, depth, ")");
    return parse(text, size);
}

/* Parentheses and NOTs go as deep as allowed and no deeper; one after another they go on. */
START_TEST(user_filter_limits_depth)
{
    static const struct {
        const char *opening;
        unsigned levels; /* each */
    } shapes[] = {{"(", 1}, {"NOT (", 2}, {"-(", 2}};

    char text[13 * 2 * USER_FILTER_DEPTH_MAX];

    for (unsigned i = 0; i < 3; i++) {
        unsigned depth = USER_FILTER_DEPTH_MAX / shapes[i].levels;

        ck_assert_int_eq(parse_nested(depth, shapes[i].opening), 0);
        ck_assert(user_filter_matches(filter, &anna));
        ck_assert(!user_filter_matches(filter, &bob));
        ck_assert_int_eq(parse_nested(depth + 1, shapes[i].opening), USER_FILTER_E_INVALID);
        ck_assert_uint_eq(problem.position, depth * strlen(shapes[i].opening));
        ck_assert_ptr_nonnull(strstr(problem.text, "may stand 16 deep"));
    }
    ck_assert_int_eq(parse(text, repeat(text, 2 * USER_FILTER_DEPTH_MAX, "(NOT (-bob)) ")), 0);
    ck_assert(user_filter_matches(filter, &bob));
    ck_assert(!user_filter_matches(filter, &anna));
    arena_deinit(&arena);
}

END_TEST

/* Without memory, wherever it ends, parsing says so and gives nothing. */
START_TEST(user_filter_reports_lack_of_memory)
{
    struct bytes text = BYTES_LITERAL("username = anna OR email:\"b\" OR example");
    unsigned failed = 0;
    int result = -ENOMEM;

    for (size_t size_max = 16; result == -ENOMEM; size_max += 16) {
        struct arena small = {.size_max = size_max};
        filter = NULL;
        result = user_filter_parse(text, &small, &filter, &problem);
        ck_assert((filter != NULL) == (result == 0));
        failed += result == -ENOMEM;
        arena_deinit(&small);
    }
    ck_assert_int_eq(result, 0);
    ck_assert_uint_gt(failed, 4);
}

END_TEST

UNIT_MAIN("user_filter_problems", user_filter_explains_what_is_wrong,
          user_filter_cuts_long_excerpts, user_filter_limits_folded_literals,
          user_filter_limits_restrictions, user_filter_limits_depth,
          user_filter_reports_lack_of_memory)
