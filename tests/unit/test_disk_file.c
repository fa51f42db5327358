#include "lib/syscall_filter.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "core/disk.h"
#include "core/reactor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK DISK_BLOCK_SIZE

static struct reactor reactor;
static struct disk *disk;
static char path[64];
static uint8_t *memory; /* aligned */

enum {
    MEMORY_SIZE = 64 * BLOCK
};

static void open_disk(void)
{
    struct ring_options options = {.entries = 8};
    char problem[RING_PROBLEM_SIZE] = "";

    (void)snprintf(path, sizeof(path), "/var/tmp/test_disk_file.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(path));
    ck_assert_msg(reactor_init(&reactor, &options, clock_system(), NULL, problem) == 0, "%s",
                  problem);
    ck_assert_int_eq(disk_new(&reactor, path, &disk), 0);
    memory = aligned_alloc(BLOCK, MEMORY_SIZE);
    ck_assert_ptr_nonnull(memory);
    for (size_t i = 0; i < MEMORY_SIZE; i++) {
        memory[i] = (uint8_t)(i * 7 + i / 251);
    }
}

static int remove_entry(void *context, const char *name)
{
    (void)context;
    return disk->ops->remove(disk, name);
}

static void close_disk(void)
{
    ck_assert_int_eq(disk->ops->list(disk, remove_entry, NULL), 0);
    ck_assert_int_eq(rmdir(path), 0);
    disk->ops->free(disk);
    reactor_deinit(&reactor);
    free(memory);
}

static struct bytes blocks(size_t first, size_t count)
{
    return (struct bytes){memory + first * BLOCK, count * BLOCK};
}

static struct disk_file *open_file(const char *name, enum disk_open how)
{
    struct disk_file *file = NULL;

    ck_assert_int_eq(disk->ops->open(disk, name, how, &file), 0);
    return file;
}

/* The first `count` blocks of the pattern, in a new file. */
static struct disk_file *make_file(const char *name, size_t count)
{
    struct disk_file *file = open_file(name, DISK_OPEN_CREATE);

    ck_assert_int_eq(disk->ops->write(file, blocks(0, count), 0), 0);
    ck_assert_int_eq(disk->ops->sync(file), 0);
    return file;
}

struct probe {
    struct disk_op op;
    unsigned done;
    int result;
};

static bool submitting; /* no `done` may run while true */

static void on_done(struct disk_op *op, int result)
{
    struct probe *probe = CONTAINER_OF(op, struct probe, op);

    ck_assert(!submitting);
    ck_assert(!op->write_op.pending);
    ck_assert(!op->sync_op.pending);
    probe->done++;
    probe->result = result;
}

static struct disk_op *fresh(struct probe *probe)
{
    *probe = (struct probe){.op.done = on_done};
    submitting = true;
    return &probe->op;
}

static int finish(struct probe *probe)
{
    submitting = false;
    while (probe->done == 0 || ring_pending_count(reactor.ring) > 0) {
        ck_assert_int_eq(reactor_turn(&reactor, UINT64_MAX), 0);
    }
    ck_assert_uint_eq(probe->done, 1);
    return probe->result;
}

/* What was written comes back from any offset, in any size, to any address; past the end is -EIO.
 */
START_TEST(disk_file_reads_unaligned)
{
    static const size_t offsets[] = {0, 1, 100, 4095, 4096, 4097, 65535, 65536, 100000};
    static const size_t sizes[] = {0, 1, 64, 4095, 4096, 4097, 8192, 65536, 65537, 130000};
    uint8_t *bytes = malloc(MEMORY_SIZE + 1);
    struct disk_file *file;
    uint64_t size;

    open_disk();
    disk->ops->close_file(make_file("data", 64));
    file = open_file("data", DISK_OPEN_READ);
    ck_assert_int_eq(disk->ops->size(file, &size), 0);
    ck_assert_uint_eq(size, MEMORY_SIZE);
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
            memset(bytes, 0xee, MEMORY_SIZE + 1);
            ck_assert_int_eq(disk->ops->read(file, bytes + 1, sizes[j], offsets[i]), 0);
            ck_assert_int_eq(memcmp(bytes + 1, memory + offsets[i], sizes[j]), 0);
            ck_assert_uint_eq(bytes[0], 0xee);
            ck_assert_uint_eq(bytes[sizes[j] + 1], 0xee);
        }
    }
    ck_assert_int_eq(disk->ops->read(file, bytes, 1, MEMORY_SIZE - 1), 0);
    ck_assert_int_eq(disk->ops->read(file, bytes, 2, MEMORY_SIZE - 1), -EIO);
    ck_assert_int_eq(disk->ops->read(file, bytes, 1, MEMORY_SIZE), -EIO);
    ck_assert_int_eq(disk->ops->read(file, bytes, 1, MEMORY_SIZE * 2), -EIO);
    disk->ops->close_file(file);
    close_disk();
    free(bytes);
}

END_TEST

/* A file whose size is no multiple of a block is read to its last byte, and no further. */
START_TEST(disk_file_reads_odd_ends)
{
    char name[96];
    uint8_t bytes[200];
    struct disk_file *file;
    int fd;

    open_disk();
    (void)snprintf(name, sizeof(name), "%s/odd", path);
    fd = open(name, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_eq(write(fd, memory, 5000), 5000);
    ck_assert_int_eq(close(fd), 0);
    file = open_file("odd", DISK_OPEN_READ);
    ck_assert_int_eq(disk->ops->read(file, bytes, 200, 4800), 0);
    ck_assert_int_eq(memcmp(bytes, memory + 4800, 200), 0);
    ck_assert_int_eq(disk->ops->read(file, bytes, 200, 4801), -EIO);
    disk->ops->close_file(file);
    close_disk();
}

END_TEST

/* Missing names, names that exist, and the order of creation and renaming, are told apart. */
START_TEST(disk_file_names)
{
    struct disk_file *file = NULL;

    open_disk();
    ck_assert_int_eq(disk->ops->open(disk, "a", DISK_OPEN_READ, &file), DISK_E_NOT_FOUND);
    ck_assert_int_eq(disk->ops->open(disk, "a", DISK_OPEN_WRITE, &file), DISK_E_NOT_FOUND);
    ck_assert_int_eq(disk->ops->remove(disk, "a"), DISK_E_NOT_FOUND);
    ck_assert_int_eq(disk->ops->rename(disk, "a", "b"), DISK_E_NOT_FOUND);
    ck_assert_ptr_null(file);
    disk->ops->close_file(make_file("a", 1));
    ck_assert_int_eq(disk->ops->open(disk, "a", DISK_OPEN_CREATE, &file), -EEXIST);
    ck_assert_int_eq(disk->ops->rename(disk, "a", "b"), 0);
    ck_assert_int_eq(disk->ops->sync_directory(disk), 0);
    ck_assert_int_eq(disk->ops->open(disk, "a", DISK_OPEN_READ, &file), DISK_E_NOT_FOUND);
    file = open_file("b", DISK_OPEN_WRITE);
    ck_assert_int_eq(disk->ops->write(file, blocks(3, 2), BLOCK), 0);
    disk->ops->close_file(file);
    ck_assert_int_eq(disk->ops->remove(disk, "b"), 0);
    ck_assert_uint_gt(disk->ops->free_bytes(disk), 0);
    close_disk();
}

END_TEST

static int count_names(void *context, const char *name)
{
    unsigned *count = context;

    ck_assert(name[0] == 'x');
    (*count)++;
    return *count == 3 ? 77 : 0;
}

/* A listing names every file and nothing else, and ends early with what the callback says. */
START_TEST(disk_file_lists)
{
    unsigned count = 0;

    open_disk();
    ck_assert_int_eq(disk->ops->list(disk, count_names, &count), 0);
    ck_assert_uint_eq(count, 0);
    disk->ops->close_file(make_file("x1", 1));
    disk->ops->close_file(make_file("x2", 1));
    ck_assert_int_eq(disk->ops->list(disk, count_names, &count), 0);
    ck_assert_uint_eq(count, 2);
    count = 0;
    disk->ops->close_file(make_file("x3", 1));
    disk->ops->close_file(make_file("x4", 1));
    ck_assert_int_eq(disk->ops->list(disk, count_names, &count), 77);
    close_disk();
}

END_TEST

/* The asynchronous calls do what they say, each with one `done`, from the loop. */
START_TEST(disk_file_works_later)
{
    struct probe probe;
    struct disk_file *file;
    uint8_t bytes[BLOCK];

    open_disk();
    file = make_file("a", 4);
    ck_assert_int_eq(disk->ops->write_synced(file, fresh(&probe), blocks(10, 2), BLOCK), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_int_eq(disk->ops->read(file, bytes, BLOCK, 2 * BLOCK), 0);
    ck_assert_int_eq(memcmp(bytes, memory + 11 * BLOCK, BLOCK), 0);
    ck_assert_int_eq(disk->ops->write_later(file, fresh(&probe), blocks(20, 1), 0), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_int_eq(disk->ops->read(file, bytes, BLOCK, 0), 0);
    ck_assert_int_eq(memcmp(bytes, memory + 20 * BLOCK, BLOCK), 0);
    ck_assert_int_eq(disk->ops->sync_later(file, fresh(&probe)), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_int_eq(disk->ops->rename_later(disk, fresh(&probe), "a", "b"), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_int_eq(disk->ops->rename_later(disk, fresh(&probe), "a", "b"), 0);
    ck_assert_int_eq(finish(&probe), -ENOENT);
    ck_assert_int_eq(disk->ops->sync_directory_later(disk, fresh(&probe)), 0);
    ck_assert_int_eq(finish(&probe), 0);
    disk->ops->close_file(file);
    ck_assert_int_eq(disk->ops->remove_later(disk, fresh(&probe), "b"), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_int_eq(disk->ops->open(disk, "b", DISK_OPEN_READ, &file), DISK_E_NOT_FOUND);
    ck_assert_int_eq(disk->ops->remove_later(disk, fresh(&probe), "b"), 0);
    ck_assert_int_eq(finish(&probe), -ENOENT);
    close_disk();
}

END_TEST

/* A read in the loop brings the bytes that are there, or -EIO when there are fewer than asked for.
 */
START_TEST(disk_file_reads_later)
{
    struct probe probe;
    struct disk_file *file;
    uint8_t *bytes = aligned_alloc(BLOCK, 8 * BLOCK);

    ck_assert_ptr_nonnull(bytes);
    open_disk();
    disk->ops->close_file(make_file("a", 6));
    file = open_file("a", DISK_OPEN_READ);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, 3 * BLOCK, 2 * BLOCK), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_mem_eq(bytes, memory + 2 * BLOCK, 3 * BLOCK);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, 6 * BLOCK, 0), 0);
    ck_assert_int_eq(finish(&probe), 0);
    ck_assert_mem_eq(bytes, memory, 6 * BLOCK);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, 2 * BLOCK, 5 * BLOCK), 0);
    ck_assert_int_eq(finish(&probe), -EIO);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, BLOCK, 6 * BLOCK), 0);
    ck_assert_int_eq(finish(&probe), -EIO);
    disk->ops->close_file(file);
    close_disk();
    free(bytes);
}

END_TEST

/* Without the loop one can wait for an operation: its `done` has run then, once, whether that took
 * one completion or two, and at once when it had ended before. */
START_TEST(disk_file_waits)
{
    struct probe probe;
    struct probe other;
    struct disk_file *file;
    uint8_t *bytes = aligned_alloc(BLOCK, 4 * BLOCK);

    ck_assert_ptr_nonnull(bytes);
    open_disk();
    file = make_file("a", 6);
    ck_assert_int_eq(disk->ops->write_synced(file, fresh(&other), blocks(10, 2), 4 * BLOCK), 0);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, 3 * BLOCK, BLOCK), 0);
    submitting = false;
    ck_assert_int_eq(disk->ops->wait(disk, &probe.op), 0);
    ck_assert_uint_eq(probe.done, 1);
    ck_assert_int_eq(probe.result, 0);
    ck_assert_mem_eq(bytes, memory + BLOCK, 3 * BLOCK);
    ck_assert_int_eq(disk->ops->wait(disk, &other.op), 0);
    ck_assert_uint_eq(other.done, 1);
    ck_assert_int_eq(other.result, 0);
    ck_assert_int_eq(disk->ops->wait(disk, &probe.op), 0);
    ck_assert_uint_eq(probe.done, 1);
    ck_assert_int_eq(disk->ops->read_later(file, fresh(&probe), bytes, BLOCK, 9 * BLOCK), 0);
    submitting = false;
    ck_assert_int_eq(disk->ops->wait(disk, &probe.op), 0);
    ck_assert_int_eq(probe.result, -EIO);
    ck_assert_uint_eq(ring_pending_count(reactor.ring), 0);
    disk->ops->close_file(file);
    close_disk();
    free(bytes);
}

END_TEST

/* A write that fails, or is cut short, is never reported as done: its own error comes out, not the
 * cancelled sync's. */
START_TEST(disk_file_reports_failed_writes)
{
    struct probe probe;
    struct disk_file *file;
    struct rlimit before;
    struct rlimit limit;

    open_disk();
    disk->ops->close_file(make_file("a", 1));
    file = open_file("a", DISK_OPEN_READ);
    ck_assert_int_eq(disk->ops->write_synced(file, fresh(&probe), blocks(0, 1), 0), 0);
    ck_assert_int_eq(finish(&probe), -EBADF);
    ck_assert_int_eq(disk->ops->write_later(file, fresh(&probe), blocks(0, 1), 0), 0);
    ck_assert_int_eq(finish(&probe), -EBADF);
    ck_assert_int_eq(disk->ops->write(file, blocks(0, 1), 0), -EBADF);
    disk->ops->close_file(file);

    ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 2 * BLOCK;
    file = open_file("a", DISK_OPEN_WRITE);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    ck_assert_int_eq(disk->ops->write_synced(file, fresh(&probe), blocks(0, 4), 0), 0);
    ck_assert_int_eq(finish(&probe), -EIO);
    ck_assert_int_eq(disk->ops->write_later(file, fresh(&probe), blocks(0, 4), 0), 0);
    ck_assert_int_eq(finish(&probe), -EIO);
    ck_assert_int_eq(disk->ops->write(file, blocks(0, 4), 0), -EFBIG);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    disk->ops->close_file(file);
    close_disk();
}

END_TEST

/* In a child: 0 when everything works although no file can be switched to O_DIRECT. */
static int work_without_direct(void *context)
{
    struct probe probe;
    struct disk_file *file;
    uint8_t bytes[100];

    (void)context;
    if (syscall_filter_refuse_flags(O_DIRECT, EINVAL) != 0) {
        perror("cannot install the filter");
        return 2;
    }
    open_disk();
    file = make_file("a", 4);
    ck_assert_int_eq(disk->ops->write_synced(file, fresh(&probe), blocks(10, 1), BLOCK), 0);
    ck_assert_int_eq(finish(&probe), 0);
    disk->ops->close_file(file);
    file = open_file("a", DISK_OPEN_READ);
    ck_assert_int_eq(disk->ops->read(file, bytes, sizeof(bytes), BLOCK + 1), 0);
    ck_assert_int_eq(memcmp(bytes, memory + 10 * BLOCK + 1, sizeof(bytes)), 0);
    disk->ops->close_file(file);
    close_disk();
    return 0;
}

/* A file system that refuses O_DIRECT is good enough. */
START_TEST(disk_file_falls_back_to_the_cache)
{
    ck_assert_int_eq(run_in_child(work_without_direct, NULL), 0);
}

END_TEST

/* Files are really opened O_DIRECT where that can be had. */
START_TEST(disk_file_is_direct)
{
    struct disk_file *file;
    int direct_count = 0;
    int flags;

    open_disk();
    file = make_file("a", 1);
    for (int fd = 0; fd < 64; fd++) {
        flags = fcntl(fd, F_GETFL);
        direct_count += flags >= 0 && (flags & O_DIRECT) != 0 ? 1 : 0;
    }
    ck_assert_int_eq(direct_count, 1);
    disk->ops->close_file(file);
    close_disk();
}

END_TEST

/* The lock is ours until the disk is freed; the file says who has it, whatever it said before. */
START_TEST(disk_file_locks)
{
    struct disk *again;
    pid_t holder = 0;
    char name[96];
    char text[32] = "";
    int fd;

    open_disk();
    (void)snprintf(name, sizeof(name), "%s/LOCK", path);
    fd = open(name, O_CREAT | O_RDWR, 0600);
    ck_assert_int_eq(write(fd, "123456789012345\n", 16), 16);
    ck_assert_int_eq(disk->ops->lock(disk, &holder), 0);
    ck_assert_int_gt(pread(fd, text, sizeof(text) - 1, 0), 0);
    ck_assert_int_eq(strtol(text, NULL, 10), getpid());
    ck_assert_ptr_nonnull(strchr(text, ' '));
    ck_assert_ptr_null(strpbrk(strchr(text, ' '), "0123456789"));
    ck_assert_int_eq(close(fd), 0);
    ck_assert_int_eq(disk_new(&reactor, path, &again), 0);
    disk->ops->free(disk);
    disk = again;
    ck_assert_int_eq(disk->ops->lock(disk, &holder), 0);
    close_disk();
}

END_TEST

/* A child that takes the lock, says so, and keeps it until it is killed. */
static pid_t start_holder(void)
{
    int ready[2];
    pid_t pid;
    pid_t holder;
    char byte = 'x';

    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        struct disk *own = NULL;

        if (disk_new(&reactor, path, &own) == 0 && own->ops->lock(own, &holder) == 0 &&
            write(ready[1], &byte, 1) == 1) {
            (void)pause();
        }
        _exit(1);
    }
    ck_assert_int_eq(close(ready[1]), 0);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(close(ready[0]), 0);
    return pid;
}

/* A lock that another process holds is refused, naming it. (This one takes five seconds.) */
START_TEST(disk_file_names_the_holder)
{
    pid_t holder = 0;
    pid_t child;

    open_disk();
    child = start_holder();
    ck_assert_int_eq(disk->ops->lock(disk, &holder), DISK_E_LOCKED);
    ck_assert_int_eq(holder, child);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(disk->ops->lock(disk, &holder), 0);
    close_disk();
}

END_TEST

/* A lock that comes free while we ask for it is taken. */
START_TEST(disk_file_waits_for_the_lock)
{
    pid_t holder = 0;
    pid_t child;

    open_disk();
    child = start_holder();
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(disk->ops->lock(disk, &holder), 0); /* the child may well be alive now */
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close_disk();
}

END_TEST

/* A path that cannot be a directory is an error. */
START_TEST(disk_file_needs_a_directory)
{
    struct disk *none = NULL;

    ck_assert_int_eq(disk_new(&reactor, "/dev/null", &none), -ENOTDIR);
    ck_assert_int_eq(disk_new(&reactor, "", &none), -ENOENT);
    ck_assert_ptr_null(none);
}

END_TEST

UNIT_MAIN("disk_file", disk_file_reads_unaligned, disk_file_reads_odd_ends, disk_file_names,
          disk_file_lists, disk_file_works_later, disk_file_reads_later, disk_file_waits,
          disk_file_reports_failed_writes, disk_file_falls_back_to_the_cache, disk_file_is_direct,
          disk_file_locks, disk_file_names_the_holder, disk_file_waits_for_the_lock,
          disk_file_needs_a_directory)
