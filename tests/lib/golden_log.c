#include "lib/golden_log.h"

#include <stdlib.h>

static void learn(struct golden_list *list, const struct wal_record *record)
{
    struct golden_record *golden;

    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 1024 : list->capacity * 2;
        list->records = realloc(list->records, list->capacity * sizeof(list->records[0]));
        if (list->records == NULL) {
            abort();
        }
    }
    golden = &list->records[list->count++];
    *golden = (struct golden_record){.lsn = record->lsn, .type = record->type};
    if (buf_append(&golden->body, record->body.data, record->body.size) != 0) {
        abort();
    }
}

static void forget(struct golden_list *list)
{
    for (uint64_t i = 0; i < list->count; i++) {
        buf_deinit(&list->records[i].body);
    }
    free(list->records);
}

void golden_log_deinit(struct golden_log *golden)
{
    forget(&golden->log);
    forget(&golden->snapshot);
    *golden = (struct golden_log){.snapshot_lsn = 0};
}

static bool is_golden(const struct golden_list *list, uint64_t index,
                      const struct wal_record *record)
{
    const struct golden_record *golden = &list->records[index];

    return index < list->count && golden->lsn == record->lsn && golden->type == record->type &&
           bytes_equal(buf_bytes(&golden->body), record->body);
}

static int on_begin(void *context, uint64_t record_count)
{
    struct golden_log *golden = context;

    (void)record_count;
    golden->reading.from_snapshot = 0;
    golden->reading.next_lsn = 0;
    golden->reading.is_wrong = false;
    return 0;
}

static void compare(struct golden_log *golden, const struct wal_record *record)
{
    struct golden_reading *reading = &golden->reading;

    if (record->is_in_snapshot) {
        reading->is_wrong = reading->is_wrong || reading->next_lsn != 0 ||
                            !is_golden(&golden->snapshot, reading->from_snapshot, record);
        reading->from_snapshot++;
        return;
    }
    if (reading->next_lsn == 0) {
        reading->next_lsn = reading->from_snapshot == 0 ? 1 : golden->snapshot_lsn + 1;
    }
    reading->is_wrong = reading->is_wrong || record->lsn != reading->next_lsn ||
                        !is_golden(&golden->log, reading->next_lsn - 1, record);
    reading->next_lsn++;
}

static int on_record(void *context, const struct wal_record *record)
{
    struct golden_log *golden = context;

    if (golden->learning == NULL) {
        compare(golden, record);
    } else if (record->is_in_snapshot == (golden->learning == &golden->snapshot)) {
        learn(golden->learning, record);
    }
    return 0;
}

static void on_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    (void)progress;
}

static void on_notice(void *context, const char *text)
{
    struct golden_log *golden = context;

    (void)text;
    golden->reading.notices++;
}

static void on_closed(void *owner)
{
    *(bool *)owner = true;
}

int golden_log_read(struct golden_log *golden, struct fake_world *world,
                    const struct wal_options *options, char *problem,
                    struct golden_reading *ret_reading)
{
    static const struct wal_replay replay = {
        .begin = on_begin, .record = on_record, .progress = on_progress, .notice = on_notice};
    static const struct wal_events events = {.closed = on_closed};
    const struct wal_environment environment = fake_world_environment(world);
    struct golden_reading *reading = &golden->reading;
    bool is_closed = false;
    struct wal *wal;
    int result;

    *reading = (struct golden_reading){.lsn = 0};
    problem[0] = '\0';
    result = wal_open(&environment, options, &replay, golden, problem, &wal);
    if (result == 0) {
        reading->lsn = wal_stats(wal)->durable_lsn;
        wal_set_events(wal, &events, &is_closed);
        wal_close(wal);
        while (!is_closed) {
            fake_world_turn(world);
        }
        reading->is_wrong =
            reading->is_wrong || reading->lsn > golden->log.count ||
            (reading->from_snapshot != 0 && reading->from_snapshot != golden->snapshot.count) ||
            (reading->next_lsn != 0 && reading->next_lsn != reading->lsn + 1) ||
            (reading->next_lsn == 0 &&
             reading->lsn != (reading->from_snapshot == 0 ? 0 : golden->snapshot_lsn));
        *ret_reading = *reading;
    }
    fake_disk_restart(world->disk);
    return result;
}

int golden_log_learn(struct golden_log *golden, struct fake_world *world,
                     const struct wal_options *options, char *problem)
{
    struct golden_reading reading;
    int result;

    golden->learning = &golden->log;
    result = golden_log_read(golden, world, options, problem, &reading);
    golden->learning = NULL;
    return result;
}

int golden_log_learn_snapshot(struct golden_log *golden, struct fake_world *world,
                              const struct wal_options *options, uint64_t snapshot_lsn,
                              char *problem)
{
    struct golden_reading reading;
    int result;

    golden->snapshot_lsn = snapshot_lsn;
    golden->learning = &golden->snapshot;
    result = golden_log_read(golden, world, options, problem, &reading);
    golden->learning = NULL;
    return result;
}
