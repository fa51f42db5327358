/*
 * The command line of userbench.
 *
 * Owns:    nothing.
 * Borrows: the texts of the command line.
 * Thread:  one at a time.
 */
#ifndef USERBENCH_OPTIONS_H
#define USERBENCH_OPTIONS_H

#include <stdbool.h>

struct userbench_options {
    const char *target;        /* "host:port", or a list of them */
    const char *second_target; /* commit: NULL = no second server */
    const char *ca_file;       /* NULL = plain text */
    const char *token_file;    /* NULL = no token */
    const char *dir;           /* data: the folder to make; commit: where the bare writes go */
    unsigned users;            /* made by `data`; the others call these */
    unsigned in_flight;        /* calls at once; load: 0 = open loop */
    unsigned rate;             /* load: GetUser per second, open loop */
    unsigned updates;          /* load: UpdateUser per second, open loop */
    unsigned connections;
    unsigned rounds;      /* commit: blocks of each kind */
    unsigned calls;       /* commit: in each block */
    unsigned server_core; /* commit: bare writes are made there too */
    bool sleeps;          /* waits in the kernel; otherwise the loop spins, which costs a
                             core */
};

/* Reads what follows the command's name; a bad option ends the program. */
struct userbench_options userbench_options_read(int argc, char **argv);

void userbench_options_help(void);

#endif
