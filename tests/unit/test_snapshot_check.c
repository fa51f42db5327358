#include "lib/snapshot_maker.h"
#include "lib/unit.h"

#include "core/hash.h"
#include "core/le.h"
#include "core/snapshot_check.h"

#include <stdint.h>
#include <string.h>

#define LSN    100
#define UUID   maker.header.store_uuid
#define FRAME1 ((size_t)WAL_FORMAT_BLOCK_SIZE) /* where the first frame stands */

static struct snapshot_maker maker;
static char problem[WAL_PROBLEM_SIZE];

/* Walks over the whole file. Every record of a frame that is right must be the right one. */
static int walk(size_t body_size)
{
    struct snapshot_check check;
    struct wal_record record = {0};
    uint64_t count = 0;
    size_t size = 0;
    int result;

    problem[0] = '\0';
    snapshot_check_init(&check, LSN, maker.size, UUID, problem);
    result = snapshot_check_size(&check);
    if (result == 0) {
        result = snapshot_check_header(&check, maker.bytes);
    }
    while (result == 0 && !snapshot_check_at_footer(&check)) {
        const uint8_t *bytes = maker.bytes + check.offset;

        result = snapshot_check_frame(&check, bytes, &size);
        if (result == 0) {
            result = snapshot_check_payload(&check, bytes);
        }
        while (result == 0 && (result = snapshot_check_record(&check, &record)) == 0) {
            ck_assert(record.body.size != body_size ||
                      snapshot_maker_is_record(&record, count, body_size));
            ck_assert_uint_eq(record.realtime_ns, 9);
            count++;
        }
        if (result == SNAPSHOT_CHECK_END) {
            result = 0;
        }
    }
    if (result == 0) {
        result = snapshot_check_footer(&check, maker.bytes + check.offset);
    }
    if (result == 0) {
        ck_assert_uint_eq(record.body.size, maker.footer.record_count == 0 ? 0 : body_size);
        ck_assert_uint_eq(count, maker.footer.record_count);
        ck_assert_uint_eq(check.frame_count, maker.footer.frame_count);
    } else {
        ck_assert_msg(strncmp(problem, "snap-0000000000000064.snap: ", 28) == 0, "%s", problem);
    }
    return result;
}

/* The file that the damages below are done to: three records, then two. */
static void make(void)
{
    snapshot_maker_begin(&maker, LSN);
    snapshot_maker_frame(&maker, 3, 20);
    snapshot_maker_frame(&maker, 2, 20);
    snapshot_maker_end(&maker);
}

static void expect(int outcome, const char *words)
{
    ck_assert_int_eq(walk(20), outcome);
    ck_assert_msg(strstr(problem, words) != NULL, "%s", problem);
    snapshot_maker_deinit(&maker);
}

/* Whole files of every shape are right: no record, empty bodies, the longest body, the longest
 * frame, the most records. */
START_TEST(snapshot_check_accepts)
{
    static const struct {
        unsigned frames;
        uint32_t records;
        size_t body_size;
    } shapes[] = {{0, 0, 0},     {1, 1, 0}, {2, 3, 20}, {3, 512, 1}, {1, 3, WAL_RECORD_SIZE_MAX},
                  {2, 511, 2031}};

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        snapshot_maker_begin(&maker, LSN);
        for (unsigned frame = 0; frame < shapes[i].frames; frame++) {
            snapshot_maker_frame(&maker, shapes[i].records, shapes[i].body_size);
        }
        snapshot_maker_end(&maker);
        ck_assert_msg(walk(shapes[i].body_size) == 0, "%s", problem);
        snapshot_maker_deinit(&maker);
    }
}

END_TEST

/* Header: damage, another store, a newer version, another LSN than the name's are told apart. */
START_TEST(snapshot_check_header_problems)
{
    make();
    maker.bytes[60] ^= 1;
    maker.bytes[2048 + 60] ^= 1;
    expect(WAL_E_DAMAGED, "header at offset 0");
    make();
    le_put_u32(maker.bytes + 12, 2);
    le_put_u32(maker.bytes + 124, hash_crc32c(0, (struct bytes){maker.bytes, 124}));
    expect(WAL_E_FOREIGN, "newer version");
    make();
    UUID[0] ^= 1;
    expect(WAL_E_FOREIGN, "another store");
    snapshot_maker_begin(&maker, LSN + 1);
    snapshot_maker_end(&maker);
    expect(WAL_E_DAMAGED, "state after record 101, its name says 100");
}

END_TEST

/* Without a UUID a snapshot of any store is right. */
START_TEST(snapshot_check_any_store)
{
    struct snapshot_check check;

    make();
    snapshot_check_init(&check, LSN, maker.size, NULL, problem);
    ck_assert_int_eq(snapshot_check_header(&check, maker.bytes), 0);
    snapshot_maker_deinit(&maker);
}

END_TEST

/* A whole frame (checksums right) with one wrong field is refused, whichever it is. */
START_TEST(snapshot_check_frame_problems)
{
    uint8_t payload[64];

    for (unsigned what = 0; what < 9; what++) {
        struct wal_format_frame frame;
        const struct bytes body = {(const uint8_t *)"\0\0\0\0\0\0\0\0", 8};
        size_t size;

        snapshot_maker_begin(&maker, LSN);
        snapshot_maker_frame(&maker, 3, 20);
        frame = snapshot_maker_next_frame(&maker);
        frame.record_count = 1;
        size = wal_format_put_record(payload, 3, body);
        switch (what) {
        case 0:
            frame.epoch++;
            break;
        case 1:
            frame.first_lsn++;
            break;
        case 2:
            frame.durable_lsn--;
            break;
        case 3:
            frame.prev_crc++;
            break;
        case 4:
            frame.record_count = 0;
            frame.flags = WAL_FORMAT_FRAME_SEAL;
            size = 0;
            break;
        case 5:
            frame.flags = 0x8000;
            frame.record_count = 0;
            break;
        case 6:
            frame.record_count = 513;
            break;
        case 7:
            frame.record_count = 2;
            break;
        default:
            size += wal_format_put_record(payload + size, 3, body);
            break;
        }
        snapshot_maker_raw_frame(&maker, &frame, (struct bytes){payload, size});
        snapshot_maker_end(&maker);
        expect(WAL_E_DAMAGED, what < 7 ? "does not belong there at offset 8192"
                                       : "wrong records before offset 12288");
    }
}

END_TEST

/* The same for a record: one of the future, one without room for the LSN. */
START_TEST(snapshot_check_record_problems)
{
    uint8_t payload[64];
    uint8_t body[8];

    for (unsigned what = 0; what < 2; what++) {
        struct wal_format_frame frame;
        size_t size;

        snapshot_maker_begin(&maker, LSN);
        frame = snapshot_maker_next_frame(&maker);
        frame.record_count = 1;
        le_put_u64(body, what == 0 ? LSN + 1 : 0);
        size = wal_format_put_record(payload, 3, (struct bytes){body, what == 0 ? 8 : 7});
        snapshot_maker_raw_frame(&maker, &frame, (struct bytes){payload, size});
        snapshot_maker_end(&maker);
        expect(WAL_E_DAMAGED, "wrong records before offset 8192, at record 1");
    }
}

END_TEST

/* Damage without right checksums, and files that are too short or too long. */
START_TEST(snapshot_check_damage)
{
    make();
    maker.bytes[FRAME1 + 3] ^= 1;
    expect(WAL_E_DAMAGED, "no frame at offset 4096, behind 0 records");
    make();
    maker.bytes[FRAME1 + 70] ^= 1;
    expect(WAL_E_DAMAGED, "damaged within the frame at offset 4096");
    make();
    maker.size -= 1;
    expect(WAL_E_DAMAGED, "cut off at offset 16383");
    make();
    maker.size = 4096;
    expect(WAL_E_DAMAGED, "cut off at offset 4096");
    make();
    maker.size -= WAL_FORMAT_BLOCK_SIZE;
    expect(WAL_E_DAMAGED, "no footer at offset 8192, behind 3 records");
    make();
    maker.size += WAL_FORMAT_BLOCK_SIZE;
    expect(WAL_E_DAMAGED, "more behind its end at offset 16384, up to 20480");
    snapshot_maker_begin(&maker, LSN);
    snapshot_maker_frame(&maker, 1, 9000);
    snapshot_maker_end(&maker);
    maker.size -= 2 * WAL_FORMAT_BLOCK_SIZE;
    expect(WAL_E_DAMAGED, "cut off within the frame at offset 4096");
}

END_TEST

/* Every field of a whole footer must be that of what stands before it. */
START_TEST(snapshot_check_footer_problems)
{
    for (unsigned what = 0; what < 7; what++) {
        struct snapshot_format_footer *footer = &maker.footer;

        make();
        switch (what) {
        case 0:
            footer->store_uuid[15] ^= 1;
            break;
        case 1:
            footer->epoch++;
            break;
        case 2:
            footer->lsn++;
            break;
        case 3:
            footer->record_count++;
            break;
        case 4:
            footer->frame_count++;
            break;
        case 5:
            footer->size += WAL_FORMAT_BLOCK_SIZE;
            break;
        default:
            footer->digest[31] ^= 1;
            break;
        }
        snapshot_format_put_footer(maker.bytes + maker.size - WAL_FORMAT_BLOCK_SIZE, footer);
        ck_assert_int_eq(walk(20), WAL_E_DAMAGED);
        ck_assert_msg(strstr(problem, "footer at offset 12288") != NULL, "%s", problem);
        snapshot_maker_deinit(&maker);
    }
    make();
    le_put_u32(maker.bytes + maker.size - 4096 + 16, 1);
    le_put_u32(maker.bytes + maker.size - 4096 + 124,
               hash_crc32c(0, (struct bytes){maker.bytes + maker.size - 4096, 124}));
    expect(WAL_E_FOREIGN, "newer version");
}

END_TEST

UNIT_MAIN("snapshot_check", snapshot_check_accepts, snapshot_check_header_problems,
          snapshot_check_any_store, snapshot_check_frame_problems, snapshot_check_record_problems,
          snapshot_check_damage, snapshot_check_footer_problems)
