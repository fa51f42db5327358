#include "auth_fixture.h"

/* Streams live longer than the keys and the rules that let them in. */

static void take_token(const char *payload)
{
    free(token);
    token = token_make(TOKEN_MAKER_HS256, "{\"alg\":\"HS256\",\"typ\":\"JWT\"}", payload);
}

static struct grpc_call a_stream(void)
{
    return (struct grpc_call){.host = &host, .method = &stream};
}

static const struct caller *caller_of(const struct grpc_call *open)
{
    return open->identity;
}

/* A removed key ends the streams that began with it and no others; unary calls may finish. */
START_TEST(auth_revokes_streams)
{
    struct grpc_call by_secret[2] = {{.host = &host, .method = &stream},
                                     {.host = &host, .method = &stream}};
    struct grpc_call by_key = {.host = &host, .method = &stream};
    struct token_keys *keys = NULL;
    char problem[TOKEN_KEYS_PROBLEM_SIZE];
    char *other = token_make(TOKEN_MAKER_ES256, "{\"alg\":\"ES256\",\"kid\":\"e1\"}",
                             "{\"sub\":\"carol\",\"exp\":4102444800}");
    char *kept;

    open_all();
    ck_assert_int_eq(token_keys_new(&keys), 0);
    ck_assert_int_eq(token_keys_add_secret(keys, BYTES_LITERAL(SECRET)), 0);
    ck_assert_int_eq(token_keys_add_jwks(keys, BYTES_LITERAL(TOKEN_MAKER_JWKS), problem), 0);
    token_verifier_set_keys(verifier, keys);
    ck_assert(begins_with_token(&by_secret[0]));
    ck_assert(begins_with_token(&by_secret[1]));
    ck_assert(begins_with_token(&call));
    kept = token;
    token = other;
    ck_assert(begins_with_token(&by_key));
    auth_revoke(&auth); /* nothing has changed */
    ck_assert_uint_eq(revoked_count, 0);

    ck_assert_int_eq(token_keys_new(&keys), 0);
    ck_assert_int_eq(token_keys_add_jwks(keys, BYTES_LITERAL(TOKEN_MAKER_JWKS), problem), 0);
    token_verifier_set_keys(verifier, keys);
    auth_revoke(&auth);
    ck_assert_uint_eq(revoked_count, 2);
    ck_assert_ptr_eq(revoked[0], &by_secret[0]);
    ck_assert_ptr_eq(revoked[1], &by_secret[1]);
    ck_assert_uint_eq(by_secret[0].authorized_until_ns, 0);
    ck_assert_str_eq(by_secret[0].authorization_end->reason, "TOKEN_KEY_REMOVED");
    ck_assert_str_eq(by_key.authorization_end->reason, "TOKEN_EXPIRED");
    auth_revoke(&auth); /* these are gone */
    ck_assert_uint_eq(revoked_count, 2);
    ends(&by_key);
    ends(&call);
    free(kept);
    done();
}

END_TEST

/* With an overlap streams are given an end, and it is taken back when the key comes back; calls
 * that begin meanwhile have it too. */
START_TEST(auth_gives_streams_an_end)
{
    struct grpc_call open = {.host = &host, .method = &stream};
    struct token_options options = default_options();
    uint64_t end_ns;

    options.key_overlap_s = 60;
    open_by(&clock_fake, &options);
    realtime_ns = (EXPIRY_S - 1000) * CLOCK_NS_PER_S;
    reactor.now_ns = realtime_ns; /* the fake clock is both */
    ck_assert(begins_with_token(&open));
    end_ns = reactor.now_ns + 1030 * CLOCK_NS_PER_S;
    ck_assert_uint_eq(open.authorized_until_ns, end_ns);
    set_secret("another secret, of 32 bytes or so");
    auth_revoke(&auth);
    ck_assert_uint_eq(revoked_count, 1);
    ck_assert_uint_eq(open.authorized_until_ns, reactor.now_ns + 60 * CLOCK_NS_PER_S);
    ck_assert_str_eq(open.authorization_end->reason, "TOKEN_KEY_REMOVED");
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(call.authorized_until_ns, reactor.now_ns + 60 * CLOCK_NS_PER_S);
    ck_assert_str_eq(call.authorization_end->reason, "TOKEN_KEY_REMOVED");
    set_secret(SECRET);
    auth_revoke(&auth);
    ck_assert_uint_eq(revoked_count, 2);
    ck_assert_uint_eq(open.authorized_until_ns, end_ns);
    ck_assert_str_eq(open.authorization_end->reason, "TOKEN_EXPIRED");
    ck_assert_str_eq(open.authorization_end->domain, "users.v1");
    ends(&open);
    done();
}

END_TEST

/* New rules for tokens: streams with tokens that they refuse end with UNAUTHENTICATED, the others
 * go on, with the roles and the end that their tokens now say; what began later is let alone. */
START_TEST(auth_judges_streams_anew)
{
    struct grpc_call good = a_stream();
    struct grpc_call wrong = a_stream();
    struct grpc_call later = a_stream();
    struct token_options options = default_options();

    open_by(&clock_fake, &options);
    realtime_ns = 1700000000 * CLOCK_NS_PER_S;
    reactor.now_ns = realtime_ns;
    take_token("{\"sub\":\"bob\",\"exp\":1700000100,\"iss\":\"other\"}");
    ck_assert(begins_with_token(&wrong));
    take_token("{\"sub\":\"alice\",\"exp\":1700000100,\"iss\":\"id\",\"roles\":[\"a\"],"
               "\"groups\":[\"g\",\"h\"]}");
    ck_assert(begins_with_token(&good));
    ck_assert(auth_rejudge(&auth, 16)); /* nothing has changed */
    options.issuer = "id";
    options.roles_claim = "groups";
    options.leeway_s = 0;
    set_options(&options);
    ck_assert(begins_with_token(&later));
    ck_assert_uint_eq(token_verifier_stats(verifier).signatures_checked, 3);
    ck_assert(!auth_rejudge(&auth, 1));
    ck_assert_uint_eq(cancelled_count, 1);
    ck_assert_ptr_eq(cancelled[0], &wrong);
    ck_assert_int_eq(cancel_error.status, GRPC_STATUS_UNAUTHENTICATED);
    ck_assert_str_eq(cancel_error.reason, "TOKEN_INVALID");
    ck_assert_str_eq(cancel_error.domain, "users.v1");
    ck_assert_uint_eq(auth.refused[TOKEN_WRONG_ISSUER], 1);
    ck_assert_str_eq(caller_of(&good)->roles[0], "a");
    ck_assert(auth_rejudge(&auth, 1));
    ck_assert_uint_eq(cancelled_count, 1);
    ck_assert_uint_eq(caller_of(&good)->role_count, 2);
    ck_assert_str_eq(caller_of(&good)->roles[1], "h");
    ck_assert_str_eq(caller_of(&good)->subject, "alice");
    ck_assert_str_eq(good.caller, "alice");
    ck_assert_uint_eq(revoked_count, 1);
    ck_assert_uint_eq(good.authorized_until_ns, reactor.now_ns + 100 * CLOCK_NS_PER_S);
    ck_assert_uint_eq(token_verifier_stats(verifier).signatures_checked, 3);
    ck_assert(auth_rejudge(&auth, 1));
    ends(&good);
    ck_assert_str_eq(good.caller, "alice");
    ends(&later);
    arena_deinit(&good.arena);
    arena_deinit(&later.arena);
    done();
}

END_TEST

/* Streams with one token have one verdict, before and after; and the certificate stays. */
START_TEST(auth_shares_verdicts_judged_anew)
{
    struct grpc_call streams[3] = {a_stream(), a_stream(), a_stream()};
    struct token_options options = default_options();

    host.peer_identity = "dns:client.example";
    open_by(&clock_fake, &options);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(begins_with_token(&streams[i]));
    }
    for (unsigned round = 0; round < 3; round++) {
        options.leeway_s++;
        set_options(&options);
        ck_assert(auth_rejudge(&auth, 3));
        for (unsigned i = 0; i < 3; i++) {
            ck_assert_ptr_eq(caller_of(&streams[i])->subject, caller_of(&streams[0])->subject);
            ck_assert_str_eq(caller_of(&streams[i])->certificate, "dns:client.example");
        }
    }
    ck_assert_uint_eq(cancelled_count, 0);
    for (unsigned i = 0; i < 3; i++) {
        ends(&streams[i]);
        arena_deinit(&streams[i].arena);
    }
    done();
}

END_TEST

/* A connection's memory of its last token does not outlive the rules. */
START_TEST(auth_forgets_verdicts_of_old_rules)
{
    struct token_options options = default_options();

    open_all();
    ck_assert(passes_with_scheme("Bearer "));
    options.audience = "users";
    set_options(&options);
    ck_assert(!passes_with_scheme("Bearer "));
    options.audience = "";
    set_options(&options);
    ck_assert(passes_with_scheme("Bearer "));
    ck_assert_uint_eq(auth.passed_by_memo, 0);
    ck_assert_uint_eq(token_verifier_stats(verifier).signatures_checked, 3);
    done();
}

END_TEST

UNIT_MAIN("auth_streams", auth_revokes_streams, auth_gives_streams_an_end, auth_judges_streams_anew,
          auth_shares_verdicts_judged_anew, auth_forgets_verdicts_of_old_rules)
