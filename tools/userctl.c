/*
 * userctl: manages the users of a userd server from the command line.
 */
#include "core/tls.h"
#include "userctl_arguments.h"
#include "userctl_commands.h"
#include "userctl_output.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#ifndef USERD_VERSION
#define USERD_VERSION "unknown"
#endif

static int run(const struct userctl_arguments *arguments)
{
    if (arguments->version) {
        (void)printf("userctl %s\nTLS: %s\n", USERD_VERSION, tls_library());
        return 0;
    }
    if (arguments->help) {
        userctl_arguments_help(stdout, arguments->command);
        return 0;
    }
    if (arguments->command == USERCTL_NONE) {
        userctl_arguments_help(stderr, USERCTL_NONE);
        return USERCTL_EXIT_USAGE;
    }
    return userctl_commands_run(arguments);
}

/* Who starts us may have closed them, and a socket would take their number: what is meant for the
 * output would go to the server. In their place stands something that cannot be read or written. */
static void keep_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* the lowest free */
        }
    }
}

int main(int argc, char **argv)
{
    struct userctl_arguments arguments;
    int exit_code;
    int written;

    keep_standard_files();
    /* A reader that went away is a failed write: the calls under way still end as they should, and
     * the exit code is that of a program which died of the signal. */
    (void)signal(SIGPIPE, SIG_IGN);
    exit_code = userctl_arguments_read(argc, argv, &arguments);
    if (exit_code != 0) {
        return exit_code;
    }
    exit_code = run(&arguments);
    written = userctl_output_finish();
    return exit_code != 0 ? exit_code : written;
}
