#include "lib/unit.h"

#include "core/clock.h"
#include "http2/grpc_metadata.h"

#include <errno.h>
#include <stdio.h>

static struct arena arena;
static struct grpc_head head;

static void add(const char *name, const char *value)
{
    const struct h2_field field = {.name = bytes_from_text(name), .value = bytes_from_text(value)};

    grpc_head_add(&head, &arena, &field);
}

/* A head that every gRPC client could have sent, but for what the test then adds. */
static void begin(const char *path, const char *content_type)
{
    arena_deinit(&arena);
    grpc_head_init(&head);
    add(":method", "POST");
    add(":scheme", "https");
    add(":path", path);
    add(":authority", "localhost");
    add("te", "trailers");
    add("content-type", content_type);
}

static enum grpc_head_fault fault_with(const char *name, const char *value)
{
    begin("/s.S/M", "application/grpc");
    if (name != NULL) {
        add(name, value);
    }
    return grpc_head_check(&head);
}

/* An ordinary head passes, and its fields are where they belong. */
START_TEST(head_takes_an_ordinary_request)
{
    const struct grpc_metadata_field *field;

    begin("/users.v1.UserService/GetUser", "application/grpc");
    add("user-agent", "grpc-go/1.60");
    add("authorization", "Bearer x.y.z");
    add("grpc-timeout", "250m");
    add("grpc-accept-encoding", "identity, deflate , gzip");
    add("x-request-id", " 7 ");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_OK);
    ck_assert(bytes_equal(head.path, BYTES_LITERAL("/users.v1.UserService/GetUser")));
    ck_assert(bytes_equal(head.user_agent, BYTES_LITERAL("grpc-go/1.60")));
    ck_assert(bytes_equal(head.authorization, BYTES_LITERAL("Bearer x.y.z")));
    ck_assert_uint_eq(head.authorization_count, 1);
    ck_assert_uint_eq(head.timeout_ns, 250 * CLOCK_NS_PER_MS);
    ck_assert(head.has_te);
    ck_assert(head.accepts_gzip);
    field = grpc_head_find(&head, "x-request-id");
    ck_assert_ptr_nonnull(field);
    ck_assert(bytes_equal(field->value, BYTES_LITERAL("7")));
    ck_assert_ptr_null(grpc_head_find(&head, "x-request"));
    ck_assert_uint_eq(head.custom_count, 1);
    arena_deinit(&arena);
}

END_TEST

/* The credentials can be overwritten, and there is one copy of them: a second value is counted
 * only.
 */
START_TEST(head_wipes_credentials)
{
    const uint8_t *kept;

    begin("/users.v1.UserService/GetUser", "application/grpc");
    add("authorization", "Bearer x.y.z");
    kept = head.authorization.data;
    add("authorization", "Bearer a.b.c");
    ck_assert_uint_eq(head.authorization_count, 2);
    ck_assert_ptr_eq(head.authorization.data, kept);
    grpc_head_wipe(&head);
    for (size_t i = 0; i < sizeof("Bearer x.y.z"); i++) {
        ck_assert_uint_eq(kept[i], 0);
    }
    ck_assert_uint_eq(head.authorization.size, 0);
    grpc_head_wipe(&head);
    arena_deinit(&arena);
}

END_TEST

/* Nothing kept of a head points into the block it came from. */
START_TEST(head_borrows_nothing)
{
    char name[] = "x-name";
    char value[] = "value";
    char path[] = "/s.S/M";

    begin(path, "application/grpc");
    add(name, value);
    memset(name, '#', sizeof(name) - 1);
    memset(value, '#', sizeof(value) - 1);
    memset(path, '#', sizeof(path) - 1);
    ck_assert(bytes_equal(head.path, BYTES_LITERAL("/s.S/M")));
    ck_assert(bytes_equal(grpc_head_find(&head, "x-name")->value, BYTES_LITERAL("value")));
    arena_deinit(&arena);
}

END_TEST

/* Which content types are gRPC, which of them are ours, and which are none (P4). */
START_TEST(head_judges_content_types)
{
    static const struct {
        const char *type;
        enum grpc_head_fault fault;
    } rows[] = {
        {"application/grpc", GRPC_HEAD_OK},
        {"application/grpc+proto", GRPC_HEAD_OK},
        {"application/grpc;charset=utf-8", GRPC_HEAD_OK},
        {"application/grpc+proto;x=y", GRPC_HEAD_OK},
        {"Application/GRPC+Proto", GRPC_HEAD_OK},
        {"application/grpc+json", GRPC_HEAD_BAD_SUBTYPE},
        {"application/grpc+protobuf", GRPC_HEAD_BAD_SUBTYPE},
        {"application/grpcfoo", GRPC_HEAD_BAD_CONTENT_TYPE},
        {"application/grpc-web", GRPC_HEAD_BAD_CONTENT_TYPE},
        {"application/grpc-web+proto", GRPC_HEAD_BAD_CONTENT_TYPE},
        {"application/json", GRPC_HEAD_BAD_CONTENT_TYPE},
        {"application/grp", GRPC_HEAD_BAD_CONTENT_TYPE},
        {"", GRPC_HEAD_BAD_CONTENT_TYPE},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin("/s.S/M", rows[i].type);
        ck_assert_msg(grpc_head_check(&head) == rows[i].fault, "%s", rows[i].type);
    }
    arena_deinit(&arena);
}

END_TEST

/* A path has a slash in front and another behind it; nothing else is asked here (P1, P2). */
START_TEST(head_judges_paths)
{
    static const struct {
        const char *path;
        enum grpc_head_fault fault;
    } rows[] = {
        {"/s.S/M", GRPC_HEAD_OK},      {"/a/b/M", GRPC_HEAD_OK},     {"//M", GRPC_HEAD_OK},
        {"s.S/M", GRPC_HEAD_BAD_PATH}, {"/s.S", GRPC_HEAD_BAD_PATH}, {"/", GRPC_HEAD_BAD_PATH},
        {"", GRPC_HEAD_BAD_PATH},      {"*", GRPC_HEAD_BAD_PATH},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(rows[i].path, "application/grpc");
        ck_assert_msg(grpc_head_check(&head) == rows[i].fault, "%s", rows[i].path);
    }
    arena_deinit(&arena);
}

END_TEST

/* One fault each, told as such. */
START_TEST(head_names_the_fault)
{
    ck_assert_int_eq(fault_with(NULL, NULL), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with(":authority", "other"), GRPC_HEAD_BAD_AUTHORITY);
    ck_assert_int_eq(fault_with("grpc-timeout", "1"), GRPC_HEAD_BAD_TIMEOUT);
    ck_assert_int_eq(fault_with("grpc-encoding", "identity"), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with("grpc-encoding", "gzip"), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with("grpc-encoding", "snappy"), GRPC_HEAD_BAD_ENCODING);
    ck_assert_int_eq(fault_with("trace-bin", "AAA"), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with("trace-bin", "AA,AAA=, AAAA"), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with("trace-bin", "AA,?"), GRPC_HEAD_BAD_BINARY);
    ck_assert_int_eq(fault_with("trace-bin", ""), GRPC_HEAD_OK);
    ck_assert_int_eq(fault_with(":method", "GET"), GRPC_HEAD_NOT_POST);
    arena_deinit(&arena);
}

END_TEST

/* Values of a -bin field that were joined are fields of their own, in their order, and decode with
 * and without padding; others keep their commas (P10). */
START_TEST(head_splits_binary_values)
{
    static const char *const expected[] = {"a", "bc", "", "def"};
    const struct grpc_metadata_field *field;
    struct bytes value;
    size_t i;

    begin("/s.S/M", "application/grpc");
    add("x-bin", "YQ, YmM=,");
    add("x-text", "one, two");
    add("x-bin", "ZGVm");
    ck_assert_uint_eq(head.custom_count, 5);
    field = grpc_head_find(&head, "x-bin");
    for (i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(field);
        ck_assert_int_eq(grpc_metadata_value(field, &arena, &value), 0);
        ck_assert(bytes_equal(value, bytes_from_text(expected[i])));
        field = grpc_head_find_next(&head, field);
    }
    ck_assert_ptr_null(field);
    field = grpc_head_find(&head, "x-text");
    ck_assert_int_eq(grpc_metadata_value(field, &arena, &value), 0);
    ck_assert(bytes_equal(value, BYTES_LITERAL("one, two")));
    ck_assert_ptr_null(grpc_head_find_next(&head, field));
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_OK);
    arena_deinit(&arena);
}

END_TEST

/* Every one of as many custom fields as there may be is kept, however the table grew. */
START_TEST(head_keeps_all_custom_fields)
{
    char name[8];
    unsigned i;

    begin("/s.S/M", "application/grpc");
    for (i = 0; i < GRPC_METADATA_CUSTOM_MAX; i++) {
        (void)snprintf(name, sizeof(name), "x-%u", i);
        add(name, name);
    }
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_OK);
    for (i = 0; i < GRPC_METADATA_CUSTOM_MAX; i++) {
        (void)snprintf(name, sizeof(name), "x-%u", i);
        ck_assert(bytes_equal(grpc_head_find(&head, name)->value, bytes_from_text(name)));
    }
    arena_deinit(&arena);
}

END_TEST

/* A browser's GET is told about its method, whatever else is wrong with it. */
START_TEST(head_orders_faults)
{
    arena_deinit(&arena);
    grpc_head_init(&head);
    add(":method", "GET");
    add(":path", "*");
    add("grpc-timeout", "x");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_NOT_POST);
    head.is_post = true;
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_BAD_CONTENT_TYPE);
    add("content-type", "application/grpc");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_BAD_TIMEOUT);
    arena_deinit(&arena);
}

END_TEST

/* A missing `te` does not fail a call (P5). */
START_TEST(head_passes_without_te)
{
    arena_deinit(&arena);
    grpc_head_init(&head);
    add(":method", "POST");
    add(":path", "/s.S/M");
    add("content-type", "application/grpc");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_OK);
    ck_assert(!head.has_te);
    arena_deinit(&arena);
}

END_TEST

/* More custom fields than the table has room for end the call, and so does a full arena. */
START_TEST(head_bounds_metadata)
{
    unsigned i;

    begin("/s.S/M", "application/grpc");
    for (i = 0; i < GRPC_METADATA_CUSTOM_MAX; i++) {
        add("x", "y");
    }
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_OK);
    add("x", "y");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_NO_MEMORY);

    arena_deinit(&arena);
    arena.size_max = 16;
    begin("/a.path/ThatIsLongerThanTheArena", "application/grpc");
    ck_assert_int_eq(grpc_head_check(&head), GRPC_HEAD_NO_MEMORY);
    arena_deinit(&arena);
    arena.size_max = 0;
}

END_TEST

/* Every unit, the clamp, zero, and everything that is no timeout (P7). */
START_TEST(timeout_is_parsed)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = {
        {"1H", 3600 * CLOCK_NS_PER_S},
        {"2M", 120 * CLOCK_NS_PER_S},
        {"3S", 3 * CLOCK_NS_PER_S},
        {"4m", 4 * CLOCK_NS_PER_MS},
        {"5u", 5 * CLOCK_NS_PER_US},
        {"6n", 6},
        {"0n", 0},
        {"0H", 0},
        {"00000001S", CLOCK_NS_PER_S},
        {"99999999n", 99999999},
        {"99999999H", UINT64_MAX - 1},
    };

    static const char *const bad[] = {"",           "1",   "S",    "1s",       "1 S",
                                      "-1S",        "+1S", "1.5S", "1SS",      "x1S",
                                      "123456789S", "1h",  "1N",   "1\xc2\xb5"};
    uint64_t ns = 7;
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(grpc_timeout_parse(bytes_from_text(bad[i]), &ns) == -EBADMSG, "%s", bad[i]);
        ck_assert_uint_eq(ns, 7);
    }
    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(grpc_timeout_parse(bytes_from_text(good[i].text), &ns) == 0, "%s",
                      good[i].text);
        ck_assert_uint_eq(ns, good[i].ns);
    }
}

END_TEST

/* What is formatted parses to the same time or up to a thousandth more. */
START_TEST(timeout_is_formatted_to_a_thousandth)
{
    static const uint64_t times[] = {0,
                                     1,
                                     999,
                                     1000,
                                     1001,
                                     99999999,
                                     100000000,
                                     100000001,
                                     CLOCK_NS_PER_S - 1,
                                     5 * CLOCK_NS_PER_S,
                                     59 * CLOCK_NS_PER_S + 7,
                                     3600 * CLOCK_NS_PER_S,
                                     999 * 3600 * CLOCK_NS_PER_S + 13,
                                     UINT64_MAX / 2};
    size_t i;

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        char text[10];
        uint64_t ns;

        grpc_timeout_format(times[i], text);
        ck_assert_int_eq(grpc_timeout_parse(bytes_from_text(text), &ns), 0);
        ck_assert_msg(ns >= times[i] && ns - times[i] <= times[i] / 1000, "%s for %llu", text,
                      (unsigned long long)times[i]);
    }
}

END_TEST

/* The shortest spelling is chosen. */
START_TEST(timeout_is_formatted_short)
{
    char text[10];

    grpc_timeout_format(5 * CLOCK_NS_PER_S, text);
    ck_assert_str_eq(text, "5S");
    grpc_timeout_format(2 * 3600 * CLOCK_NS_PER_S, text);
    ck_assert_str_eq(text, "2H");
    grpc_timeout_format(1500 * CLOCK_NS_PER_MS, text);
    ck_assert_str_eq(text, "1500m");
}

END_TEST

/* The vectors of RFC 4648 section 10, padded and not, there and back. */
START_TEST(base64_knows_the_vectors)
{
    static const struct {
        const char *plain;
        const char *padded;
        const char *bare;
    } rows[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"\xfb\xff", "+/8=", "+/8"},
    };

    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t plain[16];
        char encoded[16];
        size_t size;

        ck_assert_int_eq(grpc_base64_decode(bytes_from_text(rows[i].padded), plain, &size), 0);
        ck_assert(bytes_equal((struct bytes){plain, size}, bytes_from_text(rows[i].plain)));
        ck_assert_int_eq(grpc_base64_decode(bytes_from_text(rows[i].bare), plain, &size), 0);
        ck_assert(bytes_equal((struct bytes){plain, size}, bytes_from_text(rows[i].plain)));
        size = grpc_base64_encode(bytes_from_text(rows[i].plain), encoded);
        ck_assert_str_eq(encoded, rows[i].bare);
        ck_assert_uint_eq(size, strlen(rows[i].bare));
    }
}

END_TEST

/* Foreign characters, impossible lengths, padding in the middle and second spellings are refused.
 */
START_TEST(base64_refuses_the_rest)
{
    static const char *const bad[] = {"Z",    "Zm9vY", "Zg=",  "Zg===", "=",    "====",    "Z===",
                                      "Zh==", "Zm9=",  "Zm9 ", "Zm_v",  "Zm-v", "Zg==Zg=="};
    size_t i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t plain[16];
        size_t size;

        ck_assert_msg(grpc_base64_decode(bytes_from_text(bad[i]), plain, &size) == -EBADMSG, "%s",
                      bad[i]);
    }
}

END_TEST

UNIT_MAIN("grpc_metadata", head_takes_an_ordinary_request, head_wipes_credentials,
          head_borrows_nothing, head_judges_content_types, head_judges_paths, head_names_the_fault,
          head_splits_binary_values, head_keeps_all_custom_fields, head_orders_faults,
          head_passes_without_te, head_bounds_metadata, timeout_is_parsed,
          timeout_is_formatted_to_a_thousandth, timeout_is_formatted_short,
          base64_knows_the_vectors, base64_refuses_the_rest)
