#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "service/access_log.h"

#include <fcntl.h>
#include <unistd.h>

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"

static const struct grpc_method unary = {.path = "/a.B/One"};
static const struct grpc_method stream = {.path = "/a.B/Many", .kind = GRPC_METHOD_SERVER_STREAM};

static struct log log_;
static struct access_log access_;
static int pipe_[2];
static char text[65536];

static void setup(void)
{
    log_init(&log_, clock_system());
    ck_assert_int_eq(pipe2(pipe_, O_NONBLOCK), 0);
    log_.fd = pipe_[1];
    access_log_init(&access_, &log_);
}

static const char *written(void)
{
    ssize_t size = read(pipe_[0], text, sizeof(text) - 1);

    text[size > 0 ? size : 0] = '\0';
    return text;
}

static unsigned count_lines(const char *lines)
{
    unsigned count = 0;

    for (; *lines != '\0'; lines++) {
        count += *lines == '\n';
    }
    return count;
}

/* A call from its begin to its end; a stream loses its head between them. */
static void pass(const struct grpc_method *method, enum grpc_status status, const char *traceparent)
{
    static struct grpc_call_host host = {.peer = "127.0.0.1:4711"};
    struct grpc_metadata_field custom[2] = {
        {BYTES_LITERAL("traceparent"), bytes_from_text(traceparent)},
        {BYTES_LITERAL("grpc-previous-rpc-attempts"), BYTES_LITERAL("2")},
    };
    struct grpc_call call = {.host = &host, .method = method, .status = status, .caller = "jo"};
    void *slot = NULL;

    call.head.path = bytes_from_text(method->path);
    call.head.custom = custom;
    call.head.custom_count = 2;
    call.head.user_agent = BYTES_LITERAL("tool/1");
    access_log_begin(&access_, &call, &slot);
    if (method->kind != GRPC_METHOD_UNARY) {
        call.head.custom_count = 0;
        call.head.user_agent = (struct bytes){0};
    }
    access_log_end(&access_, &call, 7 * CLOCK_NS_PER_US, &slot);
    ck_assert_ptr_null(slot);
}

/* By default no call has a line; with "errors" those that failed have, and with "all" every one. */
START_TEST(access_log_chooses)
{
    setup();
    pass(&unary, GRPC_STATUS_NOT_FOUND, "");
    ck_assert_str_eq(written(), "");
    access_.choice = ACCESS_LOG_ERRORS;
    pass(&unary, GRPC_STATUS_OK, "");
    ck_assert_str_eq(written(), "");
    pass(&unary, GRPC_STATUS_NOT_FOUND, "");
    ck_assert_ptr_nonnull(strstr(written(), "status=NOT_FOUND"));
    access_.choice = ACCESS_LOG_ALL;
    pass(&unary, GRPC_STATUS_OK, "");
    ck_assert_ptr_nonnull(strstr(written(), "status=OK"));
    log_.level = LEVEL_WARN;
    pass(&unary, GRPC_STATUS_NOT_FOUND, "");
    ck_assert_str_eq(written(), "");
}

END_TEST

/* Of ten good calls one has a line, which says so; of bad ones each has. */
START_TEST(access_log_samples)
{
    setup();
    access_.choice = ACCESS_LOG_ALL;
    access_.sample = 10;
    for (unsigned i = 0; i < 100; i++) {
        pass(&unary, GRPC_STATUS_OK, "");
    }
    ck_assert_uint_eq(count_lines(written()), 10);
    ck_assert_ptr_nonnull(strstr(text, "sample=10"));
    pass(&unary, GRPC_STATUS_INTERNAL, "");
    ck_assert_ptr_nonnull(strstr(written(), "sample=1\n"));
    log_.level = LEVEL_DEBUG;
    pass(&unary, GRPC_STATUS_OK, "");
    ck_assert_ptr_nonnull(strstr(written(), "sample=1\n"));
}

END_TEST

/* Who, from where, how often before, with what, and in which trace; a stream remembers it. */
START_TEST(access_log_tells_of_the_call)
{
    static const char parent[] = "00-" TRACE "-00f067aa0ba902b7-01";

    setup();
    access_.choice = ACCESS_LOG_ALL;
    pass(&unary, GRPC_STATUS_OK, parent);
    ck_assert_msg(strstr(written(), "method=/a.B/One status=OK us=7 caller=jo peer=127.0.0.1:4711 "
                                    "trace_id=" TRACE " previous_attempts=2 "
                                    "user_agent=tool/1 sample=1\n") != NULL,
                  "%s", text);
    pass(&stream, GRPC_STATUS_OK, parent);
    ck_assert_msg(strstr(written(), "trace_id=" TRACE " previous_attempts=2 user_agent=tool/1 ") !=
                      NULL,
                  "%s", text);
    pass(&stream, GRPC_STATUS_OK, "nonsense");
    ck_assert_msg(strstr(written(), "trace_id=\"\"") != NULL, "%s", text);
}

END_TEST

START_TEST(access_log_reads_traceparent)
{
    static const struct {
        const char *value;
        bool is_good;
    } cases[] = {
        {"00-" TRACE "-00f067aa0ba902b7-01", true},
        {"00-" TRACE "-00f067aa0ba902b7-0", false},
        {"00-" TRACE "-00f067aa0ba902b7-01-", false},
        {"01-" TRACE "-00f067aa0ba902b7-01-more", true},
        {"01-" TRACE "-00f067aa0ba902b7-01more", false},
        {"ff-" TRACE "-00f067aa0ba902b7-01", false},
        {"0x-" TRACE "-00f067aa0ba902b7-01", false},
        {"00-00000000000000000000000000000000-00f067aa0ba902b7-01", false},
        {"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false},
        {"00_" TRACE "-00f067aa0ba902b7-01", false},
        {"00-" TRACE "_00f067aa0ba902b7-01", false},
        {"", false},
        {"00", false},
    };
    struct bytes id;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool is_good = access_log_trace_id(bytes_from_text(cases[i].value), &id);

        ck_assert_msg(is_good == cases[i].is_good, "%s", cases[i].value);
        ck_assert(!is_good || bytes_equal(id, bytes_from_text(TRACE)));
    }
}

END_TEST

UNIT_MAIN("access_log", access_log_chooses, access_log_samples, access_log_tells_of_the_call,
          access_log_reads_traceparent)
