#include "lib/policy_model.h"
#include "lib/unit.h"

#include "allocation_faults.h"
#include "http2/grpc_method.h"
#include "service/caller.h"
#include "service/policy.h"

#include <errno.h>
#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define NAMED(kind_, name_)                                                                        \
    {                                                                                              \
        .kind = POLICY_PRINCIPAL_##kind_, .name = (char[])                                         \
        {                                                                                          \
            name_                                                                                  \
        }                                                                                          \
    }
#define ANYONE                                                                                     \
    {                                                                                              \
        .kind = POLICY_PRINCIPAL_ANYONE                                                            \
    }
#define AUTHENTICATED                                                                              \
    {                                                                                              \
        .kind = POLICY_PRINCIPAL_AUTHENTICATED                                                     \
    }
#define ROW(denies_, path_, ...)                                                                   \
    {                                                                                              \
        .denies = (denies_), .path = (char[]){path_},                                              \
        .principals = (struct policy_principal[]){__VA_ARGS__},                                    \
        .principal_count = COUNT(((struct policy_principal[]){__VA_ARGS__}))                       \
    }
#define ALLOW(path_, ...) ROW(false, path_, __VA_ARGS__)
#define DENY(path_, ...)  ROW(true, path_, __VA_ARGS__)

static const struct grpc_method rows[] = {
    {.path = "/a.B/Get"},
    {.path = "/a.B/Put"},
    {.path = "/c.D/Get"},
    {.path = "/c.D/Sub/Get"},
};

static struct grpc_method_table methods;
static struct policy *policy;

static void compile(const struct policy_rule *rules, unsigned count)
{
    policy_free(policy);
    grpc_method_table_deinit(&methods);
    ck_assert_int_eq(grpc_method_table_init(&methods, rows, COUNT(rows)), 0);
    ck_assert_int_eq(policy_new(rules, count, &methods, &policy), 0);
}

static void done(void)
{
    policy_free(policy);
    grpc_method_table_deinit(&methods);
}

static bool may(const char *path, const struct caller *caller)
{
    struct bytes bytes = bytes_from_text(path);

    return policy_judge(policy, grpc_method_find(&methods, bytes), bytes, caller);
}

static bool may_with_role(const char *path, const char *role)
{
    const struct caller caller = {.subject = "someone", .roles = &role, .role_count = 1};

    return may(path, &caller);
}

/* Without a rule everybody may everything; with one, whatever it says, only what is allowed. */
START_TEST(policy_denies_by_default)
{
    const struct policy_rule allow[] = {ALLOW("/a.B/Get", NAMED(ROLE, "admin"))};
    const struct policy_rule deny[] = {DENY("/a.B/Get", NAMED(SUBJECT, "mallory"))};

    compile(NULL, 0);
    ck_assert(policy_is_empty(policy));
    ck_assert(may("/a.B/Get", NULL));
    ck_assert(may("/x.Y/Z", NULL));
    compile(allow, 1);
    ck_assert(!policy_is_empty(policy));
    ck_assert(may_with_role("/a.B/Get", "admin"));
    ck_assert(!may_with_role("/a.B/Get", "viewer"));
    ck_assert(!may_with_role("/a.B/Put", "admin"));
    ck_assert(!may("/a.B/Get", NULL));
    compile(deny, 1);
    ck_assert(!may_with_role("/a.B/Get", "admin"));
    ck_assert(!may_with_role("/a.B/Put", "admin"));
    done();
}

END_TEST

/* A deny row wins over allow rows, before and behind it, more or less special than it. */
START_TEST(policy_denies_first)
{
    const struct policy_rule rules[] = {
        ALLOW("/a.B/Get", NAMED(ROLE, "admin"), NAMED(SUBJECT, "mallory")),
        DENY("/a.B/*", NAMED(SUBJECT, "mallory")),
        ALLOW("/a.B/*", NAMED(SUBJECT, "mallory"), NAMED(ROLE, "admin")),
        ALLOW("/*", NAMED(SUBJECT, "mallory")),
    };
    const char *const roles[] = {"admin"};
    const struct caller mallory = {.subject = "mallory", .roles = roles, .role_count = 1};

    compile(rules, COUNT(rules));
    ck_assert(!may("/a.B/Get", &mallory));
    ck_assert(!may("/a.B/Put", &mallory));
    ck_assert(may("/c.D/Get", &mallory));
    ck_assert(may_with_role("/a.B/Get", "admin"));
    done();
}

END_TEST

/* Each kind of principal looks at its own names, and at nothing else that reads the same. */
START_TEST(policy_tells_kinds_apart)
{
    const struct policy_rule rules[] = {
        ALLOW("/a.B/Get", NAMED(ROLE, "x")),
        ALLOW("/a.B/Put", NAMED(SCOPE, "x")),
        ALLOW("/c.D/Get", NAMED(SUBJECT, "x")),
        ALLOW("/c.D/Sub/Get", NAMED(URI, "x")),
    };
    const char *const names[] = {"y", "x"};
    const struct caller callers[] = {
        {.subject = "z", .roles = names, .role_count = 2},
        {.subject = "z", .scopes = names, .scope_count = 2},
        {.subject = "x"},
        {.certificate = "uri:x"},
        {.certificate = "dns:x"},
        {.certificate = "x"},
        {.subject = "X"},
        {.subject = "x "},
        {.subject = ""},
    };

    compile(rules, COUNT(rules));
    for (unsigned i = 0; i < COUNT(callers); i++) {
        for (unsigned j = 0; j < COUNT(rules); j++) {
            ck_assert_msg(may(rules[j].path, &callers[i]) == (i == j), "%u %u", i, j);
        }
    }
    done();
}

END_TEST

/* Host names have no case; URIs have one. */
START_TEST(policy_compares_certificate_names)
{
    const struct policy_rule rules[] = {
        ALLOW("/a.B/Get", NAMED(DNS, "Host.Example"), NAMED(URI, "spiffe://a/Batch"))};
    const struct caller upper = {.certificate = "dns:HOST.example"};
    const struct caller other = {.certificate = "dns:host.example.org"};
    const struct caller uri = {.certificate = "uri:spiffe://a/Batch"};
    const struct caller other_uri = {.certificate = "uri:spiffe://a/batch"};

    compile(rules, 1);
    ck_assert(may("/a.B/Get", &upper));
    ck_assert(!may("/a.B/Get", &other));
    ck_assert(may("/a.B/Get", &uri));
    ck_assert(!may("/a.B/Get", &other_uri));
    done();
}

END_TEST

/* `authenticated` is everybody with a token or a certificate; `*` is everybody. */
START_TEST(policy_knows_the_wide_principals)
{
    const struct policy_rule rules[] = {ALLOW("/a.B/Get", AUTHENTICATED), ALLOW("/a.B/Put", ANYONE),
                                        DENY("/c.D/*", ANYONE), ALLOW("/*", NAMED(SUBJECT, "x"))};
    const struct caller token = {.subject = "x"};
    const struct caller certificate = {.certificate = "dns:x"};
    const struct caller nobody = {0};

    compile(rules, COUNT(rules));
    ck_assert(may("/a.B/Get", &token));
    ck_assert(may("/a.B/Get", &certificate));
    ck_assert(!may("/a.B/Get", &nobody));
    ck_assert(!may("/a.B/Get", NULL));
    ck_assert(may("/a.B/Put", &nobody));
    ck_assert(may("/a.B/Put", NULL));
    ck_assert(!may("/c.D/Get", &token));
    done();
}

END_TEST

/* Paths that are no method are judged as they are: by the rows of their service, or of all. */
START_TEST(policy_judges_unknown_paths)
{
    const struct policy_rule rules[] = {
        ALLOW("/a.B/*", NAMED(ROLE, "b")), ALLOW("/*", NAMED(ROLE, "all")),
        DENY("/c.D/*", NAMED(ROLE, "all")), ALLOW("/x.Y/Later", NAMED(ROLE, "later")),
        ALLOW("/a.B/Get", NAMED(ROLE, "get"))};

    compile(rules, COUNT(rules));
    ck_assert(may_with_role("/a.B/Nothing", "b"));
    ck_assert(may_with_role("/a.B/Nothing", "all"));
    ck_assert(!may_with_role("/a.B/Nothing", "get"));
    ck_assert(!may_with_role("/a.Bc/Get", "b"));
    ck_assert(!may_with_role("/a.B", "b"));
    ck_assert(!may_with_role("/a.B/Get/", "b"));
    ck_assert(!may_with_role("a.B/Get", "b"));
    ck_assert(!may_with_role("", "b"));
    ck_assert(may_with_role("/x.Y/Later", "later"));
    ck_assert(!may_with_role("/x.Y/Other", "later"));
    ck_assert(may_with_role("/x.Y/Other", "all"));
    ck_assert(!may_with_role("/c.D/Nothing", "all"));
    ck_assert(may_with_role("", "all"));
    done();
}

END_TEST

/* The log is told the row that denied, or that there is none. */
START_TEST(policy_explains)
{
    const struct policy_rule rules[] = {ALLOW("/a.B/Get", NAMED(ROLE, "admin")),
                                        DENY("/a.B/*", NAMED(SUBJECT, "mallory"))};
    const struct caller mallory = {.subject = "mallory"};
    const struct caller alice = {.subject = "alice"};
    char reason[POLICY_REASON_SIZE];

    compile(rules, COUNT(rules));
    policy_explain(policy, BYTES_LITERAL("/a.B/Get"), &mallory, reason);
    ck_assert_str_eq(reason, "deny /a.B/*");
    policy_explain(policy, BYTES_LITERAL("/a.B/Get"), &alice, reason);
    ck_assert_str_eq(reason, "no rule allows it");
    policy_explain(policy, BYTES_LITERAL("/c.D/Get"), NULL, reason);
    ck_assert_str_eq(reason, "no rule allows it");
    done();
}

END_TEST

/* ---- against a naive model ---- */

static uint64_t random_state;

static unsigned pick(unsigned below)
{
    random_state = random_state * 6364136223846793005U + 1442695040888963407U;
    return (unsigned)(random_state >> 33) % below;
}

static const char *const names[] = {"a", "b", "A", "c", "dd", "a.b", "B"};
static const char *const paths[] = {
    "/a.B/Get",   "/a.B/Put", "/c.D/Get", "/c.D/Sub/Get", "/a.B/Unknown",
    "/c.D/Sub/X", "/x.Y/Get", "/x.Y/Z",   "no path",      ""};
static const char *const rule_paths[] = {"/a.B/Get", "/a.B/*", "/c.D/Get", "/c.D/*",
                                         "/x.Y/Get", "/x.Y/*", "/*"};

#define RULES_MAX      12
#define PRINCIPALS_MAX 5
#define LIST_MAX       4

static char *unconst(const char *text)
{
    char *result;

    memcpy(&result, &text, sizeof(result));
    return result;
}

static unsigned random_rules(struct policy_rule *rules,
                             struct policy_principal principals[][PRINCIPALS_MAX])
{
    unsigned count = pick(RULES_MAX + 1);

    for (unsigned i = 0; i < count; i++) {
        rules[i] = (struct policy_rule){.denies = pick(3) == 0,
                                        .path = unconst(rule_paths[pick(COUNT(rule_paths))]),
                                        .principals = principals[i],
                                        .principal_count = 1 + pick(PRINCIPALS_MAX)};
        for (unsigned j = 0; j < rules[i].principal_count; j++) {
            principals[i][j].kind =
                (enum policy_principal_kind)(pick(8) == 0 ? pick(2) : 2 + pick(5));
            principals[i][j].name = principals[i][j].kind >= POLICY_PRINCIPAL_ROLE
                                        ? unconst(names[pick(COUNT(names))])
                                        : NULL;
        }
    }
    return count;
}

static void random_caller(struct caller *caller, const char **roles, const char **scopes,
                          char *certificate, size_t room)
{
    *caller = (struct caller){.roles = roles, .scopes = scopes};
    if (pick(3) > 0) {
        caller->subject = names[pick(COUNT(names))];
        caller->role_count = pick(LIST_MAX + 1);
        caller->scope_count = pick(LIST_MAX + 1);
    }
    for (unsigned i = 0; i < LIST_MAX; i++) {
        roles[i] = names[pick(COUNT(names))];
        scopes[i] = names[pick(COUNT(names))];
    }
    if (pick(2) == 0) {
        (void)snprintf(certificate, room, "%s:%s", pick(2) == 0 ? "uri" : "dns",
                       names[pick(COUNT(names))]);
        caller->certificate = certificate;
    }
}

/* Whatever the rules and whoever calls, the verdict is that of a model that reads the rules as they
 * are written; and what is refused for a deny row is explained by one. */
START_TEST(policy_agrees_with_a_model)
{
    static struct policy_rule rules[RULES_MAX];
    static struct policy_principal principals[RULES_MAX][PRINCIPALS_MAX];
    unsigned allowed = 0;
    unsigned total = 0;

    random_state = 1;
    for (unsigned round = 0; round < 2000; round++) {
        unsigned count = random_rules(rules, principals);

        compile(rules, count);
        for (unsigned i = 0; i < 20; i++) {
            const char *path = paths[pick(COUNT(paths))];
            const char *roles[LIST_MAX];
            const char *scopes[LIST_MAX];
            char certificate[32];
            char reason[POLICY_REASON_SIZE];
            struct caller caller;
            bool verdict;

            random_caller(&caller, roles, scopes, certificate, sizeof(certificate));
            verdict = may(path, &caller);
            ck_assert_msg(verdict == policy_model_may(rules, count, path, &caller), "round %u",
                          round);
            policy_explain(policy, bytes_from_text(path), &caller, reason);
            ck_assert((strncmp(reason, "deny ", 5) == 0) ==
                      policy_model_denies(rules, count, path, &caller));
            allowed += verdict;
            total++;
        }
    }
    ck_assert_uint_gt(allowed, total / 10); /* both verdicts are met often */
    ck_assert_uint_lt(allowed, total / 10 * 9);
    done();
}

END_TEST

/* Hundreds of names are told apart as few are. */
START_TEST(policy_holds_many_names)
{
    static struct policy_principal principals[256][64];
    static struct policy_rule rules[256];
    static char texts[256][64][16];
    unsigned wrong = 0;

    for (unsigned i = 0; i < 256; i++) {
        for (unsigned j = 0; j < 64; j++) {
            (void)snprintf(texts[i][j], sizeof(texts[i][j]), "name%u", i * 64 + j);
            principals[i][j] =
                (struct policy_principal){.kind = POLICY_PRINCIPAL_ROLE, .name = texts[i][j]};
        }
        rules[i] = (struct policy_rule){.path = unconst(i % 2 == 0 ? "/a.B/Get" : "/a.B/Put"),
                                        .principals = principals[i],
                                        .principal_count = 64};
    }
    compile(rules, 256);
    for (unsigned i = 0; i < 256; i++) {
        for (unsigned j = 0; j < 64; j++) {
            wrong += may_with_role("/a.B/Get", texts[i][j]) != (i % 2 == 0);
            wrong += may_with_role("/a.B/Put", texts[i][j]) != (i % 2 == 1);
        }
    }
    ck_assert_uint_eq(wrong, 0);
    ck_assert(!may_with_role("/a.B/Get", "name"));
    ck_assert(!may_with_role("/a.B/Get", "name99999"));
    done();
}

END_TEST

/* Wherever memory runs out there is no policy, and nothing is left behind. */
START_TEST(policy_survives_lack_of_memory)
{
    const struct policy_rule rules[] = {ALLOW("/a.B/Get", NAMED(ROLE, "x"), NAMED(SUBJECT, "y")),
                                        DENY("/*", ANYONE)};
    struct policy *made = NULL;
    unsigned nth = 0;
    int result;

    ck_assert_int_eq(grpc_method_table_init(&methods, rows, COUNT(rows)), 0);
    do {
        allocation_faults_arm(++nth);
        result = policy_new(rules, 2, &methods, &made);
        if (allocation_faults_disarm()) {
            ck_assert_int_eq(result, -ENOMEM);
            ck_assert_ptr_null(made);
        }
    } while (result != 0);
    ck_assert_uint_gt(nth, 5);
    policy_free(made);
    policy_free(NULL);
    done();
}

END_TEST

UNIT_MAIN("policy", policy_denies_by_default, policy_denies_first, policy_tells_kinds_apart,
          policy_compares_certificate_names, policy_knows_the_wide_principals,
          policy_judges_unknown_paths, policy_explains, policy_agrees_with_a_model,
          policy_holds_many_names, policy_survives_lack_of_memory)
