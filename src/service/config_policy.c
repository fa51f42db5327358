#include "service/config_policy.h"

#include "core/nearest_name.h"
#include "service/method_class.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * A rule that does not do what its author meant is worse than none: a deny with a slip in it denies
 * nobody. So everything that can be checked is: the word, the path against the methods there are,
 * the kind of each principal, and that principals have commas between them. A row that is refused
 * leaves the rules as they were.
 *
 * Of a client certificate `id:uri:U` and `id:dns:D` name the kind. `id:X` is short for one of them:
 * with a colon in X it is a URI, which always has one, else a DNS name, which never has.
 */

#define SHOWN_MAX 160 /* bytes of foreign text in a problem */
#define STEPS_MAX 3   /* a path so near may be the one that was meant */

/* The kinds that are written as prefix and name. */
static const struct {
    const char *prefix;
    enum policy_principal_kind kind;
} prefixes[] = {
    {"role:", POLICY_PRINCIPAL_ROLE},   {"scope:", POLICY_PRINCIPAL_SCOPE},
    {"sub:", POLICY_PRINCIPAL_SUBJECT}, {"id:uri:", POLICY_PRINCIPAL_URI},
    {"id:dns:", POLICY_PRINCIPAL_DNS},
};

#define PREFIX_COUNT (sizeof(prefixes) / sizeof(prefixes[0]))

__attribute__((format(printf, 2, 3))) static int bad(char *problem, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(problem, CONFIG_POLICY_PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    return CONFIG_POLICY_E_BAD;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static struct bytes trim(struct bytes text)
{
    while (text.size > 0 && is_blank((char)text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_blank((char)text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

/* Blanks and control characters: in a name they are a slip. */
static bool has_blanks(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

static char *copy(struct bytes text)
{
    return strndup((const char *)text.data, text.size);
}

/* ---- paths ---- */

/* What a rule names of a method: all of its path, or its service. */
static struct bytes nameable(const char *method, bool of_service)
{
    return of_service
               ? (struct bytes){(const uint8_t *)method, (size_t)(strrchr(method, '/') - method)}
               : bytes_from_text(method);
}

static int check_path(const char *path, char *problem)
{
    const size_t size = strlen(path);
    const bool of_service = size >= 2 && strcmp(path + size - 2, "/*") == 0;
    const char *suffix = of_service ? "/*" : "";
    struct nearest_name nearest;

    if (strcmp(path, "/*") == 0) {
        return 0;
    }
    if (path[0] != '/' || strchr(path + 1, '/') == NULL) {
        return bad(problem,
                   "\"%.*s\" is no path: write /package.Service/Method, /package.Service/* for all "
                   "of a service, or /* for everything",
                   SHOWN_MAX, path);
    }
    nearest_name_begin(&nearest, (struct bytes){(const uint8_t *)path, size - strlen(suffix)},
                       STEPS_MAX);
    for (unsigned i = 0; method_class_paths[i] != NULL; i++) {
        nearest_name_offer(&nearest, nameable(method_class_paths[i], of_service));
    }
    if (nearest.name.data == NULL) {
        return bad(problem, "there is no %s %.*s: see the list in configs/userd.ini",
                   of_service ? "service" : "method", SHOWN_MAX, path);
    }
    if (nearest.steps > 0) {
        return bad(problem, "there is no %s %.*s: did you mean %.*s%s",
                   of_service ? "service" : "method", SHOWN_MAX, path, (int)nearest.name.size,
                   (const char *)nearest.name.data, suffix);
    }
    return 0;
}

/* ---- principals ---- */

static int set_named(struct policy_principal *principal, enum policy_principal_kind kind,
                     struct bytes name, char *problem)
{
    if (name.size == 0) {
        return bad(problem, "a principal has no name: write role:NAME and so on");
    }
    if (name.size > CONFIG_POLICY_NAME_SIZE_MAX) {
        return bad(problem, "the name of a principal is longer than %d bytes",
                   CONFIG_POLICY_NAME_SIZE_MAX);
    }
    principal->kind = kind;
    principal->name = copy(name);
    return principal->name != NULL ? 0 : -ENOMEM;
}

/* What follows the prefix; data NULL when the text begins otherwise. */
static struct bytes behind(struct bytes text, const char *prefix)
{
    size_t size = strlen(prefix);

    if (text.size < size || memcmp(text.data, prefix, size) != 0) {
        return (struct bytes){NULL, 0};
    }
    return (struct bytes){text.data + size, text.size - size};
}

static int parse_principal(struct bytes text, struct policy_principal *principal, char *problem)
{
    struct bytes name;

    if (text.size == 0) {
        return bad(problem, "a principal is missing: there is a comma too many, or nothing at all");
    }
    if (has_blanks(text)) {
        return bad(problem, "\"%.*s\" is no principal: put commas between principals",
                   text.size < SHOWN_MAX ? (int)text.size : SHOWN_MAX, (const char *)text.data);
    }
    if (bytes_equal(text, BYTES_LITERAL("*")) ||
        bytes_equal(text, BYTES_LITERAL("authenticated"))) {
        principal->kind = text.size == 1 ? POLICY_PRINCIPAL_ANYONE : POLICY_PRINCIPAL_AUTHENTICATED;
        return 0;
    }
    for (size_t i = 0; i < PREFIX_COUNT; i++) {
        name = behind(text, prefixes[i].prefix);
        if (name.data != NULL) {
            return set_named(principal, prefixes[i].kind, name, problem);
        }
    }
    name = behind(text, "id:");
    if (name.data != NULL) {
        bool is_uri = name.size > 0 && memchr(name.data, ':', name.size) != NULL;

        return set_named(principal, is_uri ? POLICY_PRINCIPAL_URI : POLICY_PRINCIPAL_DNS, name,
                         problem);
    }
    return bad(problem,
               "unknown principal \"%.*s\": write role:R, scope:S, sub:S, id:SAN, authenticated "
               "or * (anyone)",
               text.size < SHOWN_MAX ? (int)text.size : SHOWN_MAX, (const char *)text.data);
}

static int parse_principals(struct policy_rule *rule, const char *value, char *problem)
{
    bool is_last = false;

    if (strlen(value) > CONFIG_POLICY_VALUE_SIZE_MAX) {
        return bad(problem, "a row has at most %d bytes of principals",
                   CONFIG_POLICY_VALUE_SIZE_MAX);
    }
    while (!is_last) {
        size_t size = strcspn(value, ",");
        int result;

        is_last = value[size] == '\0';
        if (rule->principal_count == CONFIG_POLICY_PRINCIPALS_MAX) {
            return bad(problem, "a row has at most %d principals", CONFIG_POLICY_PRINCIPALS_MAX);
        }
        result = parse_principal(trim((struct bytes){(const uint8_t *)value, size}),
                                 &rule->principals[rule->principal_count], problem);
        if (result != 0) {
            return result;
        }
        rule->principal_count++;
        value += size + 1;
    }
    return 0;
}

/* ---- rows ---- */

static void rule_deinit(struct policy_rule *rule)
{
    for (unsigned i = 0; i < rule->principal_count; i++) {
        free(rule->principals[i].name);
    }
    free(rule->principals);
    free(rule->path);
    *rule = (struct policy_rule){0};
}

void config_policy_deinit(struct config_policy *policy)
{
    for (unsigned i = 0; i < policy->count; i++) {
        rule_deinit(&policy->rules[i]);
    }
    free(policy->rules);
    *policy = (struct config_policy){0};
}

static const char *word_of(const struct policy_rule *rule)
{
    return rule->denies ? "deny" : "allow";
}

static int parse_key(const char *key, struct policy_rule *rule, char *problem)
{
    struct bytes text = trim(bytes_from_text(key));
    size_t word_size = strcspn(key, " \t");

    rule->denies = strncmp(key, "deny", word_size) == 0 && word_size == 4;
    if (!rule->denies && !(strncmp(key, "allow", word_size) == 0 && word_size == 5)) {
        return bad(problem,
                   "\"%.*s\" is no rule: write allow PATH = PRINCIPALS or deny PATH = PRINCIPALS",
                   SHOWN_MAX, key);
    }
    text = trim((struct bytes){text.data + word_size, text.size - word_size});
    rule->path = copy(text);
    return rule->path != NULL ? check_path(rule->path, problem) : -ENOMEM;
}

static int check_new(const struct config_policy *policy, const struct policy_rule *rule,
                     char *problem)
{
    for (unsigned i = 0; i < policy->count; i++) {
        const struct policy_rule *other = &policy->rules[i];

        if (other->denies == rule->denies && strcmp(other->path, rule->path) == 0) {
            return bad(problem,
                       "\"%s %s\" is there twice, first in line %d: put all principals in one row",
                       word_of(rule), rule->path, other->line);
        }
    }
    return 0;
}

static int append_rule(struct config_policy *policy, const struct policy_rule *rule)
{
    struct policy_rule *rules =
        realloc(policy->rules, (policy->count + 1) * sizeof(*policy->rules));

    if (rules == NULL) {
        return -ENOMEM;
    }
    policy->rules = rules;
    policy->rules[policy->count++] = *rule;
    return 0;
}

int config_policy_add(struct config_policy *policy, const char *key, const char *value, int line,
                      char problem[CONFIG_POLICY_PROBLEM_SIZE])
{
    struct policy_rule rule = {.line = line};
    int result;

    if (policy->count == CONFIG_POLICY_ROWS_MAX) {
        return bad(problem, "a policy has at most %d rows", CONFIG_POLICY_ROWS_MAX);
    }
    rule.principals = calloc(CONFIG_POLICY_PRINCIPALS_MAX, sizeof(*rule.principals));
    result = rule.principals != NULL ? parse_key(key, &rule, problem) : -ENOMEM;
    if (result == 0) {
        result = check_new(policy, &rule, problem);
    }
    if (result == 0) {
        result = parse_principals(&rule, value, problem);
    }
    if (result == 0) {
        result = append_rule(policy, &rule);
    }
    if (result != 0) {
        rule_deinit(&rule);
    }
    return result;
}

bool config_policy_allows_any(const struct config_policy *policy)
{
    for (unsigned i = 0; i < policy->count; i++) {
        if (!policy->rules[i].denies) {
            return true;
        }
    }
    return false;
}

/* ---- printing ---- */

static int append_text(struct buf *out, const char *text)
{
    return buf_append(out, text, strlen(text));
}

static const char *prefix_of(enum policy_principal_kind kind)
{
    for (size_t i = 0; i < PREFIX_COUNT; i++) {
        if (prefixes[i].kind == kind) {
            return prefixes[i].prefix;
        }
    }
    return kind == POLICY_PRINCIPAL_ANYONE ? "*" : "authenticated";
}

static int print_rule(const struct policy_rule *rule, const char *file, struct buf *out)
{
    char tail[512];
    int result = append_text(out, word_of(rule));

    result = result == 0 ? append_text(out, " ") : result;
    result = result == 0 ? append_text(out, rule->path) : result;
    for (unsigned i = 0; i < rule->principal_count && result == 0; i++) {
        const struct policy_principal *principal = &rule->principals[i];

        result = append_text(out, i == 0 ? " = " : ", ");
        result = result == 0 ? append_text(out, prefix_of(principal->kind)) : result;
        if (result == 0 && principal->name != NULL) {
            result = append_text(out, principal->name);
        }
    }
    (void)snprintf(tail, sizeof(tail), " ; %.400s:%d, reloadable\n", file, rule->line);
    return result == 0 ? append_text(out, tail) : result;
}

int config_policy_print(const struct config_policy *policy, const char *file, struct buf *out)
{
    int result = policy->count == 0 ? 0 : append_text(out, "\n[" CONFIG_POLICY_SECTION "]\n");

    for (unsigned i = 0; i < policy->count && result == 0; i++) {
        result = print_rule(&policy->rules[i], file, out);
    }
    return result;
}
