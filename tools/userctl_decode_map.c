/*
 * Maps: entries in the order in which they came. Of those with the same key the last one counts, so
 * keys are compared first.
 */
#include "core/buf.h"
#include "userctl_decode.h"
#include "userctl_decode_internal.h"
#include "userctl_scalar.h"
#include "userctl_wire.h"

#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(misc-no-recursion): a message in a message costs one of USERCTL_DECODE_DEPTH_MAX */

/* The key of an entry as the name of a member: in quotes whatever its type. */
static void decode_key(struct userctl_decoding *decoding, const struct userctl_field *field,
                       const struct proto_wire_field *wire)
{
    bool has_quotes = field->type == USERCTL_TYPE_STRING || field->type == USERCTL_TYPE_INT64 ||
                      field->type == USERCTL_TYPE_SINT64 || field->type == USERCTL_TYPE_SFIXED64 ||
                      field->type == USERCTL_TYPE_UINT64 || field->type == USERCTL_TYPE_FIXED64;

    (void)fputs(has_quotes ? "" : "\"", decoding->out);
    (void)userctl_decode_value(decoding, field, wire); /* of these none fails */
    (void)fputs(has_quotes ? ":" : "\":", decoding->out);
}

/* One entry of a map, taken apart. */
struct entry {
    struct proto_wire_field key;
    size_t index;
    bool is_old; /* a later one has the same key */
};

/* Keys are alike when they are shown alike, whatever more there is on the wire. */
static uint64_t key_value(enum userctl_type type, uint64_t value)
{
    switch (userctl_scalar_wire(type)) {
    case PROTO_WIRE_VARINT:
        if (type == USERCTL_TYPE_BOOL) {
            return value != 0;
        }
        return type == USERCTL_TYPE_INT64 || type == USERCTL_TYPE_UINT64 ||
                       type == USERCTL_TYPE_SINT64
                   ? value
                   : (uint32_t)value;
    case PROTO_WIRE_FIXED32:
    case PROTO_WIRE_FIXED64:
    case PROTO_WIRE_BYTES:
        break;
    }
    return value;
}

static int by_key(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    size_t least = a->key.bytes.size < b->key.bytes.size ? a->key.bytes.size : b->key.bytes.size;
    int order = least == 0 ? 0 : memcmp(a->key.bytes.data, b->key.bytes.data, least);

    if (order == 0 && a->key.bytes.size != b->key.bytes.size) {
        order = a->key.bytes.size < b->key.bytes.size ? -1 : 1;
    }
    if (order == 0 && a->key.value != b->key.value) {
        order = a->key.value < b->key.value ? -1 : 1;
    }
    if (order == 0) {
        order = a->index < b->index ? -1 : 1;
    }
    return order;
}

static int by_index(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;

    return a->index < b->index ? -1 : 1;
}

static bool is_same_key(const struct entry *a, const struct entry *b)
{
    return a->key.value == b->key.value && bytes_equal(a->key.bytes, b->key.bytes);
}

static int read_key(const struct userctl_decoding *decoding, const struct userctl_message *message,
                    struct bytes bytes, struct entry *entry)
{
    const struct userctl_field *field = userctl_schema_number(message, 1);
    struct proto_wire_field wire;
    int ret;

    entry->key = (struct proto_wire_field){
        .number = 1,
        .type = userctl_scalar_wire(field->type),
        .bytes = {(const uint8_t *)"", 0},
    };
    while ((ret = userctl_wire_read(&bytes, &wire)) == 0) {
        if (wire.number == 1) {
            entry->key = wire;
        }
    }
    if (ret != PROTO_WIRE_E_END || !userctl_decode_fits(field, &entry->key)) {
        return userctl_decode_malformed(decoding, message->name);
    }
    if (field->type == USERCTL_TYPE_STRING) {
        entry->key.value = 0;
    } else {
        entry->key.value = key_value(field->type, entry->key.value);
        entry->key.bytes = (struct bytes){(const uint8_t *)"", 0};
    }
    return 0;
}

/* The value of an entry: the last one, and of a message all its pieces. */
static int decode_entry_value(struct userctl_decoding *decoding,
                              const struct userctl_message *entry, struct bytes bytes)
{
    const struct userctl_field *field = userctl_schema_number(entry, 2);
    bool is_message = field->type == USERCTL_TYPE_MESSAGE;
    struct proto_wire_field value = {
        .type = userctl_scalar_wire(field->type),
        .bytes = {(const uint8_t *)"", 0},
    };
    struct proto_wire_field wire;
    struct buf whole = {0};
    int ret = 0;

    while (ret == 0 && userctl_wire_read(&bytes, &wire) == 0) { /* read_key() has seen its end */
        if (wire.number != 2) {
            continue;
        }
        value = wire;
        if (!userctl_decode_fits(field, &wire)) {
            ret = userctl_decode_malformed(decoding, entry->name);
        } else if (is_message && buf_append(&whole, wire.bytes.data, wire.bytes.size) != 0) {
            ret = userctl_decode_refuse(decoding, "out of memory");
        }
    }
    if (is_message && buf_size(&whole) != 0) {
        value.bytes = buf_bytes(&whole);
    }
    if (ret == 0) {
        ret = userctl_decode_value(decoding, field, &value);
    }
    buf_deinit(&whole);
    return ret;
}

/* Lists the entries in their order; of those with one key the last one counts. */
static int list_entries(const struct userctl_decoding *decoding, const struct userctl_field *field,
                        const struct userctl_decode_part *parts, size_t count,
                        struct entry *entries)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < count; i++) {
        entries[i].index = i;
        ret = parts[i].wire.type == PROTO_WIRE_BYTES
                  ? read_key(decoding, field->message, parts[i].wire.bytes, &entries[i])
                  : userctl_decode_malformed(decoding, field->name);
    }
    if (ret != 0) {
        return ret;
    }
    qsort(entries, count, sizeof(*entries), by_key);
    for (size_t i = 0; i + 1 < count; i++) {
        entries[i].is_old = is_same_key(&entries[i], &entries[i + 1]);
    }
    qsort(entries, count, sizeof(*entries), by_index);
    return 0;
}

int userctl_decode_map(struct userctl_decoding *decoding, const struct userctl_field *field,
                       const struct userctl_decode_part *parts, size_t count)
{
    const struct userctl_field *key = userctl_schema_number(field->message, 1);
    struct entry *entries = calloc(count, sizeof(*entries));
    const char *separator = "";
    int ret;

    if (entries == NULL) {
        return userctl_decode_refuse(decoding, "out of memory");
    }
    ret = list_entries(decoding, field, parts, count, entries);
    (void)fputc('{', decoding->out);
    for (size_t i = 0; ret == 0 && i < count; i++) {
        if (!entries[i].is_old) {
            (void)fputs(separator, decoding->out);
            separator = ",";
            decode_key(decoding, key, &entries[i].key);
            ret = decode_entry_value(decoding, field->message, parts[i].wire.bytes);
        }
    }
    (void)fputc('}', decoding->out);
    free(entries);
    return ret;
}

/* NOLINTEND(misc-no-recursion) */
