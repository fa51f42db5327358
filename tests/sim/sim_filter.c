/*
 * Random filters on random users, beside an evaluator so simple that it can be believed: a filter
 * is drawn as a tree, written as text in one of the many ways to write it, parsed and evaluated on
 * packed users; the tree is evaluated, by recursion, on the fields the users were packed from.
 *
 *     sim_filter [SEED [RUNS]]
 *
 * A failure prints the seed, the filter and the user; `sim_filter SEED 1` repeats it.
 *
 * Thread: one.
 */
#include "http2/proto_wire.h"
#include "service/user_filter.h"
#include "service/user_fold.h"
#include "service/user_record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNS_DEFAULT 300
#define FILTERS      20 /* in a run */
#define USERS        20
#define NODES_MAX    (3 * USER_FILTER_TERMS_MAX)
#define TREE_DEPTH   5
#define CHILDREN_MAX 4
#define TEXT_MAX     16384

struct sim_user {
    struct user user;
    bool has_profile;
    struct buf message;
    char username[USER_FOLDED_BYTES_MAX + 1]; /* folded */
    char email[USER_FOLDED_BYTES_MAX + 1];
    struct user_filter_subject subject;
};

enum field {
    FIELD_ID,
    FIELD_USERNAME,
    FIELD_EMAIL,
    FIELD_FIRST_NAME,
    FIELD_LAST_NAME,
    FIELD_AVATAR_URL,
    FIELD_CREATED_AT,
    FIELD_UPDATED_AT,
    FIELD_STATUS,
    FIELD_ROLES,
    FIELD_PROFILE,
    FIELD_NONE, /* a literal alone */
    FIELD_COUNT,
};

enum op {
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_HAS
};

enum kind {
    KIND_AND,
    KIND_OR,
    KIND_NOT,
    KIND_TERM
};

struct node {
    enum kind kind;
    const struct node *children[CHILDREN_MAX];
    unsigned child_count;
    enum field field;
    enum op op;
    bool star_front;
    bool star_back;
    bool presence; /* `:*` */
    const char *text;
    int64_t number; /* of a time or a status */
    bool beyond;    /* half a millisecond later */
};

struct sim {
    uint64_t seed;
    uint64_t random;
    struct sim_user users[USERS];
    struct node nodes[NODES_MAX];
    unsigned node_count;
    unsigned terms;
    unsigned spare_parentheses; /* so many that mean nothing may yet stand around one place */
    char text[TEXT_MAX];
    size_t text_size;
};

static const char *const field_names[FIELD_COUNT] = {
    "id",
    "username",
    "email",
    "profile.first_name",
    "profile.last_name",
    "profile.avatar_url",
    "created_at",
    "updated_at",
    "status",
    "roles",
    "profile",
    "",
};

static const char *const op_signs[] = {"=", "!=", "<", "<=", ">", ">=", ":"};

static const char *const status_names[] = {"UNSPECIFIED", "ACTIVE", "INACTIVE", "SUSPENDED",
                                           "DELETED"};

/* Few, alike, and with all that needs quotes; so that they are equal, in order, or parts of each
 * other often enough. */
static const char *const texts[] = {
    "a",
    "A",
    "ab",
    "Ab",
    "AB",
    "aba",
    "b",
    "Ba",
    "",
    "abc",
    "bc",
    "NOT",
    "\xc3\xa4",
    "\xc3\x84",
    "*",
    "a*b",
    "*a",
    "a b",
    "\"",
    "it's",
    "\\",
    "a\xcc\x88",
    "stra\xc3\x9f",
    "SS",
    "(a)",
    "x:y=z,&|",
    "and",
    "OR",
    "-a",
    "a-b.c",
    "\xf0\x9f\x90\xbb",
    "\xe2\x84\xab",
    "1",
    "1000",
    "admin",
    "username",
};

#define TEXTS (sizeof(texts) / sizeof(texts[0]))

static const int64_t times[] = {0, 1, 2, 999, 1000, -1, -1000, 1704067200000, 1704067200001};

#define TIMES (sizeof(times) / sizeof(times[0]))

static unsigned runs_passed;

static unsigned draw(struct sim *sim, unsigned below)
{
    sim->random = sim->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned)(sim->random >> 33) % below;
}

static void check(const struct sim *sim, bool holds, const char *what)
{
    if (!holds) {
        printf("seed %llu: %s\nfilter: %.*s\n", (unsigned long long)sim->seed, what,
               (int)sim->text_size, sim->text);
        printf("%u passed, 1 failed\n", runs_passed);
        exit(EXIT_FAILURE);
    }
}

static struct bytes draw_bytes(struct sim *sim)
{
    return bytes_from_text(texts[draw(sim, TEXTS)]);
}

static void fold(const struct sim *sim, struct bytes text, char *out, struct bytes *ret_folded)
{
    size_t size = 0;

    check(sim, user_fold(text, (uint8_t *)out, &size) == 0, "a text folds");
    out[size] = '\0';
    *ret_folded = (struct bytes){(const uint8_t *)out, size};
}

/* The profile is written by hand: it may be there without a text in it, or in two parts. */
static void append_profile(struct sim *sim, struct sim_user *one)
{
    const struct bytes values[] = {one->user.first_name, one->user.last_name, one->user.avatar_url};
    struct buf profile = {0};
    int result = 0;

    for (uint32_t i = 0; i < 3 && one->has_profile; i++) {
        if (values[i].size > 0 || draw(sim, 3) == 0) {
            result |= proto_wire_append_bytes(&profile, i + 1, values[i]);
        }
        if (i < 2 && draw(sim, 4) == 0) {
            result |= proto_wire_append_bytes(&one->message, 7, buf_bytes(&profile));
            buf_deinit(&profile);
            profile = (struct buf){0};
        }
    }
    if (one->has_profile) {
        result |= proto_wire_append_bytes(&one->message, 7, buf_bytes(&profile));
    }
    buf_deinit(&profile);
    check(sim, result == 0, "memory");
}

static void draw_user(struct sim *sim, struct sim_user *one)
{
    struct user *user = &one->user;

    *one = (struct sim_user){.has_profile = draw(sim, 3) != 0};
    user->id = draw_bytes(sim);
    user->username = draw_bytes(sim);
    user->email = draw_bytes(sim);
    user->created_at = times[draw(sim, TIMES)];
    user->updated_at = times[draw(sim, TIMES)];
    user->status = (int32_t)draw(sim, 5);
    user->role_count = draw(sim, 4);
    for (size_t i = 0; i < user->role_count; i++) {
        user->roles[i] = draw_bytes(sim);
    }
    check(sim, user_record_append_user(user, &one->message) == 0, "memory");
    if (one->has_profile) {
        user->first_name = draw_bytes(sim);
        user->last_name = draw_bytes(sim);
        user->avatar_url = draw_bytes(sim);
    }
    append_profile(sim, one);
    fold(sim, user->username, one->username, &one->subject.username);
    fold(sim, user->email, one->email, &one->subject.email);
    one->subject.message = buf_bytes(&one->message);
}

static void draw_text_term(struct sim *sim, struct node *node)
{
    node->text = texts[draw(sim, TEXTS)];
    node->op = (enum op)draw(sim, 7);
    if (node->op == OP_EQUAL || node->op == OP_NOT_EQUAL) {
        node->star_front = draw(sim, 4) == 0;
        node->star_back = draw(sim, 4) == 0;
    } else if (node->op == OP_HAS) {
        node->presence = draw(sim, 4) == 0;
    }
}

static void draw_time_term(struct sim *sim, struct node *node)
{
    node->op = (enum op)draw(sim, 7);
    node->presence = node->op == OP_HAS;
    node->number = times[draw(sim, TIMES)] + (int64_t)draw(sim, 2);
    node->beyond = node->number >= 0 && draw(sim, 3) == 0;
}

static void draw_term(struct sim *sim, struct node *node)
{
    node->kind = KIND_TERM;
    node->field = (enum field)draw(sim, FIELD_COUNT);
    sim->terms++;
    switch (node->field) {
    case FIELD_ID:
    case FIELD_USERNAME:
    case FIELD_EMAIL:
    case FIELD_FIRST_NAME:
    case FIELD_LAST_NAME:
    case FIELD_AVATAR_URL:
        draw_text_term(sim, node);
        break;
    case FIELD_CREATED_AT:
    case FIELD_UPDATED_AT:
        draw_time_term(sim, node);
        break;
    case FIELD_STATUS:
        node->op = (enum op[]){OP_EQUAL, OP_NOT_EQUAL, OP_HAS}[draw(sim, 3)];
        node->presence = node->op == OP_HAS && draw(sim, 2) == 0;
        node->number = (int64_t)draw(sim, 5);
        break;
    case FIELD_ROLES:
        node->op = OP_HAS;
        node->presence = draw(sim, 4) == 0;
        node->text = texts[draw(sim, TEXTS)];
        break;
    case FIELD_PROFILE:
        node->op = OP_HAS;
        node->presence = true;
        break;
    case FIELD_NONE:
    case FIELD_COUNT:
        node->text = texts[draw(sim, TEXTS)];
        break;
    }
}

static const struct node *draw_tree(struct sim *sim, unsigned depth)
{
    struct node *node = &sim->nodes[sim->node_count++];
    unsigned what = draw(sim, 8);

    check(sim, sim->node_count < NODES_MAX, "the simulation has room for its tree");
    *node = (struct node){0};
    if (depth == 0 || what < 2 || sim->terms > USER_FILTER_TERMS_MAX / 4) {
        draw_term(sim, node);
    } else if (what < 4) {
        node->kind = KIND_NOT;
        node->child_count = 1;
    } else {
        node->kind = what < 6 ? KIND_AND : KIND_OR;
        node->child_count = 2 + draw(sim, CHILDREN_MAX - 1);
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        node->children[i] = draw_tree(sim, depth - 1);
    }
    return node;
}

static void put(struct sim *sim, const char *text)
{
    size_t size = strlen(text);

    check(sim, sim->text_size + size < TEXT_MAX, "the simulation has room for its text");
    memcpy(sim->text + sim->text_size, text, size);
    sim->text_size += size;
}

static void put_blank(struct sim *sim, bool needed)
{
    static const char *const blanks[] = {"", " ", " ", "  ", "\t", "\n "};

    put(sim, blanks[needed + draw(sim, 6 - needed)]);
}

static bool is_plain(const char *text, bool is_argument)
{
    return text[0] != '\0' && text[0] != '-' && strpbrk(text, "\"'\\*()=<>!,&| \t") == NULL &&
           (is_argument || strchr(text, ':') == NULL) && strcmp(text, "AND") != 0 &&
           strcmp(text, "OR") != 0 && strcmp(text, "NOT") != 0;
}

static void put_value(struct sim *sim, const struct node *node)
{
    bool is_argument = node->field != FIELD_NONE;
    char quote = draw(sim, 2) == 0 ? '"' : '\'';

    if (is_plain(node->text, is_argument) && draw(sim, 2) == 0) {
        put(sim, node->star_front ? "*" : "");
        put(sim, node->text);
        put(sim, node->star_back ? "*" : "");
        return;
    }
    put(sim, (char[]){quote, '\0'});
    put(sim, node->star_front ? "*" : "");
    for (const char *c = node->text; *c != '\0'; c++) {
        bool escape = *c == '\\' || *c == '*' || *c == quote || (*c == '"' && draw(sim, 2) == 0);

        put(sim, escape ? "\\" : "");
        put(sim, (char[]){*c, '\0'});
    }
    put(sim, node->star_back ? "*" : "");
    put(sim, (char[]){quote, '\0'});
}

/* Times are written as such from 1970 on; before, and without a fraction, as numbers. */
static void put_time(struct sim *sim, const struct node *node)
{
    bool late = node->number >= 1704067200000;
    int64_t ms = late ? node->number - 1704067200000 : node->number;
    const char *quote = draw(sim, 2) == 0 ? "\"" : "";
    char text[64];

    if (ms < 0 || (!node->beyond && draw(sim, 2) == 0)) {
        (void)snprintf(text, sizeof(text), "%s%" PRId64 "%s", quote, node->number, quote);
    } else {
        unsigned zone = draw(sim, 3);

        (void)snprintf(
            text, sizeof(text), "%s%s:00:%02d.%03d%s%s%s", quote,
            late ? (const char *[]){"2024-01-01T00", "2024-01-01T02", "2023-12-31T19"}[zone]
                 : (const char *[]){"1970-01-01T00", "1970-01-01T02", "1969-12-31T19"}[zone],
            (int)(ms / 1000), (int)(ms % 1000), node->beyond ? "5" : "",
            (const char *[]){"Z", "+02:00", "-05:00"}[zone], quote);
    }
    put(sim, text);
}

static void put_term(struct sim *sim, const struct node *node)
{
    if (node->field == FIELD_NONE) {
        put_value(sim, node);
        return;
    }
    put(sim, field_names[node->field]);
    put_blank(sim, false);
    put(sim, op_signs[node->op]);
    put_blank(sim, false);
    if (node->presence) {
        put(sim, (const char *[]){"*", "\"*\"", "'*'"}[draw(sim, 3)]);
    } else if (node->field == FIELD_STATUS) {
        put(sim, draw(sim, 2) == 0 ? "USER_STATUS_" : "");
        put(sim, status_names[node->number]);
    } else if (node->field == FIELD_CREATED_AT || node->field == FIELD_UPDATED_AT) {
        put_time(sim, node);
    } else {
        put_value(sim, node);
    }
}

/* How tightly the surroundings of a node bind: an AND among ANDs needs no parentheses. */
enum place {
    PLACE_TOP,
    PLACE_AND,
    PLACE_OR,
    PLACE_NOT
};

static void put_tree(struct sim *sim, const struct node *node, enum place place)
{
    bool needed = (node->kind == KIND_AND && place > PLACE_AND) ||
                  (node->kind == KIND_OR && place > PLACE_OR) ||
                  (node->kind == KIND_NOT && place == PLACE_NOT);

    if (needed || (draw(sim, 8) == 0 && sim->spare_parentheses > 0)) {
        sim->spare_parentheses -= !needed;
        put(sim, "(");
        put_blank(sim, false);
        put_tree(sim, node, PLACE_TOP);
        put_blank(sim, false);
        put(sim, ")");
        sim->spare_parentheses += !needed;
        return;
    }
    if (node->kind == KIND_TERM) {
        put_term(sim, node);
        return;
    }
    if (node->kind == KIND_NOT) {
        if (draw(sim, 2) == 0) {
            put(sim, "-");
        } else {
            put(sim, "NOT");
            put_blank(sim, true);
        }
        put_tree(sim, node->children[0], PLACE_NOT);
        return;
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        if (i > 0) {
            put_blank(sim, true);
            if (node->kind == KIND_OR || draw(sim, 2) == 0) {
                put(sim, node->kind == KIND_OR ? "OR" : "AND");
                put_blank(sim, true);
            }
        }
        put_tree(sim, node->children[i], node->kind == KIND_OR ? PLACE_OR : PLACE_AND);
    }
}

/* The first texts of the fields, or NULL when the profile that should have it is not there. */
static const char *text_of(const struct sim_user *one, enum field field)
{
    const struct user *user = &one->user;
    const struct bytes plain[] = {user->id,         user->username,  user->email,
                                  user->first_name, user->last_name, user->avatar_url};

    if (field == FIELD_USERNAME) {
        return one->username;
    }
    if (field == FIELD_EMAIL) {
        return one->email;
    }
    if (field >= FIELD_FIRST_NAME && !one->has_profile) {
        return NULL;
    }
    return plain[field].size == 0 ? "" : (const char *)plain[field].data; /* ends with a NUL */
}

static bool contains_folded(const struct sim *sim, const char *text, const char *part)
{
    char folded_text[USER_FOLDED_BYTES_MAX + 1];
    char folded_part[USER_FOLDED_BYTES_MAX + 1];
    struct bytes ignored;

    fold(sim, bytes_from_text(text), folded_text, &ignored);
    fold(sim, bytes_from_text(part), folded_part, &ignored);
    return strstr(folded_text, folded_part) != NULL;
}

static bool compare(enum op op, bool less, bool equal)
{
    switch (op) {
    case OP_EQUAL:
        return equal;
    case OP_NOT_EQUAL:
        return !equal;
    case OP_LESS:
        return less;
    case OP_LESS_EQUAL:
        return less || equal;
    case OP_GREATER:
        return !less && !equal;
    case OP_GREATER_EQUAL:
        return !less;
    case OP_HAS:
        break;
    }
    return equal;
}

static bool has_pattern(const char *text, const char *part, const struct node *node)
{
    size_t size = strlen(text);
    size_t part_size = strlen(part);

    for (size_t at = 0; at + part_size <= size; at++) {
        if (memcmp(text + at, part, part_size) == 0 && (at == 0 || node->star_front) &&
            (at + part_size == size || node->star_back)) {
            return true;
        }
    }
    return false;
}

static bool eval_text(const struct sim *sim, const struct sim_user *one, const struct node *node)
{
    const char *text = text_of(one, node->field);
    const char *part = node->text;
    char folded[USER_FOLDED_BYTES_MAX + 1];
    struct bytes ignored;

    if (text == NULL) {
        return false;
    }
    if (node->op == OP_HAS) {
        return node->presence ? text[0] != '\0' : contains_folded(sim, text, part);
    }
    if (node->field == FIELD_USERNAME || node->field == FIELD_EMAIL) {
        fold(sim, bytes_from_text(part), folded, &ignored);
        part = folded;
    }
    if (node->star_front || node->star_back) {
        return has_pattern(text, part, node) == (node->op == OP_EQUAL);
    }
    return compare(node->op, strcmp(text, part) < 0, strcmp(text, part) == 0);
}

/* In half milliseconds. */
static bool eval_time(const struct node *node, int64_t ms)
{
    int64_t literal = 2 * node->number + node->beyond;

    return node->presence ? ms != 0 : compare(node->op, 2 * ms < literal, 2 * ms == literal);
}

static bool eval_term(const struct sim *sim, const struct sim_user *one, const struct node *node)
{
    const struct user *user = &one->user;
    bool found = false;

    switch (node->field) {
    case FIELD_ID:
    case FIELD_USERNAME:
    case FIELD_EMAIL:
    case FIELD_FIRST_NAME:
    case FIELD_LAST_NAME:
    case FIELD_AVATAR_URL:
        return eval_text(sim, one, node);
    case FIELD_CREATED_AT:
        return eval_time(node, user->created_at);
    case FIELD_UPDATED_AT:
        return eval_time(node, user->updated_at);
    case FIELD_STATUS:
        return node->presence ? user->status != 0
                              : compare(node->op, false, user->status == node->number);
    case FIELD_ROLES:
        for (size_t i = 0; i < user->role_count; i++) {
            found |= node->presence || bytes_equal(user->roles[i], bytes_from_text(node->text));
        }
        return found;
    case FIELD_PROFILE:
        return user->first_name.size + user->last_name.size + user->avatar_url.size > 0;
    case FIELD_NONE:
    case FIELD_COUNT:
        break;
    }
    for (enum field field = FIELD_USERNAME; field <= FIELD_LAST_NAME; field++) {
        const char *text = text_of(one, field);

        found |= text != NULL && contains_folded(sim, text, node->text);
    }
    return found;
}

static bool eval(const struct sim *sim, const struct sim_user *one, const struct node *node)
{
    switch (node->kind) {
    case KIND_TERM:
        return eval_term(sim, one, node);
    case KIND_NOT:
        return !eval(sim, one, node->children[0]);
    case KIND_AND:
    case KIND_OR:
        break;
    }
    for (unsigned i = 0; i < node->child_count; i++) {
        if (eval(sim, one, node->children[i]) == (node->kind == KIND_OR)) {
            return node->kind == KIND_OR;
        }
    }
    return node->kind == KIND_AND;
}

/* Every match must have the value that the filter says its matches have. */
static void check_key(const struct sim *sim, const struct user_filter *filter,
                      const struct sim_user *one)
{
    struct bytes value;

    switch (user_filter_unique_key(filter, &value)) {
    case USER_FILTER_KEY_NONE:
        break;
    case USER_FILTER_KEY_ID:
        check(sim, bytes_equal(one->user.id, value), "the id of a match is the unique key");
        break;
    case USER_FILTER_KEY_USERNAME:
        check(sim, bytes_equal(one->subject.username, value), "the username is the unique key");
        break;
    case USER_FILTER_KEY_EMAIL:
        check(sim, bytes_equal(one->subject.email, value), "the email is the unique key");
        break;
    }
}

/* Of an AND at the top, or a term alone. */
static bool must_have_key(const struct node *tree)
{
    bool is_key = tree->kind == KIND_TERM && tree->field <= FIELD_EMAIL && tree->op == OP_EQUAL &&
                  !tree->star_front && !tree->star_back;

    for (unsigned i = 0; tree->kind == KIND_AND && i < tree->child_count; i++) {
        is_key |= must_have_key(tree->children[i]);
    }
    return is_key;
}

static void try_filter(struct sim *sim)
{
    struct arena arena = {0};
    const struct user_filter *filter;
    struct user_filter_problem problem = {0};
    const struct node *tree;
    struct bytes value;
    int result;

    sim->node_count = 0;
    sim->terms = 0;
    sim->spare_parentheses = USER_FILTER_DEPTH_MAX - 2 * TREE_DEPTH;
    sim->text_size = 0;
    tree = draw_tree(sim, draw(sim, TREE_DEPTH + 1));
    put_tree(sim, tree, PLACE_TOP);
    result = user_filter_parse((struct bytes){(const uint8_t *)sim->text, sim->text_size}, &arena,
                               &filter, &problem);
    check(sim, result == 0, result == 0 ? "" : problem.text);
    check(sim,
          !must_have_key(tree) || user_filter_unique_key(filter, &value) != USER_FILTER_KEY_NONE,
          "an equality ANDed to the rest is found");
    for (unsigned i = 0; i < USERS; i++) {
        const struct sim_user *one = &sim->users[i];
        bool matches = user_filter_matches(filter, &one->subject);

        if (matches != eval(sim, one, tree)) {
            printf("user %u\n", i);
            check(sim, false, matches ? "must not match" : "must match");
        }
        if (matches) {
            check_key(sim, filter, one);
        }
    }
    arena_deinit(&arena);
}

static void run(uint64_t seed)
{
    static struct sim sim;

    sim = (struct sim){.seed = seed, .random = seed};
    for (unsigned i = 0; i < USERS; i++) {
        draw_user(&sim, &sim.users[i]);
    }
    for (unsigned i = 0; i < FILTERS; i++) {
        try_filter(&sim);
    }
    for (unsigned i = 0; i < USERS; i++) {
        buf_deinit(&sim.users[i].message);
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned runs = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : RUNS_DEFAULT;

    for (runs_passed = 0; runs_passed < runs; runs_passed++) {
        run(seed + runs_passed);
    }
    printf("%u passed, 0 failed\n", runs_passed);
    return EXIT_SUCCESS;
}
