#include "core/slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SLURP_STEP 4096

/* Room for `size` more bytes and a NUL. The old memory is wiped: it may hold a secret. */
static int slurp_grow(char **text, size_t used, size_t size)
{
    char *grown = malloc(used + size + 1);

    if (grown == NULL) {
        return -ENOMEM;
    }
    if (used > 0) {
        memcpy(grown, *text, used);
    }
    slurp_free(*text, used);
    *text = grown;
    return 0;
}

/* Reads to the end. Besides the results of slurp_file() nothing is left behind on failure. */
static int slurp_fd(int fd, size_t size_max, char **ret_text, size_t *ret_size)
{
    char *text = NULL;
    size_t used = 0;
    size_t room = 0;
    int result = 0;

    for (;;) {
        ssize_t count;

        if (used == room) {
            result = slurp_grow(&text, used, used + SLURP_STEP);
            if (result != 0) {
                goto fail;
            }
            room = used + used + SLURP_STEP;
        }
        count = read(fd, text + used, room - used);
        if (count == 0) {
            break;
        }
        if (count < 0 && errno != EINTR) {
            result = -errno;
            goto fail;
        }
        if (count > 0) {
            used += (size_t)count;
        }
        if (used > size_max) {
            result = SLURP_E_TOO_LARGE;
            goto fail;
        }
    }
    text[used] = '\0';
    *ret_text = text;
    *ret_size = used;
    return 0;

fail:
    slurp_free(text, used);
    return result;
}

int slurp_file(const char *path, size_t size_max, char **ret_text, size_t *ret_size)
{
    int fd;
    int result;

    if (strcmp(path, "-") == 0) {
        return slurp_fd(STDIN_FILENO, size_max, ret_text, ret_size);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    result = slurp_fd(fd, size_max, ret_text, ret_size);
    (void)close(fd); /* it was only read */
    return result;
}

int slurp_regular_file(const char *path, size_t size_max, char **ret_text, size_t *ret_size)
{
    struct stat status;
    int result;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe waits for nobody then */

    if (fd < 0) {
        return -errno;
    }
    if (fstat(fd, &status) != 0) {
        result = -errno;
    } else if (!S_ISREG(status.st_mode)) {
        result = SLURP_E_NOT_REGULAR;
    } else {
        result = slurp_fd(fd, size_max, ret_text, ret_size);
    }
    (void)close(fd); /* it was only read */
    return result;
}

void slurp_free(char *text, size_t size)
{
    if (text != NULL) {
        explicit_bzero(text, size);
    }
    free(text);
}
