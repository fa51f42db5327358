#include "common_output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Who starts us may have closed them, and a file or socket would take their number: what is meant
 * for the output would go there. In their place stands something that cannot be read or written. */
static void keep_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free */
        }
    }
}

void common_output_begin(void)
{
    keep_standard_files();
    /* A reader that went away is a failed write: what is under way still ends as it should, and
     * the exit code is that of a program which died of the signal. */
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Whoever read our output has enough of it, as `head` has. The write that failed of it may be long
 * ago and its errno lost, so the pipe itself is asked. */
static bool reader_is_gone(void)
{
    struct pollfd out = {.fd = STDOUT_FILENO};

    return poll(&out, 1, 0) == 1 && (out.revents & POLLERR) != 0;
}

int common_output_finish(const char *program)
{
    int error;

    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return 0;
    }
    error = errno;
    if (error == EPIPE || reader_is_gone()) {
        return COMMON_EXIT_NO_READER;
    }
    /* Of an earlier write that failed nothing is left to fail again. */
    (void)fprintf(stderr, "%s: cannot write the result%s%s\n", program, error == 0 ? "" : ": ",
                  error == 0 ? "" : strerror(error));
    return COMMON_EXIT_IO;
}
