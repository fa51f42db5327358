/*
 * The command line of userwal: options, commands, help.
 *
 * Owns:    nothing.
 * Borrows: argv, for the life of the program.
 * Thread:  one.
 */
#ifndef TOOLS_USERWAL_ARGUMENTS_H
#define TOOLS_USERWAL_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum userwal_command {
    USERWAL_NONE,
    USERWAL_STAT,
    USERWAL_VERIFY,
    USERWAL_DUMP,
    USERWAL_TRUNCATE,
    USERWAL_SNAPSHOT,
    USERWAL_RESTORE,
    USERWAL_EXPORT,
    USERWAL_IMPORT,
    USERWAL_HELP,
    USERWAL_COMMAND_COUNT,
};

/* What was asked for. */
struct userwal_arguments {
    enum userwal_command command;
    const char *first;  /* DIR, FILE, or the command that help is about; NULL = none */
    const char *second; /* DIR of restore, FILE of import; NULL = none */
    bool help;
    bool version;
    bool json;
    bool dry_run;
    bool hashes; /* --with-password-hashes, --with-passwords */
    bool skip_bad;
    uint64_t from;       /* LSN; 0 = from the beginning */
    uint64_t to;         /* LSN; UINT64_MAX = to the end */
    uint64_t accept;     /* --accept-loss-from; 0 = not given */
    const char *to_file; /* of snapshot */
};

/* Reads the command line. Returns 0, or COMMON_EXIT_USAGE after it has said what is wrong. */
int userwal_arguments_read(int argc, char **argv, struct userwal_arguments *ret_arguments);

/* Help about a command, or about all of userwal (USERWAL_NONE). */
void userwal_arguments_help(FILE *out, enum userwal_command command);

/* The command of that name; USERWAL_NONE when there is none. */
enum userwal_command userwal_arguments_command(const char *name);

#endif
