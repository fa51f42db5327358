/*
 * Fields of a call: which ones may be sent, the copies that are, and what the server sent.
 *
 * What is sent is checked and measured first, then written in one piece, so that a call needs one
 * buffer, which it keeps for the next one.
 */
#include "client/userd_client_internal.h"
#include "http2/grpc_metadata.h"

#include <errno.h>

#define BASE64_SIZE(size) (((size) + 2) / 3 * 4 + 1)

/* Names that are the library's own, or that HTTP/2 forbids. */
static const char *const reserved_names[] = {
    "te",         "content-type",     "user-agent",        "host",    "connection",
    "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "content-length",
};

static bool is_valid_name(const char *name)
{
    if (name == NULL || name[0] == '\0' || strncmp(name, "grpc-", 5) == 0 ||
        name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.")] != '\0') {
        return false;
    }
    for (size_t i = 0; i < sizeof(reserved_names) / sizeof(reserved_names[0]); i++) {
        if (strcmp(name, reserved_names[i]) == 0) {
            return false;
        }
    }
    return true;
}

/* Printable ASCII from `first` on; a value that begins or ends with a blank would not arrive as it
 * is. */
static bool is_printable(struct bytes value, uint8_t first)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < first || value.data[i] > '~') {
            return false;
        }
    }
    return value.size == 0 || (value.data[0] != ' ' && value.data[value.size - 1] != ' ');
}

bool userd_is_field_value(const char *text)
{
    return is_printable(bytes_from_text(text), ' ');
}

bool userd_is_token(const char *text)
{
    return is_printable(bytes_from_text(text), '!');
}

static bool is_binary(const struct userd_metadata *field)
{
    return field->value_size != 0 && grpc_metadata_is_binary(bytes_from_text(field->name));
}

/* As it was given. */
static struct bytes value_of(const struct userd_metadata *field)
{
    return field->value_size == 0
               ? bytes_from_text(field->value)
               : (struct bytes){(const uint8_t *)field->value, field->value_size};
}

/* Bytes that its copy takes. */
static size_t copy_size(const struct userd_metadata *field)
{
    const size_t size = value_of(field).size;

    return strlen(field->name) + 1 + (is_binary(field) ? BASE64_SIZE(size) : size + 1);
}

static int check_field(const struct userd_metadata *field, bool has_token)
{
    if (!is_valid_name(field->name)) {
        userd_set_last_problem(
            "metadata name '%s': use a-z 0-9 _ - . and none of the library's own "
            "(grpc-..., te, content-type, user-agent)",
            field->name == NULL ? "(null)" : field->name);
        return -EINVAL;
    }
    if (has_token && strcmp(field->name, "authorization") == 0) {
        userd_set_last_problem(
            "metadata 'authorization' beside a bearer token, which is sent under "
            "that name: set the token of the call to \"\"");
        return -EINVAL;
    }
    if (field->value == NULL || field->value_size > USERD_METADATA_SIZE_MAX ||
        (!is_binary(field) && !is_printable(value_of(field), ' '))) {
        userd_set_last_problem(
            "the value of the metadata field '%s' is not printable ASCII without "
            "blanks around it, or too long; other bytes need a name that ends "
            "with -bin, and value_size",
            field->name);
        return -EINVAL;
    }
    return 0;
}

int userd_metadata_check(const struct userd_call_options *options, bool has_token, size_t *ret_size)
{
    size_t size = 0;

    if (options->metadata_count > USERD_CALL_METADATA_MAX) {
        userd_set_last_problem("%zu metadata fields; at most %d are sent", options->metadata_count,
                               USERD_CALL_METADATA_MAX);
        return -EINVAL;
    }
    if (options->metadata == NULL && options->metadata_count != 0) {
        userd_set_last_problem("metadata_count is %zu, and metadata NULL", options->metadata_count);
        return -EINVAL;
    }
    for (size_t i = 0; i < options->metadata_count; i++) {
        const int ret = check_field(&options->metadata[i], has_token);

        if (ret != 0) {
            return ret;
        }
        size += copy_size(&options->metadata[i]);
    }
    if (size > USERD_METADATA_SIZE_MAX) {
        userd_set_last_problem("%zu bytes of metadata; at most %d are sent", size,
                               USERD_METADATA_SIZE_MAX);
        return -EINVAL;
    }
    *ret_size = size;
    return 0;
}

/* There is room for it. Returns the copy. */
static const char *append_text(struct buf *texts, struct bytes text)
{
    const char *copy = (const char *)buf_bytes(texts).data + buf_size(texts);

    (void)buf_append(texts, text.data, text.size);
    (void)buf_append(texts, "", 1);
    return copy;
}

static const char *append_base64(struct buf *texts, struct bytes bytes)
{
    const size_t room = BASE64_SIZE(bytes.size);
    char *copy = (char *)buf_reserve(texts, room);

    buf_commit(texts, grpc_base64_encode(bytes, copy) + 1);
    return copy;
}

void userd_metadata_copy(struct buf *texts, const struct userd_metadata *field,
                         struct call_field *ret_field)
{
    const struct bytes value = value_of(field);

    ret_field->name = append_text(texts, bytes_from_text(field->name));
    ret_field->value = is_binary(field) ? append_base64(texts, value) : append_text(texts, value);
}

/* `fields` are as call_reply.h keeps them: "name NUL value NUL", one after the other. */
static const char *find(struct bytes fields, const char *name, size_t index)
{
    while (fields.size != 0) {
        const char *key = (const char *)fields.data;
        const char *value = key + strlen(key) + 1;
        const size_t size = (size_t)(value - key) + strlen(value) + 1;

        if (strcmp(key, name) == 0 && index-- == 0) {
            return value;
        }
        fields.data += size;
        fields.size -= size;
    }
    return NULL;
}

const char *userd_call_metadata(const struct userd_call *call, const char *name, size_t index)
{
    if (!userd_is_mine(call->client)) {
        return NULL;
    }
    return find(call->is_over ? call->fields_got
                              : buf_bytes(&call->channel_call.attempt.reply.fields),
                name, index);
}

const char *userd_client_metadata(const struct userd_client *client, const char *name, size_t index)
{
    return userd_is_mine(client) ? find(client->last.fields, name, index) : NULL;
}
