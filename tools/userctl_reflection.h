/*
 * Asks a server what its services and messages look like: grpc.reflection.v1, or v1alpha where that
 * is all there is. One stream serves all questions.
 *
 * Owns:    the stream.
 * Borrows: client and arguments, for its life.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERCTL_REFLECTION_H
#define TOOLS_USERCTL_REFLECTION_H

#include "core/buf.h"
#include "userctl_failure.h"
#include "userctl_schema.h"

#define USERCTL_REFLECTION_E_FAILED  1 /* it has been said */
#define USERCTL_REFLECTION_E_UNKNOWN 2 /* the server knows no such symbol */

struct userctl_reflection {
    const struct userctl_arguments *arguments;
    struct userd_client *client;
    int exit_code; /* after USERCTL_REFLECTION_E_FAILED */
    /* The rest is its own. */
    struct userd_call *call;
    bool is_alpha;
    bool is_over;
    bool has_reply;
    bool was_answered;
    struct buf reply;
    struct userctl_kept_failure end;
    char text[512]; /* of a problem */
};

void userctl_reflection_begin(struct userctl_reflection *reflection,
                              const struct userctl_arguments *arguments,
                              struct userd_client *client);
void userctl_reflection_end(struct userctl_reflection *reflection);

/* Adds the file that has the symbol and all that it imports, and links. Returns 0 or
 * USERCTL_REFLECTION_E_*. */
int userctl_reflection_fetch(struct userctl_reflection *reflection, const char *symbol,
                             struct userctl_schema *schema);

/* Calls `take` with the name of each service. Returns as above. */
int userctl_reflection_services(struct userctl_reflection *reflection,
                                void (*take)(void *context, struct bytes name), void *context);

/* Says that the server has no such thing, and which it has that goes by nearly that name. Returns
 * the exit code. */
int userctl_reflection_unknown(struct userctl_reflection *reflection, const char *symbol);

#endif
