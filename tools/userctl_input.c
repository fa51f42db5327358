#include "userctl_input.h"

#include "core/slurp.h"
#include "userctl_session.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP     4096
#define SLICE_MS 100 /* a signal is noticed within it */

/* Room for more. The old memory is wiped: it may hold a secret. */
static int grow(char **text, size_t used, size_t *room)
{
    char *grown = malloc(2 * used + STEP + 1);

    if (grown == NULL) {
        return -ENOMEM;
    }
    if (used > 0) {
        memcpy(grown, *text, used);
    }
    slurp_free(*text, used);
    *text = grown;
    *room = 2 * used + STEP;
    return 0;
}

/* Waits in slices: a signal that comes right before a wait does not end it. */
static int wait_for(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};

    while (userctl_session_interrupted == 0) {
        if (poll(&ready, 1, SLICE_MS) > 0) {
            return 0;
        }
    }
    return -EINTR;
}

static int read_all(int fd, size_t size_max, char **text, size_t *used)
{
    size_t room = 0;

    for (;;) {
        ssize_t count;
        int ret = *used == room ? grow(text, *used, &room) : 0;

        if (ret == 0) {
            ret = wait_for(fd);
        }
        if (ret != 0) {
            return ret;
        }
        count = read(fd, *text + *used, room - *used);
        if (count < 0 && errno != EINTR && errno != EAGAIN) {
            return -errno;
        }
        if (count == 0) {
            (*text)[*used] = '\0';
            return 0;
        }
        *used += count > 0 ? (size_t)count : 0;
        if (*used > size_max) {
            return SLURP_E_TOO_LARGE;
        }
    }
}

int userctl_input_read(const char *path, size_t size_max, char **ret_text, size_t *ret_size)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    char *text = NULL;
    size_t size = 0;
    int ret;

    if (fd < 0) {
        return -errno;
    }
    ret = read_all(fd, size_max, &text, &size);
    if (!is_stdin) {
        (void)close(fd); /* it was only read */
    }
    if (ret != 0) {
        slurp_free(text, size);
        return ret;
    }
    *ret_text = text;
    *ret_size = size;
    return 0;
}
