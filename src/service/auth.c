#include "service/auth.h"

#include "core/log.h"
#include "core/reactor.h"
#include "service/caller.h"
#include "service/token.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/*
 * The way of a call:
 *
 *   1. Nobody asks for a token (auth.mode none; health and reflection, by option): it passes, with
 *      the certificate's name if the client showed a certificate.
 *   2. Its token is the connection's last one, byte by byte, and the verdict on that is fresh: one
 *      comparison, and the call holds the verdict.
 *   3. Else token_verify() judges it, which asks its cache first; a good token and its verdict
 *      become the connection's last. One that is not in the cache may have to wait for a later turn
 *      (auth_waiting.h).
 *
 * The caller learns that a token is missing or that it is not valid, and never why: reasons help
 * whoever tries to forge one. The reason goes to the counters and, at level debug, to the log. A
 * connection with too many refused tokens is ended. Tokens that are good do not make up for them,
 * and calls without a token do not count: they cost nothing and prove nothing.
 *
 * What a call points to must live as long as it does. Claims lie in the verdict, which the call
 * holds. What is one call's alone (the claims together with a certificate) lies in its arena; but
 * streams give their arena back early, so for a stream it lies in an auth_stream, which also makes
 * the stream known to auth_revoke() and auth_rejudge(). New streams stand at the end of the list,
 * and so do those that were judged anew: what is judged by earlier rules stands in front.
 */

/* The last token of a connection. */
struct auth_memo {
    struct token_verdict *verdict;
    uint64_t until_ns; /* monotonic: the token's end, */
    uint64_t fresh_ns; /* and the verdict's */
    size_t room;
    size_t size;
    uint8_t token[];
};

/* An open stream with a token. */
struct auth_stream {
    struct list link; /* in auth's list; in none without a token */
    struct grpc_call *call;
    struct token_verdict *verdict; /* held; NULL = no token */
    uint64_t token_until_ns;       /* monotonic */
    uint32_t rules;                /* by which it was judged last, whatever came of it */
    struct caller caller;
};

#define MEMO_ROOM_MIN 512

static const struct caller nobody = {.subject = NULL};

/* As every token that is not good. */
#define ERROR_TOKEN(reason_)                                                                       \
    {                                                                                              \
        .status = GRPC_STATUS_UNAUTHENTICATED, .message = "Invalid authentication token",          \
        .reason = (reason_), .domain = "users.v1"                                                  \
    }

static const struct grpc_error error_missing = {
    .status = GRPC_STATUS_UNAUTHENTICATED,
    .message = "No authentication token provided",
    .reason = "TOKEN_MISSING",
    .domain = "users.v1",
};

static const struct grpc_error error_invalid = ERROR_TOKEN("TOKEN_INVALID");

/* Of streams, when their time is over. */
static const struct grpc_error error_expired = ERROR_TOKEN("TOKEN_EXPIRED");
static const struct grpc_error error_key_removed = ERROR_TOKEN("TOKEN_KEY_REMOVED");

static const struct grpc_error error_memory = {
    .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
    .message = "out of memory",
    .reason = "OUT_OF_MEMORY",
    .domain = "grpc",
};

/* Too many of these end the connection. */
static void refuse_invalid(struct auth *auth, struct grpc_call *call, const char *cause)
{
    struct grpc_call_host *host = call->host;

    log_event(auth->log, LEVEL_DEBUG, "token_refused", FIELD_TEXT("cause", cause));
    grpc_call_fail(call, &error_invalid);
    host->auth_failures++;
    if (auth->max_failures != 0 && host->auth_failures == auth->max_failures + 1) {
        auth->connections_ended++;
        limits_hit_add(&host->reactor->limits_hit, LIMITS_HIT_AUTH_FAILURES);
        if (host->ops->end_connection != NULL) {
            host->ops->end_connection(host, "too many authentication failures");
        }
    }
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

static bool is_of_service(const struct grpc_call *call, const char *service)
{
    return call->method != NULL && strncmp(call->method->path, service, strlen(service)) == 0;
}

/* Probes have no token. One that is sent is not looked at: health must not depend on it. */
static bool is_open_to_all(const struct auth *auth, const struct grpc_call *call)
{
    if (auth->verifier == NULL ||
        (auth->anonymous_health && is_of_service(call, "/grpc.health.v1.Health/"))) {
        return true;
    }
    return auth->anonymous_reflection &&
           (is_of_service(call, "/grpc.reflection.v1.ServerReflection/") ||
            is_of_service(call, "/grpc.reflection.v1alpha.ServerReflection/"));
}

static bool is_stream(const struct grpc_call *call)
{
    return call->method != NULL && call->method->kind != GRPC_METHOD_UNARY;
}

/* Nonzero where eight bytes differ. */
static inline uint64_t word_difference(const uint8_t *mine, const uint8_t *theirs)
{
    uint64_t words[2];

    memcpy(&words[0], mine, sizeof(words[0]));
    memcpy(&words[1], theirs, sizeof(words[1]));
    return words[0] ^ words[1];
}

/* Takes no less time for tokens that begin alike: behind a proxy the connection is not one client's
 * alone. Four words at a time: this is done for every call. */
static bool is_same_token(const struct auth_memo *memo, struct bytes token)
{
    const uint8_t *mine = memo->token;
    const uint8_t *theirs = token.data;
    uint64_t difference = 0;
    size_t at = 0;

    if (memo->size != token.size) {
        return false;
    }
    for (; at + 4 * sizeof(uint64_t) <= token.size; at += 4 * sizeof(uint64_t)) {
        difference |= word_difference(mine + at, theirs + at) |
                      word_difference(mine + at + 8, theirs + at + 8) |
                      word_difference(mine + at + 16, theirs + at + 16) |
                      word_difference(mine + at + 24, theirs + at + 24);
    }
    for (; at < token.size; at++) {
        difference |= (uint64_t)(mine[at] ^ theirs[at]);
    }
    return difference == 0;
}

static void memo_release(void *memory)
{
    struct auth_memo *memo = memory;

    token_verdict_release(memo->verdict);
    explicit_bzero(memo->token, memo->size);
    free(memo);
}

static void memo_forget(struct grpc_call_host *host)
{
    if (host->memo != NULL) {
        memo_release(host->memo);
        host->memo = NULL;
    }
}

/* Makes this the connection's last token. Without memory there is none, which costs time and
 * nothing else. */
static struct auth_memo *memo_keep(struct grpc_call_host *host, struct bytes token)
{
    struct auth_memo *memo = host->memo;
    size_t room = token.size < MEMO_ROOM_MIN ? MEMO_ROOM_MIN : token.size;

    if (memo == NULL || memo->room < token.size) {
        memo_forget(host);
        memo = malloc(sizeof(*memo) + room);
        if (memo == NULL) {
            return NULL;
        }
        *memo = (struct auth_memo){.room = room};
        host->memo = memo;
        host->memo_release = memo_release;
    } else {
        token_verdict_release(memo->verdict);
        memo->verdict = NULL;
        explicit_bzero(memo->token, memo->size);
    }
    memcpy(memo->token, token.data, token.size);
    memo->size = token.size;
    return memo;
}

static uint64_t after(uint64_t now_ns, uint64_t time_ns)
{
    return time_ns < UINT64_MAX - now_ns ? now_ns + time_ns : UINT64_MAX;
}

/* Is the token the connection's last one? Then its verdict, held for the call, and until when the
 * token is worth something by the clock that timers know. */
static bool judge_by_memo(struct auth *auth, const struct grpc_call *call, struct bytes token,
                          struct token_verdict **ret_verdict, uint64_t *ret_until_ns)
{
    struct auth_memo *memo = call->host->memo;
    uint64_t now_ns = call->host->reactor->now_ns;

    if (memo == NULL || now_ns >= memo->fresh_ns ||
        !token_verdict_stands(auth->verifier, memo->verdict, now_ns) ||
        !is_same_token(memo, token)) {
        return false;
    }
    auth->passed_by_memo++;
    token_verdict_hold(memo->verdict);
    *ret_verdict = memo->verdict;
    *ret_until_ns = memo->until_ns;
    return true;
}

/* The same by the cache, or by the signature. */
static enum token_fault judge(struct auth *auth, struct grpc_call *call, struct bytes token,
                              struct token_verdict **ret_verdict, uint64_t *ret_until_ns)
{
    struct grpc_call_host *host = call->host;
    uint64_t now_ns = host->reactor->now_ns;
    uint64_t checked = token_verifier_checked(auth->verifier);
    uint64_t until_ns;
    struct auth_memo *memo;
    struct token_pass pass;
    enum token_fault fault = token_verify(auth->verifier, token, &pass);

    auth_waiting_note(&auth->waiting, call, token_verifier_checked(auth->verifier) - checked);
    if (fault != TOKEN_OK) {
        return fault;
    }
    until_ns = after(now_ns, pass.left_ns);
    memo = memo_keep(host, token);
    if (memo != NULL) {
        memo->verdict = pass.verdict;
        token_verdict_hold(pass.verdict);
        memo->until_ns = until_ns;
        memo->fresh_ns = after(now_ns, pass.fresh_ns);
    }
    *ret_verdict = pass.verdict;
    *ret_until_ns = until_ns;
    return TOKEN_OK;
}

/* What the call itself keeps: the stage's slot in it, which `end` finds again. */
static void **slot_of(struct grpc_call *call, unsigned index)
{
    assert(index < GRPC_CALL_STAGES_MAX);
    return &call->stage_state[index];
}

/* Gives the call a caller of its own. Takes over the verdict, if there is one. */
static bool set_own_caller(struct auth *auth, struct grpc_call *call, struct token_verdict *verdict,
                           uint64_t token_until_ns)
{
    void **slot = slot_of(call, call->stages_begun - 1U);
    struct caller *caller;

    if (is_stream(call)) {
        struct auth_stream *stream = calloc(1, sizeof(*stream));

        if (stream == NULL) {
            return false;
        }
        list_init(&stream->link);
        stream->call = call;
        stream->verdict = verdict;
        stream->token_until_ns = token_until_ns;
        if (verdict != NULL) {
            stream->rules = verdict->rules;
            list_push_back(&auth->streams, &stream->link);
        }
        caller = &stream->caller;
        *slot = stream;
    } else {
        caller = arena_alloc(&call->arena, sizeof(*caller));
        if (caller == NULL) {
            return false;
        }
        *slot = verdict;
    }
    *caller = verdict != NULL ? verdict->caller : nobody;
    caller->certificate = call->host->peer_identity;
    call->identity = caller;
    return true;
}

/* A token is worth something until it ends or its key does. Says to the call which it will be, and
 * returns when. */
static uint64_t authorized_until(struct grpc_call *call, const struct token_verdict *verdict,
                                 uint64_t token_until_ns)
{
    uint64_t key_until_ns = token_verdict_key_until_ns(verdict);
    bool is_by_key = key_until_ns < token_until_ns;

    call->authorization_end = is_by_key ? &error_key_removed : &error_expired;
    return is_by_key ? key_until_ns : token_until_ns;
}

static bool pass_without_token(struct auth *auth, struct grpc_call *call)
{
    auth->anonymous++;
    call->authorized_until_ns = UINT64_MAX;
    call->caller = call->host->peer_identity;
    if (call->host->peer_identity == NULL) {
        call->identity = &nobody;
    } else if (!set_own_caller(auth, call, NULL, UINT64_MAX)) {
        grpc_call_fail(call, &error_memory);
        return false;
    }
    return true;
}

/* Takes over the verdict. */
static bool pass_with_token(struct auth *auth, struct grpc_call *call, struct bytes token,
                            struct token_verdict *verdict, uint64_t until_ns)
{
    if (call->host->peer_identity != NULL || is_stream(call)) {
        if ((is_stream(call) && token_verdict_keep_claims(verdict, token) != 0) ||
            !set_own_caller(auth, call, verdict, until_ns)) {
            token_verdict_release(verdict);
            grpc_call_fail(call, &error_memory);
            return false;
        }
    } else {
        *slot_of(call, call->stages_begun - 1U) = verdict;
        call->identity = &verdict->caller;
    }
    auth->passed++;
    call->caller = verdict->caller.subject;
    call->authorized_until_ns = authorized_until(call, verdict, until_ns);
    return true;
}

/* Too many signatures were checked in this turn, and the token is not known: makes the call wait.
 */
static bool must_wait(struct auth *auth, struct grpc_call *call, struct bytes token)
{
    if (!auth_waiting_is_due(&auth->waiting, call) || token_is_remembered(auth->verifier, token) ||
        !auth_waiting_add(&auth->waiting, call, slot_of(call, call->stages_begun - 1U))) {
        return false;
    }
    limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_VERIFICATIONS);
    grpc_call_wait(call);
    return true;
}

static bool refuse(struct auth *auth, struct grpc_call *call, enum token_fault fault)
{
    auth->refused[fault]++;
    if (fault == TOKEN_NO_MEMORY) {
        grpc_call_fail(call, &error_memory);
        return false;
    }
    if (fault == TOKEN_TOO_LONG) {
        limits_hit_add(&call->host->reactor->limits_hit, LIMITS_HIT_TOKEN_SIZE);
    }
    refuse_invalid(auth, call, token_fault_name(fault));
    return false;
}

static bool auth_begin(void *context, struct grpc_call *call)
{
    struct auth *auth = context;
    struct token_verdict *verdict = NULL;
    uint64_t until_ns = 0;
    struct bytes token;
    enum token_fault fault = TOKEN_OK;

    call->identity = NULL;
    if (is_open_to_all(auth, call)) {
        return pass_without_token(auth, call);
    }
    if (call->head.authorization_count == 0 || call->head.authorization.size == 0) {
        auth->missing++;
        grpc_call_fail(call, &error_missing);
        return false;
    }
    token = bearer_token(call->head.authorization);
    if (call->head.authorization_count > 1 || token.size == 0) {
        auth->malformed++;
        refuse_invalid(auth, call, "MALFORMED");
        return false;
    }
    if (!judge_by_memo(auth, call, token, &verdict, &until_ns)) {
        if (must_wait(auth, call, token)) {
            return true;
        }
        fault = judge(auth, call, token, &verdict, &until_ns);
    }
    return fault == TOKEN_OK ? pass_with_token(auth, call, token, verdict, until_ns)
                             : refuse(auth, call, fault);
}

/* The call lets go of its verdict. Stages that end after this one may yet write the name. */
static void let_go(struct grpc_call *call, struct token_verdict *verdict)
{
    if (verdict != NULL && verdict->holds == 1 && call->caller == verdict->caller.subject) {
        call->caller = arena_copy_text(&call->arena, bytes_from_text(call->caller));
    }
    token_verdict_release(verdict);
}

static void auth_end(void *context, struct grpc_call *call)
{
    void **slot = slot_of(call, call->stages_begun);
    struct auth_stream *stream = *slot;
    struct auth *auth = context;

    call->identity = NULL;
    if (*slot == NULL) {
        return;
    }
    if (call->waits) {
        call->waits = false;
        auth_waiting_remove(&auth->waiting, slot);
        return;
    }
    if (is_stream(call)) {
        list_remove(&stream->link);
        let_go(call, stream->verdict);
        free(stream);
    } else {
        let_go(call, *slot);
    }
    *slot = NULL;
}

struct grpc_stage auth_stage(struct auth *auth)
{
    list_init(&auth->streams);
    auth_waiting_init(&auth->waiting);
    return (struct grpc_stage){
        .name = "auth", .begin = auth_begin, .end = auth_end, .context = auth};
}

void auth_revoke(struct auth *auth)
{
    struct list streams;
    struct list *link;

    list_init(&streams);
    list_splice_back(&streams, &auth->streams);
    while ((link = list_pop_front(&streams)) != NULL) {
        struct auth_stream *stream = CONTAINER_OF(link, struct auth_stream, link);
        uint64_t until_ns;

        list_push_back(&auth->streams, link);
        /* May end the call, and others with it: both lists stay as they should. */
        until_ns = authorized_until(stream->call, stream->verdict, stream->token_until_ns);
        if (until_ns != stream->call->authorized_until_ns) {
            grpc_call_authorize_until(stream->call, until_ns);
        }
    }
}

/* The stream's caller is what the new verdict says. May end the call. */
static void take_verdict(struct auth_stream *stream, const struct token_pass *pass)
{
    struct grpc_call *call = stream->call;
    struct token_verdict *old = stream->verdict;
    uint64_t until_ns;

    if (call->caller == old->caller.subject) {
        call->caller = pass->verdict->caller.subject;
    }
    stream->verdict = pass->verdict;
    stream->caller = pass->verdict->caller;
    stream->caller.certificate = call->host->peer_identity;
    stream->token_until_ns = after(call->host->reactor->now_ns, pass->left_ns);
    token_verdict_release(old);
    until_ns = authorized_until(call, stream->verdict, stream->token_until_ns);
    if (until_ns != call->authorized_until_ns) {
        grpc_call_authorize_until(call, until_ns);
    }
}

/* How a stream ends whose token does not pass any more. */
static const struct grpc_error *error_for(enum token_fault fault)
{
    if (fault == TOKEN_NO_MEMORY) {
        return &error_memory;
    }
    return fault == TOKEN_EXPIRED ? &error_expired : &error_invalid;
}

/* May end the call. */
static void rejudge(struct auth *auth, struct auth_stream *stream)
{
    struct token_pass pass;
    enum token_fault fault = token_rejudge(auth->verifier, stream->verdict, &pass);

    if (fault == TOKEN_OK) {
        take_verdict(stream, &pass);
        return;
    }
    auth->refused[fault]++;
    log_event(auth->log, LEVEL_DEBUG, "token_refused",
              FIELD_TEXT("cause", token_fault_name(fault)));
    grpc_call_cancel_for(stream->call, error_for(fault));
}

bool auth_rejudge(struct auth *auth, unsigned count_max)
{
    uint32_t rules = auth->verifier == NULL ? 0 : token_verifier_rules(auth->verifier);

    for (unsigned i = 0; i < count_max && !list_is_empty(&auth->streams); i++) {
        struct auth_stream *stream = CONTAINER_OF(auth->streams.next, struct auth_stream, link);

        if (stream->rules == rules) {
            return true;
        }
        stream->rules = rules;
        list_remove(&stream->link);
        list_push_back(&auth->streams, &stream->link);
        rejudge(auth, stream);
    }
    return list_is_empty(&auth->streams) ||
           CONTAINER_OF(auth->streams.next, struct auth_stream, link)->rules == rules;
}

uint64_t auth_refused_total(const struct auth *auth)
{
    uint64_t total = auth->missing + auth->malformed;

    for (unsigned i = 0; i < TOKEN_FAULT_COUNT; i++) {
        total += auth->refused[i];
    }
    return total;
}
