#include "auth_fixture.h"

/* The verdict on calls. What becomes of open streams is in test_auth_streams.c. */

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
    ck_assert_uint_eq(auth.passed_by_memo, 3);
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

/* Without a verifier (auth.mode none) everybody passes, as nobody, or as the certificate says. */
START_TEST(auth_can_be_off)
{
    const struct caller *caller;

    stage = auth_stage(&auth);
    ck_assert(begins(&call, "", 0));
    caller = call.identity;
    ck_assert(!caller_is_authenticated(caller));
    ck_assert_uint_eq(caller->role_count + caller->scope_count, 0);
    ends(&call);
    ck_assert(passes("Bearer x", 1));
    ck_assert_uint_eq(call.authorized_until_ns, UINT64_MAX);
    ck_assert_ptr_null(call.caller);
    host.peer_identity = "dns:probe.example";
    for (unsigned i = 0; i < 2; i++) {
        call.method = i == 0 ? &unary : &stream;
        ck_assert(begins(&call, "Bearer x", 1));
        caller = call.identity;
        ck_assert(caller_is_authenticated(caller));
        ck_assert_ptr_null(caller->subject);
        ck_assert_str_eq(caller->certificate, "dns:probe.example");
        ck_assert_str_eq(call.caller, "dns:probe.example");
        ends(&call);
    }
    ck_assert_uint_eq(auth.anonymous, 4);
    arena_deinit(&call.arena);
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
    host.peer_identity = "dns:lb.example"; /* the certificate still says who it is */
    ck_assert(passes("", 0));
    ck_assert_str_eq(call.caller, "dns:lb.example");
    host.peer_identity = NULL;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        call.method = &others[i];
        ck_assert(!passes("", 0));
    }
    call.method = NULL; /* an unknown method, of whatever service */
    ck_assert(!passes("", 0));
    done();
}

END_TEST

/* So do those of both reflection services, by an option of their own. */
START_TEST(auth_lets_reflection_pass)
{
    static const struct grpc_method methods[] = {
        {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
         .kind = GRPC_METHOD_BIDI_STREAM},
        {.path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         .kind = GRPC_METHOD_BIDI_STREAM},
    };
    static const struct grpc_method others[] = {
        {.path = "/grpc.reflection.v1.Server/ServerReflectionInfo"},
        {.path = "/grpc.health.v1.Health/Check"},
        {.path = "/users.v1.UserService/GetUser"},
    };

    open_all();
    for (unsigned allowed = 0; allowed < 2; allowed++) {
        auth.anonymous_reflection = allowed == 1;
        for (size_t i = 0; i < 2; i++) {
            call.method = &methods[i];
            ck_assert(passes("", 0) == (allowed == 1));
        }
        for (size_t i = 0; i < 3; i++) {
            call.method = &others[i];
            ck_assert(!passes("", 0));
        }
    }
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
 * the cache and from the connection's memory as at first sight, to the nanosecond. */
START_TEST(auth_says_until_when)
{
    const uint64_t end_ns = (EXPIRY_S + 30) * CLOCK_NS_PER_S;

    for (uint32_t cache_entries = 0; cache_entries < 2; cache_entries++) {
        open_with(&clock_fake, cache_entries);
        realtime_ns = end_ns - 100 * CLOCK_NS_PER_S - 7;
        reactor.now_ns = 5000;
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_uint_eq(call.authorized_until_ns, 5000 + 100 * CLOCK_NS_PER_S + 7);
        reactor.now_ns = 6000;
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_uint_eq(call.authorized_until_ns, 5000 + 100 * CLOCK_NS_PER_S + 7);
        end_host();
        realtime_ns = end_ns - 1;
        reactor.now_ns = 9000;
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_uint_eq(call.authorized_until_ns, 9001);
        ck_assert_uint_eq(token_verifier_stats(verifier).cache_hits, cache_entries);
        realtime_ns = end_ns;
        reactor.now_ns = 9001;
        ck_assert(!passes_with_scheme("Bearer "));
        done();
    }
    ck_assert_uint_eq(auth.passed_by_memo, 2);
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

/* What the token and the certificate say is there for policy and limits, until the call ends: for
 * streams after their arena is gone, too. */
START_TEST(auth_makes_a_caller)
{
    const struct caller *caller;

    open_all();
    for (unsigned i = 0; i < 4; i++) {
        call.method = i < 2 ? &unary : &stream;
        host.peer_identity = i % 2 == 0 ? NULL : "uri:spiffe://example/client";
        ck_assert(begins_with_token(&call));
        if (i >= 2) {
            arena_deinit(&call.arena);
        }
        caller = call.identity;
        ck_assert_str_eq(caller->subject, "alice");
        ck_assert_uint_eq(caller->role_count, 2);
        ck_assert_str_eq(caller->roles[1], "viewer");
        ck_assert_uint_eq(caller->scope_count, 0);
        ck_assert_ptr_eq(caller->certificate, host.peer_identity);
        ck_assert_str_eq(call.caller, "alice");
        ends(&call);
    }
    done();
}

END_TEST

/* A certificate does not stand in for a token. */
START_TEST(auth_needs_a_token_beside_a_certificate)
{
    open_all();
    host.peer_identity = "dns:client.example";
    ck_assert(!passes("", 0));
    assert_refused("No authentication token provided", "TOKEN_MISSING");
    done();
}

END_TEST

/* Calls keep what they point to when the connection moves on to another token, when the cache has
 * no room for theirs, when the verifier is gone; and the name is there for stages that end later.
 */
START_TEST(auth_keeps_verdicts_for_calls)
{
    const struct token_request request = {.subject = "bob", .expires_s = EXPIRY_S};
    struct grpc_call first = {.host = &host, .method = &unary};

    open_with(clock_system(), 0);
    ck_assert(begins_with_token(&first));
    free(token);
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET), &request, &token), 0);
    ck_assert(begins_with_token(&call));
    ck_assert_str_eq(call.caller, "bob");
    ck_assert_str_eq(((const struct caller *)first.identity)->roles[0], "admin");
    ends(&call);
    end_host();
    ck_assert_str_eq(((const struct caller *)first.identity)->subject, "alice");
    ends(&first);
    ck_assert_str_eq(first.caller, "alice");
    arena_deinit(&first.arena);
    done();
}

END_TEST

/* The connection's last token is compared whole: whatever character is another, whatever is cut or
 * added, it is another token. */
START_TEST(auth_compares_whole_tokens)
{
    size_t size;

    open_all();
    ck_assert(passes_with_scheme("Bearer "));
    size = strlen(token);
    for (size_t i = 0; i < size; i++) {
        char kept = token[i];

        token[i] = kept == 'A' ? 'B' : 'A';
        ck_assert(!passes_with_scheme("Bearer "));
        token[i] = '\0';
        ck_assert(!passes_with_scheme("Bearer "));
        token[i] = kept;
    }
    ck_assert(!passes_with_scheme("Bearer A"));
    ck_assert_uint_eq(auth.passed_by_memo, 0);
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    done();
}

END_TEST

/* A refused token does not take the place of the good one, and tokens that take turns are each
 * found in the cache. */
START_TEST(auth_remembers_the_last_good_token)
{
    const struct token_request request = {.subject = "bob", .expires_s = EXPIRY_S};
    char *kept;

    open_all();
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert(!passes("Bearer x", 1));
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    kept = token;
    ck_assert_int_eq(token_sign_hs256(BYTES_LITERAL(SECRET), &request, &token), 0);
    for (int i = 0; i < 3; i++) {
        char *other = token;

        ck_assert(passes_with_scheme("Bearer "));
        ck_assert_str_eq(call.caller, i % 2 == 0 ? "bob" : "alice");
        token = kept;
        kept = other;
    }
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    ck_assert_uint_eq(token_verifier_stats(verifier).signatures_checked, 2);
    free(kept);
    done();
}

END_TEST

/* The connection trusts its memory no longer than the cache would. */
START_TEST(auth_asks_again_in_time)
{
    open_with(&clock_fake, 4);
    realtime_ns = 1700000000 * CLOCK_NS_PER_S;
    reactor.now_ns = 1000;
    ck_assert(passes_with_scheme("Bearer "));
    reactor.now_ns += 300 * CLOCK_NS_PER_S - 1;
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    realtime_ns += 300 * CLOCK_NS_PER_S;
    reactor.now_ns += 1;
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    ck_assert_uint_eq(token_verifier_stats(verifier).signatures_checked, 2);
    done();
}

END_TEST

/* A connection with more refused tokens than allowed is ended, once, and the limit is counted. Good
 * tokens between them change nothing, and calls without a token do not count. */
START_TEST(auth_ends_connections_that_guess)
{
    open_all();
    auth.max_failures = 20;
    for (int i = 0; i < 20; i++) {
        ck_assert(!passes(i % 2 == 0 ? "Bearer x" : "Basic x", 1));
        ck_assert(passes_with_scheme("Bearer "));
        ck_assert(!passes("", 0));
        ck_assert_uint_eq(ended_count, 0);
    }
    ck_assert(!passes("Bearer x", 1));
    assert_refused("Invalid authentication token", "TOKEN_INVALID");
    ck_assert_uint_eq(ended_count, 1);
    ck_assert_str_eq(ended_for, "too many authentication failures");
    ck_assert(!passes("Bearer x", 1));
    ck_assert_uint_eq(ended_count, 1);
    ck_assert_uint_eq(auth.connections_ended, 1);
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_AUTH_FAILURES], 1);
    done();
}

END_TEST

/* 0 allows any number. */
START_TEST(auth_may_allow_guessing)
{
    open_all();
    for (int i = 0; i < 100; i++) {
        ck_assert(!passes("Bearer x", 1));
    }
    ck_assert_uint_eq(ended_count, 0);
    done();
}

END_TEST

/* Tokens over the limit on their size are counted there. */
START_TEST(auth_counts_long_tokens)
{
    static char value[8192 + 9] = "Bearer ";

    open_all();
    memset(value + 7, 'A', 8193);
    ck_assert(!passes(value, 1));
    assert_refused("Invalid authentication token", "TOKEN_INVALID");
    ck_assert_uint_eq(reactor.limits_hit.counts[LIMITS_HIT_TOKEN_SIZE], 1);
    ck_assert_uint_eq(auth.refused[TOKEN_TOO_LONG], 1);
    done();
}

END_TEST

/* When the key of a connection's token is removed its memory is worth nothing. */
START_TEST(auth_forgets_removed_keys)
{
    open_all();
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert(passes_with_scheme("Bearer "));
    set_secret("another secret, of 32 bytes or so");
    ck_assert(!passes_with_scheme("Bearer "));
    set_secret(SECRET);
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 1);
    done();
}

END_TEST

/* A call for which there is no memory is refused as such: its token may be good. */
START_TEST(auth_says_when_memory_is_short)
{
    open_all();
    host.peer_identity = "dns:client.example";
    call.arena.size_max = 1;
    ck_assert(!begins_with_token(&call));
    ck_assert_int_eq(failure.status, GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(failure.reason, "OUT_OF_MEMORY");
    ck_assert_uint_eq(host.auth_failures, 0);
    ends(&call);
    done();
}

END_TEST

UNIT_MAIN("auth", auth_passes_good_tokens, auth_names_missing_tokens,
          auth_says_nothing_about_bad_tokens, auth_takes_one_value_only, auth_can_be_off,
          auth_lets_probes_pass, auth_lets_reflection_pass, auth_logs_the_cause_and_not_the_token,
          auth_says_until_when, auth_knows_tokens_without_end, auth_makes_a_caller,
          auth_needs_a_token_beside_a_certificate, auth_keeps_verdicts_for_calls,
          auth_compares_whole_tokens, auth_remembers_the_last_good_token, auth_asks_again_in_time,
          auth_ends_connections_that_guess, auth_may_allow_guessing, auth_counts_long_tokens,
          auth_forgets_removed_keys, auth_says_when_memory_is_short)
