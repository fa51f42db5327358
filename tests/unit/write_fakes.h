/*
 * What a write stands on, under the test's control: a work pool without threads, a log that tells
 * its outcomes when asked to, a clock that stands still, randomness that repeats. The functions of
 * core/workpool.h are replaced for the whole program, so include it in one file of a test program
 * only.
 *
 * Thread: one.
 */
#ifndef UNIT_WRITE_FAKES_H
#define UNIT_WRITE_FAKES_H

#include "core/clock.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/workpool.h"
#include "service/commit_log.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- the pool: jobs run when fake_pool_run() is called ---- */

struct fake_pool {
    struct list jobs;
    unsigned job_count;
    unsigned job_max;
    unsigned works_run;
};

enum {
    FAKE_JOB_WAITING = 1,
    FAKE_JOB_RUNNING,
    FAKE_JOB_CANCELLED,
};

static struct fake_pool fake_pool;

static inline void fake_pool_init(unsigned job_max)
{
    fake_pool = (struct fake_pool){.job_max = job_max};
    list_init(&fake_pool.jobs);
}

int workpool_submit(struct workpool *pool, struct workpool_job *job)
{
    (void)pool;
    if (fake_pool.job_count == fake_pool.job_max) {
        return WORKPOOL_E_FULL;
    }
    fake_pool.job_count++;
    job->state = FAKE_JOB_WAITING;
    list_init(&job->link);
    list_push_back(&fake_pool.jobs, &job->link);
    return 0;
}

void workpool_cancel(struct workpool *pool, struct workpool_job *job)
{
    (void)pool;
    if (job->state == FAKE_JOB_WAITING) {
        job->state = FAKE_JOB_CANCELLED;
    }
}

/* Runs `work` of the first job, as a thread would, and leaves its `finish` for later. */
static inline void fake_pool_work_first(void)
{
    struct workpool_job *job = CONTAINER_OF(fake_pool.jobs.next, struct workpool_job, link);

    assert(job->state == FAKE_JOB_WAITING);
    job->state = FAKE_JOB_RUNNING;
    job->work(job);
    fake_pool.works_run++;
}

static inline void fake_pool_end_job(struct workpool_job *job)
{
    if (job->state == FAKE_JOB_WAITING) {
        job->state = FAKE_JOB_RUNNING;
        job->work(job);
        fake_pool.works_run++;
    }
    list_remove(&job->link);
    fake_pool.job_count--;
    job->finish(job, job->state == FAKE_JOB_CANCELLED);
}

/* Brings every job to its end. */
static inline void fake_pool_run(void)
{
    while (!list_is_empty(&fake_pool.jobs)) {
        fake_pool_end_job(CONTAINER_OF(fake_pool.jobs.next, struct workpool_job, link));
    }
}

/* Brings one job to its end: the first, or the last. False when there is none. */
static inline bool fake_pool_run_one(bool last)
{
    struct list *link = last ? fake_pool.jobs.prev : fake_pool.jobs.next;

    if (list_is_empty(&fake_pool.jobs)) {
        return false;
    }
    fake_pool_end_job(CONTAINER_OF(link, struct workpool_job, link));
    return true;
}

/* ---- the log: keeps what was submitted until it is settled ---- */

#define FAKE_LOG_RECORDS_MAX 256

struct fake_log {
    struct commit_log log;
    const struct commit_log_callbacks *callbacks;
    void *context;
    struct list submitted;
    struct reactor *reactor; /* tells of refusals, as the real log does: at the end of the turn */
    struct reactor_task task;
    struct list refused;
    unsigned refuse_count; /* so many of the next submits are refused, */
    enum commit_outcome refuse_as;

    struct fake_log_record {
        uint64_t revision;
        uint8_t type;
        bool is_in_snapshot;
        struct bytes body;
    } records[FAKE_LOG_RECORDS_MAX]; /* durable */

    unsigned record_count;
    uint64_t revision;      /* of the last record */
    bool may_have_lost;     /* what the next start is told */
    int checkpoint_refusal; /* negative errno; 0 = it is taken, at once */
};

static inline struct fake_log *fake_log_of(struct commit_log *log)
{
    return CONTAINER_OF(log, struct fake_log, log);
}

static inline int fake_log_start(struct commit_log *log,
                                 const struct commit_log_callbacks *callbacks, void *context,
                                 char *problem)
{
    struct fake_log *fake = fake_log_of(log);
    int result;

    problem[0] = '\0';
    fake->callbacks = callbacks;
    fake->context = context;
    result = callbacks->reset_begin(context, fake->record_count);
    for (unsigned i = 0; i < fake->record_count && result == 0; i++) {
        struct commit_event event = {.revision = fake->records[i].revision,
                                     .record_type = fake->records[i].type,
                                     .is_in_snapshot = fake->records[i].is_in_snapshot,
                                     .record = fake->records[i].body};

        result = callbacks->reset_record(context, &event);
    }
    if (result == 0) {
        struct commit_recovered recovered = {fake->revision, fake->may_have_lost};

        callbacks->reset_end(context, &recovered);
        callbacks->state(context, COMMIT_LOG_READY, "");
    }
    return result;
}

static inline void fake_log_submit(struct commit_log *log, struct commit_mutation *mutation)
{
    struct fake_log *fake = fake_log_of(log);

    list_init(&mutation->link);
    if (fake->refuse_count > 0) {
        fake->refuse_count--;
        list_push_back(&fake->refused, &mutation->link);
        reactor_defer(fake->reactor, &fake->task);
    } else {
        list_push_back(&fake->submitted, &mutation->link);
    }
}

static inline void fake_log_tell_refused(struct reactor_task *task)
{
    struct fake_log *fake = CONTAINER_OF(task, struct fake_log, task);
    struct list *link;

    while ((link = list_pop_front(&fake->refused)) != NULL) {
        struct commit_mutation *mutation = CONTAINER_OF(link, struct commit_mutation, link);

        mutation->done(mutation, fake->refuse_as, 0);
    }
}

/* The next so many records are refused, from a task of the reactor. */
static inline void fake_log_refuse(struct fake_log *fake, unsigned count,
                                   enum commit_outcome outcome, struct reactor *reactor)
{
    fake->reactor = reactor;
    fake->refuse_count = count;
    fake->refuse_as = outcome;
}

static inline void fake_log_put(struct fake_log *fake, const struct fake_log_record *record)
{
    uint8_t *copy = malloc(record->body.size + 1);

    assert(copy != NULL && fake->record_count < FAKE_LOG_RECORDS_MAX);
    if (record->body.size > 0) {
        memcpy(copy, record->body.data, record->body.size);
    }
    fake->records[fake->record_count] = *record;
    fake->records[fake->record_count].body.data = copy;
    fake->record_count++;
}

/* Makes a record durable, as another writer of the log would. */
static inline void fake_log_add(struct fake_log *fake, uint8_t type, struct bytes body)
{
    struct fake_log_record record = {++fake->revision, type, false, body};

    fake_log_put(fake, &record);
}

static inline void fake_log_clear(struct fake_log *fake)
{
    while (fake->record_count > 0) {
        fake->record_count--;
        free((void *)(uintptr_t)fake->records[fake->record_count].body.data);
    }
}

/* A snapshot takes the place of all records. */
static inline int fake_log_checkpoint(struct commit_log *log)
{
    struct fake_log *fake = fake_log_of(log);
    const struct wal_snapshot_source *source = fake->callbacks->snapshot;
    struct wal_snapshot_report report = {.step = WAL_SNAPSHOT_DONE, .lsn = fake->revision};
    struct wal_record record;
    uint64_t count;

    if (fake->checkpoint_refusal != 0) {
        return fake->checkpoint_refusal;
    }
    fake_log_clear(fake);
    if (source->begin(fake->context, fake->revision, &count) != 0) {
        abort();
    }
    while (source->next(fake->context, &record) == 0) {
        struct fake_log_record kept = {record.lsn, record.type, true, record.body};

        fake_log_put(fake, &kept);
        report.records++;
    }
    source->end(fake->context);
    fake->callbacks->checkpoint(fake->context, &report);
    return 0;
}

static const struct commit_log_ops fake_log_ops = {
    .start = fake_log_start,
    .submit = fake_log_submit,
    .checkpoint = fake_log_checkpoint,
};

static inline void fake_log_init(struct fake_log *fake)
{
    *fake = (struct fake_log){.log.ops = &fake_log_ops};
    fake->task.run = fake_log_tell_refused;
    list_init(&fake->task.link);
    list_init(&fake->refused);
    list_init(&fake->submitted);
}

static inline void fake_log_deinit(struct fake_log *fake)
{
    fake_log_clear(fake);
}

/* Tells the outcome of the oldest mutation; false when there is none. */
static inline bool fake_log_settle(struct fake_log *fake, enum commit_outcome outcome)
{
    struct list *link = list_pop_front(&fake->submitted);
    struct commit_mutation *mutation;

    if (link == NULL) {
        return false;
    }
    mutation = CONTAINER_OF(link, struct commit_mutation, link);
    if (outcome == COMMIT_DONE) {
        struct commit_event event;

        fake_log_add(fake, mutation->record_type, mutation->record);
        event = (struct commit_event){.revision = fake->revision,
                                      .record_type = mutation->record_type,
                                      .record = fake->records[fake->record_count - 1].body};
        fake->callbacks->events(fake->context, &event, 1);
    }
    mutation->done(mutation, outcome, fake->revision);
    return true;
}

/* Makes everything durable, also what is submitted meanwhile. */
static inline void fake_log_settle_all(struct fake_log *fake)
{
    while (fake_log_settle(fake, COMMIT_DONE)) {
    }
}

/* ---- the loop: a reactor without a ring ---- */

static inline void fake_reactor_init(struct reactor *reactor, struct clock_source *clock)
{
    *reactor = (struct reactor){.clock = clock};
    list_init(&reactor->tasks);
    list_init(&reactor->slow_tasks);
}

static inline void fake_reactor_deinit(struct reactor *reactor)
{
    assert(list_is_empty(&reactor->tasks) && list_is_empty(&reactor->slow_tasks));
    timer_set_deinit(&reactor->timers);
}

/* The end of a turn: what was deferred runs, and what that defers. Tells whether there was any. */
static inline bool fake_reactor_turn(struct reactor *reactor)
{
    bool any = false;
    struct list *link;

    while ((link = list_pop_front(&reactor->tasks)) != NULL ||
           (link = list_pop_front(&reactor->slow_tasks)) != NULL) {
        struct reactor_task *task = CONTAINER_OF(link, struct reactor_task, link);

        any = true;
        task->run(task);
    }
    return any;
}

/* ---- clock and randomness ---- */

struct fake_clock {
    struct clock_source source;
    uint64_t now_ms;
};

static inline uint64_t fake_clock_ns(struct clock_source *source)
{
    return CONTAINER_OF(source, struct fake_clock, source)->now_ms * CLOCK_NS_PER_MS;
}

static inline void fake_clock_init(struct fake_clock *clock, uint64_t now_ms)
{
    *clock = (struct fake_clock){{fake_clock_ns, fake_clock_ns}, now_ms};
}

struct fake_random {
    struct random_source source;
    uint64_t state;
};

static inline void fake_random_fill(struct random_source *source, void *bytes, size_t size)
{
    struct fake_random *fake = CONTAINER_OF(source, struct fake_random, source);
    uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++) { /* Knuth's linear congruential generator */
        fake->state = fake->state * 6364136223846793005ULL + 1442695040888963407ULL;
        at[i] = (uint8_t)(fake->state >> 56);
    }
}

static inline void fake_random_init(struct fake_random *fake, uint64_t seed)
{
    *fake = (struct fake_random){{fake_random_fill}, seed};
}

#endif
