/*
 * Walks through one segment from end to end, also behind damage, and says where the unbroken chain
 * of whole frames ends and why. It decides nothing: the rules are those of the log.
 *
 * Owns:    nothing.
 * Borrows: everything passed in, for the call.
 * Thread:  one; blocks.
 */
#ifndef TOOLS_USERWAL_SEGMENT_H
#define TOOLS_USERWAL_SEGMENT_H

#include "core/wal_format.h"

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct wal_window;

/* Why the chain of whole frames ends. */
enum userwal_chain_end {
    USERWAL_END_ZEROS,    /* nothing was written there, or nothing is left of it */
    USERWAL_END_FILE,     /* the file ends there */
    USERWAL_END_NO_FRAME, /* neither zeros nor the header of a frame of this segment */
    USERWAL_END_PAYLOAD,  /* a whole header, and records that do not belong to it */
    USERWAL_END_RECORDS,  /* a whole frame whose records do not add up */
    USERWAL_END_PLACE,    /* a whole header that cannot stand there */
    USERWAL_END_CUT,      /* the file ends within the frame */
    USERWAL_END_HEADER,   /* the segment has no whole header: nothing could be read */
};

/* A frame whose header is whole. */
struct userwal_frame {
    struct wal_format_frame header;
    uint64_t offset;
    uint64_t size;        /* in the file */
    bool is_whole;        /* its payload is too: `payload` holds just its records */
    bool is_in_chain;     /* and so is everything before it */
    struct bytes payload; /* borrowed for the call */
};

struct userwal_segment {
    const char *name;
    uint64_t file_size;
    int header_result; /* 0, WAL_FORMAT_E_BAD or WAL_FORMAT_E_NEWER */
    struct wal_format_segment header;

    uint64_t end_offset; /* of the chain */
    uint64_t next_lsn;   /* behind the chain */
    uint64_t frame_count;
    uint64_t record_count;
    uint64_t payload_bytes; /* with the headers of frames */
    uint64_t padding_bytes; /* behind payloads, up to the next block */
    uint64_t last_ns;       /* when the last frame of the chain was made */
    enum userwal_chain_end why;

    uint64_t used_end; /* behind the last block that is not zero */
    /* Whole headers at the end of the chain and behind it: */
    uint64_t later_last_lsn;  /* the greatest record one of them speaks of, its witness included */
    uint64_t later_offset;    /* of the first one that stands behind the end; 0 = none does */
    uint64_t later_first_lsn; /* of that one */
    bool later_proves;        /* rule (c): what stood at the end of the chain was durable */
};

/* Non-zero ends the walk and is returned. */
typedef int (*userwal_frame_fn)(void *context, const struct userwal_frame *frame);

/* `each` may be NULL. `window` is initialised, and points elsewhere afterwards. Returns 0, also for
 * a damaged file; what `each` returned; or negative errno. */
int userwal_segment_walk(struct disk *disk, const char *name, struct wal_window *window,
                         userwal_frame_fn each, void *context, struct userwal_segment *ret_segment);

/* In words, for what stands at end_offset. */
const char *userwal_segment_why(enum userwal_chain_end why);

#endif
