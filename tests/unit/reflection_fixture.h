/*
 * Sets of descriptors made by hand, and answers of reflection taken apart.
 *
 * Thread: one.
 */
#ifndef UNIT_REFLECTION_FIXTURE_H
#define UNIT_REFLECTION_FIXTURE_H

#include "lib/unit.h"

#include "http2/proto_wire.h"
#include "service/reflection_answer.h"

#include <stdio.h>

enum {
    FILE_NAMED = 3,
    SYMBOL = 4,
    EXTENSION = 5,
    EXTENSION_NUMBERS = 6,
    LIST = 7,
};

enum {
    FILES = 4,
    NUMBERS = 5,
    SERVICES = 6,
    NOT_FOUND = 7,
};

/* One answer, taken apart. */
struct answer {
    struct bytes host;
    struct bytes request;
    uint32_t kind; /* FILES and so on */
    struct bytes body;
};

#define TEXT(literal) BYTES_LITERAL(literal)

/* Adds a descriptor with its name and whatever is in `content` (emptied) as a field. */
static inline void add(struct buf *out, uint32_t number, const char *name, struct buf *content)
{
    struct buf whole = {0};

    ck_assert_int_eq(proto_wire_append_bytes(&whole, 1, bytes_from_text(name)), 0);
    if (content != NULL) {
        ck_assert_int_eq(buf_append(&whole, buf_bytes(content).data, buf_size(content)), 0);
        buf_deinit(content);
    }
    ck_assert_int_eq(proto_wire_append_bytes(out, number, buf_bytes(&whole)), 0);
    buf_deinit(&whole);
}

static inline void add_text(struct buf *out, uint32_t number, const char *text)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, bytes_from_text(text)), 0);
}

static inline void add_extension(struct buf *out, uint32_t number, const char *name,
                                 const char *type, uint64_t field_number)
{
    struct buf content = {0};

    add_text(&content, 2, type);
    ck_assert_int_eq(proto_wire_append_varint(&content, 3, field_number), 0);
    add(out, number, name, &content);
}

static inline struct answer take_apart(struct bytes message)
{
    struct answer answer = {0};
    struct proto_wire_field field;
    unsigned kinds = 0;
    int result;

    while ((result = proto_wire_read(&message, &field)) == 0) {
        ck_assert_int_eq(field.type, PROTO_WIRE_BYTES);
        if (field.number == 1) {
            answer.host = field.bytes;
        } else if (field.number == 2) {
            answer.request = field.bytes;
        } else {
            answer.kind = field.number;
            answer.body = field.bytes;
            kinds++;
        }
    }
    ck_assert_int_eq(result, PROTO_WIRE_E_END);
    ck_assert_uint_eq(kinds, 1);
    return answer;
}

/* The names of the files, or of the services, of an answer: "a b ". */
static inline const char *names_in(struct bytes list)
{
    static char text[2048];
    struct proto_wire_field item;
    size_t size = 0;

    text[0] = '\0';
    while (proto_wire_read(&list, &item) == 0) {
        struct proto_wire_field name;

        ck_assert_uint_eq(item.number, 1);
        ck_assert_int_eq(proto_wire_read(&item.bytes, &name), 0);
        ck_assert_uint_eq(name.number, 1);
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%.*s ", (int)name.bytes.size,
                                 (const char *)name.bytes.data);
        ck_assert_uint_lt(size, sizeof(text));
    }
    return text;
}

#endif
