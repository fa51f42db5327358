#include "core/process_stats.h"

#include "core/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The number of open files is the size of the folder /proc/self/fd since Linux 6.2. Before that it
 * is 0, and somebody has to count. With ten thousand connections that takes ten milliseconds, so it
 * is done in slices, at the end of turns, and told to who asks next.
 */

#define SLICE_SIZE 4096 /* bytes of entries: 128 of them, in about 100 us */

/* Reads a slice of the folder. Returns whether there may be more. */
static bool count_slice(struct process_stats *stats)
{
    _Alignas(struct dirent64) char entries[SLICE_SIZE];
    ssize_t size = syscall(SYS_getdents64, stats->files_fd, entries, sizeof(entries));

    for (ssize_t at = 0; at < size;) {
        const struct dirent64 *entry = (const struct dirent64 *)(const void *)(entries + at);

        stats->so_far += entry->d_name[0] != '.';
        at += entry->d_reclen;
    }
    return size > 0;
}

static void begin_count(struct process_stats *stats)
{
    stats->so_far = 0;
    (void)lseek(stats->files_fd, 0, SEEK_SET); /* a folder of the system has a beginning */
}

static void run_count(struct reactor_task *task)
{
    struct process_stats *stats = CONTAINER_OF(task, struct process_stats, count);

    if (count_slice(stats)) {
        reactor_defer_slow(stats->reactor, task);
    } else {
        stats->counted = stats->so_far;
    }
}

int process_stats_open(struct process_stats *stats, struct reactor *reactor)
{
    struct stat folder = {0};
    int result;

    *stats = (struct process_stats){
        .reactor = reactor,
        .count = {.run = run_count},
        .started_ms = clock_realtime_ns(reactor->clock) / CLOCK_NS_PER_MS,
        .files_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
    };
    list_init(&stats->count.link);
    result = memory_open(&stats->memory);
    if (result == 0 && (stats->files_fd < 0 || fstat(stats->files_fd, &folder) != 0)) {
        result = -errno;
    }
    if (result != 0) {
        process_stats_close(stats);
        return result;
    }
    stats->counts = folder.st_size == 0;
    while (count_slice(stats)) {
        /* there are few yet */
    }
    stats->counted = stats->so_far;
    return 0;
}

void process_stats_close(struct process_stats *stats)
{
    if (stats->reactor == NULL) {
        return;
    }
    reactor_undefer(&stats->count);
    memory_close(&stats->memory);
    if (stats->files_fd >= 0) {
        (void)close(stats->files_fd); /* it was only read */
    }
    stats->reactor = NULL;
}

static void read_memory(const struct process_stats *stats, struct process_numbers *numbers)
{
    struct memory_size size = {0};

    if (memory_read(&stats->memory, &size) == 0) {
        numbers->resident_bytes = size.used;
        numbers->virtual_bytes = size.mapped;
    }
}

static void read_files(struct process_stats *stats, struct process_numbers *numbers)
{
    struct stat folder;

    if (stats->counts) {
        numbers->open_files = stats->counted;
        if (!list_is_linked(&stats->count.link)) {
            begin_count(stats);
            reactor_defer_slow(stats->reactor, &stats->count);
        }
    } else if (fstat(stats->files_fd, &folder) == 0) {
        numbers->open_files = (uint64_t)folder.st_size;
    }
}

void process_stats_read(struct process_stats *stats, struct process_numbers *ret_numbers)
{
    struct rlimit files = {0};

    *ret_numbers = (struct process_numbers){
        .cpu_ns = clock_process_ns(),
        .started_ms = stats->started_ms,
    };
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        ret_numbers->max_files = files.rlim_cur;
    }
    if (stats->reactor != NULL) {
        read_memory(stats, ret_numbers);
        read_files(stats, ret_numbers);
    }
}
