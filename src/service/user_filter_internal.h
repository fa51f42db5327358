/*
 * What the parts of the filter share: user_filter_scan.c reads words and values, user_filter.c the
 * grammar made of them; user_filter_term.c gives a restriction its meaning, with the times of
 * user_filter_time.c; user_filter_match.c evaluates.
 *
 * Owns:    nothing; all of it lies in the arena of the filter.
 * Borrows: the text, while it is parsed.
 * Thread:  any.
 */
#ifndef SERVICE_USER_FILTER_INTERNAL_H
#define SERVICE_USER_FILTER_INTERNAL_H

#include "service/user_filter.h"

#include <stdint.h>

/* Those that are texts come first, those that are numbers behind them: both index arrays. */
enum user_filter_field {
    USER_FILTER_FIELD_ID,
    USER_FILTER_FIELD_USERNAME,
    USER_FILTER_FIELD_EMAIL,
    USER_FILTER_FIELD_FIRST_NAME, /* this one to AVATAR_URL: inside the profile */
    USER_FILTER_FIELD_LAST_NAME,
    USER_FILTER_FIELD_AVATAR_URL,
    USER_FILTER_FIELD_CREATED_AT,
    USER_FILTER_FIELD_UPDATED_AT,
    USER_FILTER_FIELD_STATUS,
    USER_FILTER_FIELD_ROLES,
    USER_FILTER_FIELD_PROFILE,
    USER_FILTER_FIELD_ANY, /* of a literal that stands alone */
};

#define USER_FILTER_TEXT_COUNT   USER_FILTER_FIELD_CREATED_AT
#define USER_FILTER_NUMBER_COUNT (USER_FILTER_FIELD_ROLES - USER_FILTER_FIELD_CREATED_AT)

enum user_filter_kind {
    USER_FILTER_KIND_EQUALS,
    USER_FILTER_KIND_STARTS,
    USER_FILTER_KIND_ENDS,
    USER_FILTER_KIND_CONTAINS,        /* as the bytes are */
    USER_FILTER_KIND_CONTAINS_FOLDED, /* the literal is folded, the value must yet be */
    USER_FILTER_KIND_ORDERED,         /* by `orders` */
    USER_FILTER_KIND_PRESENT,
    USER_FILTER_KIND_RANGE, /* of numbers, from low to high; empty when low > high */
    USER_FILTER_KIND_HAS_ROLE,
};

/* How a value may compare with the literal; a set. */
#define USER_FILTER_ORDER_LESS    1U
#define USER_FILTER_ORDER_EQUAL   2U
#define USER_FILTER_ORDER_GREATER 4U

/* One restriction. */
struct user_filter_test {
    enum user_filter_field field;
    enum user_filter_kind kind;
    bool negated;    /* of a value that is there: nothing matches in a profile that is not */
    unsigned orders; /* KIND_ORDERED */
    struct bytes text;
    int64_t low; /* KIND_RANGE */
    int64_t high;
};

/* Where the evaluation goes from an exit of a test: to the test of that number, or to an end. */
#define USER_FILTER_EXIT_REJECT USER_FILTER_TERMS_MAX
#define USER_FILTER_EXIT_ACCEPT (USER_FILTER_TERMS_MAX + 1)

struct user_filter {
    unsigned count;
    unsigned fields; /* bit n: field n is looked at */
    struct user_filter_test tests[USER_FILTER_TERMS_MAX];
    uint8_t exits[2 * USER_FILTER_TERMS_MAX]; /* 2n: test n does not hold; 2n + 1: it holds */
};

enum user_filter_operator {
    USER_FILTER_OPERATOR_EQUAL,
    USER_FILTER_OPERATOR_NOT_EQUAL,
    USER_FILTER_OPERATOR_LESS,
    USER_FILTER_OPERATOR_LESS_EQUAL,
    USER_FILTER_OPERATOR_GREATER,
    USER_FILTER_OPERATOR_GREATER_EQUAL,
    USER_FILTER_OPERATOR_HAS,
};

/* A literal as it was read. */
struct user_filter_value {
    struct bytes text; /* without quotes, escapes and wildcards; in the arena */
    size_t position;
    size_t star_position; /* of the first wildcard */
    bool star_front;      /* a wildcard at its front; the only one of `*` */
    bool star_back;
};

/* `field op value` as it was read. */
struct user_filter_restriction {
    struct bytes field; /* no data: a literal that stands alone */
    size_t field_position;
    enum user_filter_operator op;
    size_t op_position;
    struct user_filter_value value;
};

/* The text, and how far it was read. */
struct user_filter_scanner {
    struct bytes text;
    size_t at;
    uint8_t *room; /* for the rest of the values: together they are no longer than the text */
    struct user_filter_problem *problem;
};

/* The byte here or `offset` later; 0 behind the end. */
uint8_t user_filter_peek(const struct user_filter_scanner *scanner, size_t offset);

void user_filter_skip_blanks(struct user_filter_scanner *scanner);

/* Passes the word if it stands here. */
bool user_filter_skip_keyword(struct user_filter_scanner *scanner, struct bytes keyword);

/* Refuses the byte here, with which nothing can begin or go on. */
int user_filter_refuse_byte(struct user_filter_scanner *scanner);

/* Reads `field op value` or `value`. Returns 0 or USER_FILTER_E_INVALID. */
int user_filter_read_restriction(struct user_filter_scanner *scanner,
                                 struct user_filter_restriction *ret_restriction);

/* Fills in a problem and returns USER_FILTER_E_INVALID. */
int user_filter_refuse(struct user_filter_problem *problem, size_t position, const char *format,
                       ...) __attribute__((format(printf, 3, 4)));

#define USER_FILTER_EXCERPT_SIZE 32

/* Writes the text, or as many whole characters of it as fit, and returns `out`. */
const char *user_filter_excerpt(struct bytes text, char out[USER_FILTER_EXCERPT_SIZE]);

/* What a restriction means. Returns like user_filter_parse(). */
int user_filter_build_test(const struct user_filter_restriction *restriction, struct arena *arena,
                           struct user_filter_test *ret_test, struct user_filter_problem *problem);

/* Reads RFC 3339 text with a zone. `*ret_beyond` is true when the time is after that millisecond,
 * but before the next. Returns 0 or USER_FILTER_E_INVALID. */
int user_filter_parse_time(struct bytes text, int64_t *ret_ms, bool *ret_beyond);

#endif
