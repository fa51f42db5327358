/*
 * A write goes: NEW -> (WAITING ->) HASHING -> SUBMITTED -> ENDED; update and delete do not hash.
 *
 *   1. Is there a change of the same user, or a create with the same request_id, on its way? Then
 *      wait behind it and begin anew when it has ended. So there is one change per user at a time,
 *      each plans on what is durable, and a change that fails takes no other with it. At most 64
 *      wait; the next is CROWDED.
 *   2. A create reserves its names first and hashes the password then: of two creates of one name
 *      one alone costs a hash. The other is told TAKEN at once, although the first may still come
 *      to nothing.
 *   3. The store gives a number and plans, the log takes the record, both in one go: the numbers
 *      follow the order of the log.
 *   4. The log has applied the record to the store when it tells its outcome. The reservations are
 *      given back, the owner is told, the waiting writes begin.
 *
 * A create whose request_id is stored already is DONE with that user as it is now. The request_id
 * lives in the record of the user: this holds across restarts, and for as long as the user exists.
 *
 * What can go wrong:
 *
 *   - The caller goes away: nothing happens when the record was not submitted yet, else it stays.
 *     A create gives its names back at once, though its hash may take a while to end.
 *   - The log refuses the record: certainly without effect, the names are free again.
 *   - The log fails with the record half on its way: the outcome is unknown. The names stay
 *     reserved, which does no harm, as a failed log takes no change any more; a restart finds out.
 */
#include "service/user_write.h"

#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct user_write *write_of_change(struct user_change *change)
{
    return CONTAINER_OF(change, struct user_write, change);
}

static void destroy(struct user_write *write)
{
    user_store_release(write->writer->store, &write->change);
    password_job_deinit(&write->password);
    buf_deinit(&write->record);
    free(write);
}

void user_writer_deinit(struct user_writer *writer)
{
    struct user_write *write;

    assert(writer->live_count == 0);
    while ((write = writer->stuck) != NULL) {
        writer->stuck = write->next_stuck;
        destroy(write);
    }
}

struct user_write *
user_write_new(struct user_writer *writer, enum user_write_kind kind,
               void (*done)(struct user_write *write, enum user_write_outcome outcome), void *owner)
{
    struct user_write *write = calloc(1, sizeof(*write));

    if (write == NULL) {
        return NULL;
    }
    write->writer = writer;
    write->kind = kind;
    write->done = done;
    write->owner = owner;
    list_init(&write->link);
    list_init(&write->waiters);
    writer->live_count++;
    return write;
}

void user_write_free(struct user_write *write)
{
    if (write == NULL) {
        return;
    }
    assert(write->state == USER_WRITE_STATE_NEW || write->state == USER_WRITE_STATE_ENDED ||
           write->state == USER_WRITE_STATE_STUCK);
    assert(list_is_empty(&write->waiters));
    write->writer->live_count--;
    if (write->state == USER_WRITE_STATE_STUCK) {
        write->next_stuck = write->writer->stuck;
        write->writer->stuck = write;
    } else {
        destroy(write);
    }
}

static enum user_write_outcome outcome_of_store(int result)
{
    switch (result) {
    case USER_STORE_E_USERNAME_TAKEN:
        return USER_WRITE_USERNAME_TAKEN;
    case USER_STORE_E_EMAIL_TAKEN:
        return USER_WRITE_EMAIL_TAKEN;
    case USER_STORE_E_TOO_MANY:
        return USER_WRITE_TOO_MANY_USERS;
    default:
        return USER_WRITE_NO_MEMORY;
    }
}

static enum user_write_outcome outcome_of_log(enum commit_outcome outcome)
{
    switch (outcome) {
    case COMMIT_DONE:
        return USER_WRITE_DONE;
    case COMMIT_CONFLICT:
        return USER_WRITE_CONFLICT;
    case COMMIT_UNKNOWN:
        return USER_WRITE_UNKNOWN;
    case COMMIT_NOT_SENT:
        return USER_WRITE_NOT_SENT;
    case COMMIT_FULL:
        return USER_WRITE_LOG_FULL;
    case COMMIT_NO_SPACE:
        return USER_WRITE_NO_SPACE;
    case COMMIT_TOO_LARGE:
        return USER_WRITE_TOO_LARGE;
    }
    return USER_WRITE_UNKNOWN; /* no outcome we know: assume the worst */
}

static enum user_write_outcome begin(struct user_write *write);

/* `done` may free the write: the last thing done with it. */
static void finish(struct user_write *write, enum user_write_outcome outcome)
{
    if (outcome == USER_WRITE_UNKNOWN) {
        write->state = USER_WRITE_STATE_STUCK;
    } else {
        write->state = USER_WRITE_STATE_ENDED;
        user_store_release(write->writer->store, &write->change);
    }
    write->done(write, outcome);
}

/* Ends a write and lets those that waited for it begin, in their order. Some of them may wait
 * again, behind the first of them. */
static void end(struct user_write *write, enum user_write_outcome outcome)
{
    bool is_stuck = outcome == USER_WRITE_UNKNOWN;
    struct list waiters;
    struct list *link;

    list_init(&waiters);
    list_splice_back(&waiters, &write->waiters);
    write->waiter_count = 0;
    finish(write, outcome);
    while ((link = list_pop_front(&waiters)) != NULL) {
        struct user_write *next = CONTAINER_OF(link, struct user_write, link);

        next->state = USER_WRITE_STATE_NEW;
        outcome = is_stuck ? USER_WRITE_NOT_SENT : begin(next);
        if (outcome != USER_WRITE_ON_ITS_WAY) {
            finish(next, outcome);
        }
    }
}

static void on_commit(struct commit_mutation *mutation, enum commit_outcome commit_outcome,
                      uint64_t revision)
{
    struct user_write *write = CONTAINER_OF(mutation, struct user_write, mutation);
    enum user_write_outcome outcome = outcome_of_log(commit_outcome);

    (void)revision; /* the entry has it */
    if (outcome == USER_WRITE_DONE && write->kind != USER_WRITE_DELETE) {
        write->entry = user_store_find(write->writer->store, write->change.id.key);
        if (write->entry == NULL) {
            outcome = USER_WRITE_NOT_FOUND; /* deleted by another server right behind us */
        }
    }
    end(write, outcome);
}

static enum user_write_outcome wait_behind(struct user_write *write, struct user_change *change)
{
    struct user_write *other = write_of_change(change);

    if (other->state == USER_WRITE_STATE_STUCK) {
        return USER_WRITE_NOT_SENT;
    }
    if (other->waiter_count == USER_WRITE_WAITERS_MAX) {
        return USER_WRITE_CROWDED;
    }
    other->waiter_count++;
    list_push_back(&other->waiters, &write->link);
    write->state = USER_WRITE_STATE_WAITING;
    return USER_WRITE_ON_ITS_WAY;
}

static int64_t now_ms(const struct user_writer *writer)
{
    return (int64_t)(clock_realtime_ns(writer->clock) / CLOCK_NS_PER_MS);
}

static struct bytes new_etag(struct user_write *write, uint64_t change)
{
    size_t size = user_record_format_etag(change, write->new_etag);

    return (struct bytes){(const uint8_t *)write->new_etag, size};
}

/* Packs the user into the record of this write. Returns 0 or -ENOMEM. */
static int fill_record(struct user_write *write, const struct user *user,
                       struct user_record *record)
{
    struct buf message = {0};
    int result = user_record_append_user(user, &message);

    if (result == 0) {
        record->message = buf_bytes(&message);
        buf_clear(&write->record);
        result = user_record_append(record, &write->record);
    }
    buf_deinit(&message);
    return result;
}

/* Plans the record and hands it to the log. */
static enum user_write_outcome submit(struct user_write *write, enum user_record_type type)
{
    struct user_writer *writer = write->writer;

    write->mutation = (struct commit_mutation){
        .record = buf_bytes(&write->record),
        .record_type = (uint8_t)type,
        .done = on_commit,
    };
    list_init(&write->mutation.link);
    if (user_store_plan(writer->store, &write->change, &write->mutation) != 0) {
        return USER_WRITE_NO_MEMORY;
    }
    write->state = USER_WRITE_STATE_SUBMITTED;
    writer->log->ops->submit(writer->log, &write->mutation);
    return USER_WRITE_ON_ITS_WAY;
}

/* Numbers the change, and logs the new image. `user` is new, or the present one with its changes.
 */
static enum user_write_outcome log_user(struct user_write *write, struct user *user,
                                        struct user_record *record)
{
    int64_t now = now_ms(write->writer);
    struct user_stamp stamp = user_store_stamp(write->writer->store, now);

    if (write->kind == USER_WRITE_CREATE) {
        user->created_at = stamp.created_at;
        user->updated_at = stamp.created_at;
        record->sequence = stamp.change;
    } else if (now > user->updated_at) {
        user->updated_at = now;
    }
    user->etag = new_etag(write, stamp.change);
    if (fill_record(write, user, record) != 0) {
        return USER_WRITE_NO_MEMORY;
    }
    return submit(write, USER_RECORD_PUT);
}

static enum user_write_outcome log_create(struct user_write *write)
{
    struct user user = {
        .id = bytes_from_text(write->new_id),
        .username = write->draft.username,
        .email = write->draft.email,
        .status = USER_STATUS_ACTIVE,
    };
    struct user_record record = {
        .password_hash = bytes_from_text(write->password.hash),
        .request_id = write->draft.request_id,
    };

    return log_user(write, &user, &record);
}

static void on_hashed(struct password_job *job, int result)
{
    struct user_write *write = CONTAINER_OF(job, struct user_write, password);
    enum user_write_outcome outcome;

    if (result == -ECANCELED || write->unwanted) {
        outcome = USER_WRITE_CANCELLED;
    } else if (result != 0) {
        outcome = USER_WRITE_NO_MEMORY;
    } else if (write->writer->log_failed) {
        outcome = USER_WRITE_NOT_SENT;
    } else {
        outcome = log_create(write);
    }
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        end(write, outcome);
    }
}

int user_write_set_draft(struct user_write *write, const struct user_draft *draft)
{
    write->draft = *draft;
    write->draft.password = (struct bytes){0};
    return password_job_init(&write->password, &write->writer->cost, draft->password);
}

static enum user_write_outcome begin_create(struct user_write *write)
{
    struct user_writer *writer = write->writer;
    struct user_names names = {.username = write->draft.username,
                               .email = write->draft.email,
                               .request_id = write->draft.request_id};
    struct user_change *change;
    int result;

    if (names.request_id.size > 0) {
        write->entry = user_store_find_request(writer->store, names.request_id);
        if (write->entry != NULL) {
            return USER_WRITE_DONE;
        }
        change = user_store_change_of_request(writer->store, names.request_id);
        if (change != NULL) {
            return wait_behind(write, change);
        }
    }
    if (writer->log_failed) {
        return USER_WRITE_NOT_SENT; /* before the hash is paid for */
    }
    user_id_next(&writer->ids, (uint64_t)now_ms(writer), write->new_id);
    names.id = bytes_from_text(write->new_id);
    result = user_store_reserve(writer->store, &write->change, &names);
    if (result != 0) {
        return outcome_of_store(result);
    }
    write->password.done = on_hashed;
    if (password_job_submit(&write->password, writer->pool) != 0) {
        return USER_WRITE_HASH_FULL;
    }
    write->state = USER_WRITE_STATE_HASHING;
    return USER_WRITE_ON_ITS_WAY;
}

/* Looks up the user of an update or delete: DONE with `entry` set when the change may be planned.
 */
static enum user_write_outcome find_present(struct user_write *write)
{
    struct user_change *change;

    if (write->writer->log_failed) {
        return USER_WRITE_NOT_SENT;
    }
    change = user_store_change_of_id(write->writer->store, write->id);
    if (change != NULL) {
        return wait_behind(write, change);
    }
    write->entry = user_store_find(write->writer->store, write->id);
    if (write->entry == NULL) {
        return USER_WRITE_NOT_FOUND;
    }
    if (write->etag.size > 0 && !user_entry_has_etag(write->entry, write->etag)) {
        return USER_WRITE_STALE;
    }
    return USER_WRITE_DONE;
}

/* Would storing it change anything? `user` still has the old etag and time. Negative = -ENOMEM. */
static int is_changed(const struct user_entry *entry, const struct user *user)
{
    struct buf message = {0};
    int result = user_record_append_user(user, &message);

    if (result == 0) {
        result = !bytes_equal(buf_bytes(&message), user_entry_message(entry));
    }
    buf_deinit(&message);
    return result;
}

static enum user_write_outcome begin_update(struct user_write *write)
{
    struct user_store *store = write->writer->store;
    enum user_write_outcome outcome = find_present(write);
    struct user_record record = {0};
    struct user_names names;
    struct user user;
    int result;

    if (outcome != USER_WRITE_DONE) {
        return outcome;
    }
    result = user_record_read_user(user_entry_message(write->entry), &user);
    assert(result == 0); /* it was read when it was stored */
    user_patch_apply(write->patch, &user);
    result = is_changed(write->entry, &user);
    if (result <= 0) {
        return result == 0 ? USER_WRITE_DONE : USER_WRITE_NO_MEMORY;
    }
    names = (struct user_names){.id = user.id, .username = user.username, .email = user.email};
    result = user_store_reserve(store, &write->change, &names);
    if (result != 0) {
        return outcome_of_store(result);
    }
    record.password_hash = user_entry_password_hash(write->entry);
    record.request_id = user_entry_request_id(write->entry);
    record.sequence = user_entry_sequence(write->entry);
    return log_user(write, &user, &record);
}

static enum user_write_outcome begin_delete(struct user_write *write)
{
    struct user_writer *writer = write->writer;
    enum user_write_outcome outcome = find_present(write);
    struct user_names names = {.id = write->id};
    struct user user = {.id = write->id};
    struct user_record record = {0};

    if (outcome != USER_WRITE_DONE) {
        return outcome;
    }
    if (user_store_reserve(writer->store, &write->change, &names) != 0) {
        return USER_WRITE_NO_MEMORY; /* nothing else can be wrong with it */
    }
    user.etag = new_etag(write, user_store_stamp(writer->store, 0).change);
    if (fill_record(write, &user, &record) != 0) {
        return USER_WRITE_NO_MEMORY;
    }
    return submit(write, USER_RECORD_DELETE);
}

static enum user_write_outcome begin(struct user_write *write)
{
    enum user_write_outcome outcome = USER_WRITE_CANCELLED;

    if (!write->unwanted) {
        switch (write->kind) {
        case USER_WRITE_CREATE:
            outcome = begin_create(write);
            break;
        case USER_WRITE_UPDATE:
            outcome = begin_update(write);
            break;
        case USER_WRITE_DELETE:
            outcome = begin_delete(write);
            break;
        }
    }
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        user_store_release(write->writer->store, &write->change);
    }
    return outcome;
}

enum user_write_outcome user_write_start(struct user_write *write)
{
    enum user_write_outcome outcome;

    assert(write->state == USER_WRITE_STATE_NEW);
    outcome = begin(write);
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        write->state = USER_WRITE_STATE_ENDED;
    }
    return outcome;
}

void user_write_cancel(struct user_write *write)
{
    write->unwanted = true;
    if (write->state == USER_WRITE_STATE_HASHING) {
        /* It comes to nothing, whatever becomes of the hash: who tries again at once may have the
         * names. */
        user_store_release(write->writer->store, &write->change);
        password_job_cancel(&write->password, write->writer->pool);
    }
}
