#include "lib/commit_recorder.h"

#include "core/list.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct recorded {
    struct commit_mutation mutation;
    struct commit_recorder *recorder;
    uint32_t tag;
    uint8_t bytes[];
};

static uint32_t tag_of(struct bytes record)
{
    uint32_t tag = 0;

    if (record.size >= sizeof(tag)) {
        memcpy(&tag, record.data, sizeof(tag));
    }
    return tag;
}

static void note(struct commit_recorder *recorder, struct commit_note what)
{
    assert(recorder->count < COMMIT_RECORDER_NOTES_MAX);
    recorder->notes[recorder->count++] = what;
    recorder->told_inside += recorder->inside;
}

static int on_reset_begin(void *context, uint64_t record_count)
{
    struct commit_recorder *recorder = context;

    (void)record_count;
    recorder->notes[recorder->count++] = (struct commit_note){.kind = NOTE_RESET_BEGIN};
    return 0;
}

static int on_reset_record(void *context, const struct commit_event *event)
{
    struct commit_recorder *recorder = context;

    assert(event->realtime_ns != 0 || event->is_in_snapshot);
    assert(event->record_type == (uint8_t)tag_of(event->record));
    recorder->notes[recorder->count++] =
        (struct commit_note){.kind = NOTE_RESET_RECORD,
                             .revision = event->revision,
                             .tag = tag_of(event->record),
                             .is_in_snapshot = event->is_in_snapshot};
    return recorder->reset_error;
}

static void on_reset_end(void *context, const struct commit_recovered *recovered)
{
    struct commit_recorder *recorder = context;

    recorder->notes[recorder->count++] =
        (struct commit_note){.kind = NOTE_RESET_END, .revision = recovered->revision};
}

/* The next note that is of a tag in the state, or NULL. */
static const struct commit_note *next_tagged(struct commit_recorder *recorder)
{
    struct commit_recorder_snapshot *snapshot = &recorder->snapshot;

    while (snapshot->note < snapshot->end) {
        const struct commit_note *told = &recorder->notes[snapshot->note++];

        if (told->kind == NOTE_RESET_RECORD || told->kind == NOTE_EVENT) {
            return told;
        }
    }
    return NULL;
}

static int on_snapshot_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct commit_recorder *recorder = context;
    struct commit_recorder_snapshot *snapshot = &recorder->snapshot;
    uint64_t last = 0;

    assert(snapshot->begun == 0);
    snapshot->begun++;
    snapshot->note = 0;
    snapshot->given = 0;
    snapshot->end = recorder->count;
    *ret_record_count = 0;
    for (const struct commit_note *told; (told = next_tagged(recorder)) != NULL;) {
        last = told->revision;
        ++*ret_record_count;
    }
    assert(last == lsn);
    snapshot->note = 0;
    return 0;
}

static int on_snapshot_next(void *context, struct wal_record *ret_record)
{
    struct commit_recorder *recorder = context;
    struct commit_recorder_snapshot *snapshot = &recorder->snapshot;
    const struct commit_note *told = next_tagged(recorder);

    assert(snapshot->begun == 1);
    if (told == NULL) {
        return WAL_SNAPSHOT_END;
    }
    if (++snapshot->given == snapshot->give_up) {
        return -ENOBUFS;
    }
    snapshot->body = told->tag;
    *ret_record = (struct wal_record){
        .lsn = told->revision,
        .type = (uint8_t)told->tag,
        .is_in_snapshot = true,
        .body = {(const uint8_t *)&snapshot->body, sizeof(snapshot->body)},
    };
    return 0;
}

static void on_snapshot_end(void *context)
{
    struct commit_recorder *recorder = context;

    assert(recorder->snapshot.begun == 1);
    recorder->snapshot.begun--;
}

static void on_checkpoint(void *context, const struct wal_snapshot_report *report)
{
    assert(report->step != WAL_SNAPSHOT_FAILED || report->problem != NULL);
    note(context, (struct commit_note){
                      .kind = NOTE_CHECKPOINT, .revision = report->lsn, .step = report->step});
}

static void on_events(void *context, const struct commit_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert(events[i].record_type == (uint8_t)tag_of(events[i].record));
        note(context, (struct commit_note){.kind = NOTE_EVENT,
                                           .revision = events[i].revision,
                                           .tag = tag_of(events[i].record)});
    }
}

static void on_state(void *context, enum commit_log_state state, const char *reason)
{
    assert(state != COMMIT_LOG_FAILED || reason != NULL);
    note(context, (struct commit_note){.kind = NOTE_STATE, .state = state});
}

static const struct wal_snapshot_source snapshot_source = {
    .begin = on_snapshot_begin,
    .next = on_snapshot_next,
    .end = on_snapshot_end,
};

const struct commit_log_callbacks commit_recorder_callbacks = {
    .reset_begin = on_reset_begin,
    .reset_record = on_reset_record,
    .reset_end = on_reset_end,
    .snapshot = &snapshot_source,
    .events = on_events,
    .state = on_state,
    .checkpoint = on_checkpoint,
};

int commit_recorder_start(struct commit_recorder *recorder, struct commit_log *log)
{
    const uint32_t next_tag = recorder->next_tag;

    memset(recorder, 0, sizeof(*recorder));
    recorder->log = log;
    recorder->next_tag = next_tag;
    return log->ops->start(log, &commit_recorder_callbacks, recorder, recorder->problem);
}

static void on_done(struct commit_mutation *mutation, enum commit_outcome outcome,
                    uint64_t revision)
{
    struct recorded *recorded = CONTAINER_OF(mutation, struct recorded, mutation);
    struct commit_recorder *recorder = recorded->recorder;

    note(recorder, (struct commit_note){.kind = recorded->tag == 0 ? NOTE_BARRIER : NOTE_DONE,
                                        .revision = revision,
                                        .tag = recorded->tag,
                                        .outcome = outcome});
    recorder->waiting--;
    free(recorded);
    if (recorder->submit_on_done > 0) {
        recorder->submit_on_done--;
        (void)commit_recorder_submit(recorder, 10);
    }
}

static struct recorded *make(struct commit_recorder *recorder, uint32_t tag, size_t size)
{
    struct recorded *recorded = calloc(1, sizeof(*recorded) + size);

    if (recorded == NULL) {
        abort();
    }
    recorded->recorder = recorder;
    recorded->tag = tag;
    recorded->mutation.record = (struct bytes){recorded->bytes, size};
    recorded->mutation.record_type = (uint8_t)tag;
    recorded->mutation.done = on_done;
    if (size > 0) {
        assert(size >= sizeof(tag));
        memcpy(recorded->bytes, &tag, sizeof(tag));
    }
    recorder->waiting++;
    return recorded;
}

uint32_t commit_recorder_submit(struct commit_recorder *recorder, size_t size)
{
    const bool was_inside = recorder->inside;
    struct recorded *recorded;

    recorder->next_tag++;
    recorded = make(recorder, recorder->next_tag, size);
    recorder->inside = true;
    recorder->log->ops->submit(recorder->log, &recorded->mutation);
    recorder->inside = was_inside;
    return recorder->next_tag;
}

void commit_recorder_barrier(struct commit_recorder *recorder)
{
    struct recorded *recorded = make(recorder, 0, 0);

    recorder->inside = true;
    recorder->log->ops->barrier(recorder->log, &recorded->mutation);
    recorder->inside = false;
}

void commit_recorder_close(struct commit_recorder *recorder)
{
    recorder->inside = true;
    recorder->log->ops->close(recorder->log);
    recorder->inside = false;
}

unsigned commit_recorder_count(const struct commit_recorder *recorder, enum commit_note_kind kind)
{
    unsigned count = 0;

    for (unsigned i = 0; i < recorder->count; i++) {
        count += recorder->notes[i].kind == kind;
    }
    return count;
}

const struct commit_note *commit_recorder_note(const struct commit_recorder *recorder,
                                               enum commit_note_kind kind, unsigned index)
{
    for (unsigned i = 0; i < recorder->count; i++) {
        if (recorder->notes[i].kind == kind && index-- == 0) {
            return &recorder->notes[i];
        }
    }
    abort();
}

bool commit_recorder_is(const struct commit_recorder *recorder, enum commit_log_state state)
{
    unsigned count = commit_recorder_count(recorder, NOTE_STATE);

    return count > 0 && commit_recorder_note(recorder, NOTE_STATE, count - 1)->state == state;
}
