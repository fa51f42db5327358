#include "lib/disk_image.h"
#include "lib/fake_world.h"
#include "lib/unit.h"

#include <errno.h>

#define FILE_SIZE (4 * DISK_BLOCK_SIZE)

struct fixture {
    struct fake_world world;
    struct disk *disk;
    struct disk_file *file;
    uint8_t *old_bytes;
    uint8_t *new_bytes;
    uint8_t *read_bytes;
};

static int done_result;
static unsigned done_count;

static void on_done(struct disk_op *op, int result)
{
    (void)op;
    done_result = result;
    done_count++;
}

static uint8_t *make_block(uint8_t byte)
{
    uint8_t *block = aligned_alloc(DISK_BLOCK_SIZE, FILE_SIZE);

    ck_assert_ptr_nonnull(block);
    memset(block, byte, FILE_SIZE);
    return block;
}

/* A file of four blocks of 'o', durable; what is written next is of 'n'. */
static void fixture_init(struct fixture *fixture, uint64_t seed)
{
    fake_world_init(&fixture->world, seed);
    fixture->disk = fake_disk_disk(fixture->world.disk);
    fixture->old_bytes = make_block('o');
    fixture->new_bytes = make_block('n');
    fixture->read_bytes = make_block('r');
    fake_disk_put(fixture->world.disk, "file", fixture->old_bytes, FILE_SIZE);
    ck_assert_int_eq(
        fixture->disk->ops->open(fixture->disk, "file", DISK_OPEN_WRITE, &fixture->file), 0);
    done_count = 0;
}

static void fixture_deinit(struct fixture *fixture)
{
    fixture->disk->ops->close_file(fixture->file);
    free(fixture->old_bytes);
    free(fixture->new_bytes);
    free(fixture->read_bytes);
    fake_world_deinit(&fixture->world);
}

/* Writes the second block anew. */
static int write_block(struct fixture *fixture)
{
    return fixture->disk->ops->write(
        fixture->file, (struct bytes){fixture->new_bytes, DISK_BLOCK_SIZE}, DISK_BLOCK_SIZE);
}

static unsigned count_new(const struct fixture *fixture, uint64_t offset, uint64_t size)
{
    const uint8_t *bytes = fake_disk_peek(fixture->world.disk, "file", NULL);
    unsigned count = 0;

    for (uint64_t i = offset; i < offset + size; i++) {
        count += bytes[i] == 'n';
    }
    return count;
}

/* A lost write is told as done and is nowhere; the next one is honest. */
START_TEST(fake_disk_loses_writes)
{
    struct fixture fixture;

    fixture_init(&fixture, 1);
    fake_disk_lie(fixture.world.disk, FAKE_DISK_WRITE_LOST, 1);
    ck_assert_int_eq(write_block(&fixture), 0);
    ck_assert_uint_eq(fake_disk_lies_told(fixture.world.disk), 1);
    ck_assert_uint_eq(count_new(&fixture, 0, FILE_SIZE), 0);
    ck_assert_int_eq(write_block(&fixture), 0);
    ck_assert_uint_eq(count_new(&fixture, 0, FILE_SIZE), DISK_BLOCK_SIZE);
    fixture_deinit(&fixture);
}

END_TEST

/* A misdirected write is one block somewhere; with some seed it is not where it should be. */
START_TEST(fake_disk_misdirects_writes)
{
    unsigned elsewhere = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture fixture;

        fixture_init(&fixture, seed);
        fake_disk_lie(fixture.world.disk, FAKE_DISK_WRITE_MISDIRECTED, 1);
        ck_assert_int_eq(write_block(&fixture), 0);
        ck_assert_uint_eq(count_new(&fixture, 0, FILE_SIZE), DISK_BLOCK_SIZE);
        elsewhere += count_new(&fixture, DISK_BLOCK_SIZE, DISK_BLOCK_SIZE) == 0;
        fixture_deinit(&fixture);
    }
    ck_assert_uint_gt(elsewhere, 0);
}

END_TEST

/* A torn sector keeps half of what was there; all others are written. */
START_TEST(fake_disk_tears_sectors)
{
    struct fixture fixture;

    fixture_init(&fixture, 1);
    fake_disk_lie(fixture.world.disk, FAKE_DISK_WRITE_TORN, 1);
    ck_assert_int_eq(write_block(&fixture), 0);
    ck_assert_uint_eq(count_new(&fixture, DISK_BLOCK_SIZE, DISK_BLOCK_SIZE),
                      DISK_BLOCK_SIZE - FAKE_DISK_SECTOR_SIZE / 2);
    fixture_deinit(&fixture);
}

END_TEST

/* A stale read gives one block as it was before the last write to it; the file has the new one. */
START_TEST(fake_disk_reads_stale)
{
    struct fixture fixture;

    fixture_init(&fixture, 1);
    ck_assert_int_eq(write_block(&fixture), 0);
    fake_disk_lie(fixture.world.disk, FAKE_DISK_READ_STALE, 1);
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(fixture.disk->ops->read(fixture.file, fixture.read_bytes, DISK_BLOCK_SIZE,
                                                 DISK_BLOCK_SIZE),
                         0);
        ck_assert_uint_eq(fixture.read_bytes[0], i == 0 ? 'o' : 'n');
    }
    fixture_deinit(&fixture);
}

END_TEST

/* Reading and removing later: held until stepped, counted, failing like the others. */
START_TEST(fake_disk_reads_and_removes_later)
{
    struct fixture fixture;
    struct disk_op op = {.done = on_done};
    struct fake_disk *fake;

    fixture_init(&fixture, 1);
    fake = fixture.world.disk;
    fake_disk_hold(fake, true);
    ck_assert_int_eq(fixture.disk->ops->read_later(fixture.file, &op, fixture.read_bytes,
                                                   DISK_BLOCK_SIZE, DISK_BLOCK_SIZE),
                     0);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(done_count, 0);
    ck_assert(fake_disk_pending_is(fake, 0, FAKE_DISK_READ));
    fake_disk_step(fake, 0);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(done_count, 1);
    ck_assert_int_eq(done_result, 0);
    ck_assert_uint_eq(fixture.read_bytes[0], 'o');
    fake_disk_hold(fake, false);
    ck_assert_int_eq(fixture.disk->ops->read_later(fixture.file, &op, fixture.read_bytes,
                                                   DISK_BLOCK_SIZE, FILE_SIZE),
                     0);
    fake_world_turn(&fixture.world);
    ck_assert_int_eq(done_result, -EIO);
    ck_assert_uint_eq(fake_disk_count(fake, FAKE_DISK_READ), 2);
    fake_disk_fail(fake, FAKE_DISK_REMOVE, 1, -EIO, false);
    for (unsigned i = 0; i < 3; i++) {
        static const int results[] = {-EIO, 0, -ENOENT};

        ck_assert_int_eq(fixture.disk->ops->remove_later(fixture.disk, &op, "file"), 0);
        fake_world_turn(&fixture.world);
        ck_assert_int_eq(done_result, results[i]);
    }
    ck_assert_uint_eq(fake_disk_count(fake, FAKE_DISK_REMOVE), 3);
    fixture_deinit(&fixture);
}

END_TEST

/* Waiting ends an operation although it is held, and no other one that is held; what has ended ends
 * no second time. Without a reactor there are no such operations. */
START_TEST(fake_disk_waits)
{
    struct fixture fixture;
    struct disk_op op = {.done = on_done};
    struct disk_op other = {.done = on_done};
    struct fake_disk *lone = fake_disk_new(NULL, 1);
    struct disk *disk;

    fixture_init(&fixture, 1);
    disk = fixture.disk;
    fake_disk_hold(fixture.world.disk, true);
    ck_assert_int_eq(disk->ops->sync_directory_later(disk, &other), 0);
    ck_assert_int_eq(
        disk->ops->read_later(fixture.file, &op, fixture.read_bytes, DISK_BLOCK_SIZE, 0), 0);
    ck_assert_int_eq(disk->ops->wait(disk, &op), 0);
    ck_assert_uint_eq(done_count, 1);
    ck_assert_uint_eq(fixture.read_bytes[0], 'o');
    ck_assert_uint_eq(fake_disk_pending(fixture.world.disk), 1);
    ck_assert_int_eq(disk->ops->wait(disk, &op), 0);
    ck_assert_uint_eq(done_count, 1);
    ck_assert_int_eq(disk->ops->wait(disk, &other), 0);
    ck_assert_uint_eq(done_count, 2);
    fixture_deinit(&fixture);

    disk = fake_disk_disk(lone);
    ck_assert_int_eq(disk->ops->sync_directory_later(disk, &op), -EOPNOTSUPP);
    fake_disk_free(lone);
}

END_TEST

/* Of two changes of a directory that was not synced, a crash leaves any: both, one, none. */
START_TEST(fake_disk_forgets_any_names)
{
    unsigned seen[2][2] = {{0}};

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct fixture fixture;
        struct fake_disk *fake;

        fixture_init(&fixture, seed);
        fake = fixture.world.disk;
        fake_disk_put(fake, "other", "x", 1);
        ck_assert_int_eq(fixture.disk->ops->rename(fixture.disk, "file", "renamed"), 0);
        ck_assert_int_eq(fixture.disk->ops->remove(fixture.disk, "other"), 0);
        fake_disk_crash(fake);
        ck_assert(fake_disk_exists(fake, "file") != fake_disk_exists(fake, "renamed"));
        seen[fake_disk_exists(fake, "renamed")][fake_disk_exists(fake, "other")]++;
        fixture_deinit(&fixture);
    }
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_gt(seen[i / 2][i % 2], 0);
    }
}

END_TEST

/* A cut before an operation undoes it, one after it does not; neither tells of it, and nothing has
 * an effect any more. */
START_TEST(fake_disk_cuts_power_at_an_operation)
{
    for (unsigned after = 0; after < 2; after++) {
        struct fixture fixture;
        struct fake_disk *fake;

        fixture_init(&fixture, 1);
        fake = fixture.world.disk;
        ck_assert_int_eq(write_block(&fixture), 0);
        ck_assert_int_eq(fixture.disk->ops->rename(fixture.disk, "file", "renamed"), 0);
        fake_disk_cut(fake, 2, after == 1);
        ck_assert_int_eq(fixture.disk->ops->sync(fixture.file), 0);
        ck_assert_int_eq(fixture.disk->ops->sync_directory(fixture.disk), -EIO);
        ck_assert(fake_disk_is_dead(fake));
        ck_assert_int_eq(fixture.disk->ops->remove(fixture.disk, "file"), -EIO);
        ck_assert(after == 0 || fake_disk_exists(fake, "renamed"));
        fixture_deinit(&fixture);
    }
}

END_TEST

/* Beyond its quota a user gets -EDQUOT, beyond the room of the disk everyone -ENOSPC. */
START_TEST(fake_disk_has_room_and_quota)
{
    struct fixture fixture;

    fixture_init(&fixture, 1);
    fake_disk_set_quota(fixture.world.disk, FILE_SIZE);
    ck_assert_int_eq(fixture.disk->ops->write(fixture.file,
                                              (struct bytes){fixture.new_bytes, DISK_BLOCK_SIZE},
                                              FILE_SIZE),
                     -EDQUOT);
    fake_disk_set_room(fixture.world.disk, FILE_SIZE);
    ck_assert_int_eq(fixture.disk->ops->write(fixture.file,
                                              (struct bytes){fixture.new_bytes, DISK_BLOCK_SIZE},
                                              FILE_SIZE),
                     -ENOSPC);
    ck_assert_int_eq(write_block(&fixture), 0);
    fixture_deinit(&fixture);
}

END_TEST

/* A failing write leaves, with one seed or another: nothing, some sectors, the first ones, all. */
START_TEST(fake_disk_writes_short)
{
    unsigned nothing = 0;
    unsigned all = 0;
    unsigned prefix = 0;

    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct fixture fixture;
        unsigned count;

        fixture_init(&fixture, seed);
        fake_disk_fail(fixture.world.disk, FAKE_DISK_WRITE, 1, -EIO, false);
        ck_assert_int_eq(write_block(&fixture), -EIO);
        count = count_new(&fixture, DISK_BLOCK_SIZE, DISK_BLOCK_SIZE);
        nothing += count == 0;
        all += count == DISK_BLOCK_SIZE;
        prefix += count > 0 && count < DISK_BLOCK_SIZE &&
                  count_new(&fixture, DISK_BLOCK_SIZE, count) == count;
        fixture_deinit(&fixture);
    }
    ck_assert_uint_gt(nothing, 0);
    ck_assert_uint_gt(all, 0);
    ck_assert_uint_gt(prefix, 0);
}

END_TEST

/* An image puts back what was changed, cut, made or removed. */
START_TEST(fake_disk_is_put_back)
{
    struct fixture fixture;
    static struct disk_image image;
    struct fake_disk *fake;

    fixture_init(&fixture, 1);
    fake = fixture.world.disk;
    fake_disk_put(fake, "other", "x", 1);
    disk_image_take(&image, fake);
    ck_assert(disk_image_is_there(&image, fake));
    fake_disk_flip(fake, "file", 12345);
    ck_assert(!disk_image_is_there(&image, fake));
    fake_disk_copy(fake, "file", "copy");
    fake_disk_delete(fake, "other");
    fake_disk_truncate(fake, "file", 1000);
    disk_image_put_back(&image, fake);
    ck_assert(disk_image_is_there(&image, fake));
    ck_assert(!fake_disk_exists(fake, "copy"));
    disk_image_deinit(&image);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("fake_disk", fake_disk_loses_writes, fake_disk_misdirects_writes, fake_disk_tears_sectors,
          fake_disk_reads_stale, fake_disk_reads_and_removes_later, fake_disk_waits,
          fake_disk_forgets_any_names, fake_disk_cuts_power_at_an_operation,
          fake_disk_has_room_and_quota, fake_disk_writes_short, fake_disk_is_put_back)
