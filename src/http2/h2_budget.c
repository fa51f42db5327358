#include "http2/h2_budget.h"

#include <assert.h>

/*
 * The frame layer is simple enough to walk a second time: nine bytes of head, then a payload to
 * skip. Doing so before the engine gets the bytes has three gains: frames that the engine drops in
 * silence are counted too, a flood ends before any of it was worked on, and this file needs no
 * engine.
 *
 * What is counted:
 *   - RST_STREAM (and our own resets, charged by the session): the reset budget. Rapid reset and
 *     MadeYouReset both end here, whoever of the two sides sends the frame. A reset at the deadline
 *     of its call is paid back later (h2_stream_excuse).
 *   - PING, SETTINGS, PRIORITY, GOAWAY, frames of unknown type, HEADERS that open no stream: the
 *     control budget. Each HEADERS or DATA frame that we send earns one, for gRPC clients
 *     measure the path with a PING per burst of data.
 *   - WINDOW_UPDATE: a budget of its own that grows with streams opened, DATA frames sent (Envoy's
 *     formula) and the messages that these may hold, because honest clients send many: C-core sends
 *     one for each message that its owner takes, and a frame may hold hundreds.
 *   - DATA frames that carry nothing, in a row.
 *   - Requests whose heads no client of gRPC would send (charged by the calls): the reset budget,
 *     for each is work for nothing, like a stream that is reset. Calls that end well pay for a few.
 *   - Streams over the limit on streams, which the engine refuses until the peer has acknowledged
 *     it: a budget that no honest start of a connection uses up. Streams that are refused because
 *     the server is busy are free.
 *
 * One frame is kept from the engine: RST_STREAM of a stream that the client has not opened yet.
 * C-core sends it for a call whose deadline passes before its HEADERS were written, and all other
 * calls of the connection would pay for the PROTOCOL_ERROR that RFC 9113 section 6.4 asks for. To
 * be able to leave a frame out, the engine gets no part of a head before the whole is there.
 */

#define TOKEN        1000000000ULL
#define PREFACE_SIZE 24 /* RFC 9113 section 3.4 */

#define WINDOW_UPDATES_PER_STREAM 2
#define WINDOW_UPDATES_PER_DATA   20
#define MESSAGE_SIZE_MIN          5    /* gRPC's own head alone */
#define WINDOW_UPDATES_KEPT       1000 /* so many times the control burst may be saved up */

#define REFUSALS_PER_STREAM 10 /* so many times the limit on streams may be refused at once */

#define FRAME_DATA          0x0
#define FRAME_HEADERS       0x1
#define FRAME_RST_STREAM    0x3
#define FRAME_WINDOW_UPDATE 0x8
#define FRAME_CONTINUATION  0x9

#define FLAG_END_STREAM  0x1
#define FLAG_END_HEADERS 0x4
#define FLAG_PADDED      0x8

#define RST_STREAM_SIZE 4

const char *h2_excess_text(enum h2_excess excess)
{
    static const char *const texts[] = {
#define H2_EXCESS_TEXT(name, text, limit) [H2_EXCESS_##name] = (text),
        H2_EXCESS_LIST(H2_EXCESS_TEXT)
#undef H2_EXCESS_TEXT
    };

    assert(excess != H2_EXCESS_NONE);
    return texts[excess];
}

enum limits_hit_reason h2_excess_limit(enum h2_excess excess)
{
    static const enum limits_hit_reason limits[] = {

#define H2_EXCESS_LIMIT(name, text, limit) [H2_EXCESS_##name] = LIMITS_HIT_##limit,
        H2_EXCESS_LIST(H2_EXCESS_LIMIT)
#undef H2_EXCESS_LIMIT
    };

    assert(excess != H2_EXCESS_NONE);
    return limits[excess];
}

void h2_bucket_init(struct h2_bucket *bucket, uint32_t burst, uint32_t rate, uint64_t now_ns)
{
    *bucket = (struct h2_bucket){
        .level = burst * TOKEN,
        .seen_ns = now_ns,
        .burst = burst,
        .rate = rate,
    };
}

bool h2_bucket_take(struct h2_bucket *bucket, uint64_t now_ns)
{
    uint64_t full = bucket->burst * TOKEN;
    uint64_t elapsed = now_ns > bucket->seen_ns ? now_ns - bucket->seen_ns : 0;

    if (bucket->burst == 0) {
        return true;
    }
    bucket->seen_ns += elapsed;
    if (bucket->rate != 0 && elapsed >= (full - bucket->level) / bucket->rate) {
        bucket->level = full;
    } else {
        bucket->level += elapsed * bucket->rate;
    }
    if (bucket->level < TOKEN) {
        return false;
    }
    bucket->level -= TOKEN;
    return true;
}

static void give(struct h2_bucket *bucket, uint32_t count)
{
    uint64_t full = bucket->burst * TOKEN;

    bucket->level = full - bucket->level > count * TOKEN ? bucket->level + count * TOKEN : full;
}

void h2_bucket_give(struct h2_bucket *bucket)
{
    give(bucket, 1);
}

void h2_budget_init(struct h2_budget *budget, const struct h2_budget_limits *limits,
                    bool peer_is_client, uint64_t now_ns)
{
    *budget = (struct h2_budget){
        .max_empty_frames = limits->max_empty_frames,
        .peer_opens_streams = peer_is_client,
        .skip = peer_is_client ? PREFACE_SIZE : 0,
    };
    h2_bucket_init(&budget->resets, limits->reset_burst, limits->reset_rate, now_ns);
    h2_bucket_init(&budget->control, limits->control_burst, limits->control_rate, now_ns);
    h2_bucket_init(&budget->window_updates, limits->control_burst, limits->control_rate, now_ns);
    if (limits->max_streams <= UINT32_MAX / REFUSALS_PER_STREAM) {
        h2_bucket_init(&budget->refusals, limits->max_streams * REFUSALS_PER_STREAM,
                       limits->max_streams, now_ns);
    }
    /* Starts with one burst like the others, but what is earned may be saved up much further. */
    if (limits->control_burst <= UINT32_MAX / WINDOW_UPDATES_KEPT) {
        budget->window_updates.burst *= WINDOW_UPDATES_KEPT;
    }
}

static enum h2_excess charge_control(struct h2_budget *budget, uint64_t now_ns)
{
    return h2_bucket_take(&budget->control, now_ns) ? H2_EXCESS_NONE : H2_EXCESS_CONTROL;
}

/* A DATA frame that does not end its stream. */
static enum h2_excess charge_data(struct h2_budget *budget, bool is_empty)
{
    budget->empty_run = is_empty ? budget->empty_run + 1 : 0;
    if (budget->max_empty_frames != 0 && budget->empty_run > budget->max_empty_frames) {
        return H2_EXCESS_EMPTY_FRAMES;
    }
    return H2_EXCESS_NONE;
}

static enum h2_excess charge_data_head(struct h2_budget *budget, uint32_t size, uint8_t flags)
{
    if ((flags & FLAG_END_STREAM) != 0) {
        budget->empty_run = 0;
        return H2_EXCESS_NONE;
    }
    if ((flags & FLAG_PADDED) != 0 && size > 0) {
        budget->padded_size = size; /* its first byte will tell */
        return H2_EXCESS_NONE;
    }
    return charge_data(budget, size == 0);
}

/* The first payload byte of a padded frame says how much of the rest is padding. */
static enum h2_excess charge_padding(struct h2_budget *budget, uint8_t padding)
{
    bool is_empty = padding >= budget->padded_size - 1;

    budget->padded_size = 0;
    return charge_data(budget, is_empty);
}

static enum h2_excess charge_headers(struct h2_budget *budget, int32_t stream_id, uint64_t now_ns)
{
    budget->block_since_ns = now_ns != 0 ? now_ns : 1;
    if (!budget->peer_opens_streams) {
        return H2_EXCESS_NONE; /* answers and their trailers: as many as we asked for */
    }
    if (stream_id > budget->stream_id_max) {
        budget->stream_id_max = stream_id;
        give(&budget->window_updates, WINDOW_UPDATES_PER_STREAM);
        return H2_EXCESS_NONE;
    }
    return charge_control(budget, now_ns);
}

/* It resets a stream that is still to be opened, and is well formed otherwise. */
static bool resets_idle_stream(const struct h2_budget *budget, uint32_t size, int32_t stream_id)
{
    return budget->peer_opens_streams && stream_id % 2 == 1 && stream_id > budget->stream_id_max &&
           size == RST_STREAM_SIZE && budget->block_since_ns == 0;
}

/* Judges the frame whose head is complete, and sets what is to be skipped. */
static enum h2_excess charge_frame(struct h2_budget *budget, uint64_t now_ns)
{
    const uint8_t *head = budget->head;
    uint32_t size = (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
    int32_t stream_id = (int32_t)((uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 |
                                  (uint32_t)head[7] << 8 | head[8]);
    enum h2_excess excess;

    budget->skip = size;
    budget->head_size = 0;
    budget->ends_block = false;
    switch (head[3]) {
    case FRAME_DATA:
        excess = charge_data_head(budget, size, head[4]);
        break;
    case FRAME_HEADERS:
        budget->ends_block = (head[4] & FLAG_END_HEADERS) != 0;
        excess = charge_headers(budget, stream_id, now_ns);
        break;
    case FRAME_CONTINUATION:
        budget->ends_block = (head[4] & FLAG_END_HEADERS) != 0;
        excess = H2_EXCESS_NONE; /* the engine counts these per block */
        break;
    case FRAME_RST_STREAM:
        budget->is_dropped = resets_idle_stream(budget, size, stream_id);
        excess = h2_budget_charge_reset(budget, now_ns);
        break;
    case FRAME_WINDOW_UPDATE:
        excess = h2_bucket_take(&budget->window_updates, now_ns) ? H2_EXCESS_NONE
                                                                 : H2_EXCESS_WINDOW_UPDATES;
        break;
    default:
        excess = charge_control(budget, now_ns);
        break;
    }
    return excess;
}

static void advance(struct bytes *bytes, size_t size)
{
    if (size > 0) {
        *bytes = (struct bytes){bytes->data + size, bytes->size - size};
    }
}

/* Steps over payload, as much of it as is there. */
static enum h2_excess scan_payload(struct h2_budget *budget, struct bytes *bytes)
{
    size_t size = bytes->size < budget->skip ? bytes->size : budget->skip;
    enum h2_excess excess = H2_EXCESS_NONE;

    if (size > 0 && budget->padded_size > 0) {
        excess = charge_padding(budget, bytes->data[0]);
    }
    advance(bytes, size);
    budget->skip -= (uint32_t)size;
    if (budget->skip == 0) {
        budget->is_dropped = false;
        if (budget->ends_block) {
            budget->ends_block = false;
            budget->block_since_ns = 0;
        }
    }
    return excess;
}

/* Gathers the bytes of a head. Returns whether it is complete. */
static bool scan_head(struct h2_budget *budget, struct bytes *bytes)
{
    size_t missing = (size_t)(H2_FRAME_HEAD_SIZE - budget->head_size);
    size_t size = bytes->size < missing ? bytes->size : missing;

    if (size > 0) {
        memcpy(budget->head + budget->head_size, bytes->data, size);
        advance(bytes, size);
        budget->head_size = (uint8_t)(budget->head_size + size);
    }
    return budget->head_size == H2_FRAME_HEAD_SIZE;
}

enum h2_excess h2_budget_scan(struct h2_budget *budget, struct bytes *bytes, uint64_t now_ns,
                              struct bytes *ret_pass)
{
    bool was_dropped = budget->is_dropped;
    enum h2_excess excess = H2_EXCESS_NONE;
    struct bytes rest = *bytes;
    const uint8_t *first;

    *ret_pass = (struct bytes){0};
    if (was_dropped) {
        excess = scan_payload(budget, &rest);
    }
    first = rest.data;
    while (excess == H2_EXCESS_NONE && rest.size > 0) {
        bool was_cut = budget->head_size > 0;

        excess = scan_payload(budget, &rest);
        *ret_pass = (struct bytes){first, (size_t)(rest.data - first)};
        if (excess != H2_EXCESS_NONE || !scan_head(budget, &rest)) {
            break;
        }
        excess = charge_frame(budget, now_ns);
        if (was_cut && !budget->is_dropped) {
            *ret_pass = (struct bytes){budget->head, H2_FRAME_HEAD_SIZE};
        }
        if (was_cut || budget->is_dropped) {
            break;
        }
        *ret_pass = (struct bytes){first, (size_t)(rest.data - first)};
    }
    *bytes = rest;
    return excess;
}

enum h2_excess h2_budget_charge_reset(struct h2_budget *budget, uint64_t now_ns)
{
    return h2_bucket_take(&budget->resets, now_ns) ? H2_EXCESS_NONE : H2_EXCESS_RESETS;
}

enum h2_excess h2_budget_charge_bad_head(struct h2_budget *budget, uint64_t now_ns)
{
    return h2_bucket_take(&budget->resets, now_ns) ? H2_EXCESS_NONE : H2_EXCESS_BAD_HEADS;
}

enum h2_excess h2_budget_charge_refusal(struct h2_budget *budget, uint64_t now_ns)
{
    return h2_bucket_take(&budget->refusals, now_ns) ? H2_EXCESS_NONE : H2_EXCESS_STREAMS;
}

void h2_budget_earn_call(struct h2_budget *budget)
{
    h2_bucket_give(&budget->resets);
}

void h2_budget_earn_frame(struct h2_budget *budget, bool is_data, size_t size)
{
    h2_bucket_give(&budget->control);
    if (is_data) {
        give(&budget->window_updates,
             WINDOW_UPDATES_PER_DATA + (uint32_t)(size / MESSAGE_SIZE_MIN));
    }
}
