#include "http2/grpc_metadata.h"

#include "core/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

/*
 * A head arrives field by field, each borrowed for one call. What decides about the call is kept as
 * a flag, a count or a number; the few texts that are needed later are copied into the call's
 * arena. A fault is remembered, not acted upon, until the head is whole: which answer it gets
 * depends on the other fields (a browser's GET is told 405, not that its path is no method).
 *
 * What a field is, by its texts, is found out once for a field that the connection remembers: its
 * note is the kind.
 */

#define NAME_IS(name_, literal_) bytes_equal((name_), BYTES_LITERAL(literal_))
#define CUSTOM_FIRST             4 /* room of the first table: a power of two */

void grpc_head_init(struct grpc_head *head)
{
    *head = (struct grpc_head){.timeout_ns = GRPC_TIMEOUT_NONE};
}

void grpc_head_wipe(struct grpc_head *head)
{
    void *memory = (void *)(uintptr_t)head->authorization.data; /* copy() made it */

    if (memory != NULL) {
        explicit_bzero(memory, head->authorization.size);
    }
    head->authorization = (struct bytes){0};
}

/* Keeps the fault that comes first in the order of the verdict. */
static void note_fault(struct grpc_head *head, enum grpc_head_fault fault)
{
    if (head->fault == GRPC_HEAD_OK || fault < head->fault) {
        head->fault = fault;
    }
}

static struct bytes copy(struct grpc_head *head, struct arena *arena, struct bytes text)
{
    char *memory = arena_copy_text(arena, text);

    if (memory == NULL) {
        note_fault(head, GRPC_HEAD_NO_MEMORY);
        return (struct bytes){0};
    }
    return (struct bytes){(const uint8_t *)memory, text.size};
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

/* Metadata values have no blanks around them (PROTOCOL-HTTP2: they may be stripped). */
static struct bytes strip(struct bytes text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text = (struct bytes){text.data + 1, text.size - 1};
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte - 'A' + 'a') : byte;
}

static bool starts_with_folded(struct bytes text, struct bytes prefix)
{
    size_t i;

    if (text.size < prefix.size) {
        return false;
    }
    for (i = 0; i < prefix.size; i++) {
        if (lower(text.data[i]) != prefix.data[i]) {
            return false;
        }
    }
    return true;
}

/* What a field says, as far as its texts alone tell. */
enum field_kind {
    KIND_UNKNOWN, /* not found out yet */
    KIND_IGNORED,
    KIND_PATH,
    KIND_METHOD_POST,
    KIND_METHOD_OTHER,
    KIND_AUTHORITY,
    KIND_HOST,
    KIND_TYPE_PROTO,
    KIND_TYPE_GRPC, /* with a subtype that is not proto */
    KIND_TE,
    KIND_USER_AGENT,
    KIND_AUTHORIZATION,
    KIND_TIMEOUT,
    KIND_ENCODING,
    KIND_ACCEPTS_GZIP,
    KIND_BINARY,
    KIND_CUSTOM,
};

/* "application/grpc", "+subtype" or not, ";parameters" or not (P4). */
static enum field_kind kind_of_type(struct bytes value)
{
    const struct bytes base = BYTES_LITERAL("application/grpc");
    struct bytes rest;

    if (!starts_with_folded(value, base)) {
        return KIND_IGNORED;
    }
    rest = (struct bytes){value.data + base.size, value.size - base.size};
    if (rest.size == 0 || rest.data[0] == ';') {
        return KIND_TYPE_PROTO;
    }
    if (rest.data[0] != '+') {
        return KIND_IGNORED;
    }
    return starts_with_folded(rest, BYTES_LITERAL("+proto")) &&
                   (rest.size == 6 || rest.data[6] == ';')
               ? KIND_TYPE_PROTO
               : KIND_TYPE_GRPC;
}

/* Looks for `gzip` in a comma-separated list. */
static bool lists_gzip(struct bytes list)
{
    while (list.size > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma == NULL ? list.size : (size_t)(comma - list.data);

        if (NAME_IS(strip((struct bytes){list.data, size}), "gzip")) {
            return true;
        }
        if (comma == NULL) {
            return false;
        }
        list = (struct bytes){comma + 1, list.size - size - 1};
    }
    return false;
}

static int base64_value(uint8_t digit)
{
    if (digit >= 'A' && digit <= 'Z') {
        return digit - 'A';
    }
    if (digit >= 'a' && digit <= 'z') {
        return digit - 'a' + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return digit - '0' + 52;
    }
    return digit == '+' ? 62 : digit == '/' ? 63 : -1;
}

/* Decodes, or with `out` NULL only checks. */
static int base64_decode(struct bytes text, uint8_t *out, size_t *ret_size)
{
    uint32_t bits = 0;
    unsigned bit_count = 0;
    size_t size = 0;
    size_t i;

    if (text.size > 0 && text.size % 4 == 0 && text.data[text.size - 1] == '=') {
        text.size -= text.data[text.size - 2] == '=' ? 2 : 1;
    }
    if (text.size % 4 == 1) {
        return -EBADMSG;
    }
    for (i = 0; i < text.size; i++) {
        int value = base64_value(text.data[i]);

        if (value < 0) {
            return -EBADMSG;
        }
        bits = bits << 6 | (uint32_t)value;
        bit_count += 6;
        if (bit_count >= 8) {
            bit_count -= 8;
            if (out != NULL) {
                out[size] = (uint8_t)(bits >> bit_count);
            }
            size++;
        }
    }
    if ((bits & ((1U << bit_count) - 1)) != 0) {
        return -EBADMSG; /* bits that belong to no byte: a second spelling of the same value */
    }
    *ret_size = size;
    return 0;
}

static enum field_kind kind_of_pseudo(const struct h2_field *field)
{
    if (NAME_IS(field->name, ":path")) {
        return KIND_PATH;
    }
    if (NAME_IS(field->name, ":method")) {
        return NAME_IS(field->value, "POST") ? KIND_METHOD_POST : KIND_METHOD_OTHER;
    }
    return NAME_IS(field->name, ":authority") ? KIND_AUTHORITY : KIND_IGNORED;
}

static enum field_kind kind_of_regular(struct bytes name, struct bytes value)
{
    static const struct {
        struct bytes name;
        enum field_kind kind;
    } known[] = {
        {{(const uint8_t *)"te", 2}, KIND_TE},
        {{(const uint8_t *)"user-agent", 10}, KIND_USER_AGENT},
        {{(const uint8_t *)"authorization", 13}, KIND_AUTHORIZATION},
        {{(const uint8_t *)"host", 4}, KIND_HOST},
        {{(const uint8_t *)"grpc-timeout", 12}, KIND_TIMEOUT},
        {{(const uint8_t *)"grpc-encoding", 13}, KIND_ENCODING},
    };

    size_t i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (bytes_equal(name, known[i].name)) {
            return known[i].kind;
        }
    }
    if (NAME_IS(name, "content-type")) {
        return kind_of_type(value);
    }
    if (NAME_IS(name, "grpc-accept-encoding")) {
        return lists_gzip(value) ? KIND_ACCEPTS_GZIP : KIND_IGNORED;
    }
    return grpc_metadata_is_binary(name) ? KIND_BINARY : KIND_CUSTOM;
}

static enum field_kind kind_of(const struct h2_field *field)
{
    enum field_kind kind = field->note != NULL ? (enum field_kind) * field->note : KIND_UNKNOWN;

    if (kind != KIND_UNKNOWN) {
        return kind;
    }
    if (field->name.size == 0) {
        kind = KIND_IGNORED;
    } else if (field->name.data[0] == ':') {
        kind = kind_of_pseudo(field);
    } else {
        kind = kind_of_regular(field->name, strip(field->value));
    }
    if (field->note != NULL) {
        *field->note = (uint8_t)kind;
    }
    return kind;
}

/* Makes room for one more. The table doubles: most heads have few of these, and none is usual. */
static bool reserve_custom(struct grpc_head *head, struct arena *arena)
{
    unsigned count = head->custom_count;
    unsigned capacity = count == 0 ? CUSTOM_FIRST : 2 * count;
    struct grpc_metadata_field *table;

    if (count == GRPC_METADATA_CUSTOM_MAX) {
        return false;
    }
    if (count != 0 && (count < CUSTOM_FIRST || (count & (count - 1)) != 0)) {
        return true; /* it grows when the count reaches a power of two */
    }
    table = arena_alloc(arena, capacity * sizeof(*table));
    if (table == NULL) {
        return false;
    }
    if (count > 0) {
        memcpy(table, head->custom, count * sizeof(*table));
    }
    head->custom = table;
    return true;
}

static void add_custom(struct grpc_head *head, struct arena *arena, struct bytes name,
                       struct bytes value)
{
    if (!reserve_custom(head, arena)) {
        note_fault(head, GRPC_HEAD_NO_MEMORY);
        return;
    }
    head->custom[head->custom_count++] = (struct grpc_metadata_field){
        .name = copy(head, arena, name), .value = copy(head, arena, value)};
}

/* Adds every part of a list joined with commas as a field of its own; each must decode (P10). */
static void add_binary(struct grpc_head *head, struct arena *arena, struct bytes name,
                       struct bytes value)
{
    size_t decoded_size;

    for (;;) {
        const uint8_t *comma = value.size > 0 ? memchr(value.data, ',', value.size) : NULL;
        size_t size = comma == NULL ? value.size : (size_t)(comma - value.data);
        struct bytes part = strip((struct bytes){value.data, size});

        if (base64_decode(part, NULL, &decoded_size) != 0) {
            note_fault(head, GRPC_HEAD_BAD_BINARY);
            return;
        }
        add_custom(head, arena, name, part);
        if (comma == NULL || head->fault == GRPC_HEAD_NO_MEMORY) {
            return;
        }
        value = (struct bytes){comma + 1, value.size - size - 1};
    }
}

static void add_timeout(struct grpc_head *head, struct bytes value)
{
    if (grpc_timeout_parse(value, &head->timeout_ns) != 0) {
        note_fault(head, GRPC_HEAD_BAD_TIMEOUT);
    }
}

static void add_authorization(struct grpc_head *head, struct arena *arena, struct bytes value)
{
    if (head->authorization_count++ == 0) { /* a second one is not looked at, only counted */
        head->authorization = copy(head, arena, value);
    }
}

/* The kinds whose value is kept, or read each time. */
static void add_value(struct grpc_head *head, struct arena *arena, enum field_kind kind,
                      const struct h2_field *field)
{
    struct bytes value = strip(field->value);

    if (kind == KIND_AUTHORIZATION) {
        add_authorization(head, arena, value);
    } else if (kind == KIND_USER_AGENT) {
        head->user_agent = copy(head, arena, value);
    } else if (kind == KIND_TIMEOUT) {
        add_timeout(head, value);
    } else if (kind == KIND_ENCODING) {
        head->encoding = copy(head, arena, value);
        head->uses_gzip = NAME_IS(value, "gzip");
    } else if (kind == KIND_BINARY) {
        add_binary(head, arena, field->name, value);
    } else {
        add_custom(head, arena, field->name, value);
    }
}

void grpc_head_add(struct grpc_head *head, struct arena *arena, const struct h2_field *field)
{
    enum field_kind kind = kind_of(field);

    switch (kind) {
    case KIND_UNKNOWN:
    case KIND_IGNORED:
        break;
    case KIND_PATH:
        head->path = copy(head, arena, field->value);
        break;
    case KIND_METHOD_POST:
    case KIND_METHOD_OTHER:
        head->is_post = kind == KIND_METHOD_POST;
        break;
    case KIND_AUTHORITY:
        head->authority_count++;
        break;
    case KIND_HOST:
        head->host_count++;
        break;
    case KIND_TYPE_PROTO:
    case KIND_TYPE_GRPC:
        head->is_grpc = true;
        head->is_proto = kind == KIND_TYPE_PROTO;
        break;
    case KIND_TE:
        head->has_te = true;
        break;
    case KIND_ACCEPTS_GZIP:
        head->accepts_gzip = true;
        break;
    case KIND_USER_AGENT:
    case KIND_AUTHORIZATION:
    case KIND_TIMEOUT:
    case KIND_ENCODING:
    case KIND_BINARY:
    case KIND_CUSTOM:
        add_value(head, arena, kind, field);
        break;
    }
}

/* "/service/method": a slash in front, and another behind it. */
static bool path_is_well_formed(struct bytes path)
{
    return path.size > 1 && path.data[0] == '/' &&
           memrchr(path.data + 1, '/', path.size - 1) != NULL;
}

enum grpc_head_fault grpc_head_check(const struct grpc_head *head)
{
    if (!head->is_post) {
        return GRPC_HEAD_NOT_POST;
    }
    if (!head->is_grpc) {
        return GRPC_HEAD_BAD_CONTENT_TYPE;
    }
    if (head->authority_count > 1 || head->host_count > 1) {
        return GRPC_HEAD_BAD_AUTHORITY;
    }
    if (head->fault != GRPC_HEAD_OK) {
        return head->fault;
    }
    if (!path_is_well_formed(head->path)) {
        return GRPC_HEAD_BAD_PATH;
    }
    if (!head->is_proto) {
        return GRPC_HEAD_BAD_SUBTYPE;
    }
    if (head->encoding.size > 0 && !head->uses_gzip && !NAME_IS(head->encoding, "identity")) {
        return GRPC_HEAD_BAD_ENCODING;
    }
    return GRPC_HEAD_OK;
}

/* The first of that name from position `i` on. */
static const struct grpc_metadata_field *find_from(const struct grpc_head *head, size_t i,
                                                   struct bytes name)
{
    for (; i < head->custom_count; i++) {
        if (bytes_equal(head->custom[i].name, name)) {
            return &head->custom[i];
        }
    }
    return NULL;
}

const struct grpc_metadata_field *grpc_head_find(const struct grpc_head *head, const char *name)
{
    return find_from(head, 0, bytes_from_text(name));
}

const struct grpc_metadata_field *grpc_head_find_next(const struct grpc_head *head,
                                                      const struct grpc_metadata_field *field)
{
    return find_from(head, (size_t)(field - head->custom) + 1, field->name);
}

bool grpc_metadata_is_binary(struct bytes name)
{
    return name.size > 4 && memcmp(name.data + name.size - 4, "-bin", 4) == 0;
}

int grpc_metadata_value(const struct grpc_metadata_field *field, struct arena *arena,
                        struct bytes *ret_value)
{
    uint8_t *decoded;
    size_t size;

    if (!grpc_metadata_is_binary(field->name)) {
        *ret_value = field->value;
        return 0;
    }
    decoded = arena_alloc(arena, field->value.size / 4 * 3 + 3);
    if (decoded == NULL) {
        return -ENOMEM;
    }
    if (base64_decode(field->value, decoded, &size) != 0) {
        return -EBADMSG;
    }
    *ret_value = (struct bytes){decoded, size};
    return 0;
}

static const struct {
    uint8_t letter;
    uint64_t ns;
} timeout_units[] = {
    {'H', 3600 * CLOCK_NS_PER_S}, {'M', 60 * CLOCK_NS_PER_S}, {'S', CLOCK_NS_PER_S},
    {'m', CLOCK_NS_PER_MS},       {'u', CLOCK_NS_PER_US},     {'n', 1},
};

#define TIMEOUT_UNIT_COUNT   (sizeof(timeout_units) / sizeof(timeout_units[0]))
#define TIMEOUT_DIGITS_MAX   8
#define TIMEOUT_NUMBER_LIMIT 100000000U /* the first number with more digits */

int grpc_timeout_parse(struct bytes text, uint64_t *ret_timeout_ns)
{
    uint64_t number = 0;
    size_t i;

    if (text.size < 2 || text.size > TIMEOUT_DIGITS_MAX + 1) {
        return -EBADMSG;
    }
    for (i = 0; i < text.size - 1; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -EBADMSG;
        }
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    for (i = 0; i < TIMEOUT_UNIT_COUNT; i++) {
        uint64_t unit = timeout_units[i].ns;

        if (text.data[text.size - 1] == timeout_units[i].letter) {
            /* Clamped below GRPC_TIMEOUT_NONE, which means something else. */
            *ret_timeout_ns =
                number > (GRPC_TIMEOUT_NONE - 1) / unit ? GRPC_TIMEOUT_NONE - 1 : number * unit;
            return 0;
        }
    }
    return -EBADMSG;
}

void grpc_timeout_format(uint64_t timeout_ns, char *out)
{
    size_t i;

    for (i = 0; i < TIMEOUT_UNIT_COUNT; i++) {
        uint64_t unit = timeout_units[i].ns;
        uint64_t excess = timeout_ns % unit == 0 ? 0 : unit - timeout_ns % unit;
        uint64_t number = timeout_ns / unit + (excess > 0);

        if (number < TIMEOUT_NUMBER_LIMIT && excess <= timeout_ns / 1000) {
            (void)snprintf(out, TIMEOUT_DIGITS_MAX + 2, "%u%c", (unsigned)number,
                           timeout_units[i].letter);
            return;
        }
    }
    /* Only hours have too many digits here, and nobody waits that long: 64 bits of ns are less. */
    assert(false);
}

int grpc_base64_decode(struct bytes text, uint8_t *out, size_t *ret_size)
{
    return base64_decode(text, out, ret_size);
}

static inline void put_digits(uint32_t bits, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    out[0] = digits[bits >> 18];
    out[1] = digits[bits >> 12 & 0x3f];
    out[2] = digits[bits >> 6 & 0x3f];
    out[3] = digits[bits & 0x3f];
}

size_t grpc_base64_encode(struct bytes bytes, char *out)
{
    const uint8_t *data = bytes.data;
    char last[4];
    size_t used = 0;
    size_t left;

    for (left = bytes.size; left >= 3; left -= 3, data += 3, used += 4) {
        put_digits((uint32_t)data[0] << 16 | (uint32_t)data[1] << 8 | data[2], out + used);
    }
    if (left > 0) { /* a digit more than bytes, and no padding (P10) */
        put_digits((uint32_t)data[0] << 16 | (left == 2 ? (uint32_t)data[1] << 8 : 0), last);
        memcpy(out + used, last, left + 1);
        used += left + 1;
    }
    out[used] = '\0';
    return used;
}
