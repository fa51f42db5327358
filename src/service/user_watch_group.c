#include "core/clock.h"
#include "http2/grpc_call.h"
#include "http2/proto_wire.h"
#include "service/user_entry.h"
#include "service/user_errors.h"
#include "service/user_store.h"
#include "service/user_validate.h"
#include "service/user_watch_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * The watchers of one user form a group, which is there while it has any. A watcher waits in one of
 * three lists of its group:
 *
 *     idle:    it was sent the newest state;
 *     pending: there is a newer state, and the fan-out will come by;
 *     behind:  there is a newer state, but its client has too much to read still; its call's
 *              `writable` brings it on.
 *
 * A change: user_watch_note() moves all of `idle` to `pending` and queues the group, whatever the
 * number of its watchers. The fan-out runs at the end of that turn and, as long as it is not
 * through, in every turn that follows, for a slice of time each. It sends what the store holds by
 * then: so nobody is sent an older state after a newer one, or one twice, and what waits for a
 * watcher is never more than `max_unsent` and one message. A reader that keeps up with the fan-out
 * sees every change, because a user has one change at a time on its way and a flush lies between
 * two; a group so large that its fan-out takes more than one turn may miss some.
 *
 * A delete: the group leaves the map with a copy of the last state, marked deleted, and its
 * watchers get that as their last message, those behind when they have read. A user that is made
 * with the same id afterwards gets a group of its own. Should there be no memory for the copy, the
 * last message holds id and status alone: telling of a delete must not fail.
 *
 * A watcher is `late` when it has not been sent the newest state. A change that finds late watchers
 * takes from each of them a state that it will never see: so skipped states are counted without a
 * walk.
 */

#define SLICE_NS       (200 * CLOCK_NS_PER_US)
#define SLICE_WATCHERS 128 /* each may be a connection to flush at the end of the turn */
#define STATUS_FIELD   6
#define TOMBSTONE_ID   1
#define TOMBSTONE_SIZE (2 + USER_ID_BYTES_MAX + 2)

/* ---- groups ---- */

struct watch_group *watch_group_new(struct user_watch *watch, const struct user_entry *entry)
{
    struct bytes id = user_entry_id(entry);
    struct watch_group *group = calloc(1, sizeof(*group) + id.size);

    assert(id.size <= USER_ID_BYTES_MAX);
    if (group == NULL) {
        return NULL;
    }
    list_init(&group->link);
    list_init(&group->idle);
    list_init(&group->pending);
    list_init(&group->behind);
    group->watch = watch;
    group->change = user_entry_change(entry);
    group->id_size = id.size;
    memcpy(group->id, id.data, id.size);
    if (map_insert(&watch->groups, group) != 0) {
        free(group);
        return NULL;
    }
    return group;
}

/* Does the fan-out have something to do for the group? */
static bool group_has_work(const struct watch_group *group)
{
    return group->watch->ending ? group->count > 0 : !list_is_empty(&group->pending);
}

void watch_group_settle(struct watch_group *group)
{
    struct user_watch *watch = group->watch;
    bool has_work = group_has_work(group);

    if (group->count > 0 && list_is_linked(&group->link) && group->queued == has_work) {
        return; /* it keeps its turn */
    }
    list_remove(&group->link);
    if (group->count > 0) {
        list_push_back(has_work ? &watch->queued : &watch->quiet, &group->link);
        group->queued = has_work;
        return;
    }
    if (!group->deleted) {
        (void)map_remove(&watch->groups, watch_group_id(group)); /* it is this one */
    }
    buf_deinit(&group->tombstone);
    free(group);
}

/* What the watchers of the group are to be sent, borrowed until control returns to the loop.
 * `scratch` holds it when nothing else does. */
static struct bytes group_message(const struct watch_group *group, uint8_t scratch[TOMBSTONE_SIZE])
{
    size_t size = 0;

    if (!group->deleted) {
        const struct user_entry *entry =
            user_store_find(group->watch->store, watch_group_id(group));

        assert(entry != NULL); /* a delete is noted before it is applied */
        return user_entry_message(entry);
    }
    if (buf_size(&group->tombstone) > 0) {
        return buf_bytes(&group->tombstone);
    }
    scratch[size++] = TOMBSTONE_ID << 3 | PROTO_WIRE_BYTES;
    scratch[size++] = (uint8_t)group->id_size;
    memcpy(scratch + size, group->id, group->id_size);
    size += group->id_size;
    scratch[size++] = STATUS_FIELD << 3 | PROTO_WIRE_VARINT;
    scratch[size++] = USER_STATUS_DELETED;
    return (struct bytes){scratch, size};
}

/* ---- watchers ---- */

static bool watcher_is_late(const struct user_watcher *watcher)
{
    return watcher->sent_change != watcher->group->change;
}

static void fail_no_memory(struct grpc_call *call)
{
    struct user_error error;

    user_error_set(&error, USER_ERROR_NO_MEMORY);
    grpc_call_fail(call, &error.grpc);
}

/* Takes the watcher out of everything, lets go of its call and frees it. The group is to be
 * settled. */
static void watcher_leave(struct user_watcher *watcher)
{
    struct watch_group *group = watcher->group;
    struct grpc_call *call = watcher->call;

    group->late_count -= watcher_is_late(watcher);
    group->count--;
    group->watch->stats.watchers--;
    list_remove(&watcher->link);
    free(watcher);
    grpc_call_listen(call, NULL, NULL);
    call->host->long_streams--;
    grpc_call_release(call);
}

/* Sends the message, unless the client has too much to read. After the last message of the group,
 * and when there is no memory for it, the watcher is gone. The group is to be settled. */
static void watcher_update(struct user_watcher *watcher, struct bytes message)
{
    struct watch_group *group = watcher->group;
    struct user_watch *watch = group->watch;

    list_remove(&watcher->link);
    if (grpc_call_unsent_size(watcher->call) >= watch->options.max_unsent) {
        list_push_back(&group->behind, &watcher->link);
        return;
    }
    if (grpc_call_send(watcher->call, &message, 1) != 0) {
        fail_no_memory(watcher->call);
        watcher_leave(watcher);
        return;
    }
    watch->stats.sent++;
    if (group->deleted) {
        grpc_call_finish(watcher->call);
        watcher_leave(watcher);
        return;
    }
    group->late_count -= watcher_is_late(watcher);
    watcher->sent_change = group->change;
    list_push_back(&group->idle, &watcher->link);
}

static void on_writable(struct grpc_call *call, void *context)
{
    struct user_watcher *watcher = context;
    struct watch_group *group = watcher->group;
    uint8_t scratch[TOMBSTONE_SIZE];

    (void)call;
    if (watcher_is_late(watcher)) {
        watcher_update(watcher, group_message(group, scratch));
        watch_group_settle(group);
    }
}

static void on_cancelled(struct grpc_call *call, void *context)
{
    struct user_watcher *watcher = context;
    struct watch_group *group = watcher->group;

    (void)call;
    watcher_leave(watcher);
    watch_group_settle(group);
}

static const struct grpc_call_events watcher_events = {
    .writable = on_writable,
    .cancelled = on_cancelled,
};

int watch_group_add(struct watch_group *group, struct grpc_call *call)
{
    struct user_watcher *watcher = calloc(1, sizeof(*watcher));
    uint8_t scratch[TOMBSTONE_SIZE];

    if (watcher == NULL) {
        return -ENOMEM;
    }
    list_init(&watcher->link);
    watcher->group = group;
    watcher->call = call;
    group->count++;
    group->late_count++;
    group->watch->stats.watchers++;
    call->host->long_streams++;
    grpc_call_hold(call);
    grpc_call_listen(call, &watcher_events, watcher);
    watcher_update(watcher, group_message(group, scratch));
    return 0;
}

/* ---- fan-out ---- */

/* What is left of this turn's slice. */
struct slice {
    struct clock_source *clock;
    uint64_t end_ns;
    unsigned watchers;
};

/* To be asked after each watcher: every slice brings at least one on. */
static bool slice_is_over(struct slice *slice)
{
    slice->watchers--;
    return slice->watchers == 0 || clock_monotonic_ns(slice->clock) >= slice->end_ns;
}

/* Takes the first watcher out of whichever list has one; NULL when there is none. */
static struct user_watcher *take_any(struct watch_group *group)
{
    struct list *link = list_pop_front(&group->pending);

    if (link == NULL) {
        link = list_pop_front(&group->idle);
    }
    if (link == NULL) {
        link = list_pop_front(&group->behind);
    }
    return link == NULL ? NULL : CONTAINER_OF(link, struct user_watcher, link);
}

/* Returns false when the slice ended, true when there is nothing to do for the group any more. */
static bool group_update(struct watch_group *group, struct slice *slice)
{
    uint8_t scratch[TOMBSTONE_SIZE];
    struct bytes message = group_message(group, scratch);
    struct list *link;

    while ((link = list_pop_front(&group->pending)) != NULL) {
        watcher_update(CONTAINER_OF(link, struct user_watcher, link), message);
        if (slice_is_over(slice)) {
            return false;
        }
    }
    return true;
}

/* The same when the server ends. Who can be told of a delete still is told. */
static bool group_end(struct watch_group *group, struct slice *slice)
{
    struct user_watcher *watcher;

    if (group->deleted && !group_update(group, slice)) {
        return false;
    }
    while ((watcher = take_any(group)) != NULL) {
        user_watch_fail_shutdown(watcher->call);
        watcher_leave(watcher);
        if (slice_is_over(slice)) {
            return false;
        }
    }
    return true;
}

void watch_group_fan_out(struct reactor_task *task)
{
    struct user_watch *watch = CONTAINER_OF(task, struct user_watch, fan_out);
    struct clock_source *clock = watch->reactor->clock;
    struct slice slice = {clock, clock_monotonic_ns(clock) + SLICE_NS, SLICE_WATCHERS};
    struct list *link;
    bool goes_on = true;

    /* Taken out: if something is left to do for it, the others come first. */
    while (goes_on && (link = list_pop_front(&watch->queued)) != NULL) {
        struct watch_group *group = CONTAINER_OF(link, struct watch_group, link);

        goes_on = watch->ending ? group_end(group, &slice) : group_update(group, &slice);
        watch_group_settle(group);
    }
    if (!list_is_empty(&watch->queued)) {
        reactor_defer_slow(watch->reactor, task);
    }
}

/* ---- changes ---- */

/* Whoever was late will never see the state that was the newest so far. */
static void group_outdate(struct watch_group *group, uint64_t change)
{
    struct user_watch *watch = group->watch;

    watch->stats.skipped += group->late_count;
    group->late_count = group->count;
    group->change = change;
    if (!list_is_empty(&group->idle)) {
        list_splice_back(&group->pending, &group->idle);
        watch_group_settle(group);
        reactor_defer_slow(watch->reactor, &watch->fan_out);
    }
}

void watch_group_change(struct watch_group *group, const struct user_record *record)
{
    group_outdate(group, record->change);
}

/* Copies the last state of the user, as deleted. Without memory, or a state, the tombstone stays
 * empty. */
static void make_tombstone(struct watch_group *group, const struct user *deleted)
{
    const struct user_entry *entry = user_store_find(group->watch->store, watch_group_id(group));
    struct user user;

    if (entry == NULL || user_record_read_user(user_entry_message(entry), &user) != 0) {
        return;
    }
    user.status = USER_STATUS_DELETED;
    user.etag = deleted->etag;
    if (deleted->updated_at != 0) {
        user.updated_at = deleted->updated_at;
    }
    if (user_record_append_user(&user, &group->tombstone) != 0) {
        buf_deinit(&group->tombstone);
    }
}

void watch_group_delete(struct watch_group *group, const struct user_record *record)
{
    make_tombstone(group, &record->user);
    (void)map_remove(&group->watch->groups, watch_group_id(group)); /* it is this one */
    group->deleted = true;
    group_outdate(group, record->change);
}
