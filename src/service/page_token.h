/*
 * Page tokens of ListUsers: where a walk goes on, sealed, so that they mean nothing to clients,
 * cannot be made or changed by them, and are good for one filter only (A6).
 *
 * Owns:    the key, wiped at the end.
 * Borrows: nothing.
 * Thread:  loop only.
 */
#ifndef SERVICE_PAGE_TOKEN_H
#define SERVICE_PAGE_TOKEN_H

#include "core/bytes.h"

#include <stddef.h>
#include <stdint.h>

struct random_source;

#define PAGE_TOKEN_KEY_SIZE  32
#define PAGE_TOKEN_SIZE_MAX  160 /* of the text, with its NUL */
#define PAGE_TOKEN_E_INVALID 1   /* malformed, changed, foreign, or of another filter */
#define PAGE_TOKEN_E_KEY     2   /* the key file does not hold PAGE_TOKEN_KEY_SIZE bytes */

struct page_token_key {
    uint8_t bytes[PAGE_TOKEN_KEY_SIZE];
};

/* Where a walk stands. */
struct page_place {
    uint64_t after;  /* sequence of the last user given */
    uint64_t change; /* the store's change number at which `total` was counted; 0 = not counted */
    uint64_t total;  /* users that match the filter */
};

/* Reads the key from a file, which is made first, with mode 0600 and safely on disk, when there is
 * none. Blocking, for the start. Returns 0, PAGE_TOKEN_E_KEY, or negative errno. */
int page_token_key_load(const char *path, struct random_source *random, struct page_token_key *key);

void page_token_key_wipe(struct page_token_key *key);

/* Writes the token, URL-safe text with a NUL. Returns its length. */
size_t page_token_seal(const struct page_token_key *key, struct random_source *random,
                       struct bytes filter, const struct page_place *place,
                       char out[PAGE_TOKEN_SIZE_MAX]);

/* Returns 0 or PAGE_TOKEN_E_INVALID. */
int page_token_open(const struct page_token_key *key, struct bytes token, struct bytes filter,
                    struct page_place *ret_place);

#endif
