#include "service/user_list_request.h"

#include "http2/proto_wire.h"
#include "service/user_filter.h"
#include "service/user_request.h"

#include <errno.h>
#include <stdio.h>

/* As page_token.c writes them: 65 bytes in base64url without padding. */
#define TOKEN_LENGTH 87

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

static void add(struct user_list_faults *faults, const char *reason, const char *message,
                const char *field, const char *description)
{
    if (faults->error.field_count == 0) {
        faults->error.status = GRPC_STATUS_INVALID_ARGUMENT;
        faults->error.message = message;
        faults->error.reason = reason;
        faults->error.domain = "users.v1";
    }
    grpc_error_add_field(&faults->error, field, description);
}

bool user_list_request_judge(const struct user_list_request *request, uint32_t filter_max,
                             struct user_list_faults *faults)
{
    if (request->page_size < 0) {
        add(faults, "INVALID_PAGE_SIZE", "Invalid page size", "page_size",
            "must not be negative; 0 stands for 50");
    }
    if (request->filter.size > filter_max) {
        (void)snprintf(faults->filter_text, sizeof(faults->filter_text),
                       "must have at most %u bytes (limits.max_filter)", (unsigned)filter_max);
        add(faults, "FILTER_TOO_LONG", "Filter too long", "filter", faults->filter_text);
        return false;
    }
    if (request->filter.size > 0 && memchr(request->filter.data, 0, request->filter.size) != NULL) {
        add(faults, "NUL_IN_TEXT", "NUL character in a text field", "filter",
            "must not have U+0000");
        return false;
    }
    return true;
}

static bool is_token_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

bool user_list_request_has_token_form(struct bytes token)
{
    for (size_t i = 0; i < token.size; i++) {
        if (!is_token_character(token.data[i])) {
            return false;
        }
    }
    return token.size == TOKEN_LENGTH;
}

void user_list_faults_add_token(struct user_list_faults *faults)
{
    add(faults, "INVALID_PAGE_TOKEN", "Invalid page token", "page_token",
        "must be the next_page_token of a reply to a request with the same filter");
}

void user_list_faults_add_filter(struct user_list_faults *faults,
                                 const struct user_filter_problem *problem)
{
    (void)snprintf(faults->position, sizeof(faults->position), "%zu", problem->position);
    (void)snprintf(faults->filter_text, sizeof(faults->filter_text), "at byte %s: %s",
                   faults->position, problem->text);
    add(faults, "INVALID_FILTER", "Invalid filter", "filter", faults->filter_text);
    grpc_error_add_metadata(&faults->error, "position", faults->position);
}
