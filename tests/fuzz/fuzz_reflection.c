/*
 * Any bytes as a reflection request, and as a set of descriptors: the first byte says which. A
 * request is refused, or answered with itself and one message, of bounded size; asked again, with
 * no file more. A set is refused, or requests are answered from it.
 *
 * Thread: one.
 */
#include "http2/proto_wire.h"
#include "service/embedded.h"
#include "service/reflection_answer.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_FIELDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void check_answer(struct bytes answer, struct bytes request)
{
    struct proto_wire_field field = {0};
    unsigned kinds = 0;
    bool has_request = false;

    must(answer.size <= 3 * request.size + embedded_descriptors.size + 128);
    while (proto_wire_read(&answer, &field) == 0) {
        must(field.type == PROTO_WIRE_BYTES && field.number >= 1 && field.number <= 7);
        if (field.number == 2) {
            must(bytes_equal(field.bytes, request));
            has_request = true;
        }
        kinds += field.number >= 4;
    }
    must(answer.size == 0 && has_request && kinds == 1);
}

/* Asks twice, on one stream. */
static void ask(const struct reflection_index *index, struct bytes request, bool is_ours)
{
    const struct reflection_source source = {
        .index = index, .services = BYTES_LITERAL("\x0a\x03\x0a\x01s"), .max_fields = MAX_FIELDS};
    struct buf first = {0};
    struct buf second = {0};
    uint64_t sent = 0;
    int result = reflection_answer(&source, &sent, request, &first);

    must(result == 0 || result == REFLECTION_ANSWER_E_EMPTY ||
         result == REFLECTION_ANSWER_E_TOO_MANY || result == -EBADMSG);
    must(reflection_answer(&source, &sent, request, &second) == result);
    must(buf_size(&second) <= buf_size(&first));
    if (result == 0 && is_ours) {
        check_answer(buf_bytes(&first), request);
        check_answer(buf_bytes(&second), request);
    }
    buf_deinit(&first);
    buf_deinit(&second);
}

static void read_set(struct bytes set)
{
    static const char *const requests[] = {"\x1a\x01g", "\x22\x03p.M", "\x22\x01M",
                                           "\x2a\x05\x0a\x01M\x10\x05", "\x32\x01M"};
    struct reflection_index *index;
    int result = reflection_index_new(set, &index);

    must(result == 0 || result == -EBADMSG || result == -ENOMEM);
    if (result == 0) {
        for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
            ask(index, bytes_from_text(requests[i]), false);
        }
        reflection_index_free(index);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct reflection_index *index;
    struct bytes input;

    if (index == NULL) {
        must(reflection_index_new(embedded_descriptors, &index) == 0);
    }
    if (size == 0) {
        return 0;
    }
    input = (struct bytes){data + 1, size - 1};
    if (data[0] % 2 == 0) {
        ask(index, input, true);
    } else {
        read_set(input);
    }
    return 0;
}
