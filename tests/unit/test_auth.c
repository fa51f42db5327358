#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/random.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "service/auth.h"
#include "service/token.h"

#include <stdio.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef"

#define EXPIRY_S 4102444800

static uint64_t realtime_ns;

static uint64_t fake_time(struct clock_source *source)
{
    (void)source;
    return realtime_ns;
}

static struct clock_source clock_fake = {fake_time, fake_time};
static struct reactor reactor;
static struct grpc_call_host host = {.reactor = &reactor};
static struct grpc_call call = {.host = &host};
static struct auth auth;
static struct token_verifier *verifier;
static char *token;
static struct grpc_error failure; /* how the call was failed */
static unsigned failure_count;

/* Stands in for the one of grpc_call.c. */
void grpc_call_fail(struct grpc_call *failed, const struct grpc_error *error)
{
    ck_assert_ptr_eq(failed, &call);
    failure = *error;
    failure_count++;
}

static void open_with(struct clock_source *clock, uint32_t cache_entries)
{
    const struct token_options options = {.issuer = "",
                                          .audience = "",
                                          .leeway_s = 30,
                                          .cache_ttl_s = 300,
                                          .size_max = 8192,
                                          .cache_entries = cache_entries};
    const struct token_request request = {.subject = "alice", .expires_s = EXPIRY_S};

    ck_assert_int_eq(token_verifier_new(clock, random_system(), &options, &verifier), 0);
    ck_assert_int_eq(token_verifier_add_secret(verifier, BYTES_LITERAL(SECRET)), 0);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET), &request, &token), 0);
    auth.verifier = verifier;
}

static void open_all(void)
{
    open_with(clock_system(), 4);
}

static void done(void)
{
    token_verifier_free(verifier);
    arena_deinit(&call.arena);
    free(token);
}

/* One call with such an authorization header; does it pass? */
static bool passes(const char *authorization, unsigned count)
{
    struct grpc_stage stage = auth_stage(&auth);

    failure_count = 0;
    call.caller = NULL;
    call.authorized_until_ns = 0;
    call.head.authorization_count = count;
    call.head.authorization = bytes_from_text(authorization);
    return stage.begin(stage.context, &call);
}

static bool passes_with_scheme(const char *scheme)
{
    char value[1024];

    (void)snprintf(value, sizeof(value), "%s%s", scheme, token);
    return passes(value, 1);
}

static void assert_refused(const char *message, const char *reason)
{
    ck_assert_uint_eq(failure_count, 1);
    ck_assert_int_eq(failure.status, GRPC_STATUS_UNAUTHENTICATED);
    ck_assert_str_eq(failure.message, message);
    ck_assert_str_eq(failure.reason, reason);
    ck_assert_str_eq(failure.domain, "users.v1");
    ck_assert_uint_eq(failure.metadata_count, 0);
    ck_assert_ptr_null(call.caller);
}

/* A good token passes and gives the call its caller; the scheme's case does not matter. */
START_TEST(auth_passes_good_tokens)
{
    static const char *const schemes[] = {"Bearer ", "bearer ", "BEARER ", "Bearer   "};

    open_all();
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        ck_assert(passes_with_scheme(schemes[i]));
        ck_assert_str_eq(call.caller, "alice");
        ck_assert_uint_eq(failure_count, 0);
    }
    ck_assert_uint_eq(auth.passed, 4);
    ck_assert_uint_eq(auth_refused_total(&auth), 0);
    done();
}

END_TEST

/* No value, or an empty one, is a missing token. */
START_TEST(auth_names_missing_tokens)
{
    open_all();
    ck_assert(!passes("", 0));
    assert_refused("No authentication token provided", "TOKEN_MISSING");
    ck_assert(!passes("", 1));
    assert_refused("No authentication token provided", "TOKEN_MISSING");
    ck_assert_uint_eq(auth.missing, 2);
    done();
}

END_TEST

/* Whatever else is wrong gets one answer that does not say what. */
START_TEST(auth_says_nothing_about_bad_tokens)
{
    static const char *const values[] = {
        "Bearer",
        "Bearer ",
        "Bearer    ",
        "Basic dXNlcjpwdw==",
        "Bearer x",
        "Bearer .x.y",
        "Token abc",
        "Bearera.b.c",
        "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ.",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ.AAAA",
    };
    size_t count = sizeof(values) / sizeof(values[0]);

    open_all();
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(!passes(values[i], 1), "%s", values[i]);
        assert_refused("Invalid authentication token", "TOKEN_INVALID");
    }
    ck_assert(!passes_with_scheme(""));
    ck_assert(!passes_with_scheme("Bearer\t"));
    ck_assert_uint_eq(auth_refused_total(&auth), count + 2);
    ck_assert_uint_eq(auth.refused[TOKEN_BAD_SIGNATURE], 1);
    ck_assert_uint_eq(auth.refused[TOKEN_BAD_SHAPE], 3);
    ck_assert_uint_eq(auth.passed, 0);
    done();
}

END_TEST

/* Two values are refused even when the first is good. */
START_TEST(auth_takes_one_value_only)
{
    char value[1024];

    open_all();
    (void)snprintf(value, sizeof(value), "Bearer %s", token);
    ck_assert(!passes(value, 2));
    assert_refused("Invalid authentication token", "TOKEN_INVALID");
    ck_assert_uint_eq(auth.malformed, 1);
    done();
}

END_TEST

/* Without a verifier (auth.mode none) everybody passes, as nobody. */
START_TEST(auth_can_be_off)
{
    ck_assert(passes("", 0));
    ck_assert(passes("Bearer x", 1));
    ck_assert_uint_eq(call.authorized_until_ns, UINT64_MAX);
    ck_assert_ptr_null(call.caller);
    ck_assert_uint_eq(failure_count, 0);
}

END_TEST

/* Calls of the health service pass without a token, and whatever they bring, when the option says
 * so; those of no other service do. */
START_TEST(auth_lets_probes_pass)
{
    static const struct grpc_method check = {.path = "/grpc.health.v1.Health/Check"};
    static const struct grpc_method others[] = {{.path = "/users.v1.UserService/GetUser"},
                                                {.path = "/grpc.health.v1.Healthy/Check"},
                                                {.path = "/grpc.health.v1.Health"}};

    open_all();
    call.method = &check;
    ck_assert(!passes("", 0));
    assert_refused("No authentication token provided", "TOKEN_MISSING");
    auth.anonymous_health = true;
    ck_assert(passes("", 0));
    ck_assert(passes("Bearer x", 1));
    ck_assert_uint_eq(call.authorized_until_ns, UINT64_MAX);
    ck_assert_ptr_null(call.caller);
    ck_assert_uint_eq(auth.passed, 0);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        call.method = &others[i];
        ck_assert(!passes("", 0));
    }
    call.method = NULL; /* an unknown method, of whatever service */
    ck_assert(!passes("", 0));
    done();
}

END_TEST

/* The cause is in the log at level debug, the token never is. */
START_TEST(auth_logs_the_cause_and_not_the_token)
{
    struct log log;
    char text[2048] = "";
    int ends[2];

    open_all();
    ck_assert_int_eq(pipe(ends), 0);
    log_init(&log, clock_system());
    log.fd = ends[1];
    log.level = LEVEL_DEBUG;
    auth.log = &log;
    token[strlen(token) - 2] ^= 1;
    ck_assert(!passes_with_scheme("Bearer "));
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    ck_assert_msg(strstr(text, "BAD_SIGNATURE") != NULL, "%s", text);
    ck_assert_ptr_null(strstr(text, "eyJ"));
    (void)close(ends[0]);
    (void)close(ends[1]);
    done();
}

END_TEST

/* A call is told until when its token lasts, leeway included, on the clock of timers: the same from
 * the cache as at first sight, to the nanosecond. */
START_TEST(auth_says_until_when)
{
    const uint64_t end_ns = (EXPIRY_S + 30) * CLOCK_NS_PER_S;

    for (uint32_t cache_entries = 0; cache_entries < 2; cache_entries++) {
        open_with(&clock_fake, cache_entries);
        realtime_ns = end_ns - 100 * CLOCK_NS_PER_S - 7;
        reactor.now_ns = 5000;
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_uint_eq(call.authorized_until_ns, 5000 + 100 * CLOCK_NS_PER_S + 7);
        realtime_ns = end_ns - 1;
        reactor.now_ns = 9000;
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_uint_eq(call.authorized_until_ns, 9001);
        ck_assert_uint_eq(token_verifier_stats(verifier)->cache_hits, cache_entries);
        realtime_ns = end_ns;
        ck_assert(!passes_with_scheme("Bearer "));
        done();
    }
}

END_TEST

/* A token that lasts longer than timers count lasts for ever. */
START_TEST(auth_knows_tokens_without_end)
{
    const struct token_request request = {.subject = "alice", .expires_s = 253402300799};

    open_with(&clock_fake, 4);
    free(token);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET), &request, &token), 0);
    reactor.now_ns = 5000;
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(call.authorized_until_ns, UINT64_MAX);
    done();
}

END_TEST

UNIT_MAIN("auth", auth_passes_good_tokens, auth_names_missing_tokens,
          auth_says_nothing_about_bad_tokens, auth_takes_one_value_only, auth_can_be_off,
          auth_lets_probes_pass, auth_logs_the_cause_and_not_the_token, auth_says_until_when,
          auth_knows_tokens_without_end)
