#include "lib/commit_log_medium.h"

#include <stdlib.h>
#include <string.h>

static void *must(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void commit_log_medium_forget(struct commit_log_medium_records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        free(records->items[i].bytes);
    }
    free(records->items);
    *records = (struct commit_log_medium_records){0};
}

void commit_log_medium_deinit(struct commit_log_medium *medium)
{
    commit_log_medium_forget(&medium->snapshot);
    commit_log_medium_forget(&medium->log);
    *medium = (struct commit_log_medium){0};
}

void commit_log_medium_add(struct commit_log_medium_records *records, uint64_t revision,
                           uint8_t type, struct bytes body)
{
    struct commit_log_medium_record *record;

    records->items = must(realloc(records->items, (records->count + 1) * sizeof(*record)));
    record = &records->items[records->count++];
    *record = (struct commit_log_medium_record){
        .bytes = must(malloc(body.size + 1)),
        .size = body.size,
        .revision = revision,
        .type = type,
    };
    if (body.size > 0) {
        memcpy(record->bytes, body.data, body.size);
    }
}

uint64_t commit_log_medium_keep(struct commit_log_medium *medium, uint8_t type, struct bytes body)
{
    medium->revision++;
    commit_log_medium_add(&medium->log, medium->revision, type, body);
    return medium->revision;
}

void commit_log_medium_publish(struct commit_log_medium *medium,
                               struct commit_log_medium_records *records, uint64_t revision)
{
    struct commit_log_medium_records rest = {0};

    for (size_t i = 0; i < medium->log.count; i++) {
        const struct commit_log_medium_record *record = &medium->log.items[i];

        if (record->revision > revision) {
            commit_log_medium_add(&rest, record->revision, record->type,
                                  (struct bytes){record->bytes, record->size});
        }
    }
    commit_log_medium_forget(&medium->log);
    commit_log_medium_forget(&medium->snapshot);
    medium->log = rest;
    medium->snapshot = *records;
    *records = (struct commit_log_medium_records){0};
}

static int replay(const struct commit_log_medium_records *records, bool is_in_snapshot,
                  const struct commit_log_callbacks *callbacks, void *context)
{
    int result = 0;

    for (size_t i = 0; i < records->count && result == 0; i++) {
        const struct commit_log_medium_record *record = &records->items[i];
        const struct commit_event event = {
            .revision = record->revision,
            .realtime_ns = 1,
            .record_type = record->type,
            .is_in_snapshot = is_in_snapshot,
            .record = {record->bytes, record->size},
        };

        result = callbacks->reset_record(context, &event);
    }
    return result;
}

int commit_log_medium_replay(const struct commit_log_medium *medium,
                             const struct commit_log_callbacks *callbacks, void *context)
{
    int result = callbacks->reset_begin(context, medium->snapshot.count);

    if (result == 0) {
        result = replay(&medium->snapshot, true, callbacks, context);
    }
    return result == 0 ? replay(&medium->log, false, callbacks, context) : result;
}
