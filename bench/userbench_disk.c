#include "userbench_disk.h"

#include "core/clock.h"
#include "userbench_problem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_SIZE 4096
#define FILE_SIZE  (16U * 1024 * 1024)
#define FILL_SIZE  (1024U * 1024)

static void write_at(struct userbench_disk *disk, size_t size, uint64_t offset)
{
    if (pwrite(disk->fd, disk->block, size, (off_t)offset) != (ssize_t)size) {
        userbench_problem("bare write: %s", strerror(errno));
    }
}

static void sync_data(struct userbench_disk *disk)
{
    if (fdatasync(disk->fd) != 0) {
        userbench_problem("fdatasync: %s", strerror(errno));
    }
}

void userbench_disk_init(struct userbench_disk *disk, const char *dir)
{
    *disk = (struct userbench_disk){
        .fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, S_IRUSR | S_IWUSR)};
    if (disk->fd < 0) {
        userbench_problem("a file in %s: %s", dir, strerror(errno));
    }
    disk->block = aligned_alloc(BLOCK_SIZE, FILL_SIZE);
    if (disk->block == NULL) {
        userbench_problem("no memory");
    }
    memset(disk->block, 0, FILL_SIZE);
    for (uint64_t at = 0; at < FILE_SIZE; at += FILL_SIZE) {
        write_at(disk, FILL_SIZE, at);
    }
    sync_data(disk);
    memset(disk->block, 'x', BLOCK_SIZE);
}

void userbench_disk_deinit(struct userbench_disk *disk)
{
    (void)close(disk->fd); /* nobody needs what is in it */
    free(disk->block);
}

void userbench_disk_write(struct userbench_disk *disk, struct userbench_samples *samples)
{
    const uint64_t start_ns = clock_monotonic_ns(clock_system());

    write_at(disk, BLOCK_SIZE, disk->offset);
    sync_data(disk);
    userbench_samples_add(samples, clock_monotonic_ns(clock_system()) - start_ns);
    disk->offset = (disk->offset + BLOCK_SIZE) % FILE_SIZE;
}
