/*
 * Who calls: what the token and the client's certificate say, as policy and rate limits see it.
 *
 * Made by the auth stage, for every call that passes; `call->identity` points to it until the call
 * has finished.
 *
 * Owns:    nothing: the texts are the verdict's and the connection's.
 * Thread:  loop only.
 */
#ifndef SERVICE_CALLER_H
#define SERVICE_CALLER_H

#include <stdbool.h>
#include <stddef.h>

struct caller {
    const char *subject; /* of the token; NULL = no token */
    const char *const *roles;
    unsigned role_count;
    const char *const *scopes; /* claim `scope` (words) or `scp` (array) */
    unsigned scope_count;
    const char *certificate; /* "uri:..." or "dns:..."; NULL = none */
};

/* By a token or a certificate. */
static inline bool caller_is_authenticated(const struct caller *caller)
{
    return caller->subject != NULL || caller->certificate != NULL;
}

#endif
