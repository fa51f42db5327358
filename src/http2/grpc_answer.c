#include "http2/grpc_answer.h"

#include "http2/grpc_frame.h"
#include "http2/grpc_metadata.h"

#include <assert.h>
#include <stdio.h>

#define MESSAGE_ENCODED_MAX 1024  /* grpc-message with its NUL */
#define LIST_SIZE_MAX       16384 /* when the client names no limit: what most clients take */
#define FIELD_OVERHEAD      32    /* RFC 9113 section 6.5.2 */
#define PUSHBACK_MS_MAX     INT32_MAX
#define PARTS_MAX           8 /* of a message that need no gathering */

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (const uint8_t *)("" literal), sizeof(literal) - 1                                         \
    }

static const struct h2_field field_content_type = {
    .name = TEXT("content-type"), .value = TEXT("application/grpc"), .constant = true};

/* "0" to "16", so that a status needs no copy. */
static const struct bytes status_texts[GRPC_STATUS_COUNT] = {
    TEXT("0"),  TEXT("1"),  TEXT("2"),  TEXT("3"),  TEXT("4"),  TEXT("5"),
    TEXT("6"),  TEXT("7"),  TEXT("8"),  TEXT("9"),  TEXT("10"), TEXT("11"),
    TEXT("12"), TEXT("13"), TEXT("14"), TEXT("15"), TEXT("16"),
};

static struct bytes http_status_text(int http_status)
{
    switch (http_status) {
    case 200:
        return BYTES_LITERAL("200");
    case 405:
        return BYTES_LITERAL("405");
    case 415:
        return BYTES_LITERAL("415");
    default:
        assert(http_status == 400);
        return BYTES_LITERAL("400");
    }
}

static struct h2_field status_field(enum grpc_status status)
{
    return (struct h2_field){
        .name = BYTES_LITERAL("grpc-status"), .value = status_texts[status], .constant = true};
}

/* One write with the five bytes in front, so that there is never half of it. */
int grpc_answer_write(struct h2_stream *stream, const struct bytes *parts, size_t count,
                      bool compressed)
{
    uint8_t head[GRPC_FRAME_HEAD_SIZE];
    struct bytes all[1 + PARTS_MAX] = {{head, sizeof(head)}};
    struct buf gathered = {0};
    size_t size = 0;
    int error = 0;
    size_t i;

    for (i = 0; i < count; i++) {
        size += parts[i].size;
        if (i < PARTS_MAX) {
            all[1 + i] = parts[i];
        }
    }
    assert(size <= UINT32_MAX);
    grpc_frame_encode_head(head, compressed, (uint32_t)size);
    if (count <= PARTS_MAX) {
        return h2_stream_write(stream, all, 1 + count);
    }
    for (i = 0; i < count && error == 0; i++) {
        error = buf_append(&gathered, parts[i].data, parts[i].size);
    }
    all[1] = buf_bytes(&gathered);
    if (error == 0) {
        error = h2_stream_write(stream, all, 2);
    }
    buf_deinit(&gathered);
    return error;
}

int grpc_answer_message(struct h2_stream *stream, const struct bytes *parts, size_t count)
{
    const struct h2_field fields[] = {
        {.name = BYTES_LITERAL(":status"), .value = http_status_text(200), .constant = true},
        field_content_type,
    };
    const struct h2_field trailer = status_field(GRPC_STATUS_OK);
    int error = h2_stream_respond(stream, fields, 2, false);

    if (error == 0) {
        error = grpc_answer_write(stream, parts, count, false);
    }
    return error == 0 ? h2_stream_end(stream, &trailer, 1) : error;
}

/* The fields of an answer as they gather, and the room that is left for more. */
struct answer_block {
    struct h2_field fields[7 + GRPC_ANSWER_CUSTOM_MAX];
    size_t count;
    size_t count_max;
    size_t room; /* of the client's header list limit */
};

static void block_init(struct answer_block *block, struct h2_stream *stream, size_t count_max)
{
    const size_t table = sizeof(block->fields) / sizeof(block->fields[0]);
    uint32_t limit = h2_session_peer_header_list_max(h2_stream_session(stream));

    block->count = 0;
    block->count_max = count_max < table ? count_max : table;
    block->room = limit < LIST_SIZE_MAX ? limit : LIST_SIZE_MAX;
}

static size_t listed_size(const struct h2_field *field)
{
    return field->name.size + field->value.size + FIELD_OVERHEAD;
}

/* Adds a field without which it would be no answer. */
static void add_required(struct answer_block *block, struct h2_field field)
{
    size_t size = listed_size(&field);

    block->fields[block->count++] = field;
    block->room -= size < block->room ? size : block->room;
}

/* Adds the field when there is room for it. */
static void add_field(struct answer_block *block, struct h2_field field)
{
    size_t size = listed_size(&field);

    if (size <= block->room && block->count < block->count_max) {
        block->fields[block->count++] = field;
        block->room -= size;
    }
}

/* Adds the message, as much of it as fits. */
static void add_message(struct answer_block *block, struct arena *arena, const char *message)
{
    struct h2_field field = {.name = BYTES_LITERAL("grpc-message")};
    size_t overhead = listed_size(&field);
    size_t room;
    char *text;

    if (message == NULL || message[0] == '\0' || block->room <= overhead ||
        block->count == block->count_max) {
        return;
    }
    room = block->room - overhead + 1; /* with the NUL that is not sent */
    room = room < MESSAGE_ENCODED_MAX ? room : MESSAGE_ENCODED_MAX;
    text = arena_alloc(arena, room);
    if (text != NULL) {
        field.value = (struct bytes){
            (const uint8_t *)text,
            grpc_status_encode_message(bytes_from_text(message), text, room),
        };
        add_field(block, field);
    }
}

/* Adds grpc-status-details-bin (E1), if it fits. */
static void add_details(struct answer_block *block, struct arena *arena,
                        const struct grpc_error *error)
{
    struct h2_field field = {.name = BYTES_LITERAL("grpc-status-details-bin")};
    struct buf encoded = {0};
    char *text = NULL;

    if (grpc_error_encode(error, &encoded) == 0 && buf_size(&encoded) <= block->room) {
        text = arena_alloc(arena, (buf_size(&encoded) + 2) / 3 * 4 + 1);
    }
    if (text != NULL) {
        field.value =
            (struct bytes){(const uint8_t *)text, grpc_base64_encode(buf_bytes(&encoded), text)};
        add_field(block, field);
    }
    buf_deinit(&encoded);
}

/* Adds grpc-retry-pushback-ms (E4). */
static void add_pushback(struct answer_block *block, struct arena *arena, int64_t delay_ms)
{
    struct h2_field field = {.name = BYTES_LITERAL("grpc-retry-pushback-ms")};
    char *text;

    if (delay_ms <= 0) {
        return;
    }
    text = arena_alloc(arena, sizeof("2147483647"));
    if (text != NULL) {
        (void)snprintf(text, sizeof("2147483647"), "%d",
                       (int)(delay_ms < PUSHBACK_MS_MAX ? delay_ms : PUSHBACK_MS_MAX));
        field.value = bytes_from_text(text);
        add_field(block, field);
    }
}

static void add_custom(struct answer_block *block, const struct h2_field *fields, size_t count)
{
    size_t i;

    assert(count <= GRPC_ANSWER_CUSTOM_MAX);
    for (i = 0; i < count; i++) {
        add_field(block, fields[i]);
    }
}

static void add_head(struct answer_block *block, int http_status)
{
    add_required(block, (struct h2_field){.name = BYTES_LITERAL(":status"),
                                          .value = http_status_text(http_status),
                                          .constant = true});
    add_required(block, field_content_type);
}

static void add_constant(struct answer_block *block, const char *name, const char *value)
{
    add_field(block, (struct h2_field){.name = bytes_from_text(name),
                                       .value = bytes_from_text(value),
                                       .constant = true});
}

int grpc_answer_head(struct h2_stream *stream, const struct grpc_answer_head *head)
{
    struct answer_block block;

    block_init(&block, stream, H2_FIELDS_MAX);
    add_head(&block, 200);
    if (head->gzip) {
        add_constant(&block, "grpc-encoding", "gzip");
    }
    if (head->discloses) {
        add_constant(&block, "grpc-accept-encoding", "identity,gzip");
    }
    add_custom(&block, head->fields, head->field_count);
    return h2_stream_respond(stream, block.fields, block.count, false);
}

/* What follows the status, in the order of what a client can do without least. */
static void add_rest(struct answer_block *block, struct arena *arena,
                     const struct grpc_answer *answer)
{
    const struct grpc_error *error = answer->error;

    if (error != NULL) {
        add_message(block, arena, error->message);
        add_pushback(block, arena, error->retry_delay_ms);
    }
    add_custom(block, answer->trailers, answer->trailer_count);
    if (error != NULL) {
        add_details(block, arena, error);
    }
}

int grpc_answer_end(struct h2_stream *stream, struct arena *arena, const struct grpc_answer *answer)
{
    struct answer_block block;

    block_init(&block, stream, H2_TRAILERS_MAX);
    add_required(&block,
                 status_field(answer->error == NULL ? GRPC_STATUS_OK : answer->error->status));
    add_rest(&block, arena, answer);
    return h2_stream_end(stream, block.fields, block.count);
}

int grpc_answer_error(struct h2_stream *stream, struct arena *arena,
                      const struct grpc_answer *answer)
{
    struct answer_block block;

    block_init(&block, stream, H2_FIELDS_MAX);
    add_head(&block, answer->http_status);
    add_required(&block, status_field(answer->error->status));
    if (answer->extra_name != NULL) {
        add_constant(&block, answer->extra_name, answer->extra_value);
    }
    add_rest(&block, arena, answer);
    return h2_stream_respond(stream, block.fields, block.count, true);
}
