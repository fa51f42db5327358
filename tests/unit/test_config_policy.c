#include "lib/unit.h"

#include "allocation_faults.h"
#include "service/config.h"
#include "service/config_policy.h"

#include <errno.h>
#include <stdio.h>

static struct config_policy policy;
static char problem[CONFIG_POLICY_PROBLEM_SIZE];

static int add(const char *key, const char *value)
{
    problem[0] = '\0';
    return config_policy_add(&policy, key, value, (int)policy.count + 1, problem);
}

static void assert_refused(const char *key, const char *value, const char *part)
{
    unsigned count = policy.count;

    ck_assert_int_eq(add(key, value), CONFIG_POLICY_E_BAD);
    ck_assert_msg(strstr(problem, part) != NULL, "\"%s\" is not in \"%s\"", part, problem);
    ck_assert_uint_eq(policy.count, count);
}

static void assert_principal(const char *text, enum policy_principal_kind kind, const char *name)
{
    const struct policy_rule *rule;

    config_policy_deinit(&policy);
    ck_assert_msg(add("allow /*", text) == 0, "%s", problem);
    rule = &policy.rules[0];
    ck_assert_uint_eq(rule->principal_count, 1);
    ck_assert_int_eq(rule->principals[0].kind, kind);
    if (name == NULL) {
        ck_assert_ptr_null(rule->principals[0].name);
    } else {
        ck_assert_str_eq(rule->principals[0].name, name);
    }
    config_policy_deinit(&policy);
}

/* A row has a word, a path and principals, with blanks where people put them. */
START_TEST(config_policy_reads_rows)
{
    ck_assert_int_eq(add("allow /users.v1.UserService/GetUser", "role:viewer, role:admin"), 0);
    ck_assert_int_eq(add("deny \t /users.v1.UserService/*", "sub:mallory,scope:x  ,*"), 0);
    ck_assert_int_eq(add("allow /*", "authenticated"), 0);
    ck_assert_int_eq(add("deny /grpc.reflection.v1alpha.ServerReflection/*", "*"), 0);
    ck_assert_uint_eq(policy.count, 4);
    ck_assert(!policy.rules[0].denies);
    ck_assert_str_eq(policy.rules[0].path, "/users.v1.UserService/GetUser");
    ck_assert_uint_eq(policy.rules[0].principal_count, 2);
    ck_assert_str_eq(policy.rules[0].principals[1].name, "admin");
    ck_assert_int_eq(policy.rules[0].line, 1);
    ck_assert(policy.rules[1].denies);
    ck_assert_str_eq(policy.rules[1].path, "/users.v1.UserService/*");
    ck_assert_uint_eq(policy.rules[1].principal_count, 3);
    ck_assert(config_policy_allows_any(&policy));
    config_policy_deinit(&policy);
}

END_TEST

/* Every kind of principal, and what a certificate's name without a kind is taken for. */
START_TEST(config_policy_reads_principals)
{
    assert_principal("role:admin", POLICY_PRINCIPAL_ROLE, "admin");
    assert_principal("scope:users.read", POLICY_PRINCIPAL_SCOPE, "users.read");
    assert_principal("sub:auth0|12:3", POLICY_PRINCIPAL_SUBJECT, "auth0|12:3");
    assert_principal("sub:*", POLICY_PRINCIPAL_SUBJECT, "*");
    assert_principal("sub:\xc3\xa4", POLICY_PRINCIPAL_SUBJECT, "\xc3\xa4");
    assert_principal("id:uri:spiffe://a/b", POLICY_PRINCIPAL_URI, "spiffe://a/b");
    assert_principal("id:spiffe://a/b", POLICY_PRINCIPAL_URI, "spiffe://a/b");
    assert_principal("id:dns:host.example", POLICY_PRINCIPAL_DNS, "host.example");
    assert_principal("id:host.example", POLICY_PRINCIPAL_DNS, "host.example");
    assert_principal("authenticated", POLICY_PRINCIPAL_AUTHENTICATED, NULL);
    assert_principal("*", POLICY_PRINCIPAL_ANYONE, NULL);
}

END_TEST

/* A slip in a principal is a mistake, never a principal that matches nobody. */
START_TEST(config_policy_refuses_bad_principals)
{
    assert_refused("deny /*", "", "a principal is missing");
    assert_refused("deny /*", "role:a,", "a comma too many");
    assert_refused("deny /*", ",role:a", "a comma too many");
    assert_refused("deny /*", "role:a,,role:b", "a comma too many");
    assert_refused("deny /*", "role:a role:b", "put commas between");
    assert_refused("deny /*", "role: a", "put commas between");
    assert_refused("deny /*", "sub:a\tb", "put commas between");
    assert_refused("deny /*", "role:", "has no name");
    assert_refused("deny /*", "id:", "has no name");
    assert_refused("deny /*", "id:uri:", "has no name");
    assert_refused("deny /*", "mallory", "unknown principal \"mallory\": write role:R, scope:S");
    assert_refused("deny /*", "Role:a", "unknown principal");
    assert_refused("deny /*", "user:a", "unknown principal");
    assert_refused("deny /*", "**", "unknown principal");
    assert_refused("deny /*", "Authenticated", "unknown principal");
}

END_TEST

/* A path that no method has is a mistake, and the nearest one is named. */
START_TEST(config_policy_refuses_bad_paths)
{
    assert_refused("allow", "*", "is no path: write /package.Service/Method");
    assert_refused("allow users.v1.UserService/GetUser", "*", "is no path");
    assert_refused("allow *", "*", "is no path");
    assert_refused("allow /users.v1.UserService", "*", "is no path");
    assert_refused("allow /users.v1.UserService/GetUsr", "*",
                   "there is no method /users.v1.UserService/GetUsr: did you mean "
                   "/users.v1.UserService/GetUser");
    assert_refused("allow /users.v1.userservice/GetUser", "*", "did you mean");
    assert_refused("allow /user.v1.UserService/*", "*", "did you mean /users.v1.UserService/*");
    assert_refused("allow /other.Service/Do", "*",
                   "there is no method /other.Service/Do: see the list");
    assert_refused("allow /other.Service/*", "*", "there is no service /other.Service/*");
    assert_refused("allow /users.v1.UserService/Get*", "*", "there is no method");
    assert_refused("allow /*/GetUser", "*", "there is no method");
    assert_refused("allow /", "*", "is no path");
    assert_refused("allow //*", "*", "there is no service");
    assert_refused("allow /users.v1.UserService/GetUser x", "*", "there is no method");
}

END_TEST

/* Only the two words begin a row. */
START_TEST(config_policy_refuses_other_words)
{
    assert_refused("permit /*", "*", "\"permit /*\" is no rule: write allow PATH");
    assert_refused("Allow /*", "*", "is no rule");
    assert_refused("allowed /*", "*", "is no rule");
    assert_refused("a /*", "*", "is no rule");
    assert_refused("", "*", "is no rule");
    assert_refused("/users.v1.UserService/GetUser", "*", "is no rule");
}

END_TEST

/* A path has one allow row and one deny row. */
START_TEST(config_policy_refuses_a_second_row)
{
    ck_assert_int_eq(add("allow /*", "role:a"), 0);
    ck_assert_int_eq(add("deny /*", "role:b"), 0);
    assert_refused("allow  /*", "role:c",
                   "\"allow /*\" is there twice, first in line 1: put all principals in one row");
    assert_refused("deny /*", "role:c", "first in line 2");
    config_policy_deinit(&policy);
}

END_TEST

/* Rows, principals and names have their limits. */
START_TEST(config_policy_is_bounded)
{
    static char value[2048];
    static char name[CONFIG_POLICY_NAME_SIZE_MAX + 8];
    static char row[CONFIG_POLICY_VALUE_SIZE_MAX + 2];
    size_t size = 0;

    for (int i = 0; i < CONFIG_POLICY_PRINCIPALS_MAX; i++) {
        size += (size_t)snprintf(value + size, sizeof(value) - size, "%srole:r%d",
                                 i == 0 ? "" : ",", i);
    }
    ck_assert_int_eq(add("allow /*", value), 0);
    (void)snprintf(value + size, sizeof(value) - size, ",role:more");
    assert_refused("deny /*", value, "at most 64 principals");
    memset(name, 'x', sizeof(name) - 1);
    memcpy(name, "sub:", 4);
    assert_refused("deny /*", name, "longer than 512 bytes");
    name[CONFIG_POLICY_NAME_SIZE_MAX + 4] = '\0';
    ck_assert_int_eq(add("deny /*", name), 0);
    memset(row, ' ', sizeof(row) - 1);
    row[0] = '*';
    assert_refused("deny /users.v1.UserService/*", row, "at most 7000 bytes");
    row[CONFIG_POLICY_VALUE_SIZE_MAX] = '\0';
    ck_assert_int_eq(add("deny /users.v1.UserService/*", row), 0);
    policy.count = CONFIG_POLICY_ROWS_MAX; /* as if */
    ck_assert_int_eq(add("allow /users.v1.UserService/*", "*"), CONFIG_POLICY_E_BAD);
    ck_assert(strstr(problem, "at most 256 rows") != NULL);
    policy.count = 3;
    config_policy_deinit(&policy);
}

END_TEST

/* What is printed reads back to the same rules, which print the same. */
START_TEST(config_policy_prints_what_it_reads)
{
    static const char expected[] =
        "\n[policy]\n"
        "allow /users.v1.UserService/* = role:a, scope:b, sub:c ; f:1, reloadable\n"
        "deny /* = id:uri:d:e, id:dns:f, authenticated, * ; f:2, reloadable\n";
    struct buf out = {0};

    ck_assert_int_eq(config_policy_print(&policy, "f", &out), 0);
    ck_assert_uint_eq(buf_size(&out), 0);
    ck_assert_int_eq(add("allow /users.v1.UserService/*", "role:a,scope:b,sub:c"), 0);
    ck_assert_int_eq(add("deny /*", "id:d:e, id:f, authenticated, *"), 0);
    ck_assert_int_eq(config_policy_print(&policy, "f", &out), 0);
    ck_assert(bytes_equal(buf_bytes(&out), bytes_from_text(expected)));
    buf_deinit(&out);
    config_policy_deinit(&policy);
}

END_TEST

/* Rows that only deny allow nothing. */
START_TEST(config_policy_knows_when_nothing_is_allowed)
{
    ck_assert(!config_policy_allows_any(&policy));
    ck_assert_int_eq(add("deny /*", "sub:mallory"), 0);
    ck_assert(!config_policy_allows_any(&policy));
    config_policy_deinit(&policy);
}

END_TEST

/* Wherever memory runs out the row is not there, and nothing is left behind. */
START_TEST(config_policy_survives_lack_of_memory)
{
    unsigned nth = 0;
    int result;

    do {
        allocation_faults_arm(++nth);
        result = add("allow /*", "role:a, id:b, *");
        if (allocation_faults_disarm()) {
            ck_assert_int_eq(result, -ENOMEM);
            ck_assert_uint_eq(policy.count, 0);
        }
    } while (result != 0);
    config_policy_deinit(&policy);
}

END_TEST

/* ---- in a file ---- */

#define OPEN "[tls]\nenabled = false\n[auth]\nmode = none\n[policy]\n"

static struct config config;
static struct buf errors;

static int load(const char *text)
{
    buf_deinit(&errors);
    config_deinit(&config);
    return config_load_text(&config, "test.ini", text, NULL, &errors);
}

static bool has_text(const struct buf *buf, const char *text)
{
    struct bytes bytes = buf_bytes(buf);

    return bytes.size > 0 && memmem(bytes.data, bytes.size, text, strlen(text)) != NULL;
}

static void unload(void)
{
    config_deinit(&config);
    buf_deinit(&errors);
}

/* Keys of any length come through as they are, values with their colons; a comment may follow. */
START_TEST(config_policy_is_read_from_files)
{
    struct buf out = {0};

    ck_assert_int_eq(load(OPEN
                          "allow /grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo = "
                          "id:uri:spiffe://a/b, sub:x=y ; who\n"
                          "deny\t/users.v1.UserService/* : sub:mallory\n"),
                     0);
    ck_assert_uint_eq(config.policy.count, 2);
    ck_assert_str_eq(config.policy.rules[0].path,
                     "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    ck_assert_str_eq(config.policy.rules[0].principals[0].name, "spiffe://a/b");
    ck_assert_str_eq(config.policy.rules[0].principals[1].name, "x=y");
    ck_assert_int_eq(config.policy.rules[0].line, 6);
    ck_assert_str_eq(config.policy.rules[1].principals[0].name, "mallory");
    ck_assert_int_eq(config_print(&config, &out), 0);
    ck_assert(has_text(
        &out, "\n[policy]\nallow /grpc.reflection.v1alpha.ServerReflection/"
              "ServerReflectionInfo = id:uri:spiffe://a/b, sub:x=y ; test.ini:6, reloadable\n"
              "deny /users.v1.UserService/* = sub:mallory ; test.ini:7, reloadable\n"));
    buf_deinit(&out);
    unload();
}

END_TEST

/* All mistakes are told, each with its line. */
START_TEST(config_policy_names_the_line)
{
    ck_assert_int_eq(load(OPEN "allow /* = role:a role:b\n"
                               "allow /users.v1.UserService/GetUsr = *\n"
                               "deny /* = *\n"
                               "deny /* = *\n"),
                     CONFIG_E_INVALID);
    ck_assert(has_text(&errors, "test.ini:6: policy: \"role:a role:b\" is no principal"));
    ck_assert(has_text(&errors, "test.ini:7: policy: there is no method"));
    ck_assert(!has_text(&errors, "test.ini:8: "));
    ck_assert(has_text(&errors, "test.ini:9: policy: \"deny /*\" is there twice, first in line 8"));
    unload();
}

END_TEST

/* What is legal and may not be meant is warned of. */
START_TEST(config_policy_warns)
{
    ck_assert_int_eq(load(OPEN), 0);
    ck_assert(has_text(&config.warnings, "auth.mode = none: everybody"));
    ck_assert(!has_text(&config.warnings, "policy: "));
    ck_assert_int_eq(load(OPEN "deny /* = sub:mallory\n"), 0);
    ck_assert(has_text(&config.warnings, "policy: there are deny rows and no allow row"));
    ck_assert(has_text(&config.warnings, "policy: with auth.mode = none nobody has roles"));
    ck_assert(!has_text(&config.warnings, "auth.mode = none: everybody"));
    ck_assert_int_eq(load(OPEN "allow /* = *\n"), 0);
    ck_assert(!has_text(&config.warnings, "no allow row"));
    unload();
}

END_TEST

UNIT_MAIN("config_policy", config_policy_reads_rows, config_policy_reads_principals,
          config_policy_refuses_bad_principals, config_policy_refuses_bad_paths,
          config_policy_refuses_other_words, config_policy_refuses_a_second_row,
          config_policy_is_bounded, config_policy_prints_what_it_reads,
          config_policy_knows_when_nothing_is_allowed, config_policy_survives_lack_of_memory,
          config_policy_is_read_from_files, config_policy_names_the_line, config_policy_warns)
