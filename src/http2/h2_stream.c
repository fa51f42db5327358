#include "http2/h2_stream.h"

#include "http2/h2_inbound.h"

#include <assert.h>
#include <errno.h>

/*
 * What the owner writes waits here until the engine asks for it; heads go to the engine at once,
 * trailers follow the last body byte. On a session that has failed and a stream that was reset,
 * everything written is dropped: `closed` is on its way.
 *
 * Streams come and go with every request, and their buffers cost more to make than the object
 * itself, so a finished stream is parked whole. How many are parked, and the memory each keeps, is
 * bounded.
 */

#define PARKED_MAX     1024
#define KEPT_BYTES_MAX 16384

struct h2_stream *h2_stream_new(struct h2_pool *pool, struct h2_session *session)
{
    struct list *parked = list_pop_front(&pool->parked_streams);
    struct h2_stream *stream;

    if (parked != NULL) {
        pool->parked_count--;
        stream = CONTAINER_OF(parked, struct h2_stream, link);
    } else {
        stream = h2_pool_alloc_zeroed(pool, 1, sizeof(*stream));
        if (stream == NULL) {
            return NULL;
        }
        list_init(&stream->link);
    }
    stream->session = session;
    h2_message_init(&stream->message, session->role == H2_ROLE_CLIENT);
    stream->priority = H2_PRIORITY_DEFAULT;
    stream->out.is_secret = session->role == H2_ROLE_CLIENT; /* a request may hold a password */
    pool->stream_count++;
    return stream;
}

static void reset_buf(struct buf *buf)
{
    if (buf->capacity > KEPT_BYTES_MAX) {
        buf_deinit(buf);
    }
    buf_clear(buf);
}

static void stream_free(struct h2_pool *pool, struct h2_stream *stream)
{
    buf_deinit(&stream->out);
    buf_deinit(&stream->trailer_texts);
    h2_pool_free(pool, stream);
}

/* What was not pulled will never be. */
static void drop_unsent(struct h2_stream *stream)
{
    stream->session->unsent_size -= buf_size(&stream->out);
    stream->session->pool->unsent_bytes -= buf_size(&stream->out);
    buf_clear(&stream->out);
}

void h2_stream_park(struct h2_pool *pool, struct h2_stream *stream)
{
    list_remove(&stream->link);
    drop_unsent(stream);
    pool->stream_count--;
    if (pool->parked_count == PARKED_MAX) {
        stream_free(pool, stream);
        return;
    }
    reset_buf(&stream->out);
    reset_buf(&stream->trailer_texts);
    stream->session = NULL;
    stream->context = NULL;
    stream->id = 0;
    stream->head_received = false;
    stream->head_sent = false;
    stream->peer_ended = false;
    stream->ended = false;
    stream->end_sent = false;
    stream->has_written = false;
    stream->deferred = false;
    stream->reset = false;
    stream->unblamed = false;
    stream->blamed = false;
    stream->shares = false;
    stream->malformed = false;
    stream->has_priority = false;
    stream->trailer_count = 0;
    /* Before the first one: the last parked is the warmest in the caches. */
    list_push_back(pool->parked_streams.next, &stream->link);
    pool->parked_count++;
}

void h2_stream_free_parked(struct h2_pool *pool)
{
    struct list *parked;

    while ((parked = list_pop_front(&pool->parked_streams)) != NULL) {
        stream_free(pool, CONTAINER_OF(parked, struct h2_stream, link));
    }
    pool->parked_count = 0;
}

/* Appends to memory that was reserved: cannot fail, and nothing moves. */
static struct bytes keep_text(struct buf *texts, struct bytes text)
{
    struct bytes kept = {texts->data + texts->end, text.size};

    if (text.size > 0) {
        memcpy(texts->data + texts->end, text.data, text.size);
        buf_commit(texts, text.size);
    }
    return kept;
}

int h2_stream_set_trailers(struct h2_stream *stream, const struct h2_field *trailers, size_t count)
{
    size_t size = 0;
    size_t i;

    assert(count <= H2_TRAILERS_MAX);
    for (i = 0; i < count; i++) {
        size += trailers[i].constant ? 0 : trailers[i].name.size + trailers[i].value.size;
    }
    if (size > 0 && buf_reserve(&stream->trailer_texts, size) == NULL) {
        return -ENOMEM;
    }
    for (i = 0; i < count; i++) {
        stream->trailers[i] = trailers[i];
        if (!trailers[i].constant) {
            stream->trailers[i].name = keep_text(&stream->trailer_texts, trailers[i].name);
            stream->trailers[i].value = keep_text(&stream->trailer_texts, trailers[i].value);
        }
    }
    stream->trailer_count = (unsigned)count;
    return 0;
}

int32_t h2_stream_id(const struct h2_stream *stream)
{
    return stream->id;
}

struct h2_session *h2_stream_session(const struct h2_stream *stream)
{
    return stream->session;
}

size_t h2_stream_unsent_size(const struct h2_stream *stream)
{
    return buf_size(&stream->out);
}

bool h2_stream_was_sent(const struct h2_stream *stream)
{
    return stream->head_sent;
}

static bool is_gone(const struct h2_stream *stream)
{
    return stream->session->dead || stream->reset;
}

/* The engine gave up asking when there was nothing; now there is. */
static void wake(struct h2_stream *stream)
{
    if (stream->deferred) {
        stream->deferred = false;
        h2_engine_resume(stream);
    }
}

int h2_stream_respond(struct h2_stream *stream, const struct h2_field *fields, size_t count,
                      bool ended)
{
    int error;

    assert(stream->session->role == H2_ROLE_SERVER);
    if (is_gone(stream)) {
        return 0;
    }
    error = h2_engine_respond(stream, fields, count, !ended);
    if (error == 0) {
        stream->ended = ended;
    }
    return error;
}

int h2_stream_write(struct h2_stream *stream, const struct bytes *parts, size_t count)
{
    size_t size = 0;
    size_t i;

    assert(!stream->ended);
    if (is_gone(stream)) {
        return 0;
    }
    for (i = 0; i < count; i++) {
        size += parts[i].size;
    }
    if (buf_reserve(&stream->out, size) == NULL) {
        return -ENOMEM;
    }
    for (i = 0; i < count; i++) {
        (void)buf_append(&stream->out, parts[i].data, parts[i].size); /* there is room */
    }
    stream->session->unsent_size += size;
    stream->session->pool->unsent_bytes += size;
    stream->has_written = true;
    wake(stream);
    return 0;
}

int h2_stream_end(struct h2_stream *stream, const struct h2_field *trailers, size_t count)
{
    int error;

    assert(!stream->ended);
    if (is_gone(stream)) {
        return 0;
    }
    error = h2_stream_set_trailers(stream, trailers, count);
    if (error == 0) {
        stream->ended = true;
        wake(stream);
    }
    return error;
}

void h2_stream_consume(struct h2_stream *stream, size_t size)
{
    if (size > 0 && !is_gone(stream)) {
        h2_engine_consume(stream, size);
    }
}

void h2_stream_reset(struct h2_stream *stream, uint32_t error)
{
    bool follows_by_itself = error == H2_ERROR_NO_ERROR && stream->ended && !stream->end_sent &&
                             stream->session->role == H2_ROLE_SERVER;

    if (!is_gone(stream) && !follows_by_itself) {
        stream->reset = true;
        drop_unsent(stream);
        h2_engine_reset(stream->session, stream->id, error);
    }
}

void h2_stream_reset_unblamed(struct h2_stream *stream, uint32_t error)
{
    stream->unblamed = true;
    h2_stream_reset(stream, error);
}

void h2_stream_blame(struct h2_stream *stream)
{
    struct h2_session *session = stream->session;
    enum h2_excess excess = h2_budget_charge_bad_head(&session->budget, session->now_ns);

    stream->blamed = true;
    if (excess != H2_EXCESS_NONE) {
        h2_session_exceed(session, excess);
    }
}

void h2_stream_excuse(struct h2_stream *stream)
{
    if (!stream->reset) {
        h2_budget_earn_call(&stream->session->budget);
    }
}

void h2_stream_forget(struct h2_stream *stream)
{
    stream->context = NULL;
}
