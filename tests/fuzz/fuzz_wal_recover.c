/*
 * Recovery over damaged logs. The input is a list of edits to a small, sound log (two segments, the
 * last one LAZY when the input's first byte is odd, several frames, a watermark): bytes changed,
 * ranges zeroed or copied, files cut or removed; an edit may mend the checksums of what it touched,
 * for otherwise nothing behind them would ever be reached. Snapshots: fuzz_snapshot_read.c.
 *
 * Whatever was done to it, recovery returns 0, WAL_E_DAMAGED or WAL_E_FOREIGN; replayed records
 * come in order without gaps; one that wrote was a cut, and a second recovery finds the same
 * records and a clean end; one that wrote nothing need not be repeated. No file stays open.
 *
 * Ten million inputs must end within the hour. So the disk stays from one input to the next, and
 * gets back only what was changed; and so does the window of wal_window.c, whose 4 MiB the
 * sanitizer would take longer to give and take away than recovery takes (the linker lets __wrap_
 * stand in for it).
 *
 *     make F=wal_recover fuzz
 */
#include "lib/fake_disk.h"

#include "core/clock.h"
#include "core/hash.h"
#include "core/wal_control.h"
#include "core/wal_format.h"
#include "core/wal_recover.h"
#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SEGMENT_SIZE    ((size_t)10 * WAL_FORMAT_BLOCK_SIZE) /* 8 of them in use */
#define EDIT_SIZE       8
#define LONG_BODY_SIZE  5000
#define HINT_LARGE      100 /* records there is "no place" for */
#define UNKNOWN_CONTENT 0xbe

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);
int __real_wal_window_init(struct wal_window *window);
int __wrap_wal_window_init(struct wal_window *window);
void __wrap_wal_window_deinit(struct wal_window *window);

static const char *const names[] = {
    "wal-0000000000000001.log",
    "wal-0000000000000009.log",
    "CONTROL.a",
    "CONTROL.b",
};

#define NAME_COUNT (sizeof(names) / sizeof(names[0]))

/* The content of a file. */
struct image {
    size_t size;
    uint8_t bytes[SEGMENT_SIZE];
};

/* Puts a frame into a segment in the making. Returns its size. */
static size_t put_frame(uint8_t *bytes, struct wal_format_frame *frame, unsigned count,
                        size_t body_size)
{
    static const uint8_t body[LONG_BODY_SIZE];
    uint8_t *payload = bytes + WAL_FORMAT_FRAME_HEADER_SIZE;
    size_t payload_size = 0;
    size_t size;

    for (unsigned i = 0; i < count; i++) {
        payload_size += wal_format_put_record(payload + payload_size, (uint8_t)i,
                                              (struct bytes){body, body_size});
    }
    frame->payload_size = (uint32_t)payload_size;
    frame->record_count = count;
    frame->flags = count == 0 ? WAL_FORMAT_FRAME_SEAL : 0;
    size = wal_format_put_frame(bytes, frame);
    frame->first_lsn += count;
    frame->durable_lsn = frame->first_lsn - 1;
    frame->prev_crc = frame->crc;
    return size;
}

/* Eight records, in frames of one or two blocks. */
static void make_segment(struct image *image, uint64_t epoch, uint64_t first_lsn, bool is_lazy)
{
    uint8_t *bytes = image->bytes;
    struct wal_format_segment segment = {.epoch = epoch,
                                         .first_lsn = first_lsn,
                                         .is_lazy = is_lazy,
                                         .size = SEGMENT_SIZE,
                                         .realtime_ns = 1};
    struct wal_format_frame frame = {.epoch = segment.epoch,
                                     .first_lsn = first_lsn,
                                     .durable_lsn = first_lsn - 1,
                                     .realtime_ns = 1};
    size_t offset = WAL_FORMAT_BLOCK_SIZE;

    image->size = SEGMENT_SIZE;
    wal_format_put_segment(bytes, &segment);
    frame.prev_crc = segment.crc;
    offset += put_frame(bytes + offset, &frame, 3, 20);
    offset += put_frame(bytes + offset, &frame, 1, LONG_BODY_SIZE);
    offset += put_frame(bytes + offset, &frame, 0, 0);
    offset += put_frame(bytes + offset, &frame, 3, 2000);
    offset += put_frame(bytes + offset, &frame, 1, 0);
}

static void make_control(struct image *image, uint64_t sequence)
{
    const struct wal_format_control control = {.sequence = sequence, .durable_lsn = 11};

    image->size = WAL_FORMAT_BLOCK_SIZE;
    wal_format_put_control(image->bytes, &control);
}

/* What the file of this name holds when nothing was done to it yet. */
static const struct image *sound_image(unsigned index, bool is_lazy)
{
    static struct image images[NAME_COUNT + 1];

    if (images[0].size == 0) {
        make_segment(&images[0], 1000, 1, false);
        make_segment(&images[1], 1001, 9, false);
        make_control(&images[2], 1);
        make_control(&images[3], 2);
        make_segment(&images[NAME_COUNT], 1001, 9, true);
    }
    return &images[index == 1 && is_lazy ? NAME_COUNT : index];
}

static bool is_log(const char *name)
{
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Makes the log, or makes it again what it was before the edits. */
static void restore(struct fake_disk *disk, bool is_lazy)
{
    for (unsigned i = fake_disk_name_count(disk); i > 0; i--) {
        if (!is_log(fake_disk_name(disk, i - 1))) {
            fake_disk_delete(disk, fake_disk_name(disk, i - 1));
        }
    }
    for (unsigned i = 0; i < NAME_COUNT; i++) {
        const struct image *image = sound_image(i, is_lazy);
        const uint8_t *bytes = NULL;
        uint64_t size = 0;

        if (fake_disk_exists(disk, names[i])) {
            bytes = fake_disk_peek(disk, names[i], &size);
        }
        if (size != image->size) {
            fake_disk_put(disk, names[i], image->bytes, image->size);
            continue;
        }
        for (size_t at = 0; at < size; at += WAL_FORMAT_BLOCK_SIZE) {
            if (memcmp(bytes + at, image->bytes + at, WAL_FORMAT_BLOCK_SIZE) != 0) {
                fake_disk_poke(disk, names[i], at, image->bytes + at, WAL_FORMAT_BLOCK_SIZE);
            }
        }
    }
}

/* The window's memory, kept; with nothing in it that the input before this one left there. */
int __wrap_wal_window_init(struct wal_window *window)
{
    static uint8_t *memory;

    if (memory == NULL) {
        const int result = __real_wal_window_init(window);

        memory = window->memory;
        return result;
    }
    for (size_t at = 0; at < (size_t)4 * WAL_WINDOW_PIECE_SIZE; at += WAL_WINDOW_PIECE_SIZE) {
        memset(memory + at, UNKNOWN_CONTENT, SEGMENT_SIZE);
    }
    *window = (struct wal_window){.memory = memory, .bytes = memory};
    return 0;
}

/* A fake disk without a reactor reads nothing ahead, so nothing is on its way into the memory. */
void __wrap_wal_window_deinit(struct wal_window *window)
{
    *window = (struct wal_window){0};
}

static void put_crc(struct fake_disk *disk, const char *name, uint64_t start, size_t size)
{
    const uint8_t *bytes = fake_disk_peek(disk, name, NULL);
    uint32_t crc = hash_crc32c(0, (struct bytes){bytes + start, size});
    uint8_t encoded[4];

    for (unsigned i = 0; i < 4; i++) {
        encoded[i] = (uint8_t)(crc >> 8 * i);
    }
    fake_disk_poke(disk, name, start + size, encoded, sizeof(encoded));
}

/* Makes the checksum of the header in this block right again, whatever the header says. */
static void mend(struct fake_disk *disk, unsigned index, uint64_t offset)
{
    const uint64_t block = offset / WAL_FORMAT_BLOCK_SIZE * WAL_FORMAT_BLOCK_SIZE;
    uint64_t size = 0;

    (void)fake_disk_peek(disk, names[index], &size);
    if (block + WAL_FORMAT_BLOCK_SIZE > size) {
        return;
    }
    if (index >= 2) {
        put_crc(disk, names[index], 0, WAL_FORMAT_BLOCK_SIZE - 4);
    } else if (block == 0) {
        put_crc(disk, names[index], 0, 124);
    } else {
        put_crc(disk, names[index], block, 60);
    }
}

/* One edit: what (3 bits), mend (1 bit), file (2 bits); offset in 3 bytes; length; values. */
static void edit(struct fake_disk *disk, const uint8_t *code)
{
    static uint8_t range[UINT8_MAX * 64];
    const unsigned index = code[0] >> 4 & 3;
    const size_t length = (size_t)(code[4] + 1) * (code[0] & 1 ? 1 : 64);
    uint64_t size = 0;
    uint64_t offset = (uint64_t)code[1] | (uint64_t)code[2] << 8 | (uint64_t)code[3] << 16;

    if (!fake_disk_exists(disk, names[index])) {
        return;
    }
    (void)fake_disk_peek(disk, names[index], &size);
    if (size == 0) {
        return;
    }
    offset %= size;
    switch (code[0] >> 1 & 3) {
    case 0: /* bytes */
        fake_disk_poke(disk, names[index], offset, code + 5, size - offset < 3 ? 1 : 3);
        break;
    case 1: /* zeros */
        memset(range, 0, sizeof(range));
        if (length <= sizeof(range) && length <= size - offset) {
            fake_disk_poke(disk, names[index], offset, range, length);
        }
        break;
    case 2: /* a copy of an earlier block */
        offset = offset / WAL_FORMAT_BLOCK_SIZE * WAL_FORMAT_BLOCK_SIZE;
        if (offset + WAL_FORMAT_BLOCK_SIZE <= size) {
            uint64_t from = code[5] * (uint64_t)WAL_FORMAT_BLOCK_SIZE % (offset + 1) /
                            WAL_FORMAT_BLOCK_SIZE * WAL_FORMAT_BLOCK_SIZE;

            memcpy(range, fake_disk_peek(disk, names[index], NULL) + from, WAL_FORMAT_BLOCK_SIZE);
            fake_disk_poke(disk, names[index], offset, range, WAL_FORMAT_BLOCK_SIZE);
        }
        break;
    default:
        if (code[5] == 0) {
            fake_disk_delete(disk, names[index]);
            return;
        }
        fake_disk_truncate(disk, names[index], offset);
        return;
    }
    if (code[0] >> 6 & 1) {
        mend(disk, index, offset);
    }
}

/* How many records to expect is a hint out of CONTROL, and never more than the files could hold. */
static int begin(void *context, uint64_t record_count)
{
    const uint64_t *expected_lsn = context;

    if (record_count > 2 * SEGMENT_SIZE || *expected_lsn != 1) {
        abort();
    }
    return record_count > HINT_LARGE ? -ENOMEM : 0;
}

static void ignore_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    (void)progress;
}

static void read_notice(void *context, const char *text)
{
    (void)context;
    if (strlen(text) == 0) {
        abort();
    }
}

static int accept_record(void *context, const struct wal_record *record)
{
    uint64_t *expected_lsn = context;

    if (record->lsn != *expected_lsn) {
        abort();
    }
    (*expected_lsn)++;
    return 0;
}

/* Returns the verdict; *ret_next_lsn is what comes after the last record. */
static int recover(struct fake_disk *disk, uint64_t *ret_next_lsn, bool *ret_torn)
{
    static const struct wal_replay replay = {.begin = begin,
                                             .record = accept_record,
                                             .progress = ignore_progress,
                                             .notice = read_notice};
    char problem[WAL_PROBLEM_SIZE];
    struct wal_control control;
    struct wal_recovery recovery = {
        .disk = fake_disk_disk(disk),
        .clock = clock_system(),
        .control = &control.now,
        .replay = &replay,
        .replay_context = ret_next_lsn,
        .problem = problem,
    };
    int result;

    *ret_next_lsn = 1;
    *ret_torn = false;
    result = wal_control_init(&control, fake_disk_disk(disk));
    if (result == 0) {
        result = wal_recover(&recovery);
    } else if (result == WAL_FORMAT_E_NEWER || result == WAL_CONTROL_E_MIXED) {
        result = WAL_E_FOREIGN;
    }
    if (result == 0) {
        *ret_torn = recovery.torn_end != 0;
        result = wal_recover_cut(&recovery);
    }
    wal_recover_deinit(&recovery);
    wal_control_deinit(&control);
    return result;
}

/* How often something was done that changes what the disk holds. */
static unsigned count_changes(const struct fake_disk *disk)
{
    return fake_disk_count(disk, FAKE_DISK_WRITE) + fake_disk_count(disk, FAKE_DISK_RENAME) +
           fake_disk_count(disk, FAKE_DISK_REMOVE);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct fake_disk *disks[2];
    const bool is_lazy = size > 0 && input[0] % 2 == 1;
    const bool is_edited = size >= EDIT_SIZE;
    struct fake_disk *disk = disks[is_lazy];
    unsigned changes;
    uint64_t next_lsn;
    uint64_t again;
    bool torn;
    int result;

    if (disk == NULL) {
        disk = fake_disk_new(NULL, 1);
        disks[is_lazy] = disk;
        restore(disk, is_lazy);
    }
    for (; size >= EDIT_SIZE; size -= EDIT_SIZE) {
        edit(disk, input);
        input += EDIT_SIZE;
    }
    changes = count_changes(disk);
    result = recover(disk, &next_lsn, &torn);
    changes = count_changes(disk) - changes;
    if (result != 0 && result != WAL_E_DAMAGED && result != WAL_E_FOREIGN) {
        abort();
    }
    if (!is_edited && (result != 0 || next_lsn != 17)) {
        abort();
    }
    if ((result == 0 && torn) != (changes != 0)) {
        abort();
    }
    if (changes != 0 && (recover(disk, &again, &torn) != 0 || again != next_lsn || torn)) {
        abort();
    }
    fake_disk_disk(disk)->ops->free(fake_disk_disk(disk)); /* asserts that no file is open */
    restore(disk, is_lazy);
    return 0;
}
