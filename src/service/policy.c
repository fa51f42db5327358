#include "service/policy.h"

#include "http2/grpc_method.h"
#include "service/caller.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/*
 * Every distinct principal with a name gets a number, and the rules become sets of numbers. For
 * every method the rules that cover it are united beforehand, all denying ones and all allowing
 * ones. So a judgement is: each name of the caller is looked up once, and its number is looked for
 * in two sets. It takes as long as the caller has names, whatever the rules.
 *
 * The same is prepared for paths that are no method: one pair of sets for each path that a rule
 * names, and one for all others.
 *
 * The table of names needs no secret seed: only names of the configuration are ever put into it.
 */

struct name {
    enum policy_principal_kind kind;
    char *text;
    size_t size;
};

/* Principals. */
struct set {
    bool anyone;
    bool authenticated;
    uint64_t *numbers; /* a bit for each name */
};

struct rule {
    bool denies;
    char *path;
    struct set set;
};

/* Something to be judged. */
struct target {
    struct bytes path; /* of a rule, and borrowed from it; nobody looks at that of a method */
    struct set deny;
    struct set allow;
};

struct policy {
    struct rule *rules;
    unsigned rule_count;
    struct name *names;
    unsigned name_count;
    size_t name_size_max;
    bool has_names_of[POLICY_PRINCIPAL_KIND_COUNT];
    uint32_t *slots; /* number of a name plus one, by hash; 0 = free */
    uint32_t slot_mask;
    struct target *targets; /* the methods by index, then the paths of the rules, all others */
    unsigned method_count;
    unsigned target_count;
    size_t word_count; /* of each set */
    uint64_t *words;   /* of all sets */
};

/* ---- paths ---- */

/* With the slash: "/pkg.Service/". */
static struct bytes service_of(struct bytes path)
{
    const uint8_t *slash = path.size > 0 ? memrchr(path.data, '/', path.size) : NULL;

    return (struct bytes){path.data, slash == NULL ? 0 : (size_t)(slash - path.data) + 1};
}

static bool is_wildcard(struct bytes path)
{
    return path.size >= 2 && path.data[path.size - 2] == '/' && path.data[path.size - 1] == '*';
}

/* All paths, those that are no paths included. */
static bool is_all(struct bytes path)
{
    return path.size == 2 && is_wildcard(path);
}

static bool covers(struct bytes rule, struct bytes path)
{
    return is_all(rule) || bytes_equal(rule, path) ||
           (is_wildcard(rule) && bytes_equal(service_of(rule), service_of(path)));
}

/* ---- names ---- */

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte;
}

/* FNV-1a, without the case of host names. */
static uint32_t hash_name(enum policy_principal_kind kind, const char *text, size_t size)
{
    uint32_t hash = (2166136261U ^ kind) * 16777619U;

    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];

        hash = (hash ^ (kind == POLICY_PRINCIPAL_DNS ? lower(byte) : byte)) * 16777619U;
    }
    return hash;
}

static bool is_name(const struct name *name, enum policy_principal_kind kind, const char *text,
                    size_t size)
{
    if (name->kind != kind || name->size != size) {
        return false;
    }
    return kind == POLICY_PRINCIPAL_DNS ? strncasecmp(name->text, text, size) == 0
                                        : memcmp(name->text, text, size) == 0;
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t find_slot(const struct policy *policy, enum policy_principal_kind kind,
                          const char *text, size_t size)
{
    uint32_t at = hash_name(kind, text, size) & policy->slot_mask;

    while (policy->slots[at] != 0 &&
           !is_name(&policy->names[policy->slots[at] - 1], kind, text, size)) {
        at = (at + 1) & policy->slot_mask;
    }
    return at;
}

/* ---- judging ---- */

static bool has(const struct set *set, uint32_t number)
{
    return (set->numbers[number / 64] >> number % 64 & 1) != 0;
}

static bool names_without_name(const struct set *set, const struct caller *caller)
{
    return set->anyone || (set->authenticated && caller_is_authenticated(caller));
}

struct judgement {
    const struct policy *policy;
    const struct set *deny;
    const struct set *allow;
    bool denied;
    bool allowed;
};

static void judge_name(struct judgement *judgement, enum policy_principal_kind kind,
                       const char *text)
{
    const struct policy *policy = judgement->policy;
    uint32_t number;
    size_t size;

    if (text == NULL || !policy->has_names_of[kind]) {
        return;
    }
    size = strnlen(text, policy->name_size_max + 1);
    if (size > policy->name_size_max) {
        return;
    }
    number = policy->slots[find_slot(policy, kind, text, size)];
    if (number != 0) {
        judgement->denied = judgement->denied || has(judgement->deny, number - 1);
        judgement->allowed = judgement->allowed || has(judgement->allow, number - 1);
    }
}

static void judge_names(struct judgement *judgement, enum policy_principal_kind kind,
                        const char *const *texts, unsigned count)
{
    if (judgement->policy->has_names_of[kind]) {
        for (unsigned i = 0; i < count; i++) {
            judge_name(judgement, kind, texts[i]);
        }
    }
}

static void judge_certificate(struct judgement *judgement, const char *certificate)
{
    if (certificate == NULL) {
        return;
    }
    if (strncmp(certificate, "uri:", 4) == 0) {
        judge_name(judgement, POLICY_PRINCIPAL_URI, certificate + 4);
    } else if (strncmp(certificate, "dns:", 4) == 0) {
        judge_name(judgement, POLICY_PRINCIPAL_DNS, certificate + 4);
    }
}

static void judge(struct judgement *judgement, const struct caller *caller)
{
    judgement->denied = names_without_name(judgement->deny, caller);
    judgement->allowed = names_without_name(judgement->allow, caller);
    judge_names(judgement, POLICY_PRINCIPAL_ROLE, caller->roles, caller->role_count);
    judge_names(judgement, POLICY_PRINCIPAL_SCOPE, caller->scopes, caller->scope_count);
    judge_name(judgement, POLICY_PRINCIPAL_SUBJECT, caller->subject);
    judge_certificate(judgement, caller->certificate);
}

/* Of a path that is no method: its own, else that of its service, else the one of all others. */
static const struct target *find_target(const struct policy *policy, struct bytes path)
{
    const struct target *found = &policy->targets[policy->target_count - 1];

    for (unsigned i = policy->method_count; i < policy->target_count - 1; i++) {
        const struct target *target = &policy->targets[i];

        if (bytes_equal(target->path, path)) {
            return target;
        }
        if (!is_all(target->path) && covers(target->path, path)) {
            found = target;
        }
    }
    return found;
}

static const struct caller nobody;

bool policy_judge(const struct policy *policy, const struct grpc_method *method, struct bytes path,
                  const struct caller *caller)
{
    const struct target *target;
    struct judgement judgement = {.policy = policy};

    if (policy->rule_count == 0) {
        return true;
    }
    assert(method == NULL || method->index < policy->method_count);
    target = method != NULL ? &policy->targets[method->index] : find_target(policy, path);
    judgement.deny = &target->deny;
    judgement.allow = &target->allow;
    judge(&judgement, caller != NULL ? caller : &nobody);
    return judgement.allowed && !judgement.denied;
}

bool policy_is_empty(const struct policy *policy)
{
    return policy->rule_count == 0;
}

void policy_explain(const struct policy *policy, struct bytes path, const struct caller *caller,
                    char ret_reason[POLICY_REASON_SIZE])
{
    for (unsigned i = 0; i < policy->rule_count; i++) {
        const struct rule *rule = &policy->rules[i];
        struct judgement judgement = {.policy = policy, .deny = &rule->set, .allow = &rule->set};

        if (!rule->denies || !covers(bytes_from_text(rule->path), path)) {
            continue;
        }
        judge(&judgement, caller != NULL ? caller : &nobody);
        if (judgement.denied) {
            (void)snprintf(ret_reason, POLICY_REASON_SIZE, "deny %s", rule->path);
            return;
        }
    }
    (void)snprintf(ret_reason, POLICY_REASON_SIZE, "no rule allows it");
}

/* ---- compiling ---- */

static unsigned count_principals(const struct policy_rule *rules, unsigned count)
{
    unsigned result = 0;

    for (unsigned i = 0; i < count; i++) {
        result += rules[i].principal_count;
    }
    return result;
}

/* Gives every distinct name its number. Returns 0 or -ENOMEM. */
static int add_name(struct policy *policy, const struct policy_principal *principal)
{
    size_t size = strlen(principal->name);
    uint32_t slot = find_slot(policy, principal->kind, principal->name, size);
    struct name *name = &policy->names[policy->name_count];

    if (policy->slots[slot] != 0) {
        return 0;
    }
    name->text = strdup(principal->name);
    if (name->text == NULL) {
        return -ENOMEM;
    }
    name->kind = principal->kind;
    name->size = size;
    policy->slots[slot] = ++policy->name_count;
    policy->has_names_of[name->kind] = true;
    policy->name_size_max = size > policy->name_size_max ? size : policy->name_size_max;
    return 0;
}

static int add_names(struct policy *policy, const struct policy_rule *rules, unsigned count)
{
    unsigned principal_count = count_principals(rules, count);
    uint32_t slot_count = 16;
    int error = 0;

    while (slot_count < 2 * principal_count) {
        slot_count *= 2;
    }
    policy->slot_mask = slot_count - 1;
    policy->slots = calloc(slot_count, sizeof(*policy->slots));
    policy->names = calloc(principal_count + 1, sizeof(*policy->names));
    if (policy->slots == NULL || policy->names == NULL) {
        return -ENOMEM;
    }
    for (unsigned i = 0; i < count && error == 0; i++) {
        for (unsigned j = 0; j < rules[i].principal_count && error == 0; j++) {
            if (rules[i].principals[j].kind >= POLICY_PRINCIPAL_ROLE) {
                error = add_name(policy, &rules[i].principals[j]);
            }
        }
    }
    policy->word_count = policy->name_count / 64 + 1;
    return error;
}

static void add_principal(const struct policy *policy, struct set *set,
                          const struct policy_principal *principal)
{
    uint32_t number;

    if (principal->kind == POLICY_PRINCIPAL_ANYONE) {
        set->anyone = true;
    } else if (principal->kind == POLICY_PRINCIPAL_AUTHENTICATED) {
        set->authenticated = true;
    } else {
        number = policy->slots[find_slot(policy, principal->kind, principal->name,
                                         strlen(principal->name))] -
                 1;
        set->numbers[number / 64] |= UINT64_C(1) << number % 64;
    }
}

static int add_rules(struct policy *policy, const struct policy_rule *rules)
{
    for (unsigned i = 0; i < policy->rule_count; i++) {
        struct rule *rule = &policy->rules[i];

        rule->denies = rules[i].denies;
        rule->path = strdup(rules[i].path);
        if (rule->path == NULL) {
            return -ENOMEM;
        }
        for (unsigned j = 0; j < rules[i].principal_count; j++) {
            add_principal(policy, &rule->set, &rules[i].principals[j]);
        }
    }
    return 0;
}

static void unite(const struct policy *policy, struct set *into, const struct set *from)
{
    into->anyone = into->anyone || from->anyone;
    into->authenticated = into->authenticated || from->authenticated;
    for (size_t i = 0; i < policy->word_count; i++) {
        into->numbers[i] |= from->numbers[i];
    }
}

static void add_target(struct policy *policy, struct bytes path)
{
    struct target *target = &policy->targets[policy->target_count++];

    target->path = path;
    for (unsigned i = 0; i < policy->rule_count; i++) {
        const struct rule *rule = &policy->rules[i];

        if (covers(bytes_from_text(rule->path), path)) {
            unite(policy, rule->denies ? &target->deny : &target->allow, &rule->set);
        }
    }
}

static void add_targets(struct policy *policy, const struct grpc_method_table *methods)
{
    for (unsigned i = 0; i < methods->count; i++) {
        add_target(policy, bytes_from_text(methods->methods[i].path));
    }
    for (unsigned i = 0; i < policy->rule_count; i++) {
        add_target(policy, bytes_from_text(policy->rules[i].path));
    }
    add_target(policy, BYTES_LITERAL("/*"));
}

/* Room for all rules, targets and their sets. */
static int make_room(struct policy *policy, unsigned rule_count, unsigned method_count)
{
    size_t target_max = (size_t)method_count + rule_count + 1;
    uint64_t *words;

    policy->rules = calloc(rule_count + 1, sizeof(*policy->rules));
    policy->targets = calloc(target_max, sizeof(*policy->targets));
    policy->words = calloc((rule_count + 2 * target_max) * policy->word_count, sizeof(uint64_t));
    if (policy->rules == NULL || policy->targets == NULL || policy->words == NULL) {
        return -ENOMEM;
    }
    policy->rule_count = rule_count;
    policy->method_count = method_count;
    words = policy->words;
    for (unsigned i = 0; i < rule_count; i++, words += policy->word_count) {
        policy->rules[i].set.numbers = words;
    }
    for (size_t i = 0; i < target_max; i++, words += 2 * policy->word_count) {
        policy->targets[i].deny.numbers = words;
        policy->targets[i].allow.numbers = words + policy->word_count;
    }
    return 0;
}

int policy_new(const struct policy_rule *rules, unsigned rule_count,
               const struct grpc_method_table *methods, struct policy **ret_policy)
{
    struct policy *policy = calloc(1, sizeof(*policy));
    int error = policy == NULL ? -ENOMEM : add_names(policy, rules, rule_count);

    if (error == 0) {
        error = make_room(policy, rule_count, methods->count);
    }
    if (error == 0) {
        error = add_rules(policy, rules);
    }
    if (error != 0) {
        policy_free(policy);
        return error;
    }
    add_targets(policy, methods);
    *ret_policy = policy;
    return 0;
}

void policy_free(struct policy *policy)
{
    if (policy == NULL) {
        return;
    }
    for (unsigned i = 0; i < policy->rule_count; i++) {
        free(policy->rules[i].path);
    }
    for (unsigned i = 0; i < policy->name_count; i++) {
        free(policy->names[i].text);
    }
    free(policy->rules);
    free(policy->names);
    free(policy->slots);
    free(policy->targets);
    free(policy->words);
    free(policy);
}
