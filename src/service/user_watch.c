#include "service/user_watch.h"

#include "core/random.h"
#include "http2/grpc_call.h"
#include "service/commit_log.h"
#include "service/user_entry.h"
#include "service/user_errors.h"
#include "service/user_request.h"
#include "service/user_store.h"
#include "service/user_watch_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * A call is answered like a GetUser, and refused when it would be one watcher too many; else it
 * joins the group of its user, which has all the rest in its hands (user_watch_group.c).
 */

#define RETRY_LATER_MS 1000

/* ---- errors ---- */

static void fail(struct grpc_call *call, enum user_error_kind kind)
{
    struct user_error error;

    user_error_set(&error, kind);
    grpc_call_fail(call, &error.grpc);
}

static void fail_limit(struct grpc_call *call, const char *message, int64_t retry_delay_ms)
{
    const struct grpc_error error = {
        .status = GRPC_STATUS_RESOURCE_EXHAUSTED,
        .message = message,
        .reason = "TOO_MANY_WATCHERS",
        .domain = "users.v1",
        .retry_delay_ms = retry_delay_ms,
    };

    grpc_call_fail(call, &error);
}

void user_watch_fail_shutdown(struct grpc_call *call)
{
    static const struct grpc_error error = {
        .status = GRPC_STATUS_UNAVAILABLE,
        .message = "the server is shutting down",
        .reason = "SERVER_SHUTDOWN",
        .domain = "users.v1",
        .retry_delay_ms = RETRY_LATER_MS,
    };

    grpc_call_fail(call, &error);
}

static void fail_request(struct grpc_call *call, int result)
{
    struct user_error error;

    user_error_of_request(&error, result, NULL);
    user_error_count(&error, &call->host->reactor->limits_hit);
    grpc_call_fail(call, &error.grpc);
}

static void fail_not_found(struct grpc_call *call, struct bytes id)
{
    struct user_error error;

    if (id.size == 0) {
        fail(call, USER_ERROR_ID_MISSING);
    } else if (id.size > USER_ID_BYTES_MAX) {
        fail(call, USER_ERROR_ID_TOO_LONG);
    } else {
        user_error_not_found(&error, id);
        grpc_call_fail(call, &error.grpc);
    }
}

/* ---- calls ---- */

/* True, with the call failed, when a limit is reached. `group` is that of the user, or NULL. */
static bool refuse(struct user_watch *watch, const struct watch_group *group,
                   struct grpc_call *call)
{
    const struct user_watch_options *options = &watch->options;
    struct user_watch_stats *stats = &watch->stats;
    struct limits_hit *hits = &watch->reactor->limits_hit;

    if (call->host->long_streams >= options->max_per_connection) {
        stats->refused_connection++;
        limits_hit_add(hits, LIMITS_HIT_WATCH_CONNECTION);
        /* Its own watchers are in the way: waiting alone does not help. */
        fail_limit(call, "Too many watchers on this connection (watch.max_per_connection)", 0);
        return true;
    }
    if (group != NULL && group->count >= options->max_per_user) {
        stats->refused_user++;
        limits_hit_add(hits, LIMITS_HIT_WATCH_USER);
        fail_limit(call, "Too many watchers of this user (watch.max_per_user)", RETRY_LATER_MS);
        return true;
    }
    if (stats->watchers >= options->max_total) {
        stats->refused_total++;
        limits_hit_add(hits, LIMITS_HIT_WATCH_TOTAL);
        fail_limit(call, "Too many watchers (watch.max_total)", RETRY_LATER_MS);
        return true;
    }
    return false;
}

/* `group` is NULL when the user has no watcher yet. */
static void start_watcher(struct user_watch *watch, struct watch_group *group,
                          struct grpc_call *call, const struct user_entry *entry)
{
    if (group == NULL) {
        group = watch_group_new(watch, entry);
    }
    if (group == NULL) {
        fail(call, USER_ERROR_NO_MEMORY);
        return;
    }
    if (watch_group_add(group, call) == 0) {
        grpc_call_trim(call);
    } else {
        fail(call, USER_ERROR_NO_MEMORY);
    }
    watch_group_settle(group);
}

void user_watch_handle(void *context, struct grpc_call *call, struct bytes request)
{
    struct user_watch *watch = context;
    const struct user_entry *entry;
    struct watch_group *group;
    struct bytes id;
    int result = user_request_read_get(request, watch->options.max_fields, &id);

    if (result != 0) {
        fail_request(call, result);
        return;
    }
    if (watch->ending) {
        user_watch_fail_shutdown(call);
        return;
    }
    entry = id.size <= USER_ID_BYTES_MAX ? user_store_find(watch->store, id) : NULL;
    if (entry == NULL) {
        fail_not_found(call, id);
        return;
    }
    group = map_find(&watch->groups, id);
    if (!refuse(watch, group, call)) {
        start_watcher(watch, group, call, entry);
    }
}

void user_watch_note(struct user_watch *watch, const struct commit_event *event)
{
    struct user_record record;
    struct watch_group *group;

    if (watch->groups.count == 0 ||
        user_record_read(event->record_type, event->record, &record) != 0) {
        return; /* the store will say what is wrong with it */
    }
    group = map_find(&watch->groups, record.user.id);
    if (group == NULL) {
        return;
    }
    if (event->record_type == USER_RECORD_DELETE) {
        watch_group_delete(group, &record);
    } else {
        watch_group_change(group, &record);
    }
}

/* ---- life ---- */

static struct bytes group_key(const void *value)
{
    return watch_group_id(value);
}

int user_watch_new(struct reactor *reactor, struct user_store *store,
                   const struct user_watch_options *options, struct user_watch **ret_watch)
{
    struct user_watch *watch = calloc(1, sizeof(*watch));
    struct hash_seed seed;

    if (watch == NULL) {
        return -ENOMEM;
    }
    random_fill(random_system(), &seed, sizeof(seed));
    watch->reactor = reactor;
    watch->store = store;
    watch->options = *options;
    map_init(&watch->groups, group_key, seed);
    list_init(&watch->quiet);
    list_init(&watch->queued);
    list_init(&watch->fan_out.link);
    watch->fan_out.run = watch_group_fan_out;
    *ret_watch = watch;
    return 0;
}

void user_watch_free(struct user_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    assert(watch->stats.watchers == 0);
    reactor_undefer(&watch->fan_out);
    map_deinit(&watch->groups);
    free(watch);
}

void user_watch_end(struct user_watch *watch)
{
    watch->ending = true;
    list_splice_back(&watch->queued, &watch->quiet);
    if (!list_is_empty(&watch->queued)) {
        reactor_defer_slow(watch->reactor, &watch->fan_out);
    }
}

const struct user_watch_stats *user_watch_stats(const struct user_watch *watch)
{
    return &watch->stats;
}
