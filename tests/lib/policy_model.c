#include "lib/policy_model.h"

#include "service/caller.h"

#include <string.h>
#include <strings.h>

/* Does the pattern cover the path? By the text alone. */
static bool covers(const char *pattern, const char *path)
{
    size_t size = strlen(pattern);
    const char *slash = strrchr(path, '/');

    if (strcmp(pattern, "/*") == 0 || strcmp(pattern, path) == 0) {
        return true;
    }
    return pattern[size - 1] == '*' && slash != NULL && (size_t)(slash - path) + 2 == size &&
           strncmp(pattern, path, size - 1) == 0;
}

static bool has(const char *const *list, unsigned count, const char *name)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(list[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool names(const struct policy_principal *principal, const struct caller *caller)
{
    const char *certificate = caller->certificate != NULL ? caller->certificate : "none";

    switch (principal->kind) {
    case POLICY_PRINCIPAL_ANYONE:
        return true;
    case POLICY_PRINCIPAL_AUTHENTICATED:
        return caller->subject != NULL || caller->certificate != NULL;
    case POLICY_PRINCIPAL_ROLE:
        return has(caller->roles, caller->role_count, principal->name);
    case POLICY_PRINCIPAL_SCOPE:
        return has(caller->scopes, caller->scope_count, principal->name);
    case POLICY_PRINCIPAL_SUBJECT:
        return caller->subject != NULL && strcmp(caller->subject, principal->name) == 0;
    case POLICY_PRINCIPAL_URI:
        return strncmp(certificate, "uri:", 4) == 0 &&
               strcmp(certificate + 4, principal->name) == 0;
    case POLICY_PRINCIPAL_DNS:
        return strncmp(certificate, "dns:", 4) == 0 &&
               strcasecmp(certificate + 4, principal->name) == 0;
    }
    return false;
}

static bool hits(const struct policy_rule *rules, unsigned count, bool denies, const char *path,
                 const struct caller *caller)
{
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < rules[i].principal_count; j++) {
            if (rules[i].denies == denies && covers(rules[i].path, path) &&
                names(&rules[i].principals[j], caller)) {
                return true;
            }
        }
    }
    return false;
}

bool policy_model_denies(const struct policy_rule *rules, unsigned count, const char *path,
                         const struct caller *caller)
{
    return hits(rules, count, true, path, caller);
}

bool policy_model_may(const struct policy_rule *rules, unsigned count, const char *path,
                      const struct caller *caller)
{
    return count == 0 ||
           (!hits(rules, count, true, path, caller) && hits(rules, count, false, path, caller));
}
