#include "userbench_hpack.h"

#include "userbench_problem.h"

#include <nghttp2/nghttp2.h>

#include <errno.h>
#include <stdlib.h>

#define STATIC_ENTRIES  61
#define ENTRY_OVERHEAD  32 /* RFC 7541 4.1 */
#define INDEXED         0x80
#define LITERAL_INDEXED 0x40
#define LITERAL_NEVER   0x10
#define SIZE_UPDATE     0x20

static uint8_t *room(struct buf *out, size_t size)
{
    uint8_t *bytes = buf_reserve(out, size);

    if (bytes == NULL) {
        userbench_problem("no memory");
    }
    return bytes;
}

/* RFC 7541 5.1 */
static void put_integer(struct buf *out, uint8_t pattern, unsigned prefix_bits, size_t value)
{
    const size_t limit = (1U << prefix_bits) - 1;
    uint8_t *bytes = room(out, 8);
    size_t size = 1;

    if (value < limit) {
        bytes[0] = (uint8_t)(pattern | value);
    } else {
        bytes[0] = (uint8_t)(pattern | limit);
        for (value -= limit; value >= 128; value >>= 7) {
            bytes[size++] = (uint8_t)(value | 128);
        }
        bytes[size++] = (uint8_t)value;
    }
    buf_commit(out, size);
}

/* Without Huffman's code: what is sent once need not be short. */
static void put_text(struct buf *out, const char *text)
{
    const size_t size = strlen(text);

    put_integer(out, 0, 7, size);
    memcpy(room(out, size), text, size);
    buf_commit(out, size);
}

void userbench_encoder_init(struct userbench_encoder *encoder)
{
    *encoder = (struct userbench_encoder){.table_max = USERBENCH_HPACK_TABLE};
}

void userbench_encoder_limit(struct userbench_encoder *encoder, uint32_t table_max)
{
    if (table_max < encoder->table_max) {
        encoder->table_max = table_max;
        encoder->table_change_due = true;
    }
}

void userbench_hpack_never_indexed(const char *name, const char *value, struct buf *out)
{
    nghttp2_nv field = {
        /* nghttp2 does not write through these pointers. */
        .name = (uint8_t *)(uintptr_t)name,
        .value = (uint8_t *)(uintptr_t)value,
        .namelen = strlen(name),
        .valuelen = strlen(value),
        .flags = NGHTTP2_NV_FLAG_NO_INDEX,
    };
    nghttp2_hd_deflater *deflater;
    size_t size_max;
    ssize_t size;

    if (nghttp2_hd_deflate_new(&deflater, USERBENCH_HPACK_TABLE) != 0) {
        userbench_problem("no memory");
    }
    size_max = nghttp2_hd_deflate_bound(deflater, &field, 1);
    size = nghttp2_hd_deflate_hd(deflater, room(out, size_max), size_max, &field, 1);
    nghttp2_hd_deflate_del(deflater);
    if (size < 0) {
        userbench_problem("the field %s cannot be encoded", name);
    }
    buf_commit(out, (size_t)size);
}

/* Its index in both tables together; 0 = it is in neither. */
static size_t find(const struct userbench_encoder *encoder, const struct userbench_field *field)
{
    for (unsigned i = 0; i < encoder->entry_count; i++) {
        if (encoder->entries[i].value == field->value && encoder->entries[i].name == field->name) {
            return STATIC_ENTRIES + encoder->entry_count - i;
        }
    }
    return 0;
}

static bool has_room(const struct userbench_encoder *encoder, size_t size)
{
    return encoder->entry_count < USERBENCH_HPACK_FIELDS_MAX &&
           encoder->table_size + size <= encoder->table_max;
}

static void put_literal(struct userbench_encoder *encoder, const struct userbench_field *field,
                        struct buf *out)
{
    const size_t size = strlen(field->name) + strlen(field->value) + ENTRY_OVERHEAD;
    const bool is_kept = has_room(encoder, size);

    if (is_kept) {
        put_integer(out, LITERAL_INDEXED, 6, field->static_index);
    } else {
        put_integer(out, LITERAL_NEVER, 4, field->static_index);
    }
    if (field->static_index == 0) {
        put_text(out, field->name);
    }
    put_text(out, field->value);
    if (is_kept) {
        encoder->entries[encoder->entry_count].name = field->name;
        encoder->entries[encoder->entry_count].value = field->value;
        encoder->entry_count++;
        encoder->table_size += size;
    }
}

void userbench_encode(struct userbench_encoder *encoder, const struct userbench_field *fields,
                      size_t count, struct buf *out)
{
    if (encoder->table_change_due) {
        put_integer(out, SIZE_UPDATE, 5, encoder->table_max);
        encoder->table_change_due = false;
    }
    for (size_t i = 0; i < count; i++) {
        size_t index =
            fields[i].static_is_whole ? fields[i].static_index : find(encoder, &fields[i]);

        if (fields[i].encoded.size > 0) {
            memcpy(room(out, fields[i].encoded.size), fields[i].encoded.data,
                   fields[i].encoded.size);
            buf_commit(out, fields[i].encoded.size);
        } else if (index != 0) {
            put_integer(out, INDEXED, 7, index);
        } else {
            put_literal(encoder, &fields[i], out);
        }
    }
}

void userbench_decoder_init(struct userbench_decoder *decoder)
{
    *decoder = (struct userbench_decoder){0};
    if (nghttp2_hd_inflate_new(&decoder->inflater) != 0) {
        userbench_problem("no memory");
    }
}

void userbench_decoder_deinit(struct userbench_decoder *decoder)
{
    nghttp2_hd_inflate_del(decoder->inflater);
}

static bool is_named(const nghttp2_nv *field, struct bytes name)
{
    return bytes_equal((struct bytes){field->name, field->namelen}, name);
}

/* Of at most three digits; -1 = it is none. */
static int read_number(const nghttp2_nv *field)
{
    int number = 0;

    if (field->valuelen == 0 || field->valuelen > 3) {
        return -1;
    }
    for (size_t i = 0; i < field->valuelen; i++) {
        if (field->value[i] < '0' || field->value[i] > '9') {
            return -1;
        }
        number = number * 10 + (field->value[i] - '0');
    }
    return number;
}

static void take(const nghttp2_nv *field, struct userbench_head *head)
{
    if (is_named(field, BYTES_LITERAL(":status"))) {
        head->http_status = read_number(field);
    } else if (is_named(field, BYTES_LITERAL("grpc-status"))) {
        head->grpc_status = read_number(field);
    }
}

static int inflate(struct userbench_decoder *decoder, struct bytes block,
                   struct userbench_head *head)
{
    nghttp2_nv field;
    ssize_t used;
    int flags;

    for (;;) {
        flags = 0;
        used = nghttp2_hd_inflate_hd2(decoder->inflater, &field, &flags, block.data, block.size, 1);
        if (used < 0) {
            return -EPROTO;
        }
        block.data += used;
        block.size -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            take(&field, head);
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            break;
        }
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && block.size == 0) {
            return -EPROTO;
        }
    }
    return nghttp2_hd_inflate_end_headers(decoder->inflater) == 0 ? 0 : -EPROTO;
}

/* One-byte references only: such a block changes no table. */
static bool is_references(struct bytes block)
{
    for (size_t i = 0; i < block.size; i++) {
        if ((block.data[i] & INDEXED) == 0 || block.data[i] == 0xff) {
            return false;
        }
    }
    return true;
}

int userbench_decode(struct userbench_decoder *decoder, struct bytes block,
                     struct userbench_head *ret_head)
{
    struct userbench_memo *memo;
    int result;

    *ret_head = (struct userbench_head){.grpc_status = -1};
    for (unsigned i = 0; i < USERBENCH_HPACK_MEMOS; i++) {
        memo = &decoder->memos[i];
        if (memo->size == block.size && memo->size > 0 &&
            memcmp(memo->block, block.data, block.size) == 0) {
            *ret_head = memo->head;
            return 0;
        }
    }
    result = inflate(decoder, block, ret_head);
    if (result != 0) {
        return result;
    }
    if (!is_references(block)) {
        memset(decoder->memos, 0, sizeof(decoder->memos));
    } else if (block.size > 0 && block.size <= USERBENCH_HPACK_MEMO_SIZE) {
        memo = &decoder->memos[decoder->memo_next++ % USERBENCH_HPACK_MEMOS];
        memcpy(memo->block, block.data, block.size);
        memo->size = block.size;
        memo->head = *ret_head;
    }
    return 0;
}
