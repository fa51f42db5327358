#include "service/user_filter_internal.h"
#include "service/user_fold.h"
#include "service/user_record.h"

#include <errno.h>

/*
 * What a restriction means: the type of the field decides which operators there are and how the
 * literal is read. All that can be done once is done here, so that a test compares bytes or
 * numbers.
 *
 *   texts     id, profile.*: bytes, in their order. username, email: the same in folded form.
 *   times     created_at, updated_at: every comparison is a range of milliseconds. A literal
 * between two milliseconds equals none, and lies above the first and below the second. status    =
 * and != and : by the name of the enum, with or without USER_STATUS_. roles     : alone, has this
 * very element. profile   :* alone, some text in it is not empty.
 *
 * `:` on a text is "contains" in folded form. A literal to be folded that does not fold (characters
 * that Unicode has not assigned, or too many) is refused, for no stored name can be like it.
 */

enum field_type {
    TYPE_TEXT,
    TYPE_NAME, /* a text that is kept folded */
    TYPE_TIME,
    TYPE_STATUS,
    TYPE_ROLES,
    TYPE_PROFILE,
};

static const struct {
    const char *name;
    enum field_type type;
} fields[USER_FILTER_FIELD_ANY] = {
    [USER_FILTER_FIELD_ID] = {"id", TYPE_TEXT},
    [USER_FILTER_FIELD_USERNAME] = {"username", TYPE_NAME},
    [USER_FILTER_FIELD_EMAIL] = {"email", TYPE_NAME},
    [USER_FILTER_FIELD_FIRST_NAME] = {"profile.first_name", TYPE_TEXT},
    [USER_FILTER_FIELD_LAST_NAME] = {"profile.last_name", TYPE_TEXT},
    [USER_FILTER_FIELD_AVATAR_URL] = {"profile.avatar_url", TYPE_TEXT},
    [USER_FILTER_FIELD_CREATED_AT] = {"created_at", TYPE_TIME},
    [USER_FILTER_FIELD_UPDATED_AT] = {"updated_at", TYPE_TIME},
    [USER_FILTER_FIELD_STATUS] = {"status", TYPE_STATUS},
    [USER_FILTER_FIELD_ROLES] = {"roles", TYPE_ROLES},
    [USER_FILTER_FIELD_PROFILE] = {"profile", TYPE_PROFILE},
};

#define STATUS_PREFIX "USER_STATUS_"

static const struct {
    const char *name;
    enum user_status status;
} statuses[] = {
    {"UNSPECIFIED", USER_STATUS_UNSPECIFIED}, {"ACTIVE", USER_STATUS_ACTIVE},
    {"INACTIVE", USER_STATUS_INACTIVE},       {"SUSPENDED", USER_STATUS_SUSPENDED},
    {"DELETED", USER_STATUS_DELETED},
};

struct builder {
    const struct user_filter_restriction *restriction;
    struct arena *arena;
    struct user_filter_problem *problem;
};

static bool has_star(const struct user_filter_value *value)
{
    return value->star_front || value->star_back;
}

/* `*` and nothing else. */
static bool is_star_alone(const struct user_filter_value *value)
{
    return value->star_front && !value->star_back && value->text.size == 0;
}

static int refuse_star(const struct builder *builder)
{
    return user_filter_refuse(builder->problem, builder->restriction->value.star_position,
                              "no wildcard here: `*` may stand at the ends of a text after = or "
                              "!=, or alone after `:`");
}

static int refuse_operator(const struct builder *builder, const char *remedy)
{
    char name[USER_FILTER_EXCERPT_SIZE];

    return user_filter_refuse(builder->problem, builder->restriction->op_position,
                              "this operator does not fit the field %s: %s",
                              user_filter_excerpt(builder->restriction->field, name), remedy);
}

/* Puts the folded form of the literal into the test. */
static int fold_text(const struct builder *builder, struct user_filter_test *test)
{
    const struct user_filter_value *value = &builder->restriction->value;
    uint8_t folded[USER_FOLDED_BYTES_MAX];
    uint8_t *copy;
    size_t size = 0;

    if (value->text.size > 0 && user_fold(value->text, folded, &size) != 0) {
        return user_filter_refuse(builder->problem, value->position,
                                  "no user has this text: it is longer than %d bytes, or has "
                                  "characters unknown to Unicode",
                                  USER_FOLDED_BYTES_MAX);
    }
    copy = arena_alloc(builder->arena, size);
    if (copy == NULL) {
        return -ENOMEM;
    }
    if (size > 0) {
        memcpy(copy, folded, size);
    }
    test->text = (struct bytes){copy, size};
    return 0;
}

static enum user_filter_kind kind_of_pattern(const struct user_filter_value *value)
{
    if (value->star_front && value->star_back) {
        return USER_FILTER_KIND_CONTAINS;
    }
    if (value->star_front) {
        return USER_FILTER_KIND_ENDS;
    }
    return value->star_back ? USER_FILTER_KIND_STARTS : USER_FILTER_KIND_EQUALS;
}

static int build_text(const struct builder *builder, bool is_name, struct user_filter_test *test)
{
    const struct user_filter_value *value = &builder->restriction->value;

    test->kind = USER_FILTER_KIND_ORDERED;
    test->text = value->text;
    switch (builder->restriction->op) {
    case USER_FILTER_OPERATOR_HAS:
        if (is_star_alone(value)) {
            test->kind = USER_FILTER_KIND_PRESENT;
            return 0;
        }
        test->kind = is_name ? USER_FILTER_KIND_CONTAINS : USER_FILTER_KIND_CONTAINS_FOLDED;
        return has_star(value) ? refuse_star(builder) : fold_text(builder, test);
    case USER_FILTER_OPERATOR_EQUAL:
    case USER_FILTER_OPERATOR_NOT_EQUAL:
        test->kind = kind_of_pattern(value);
        test->negated = builder->restriction->op == USER_FILTER_OPERATOR_NOT_EQUAL;
        return is_name ? fold_text(builder, test) : 0;
    case USER_FILTER_OPERATOR_LESS:
        test->orders = USER_FILTER_ORDER_LESS;
        break;
    case USER_FILTER_OPERATOR_LESS_EQUAL:
        test->orders = USER_FILTER_ORDER_LESS | USER_FILTER_ORDER_EQUAL;
        break;
    case USER_FILTER_OPERATOR_GREATER:
        test->orders = USER_FILTER_ORDER_GREATER;
        break;
    case USER_FILTER_OPERATOR_GREATER_EQUAL:
        test->orders = USER_FILTER_ORDER_GREATER | USER_FILTER_ORDER_EQUAL;
        break;
    }
    if (has_star(value)) {
        return refuse_star(builder);
    }
    return is_name ? fold_text(builder, test) : 0;
}

/* Every number but 0, which stands for none. */
static void build_not_zero(struct user_filter_test *test)
{
    test->kind = USER_FILTER_KIND_RANGE;
    test->low = 0;
    test->high = 0;
    test->negated = true;
}

/* Reads a decimal number that an int64 holds. */
static bool read_integer(struct bytes text, int64_t *ret_number)
{
    bool negative = text.size > 0 && text.data[0] == '-';
    int64_t number = 0;

    if (text.size == negative) {
        return false;
    }
    for (size_t i = negative; i < text.size; i++) {
        int digit = text.data[i] - '0';

        if (digit < 0 || digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_sub_overflow(number, digit, &number)) {
            return false; /* counted downwards: there is one more negative number */
        }
    }
    if (!negative && number == INT64_MIN) {
        return false;
    }
    *ret_number = negative ? number : -number;
    return true;
}

/* The milliseconds that compare so with the literal; `beyond`: it lies behind `ms`, before the
 * next.
 */
static void build_range(enum user_filter_operator op, int64_t ms, bool beyond,
                        struct user_filter_test *test)
{
    bool empty = false;

    test->kind = USER_FILTER_KIND_RANGE;
    test->low = INT64_MIN;
    test->high = INT64_MAX;
    switch (op) {
    case USER_FILTER_OPERATOR_HAS:
    case USER_FILTER_OPERATOR_EQUAL:
    case USER_FILTER_OPERATOR_NOT_EQUAL:
        test->low = ms;
        test->high = ms;
        test->negated = op == USER_FILTER_OPERATOR_NOT_EQUAL;
        empty = beyond;
        break;
    case USER_FILTER_OPERATOR_LESS:
        empty = ms == INT64_MIN && !beyond;
        test->high = beyond || empty ? ms : ms - 1;
        break;
    case USER_FILTER_OPERATOR_LESS_EQUAL:
        test->high = ms;
        break;
    case USER_FILTER_OPERATOR_GREATER:
        empty = ms == INT64_MAX;
        test->low = empty ? ms : ms + 1;
        break;
    case USER_FILTER_OPERATOR_GREATER_EQUAL:
        test->low = beyond ? ms + 1 : ms;
        break;
    }
    if (empty) {
        test->low = 1;
        test->high = 0;
    }
}

static int build_time(const struct builder *builder, struct user_filter_test *test)
{
    const struct user_filter_value *value = &builder->restriction->value;
    char excerpt[USER_FILTER_EXCERPT_SIZE];
    bool beyond = false;
    int64_t ms;

    if (builder->restriction->op == USER_FILTER_OPERATOR_HAS) {
        if (!is_star_alone(value)) {
            return refuse_operator(builder, "use = != < <= > >=, or `:*` for any time");
        }
        build_not_zero(test);
        return 0;
    }
    if (has_star(value)) {
        return refuse_star(builder);
    }
    if (!read_integer(value->text, &ms) && user_filter_parse_time(value->text, &ms, &beyond) != 0) {
        return user_filter_refuse(builder->problem, value->position,
                                  "`%s` is no time: write it like 2024-05-31T18:30:00Z (with a "
                                  "zone), or milliseconds since 1970",
                                  user_filter_excerpt(value->text, excerpt));
    }
    build_range(builder->restriction->op, ms, beyond, test);
    return 0;
}

static int build_status(const struct builder *builder, struct user_filter_test *test)
{
    const struct user_filter_value *value = &builder->restriction->value;
    enum user_filter_operator op = builder->restriction->op;
    struct bytes prefix = BYTES_LITERAL(STATUS_PREFIX);
    struct bytes name = value->text;
    char excerpt[USER_FILTER_EXCERPT_SIZE];

    if (op != USER_FILTER_OPERATOR_EQUAL && op != USER_FILTER_OPERATOR_NOT_EQUAL &&
        op != USER_FILTER_OPERATOR_HAS) {
        return refuse_operator(builder, "use = or !=, for names have no order");
    }
    if (op == USER_FILTER_OPERATOR_HAS && is_star_alone(value)) {
        build_not_zero(test);
        return 0;
    }
    if (has_star(value)) {
        return refuse_star(builder);
    }
    if (name.size > prefix.size && memcmp(name.data, prefix.data, prefix.size) == 0) {
        name = (struct bytes){name.data + prefix.size, name.size - prefix.size};
    }
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (bytes_equal(name, bytes_from_text(statuses[i].name))) {
            build_range(op, (int64_t)statuses[i].status, false, test);
            return 0;
        }
    }
    return user_filter_refuse(builder->problem, value->position,
                              "unknown status `%s`: use ACTIVE, INACTIVE or SUSPENDED, in capitals",
                              user_filter_excerpt(value->text, excerpt));
}

static int build_roles(const struct builder *builder, struct user_filter_test *test)
{
    const struct user_filter_value *value = &builder->restriction->value;

    if (builder->restriction->op != USER_FILTER_OPERATOR_HAS) {
        return refuse_operator(builder, "a user has several, write roles:admin");
    }
    test->kind = USER_FILTER_KIND_HAS_ROLE;
    test->text = value->text;
    if (is_star_alone(value)) {
        test->kind = USER_FILTER_KIND_PRESENT;
        return 0;
    }
    return has_star(value) ? refuse_star(builder) : 0;
}

static int build_profile(const struct builder *builder, struct user_filter_test *test)
{
    if (builder->restriction->op != USER_FILTER_OPERATOR_HAS ||
        !is_star_alone(&builder->restriction->value)) {
        return refuse_operator(builder, "write `profile:*`, or compare a field of it such as "
                                        "profile.first_name");
    }
    test->kind = USER_FILTER_KIND_PRESENT;
    return 0;
}

static int build_literal(const struct builder *builder, struct user_filter_test *test)
{
    test->field = USER_FILTER_FIELD_ANY;
    test->kind = USER_FILTER_KIND_CONTAINS_FOLDED;
    return has_star(&builder->restriction->value) ? refuse_star(builder) : fold_text(builder, test);
}

static int build_field(const struct builder *builder, struct user_filter_test *test)
{
    char excerpt[USER_FILTER_EXCERPT_SIZE];
    unsigned i = 0;

    while (i < USER_FILTER_FIELD_ANY &&
           !bytes_equal(bytes_from_text(fields[i].name), builder->restriction->field)) {
        i++;
    }
    if (i == USER_FILTER_FIELD_ANY) {
        return user_filter_refuse(builder->problem, builder->restriction->field_position,
                                  "unknown field `%s`: use id, username, email, created_at, "
                                  "updated_at, roles, status, profile.first_name, .last_name, "
                                  ".avatar_url",
                                  user_filter_excerpt(builder->restriction->field, excerpt));
    }
    test->field = (enum user_filter_field)i;
    switch (fields[i].type) {
    case TYPE_TEXT:
        return build_text(builder, false, test);
    case TYPE_NAME:
        return build_text(builder, true, test);
    case TYPE_TIME:
        return build_time(builder, test);
    case TYPE_STATUS:
        return build_status(builder, test);
    case TYPE_ROLES:
        return build_roles(builder, test);
    case TYPE_PROFILE:
        return build_profile(builder, test);
    }
    return -EINVAL; /* Not tested: no field has another type. */
}

int user_filter_build_test(const struct user_filter_restriction *restriction, struct arena *arena,
                           struct user_filter_test *ret_test, struct user_filter_problem *problem)
{
    struct builder builder = {restriction, arena, problem};
    struct user_filter_test test = {0};
    int result = restriction->field.size == 0 ? build_literal(&builder, &test)
                                              : build_field(&builder, &test);

    if (result == 0) {
        *ret_test = test;
    }
    return result;
}
