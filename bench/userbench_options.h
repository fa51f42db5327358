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
    const char *target;        /* "host:port"; commit and channel: or a list of them */
    const char *second_target; /* commit: NULL = no second server */
    const char *ca_file;       /* NULL = plain text */
    const char *token_file;    /* NULL = no token */
    const char *dir;           /* data: the folder to make; commit: where the bare writes go */
    const char *mix;           /* load: METHOD=SHARE,...; NULL = GetUser */
    const char *ids;           /* load: how users are chosen; NULL = uniform */
    const char *filter;        /* load: of ListUsers; NULL = none */
    unsigned users;            /* made by `data`; the others call these */
    unsigned in_flight;        /* calls at once; channel: 0 = open loop */
    unsigned rate;             /* calls per second, open loop */
    unsigned updates;          /* channel: UpdateUser per second, open loop */
    unsigned connections;
    unsigned streams;      /* load: calls at once on each connection, closed loop */
    unsigned outstanding;  /* load: most calls at once, open loop */
    unsigned items;        /* load: of one call that is a stream */
    unsigned window;       /* load: items under way in such a call */
    unsigned page_size;    /* load: of ListUsers; 0 = the server's */
    unsigned deadline_ms;  /* load: of each call; 0 = none */
    unsigned seed;         /* load */
    unsigned call_limit;   /* load: calls in all; 0 = no limit */
    unsigned rounds;       /* commit: blocks of each kind */
    unsigned calls;        /* commit: in each block */
    unsigned server_core;  /* commit: bare writes are made there too */
    double zipf_exponent;  /* load */
    double warm_up_s;      /* load: before anything is counted */
    double seconds;        /* load: counted so long; 0 = until the calls or the phases end */
    bool is_bare;          /* data: users without password and request_id, as by SyncUsers */
    bool sleeps;           /* waits in the kernel; otherwise the loop spins, which costs a core */
    bool spins;            /* load: never waits, in a closed loop too */
    bool token_is_literal; /* load: never indexed */
    bool tolerates;        /* load: counts failures, where the first would end it otherwise */
    bool skips;            /* load: what is due beyond `outstanding` is left out */
    bool has_phases;       /* load: lines of the standard input name them */
    bool shows_progress;   /* load: a line each second on the standard error */
};

/* Reads what follows the command's name; a bad option ends the program. */
struct userbench_options userbench_options_read(int argc, char **argv);

void userbench_options_help(void);

#endif
