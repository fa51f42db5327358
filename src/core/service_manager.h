/*
 * What the service manager that started us is told, by the protocol of sd_notify(3): that we are
 * ready, reload, stop, are alive, and a line of text for people.
 *
 * What is told is only noted; service_manager_flush() sends it, in a datagram or two, without ever
 * waiting. What finds no room stays noted, and goes with the next flush as it is by then: a status
 * that was overtaken is never sent, and nothing piles up.
 *
 * Without a manager everything here does nothing.
 *
 * Owns:    a socket.
 * Thread:  loop only.
 */
#ifndef CORE_SERVICE_MANAGER_H
#define CORE_SERVICE_MANAGER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SERVICE_MANAGER_STATUS_SIZE 512 /* longer lines are cut */

#define SERVICE_MANAGER_E_ADDRESS  1 /* NOTIFY_SOCKET is neither a path nor an abstract name */
#define SERVICE_MANAGER_E_WATCHDOG 2 /* WATCHDOG_USEC or WATCHDOG_PID is no number */

struct service_manager {
    int fd; /* -1 = there is no manager */
    struct sockaddr_un address;
    socklen_t address_size;
    uint64_t watchdog_ns; /* it wants a sign of life at least this often; 0 = it wants none */
    unsigned due;         /* what is to be sent, by 1 << enum in service_manager.c */
    uint64_t reload_us;
    uint64_t extend_us;
    int error;
    char status[SERVICE_MANAGER_STATUS_SIZE];
};

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child has
 * them. Returns 0, also when there is no manager; one of SERVICE_MANAGER_E_*, or negative errno:
 * then there is none, or no watchdog, and the rest goes on. */
int service_manager_open(struct service_manager *manager);

bool service_manager_is_there(const struct service_manager *manager);

/* Calls can be answered; a reload is over. */
void service_manager_ready(struct service_manager *manager);

/* A reload begins, now (CLOCK_MONOTONIC). */
void service_manager_reloading(struct service_manager *manager, uint64_t now_ns);

/* The end has begun. */
void service_manager_stopping(struct service_manager *manager);

/* The sign of life. */
void service_manager_alive(struct service_manager *manager);

/* The start or the end goes on, and may take this much longer, from now. */
void service_manager_extend(struct service_manager *manager, uint64_t ns);

/* Why it ends: an errno. */
void service_manager_failed(struct service_manager *manager, int error);

/* The line for people, on which control characters become blanks. The same again is not sent. */
__attribute__((format(printf, 2, 3))) void service_manager_status(struct service_manager *manager,
                                                                  const char *format, ...);

/* Sends what is noted. Returns 0, or negative errno; then it is still noted. */
int service_manager_flush(struct service_manager *manager);

/* Drops what is noted. Safe to repeat. */
void service_manager_close(struct service_manager *manager);

#endif
