/*
 * What the two halves of the token parser share: token_parse.c reads shape and header,
 * token_claims.c the claims.
 *
 * Owns:    nothing.
 * Borrows: as token_parse.h says.
 * Thread:  one at a time.
 */
#ifndef SERVICE_TOKEN_PARSE_INTERNAL_H
#define SERVICE_TOKEN_PARSE_INTERNAL_H

#include "service/token_parse.h"

struct json_t; /* the library's */

/* A segment as JSON object, counted. Returns TOKEN_OK, TOKEN_NO_MEMORY or `fault`. */
enum token_fault token_parse_object(struct bytes segment, struct arena *arena,
                                    enum token_fault fault, struct json_t **ret_object);

/* A JSON text as bytes; size 0 for anything else. */
struct bytes token_parse_text(const struct json_t *value);

#endif
