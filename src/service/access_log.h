/*
 * The line that a call gets in the log when it has ended: method, status, time, who called, from
 * where, and the trace it belongs to (W3C Trace Context, `traceparent`). Never a token, a message
 * or other metadata.
 *
 * Owns:    a note for each stream that is open.
 * Borrows: the log, for its life; the call, for each function.
 * Thread:  loop only.
 */
#ifndef SERVICE_ACCESS_LOG_H
#define SERVICE_ACCESS_LOG_H

#include "core/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct grpc_call;
struct log;

enum access_log_choice {
    ACCESS_LOG_OFF,
    ACCESS_LOG_ERRORS, /* calls that did not end OK */
    ACCESS_LOG_ALL,
};

/* log.access and log.access_sample. At log.level = debug every call gets its line all the same. */
struct access_log {
    struct log *log; /* NULL = silence */
    enum access_log_choice choice;
    uint64_t sample;    /* of so many calls that ended OK one gets its line; not 0 */
    uint64_t unsampled; /* those since the last one */
};

void access_log_init(struct access_log *access, struct log *log);

/* The trace id in a `traceparent`: 32 hexadecimal digits that are not all 0. False when it has none
 * that is well formed (Trace Context, section 3.2). */
bool access_log_trace_id(struct bytes traceparent, struct bytes *ret_id);

/* What must outlive the head of a stream is put aside, in `*slot` of the call, which is NULL at
 * first. Without memory it stays NULL. */
void access_log_begin(const struct access_log *access, const struct grpc_call *call, void **slot);

/* The call has ended: writes its line if it is to have one, and empties the slot. */
void access_log_end(struct access_log *access, const struct grpc_call *call, uint64_t taken_ns,
                    void **slot);

#endif
