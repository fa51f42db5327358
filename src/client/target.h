/*
 * Where a server is: the text of a target, and the addresses it stands for.
 *
 * Owns:    the addresses.
 * Borrows: nothing.
 * Thread:  any; target_resolve() blocks while it asks the resolver.
 */
#ifndef CLIENT_TARGET_H
#define CLIENT_TARGET_H

#include <sys/socket.h>

#define TARGET_HOST_SIZE     256
#define TARGET_PORT_SIZE     6
#define TARGET_ADDRESSES_MAX 8
#define TARGET_PROBLEM_SIZE  512

#define TARGET_E_MALFORMED  1 /* not HOST:PORT */
#define TARGET_E_UNRESOLVED 2 /* the resolver does not know the host */

struct target {
    char host[TARGET_HOST_SIZE]; /* a name, or an address without brackets */
    char port[TARGET_PORT_SIZE];
    struct sockaddr_storage addresses[TARGET_ADDRESSES_MAX];
    socklen_t sizes[TARGET_ADDRESSES_MAX];
    unsigned count;
};

/* Takes "host:port", "1.2.3.4:port" or "[v6]:port" apart; no address is there yet. Returns 0, or
 * TARGET_E_MALFORMED with `problem` (TARGET_PROBLEM_SIZE bytes) filled in. */
int target_parse(const char *text, char *problem, struct target *ret_target);

/* Fills in the addresses, in the resolver's order. Returns 0, or TARGET_E_UNRESOLVED with `problem`
 * filled in. */
int target_resolve(struct target *target, char *problem);

/* "127.0.0.1:50051" or "[::1]:50051" for people. */
void target_format_address(const struct target *target, unsigned index, char *out, size_t room);

#endif
