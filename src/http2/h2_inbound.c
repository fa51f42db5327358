#include "http2/h2_inbound.h"

#include "core/clock.h"
#include "http2/h2_stream.h"

#include <errno.h>
#include <stdio.h>

/*
 * Frames as the engine reports them become the events of h2_session.h, and are judged on the way:
 * may this stream be opened, is this head too large, whose fault was that reset. Nothing here knows
 * the engine.
 */

#define FIELD_OVERHEAD 32 /* RFC 9113 section 6.5.2: what a field counts beside its texts */
#define FRAME_GOAWAY   0x7
#define GOAWAY_SIZE    8 /* without debug data */

/* What the engine tells a peer that ignores an acknowledged limit on streams. */
#define ENGINE_STREAMS_TEXT "request HEADERS: max concurrent streams exceeded"

void h2_session_set_problem(struct h2_session *session, const char *text, size_t size)
{
    (void)snprintf(session->problem, sizeof(session->problem), "%.*s", (int)size, text);
}

void h2_session_fail(struct h2_session *session, enum h2_error error, const char *problem)
{
    if (!session->dead) {
        session->dead = true;
        session->needs_goaway = true;
        session->failure = error;
        h2_session_set_problem(session, problem, strlen(problem));
    }
}

void h2_session_count(struct h2_session *session, enum limits_hit_reason reason)
{
    if (session->options.hits != NULL) {
        limits_hit_add(session->options.hits, reason);
    }
}

void h2_session_exceed(struct h2_session *session, enum h2_excess excess)
{
    if (!session->dead) {
        h2_session_count(session, h2_excess_limit(excess));
        h2_session_fail(session, H2_ERROR_ENHANCE_YOUR_CALM, h2_excess_text(excess));
    }
}

int h2_session_append_goaway(struct h2_session *session, struct buf *output)
{
    const char *debug = session->goaway_text != NULL ? session->goaway_text : session->problem;
    uint32_t debug_size = (uint32_t)strlen(debug);
    uint32_t last_id = (uint32_t)session->last_stream_id;
    const uint8_t frame[H2_FRAME_HEAD_SIZE + GOAWAY_SIZE] = {
        [2] = (uint8_t)(GOAWAY_SIZE +
                        debug_size), /* the problem is short: one byte of length will do */
        [3] = FRAME_GOAWAY,
        [9] = (uint8_t)(last_id >> 24),
        [10] = (uint8_t)(last_id >> 16),
        [11] = (uint8_t)(last_id >> 8),
        [12] = (uint8_t)last_id,
        [16] = (uint8_t)session->failure,
    };

    _Static_assert(GOAWAY_SIZE + H2_PROBLEM_SIZE <= UINT8_MAX, "the length is written as one byte");
    session->needs_goaway = false;
    if (buf_append(output, frame, sizeof(frame)) != 0) {
        return -ENOMEM;
    }
    return buf_append(output, debug, debug_size);
}

static struct h2_stream *find_stream(struct h2_session *session, int32_t stream_id)
{
    if (session->current == NULL || session->current->id != stream_id) {
        session->current = h2_engine_find(session, stream_id);
    }
    return session->current;
}

static void admit(struct h2_session *session, int32_t stream_id)
{
    struct h2_stream *stream = NULL;

    session->last_stream_id = stream_id;
    session->current = NULL;
    if (!session->is_ending && session->events->stream_opened != NULL) {
        stream = h2_stream_new(session->pool, session);
    }
    if (stream == NULL) {
        h2_engine_reset(session, stream_id, H2_ERROR_REFUSED_STREAM);
        return;
    }
    stream->id = stream_id;
    stream->context = session->events->stream_opened(session->owner, stream);
    if (stream->context == NULL) {
        h2_stream_park(session->pool, stream);
        h2_engine_reset(session, stream_id, H2_ERROR_REFUSED_STREAM);
        return;
    }
    list_push_back(&session->streams, &stream->link);
    h2_engine_bind(session, stream_id, stream);
    session->current = stream;
}

void h2_inbound_block_begin(struct h2_session *session, int32_t stream_id, bool is_request)
{
    session->block_size = 0;
    session->block_fields = 0;
    session->block_is_too_large = false;
    session->block_is_informational = false;
    if (is_request && session->role == H2_ROLE_SERVER) {
        admit(session, stream_id);
    }
}

/* Counts a field against the limits. Returns whether it is to be passed on. */
static bool count_field(struct h2_session *session, const struct h2_field *field)
{
    const struct h2_options *options = &session->options;

    session->block_size += field->name.size + field->value.size + FIELD_OVERHEAD;
    session->block_fields++;
    if (session->block_size <= session->block_size_usual &&
        session->block_fields <= session->block_fields_usual) {
        return true;
    }
    /* Only the death of the session stops a bomb: after a stream error the rest would still be
     * decoded. */
    if (options->max_header_list_hard != 0 && session->block_size > options->max_header_list_hard) {
        h2_session_exceed(session, H2_EXCESS_HEADER_LIST);
    } else if (options->max_headers != 0 && session->block_fields > options->max_headers) {
        h2_session_exceed(session, H2_EXCESS_HEADERS);
    } else if (options->max_header_list != 0 && session->block_size > options->max_header_list) {
        session->block_is_too_large = true;
    }
    return !session->dead && !session->block_is_too_large;
}

/* What nghttp2 says of such messages when it checks them. */
#define MALFORMED_FIELD   "Invalid HTTP header field was received"
#define MALFORMED_MESSAGE "Violation in HTTP messaging rule"

/* Costs the stream, and the peer as much as other resets, but not the connection. */
static void refuse_message(struct h2_stream *stream, const char *problem)
{
    h2_session_set_problem(stream->session, problem, strlen(problem));
    stream->malformed = true;
    h2_stream_reset(stream, H2_ERROR_PROTOCOL);
}

static void note_priority(struct h2_stream *stream, struct bytes value)
{
    if (!stream->message.has_head && stream->session->role == H2_ROLE_SERVER) {
        stream->has_priority = h2_priority_parse(value, &stream->priority);
    }
}

static enum h2_verdict check_field(struct h2_stream *stream, const struct h2_field *field,
                                   const struct h2_meaning *meaning)
{
    enum h2_verdict verdict = h2_message_add(&stream->message, meaning);

    if (verdict == H2_VERDICT_REFUSE) {
        refuse_message(stream, MALFORMED_FIELD);
    } else if ((meaning->shows & H2_MARK_PRIORITY) != 0) {
        note_priority(stream, field->value);
    }
    return verdict;
}

static void pass_field(struct h2_session *session, const struct h2_stream *stream,
                       const struct h2_field *field)
{
    if (session->role == H2_ROLE_CLIENT && bytes_equal(field->name, BYTES_LITERAL(":status")) &&
        field->value.size == 3 && field->value.data[0] == '1') {
        session->block_is_informational = true;
    }
    if (!session->block_is_informational && session->events->field != NULL) {
        session->events->field(stream->context, field);
    }
}

bool h2_inbound_field(struct h2_session *session, int32_t stream_id, const struct h2_field *field,
                      const struct h2_meaning *meaning)
{
    struct h2_stream *stream = find_stream(session, stream_id);
    enum h2_verdict verdict = H2_VERDICT_KEEP;

    if (session->checks_messages && stream != NULL) {
        verdict = check_field(stream, field, meaning);
    }
    if (verdict == H2_VERDICT_REFUSE) {
        return false;
    }
    if (count_field(session, field) && verdict == H2_VERDICT_KEEP && stream != NULL &&
        stream->context != NULL) {
        pass_field(session, stream, field);
    }
    return true;
}

static bool check_block(struct h2_stream *stream, bool ended)
{
    if (!stream->session->checks_messages) {
        return true;
    }
    if (!h2_message_end_block(&stream->message, ended)) {
        refuse_message(stream, MALFORMED_MESSAGE);
        return false;
    }
    if (stream->has_priority) {
        stream->has_priority = false;
        h2_engine_prioritize(stream, &stream->priority);
    }
    return true;
}

void h2_inbound_block_end(struct h2_session *session, int32_t stream_id, bool ended)
{
    struct h2_stream *stream = find_stream(session, stream_id);
    bool trailers;

    if (stream == NULL || !check_block(stream, ended) || session->block_is_informational) {
        return;
    }
    trailers = stream->head_received;
    stream->head_received = true;
    stream->peer_ended = ended;
    if (stream->context == NULL) {
        return;
    }
    if (session->block_is_too_large) {
        if (session->events->fields_too_large != NULL) {
            session->events->fields_too_large(stream->context);
        }
    } else if (session->events->fields_complete != NULL) {
        session->events->fields_complete(stream->context, trailers, ended);
    }
}

void h2_inbound_data(struct h2_session *session, int32_t stream_id, struct bytes bytes)
{
    struct h2_stream *stream = find_stream(session, stream_id);

    if (stream == NULL || stream->malformed) {
        return;
    }
    if (session->checks_messages && !h2_message_add_body(&stream->message, bytes.size)) {
        refuse_message(stream, MALFORMED_MESSAGE);
    } else if (stream->context != NULL && session->events->data != NULL) {
        session->events->data(stream->context, bytes);
    } else {
        h2_stream_consume(stream, bytes.size);
    }
}

void h2_inbound_data_ended(struct h2_session *session, int32_t stream_id)
{
    struct h2_stream *stream = find_stream(session, stream_id);

    if (stream == NULL || stream->malformed) {
        return;
    }
    if (session->checks_messages && !h2_message_end_body(&stream->message)) {
        refuse_message(stream, MALFORMED_MESSAGE);
        return;
    }
    stream->peer_ended = true;
    if (stream->context != NULL && session->events->ended != NULL) {
        session->events->ended(stream->context);
    }
}

void h2_inbound_closed(struct h2_session *session, int32_t stream_id, uint32_t error)
{
    struct h2_stream *stream = find_stream(session, stream_id);

    session->current = NULL;
    if (stream == NULL) {
        return;
    }
    if (stream->malformed && error == H2_ERROR_NO_ERROR) {
        error =
            H2_ERROR_PROTOCOL; /* both sides have ended: the engine did not wait for our reset */
    }
    if (error == H2_ERROR_NO_ERROR && stream->end_sent && !stream->blamed) {
        h2_budget_earn_call(&session->budget);
    }
    if (stream->context != NULL && session->events->closed != NULL) {
        session->events->closed(stream->context, error);
    }
    h2_stream_park(session->pool, stream);
}

/* The log says how often they came and which option to look at (K12), the GOAWAY what clients look
 * for (K5). */
static void fail_for_pings(struct h2_session *session)
{
    char text[H2_PROBLEM_SIZE];

    (void)snprintf(text, sizeof(text),
                   "too many pings: the last came after %llu ms; see keepalive.min_ping_s%s",
                   (unsigned long long)(session->pings.gap_ns / CLOCK_NS_PER_MS),
                   list_is_empty(&session->streams) ? " and permit_without_calls" : "");
    h2_session_count(session, LIMITS_HIT_PING_STRIKES);
    session->goaway_text = "too_many_pings";
    h2_session_fail(session, H2_ERROR_ENHANCE_YOUR_CALM, text);
}

void h2_inbound_ping(struct h2_session *session)
{
    struct h2_stats *stats = session->options.stats;
    const uint32_t strikes = session->pings.strikes;
    bool is_too_many;

    if (session->role != H2_ROLE_SERVER) {
        return;
    }
    is_too_many = !h2_pings_take(&session->pings, &session->options.pings,
                                 !list_is_empty(&session->streams), session->now_ns);
    if (stats != NULL) {
        stats->pings_received++;
        stats->ping_strikes += session->pings.strikes > strikes;
    }
    if (is_too_many) {
        fail_for_pings(session);
    }
}

void h2_inbound_reset(struct h2_session *session)
{
    if (session->options.stats != NULL) {
        session->options.stats->resets_received++;
    }
}

void h2_inbound_refused(struct h2_session *session)
{
    enum h2_excess excess = h2_budget_charge_refusal(&session->budget, session->now_ns);

    if (excess != H2_EXCESS_NONE) {
        h2_session_exceed(session, excess);
    } else {
        h2_session_count(session, LIMITS_HIT_STREAMS);
    }
}

void h2_outbound_frame(struct h2_session *session, int32_t stream_id, bool is_data, size_t size,
                       bool ended)
{
    struct h2_stream *stream;
    bool is_request;

    h2_budget_earn_frame(&session->budget, is_data, size);
    h2_pings_clear(&session->pings);
    is_request = session->role == H2_ROLE_CLIENT && !is_data;
    stream = ended || is_request ? find_stream(session, stream_id) : NULL;
    if (stream == NULL) {
        return;
    }
    stream->head_sent = stream->head_sent || is_request;
    if (!ended) {
        return;
    }
    stream->end_sent = true;
    if (session->role == H2_ROLE_SERVER && !stream->peer_ended) {
        h2_stream_reset(stream, H2_ERROR_NO_ERROR); /* P21 */
    }
}

void h2_outbound_reset(struct h2_session *session, int32_t stream_id, uint32_t error)
{
    struct h2_stream *stream = find_stream(session, stream_id);
    enum h2_excess excess;

    if (session->options.stats != NULL) {
        session->options.stats->resets_sent++;
    }
    if (session->role != H2_ROLE_SERVER || error == H2_ERROR_NO_ERROR ||
        error == H2_ERROR_REFUSED_STREAM || (stream != NULL && stream->unblamed)) {
        return;
    }
    excess = h2_budget_charge_reset(&session->budget, session->now_ns);
    if (excess != H2_EXCESS_NONE) {
        h2_session_exceed(session, excess);
    }
}

void h2_outbound_goaway(struct h2_session *session, uint32_t error, struct bytes debug)
{
    /* One with an error that we did not ask for is the engine's verdict on the peer. */
    if (error == H2_ERROR_NO_ERROR || session->is_ending) {
        return;
    }
    session->dead = true;
    session->failure = error;
    if (bytes_equal(debug, BYTES_LITERAL(ENGINE_STREAMS_TEXT))) {
        h2_session_count(session, LIMITS_HIT_STREAMS);
    }
    if (debug.size > 0) {
        h2_session_set_problem(session, (const char *)debug.data, debug.size);
    } else if (session->problem[0] == '\0') {
        (void)snprintf(session->problem, sizeof(session->problem), "HTTP/2 error %u",
                       (unsigned)error);
    }
}
