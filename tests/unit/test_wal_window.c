#include "lib/fake_world.h"
#include "lib/unit.h"

#include "core/wal_window.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#define NAME       "file"
#define OTHER      "other"
#define PIECE      WAL_WINDOW_PIECE_SIZE
#define BLOCK      DISK_BLOCK_SIZE
#define FILE_SIZE  ((size_t)3 * PIECE + 5 * BLOCK)
#define ODD_SIZE   (FILE_SIZE + 100)
#define OTHER_SIZE ((size_t)2 * PIECE)

struct fixture {
    struct fake_world world;
    struct fake_disk *disk;
    struct disk_file *file;
    struct wal_window window;
    uint8_t *expected; /* with zeros up to the block border */
};

static struct disk_file *open_file(struct fixture *fixture, const char *name)
{
    struct disk *disk = fake_disk_disk(fixture->disk);
    struct disk_file *file = NULL;

    ck_assert_int_eq(disk->ops->open(disk, name, DISK_OPEN_READ, &file), 0);
    return file;
}

/* On a disk that can read ahead, and will not end it before somebody waits for it; or on one that
 * cannot. */
static void fixture_init(struct fixture *fixture, size_t size, bool can_read_ahead)
{
    fake_world_init(&fixture->world, 1);
    fixture->disk = can_read_ahead ? fixture->world.disk : fake_disk_new(NULL, 1);
    fake_disk_hold(fixture->disk, true);
    fixture->expected = calloc(1, ODD_SIZE + BLOCK);
    ck_assert_ptr_nonnull(fixture->expected);
    for (size_t i = 0; i < size; i++) {
        fixture->expected[i] = (uint8_t)(i * 7 + i / BLOCK);
    }
    fake_disk_put(fixture->disk, NAME, fixture->expected, size);
    fixture->file = open_file(fixture, NAME);
    ck_assert_int_eq(wal_window_init(&fixture->window), 0);
    wal_window_set_file(&fixture->window, fixture->file, size);
}

static void fixture_deinit(struct fixture *fixture)
{
    wal_window_deinit(&fixture->window);
    ck_assert_uint_eq(fake_disk_pending(fixture->disk), 0);
    fixture->file->disk->ops->close_file(fixture->file);
    if (fixture->disk != fixture->world.disk) {
        fake_disk_free(fixture->disk);
    }
    fake_world_deinit(&fixture->world);
    free(fixture->expected);
}

static void look(struct fixture *fixture, uint64_t offset, size_t size)
{
    const uint8_t *bytes = NULL;

    ck_assert_int_eq(wal_window_look(&fixture->window, offset, size, &bytes), 0);
    ck_assert_mem_eq(bytes, fixture->expected + offset, size);
}

static unsigned reads(const struct fixture *fixture)
{
    return fake_disk_count(fixture->disk, FAKE_DISK_READ);
}

static const struct {
    size_t size;
    bool can_read_ahead;
} kinds[] = {{FILE_SIZE, true}, {ODD_SIZE, true}, {FILE_SIZE, false}, {ODD_SIZE, false}};

static void look_everywhere(struct fixture *fixture)
{
    static const size_t sizes[] = {BLOCK, 3 * BLOCK, PIECE, 37 * BLOCK};
    uint64_t offset = 0;

    for (unsigned i = 0; offset < fixture->window.size; i++) {
        uint64_t left = fixture->window.size - offset;
        size_t size = sizes[i % 4] < left ? sizes[i % 4] : (size_t)left;

        look(fixture, offset, BLOCK);
        look(fixture, offset, size);
        offset += size;
    }
    look(fixture, 0, PIECE);
    look(fixture, fixture->window.size - BLOCK, BLOCK);
    look(fixture, PIECE - BLOCK, PIECE);
    look(fixture, BLOCK, BLOCK);
    look(fixture, 2 * BLOCK, PIECE);
}

/* Every range shows the file's bytes, whether one walks forward, looks again, or goes back; behind
 * the end of a cut block there are zeros. */
START_TEST(wal_window_shows_the_file)
{
    struct fixture fixture;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        fixture_init(&fixture, kinds[i].size, kinds[i].can_read_ahead);
        ck_assert_uint_eq(fixture.window.size, (kinds[i].size + BLOCK - 1) / BLOCK * BLOCK);
        look_everywhere(&fixture);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* Walking through block by block reads each piece once. */
START_TEST(wal_window_reads_in_pieces)
{
    struct fixture fixture;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        fixture_init(&fixture, kinds[i].size, kinds[i].can_read_ahead);
        for (uint64_t offset = 0; offset < fixture.window.size; offset += BLOCK) {
            look(&fixture, offset, BLOCK);
        }
        ck_assert_uint_eq(reads(&fixture), 4);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* While one piece is worked on, the next one is on its way; behind the last one nothing is, and
 * what ends within a block is not read ahead. */
START_TEST(wal_window_reads_ahead)
{
    struct fixture fixture;

    for (unsigned odd = 0; odd < 2; odd++) {
        fixture_init(&fixture, odd == 0 ? FILE_SIZE : ODD_SIZE, true);
        ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
        look(&fixture, 0, BLOCK);
        ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
        ck_assert(fake_disk_pending_is(fixture.disk, 0, FAKE_DISK_READ));
        look(&fixture, 5 * BLOCK, 3 * BLOCK);
        ck_assert_uint_eq(reads(&fixture), 1);
        look(&fixture, PIECE - BLOCK, 2 * BLOCK);
        ck_assert_uint_eq(reads(&fixture), 2);
        ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
        look(&fixture, 2 * PIECE, BLOCK);
        ck_assert_uint_eq(fake_disk_pending(fixture.disk), odd == 0 ? 1 : 0);
        look(&fixture, 3 * PIECE, BLOCK);
        ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
        ck_assert_uint_eq(reads(&fixture), 4);
        fixture_deinit(&fixture);
    }
}

END_TEST

/* What has ended by itself meanwhile is used as well. */
START_TEST(wal_window_takes_what_has_ended)
{
    struct fixture fixture;

    fixture_init(&fixture, FILE_SIZE, true);
    look(&fixture, 0, BLOCK);
    fake_disk_step(fixture.disk, 0);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(reads(&fixture), 2);
    look(&fixture, PIECE - BLOCK, PIECE);
    ck_assert_uint_eq(reads(&fixture), 2);
    fixture_deinit(&fixture);
}

END_TEST

/* Who jumps gets just that, until he goes on from there; the piece that was on its way has ended
 * and is forgotten. */
START_TEST(wal_window_does_not_read_ahead_of_jumps)
{
    struct fixture fixture;

    fixture_init(&fixture, FILE_SIZE, true);
    look(&fixture, 0, BLOCK);
    look(&fixture, 2 * PIECE + BLOCK, BLOCK);
    ck_assert_uint_eq(reads(&fixture), 3);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
    look(&fixture, BLOCK, BLOCK);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
    look(&fixture, PIECE + BLOCK, BLOCK);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
    look(&fixture, 2 * PIECE, 2 * BLOCK);
    ck_assert_uint_eq(reads(&fixture), 6);
    look(&fixture, 3 * PIECE, 2 * BLOCK);
    ck_assert_uint_eq(reads(&fixture), 7);
    fixture_deinit(&fixture);
}

END_TEST

/* A read that fails is told, and can be tried again. */
START_TEST(wal_window_passes_errors_on)
{
    struct fixture fixture;
    const uint8_t *bytes = NULL;

    fixture_init(&fixture, FILE_SIZE, true);
    fake_disk_fail(fixture.disk, FAKE_DISK_READ, 1, -EIO, false);
    ck_assert_int_eq(wal_window_look(&fixture.window, 4096, 8192, &bytes), -EIO);
    ck_assert_ptr_null(bytes);
    look(&fixture, 4096, 8192);
    fixture_deinit(&fixture);
}

END_TEST

/* When reading ahead fails, all that is before that piece can still be looked at; then it is told,
 * once. */
START_TEST(wal_window_tells_when_it_gets_there)
{
    struct fixture fixture;
    const uint8_t *bytes = NULL;

    fixture_init(&fixture, FILE_SIZE, true);
    fake_disk_fail(fixture.disk, FAKE_DISK_READ, 2, -EILSEQ, false);
    look(&fixture, 0, BLOCK);
    fake_disk_step(fixture.disk, 0);
    fake_world_turn(&fixture.world);
    ck_assert_uint_eq(reads(&fixture), 2);
    look(&fixture, PIECE - BLOCK, BLOCK);
    ck_assert_int_eq(wal_window_look(&fixture.window, PIECE - BLOCK, 2 * BLOCK, &bytes), -EILSEQ);
    ck_assert_ptr_null(bytes);
    look(&fixture, PIECE - 2 * BLOCK, 2 * BLOCK);
    look(&fixture, PIECE - BLOCK, 2 * BLOCK);
    look(&fixture, 2 * PIECE, PIECE);
    fixture_deinit(&fixture);
}

END_TEST

/* What failed ahead of a place that nobody goes to is not told. */
START_TEST(wal_window_forgets_errors_elsewhere)
{
    struct fixture fixture;

    fixture_init(&fixture, FILE_SIZE, true);
    fake_disk_fail(fixture.disk, FAKE_DISK_READ, 2, -EIO, false);
    look(&fixture, 0, BLOCK);
    look(&fixture, 2 * PIECE, BLOCK);
    look(&fixture, 0, BLOCK);
    look(&fixture, PIECE, BLOCK);
    fixture_deinit(&fixture);
}

END_TEST

/* When reading ahead is not even taken, that is a failed read as well. */
START_TEST(wal_window_tells_what_was_not_taken)
{
    struct fixture fixture;
    const uint8_t *bytes = NULL;

    fixture_init(&fixture, FILE_SIZE, true);
    fake_disk_fail(fixture.disk, FAKE_DISK_SUBMIT, 1, -EAGAIN, false);
    look(&fixture, 0, PIECE);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
    ck_assert_int_eq(wal_window_look(&fixture.window, PIECE, BLOCK, &bytes), -EAGAIN);
    look(&fixture, PIECE, BLOCK);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
    look(&fixture, 2 * PIECE, BLOCK);
    fixture_deinit(&fixture);
}

END_TEST

/* Pointed to another file, or to none, it leaves nothing on its way: the file before can be closed.
 * What was read ahead of the one is not taken for the other's. */
START_TEST(wal_window_moves_to_another_file)
{
    struct fixture fixture;
    struct disk_file *other;

    fixture_init(&fixture, FILE_SIZE, true);
    look(&fixture, 0, BLOCK);
    memset(fixture.expected, 'o', OTHER_SIZE);
    fake_disk_put(fixture.disk, OTHER, fixture.expected, OTHER_SIZE);
    other = open_file(&fixture, OTHER);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
    wal_window_set_file(&fixture.window, other, OTHER_SIZE);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
    look(&fixture, PIECE, PIECE);
    look(&fixture, 0, PIECE);
    look(&fixture, PIECE - BLOCK, PIECE);
    wal_window_set_file(&fixture.window, other, OTHER_SIZE);
    look(&fixture, 0, PIECE);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
    wal_window_set_file(&fixture.window, NULL, 0);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 0);
    other->disk->ops->close_file(other);
    fixture_deinit(&fixture);
}

END_TEST

/* With a piece on its way it can be thrown away. */
START_TEST(wal_window_ends_what_is_on_its_way)
{
    struct fixture fixture;

    fixture_init(&fixture, FILE_SIZE, true);
    look(&fixture, 0, BLOCK);
    ck_assert_uint_eq(fake_disk_pending(fixture.disk), 1);
    fixture_deinit(&fixture);
}

END_TEST

UNIT_MAIN("wal_window", wal_window_shows_the_file, wal_window_reads_in_pieces,
          wal_window_reads_ahead, wal_window_takes_what_has_ended,
          wal_window_does_not_read_ahead_of_jumps, wal_window_passes_errors_on,
          wal_window_tells_when_it_gets_there, wal_window_forgets_errors_elsewhere,
          wal_window_tells_what_was_not_taken, wal_window_moves_to_another_file,
          wal_window_ends_what_is_on_its_way)
