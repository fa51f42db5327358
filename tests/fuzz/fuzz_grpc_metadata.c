/*
 * Any bytes as the fields of a head, separated by NULs, and as a timeout, as base64 and as
 * grpc-message: read or refused; what was read is written and read back the same.
 *
 * Thread: one.
 */
#include "http2/grpc_metadata.h"
#include "http2/grpc_status.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Takes the bytes before the next NUL. */
static struct bytes next_part(struct bytes *input)
{
    const uint8_t *end = input->size > 0 ? memchr(input->data, '\0', input->size) : NULL;
    size_t size = end == NULL ? input->size : (size_t)(end - input->data);
    struct bytes part = {input->data, size};

    size += end != NULL;
    *input = (struct bytes){size > 0 ? input->data + size : input->data, input->size - size};
    return part;
}

/* Every custom field of a head that passed has a value, and is found by its name. */
static void read_custom(const struct grpc_head *head, struct arena *arena)
{
    for (unsigned i = 0; i < head->custom_count; i++) {
        const struct grpc_metadata_field *field = &head->custom[i];
        const struct grpc_metadata_field *found =
            grpc_head_find(head, (const char *)field->name.data);
        struct bytes value;

        while (found != field) {
            assert(found != NULL);
            found = grpc_head_find_next(head, found);
        }
        assert(grpc_metadata_value(field, arena, &value) == 0);
        assert(value.size <= field->value.size);
    }
}

static void read_head(struct bytes input)
{
    struct arena arena = {0};
    struct grpc_head head;

    grpc_head_init(&head);
    while (input.size > 0) {
        struct h2_field field = {0};

        field.name = next_part(&input);
        field.value = next_part(&input);
        grpc_head_add(&head, &arena, &field);
    }
    if (grpc_head_check(&head) == GRPC_HEAD_OK) {
        assert(head.path.size > 1);
        assert(head.path.data[0] == '/');
        read_custom(&head, &arena);
    }
    assert(head.custom_count <= GRPC_METADATA_CUSTOM_MAX);
    arena_deinit(&arena);
}

static void read_timeout(struct bytes input)
{
    char text[10];
    uint64_t timeout_ns;
    uint64_t again_ns;

    if (grpc_timeout_parse(input, &timeout_ns) == 0) {
        grpc_timeout_format(timeout_ns, text);
        assert(grpc_timeout_parse(bytes_from_text(text), &again_ns) == 0);
        assert(again_ns >= timeout_ns);
        assert(again_ns - timeout_ns <= timeout_ns / 1000);
    }
}

static void read_base64(struct bytes input)
{
    uint8_t *plain = malloc(input.size / 4 * 3 + 3);
    char *text = malloc((input.size + 2) / 3 * 4 + 1);
    size_t size;

    assert(plain != NULL);
    assert(text != NULL);
    if (grpc_base64_decode(input, plain, &size) == 0) {
        assert(size <= input.size / 4 * 3 + 3);
        size = grpc_base64_encode((struct bytes){plain, size}, text);
        assert(size <= input.size);
        assert(memcmp(text, input.data, size) == 0 || size == 0);
    }
    free(plain);
    free(text);
}

static void write_message(struct bytes input)
{
    char *encoded = malloc(3 * input.size + 1);
    char *decoded = malloc(input.size + 1);
    size_t size;

    assert(encoded != NULL);
    assert(decoded != NULL);
    size = grpc_status_encode_message(input, encoded, 3 * input.size + 1);
    size = grpc_status_decode_message((struct bytes){(const uint8_t *)encoded, size}, decoded,
                                      input.size + 1);
    assert(size == input.size);
    assert(size == 0 || memcmp(decoded, input.data, size) == 0);
    (void)grpc_status_decode_message(input, decoded, input.size + 1);
    free(encoded);
    free(decoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = {data, size};

    read_head(input);
    read_timeout(input);
    read_base64(input);
    write_message(input);
    return 0;
}
