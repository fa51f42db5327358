#include "http2/h2_memo.h"

#include <assert.h>

/*
 * Fields come in the same order each time, so an entry remembers which one came next; only when
 * that fails are all of them searched. What makes room is what has not come since the hand was
 * there last: a field that is new in each request does not push out the others.
 */

static bool is_for(const struct h2_memo_entry *entry, const void *name, const void *value)
{
    return entry->value_object == value && entry->name_object == name;
}

struct h2_memo_entry *h2_memo_find(struct h2_memo *memo, const void *name, const void *value)
{
    uint8_t i = memo->entries[memo->last].next;
    struct h2_memo_entry *entry = &memo->entries[i];

    if (!is_for(entry, name, value)) {
        for (i = 0; i < H2_MEMO_ENTRIES && !is_for(&memo->entries[i], name, value); i++) {
        }
        if (i == H2_MEMO_ENTRIES) {
            return NULL;
        }
        entry = &memo->entries[i];
        memo->entries[memo->last].next = i;
    }
    memo->last = i;
    entry->is_used = true;
    return entry;
}

struct h2_memo_entry *h2_memo_make_room(struct h2_memo *memo, size_t size)
{
    struct h2_memo_entry *entry;

    if (size > H2_MEMO_BYTES / 2) {
        return NULL;
    }
    for (;;) {
        entry = &memo->entries[memo->hand];
        if (entry->name_object == NULL ? memo->bytes + size <= H2_MEMO_BYTES : !entry->is_used) {
            return entry;
        }
        entry->is_used = false;
        memo->hand = (uint8_t)((memo->hand + 1) % H2_MEMO_ENTRIES);
    }
}

void h2_memo_fill(struct h2_memo *memo, struct h2_memo_entry *entry,
                  const struct h2_memo_entry *content)
{
    assert(entry->name_object == NULL);
    *entry = *content;
    entry->next = memo->entries[memo->last].next;
    entry->is_used = true;
    memo->bytes += entry->name.size + entry->value.size;
    memo->last = (uint8_t)(entry - memo->entries);
}

void h2_memo_drop(struct h2_memo *memo, struct h2_memo_entry *entry)
{
    memo->bytes -= entry->name.size + entry->value.size;
    entry->name_object = NULL;
    entry->value_object = NULL;
    entry->name = (struct bytes){0};
    entry->value = (struct bytes){0};
}
