/*
 * What a server says its messages look like: file descriptors taken apart, and linked by their
 * names. Pure.
 *
 * Owns:    all that it is asked for.
 * Borrows: nothing after a call.
 * Thread:  one.
 */
#ifndef TOOLS_USERCTL_SCHEMA_H
#define TOOLS_USERCTL_SCHEMA_H

#include "core/arena.h"
#include "core/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define USERCTL_SCHEMA_FILES_MAX    512
#define USERCTL_SCHEMA_SIZE_MAX     (8 * 1024 * 1024) /* of all descriptors */
#define USERCTL_SCHEMA_DEPTH_MAX    32                /* of types within types */
#define USERCTL_SCHEMA_FIELDS_MAX   4096              /* of a message */
#define USERCTL_SCHEMA_IMPORTS_MAX  1024              /* of a file */
#define USERCTL_SCHEMA_PROBLEM_SIZE 512

#define USERCTL_SCHEMA_E_BAD 1 /* the problem says why */

/* The numbers of FieldDescriptorProto.Type. */
enum userctl_type {
    USERCTL_TYPE_DOUBLE = 1,
    USERCTL_TYPE_FLOAT = 2,
    USERCTL_TYPE_INT64 = 3,
    USERCTL_TYPE_UINT64 = 4,
    USERCTL_TYPE_INT32 = 5,
    USERCTL_TYPE_FIXED64 = 6,
    USERCTL_TYPE_FIXED32 = 7,
    USERCTL_TYPE_BOOL = 8,
    USERCTL_TYPE_STRING = 9,
    USERCTL_TYPE_GROUP = 10, /* of proto2, or a delimited one of editions; not supported */
    USERCTL_TYPE_MESSAGE = 11,
    USERCTL_TYPE_BYTES = 12,
    USERCTL_TYPE_UINT32 = 13,
    USERCTL_TYPE_ENUM = 14,
    USERCTL_TYPE_SFIXED32 = 15,
    USERCTL_TYPE_SFIXED64 = 16,
    USERCTL_TYPE_SINT32 = 17,
    USERCTL_TYPE_SINT64 = 18,
};

/* Messages that have a form of their own in JSON. */
enum userctl_known {
    USERCTL_KNOWN_NONE,
    USERCTL_KNOWN_TIMESTAMP,
    USERCTL_KNOWN_DURATION,
    USERCTL_KNOWN_FIELD_MASK,
    USERCTL_KNOWN_WRAPPER,
    USERCTL_KNOWN_ANY,
    USERCTL_KNOWN_STRUCT,
    USERCTL_KNOWN_VALUE,
    USERCTL_KNOWN_LIST_VALUE,
};

struct userctl_enum_value {
    const char *name;
    int32_t number;
};

struct userctl_enum {
    const char *name; /* with its package, as all names of types */
    struct userctl_enum_value *values;
    const struct userctl_enum_value **by_number; /* of one number the first comes first */
    size_t value_count;
    bool is_null; /* google.protobuf.NullValue */
    struct userctl_enum *next;
};

struct userctl_field {
    const char *name;
    const char *json_name;
    const char *type_name; /* of a message or enum, else NULL */
    uint32_t number;
    enum userctl_type type;
    int oneof; /* its index in the message, -1 = of none */
    bool is_repeated;
    bool is_packed;
    bool is_required;
    bool is_optional;  /* by the word `optional` of proto3 */
    bool has_presence; /* its default is told too when it is set */
    /* NULL as long as no file describes the type. */
    const struct userctl_message *message;
    const struct userctl_enum *enumeration;
};

struct userctl_message {
    const char *name;
    struct userctl_field *fields;
    const struct userctl_field **by_number;
    size_t field_count;
    const char **oneofs;
    size_t oneof_count;
    bool is_map_entry;
    enum userctl_known known; /* once linked */
    struct userctl_message *next;
};

struct userctl_method {
    const char *name;
    const char *input_name;
    const char *output_name;
    const struct userctl_message *input; /* NULL as above */
    const struct userctl_message *output;
    bool client_streams;
    bool server_streams;
};

struct userctl_service {
    const char *name;
    struct userctl_method *methods;
    size_t method_count;
    struct userctl_service *next;
};

struct userctl_schema_file {
    const char *name;
    const char **imports;
    size_t import_count;
    size_t imports_known; /* of the first so many nothing is missing */
    struct userctl_schema_file *next;
};

struct userctl_symbol {
    const char *name;
    const struct userctl_message *message; /* one of the three */
    const struct userctl_enum *enumeration;
    const struct userctl_service *service;
};

struct userctl_schema {
    struct arena arena;
    struct userctl_schema_file *files; /* newest first, as the lists below */
    struct userctl_message *messages;
    struct userctl_enum *enums;
    struct userctl_service *services;
    unsigned file_count;
    size_t symbol_count;
    size_t size;
    struct userctl_symbol *symbols; /* by name, once linked */
};

void userctl_schema_init(struct userctl_schema *schema);
void userctl_schema_deinit(struct userctl_schema *schema);

/* Adds a FileDescriptorProto; one whose name is known already is left out. Returns 0, or
 * USERCTL_SCHEMA_E_BAD with `problem` (USERCTL_SCHEMA_PROBLEM_SIZE bytes) filled in: then the
 * schema is of no use any more. */
int userctl_schema_add(struct userctl_schema *schema, struct bytes file, char *problem);

/* An import that was not added yet; NULL when none is missing. */
const char *userctl_schema_missing(const struct userctl_schema *schema);

/* Finds the types of all fields and methods; to be repeated when files were added. Returns 0, or
 * -ENOMEM. */
int userctl_schema_link(struct userctl_schema *schema);

/* A type or service by its full name, once linked; NULL when there is none. */
const struct userctl_symbol *userctl_schema_find(const struct userctl_schema *schema,
                                                 const char *name);

/* NULL when there is none. A field goes by both of its names. */
const struct userctl_method *userctl_schema_method(const struct userctl_service *service,
                                                   const char *name);
const struct userctl_field *userctl_schema_field(const struct userctl_message *message,
                                                 const char *name);
const struct userctl_field *userctl_schema_number(const struct userctl_message *message,
                                                  uint32_t number);
const char *userctl_schema_enum_name(const struct userctl_enum *enumeration, int32_t number);

/* A repeated field of entries. */
bool userctl_schema_is_map(const struct userctl_field *field);

/* "int32", "string", or the name of the message or enum. */
const char *userctl_schema_type_name(const struct userctl_field *field);

#endif
