#include "service/reflection_answer.h"

#include "http2/grpc_status.h"
#include "http2/proto_wire.h"

#include <errno.h>
#include <stdio.h>

/*
 * An answer is the host and the request, as they came, and one of four messages. The files among
 * them are copied from the set of descriptors: there each stands as field 1 with key and length,
 * which is what a FileDescriptorResponse is made of, too.
 *
 * A file that is asked for is always sent, even twice on one stream; of what it imports only what
 * was not.
 */

/* The messages of grpc/reflection/v1/reflection.proto, by field number. */
enum {
    REQUEST_HOST = 1,
    REQUEST_FILE = 3, /* from here on only one of them is set: the last one */
    REQUEST_SYMBOL = 4,
    REQUEST_EXTENSION = 5,
    REQUEST_EXTENSION_NUMBERS = 6,
    REQUEST_LIST = 7,
};

enum {
    EXTENSION_TYPE = 1,
    EXTENSION_NUMBER = 2,
};

enum {
    RESPONSE_HOST = 1,
    RESPONSE_REQUEST = 2,
    RESPONSE_FILES = 4,
    RESPONSE_EXTENSION_NUMBERS = 5,
    RESPONSE_SERVICES = 6,
    RESPONSE_ERROR = 7,
};

enum {
    NUMBERS_TYPE = 1,
    NUMBERS_NUMBER = 2,
};

enum {
    ERROR_CODE = 1,
    ERROR_MESSAGE = 2,
};

#define SERVICES_SERVICE 1
#define SERVICE_NAME     1

#define FIELD(number) (1ULL << (number))

struct request {
    uint32_t kind; /* REQUEST_FILE and so on; 0 = nothing was asked */
    struct bytes host;
    struct bytes text; /* of all kinds but an extension */
    struct bytes type; /* of an extension */
    int32_t number;
};

/* ---- reading ---- */

/* Of a field that stands twice the last counts, but messages are merged. It was scanned before: it
 * is well formed. */
static void read_extension(struct bytes message, struct request *request)
{
    struct proto_wire_field field;

    while (proto_wire_read(&message, &field) == 0) {
        if (field.number == EXTENSION_TYPE && field.type == PROTO_WIRE_BYTES) {
            request->type = field.bytes;
        } else if (field.number == EXTENSION_NUMBER && field.type == PROTO_WIRE_VARINT) {
            request->number = (int32_t)(uint32_t)field.value;
        }
    }
}

static void read_kind(const struct proto_wire_field *field, struct request *request)
{
    if (field->number != request->kind) { /* another one is no longer set */
        request->text = (struct bytes){0};
        request->type = (struct bytes){0};
        request->number = 0;
        request->kind = field->number;
    }
    if (field->number == REQUEST_EXTENSION) {
        read_extension(field->bytes, request);
    } else {
        request->text = field->bytes;
    }
}

static int scan(struct bytes message, uint32_t max_fields)
{
    static const struct proto_wire_shape extension = {
        .number_max = 2,
        .strings = FIELD(EXTENSION_TYPE),
    };
    static const struct proto_wire_shape shape = {
        .number_max = 7,
        .strings = FIELD(REQUEST_HOST) | FIELD(REQUEST_FILE) | FIELD(REQUEST_SYMBOL) |
                   FIELD(REQUEST_EXTENSION_NUMBERS) | FIELD(REQUEST_LIST),
        .messages[REQUEST_EXTENSION] = &extension,
    };
    const struct proto_wire_limits limits = {max_fields, REFLECTION_UNKNOWN_MAX};
    int result = proto_wire_scan(message, &shape, &limits);

    if (result == PROTO_WIRE_E_TOO_MANY) {
        return REFLECTION_ANSWER_E_TOO_MANY;
    }
    return result == 0 ? 0 : -EBADMSG;
}

static int read_request(struct bytes message, uint32_t max_fields, struct request *request)
{
    struct proto_wire_field field;
    int result = scan(message, max_fields);

    if (result != 0) {
        return result;
    }
    while (proto_wire_read(&message, &field) == 0) {
        if (field.type != PROTO_WIRE_BYTES) {
            continue;
        }
        if (field.number == REQUEST_HOST) {
            request->host = field.bytes;
        } else if (field.number >= REQUEST_FILE && field.number <= REQUEST_LIST) {
            read_kind(&field, request);
        }
    }
    return request->kind != 0 ? 0 : REFLECTION_ANSWER_E_EMPTY;
}

/* ---- writing ---- */

/* Key and length of a field, whose bytes are to follow. */
static int append_head(struct buf *out, uint32_t number, size_t size)
{
    uint8_t *room = buf_reserve(out, 2 * PROTO_WIRE_VARINT_MAX);
    size_t used;

    if (room == NULL) {
        return -ENOMEM;
    }
    used = proto_wire_put_varint(room, (uint64_t)number << 3 | PROTO_WIRE_BYTES);
    used += proto_wire_put_varint(room + used, size);
    buf_commit(out, used);
    return 0;
}

/* A message of one or two parts as a field. */
static int append_text(struct buf *out, uint32_t number, struct bytes first, struct bytes second)
{
    int result = append_head(out, number, first.size + second.size);

    if (result == 0) {
        result = buf_append(out, first.data, first.size);
    }
    return result == 0 ? buf_append(out, second.data, second.size) : result;
}

static int append_not_found(struct buf *out, const char *what, struct bytes name)
{
    struct buf error = {0};
    int result = proto_wire_append_varint(&error, ERROR_CODE, GRPC_STATUS_NOT_FOUND);

    if (result == 0) {
        result = append_text(&error, ERROR_MESSAGE, bytes_from_text(what), name);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, RESPONSE_ERROR, buf_bytes(&error));
    }
    buf_deinit(&error);
    return result;
}

/* The file, and the others of the set `files`. */
static int append_files(struct buf *out, const struct reflection_index *index, unsigned file,
                        uint64_t files)
{
    size_t size = reflection_index_entry(index, file).size;
    struct bytes entry;
    int result;

    files &= ~(1ULL << file);
    for (unsigned i = 0; i < REFLECTION_FILES_MAX; i++) {
        size += (files >> i & 1) != 0 ? reflection_index_entry(index, i).size : 0;
    }
    result = append_head(out, RESPONSE_FILES, size);
    if (result == 0) {
        entry = reflection_index_entry(index, file);
        result = buf_append(out, entry.data, entry.size);
    }
    for (unsigned i = 0; i < REFLECTION_FILES_MAX && result == 0; i++) {
        if ((files >> i & 1) != 0) {
            entry = reflection_index_entry(index, i);
            result = buf_append(out, entry.data, entry.size);
        }
    }
    return result;
}

/* ---- the kinds of requests ---- */

static int answer_file(const struct reflection_index *index, uint64_t *sent, unsigned file,
                       struct buf *out)
{
    uint64_t files = reflection_index_imports(index, file) & ~*sent;

    *sent |= files | 1ULL << file;
    return append_files(out, index, file, files);
}

static int answer_extension(const struct reflection_index *index, uint64_t *sent,
                            const struct request *request, struct buf *out)
{
    unsigned file = reflection_index_extension(index, request->type, request->number);
    char what[48];

    if (file != REFLECTION_NO_FILE) {
        return answer_file(index, sent, file, out);
    }
    (void)snprintf(what, sizeof(what), "unknown extension %d of type: ", (int)request->number);
    return append_not_found(out, what, request->type);
}

static int append_numbers(struct buf *out, struct bytes type,
                          const struct reflection_extension *extensions, size_t count)
{
    struct buf numbers = {0};
    int result = proto_wire_append_bytes(&numbers, NUMBERS_TYPE, type);

    for (size_t i = 0; i < count && result == 0; i++) {
        result = proto_wire_append_varint(&numbers, NUMBERS_NUMBER,
                                          (uint64_t)(int64_t)extensions[i].number);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, RESPONSE_EXTENSION_NUMBERS, buf_bytes(&numbers));
    }
    buf_deinit(&numbers);
    return result;
}

/* A type without extensions is no unknown one. */
static int answer_numbers(const struct reflection_index *index, struct bytes type, struct buf *out)
{
    size_t count;
    const struct reflection_extension *extensions =
        reflection_index_extensions(index, type, &count);

    if (count == 0 && reflection_index_symbol(index, type) == REFLECTION_NO_FILE) {
        return append_not_found(out, "unknown type: ", type);
    }
    return append_numbers(out, type, extensions, count);
}

static int answer_named(const struct reflection_index *index, uint64_t *sent,
                        const struct request *request, struct buf *out)
{
    bool is_file = request->kind == REQUEST_FILE;
    unsigned file = is_file ? reflection_index_file(index, request->text)
                            : reflection_index_symbol(index, request->text);

    return file != REFLECTION_NO_FILE
               ? answer_file(index, sent, file, out)
               : append_not_found(out,
                                  is_file ? "unknown file: " : "unknown symbol: ", request->text);
}

int reflection_answer(const struct reflection_source *source, uint64_t *sent, struct bytes request,
                      struct buf *out)
{
    struct request asked = {0};
    int result = read_request(request, source->max_fields, &asked);

    if (result == 0 && asked.host.size > 0) {
        result = proto_wire_append_bytes(out, RESPONSE_HOST, asked.host);
    }
    if (result == 0) {
        result = proto_wire_append_bytes(out, RESPONSE_REQUEST, request);
    }
    if (result != 0) {
        return result;
    }
    switch (asked.kind) {
    case REQUEST_EXTENSION:
        return answer_extension(source->index, sent, &asked, out);
    case REQUEST_EXTENSION_NUMBERS:
        return answer_numbers(source->index, asked.text, out);
    case REQUEST_LIST:
        return proto_wire_append_bytes(out, RESPONSE_SERVICES, source->services);
    default:
        return answer_named(source->index, sent, &asked, out);
    }
}

int reflection_answer_add_service(struct buf *services, struct bytes name)
{
    struct buf service = {0};
    int result = proto_wire_append_bytes(&service, SERVICE_NAME, name);

    if (result == 0) {
        result = proto_wire_append_bytes(services, SERVICES_SERVICE, buf_bytes(&service));
    }
    buf_deinit(&service);
    return result;
}
