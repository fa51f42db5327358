#include "service/user_filter.h"

#include "service/user_filter_internal.h"

#include <assert.h>
#include <errno.h>

/*
 * The grammar of https://google.aip.dev/160, read from left to right in one pass without recursion:
 *
 *     expression  = sequence { AND sequence }       OR binds tighter than AND:
 *     sequence    = factor { factor }               a AND b OR c = a AND (b OR c)
 *     factor      = term { OR term }
 *     term        = [ NOT | "-" ] ( "(" expression ")" | restriction )
 *     restriction = field operator value | value
 *
 * The result is no tree but a list of tests, each with two exits: where to go on when it holds and
 * when it does not. Exits lead forward only, to another test or to the end, so that evaluation is
 * a walk that does no more than it must.
 *
 * While parsing, a piece is what has been read of an expression: its first test, and two lists of
 * exits that nobody has connected yet. Lists are kept inside the exits themselves.
 *
 *   1. A restriction is a piece of one test; both its exits are open.
 *   2. a AND b: what leaves a as true enters b. a OR b: what leaves a as false enters b. The other
 *      exits of a are appended to those of b.
 *   3. NOT a: the two lists change places.
 *   4. At the end all true exits accept and all false ones reject.
 *
 * A parenthesis opens a level with pieces of its own. Where AIP-160 leaves a choice: a value may
 * hold colons without quotes (times, addresses); functions, and parentheses behind an operator, are
 * refused; a minus stands directly before what it negates.
 */

#define NONE 255 /* no test; the end of a list */

static_assert(USER_FILTER_EXIT_ACCEPT < NONE, "an exit fits a byte");
static_assert(2 * USER_FILTER_TERMS_MAX < NONE, "a place among the exits fits a byte");

struct piece {
    uint8_t first; /* NONE: nothing yet */
    uint8_t on[2]; /* the open exits: when false, when true */
};

/* What has been read inside one parenthesis; level 0 is the whole text. */
struct level {
    struct piece all; /* the factors before the last, ANDed */
    struct piece any; /* the last factor: its terms so far, ORed */
    bool or_follows;  /* the next term belongs to `any` */
    bool negated;     /* the parenthesis stands behind NOT */
    size_t position;  /* of the parenthesis */
};

struct parser {
    struct user_filter_scanner scanner;
    struct arena *arena;
    struct user_filter *filter;
    unsigned depth; /* parentheses and NOTs around this place */
    unsigned level; /* parentheses */
    struct level levels[USER_FILTER_DEPTH_MAX + 1];
};

/* Lets all exits of a list lead to one place. */
static void connect_exits(struct user_filter *filter, uint8_t list, uint8_t target)
{
    while (list != NONE) {
        uint8_t next = filter->exits[list];

        filter->exits[list] = target;
        list = next;
    }
}

/* Joins two pieces by AND or OR; the first may be empty. */
static struct piece join(struct user_filter *filter, struct piece a, struct piece b, bool is_and)
{
    uint8_t *end = &b.on[!is_and];

    if (a.first == NONE) {
        return b;
    }
    connect_exits(filter, a.on[is_and], b.first);
    while (*end != NONE) {
        end = &filter->exits[*end];
    }
    *end = a.on[!is_and];
    b.first = a.first;
    return b;
}

static void negate(struct piece *piece)
{
    uint8_t on_false = piece->on[0];

    piece->on[0] = piece->on[1];
    piece->on[1] = on_false;
}

/* A restriction as a piece of one test. */
static int parse_restriction(struct parser *parser, struct piece *ret_piece)
{
    struct user_filter_scanner *scanner = &parser->scanner;
    struct user_filter *filter = parser->filter;
    struct user_filter_restriction restriction;
    uint8_t place = (uint8_t)(2 * filter->count);
    int result;

    if (filter->count == USER_FILTER_TERMS_MAX) {
        return user_filter_refuse(scanner->problem, scanner->at,
                                  "too many restrictions: a filter may have %d, ask in several "
                                  "requests",
                                  USER_FILTER_TERMS_MAX);
    }
    result = user_filter_read_restriction(scanner, &restriction);
    if (result == 0) {
        result = user_filter_build_test(&restriction, parser->arena, &filter->tests[filter->count],
                                        scanner->problem);
    }
    if (result != 0) {
        return result;
    }
    filter->fields |= 1U << filter->tests[filter->count].field;
    filter->exits[place] = NONE;
    filter->exits[place + 1] = NONE;
    *ret_piece = (struct piece){(uint8_t)filter->count, {place, (uint8_t)(place + 1)}};
    filter->count++;
    return 0;
}

static int enter(struct parser *parser, size_t position)
{
    if (parser->depth == USER_FILTER_DEPTH_MAX) {
        return user_filter_refuse(parser->scanner.problem, position,
                                  "too deep: parentheses and NOTs may stand %d deep inside each "
                                  "other",
                                  USER_FILTER_DEPTH_MAX);
    }
    parser->depth++;
    return 0;
}

/* Reads NOT or a minus, if one stands here. */
static int parse_negation(struct parser *parser, bool *ret_negated)
{
    struct user_filter_scanner *scanner = &parser->scanner;
    size_t position = scanner->at;
    bool is_minus = user_filter_peek(scanner, 0) == '-';
    size_t inner;

    *ret_negated = false;
    scanner->at += is_minus;
    if (!is_minus && !user_filter_skip_keyword(scanner, BYTES_LITERAL("NOT"))) {
        return 0;
    }
    user_filter_skip_blanks(scanner);
    inner = scanner->at;
    if (is_minus && (inner != position + 1 || inner == scanner->text.size)) {
        return user_filter_refuse(scanner->problem, position,
                                  "a minus stands directly before what it negates: remove the "
                                  "blank, or write NOT");
    }
    if (user_filter_peek(scanner, 0) == '-' ||
        user_filter_skip_keyword(scanner, BYTES_LITERAL("NOT"))) {
        return user_filter_refuse(scanner->problem, inner,
                                  "one NOT or minus may stand before a restriction: put the inner "
                                  "one in parentheses");
    }
    *ret_negated = true;
    return enter(parser, position);
}

/* Reads from where a term begins up to the end of its restriction, through the parentheses that
 * open before it. */
static int parse_operand(struct parser *parser, struct piece *ret_piece)
{
    struct user_filter_scanner *scanner = &parser->scanner;
    bool negated;
    int result;

    for (;;) {
        user_filter_skip_blanks(scanner);
        result = parse_negation(parser, &negated);
        if (result != 0) {
            return result;
        }
        if (user_filter_peek(scanner, 0) != '(') {
            break;
        }
        result = enter(parser, scanner->at);
        if (result != 0) {
            return result;
        }
        parser->levels[++parser->level] =
            (struct level){{NONE, {0}}, {NONE, {0}}, false, negated, scanner->at};
        scanner->at++;
    }
    result = parse_restriction(parser, ret_piece);
    if (result == 0 && negated) {
        negate(ret_piece);
        parser->depth--;
    }
    return result;
}

/* Adds a term to the level it stands in. */
static void add_term(struct parser *parser, struct piece term)
{
    struct level *level = &parser->levels[parser->level];

    if (level->or_follows) {
        level->any = join(parser->filter, level->any, term, false);
    } else {
        level->all = join(parser->filter, level->all, level->any, true);
        level->any = term;
    }
}

/* Closes a level: what it holds is a term of the one around it. */
static struct piece take_level(struct parser *parser)
{
    struct level *level = &parser->levels[parser->level];
    struct piece whole = join(parser->filter, level->all, level->any, true);

    if (level->negated) {
        negate(&whole);
    }
    if (parser->level > 0) {
        parser->depth -= 1U + level->negated;
        parser->level--;
    }
    return whole;
}

/* Reads what stands behind a term: the ends of parentheses, then what joins it to the next.
 * `*ret_more` is false at the end of the text. */
static int parse_joint(struct parser *parser, bool *ret_more)
{
    struct user_filter_scanner *scanner = &parser->scanner;
    struct level *level;

    for (;;) {
        user_filter_skip_blanks(scanner);
        if (user_filter_peek(scanner, 0) != ')') {
            break;
        }
        if (parser->level == 0) {
            return user_filter_refuse_byte(scanner);
        }
        scanner->at++;
        add_term(parser, take_level(parser));
    }
    level = &parser->levels[parser->level];
    *ret_more = scanner->at < scanner->text.size;
    if (!*ret_more && parser->level > 0) {
        return user_filter_refuse(scanner->problem, level->position,
                                  "this parenthesis is not closed: add `)`");
    }
    level->or_follows = user_filter_skip_keyword(scanner, BYTES_LITERAL("OR"));
    if (!level->or_follows) {
        (void)user_filter_skip_keyword(scanner, BYTES_LITERAL("AND")); /* a blank says the same */
    }
    return 0;
}

int user_filter_parse(struct bytes text, struct arena *arena, const struct user_filter **ret_filter,
                      struct user_filter_problem *ret_problem)
{
    struct parser parser = {.scanner = {.text = text, .problem = ret_problem}, .arena = arena};
    struct piece whole;
    bool more = true;

    parser.filter = arena_alloc(arena, sizeof(*parser.filter));
    parser.scanner.room = arena_alloc(arena, text.size);
    if (parser.filter == NULL || parser.scanner.room == NULL) {
        return -ENOMEM;
    }
    parser.filter->count = 0;
    parser.filter->fields = 0;
    parser.levels[0] = (struct level){{NONE, {0}}, {NONE, {0}}, false, false, 0};
    while (more) {
        struct piece term = {NONE, {NONE, NONE}};
        int result = parse_operand(&parser, &term);

        if (result == 0) {
            add_term(&parser, term);
            result = parse_joint(&parser, &more);
        }
        if (result != 0) {
            return result;
        }
    }
    whole = take_level(&parser);
    connect_exits(parser.filter, whole.on[0], USER_FILTER_EXIT_REJECT);
    connect_exits(parser.filter, whole.on[1], USER_FILTER_EXIT_ACCEPT);
    *ret_filter = parser.filter;
    return 0;
}
