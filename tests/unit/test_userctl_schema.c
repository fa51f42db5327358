#include "lib/unit.h"

#include "../tools/userctl_schema.h"
#include "core/buf.h"
#include "http2/proto_wire.h"

#include <stdio.h>

extern const struct bytes userctl_every_descriptors;

static struct userctl_schema schema;
static char problem[USERCTL_SCHEMA_PROBLEM_SIZE];

/* The files of the test's protos, all or all but one. */
static void add_files(const char *except)
{
    struct bytes rest = userctl_every_descriptors;
    struct proto_wire_field field;

    while (proto_wire_read(&rest, &field) == 0) {
        struct bytes content = field.bytes;
        struct proto_wire_field name;

        ck_assert_int_eq(proto_wire_read(&content, &name), 0);
        if (except == NULL || !bytes_equal(name.bytes, bytes_from_text(except))) {
            ck_assert_int_eq(userctl_schema_add(&schema, field.bytes, problem), 0);
        }
    }
    ck_assert_int_eq(userctl_schema_link(&schema), 0);
}

START_TEST(schema_links_types)
{
    const struct userctl_message *every;
    const struct userctl_field *field;
    const struct userctl_service *service;

    userctl_schema_init(&schema);
    add_files(NULL);
    ck_assert_ptr_null(userctl_schema_missing(&schema));
    every = userctl_schema_find(&schema, "every.v1.Every")->message;
    field = userctl_schema_field(every, "child");
    ck_assert_ptr_eq(field->message, every);
    ck_assert(field->has_presence && !field->is_repeated);
    ck_assert_ptr_eq(userctl_schema_field(every, "anInt32"), userctl_schema_number(every, 3));
    ck_assert(!userctl_schema_number(every, 3)->has_presence);
    ck_assert(userctl_schema_field(every, "maybe")->has_presence);
    ck_assert(userctl_schema_field(every, "numbers")->is_packed);
    ck_assert(!userctl_schema_field(every, "loose")->is_packed);
    ck_assert(!userctl_schema_field(every, "words")->is_packed);
    ck_assert(userctl_schema_is_map(userctl_schema_field(every, "by_name")));
    ck_assert(!userctl_schema_is_map(userctl_schema_field(every, "children")));
    ck_assert_str_eq(userctl_schema_field(every, "other-name")->name, "renamed");
    ck_assert_str_eq(every->oneofs[userctl_schema_field(every, "by_text")->oneof], "choice");
    ck_assert_str_eq(
        userctl_schema_enum_name(userctl_schema_find(&schema, "every.v1.Color")->enumeration, -1),
        "COLOR_BELOW");
    ck_assert_int_eq(userctl_schema_field(every, "time")->message->known, USERCTL_KNOWN_TIMESTAMP);
    service = userctl_schema_find(&schema, "every.v1.Things")->service;
    ck_assert(userctl_schema_method(service, "Sum")->client_streams);
    ck_assert(!userctl_schema_method(service, "Sum")->server_streams);
    ck_assert_ptr_eq(userctl_schema_method(service, "Get")->input, every);
    ck_assert_ptr_null(userctl_schema_method(service, "Nothing"));
    ck_assert_ptr_null(userctl_schema_find(&schema, "every.v1"));
    ck_assert_ptr_nonnull(userctl_schema_find(&schema, "every.old.Old.Inner.Kind")->enumeration);
    ck_assert(!userctl_schema_field(userctl_schema_find(&schema, "every.old.Old")->message, "loose")
                   ->is_packed);
    userctl_schema_deinit(&schema);
}

END_TEST

START_TEST(schema_knows_what_is_missing)
{
    const struct userctl_message *every;

    userctl_schema_init(&schema);
    add_files("userctl_every_old.proto");
    ck_assert_str_eq(userctl_schema_missing(&schema), "userctl_every_old.proto");
    every = userctl_schema_find(&schema, "every.v1.Every")->message;
    ck_assert_ptr_null(userctl_schema_field(every, "old")->message);
    add_files(NULL); /* what is known is left out */
    ck_assert_ptr_null(userctl_schema_missing(&schema));
    ck_assert_ptr_nonnull(userctl_schema_field(every, "old")->message);
    userctl_schema_deinit(&schema);
}

END_TEST

/* A descriptor that is cut or changed anywhere is refused, or taken without harm (ASan looks). */
START_TEST(schema_stands_damaged_descriptors)
{
    struct bytes rest = userctl_every_descriptors;
    struct bytes last = {NULL, 0};
    struct proto_wire_field field;
    uint8_t *copy;

    while (proto_wire_read(&rest, &field) == 0) {
        last = field.bytes;
    }
    copy = malloc(last.size);
    memcpy(copy, last.data, last.size);
    for (size_t i = 0; i < last.size; i++) {
        userctl_schema_init(&schema);
        (void)userctl_schema_add(&schema, (struct bytes){copy, i}, problem);
        userctl_schema_deinit(&schema);
        copy[i] ^= (uint8_t)(1u << (i % 8));
        userctl_schema_init(&schema);
        if (userctl_schema_add(&schema, (struct bytes){copy, last.size}, problem) == 0) {
            ck_assert_int_eq(userctl_schema_link(&schema), 0);
        }
        userctl_schema_deinit(&schema);
        copy[i] = last.data[i];
    }
    free(copy);
}

END_TEST

/* Puts a message, with a name, into a field of an outer one, so many times. */
static void nest(struct buf *message, uint32_t number, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buf outer = {0};

        ck_assert_int_eq(proto_wire_append_bytes(&outer, 1, BYTES_LITERAL("A")), 0);
        ck_assert_int_eq(proto_wire_append_bytes(&outer, number, buf_bytes(message)), 0);
        buf_deinit(message);
        *message = outer;
    }
}

static int add_nested(size_t count)
{
    struct buf file = {0};
    int ret;

    ck_assert_int_eq(proto_wire_append_bytes(&file, 1, BYTES_LITERAL("A")), 0);
    nest(&file, 3, count - 1); /* nested_type */
    nest(&file, 4, 1);         /* message_type */
    userctl_schema_init(&schema);
    ret = userctl_schema_add(&schema, buf_bytes(&file), problem);
    userctl_schema_deinit(&schema);
    buf_deinit(&file);
    return ret;
}

START_TEST(schema_has_limits)
{
    struct buf file = {0};

    ck_assert_int_eq(add_nested(USERCTL_SCHEMA_DEPTH_MAX), 0);
    ck_assert_int_eq(add_nested(USERCTL_SCHEMA_DEPTH_MAX + 1), USERCTL_SCHEMA_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "the descriptors that the server sent are too large"));
    ck_assert_ptr_nonnull(strstr(problem, "types 32 deep (A)"));
    ck_assert_int_eq(add_nested(5000), USERCTL_SCHEMA_E_BAD);
    userctl_schema_init(&schema);
    for (int i = 0; i <= USERCTL_SCHEMA_FILES_MAX; i++) {
        char name[16];
        int ret;

        (void)snprintf(name, sizeof(name), "f%d", i);
        ck_assert_int_eq(proto_wire_append_bytes(&file, 1, bytes_from_text(name)), 0);
        ret = userctl_schema_add(&schema, buf_bytes(&file), problem);
        ck_assert_int_eq(ret, i < USERCTL_SCHEMA_FILES_MAX ? 0 : USERCTL_SCHEMA_E_BAD);
        buf_clear(&file);
    }
    userctl_schema_deinit(&schema);
    buf_deinit(&file);
}

END_TEST

/* A name may be printed: it is none that drives a terminal. */
START_TEST(schema_takes_names_alone)
{
    static const char *const names[] = {"", "a\033[31m", "a\xc2\x9b", "a\n"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct buf file = {0};

        ck_assert_int_eq(proto_wire_append_bytes(&file, 1, bytes_from_text(names[i])), 0);
        userctl_schema_init(&schema);
        ck_assert_int_eq(userctl_schema_add(&schema, buf_bytes(&file), problem),
                         USERCTL_SCHEMA_E_BAD);
        ck_assert_str_eq(problem, "a descriptor that the server sent has a file name that is none");
        userctl_schema_deinit(&schema);
        buf_deinit(&file);
    }
}

END_TEST

static void add_text(struct buf *out, uint32_t number, const char *text)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, bytes_from_text(text)), 0);
}

/* Puts what was made into a field of another message, and wipes it. */
static void add_part(struct buf *out, uint32_t number, struct buf *part)
{
    ck_assert_int_eq(proto_wire_append_bytes(out, number, buf_bytes(part)), 0);
    buf_clear(part);
}

static void add_field(struct buf *message, const char *name, unsigned number, unsigned type,
                      const char *json_name)
{
    struct buf field = {0};

    add_text(&field, 1, name);
    ck_assert_int_eq(proto_wire_append_varint(&field, 3, number), 0);
    ck_assert_int_eq(proto_wire_append_varint(&field, 5, type), 0);
    if (json_name != NULL) {
        add_text(&field, 10, json_name);
    }
    add_part(message, 2, &field);
    buf_deinit(&field);
}

/* What is odd costs nobody the rest: any text is a name in JSON, and files are named at will. */
START_TEST(schema_takes_odd_names)
{
    const struct userctl_message *message;
    struct buf file = {0};
    struct buf type = {0};

    add_text(&file, 1, "odd ~ (file)@1;.proto");
    add_text(&type, 1, "Odd");
    add_field(&type, "xml_lang", 2, USERCTL_TYPE_STRING, "xml:lang");
    add_field(&type, "first_name", 1, USERCTL_TYPE_STRING, "first name");
    add_part(&file, 4, &type);
    userctl_schema_init(&schema);
    ck_assert_int_eq(userctl_schema_add(&schema, buf_bytes(&file), problem), 0);
    ck_assert_int_eq(userctl_schema_link(&schema), 0);
    message = userctl_schema_find(&schema, "Odd")->message;
    ck_assert_str_eq(userctl_schema_field(message, "xmlLang")->name, "xml_lang");
    ck_assert_str_eq(userctl_schema_number(message, 1)->json_name, "firstName");
    ck_assert_ptr_null(userctl_schema_number(message, 3));
    userctl_schema_deinit(&schema);
    buf_deinit(&type);
    buf_deinit(&file);
}

END_TEST

/* An entry whose key is a number with a dot, or an enum, is no entry of a map. */
START_TEST(schema_knows_entries_by_their_keys)
{
    static const struct {
        unsigned type;
        bool is_entry;
    } keys[] = {
        {USERCTL_TYPE_STRING, true},  {USERCTL_TYPE_BOOL, true},  {USERCTL_TYPE_SINT64, true},
        {USERCTL_TYPE_DOUBLE, false}, {USERCTL_TYPE_ENUM, false}, {USERCTL_TYPE_BYTES, false},
    };

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buf file = {0};
        struct buf type = {0};
        struct buf map_entry = {0};

        add_text(&file, 1, "f");
        add_text(&type, 1, "Entry");
        add_field(&type, "key", 1, keys[i].type, NULL);
        add_field(&type, "value", 2, USERCTL_TYPE_BOOL, NULL);
        ck_assert_int_eq(proto_wire_append_varint(&map_entry, 7, 1), 0);
        add_part(&type, 7, &map_entry);
        add_part(&file, 4, &type);
        userctl_schema_init(&schema);
        ck_assert_int_eq(userctl_schema_add(&schema, buf_bytes(&file), problem), 0);
        ck_assert_int_eq(userctl_schema_link(&schema), 0);
        ck_assert(userctl_schema_find(&schema, "Entry")->message->is_map_entry == keys[i].is_entry);
        userctl_schema_deinit(&schema);
        buf_deinit(&map_entry);
        buf_deinit(&type);
        buf_deinit(&file);
    }
}

END_TEST

/* Each import costs a look through all files, so a file has a limit of them. */
START_TEST(schema_has_a_limit_of_imports)
{
    struct buf file = {0};

    add_text(&file, 1, "many");
    for (int i = 0; i <= USERCTL_SCHEMA_IMPORTS_MAX; i++) {
        if (i == USERCTL_SCHEMA_IMPORTS_MAX) {
            userctl_schema_init(&schema);
            ck_assert_int_eq(userctl_schema_add(&schema, buf_bytes(&file), problem), 0);
            ck_assert_str_eq(userctl_schema_missing(&schema), "a");
            userctl_schema_deinit(&schema);
        }
        add_text(&file, 3, "a");
    }
    userctl_schema_init(&schema);
    ck_assert_int_eq(userctl_schema_add(&schema, buf_bytes(&file), problem), USERCTL_SCHEMA_E_BAD);
    ck_assert_ptr_nonnull(strstr(problem, "1024 imports"));
    userctl_schema_deinit(&schema);
    buf_deinit(&file);
}

END_TEST

UNIT_MAIN("userctl_schema", schema_links_types, schema_knows_what_is_missing,
          schema_stands_damaged_descriptors, schema_has_limits, schema_takes_names_alone,
          schema_takes_odd_names, schema_knows_entries_by_their_keys, schema_has_a_limit_of_imports)
