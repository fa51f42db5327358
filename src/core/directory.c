#include "core/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Makes the new directory's name durable, by syncing the one it stands in. */
static int sync_parent(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int parent_fd = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = parent_fd < 0 || fsync(parent_fd) < 0 ? -errno : 0;

    if (fd >= 0) {
        (void)close(fd); /* it was only read */
    }
    if (parent_fd >= 0) {
        (void)close(parent_fd); /* the sync's result was seen */
    }
    return result;
}

int directory_make(const char *path)
{
    char partial[PATH_MAX];
    size_t size = strlen(path);
    int result;

    if (size == 0 || size >= sizeof(partial)) {
        return size == 0 ? -ENOENT : -ENAMETOOLONG;
    }
    memcpy(partial, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (path[i] != '/' && path[i] != '\0') {
            continue;
        }
        partial[i] = '\0';
        if (mkdir(partial, 0700) == 0) {
            result = sync_parent(partial);
            if (result < 0) {
                return result;
            }
        } else if (errno != EEXIST) {
            return -errno;
        }
        partial[i] = path[i];
    }
    return 0;
}
