/*
 * Users by id, by folded username, by folded e-mail and by the request_id that made them: four maps
 * over the same entries (user_entry.h).
 *
 * A change goes through the store like this:
 *
 *   1. user_store_reserve() checks that its names are free, in the stored users and in the changes
 *      on their way, and reserves them. Usernames and e-mails of different users are one namespace:
 *      otherwise a username could pass for the address of somebody else.
 *   2. user_store_plan() takes the finished record. It builds the new entry and makes room in the
 *      maps, so that nothing can fail once the record is durable.
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
#include "service/user_validate.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct user_store {
    struct map by_id; /* of struct user_entry, like the next three */
    struct map by_username;
    struct map by_email;
    struct map by_request;
    struct map changes;           /* of struct user_reservation: ids of changes on their way */
    struct map reserved_names;    /* usernames and e-mails: one namespace */
    struct map reserved_requests; /* request_ids */
    uint64_t max_users;
    uint64_t new_count;      /* users on their way in */
    uint64_t change_last;    /* greatest number given or applied */
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

/* Copies behind `*at` and moves on. */
static struct bytes put(uint8_t **at, struct bytes text)
{
    struct bytes copy = {*at, text.size};

    if (text.size > 0) {
        memcpy(*at, text.data, text.size);
    }
    *at += text.size;
    return copy;
}

static struct bytes put_folded(uint8_t **at, struct bytes text)
{
    struct bytes copy = {*at, text.size};

    user_validate_fold(text, *at);
    *at += text.size;
    return copy;
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

const struct user_entry *user_store_find(const struct user_store *store, struct bytes id)
{
    return map_find(&store->by_id, id);
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

/* Copies the keys into one block of the change. Returns 0 or -ENOMEM. */
static int copy_keys(struct user_change *change, const struct user_names *names,
                     const struct user_entry *before)
{
    struct bytes none = {0};
    struct bytes old_username = before == NULL ? none : user_entry_username(before);
    struct bytes old_email = before == NULL ? none : user_entry_email(before);
    uint8_t *at = malloc(names->id.size + names->username.size + names->email.size +
                         names->request_id.size + old_username.size + old_email.size);

    if (at == NULL) {
        return -ENOMEM;
    }
    change->memory = at;
    change->id.key = put(&at, names->id);
    change->username.key = put_folded(&at, names->username);
    change->email.key = put_folded(&at, names->email);
    change->request_id.key = put(&at, names->request_id);
    if (!bytes_equal(old_username, change->username.key)) {
        change->old_username = put(&at, old_username);
    }
    if (!bytes_equal(old_email, change->email.key)) {
        change->old_email = put(&at, old_email);
    }
    return 0;
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
    result = copy_keys(change, names, before);
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

static void add_key(struct commit_mutation *mutation, struct bytes key, enum commit_key_rule rule,
                    uint64_t version)
{
    if (key.size > 0) {
        assert(mutation->key_count < COMMIT_KEYS_MAX);
        mutation->keys[mutation->key_count++] = (struct commit_key){key, rule, version};
    }
}

/* Adds the names that are not among the others, each once. */
static void add_names(struct commit_mutation *mutation, const struct bytes names[2],
                      const struct bytes others[2], enum commit_key_rule rule)
{
    for (size_t i = 0; i < 2; i++) {
        bool is_repeated = i == 1 && bytes_equal(names[1], names[0]);

        if (!is_repeated && !bytes_equal(names[i], others[0]) &&
            !bytes_equal(names[i], others[1])) {
            add_key(mutation, names[i], rule, 0);
        }
    }
}

/* What a log that decides conflicts elsewhere has to hold the change against. */
static void fill_keys(const struct user_change *change, struct commit_mutation *mutation)
{
    const struct bytes after[2] = {change->username.key, change->email.key};
    struct bytes before[2] = {{0}};

    if (!change->is_new) {
        before[0] = change->old_username.size > 0 ? change->old_username : after[0];
        before[1] = change->old_email.size > 0 ? change->old_email : after[1];
    }
    mutation->key_count = 0;
    add_key(mutation, change->id.key, change->is_new ? COMMIT_KEY_ABSENT : COMMIT_KEY_AT_VERSION,
            change->old_revision);
    add_names(mutation, after, before, COMMIT_KEY_ABSENT);
    add_names(mutation, before, after, COMMIT_KEY_DROPPED);
}

/* Room for so many more users in every map. */
static int reserve_room(struct user_store *store, size_t count)
{
    if (map_reserve(&store->by_id, count) != 0 || map_reserve(&store->by_username, count) != 0 ||
        map_reserve(&store->by_email, count) != 0 || map_reserve(&store->by_request, count) != 0) {
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
        change->after = user_entry_new(&record);
        if (change->after == NULL) {
            return -ENOMEM;
        }
        assert(bytes_equal(user_entry_username(change->after), change->username.key));
        assert(bytes_equal(user_entry_email(change->after), change->email.key));
    }
    fill_keys(change, mutation);
    return 0;
}

static void insert(struct map *map, struct user_entry *entry)
{
    int result = map_insert(map, entry);

    assert(result == 0); /* there is room */
}

static void link_entry(struct user_store *store, struct user_entry *entry)
{
    insert(&store->by_id, entry);
    insert(&store->by_username, entry);
    insert(&store->by_email, entry);
    if (user_entry_request_id(entry).size > 0) {
        insert(&store->by_request, entry);
    }
}

static void remove_entry(struct user_store *store, struct user_entry *entry)
{
    (void)map_remove(&store->by_id, user_entry_id(entry)); /* all of them are there */
    (void)map_remove(&store->by_username, user_entry_username(entry));
    (void)map_remove(&store->by_email, user_entry_email(entry));
    if (user_entry_request_id(entry).size > 0) {
        (void)map_remove(&store->by_request, user_entry_request_id(entry));
    }
    free(entry);
}

/* The entry made in advance for this record, or a fresh one. NULL when out of memory. */
static struct user_entry *take_entry(struct user_store *store, const struct user_record *record)
{
    struct user_change *change = user_store_change_of_id(store, record->user.id);
    struct user_entry *entry;

    if (change != NULL && change->after != NULL &&
        user_entry_change(change->after) == record->change) {
        entry = change->after;
        change->after = NULL;
        return entry;
    }
    return reserve_room(store, store->changes.count + 1) == 0 ? user_entry_new(record) : NULL;
}

/* Does the new image fit between the stored users? False only when the log is not ours or is
 * damaged. */
static bool fits(const struct user_store *store, const struct user_entry *entry)
{
    struct bytes id = user_entry_id(entry);
    const struct user_entry *maker = map_find(&store->by_request, user_entry_request_id(entry));

    return find_other(store, user_entry_username(entry), id) == NULL &&
           find_other(store, user_entry_email(entry), id) == NULL &&
           (maker == NULL || bytes_equal(user_entry_id(maker), id));
}

static int apply_put(struct user_store *store, const struct commit_event *event,
                     const struct user_record *record)
{
    struct user_entry *entry = take_entry(store, record);
    struct user_entry *before;

    if (entry == NULL) {
        return -ENOMEM;
    }
    if (!fits(store, entry)) {
        free(entry);
        return -EBADMSG;
    }
    before = map_find(&store->by_id, user_entry_id(entry));
    if (before != NULL) {
        remove_entry(store, before);
    }
    user_entry_set_revision(entry, event->revision);
    link_entry(store, entry);
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
    remove_entry(store, entry);
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
    if (result == 0 && record.change > store->change_last) {
        store->change_last = record.change;
    }
    return result;
}
