#include "http2/proto_wire.h"
#include "service/user_filter_internal.h"
#include "service/user_fold.h"
#include "service/user_record.h"

/*
 * Evaluation: from test to test along the exits, until one leads to an end. A million users may be
 * asked, so the message is not unpacked: it is walked at most once, when the first test needs more
 * than the folded names, and what the filter asks for is noted as places in it. As everywhere the
 * last value of a field wins, and several profiles are one.
 */

/* Numbers of users.v1.User and its Profile. */
enum {
    USER_ID = 1,
    USER_CREATED_AT = 4,
    USER_ROLES = 5,
    USER_STATUS = 6,
    USER_PROFILE = 7,
    USER_UPDATED_AT = 8,
    PROFILE_FIRST_NAME = 1,
    PROFILE_LAST_NAME = 2,
    PROFILE_AVATAR_URL = 3,
};

#define FIELD_BIT(field) (1U << (field))

#define FOLD_COST 16 /* a comparison takes up to 0.2 us, to fold a text of any letters 15 us */

#define PROFILE_FIELDS                                                                             \
    (FIELD_BIT(USER_FILTER_FIELD_FIRST_NAME) | FIELD_BIT(USER_FILTER_FIELD_LAST_NAME) |            \
     FIELD_BIT(USER_FILTER_FIELD_AVATAR_URL) | FIELD_BIT(USER_FILTER_FIELD_PROFILE) |              \
     FIELD_BIT(USER_FILTER_FIELD_ANY))

/* The values of one user. */
struct values {
    unsigned fields; /* what the filter looks at */
    bool has_profile;
    size_t role_count;
    struct bytes texts[USER_FILTER_TEXT_COUNT];
    int64_t numbers[USER_FILTER_NUMBER_COUNT];
    struct bytes roles[USER_ROLES_MAX];          /* read only as far as they are set */
    unsigned folded_fields;                      /* bit n: text n was folded, in the next two */
    struct bytes folded[USER_FILTER_TEXT_COUNT]; /* no data: it does not fold */
    uint8_t folded_bytes[USER_FILTER_TEXT_COUNT][USER_FOLDED_BYTES_MAX];
};

static void read_profile(struct bytes message, struct values *values)
{
    struct proto_wire_field field;

    values->has_profile = true;
    while (proto_wire_next(&message, &field) == 0) {
        if (field.type != PROTO_WIRE_BYTES) {
            continue;
        }
        if (field.number == PROFILE_FIRST_NAME) {
            values->texts[USER_FILTER_FIELD_FIRST_NAME] = field.bytes;
        } else if (field.number == PROFILE_LAST_NAME) {
            values->texts[USER_FILTER_FIELD_LAST_NAME] = field.bytes;
        } else if (field.number == PROFILE_AVATAR_URL) {
            values->texts[USER_FILTER_FIELD_AVATAR_URL] = field.bytes;
        }
    }
}

static void read_text(const struct proto_wire_field *field, struct values *values)
{
    if (field->number == USER_ID) {
        values->texts[USER_FILTER_FIELD_ID] = field->bytes;
    } else if (field->number == USER_ROLES) {
        if ((values->fields & FIELD_BIT(USER_FILTER_FIELD_ROLES)) != 0 &&
            values->role_count < USER_ROLES_MAX) {
            values->roles[values->role_count++] = field->bytes;
        }
    } else if (field->number == USER_PROFILE && (values->fields & PROFILE_FIELDS) != 0) {
        read_profile(field->bytes, values);
    }
}

static void set_number(struct values *values, enum user_filter_field field, int64_t number)
{
    values->numbers[field - USER_FILTER_FIELD_CREATED_AT] = number;
}

static void read_number(const struct proto_wire_field *field, struct values *values)
{
    if (field->number == USER_CREATED_AT) {
        set_number(values, USER_FILTER_FIELD_CREATED_AT, (int64_t)field->value);
    } else if (field->number == USER_STATUS) {
        set_number(values, USER_FILTER_FIELD_STATUS, (int32_t)(uint32_t)field->value);
    } else if (field->number == USER_UPDATED_AT) {
        set_number(values, USER_FILTER_FIELD_UPDATED_AT, (int64_t)field->value);
    }
}

/* The message was read when it was stored, so it ends where it should. */
static void read_message(struct bytes message, struct values *values)
{
    struct proto_wire_field field;

    while (proto_wire_next(&message, &field) == 0) {
        if (field.type == PROTO_WIRE_BYTES) {
            read_text(&field, values);
        } else if (field.type == PROTO_WIRE_VARINT) {
            read_number(&field, values);
        }
    }
}

static bool contains(struct bytes text, struct bytes part)
{
    return part.size == 0 ||
           (text.size >= part.size && memmem(text.data, text.size, part.data, part.size) != NULL);
}

/* Folds a text. ASCII, which nearly all names are, is folded right here. Returns no data when it
 * does not fold. */
static struct bytes fold(struct bytes text, uint8_t bytes[USER_FOLDED_BYTES_MAX])
{
    size_t size = 0;

    while (size < text.size && size < USER_FOLDED_BYTES_MAX && text.data[size] < 0x80) {
        uint8_t c = text.data[size];

        bytes[size++] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
    }
    if (size < text.size && user_fold(text, bytes, &size) != 0) {
        return (struct bytes){0};
    }
    return (struct bytes){bytes, size};
}

/* Whether the folded form of a text contains the part; a text that does not fold contains nothing.
 * Other letters than ASCII take long to fold, so each text is folded once, however many tests ask.
 */
static bool contains_folded(struct values *values, enum user_filter_field field, struct bytes part)
{
    if ((values->folded_fields & FIELD_BIT(field)) == 0) {
        values->folded_fields |= FIELD_BIT(field);
        values->folded[field] = fold(values->texts[field], values->folded_bytes[field]);
    }
    return values->folded[field].data != NULL && contains(values->folded[field], part);
}

static bool starts_with(struct bytes text, struct bytes part)
{
    return part.size == 0 ||
           (text.size >= part.size && memcmp(text.data, part.data, part.size) == 0);
}

static bool ends_with(struct bytes text, struct bytes part)
{
    return part.size == 0 || (text.size >= part.size && memcmp(text.data + (text.size - part.size),
                                                               part.data, part.size) == 0);
}

/* How the text compares with the other: one USER_FILTER_ORDER_x. */
static unsigned order_of(struct bytes text, struct bytes other)
{
    size_t size = text.size < other.size ? text.size : other.size;
    int order = size == 0 ? 0 : memcmp(text.data, other.data, size);

    if (order == 0) {
        order = (text.size > other.size) - (text.size < other.size);
    }
    return order < 0   ? USER_FILTER_ORDER_LESS
           : order > 0 ? USER_FILTER_ORDER_GREATER
                       : USER_FILTER_ORDER_EQUAL;
}

static bool has_role(const struct values *values, struct bytes role)
{
    for (size_t i = 0; i < values->role_count; i++) {
        if (bytes_equal(values->roles[i], role)) {
            return true;
        }
    }
    return false;
}

static bool any_contains(struct values *values, struct bytes part)
{
    return contains(values->texts[USER_FILTER_FIELD_USERNAME], part) ||
           contains(values->texts[USER_FILTER_FIELD_EMAIL], part) ||
           (values->has_profile && (contains_folded(values, USER_FILTER_FIELD_FIRST_NAME, part) ||
                                    contains_folded(values, USER_FILTER_FIELD_LAST_NAME, part)));
}

static bool is_present(const struct values *values, enum user_filter_field field)
{
    if (field == USER_FILTER_FIELD_ROLES) {
        return values->role_count > 0;
    }
    if (field == USER_FILTER_FIELD_PROFILE) {
        return values->texts[USER_FILTER_FIELD_FIRST_NAME].size > 0 ||
               values->texts[USER_FILTER_FIELD_LAST_NAME].size > 0 ||
               values->texts[USER_FILTER_FIELD_AVATAR_URL].size > 0;
    }
    return values->texts[field].size > 0;
}

static bool is_in_range(const struct user_filter_test *test, const struct values *values)
{
    int64_t number = values->numbers[test->field - USER_FILTER_FIELD_CREATED_AT];

    return number >= test->low && number <= test->high;
}

/* The test as if it were not negated. */
static bool test_holds(const struct user_filter_test *test, struct values *values)
{
    switch (test->kind) {
    case USER_FILTER_KIND_EQUALS:
        return bytes_equal(values->texts[test->field], test->text);
    case USER_FILTER_KIND_STARTS:
        return starts_with(values->texts[test->field], test->text);
    case USER_FILTER_KIND_ENDS:
        return ends_with(values->texts[test->field], test->text);
    case USER_FILTER_KIND_CONTAINS:
        return contains(values->texts[test->field], test->text);
    case USER_FILTER_KIND_CONTAINS_FOLDED:
        return test->field == USER_FILTER_FIELD_ANY
                   ? any_contains(values, test->text)
                   : contains_folded(values, test->field, test->text);
    case USER_FILTER_KIND_ORDERED:
        return (order_of(values->texts[test->field], test->text) & test->orders) != 0;
    case USER_FILTER_KIND_PRESENT:
        return is_present(values, test->field);
    case USER_FILTER_KIND_RANGE:
        return is_in_range(test, values);
    case USER_FILTER_KIND_HAS_ROLE:
        return has_role(values, test->text);
    }
    return false; /* Not tested: there is no other kind. */
}

static bool is_name(enum user_filter_field field)
{
    return field == USER_FILTER_FIELD_USERNAME || field == USER_FILTER_FIELD_EMAIL;
}

static bool is_in_profile(enum user_filter_field field)
{
    return field >= USER_FILTER_FIELD_FIRST_NAME && field <= USER_FILTER_FIELD_AVATAR_URL;
}

bool user_filter_matches(const struct user_filter *filter,
                         const struct user_filter_subject *subject)
{
    struct values values; /* not initialised whole: it is large */
    bool is_read = false;
    unsigned at = 0;

    values.fields = filter->fields;
    values.has_profile = false;
    values.role_count = 0;
    values.folded_fields = 0;
    memset(values.texts, 0, sizeof(values.texts));
    memset(values.numbers, 0, sizeof(values.numbers));
    values.texts[USER_FILTER_FIELD_USERNAME] = subject->username;
    values.texts[USER_FILTER_FIELD_EMAIL] = subject->email;
    while (at < filter->count) {
        const struct user_filter_test *test = &filter->tests[at];
        bool holds;

        if (!is_read && !is_name(test->field)) {
            read_message(subject->message, &values);
            is_read = true;
        }
        holds = (!is_in_profile(test->field) || values.has_profile) &&
                test_holds(test, &values) != test->negated;
        at = filter->exits[2 * at + holds];
    }
    return at == USER_FILTER_EXIT_ACCEPT;
}

unsigned user_filter_cost(const struct user_filter *filter)
{
    unsigned cost = 0;

    for (unsigned i = 0; i < filter->count; i++) {
        const struct user_filter_test *test = &filter->tests[i];

        if (test->kind == USER_FILTER_KIND_CONTAINS_FOLDED) {
            cost += test->field == USER_FILTER_FIELD_ANY ? 2 * FOLD_COST : FOLD_COST;
        } else {
            cost++;
        }
    }
    return cost;
}

/* Whether the end that accepts is reached by a user for whom this test does not hold. Exits lead
 * forward, so one pass over the tests finds all that can be reached. */
static bool can_match_without(const struct user_filter *filter, unsigned needed)
{
    bool reached[USER_FILTER_EXIT_ACCEPT + 1] = {true};

    for (unsigned i = 0; i < filter->count; i++) {
        if (reached[i]) {
            reached[filter->exits[2 * i]] = true;
            reached[filter->exits[2 * i + 1]] |= i != needed;
        }
    }
    return reached[USER_FILTER_EXIT_ACCEPT];
}

enum user_filter_key user_filter_unique_key(const struct user_filter *filter,
                                            struct bytes *ret_value)
{
    static const enum user_filter_key keys[] = {
        [USER_FILTER_FIELD_ID] = USER_FILTER_KEY_ID,
        [USER_FILTER_FIELD_USERNAME] = USER_FILTER_KEY_USERNAME,
        [USER_FILTER_FIELD_EMAIL] = USER_FILTER_KEY_EMAIL,
    };

    for (unsigned i = 0; i < filter->count; i++) {
        const struct user_filter_test *test = &filter->tests[i];

        if (test->field <= USER_FILTER_FIELD_EMAIL && test->kind == USER_FILTER_KIND_EQUALS &&
            !test->negated && !can_match_without(filter, i)) {
            *ret_value = test->text;
            return keys[test->field];
        }
    }
    return USER_FILTER_KEY_NONE;
}
