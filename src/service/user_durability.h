/*
 * Says with the answers to changes what a power cut may take back of them (wal.sync = interval).
 *
 * Owns:    its text.
 * Borrows: the call, for the call.
 * Thread:  loop only.
 */
#ifndef SERVICE_USER_DURABILITY_H
#define SERVICE_USER_DURABILITY_H

#include <stdint.h>

struct grpc_call;

#define USER_DURABILITY_TRAILER "users-durability"

/* Zero-initialised: what is answered is durable, and nothing need be said. */
struct user_durability {
    char text[32]; /* the trailer's value: interval=100ms */
};

/* 0 = durable when answered. */
void user_durability_init(struct user_durability *durability, uint64_t interval_ms);

/* Adds the trailer, if there is something to say. Before anything is changed for the call. Returns
 * 0 or -ENOMEM. */
int user_durability_add(const struct user_durability *durability, struct grpc_call *call);

#endif
