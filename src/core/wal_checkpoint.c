/*
 * A snapshot of everything up to LSN B, taken while the log goes on, and what becomes superfluous
 * by it. The file's format is written down at the head of snapshot_format.c.
 *
 *   state          what is done                              goes on to
 *   IDLE
 *   WRITING        snap.tmp: all records, footer, sync       VERIFYING      (snapshot_write.c)
 *   VERIFYING      all of it is read back and checked        WAITING        (snapshot_verify.c)
 *   WAITING        the log becomes durable up to B           RENAMING
 *   RENAMING       snap.tmp becomes snap-<B>.snap            SYNCING_NAME
 *   SYNCING_NAME   the directory is synced                   TRIMMING
 *   TRIMMING       one file after another is removed         SYNCING_TRIM, if there was any
 *   SYNCING_TRIM   the directory is synced                   IDLE: DONE is told
 *   CLEANING       snap.tmp, which is no good, is removed    IDLE: FAILED is told
 *
 * What is superfluous, wal_inventory.c knows. Every snapshot that counts there was checked before
 * it got its name, by this run or an earlier one.
 *
 * A snapshot with the LSN of the newest one takes its place. That one may be all there is: a
 * restored directory has no other and no log before it. This is why a snapshot gets its name only
 * when it was read back.
 *
 * What a crash leaves
 *
 *   Until RENAMING: a snap.tmp that nobody reads. In RENAMING and SYNCING_NAME: one name or the
 *   other; under its own it is whole, and the log durable up to B, because both were synced before.
 *   In TRIMMING: the new snapshot, and of what is superfluous any part.
 *
 * What a failure means
 *
 *   WRITING, VERIFYING: nothing depends on the file. It is removed, FAILED is told, the log goes
 *     on; no room (-ENOSPC) is one of these, and comes before the log feels it (keep_free).
 *   TRIMMING: what cannot be removed stays, and what comes behind it; the next snapshot tries
 *     again. The snapshot itself is good: DONE.
 *   CLEANING: the file stays; FAILED is told with the first failure.
 *   RENAMING and the two syncs of the directory: final for the log.
 */
#include "core/wal_checkpoint.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/random.h"
#include "core/reactor.h"
#include "core/snapshot_verify.h"
#include "core/snapshot_write.h"
#include "core/wal_inventory.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_SIZE ((uint64_t)1024 * 1024) /* stays free besides the plan's keep_free */
#define MEMORY_SIZE                                                                                \
    (SNAPSHOT_WRITE_MEMORY_SIZE > SNAPSHOT_VERIFY_MEMORY_SIZE ? SNAPSHOT_WRITE_MEMORY_SIZE         \
                                                              : SNAPSHOT_VERIFY_MEMORY_SIZE)

static_assert(MEMORY_SIZE % DISK_BLOCK_SIZE == 0, "as aligned_alloc() wants it");

enum checkpoint_state {
    IDLE,
    WRITING,
    VERIFYING,
    WAITING,
    RENAMING,
    SYNCING_NAME,
    TRIMMING,
    SYNCING_TRIM,
    CLEANING,
};

struct wal_checkpoint {
    struct disk *disk;
    struct reactor *reactor;
    struct random_source *random;
    const struct wal_checkpoint_events *events;
    void *owner;
    struct wal_inventory inventory;

    enum checkpoint_state state;
    struct wal_checkpoint_plan plan;
    uint64_t start_ns;
    uint64_t durable_lsn;
    uint8_t *memory;          /* of the step that needs it; there while one is running */
    struct wal_lsns *trimmed; /* the list whose first file is being removed */
    unsigned snapshots_removed;
    unsigned segments_removed;
    char name[WAL_FORMAT_NAME_SIZE];   /* the snapshot's */
    char doomed[WAL_FORMAT_NAME_SIZE]; /* the file that is being removed */
    char problem[WAL_PROBLEM_SIZE];
    bool stopping;

    struct snapshot_write write;
    struct snapshot_verify verify;
    struct disk_op op;
    bool pending; /* `op` is */
    /* It is time to go on from WAITING; or the state's operation was not even taken: `refusal`. */
    struct reactor_task task;
    int refusal; /* negative errno */
};

/* The end. */

/* Nothing of the present snapshot is in memory after this. */
static void go_idle(struct wal_checkpoint *checkpoint)
{
    checkpoint->state = IDLE;
    free(checkpoint->memory);
    checkpoint->memory = NULL;
}

static void report(struct wal_checkpoint *checkpoint, enum wal_snapshot_step step)
{
    const struct wal_snapshot_report report = {
        .step = step,
        .lsn = checkpoint->plan.lsn,
        .records = checkpoint->write.record_count,
        .bytes = checkpoint->write.size,
        .ns = clock_monotonic_ns(checkpoint->reactor->clock) - checkpoint->start_ns,
        .segments_removed = checkpoint->segments_removed,
        .problem = step == WAL_SNAPSHOT_FAILED ? checkpoint->problem : NULL,
    };

    go_idle(checkpoint);
    checkpoint->events->ended(checkpoint->owner, &report); /* may start the next one */
}

static void fail(struct wal_checkpoint *checkpoint, int error)
{
    go_idle(checkpoint);
    checkpoint->events->failed(checkpoint->owner, error);
}

/* What was pending when it was stopped has ended. */
static void end_stop(struct wal_checkpoint *checkpoint)
{
    go_idle(checkpoint);
    checkpoint->events->stopped(checkpoint->owner); /* the checkpoint may be gone after this */
}

static void say(struct wal_checkpoint *checkpoint, const char *what, int error)
{
    (void)snprintf(checkpoint->problem, WAL_PROBLEM_SIZE, "%s: %s: %s", SNAPSHOT_FORMAT_TEMPORARY,
                   what, strerror(-error)); /* may be cut */
}

/* The steps. */

static void go(struct wal_checkpoint *checkpoint, enum checkpoint_state state);

static void remove_file(struct wal_checkpoint *checkpoint, enum checkpoint_state state,
                        const char *name)
{
    assert(strlen(name) < WAL_FORMAT_NAME_SIZE);
    (void)snprintf(checkpoint->doomed, WAL_FORMAT_NAME_SIZE, "%s", name); /* fits */
    go(checkpoint, state);
}

/* The file is no good; `problem` says why. */
static void clean(struct wal_checkpoint *checkpoint)
{
    remove_file(checkpoint, CLEANING, SNAPSHOT_FORMAT_TEMPORARY);
}

void wal_checkpoint_note_durable(struct wal_checkpoint *checkpoint, uint64_t lsn)
{
    checkpoint->durable_lsn = lsn;
    if (checkpoint->state == WAITING && lsn >= checkpoint->plan.lsn) {
        reactor_defer(checkpoint->reactor, &checkpoint->task);
    }
}

static void on_verified(struct snapshot_verify *verify, int result)
{
    struct wal_checkpoint *checkpoint = CONTAINER_OF(verify, struct wal_checkpoint, verify);

    if (checkpoint->stopping) {
        end_stop(checkpoint);
    } else if (result != 0) {
        clean(checkpoint);
    } else if (checkpoint->durable_lsn < checkpoint->plan.lsn) {
        checkpoint->state = WAITING;
    } else {
        go(checkpoint, RENAMING);
    }
}

static void start_verifying(struct wal_checkpoint *checkpoint)
{
    int result;

    checkpoint->state = VERIFYING;
    checkpoint->verify = (struct snapshot_verify){
        .ended = on_verified,
        .disk = checkpoint->disk,
        .reactor = checkpoint->reactor,
        .memory = checkpoint->memory,
        .name = SNAPSHOT_FORMAT_TEMPORARY,
        .lsn = checkpoint->plan.lsn,
        .store_uuid = checkpoint->plan.store_uuid,
        .pace = checkpoint->write.pace,
        .problem = checkpoint->problem,
    };
    result = snapshot_verify_start(&checkpoint->verify);
    if (result != 0) {
        clean(checkpoint);
    }
}

static const char *why_unwritten(const struct snapshot_write *write, int error)
{
    if (!write->source_gave_up) {
        return "cannot be written";
    }
    return error == -ENOBUFS ? "more changed meanwhile than wal.snapshot_max_kept may keep"
                             : "given up by its source";
}

static void on_written(struct snapshot_write *write, int result)
{
    struct wal_checkpoint *checkpoint = CONTAINER_OF(write, struct wal_checkpoint, write);

    if (checkpoint->stopping) {
        end_stop(checkpoint);
    } else if (result != 0) {
        say(checkpoint, why_unwritten(write, result), result);
        clean(checkpoint);
    } else {
        start_verifying(checkpoint);
    }
}

static void trim(struct wal_checkpoint *checkpoint)
{
    char name[WAL_FORMAT_NAME_SIZE];

    checkpoint->trimmed = wal_inventory_find_superfluous(&checkpoint->inventory, name);
    if (checkpoint->trimmed != NULL) {
        remove_file(checkpoint, TRIMMING, name);
    } else if (checkpoint->snapshots_removed + checkpoint->segments_removed > 0) {
        go(checkpoint, SYNCING_TRIM);
    } else {
        report(checkpoint, WAL_SNAPSHOT_DONE);
    }
}

static void on_removed(struct wal_checkpoint *checkpoint, int result)
{
    if (result != 0 && result != -ENOENT) { /* a person may have been faster */
        go(checkpoint, SYNCING_TRIM);
        return;
    }
    if (checkpoint->trimmed == &checkpoint->inventory.segments) {
        checkpoint->segments_removed++;
    } else {
        checkpoint->snapshots_removed++;
    }
    wal_lsns_drop_first(checkpoint->trimmed);
    trim(checkpoint);
}

/* It has its name, for good. */
static void on_published(struct wal_checkpoint *checkpoint)
{
    const int result = wal_checkpoint_note_snapshot(checkpoint, checkpoint->plan.lsn);

    assert(result == 0); /* there is room since the start */
    trim(checkpoint);
}

/* The one operation of the state. Returns 0 or negative errno. */
static int submit(struct wal_checkpoint *checkpoint)
{
    const struct disk_ops *ops = checkpoint->disk->ops;

    switch (checkpoint->state) {
    case TRIMMING:
    case CLEANING:
        return ops->remove_later(checkpoint->disk, &checkpoint->op, checkpoint->doomed);
    case RENAMING:
        return ops->rename_later(checkpoint->disk, &checkpoint->op, SNAPSHOT_FORMAT_TEMPORARY,
                                 checkpoint->name);
    case SYNCING_NAME:
    case SYNCING_TRIM:
        return ops->sync_directory_later(checkpoint->disk, &checkpoint->op);
    case IDLE:
    case WRITING:
    case WAITING:
    case VERIFYING:
        break;
    }
    assert(false);
    return 0;
}

/* The operation of a state that only goes on when it has succeeded. Returns whether it may. */
static bool succeeded(struct wal_checkpoint *checkpoint, int result)
{
    if (result != 0) {
        fail(checkpoint, result);
    }
    return result == 0;
}

/* The operation of the state has ended. */
static void on_step(struct wal_checkpoint *checkpoint, int result)
{
    switch (checkpoint->state) {
    case RENAMING:
        if (succeeded(checkpoint, result)) {
            go(checkpoint, SYNCING_NAME);
        }
        return;
    case SYNCING_NAME:
        if (succeeded(checkpoint, result)) {
            on_published(checkpoint);
        }
        return;
    case TRIMMING:
        on_removed(checkpoint, result);
        return;
    case SYNCING_TRIM:
        if (succeeded(checkpoint, result)) {
            report(checkpoint, WAL_SNAPSHOT_DONE);
        }
        return;
    case CLEANING:
        report(checkpoint, WAL_SNAPSHOT_FAILED);
        return;
    case IDLE:
    case WRITING:
    case WAITING:
    case VERIFYING:
        break;
    }
    assert(false);
}

/* Enters a state that is one operation on the disk. */
static void go(struct wal_checkpoint *checkpoint, enum checkpoint_state state)
{
    int result;

    assert(!checkpoint->pending);
    checkpoint->state = state;
    result = submit(checkpoint);
    checkpoint->pending = result == 0;
    if (result != 0) {
        checkpoint->refusal = result;
        reactor_defer(checkpoint->reactor, &checkpoint->task);
    }
}

static void on_task(struct reactor_task *task)
{
    struct wal_checkpoint *checkpoint = CONTAINER_OF(task, struct wal_checkpoint, task);

    if (checkpoint->state == WAITING) {
        go(checkpoint, RENAMING);
    } else {
        on_step(checkpoint, checkpoint->refusal);
    }
}

static void on_op(struct disk_op *op, int result)
{
    struct wal_checkpoint *checkpoint = CONTAINER_OF(op, struct wal_checkpoint, op);

    checkpoint->pending = false;
    if (checkpoint->stopping) {
        end_stop(checkpoint);
    } else {
        on_step(checkpoint, result);
    }
}

/* From outside. */

int wal_checkpoint_new(struct disk *disk, struct reactor *reactor, struct random_source *random,
                       struct wal_checkpoint **ret_checkpoint)
{
    struct wal_checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));

    if (checkpoint == NULL) {
        return -ENOMEM;
    }
    checkpoint->disk = disk;
    checkpoint->reactor = reactor;
    checkpoint->random = random;
    checkpoint->op.done = on_op;
    list_init(&checkpoint->task.link);
    checkpoint->task.run = on_task;
    *ret_checkpoint = checkpoint;
    return 0;
}

void wal_checkpoint_free(struct wal_checkpoint *checkpoint)
{
    if (checkpoint == NULL) {
        return;
    }
    assert(!wal_checkpoint_is_pending(checkpoint));
    wal_checkpoint_stop(checkpoint);
    wal_inventory_deinit(&checkpoint->inventory);
    free(checkpoint);
}

void wal_checkpoint_set_events(struct wal_checkpoint *checkpoint,
                               const struct wal_checkpoint_events *events, void *owner)
{
    checkpoint->events = events;
    checkpoint->owner = owner;
}

int wal_checkpoint_note_segment(struct wal_checkpoint *checkpoint, uint64_t first_lsn)
{
    return wal_inventory_note(&checkpoint->inventory.segments, first_lsn);
}

int wal_checkpoint_note_snapshot(struct wal_checkpoint *checkpoint, uint64_t lsn)
{
    return wal_inventory_note(&checkpoint->inventory.snapshots, lsn);
}

unsigned wal_checkpoint_segment_count(const struct wal_checkpoint *checkpoint)
{
    return (unsigned)checkpoint->inventory.segments.count;
}

static void prepare(struct wal_checkpoint *checkpoint, uint64_t record_count)
{
    const struct wal_checkpoint_plan *plan = &checkpoint->plan;
    struct snapshot_write *write = &checkpoint->write;

    *write = (struct snapshot_write){
        .ended = on_written,
        .disk = checkpoint->disk,
        .reactor = checkpoint->reactor,
        .memory = checkpoint->memory,
        .source = plan->source,
        .source_context = plan->source_context,
        .keep_free = plan->keep_free + RESERVE_SIZE,
        .pace = {.rate = plan->rate},
        .header =
            {
                .lsn = plan->lsn,
                .realtime_ns = clock_realtime_ns(checkpoint->reactor->clock),
                .record_count = record_count,
            },
    };
    memcpy(write->header.store_uuid, plan->store_uuid, WAL_FORMAT_UUID_SIZE);
    random_fill(checkpoint->random, &write->header.epoch, sizeof(write->header.epoch));
}

int wal_checkpoint_start(struct wal_checkpoint *checkpoint, const struct wal_checkpoint_plan *plan)
{
    uint64_t record_count = 0;
    int result = wal_lsns_reserve(&checkpoint->inventory.snapshots);

    assert(checkpoint->state == IDLE && !checkpoint->stopping);
    assert(wal_lsns_last(&checkpoint->inventory.snapshots) <= plan->lsn);
    if (result != 0) {
        return result;
    }
    checkpoint->memory = aligned_alloc(DISK_BLOCK_SIZE, MEMORY_SIZE);
    if (checkpoint->memory == NULL) {
        return -ENOMEM;
    }
    result = plan->source->begin(plan->source_context, plan->lsn, &record_count);
    if (result != 0) {
        go_idle(checkpoint);
        return result;
    }
    checkpoint->plan = *plan;
    checkpoint->durable_lsn = plan->durable_lsn;
    checkpoint->start_ns = clock_monotonic_ns(checkpoint->reactor->clock);
    checkpoint->snapshots_removed = 0;
    checkpoint->segments_removed = 0;
    snapshot_format_name(plan->lsn, checkpoint->name);
    prepare(checkpoint, record_count);
    result = snapshot_write_start(&checkpoint->write);
    if (result != 0) {
        go_idle(checkpoint);
        return result;
    }
    checkpoint->state = WRITING;
    return 0;
}

bool wal_checkpoint_is_running(const struct wal_checkpoint *checkpoint)
{
    return checkpoint->state != IDLE;
}

bool wal_checkpoint_is_pending(const struct wal_checkpoint *checkpoint)
{
    return checkpoint->pending || checkpoint->write.pending || checkpoint->verify.pending;
}

void wal_checkpoint_stop(struct wal_checkpoint *checkpoint)
{
    if (checkpoint->stopping) {
        return;
    }
    checkpoint->stopping = true;
    reactor_undefer(&checkpoint->task);
    snapshot_write_stop(&checkpoint->write);
    snapshot_verify_stop(&checkpoint->verify);
    if (!wal_checkpoint_is_pending(checkpoint)) {
        go_idle(checkpoint);
    }
}
