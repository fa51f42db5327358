/*
 * Any bytes as token, and as the JSON inside one: parsing ends with a verdict, keeps its promises
 * about what it lets pass, and the claims it gives are within the limits.
 */
#include "service/token_parse.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_SIZE_MAX 8192

static const struct token_rules rules = {
    .issuer = "", .audience = "", .roles_claim = "roles", .leeway_s = 30, .now_s = 1700000000};

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void check_header(struct bytes segment)
{
    struct arena arena = {.size_max = 0};
    struct token_header header;

    if (token_parse_header(segment, &arena, &header) == TOKEN_OK) {
        must(header.algorithm[0] != '\0');
        must(header.key_id == NULL || header.key_id[0] != '\0');
    }
    arena_deinit(&arena);
}

static void check_names(const char *const *names, unsigned count, unsigned count_max,
                        size_t size_max)
{
    must(count <= count_max);
    for (unsigned i = 0; i < count; i++) {
        must(names[i][0] != '\0');
        must(strlen(names[i]) <= size_max);
    }
}

static void check_claims(struct bytes segment)
{
    struct arena arena = {.size_max = 0};
    struct token_claims claims;

    if (token_parse_claims(segment, &rules, &arena, &claims) == TOKEN_OK) {
        must(claims.expires_s > rules.now_s);
        must(claims.subject[0] != '\0');
        must(strlen(claims.subject) <= TOKEN_SUBJECT_SIZE_MAX);
        check_names(claims.roles, claims.role_count, TOKEN_ROLES_MAX, TOKEN_ROLE_SIZE_MAX);
        check_names(claims.scopes, claims.scope_count, TOKEN_SCOPES_MAX, TOKEN_SCOPE_SIZE_MAX);
    }
    arena_deinit(&arena);
}

/* base64url without padding, as a segment is written. */
static struct bytes encode(const uint8_t *data, size_t size, uint8_t *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t used = 0;
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | data[i];
        for (count += 8; count >= 6; count -= 6) {
            out[used++] = (uint8_t)alphabet[bits >> (count - 6) & 63];
        }
    }
    if (count > 0) {
        out[used++] = (uint8_t)alphabet[bits << (6 - count) & 63];
    }
    return (struct bytes){out, used};
}

/* There and back: what is decoded is what was encoded. */
static void check_round_trip(const uint8_t *data, size_t size, struct bytes segment)
{
    uint8_t *back = malloc(segment.size + 2);
    size_t back_size = 0;

    must(back != NULL);
    must(token_parse_base64url(segment, back, &back_size) == (size == 0 ? -EBADMSG : 0));
    must(size == 0 || (back_size == size && memcmp(back, data, size) == 0));
    free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct token_parts parts;
    uint8_t *room = malloc(size * 2 + 4);
    struct bytes segment;

    must(room != NULL);
    segment = encode(data, size, room);
    check_round_trip(data, size, segment);
    check_header(segment);
    check_claims(segment);
    free(room);
    if (token_parse_split((struct bytes){data, size}, TOKEN_SIZE_MAX, &parts) == TOKEN_OK) {
        must(parts.header.size + parts.payload.size + parts.signature.size + 2 == size);
        check_header(parts.header);
        check_claims(parts.payload);
    }
    return 0;
}
