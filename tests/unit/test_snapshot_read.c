#include "lib/fake_disk.h"
#include "lib/snapshot_maker.h"
#include "lib/unit.h"

#include "core/le.h"
#include "core/snapshot_read.h"
#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#define LSN       0x64
#define NAME      "snap-0000000000000064.snap"
#define BODY_SIZE 20

struct fixture {
    struct snapshot_maker maker;
    struct fake_disk *disk;
    struct wal_window window;
    struct snapshot_read read;
    char problem[WAL_PROBLEM_SIZE];
    /* What came. */
    unsigned begins;
    uint64_t records;
    uint64_t bytes;
    /* What the callbacks do. */
    int begin_result;
    uint64_t refuse_at; /* the record, 1 = the first */
};

static int on_begin(void *context, const struct snapshot_format_header *header, uint64_t file_size)
{
    struct fixture *fixture = context;
    uint64_t size = 0;

    (void)fake_disk_peek(fixture->disk, NAME, &size);
    ck_assert_uint_eq(file_size, size);
    ck_assert_uint_eq(header->lsn, LSN);
    ck_assert_uint_eq(fixture->records, 0);
    fixture->begins++;
    return fixture->begin_result;
}

static int on_record(void *context, const struct wal_record *record)
{
    struct fixture *fixture = context;

    ck_assert(snapshot_maker_is_record(record, fixture->records, BODY_SIZE));
    fixture->records++;
    return fixture->records == fixture->refuse_at ? -ENOMEM : 0;
}

static void on_advanced(void *context, uint64_t bytes)
{
    struct fixture *fixture = context;

    ck_assert_uint_gt(bytes, fixture->bytes);
    fixture->bytes = bytes;
}

/* Two frames, of three records and of two. */
static void fixture_init(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    snapshot_maker_begin(&fixture->maker, LSN);
    snapshot_maker_frame(&fixture->maker, 3, BODY_SIZE);
    snapshot_maker_frame(&fixture->maker, 2, BODY_SIZE);
    snapshot_maker_end(&fixture->maker);
    fixture->disk = fake_disk_new(NULL, 1);
    fake_disk_put(fixture->disk, NAME, fixture->maker.bytes, fixture->maker.size);
    ck_assert_int_eq(wal_window_init(&fixture->window), 0);
    fixture->read = (struct snapshot_read){
        .disk = fake_disk_disk(fixture->disk),
        .window = &fixture->window,
        .lsn = LSN,
        .store_uuid = fixture->maker.header.store_uuid,
        .begin = on_begin,
        .record = on_record,
        .advanced = on_advanced,
        .context = fixture,
        .problem = fixture->problem,
    };
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_window_deinit(&fixture->window);
    fake_disk_free(fixture->disk);
    snapshot_maker_deinit(&fixture->maker);
}

static int read_again(struct fixture *fixture)
{
    fixture->begins = 0;
    fixture->records = 0;
    fixture->bytes = 0;
    return snapshot_read(&fixture->read);
}

/* A whole snapshot gives all its records, after `begin`, and says how far it is. */
START_TEST(snapshot_read_whole)
{
    struct fixture fixture;

    fixture_init(&fixture);
    (void)strcpy(fixture.problem, "x");
    ck_assert_int_eq(read_again(&fixture), 0);
    ck_assert_str_eq(fixture.problem, "");
    ck_assert_uint_eq(fixture.begins, 1);
    ck_assert_uint_eq(fixture.records, 5);
    ck_assert_uint_eq(fixture.bytes, fixture.maker.size - WAL_FORMAT_BLOCK_SIZE);
    fixture.read.begin = NULL;
    fixture.read.record = NULL;
    fixture.read.advanced = NULL;
    fixture.read.store_uuid = NULL;
    ck_assert_int_eq(read_again(&fixture), 0);
    fixture_deinit(&fixture);
}

END_TEST

/* Longer than the window: frames of every size up to the longest, in 3 MiB. */
START_TEST(snapshot_read_large)
{
    struct fixture fixture;

    fixture_init(&fixture);
    snapshot_maker_deinit(&fixture.maker);
    snapshot_maker_begin(&fixture.maker, LSN);
    for (uint32_t count = 1; fixture.maker.size < (size_t)3 * 1024 * 1024; count += 37) {
        snapshot_maker_frame(&fixture.maker, count % 513 == 0 ? 1 : count % 513, 2000);
    }
    snapshot_maker_end(&fixture.maker);
    fake_disk_put(fixture.disk, NAME, fixture.maker.bytes, fixture.maker.size);
    fixture.read.record = NULL;
    ck_assert_int_eq(read_again(&fixture), 0);
    ck_assert_uint_eq(fixture.bytes, fixture.maker.size - WAL_FORMAT_BLOCK_SIZE);
    fixture_deinit(&fixture);
}

END_TEST

/* A file cut anywhere is damaged, and the message names file and offset. */
START_TEST(snapshot_read_every_truncation)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (size_t size = fixture.maker.size; size-- > 0;) {
        fake_disk_truncate(fixture.disk, NAME, size);
        ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
        ck_assert_msg(strstr(fixture.problem, NAME) == fixture.problem, "%s", fixture.problem);
        ck_assert_msg(strstr(fixture.problem, "offset") != NULL, "%s", fixture.problem);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Whether a changed byte there must be noticed: all but one of two copies, and reserved bytes. */
static bool matters(const struct fixture *fixture, size_t at)
{
    const size_t block = at / WAL_FORMAT_BLOCK_SIZE;
    const size_t in_block = at % WAL_FORMAT_BLOCK_SIZE;

    if (block == 0 || (block + 1) * WAL_FORMAT_BLOCK_SIZE == fixture->maker.size) {
        return false;
    }
    return in_block < WAL_FORMAT_FRAME_HEADER_SIZE +
                          le_get_u32(fixture->maker.bytes + block * WAL_FORMAT_BLOCK_SIZE + 8);
}

/* Every flipped byte is either noticed, or harmless: then all records are right (the callback looks
 * at each). */
START_TEST(snapshot_read_every_flip)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (size_t at = 0; at < fixture.maker.size; at++) {
        for (unsigned mask = 1; mask < 256; mask = mask == 1 ? 0x80 : mask == 0x80 ? 0xff : 256) {
            const uint8_t flipped = fixture.maker.bytes[at] ^ (uint8_t)mask;
            int result;

            fake_disk_poke(fixture.disk, NAME, at, &flipped, 1);
            result = read_again(&fixture);
            ck_assert_int_eq(result, matters(&fixture, at) ? WAL_E_DAMAGED : 0);
            ck_assert(result != 0 || fixture.records == 5);
        }
        fake_disk_poke(fixture.disk, NAME, at, &fixture.maker.bytes[at], 1);
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Two damaged copies, of header or footer, are damage; so is anything behind the end. */
START_TEST(snapshot_read_both_copies)
{
    static const uint8_t zero[WAL_FORMAT_BLOCK_SIZE];
    struct fixture fixture;
    static uint8_t longer[6 * WAL_FORMAT_BLOCK_SIZE];
    size_t size;

    fixture_init(&fixture);
    size = fixture.maker.size;
    fake_disk_poke(fixture.disk, NAME, 0, zero, sizeof(zero));
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    ck_assert_uint_eq(fixture.begins, 0);
    fake_disk_poke(fixture.disk, NAME, 0, fixture.maker.bytes, sizeof(zero));
    fake_disk_poke(fixture.disk, NAME, size - sizeof(zero), zero, sizeof(zero));
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    ck_assert_uint_eq(fixture.records, 5);
    memcpy(longer, fixture.maker.bytes, size);
    for (unsigned more = 1; more <= WAL_FORMAT_BLOCK_SIZE; more += WAL_FORMAT_BLOCK_SIZE - 1) {
        fake_disk_put(fixture.disk, NAME, longer, size + more);
        ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    }
    /* Even when it ends like one: the footer twice. */
    memcpy(longer + size, fixture.maker.bytes + size - WAL_FORMAT_BLOCK_SIZE,
           WAL_FORMAT_BLOCK_SIZE);
    fake_disk_put(fixture.disk, NAME, longer, size + WAL_FORMAT_BLOCK_SIZE);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fixture_deinit(&fixture);
}

END_TEST

/* Frames that were swapped, or one that stands there twice, or not at all, are noticed. */
START_TEST(snapshot_read_moved_frames)
{
    struct fixture fixture;
    uint8_t *bytes;
    const size_t block = WAL_FORMAT_BLOCK_SIZE;

    fixture_init(&fixture);
    bytes = fixture.maker.bytes;
    fake_disk_poke(fixture.disk, NAME, block, bytes + 2 * block, block);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fake_disk_poke(fixture.disk, NAME, 2 * block, bytes + block, block);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fake_disk_poke(fixture.disk, NAME, block, bytes + block, block);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fake_disk_poke(fixture.disk, NAME, 2 * block, bytes + 3 * block, block);
    fake_disk_truncate(fixture.disk, NAME, 3 * block);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fixture_deinit(&fixture);
}

END_TEST

/* Another store's is foreign; under another name it is damaged. */
START_TEST(snapshot_read_foreign)
{
    static const uint8_t other[WAL_FORMAT_UUID_SIZE] = {9};
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.read.store_uuid = other;
    ck_assert_int_eq(read_again(&fixture), WAL_E_FOREIGN);
    ck_assert_uint_eq(fixture.begins, 0);
    fixture.read.store_uuid = NULL;
    fixture.read.lsn = 0x65;
    fake_disk_put(fixture.disk, "snap-0000000000000065.snap", fixture.maker.bytes,
                  fixture.maker.size);
    ck_assert_int_eq(read_again(&fixture), WAL_E_DAMAGED);
    fixture_deinit(&fixture);
}

END_TEST

/* What a callback returns ends it and comes out, without a problem. */
START_TEST(snapshot_read_callbacks_end_it)
{
    struct fixture fixture;

    fixture_init(&fixture);
    fixture.begin_result = -EINTR;
    ck_assert_int_eq(read_again(&fixture), -EINTR);
    ck_assert_uint_eq(fixture.records, 0);
    ck_assert_str_eq(fixture.problem, "");
    fixture.begin_result = 0;
    for (fixture.refuse_at = 1; fixture.refuse_at <= 5; fixture.refuse_at++) {
        ck_assert_int_eq(read_again(&fixture), -ENOMEM);
        ck_assert_uint_eq(fixture.records, fixture.refuse_at);
        ck_assert_str_eq(fixture.problem, "");
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Any operation of the disk that fails comes out as its own error, with the file's name. */
START_TEST(snapshot_read_disk_fails)
{
    struct fixture fixture;
    int result = -EIO;

    fixture_init(&fixture);
    for (unsigned nth = 1; result != 0; nth++) {
        fake_disk_fail(fixture.disk, FAKE_DISK_ANY, nth, -EIO, false);
        result = read_again(&fixture);
        fake_disk_fail_nothing(fixture.disk);
        ck_assert(result == 0 || result == -EIO);
        ck_assert(result == 0 || strstr(fixture.problem, NAME) == fixture.problem);
        ck_assert_uint_lt(nth, 10);
    }
    fake_disk_delete(fixture.disk, NAME);
    ck_assert_int_eq(read_again(&fixture), -ENOENT);
    ck_assert(strstr(fixture.problem, NAME) == fixture.problem);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("snapshot_read", snapshot_read_whole, snapshot_read_large, snapshot_read_every_truncation,
          snapshot_read_every_flip, snapshot_read_both_copies, snapshot_read_moved_frames,
          snapshot_read_foreign, snapshot_read_callbacks_end_it, snapshot_read_disk_fails)
