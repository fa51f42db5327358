#include "lib/unit.h"

#include "reflection_fixture.h"
#include "service/embedded.h"

#include <errno.h>

/* From bytes to bytes, on the descriptors that are built in unless a test makes its own. */

#define MAX_FIELDS 64

static struct reflection_index *descriptors;
static struct reflection_source source;
static struct buf out;
static uint64_t sent;

static void start_with(struct bytes set)
{
    ck_assert_int_eq(reflection_index_new(set, &descriptors), 0);
    source = (struct reflection_source){
        .index = descriptors, .services = TEXT("\x0a\x03\x0a\x01s"), .max_fields = MAX_FIELDS};
    sent = 0;
}

static void start(void)
{
    start_with(embedded_descriptors);
}

static void finish(void)
{
    reflection_index_free(descriptors);
    buf_deinit(&out);
}

/* Answers a request, which is in memory of its own, so that a sanitizer sees its end. */
static int answer_bytes(struct bytes request)
{
    uint8_t *copy = malloc(request.size + 1);
    int result;

    ck_assert_ptr_nonnull(copy);
    if (request.size > 0) {
        memcpy(copy, request.data, request.size);
    }
    buf_clear(&out);
    result = reflection_answer(&source, &sent, (struct bytes){copy, request.size}, &out);
    free(copy);
    return result;
}

static struct answer answer_to(const struct buf *request)
{
    ck_assert_int_eq(answer_bytes(buf_bytes(request)), 0);
    return take_apart(buf_bytes(&out));
}

static struct answer ask(uint32_t kind, const char *text)
{
    struct buf request = {0};
    struct answer answer;

    add_text(&request, kind, text);
    answer = answer_to(&request);
    ck_assert(bytes_equal(answer.request, buf_bytes(&request)));
    buf_deinit(&request);
    return answer;
}

static void check_files(struct answer answer, const char *names)
{
    ck_assert_uint_eq(answer.kind, FILES);
    ck_assert_str_eq(names_in(answer.body), names);
}

static void check_not_found(struct answer answer, const char *message)
{
    struct buf expected = {0};

    ck_assert_uint_eq(answer.kind, NOT_FOUND);
    ck_assert_int_eq(proto_wire_append_varint(&expected, 1, 5), 0);
    add_text(&expected, 2, message);
    ck_assert(bytes_equal(answer.body, buf_bytes(&expected)));
    buf_deinit(&expected);
}

/* A file comes first, then what it imports: of that only what the client has not got. */
START_TEST(reflection_answer_sends_imports_once)
{
    start();
    check_files(ask(FILE_NAMED, "google/protobuf/field_mask.proto"),
                "google/protobuf/field_mask.proto ");
    check_files(ask(FILE_NAMED, "users/v1/users.proto"),
                "users/v1/users.proto google/protobuf/empty.proto google/protobuf/any.proto "
                "google/rpc/status.proto ");
    check_files(ask(SYMBOL, "users.v1.User.Profile"), "users/v1/users.proto ");
    check_files(ask(SYMBOL, "google.rpc.Status"), "google/rpc/status.proto ");
    sent = 0;
    check_files(ask(SYMBOL, "users.v1.UserService.GetUser"),
                "users/v1/users.proto google/protobuf/empty.proto "
                "google/protobuf/field_mask.proto google/protobuf/any.proto "
                "google/rpc/status.proto ");
    finish();
}

END_TEST

/* The descriptors that are sent are those of the set, byte for byte. */
START_TEST(reflection_answer_copies_descriptors)
{
    struct answer answer;
    struct bytes entry;

    start();
    answer = ask(FILE_NAMED, "google/protobuf/any.proto");
    entry = reflection_index_entry(descriptors,
                                   reflection_index_file(descriptors, TEXT("google/protobuf/"
                                                                           "any.proto")));
    ck_assert(bytes_equal(answer.body, entry));
    finish();
}

END_TEST

/* What is not there is told by its name. */
START_TEST(reflection_answer_tells_what_is_unknown)
{
    struct buf request = {0};

    start();
    check_not_found(ask(FILE_NAMED, "users.proto"), "unknown file: users.proto");
    check_not_found(ask(FILE_NAMED, "users.v1.User"), "unknown file: users.v1.User");
    check_not_found(ask(SYMBOL, "users.v1.Üser"), "unknown symbol: users.v1.Üser");
    check_not_found(ask(SYMBOL, "users/v1/users.proto"), "unknown symbol: users/v1/users.proto");
    check_not_found(ask(SYMBOL, ""), "unknown symbol: ");
    check_not_found(ask(EXTENSION_NUMBERS, "users.v1.Nobody"), "unknown type: users.v1.Nobody");
    check_not_found(ask(EXTENSION, ""), "unknown extension 0 of type: ");
    check_not_found(ask(EXTENSION, "\x0a\x01x\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
                    "unknown extension -1 of type: x");
    ck_assert_uint_eq(sent, 0);
    buf_deinit(&request);
    finish();
}

END_TEST

/* The file of an extension, and the numbers of all; a type may have none. */
START_TEST(reflection_answer_tells_extensions)
{
    struct buf set = {0};
    struct buf file = {0};
    struct buf request = {0};
    struct buf asked = {0};
    struct answer answer;

    add(&file, 4, "M", NULL);
    add(&file, 4, "Plain", NULL);
    add(&set, 1, "base", &file);
    add_text(&file, 3, "base");
    add_extension(&file, 7, "y", ".M", 300);
    add_extension(&file, 7, "x", ".M", 5);
    add(&set, 1, "more", &file);
    start_with(buf_bytes(&set));
    answer = ask(EXTENSION_NUMBERS, "M");
    ck_assert_uint_eq(answer.kind, NUMBERS);
    ck_assert(bytes_equal(answer.body, TEXT("\x0a\x01M\x10\x05\x10\xac\x02")));
    answer = ask(EXTENSION_NUMBERS, "Plain");
    ck_assert_uint_eq(answer.kind, NUMBERS);
    ck_assert(bytes_equal(answer.body, TEXT("\x0a\x05Plain")));
    check_files(ask(EXTENSION, "\x0a\x01M\x10\xac\x02"), "more base ");
    check_not_found(ask(EXTENSION, "\x0a\x01M\x10\x06"), "unknown extension 6 of type: M");
    /* Of one message in two parts, one has the type and one the number. */
    ck_assert_int_eq(proto_wire_append_varint(&asked, 2, 5), 0);
    add_text(&request, EXTENSION, "\x0a\x01M");
    ck_assert_int_eq(proto_wire_append_bytes(&request, EXTENSION, buf_bytes(&asked)), 0);
    check_files(answer_to(&request), "more ");
    buf_deinit(&asked);
    buf_deinit(&request);
    buf_deinit(&set);
    finish();
}

END_TEST

/* Of several questions the last one is set; fields of later versions come back with the rest. */
START_TEST(reflection_answer_reads_requests_as_protobuf)
{
    struct buf request = {0};
    struct answer answer;

    start();
    add_text(&request, 1, "first");
    add_text(&request, EXTENSION, "\x0a\x01M\x10\x05");
    ck_assert_int_eq(proto_wire_append_varint(&request, 9, 77), 0);
    ck_assert_int_eq(proto_wire_append_varint(&request, LIST, 1), 0); /* no text: unknown */
    add_text(&request, LIST, "*");
    add_text(&request, 1, "here");
    answer = answer_to(&request);
    ck_assert_uint_eq(answer.kind, SERVICES);
    ck_assert_str_eq(names_in(answer.body), "s ");
    ck_assert(bytes_equal(answer.host, TEXT("here")));
    ck_assert(bytes_equal(answer.request, buf_bytes(&request)));
    add_text(&request, EXTENSION, "\x0a\x01N");
    check_not_found(answer_to(&request), "unknown extension 0 of type: N");
    buf_deinit(&request);
    finish();
}

END_TEST

/* A request that asks for nothing is no request, whatever else is in it. */
START_TEST(reflection_answer_wants_a_question)
{
    struct buf request = {0};

    start();
    ck_assert_int_eq(answer_bytes((struct bytes){0}), REFLECTION_ANSWER_E_EMPTY);
    add_text(&request, 1, "host");
    add_text(&request, 8, "later");
    ck_assert_int_eq(proto_wire_append_varint(&request, SYMBOL, 1), 0);
    ck_assert_int_eq(answer_bytes(buf_bytes(&request)), REFLECTION_ANSWER_E_EMPTY);
    buf_deinit(&request);
    finish();
}

END_TEST

/* However a request is cut, it is answered or refused. */
START_TEST(reflection_answer_refuses_what_is_cut)
{
    struct buf request = {0};
    size_t refused = 0;

    start();
    add_text(&request, 1, "host");
    add_text(&request, EXTENSION, "\x0a\x01M\x10\xac\x02");
    add_text(&request, SYMBOL, "users.v1.User");
    for (size_t size = 0; size <= buf_size(&request); size++) {
        int result = answer_bytes((struct bytes){buf_bytes(&request).data, size});

        ck_assert(result == 0 || result == REFLECTION_ANSWER_E_EMPTY || result == -EBADMSG);
        refused += result == -EBADMSG;
    }
    ck_assert_uint_eq(refused, buf_size(&request) + 1 - 4); /* between fields it is whole */
    buf_deinit(&request);
    finish();
}

END_TEST

/* Text that is no UTF-8, an extension that is no message, a group. */
START_TEST(reflection_answer_refuses_bad_fields)
{
    static const char *const bad[] = {"\x0a\x01\xff",     "\x1a\x02\xc3(", "\x22\x01\x80",
                                      "\x32\x01\xff",     "\x3a\x01\xff",  "\x2a\x03\x0a\x01\xff",
                                      "\x2a\x02\x0a\x02", "\x23\x24",      "\x2a\x01\x10"};

    start();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(answer_bytes(bytes_from_text(bad[i])), -EBADMSG);
    }
    ck_assert_uint_eq(sent, 0);
    finish();
}

END_TEST

/* So many fields, so many unknown ones, and none more. */
START_TEST(reflection_answer_counts_fields)
{
    struct buf request = {0};

    start();
    for (unsigned i = 0; i < MAX_FIELDS; i++) {
        add_text(&request, LIST, "");
    }
    ck_assert_uint_eq(answer_to(&request).kind, SERVICES);
    add_text(&request, LIST, "");
    ck_assert_int_eq(answer_bytes(buf_bytes(&request)), REFLECTION_ANSWER_E_TOO_MANY);
    buf_deinit(&request);
    for (unsigned i = 0; i < REFLECTION_UNKNOWN_MAX; i++) {
        add_text(&request, 100 + i, "");
    }
    add_text(&request, LIST, "");
    ck_assert_uint_eq(answer_to(&request).kind, SERVICES);
    add_text(&request, 100, "");
    ck_assert_int_eq(answer_bytes(buf_bytes(&request)), REFLECTION_ANSWER_E_TOO_MANY);
    buf_deinit(&request);
    finish();
}

END_TEST

UNIT_MAIN("reflection_answer", reflection_answer_sends_imports_once,
          reflection_answer_copies_descriptors, reflection_answer_tells_what_is_unknown,
          reflection_answer_tells_extensions, reflection_answer_reads_requests_as_protobuf,
          reflection_answer_wants_a_question, reflection_answer_refuses_what_is_cut,
          reflection_answer_refuses_bad_fields, reflection_answer_counts_fields)
