/*
 * userctl: manages the users of a userd server from the command line.
 */
#include "common_output.h"
#include "userctl_arguments.h"
#include "userctl_commands.h"
#include "userctl_terminal.h"

#include <userd/client.h>

#include <stdio.h>

#ifndef USERD_VERSION
#define USERD_VERSION "unknown"
#endif

static int run(const struct userctl_arguments *arguments)
{
    if (arguments->version) {
        (void)printf("userctl %s\nTLS: %s\n", USERD_VERSION, userd_client_tls_library());
        return 0;
    }
    if (arguments->help) {
        userctl_arguments_help(stdout, arguments->command);
        return 0;
    }
    if (arguments->command == USERCTL_NONE) {
        userctl_arguments_help(stderr, USERCTL_NONE);
        return COMMON_EXIT_USAGE;
    }
    return userctl_commands_run(arguments);
}

int main(int argc, char **argv)
{
    struct userctl_arguments arguments;
    int exit_code;
    int written;

    common_output_begin();
    exit_code = userctl_arguments_read(argc, argv, &arguments);
    if (exit_code == 0) {
        userctl_terminal_begin(arguments.color);
        exit_code = run(&arguments);
    }
    userctl_arguments_deinit(&arguments);
    written = common_output_finish("userctl");
    return exit_code != 0 ? exit_code : written;
}
