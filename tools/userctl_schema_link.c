/*
 * The names of a schema in their order, and what goes by them.
 */
#include "userctl_schema.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_WKT_START "google.protobuf."

static int by_name(const void *left, const void *right)
{
    const struct userctl_symbol *a = left;
    const struct userctl_symbol *b = right;

    return strcmp(a->name, b->name);
}

/* All names, in their order. */
static int list_symbols(struct userctl_schema *schema)
{
    size_t count = 0;

    free(schema->symbols);
    schema->symbols = calloc(schema->symbol_count + 1, sizeof(*schema->symbols));
    if (schema->symbols == NULL) {
        return -ENOMEM;
    }
    for (struct userctl_message *it = schema->messages; it != NULL; it = it->next) {
        schema->symbols[count++] = (struct userctl_symbol){.name = it->name, .message = it};
    }
    for (struct userctl_enum *it = schema->enums; it != NULL; it = it->next) {
        schema->symbols[count++] = (struct userctl_symbol){.name = it->name, .enumeration = it};
    }
    for (struct userctl_service *it = schema->services; it != NULL; it = it->next) {
        schema->symbols[count++] = (struct userctl_symbol){.name = it->name, .service = it};
    }
    schema->symbol_count = count;
    qsort(schema->symbols, count, sizeof(*schema->symbols), by_name);
    return 0;
}

static const struct userctl_message *find_message(const struct userctl_schema *schema,
                                                  const char *name)
{
    const struct userctl_symbol *symbol = userctl_schema_find(schema, name);

    return symbol == NULL ? NULL : symbol->message;
}

static void link_field(const struct userctl_schema *schema, struct userctl_field *field)
{
    const struct userctl_symbol *symbol =
        field->type_name == NULL ? NULL : userctl_schema_find(schema, field->type_name);

    if (symbol != NULL && field->type == USERCTL_TYPE_MESSAGE) {
        field->message = symbol->message;
    } else if (symbol != NULL && field->type == USERCTL_TYPE_ENUM) {
        field->enumeration = symbol->enumeration;
    }
}

static enum userctl_known known_by_name(const char *name)
{
    static const struct {
        const char *name;
        enum userctl_known known;
    } all[] = {
        {"Timestamp", USERCTL_KNOWN_TIMESTAMP},  {"Duration", USERCTL_KNOWN_DURATION},
        {"FieldMask", USERCTL_KNOWN_FIELD_MASK}, {"Any", USERCTL_KNOWN_ANY},
        {"Struct", USERCTL_KNOWN_STRUCT},        {"Value", USERCTL_KNOWN_VALUE},
        {"ListValue", USERCTL_KNOWN_LIST_VALUE}, {"DoubleValue", USERCTL_KNOWN_WRAPPER},
        {"FloatValue", USERCTL_KNOWN_WRAPPER},   {"Int64Value", USERCTL_KNOWN_WRAPPER},
        {"UInt64Value", USERCTL_KNOWN_WRAPPER},  {"Int32Value", USERCTL_KNOWN_WRAPPER},
        {"UInt32Value", USERCTL_KNOWN_WRAPPER},  {"BoolValue", USERCTL_KNOWN_WRAPPER},
        {"StringValue", USERCTL_KNOWN_WRAPPER},  {"BytesValue", USERCTL_KNOWN_WRAPPER},
    };

    const size_t start_size = sizeof(KNOWN_WKT_START) - 1;

    if (strncmp(name, KNOWN_WKT_START, start_size) != 0) {
        return USERCTL_KNOWN_NONE;
    }
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(name + start_size, all[i].name) == 0) {
            return all[i].known;
        }
    }
    return USERCTL_KNOWN_NONE;
}

/* Of these types a key may be. */
static bool can_be_key(enum userctl_type type)
{
    return type != USERCTL_TYPE_MESSAGE && type != USERCTL_TYPE_BYTES &&
           type != USERCTL_TYPE_GROUP && type != USERCTL_TYPE_DOUBLE &&
           type != USERCTL_TYPE_FLOAT && type != USERCTL_TYPE_ENUM;
}

int userctl_schema_link(struct userctl_schema *schema)
{
    if (list_symbols(schema) != 0) {
        return -ENOMEM;
    }
    for (struct userctl_enum *it = schema->enums; it != NULL; it = it->next) {
        it->is_null = strcmp(it->name, KNOWN_WKT_START "NullValue") == 0;
    }
    for (struct userctl_message *it = schema->messages; it != NULL; it = it->next) {
        it->known = known_by_name(it->name);
        for (size_t i = 0; i < it->field_count; i++) {
            link_field(schema, &it->fields[i]);
        }
        if (it->is_map_entry) {
            const struct userctl_field *key = userctl_schema_number(it, 1);

            /* It has one key and one value, or else it is none. */
            it->is_map_entry = key != NULL && !key->is_repeated && can_be_key(key->type) &&
                               userctl_schema_number(it, 2) != NULL &&
                               !userctl_schema_number(it, 2)->is_repeated;
        }
    }
    for (struct userctl_service *it = schema->services; it != NULL; it = it->next) {
        for (size_t i = 0; i < it->method_count; i++) {
            it->methods[i].input = find_message(schema, it->methods[i].input_name);
            it->methods[i].output = find_message(schema, it->methods[i].output_name);
        }
    }
    return 0;
}

const struct userctl_symbol *userctl_schema_find(const struct userctl_schema *schema,
                                                 const char *name)
{
    const struct userctl_symbol wanted = {.name = name};

    if (schema->symbols == NULL) {
        return NULL;
    }
    return bsearch(&wanted, schema->symbols, schema->symbol_count, sizeof(wanted), by_name);
}

const struct userctl_method *userctl_schema_method(const struct userctl_service *service,
                                                   const char *name)
{
    for (size_t i = 0; i < service->method_count; i++) {
        if (strcmp(service->methods[i].name, name) == 0) {
            return &service->methods[i];
        }
    }
    return NULL;
}

const struct userctl_field *userctl_schema_field(const struct userctl_message *message,
                                                 const char *name)
{
    for (size_t i = 0; i < message->field_count; i++) {
        if (strcmp(message->fields[i].name, name) == 0 ||
            strcmp(message->fields[i].json_name, name) == 0) {
            return &message->fields[i];
        }
    }
    return NULL;
}

const struct userctl_field *userctl_schema_number(const struct userctl_message *message,
                                                  uint32_t number)
{
    size_t least = 0;
    size_t most = message->field_count;

    while (least < most) {
        size_t middle = least + (most - least) / 2;

        if (message->by_number[middle]->number < number) {
            least = middle + 1;
        } else {
            most = middle;
        }
    }
    return least < message->field_count && message->by_number[least]->number == number
               ? message->by_number[least]
               : NULL;
}

const char *userctl_schema_enum_name(const struct userctl_enum *enumeration, int32_t number)
{
    size_t least = 0;
    size_t most = enumeration->value_count;

    while (least < most) {
        size_t middle = least + (most - least) / 2;

        if (enumeration->by_number[middle]->number < number) {
            least = middle + 1;
        } else {
            most = middle;
        }
    }
    return least < enumeration->value_count && enumeration->by_number[least]->number == number
               ? enumeration->by_number[least]->name
               : NULL;
}

bool userctl_schema_is_map(const struct userctl_field *field)
{
    return field->is_repeated && field->message != NULL && field->message->is_map_entry;
}

const char *userctl_schema_type_name(const struct userctl_field *field)
{
    static const char *const names[] = {
        [USERCTL_TYPE_DOUBLE] = "double",     [USERCTL_TYPE_FLOAT] = "float",
        [USERCTL_TYPE_INT64] = "int64",       [USERCTL_TYPE_UINT64] = "uint64",
        [USERCTL_TYPE_INT32] = "int32",       [USERCTL_TYPE_FIXED64] = "fixed64",
        [USERCTL_TYPE_FIXED32] = "fixed32",   [USERCTL_TYPE_BOOL] = "bool",
        [USERCTL_TYPE_STRING] = "string",     [USERCTL_TYPE_GROUP] = "group",
        [USERCTL_TYPE_MESSAGE] = "message",   [USERCTL_TYPE_BYTES] = "bytes",
        [USERCTL_TYPE_UINT32] = "uint32",     [USERCTL_TYPE_ENUM] = "enum",
        [USERCTL_TYPE_SFIXED32] = "sfixed32", [USERCTL_TYPE_SFIXED64] = "sfixed64",
        [USERCTL_TYPE_SINT32] = "sint32",     [USERCTL_TYPE_SINT64] = "sint64",
    };

    return field->type_name != NULL ? field->type_name : names[field->type];
}
