/*
 * Calls whose tokens wait to be verified. A signature takes as long as tens of calls; so many new
 * tokens at once, when all clients have come back or somebody floods, must not hold up those whose
 * token is known. In each turn so many signatures are checked, and the other calls wait here.
 *
 * The connections that have calls waiting take turns, with one call each: who brings many tokens
 * keeps others waiting no longer than who brings one. The calls of a connection keep their order.
 *
 * Owns:    a timer that is armed while any call waits.
 * Borrows: the calls, from when they begin to wait until their stage's end; their connections.
 * Thread:  loop only.
 */
#ifndef SERVICE_AUTH_WAITING_H
#define SERVICE_AUTH_WAITING_H

#include "core/list.h"
#include "core/timer.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_call;
struct reactor;

struct auth_waiting {
    struct list hosts;       /* of connections with calls that wait, the next one in front */
    struct timer timer;      /* for the next turn */
    struct reactor *reactor; /* of the calls */
    uint64_t turn_ns;        /* in the turn that began then, */
    uint64_t checked;        /* so many signatures were checked */
    uint32_t per_turn;       /* auth.verifications_per_turn; 0 = any number */
    uint32_t count;          /* of calls that wait */
    bool is_serving;         /* those that wait have their turn */
};

/* `per_turn` is left as it is. */
void auth_waiting_init(struct auth_waiting *waiting);

/* Whether the call has to wait for a turn in which its token is verified. */
bool auth_waiting_is_due(const struct auth_waiting *waiting, const struct grpc_call *call);

/* Adds the call; inside the stage's `begin`, whose `slot` gets what auth_waiting_remove() takes.
 * Without memory it returns false: then the call must be judged at once, which costs others time
 * and nobody else anything. */
bool auth_waiting_add(struct auth_waiting *waiting, struct grpc_call *call, void **slot);

/* The call has ended, or is judged now. */
void auth_waiting_remove(struct auth_waiting *waiting, void **slot);

/* So many signatures were checked. */
void auth_waiting_note(struct auth_waiting *waiting, const struct grpc_call *call, uint64_t count);

#endif
