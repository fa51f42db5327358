#include "service/user_filter_internal.h"

#include <stdarg.h>
#include <stdio.h>

/*
 * What the text is made of: words, quoted strings, operators; and what to say where it goes wrong.
 * A word is anything without blanks and without the signs of the language, so that names, numbers,
 * addresses of mail and many other values need no quotes. A value may hold colons as well, for
 * behind an operator no other can follow. A backslash escapes inside quotes only, and only what
 * needs it.
 */

#define NO_OPERATOR 2 /* beside the outcomes of user_filter_parse() */

int user_filter_refuse(struct user_filter_problem *problem, size_t position, const char *format,
                       ...)
{
    va_list arguments;

    problem->position = position;
    va_start(arguments, format);
    (void)vsnprintf(problem->text, sizeof(problem->text), format, arguments); /* texts fit */
    va_end(arguments);
    return USER_FILTER_E_INVALID;
}

const char *user_filter_excerpt(struct bytes text, char out[USER_FILTER_EXCERPT_SIZE])
{
    static const char more[] = "...";
    size_t size = text.size;

    if (size >= USER_FILTER_EXCERPT_SIZE) {
        size = USER_FILTER_EXCERPT_SIZE - sizeof(more);
        while (size > 0 && (text.data[size] & 0xc0) == 0x80) {
            size--; /* the middle of a character */
        }
        memcpy(out + size, more, sizeof(more));
    } else {
        out[size] = '\0';
    }
    memcpy(out, text.data, size);
    for (size_t i = 0; i < size; i++) {
        if (text.data[i] < ' ' || text.data[i] == 0x7f) {
            out[i] = '?';
        }
    }
    return out;
}

uint8_t user_filter_peek(const struct user_filter_scanner *scanner, size_t offset)
{
    size_t at = scanner->at + offset;

    return at < scanner->text.size ? scanner->text.data[at] : 0;
}

static bool is_one_of(uint8_t c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool is_blank(uint8_t c)
{
    return is_one_of(c, " \t\n\r");
}

static bool is_quote(uint8_t c)
{
    return is_one_of(c, "\"'");
}

static bool is_word_byte(uint8_t c)
{
    return c > ' ' && c != 0x7f && !is_one_of(c, "\"'()=<>!:,&|\\");
}

void user_filter_skip_blanks(struct user_filter_scanner *scanner)
{
    while (is_blank(user_filter_peek(scanner, 0))) {
        scanner->at++;
    }
}

/* The word that begins here; empty when none does. */
static struct bytes peek_word(const struct user_filter_scanner *scanner, bool with_colons)
{
    struct bytes word = {scanner->text.data + scanner->at, 0};

    while (is_word_byte(user_filter_peek(scanner, word.size)) ||
           (with_colons && user_filter_peek(scanner, word.size) == ':')) {
        word.size++;
    }
    return word;
}

static bool is_keyword(struct bytes word)
{
    return bytes_equal(word, BYTES_LITERAL("AND")) || bytes_equal(word, BYTES_LITERAL("OR")) ||
           bytes_equal(word, BYTES_LITERAL("NOT"));
}

bool user_filter_skip_keyword(struct user_filter_scanner *scanner, struct bytes keyword)
{
    if (!bytes_equal(peek_word(scanner, false), keyword)) {
        return false;
    }
    scanner->at += keyword.size;
    return true;
}

static int refuse_here(struct user_filter_scanner *scanner, const char *text)
{
    return user_filter_refuse(scanner->problem, scanner->at, "%s", text);
}

int user_filter_refuse_byte(struct user_filter_scanner *scanner)
{
    switch (user_filter_peek(scanner, 0)) {
    case '&':
    case '|':
        return refuse_here(scanner, "`&` and `|` are no operators: write AND or OR, or put the "
                                    "value in quotes");
    case '!':
        return refuse_here(scanner, "`!` stands only in `!=`: to negate write NOT or `-`");
    case ',':
        return refuse_here(scanner, "lists are not supported: join restrictions with AND or OR, or "
                                    "put the value in quotes");
    case '\\':
        return refuse_here(scanner, "a backslash may stand only inside quotes");
    case '(':
        return refuse_here(scanner, "function calls are not supported: compare a field, or put the "
                                    "text in quotes");
    case ')':
        return refuse_here(scanner, "no parenthesis is open here: remove this one");
    case '"':
    case '\'':
        return refuse_here(scanner, "a quote inside a word: put a blank before it, or quote the "
                                    "whole value");
    case ':':
    case '=':
    case '<':
    case '>':
        return refuse_here(scanner, "unexpected operator: write `field operator value`, with a "
                                    "value that has such signs in quotes");
    default:
        return refuse_here(scanner, is_word_byte(user_filter_peek(scanner, 0))
                                        ? "a blank is missing before this"
                                        : "unexpected control character: put the value in quotes");
    }
}

static int refuse_operand(struct user_filter_scanner *scanner)
{
    uint8_t c = user_filter_peek(scanner, 0);

    if (c == 0 || c == ')' || is_word_byte(c)) {
        return refuse_here(scanner, "a restriction is missing here: expected something such as "
                                    "status = ACTIVE");
    }
    return user_filter_refuse_byte(scanner);
}

/* What may stand behind a value: nothing that could be a part of it. */
static int check_value_end(struct user_filter_scanner *scanner)
{
    uint8_t c = user_filter_peek(scanner, 0);

    return scanner->at == scanner->text.size || is_blank(c) || c == ')'
               ? 0
               : user_filter_refuse_byte(scanner);
}

/* Appends the byte at this place to the value; `plain`: it was escaped. */
static int add_to_value(struct user_filter_scanner *scanner, struct user_filter_value *value,
                        bool plain)
{
    uint8_t c = user_filter_peek(scanner, 0);

    if (value->star_back) {
        return user_filter_refuse(scanner->problem, scanner->at - 1U - plain,
                                  "`*` may stand only at the ends of a text: write \"\\*\" for "
                                  "the character itself");
    }
    if (c != '*' || plain) {
        *scanner->room++ = c;
        value->text.size++;
    } else if (value->text.size == 0 && !value->star_front) {
        value->star_front = true;
        value->star_position = scanner->at;
    } else {
        value->star_back = true;
        value->star_position = value->star_front ? value->star_position : scanner->at;
    }
    scanner->at++;
    return 0;
}

static int read_bare(struct user_filter_scanner *scanner, size_t size,
                     struct user_filter_value *ret_value)
{
    struct user_filter_value value = {.text.data = scanner->room, .position = scanner->at};
    size_t end = scanner->at + size;

    while (scanner->at < end) {
        int result = add_to_value(scanner, &value, false);

        if (result != 0) {
            return result;
        }
    }
    *ret_value = value;
    return 0;
}

static int read_quoted(struct user_filter_scanner *scanner, struct user_filter_value *ret_value)
{
    struct user_filter_value value = {.text.data = scanner->room, .position = scanner->at};
    uint8_t quote = user_filter_peek(scanner, 0);
    int result;

    scanner->at++;
    while (user_filter_peek(scanner, 0) != quote) {
        bool escaped = user_filter_peek(scanner, 0) == '\\';

        if (scanner->at + escaped >= scanner->text.size) {
            return user_filter_refuse(scanner->problem, value.position,
                                      "this string does not end: close it with %c", quote);
        }
        if (escaped && !is_one_of(user_filter_peek(scanner, 1), "\\\"'*")) {
            return refuse_here(scanner, "unknown escape: a backslash may stand before \\ \" ' and "
                                        "* only, write \\\\ for itself");
        }
        scanner->at += escaped;
        result = add_to_value(scanner, &value, escaped);
        if (result != 0) {
            return result;
        }
    }
    scanner->at++;
    *ret_value = value;
    return 0;
}

/* Reads an operator. Returns 0, USER_FILTER_E_INVALID for one that is none, or NO_OPERATOR. */
static int read_operator(struct user_filter_scanner *scanner, enum user_filter_operator *ret_op)
{
    bool equals = user_filter_peek(scanner, 1) == '=';

    switch (user_filter_peek(scanner, 0)) {
    case '=':
        if (equals) {
            return refuse_here(scanner, "unknown operator `==`: write `=`");
        }
        *ret_op = USER_FILTER_OPERATOR_EQUAL;
        break;
    case '!':
        if (!equals) {
            return user_filter_refuse_byte(scanner);
        }
        *ret_op = USER_FILTER_OPERATOR_NOT_EQUAL;
        break;
    case '<':
        *ret_op = equals ? USER_FILTER_OPERATOR_LESS_EQUAL : USER_FILTER_OPERATOR_LESS;
        break;
    case '>':
        *ret_op = equals ? USER_FILTER_OPERATOR_GREATER_EQUAL : USER_FILTER_OPERATOR_GREATER;
        break;
    case ':':
        *ret_op = USER_FILTER_OPERATOR_HAS;
        scanner->at++;
        return 0;
    default:
        return NO_OPERATOR;
    }
    scanner->at += 1U + equals;
    return 0;
}

static int read_argument(struct user_filter_scanner *scanner, struct user_filter_value *ret_value)
{
    struct bytes word;
    int result;

    user_filter_skip_blanks(scanner);
    word = peek_word(scanner, true);
    if (scanner->at == scanner->text.size || user_filter_peek(scanner, 0) == ')' ||
        is_keyword(word)) {
        return refuse_here(scanner, "a value is missing here: write one behind the operator, AND, "
                                    "OR and NOT in quotes if they are meant as text");
    }
    if (user_filter_peek(scanner, 0) == '(') {
        return refuse_here(scanner, "one value is expected, no parenthesis: compare the field with "
                                    "each value and join with AND or OR");
    }
    if (is_quote(user_filter_peek(scanner, 0))) {
        result = read_quoted(scanner, ret_value);
    } else if (word.size == 0) {
        result = user_filter_refuse_byte(scanner);
    } else {
        result = read_bare(scanner, word.size, ret_value);
    }
    return result != 0 ? result : check_value_end(scanner);
}

/* Reads the text that a restriction begins with: its field, or all of it. */
static int read_comparable(struct user_filter_scanner *scanner,
                           struct user_filter_restriction *restriction)
{
    struct bytes word = peek_word(scanner, false);
    uint8_t next;

    restriction->field_position = scanner->at;
    if (is_quote(user_filter_peek(scanner, 0))) {
        return read_quoted(scanner, &restriction->value);
    }
    if (word.size == 0 || is_keyword(word)) {
        return refuse_operand(scanner);
    }
    restriction->field = word;
    scanner->at += word.size;
    next = user_filter_peek(scanner, 0);
    if (next == 0 || is_blank(next) || is_one_of(next, "=!<>:)")) {
        return 0;
    }
    return user_filter_refuse_byte(scanner);
}

int user_filter_read_restriction(struct user_filter_scanner *scanner,
                                 struct user_filter_restriction *ret_restriction)
{
    struct user_filter_restriction restriction = {0};
    size_t end;
    int result = read_comparable(scanner, &restriction);

    if (result != 0) {
        return result;
    }
    end = scanner->at;
    user_filter_skip_blanks(scanner);
    restriction.op_position = scanner->at;
    result = read_operator(scanner, &restriction.op);
    if (result == 0) {
        if (restriction.field.size == 0) {
            return user_filter_refuse(scanner->problem, restriction.field_position,
                                      "a string is no field: write the name of the field without "
                                      "quotes, and the value behind the operator");
        }
        result = read_argument(scanner, &restriction.value);
    } else if (result == NO_OPERATOR) {
        scanner->at = end;
        result = check_value_end(scanner);
        if (result == 0 && restriction.field.size > 0) {
            scanner->at = restriction.field_position;
            result = read_bare(scanner, restriction.field.size, &restriction.value);
            restriction.field = (struct bytes){0};
        }
    }
    if (result == 0) {
        *ret_restriction = restriction;
    }
    return result;
}
