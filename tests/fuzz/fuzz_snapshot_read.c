/*
 * Reading of damaged snapshots. The input is a list of edits to a small, sound one (three frames):
 * bytes changed, ranges zeroed, blocks copied, the file cut or made longer; an edit may mend the
 * checksum of the header it touched and of the payload behind it, for otherwise nothing behind them
 * would ever be reached.
 *
 * Whatever was done to it, the reader returns 0, WAL_E_DAMAGED or WAL_E_FOREIGN, the last two with
 * a message; what it accepts has as many records as it handed out; and the verifier of the running
 * log, which reads the same file in pieces, comes to the same verdict with the same words.
 *
 *     clang -g -O1 -std=c11 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -Isrc -Itests \
 *         tests/fuzz/fuzz_snapshot_read.c tests/lib/fake_*.c tests/lib/snapshot_maker.c \
 *         src/core/snapshot_*.c src/core/file_head.c src/core/digest.c src/core/wal_format.c \
 *         src/core/wal_window.c src/core/hash.c src/core/reactor.c src/core/ring*.c \
 *         src/core/timer.c src/core/clock.c -luring -lsodium
 */
#include "lib/fake_world.h"
#include "lib/snapshot_maker.h"

#include "core/hash.h"
#include "core/le.h"
#include "core/snapshot_read.h"
#include "core/snapshot_verify.h"
#include "core/wal_window.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LSN           0x64
#define NAME          "snap-0000000000000064.snap"
#define EDIT_SIZE     8
#define BLOCK         WAL_FORMAT_BLOCK_SIZE
#define FILE_SIZE_MAX ((size_t)16 * BLOCK)

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

struct file {
    uint8_t bytes[FILE_SIZE_MAX];
    size_t size;
};

static void put_crc(uint8_t *bytes, size_t size)
{
    le_put_u32(bytes + size, hash_crc32c(0, (struct bytes){bytes, size}));
}

/* Makes the checksums of what begins in this block right again, whatever it says. */
static void mend(struct file *file, size_t block)
{
    uint8_t *bytes = file->bytes + block;
    size_t payload_size = le_get_u32(bytes + 8);

    if (memcmp(bytes, "USERD", 5) == 0) {
        put_crc(bytes, 124);
        return;
    }
    if (payload_size <= file->size - block - WAL_FORMAT_FRAME_HEADER_SIZE) {
        le_put_u32(bytes + 52, hash_crc32c(0, (struct bytes){bytes + WAL_FORMAT_FRAME_HEADER_SIZE,
                                                             payload_size}));
    }
    put_crc(bytes, 60);
}

/* One edit: what (2 bits), mend (1 bit); offset in 2 bytes; length; values. */
static void edit(struct file *file, const uint8_t *code)
{
    size_t offset = (size_t)code[1] | (size_t)code[2] << 8;
    const size_t length = (size_t)(code[3] + 1) * (code[0] & 0x10 ? 1 : 64);
    size_t block;

    if (file->size < BLOCK) {
        return;
    }
    offset %= file->size;
    block = offset / BLOCK * BLOCK;
    switch (code[0] & 3) {
    case 0: /* bytes */
        memcpy(file->bytes + offset, code + 4, file->size - offset < 4 ? 1 : 4);
        break;
    case 1: /* zeros */
        memset(file->bytes + offset, 0, length < file->size - offset ? length : 1);
        break;
    case 2: /* another block, to here */
        if (block + BLOCK <= file->size) {
            memmove(file->bytes + block,
                    file->bytes + (size_t)code[4] * BLOCK % (file->size / BLOCK * BLOCK), BLOCK);
        }
        break;
    default: /* cut, or longer by bytes of any value */
        if (code[4] & 1) {
            const size_t size =
                file->size + length < FILE_SIZE_MAX ? file->size + length : FILE_SIZE_MAX;

            memset(file->bytes + file->size, code[5], size - file->size);
            file->size = size;
        } else {
            file->size = offset;
        }
        return;
    }
    if (code[0] & 4 && block + BLOCK <= file->size) {
        mend(file, block);
    }
}

static int count_record(void *context, const struct wal_record *record)
{
    uint64_t *count = context;

    if (record->lsn > LSN || !record->is_in_snapshot) {
        abort();
    }
    (*count)++;
    return 0;
}

static void on_verified(struct snapshot_verify *verify, int result)
{
    verify->error = result; /* it has ended: the field is free */
    verify->lsn = 0;
}

/* The verdict of the running log. */
static int verify(struct fake_world *world, const uint8_t *store_uuid, char *problem)
{
    static _Alignas(DISK_BLOCK_SIZE) uint8_t memory[SNAPSHOT_VERIFY_MEMORY_SIZE];
    struct snapshot_verify verify = {
        .ended = on_verified,
        .disk = fake_disk_disk(world->disk),
        .reactor = &world->reactor,
        .memory = memory,
        .name = NAME,
        .lsn = LSN,
        .store_uuid = store_uuid,
        .problem = problem,
    };
    int result = snapshot_verify_start(&verify);

    if (result != 0) {
        return result;
    }
    while (verify.lsn == LSN) {
        fake_world_turn(world);
    }
    return verify.error;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static struct fake_world world;
    static struct wal_window window;
    static struct file file;
    char problem[WAL_PROBLEM_SIZE] = "";
    char verify_problem[WAL_PROBLEM_SIZE] = "";
    const bool is_edited = size >= EDIT_SIZE;
    static struct snapshot_maker maker;
    uint64_t count = 0;
    struct snapshot_read read = {
        .window = &window,
        .lsn = LSN,
        .record = count_record,
        .context = &count,
        .problem = problem,
    };
    int result;

    if (world.disk == NULL) {
        fake_world_init(&world, 1);
        if (wal_window_init(&window) != 0) {
            abort();
        }
        snapshot_maker_begin(&maker, LSN);
        snapshot_maker_frame(&maker, 3, 20);
        snapshot_maker_frame(&maker, 1, 9000);
        snapshot_maker_frame(&maker, 2, 0);
        snapshot_maker_end(&maker);
    }
    memcpy(file.bytes, maker.bytes, maker.size);
    file.size = maker.size;
    for (; size >= EDIT_SIZE; size -= EDIT_SIZE) {
        edit(&file, input);
        input += EDIT_SIZE;
    }
    fake_disk_put(world.disk, NAME, file.bytes, file.size);
    read.disk = fake_disk_disk(world.disk);
    read.store_uuid = maker.header.store_uuid;
    result = snapshot_read(&read);
    if (result != 0 && ((result != WAL_E_DAMAGED && result != WAL_E_FOREIGN) || !problem[0])) {
        abort();
    }
    if (!is_edited && (result != 0 || count != 6)) {
        abort();
    }
    if (verify(&world, read.store_uuid, verify_problem) != result ||
        strcmp(problem, verify_problem) != 0) {
        abort();
    }
    return 0;
}
