/*
 * The local write-ahead log behind the commit-log seam. It adds no durability and no order of its
 * own; it translates.
 *
 *  - start: opens the log; every record found, in a snapshot first and in the log behind it,
 * becomes a reset_record, its LSN is the revision. What an operator should know (a tail cut off, a
 *    snapshot passed over) and how far a long start has come is said in the server's log.
 *  - submit: the mutation's record goes to wal_append(). When it is durable: `events` with that one
 *    record, then the mutation's `done`. So the store has changed before anyone is told.
 *  - A refused append (too much waits, no room, too large, the log is over) had no effect. It is
 *    told from the loop, at the end of the turn: nobody expects `done` inside of submit.
 *  - barrier: what is visible here is exactly what was told, so there is nothing to wait for; its
 *    `done` comes at the end of the turn as well.
 *  - checkpoint: the log takes the snapshot, from the records of the one who gave the callbacks.
 *  - close: the log flushes, marks its end, frees itself; then CLOSED is told.
 *
 * What can go wrong: a failing disk ends in FAILED, then UNKNOWN for everyone who waits; the state
 * never goes back. A full disk is DEGRADED from the first refusal until the log has room again.
 */
#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"
#include "service/commit_log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct commit_log_wal {
    struct commit_log log;
    struct wal_environment environment;
    struct wal_options options;
    struct wal *wal; /* NULL before start and after its end */
    const struct commit_log_callbacks *callbacks;
    void *context;
    struct list early; /* of struct commit_mutation: outcome known, `done` due */
    struct reactor_task task;
    bool ready_due; /* READY is to be told */
    bool degraded_due;
    bool is_degraded;
    bool closing;
};

static struct commit_log_wal *self_of(struct commit_log *log)
{
    return CONTAINER_OF(log, struct commit_log_wal, log);
}

static const struct commit_log_wal *const_self_of(const struct commit_log *log)
{
    static_assert(offsetof(struct commit_log_wal, log) == 0, "the base comes first");
    return (const struct commit_log_wal *)(const void *)log;
}

static void tell_state(struct commit_log_wal *self, enum commit_log_state state, const char *reason)
{
    self->callbacks->state(self->context, state, reason);
}

static void tell_early(struct commit_log_wal *self)
{
    struct list *link;

    while ((link = list_pop_front(&self->early)) != NULL) {
        struct commit_mutation *mutation = CONTAINER_OF(link, struct commit_mutation, link);
        const uint64_t revision =
            mutation->early == COMMIT_DONE ? wal_stats(self->wal)->written_lsn : 0;

        mutation->done(mutation, mutation->early, revision);
    }
}

/* The end of a turn in which something was to be told. */
static void on_task(struct reactor_task *task)
{
    struct commit_log_wal *self = CONTAINER_OF(task, struct commit_log_wal, task);

    if (self->ready_due) {
        self->ready_due = false;
        tell_state(self, COMMIT_LOG_READY, NULL);
    }
    if (self->degraded_due) {
        self->degraded_due = false;
        tell_state(self, COMMIT_LOG_DEGRADED, "no room for a further log segment");
    }
    tell_early(self);
}

static void tell_later(struct commit_log_wal *self, struct commit_mutation *mutation,
                       enum commit_outcome outcome)
{
    mutation->early = outcome;
    list_init(&mutation->link);
    list_push_back(&self->early, &mutation->link);
    reactor_defer(self->environment.reactor, &self->task);
}

static void on_failed(void *owner, int error)
{
    struct commit_log_wal *self = owner;

    self->ready_due = false;
    self->degraded_due = false;
    tell_state(self, COMMIT_LOG_FAILED, strerror(-error));
}

static void on_space(void *owner, bool no_space)
{
    struct commit_log_wal *self = owner;

    if (no_space || !self->is_degraded) {
        return; /* only a refusal degrades: there may be much left of the present segment */
    }
    self->is_degraded = false;
    if (!self->degraded_due) {
        tell_state(self, COMMIT_LOG_READY, NULL);
    }
    self->degraded_due = false;
}

static void on_closed(void *owner)
{
    struct commit_log_wal *self = owner;

    tell_early(self);
    reactor_undefer(&self->task);
    self->wal = NULL;
    tell_state(self, COMMIT_LOG_CLOSED, NULL); /* may free us */
}

static void on_snapshot(void *owner, const struct wal_snapshot_report *report)
{
    struct commit_log_wal *self = owner;

    if (self->callbacks->checkpoint != NULL) {
        self->callbacks->checkpoint(self->context, report);
    }
}

static const struct wal_events events_of_wal = {
    .failed = on_failed,
    .space = on_space,
    .snapshot = on_snapshot,
    .closed = on_closed,
};

static void log_progress(struct log *log, const struct wal_progress *progress)
{
    double seconds = (double)progress->elapsed_ns / (double)CLOCK_NS_PER_S;
    double done = (double)progress->bytes_done;
    double total = (double)progress->bytes_total;

    if (seconds <= 0 || done <= 0 || total < done) {
        return; /* nothing can be said yet */
    }
    log_event(log, LEVEL_INFO, "recovering", FIELD_TEXT("file", progress->file),
              FIELD_NUMBER("records", progress->records),
              FIELD_NUMBER("records_per_s", (double)progress->records / seconds),
              FIELD_NUMBER("percent", done * 100 / total),
              FIELD_NUMBER("eta_s", (total - done) / done * seconds));
}

static int on_replay_begin(void *context, uint64_t record_count)
{
    struct commit_log_wal *self = context;

    return self->callbacks->reset_begin(self->context, record_count);
}

static int on_replay_record(void *context, const struct wal_record *record)
{
    struct commit_log_wal *self = context;
    const struct commit_event event = {
        .revision = record->lsn,
        .realtime_ns = record->realtime_ns,
        .record_type = record->type,
        .is_in_snapshot = record->is_in_snapshot,
        .record = record->body,
    };

    return self->callbacks->reset_record(self->context, &event);
}

static void on_replay_progress(void *context, const struct wal_progress *progress)
{
    struct commit_log_wal *self = context;

    if (self->callbacks->reset_progress != NULL) {
        self->callbacks->reset_progress(self->context, progress);
    }
    log_progress(self->environment.reactor->log, progress);
}

static void on_replay_notice(void *context, const char *text)
{
    struct commit_log_wal *self = context;

    log_event(self->environment.reactor->log, LEVEL_WARN, "recovery_notice",
              FIELD_TEXT("what", text));
}

static const struct wal_replay replay = {
    .begin = on_replay_begin,
    .record = on_replay_record,
    .progress = on_replay_progress,
    .notice = on_replay_notice,
};

static int commit_log_wal_start(struct commit_log *log,
                                const struct commit_log_callbacks *callbacks, void *context,
                                char *problem)
{
    struct commit_log_wal *self = self_of(log);
    struct reactor *reactor = self->environment.reactor;
    struct commit_recovered recovered;
    int result;

    assert(self->wal == NULL);
    self->callbacks = callbacks;
    self->context = context;
    result = wal_open(&self->environment, &self->options, &replay, self, problem, &self->wal);
    if (result != 0) {
        return result;
    }
    recovered.revision = wal_stats(self->wal)->durable_lsn;
    recovered.may_have_lost = wal_stats(self->wal)->may_have_lost;
    callbacks->reset_end(context, &recovered);
    wal_set_events(self->wal, &events_of_wal, self);
    if (callbacks->snapshot != NULL) {
        wal_set_source(self->wal, callbacks->snapshot, context);
    }
    self->ready_due = true;
    reactor_defer(reactor, &self->task);
    return 0;
}

static void commit_log_wal_close(struct commit_log *log)
{
    struct commit_log_wal *self = self_of(log);

    assert(self->callbacks != NULL);
    if (!self->closing && self->wal != NULL) {
        self->closing = true;
        self->ready_due = false;
        wal_close(self->wal);
    }
}

static void on_append_done(struct wal_append *append, int result)
{
    struct commit_mutation *mutation = CONTAINER_OF(append, struct commit_mutation, append);
    struct commit_log_wal *self = mutation->owner;

    if (result == 0) {
        const struct commit_event event = {
            .revision = append->lsn,
            .record_type = mutation->record_type,
            .record = mutation->record,
        };

        self->callbacks->events(self->context, &event, 1);
        mutation->done(mutation, COMMIT_DONE, append->lsn);
    } else {
        mutation->done(mutation, result == -ENOSPC ? COMMIT_NO_SPACE : COMMIT_UNKNOWN, 0);
    }
}

static void degrade(struct commit_log_wal *self)
{
    if (!self->is_degraded) {
        self->is_degraded = true;
        self->degraded_due = true;
    }
}

static void commit_log_wal_submit(struct commit_log *log, struct commit_mutation *mutation)
{
    struct commit_log_wal *self = self_of(log);
    int result = WAL_E_FAILED;

    mutation->owner = self;
    mutation->append.body = mutation->record;
    mutation->append.type = mutation->record_type;
    mutation->append.done = on_append_done;
    if (self->wal != NULL) {
        result = wal_append(self->wal, &mutation->append);
    }
    switch (result) {
    case 0:
        break;
    case WAL_E_FULL:
        tell_later(self, mutation, COMMIT_FULL);
        break;
    case WAL_E_SLOW:
        tell_later(self, mutation, COMMIT_SLOW);
        break;
    case WAL_E_TOO_LARGE:
        tell_later(self, mutation, COMMIT_TOO_LARGE);
        break;
    case WAL_E_NO_SPACE:
        degrade(self);
        tell_later(self, mutation, COMMIT_NO_SPACE);
        break;
    default:
        tell_later(self, mutation, COMMIT_NOT_SENT);
        break;
    }
}

static void commit_log_wal_barrier(struct commit_log *log, struct commit_mutation *marker)
{
    struct commit_log_wal *self = self_of(log);

    tell_later(self, marker, self->wal != NULL ? COMMIT_DONE : COMMIT_NOT_SENT);
}

static int commit_log_wal_checkpoint(struct commit_log *log)
{
    struct commit_log_wal *self = self_of(log);

    if (self->wal == NULL || self->closing) {
        return -EIO;
    }
    if (self->callbacks->snapshot == NULL) {
        return -ENOTSUP;
    }
    switch (wal_snapshot(self->wal)) {
    case 0:
        return 0;
    case WAL_E_BUSY:
        return -EBUSY;
    default:
        return -EIO;
    }
}

static struct commit_log_limits commit_log_wal_limits(const struct commit_log *log)
{
    const struct commit_log_wal *self = const_self_of(log);

    return (struct commit_log_limits){
        .record_size_max = WAL_RECORD_SIZE_MAX,
        .pending_max = self->options.max_pending,
    };
}

static const struct wal_stats *commit_log_wal_stats(const struct commit_log *log)
{
    const struct commit_log_wal *self = const_self_of(log);

    return self->wal == NULL ? NULL : wal_stats(self->wal);
}

static void commit_log_wal_free(struct commit_log *log)
{
    struct commit_log_wal *self;

    if (log == NULL) {
        return;
    }
    self = self_of(log);
    assert(self->wal == NULL);
    assert(list_is_empty(&self->early));
    free(self);
}

static const struct commit_log_ops commit_log_wal_ops = {
    .start = commit_log_wal_start,
    .close = commit_log_wal_close,
    .submit = commit_log_wal_submit,
    .barrier = commit_log_wal_barrier,
    .checkpoint = commit_log_wal_checkpoint,
    .limits = commit_log_wal_limits,
    .stats = commit_log_wal_stats,
    .free = commit_log_wal_free,
};

int commit_log_wal_new(struct disk *disk, struct reactor *reactor, struct random_source *random,
                       const struct wal_options *options, struct commit_log **ret_log)
{
    struct commit_log_wal *self = calloc(1, sizeof(*self));

    if (self == NULL) {
        return -ENOMEM;
    }
    self->log.ops = &commit_log_wal_ops;
    self->environment = (struct wal_environment){disk, reactor, random};
    self->options = *options;
    list_init(&self->early);
    list_init(&self->task.link);
    self->task.run = on_task;
    *ret_log = &self->log;
    return 0;
}
