/*
 * What the words of `userctl call` name: the method, and the fields to send with it.
 *
 * Owns:    copies of names.
 * Borrows: the values of the command line, for the life of the program.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_CALL_WORDS_H
#define TOOLS_USERCTL_CALL_WORDS_H

#include "userctl_arguments.h"

#include <userd/client.h>

#include <stddef.h>

#define USERCTL_CALL_NAME_SIZE  512
#define USERCTL_CALL_FIELD_SIZE 256

struct userctl_call_words {
    char service[USERCTL_CALL_NAME_SIZE];
    char path[2 * USERCTL_CALL_NAME_SIZE]; /* for whoever has found the method */
    const char *token;                     /* of a header; NULL = the client's */
    size_t header_count;
    struct userd_metadata metadata[USERCTL_HEADERS_MAX];
    char names[USERCTL_HEADERS_MAX][USERCTL_CALL_FIELD_SIZE];
};

/* Takes apart what was given. Returns 0, or COMMON_EXIT_USAGE after it has said what is wrong.
 * *ret_method is borrowed from the arguments. */
int userctl_call_words_read(const struct userctl_arguments *arguments,
                            struct userctl_call_words *words, const char **ret_method);

#endif
