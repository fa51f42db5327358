/*
 * A descriptor is read in place, twice at each level: once to count what is in it, once to keep it.
 * Every name is checked to be one, so that it may be printed.
 *
 * Of a descriptor come: file (name, package, imports, messages, enums, services), message (fields,
 * oneofs, types within it), field, enum, service, method. Options are left out but for two: that a
 * message is the entry of a map, and that a field is packed.
 */
#include "userctl_schema.h"

#include "userctl_schema_read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SIZE_MAX     (64 * 1024 * 1024)
#define NAME_SIZE_MAX      1024
#define SYMBOLS_MAX        50000
#define LABEL_REQUIRED     2
#define LABEL_REPEATED     3
#define ENCODING_DELIMITED 2

enum syntax {
    SYNTAX_PROTO2,
    SYNTAX_PROTO3,
    SYNTAX_EDITION,
};

/* What is being added. */
struct adding {
    struct userctl_schema *schema;
    const char *file; /* its name; NULL = not known yet */
    enum syntax syntax;
    char *problem;
};

void userctl_schema_init(struct userctl_schema *schema)
{
    *schema = (struct userctl_schema){.arena = {.size_max = ARENA_SIZE_MAX}};
}

void userctl_schema_deinit(struct userctl_schema *schema)
{
    arena_deinit(&schema->arena);
    free(schema->symbols);
    *schema = (struct userctl_schema){0};
}

__attribute__((format(printf, 2, 3))) static int refuse(const struct adding *adding,
                                                        const char *format, ...)
{
    va_list values;
    int size;

    va_start(values, format);
    size = vsnprintf(adding->problem, USERCTL_SCHEMA_PROBLEM_SIZE, format, values);
    va_end(values);
    if (adding->file != NULL && size > 0 && size < USERCTL_SCHEMA_PROBLEM_SIZE) {
        (void)snprintf(adding->problem + size, USERCTL_SCHEMA_PROBLEM_SIZE - (size_t)size, " (%s)",
                       adding->file);
    }
    return USERCTL_SCHEMA_E_BAD;
}

static int malformed(const struct adding *adding)
{
    return refuse(adding, "the server sent a malformed descriptor");
}

static int no_room(const struct adding *adding)
{
    return refuse(adding,
                  "the descriptors that the server sent are too large: at most %d files of %d MiB "
                  "are taken, %d imports of one, %d fields of a message, types %d deep",
                  USERCTL_SCHEMA_FILES_MAX, USERCTL_SCHEMA_SIZE_MAX / (1024 * 1024),
                  USERCTL_SCHEMA_IMPORTS_MAX, USERCTL_SCHEMA_FIELDS_MAX, USERCTL_SCHEMA_DEPTH_MAX);
}

static void *take(const struct adding *adding, size_t count, size_t size)
{
    void *memory = arena_alloc(&adding->schema->arena, count * size + 1); /* never of size 0 */

    if (memory != NULL) {
        memset(memory, 0, count * size + 1);
    }
    return memory;
}

/* Letters, digits, `_`, and what else may be in it: a dot in names of types, more in those of
 * files. */
static bool is_name(struct bytes text, const char *others)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool is_word = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                       (byte >= '0' && byte <= '9') || byte == '_';

        if (byte == '\0' || (!is_word && strchr(others, byte) == NULL)) {
            return false;
        }
    }
    return text.size > 0 && text.size <= NAME_SIZE_MAX;
}

/* Files are named as their owners like it; but what a terminal would obey is no name. */
static int keep_file_name(const struct adding *adding, struct bytes text, const char **ret_name)
{
    bool is_good = text.size > 0 && text.size <= NAME_SIZE_MAX;

    for (size_t i = 0; is_good && i < text.size; i++) {
        is_good = text.data[i] >= ' ' && text.data[i] <= '~';
    }
    if (!is_good) {
        return refuse(adding, "a descriptor that the server sent has a file name that is none");
    }
    *ret_name = arena_copy_text(&adding->schema->arena, text);
    return *ret_name == NULL ? no_room(adding) : 0;
}

static int keep_name(const struct adding *adding, struct bytes text, const char *others,
                     const char **ret_name)
{
    if (!is_name(text, others)) {
        return refuse(adding, "a descriptor that the server sent has a name that is none");
    }
    *ret_name = arena_copy_text(&adding->schema->arena, text);
    return *ret_name == NULL ? no_room(adding) : 0;
}

/* The name of a type, with a dot in front of it as descriptors have it. */
static int keep_type_name(const struct adding *adding, struct bytes text, const char **ret_name)
{
    if (text.size > 0 && text.data[0] == '.') {
        text = (struct bytes){text.data + 1, text.size - 1};
    }
    return keep_name(adding, text, ".", ret_name);
}

/* The full name of something in a scope. */
static int keep_full_name(const struct adding *adding, const char *scope, struct bytes text,
                          const char **ret_name)
{
    size_t scope_size = strlen(scope);
    size_t size = scope_size + 1 + text.size;
    char *name;

    if (!is_name(text, "")) {
        return refuse(adding, "a descriptor that the server sent has a name that is none");
    }
    if (size > NAME_SIZE_MAX || ++adding->schema->symbol_count > SYMBOLS_MAX) {
        return no_room(adding);
    }
    name = arena_alloc(&adding->schema->arena, size + 1);
    if (name == NULL) {
        return no_room(adding);
    }
    (void)snprintf(name, size + 1, "%s%s%.*s", scope, scope_size == 0 ? "" : ".", (int)text.size,
                   (const char *)text.data);
    *ret_name = name;
    return 0;
}

static int by_value_number(const void *left, const void *right)
{
    const struct userctl_enum_value *a = *(const struct userctl_enum_value *const *)left;
    const struct userctl_enum_value *b = *(const struct userctl_enum_value *const *)right;

    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static int by_field_number(const void *left, const void *right)
{
    const struct userctl_field *a = *(const struct userctl_field *const *)left;
    const struct userctl_field *b = *(const struct userctl_field *const *)right;

    if (a->number != b->number) {
        return a->number < b->number ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static int add_enum(const struct adding *adding, const char *scope, struct bytes descriptor)
{
    struct userctl_schema *schema = adding->schema;
    struct userctl_enum *enumeration = take(adding, 1, sizeof(*enumeration));
    struct bytes value;
    int ret;

    if (enumeration == NULL) {
        return no_room(adding);
    }
    ret = keep_full_name(adding, scope, userctl_schema_bytes_of(descriptor, 1), &enumeration->name);
    if (ret != 0) {
        return ret;
    }
    enumeration->values =
        take(adding, userctl_schema_count_of(descriptor, 2), sizeof(*enumeration->values));
    if (enumeration->values == NULL) {
        return no_room(adding);
    }
    while (ret == 0 && userctl_schema_next_of(&descriptor, 2, &value)) {
        struct userctl_enum_value *kept = &enumeration->values[enumeration->value_count++];

        kept->number = (int32_t)userctl_schema_number_of(value, 2, 0);
        ret = userctl_schema_is_well_formed(value)
                  ? keep_name(adding, userctl_schema_bytes_of(value, 1), "", &kept->name)
                  : malformed(adding);
    }
    enumeration->by_number = take(adding, enumeration->value_count, sizeof(void *));
    if (enumeration->by_number == NULL) {
        return no_room(adding);
    }
    for (size_t i = 0; i < enumeration->value_count; i++) {
        enumeration->by_number[i] = &enumeration->values[i];
    }
    qsort((void *)enumeration->by_number, enumeration->value_count, sizeof(void *),
          by_value_number);
    enumeration->next = schema->enums;
    schema->enums = enumeration;
    return ret;
}

/* "firstName" of "first_name", when the descriptor does not say it. */
static int make_json_name(const struct adding *adding, struct userctl_field *field)
{
    char *name = arena_copy_text(&adding->schema->arena, bytes_from_text(field->name));
    size_t size = 0;

    if (name == NULL) {
        return no_room(adding);
    }
    for (const char *from = field->name; *from != '\0'; from++) {
        bool raised = *from == '_' && from[1] >= 'a' && from[1] <= 'z';

        from += *from == '_' && from[1] != '\0';
        name[size++] = (char)(raised ? *from - 'a' + 'A' : *from); /* ASCII */
    }
    name[size] = '\0';
    field->json_name = name;
    return 0;
}

static bool can_be_packed(enum userctl_type type)
{
    return type != USERCTL_TYPE_STRING && type != USERCTL_TYPE_BYTES &&
           type != USERCTL_TYPE_MESSAGE && type != USERCTL_TYPE_GROUP;
}

/* A message that editions have sent as a group is. */
static bool is_delimited(struct bytes descriptor)
{
    struct bytes features = userctl_schema_bytes_of(userctl_schema_bytes_of(descriptor, 8), 21);

    return userctl_schema_number_of(features, 5, 0) == ENCODING_DELIMITED;
}

static void take_facts(const struct adding *adding, struct bytes descriptor,
                       struct userctl_field *field)
{
    uint64_t label = userctl_schema_number_of(descriptor, 4, 1);
    bool is_proto3 = adding->syntax == SYNTAX_PROTO3;

    field->number = (uint32_t)userctl_schema_number_of(descriptor, 3, 0);
    field->type = (enum userctl_type)userctl_schema_number_of(descriptor, 5, 0);
    if (field->type == USERCTL_TYPE_MESSAGE && is_delimited(descriptor)) {
        field->type = USERCTL_TYPE_GROUP;
    }
    field->oneof = (int)userctl_schema_number_of(descriptor, 9, UINT32_MAX);
    field->is_optional = userctl_schema_number_of(descriptor, 17, 0) != 0;
    field->is_repeated = label == LABEL_REPEATED;
    field->is_required = label == LABEL_REQUIRED;
    field->is_packed = field->is_repeated && can_be_packed(field->type) &&
                       userctl_schema_number_of(userctl_schema_bytes_of(descriptor, 8), 2,
                                                adding->syntax != SYNTAX_PROTO2) != 0;
    field->has_presence =
        !field->is_repeated && (!is_proto3 || field->type == USERCTL_TYPE_MESSAGE ||
                                field->oneof >= 0 || field->is_optional);
}

static int add_field(const struct adding *adding, struct bytes descriptor,
                     struct userctl_field *field)
{
    struct bytes json_name = userctl_schema_bytes_of(descriptor, 10);
    struct bytes type_name = userctl_schema_bytes_of(descriptor, 6);
    int ret;

    if (!userctl_schema_is_well_formed(descriptor)) {
        return malformed(adding);
    }
    take_facts(adding, descriptor, field);
    if (field->type < USERCTL_TYPE_DOUBLE || field->type > USERCTL_TYPE_SINT64 ||
        field->number == 0) {
        return refuse(adding, "a descriptor that the server sent has a field of a type that "
                              "nobody knows");
    }
    ret = keep_name(adding, userctl_schema_bytes_of(descriptor, 1), "", &field->name);
    if (ret == 0) {
        /* Any text may stand there: one that is no name is left aside. */
        ret = is_name(json_name, "-.@$") ? keep_name(adding, json_name, "-.@$", &field->json_name)
                                         : make_json_name(adding, field);
    }
    if (ret == 0 && type_name.size != 0) {
        ret = keep_type_name(adding, type_name, &field->type_name);
    }
    return ret;
}

static int add_fields(const struct adding *adding, struct bytes descriptor,
                      struct userctl_message *message)
{
    struct bytes part;
    int ret = 0;

    if (userctl_schema_count_of(descriptor, 2) > USERCTL_SCHEMA_FIELDS_MAX ||
        userctl_schema_count_of(descriptor, 8) > USERCTL_SCHEMA_FIELDS_MAX) {
        return no_room(adding);
    }
    message->fields =
        take(adding, userctl_schema_count_of(descriptor, 2), sizeof(*message->fields));
    message->oneofs =
        take(adding, userctl_schema_count_of(descriptor, 8), sizeof(*message->oneofs));
    if (message->fields == NULL || message->oneofs == NULL) {
        return no_room(adding);
    }
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 8, &part);) {
        ret = keep_name(adding, userctl_schema_bytes_of(part, 1), "",
                        &message->oneofs[message->oneof_count++]);
    }
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 2, &part);) {
        struct userctl_field *field = &message->fields[message->field_count++];

        ret = add_field(adding, part, field);
        if (ret == 0 && field->oneof >= (int)message->oneof_count) {
            ret = malformed(adding);
        }
    }
    message->by_number = take(adding, message->field_count, sizeof(void *));
    if (message->by_number == NULL) {
        return no_room(adding);
    }
    for (size_t i = 0; i < message->field_count; i++) {
        message->by_number[i] = &message->fields[i];
    }
    qsort((void *)message->by_number, message->field_count, sizeof(void *), by_field_number);
    return ret;
}

/* NOLINTBEGIN(misc-no-recursion): types stand in types, at most USERCTL_SCHEMA_DEPTH_MAX deep */
static int add_message(const struct adding *adding, const char *scope, struct bytes descriptor,
                       unsigned depth)
{
    struct userctl_schema *schema = adding->schema;
    struct userctl_message *message = take(adding, 1, sizeof(*message));
    struct bytes part;
    int ret;

    if (message == NULL || depth > USERCTL_SCHEMA_DEPTH_MAX) {
        return no_room(adding);
    }
    if (!userctl_schema_is_well_formed(descriptor)) {
        return malformed(adding);
    }
    ret = keep_full_name(adding, scope, userctl_schema_bytes_of(descriptor, 1), &message->name);
    if (ret != 0) {
        return ret;
    }
    message->is_map_entry =
        userctl_schema_number_of(userctl_schema_bytes_of(descriptor, 7), 7, 0) != 0;
    message->next = schema->messages;
    schema->messages = message;
    ret = add_fields(adding, descriptor, message);
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 3, &part);) {
        ret = add_message(adding, message->name, part, depth + 1);
    }
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 4, &part);) {
        ret = add_enum(adding, message->name, part);
    }
    return ret;
}

/* NOLINTEND(misc-no-recursion) */

static int add_service(const struct adding *adding, const char *scope, struct bytes descriptor)
{
    struct userctl_schema *schema = adding->schema;
    struct userctl_service *service = take(adding, 1, sizeof(*service));
    struct bytes part;
    int ret;

    if (service == NULL) {
        return no_room(adding);
    }
    ret = keep_full_name(adding, scope, userctl_schema_bytes_of(descriptor, 1), &service->name);
    if (ret != 0) {
        return ret;
    }
    service->methods =
        take(adding, userctl_schema_count_of(descriptor, 2), sizeof(*service->methods));
    if (service->methods == NULL) {
        return no_room(adding);
    }
    while (ret == 0 && userctl_schema_next_of(&descriptor, 2, &part)) {
        struct userctl_method *method = &service->methods[service->method_count++];

        method->client_streams = userctl_schema_number_of(part, 5, 0) != 0;
        method->server_streams = userctl_schema_number_of(part, 6, 0) != 0;
        ret = keep_name(adding, userctl_schema_bytes_of(part, 1), "", &method->name);
        if (ret == 0) {
            ret = keep_type_name(adding, userctl_schema_bytes_of(part, 2), &method->input_name);
        }
        if (ret == 0) {
            ret = keep_type_name(adding, userctl_schema_bytes_of(part, 3), &method->output_name);
        }
    }
    service->next = schema->services;
    schema->services = service;
    return ret;
}

static const struct userctl_schema_file *find_file(const struct userctl_schema *schema,
                                                   const char *name)
{
    const struct userctl_schema_file *file = schema->files;

    while (file != NULL && strcmp(file->name, name) != 0) {
        file = file->next;
    }
    return file;
}

static int add_types(const struct adding *adding, const char *package, struct bytes descriptor)
{
    struct bytes part;
    int ret = 0;

    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 4, &part);) {
        ret = add_message(adding, package, part, 1);
    }
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 5, &part);) {
        ret = add_enum(adding, package, part);
    }
    for (struct bytes rest = descriptor; ret == 0 && userctl_schema_next_of(&rest, 6, &part);) {
        ret = add_service(adding, package, part);
    }
    return ret;
}

static int add_imports(const struct adding *adding, struct bytes descriptor,
                       struct userctl_schema_file *file)
{
    struct bytes part;
    int ret = 0;

    if (userctl_schema_count_of(descriptor, 3) > USERCTL_SCHEMA_IMPORTS_MAX) {
        return no_room(adding);
    }
    file->imports = take(adding, userctl_schema_count_of(descriptor, 3), sizeof(*file->imports));
    if (file->imports == NULL) {
        return no_room(adding);
    }
    while (ret == 0 && userctl_schema_next_of(&descriptor, 3, &part)) {
        ret = keep_file_name(adding, part, &file->imports[file->import_count++]);
    }
    return ret;
}

static enum syntax syntax_of(struct bytes descriptor)
{
    struct bytes name = userctl_schema_bytes_of(descriptor, 12);

    if (bytes_equal(name, BYTES_LITERAL("proto3"))) {
        return SYNTAX_PROTO3;
    }
    return name.size == 0 || bytes_equal(name, BYTES_LITERAL("proto2")) ? SYNTAX_PROTO2
                                                                        : SYNTAX_EDITION;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written through `adding` */
int userctl_schema_add(struct userctl_schema *schema, struct bytes file, char *problem)
{
    struct adding adding = {
        .schema = schema,
        .syntax = syntax_of(file),
        .problem = problem,
    };
    struct userctl_schema_file *kept = take(&adding, 1, sizeof(*kept));
    struct bytes package_text = userctl_schema_bytes_of(file, 2);
    const char *package = "";
    int ret;

    if (kept == NULL || file.size > USERCTL_SCHEMA_SIZE_MAX - schema->size) {
        return no_room(&adding);
    }
    if (!userctl_schema_is_well_formed(file)) {
        return malformed(&adding);
    }
    ret = keep_file_name(&adding, userctl_schema_bytes_of(file, 1), &kept->name);
    if (ret != 0 || find_file(schema, kept->name) != NULL) {
        return ret;
    }
    adding.file = kept->name;
    if (++schema->file_count > USERCTL_SCHEMA_FILES_MAX) {
        return no_room(&adding);
    }
    schema->size += file.size;
    kept->next = schema->files;
    schema->files = kept;
    ret = add_imports(&adding, file, kept);
    if (ret == 0 && package_text.size != 0) {
        ret = keep_name(&adding, package_text, ".", &package);
    }
    return ret == 0 ? add_types(&adding, package, file) : ret;
}

const char *userctl_schema_missing(const struct userctl_schema *schema)
{
    /* A file that is there stays: each import is looked for until it is found, and then no more. */
    for (struct userctl_schema_file *file = schema->files; file != NULL; file = file->next) {
        for (; file->imports_known < file->import_count; file->imports_known++) {
            if (find_file(schema, file->imports[file->imports_known]) == NULL) {
                return file->imports[file->imports_known];
            }
        }
    }
    return NULL;
}
