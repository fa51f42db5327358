/*
 * userwal: looks into a data directory of userd, repairs it, saves and restores it. Offline, and
 * never anything that was not asked for.
 */
#include "userwal_arguments.h"
#include "userwal_commands.h"
#include "userwal_output.h"

#include <stdio.h>

#ifndef USERD_VERSION
#define USERD_VERSION "unknown"
#endif

static int run(const struct userwal_arguments *arguments)
{
    static int (*const commands[USERWAL_COMMAND_COUNT])(const struct userwal_arguments *) = {
        [USERWAL_STAT] = userwal_stat,         [USERWAL_VERIFY] = userwal_verify,
        [USERWAL_DUMP] = userwal_dump,         [USERWAL_TRUNCATE] = userwal_truncate,
        [USERWAL_SNAPSHOT] = userwal_snapshot, [USERWAL_RESTORE] = userwal_restore,
        [USERWAL_EXPORT] = userwal_export,     [USERWAL_IMPORT] = userwal_import,
    };

    if (arguments->version) {
        (void)printf("userwal %s\n", USERD_VERSION);
        return 0;
    }
    if (arguments->help) {
        userwal_arguments_help(stdout, arguments->command);
        return 0;
    }
    if (arguments->command == USERWAL_HELP) {
        userwal_arguments_help(stdout, arguments->first == NULL
                                           ? USERWAL_NONE
                                           : userwal_arguments_command(arguments->first));
        return 0;
    }
    if (arguments->command == USERWAL_NONE) {
        userwal_arguments_help(stderr, USERWAL_NONE);
        return COMMON_EXIT_USAGE;
    }
    return commands[arguments->command](arguments);
}

int main(int argc, char **argv)
{
    struct userwal_arguments arguments;
    int exit_code;
    int written;

    common_output_begin();
    exit_code = userwal_arguments_read(argc, argv, &arguments);
    if (exit_code != 0) {
        return exit_code;
    }
    exit_code = run(&arguments);
    written = userwal_output_finish();
    return exit_code != 0 ? exit_code : written;
}
