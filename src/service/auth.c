#include "service/auth.h"

#include "core/log.h"
#include "core/reactor.h"
#include "service/token.h"

#include <string.h>
#include <strings.h>

/*
 * The caller learns that a token is missing or that it is not valid, and never why: reasons help
 * whoever tries to forge one. The reason goes to the counters and, at level debug, to the log.
 */

static void refuse_missing(struct grpc_call *call)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_UNAUTHENTICATED,
        .message = "No authentication token provided",
        .reason = "TOKEN_MISSING",
        .domain = "users.v1",
    };

    grpc_call_fail(call, &error);
}

static void refuse_invalid(struct auth *auth, struct grpc_call *call, const char *cause)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_UNAUTHENTICATED,
        .message = "Invalid authentication token",
        .reason = "TOKEN_INVALID",
        .domain = "users.v1",
    };

    log_event(auth->log, LEVEL_DEBUG, "token_refused", FIELD_TEXT("cause", cause));
    grpc_call_fail(call, &error);
}

/* Takes the token out of "Bearer TOKEN"; the scheme's case does not matter (J7). Size 0 = there is
 * none. */
static struct bytes bearer_token(struct bytes value)
{
    static const char scheme[] = "Bearer ";
    size_t start = sizeof(scheme) - 1;

    if (value.size < start || strncasecmp((const char *)value.data, scheme, start) != 0) {
        return (struct bytes){NULL, 0};
    }
    while (start < value.size && value.data[start] == ' ') {
        start++;
    }
    return (struct bytes){value.data + start, value.size - start};
}

/* Until when the token is worth something, by the clock that timers know. */
static uint64_t end_of_token(const struct grpc_call *call, const struct token_claims *claims)
{
    uint64_t now_ns = call->host->reactor->now_ns;

    return claims->left_ns < UINT64_MAX - now_ns ? now_ns + claims->left_ns : UINT64_MAX;
}

/* Probes have no token. One that is sent is not looked at: health must not depend on it. */
static bool is_open_to_all(const struct auth *auth, const struct grpc_call *call)
{
    static const char service[] = "/grpc.health.v1.Health/";

    return auth->verifier == NULL ||
           (auth->anonymous_health && call->method != NULL &&
            strncmp(call->method->path, service, sizeof(service) - 1) == 0);
}

static bool auth_begin(void *context, struct grpc_call *call)
{
    struct auth *auth = context;
    struct token_claims claims;
    struct bytes token;
    enum token_fault fault;

    if (is_open_to_all(auth, call)) {
        call->authorized_until_ns = UINT64_MAX;
        return true;
    }
    if (call->head.authorization_count == 0 || call->head.authorization.size == 0) {
        auth->missing++;
        refuse_missing(call);
        return false;
    }
    token = bearer_token(call->head.authorization);
    if (call->head.authorization_count > 1 || token.size == 0) {
        auth->malformed++;
        refuse_invalid(auth, call, "MALFORMED");
        return false;
    }
    fault = token_verify(auth->verifier, token, &call->arena, &claims);
    if (fault != TOKEN_OK) {
        auth->refused[fault]++;
        refuse_invalid(auth, call, token_fault_name(fault));
        return false;
    }
    auth->passed++;
    call->caller = claims.subject;
    call->authorized_until_ns = end_of_token(call, &claims);
    return true;
}

struct grpc_stage auth_stage(struct auth *auth)
{
    return (struct grpc_stage){.name = "auth", .begin = auth_begin, .context = auth};
}

uint64_t auth_refused_total(const struct auth *auth)
{
    uint64_t total = auth->missing + auth->malformed;

    for (unsigned i = 0; i < TOKEN_FAULT_COUNT; i++) {
        total += auth->refused[i];
    }
    return total;
}
