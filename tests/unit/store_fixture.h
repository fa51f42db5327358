/*
 * A store, and changes of it from plan to release. Include it in one file of a test program only.
 *
 * Thread: one.
 */
#ifndef UNIT_STORE_FIXTURE_H
#define UNIT_STORE_FIXTURE_H

#include "lib/unit.h"

#include "service/user_store.h"

static const struct hash_seed SEED = {{1, 2}};

struct fixture {
    struct user_store *store;
    uint64_t revision;
};

static inline void start(struct fixture *fixture, uint64_t max_users)
{
    *fixture = (struct fixture){0};
    ck_assert_int_eq(user_store_new(max_users, SEED, &fixture->store), 0);
}

/* One change as its owner holds it. */
struct change {
    struct user_change change;
    struct commit_mutation mutation;
    struct buf record;
};

static inline struct bytes text(const char *literal)
{
    return bytes_from_text(literal);
}

static inline struct user_names names_of(const char *id, const char *username, const char *email)
{
    return (struct user_names){.id = text(id), .username = text(username), .email = text(email)};
}

static inline int reserve(struct fixture *fixture, struct change *change, const char *id,
                          const char *username, const char *email)
{
    struct user_names names = names_of(id, username, email);

    *change = (struct change){0};
    return user_store_reserve(fixture->store, &change->change, &names);
}

/* A record of this user with the number `number`, in a fresh buffer. */
static inline struct buf record_of(const struct user_names *names, uint64_t number,
                                   int64_t created_at)
{
    char etag[USER_ETAG_SIZE];
    struct user user = {.id = names->id,
                        .username = names->username,
                        .email = names->email,
                        .created_at = created_at,
                        .etag = {(const uint8_t *)etag, user_record_format_etag(number, etag)}};
    struct user_record record = {.sequence = number, .request_id = names->request_id};
    struct buf message = {0};
    struct buf body = {0};

    ck_assert_int_eq(user_record_append_user(&user, &message), 0);
    record.message = buf_bytes(&message);
    ck_assert_int_eq(user_record_append(&record, &body), 0);
    buf_deinit(&message);
    return body;
}

/* Plans what was reserved; empty names delete. */
static inline void plan(struct fixture *fixture, struct change *change,
                        const struct user_names *names)
{
    struct user_stamp stamp = user_store_stamp(fixture->store, 1000);

    change->record = record_of(names, stamp.change, stamp.created_at);
    change->mutation.record = buf_bytes(&change->record);
    change->mutation.record_type = names->username.size > 0 ? USER_RECORD_PUT : USER_RECORD_DELETE;
    ck_assert_int_eq(user_store_plan(fixture->store, &change->change, &change->mutation), 0);
}

static inline int apply(struct fixture *fixture, uint8_t type, struct bytes record)
{
    struct commit_event event = {
        .revision = ++fixture->revision, .record_type = type, .record = record};

    return user_store_apply(fixture->store, &event);
}

static inline void release(struct fixture *fixture, struct change *change)
{
    user_store_release(fixture->store, &change->change);
    buf_deinit(&change->record);
}

/* A whole change, from plan to release. */
static inline void put_names(struct fixture *fixture, const struct user_names *names)
{
    struct change change = {0};

    ck_assert_int_eq(user_store_reserve(fixture->store, &change.change, names), 0);
    plan(fixture, &change, names);
    ck_assert_int_eq(apply(fixture, change.mutation.record_type, change.mutation.record), 0);
    release(fixture, &change);
}

static inline void put(struct fixture *fixture, const char *id, const char *username,
                       const char *email)
{
    struct user_names names = names_of(id, username, email);

    put_names(fixture, &names);
}

static inline void finish(struct fixture *fixture)
{
    user_store_free(fixture->store);
}

#endif
