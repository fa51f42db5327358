/*
 * The auth stage with a verifier, a connection and a call, for the tests of auth.c. What it asks of
 * calls is noted here instead of done.
 *
 * Thread: one.
 */
#ifndef UNIT_AUTH_FIXTURE_H
#define UNIT_AUTH_FIXTURE_H

#include "lib/token_maker.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/random.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "service/auth.h"
#include "service/caller.h"
#include "service/token.h"

#include <stdio.h>
#include <unistd.h>

#define SECRET   TOKEN_MAKER_SECRET
#define EXPIRY_S 4102444800

static uint64_t realtime_ns;

static inline uint64_t fake_time(struct clock_source *source)
{
    (void)source;
    return realtime_ns;
}

static const char *ended_for; /* why the connection was ended */
static unsigned ended_count;

static inline void fake_end_connection(struct grpc_call_host *ended, const char *reason)
{
    (void)ended;
    ended_for = reason;
    ended_count++;
}

static const struct grpc_call_host_ops host_ops = {.end_connection = fake_end_connection};
static const struct grpc_method unary = {.path = "/users.v1.UserService/GetUser"};
static const struct grpc_method stream = {.path = "/users.v1.UserService/WatchUser",
                                          .kind = GRPC_METHOD_SERVER_STREAM};
static struct clock_source clock_fake = {fake_time, fake_time};
static struct reactor reactor;
static struct grpc_call_host host = {.ops = &host_ops, .reactor = &reactor};
static struct grpc_call call = {.host = &host, .method = &unary};
static struct grpc_stage stage;
static struct auth auth;
static struct token_verifier *verifier;
static char *token;
static struct grpc_error failure; /* how the call was failed */
static unsigned failure_count;
static struct grpc_call *revoked[16]; /* calls that were given a new end */
static unsigned revoked_count;
static struct grpc_call *cancelled[4]; /* calls that were ended, */
static struct grpc_error cancel_error; /* the last one so */
static unsigned cancelled_count;

/* These stand in for those of grpc_call*.c. */

void grpc_call_fail(struct grpc_call *failed, const struct grpc_error *error)
{
    (void)failed;
    failure = *error;
    failure_count++;
}

void grpc_call_fail_text(struct grpc_call *failed, enum grpc_status status, const char *reason,
                         const char *message)
{
    const struct grpc_error error = {
        .status = status, .reason = reason, .message = message, .domain = "grpc"};

    grpc_call_fail(failed, &error);
}

/* As those of grpc_call_receive.c and grpc_dispatch.c do. Which calls went on is noted. */

static struct grpc_call *proceeded[16];
static unsigned proceeded_count;

void grpc_call_wait(struct grpc_call *waiting)
{
    waiting->waits = true;
}

void grpc_call_proceed(struct grpc_call *waiting)
{
    ck_assert(waiting->waits);
    ck_assert_uint_lt(proceeded_count, 16);
    proceeded[proceeded_count++] = waiting;
    waiting->waits = false;
    (void)stage.begin(stage.context, waiting);
}

/* What the real one does to a call that is wanted: it finishes, and so do its stages. */
void grpc_call_cancel_for(struct grpc_call *open, const struct grpc_error *error)
{
    ck_assert_uint_lt(cancelled_count, 4);
    cancelled[cancelled_count++] = open;
    cancel_error = *error;
    open->stages_begun = 0;
    stage.end(stage.context, open);
}

/* What the real one does at an end that is past: the call finishes, and so do its stages. */
void grpc_call_authorize_until(struct grpc_call *open, uint64_t until_ns)
{
    ck_assert_uint_lt(revoked_count, 16);
    revoked[revoked_count++] = open;
    open->authorized_until_ns = until_ns;
    if (until_ns <= reactor.now_ns) {
        open->stages_begun = 0;
        stage.end(stage.context, open);
    }
}

static inline void set_secret(const char *secret)
{
    struct token_keys *keys = NULL;

    ck_assert_int_eq(token_keys_new(&keys), 0);
    ck_assert_int_eq(token_keys_add_secret(keys, bytes_from_text(secret)), 0);
    token_verifier_set_keys(verifier, keys);
}

static inline struct token_options default_options(void)
{
    return (struct token_options){.issuer = "",
                                  .audience = "",
                                  .roles_claim = "roles",
                                  .leeway_s = 30,
                                  .cache_ttl_s = 300,
                                  .size_max = 8192,
                                  .cache_entries = 4};
}

static inline void set_options(const struct token_options *options)
{
    struct token_options *copy = NULL;

    ck_assert_int_eq(token_options_copy(options, &copy), 0);
    token_verifier_set_options(verifier, copy);
}

static inline void open_by(struct clock_source *clock, const struct token_options *options)
{
    const struct token_request request = {
        .subject = "alice", .roles = "admin viewer", .expires_s = EXPIRY_S};

    ck_assert_int_eq(token_verifier_new(clock, random_system(), options, &verifier), 0);
    set_secret(SECRET);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET), &request, &token), 0);
    auth.verifier = verifier;
    stage = auth_stage(&auth);
}

static inline void open_with(struct clock_source *clock, uint32_t cache_entries)
{
    struct token_options options = default_options();

    options.cache_entries = cache_entries;
    open_by(clock, &options);
}

static inline void open_all(void)
{
    open_with(clock_system(), 4);
}

/* The connection ends. */
static inline void end_host(void)
{
    if (host.memo != NULL) {
        host.memo_release(host.memo);
        host.memo = NULL;
    }
}

static inline void done(void)
{
    end_host();
    token_verifier_free(verifier);
    arena_deinit(&call.arena);
    free(token);
}

/* A call begins, with such an authorization header; does it pass? */
static inline bool begins(struct grpc_call *new_call, const char *authorization, unsigned count)
{
    bool passed;

    failure_count = 0;
    new_call->caller = NULL;
    new_call->identity = NULL;
    new_call->authorized_until_ns = 0;
    new_call->head.authorization_count = count;
    new_call->head.authorization = bytes_from_text(authorization);
    new_call->stages_begun = 1; /* as dispatch counts */
    passed = stage.begin(stage.context, new_call);
    ck_assert_uint_eq(failure_count, passed ? 0 : 1);
    ck_assert(passed == (new_call->identity != NULL));
    return passed;
}

static inline void ends(struct grpc_call *old_call)
{
    old_call->stages_begun = 0;
    stage.end(stage.context, old_call);
    ck_assert_ptr_null(old_call->identity);
}

/* One call after the other. What it left in `call` but the identity is still there. */
static inline bool passes(const char *authorization, unsigned count)
{
    bool passed = begins(&call, authorization, count);

    ends(&call);
    return passed;
}

static inline bool begins_with_token(struct grpc_call *new_call)
{
    char value[1024];

    (void)snprintf(value, sizeof(value), "Bearer %s", token);
    return begins(new_call, value, 1);
}

static inline bool passes_with_scheme(const char *scheme)
{
    char value[1024];

    (void)snprintf(value, sizeof(value), "%s%s", scheme, token);
    return passes(value, 1);
}

static inline void assert_refused(const char *message, const char *reason)
{
    ck_assert_uint_eq(failure_count, 1);
    ck_assert_int_eq(failure.status, GRPC_STATUS_UNAUTHENTICATED);
    ck_assert_str_eq(failure.message, message);
    ck_assert_str_eq(failure.reason, reason);
    ck_assert_str_eq(failure.domain, "users.v1");
    ck_assert_uint_eq(failure.metadata_count, 0);
    ck_assert_ptr_null(call.caller);
}

#endif
