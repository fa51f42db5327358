/*
 * Where the server listens: at the addresses of the configuration, or on sockets that a service
 * manager opened and passed.
 *
 * Owns:    the passed sockets, until they are used.
 * Borrows: the app.
 * Thread:  loop only; start-up.
 */
#ifndef SERVICE_APP_LISTEN_H
#define SERVICE_APP_LISTEN_H

#include "core/activation.h"

struct app;

enum app_port {
    APP_PORT_GRPC,
    APP_PORT_ADMIN,
    APP_PORT_HEALTH,
};

#define APP_PORT_COUNT 3

struct app_listen {
    struct activation passed;
    enum app_port ports[ACTIVATION_SOCKETS_MAX]; /* of each */
};

/* Steps of the start, in this order; they return the exit code. Look at what was passed: */
int app_listen_take(struct app *app);

/* Find the port of each, which that step does already (for tests). */
int app_listen_assign(struct app *app);

/* Make the server for calls, which listens later. */
int app_listen_prepare(struct app *app);

/* Open the ports. */
int app_listen_health(struct app *app);
int app_listen_grpc(struct app *app);

/* A socket that was passed for a port that takes one: the descriptor, and where it is bound in
 * *address; 0 and nothing when there is none. The caller has it then. */
int app_listen_passed(struct app *app, enum app_port port, const char **address);

/* Closes what was not used. */
void app_listen_close(struct app *app);

#endif
