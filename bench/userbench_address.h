/*
 * Where to connect to: "HOST:PORT" resolved once, so that no connection waits for a name.
 *
 * Owns:    nothing; all is inside.
 * Borrows: nothing.
 * Thread:  one at a time; blocks while the name is resolved.
 */
#ifndef USERBENCH_ADDRESS_H
#define USERBENCH_ADDRESS_H

#include <sys/socket.h>

struct userbench_address {
    struct sockaddr_storage socket;
    socklen_t size;
    char host[256]; /* as written, without the brackets of an IPv6 address: the name that a
                       certificate is checked for */
    char port[8];
};

/* The first address of the target. A bad target ends the program. */
void userbench_address_read(struct userbench_address *address, const char *target);

#endif
