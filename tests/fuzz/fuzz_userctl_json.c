/*
 * A stranger's descriptor and a stranger's message: what is shown of it is JSON, or it is refused;
 * and what was shown may be made to a message again, or is refused too.
 *
 * The input: a byte that is even for the test's own descriptors, or odd for one that follows, with
 * its size in two bytes before it; then the message.
 */
#include "../tools/userctl_decode.h"
#include "../tools/userctl_encode.h"
#include "http2/proto_wire.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>

extern const struct bytes userctl_every_descriptors;

static struct userctl_schema every;
static const struct userctl_message *every_message;

static void must(bool is_so)
{
    if (!is_so) {
        abort();
    }
}

static void prepare(void)
{
    struct bytes rest = userctl_every_descriptors;
    char problem[USERCTL_SCHEMA_PROBLEM_SIZE];
    struct proto_wire_field file;

    userctl_schema_init(&every);
    while (proto_wire_read(&rest, &file) == 0) {
        must(userctl_schema_add(&every, file.bytes, problem) == 0);
    }
    must(userctl_schema_link(&every) == 0);
    every_message = userctl_schema_find(&every, "every.v1.Every")->message;
}

static void must_be_json(const char *text, size_t size)
{
    json_error_t error;
    json_t *json = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);

    /* That a member has a zero byte in its name is good JSON, but not for this reader of it. */
    must(json != NULL || json_error_code(&error) == json_error_null_byte_in_key);
    json_decref(json);
}

static void show(const struct userctl_schema *schema, const struct userctl_message *message,
                 struct bytes bytes)
{
    char problem[USERCTL_ENCODE_PROBLEM_SIZE + USERCTL_DECODE_PROBLEM_SIZE] = "";
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct buf again = {0};
    int ret;

    must(out != NULL);
    ret = userctl_decode(schema, message, bytes, NULL, out, problem);
    (void)fclose(out);
    must((ret == 0) == (problem[0] == '\0'));
    if (ret == 0) {
        must_be_json(text, size);
        (void)userctl_encode(schema, message, (struct bytes){(const uint8_t *)text, size}, NULL,
                             &again, problem);
    }
    buf_deinit(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char problem[USERCTL_SCHEMA_PROBLEM_SIZE];
    struct userctl_schema schema;
    size_t file_size;

    if (every_message == NULL) {
        prepare();
    }
    if (size < 3 || data[0] % 2 == 0) {
        show(&every, every_message, (struct bytes){data + (size > 0), size - (size > 0)});
        return 0;
    }
    file_size = data[1] | (size_t)data[2] << 8;
    file_size = file_size > size - 3 ? size - 3 : file_size;
    userctl_schema_init(&schema);
    if (userctl_schema_add(&schema, (struct bytes){data + 3, file_size}, problem) == 0 &&
        userctl_schema_link(&schema) == 0) {
        const struct userctl_message *message = schema.messages;

        for (int i = 0; message != NULL && i < 4; i++) {
            show(&schema, message, (struct bytes){data + 3 + file_size, size - 3 - file_size});
            message = message->next;
        }
    }
    userctl_schema_deinit(&schema);
    return 0;
}
