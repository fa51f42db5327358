/*
 * A write goes: NEW -> (WAITING ->) HASHING -> READY -> SUBMITTED -> ENDED; creates alone are
 * hashed.
 *
 *   1. Is there a change of the same user, or a create with the same request_id, on its way? Then
 *      wait behind it and begin anew when it has ended. So there is one change per user at a time,
 *      each plans on what is durable, and a change that fails takes no other with it. At most 64
 *      wait; the next is CROWDED.
 *   2. A create reserves its names first and hashes the password then: of two creates of one name
 *      one alone costs a hash. The other is told TAKEN at once, although the first may still come
 *      to nothing.
 *   3. It is READY and goes on at once, or, an ordered one, when its owner says so: the items of a
 *      stream are hashed side by side and logged in their order.
 *   4. The store gives a number and plans, the log takes the record, both in one go: the numbers
 *      follow the order of the log.
 *   5. The log has applied the record to the store when it tells its outcome. The reservations are
 *      given back, the owner is told, the waiting writes begin.
 *
 * A create whose request_id is stored already is DONE with that user as it is now. The request_id
 * lives in the record of the user: this holds across restarts, and for as long as the user exists.
 *
 * What can go wrong:
 *
 *   - The caller goes away: nothing happens when the record was not submitted yet, else it stays.
 *     A create gives its names back at once, though its hash may take a while to end.
 *   - The log refuses the record: certainly without effect, the names are free again. An ordered
 *     write that finds the log full or slow keeps them, and all who wait behind it: it is READY.
 *   - The log fails with the record half on its way: the outcome is unknown. The names stay
 *     reserved, which does no harm, as a failed log takes no change any more; a restart finds out.
 */
#include "service/user_write.h"

#include "core/clock.h"
#include "service/user_image.h"

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
    case COMMIT_SLOW:
        return USER_WRITE_LOG_SLOW;
    case COMMIT_NO_SPACE:
        return USER_WRITE_NO_SPACE;
    case COMMIT_TOO_LARGE:
        return USER_WRITE_TOO_LARGE;
    }
    return USER_WRITE_UNKNOWN; /* no outcome we know: assume the worst */
}

static enum user_write_outcome begin(struct user_write *write);

static void set_ended(struct user_write *write, enum user_write_outcome outcome)
{
    if (outcome == USER_WRITE_UNKNOWN) {
        write->state = USER_WRITE_STATE_STUCK;
    } else {
        write->state = USER_WRITE_STATE_ENDED;
        user_store_release(write->writer->store, &write->change);
    }
}

static void take_waiters(struct user_write *write, struct list *waiters)
{
    list_init(waiters);
    list_splice_back(waiters, &write->waiters);
    write->waiter_count = 0;
}

/* Lets those that waited for a write that has ended begin, in their order. Some of them may wait
 * again, behind the first of them. */
static void wake(struct list *waiters, bool is_stuck)
{
    struct list *link;

    while ((link = list_pop_front(waiters)) != NULL) {
        struct user_write *next = CONTAINER_OF(link, struct user_write, link);
        enum user_write_outcome outcome;

        next->state = USER_WRITE_STATE_NEW;
        outcome = is_stuck ? USER_WRITE_NOT_SENT : begin(next);
        if (outcome != USER_WRITE_ON_ITS_WAY) {
            set_ended(next, outcome);
            next->done(next, outcome);
        } else if (next->is_ordered) {
            next->moved(next);
        }
    }
}

/* `done` may free the write: nothing is done with it afterwards. */
static void end(struct user_write *write, enum user_write_outcome outcome)
{
    struct list waiters;

    take_waiters(write, &waiters);
    set_ended(write, outcome);
    write->done(write, outcome);
    wake(&waiters, outcome == USER_WRITE_UNKNOWN);
}

/* Reserves what the write needs to become the user. Returns as user_store_reserve() does. */
static int reserve(struct user_write *write, const struct user *user)
{
    struct user_names names = {.id = user->id, .username = user->username, .email = user->email};

    if (write->kind == USER_WRITE_CREATE) {
        names.request_id = write->draft.request_id;
    }
    return user_store_reserve(write->writer->store, &write->change, &names);
}

/* The log was full: back to READY, with the same reservations, but without the plan. Nobody comes
 * between the two steps. False when there is no memory. */
static bool make_ready_again(struct user_write *write)
{
    struct user_store *store = write->writer->store;
    struct user_image image;

    user_image_make(write, user_store_find(store, user_write_id(write)), &image);
    user_store_release(store, &write->change);
    if (reserve(write, &image.user) != 0) {
        return false;
    }
    write->state = USER_WRITE_STATE_READY;
    return true;
}

static void on_commit(struct commit_mutation *mutation, enum commit_outcome commit_outcome,
                      uint64_t revision)
{
    struct user_write *write = CONTAINER_OF(mutation, struct user_write, mutation);
    enum user_write_outcome outcome = outcome_of_log(commit_outcome);

    (void)revision; /* the entry has it */
    if ((outcome == USER_WRITE_LOG_FULL || outcome == USER_WRITE_LOG_SLOW) && write->is_ordered &&
        !write->unwanted) {
        if (make_ready_again(write)) {
            write->moved(write);
            return;
        }
        outcome = USER_WRITE_NO_MEMORY;
    }
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

/* Numbers the change, plans its record and hands it to the log. */
static enum user_write_outcome submit(struct user_write *write)
{
    struct user_writer *writer = write->writer;
    bool is_delete = write->kind == USER_WRITE_DELETE;
    const struct user_entry *present = user_store_find(writer->store, user_write_id(write));
    int64_t now = is_delete ? 0 : now_ms(writer); /* a tombstone has no times */
    struct user_stamp stamp = user_store_stamp(writer->store, now);
    struct user_image image;

    user_image_make(write, present, &image);
    if (present == NULL) {
        image.user.created_at = stamp.created_at;
        image.user.updated_at = stamp.created_at;
        image.record.sequence = stamp.change;
    } else if (now > image.user.updated_at) {
        image.user.updated_at = now;
    }
    image.user.etag = (struct bytes){(const uint8_t *)write->new_etag,
                                     user_record_format_etag(stamp.change, write->new_etag)};
    if (user_image_pack(&image, &write->record) != 0) {
        return USER_WRITE_NO_MEMORY;
    }
    write->mutation = (struct commit_mutation){
        .record = buf_bytes(&write->record),
        .record_type = is_delete ? USER_RECORD_DELETE : USER_RECORD_PUT,
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

/* All is reserved, and hashed. */
static enum user_write_outcome become_ready(struct user_write *write)
{
    write->state = USER_WRITE_STATE_READY;
    return write->is_ordered ? USER_WRITE_ON_ITS_WAY : submit(write);
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
        outcome = become_ready(write);
    }
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        end(write, outcome);
    } else if (write->is_ordered) {
        write->moved(write);
    }
}

void user_write_set_ordered(struct user_write *write, void (*moved)(struct user_write *write))
{
    write->is_ordered = true;
    write->moved = moved;
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
    struct bytes request_id = write->draft.request_id;
    struct user_image image;
    int result;

    assert(write->password.password != NULL); /* it was not hashed before */
    if (request_id.size > 0) {
        struct user_change *change;

        write->entry = user_store_find_request(writer->store, request_id);
        if (write->entry != NULL) {
            return USER_WRITE_DONE;
        }
        change = user_store_change_of_request(writer->store, request_id);
        if (change != NULL) {
            return wait_behind(write, change);
        }
    }
    if (writer->log_failed) {
        return USER_WRITE_NOT_SENT; /* before the hash is paid for */
    }
    user_id_next(&writer->ids, (uint64_t)now_ms(writer), write->new_id);
    user_image_make(write, NULL, &image);
    result = reserve(write, &image.user);
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

/* Looks up the user to be changed: DONE when the change may be planned, with `entry` set unless a
 * sync makes a new user. */
static enum user_write_outcome find_present(struct user_write *write)
{
    struct user_writer *writer = write->writer;
    bool is_sync = write->kind == USER_WRITE_SYNC;

    write->entry = NULL;
    if (writer->log_failed) {
        return USER_WRITE_NOT_SENT;
    }
    if (is_sync && write->id.size == 0) {
        user_id_next(&writer->ids, (uint64_t)now_ms(writer), write->new_id);
    } else {
        struct user_change *change = user_store_change_of_id(writer->store, write->id);

        if (change != NULL) {
            return wait_behind(write, change);
        }
        write->entry = user_store_find(writer->store, write->id);
    }
    if (write->entry == NULL && !is_sync) {
        return USER_WRITE_NOT_FOUND;
    }
    /* An etag says that there is such a user. */
    if (write->etag.size > 0 &&
        (write->entry == NULL || !user_entry_has_etag(write->entry, write->etag))) {
        return USER_WRITE_STALE;
    }
    return USER_WRITE_DONE;
}

/* An update, a delete or a sync. */
static enum user_write_outcome begin_change(struct user_write *write)
{
    enum user_write_outcome outcome = find_present(write);
    struct user_image image;
    int result = 1;

    if (outcome != USER_WRITE_DONE) {
        return outcome;
    }
    user_image_make(write, write->entry, &image);
    if (write->entry != NULL && write->kind != USER_WRITE_DELETE) {
        result = user_image_differs(&image, write->entry);
    }
    if (result <= 0) {
        return result == 0 ? USER_WRITE_DONE : USER_WRITE_NO_MEMORY;
    }
    result = reserve(write, &image.user);
    return result == 0 ? become_ready(write) : outcome_of_store(result);
}

static enum user_write_outcome begin(struct user_write *write)
{
    enum user_write_outcome outcome = USER_WRITE_CANCELLED;

    if (!write->unwanted) {
        outcome = write->kind == USER_WRITE_CREATE ? begin_create(write) : begin_change(write);
    }
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        user_store_release(write->writer->store, &write->change);
    }
    return outcome;
}

enum user_write_outcome user_write_start(struct user_write *write)
{
    enum user_write_outcome outcome;

    assert(write->state == USER_WRITE_STATE_NEW || write->state == USER_WRITE_STATE_ENDED);
    write->state = USER_WRITE_STATE_NEW;
    outcome = begin(write);
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        write->state = USER_WRITE_STATE_ENDED;
    }
    return outcome;
}

enum user_write_outcome user_write_submit(struct user_write *write)
{
    enum user_write_outcome outcome = USER_WRITE_NOT_SENT;

    assert(write->is_ordered && write->state == USER_WRITE_STATE_READY);
    if (!write->writer->log_failed) {
        outcome = submit(write);
    }
    if (outcome != USER_WRITE_ON_ITS_WAY) {
        struct list waiters;

        take_waiters(write, &waiters);
        set_ended(write, outcome);
        wake(&waiters, false);
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
    } else if (write->state == USER_WRITE_STATE_READY) {
        end(write, USER_WRITE_CANCELLED);
    }
}
