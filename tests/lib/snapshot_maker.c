#include "lib/snapshot_maker.h"

#include "core/le.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY ((size_t)4 * 1024 * 1024)

void snapshot_maker_begin(struct snapshot_maker *maker, uint64_t lsn)
{
    *maker = (struct snapshot_maker){
        .bytes = calloc(1, CAPACITY),
        .size = WAL_FORMAT_BLOCK_SIZE,
        .header = {.store_uuid = {1, 2, 3}, .epoch = 0xabcdef, .lsn = lsn, .realtime_ns = 5},
    };
    if (maker->bytes == NULL) {
        abort();
    }
    snapshot_format_put_header(maker->bytes, &maker->header);
    maker->prev_crc = maker->header.crc;
    digest_init(&maker->digest);
}

struct wal_record snapshot_maker_record(uint64_t i, size_t body_size)
{
    static uint8_t body[WAL_FORMAT_RECORD_SIZE_MAX];

    assert(body_size <= sizeof(body));
    for (size_t at = 0; at < body_size; at++) {
        body[at] = (uint8_t)(i * 31 + at * 7 + at / 251);
    }
    return (struct wal_record){.lsn = i % 5, .type = (uint8_t)i, .body = {body, body_size}};
}

bool snapshot_maker_is_record(const struct wal_record *record, uint64_t i, size_t body_size)
{
    const struct wal_record expected = snapshot_maker_record(i, body_size);

    return record->is_in_snapshot && record->lsn == expected.lsn && record->type == expected.type &&
           bytes_equal(record->body, expected.body);
}

struct wal_format_frame snapshot_maker_next_frame(const struct snapshot_maker *maker)
{
    return (struct wal_format_frame){
        .epoch = maker->header.epoch,
        .first_lsn = maker->footer.record_count + 1,
        .durable_lsn = maker->footer.record_count,
        .realtime_ns = 9,
        .prev_crc = maker->prev_crc,
    };
}

void snapshot_maker_raw_frame(struct snapshot_maker *maker, struct wal_format_frame *frame,
                              struct bytes payload)
{
    uint8_t *bytes = maker->bytes + maker->size;

    frame->payload_size = (uint32_t)payload.size;
    assert(maker->size + payload.size + (size_t)3 * WAL_FORMAT_BLOCK_SIZE <= CAPACITY);
    if (payload.size > 0) {
        memmove(bytes + WAL_FORMAT_FRAME_HEADER_SIZE, payload.data, payload.size);
    }
    maker->size += wal_format_put_frame(bytes, frame);
    digest_add(&maker->digest, (struct bytes){bytes, WAL_FORMAT_FRAME_HEADER_SIZE});
    maker->prev_crc = frame->crc;
    maker->footer.frame_count++;
    maker->footer.record_count += frame->record_count;
}

void snapshot_maker_frame(struct snapshot_maker *maker, uint32_t count, size_t body_size)
{
    static uint8_t body[WAL_FORMAT_RECORD_SIZE_MAX];
    struct wal_format_frame frame = snapshot_maker_next_frame(maker);
    uint8_t *payload = maker->bytes + maker->size + WAL_FORMAT_FRAME_HEADER_SIZE;
    size_t size = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct wal_record record =
            snapshot_maker_record(maker->footer.record_count + i, body_size);

        le_put_u64(body, record.lsn);
        memcpy(body + SNAPSHOT_FORMAT_PREFIX_SIZE, record.body.data, body_size);
        size +=
            wal_format_put_record(payload + size, record.type,
                                  (struct bytes){body, SNAPSHOT_FORMAT_PREFIX_SIZE + body_size});
    }
    frame.record_count = count;
    snapshot_maker_raw_frame(maker, &frame, (struct bytes){payload, size});
}

void snapshot_maker_end(struct snapshot_maker *maker)
{
    struct snapshot_format_footer *footer = &maker->footer;

    memcpy(footer->store_uuid, maker->header.store_uuid, WAL_FORMAT_UUID_SIZE);
    footer->epoch = maker->header.epoch;
    footer->lsn = maker->header.lsn;
    footer->size = maker->size + WAL_FORMAT_BLOCK_SIZE;
    digest_end(&maker->digest, footer->digest);
    snapshot_format_put_footer(maker->bytes + maker->size, footer);
    maker->size += WAL_FORMAT_BLOCK_SIZE;
}

void snapshot_maker_deinit(struct snapshot_maker *maker)
{
    free(maker->bytes);
    maker->bytes = NULL;
}

static int source_begin(void *context, uint64_t lsn, uint64_t *ret_record_count)
{
    struct snapshot_maker_source *source = context;

    source->next = 0;
    source->lsn = lsn;
    if (source->begin_error != 0) {
        return source->begin_error;
    }
    source->begins++;
    *ret_record_count = source->count;
    return 0;
}

static int source_next(void *context, struct wal_record *ret_record)
{
    struct snapshot_maker_source *source = context;

    assert(source->begins == source->ends + 1);
    if (source->now_ns != NULL) {
        *source->now_ns += source->step_ns;
    }
    if (source->error != 0 && source->next == source->error_at) {
        return source->error;
    }
    if (source->next == source->count) {
        return WAL_SNAPSHOT_END;
    }
    *ret_record = snapshot_maker_record(source->next++, source->body_size);
    return 0;
}

static void source_end(void *context)
{
    struct snapshot_maker_source *source = context;

    source->ends++;
    assert(source->begins == source->ends);
}

const struct wal_snapshot_source *snapshot_maker_source(void)
{
    static const struct wal_snapshot_source source = {
        .begin = source_begin, .next = source_next, .end = source_end};

    return &source;
}
