/*
 * Who may call what: rules compiled for quick judgement. Immutable; a reload makes a new one. Pure.
 *
 * Without any rule everybody may call everything. Otherwise a call passes when no deny rule for its
 * path names the caller, and an allow rule for its path does.
 *
 * Owns:    copies of the rules.
 * Borrows: nothing after a call.
 * Thread:  any.
 */
#ifndef SERVICE_POLICY_H
#define SERVICE_POLICY_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>

struct caller;
struct grpc_method;
struct grpc_method_table;
struct policy;

enum policy_principal_kind {
    POLICY_PRINCIPAL_ANYONE,
    POLICY_PRINCIPAL_AUTHENTICATED, /* by a token or a certificate */
    POLICY_PRINCIPAL_ROLE,
    POLICY_PRINCIPAL_SCOPE,
    POLICY_PRINCIPAL_SUBJECT,
    POLICY_PRINCIPAL_URI, /* of the client's certificate */
    POLICY_PRINCIPAL_DNS, /* likewise; the case of ASCII letters does not matter */
};

#define POLICY_PRINCIPAL_KIND_COUNT 7

struct policy_principal {
    enum policy_principal_kind kind;
    char *name; /* from ROLE on; NULL before */
};

/* One row: whom it allows, or denies, what. */
struct policy_rule {
    bool denies;
    char *path; /* "/pkg.Service/Method"; a star can stand for the method, or for both names */
    struct policy_principal *principals;
    unsigned principal_count;
    int line; /* of the file it came from */
};

/* Compiles the rules (copied) for the methods of the table. Returns 0 or -ENOMEM. */
int policy_new(const struct policy_rule *rules, unsigned rule_count,
               const struct grpc_method_table *methods, struct policy **ret_policy);

/* NULL is fine. */
void policy_free(struct policy *policy);

/* True when there is no rule: everybody passes. */
bool policy_is_empty(const struct policy *policy);

/* May the caller (NULL = nobody) make this call? `method` is what the path was routed to, from a
 * table like that of policy_new(); NULL = nothing, and then the path itself is judged. */
bool policy_judge(const struct policy *policy, const struct grpc_method *method, struct bytes path,
                  const struct caller *caller);

#define POLICY_REASON_SIZE 320

/* Why such a call was refused, for the log: "deny PATH" with the path of the first rule that denies
 * it, or that no rule allows it. */
void policy_explain(const struct policy *policy, struct bytes path, const struct caller *caller,
                    char ret_reason[POLICY_REASON_SIZE]);

#endif
