#include "lib/unit.h"

#include "service/token_parse.h"

#include <stdio.h>

#define NOW_S         1700000000U
#define SIZE_MAX_USED 8192

static struct arena arena;

static struct bytes bytes(const char *text)
{
    return bytes_from_text(text);
}

/* base64url without padding. */
static struct bytes encode(const char *text)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t size = strlen(text);
    uint8_t *out = arena_alloc(&arena, size * 2 + 4);
    size_t used = 0;
    uint32_t bits = 0;
    unsigned count = 0;

    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | (uint8_t)text[i];
        for (count += 8; count >= 6; count -= 6) {
            out[used++] = (uint8_t)alphabet[bits >> (count - 6) & 63];
        }
    }
    if (count > 0) {
        out[used++] = (uint8_t)alphabet[bits << (6 - count) & 63];
    }
    return (struct bytes){out, used};
}

static enum token_fault header(const char *json, struct token_header *ret_header)
{
    return token_parse_header(encode(json), &arena, ret_header);
}

static enum token_fault claims_by(const char *json, const struct token_rules *rules,
                                  struct token_claims *ret_claims)
{
    return token_parse_claims(encode(json), rules, &arena, ret_claims);
}

static enum token_fault claims(const char *json)
{
    static const struct token_rules rules = {
        .issuer = "", .audience = "", .roles_claim = "roles", .now_s = NOW_S};
    struct token_claims ret;

    return claims_by(json, &rules, &ret);
}

/* Three canonical segments pass, and are cut where the dots are. */
START_TEST(token_parse_splits)
{
    struct token_parts parts;

    ck_assert_int_eq(token_parse_split(bytes("abcd.eQ.ghI"), SIZE_MAX_USED, &parts), TOKEN_OK);
    ck_assert(bytes_equal(parts.header, bytes("abcd")));
    ck_assert(bytes_equal(parts.payload, bytes("eQ")));
    ck_assert(bytes_equal(parts.signature, bytes("ghI")));
}

END_TEST

/* Anything but three non-empty segments of the alphabet is refused (empty ones make the library
 * read beyond its memory). */
START_TEST(token_parse_refuses_other_shapes)
{
    static const char *const texts[] = {
        "",
        ".",
        "..",
        "abcd",
        "abcd.abcd",
        ".abcd.abcd",
        "abcd..abcd",
        "abcd.abcd.",
        "a.b.c.d",
        "abcd.abcd.abcd.abcd",
        "abcd.abcd.abcd.",
        "ab=d.abcd.abcd",
        "abcd.ab+d.abcd",
        "abcd.ab/d.abcd",
        "abcd.ab cd.abcd",
        "abcd.abcd.abc\n",
        "\"abcd.abcd.abcd",
        "abcd.abc=.abcd",
        "abcd.abc\xc3\xa4.abcd",
    };
    struct token_parts parts;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(token_parse_split(bytes(texts[i]), SIZE_MAX_USED, &parts) == TOKEN_BAD_SHAPE,
                      "\"%s\"", texts[i]);
    }
    ck_assert_int_eq(token_parse_split((struct bytes){(const uint8_t *)"ab\0d.abcd.abcd", 14},
                                       SIZE_MAX_USED, &parts),
                     TOKEN_BAD_SHAPE);
}

END_TEST

/* One token has one spelling: lengths that no bytes encode to, and bits that no byte uses, are
 * refused in every segment. */
START_TEST(token_parse_refuses_second_spellings)
{
    static const char *const texts[] = {
        "abcde.abcd.abcd", "abcd.abcde.abcd", "abcd.abcd.abcde", "a.abcd.abcd",   "ab.abcd.abcd",
        "abcd.aB.abcd",    "abcd.abcd.a_",    "abd.abcd.abcd",   "abcd.ab_.abcd", "abcd.abcd.abF",
    };
    static const char *const good[] = {"aA.abcd.abcd", "aQ.ag.aw", "abA.abE.abI"};
    struct token_parts parts;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        ck_assert_msg(token_parse_split(bytes(texts[i]), SIZE_MAX_USED, &parts) == TOKEN_BAD_SHAPE,
                      "\"%s\"", texts[i]);
    }
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(token_parse_split(bytes(good[i]), SIZE_MAX_USED, &parts) == TOKEN_OK,
                      "\"%s\"", good[i]);
    }
}

END_TEST

/* A token over the limit is refused before anything of it is looked at. */
START_TEST(token_parse_refuses_long_tokens)
{
    struct token_parts parts;
    size_t size = 8 << 20;
    char *text = malloc(size);

    memset(text, 'A', size);
    ck_assert_int_eq(token_parse_split((struct bytes){(uint8_t *)text, size}, 8192, &parts),
                     TOKEN_TOO_LONG);
    text[100] = '.';
    text[200] = '.';
    ck_assert_int_eq(token_parse_split((struct bytes){(uint8_t *)text, 301}, 300, &parts),
                     TOKEN_TOO_LONG);
    text[300] = 'A';
    ck_assert_int_eq(token_parse_split((struct bytes){(uint8_t *)text, 301}, 301, &parts),
                     TOKEN_OK);
    free(text);
}

END_TEST

/* base64url decodes to the bytes it was made of, for every length. */
START_TEST(token_parse_decodes_base64url)
{
    char text[64] = "";

    for (size_t size = 1; size < 60; size++) {
        uint8_t out[64];
        size_t got = 0;

        text[size - 1] = (char)(size * 37 % 127 + 1);
        ck_assert_int_eq(token_parse_base64url(encode(text), out, &got), 0);
        ck_assert_uint_eq(got, size);
        ck_assert_mem_eq(out, text, size);
    }
    arena_deinit(&arena);
}

END_TEST

/* The header's alg and kid come out exactly as they went in. */
START_TEST(token_parse_reads_the_header)
{
    struct token_header got;

    ck_assert_int_eq(header("{\"alg\":\"HS256\",\"typ\":\"JWT\"}", &got), TOKEN_OK);
    ck_assert_str_eq(got.algorithm, "HS256");
    ck_assert_int_eq(got.type, TOKEN_TYPE_JWT);
    ck_assert_ptr_null(got.key_id);
    ck_assert_int_eq(header(" { \"kid\" : \"a/../b\" , \"alg\":\"hs256\" } ", &got), TOKEN_OK);
    ck_assert_str_eq(got.algorithm, "hs256");
    ck_assert_str_eq(got.key_id, "a/../b");
    ck_assert_int_eq(got.type, TOKEN_TYPE_ABSENT);
    ck_assert_int_eq(header("{\"alg\":\"ES256\",\"typ\":\"at+jwt\"}", &got), TOKEN_OK);
    ck_assert_int_eq(got.type, TOKEN_TYPE_ACCESS);
    ck_assert_int_eq(header("{\"alg\":\"ES256\",\"typ\":\"application/AT+JWT\"}", &got), TOKEN_OK);
    ck_assert_int_eq(got.type, TOKEN_TYPE_ACCESS);
    ck_assert_int_eq(header("{\"alg\":\"x\",\"typ\":\"jwt\",\"x5t\":\"ignored\"}", &got), TOKEN_OK);
    ck_assert_int_eq(got.type, TOKEN_TYPE_JWT);
    arena_deinit(&arena);
}

END_TEST

/* Headers that are no plain object of texts, or lead elsewhere, are refused. */
START_TEST(token_parse_refuses_headers)
{
    static const struct {
        const char *json;
        enum token_fault fault;
    } rows[] = {
        {"[]", TOKEN_BAD_HEADER},
        {"x", TOKEN_BAD_HEADER},
        {"\"alg\"", TOKEN_BAD_HEADER},
        {"{", TOKEN_BAD_HEADER},
        {"{}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\"} ,", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\"}{}", TOKEN_BAD_HEADER},
        {"{\"alg\":256}", TOKEN_BAD_HEADER},
        {"{\"alg\":null}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":[\"HS256\"]}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"none\",\"alg\":\"HS256\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"alg\":\"HS256\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\\u0000\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS\\n256\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":1}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":\"\"}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"kid\":null}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"typ\":7}", TOKEN_BAD_HEADER},
        {"{\"alg\":\"HS256\",\"typ\":\"JWE\"}", TOKEN_BAD_TYPE},
        {"{\"alg\":\"HS256\",\"typ\":\"application/JWT\"}", TOKEN_BAD_TYPE},
        {"{\"alg\":\"HS256\",\"typ\":\"\"}", TOKEN_BAD_TYPE},
        {"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"crit\":null}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"jku\":\"https://evil\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\"}}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"x5u\":\"https://evil\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"x5c\":[]}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"cty\":\"JWT\"}", TOKEN_REFUSED_HEADER},
        {"{\"alg\":\"HS256\",\"b64\":false}", TOKEN_REFUSED_HEADER},
    };
    struct token_header got;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(header(rows[i].json, &got) == rows[i].fault, "%s", rows[i].json);
    }
    arena_deinit(&arena);
}

END_TEST

/* JSON that nests deeper than any token needs never reaches the recursive parser. */
START_TEST(token_parse_refuses_deep_json)
{
    char json[6000];
    struct token_header got;

    memset(json, '[', sizeof(json));
    json[sizeof(json) - 1] = '\0';
    memcpy(json, "{\"a\":", 5);
    ck_assert_int_eq(header(json, &got), TOKEN_BAD_HEADER);
    ck_assert_int_eq(claims(json), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(header("{\"alg\":\"HS256\",\"a\":[[[[[[[]]]]]]]}", &got), TOKEN_OK);
    ck_assert_int_eq(header("{\"alg\":\"HS256\",\"a\":[[[[[[[[]]]]]]]]}", &got), TOKEN_BAD_HEADER);
    ck_assert_int_eq(header("{\"alg\":\"HS256\",\"a\":\"[[[[[[[[[\\\"[[[\"}", &got), TOKEN_OK);
    arena_deinit(&arena);
}

END_TEST

/* The example claims of a good token. */
START_TEST(token_parse_reads_claims)
{
    static const struct token_rules rules = {.roles_claim = "roles",
                                             .issuer = "https://issuer",
                                             .audience = "users",
                                             .leeway_s = 30,
                                             .now_s = NOW_S};
    struct token_claims got;

    ck_assert_int_eq(
        claims_by("{\"sub\":\"alice\",\"iss\":\"https://issuer\",\"aud\":[\"x\",\"users\"],"
                  "\"exp\":1700000100,\"iat\":1700000000,\"nbf\":1700000000,"
                  "\"roles\":[\"admin\",\"viewer\"],\"other\":{\"x\":[1,2.5,null]}}",
                  &rules, &got),
        TOKEN_OK);
    ck_assert_str_eq(got.subject, "alice");
    ck_assert_uint_eq(got.expires_s, 1700000130);
    ck_assert_uint_eq(got.role_count, 2);
    ck_assert_str_eq(got.roles[0], "admin");
    ck_assert_str_eq(got.roles[1], "viewer");
    ck_assert_int_eq(claims_by("{\"sub\":\"b\",\"iss\":\"https://issuer\",\"aud\":\"users\","
                               "\"exp\":1700000100,\"roles\":\" admin  viewer \"}",
                               &rules, &got),
                     TOKEN_OK);
    ck_assert_uint_eq(got.role_count, 2);
    ck_assert_str_eq(got.roles[0], "admin");
    ck_assert_str_eq(got.roles[1], "viewer");
    arena_deinit(&arena);
}

END_TEST

/* exp is required and a JSON number, whole or not, floored; so are nbf and iat when they are there.
 */
START_TEST(token_parse_judges_times)
{
    static const struct {
        const char *json;
        enum token_fault fault;
    } rows[] = {
        {"{\"sub\":\"a\"}", TOKEN_NO_EXPIRY},
        {"{\"sub\":\"a\",\"exp\":1700000001}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":1700000000}", TOKEN_EXPIRED},
        {"{\"sub\":\"a\",\"exp\":1700000000.9}", TOKEN_EXPIRED},
        {"{\"sub\":\"a\",\"exp\":1700000001.5}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":1.8e9}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":1.5e9}", TOKEN_EXPIRED},
        {"{\"sub\":\"a\",\"exp\":0}", TOKEN_EXPIRED},
        {"{\"sub\":\"a\",\"exp\":-1}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":-0.5}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":\"1800000000\"}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":null}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":true}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":[1800000000]}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":253402300799}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":253402300800}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":9223372036854775807}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":9223372036854775808}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1e300}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1e999}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1,\"exp\":1800000000}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000000}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000001}", TOKEN_NOT_YET_VALID},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000000.9}", TOKEN_OK},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":\"0\"}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"iat\":1700000001}", TOKEN_NOT_YET_VALID},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"iat\":-5}", TOKEN_BAD_CLAIMS},
        {"{\"sub\":\"a\",\"exp\":1800000000,\"iat\":false}", TOKEN_BAD_CLAIMS},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_msg(claims(rows[i].json) == rows[i].fault, "%s", rows[i].json);
    }
    arena_deinit(&arena);
}

END_TEST

/* The leeway counts on both sides, to the second. */
START_TEST(token_parse_allows_the_leeway)
{
    static const struct token_rules rules = {
        .roles_claim = "roles", .issuer = "", .audience = "", .leeway_s = 30, .now_s = NOW_S};
    struct token_claims got;

    ck_assert_int_eq(claims_by("{\"sub\":\"a\",\"exp\":1699999971}", &rules, &got), TOKEN_OK);
    ck_assert_int_eq(claims_by("{\"sub\":\"a\",\"exp\":1699999970}", &rules, &got), TOKEN_EXPIRED);
    ck_assert_int_eq(
        claims_by("{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000030}", &rules, &got), TOKEN_OK);
    ck_assert_int_eq(
        claims_by("{\"sub\":\"a\",\"exp\":1800000000,\"nbf\":1700000031}", &rules, &got),
        TOKEN_NOT_YET_VALID);
    arena_deinit(&arena);
}

END_TEST

/* iss is exact; aud is a text or a list of texts that has ours. */
START_TEST(token_parse_judges_issuer_and_audience)
{
    static const struct {
        const char *claims;
        enum token_fault fault;
    } rows[] = {
        {"\"iss\":\"i\",\"aud\":\"a\"", TOKEN_OK},
        {"\"iss\":\"i\",\"aud\":[\"a\"]", TOKEN_OK},
        {"\"iss\":\"i\",\"aud\":[\"b\",\"a\"]", TOKEN_OK},
        {"\"aud\":\"a\"", TOKEN_WRONG_ISSUER},
        {"\"iss\":\"I\",\"aud\":\"a\"", TOKEN_WRONG_ISSUER},
        {"\"iss\":\"i/\",\"aud\":\"a\"", TOKEN_WRONG_ISSUER},
        {"\"iss\":[\"i\"],\"aud\":\"a\"", TOKEN_BAD_CLAIMS},
        {"\"iss\":\"i\"", TOKEN_WRONG_AUDIENCE},
        {"\"iss\":\"i\",\"aud\":\"ab\"", TOKEN_WRONG_AUDIENCE},
        {"\"iss\":\"i\",\"aud\":[]", TOKEN_WRONG_AUDIENCE},
        {"\"iss\":\"i\",\"aud\":[\"b\"]", TOKEN_WRONG_AUDIENCE},
        {"\"iss\":\"i\",\"aud\":[\"a\",1]", TOKEN_BAD_CLAIMS},
        {"\"iss\":\"i\",\"aud\":[[\"a\"]]", TOKEN_BAD_CLAIMS},
        {"\"iss\":\"i\",\"aud\":{\"a\":\"a\"}", TOKEN_BAD_CLAIMS},
        {"\"iss\":\"i\",\"aud\":null", TOKEN_BAD_CLAIMS},
    };
    static const struct token_rules rules = {
        .issuer = "i", .audience = "a", .roles_claim = "roles", .now_s = NOW_S};
    struct token_claims got;
    char json[256];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,%s}", rows[i].claims);
        ck_assert_msg(claims_by(json, &rules, &got) == rows[i].fault, "%s", json);
    }
    ck_assert_int_eq(claims("{\"sub\":\"s\",\"exp\":1800000000,\"aud\":7}"), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(claims("{\"sub\":\"s\",\"exp\":1800000000,\"iss\":7}"), TOKEN_BAD_CLAIMS);
    arena_deinit(&arena);
}

END_TEST

/* sub: 1 to 256 bytes without control characters. */
START_TEST(token_parse_judges_subject)
{
    char json[400];

    ck_assert_int_eq(claims("{\"exp\":1800000000}"), TOKEN_BAD_SUBJECT);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":\"\"}"), TOKEN_BAD_SUBJECT);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":5}"), TOKEN_BAD_SUBJECT);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":\"a\\nb\"}"), TOKEN_BAD_SUBJECT);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":\"a\\u0000b\"}"), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":\"\xff\"}"), TOKEN_BAD_CLAIMS);
    ck_assert_int_eq(claims("{\"exp\":1800000000,\"sub\":\"\xc3\xa4\"}"), TOKEN_OK);
    (void)snprintf(json, sizeof(json), "{\"exp\":1800000000,\"sub\":\"%0256d\"}", 1);
    ck_assert_int_eq(claims(json), TOKEN_OK);
    (void)snprintf(json, sizeof(json), "{\"exp\":1800000000,\"sub\":\"%0257d\"}", 1);
    ck_assert_int_eq(claims(json), TOKEN_BAD_SUBJECT);
    arena_deinit(&arena);
}

END_TEST

/* roles: a list of texts or words in one; at most 64 of at most 64 bytes. */
START_TEST(token_parse_judges_roles)
{
    static const struct {
        const char *roles;
        enum token_fault fault;
    } rows[] = {
        {"[]", TOKEN_OK},
        {"\"\"", TOKEN_OK},
        {"\"   \"", TOKEN_OK},
        {"7", TOKEN_BAD_ROLES},
        {"null", TOKEN_BAD_ROLES},
        {"{}", TOKEN_BAD_ROLES},
        {"[7]", TOKEN_BAD_ROLES},
        {"[\"\"]", TOKEN_BAD_ROLES},
        {"[\"a\",null]", TOKEN_BAD_ROLES},
        {"\"a\\tb\"", TOKEN_BAD_ROLES},
    };

    char json[1024];
    char many[400] = "";

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":%s}",
                       rows[i].roles);
        ck_assert_msg(claims(json) == rows[i].fault, "%s", json);
    }
    for (int count = 0; count < 65; count++) {
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":\"%s\"}",
                       many);
        ck_assert_int_eq(claims(json), TOKEN_OK);
        strcat(many, "r ");
    }
    (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":\"%s\"}", many);
    ck_assert_int_eq(claims(json), TOKEN_BAD_ROLES);
    (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":\"%064d\"}", 1);
    ck_assert_int_eq(claims(json), TOKEN_OK);
    (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":\"%065d\"}", 1);
    ck_assert_int_eq(claims(json), TOKEN_BAD_ROLES);
    arena_deinit(&arena);
}

END_TEST

/* Roles come from the claim that the option names, whole names only; an empty one gives none. */
START_TEST(token_parse_reads_the_roles_claim)
{
    static const char json[] =
        "{\"sub\":\"s\",\"exp\":1800000000,\"roles\":[\"a\"],\"realm.roles\":[\"b\",\"c\"],"
        "\"https://x.example/roles\":\"d\",\"bad\":7}";

    static const struct {
        const char *claim;
        unsigned count;
        const char *first;
    } rows[] = {
        {"roles", 1, "a"}, {"realm.roles", 2, "b"}, {"https://x.example/roles", 1, "d"},
        {"", 0, NULL},     {"role", 0, NULL},       {"realm", 0, NULL},
    };
    struct token_rules rules = {.issuer = "", .audience = "", .now_s = NOW_S};
    struct token_claims got;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        rules.roles_claim = rows[i].claim;
        ck_assert_int_eq(claims_by(json, &rules, &got), TOKEN_OK);
        ck_assert_uint_eq(got.role_count, rows[i].count);
        if (rows[i].count > 0) {
            ck_assert_str_eq(got.roles[0], rows[i].first);
        }
    }
    rules.roles_claim = "bad";
    ck_assert_int_eq(claims_by(json, &rules, &got), TOKEN_BAD_ROLES);
    arena_deinit(&arena);
}

END_TEST

/* Scopes: `scope`, or when it is not there `scp`, as words or as a list; at most 64 of at most 128
 * bytes. */
START_TEST(token_parse_judges_scopes)
{
    static const struct {
        const char *members;
        enum token_fault fault;
        unsigned count;
        const char *last;
    } rows[] = {
        {"\"scope\":\"users.read users.write\"", TOKEN_OK, 2, "users.write"},
        {"\"scope\":[\"users.read\"]", TOKEN_OK, 1, "users.read"},
        {"\"scp\":[\"a\",\"b\"]", TOKEN_OK, 2, "b"},
        {"\"scp\":\"a b c\"", TOKEN_OK, 3, "c"},
        {"\"scope\":\"a\",\"scp\":[\"b\",\"c\"]", TOKEN_OK, 1, "a"},
        {"\"scope\":\"\",\"scp\":\"b\"", TOKEN_OK, 0, NULL},
        {"\"scope\":7", TOKEN_BAD_SCOPES, 0, NULL},
        {"\"scope\":null", TOKEN_BAD_SCOPES, 0, NULL},
        {"\"scp\":{}", TOKEN_BAD_SCOPES, 0, NULL},
        {"\"scp\":[\"\"]", TOKEN_BAD_SCOPES, 0, NULL},
        {"\"scp\":[\"a\",1]", TOKEN_BAD_SCOPES, 0, NULL},
        {"\"scope\":\"a\\tb\"", TOKEN_BAD_SCOPES, 0, NULL},
    };
    static const struct token_rules rules = {
        .issuer = "", .audience = "", .roles_claim = "roles", .now_s = NOW_S};
    struct token_claims got;
    char json[512];
    char many[400] = "";

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,%s}",
                       rows[i].members);
        ck_assert_msg(claims_by(json, &rules, &got) == rows[i].fault, "%s", json);
        if (rows[i].fault == TOKEN_OK) {
            ck_assert_uint_eq(got.scope_count, rows[i].count);
        }
        if (rows[i].last != NULL) {
            ck_assert_str_eq(got.scopes[got.scope_count - 1], rows[i].last);
        }
    }
    for (int count = 1; count <= 65; count++) {
        strcat(many, "r ");
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"scope\":\"%s\"}",
                       many);
        ck_assert_int_eq(claims(json), count <= 64 ? TOKEN_OK : TOKEN_BAD_SCOPES);
    }
    for (int size = 128; size <= 129; size++) {
        (void)snprintf(json, sizeof(json), "{\"sub\":\"s\",\"exp\":1800000000,\"scp\":[\"%0*d\"]}",
                       size, 1);
        ck_assert_int_eq(claims(json), size == 128 ? TOKEN_OK : TOKEN_BAD_SCOPES);
    }
    arena_deinit(&arena);
}

END_TEST

/* An arena without room refuses, whatever the step. */
START_TEST(token_parse_survives_a_full_arena)
{
    struct bytes segment =
        encode("{\"sub\":\"s\",\"exp\":1800000000,\"roles\":\"a b\",\"scp\":\"c\"}");
    static const struct token_rules rules = {
        .issuer = "", .audience = "", .roles_claim = "roles", .now_s = NOW_S};
    unsigned refused = 0;

    for (size_t room = 1; room < 2400; room += 32) {
        struct arena small = {.size_max = room};
        struct token_claims got;
        enum token_fault fault = token_parse_claims(segment, &rules, &small, &got);

        ck_assert(fault == TOKEN_OK || fault == TOKEN_NO_MEMORY);
        refused += fault == TOKEN_NO_MEMORY;
        arena_deinit(&small);
    }
    ck_assert_uint_gt(refused, 3);
    ck_assert_uint_lt(refused, 75);
    arena_deinit(&arena);
}

END_TEST

/* Every fault has a name of its own. */
START_TEST(token_parse_names_faults)
{
    for (int i = 0; i < TOKEN_FAULT_COUNT; i++) {
        for (int j = 0; j < i; j++) {
            ck_assert_str_ne(token_fault_name((enum token_fault)i),
                             token_fault_name((enum token_fault)j));
        }
    }
}

END_TEST

UNIT_MAIN("token_parse", token_parse_splits, token_parse_refuses_other_shapes,
          token_parse_refuses_second_spellings, token_parse_refuses_long_tokens,
          token_parse_decodes_base64url, token_parse_reads_the_header, token_parse_refuses_headers,
          token_parse_refuses_deep_json, token_parse_reads_claims, token_parse_judges_times,
          token_parse_allows_the_leeway, token_parse_judges_issuer_and_audience,
          token_parse_judges_subject, token_parse_judges_roles, token_parse_reads_the_roles_claim,
          token_parse_judges_scopes, token_parse_survives_a_full_arena, token_parse_names_faults)
