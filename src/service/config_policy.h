/*
 * The section [policy] of the configuration: text to rules and back.
 *
 *     allow /users.v1.UserService/GetUser = role:viewer, role:admin
 *     deny /users.v1.UserService/DeleteUser = sub:mallory, id:spiffe://example.org/batch
 *
 * Owns:    the rules and their texts.
 * Borrows: nothing after a call.
 * Thread:  one at a time; read by any once it is loaded.
 */
#ifndef SERVICE_CONFIG_POLICY_H
#define SERVICE_CONFIG_POLICY_H

#include "core/buf.h"
#include "service/policy.h"

#define CONFIG_POLICY_SECTION        "policy"
#define CONFIG_POLICY_ROWS_MAX       256
#define CONFIG_POLICY_PRINCIPALS_MAX 64 /* of one row */
#define CONFIG_POLICY_NAME_SIZE_MAX  512
#define CONFIG_POLICY_VALUE_SIZE_MAX 7000 /* of one row: what is printed must still be a line */
#define CONFIG_POLICY_PROBLEM_SIZE   768

#define CONFIG_POLICY_E_BAD 1 /* `problem` says why, and what to write instead */

/* Zero-initialised is valid: no rule. */
struct config_policy {
    struct policy_rule *rules;
    unsigned count;
};

/* Takes one row of the section. Returns 0, CONFIG_POLICY_E_BAD or -ENOMEM. */
int config_policy_add(struct config_policy *policy, const char *key, const char *value, int line,
                      char problem[CONFIG_POLICY_PROBLEM_SIZE]);

/* Is there an allow row? Without one a policy refuses every call. */
bool config_policy_allows_any(const struct config_policy *policy);

/* Appends the section as INI text, each row with `file` and its line as a comment; nothing when
 * there is no row. Returns 0 or -ENOMEM. */
int config_policy_print(const struct config_policy *policy, const char *file, struct buf *out);

/* Safe to repeat. */
void config_policy_deinit(struct config_policy *policy);

#endif
