/*
 * The command line of userctl: options, commands, help, and the defaults of the environment.
 *
 * Owns:    nothing.
 * Borrows: argv and the environment, for the life of the program.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_ARGUMENTS_H
#define TOOLS_USERCTL_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define USERCTL_SETS_MAX    16
#define USERCTL_NO_DEADLINE UINT64_MAX

enum userctl_command {
    USERCTL_NONE,
    USERCTL_GET,
    USERCTL_CREATE,
    USERCTL_UPDATE,
    USERCTL_DELETE,
    USERCTL_LIST,
    USERCTL_WATCH,
    USERCTL_IMPORT,
    USERCTL_SYNC,
    USERCTL_TOKEN,
    USERCTL_HELP,
    USERCTL_COMMAND_COUNT,
};

/* What was asked for. Texts are NULL when they were not given. */
struct userctl_arguments {
    enum userctl_command command;
    const char *operand; /* ID, FILE, or the command that help is about */
    bool help;
    bool version;
    bool json;
    bool plaintext;
    const char *target;
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    const char *token;
    const char *token_file;
    uint64_t deadline_ns;
    const char *username;
    const char *email;
    bool password_stdin;
    const char *password_file;
    const char *request_id;
    const char *sets[USERCTL_SETS_MAX]; /* "field=value" */
    unsigned set_count;
    const char *mask;
    const char *etag;
    const char *secret_file;
    const char *subject;
    const char *roles;
    const char *issuer;
    const char *audience;
    uint64_t ttl_ns;
    const char *filter;
    int32_t page_size; /* 0 = not given */
    bool all;
    const char *errors_file;
    bool strict;
    bool ignore_unknown;
};

/* Reads the command line and the environment. Returns 0, or COMMON_EXIT_USAGE after it has said
 * on stderr what is wrong. */
int userctl_arguments_read(int argc, char **argv, struct userctl_arguments *ret_arguments);

/* Help about a command, or about all of userctl (USERCTL_NONE). */
void userctl_arguments_help(FILE *out, enum userctl_command command);

/* The command of that name; USERCTL_NONE when there is none. */
enum userctl_command userctl_arguments_command(const char *name);

/* Says on stderr what is wrong with the command line and where help is. Returns COMMON_EXIT_USAGE.
 */
int userctl_arguments_refuse(const struct userctl_arguments *arguments, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
