/*
 * userbench: measures userd from outside, and makes data to measure it with.
 * The scripts beside it start the servers, and say what the numbers mean.
 */
#include "userbench_channel.h"
#include "userbench_commit.h"
#include "userbench_data.h"
#include "userbench_handshakes.h"
#include "userbench_idle.h"
#include "userbench_load.h"
#include "userbench_options.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *name;
    int (*run)(const struct userbench_options *options);
};

/* One that reads options of its own. */
struct own_command {
    const char *name;
    int (*run)(int argc, char **argv);
};

int main(int argc, char **argv)
{
    static const struct command commands[] = {
        {"data", userbench_data_run},
        {"commit", userbench_commit_run},
        {"channel", userbench_channel_run},
        {"load", userbench_load_run},
    };
    static const struct own_command own_commands[] = {
        {"handshakes", userbench_handshakes_run},
        {"connections", userbench_idle_run},
    };
    struct userbench_options options;

    (void)signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            options = userbench_options_read(argc - 2, argv + 2);
            return commands[i].run(&options);
        }
    }
    for (size_t i = 0; argc > 1 && i < sizeof(own_commands) / sizeof(own_commands[0]); i++) {
        if (strcmp(argv[1], own_commands[i].name) == 0) {
            return own_commands[i].run(argc - 2, argv + 2);
        }
    }
    userbench_options_help();
    userbench_handshakes_help();
    userbench_idle_help();
    return argc > 1 && strcmp(argv[1], "--help") == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
