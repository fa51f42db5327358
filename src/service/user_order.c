/*
 * A sorted array, cut into chunks of at most USER_ORDER_CHUNK entries; the chunks stand in an array
 * of their own. To find a sequence takes two binary searches: for the chunk, then in it. The
 * sequences lie beside the pointers, so neither search looks at an entry.
 *
 * New users have the greatest sequence of all and go behind the last chunk's entries, or into a new
 * chunk when it is full. Elsewhere, which only a replay in another order does, a full chunk is cut
 * in two halves first.
 *
 * Removal closes the gap inside the chunk. A chunk that became empty goes; one that holds, together
 * with a neighbour, no more than half a chunk is poured into it. So there is no empty chunk, and
 * any two neighbours hold more than half a chunk: a quarter of the room is in use at least.
 *
 * An insertion needs one fresh chunk at most. user_order_reserve() makes them in advance.
 */
#include "service/user_order.h"

#include "service/user_entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MERGED_MAX         (USER_ORDER_CHUNK / 2)
#define CHUNK_CAPACITY_MIN 16

/* A walk goes from one block of memory to the next and would wait for each: it asks for them so
 * many entries ahead. */
#define FETCH_AHEAD 6

struct user_order_chunk {
    struct user_order_chunk *next_spare;
    size_t count;
    uint64_t sequences[USER_ORDER_CHUNK]; /* of the entries */
    struct user_entry *entries[USER_ORDER_CHUNK];
};

void user_order_deinit(struct user_order *order)
{
    for (size_t i = 0; i < order->chunk_count; i++) {
        free(order->chunks[i]);
    }
    while (order->spare != NULL) {
        struct user_order_chunk *chunk = order->spare;

        order->spare = chunk->next_spare;
        free(chunk);
    }
    free(order->chunks);
    *order = (struct user_order){0};
}

void user_order_free_entries(struct user_order *order)
{
    for (size_t i = 0; i < order->chunk_count; i++) {
        for (size_t j = 0; j < order->chunks[i]->count; j++) {
            free(order->chunks[i]->entries[j]);
        }
    }
    user_order_deinit(order);
}

static int reserve_places(struct user_order *order, size_t count)
{
    size_t capacity = order->chunk_capacity;
    struct user_order_chunk **chunks;

    while (capacity < order->chunk_count + count) {
        capacity = capacity == 0 ? CHUNK_CAPACITY_MIN : capacity * 2;
    }
    if (capacity == order->chunk_capacity) {
        return 0;
    }
    chunks = reallocarray(order->chunks, capacity, sizeof(struct user_order_chunk *));
    if (chunks == NULL) {
        return -ENOMEM;
    }
    order->chunks = chunks;
    order->chunk_capacity = capacity;
    return 0;
}

int user_order_reserve(struct user_order *order, size_t count)
{
    size_t needed = (count + USER_ORDER_CHUNK - 1) / USER_ORDER_CHUNK + 1;

    if (reserve_places(order, needed) != 0) {
        return -ENOMEM;
    }
    while (order->spare_count < needed) {
        struct user_order_chunk *chunk = malloc(sizeof(*chunk));

        if (chunk == NULL) {
            return -ENOMEM;
        }
        chunk->next_spare = order->spare;
        order->spare = chunk;
        order->spare_count++;
    }
    return 0;
}

/* The number of sequences that are not greater. */
static size_t count_up_to(const struct user_order_chunk *chunk, uint64_t sequence)
{
    uint64_t distance = sequence - chunk->sequences[0]; /* huge for what belongs before them all */
    size_t low = 0;
    size_t high = chunk->count;

    /* It cannot stand further behind the first one than this, and where no user is missing in
     * between it stands just there. */
    if (distance < high) {
        high = (size_t)distance + 1;
        if (chunk->sequences[distance] == sequence) {
            return high;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (chunk->sequences[middle] <= sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The last chunk that does not begin behind the sequence; the first one when all do. */
static size_t find_chunk(const struct user_order *order, uint64_t sequence)
{
    size_t low = 0;
    size_t high = order->chunk_count;

    if (high > 0 && order->chunks[high - 1]->sequences[0] <= sequence) {
        return high - 1; /* so it is with every new user */
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (order->chunks[middle]->sequences[0] <= sequence) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? 0 : low - 1;
}

/* Puts an empty chunk, taken from the spare ones, at this place. */
static struct user_order_chunk *add_chunk(struct user_order *order, size_t index)
{
    struct user_order_chunk *chunk = order->spare;

    assert(chunk != NULL);
    assert(order->chunk_count < order->chunk_capacity);
    order->spare = chunk->next_spare;
    order->spare_count--;
    chunk->count = 0;
    memmove(order->chunks + index + 1, order->chunks + index,
            (order->chunk_count - index) * sizeof(struct user_order_chunk *));
    order->chunks[index] = chunk;
    order->chunk_count++;
    return chunk;
}

/* Appends to `to` what `from` holds from `position` on. */
static void move_tail(struct user_order_chunk *to, struct user_order_chunk *from, size_t position)
{
    size_t count = from->count - position;

    assert(to->count + count <= USER_ORDER_CHUNK);
    memcpy(to->sequences + to->count, from->sequences + position, count * sizeof(uint64_t));
    memcpy(to->entries + to->count, from->entries + position, count * sizeof(struct user_entry *));
    to->count += count;
    from->count = position;
}

/* Sees to it that there is a spare chunk, and a place for it. Returns 0 or -ENOMEM. */
static int need_chunk(struct user_order *order)
{
    bool is_there = order->spare != NULL && order->chunk_count < order->chunk_capacity;

    return is_there ? 0 : user_order_reserve(order, 0);
}

/* Where the sequence, which is not there, belongs: in a chunk with room for it. Returns 0 or
 * -ENOMEM. */
static int make_place(struct user_order *order, uint64_t sequence, struct user_order_cursor *ret_at)
{
    struct user_order_cursor at = user_order_after(order, sequence);
    struct user_order_chunk *chunk;

    if (order->chunk_count > 0 && order->chunks[at.chunk]->count < USER_ORDER_CHUNK) {
        *ret_at = at;
        return 0;
    }
    if (need_chunk(order) != 0) {
        return -ENOMEM;
    }
    if (at.chunk + 1 >= order->chunk_count &&
        (order->chunk_count == 0 || at.position == USER_ORDER_CHUNK)) {
        *ret_at = (struct user_order_cursor){order->chunk_count, 0};
        (void)add_chunk(order, order->chunk_count);
        return 0;
    }
    chunk = order->chunks[at.chunk];
    move_tail(add_chunk(order, at.chunk + 1), chunk, USER_ORDER_CHUNK / 2);
    if (at.position > USER_ORDER_CHUNK / 2) {
        at.chunk++;
        at.position -= USER_ORDER_CHUNK / 2;
    }
    *ret_at = at;
    return 0;
}

size_t user_order_memory(const struct user_order *order)
{
    return (order->chunk_count + order->spare_count) * sizeof(struct user_order_chunk) +
           order->chunk_capacity * sizeof(struct user_order_chunk *);
}

int user_order_insert(struct user_order *order, struct user_entry *entry)
{
    uint64_t sequence = user_entry_sequence(entry);
    struct user_order_cursor at;
    struct user_order_chunk *chunk;
    size_t count;

    if (make_place(order, sequence, &at) != 0) {
        return -ENOMEM;
    }
    chunk = order->chunks[at.chunk];
    assert(at.position == 0 || chunk->sequences[at.position - 1] < sequence);
    count = chunk->count - at.position;
    memmove(chunk->sequences + at.position + 1, chunk->sequences + at.position,
            count * sizeof(uint64_t));
    memmove(chunk->entries + at.position + 1, chunk->entries + at.position,
            count * sizeof(struct user_entry *));
    chunk->sequences[at.position] = sequence;
    chunk->entries[at.position] = entry;
    chunk->count++;
    return 0;
}

/* The place of a sequence. False when it is not there. */
static bool locate(const struct user_order *order, uint64_t sequence,
                   struct user_order_cursor *ret_at)
{
    const struct user_order_chunk *chunk;
    struct user_order_cursor at;

    if (order->chunk_count == 0) {
        return false;
    }
    at.chunk = find_chunk(order, sequence);
    chunk = order->chunks[at.chunk];
    at.position = count_up_to(chunk, sequence);
    if (at.position == 0 || chunk->sequences[at.position - 1] != sequence) {
        return false;
    }
    at.position--;
    *ret_at = at;
    return true;
}

const struct user_entry *user_order_find(const struct user_order *order, uint64_t sequence)
{
    struct user_order_cursor at;

    return locate(order, sequence, &at) ? order->chunks[at.chunk]->entries[at.position] : NULL;
}

/* The place of an entry that is there. */
static struct user_order_cursor get_place(const struct user_order *order,
                                          const struct user_entry *entry)
{
    struct user_order_cursor at = {0, 0};
    bool found = locate(order, user_entry_sequence(entry), &at);

    assert(found);
    assert(order->chunks[at.chunk]->entries[at.position] == entry);
    return at;
}

void user_order_replace(struct user_order *order, const struct user_entry *before,
                        struct user_entry *entry)
{
    struct user_order_cursor at = get_place(order, before);

    assert(user_entry_sequence(entry) == user_entry_sequence(before));
    order->chunks[at.chunk]->entries[at.position] = entry;
}

static void drop_chunk(struct user_order *order, size_t index)
{
    free(order->chunks[index]);
    order->chunk_count--;
    memmove(order->chunks + index, order->chunks + index + 1,
            (order->chunk_count - index) * sizeof(struct user_order_chunk *));
}

/* Pours the chunk behind this one into it when both are sparse. */
static bool merge(struct user_order *order, size_t index)
{
    struct user_order_chunk **chunks = order->chunks + index;

    if (index + 1 >= order->chunk_count || chunks[0]->count + chunks[1]->count > MERGED_MAX) {
        return false;
    }
    move_tail(chunks[0], chunks[1], 0);
    drop_chunk(order, index + 1);
    return true;
}

void user_order_remove(struct user_order *order, const struct user_entry *entry)
{
    struct user_order_cursor at = get_place(order, entry);
    struct user_order_chunk *chunk = order->chunks[at.chunk];
    size_t count = chunk->count - at.position - 1;

    memmove(chunk->sequences + at.position, chunk->sequences + at.position + 1,
            count * sizeof(uint64_t));
    memmove(chunk->entries + at.position, chunk->entries + at.position + 1,
            count * sizeof(struct user_entry *));
    chunk->count--;
    if (chunk->count == 0) {
        drop_chunk(order, at.chunk);
    } else if (!merge(order, at.chunk) && at.chunk > 0) {
        (void)merge(order, at.chunk - 1);
    }
}

struct user_order_cursor user_order_after(const struct user_order *order, uint64_t sequence)
{
    struct user_order_cursor cursor = {0, 0};

    if (order->chunk_count > 0) {
        cursor.chunk = find_chunk(order, sequence);
        cursor.position = count_up_to(order->chunks[cursor.chunk], sequence);
    }
    return cursor;
}

const struct user_entry *user_order_next(const struct user_order *order,
                                         struct user_order_cursor *cursor)
{
    const struct user_order_chunk *chunk;

    if (cursor->chunk < order->chunk_count &&
        cursor->position == order->chunks[cursor->chunk]->count) {
        cursor->chunk++; /* none is empty */
        cursor->position = 0;
    }
    if (cursor->chunk == order->chunk_count) {
        return NULL;
    }
    chunk = order->chunks[cursor->chunk];
    if (cursor->position + FETCH_AHEAD < chunk->count) {
        user_entry_prefetch(chunk->entries[cursor->position + FETCH_AHEAD]);
    }
    return chunk->entries[cursor->position++];
}
