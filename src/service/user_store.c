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
 *      start is the same call, without the entry made in advance (user_store_apply.c).
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
 * log. Records of deletes carry theirs too: a snapshot, which has none, says by a record of its own
 * how far counting had come.
 */
#include "service/user_store_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

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
    assert(store->keeper == NULL);
    map_deinit(&store->by_id);
    map_deinit(&store->by_username);
    map_deinit(&store->by_email);
    map_deinit(&store->by_request);
    user_order_free_entries(&store->order);
    store->change_applied = 0;
    store->entry_bytes = 0;
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

uint64_t user_store_memory(const struct user_store *store)
{
    return store->entry_bytes + user_order_memory(&store->order) + map_memory(&store->by_id) +
           map_memory(&store->by_username) + map_memory(&store->by_email) +
           map_memory(&store->by_request);
}

uint64_t user_store_applied(const struct user_store *store)
{
    return store->change_applied;
}

struct user_counters user_store_counters(const struct user_store *store)
{
    return (struct user_counters){store->change_applied, store->created_at_last};
}

struct user_counters user_store_skip_changes(struct user_store *store, uint64_t count)
{
    store->change_last += count;
    return (struct user_counters){store->change_last, store->created_at_last};
}

void user_store_set_keeper(struct user_store *store, struct user_store_keeper *keeper)
{
    assert(keeper == NULL || store->keeper == NULL);
    store->keeper = keeper;
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

bool user_store_is_other(const struct user_entry *entry, struct bytes id)
{
    return entry != NULL && !bytes_equal(user_entry_id(entry), id);
}

bool user_store_has_other(const struct user_store *store, struct bytes folded, uint64_t hash,
                          struct bytes id)
{
    return user_store_is_other(map_find_hashed(&store->by_username, folded, hash), id) ||
           user_store_is_other(map_find_hashed(&store->by_email, folded, hash), id);
}

/* Hashes what is there to be reserved, once for all maps: they have one seed. */
static void hash_keys(const struct user_store *store, struct user_change *change)
{
    struct user_reservation *const reservations[] = {&change->id, &change->username, &change->email,
                                                     &change->request_id};

    for (size_t i = 0; i < sizeof(reservations) / sizeof(reservations[0]); i++) {
        if (reservations[i]->key.size > 0) {
            reservations[i]->hash = map_hash(&store->by_id, reservations[i]->key);
        }
    }
}

static bool is_taken(const struct user_store *store, const struct user_reservation *name,
                     struct bytes id)
{
    return user_store_has_other(store, name->key, name->hash, id) ||
           map_find_hashed(&store->reserved_names, name->key, name->hash) != NULL;
}

static void forget(struct map *map, const struct user_reservation *reservation)
{
    if (reservation->key.size > 0 &&
        map_find_hashed(map, reservation->key, reservation->hash) == reservation) {
        (void)map_remove_hashed(map, reservation->key, reservation->hash); /* it is this one */
    }
}

/* An empty key reserves nothing. Returns 0 or -ENOMEM. */
static int keep(struct map *map, struct user_reservation *reservation, struct user_change *change)
{
    reservation->change = change;
    return reservation->key.size == 0 ? 0 : map_insert_hashed(map, reservation, reservation->hash);
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
    hash_keys(store, change);
    if (!is_delete && is_taken(store, &change->username, names->id)) {
        result = USER_STORE_E_USERNAME_TAKEN;
    } else if (!is_delete && is_taken(store, &change->email, names->id)) {
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

int user_store_make_room(struct user_store *store, size_t count)
{
    if (map_reserve(&store->by_id, count) != 0 || map_reserve(&store->by_username, count) != 0 ||
        map_reserve(&store->by_email, count) != 0 || map_reserve(&store->by_request, count) != 0 ||
        user_order_reserve(&store->order, count) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int user_store_reserve_users(struct user_store *store, uint64_t count)
{
    count = count < store->max_users ? count : store->max_users;
    if (user_store_make_room(store, count) != 0) {
        return -ENOMEM;
    }
    map_populate(&store->by_id);
    map_populate(&store->by_username);
    map_populate(&store->by_email);
    map_populate(&store->by_request);
    return 0;
}

void user_store_end_load(struct user_store *store)
{
    map_drop_reserve(&store->by_id);
    map_drop_reserve(&store->by_username);
    map_drop_reserve(&store->by_email);
    map_drop_reserve(&store->by_request);
}

void user_store_settle(struct user_store *store)
{
    map_settle(&store->by_id);
    map_settle(&store->by_username);
    map_settle(&store->by_email);
    map_settle(&store->by_request);
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
        if (user_store_make_room(store, store->changes.count) != 0) {
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
