/*
 * What one peer may cost: walks the frame heads of what it sends, before the HTTP/2 engine sees
 * them, counts against budgets those kinds that are cheap to send and not free to take
 * (RFC 9113 section 10.5), and leaves one kind out. Pure: no clock, no I/O.
 *
 * Owns, borrows: nothing.
 * Thread:  one at a time.
 */
#ifndef HTTP2_H2_BUDGET_H
#define HTTP2_H2_BUDGET_H

#include "core/bytes.h"
#include "core/limits_hit.h"

#include <stdbool.h>
#include <stdint.h>

#define H2_FRAME_HEAD_SIZE 9

/* Constant, what the log and the peer are told, and the limit that was reached. */
#define H2_EXCESS_LIST(X)                                                                          \
    X(RESETS, "too many resets", RESETS)                                                           \
    X(CONTROL, "too many control frames", CONTROL)                                                 \
    X(WINDOW_UPDATES, "too many window updates", CONTROL)                                          \
    X(EMPTY_FRAMES, "too many empty frames", EMPTY_FRAMES)                                         \
    X(BAD_HEADS, "too many bad requests", RESETS)                                                  \
    X(STREAMS, "too many streams", STREAMS)                                                        \
    X(HEADER_LIST, "header list too large", HEADER_LIST_HARD)                                      \
    X(HEADERS, "too many header fields", HEADERS)

/* What a peer did too much of. */
enum h2_excess {
    H2_EXCESS_NONE,
#define H2_EXCESS_NAME(name, text, limit) H2_EXCESS_##name,
    H2_EXCESS_LIST(H2_EXCESS_NAME)
#undef H2_EXCESS_NAME
};

/* Not of NONE. */
const char *h2_excess_text(enum h2_excess excess);
enum limits_hit_reason h2_excess_limit(enum h2_excess excess);

/* A token bucket. */
struct h2_bucket {
    uint64_t level;   /* tokens left, in billionths */
    uint64_t seen_ns; /* when the level was brought up to date */
    uint32_t burst;   /* most tokens; 0 = no limit at all */
    uint32_t rate;    /* tokens per second */
};

void h2_bucket_init(struct h2_bucket *bucket, uint32_t burst, uint32_t rate, uint64_t now_ns);

/* Takes one token; false when there is none. */
bool h2_bucket_take(struct h2_bucket *bucket, uint64_t now_ns);

/* Gives one back, up to the burst. */
void h2_bucket_give(struct h2_bucket *bucket);

struct h2_budget_limits {
    uint32_t reset_burst; /* a burst of 0 switches its budget off */
    uint32_t reset_rate;
    uint32_t control_burst;
    uint32_t control_rate;
    uint32_t max_empty_frames; /* 0 = no limit */
    uint32_t max_streams;      /* at once; 0 = no limit, and none on streams refused */
};

struct h2_budget {
    struct h2_bucket resets;
    struct h2_bucket control;
    struct h2_bucket window_updates;
    struct h2_bucket refusals;
    uint32_t empty_run; /* empty DATA frames in a row */
    uint32_t max_empty_frames;
    uint32_t padded_size; /* payload of a padded DATA frame whose first byte is awaited; 0 = none */
    int32_t stream_id_max;            /* highest stream the peer has opened */
    bool peer_opens_streams;          /* it is a client */
    uint8_t head[H2_FRAME_HEAD_SIZE]; /* of the present frame */
    uint8_t head_size;                /* bytes of it seen, and not passed on yet */
    uint32_t skip;                    /* bytes until the next head: payload, or the preface */
    bool ends_block;                  /* the frame being skipped is the last of a header block */
    bool is_dropped;                  /* the frame being skipped is kept from the engine */
    uint64_t block_since_ns;          /* when the open header block began; 0 = none is open */
};

/* `peer_is_client`: its preface of 24 bytes comes before the first frame. */
void h2_budget_init(struct h2_budget *budget, const struct h2_budget_limits *limits,
                    bool peer_is_client, uint64_t now_ns);

/* Walks what the peer sent, cut anywhere, and moves `*bytes` on. What the engine is to get of it is
 * `*ret_pass`, maybe nothing, borrowed until the next call. Again until `*bytes` is empty.
 *
 * Returns NONE, or what was too much. */
enum h2_excess h2_budget_scan(struct h2_budget *budget, struct bytes *bytes, uint64_t now_ns,
                              struct bytes *ret_pass);

/* We had to reset a stream by the peer's fault. The same outcomes. */
enum h2_excess h2_budget_charge_reset(struct h2_budget *budget, uint64_t now_ns);

/* The head of a request was nothing that a client of gRPC sends. */
enum h2_excess h2_budget_charge_bad_head(struct h2_budget *budget, uint64_t now_ns);

/* A stream over the limit was refused. */
enum h2_excess h2_budget_charge_refusal(struct h2_budget *budget, uint64_t now_ns);

/* A call ended normally: earns what one reset costs. */
void h2_budget_earn_call(struct h2_budget *budget);

/* We sent a HEADERS or DATA frame: the peer may answer with PINGs, and for `size` bytes of data
 * with WINDOW_UPDATEs. */
void h2_budget_earn_frame(struct h2_budget *budget, bool is_data, size_t size);

#endif
