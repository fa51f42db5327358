#include "service/reflection_index.h"

#include "core/arena.h"
#include "core/buf.h"
#include "http2/proto_wire.h"

#include <errno.h>
#include <stdlib.h>

/*
 * A descriptor is a message with its name, and with descriptors of what it declares. All kinds of
 * them are read alike, by a table of the fields that hold others. They wait in a list, so that
 * nothing calls itself however deep a message is nested:
 *
 *   1. The files of the set begin the list. Each knows its package.
 *   2. From the front, each descriptor adds its full name to the symbols, and what it declares to
 *      the end of the list, with the full name as the scope of theirs.
 *   3. Symbols and extensions are sorted, to be searched.
 *
 * Fields, enum values and oneofs are symbols too. A value of an enum is named beside its enum, not
 * below it.
 */

/* The messages of google/protobuf/descriptor.proto, by field number. */
#define SET_FILE           1
#define ANY_NAME           1
#define FILE_PACKAGE       2
#define FILE_DEPENDENCY    3
#define EXTENSION_EXTENDEE 2
#define EXTENSION_NUMBER   3

#define NAME_BYTES_MAX 512 /* a full name */

enum kind {
    KIND_NONE,
    KIND_FILE,
    KIND_MESSAGE,
    KIND_ENUM,
    KIND_SERVICE,
    KIND_EXTENSION,
    KIND_LEAF, /* it declares nothing: field, value, oneof, method */
};

#define CHILD_FIELDS_MAX 9

/* What the fields of a descriptor declare. */
static const uint8_t children[][CHILD_FIELDS_MAX] = {
    [KIND_FILE] = {[4] = KIND_MESSAGE, [5] = KIND_ENUM, [6] = KIND_SERVICE, [7] = KIND_EXTENSION},
    [KIND_MESSAGE] = {[2] = KIND_LEAF,
                      [3] = KIND_MESSAGE,
                      [4] = KIND_ENUM,
                      [6] = KIND_EXTENSION,
                      [8] = KIND_LEAF},
    [KIND_ENUM] = {[2] = KIND_LEAF},
    [KIND_SERVICE] = {[2] = KIND_LEAF},
    [KIND_LEAF] = {0},
};

struct descriptor {
    struct bytes bytes;
    struct bytes scope; /* of its name; of a file, nothing yet */
    unsigned file;
    enum kind kind;
};

struct symbol {
    struct bytes name;
    unsigned file;
};

struct file {
    struct bytes name;
    struct bytes entry;
    struct bytes descriptor;
    uint64_t imports;
};

struct reflection_index {
    struct file files[REFLECTION_FILES_MAX];
    unsigned file_count;
    struct arena names;
    struct buf symbols;    /* of struct symbol, by name */
    struct buf extensions; /* of struct reflection_extension, by type and number */
};

int reflection_index_order(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);

    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* ---- reading ---- */

/* The last field of that number and type, which is as it was when there is none. Returns 0 or
 * -EBADMSG. */
static int read_field(struct bytes message, uint32_t number, enum proto_wire_type type,
                      struct proto_wire_field *field)
{
    struct proto_wire_field next;
    int result;

    while ((result = proto_wire_read(&message, &next)) == 0) {
        if (next.number == number && next.type == type) {
            *field = next;
        }
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

static int read_text(struct bytes message, uint32_t number, struct bytes *ret_text)
{
    struct proto_wire_field field = {0};
    int result = read_field(message, number, PROTO_WIRE_BYTES, &field);

    if (result == 0) {
        *ret_text = field.bytes;
    }
    return result;
}

/* Puts a name behind its scope. Returns 0, -EBADMSG or -ENOMEM. */
static int join(struct reflection_index *index, struct bytes scope, struct bytes name,
                struct bytes *ret_name)
{
    size_t size = scope.size + (scope.size > 0) + name.size;
    char *text;

    if (scope.size > NAME_BYTES_MAX || name.size > NAME_BYTES_MAX || size > NAME_BYTES_MAX) {
        return -EBADMSG;
    }
    text = arena_alloc(&index->names, size + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    if (scope.size > 0) {
        memcpy(text, scope.data, scope.size);
        text[scope.size] = '.';
    }
    if (name.size > 0) {
        memcpy(text + (size - name.size), name.data, name.size);
    }
    *ret_name = (struct bytes){(const uint8_t *)text, size};
    return 0;
}

static int add_symbol(struct reflection_index *index, const struct descriptor *descriptor,
                      struct bytes *ret_name)
{
    struct symbol symbol = {.file = descriptor->file};
    struct bytes name = {0};
    int result = read_text(descriptor->bytes, ANY_NAME, &name);

    if (result == 0) {
        result = join(index, descriptor->scope, name, &symbol.name);
    }
    if (result == 0) {
        result = buf_append(&index->symbols, &symbol, sizeof(symbol));
    }
    *ret_name = symbol.name;
    return result;
}

static int add_extension(struct reflection_index *index, const struct descriptor *descriptor)
{
    struct reflection_extension extension = {.file = descriptor->file};
    struct proto_wire_field number = {0};
    int result = read_text(descriptor->bytes, EXTENSION_EXTENDEE, &extension.type);

    if (result == 0) {
        result = read_field(descriptor->bytes, EXTENSION_NUMBER, PROTO_WIRE_VARINT, &number);
    }
    if (result != 0) {
        return result;
    }
    extension.number = (int32_t)(uint32_t)number.value;
    if (extension.type.size > 0 && extension.type.data[0] == '.') { /* a full name, as usual */
        extension.type = (struct bytes){extension.type.data + 1, extension.type.size - 1};
    }
    return buf_append(&index->extensions, &extension, sizeof(extension));
}

/* Puts what a descriptor declares into the list. */
static int add_children(struct buf *list, const struct descriptor *descriptor, struct bytes scope)
{
    struct bytes rest = descriptor->bytes;
    struct proto_wire_field field;
    int result = 0;

    while (result == 0 && (result = proto_wire_read(&rest, &field)) == 0) {
        struct descriptor child = {field.bytes, scope, descriptor->file, KIND_NONE};

        if (field.type == PROTO_WIRE_BYTES && field.number < CHILD_FIELDS_MAX) {
            child.kind = (enum kind)children[descriptor->kind][field.number];
        }
        if (child.kind != KIND_NONE) {
            result = buf_append(list, &child, sizeof(child));
        }
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

static int read_descriptor(struct reflection_index *index, struct buf *list,
                           const struct descriptor *descriptor)
{
    struct bytes name = {0};
    int result;

    if (descriptor->kind == KIND_FILE) {
        result = read_text(descriptor->bytes, FILE_PACKAGE, &name);
    } else {
        result = add_symbol(index, descriptor, &name);
    }
    if (result != 0) {
        return result;
    }
    if (descriptor->kind == KIND_EXTENSION) {
        return add_extension(index, descriptor);
    }
    return add_children(list, descriptor, descriptor->kind == KIND_ENUM ? descriptor->scope : name);
}

/* Reads the descriptors of the list, which grows meanwhile. */
static int read_list(struct reflection_index *index, struct buf *list)
{
    int result = 0;

    while (result == 0 && buf_size(list) > 0) {
        struct descriptor descriptor;

        memcpy(&descriptor, buf_bytes(list).data, sizeof(descriptor));
        buf_consume(list, sizeof(descriptor));
        result = read_descriptor(index, list, &descriptor);
    }
    return result;
}

static int add_file(struct reflection_index *index, struct buf *list, struct bytes entry,
                    struct bytes bytes)
{
    struct descriptor descriptor = {bytes, {0}, index->file_count, KIND_FILE};
    struct file *file;
    int result;

    if (index->file_count == REFLECTION_FILES_MAX) {
        return -EBADMSG;
    }
    file = &index->files[index->file_count++];
    file->entry = entry;
    file->descriptor = bytes;
    result = read_text(bytes, ANY_NAME, &file->name);
    return result == 0 ? buf_append(list, &descriptor, sizeof(descriptor)) : result;
}

/* Takes the files of the set, and begins the list with them. */
static int read_set(struct reflection_index *index, struct bytes set, struct buf *list)
{
    struct proto_wire_field field;
    struct bytes rest = set;
    int result = 0;

    while (result == 0 && (result = proto_wire_read(&rest, &field)) == 0) {
        struct bytes entry = {set.data, set.size - rest.size};

        if (field.number == SET_FILE && field.type == PROTO_WIRE_BYTES) {
            result = add_file(index, list, entry, field.bytes);
        }
        set = rest;
    }
    return result == PROTO_WIRE_E_END ? 0 : result;
}

/* ---- imports ---- */

/* Those that stand in the file itself. It was read before: it is well formed. */
static uint64_t direct_imports(const struct reflection_index *index, unsigned number)
{
    struct bytes rest = index->files[number].descriptor;
    uint64_t imports = 1ULL << number;
    struct proto_wire_field field;

    while (proto_wire_read(&rest, &field) == 0) {
        unsigned import = REFLECTION_NO_FILE;

        if (field.number == FILE_DEPENDENCY && field.type == PROTO_WIRE_BYTES) {
            import = reflection_index_file(index, field.bytes);
        }
        if (import != REFLECTION_NO_FILE) {
            imports |= 1ULL << import;
        }
    }
    return imports;
}

/* Adds what the imports of a file import. False when it had it all. */
static bool widen(struct reflection_index *index, struct file *file)
{
    uint64_t imports = file->imports;

    for (unsigned i = 0; i < index->file_count; i++) {
        if ((file->imports >> i & 1) != 0) {
            imports |= index->files[i].imports;
        }
    }
    if (imports == file->imports) {
        return false;
    }
    file->imports = imports;
    return true;
}

static void find_imports(struct reflection_index *index)
{
    bool any = true;

    for (unsigned i = 0; i < index->file_count; i++) {
        index->files[i].imports = direct_imports(index, i);
    }
    while (any) {
        any = false;
        for (unsigned i = 0; i < index->file_count; i++) {
            any = widen(index, &index->files[i]) || any;
        }
    }
}

/* ---- searching ---- */

static size_t symbol_count(const struct reflection_index *index)
{
    return buf_size(&index->symbols) / sizeof(struct symbol);
}

static size_t extension_count(const struct reflection_index *index)
{
    return buf_size(&index->extensions) / sizeof(struct reflection_extension);
}

static int compare_symbols(const void *a, const void *b)
{
    const struct symbol *symbol = a;
    const struct symbol *other = b;

    return reflection_index_order(symbol->name, other->name);
}

static int compare_extensions(const void *a, const void *b)
{
    const struct reflection_extension *extension = a;
    const struct reflection_extension *other = b;
    int order = reflection_index_order(extension->type, other->type);

    return order != 0 ? order
                      : (extension->number > other->number) - (extension->number < other->number);
}

/* Both tables begin at the front of their memory, which is aligned for anything. */
static void sort_tables(struct reflection_index *index)
{
    if (symbol_count(index) > 0) {
        qsort(index->symbols.data, symbol_count(index), sizeof(struct symbol), compare_symbols);
    }
    if (extension_count(index) > 0) {
        qsort(index->extensions.data, extension_count(index), sizeof(struct reflection_extension),
              compare_extensions);
    }
}

unsigned reflection_index_file(const struct reflection_index *index, struct bytes name)
{
    for (unsigned i = 0; i < index->file_count; i++) {
        if (bytes_equal(index->files[i].name, name)) {
            return i;
        }
    }
    return REFLECTION_NO_FILE;
}

unsigned reflection_index_symbol(const struct reflection_index *index, struct bytes name)
{
    const struct symbol key = {.name = name};
    const struct symbol *found = NULL;

    if (symbol_count(index) > 0) {
        found =
            bsearch(&key, index->symbols.data, symbol_count(index), sizeof(key), compare_symbols);
    }
    return found == NULL ? REFLECTION_NO_FILE : found->file;
}

unsigned reflection_index_extension(const struct reflection_index *index, struct bytes type,
                                    int32_t number)
{
    const struct reflection_extension key = {.type = type, .number = number};
    const struct reflection_extension *found = NULL;

    if (extension_count(index) > 0) {
        found = bsearch(&key, index->extensions.data, extension_count(index), sizeof(key),
                        compare_extensions);
    }
    return found == NULL ? REFLECTION_NO_FILE : found->file;
}

const struct reflection_extension *reflection_index_extensions(const struct reflection_index *index,
                                                               struct bytes type, size_t *ret_count)
{
    const struct reflection_extension *all = (const void *)index->extensions.data;
    size_t end = extension_count(index);
    size_t first = 0;
    size_t count = 0;

    while (first < end && !bytes_equal(all[first].type, type)) {
        first++;
    }
    while (first + count < end && bytes_equal(all[first + count].type, type)) {
        count++;
    }
    *ret_count = count;
    return count == 0 ? NULL : all + first;
}

struct bytes reflection_index_entry(const struct reflection_index *index, unsigned file)
{
    return index->files[file].entry;
}

uint64_t reflection_index_imports(const struct reflection_index *index, unsigned file)
{
    return index->files[file].imports;
}

/* ---- life ---- */

int reflection_index_new(struct bytes set, struct reflection_index **ret_index)
{
    struct reflection_index *index = calloc(1, sizeof(*index));
    struct buf list = {0};
    int result;

    if (index == NULL) {
        return -ENOMEM;
    }
    result = read_set(index, set, &list);
    if (result == 0) {
        result = read_list(index, &list);
    }
    buf_deinit(&list);
    if (result != 0) {
        reflection_index_free(index);
        return result;
    }
    sort_tables(index);
    find_imports(index);
    *ret_index = index;
    return 0;
}

void reflection_index_free(struct reflection_index *index)
{
    if (index == NULL) {
        return;
    }
    buf_deinit(&index->symbols);
    buf_deinit(&index->extensions);
    arena_deinit(&index->names);
    free(index);
}
