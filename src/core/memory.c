#include "core/memory.h"

#include "core/control_group.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

int memory_open(struct memory *memory)
{
    memory->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
    memory->fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return memory->fd < 0 ? -errno : 0;
}

void memory_close(struct memory *memory)
{
    if (memory->fd >= 0) {
        (void)close(memory->fd); /* it was only read */
        memory->fd = -1;
    }
}

/* The file holds numbers of pages: all that is mapped, all that is in memory, and more. */
int memory_read(const struct memory *memory, struct memory_size *ret_size)
{
    char text[128];
    unsigned long long mapped;
    unsigned long long resident;
    ssize_t size = pread(memory->fd, text, sizeof(text) - 1, 0);

    if (size < 0) {
        return -errno;
    }
    text[size] = '\0';
    if (sscanf(text, "%llu %llu", &mapped, &resident) != 2) {
        return -EBADMSG;
    }
    ret_size->used = resident * memory->page_size;
    ret_size->mapped = mapped * memory->page_size;
    return 0;
}

int memory_used(const struct memory *memory, uint64_t *ret_used)
{
    struct memory_size size = {0};
    int result = memory_read(memory, &size);

    if (result == 0) {
        *ret_used = size.used;
    }
    return result;
}

static uint64_t memory_of_machine(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_size = sysconf(_SC_PAGESIZE);

    return pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : UINT64_MAX;
}

uint64_t memory_allowed_by(const struct control_group_files *groups)
{
    const uint64_t allowed = memory_of_machine();
    const uint64_t limit = control_group_memory(groups);

    return limit < allowed ? limit : allowed;
}

uint64_t memory_allowed(void)
{
    return memory_allowed_by(&control_group_system);
}

void memory_trim(void)
{
    (void)malloc_trim(0); /* whether it found something shows in memory_used() */
}
