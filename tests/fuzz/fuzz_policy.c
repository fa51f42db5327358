/*
 * Any text as rows of [policy], and as a call to be judged by them. Rows are taken, or refused with
 * a reason; those taken print to text that reads back to the same; and whoever calls whatever, the
 * verdict is that of reading the rows one by one.
 *
 * The input is lines. Up to the first empty one they are rows, `key = value`; the next is the path
 * that is called; the others say who calls, as `r` role, `s` scope, `u` subject, `c` certificate.
 */
#include "lib/policy_model.h"

#include "http2/grpc_method.h"
#include "service/caller.h"
#include "service/config_policy.h"
#include "service/method_class.h"

#include <stdlib.h>

#define LIST_MAX       16
#define INPUT_SIZE_MAX 1024 /* longer ones say nothing new, slowly */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

/* Cuts the next line off, or returns NULL at the end. */
static char *next_line(char **rest)
{
    char *line = *rest;
    size_t size;

    if (line[0] == '\0') {
        return NULL;
    }
    size = strcspn(line, "\n");
    *rest = line + size + (line[size] == '\n');
    line[size] = '\0';
    return line;
}

static void read_rows(struct config_policy *policy, char **rest)
{
    char problem[CONFIG_POLICY_PROBLEM_SIZE];
    int line_number = 0;
    char *line;

    while ((line = next_line(rest)) != NULL && line[0] != '\0') {
        char *equals = strchr(line, '=');
        unsigned count = policy->count;
        int result;

        line_number++;
        if (equals == NULL) {
            continue;
        }
        *equals = '\0';
        memset(problem, 0, sizeof(problem));
        result = config_policy_add(policy, line, equals + 1, line_number, problem);
        must(result == 0 || result == CONFIG_POLICY_E_BAD);
        must((result == 0) == (problem[0] == '\0'));
        must(policy->count == count + (result == 0));
    }
}

static char *print(const struct config_policy *policy)
{
    struct buf out = {0};
    char *text;

    must(config_policy_print(policy, "f", &out) == 0);
    must(buf_append(&out, "", 1) == 0);
    text = strdup((const char *)buf_bytes(&out).data);
    must(text != NULL);
    buf_deinit(&out);
    return text;
}

/* Without the comments that name lines. */
static void strip(char *text)
{
    char *to = text;

    for (const char *from = text; *from != '\0'; from++) {
        if (strncmp(from, " ; f:", 5) == 0) {
            from += strcspn(from, "\n");
        }
        *to++ = *from;
    }
    *to = '\0';
}

static void expect_line(char **rest, const char *expected)
{
    const char *line = next_line(rest);

    must(line != NULL && strcmp(line, expected) == 0);
}

/* The rows are printed behind an empty line and the head of the section. */
static void check_printing(const struct config_policy *policy)
{
    struct config_policy again = {0};
    char *first = print(policy);
    char *second;
    char *copy;
    char *rest;

    strip(first);
    copy = strdup(first);
    must(copy != NULL);
    rest = copy;
    if (policy->count > 0) {
        expect_line(&rest, "");
        expect_line(&rest, "[policy]");
    }
    read_rows(&again, &rest);
    must(again.count == policy->count);
    second = print(&again);
    strip(second);
    must(strcmp(first, second) == 0);
    config_policy_deinit(&again);
    free(second);
    free(copy);
    free(first);
}

static void read_caller(struct caller *caller, const char **roles, const char **scopes, char **rest)
{
    char *line;

    *caller = (struct caller){.roles = roles, .scopes = scopes};
    while ((line = next_line(rest)) != NULL) {
        switch (line[0]) {
        case 'r':
            if (caller->role_count < LIST_MAX) {
                roles[caller->role_count++] = line + 1;
            }
            break;
        case 's':
            if (caller->scope_count < LIST_MAX) {
                scopes[caller->scope_count++] = line + 1;
            }
            break;
        case 'u':
            caller->subject = line + 1;
            break;
        case 'c':
            caller->certificate = line + 1;
            break;
        default:
            break;
        }
    }
}

static void check_verdict(const struct config_policy *rows, const char *path,
                          const struct caller *caller, const struct grpc_method_table *methods)
{
    struct bytes bytes = bytes_from_text(path);
    char reason[POLICY_REASON_SIZE] = "";
    struct policy *policy;

    must(policy_new(rows->rules, rows->count, methods, &policy) == 0);
    must(policy_judge(policy, grpc_method_find(methods, bytes), bytes, caller) ==
         policy_model_may(rows->rules, rows->count, path, caller));
    policy_explain(policy, bytes, caller, reason);
    must((strncmp(reason, "deny ", 5) == 0) ==
         policy_model_denies(rows->rules, rows->count, path, caller));
    policy_free(policy);
}

/* All methods, but the reflection of the last rows, which may not be served. */
static void make_methods(struct grpc_method_table *methods)
{
    struct grpc_method rows[16] = {0};
    unsigned count = 0;

    for (unsigned i = 0; method_class_paths[i] != NULL; i++) {
        if (method_class_of(method_class_paths[i]) != METHOD_CLASS_REFLECTION) {
            must(count < sizeof(rows) / sizeof(rows[0]));
            rows[count++].path = method_class_paths[i];
        }
    }
    must(grpc_method_table_init(methods, rows, count) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct grpc_method_table methods;
    struct config_policy policy = {0};
    struct caller caller;
    const char *roles[LIST_MAX];
    const char *scopes[LIST_MAX];
    char *text;
    char *rest;
    const char *path;

    if (size > INPUT_SIZE_MAX) {
        return 0;
    }
    text = malloc(size + 1);
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    text[size] = '\0';
    rest = text;
    if (methods.count == 0) {
        make_methods(&methods);
    }
    read_rows(&policy, &rest);
    check_printing(&policy);
    path = next_line(&rest);
    read_caller(&caller, roles, scopes, &rest);
    check_verdict(&policy, path != NULL ? path : "", &caller, &methods);
    config_policy_deinit(&policy);
    free(text);
    return 0;
}
