#include "lib/unit.h"

#include "http2/grpc_status.h"
#include "http2/h2_session.h"

/* Every code has the name the specification gives it, and a number outside the table is UNKNOWN. */
START_TEST(status_names_are_those_of_the_specification)
{
    ck_assert_str_eq(grpc_status_name(0), "OK");
    ck_assert_str_eq(grpc_status_name(5), "NOT_FOUND");
    ck_assert_str_eq(grpc_status_name(16), "UNAUTHENTICATED");
    ck_assert_str_eq(grpc_status_name(17), "UNKNOWN");
    ck_assert_str_eq(grpc_status_name(-1), "UNKNOWN");
}

END_TEST

/* A reset shows as the status that the specification names (P24). */
START_TEST(status_of_resets_follows_the_mapping)
{
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_NO_ERROR), GRPC_STATUS_INTERNAL);
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_FLOW_CONTROL), GRPC_STATUS_INTERNAL);
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_REFUSED_STREAM), GRPC_STATUS_UNAVAILABLE);
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_CANCEL), GRPC_STATUS_CANCELLED);
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_ENHANCE_YOUR_CALM),
                     GRPC_STATUS_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(grpc_status_from_h2_error(H2_ERROR_INADEQUATE_SECURITY),
                     GRPC_STATUS_PERMISSION_DENIED);
}

END_TEST

/* An answer without grpc-status shows as http-grpc-status-mapping.md says. */
START_TEST(status_of_http_answers_follows_the_mapping)
{
    static const struct {
        int http;
        enum grpc_status status;
    } rows[] = {
        {400, GRPC_STATUS_INTERNAL},          {401, GRPC_STATUS_UNAUTHENTICATED},
        {403, GRPC_STATUS_PERMISSION_DENIED}, {404, GRPC_STATUS_UNIMPLEMENTED},
        {429, GRPC_STATUS_UNAVAILABLE},       {502, GRPC_STATUS_UNAVAILABLE},
        {503, GRPC_STATUS_UNAVAILABLE},       {504, GRPC_STATUS_UNAVAILABLE},
        {415, GRPC_STATUS_UNKNOWN},           {200, GRPC_STATUS_UNKNOWN},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq(grpc_status_from_http(rows[i].http), rows[i].status);
    }
}

END_TEST

static void check_encoded(const char *text, const char *encoded)
{
    char out[256];
    char back[256];
    size_t size = grpc_status_encode_message(bytes_from_text(text), out, sizeof(out));

    ck_assert_str_eq(out, encoded);
    ck_assert_uint_eq(size, strlen(encoded));
    size = grpc_status_decode_message(bytes_from_text(encoded), back, sizeof(back));
    ck_assert_str_eq(back, text);
    ck_assert_uint_eq(size, strlen(text));
}

/* Printable ASCII but the percent sign goes raw, everything else as %XX, and decoding brings it
 * back (P20). */
START_TEST(status_message_is_percent_encoded)
{
    check_encoded("User 42 not found", "User 42 not found");
    check_encoded("100% ~", "100%25 ~");
    check_encoded("\t\n\x7f", "%09%0A%7F");
    check_encoded(" in between ", "%20in between%20");
    check_encoded(" ", "%20");
    /* The text of the interop case special_status_message. */
    check_encoded(
        "\t\ntest with whitespace\r\nand Unicode BMP \xe2\x98\xba and non-BMP \xf0\x9f\x98\x88\t\n",
        "%09%0Atest with whitespace%0D%0Aand Unicode BMP %E2%98%BA and non-BMP "
        "%F0%9F%98%88%09%0A");
}

END_TEST

/* A message that does not fit is cut between characters, never inside one or its escape. */
START_TEST(status_message_is_cut_at_a_character_border)
{
    char out[16];

    ck_assert_uint_eq(grpc_status_encode_message(BYTES_LITERAL("ab\xe2\x98\xba"), out, 11), 2);
    ck_assert_str_eq(out, "ab");
    ck_assert_uint_eq(grpc_status_encode_message(BYTES_LITERAL("ab\xe2\x98\xba"), out, 12), 11);
    ck_assert_str_eq(out, "ab%E2%98%BA");
    ck_assert_uint_eq(grpc_status_encode_message(BYTES_LITERAL("ab  cd"), out, 5), 2);
    ck_assert_str_eq(out, "ab");
    ck_assert_uint_eq(grpc_status_encode_message(BYTES_LITERAL("abc"), out, 1), 0);
    ck_assert_str_eq(out, "");
    ck_assert_uint_eq(grpc_status_encode_message(BYTES_LITERAL("abc"), out, 0), 0);
}

END_TEST

/* Bytes that are no UTF-8, also cut at the end, get through as escapes. */
START_TEST(status_message_takes_any_bytes)
{
    char out[32];

    (void)grpc_status_encode_message(BYTES_LITERAL("\xff\x80\xe2\x98"), out, sizeof(out));
    ck_assert_str_eq(out, "%FF%80%E2%98");
}

END_TEST

/* Escapes that are none stay as they are, and the result always fits with its NUL. */
START_TEST(status_decoding_leaves_bad_escapes)
{
    char out[8];

    (void)grpc_status_decode_message(BYTES_LITERAL("%4"), out, sizeof(out));
    ck_assert_str_eq(out, "%4");
    (void)grpc_status_decode_message(BYTES_LITERAL("%zz%41%4"), out, sizeof(out));
    ck_assert_str_eq(out, "%zzA%4");
    ck_assert_uint_eq(grpc_status_decode_message(BYTES_LITERAL("123456789"), out, sizeof(out)), 7);
    ck_assert_str_eq(out, "1234567");
    ck_assert_uint_eq(grpc_status_decode_message(BYTES_LITERAL("1"), out, 0), 0);
}

END_TEST

static void check_cleaned(const char *text, const char *clean)
{
    char copy[64];
    size_t size = strlen(text);

    ck_assert_uint_lt(size, sizeof(copy));
    memcpy(copy, text, size + 1);
    grpc_status_clean_text(copy, size);
    ck_assert_str_eq(copy, clean);
}

/* What moves a terminal's cursor or paints it does not get there; text in any language does. */
START_TEST(status_text_is_cleaned)
{
    char nul[] = "a\0b";

    check_cleaned("", "");
    check_cleaned("User \xc3\xa4 \xe2\x98\xba \xf0\x9f\x98\x88",
                  "User \xc3\xa4 \xe2\x98\xba \xf0\x9f\x98\x88");
    check_cleaned("a\tb\r\nc", "a b  c");
    check_cleaned("\x1b[31mred\x7f\x01", "?[31mred??");
    check_cleaned("C1: \xc2\x9b"
                  "31m \xc2\x80\xc2\x9f\xc2\xa0",
                  "C1: ??31m ????\xc2\xa0");
    check_cleaned("\x9b \xff \xc3", "? ? ?");
    check_cleaned("\xe2\x98", "??");
    grpc_status_clean_text(nul, 3);
    ck_assert_mem_eq(nul, "a?b", 3);
}

END_TEST

UNIT_MAIN("grpc_status", status_names_are_those_of_the_specification,
          status_of_resets_follows_the_mapping, status_of_http_answers_follows_the_mapping,
          status_message_is_percent_encoded, status_message_is_cut_at_a_character_border,
          status_message_takes_any_bytes, status_decoding_leaves_bad_escapes,
          status_text_is_cleaned)
