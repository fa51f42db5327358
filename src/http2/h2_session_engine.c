#include "http2/h2_inbound.h"
#include "http2/h2_stream.h"

#include <nghttp2/nghttp2.h>

#include <assert.h>
#include <errno.h>

/*
 * The engine is nghttp2, and only this file knows it: its callbacks tell h2_inbound.c what came and
 * went, and the orders of h2_inbound.h become calls of it.
 *
 * Flow control: connection credit goes back as soon as bytes arrive, whoever they are for, so that
 * nothing a handler forgets can starve its neighbours; stream credit goes back when the owner says
 * so.
 *
 * After one of its "fatal" errors nghttp2 must not be touched again: the session is dead.
 */

#define CLIENT_STREAMS_ASSUMED 100 /* until the server's SETTINGS come */
#define WINDOW_DEFAULT         65535

/* Opaque bytes of the PING that goes with the announcement of the end, and of all others. */
static const uint8_t end_ping[8] = {'u', 's', 'e', 'r', 'd', 'e', 'n', 'd'};
static const uint8_t life_ping[8] = {'u', 's', 'e', 'r', 'd', 'l', 'i', 'f'};

static void fail_by_engine(struct h2_session *session, int engine_error)
{
    switch (engine_error) {
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        h2_session_fail(session, H2_ERROR_PROTOCOL, "not an HTTP/2 preface");
        break;
    case NGHTTP2_ERR_FLOODED:
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
        h2_session_count(session, engine_error == NGHTTP2_ERR_FLOODED ? LIMITS_HIT_CONTROL
                                                                      : LIMITS_HIT_CONTINUATIONS);
        h2_session_fail(session, H2_ERROR_ENHANCE_YOUR_CALM, nghttp2_strerror(engine_error));
        break;
    default:
        h2_session_fail(session, H2_ERROR_INTERNAL, nghttp2_strerror(engine_error));
        break;
    }
}

static void check(struct h2_session *session, int engine_error)
{
    if (engine_error != 0) {
        h2_session_fail(session, H2_ERROR_INTERNAL, nghttp2_strerror(engine_error));
    }
}

/* What a callback returns: a fatal error ends the parsing at once. */
static int verdict(const struct h2_session *session)
{
    return session->dead ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static nghttp2_nv to_nv(const struct h2_field *field)
{
    nghttp2_nv nv = {
        /* nghttp2 does not write through these pointers. */
        .name = (uint8_t *)(uintptr_t)field->name.data,
        .value = (uint8_t *)(uintptr_t)field->value.data,
        .namelen = field->name.size,
        .valuelen = field->value.size,
        .flags = NGHTTP2_NV_FLAG_NONE,
    };

    if (field->sensitive) {
        nv.flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    }
    if (field->constant) {
        nv.flags |= NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    }
    return nv;
}

static int on_begin_headers(nghttp2_session *engine, const nghttp2_frame *frame, void *user_data)
{
    (void)engine;
    h2_inbound_block_begin(user_data, frame->hd.stream_id,
                           frame->headers.cat == NGHTTP2_HCAT_REQUEST);
    return verdict(user_data);
}

static void forget(struct h2_memo *memo, struct h2_memo_entry *entry)
{
    nghttp2_rcbuf_decref(entry->name_object);
    nghttp2_rcbuf_decref(entry->value_object);
    h2_memo_drop(memo, entry);
}

static void forget_all(struct h2_session *session)
{
    unsigned i;

    for (i = 0; session->memo != NULL && i < H2_MEMO_ENTRIES; i++) {
        if (session->memo->entries[i].name_object != NULL) {
            forget(session->memo, &session->memo->entries[i]);
        }
    }
    h2_pool_free(session->pool, session->memo);
    session->memo = NULL;
}

/* Keeps a field for the next time, if it is of a kind that comes again, and there is memory. */
static struct h2_memo_entry *remember(struct h2_session *session,
                                      const struct h2_memo_entry *content)
{
    struct h2_memo_entry *entry;

    if (session->memo == NULL) {
        session->memo = h2_pool_alloc_zeroed(session->pool, 1, sizeof(*session->memo));
        if (session->memo == NULL) {
            return NULL;
        }
    }
    while ((entry = h2_memo_make_room(session->memo, content->name.size + content->value.size)) !=
               NULL &&
           entry->name_object != NULL) {
        forget(session->memo, entry);
    }
    if (entry != NULL) {
        nghttp2_rcbuf_incref(content->name_object);
        nghttp2_rcbuf_incref(content->value_object);
        h2_memo_fill(session->memo, entry, content);
    }
    return entry;
}

/* `entry`: where it is remembered; NULL = nowhere. */
static int pass_field(struct h2_session *session, int32_t stream_id,
                      const struct h2_memo_entry *content, uint8_t flags,
                      struct h2_memo_entry *entry)
{
    const struct h2_field field = {
        .name = content->name,
        .value = content->value,
        .sensitive = (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0,
        .note = entry != NULL ? &entry->note : NULL,
    };

    if (!h2_inbound_field(session, stream_id, &field, &content->meaning)) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* the rest is decoded, and that is all */
    }
    return verdict(session);
}

static int take_new_field(struct h2_session *session, int32_t stream_id, nghttp2_rcbuf *name,
                          nghttp2_rcbuf *value, uint8_t flags)
{
    nghttp2_vec name_vec = nghttp2_rcbuf_get_buf(name);
    nghttp2_vec value_vec = nghttp2_rcbuf_get_buf(value);
    struct h2_memo_entry content = {.name_object = name,
                                    .value_object = value,
                                    .name = {name_vec.base, name_vec.len},
                                    .value = {value_vec.base, value_vec.len}};
    struct h2_memo_entry *entry = NULL;

    content.meaning =
        h2_field_meaning(session->role == H2_ROLE_CLIENT, content.name, content.value);
    if ((flags & NGHTTP2_NV_FLAG_NO_INDEX) == 0) {
        entry = remember(session, &content); /* a secret that comes anew each time is not kept */
    }
    return pass_field(session, stream_id, &content, flags, entry);
}

static int on_header(nghttp2_session *engine, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    struct h2_session *session = user_data;
    struct h2_memo_entry *entry =
        session->memo != NULL ? h2_memo_find(session->memo, name, value) : NULL;

    (void)engine;
    if (entry == NULL) {
        return take_new_field(session, frame->hd.stream_id, name, value, flags);
    }
    return pass_field(session, frame->hd.stream_id, entry, flags, entry);
}

static void ping_acknowledged(struct h2_session *session, const nghttp2_ping *ping)
{
    if (memcmp(ping->opaque_data, end_ping, sizeof(end_ping)) == 0 &&
        session->events->end_acknowledged != NULL) {
        session->events->end_acknowledged(session->owner);
    }
}

static void goaway_received(struct h2_session *session, const nghttp2_goaway *goaway)
{
    if (session->options.stats != NULL) {
        session->options.stats->goaways_received++;
    }
    if (session->events->goaway != NULL) {
        session->events->goaway(session->owner, (uint32_t)goaway->last_stream_id,
                                goaway->error_code,
                                (struct bytes){goaway->opaque_data, goaway->opaque_data_len});
    }
}

static int on_frame_recv(nghttp2_session *engine, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *session = user_data;
    /* The flag bit 1 is END_STREAM in some frames and ACK in the others. */
    bool ended = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    bool is_ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;

    (void)engine;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        h2_inbound_block_end(session, frame->hd.stream_id, ended);
        break;
    case NGHTTP2_DATA:
        if (ended) {
            h2_inbound_data_ended(session, frame->hd.stream_id);
        }
        break;
    case NGHTTP2_SETTINGS:
        session->has_settings = session->has_settings || !is_ack;
        session->is_acknowledged = session->is_acknowledged || is_ack;
        break;
    case NGHTTP2_PING:
        if (is_ack) {
            ping_acknowledged(session, &frame->ping);
        } else {
            h2_inbound_ping(session);
        }
        break;
    case NGHTTP2_GOAWAY:
        goaway_received(session, &frame->goaway);
        break;
    case NGHTTP2_RST_STREAM:
        h2_inbound_reset(session);
        break;
    default:
        break;
    }
    return verdict(session);
}

static int on_data_chunk(nghttp2_session *engine, uint8_t flags, int32_t stream_id,
                         const uint8_t *data, size_t size, void *user_data)
{
    struct h2_session *session = user_data;

    (void)flags;
    check(session, nghttp2_session_consume_connection(engine, size));
    h2_inbound_data(session, stream_id, (struct bytes){data, size});
    return verdict(session);
}

static int on_stream_close(nghttp2_session *engine, int32_t stream_id, uint32_t error,
                           void *user_data)
{
    (void)engine;
    h2_inbound_closed(user_data, stream_id, error);
    return verdict(user_data);
}

static int on_invalid_frame(nghttp2_session *engine, const nghttp2_frame *frame, int engine_error,
                            void *user_data)
{
    const char *text = nghttp2_strerror(engine_error);

    (void)engine;
    (void)frame;
    h2_session_set_problem(user_data, text, strlen(text));
    if (engine_error == NGHTTP2_ERR_REFUSED_STREAM) {
        h2_inbound_refused(user_data);
    }
    return verdict(user_data);
}

static int on_error(nghttp2_session *engine, int engine_error, const char *text, size_t size,
                    void *user_data)
{
    (void)engine;
    (void)engine_error;
    h2_session_set_problem(user_data, text, size);
    return 0;
}

/* Only now: nghttp2 lets every PING overtake what waits, and its acknowledgement must mean that the
 * peer has seen the GOAWAY (P28). */
static void follow_announcement(struct h2_session *session)
{
    if (session->is_announcing) {
        session->is_announcing = false;
        check(session, nghttp2_submit_ping(session->engine, NGHTTP2_FLAG_NONE, end_ping));
    }
}

static int on_frame_send(nghttp2_session *engine, const nghttp2_frame *frame, void *user_data)
{
    struct h2_session *session = user_data;

    (void)engine;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        h2_outbound_frame(session, frame->hd.stream_id, frame->hd.type == NGHTTP2_DATA,
                          frame->hd.length, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
        break;
    case NGHTTP2_RST_STREAM:
        h2_outbound_reset(session, frame->hd.stream_id, frame->rst_stream.error_code);
        break;
    case NGHTTP2_GOAWAY:
        h2_outbound_goaway(
            session, frame->goaway.error_code,
            (struct bytes){frame->goaway.opaque_data, frame->goaway.opaque_data_len});
        follow_announcement(session);
        return 0; /* even when it is the end: the frame itself must get out */
    default:
        break;
    }
    return verdict(session);
}

/* A head that nghttp2 will not send, because it is larger than it allows, would leave the peer
 * waiting. */
static int on_frame_not_send(nghttp2_session *engine, const nghttp2_frame *frame, int engine_error,
                             void *user_data)
{
    (void)user_data;
    if (frame->hd.type == NGHTTP2_HEADERS && engine_error == NGHTTP2_ERR_FRAME_SIZE_ERROR) {
        (void)nghttp2_submit_rst_stream(engine, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_INTERNAL_ERROR);
    }
    return 0;
}

static int submit_trailers(struct h2_stream *stream)
{
    nghttp2_nv nv[H2_TRAILERS_MAX];
    unsigned i;

    for (i = 0; i < stream->trailer_count; i++) {
        nv[i] = to_nv(&stream->trailers[i]);
    }
    return nghttp2_submit_trailer(stream->session->engine, stream->id, nv, stream->trailer_count);
}

/* The owner may write more before nghttp2 is told that there is nothing. */
static void tell_writable(struct h2_session *session, struct h2_stream *stream)
{
    if (buf_size(&stream->out) == 0 && stream->has_written && !stream->ended) {
        stream->has_written = false;
        if (stream->context != NULL && session->events->writable != NULL) {
            session->events->writable(stream->context);
        }
    }
}

/* nghttp2 has room for body bytes of a stream. */
/* NOLINTNEXTLINE(readability-function-size): nghttp2 prescribes the seven parameters. */
static ssize_t on_body_read(nghttp2_session *engine, int32_t stream_id, uint8_t *room,
                            size_t room_size, uint32_t *data_flags, nghttp2_data_source *source,
                            void *user_data)
{
    struct h2_stream *stream = source->ptr;
    size_t size;

    (void)engine;
    (void)stream_id;
    tell_writable(user_data, stream);
    size = buf_size(&stream->out) < room_size ? buf_size(&stream->out) : room_size;
    if (size > 0) {
        memcpy(room, buf_bytes(&stream->out).data, size);
        buf_consume(&stream->out, size);
        stream->session->unsent_size -= size;
        stream->session->pool->unsent_bytes -= size;
    }
    if (buf_size(&stream->out) > 0 && !stream->shares && stream->session->role == H2_ROLE_SERVER) {
        stream->session->greedy = stream;
    }
    if (buf_size(&stream->out) == 0 && stream->ended) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
        if (stream->trailer_count > 0) {
            *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (submit_trailers(stream) != 0) {
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* becomes a reset */
            }
        }
        return (ssize_t)size;
    }
    if (size == 0) {
        buf_deinit(&stream->out); /* it may be long until there is more, and there may be many */
        stream->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)size;
}

static void *engine_malloc(size_t size, void *pool)
{
    return h2_pool_alloc(pool, size);
}

static void engine_free(void *memory, void *pool)
{
    h2_pool_free(pool, memory);
}

static void *engine_calloc(size_t count, size_t size, void *pool)
{
    return h2_pool_alloc_zeroed(pool, count, size);
}

static void *engine_realloc(void *memory, size_t size, void *pool)
{
    return h2_pool_realloc(pool, memory, size);
}

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
}

static void set_engine_options(nghttp2_option *engine_options, const struct h2_session *session)
{
    const struct h2_options *options = &session->options;

    nghttp2_option_set_no_http_messaging(engine_options, session->checks_messages);
    nghttp2_option_set_no_auto_window_update(engine_options, 1);
    nghttp2_option_set_no_closed_streams(engine_options, 1);
    /* Blanks around a value are legal in HTTP and must not fail a call (P9); grpc_metadata strips
     * them. */
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(engine_options, 1);
    nghttp2_option_set_peer_max_concurrent_streams(engine_options, CLIENT_STREAMS_ASSUMED);
    /* Ours is the limit: nghttp2's knows no credit for calls that end well, and would end a busy
     * connection with a normal share of cancelled calls. */
    nghttp2_option_set_stream_reset_rate_limit(engine_options, UINT32_MAX, UINT32_MAX);
    if (options->max_continuations != 0) {
        nghttp2_option_set_max_continuations(engine_options, options->max_continuations);
    }
}

static int make_session(struct h2_session *session)
{
    nghttp2_mem mem = {session->pool, engine_malloc, engine_free, engine_calloc, engine_realloc};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *engine_options = NULL;
    int error = NGHTTP2_ERR_NOMEM;

    if (nghttp2_session_callbacks_new(&callbacks) == 0 &&
        nghttp2_option_new(&engine_options) == 0) {
        set_callbacks(callbacks);
        set_engine_options(engine_options, session);
        error = session->role == H2_ROLE_SERVER
                    ? nghttp2_session_server_new3(&session->engine, callbacks, session,
                                                  engine_options, &mem)
                    : nghttp2_session_client_new3(&session->engine, callbacks, session,
                                                  engine_options, &mem);
    }
    nghttp2_option_del(engine_options);
    nghttp2_session_callbacks_del(callbacks);
    return error == 0 ? 0 : -ENOMEM;
}

static int submit_settings(struct h2_session *session)
{
    const struct h2_options *options = &session->options;
    nghttp2_settings_entry entries[6];
    size_t count = 0;

    /* Must be in the first SETTINGS or nowhere (RFC 9218 section 2.1). */
    entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
    if (session->role == H2_ROLE_CLIENT) {
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    } else if (options->max_concurrent_streams != 0) {
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                                    options->max_concurrent_streams};
    }
    if (options->stream_window != 0) {
        entries[count++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options->stream_window};
    }
    if (options->max_frame_size != 0) {
        entries[count++] =
            (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_FRAME_SIZE, options->max_frame_size};
    }
    if (options->max_header_list != 0) {
        entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
                                                    options->max_header_list};
    }
    if (nghttp2_submit_settings(session->engine, NGHTTP2_FLAG_NONE, entries, count) != 0) {
        return -ENOMEM;
    }
    if (options->connection_window > WINDOW_DEFAULT &&
        nghttp2_session_set_local_window_size(session->engine, NGHTTP2_FLAG_NONE, 0,
                                              (int32_t)options->connection_window) != 0) {
        return -ENOMEM;
    }
    return 0;
}

int h2_engine_new(struct h2_session *session)
{
    int error = make_session(session);

    return error == 0 ? submit_settings(session) : error;
}

void h2_engine_free(struct h2_session *session)
{
    forget_all(session);
    nghttp2_session_del(session->engine);
}

/* By default nghttp2 sends answer after answer, so that a long one keeps all others waiting. One
 * that fills more than a frame takes turns from then on, whatever its client asked for (X17). Not
 * from inside nghttp2's callback. */
static void share(struct h2_session *session)
{
    const nghttp2_extpri priority = {.urgency = NGHTTP2_EXTPRI_DEFAULT_URGENCY, .inc = 1};
    struct h2_stream *stream = session->greedy;

    session->greedy = NULL;
    stream->shares = true;
    check(session,
          nghttp2_session_change_extpri_stream_priority(session->engine, stream->id, &priority, 1));
}

int h2_engine_pull(struct h2_session *session, struct buf *output, size_t size_max)
{
    while (!session->dead && buf_size(output) < size_max) {
        const uint8_t *data;
        ssize_t size = nghttp2_session_mem_send(session->engine, &data);

        if (size < 0) {
            fail_by_engine(session, (int)size);
            break;
        }
        if (size == 0) {
            break;
        }
        if (session->greedy != NULL) {
            share(session);
        }
        if (buf_append(output, data, (size_t)size) != 0) {
            return -ENOMEM;
        }
    }
    return 0;
}

void h2_engine_receive(struct h2_session *session, struct bytes bytes)
{
    ssize_t taken = nghttp2_session_mem_recv(session->engine, bytes.data, bytes.size);

    if (taken < 0) {
        fail_by_engine(session, (int)taken);
    }
}

bool h2_engine_wants_read(const struct h2_session *session)
{
    return nghttp2_session_want_read(session->engine) != 0;
}

bool h2_engine_wants_write(const struct h2_session *session)
{
    return nghttp2_session_want_write(session->engine) != 0;
}

size_t h2_engine_outq(const struct h2_session *session)
{
    return nghttp2_session_get_outbound_queue_size(session->engine);
}

uint32_t h2_engine_peer_header_list_max(const struct h2_session *session)
{
    return nghttp2_session_get_remote_settings(session->engine,
                                               NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
}

void h2_engine_ping(struct h2_session *session)
{
    check(session, nghttp2_submit_ping(session->engine, NGHTTP2_FLAG_NONE, life_ping));
}

void h2_engine_announce_end(struct h2_session *session)
{
    check(session, nghttp2_submit_shutdown_notice(session->engine));
}

void h2_engine_end(struct h2_session *session, uint32_t error, struct bytes debug)
{
    check(session, nghttp2_submit_goaway(session->engine, NGHTTP2_FLAG_NONE,
                                         nghttp2_session_get_last_proc_stream_id(session->engine),
                                         error, debug.data, debug.size));
}

int h2_engine_request(struct h2_stream *stream, const struct h2_field *fields, size_t count)
{
    struct nghttp2_session *engine = stream->session->engine;
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_body_read};
    nghttp2_nv nv[H2_FIELDS_MAX];
    size_t i;

    assert(count <= H2_FIELDS_MAX);
    if (nghttp2_session_check_request_allowed(engine) == 0) {
        return -EAGAIN;
    }
    for (i = 0; i < count; i++) {
        nv[i] = to_nv(&fields[i]);
    }
    stream->id = nghttp2_submit_request(engine, NULL, nv, count, &provider, stream);
    if (stream->id < 0) {
        return stream->id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
    }
    return 0;
}

struct h2_stream *h2_engine_find(struct h2_session *session, int32_t stream_id)
{
    return nghttp2_session_get_stream_user_data(session->engine, stream_id);
}

void h2_engine_bind(struct h2_session *session, int32_t stream_id, struct h2_stream *stream)
{
    int error = nghttp2_session_set_stream_user_data(session->engine, stream_id, stream);

    assert(error == 0); /* it is the stream whose HEADERS have just begun */
}

int h2_engine_respond(struct h2_stream *stream, const struct h2_field *fields, size_t count,
                      bool with_body)
{
    nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_body_read};
    nghttp2_nv nv[H2_FIELDS_MAX];
    size_t i;

    assert(count <= H2_FIELDS_MAX);
    for (i = 0; i < count; i++) {
        nv[i] = to_nv(&fields[i]);
    }
    return nghttp2_submit_response(stream->session->engine, stream->id, nv, count,
                                   with_body ? &provider : NULL) == 0
               ? 0
               : -ENOMEM;
}

void h2_engine_prioritize(struct h2_stream *stream, const struct h2_priority *priority)
{
    const nghttp2_extpri wish = {.urgency = priority->urgency, .inc = priority->incremental};

    check(stream->session, nghttp2_session_change_extpri_stream_priority(stream->session->engine,
                                                                         stream->id, &wish, 0));
}

void h2_engine_resume(struct h2_stream *stream)
{
    int error = nghttp2_session_resume_data(stream->session->engine, stream->id);

    /* A stream that is being reset has nothing to resume. */
    check(stream->session, error == NGHTTP2_ERR_INVALID_ARGUMENT ? 0 : error);
}

void h2_engine_consume(struct h2_stream *stream, size_t size)
{
    check(stream->session,
          nghttp2_session_consume_stream(stream->session->engine, stream->id, size));
}

void h2_engine_reset(struct h2_session *session, int32_t stream_id, uint32_t error)
{
    check(session, nghttp2_submit_rst_stream(session->engine, NGHTTP2_FLAG_NONE, stream_id, error));
}
