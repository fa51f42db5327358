/*
 * 'userctl health': asks grpc.health.v1.
 *
 * Owns, borrows: nothing.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_HEALTH_H
#define TOOLS_USERCTL_HEALTH_H

#include "userctl_arguments.h"

/* Returns the exit code: 0 only when the answer is SERVING. */
int userctl_health_run(const struct userctl_arguments *arguments);

#endif
