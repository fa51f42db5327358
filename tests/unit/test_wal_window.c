#include "lib/fake_disk.h"
#include "lib/unit.h"

#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define NAME      "file"
#define FILE_SIZE ((size_t)2 * WAL_WINDOW_PIECE_SIZE + 5 * DISK_BLOCK_SIZE + 100)

struct fixture {
    struct fake_disk *disk;
    struct disk_file *file;
    struct wal_window window;
    uint8_t *expected; /* with zeros up to the block border */
};

static void fixture_init(struct fixture *fixture)
{
    struct disk *disk;

    fixture->disk = fake_disk_new(NULL, 1);
    fixture->expected = calloc(1, FILE_SIZE + DISK_BLOCK_SIZE);
    ck_assert_ptr_nonnull(fixture->expected);
    for (size_t i = 0; i < FILE_SIZE; i++) {
        fixture->expected[i] = (uint8_t)(i * 7 + i / DISK_BLOCK_SIZE);
    }
    fake_disk_put(fixture->disk, NAME, fixture->expected, FILE_SIZE);
    disk = fake_disk_disk(fixture->disk);
    ck_assert_int_eq(disk->ops->open(disk, NAME, DISK_OPEN_WRITE, &fixture->file), 0);
    ck_assert_int_eq(wal_window_init(&fixture->window), 0);
    wal_window_set_file(&fixture->window, fixture->file, FILE_SIZE);
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_window_deinit(&fixture->window);
    fixture->file->disk->ops->close_file(fixture->file);
    fake_disk_free(fixture->disk);
    free(fixture->expected);
}

static void look(struct fixture *fixture, uint64_t offset, size_t size)
{
    const uint8_t *bytes = NULL;

    ck_assert_int_eq(wal_window_look(&fixture->window, offset, size, &bytes), 0);
    ck_assert_mem_eq(bytes, fixture->expected + offset, size);
}

/* Every range shows the file's bytes, whether one walks forward, looks again, or goes back; behind
 * the end of a cut block there are zeros. */
START_TEST(wal_window_shows_the_file)
{
    static const size_t sizes[] = {DISK_BLOCK_SIZE, 3 * DISK_BLOCK_SIZE, WAL_WINDOW_PIECE_SIZE,
                                   37 * DISK_BLOCK_SIZE};
    struct fixture fixture;
    uint64_t offset = 0;

    fixture_init(&fixture);
    ck_assert_uint_eq(fixture.window.size % DISK_BLOCK_SIZE, 0);
    ck_assert_uint_eq(fixture.window.size, FILE_SIZE - 100 + DISK_BLOCK_SIZE);
    for (unsigned i = 0; offset < fixture.window.size; i++) {
        uint64_t left = fixture.window.size - offset;
        size_t size = sizes[i % 4] < left ? sizes[i % 4] : (size_t)left;

        look(&fixture, offset, DISK_BLOCK_SIZE);
        look(&fixture, offset, size);
        offset += size;
    }
    look(&fixture, 0, WAL_WINDOW_PIECE_SIZE);
    look(&fixture, fixture.window.size - DISK_BLOCK_SIZE, DISK_BLOCK_SIZE);
    fixture_deinit(&fixture);
}

END_TEST

/* Walking through block by block reads each piece once. */
START_TEST(wal_window_reads_in_pieces)
{
    struct fixture fixture;

    fixture_init(&fixture);
    for (uint64_t offset = 0; offset < fixture.window.size; offset += DISK_BLOCK_SIZE) {
        look(&fixture, offset, DISK_BLOCK_SIZE);
    }
    ck_assert_uint_eq(fake_disk_count(fixture.disk, FAKE_DISK_READ), 3);
    fixture_deinit(&fixture);
}

END_TEST

/* A read that fails is told, and can be tried again. */
START_TEST(wal_window_passes_errors_on)
{
    struct fixture fixture;
    const uint8_t *bytes = NULL;

    fixture_init(&fixture);
    fake_disk_fail(fixture.disk, FAKE_DISK_READ, 1, -EIO, false);
    ck_assert_int_eq(wal_window_look(&fixture.window, 4096, 8192, &bytes), -EIO);
    ck_assert_ptr_null(bytes);
    look(&fixture, 4096, 8192);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_window", wal_window_shows_the_file, wal_window_reads_in_pieces,
          wal_window_passes_errors_on)
