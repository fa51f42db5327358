/*
 * The inside of a call, shared by the files it is made of: grpc_call.c has its states and its life,
 * grpc_call_head.c what is wrong with a head, grpc_call_receive.c what comes from the client,
 * grpc_call_unpack.c what of it is compressed, grpc_call_buffered.c how much of it is kept,
 * grpc_call_answer.c what goes to it, grpc_call_time.c what ends it when it takes too long.
 *
 * Owns:    as grpc_call.h says.
 * Thread:  loop only.
 */
#ifndef HTTP2_GRPC_CALL_INTERNAL_H
#define HTTP2_GRPC_CALL_INTERNAL_H

#include "http2/grpc_call.h"
#include "http2/grpc_method.h"

#include <stdbool.h>

#define GRPC_CALL_KEPT_MESSAGE_MAX 16384 /* bytes an idle call keeps for the next message */
#define GRPC_CALL_TEXT_SIZE        512
#define GRPC_CALL_PROGRESS_BYTES   1024 /* of a body; less is standing still */
/* Bytes that compressed messages of a connection become before other connections get a turn. */
#define GRPC_CALL_UNPACK_SLICE 131072
/* Bytes in the arena of what is no large head, and what a call with such a one takes: itself, its
 * stream, the engine's part of that, one block of its arena. Measured: 5.3 KiB. */
#define GRPC_CALL_HEAD_USUAL 4096
#define GRPC_CALL_COST       6144

/* Custom metadata of the answer. The texts are in the arena too. */
struct grpc_call_metadata {
    struct h2_field headers[GRPC_CALL_METADATA_MAX];
    struct h2_field trailers[GRPC_CALL_METADATA_MAX];
    unsigned header_count;
    unsigned trailer_count;
};

static inline bool grpc_call_streams_requests(const struct grpc_call *call)
{
    return call->method != NULL && grpc_method_streams_requests(call->method);
}

static inline void grpc_call_count_received(struct grpc_call *call)
{
    call->messages_received++;
    if (call->counts != NULL) {
        call->counts->received++;
    }
}

static inline void grpc_call_count_sent(struct grpc_call *call)
{
    if (call->counts != NULL) {
        call->counts->sent++;
    }
}

void grpc_call_set_state(struct grpc_call *call, enum grpc_call_state next);

/* The call has its final status: nothing more is told but `cancelled`. */
void grpc_call_conclude(struct grpc_call *call, enum grpc_call_state next, enum grpc_status status);

/* Ends the call with the error, if it is wanted, and tells its handler. With bytes on the stream
 * that the client does not take, trailers would not get through: then by a reset, if `cuts`. */
void grpc_call_abandon(struct grpc_call *call, const struct grpc_error *error, bool cuts);

/* grpc_call_head.c: answers what is wrong with the head itself, before anybody judges who is
 * calling. */
void grpc_call_check_head(struct grpc_call *call);

/* grpc_call_buffered.c: brings the counts up to date with what the call keeps of its request. */
void grpc_call_account(struct grpc_call *call);

/* The same after something has come: over a limit the call fails, and keeps nothing. */
void grpc_call_account_arrival(struct grpc_call *call);

/* What the call keeps of its request nobody will have: gives it back, but for a message that its
 * handler still has. Credit goes to the client. */
void grpc_call_drop_request(struct grpc_call *call);

/* grpc_call_receive.c: the events of the stream; the context is the call. */
void grpc_call_on_field(void *context, const struct h2_field *field);
void grpc_call_on_fields_complete(void *context, bool trailers, bool ended);
void grpc_call_on_fields_too_large(void *context);
void grpc_call_on_data(void *context, struct bytes bytes);
void grpc_call_on_ended(void *context);

/* Takes back what would be delivered later; credit goes to the client. */
void grpc_call_drop_waiting(struct grpc_call *call);

/* Is the client expected to send, and nobody but it in the way? */
bool grpc_call_expects_body(const struct grpc_call *call);

/* The task of `delivery`. */
void grpc_call_run_delivery(struct reactor_task *task);

/* grpc_call_unpack.c: inflates a message (C3) into an empty buffer. Returns false with the call
 * failed. */
bool grpc_call_unpack(struct grpc_call *call, struct bytes packed, struct buf *plain);

/* Has the connection inflated enough for this turn? Then `delivery` goes on with the call later:
 * there must be something to deliver. */
bool grpc_call_must_give_way(struct grpc_call *call);

/* Delivery goes on: what gave way has a slice of its own. */
void grpc_call_take_turn(struct grpc_call *call);

/* grpc_call_answer.c: a framework error, with one more field. */
void grpc_call_fail_with_field(struct grpc_call *call, const struct grpc_error *error,
                               const char *name, const char *value);

/* grpc_call_time.c: arms the timer for the deadline the client asked for, or ours. May end the
 * call. */
void grpc_call_arm_deadline(struct grpc_call *call);

/* The stages have run: the authorization may end before the deadline. May end the call. */
void grpc_call_arm_authorization(struct grpc_call *call);

/* The timer's. */
void grpc_call_on_timer(struct timer *timer);

#endif
