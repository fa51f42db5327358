/*
 * Fields that came on a connection before, and what was found out about them. A client's fields
 * come again and again, most of them by reference to a table that both sides keep: then the very
 * same objects of the engine, so that no character need be looked at twice.
 *
 * An object is known by its address, which says something only while the object cannot go away:
 * whoever fills in an entry holds both of its objects until the entry is taken from them.
 *
 * Owns:   its entries, not the objects.
 * Thread: one at a time.
 */
#ifndef HTTP2_H2_MEMO_H
#define HTTP2_H2_MEMO_H

#include "core/bytes.h"
#include "http2/h2_message.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define H2_MEMO_ENTRIES 24
#define H2_MEMO_BYTES   4096 /* most of the texts of all entries: as much as HPACK's table has */

struct h2_memo_entry {
    void *name_object; /* NULL = free */
    void *value_object;
    struct bytes name;
    struct bytes value;
    struct h2_meaning meaning;
    uint8_t next; /* the entry that came after it last time */
    bool is_used; /* since it was last asked to make room */
    uint8_t note; /* the session's owner's; 0 at first */
};

struct h2_memo {
    struct h2_memo_entry entries[H2_MEMO_ENTRIES];
    size_t bytes; /* of the texts */
    uint8_t last; /* the entry found last */
    uint8_t hand; /* the one that makes room next */
};

/* The entry for the two objects, or NULL. */
struct h2_memo_entry *h2_memo_find(struct h2_memo *memo, const void *name, const void *value);

/* An entry for texts of that size altogether, which its objects, if it has any, must be let go of:
 * call again until it is free. NULL: they are too large to be kept. */
struct h2_memo_entry *h2_memo_make_room(struct h2_memo *memo, size_t size);

/* Fills in a free entry, and what the texts mean. */
void h2_memo_fill(struct h2_memo *memo, struct h2_memo_entry *entry,
                  const struct h2_memo_entry *content);

/* Frees an entry; its objects are the caller's to let go of. */
void h2_memo_drop(struct h2_memo *memo, struct h2_memo_entry *entry);

#endif
