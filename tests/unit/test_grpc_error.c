#include "lib/unit.h"

#include "http2/grpc_error.h"
#include "http2/proto_wire.h"

#include <errno.h>

static const struct grpc_error everything = {
    .status = GRPC_STATUS_INVALID_ARGUMENT,
    .message = "Missing required fields",
    .reason = "MISSING_FIELDS",
    .domain = "users.v1",
    .metadata = {{"user", "42"}},
    .metadata_count = 1,
    .fields = {{"email", "must not be empty"}, {"username", "too long"}},
    .field_count = 2,
    .resource_type = "User",
    .resource_name = "42",
    .precondition_type = "ETAG",
    .precondition_subject = "users/42",
    .precondition_text = "was changed meanwhile",
    .retry_delay_ms = 1500,
};

/* The text is what a person needs, one line per fact, and so encoding and describing agree. */
START_TEST(error_describes_what_it_encodes)
{
    struct buf encoded = {0};
    struct buf text = {0};

    ck_assert_int_eq(grpc_error_encode(&everything, &encoded), 0);
    ck_assert_int_eq(grpc_error_describe(buf_bytes(&encoded), &text), 0);
    ck_assert_int_eq(buf_append(&text, "", 1), 0);
    ck_assert_str_eq((const char *)buf_bytes(&text).data,
                     "reason: MISSING_FIELDS\n"
                     "domain: users.v1\n"
                     "metadata user: 42\n"
                     "field email: must not be empty\n"
                     "field username: too long\n"
                     "resource User: 42\n"
                     "precondition users/42: was changed meanwhile\n"
                     "retry after: 1500 ms\n");
    buf_deinit(&encoded);
    buf_deinit(&text);
}

END_TEST

/* Byte for byte what protobuf makes of google.rpc.Status with an ErrorInfo. */
START_TEST(error_encodes_as_google_rpc_status)
{
    static const char expected[] = "\x08\x05"
                                   "\x12\x04"
                                   "gone"
                                   "\x1a\x38"
                                   "\x0a\x28type.googleapis.com/google.rpc.ErrorInfo"
                                   "\x12\x0c"
                                   "\x0a\x04GONE"
                                   "\x12\x04test";
    const struct grpc_error error = {
        .status = GRPC_STATUS_NOT_FOUND, .message = "gone", .reason = "GONE", .domain = "test"};
    struct buf encoded = {0};

    ck_assert_int_eq(grpc_error_encode(&error, &encoded), 0);
    ck_assert_uint_eq(buf_size(&encoded), sizeof(expected) - 1);
    ck_assert_mem_eq(buf_bytes(&encoded).data, expected, sizeof(expected) - 1);
    buf_deinit(&encoded);
}

END_TEST

/* Code and message of the details equal those of the status itself (E1). */
START_TEST(error_repeats_code_and_message)
{
    struct buf encoded = {0};
    struct proto_wire_field field;
    struct bytes input;

    ck_assert_int_eq(grpc_error_encode(&everything, &encoded), 0);
    input = buf_bytes(&encoded);
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert_uint_eq(field.value, GRPC_STATUS_INVALID_ARGUMENT);
    ck_assert_int_eq(proto_wire_read(&input, &field), 0);
    ck_assert(bytes_equal(field.bytes, BYTES_LITERAL("Missing required fields")));
    buf_deinit(&encoded);
}

END_TEST

/* The tables take what they have room for and drop the rest. */
START_TEST(error_tables_are_bounded)
{
    struct grpc_error error = {0};
    unsigned i;

    for (i = 0; i < GRPC_ERROR_FIELDS_MAX + 3; i++) {
        grpc_error_add_field(&error, "f", "d");
        grpc_error_add_metadata(&error, "k", "v");
    }
    ck_assert_uint_eq(error.field_count, GRPC_ERROR_FIELDS_MAX);
    ck_assert_uint_eq(error.metadata_count, GRPC_ERROR_METADATA_MAX);
}

END_TEST

/* What a server sends is shown without its control characters, and unknown details are left out. */
START_TEST(error_description_is_safe_to_print)
{
    const struct grpc_error error = {.reason = "A\x1b[2J\n", .domain = "d"};
    struct buf encoded = {0};
    struct buf text = {0};

    ck_assert_int_eq(grpc_error_encode(&error, &encoded), 0);
    ck_assert_int_eq(proto_wire_append_bytes(&encoded, 3, BYTES_LITERAL("\x0a\x01x")), 0);
    ck_assert_int_eq(grpc_error_describe(buf_bytes(&encoded), &text), 0);
    ck_assert(bytes_equal(buf_bytes(&text), BYTES_LITERAL("reason: A?[2J \ndomain: d\n")));
    buf_deinit(&encoded);
    buf_deinit(&text);
}

END_TEST

/* Every prefix of an encoding is either described or refused, never read past its end. */
START_TEST(error_description_survives_any_cut)
{
    struct buf encoded = {0};
    size_t size;

    ck_assert_int_eq(grpc_error_encode(&everything, &encoded), 0);
    for (size = 0; size < buf_size(&encoded); size++) {
        uint8_t *cut = malloc(size > 0 ? size : 1);
        struct buf text = {0};
        int outcome;

        memcpy(cut, buf_bytes(&encoded).data, size);
        outcome = grpc_error_describe((struct bytes){cut, size}, &text);
        ck_assert(outcome == 0 || outcome == -EBADMSG);
        buf_deinit(&text);
        free(cut);
    }
    buf_deinit(&encoded);
}

END_TEST

UNIT_MAIN("grpc_error", error_describes_what_it_encodes, error_encodes_as_google_rpc_status,
          error_repeats_code_and_message, error_tables_are_bounded,
          error_description_is_safe_to_print, error_description_survives_any_cut)
