/*
 * The socket of a listener: where it is bound, and how.
 *
 * Owns:    the descriptor; the path of a socket that we made.
 * Thread:  loop only; blocks: names are looked up.
 */
#ifndef CORE_LISTENER_SOCKET_H
#define CORE_LISTENER_SOCKET_H

#include <netdb.h>
#include <stdbool.h>
#include <sys/stat.h>

#define LISTENER_ADDRESS_SIZE (NI_MAXHOST + 16) /* brackets, colon, port */

struct listener_socket {
    int fd; /* -1 = none */
    bool has_path;
    struct stat path_stat; /* of the socket in the file system, to remove no other one */
    char address[LISTENER_ADDRESS_SIZE]; /* that it is bound to */
};

/* Binds and listens, as listener_open() says, or takes a socket over, as listener_adopt() does.
 * Return 0; or negative errno with `problem` (RING_PROBLEM_SIZE bytes) filled in, and no socket. */
int listener_socket_open(struct listener_socket *self, const char *address, int backlog,
                         char *problem);
int listener_socket_adopt(struct listener_socket *self, int fd, char *problem);

/* Removes the path, too. Safe when there is none. */
void listener_socket_close(struct listener_socket *self);

/* Writes the address that a socket is bound to into `text` (LISTENER_ADDRESS_SIZE bytes), as
 * listener_open() would take it; for abstract sockets "unix:@name". Returns 0 or negative errno. */
int listener_socket_describe(int fd, char *text);

/* Would listener_open() with this address listen where a socket with that description does? Host
 * names but localhost are not looked up, and are never the same as an address. */
bool listener_socket_is_at(const char *address, const char *description);

#endif
