#include "core/process_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/*
 * Three locks, because each has its own way around: the limit stops the kernel from writing a core
 * file but not a handler that core_pattern pipes it to; not being dumpable stops both, and
 * debuggers, but not root's gcore; the filter leaves all memory out of what that one writes.
 *
 * LeakSanitizer looks at the process as a debugger would, and needs to be let.
 */

#if defined(__SANITIZE_ADDRESS__)
#define IS_WATCHED true
#else
#define IS_WATCHED false
#endif

/* Before the process ceases to be dumpable: then its files in /proc are root's. */
static int empty_core_files(void)
{
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);
    int result = 0;

    if (fd < 0) {
        return -errno;
    }
    if (write(fd, "0", 1) != 1) {
        result = -errno;
    }
    (void)close(fd);
    return result;
}

int process_guard_close(void)
{
    const struct rlimit none = {0, 0};
    int result = empty_core_files();

    if (setrlimit(RLIMIT_CORE, &none) != 0) {
        result = -errno;
    }
    if (!IS_WATCHED && prctl(PR_SET_DUMPABLE, 0) != 0) {
        result = -errno;
    }
    return result;
}
