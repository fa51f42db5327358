/*
 * Listening sockets that a service manager opened for us and passes on, by the protocol of
 * sd_listen_fds(3).
 *
 * Owns:    the sockets, until each is taken.
 * Thread:  loop only; start-up.
 */
#ifndef CORE_ACTIVATION_H
#define CORE_ACTIVATION_H

#include "core/listener_socket.h"

#define ACTIVATION_SOCKETS_MAX  16
#define ACTIVATION_NAME_SIZE    256
#define ACTIVATION_PROBLEM_SIZE 1024

#define ACTIVATION_E_UNFIT 1 /* what was passed cannot be used */

struct activation_socket {
    int fd;                          /* -1 = taken */
    char name[ACTIVATION_NAME_SIZE]; /* "" = none was given */
    char address[LISTENER_ADDRESS_SIZE];
};

struct activation {
    unsigned count;
    struct activation_socket sockets[ACTIVATION_SOCKETS_MAX];
};

/* Takes LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES out of the environment, so that no child has
 * them, and looks at the sockets. None are there when LISTEN_PID is missing or another process.
 *
 * Returns 0 or ACTIVATION_E_UNFIT, with `problem` (ACTIVATION_PROBLEM_SIZE bytes) saying why and
 * what to do. */
int activation_open(struct activation *activation, char *problem);

/* Hands a socket over. */
int activation_take(struct activation_socket *socket);

/* Closes what was not taken. Safe to repeat. */
void activation_close(struct activation *activation);

#endif
