#include "core/memory.h"

#include "core/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_SIZE_MAX 65536 /* of /proc/self/cgroup: a line per hierarchy */
#define LIMIT_SIZE_MAX  64
#define PATH_SIZE       2048

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
int memory_used(const struct memory *memory, uint64_t *ret_used)
{
    char text[128];
    unsigned long long resident;
    ssize_t size = pread(memory->fd, text, sizeof(text) - 1, 0);

    if (size < 0) {
        return -errno;
    }
    text[size] = '\0';
    if (sscanf(text, "%*u %llu", &resident) != 1) {
        return -EBADMSG;
    }
    *ret_used = resident * memory->page_size;
    return 0;
}

static uint64_t memory_of_machine(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page_size = sysconf(_SC_PAGESIZE);

    return pages > 0 && page_size > 0 ? (uint64_t)pages * (uint64_t)page_size : UINT64_MAX;
}

/* Cuts the path of the process's group out of the lines; the one of version 2 begins with 0. NULL =
 * there is none. */
static const char *group_in(char *lines)
{
    char *rest = NULL;

    for (char *line = strtok_r(lines, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "0::/", 4) == 0) {
            return line + 3;
        }
    }
    return NULL;
}

/* The limit of one group; UINT64_MAX when it has none, or is not visible from here. */
static uint64_t limit_of(const char *folder)
{
    char path[PATH_SIZE + 16];
    char *text = NULL;
    char *end;
    size_t size;
    uint64_t limit = UINT64_MAX;
    int length = snprintf(path, sizeof(path), "%s/memory.max", folder);

    if (length < 0 || (size_t)length >= sizeof(path) ||
        slurp_file(path, LIMIT_SIZE_MAX, &text, &size) != 0) {
        return UINT64_MAX;
    }
    errno = 0;
    limit = strtoull(text, &end, 10); /* or the word max */
    if (end == text || errno != 0) {
        limit = UINT64_MAX;
    }
    slurp_free(text, size);
    return limit;
}

/* A group is bound by all those it is in, up to the root. */
static uint64_t limit_above(const char *groups_root, const char *group)
{
    char folder[PATH_SIZE];
    uint64_t least = UINT64_MAX;
    const size_t root_size = strlen(groups_root);
    int length = snprintf(folder, sizeof(folder), "%s%s", groups_root, group);
    char *slash;

    if (length < 0 || (size_t)length >= sizeof(folder)) {
        return UINT64_MAX;
    }
    do {
        const uint64_t limit = limit_of(folder);

        least = limit < least ? limit : least;
        slash = strrchr(folder + root_size, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
    } while (slash != NULL);
    return least;
}

uint64_t memory_allowed_by(const char *groups_of_process, const char *groups_root)
{
    uint64_t allowed = memory_of_machine();
    uint64_t limit = UINT64_MAX;
    char *lines = NULL;
    size_t size;

    if (slurp_file(groups_of_process, GROUPS_SIZE_MAX, &lines, &size) == 0) {
        const char *group = group_in(lines);

        if (group != NULL) {
            limit = limit_above(groups_root, group);
        }
        slurp_free(lines, size);
    }
    return limit < allowed ? limit : allowed;
}

uint64_t memory_allowed(void)
{
    return memory_allowed_by("/proc/self/cgroup", "/sys/fs/cgroup");
}

void memory_trim(void)
{
    (void)malloc_trim(0); /* whether it found something shows in memory_used() */
}
