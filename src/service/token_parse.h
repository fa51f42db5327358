/*
 * Reads a JSON Web Token before and beside the library that checks its signature: shape, header,
 * claims, all bounded and strict (RFC 8725). Pure; checks no signature.
 *
 * Owns:    nothing.
 * Borrows: the token, for the call; the arena that results go to.
 * Thread:  one at a time.
 */
#ifndef SERVICE_TOKEN_PARSE_H
#define SERVICE_TOKEN_PARSE_H

#include "core/arena.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_KEY_ID_SIZE_MAX  256
#define TOKEN_SUBJECT_SIZE_MAX 256
#define TOKEN_ROLES_MAX        64
#define TOKEN_ROLE_SIZE_MAX    64
#define TOKEN_SCOPES_MAX       64
#define TOKEN_SCOPE_SIZE_MAX   128

/* Why a token is refused: for the log and the counters, never for the caller. */
enum token_fault {
    TOKEN_OK,
    TOKEN_TOO_LONG,
    TOKEN_BAD_SHAPE,      /* not three canonical base64url segments */
    TOKEN_BAD_HEADER,     /* no such JSON object, or members of the wrong type */
    TOKEN_REFUSED_HEADER, /* a member that would lead us elsewhere: crit, jku, jwk, x5u, x5c, ... */
    TOKEN_BAD_TYPE,       /* typ is not one we take */
    TOKEN_UNKNOWN_KEY,    /* no key for its kid */
    TOKEN_BAD_ALGORITHM,  /* alg is not the key's */
    TOKEN_BAD_SIGNATURE,
    TOKEN_BAD_CLAIMS, /* no such JSON object, or claims of the wrong type */
    TOKEN_NO_EXPIRY,
    TOKEN_EXPIRED,
    TOKEN_NOT_YET_VALID, /* nbf or iat in the future */
    TOKEN_WRONG_ISSUER,
    TOKEN_WRONG_AUDIENCE,
    TOKEN_BAD_SUBJECT,
    TOKEN_BAD_ROLES,
    TOKEN_BAD_SCOPES,
    TOKEN_NO_MEMORY, /* ours, not the token's: but nobody passes on it */
    TOKEN_FAULT_COUNT,
};

/* "EXPIRED" and so on. */
const char *token_fault_name(enum token_fault fault);

/* The three segments, still base64url. */
struct token_parts {
    struct bytes header;
    struct bytes payload;
    struct bytes signature;
};

enum token_type {
    TOKEN_TYPE_ABSENT,
    TOKEN_TYPE_JWT,
    TOKEN_TYPE_ACCESS, /* at+jwt (RFC 9068) */
};

struct token_header {
    enum token_type type;
    const char *algorithm; /* exactly as it was sent */
    const char *key_id;    /* NULL = none */
};

/* What the claims are held against. */
struct token_rules {
    const char *issuer;      /* "" = any */
    const char *audience;    /* "" = any */
    const char *roles_claim; /* its name; "" = none */
    uint64_t leeway_s;
    uint64_t now_s; /* since 1970 */
};

struct token_claims {
    const char *subject;
    const char *const *roles;
    unsigned role_count;
    const char *const *scopes;
    unsigned scope_count;
    uint64_t expires_s; /* exp and the leeway: from then on it is worth nothing */
};

/* Decodes base64url without padding, canonical only: one text for each run of bytes. `out` takes
 * text.size / 4 * 3 + 2 bytes. Returns 0 or -EBADMSG. */
int token_parse_base64url(struct bytes text, uint8_t *out, size_t *ret_size);

/* Is JSON nested no deeper than we read? Its parser recurses, so this is counted before. */
bool token_parse_is_shallow(struct bytes json);

/* 1 to `size_max` bytes without control characters? */
bool token_parse_is_plain(struct bytes text, size_t size_max);

/* Returns TOKEN_OK, TOKEN_TOO_LONG or TOKEN_BAD_SHAPE. Allocates nothing. */
enum token_fault token_parse_split(struct bytes token, size_t size_max,
                                   struct token_parts *ret_parts);

/* Reads the header segment; texts go to the arena. */
enum token_fault token_parse_header(struct bytes segment, struct arena *arena,
                                    struct token_header *ret_header);

/* Reads and judges the payload segment; texts go to the arena. */
enum token_fault token_parse_claims(struct bytes segment, const struct token_rules *rules,
                                    struct arena *arena, struct token_claims *ret_claims);

#endif
