/*
 * A reference log is written by the real log on the fake disk; then it is damaged in every way, and
 * the verdict is compared with one computed from the list of frames that were written.
 */
#include "lib/unit.h"
#include "lib/wal_driver.h"

#include "core/clock.h"
#include "core/wal_control.h"
#include "core/wal_recover.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FRAMES_MAX 16
#define FIRST_NAME "wal-0000000000000001.log"

struct known_frame {
    uint64_t offset;
    uint64_t size;
    uint64_t used; /* header and payload */
    uint64_t first_lsn;
    uint32_t count;
};

struct reference {
    struct fake_world world;
    struct wal_driver driver;
    char name[WAL_FORMAT_NAME_SIZE]; /* of the segment whose frames these are */
    struct known_frame frames[FRAMES_MAX];
    unsigned frame_count;
    uint64_t watermark;
    uint64_t next_lsn;
};

struct verdict {
    int result;
    uint64_t next_lsn;
    uint64_t records;
    bool torn;
    char problem[WAL_PROBLEM_SIZE];
    char notice[WAL_PROBLEM_SIZE];
};

/* What recovery tells. */
struct listener {
    uint64_t expected_lsn;
    struct verdict *verdict;
};

static int begin_anew(void *context, uint64_t record_count)
{
    struct listener *listener = context;

    (void)record_count;
    listener->expected_lsn = 1;
    return 0;
}

static void ignore_progress(void *context, const struct wal_progress *progress)
{
    (void)context;
    (void)progress;
}

static void keep_notice(void *context, const char *text)
{
    struct listener *listener = context;

    (void)snprintf(listener->verdict->notice, WAL_PROBLEM_SIZE, "%s", text); /* fits */
}

static int accept_record(void *context, const struct wal_record *record)
{
    struct listener *listener = context;

    ck_assert_uint_eq(record->lsn, listener->expected_lsn);
    listener->expected_lsn++;
    return 0;
}

/* Recovery alone, without touching what it finds; with `cut`, including the repair. */
static struct verdict recover(struct fake_disk *disk, bool cut)
{
    static const struct wal_replay replay = {.begin = begin_anew,
                                             .record = accept_record,
                                             .progress = ignore_progress,
                                             .notice = keep_notice};
    struct verdict verdict = {0};
    struct listener listener = {.expected_lsn = 1, .verdict = &verdict};
    struct wal_control control;
    struct wal_recovery recovery = {
        .disk = fake_disk_disk(disk),
        .clock = clock_system(),
        .control = &control.now,
        .replay = &replay,
        .replay_context = &listener,
        .problem = verdict.problem,
    };

    verdict.result = wal_control_init(&control, fake_disk_disk(disk));
    if (verdict.result == 0) {
        verdict.result = wal_recover(&recovery);
    }
    verdict.torn = recovery.torn_end != 0;
    if (verdict.result == 0 && cut) {
        verdict.result = wal_recover_cut(&recovery);
    }
    verdict.next_lsn = recovery.next_lsn;
    verdict.records = recovery.record_count;
    wal_recover_deinit(&recovery);
    wal_control_deinit(&control);
    return verdict;
}

static void write_frame(struct reference *reference, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(wal_driver_append(&reference->driver, size), 0);
    }
    wal_driver_settle(&reference->driver);
}

/* Lists the frames of a segment as they were written. */
static void list_frames(struct reference *reference, uint64_t first_lsn)
{
    const uint8_t *bytes;
    struct wal_format_frame frame;
    uint64_t offset = WAL_FORMAT_BLOCK_SIZE;

    wal_format_segment_name(first_lsn, reference->name);
    bytes = fake_disk_peek(reference->world.disk, reference->name, NULL);
    reference->frame_count = 0;
    while (wal_format_get_frame(bytes + offset, &frame) == 0) {
        ck_assert_uint_lt(reference->frame_count, FRAMES_MAX);
        reference->frames[reference->frame_count++] = (struct known_frame){
            .offset = offset,
            .size = wal_format_frame_size(frame.payload_size),
            .used = WAL_FORMAT_FRAME_HEADER_SIZE + frame.payload_size,
            .first_lsn = frame.first_lsn,
            .count = frame.record_count,
        };
        offset += wal_format_frame_size(frame.payload_size);
    }
}

/* One segment: records 1..3, 4 (two blocks), SEAL, 5..6, SEAL with the watermark at 6, 7, 8..11
 * (two blocks), and the power cut with nothing in flight. */
static void reference_init(struct reference *reference)
{
    memset(reference, 0, sizeof(*reference));
    fake_world_init(&reference->world, 42);
    wal_driver_init(&reference->driver, &reference->world);
    ck_assert_int_eq(wal_driver_open(&reference->driver), 0);
    write_frame(reference, 3, 100);
    write_frame(reference, 1, 5000);
    fake_world_advance(&reference->world, 11 * CLOCK_NS_PER_MS);
    write_frame(reference, 2, 0);
    fake_world_advance(&reference->world, 1100 * CLOCK_NS_PER_MS);
    write_frame(reference, 1, 3000);
    write_frame(reference, 4, 1900);
    wal_driver_crash(&reference->driver);
    list_frames(reference, 1);
    ck_assert_uint_eq(reference->frame_count, 7);
    reference->watermark = 6;
    reference->next_lsn = 12;
}

static void reference_deinit(struct reference *reference)
{
    wal_driver_deinit(&reference->driver);
    fake_world_deinit(&reference->world);
}

static uint64_t frames_end(const struct reference *reference)
{
    const struct known_frame *last = &reference->frames[reference->frame_count - 1];

    return last->offset + last->size;
}

static void expect(const struct verdict *verdict, int result, uint64_t next_lsn, const char *what,
                   uint64_t offset)
{
    ck_assert_msg(verdict->result == result, "%s at %llu: %d instead of %d: %s", what,
                  (unsigned long long)offset, verdict->result, result, verdict->problem);
    if (result == 0) {
        ck_assert_msg(verdict->next_lsn == next_lsn, "%s at %llu: next is %llu instead of %llu",
                      what, (unsigned long long)offset, (unsigned long long)verdict->next_lsn,
                      (unsigned long long)next_lsn);
        ck_assert_uint_eq(verdict->records, next_lsn - 1);
    } else {
        ck_assert_str_ne(verdict->problem, "");
    }
}

/* What should come of a segment whose first unreadable frame is frames[index]. */
static void expect_bad_frame(const struct reference *reference, const struct verdict *verdict,
                             unsigned index, bool later_frames, uint64_t offset)
{
    const uint64_t next_lsn =
        index < reference->frame_count ? reference->frames[index].first_lsn : reference->next_lsn;
    const bool has_witness = later_frames || reference->watermark >= next_lsn;

    expect(verdict, has_witness ? WAL_E_DAMAGED : 0, next_lsn, "damage", offset);
}

/* An empty directory is a new log. */
START_TEST(wal_recover_finds_nothing)
{
    struct fake_disk *disk = fake_disk_new(NULL, 1);
    struct verdict verdict = recover(disk, true);

    expect(&verdict, 0, 1, "nothing", 0);
    fake_disk_put(disk, "spare.tmp", "x", 1);
    fake_disk_put(disk, "wal-1.log", "x", 1);
    fake_disk_put(disk, FIRST_NAME ".old", "x", 1);
    fake_disk_put(disk, "wal-0000000000000001-0000000000000002.torn", "x", 1);
    fake_disk_put(disk, "CONTROL.a", "torn while the store was made", 29);
    verdict = recover(disk, true);
    expect(&verdict, 0, 1, "nothing of ours", 0);
    fake_disk_free(disk);
}

END_TEST

/* The whole reference log is found, with nothing to cut. */
START_TEST(wal_recover_reads_all)
{
    struct reference reference;
    struct verdict verdict;

    reference_init(&reference);
    verdict = recover(reference.world.disk, false);
    expect(&verdict, 0, reference.next_lsn, "untouched", 0);
    ck_assert(!verdict.torn);
    reference_deinit(&reference);
}

END_TEST

/* A last segment cut at any sector keeps the frames before the cut, or is refused when the
 * watermark knew more. Within the header, 128 bytes are enough. */
START_TEST(wal_recover_judges_every_cut)
{
    struct reference reference;
    uint8_t *whole;
    uint64_t size = 0;
    const uint8_t *bytes;

    reference_init(&reference);
    bytes = fake_disk_peek(reference.world.disk, FIRST_NAME, &size);
    whole = malloc(size);
    ck_assert_ptr_nonnull(whole);
    memcpy(whole, bytes, size);
    for (uint64_t cut = 0; cut < frames_end(&reference) + 8192; cut += FAKE_DISK_SECTOR_SIZE) {
        struct verdict verdict;
        unsigned index = 0;

        fake_disk_put(reference.world.disk, FIRST_NAME, whole, cut);
        verdict = recover(reference.world.disk, false);
        while (index < reference.frame_count &&
               reference.frames[index].offset + reference.frames[index].used <= cut) {
            index++;
        }
        if (cut == 0) {
            expect(&verdict, WAL_E_DAMAGED, 0, "cut", cut);
        } else {
            expect_bad_frame(&reference, &verdict, index, false, cut);
        }
    }
    free(whole);
    reference_deinit(&reference);
}

END_TEST

/* What is changed in a frame is noticed; it is damage unless the frame is the last and beyond the
 * watermark. Padding, reserved bytes and one copy of the header do not matter. */
static void judge_change(struct reference *reference, uint64_t offset, size_t size, uint8_t value)
{
    struct fake_disk *disk = reference->world.disk;
    const uint8_t *bytes = fake_disk_peek(disk, reference->name, NULL);
    static uint8_t before[WAL_FORMAT_BLOCK_SIZE];
    static uint8_t after[WAL_FORMAT_BLOCK_SIZE];
    struct verdict verdict;
    unsigned index = 0;

    memcpy(before, bytes + offset, size);
    for (size_t i = 0; i < size; i++) {
        after[i] = value == 0 ? 0 : before[i] ^ value;
    }
    if (memcmp(before, after, size) == 0) {
        return;
    }
    fake_disk_poke(disk, reference->name, offset, after, size);
    verdict = recover(disk, false);
    fake_disk_poke(disk, reference->name, offset, before, size);
    if (offset < WAL_FORMAT_BLOCK_SIZE && size == WAL_FORMAT_BLOCK_SIZE) {
        expect(&verdict, WAL_E_DAMAGED, 0, "header", offset);
        return;
    }
    while (index < reference->frame_count &&
           (offset >= reference->frames[index].offset + reference->frames[index].used ||
            offset + size <= reference->frames[index].offset)) {
        index++;
    }
    if (index == reference->frame_count) {
        expect(&verdict, 0, reference->next_lsn, "harmless change", offset);
        ck_assert_int_eq(verdict.torn, offset + size > frames_end(reference));
        return;
    }
    expect_bad_frame(reference, &verdict, index, index + 1 < reference->frame_count, offset);
}

/* A flip in every 64th byte. */
START_TEST(wal_recover_judges_flips)
{
    struct reference reference;

    reference_init(&reference);
    for (uint64_t offset = 0; offset < frames_end(&reference) + 8192; offset += 64) {
        judge_change(&reference, offset, 1, 0x10);
        judge_change(&reference, offset + 63, 1, 0xff);
    }
    reference_deinit(&reference);
}

END_TEST

/* A zeroed or garbled sector or block, as a lost or misdirected write leaves it. */
START_TEST(wal_recover_judges_sectors)
{
    static const uint8_t values[] = {0, 0x5a};
    struct reference reference;

    reference_init(&reference);
    for (unsigned i = 0; i < 2; i++) {
        for (uint64_t at = 0; at < frames_end(&reference) + 8192; at += FAKE_DISK_SECTOR_SIZE) {
            judge_change(&reference, at, FAKE_DISK_SECTOR_SIZE, values[i]);
        }
        for (uint64_t at = 0; at < frames_end(&reference) + 8192; at += WAL_FORMAT_BLOCK_SIZE) {
            judge_change(&reference, at, WAL_FORMAT_BLOCK_SIZE, values[i]);
        }
    }
    reference_deinit(&reference);
}

END_TEST

/* In a segment that has a successor nothing is a torn tail. */
START_TEST(wal_recover_refuses_damage_before_the_last_segment)
{
    struct reference reference;
    struct verdict verdict;
    const uint8_t garbage = 1;
    uint64_t last_lsn;

    reference_init(&reference);
    ck_assert_int_eq(wal_driver_open(&reference.driver), 0); /* a fresh segment, still empty */
    wal_driver_crash(&reference.driver);
    ck_assert(fake_disk_exists(reference.world.disk, "wal-000000000000000c.log"));
    reference.watermark = 0;
    last_lsn = reference.next_lsn;
    for (uint64_t offset = 4096; offset < frames_end(&reference) + 4096; offset += 64) {
        uint8_t before = fake_disk_peek(reference.world.disk, FIRST_NAME, NULL)[offset];
        uint8_t after = before ^ 4;
        bool harmless = false;

        for (unsigned i = 0; i < reference.frame_count; i++) {
            harmless =
                harmless || (offset >= reference.frames[i].offset + reference.frames[i].used &&
                             offset < reference.frames[i].offset + reference.frames[i].size);
        }
        fake_disk_poke(reference.world.disk, FIRST_NAME, offset, &after, 1);
        verdict = recover(reference.world.disk, false);
        fake_disk_poke(reference.world.disk, FIRST_NAME, offset, &before, 1);
        expect(&verdict, harmless ? 0 : WAL_E_DAMAGED, last_lsn, "earlier segment", offset);
    }
    fake_disk_poke(reference.world.disk, FIRST_NAME, frames_end(&reference) + 4096, &garbage, 1);
    verdict = recover(reference.world.disk, false);
    expect(&verdict, 0, last_lsn, "far behind the end", 0);
    reference_deinit(&reference);
}

END_TEST

/* A missing, renamed or foreign segment is refused, whichever it is. */
START_TEST(wal_recover_refuses_gaps_and_strangers)
{
    static struct reference stranger; /* two of them are too much for a stack */
    struct reference reference;
    struct fake_disk *disk;
    struct verdict verdict;
    const uint8_t *bytes;
    uint64_t size = 0;

    reference_init(&reference);
    disk = reference.world.disk;
    ck_assert_int_eq(wal_driver_open(&reference.driver), 0);
    write_frame(&reference, 2, 10);
    wal_driver_crash(&reference.driver);
    bytes = fake_disk_peek(disk, FIRST_NAME, &size);
    fake_disk_put(disk, "wal-000000000000000e.log", bytes, size);
    verdict = recover(disk, false);
    expect(&verdict, WAL_E_DAMAGED, 0, "a renamed segment", 0);
    fake_disk_delete(disk, "wal-000000000000000e.log");
    fake_disk_delete(disk, FIRST_NAME);
    verdict = recover(disk, false);
    expect(&verdict, WAL_E_DAMAGED, 0, "the first segment is missing", 0);
    fake_disk_delete(disk, "wal-000000000000000c.log");
    verdict = recover(disk, false);
    expect(&verdict, WAL_E_DAMAGED, 0, "all segments are missing", 0);

    fake_world_init(&stranger.world, 7);
    wal_driver_init(&stranger.driver, &stranger.world);
    ck_assert_int_eq(wal_driver_open(&stranger.driver), 0);
    wal_driver_close(&stranger.driver);
    bytes = fake_disk_peek(stranger.world.disk, FIRST_NAME, &size);
    fake_disk_put(disk, FIRST_NAME, bytes, size);
    verdict = recover(disk, false);
    expect(&verdict, WAL_E_FOREIGN, 0, "another store's segment", 0);
    reference_deinit(&stranger);
    reference_deinit(&reference);
}

END_TEST

/* Without any control block nobody knows how far the log went; with one of two, the log opens. */
START_TEST(wal_recover_needs_a_control_block)
{
    static const char *const names[] = {"CONTROL.a", "CONTROL.b"};
    static uint8_t block[WAL_FORMAT_BLOCK_SIZE];
    struct reference reference;
    struct fake_disk *disk;
    struct verdict verdict;

    reference_init(&reference);
    disk = reference.world.disk;
    for (unsigned i = 0; i < 2; i++) {
        const uint8_t bad = 0xff;

        memcpy(block, fake_disk_peek(disk, names[i], NULL), sizeof(block));
        fake_disk_poke(disk, names[i], 100, &bad, 1);
        verdict = recover(disk, false);
        expect(&verdict, 0, reference.next_lsn, "one bad control block", i);
        fake_disk_put(disk, names[i], block, 17);
        verdict = recover(disk, false);
        expect(&verdict, 0, reference.next_lsn, "one short control block", i);
        fake_disk_delete(disk, names[i]);
        verdict = recover(disk, false);
        expect(&verdict, 0, reference.next_lsn, "one missing control block", i);
        fake_disk_put(disk, names[i], block, sizeof(block));
    }
    fake_disk_delete(disk, names[0]);
    fake_disk_delete(disk, names[1]);
    verdict = recover(disk, false);
    expect(&verdict, WAL_E_DAMAGED, 0, "no control block", 0);
    reference_deinit(&reference);
}

END_TEST

/* The frame in flight at a crash is copied to a .torn file and zeroed; doing it again finds a clean
 * end, and the log goes on behind it. */
START_TEST(wal_recover_cuts_a_torn_tail)
{
    static const uint8_t zeros[3 * WAL_FORMAT_BLOCK_SIZE];
    static uint8_t remains[2 * WAL_FORMAT_BLOCK_SIZE];
    struct reference reference;
    struct fake_disk *disk;
    struct verdict verdict;
    const uint8_t *torn;
    uint64_t end;
    uint64_t size = 0;

    reference_init(&reference);
    disk = reference.world.disk;
    end = frames_end(&reference);
    memset(remains + 5000, 0xab, 100);
    fake_disk_poke(disk, FIRST_NAME, end, remains, sizeof(remains));
    fake_disk_put(disk, "wal-0000000000000001-000000000000000c.torn", "another", 7);
    fake_disk_put(disk, "torn.tmp", "interrupted", 11);
    verdict = recover(disk, true);
    expect(&verdict, 0, 12, "torn tail", 0);
    ck_assert(verdict.torn);
    ck_assert_ptr_nonnull(strstr(verdict.notice, "torn"));
    (void)fake_disk_peek(disk, "wal-0000000000000001-000000000000000c.torn", &size);
    ck_assert_uint_eq(size, 7); /* what was cut off before stays */
    torn = fake_disk_peek(disk, "wal-0000000000000001-000000000000000c.1.torn", &size);
    ck_assert(!fake_disk_exists(disk, "torn.tmp"));
    ck_assert_uint_eq(size, sizeof(remains));
    ck_assert_mem_eq(torn, remains, sizeof(remains));
    ck_assert_mem_eq(fake_disk_peek(disk, FIRST_NAME, NULL) + end, zeros, sizeof(zeros));
    verdict = recover(disk, true);
    expect(&verdict, 0, 12, "second time", 0);
    ck_assert(!verdict.torn);
    ck_assert_int_eq(wal_driver_open(&reference.driver), 0);
    ck_assert(wal_driver_is_faithful(&reference.driver));
    ck_assert_uint_eq(wal_stats(reference.driver.wal)->torn_bytes, 0);
    wal_driver_close(&reference.driver);
    reference_deinit(&reference);
}

END_TEST

/* Makes a frame behind the last one, right in every checksum, and puts it there. */
static void append_frame(struct reference *reference, const struct wal_format_frame *wish,
                         size_t payload_size, uint64_t gap)
{
    struct fake_disk *disk = reference->world.disk;
    const uint8_t *bytes = fake_disk_peek(disk, FIRST_NAME, NULL);
    static uint8_t frame_bytes[WAL_FORMAT_BLOCK_SIZE];
    struct wal_format_segment segment;
    struct wal_format_frame last = {0};
    struct wal_format_frame frame = *wish;

    ck_assert_int_eq(wal_format_get_segment(bytes, &segment), 0);
    ck_assert_int_eq(
        wal_format_get_frame(bytes + reference->frames[reference->frame_count - 1].offset, &last),
        0);
    frame.epoch = segment.epoch;
    frame.prev_crc ^= last.crc;
    frame.payload_size = (uint32_t)payload_size;
    (void)wal_format_put_record(frame_bytes + WAL_FORMAT_FRAME_HEADER_SIZE, 1,
                                BYTES_LITERAL("hello"));
    (void)wal_format_put_frame(frame_bytes, &frame);
    fake_disk_poke(disk, FIRST_NAME, frames_end(reference) + gap, frame_bytes, sizeof(frame_bytes));
}

/* A frame with good checksums that does not belong where it stands is damage, not a torn tail. */
START_TEST(wal_recover_refuses_frames_out_of_place)
{
    static const struct {
        struct wal_format_frame frame;
        size_t payload_size;
        int expected;
    } rows[] = {
        {{.record_count = 1, .first_lsn = 12, .durable_lsn = 11}, 17, 0},
        {{.flags = WAL_FORMAT_FRAME_SEAL, .first_lsn = 12, .durable_lsn = 11}, 0, 0},
        {{.record_count = 1, .first_lsn = 13, .durable_lsn = 12}, 17, WAL_E_DAMAGED},
        {{.record_count = 1, .first_lsn = 11, .durable_lsn = 10}, 17, WAL_E_DAMAGED},
        {{.record_count = 1, .first_lsn = 12, .durable_lsn = 11, .prev_crc = 1}, 17, WAL_E_DAMAGED},
        {{.record_count = 2, .first_lsn = 12, .durable_lsn = 11}, 17, WAL_E_DAMAGED},
        {{.record_count = 1, .first_lsn = 12, .durable_lsn = 11}, 18, WAL_E_DAMAGED},
        {{.record_count = 513, .first_lsn = 12, .durable_lsn = 11}, 17, WAL_E_DAMAGED},
        {{.flags = 4, .first_lsn = 12, .durable_lsn = 11}, 0, WAL_E_DAMAGED},
        {{.flags = WAL_FORMAT_FRAME_SEAL, .first_lsn = 12, .durable_lsn = 11}, 17, WAL_E_DAMAGED},
    };
    struct reference reference;
    struct verdict verdict;

    reference_init(&reference);
    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        append_frame(&reference, &rows[i].frame, rows[i].payload_size, 0);
        verdict = recover(reference.world.disk, false);
        expect(&verdict, rows[i].expected, 12 + rows[i].frame.record_count, "crafted frame", i);
    }
    reference_deinit(&reference);
}

END_TEST

/* Behind a gap, any frame of the segment proves that something was durable: its writer had synced
 * what came before, whatever the frame itself says of that. */
START_TEST(wal_recover_refuses_a_frame_behind_a_gap)
{
    const struct wal_format_frame frame = {.record_count = 1, .first_lsn = 14, .durable_lsn = 11};
    struct reference reference;
    struct verdict verdict;

    reference_init(&reference);
    append_frame(&reference, &frame, 17, WAL_FORMAT_BLOCK_SIZE);
    verdict = recover(reference.world.disk, false);
    expect(&verdict, WAL_E_DAMAGED, 0, "a frame behind a gap", 0);
    ck_assert_ptr_nonnull(strstr(verdict.problem, "records 12 to 14 would be missing"));
    reference_deinit(&reference);
}

END_TEST

static int accept_begin(void *context, uint64_t record_count)
{
    (void)context;
    (void)record_count;
    return 0;
}

static int refuse_begin(void *context, uint64_t record_count)
{
    (void)context;
    (void)record_count;
    return -ENOMEM;
}

static int refuse_fifth(void *context, const struct wal_record *record)
{
    (void)context;
    return record->lsn == 5 ? -EBADMSG : 0;
}

/* What the replay returns ends recovery and is returned. */
START_TEST(wal_recover_passes_on_what_replay_says)
{
    const struct wal_replay replay = {
        .begin = accept_begin, .record = refuse_fifth, .progress = ignore_progress};
    const struct wal_replay no_begin = {.begin = refuse_begin};
    struct reference reference;
    struct wal_environment environment;
    char problem[WAL_PROBLEM_SIZE];
    struct wal *wal = NULL;

    reference_init(&reference);
    environment = fake_world_environment(&reference.world);
    ck_assert_int_eq(
        wal_open(&environment, &reference.driver.options, &replay, NULL, problem, &wal), -EBADMSG);
    ck_assert_ptr_null(wal);
    ck_assert_ptr_nonnull(strstr(problem, "record 5"));
    ck_assert_int_eq(
        wal_open(&environment, &reference.driver.options, &no_begin, NULL, problem, &wal), -ENOMEM);
    ck_assert_str_ne(problem, "");
    reference_deinit(&reference);
}

END_TEST

/* An unreadable disk is neither damage nor an empty log: whichever operation fails, its error comes
 * up with a text, and the next attempt finds all. */
START_TEST(wal_recover_survives_each_failing_operation)
{
    struct reference reference;
    struct verdict verdict;
    const uint8_t garbage = 1;
    unsigned nth = 0;

    reference_init(&reference);
    ck_assert_int_eq(wal_driver_open(&reference.driver), 0);
    wal_driver_crash(&reference.driver);
    do {
        nth++;
        fake_disk_poke(reference.world.disk, "wal-000000000000000c.log", 9000, &garbage, 1);
        fake_disk_fail(reference.world.disk, FAKE_DISK_ANY, nth, -EIO, false);
        verdict = recover(reference.world.disk, true);
        ck_assert(verdict.result == 0 || verdict.result == -EIO);
    } while (verdict.result != 0);
    ck_assert_uint_gt(nth, 15);
    expect(&verdict, 0, reference.next_lsn, "in the end", nth);
    reference_deinit(&reference);
}

END_TEST

UNIT_MAIN("wal_recover", wal_recover_finds_nothing, wal_recover_reads_all,
          wal_recover_judges_every_cut, wal_recover_judges_flips, wal_recover_judges_sectors,
          wal_recover_refuses_damage_before_the_last_segment,
          wal_recover_refuses_gaps_and_strangers, wal_recover_needs_a_control_block,
          wal_recover_cuts_a_torn_tail, wal_recover_refuses_frames_out_of_place,
          wal_recover_refuses_a_frame_behind_a_gap, wal_recover_passes_on_what_replay_says,
          wal_recover_survives_each_failing_operation)
