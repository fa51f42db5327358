#include "service/user_list_request.h"

#include "http2/proto_wire.h"
#include "service/user_request.h"

#include <errno.h>

enum {
    FIELD_PAGE_SIZE = 1,
    FIELD_PAGE_TOKEN = 2,
    FIELD_FILTER = 3,
};

static const struct proto_wire_shape shape = {
    .number_max = FIELD_FILTER,
    .strings = 1 << FIELD_PAGE_TOKEN | 1 << FIELD_FILTER,
};

static int read_field(const struct proto_wire_field *field, struct user_list_request *request)
{
    bool is_text = field->type == PROTO_WIRE_BYTES;

    if (field->number > shape.number_max) {
        return 0;
    }
    if (is_text == (field->number == FIELD_PAGE_SIZE) ||
        (!is_text && field->type != PROTO_WIRE_VARINT)) {
        return -EBADMSG; /* as protobuf-c judges it in the other messages */
    }
    if (!is_text) {
        request->page_size = (int32_t)(uint32_t)field->value;
        return 0;
    }
    if (field->bytes.size > 0 && memchr(field->bytes.data, 0, field->bytes.size) != NULL) {
        return USER_REQUEST_E_NUL;
    }
    if (field->number == FIELD_PAGE_TOKEN) {
        request->page_token = field->bytes;
    } else {
        request->filter = field->bytes;
    }
    return 0;
}

int user_list_request_read(struct bytes message, uint32_t max_fields,
                           struct user_list_request *ret_request)
{
    struct proto_wire_limits limits = {max_fields, USER_REQUEST_UNKNOWN_MAX};
    struct user_list_request request = {0};
    struct proto_wire_field field;
    int result = proto_wire_scan(message, &shape, &limits);

    if (result != 0) {
        return result == PROTO_WIRE_E_TOO_MANY ? USER_REQUEST_E_TOO_MANY : -EBADMSG;
    }
    while (proto_wire_read(&message, &field) == 0) {
        result = read_field(&field, &request);
        if (result != 0) {
            return result;
        }
    }
    *ret_request = request;
    return 0;
}

bool user_list_request_has_filter(const struct user_list_request *request)
{
    struct bytes text = request->filter;

    for (size_t i = 0; i < text.size; i++) {
        if (strchr(" \t\r\n", text.data[i]) == NULL) { /* there is no NUL in it */
            return true;
        }
    }
    return false;
}
