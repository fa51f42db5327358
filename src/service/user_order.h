/*
 * The users in the order of their creation: entries by sequence, in chunks, so that insertion,
 * removal and finding a place never move more than a few KiB.
 *
 * Owns:    the chunks.
 * Borrows: the entries, while they are in it.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_ORDER_H
#define SERVICE_USER_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct user_entry;
struct user_order_chunk;

/* Zero-initialised is a valid empty order. */
struct user_order {
    struct user_order_chunk **chunks; /* by their first sequence */
    size_t chunk_count;
    size_t chunk_capacity;
    size_t spare_count; /* chunks made in advance: see user_order_reserve() */
    struct user_order_chunk *spare;
};

#define USER_ORDER_CHUNK 512 /* entries in one chunk at most */

/* A place in the order; meaningless after any change of the order. */
struct user_order_cursor {
    size_t chunk;
    size_t position;
};

/* Frees the chunks, not the entries. */
void user_order_deinit(struct user_order *order);

/* Frees the entries, too. */
void user_order_free_entries(struct user_order *order);

/* Makes room so that the next `count` insertions behind all others cannot fail, nor one anywhere
 * among them. Returns 0 or -ENOMEM. */
int user_order_reserve(struct user_order *order, size_t count);

/* No entry with its sequence may be there. Returns 0 or -ENOMEM. */
int user_order_insert(struct user_order *order, struct user_entry *entry);

/* Bytes that the chunks take. */
size_t user_order_memory(const struct user_order *order);

/* NULL when there is none. */
const struct user_entry *user_order_find(const struct user_order *order, uint64_t sequence);

/* Puts the entry in the place of `before`, of the same sequence. */
void user_order_replace(struct user_order *order, const struct user_entry *before,
                        struct user_entry *entry);

/* It must be there. */
void user_order_remove(struct user_order *order, const struct user_entry *entry);

/* Before the first entry whose sequence is greater than `sequence` (0 = before all). */
struct user_order_cursor user_order_after(const struct user_order *order, uint64_t sequence);

/* The entry behind the cursor, which moves on; NULL at the end. */
const struct user_entry *user_order_next(const struct user_order *order,
                                         struct user_order_cursor *cursor);

#endif
