#include "lib/commit_log_fake.h"

#include "core/reactor.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_MAX 16

struct entry {
    struct list link;
    struct commit_mutation *mutation;
    enum commit_log_fake_fate fate;
    bool is_marker;
};

struct commit_log_fake {
    struct commit_log log;
    struct reactor *reactor;
    struct commit_log_medium *medium;
    const struct commit_log_callbacks *callbacks;
    void *context;
    struct reactor_task task;
    struct list early; /* of struct entry */
    struct list queue; /* of struct entry */
    unsigned pending;
    unsigned budget; /* steps granted */
    unsigned batch;
    uint32_t pending_max;
    unsigned fate_countdown; /* 0 = no plan */
    enum commit_log_fake_fate fate;
    struct commit_log_medium_records taking; /* the snapshot under way */
    uint64_t taking_revision;
    bool checkpoint_due;
    bool is_taking;
    bool slow_checkpoints;
    bool hold;
    bool ready_due;
    bool failed;
    bool closing;
    bool closed;
};

static struct commit_log_fake *fake_of(struct commit_log *log)
{
    return CONTAINER_OF(log, struct commit_log_fake, log);
}

static const struct commit_log_fake *const_fake_of(const struct commit_log *log)
{
    return (const struct commit_log_fake *)(const void *)log; /* the base comes first */
}

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* Returns the revision. */
static uint64_t keep(struct commit_log_fake *fake, const struct commit_mutation *mutation)
{
    return commit_log_medium_keep(fake->medium, mutation->record_type, mutation->record);
}

static enum commit_outcome outcome_of(enum commit_log_fake_fate fate)
{
    switch (fate) {
    case FAKE_FATE_COMMIT:
        return COMMIT_DONE;
    case FAKE_FATE_CONFLICT:
        return COMMIT_CONFLICT;
    case FAKE_FATE_NOT_SENT:
        return COMMIT_NOT_SENT;
    case FAKE_FATE_FULL:
        return COMMIT_FULL;
    case FAKE_FATE_NO_SPACE:
        return COMMIT_NO_SPACE;
    case FAKE_FATE_TOO_LARGE:
        return COMMIT_TOO_LARGE;
    case FAKE_FATE_UNKNOWN_KEPT:
    case FAKE_FATE_UNKNOWN_LOST:
        return COMMIT_UNKNOWN;
    }
    abort();
}

static struct entry *entry_of(struct list *link)
{
    return CONTAINER_OF(link, struct entry, link);
}

/* Tells and forgets. */
static void finish(struct entry *entry, enum commit_outcome outcome, uint64_t revision)
{
    struct commit_mutation *mutation = entry->mutation;

    free(entry);
    mutation->done(mutation, outcome, revision);
}

static void tell_early(struct commit_log_fake *fake)
{
    struct list *link;

    while ((link = list_pop_front(&fake->early)) != NULL) {
        finish(entry_of(link), outcome_of(entry_of(link)->fate), 0);
    }
}

/* The log dies with the first in the queue, which is kept or lost; all behind it are lost. */
static void fail(struct commit_log_fake *fake)
{
    struct list *link;

    if (entry_of(fake->queue.next)->fate == FAKE_FATE_UNKNOWN_KEPT) {
        (void)keep(fake, entry_of(fake->queue.next)->mutation);
    }
    fake->failed = true;
    fake->callbacks->state(fake->context, COMMIT_LOG_FAILED, "planned by the test");
    while ((link = list_pop_front(&fake->queue)) != NULL) {
        fake->pending--;
        finish(entry_of(link), entry_of(link)->is_marker ? COMMIT_DONE : COMMIT_UNKNOWN,
               fake->medium->revision);
    }
}

/* Takes up to a batch of commits from the head of the queue. Returns how many. */
static unsigned take_batch(struct commit_log_fake *fake, struct entry **entries,
                           struct commit_event *events)
{
    unsigned count = 0;

    while (count < fake->batch && !list_is_empty(&fake->queue)) {
        struct entry *entry = entry_of(fake->queue.next);

        if (entry->is_marker || entry->fate != FAKE_FATE_COMMIT ||
            (fake->hold && fake->budget == 0)) {
            break;
        }
        list_remove(&entry->link);
        fake->pending--;
        if (fake->hold) {
            fake->budget--;
        }
        entries[count] = entry;
        events[count] = (struct commit_event){
            .revision = keep(fake, entry->mutation),
            .record_type = entry->mutation->record_type,
            .record = entry->mutation->record,
        };
        count++;
    }
    return count;
}

static void commit_batch(struct commit_log_fake *fake)
{
    struct entry *entries[BATCH_MAX];
    struct commit_event events[BATCH_MAX];
    unsigned count = take_batch(fake, entries, events);

    if (count > 0) {
        fake->callbacks->events(fake->context, events, count);
    }
    for (unsigned i = 0; i < count; i++) {
        finish(entries[i], COMMIT_DONE, events[i].revision);
    }
}

static void work_on_queue(struct commit_log_fake *fake)
{
    while (!list_is_empty(&fake->queue) && (!fake->hold || fake->budget > 0)) {
        struct entry *entry = entry_of(fake->queue.next);

        if (entry->is_marker) {
            list_remove(&entry->link);
            fake->pending--;
            fake->budget -= fake->hold ? 1 : 0;
            finish(entry, COMMIT_DONE, fake->medium->revision);
        } else if (entry->fate == FAKE_FATE_COMMIT) {
            commit_batch(fake);
        } else {
            fail(fake);
        }
    }
}

static void report(struct commit_log_fake *fake, enum wal_snapshot_step step)
{
    const struct wal_snapshot_report what = {
        .step = step,
        .lsn = fake->taking_revision,
        .records = fake->taking.count,
        .problem = step == WAL_SNAPSHOT_FAILED ? "the source gave up" : NULL,
    };

    if (fake->callbacks->checkpoint != NULL) {
        fake->callbacks->checkpoint(fake->context, &what);
    }
}

static void begin_checkpoint(struct commit_log_fake *fake)
{
    uint64_t count;

    fake->checkpoint_due = false;
    fake->taking_revision = fake->medium->revision;
    fake->is_taking =
        fake->callbacks->snapshot->begin(fake->context, fake->taking_revision, &count) == 0;
    report(fake, fake->is_taking ? WAL_SNAPSHOT_STARTED : WAL_SNAPSHOT_FAILED);
}

static void end_checkpoint(struct commit_log_fake *fake, int result)
{
    fake->is_taking = false;
    fake->callbacks->snapshot->end(fake->context);
    report(fake, result == WAL_SNAPSHOT_END ? WAL_SNAPSHOT_DONE : WAL_SNAPSHOT_FAILED);
    if (result == WAL_SNAPSHOT_END) {
        commit_log_medium_publish(fake->medium, &fake->taking, fake->taking_revision);
    }
    commit_log_medium_forget(&fake->taking);
}

static void work_on_checkpoint(struct commit_log_fake *fake)
{
    struct wal_record record;
    int result = 0;

    if (fake->checkpoint_due) {
        begin_checkpoint(fake);
    }
    while (fake->is_taking && result == 0) {
        result = fake->callbacks->snapshot->next(fake->context, &record);
        if (result != 0) {
            end_checkpoint(fake, result);
        } else {
            commit_log_medium_add(&fake->taking, record.lsn, record.type, record.body);
            if (fake->slow_checkpoints && fake->reactor != NULL) {
                reactor_defer_slow(fake->reactor, &fake->task);
                return;
            }
        }
    }
}

static void give_up_checkpoint(struct commit_log_fake *fake)
{
    fake->checkpoint_due = false;
    if (fake->is_taking) {
        fake->is_taking = false;
        fake->callbacks->snapshot->end(fake->context);
        commit_log_medium_forget(&fake->taking);
    }
}

static void run(struct reactor_task *task)
{
    struct commit_log_fake *fake = CONTAINER_OF(task, struct commit_log_fake, task);

    if (fake->ready_due) {
        fake->ready_due = false;
        fake->callbacks->state(fake->context, COMMIT_LOG_READY, NULL);
    }
    tell_early(fake);
    work_on_queue(fake);
    tell_early(fake);
    if (!fake->closing && !fake->failed) {
        work_on_checkpoint(fake);
    } else {
        give_up_checkpoint(fake);
    }
    if (fake->closing && !fake->closed && list_is_empty(&fake->queue)) {
        fake->closed = true;
        if (fake->reactor != NULL) {
            reactor_undefer(&fake->task);
        }
        fake->callbacks->state(fake->context, COMMIT_LOG_CLOSED, NULL); /* may free us */
    }
}

static void run_later(struct commit_log_fake *fake)
{
    if (fake->reactor != NULL) {
        reactor_defer(fake->reactor, &fake->task);
    }
}

static int fake_start(struct commit_log *log, const struct commit_log_callbacks *callbacks,
                      void *context, char *problem)
{
    struct commit_log_fake *fake = fake_of(log);
    struct commit_recovered recovered = {.revision = fake->medium->revision};
    int result;

    problem[0] = '\0';
    result = commit_log_medium_replay(fake->medium, callbacks, context);
    if (result != 0) {
        return result;
    }
    callbacks->reset_end(context, &recovered);
    fake->callbacks = callbacks;
    fake->context = context;
    fake->ready_due = true;
    run_later(fake);
    return 0;
}

static void fake_close(struct commit_log *log)
{
    struct commit_log_fake *fake = fake_of(log);

    fake->closing = true;
    fake->ready_due = false;
    if (fake->reactor != NULL) {
        fake->hold = false;
    }
    run_later(fake);
}

static enum commit_log_fake_fate next_fate(struct commit_log_fake *fake,
                                           const struct commit_mutation *mutation)
{
    enum commit_log_fake_fate fate = FAKE_FATE_COMMIT;

    if (fake->failed || fake->closing) {
        return FAKE_FATE_NOT_SENT;
    }
    if (mutation->record.size > WAL_RECORD_SIZE_MAX) {
        return FAKE_FATE_TOO_LARGE;
    }
    if (fake->pending >= fake->pending_max) {
        return FAKE_FATE_FULL;
    }
    if (fake->fate_countdown > 0) {
        fake->fate_countdown--;
        fate = fake->fate_countdown == 0 ? fake->fate : FAKE_FATE_COMMIT;
    }
    return fate;
}

static bool is_early(enum commit_log_fake_fate fate)
{
    return fate != FAKE_FATE_COMMIT && fate != FAKE_FATE_UNKNOWN_KEPT &&
           fate != FAKE_FATE_UNKNOWN_LOST;
}

static void enqueue(struct commit_log_fake *fake, struct commit_mutation *mutation,
                    enum commit_log_fake_fate fate, bool is_marker)
{
    struct entry *entry = must(malloc(sizeof(*entry)));

    entry->mutation = mutation;
    entry->fate = fate;
    entry->is_marker = is_marker;
    list_init(&entry->link);
    if (is_early(fate)) {
        list_push_back(&fake->early, &entry->link);
    } else {
        list_push_back(&fake->queue, &entry->link);
        fake->pending++;
    }
    run_later(fake);
}

static void fake_submit(struct commit_log *log, struct commit_mutation *mutation)
{
    struct commit_log_fake *fake = fake_of(log);

    enqueue(fake, mutation, next_fate(fake, mutation), false);
}

static void fake_barrier(struct commit_log *log, struct commit_mutation *marker)
{
    enqueue(fake_of(log), marker, FAKE_FATE_COMMIT, true);
}

static int fake_checkpoint(struct commit_log *log)
{
    struct commit_log_fake *fake = fake_of(log);

    if (fake->failed || fake->closing) {
        return -EIO;
    }
    if (fake->callbacks->snapshot == NULL) {
        return -ENOTSUP;
    }
    if (fake->checkpoint_due || fake->is_taking) {
        return -EBUSY;
    }
    fake->checkpoint_due = true;
    run_later(fake);
    return 0;
}

static struct commit_log_limits fake_limits(const struct commit_log *log)
{
    return (struct commit_log_limits){
        .record_size_max = WAL_RECORD_SIZE_MAX,
        .pending_max = const_fake_of(log)->pending_max,
    };
}

static const struct wal_stats *fake_stats(const struct commit_log *log)
{
    (void)log;
    return NULL;
}

static void fake_free(struct commit_log *log)
{
    if (log != NULL) {
        assert(list_is_empty(&fake_of(log)->queue));
        assert(list_is_empty(&fake_of(log)->early));
        free(fake_of(log));
    }
}

static const struct commit_log_ops fake_ops = {
    .start = fake_start,
    .close = fake_close,
    .submit = fake_submit,
    .barrier = fake_barrier,
    .checkpoint = fake_checkpoint,
    .limits = fake_limits,
    .stats = fake_stats,
    .free = fake_free,
};

struct commit_log *commit_log_fake_new(struct reactor *reactor, struct commit_log_medium *medium)
{
    struct commit_log_fake *fake = must(calloc(1, sizeof(*fake)));

    fake->log.ops = &fake_ops;
    fake->reactor = reactor;
    fake->medium = medium;
    fake->hold = reactor == NULL;
    fake->batch = 1;
    fake->pending_max = UINT32_MAX;
    list_init(&fake->early);
    list_init(&fake->queue);
    list_init(&fake->task.link);
    fake->task.run = run;
    return &fake->log;
}

void commit_log_fake_hold(struct commit_log *log, bool hold)
{
    assert(fake_of(log)->reactor != NULL);
    fake_of(log)->hold = hold;
    fake_of(log)->budget = 0;
    run_later(fake_of(log));
}

void commit_log_fake_step(struct commit_log *log, unsigned count)
{
    struct commit_log_fake *fake = fake_of(log);

    fake->budget = count < fake->pending ? count : fake->pending;
    if (fake->reactor == NULL) {
        run(&fake->task);
    } else {
        run_later(fake);
    }
}

unsigned commit_log_fake_pending(const struct commit_log *log)
{
    return const_fake_of(log)->pending;
}

void commit_log_fake_set_fate(struct commit_log *log, unsigned nth, enum commit_log_fake_fate fate)
{
    fake_of(log)->fate_countdown = nth;
    fake_of(log)->fate = fate;
}

void commit_log_fake_set_batch(struct commit_log *log, unsigned count)
{
    assert(count > 0);
    assert(count <= BATCH_MAX);
    fake_of(log)->batch = count;
}

void commit_log_fake_slow_checkpoints(struct commit_log *log)
{
    fake_of(log)->slow_checkpoints = true;
}

void commit_log_fake_set_pending_max(struct commit_log *log, uint32_t max)
{
    fake_of(log)->pending_max = max;
}
