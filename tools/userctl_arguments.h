/*
 * What userctl is asked for: the command line, and for what it leaves open the environment and the
 * configuration file.
 *
 * Owns:    what was read of the configuration file.
 * Borrows: argv and the environment, for the life of the program.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_ARGUMENTS_H
#define TOOLS_USERCTL_ARGUMENTS_H

#include "core/clock.h"
#include "userctl_config.h"
#include "userctl_table.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define USERCTL_SETS_MAX            16
#define USERCTL_HEADERS_MAX         8
#define USERCTL_NO_DEADLINE         UINT64_MAX
#define USERCTL_DEFAULT_DEADLINE_NS (5 * CLOCK_NS_PER_S) /* of a call with one answer */

/* What was asked for. Texts are NULL when they were not given. */
struct userctl_arguments {
    enum userctl_command command;
    const char *operand; /* ID, FILE, METHOD, or the command that help is about */
    const char *request; /* of a call */
    bool help;
    bool version;
    bool json;
    bool plaintext;
    const char *target;
    const char *target_name; /* in the configuration, when it comes from there */
    const char *on;
    const char *config_file;
    const char *balancing;
    const char *color;
    const char *ca_file;
    const char *cert_file;
    const char *key_file;
    const char *server_name;
    const char *token;
    const char *token_file;
    bool token_is_of_environment; /* its file is, and so maybe of another server */
    uint64_t deadline_ns;         /* USERCTL_NO_DEADLINE, and 0 = as the method wants it */
    uint64_t unary_deadline_ns;   /* of a call with one answer when the method decides */
    bool has_deadline;            /* somebody has set it: it is no default */
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
    bool no_reconnect;
    bool watch;
    bool list;
    const char *headers[USERCTL_HEADERS_MAX]; /* "name:value" */
    unsigned header_count;
    struct userctl_config config; /* once it was needed */
};

/* Reads the command line, and for commands that call a server the environment and the
 * configuration. Returns 0, or COMMON_EXIT_USAGE after it has said on stderr what is wrong.
 * userctl_arguments_deinit() is needed in any case. */
int userctl_arguments_read(int argc, char **argv, struct userctl_arguments *ret_arguments);
void userctl_arguments_deinit(struct userctl_arguments *arguments);

/* Reads the configuration that is meant, once. Returns as above. */
int userctl_arguments_configure(struct userctl_arguments *arguments);

/* The command calls a server. */
bool userctl_arguments_is_remote(enum userctl_command command);

/* Help about a command, or about all of userctl (USERCTL_NONE). */
void userctl_arguments_help(FILE *out, enum userctl_command command);

/* The command of that name; USERCTL_NONE when there is none. */
enum userctl_command userctl_arguments_command(const char *name);

/* Says on stderr what is wrong with the command line and where help is. Returns COMMON_EXIT_USAGE.
 */
int userctl_arguments_refuse(const struct userctl_arguments *arguments, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
