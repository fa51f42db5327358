#include "http2/h2_session.h"

#include "http2/h2_inbound.h"
#include "http2/h2_stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/*
 * One session: what its owner may ask of it. The way of a request through it (server role):
 *
 *   1. feed: the budget walks the frame heads; the engine parses, and what it found becomes our
 *      events: stream_opened, field ..., fields_complete, data ..., ended.
 *   2. Inside or after these the owner answers: respond, write, end. The engine keeps the HEADERS;
 *      body bytes and trailers wait in the h2_stream.
 *   3. drain: the engine asks for body bytes, packs frames, we gather them. With the last body byte
 *      the trailers are handed over. When the last frame is out and the peer has not ended its
 *      side, RST_STREAM(NO_ERROR) follows (P21).
 *   4. The stream closes: `closed`, and the object is parked for the next request.
 *
 * What can go wrong:
 *   - The peer breaks the protocol: the engine queues a GOAWAY with the reason, and feed says
 *     -EPROTO once that was drained.
 *   - The peer exceeds a budget, or the engine gives up (and must not be touched any more): `dead`
 *     is set, what was drained stays valid, and a GOAWAY written by hand follows it.
 *   - Memory runs out in an event: the call concerned gets -ENOMEM; in the engine: as above.
 */

#define FEED_OUTPUT_MAX 65536

/* HEADERS=nghttp2 of the Makefile. */
#ifdef USERD_HEADERS_NGHTTP2
#define CHECKS_BUILT H2_CHECKS_ENGINE
#else
#define CHECKS_BUILT H2_CHECKS_OWN
#endif

int h2_session_new(enum h2_role role, const struct h2_options *options,
                   const struct h2_events *events, void *owner, uint64_t now_ns,
                   struct h2_session **ret_session)
{
    const struct h2_budget_limits limits = {
        .reset_burst = options->reset_burst,
        .reset_rate = options->reset_rate,
        .control_burst = options->control_burst,
        .control_rate = options->control_rate,
        .max_empty_frames = options->max_empty_frames,
        .max_streams = options->max_concurrent_streams,
    };
    struct h2_session *session = calloc(1, sizeof(*session));
    int error;

    if (session == NULL) {
        return -ENOMEM;
    }
    session->role = role;
    session->options = *options;
    session->events = events;
    session->owner = owner;
    session->now_ns = now_ns;
    session->checks_messages =
        (options->checks == H2_CHECKS_DEFAULT ? CHECKS_BUILT : options->checks) == H2_CHECKS_OWN;
    session->block_fields_usual = options->max_headers != 0 ? options->max_headers : UINT32_MAX;
    session->block_size_usual =
        options->max_header_list != 0 ? options->max_header_list : UINT32_MAX;
    if (options->max_header_list_hard != 0 &&
        options->max_header_list_hard < session->block_size_usual) {
        session->block_size_usual = options->max_header_list_hard;
    }
    list_init(&session->streams);
    h2_pool_init(&session->own_pool, 0);
    session->pool = options->pool != NULL ? options->pool : &session->own_pool;
    h2_budget_init(&session->budget, &limits, role == H2_ROLE_SERVER, now_ns);
    error = h2_engine_new(session);
    if (error != 0) {
        h2_session_free(session);
        return error;
    }
    *ret_session = session;
    return 0;
}

void h2_session_free(struct h2_session *session)
{
    if (session == NULL) {
        return;
    }
    assert(!session->is_inside);
    session->dead = true; /* answers given from inside `closed` go nowhere */
    while (!list_is_empty(&session->streams)) {
        struct h2_stream *stream = CONTAINER_OF(session->streams.next, struct h2_stream, link);

        if (stream->context != NULL && session->events->closed != NULL) {
            session->events->closed(stream->context, H2_ERROR_CANCEL);
        }
        h2_stream_park(session->pool, stream);
    }
    h2_engine_free(session);
    h2_pool_deinit(&session->own_pool);
    free(session);
}

/* What the budget lets pass goes to the engine: most of the time all of it at once. */
static void receive(struct h2_session *session, struct bytes bytes)
{
    while (bytes.size > 0 && !session->dead) {
        struct bytes pass;
        enum h2_excess excess = h2_budget_scan(&session->budget, &bytes, session->now_ns, &pass);

        if (excess != H2_EXCESS_NONE) {
            h2_session_exceed(session, excess);
        } else if (pass.size > 0) {
            h2_engine_receive(session, pass);
        }
    }
}

/* Pulls while the engine has something. Returns 0, -ENOMEM or -EPROTO. */
static int pull(struct h2_session *session, struct buf *output, size_t size_max)
{
    int error = h2_engine_pull(session, output, size_max);

    if (error == 0 && session->needs_goaway) {
        error = h2_session_append_goaway(session, output);
    }
    if (error != 0) {
        return error;
    }
    return session->dead ? -EPROTO : 0;
}

int h2_session_feed(struct h2_session *session, struct bytes bytes, uint64_t now_ns,
                    struct buf *output)
{
    int error;

    assert(bytes.size <= H2_FEED_MAX);
    assert(!session->is_inside);
    if (session->dead) {
        return -EPROTO;
    }
    session->now_ns = now_ns;
    session->is_inside = true;
    receive(session, bytes);
    error = pull(session, output, FEED_OUTPUT_MAX);
    session->is_inside = false;
    return error == 0 ? 0 : -EPROTO;
}

int h2_session_drain(struct h2_session *session, struct buf *output, size_t size_max)
{
    int error;

    assert(!session->is_inside);
    session->is_inside = true;
    error = pull(session, output, size_max);
    session->is_inside = false;
    return error;
}

bool h2_session_wants_drain(const struct h2_session *session)
{
    return session->dead ? session->needs_goaway : h2_engine_wants_write(session);
}

bool h2_session_is_over(const struct h2_session *session)
{
    return session->dead || (!h2_engine_wants_read(session) && !h2_engine_wants_write(session));
}

bool h2_session_has_settings(const struct h2_session *session)
{
    return session->has_settings;
}

bool h2_session_is_acknowledged(const struct h2_session *session)
{
    return session->is_acknowledged;
}

size_t h2_session_outq(const struct h2_session *session)
{
    return session->dead ? 0 : h2_engine_outq(session);
}

size_t h2_session_unsent_size(const struct h2_session *session)
{
    return session->unsent_size;
}

size_t h2_session_unsent_beside_longest(const struct h2_session *session)
{
    struct list *link;
    size_t longest = 0;

    for (link = session->streams.next; link != &session->streams; link = link->next) {
        size_t size = h2_stream_unsent_size(CONTAINER_OF(link, struct h2_stream, link));

        longest = size > longest ? size : longest;
    }
    return session->unsent_size - longest;
}

uint64_t h2_session_header_block_since_ns(const struct h2_session *session)
{
    return session->budget.block_since_ns;
}

const char *h2_session_problem(const struct h2_session *session)
{
    return session->problem;
}

uint32_t h2_session_failure(const struct h2_session *session)
{
    return session->failure;
}

uint32_t h2_session_peer_header_list_max(const struct h2_session *session)
{
    return session->dead ? UINT32_MAX : h2_engine_peer_header_list_max(session);
}

void h2_session_ping(struct h2_session *session)
{
    if (!session->dead) {
        h2_engine_ping(session);
    }
}

void h2_session_announce_end(struct h2_session *session)
{
    if (session->dead || session->role != H2_ROLE_SERVER) {
        return;
    }
    session->is_announcing = true;
    h2_engine_announce_end(session);
}

void h2_session_end(struct h2_session *session, uint32_t error, const char *debug)
{
    if (session->dead || session->is_ending) {
        return;
    }
    session->is_ending = true;
    h2_engine_end(session, error, bytes_from_text(debug != NULL ? debug : ""));
}

int h2_session_request(struct h2_session *session, const struct h2_field *fields, size_t count,
                       void *context, struct h2_stream **ret_stream)
{
    struct h2_stream *stream;
    int error;

    assert(session->role == H2_ROLE_CLIENT);
    assert(context != NULL);
    if (session->dead || session->is_ending) {
        return -EAGAIN;
    }
    stream = h2_stream_new(session->pool, session);
    if (stream == NULL) {
        return -ENOMEM;
    }
    error = h2_engine_request(stream, fields, count);
    if (error != 0) {
        h2_stream_park(session->pool, stream);
        return error;
    }
    stream->context = context;
    list_push_back(&session->streams, &stream->link);
    *ret_stream = stream;
    return 0;
}
