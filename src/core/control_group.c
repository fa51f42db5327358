#include "core/control_group.h"

#include "core/slurp.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Each line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH. Version 2 has the one line 0::PATH,
 * and its files stand in ROOT/PATH; version 1 has a line for each set of controllers, whose files
 * stand in ROOT/CONTROLLERS/PATH. A group is bound by all those it is in, so we go up to the root
 * and take the least. In a container the path is often that of the host, which is not there; what
 * is there is the root, and that is the container's group.
 */

#define GROUPS_SIZE_MAX 65536 /* of /proc/self/cgroup */
#define LIMIT_SIZE_MAX  64
#define PATH_SIZE       2048
#define NONE            UINT64_MAX

/* Reads the limit of the group in that folder. */
typedef uint64_t (*limit_fn)(const char *folder);

const struct control_group_files control_group_system = {"/proc/self/cgroup", "/sys/fs/cgroup"};

static uint64_t least_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Reads a file with one or two numbers. Returns how many it has: words, as `max`, and what is
 * negative, are none and end it. */
static int read_numbers(const char *folder, const char *name, uint64_t numbers[2])
{
    char path[PATH_SIZE + 32];
    char *text = NULL;
    const char *rest;
    size_t size;
    int count = 0;
    const int length = snprintf(path, sizeof(path), "%s/%s", folder, name);

    if (length < 0 || (size_t)length >= sizeof(path) ||
        slurp_file(path, LIMIT_SIZE_MAX, &text, &size) != 0) {
        return 0;
    }
    rest = text;
    while (count < 2 && rest[0] >= '0' && rest[0] <= '9') {
        char *end;

        errno = 0;
        numbers[count] = strtoull(rest, &end, 10);
        if (errno != 0) {
            break;
        }
        count++;
        rest = end + (*end == ' ');
    }
    slurp_free(text, size);
    return count;
}

static uint64_t memory_of_version_2(const char *folder)
{
    uint64_t numbers[2];

    return read_numbers(folder, "memory.max", numbers) > 0 ? numbers[0] : NONE;
}

static uint64_t memory_of_version_1(const char *folder)
{
    uint64_t numbers[2];

    return read_numbers(folder, "memory.limit_in_bytes", numbers) > 0 ? numbers[0] : NONE;
}

/* A time on processors, in each period of that length. */
static uint64_t share(uint64_t quota, uint64_t period)
{
    return period == 0 || quota > NONE / 1000 ? NONE : quota * 1000 / period;
}

static uint64_t processors_of_version_2(const char *folder)
{
    uint64_t numbers[2];

    return read_numbers(folder, "cpu.max", numbers) == 2 ? share(numbers[0], numbers[1]) : NONE;
}

static uint64_t processors_of_version_1(const char *folder)
{
    uint64_t quota[2];
    uint64_t period[2];

    return read_numbers(folder, "cpu.cfs_quota_us", quota) > 0 &&
                   read_numbers(folder, "cpu.cfs_period_us", period) > 0
               ? share(quota[0], period[0])
               : NONE;
}

/* The least limit of the group and those it is in. `folder` is root, controllers, path. */
static uint64_t limit_above(char *folder, size_t root_size, limit_fn limit)
{
    uint64_t least = limit(folder);
    char *slash;

    while ((slash = strrchr(folder + root_size, '/')) != NULL) {
        *slash = '\0';
        least = least_of(least, limit(folder));
    }
    return least;
}

/* Is the word in a list with commas? */
static bool has_word(const char *list, const char *word)
{
    const size_t size = strlen(word);

    for (;;) {
        const size_t length = strcspn(list, ",");

        if (length == size && strncmp(list, word, size) == 0) {
            return true;
        }
        if (list[length] == '\0') {
            return false;
        }
        list += length + 1;
    }
}

struct search {
    const char *root;
    const char *controller; /* in version 1 */
    limit_fn version_1;
    limit_fn version_2;
};

/* What one line says. It is cut. */
static uint64_t limit_of_line(const struct search *search, char *line)
{
    char folder[PATH_SIZE];
    char *controllers = strchr(line, ':');
    char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    bool is_version_2;
    size_t root_size;
    int length;

    if (path == NULL || path[1] != '/') {
        return NONE;
    }
    *path++ = '\0';
    controllers++;
    is_version_2 = controllers[0] == '\0';
    if (!is_version_2 && !has_word(controllers, search->controller)) {
        return NONE;
    }
    length = snprintf(folder, sizeof(folder), "%s%s%s%s", search->root, is_version_2 ? "" : "/",
                      controllers, path);
    if (length < 0 || (size_t)length >= sizeof(folder)) {
        return NONE;
    }
    root_size = (size_t)length - strlen(path);
    return limit_above(folder, root_size, is_version_2 ? search->version_2 : search->version_1);
}

static uint64_t limit_of_process(const char *of_process, const struct search *search)
{
    uint64_t least = NONE;
    char *lines = NULL;
    char *rest = NULL;
    size_t size;

    if (slurp_file(of_process, GROUPS_SIZE_MAX, &lines, &size) != 0) {
        return NONE;
    }
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        least = least_of(least, limit_of_line(search, line));
    }
    slurp_free(lines, size);
    return least;
}

uint64_t control_group_memory(const struct control_group_files *files)
{
    const struct search search = {files->root, "memory", memory_of_version_1, memory_of_version_2};

    return limit_of_process(files->of_process, &search);
}

uint64_t control_group_processors(const struct control_group_files *files)
{
    const struct search search = {files->root, "cpu", processors_of_version_1,
                                  processors_of_version_2};

    return limit_of_process(files->of_process, &search);
}

/* On which the scheduler may put us. */
static uint64_t processors_of_machine(void)
{
    cpu_set_t set;
    const long online = sysconf(_SC_NPROCESSORS_ONLN);

    if (sched_getaffinity(0, sizeof(set), &set) == 0) {
        return (uint64_t)CPU_COUNT(&set);
    }
    return online > 0 ? (uint64_t)online : 1; /* so many that they are not in the set */
}

unsigned control_group_threads(const struct control_group_files *files)
{
    const uint64_t paid = control_group_processors(files);
    uint64_t threads = processors_of_machine();

    if (paid != NONE) {
        threads = least_of(threads, paid / 1000 + (paid % 1000 != 0));
    }
    return threads > 0 ? (unsigned)threads : 1;
}
