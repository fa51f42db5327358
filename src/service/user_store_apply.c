/*
 * How a record of the log, or of a snapshot, changes the stored users; the rest of the store, and
 * the way of a change through it, is in user_store.c.
 *
 *   1. The record is read. Each of its keys is hashed, once for all maps, and every place that it
 *      takes or may not take is asked of the memory at once: with a million users each of them is
 *      far away, and a start does this for every user.
 *   2. While they are on their way it becomes an entry, unless that was made when the change was
 *      planned.
 *   3. It must fit between the other users. The store has checked that before the record was
 *      logged: what does not fit is not ours or is damaged, and ends a start.
 *   4. It takes the place of the entry before, which is freed, or goes to who keeps the old forms
 *      for a snapshot under way.
 */
#include "service/user_store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A user on its way into the maps: where each of its keys leads, in all maps alike. */
struct arrival {
    struct user_entry *entry;
    struct user_entry *before; /* whose place it takes, or NULL */
    uint64_t id_hash;
    uint64_t username_hash;
    uint64_t email_hash;
    uint64_t request_hash;
};

/* Everything that will be looked at is asked for. */
static void ask_for_places(const struct user_store *store, const struct user_names *names,
                           struct arrival *arrival)
{
    arrival->id_hash = map_hash(&store->by_id, names->id);
    map_prefetch(&store->by_id, arrival->id_hash);
    arrival->username_hash = map_hash(&store->by_username, names->username);
    map_prefetch(&store->by_username, arrival->username_hash);
    map_prefetch(&store->by_email, arrival->username_hash);
    arrival->email_hash = map_hash(&store->by_email, names->email);
    map_prefetch(&store->by_email, arrival->email_hash);
    map_prefetch(&store->by_username, arrival->email_hash);
    arrival->request_hash = map_hash(&store->by_request, names->request_id);
    map_prefetch(&store->by_request, arrival->request_hash);
}

/* May the new image stand in the order of creation where it wants to? */
static bool fits_in_order(const struct user_store *store, const struct arrival *arrival)
{
    uint64_t sequence = user_entry_sequence(arrival->entry);

    return (arrival->before != NULL && user_entry_sequence(arrival->before) == sequence) ||
           user_order_find(&store->order, sequence) == NULL;
}

/* Does the new image fit between the stored users? False only when the log is not ours or is
 * damaged. */
static bool fits(const struct user_store *store, const struct arrival *arrival)
{
    const struct user_entry *entry = arrival->entry;
    struct bytes id = user_entry_id(entry);
    struct bytes request_id = user_entry_request_id(entry);

    return fits_in_order(store, arrival) &&
           !user_store_has_other(store, user_entry_username(entry), arrival->username_hash, id) &&
           !user_store_has_other(store, user_entry_email(entry), arrival->email_hash, id) &&
           !user_store_is_other(
               map_find_hashed(&store->by_request, request_id, arrival->request_hash), id);
}

/* In the place of `before` in this map, if that is not NULL and was in it. There is room. */
static void put_in_map(struct map *map, struct user_entry *before, struct user_entry *entry,
                       uint64_t hash)
{
    struct bytes old_key = {0};
    struct bytes key = map->key(entry);
    int result = 0;

    if (before != NULL) {
        old_key = map->key(before);
    }
    if (old_key.size > 0 && bytes_equal(old_key, key)) {
        (void)map_replace_hashed(map, entry, hash);
        return;
    }
    if (old_key.size > 0) {
        (void)map_remove(map, old_key);
    }
    if (key.size > 0) {
        result = map_insert_hashed(map, entry, hash);
    }
    assert(result == 0);
}

static void put_in_maps(struct user_store *store, const struct arrival *arrival)
{
    struct user_entry *before = arrival->before;
    struct user_entry *entry = arrival->entry;

    put_in_map(&store->by_id, before, entry, arrival->id_hash);
    put_in_map(&store->by_username, before, entry, arrival->username_hash);
    put_in_map(&store->by_email, before, entry, arrival->email_hash);
    put_in_map(&store->by_request, before, entry, arrival->request_hash);
}

static void put_in_order(struct user_store *store, const struct arrival *arrival)
{
    const struct user_entry *before = arrival->before;
    int result;

    if (before != NULL && user_entry_sequence(before) == user_entry_sequence(arrival->entry)) {
        user_order_replace(&store->order, before, arrival->entry);
        return;
    }
    if (before != NULL) {
        user_order_remove(&store->order, before);
    }
    result = user_order_insert(&store->order, arrival->entry);
    assert(result == 0); /* there is room */
}

static void take_from_maps(struct user_store *store, const struct user_entry *entry)
{
    (void)map_remove(&store->by_id, user_entry_id(entry)); /* all of them are there */
    (void)map_remove(&store->by_username, user_entry_username(entry));
    (void)map_remove(&store->by_email, user_entry_email(entry));
    if (user_entry_request_id(entry).size > 0) {
        (void)map_remove(&store->by_request, user_entry_request_id(entry));
    }
}

/* It is in the store no more. NULL is fine. */
static void let_go(struct user_store *store, struct user_entry *entry)
{
    if (entry == NULL || store->keeper == NULL || !store->keeper->keep(store->keeper, entry)) {
        free(entry);
    }
}

/* A fresh entry. Its places are on their way while it is made. Returns 0, -EBADMSG or -ENOMEM. */
static int make_entry(struct user_store *store, const struct user_record *record,
                      struct arrival *arrival)
{
    struct user_folded folded;
    struct user_names names = {.id = record->user.id, .request_id = record->request_id};
    int result;

    if (user_store_make_room(store, store->changes.count + 1) != 0) {
        return -ENOMEM;
    }
    result = user_entry_fold(&record->user, &folded);
    if (result != 0) {
        return result;
    }
    names.username = folded.username;
    names.email = folded.email;
    ask_for_places(store, &names, arrival);
    return user_entry_new_folded(record, &folded, &arrival->entry);
}

/* The entry that was made in advance. */
static void take_entry(const struct user_store *store, struct user_change *change,
                       struct arrival *arrival)
{
    struct user_entry *entry = change->after;
    const struct user_names names = {
        .id = user_entry_id(entry),
        .username = user_entry_username(entry),
        .email = user_entry_email(entry),
        .request_id = user_entry_request_id(entry),
    };

    change->after = NULL;
    arrival->entry = entry;
    ask_for_places(store, &names, arrival);
}

/* Returns 0, -EBADMSG or -ENOMEM. */
static int start_arrival(struct user_store *store, const struct user_record *record,
                         struct arrival *ret_arrival)
{
    struct user_change *change = user_store_change_of_id(store, record->user.id);
    struct arrival arrival;

    if (change != NULL && change->after != NULL &&
        user_entry_change(change->after) == record->change) {
        take_entry(store, change, &arrival);
    } else {
        int result = make_entry(store, record, &arrival);

        if (result != 0) {
            return result;
        }
    }
    arrival.before = map_find_hashed(&store->by_id, record->user.id, arrival.id_hash);
    if (arrival.before != NULL) {
        user_entry_prefetch(arrival.before);
    }
    *ret_arrival = arrival;
    return 0;
}

/* Counting has come so far. */
static void reach(struct user_store *store, uint64_t change, int64_t created_at)
{
    if (change > store->change_applied) {
        store->change_applied = change;
    }
    if (change > store->change_last) {
        store->change_last = change;
    }
    if (created_at > store->created_at_last) {
        store->created_at_last = created_at;
    }
}

static int apply_put(struct user_store *store, const struct commit_event *event,
                     const struct user_record *record)
{
    struct arrival arrival = {0};
    int result = start_arrival(store, record, &arrival);

    if (result != 0) {
        return result;
    }
    if ((event->is_in_snapshot && arrival.before != NULL) || !fits(store, &arrival)) {
        free(arrival.entry);
        return -EBADMSG;
    }
    user_entry_set_revision(arrival.entry, event->revision);
    put_in_maps(store, &arrival);
    put_in_order(store, &arrival);
    store->entry_bytes += user_entry_size(arrival.entry);
    if (arrival.before != NULL) {
        store->entry_bytes -= user_entry_size(arrival.before);
    }
    let_go(store, arrival.before);
    reach(store, record->change, record->user.created_at);
    return 0;
}

static int apply_delete(struct user_store *store, const struct commit_event *event,
                        const struct user_record *record)
{
    struct user_entry *entry = map_find(&store->by_id, record->user.id);

    if (entry == NULL || event->is_in_snapshot) {
        return -EBADMSG;
    }
    take_from_maps(store, entry);
    user_order_remove(&store->order, entry);
    store->entry_bytes -= user_entry_size(entry);
    let_go(store, entry);
    reach(store, record->change, 0);
    return 0;
}

static int apply_counters(struct user_store *store, const struct commit_event *event)
{
    struct user_counters counters;
    int result = user_record_read_counters(event->record, &counters);

    if (result == 0) {
        reach(store, counters.change, counters.created_at);
    }
    return result;
}

int user_store_apply(struct user_store *store, const struct commit_event *event)
{
    struct user_record record;
    int result;

    if (event->record_type == USER_RECORD_COUNTERS) {
        return apply_counters(store, event);
    }
    result = user_record_read(event->record_type, event->record, &record);
    if (result != 0) {
        return result;
    }
    return event->record_type == USER_RECORD_PUT ? apply_put(store, event, &record)
                                                 : apply_delete(store, event, &record);
}
