/*
 * Users by id, by folded username, by folded e-mail and by the request_id that made them: four maps
 * over the same entries (user_entry.h). And in the order of their creation (user_order.h).
 *
 * A change goes through the store like this:
 *
 *   1. user_store_reserve() checks that its names are free, in the stored users and in the changes
 *      on their way, and reserves them. Usernames and e-mails of different users are one namespace:
 *      otherwise a username could pass for the address of somebody else.
 *   2. user_store_plan() takes the finished record. It builds the new entry and makes room in the
 *      maps and in the order, so that nothing can fail once the record is durable.
 *   3. The log gives the record back: user_store_apply() puts the entry in its place. Replay at
 *      start is the same call, without the entry made in advance.
 *   4. user_store_release() gives back the reservations, whatever became of the change.
 *
 * The rule about several changes of one user: at most one per id is between 1 and 4. Whoever comes
 * meanwhile waits outside (user_write.c) and plans on what is then stored. So a change that fails
 * takes nothing with it: nobody has planned on its image.
 *
 * What a change gives up, an old name or a deleted user, stays in the maps and thereby taken until
 * the change is applied. Readers see the maps alone: nothing is visible before it is durable.
 *
 * Changes are numbered through the store; the number is the etag, and that of the change which made
 * a user is its place in the order of creation. Counting goes on behind the greatest number in the
 * log. Records of deletes carry theirs too, so whoever drops those from the log must keep it.
 */
#include "service/user_store.h"

#include "core/map.h"
#include "service/user_order.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct user_store {
    struct map by_id; /* of struct user_entry, like the next three */
    struct map by_username;
    struct map by_email;
    struct map by_request;
    struct user_order order;      /* of the same entries, by sequence */
    struct map changes;           /* of struct user_reservation: ids of changes on their way */
    struct map reserved_names;    /* usernames and e-mails: one namespace */
    struct map reserved_requests; /* request_ids */
    uint64_t max_users;
    uint64_t new_count;      /* users on their way in */
    uint64_t change_last;    /* greatest number given or applied */
    uint64_t change_applied; /* greatest number applied */
    int64_t created_at_last; /* greatest time given or applied */
};

static struct bytes id_of(const void *value)
{
    return user_entry_id(value);
}

static struct bytes username_of(const void *value)
{
    return user_entry_username(value);
}

static struct bytes email_of(const void *value)
{
    return user_entry_email(value);
}

static struct bytes request_id_of(const void *value)
{
    return user_entry_request_id(value);
}

static struct bytes reservation_key(const void *value)
{
    const struct user_reservation *reservation = value;

    return reservation->key;
}

int user_store_new(uint64_t max_users, struct hash_seed seed, struct user_store **ret_store)
{
    struct user_store *store = calloc(1, sizeof(*store));

    if (store == NULL) {
        return -ENOMEM;
    }
    store->max_users = max_users;
    map_init(&store->by_id, id_of, seed);
    map_init(&store->by_username, username_of, seed);
    map_init(&store->by_email, email_of, seed);
    map_init(&store->by_request, request_id_of, seed);
    map_init(&store->changes, reservation_key, seed);
    map_init(&store->reserved_names, reservation_key, seed);
    map_init(&store->reserved_requests, reservation_key, seed);
    *ret_store = store;
    return 0;
}

void user_store_clear(struct user_store *store)
{
    size_t cursor = 0;
    struct user_entry *entry;

    while ((entry = map_next(&store->by_id, &cursor)) != NULL) {
        free(entry);
    }
    map_deinit(&store->by_id);
    map_deinit(&store->by_username);
    map_deinit(&store->by_email);
    map_deinit(&store->by_request);
    user_order_deinit(&store->order);
    store->change_applied = 0;
}

void user_store_free(struct user_store *store)
{
    if (store == NULL) {
        return;
    }
    assert(store->changes.count == 0);
    assert(store->reserved_names.count == 0);
    assert(store->reserved_requests.count == 0);
    user_store_clear(store);
    map_deinit(&store->changes);
    map_deinit(&store->reserved_names);
    map_deinit(&store->reserved_requests);
    free(store);
}

uint64_t user_store_count(const struct user_store *store)
{
    return store->by_id.count;
}

uint64_t user_store_applied(const struct user_store *store)
{
    return store->change_applied;
}

const struct user_order *user_store_order(const struct user_store *store)
{
    return &store->order;
}

const struct user_entry *user_store_find(const struct user_store *store, struct bytes id)
{
    return map_find(&store->by_id, id);
}

const struct user_entry *user_store_find_username(const struct user_store *store,
                                                  struct bytes username)
{
    return map_find(&store->by_username, username);
}

const struct user_entry *user_store_find_email(const struct user_store *store, struct bytes email)
{
    return map_find(&store->by_email, email);
}

const struct user_entry *user_store_find_request(const struct user_store *store,
                                                 struct bytes request_id)
{
    return map_find(&store->by_request, request_id);
}

static struct user_change *find_change(const struct map *map, struct bytes key)
{
    const struct user_reservation *reservation = map_find(map, key);

    return reservation == NULL ? NULL : reservation->change;
}

struct user_change *user_store_change_of_id(const struct user_store *store, struct bytes id)
{
    return find_change(&store->changes, id);
}

struct user_change *user_store_change_of_request(const struct user_store *store,
                                                 struct bytes request_id)
{
    return find_change(&store->reserved_requests, request_id);
}

/* The stored user other than `id` that has this username or e-mail, or NULL. */
static const struct user_entry *find_other(const struct user_store *store, struct bytes folded,
                                           struct bytes id)
{
    const struct user_entry *entry = map_find(&store->by_username, folded);

    if (entry == NULL || bytes_equal(user_entry_id(entry), id)) {
        entry = map_find(&store->by_email, folded);
    }
    return entry == NULL || bytes_equal(user_entry_id(entry), id) ? NULL : entry;
}

static bool is_taken(const struct user_store *store, struct bytes folded, struct bytes id)
{
    return find_other(store, folded, id) != NULL ||
           map_find(&store->reserved_names, folded) != NULL;
}

static void forget(struct map *map, const struct user_reservation *reservation)
{
    if (reservation->key.size > 0 && map_find(map, reservation->key) == reservation) {
        (void)map_remove(map, reservation->key); /* it is this one */
    }
}

/* An empty key reserves nothing. Returns 0 or -ENOMEM. */
static int keep(struct map *map, struct user_reservation *reservation, struct user_change *change)
{
    reservation->change = change;
    return reservation->key.size == 0 ? 0 : map_insert(map, reservation);
}

static int keep_all(struct user_store *store, struct user_change *change)
{
    int result = keep(&store->changes, &change->id, change);

    if (result == 0) {
        result = keep(&store->reserved_names, &change->username, change);
    }
    /* A user whose username is the own address reserves it once. */
    if (result == 0 && !bytes_equal(change->username.key, change->email.key)) {
        result = keep(&store->reserved_names, &change->email, change);
    }
    if (result == 0) {
        result = keep(&store->reserved_requests, &change->request_id, change);
    }
    return result;
}

int user_store_reserve(struct user_store *store, struct user_change *change,
                       const struct user_names *names)
{
    const struct user_entry *before = map_find(&store->by_id, names->id);
    bool is_delete = names->username.size == 0;
    int result;

    assert(change->memory == NULL);
    assert(before != NULL || !is_delete);
    assert(user_store_change_of_id(store, names->id) == NULL);
    assert(names->request_id.size == 0 ||
           user_store_change_of_request(store, names->request_id) == NULL);
    if (before == NULL && store->by_id.count + store->new_count >= store->max_users) {
        return USER_STORE_E_TOO_MANY;
    }
    result = user_change_copy_keys(change, names, before);
    if (result != 0) {
        return result;
    }
    if (!is_delete && is_taken(store, change->username.key, names->id)) {
        result = USER_STORE_E_USERNAME_TAKEN;
    } else if (!is_delete && is_taken(store, change->email.key, names->id)) {
        result = USER_STORE_E_EMAIL_TAKEN;
    } else {
        result = keep_all(store, change);
    }
    if (result != 0) {
        user_store_release(store, change);
        return result;
    }
    change->is_new = before == NULL;
    change->old_revision = before == NULL ? 0 : user_entry_revision(before);
    store->new_count += change->is_new;
    return 0;
}

void user_store_release(struct user_store *store, struct user_change *change)
{
    if (change->memory == NULL) {
        return;
    }
    forget(&store->changes, &change->id);
    forget(&store->reserved_names, &change->username);
    forget(&store->reserved_names, &change->email);
    forget(&store->reserved_requests, &change->request_id);
    store->new_count -= change->is_new;
    free(change->after);
    free(change->memory);
    *change = (struct user_change){0};
}

struct user_stamp user_store_stamp(struct user_store *store, int64_t now_ms)
{
    if (now_ms > store->created_at_last) {
        store->created_at_last = now_ms;
    }
    store->change_last++;
    return (struct user_stamp){store->change_last, store->created_at_last};
}

/* Room for so many more users in every map and in the order. */
static int reserve_room(struct user_store *store, size_t count)
{
    if (map_reserve(&store->by_id, count) != 0 || map_reserve(&store->by_username, count) != 0 ||
        map_reserve(&store->by_email, count) != 0 || map_reserve(&store->by_request, count) != 0 ||
        user_order_reserve(&store->order, count) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int user_store_plan(struct user_store *store, struct user_change *change,
                    struct commit_mutation *mutation)
{
    struct user_record record;
    int result = user_record_read(mutation->record_type, mutation->record, &record);

    /* What is logged must be readable, and must be what was reserved. */
    assert(result == 0);
    assert(change->after == NULL);
    assert(bytes_equal(record.user.id, change->id.key));
    assert(record.change == store->change_last);
    if (mutation->record_type == USER_RECORD_PUT) {
        /* Every change on its way may bring one more key into each map. */
        if (reserve_room(store, store->changes.count) != 0) {
            return -ENOMEM;
        }
        result = user_entry_new(&record, &change->after);
        if (result != 0) {
            return result;
        }
        assert(bytes_equal(user_entry_username(change->after), change->username.key));
        assert(bytes_equal(user_entry_email(change->after), change->email.key));
    }
    user_change_fill_keys(change, mutation);
    return 0;
}

static void insert(struct map *map, struct user_entry *entry)
{
    int result = map_insert(map, entry);

    assert(result == 0); /* there is room */
}

/* Puts it in the place of `before`, which may be NULL and is in no map any more. */
static void put_in_order(struct user_store *store, const struct user_entry *before,
                         struct user_entry *entry)
{
    int result;

    if (before != NULL && user_entry_sequence(before) == user_entry_sequence(entry)) {
        user_order_replace(&store->order, before, entry);
        return;
    }
    if (before != NULL) {
        user_order_remove(&store->order, before);
    }
    result = user_order_insert(&store->order, entry);
    assert(result == 0); /* there is room */
}

static void put_in_maps(struct user_store *store, struct user_entry *entry)
{
    insert(&store->by_id, entry);
    insert(&store->by_username, entry);
    insert(&store->by_email, entry);
    if (user_entry_request_id(entry).size > 0) {
        insert(&store->by_request, entry);
    }
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

/* The entry made in advance for this record, or a fresh one. Returns 0, -EBADMSG or -ENOMEM. */
static int take_entry(struct user_store *store, const struct user_record *record,
                      struct user_entry **ret_entry)
{
    struct user_change *change = user_store_change_of_id(store, record->user.id);

    if (change != NULL && change->after != NULL &&
        user_entry_change(change->after) == record->change) {
        *ret_entry = change->after;
        change->after = NULL;
        return 0;
    }
    if (reserve_room(store, store->changes.count + 1) != 0) {
        return -ENOMEM;
    }
    return user_entry_new(record, ret_entry);
}

/* Does the new image fit between the stored users? False only when the log is not ours or is
 * damaged. */
static bool fits(const struct user_store *store, const struct user_entry *entry)
{
    struct bytes id = user_entry_id(entry);
    const struct user_entry *maker = map_find(&store->by_request, user_entry_request_id(entry));
    const struct user_entry *here = user_order_find(&store->order, user_entry_sequence(entry));

    return (here == NULL || bytes_equal(user_entry_id(here), id)) &&
           find_other(store, user_entry_username(entry), id) == NULL &&
           find_other(store, user_entry_email(entry), id) == NULL &&
           (maker == NULL || bytes_equal(user_entry_id(maker), id));
}

static int apply_put(struct user_store *store, const struct commit_event *event,
                     const struct user_record *record)
{
    struct user_entry *entry;
    struct user_entry *before;
    int result = take_entry(store, record, &entry);

    if (result != 0) {
        return result;
    }
    if (!fits(store, entry)) {
        free(entry);
        return -EBADMSG;
    }
    before = map_find(&store->by_id, user_entry_id(entry));
    if (before != NULL) {
        take_from_maps(store, before);
    }
    user_entry_set_revision(entry, event->revision);
    put_in_maps(store, entry);
    put_in_order(store, before, entry);
    free(before);
    if (record->user.created_at > store->created_at_last) {
        store->created_at_last = record->user.created_at;
    }
    return 0;
}

static int apply_delete(struct user_store *store, const struct user_record *record)
{
    struct user_entry *entry = map_find(&store->by_id, record->user.id);

    if (entry == NULL) {
        return -EBADMSG;
    }
    take_from_maps(store, entry);
    user_order_remove(&store->order, entry);
    free(entry);
    return 0;
}

int user_store_apply(struct user_store *store, const struct commit_event *event)
{
    struct user_record record;
    int result = user_record_read(event->record_type, event->record, &record);

    if (result != 0) {
        return result;
    }
    result = event->record_type == USER_RECORD_PUT ? apply_put(store, event, &record)
                                                   : apply_delete(store, &record);
    if (result != 0) {
        return result;
    }
    if (record.change > store->change_applied) {
        store->change_applied = record.change;
    }
    if (record.change > store->change_last) {
        store->change_last = record.change;
    }
    return 0;
}
