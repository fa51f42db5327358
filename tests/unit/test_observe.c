#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "service/observe.h"

#include <stdio.h>
#include <unistd.h>

static const struct grpc_method rows[] = {
    {.path = "/a.B/One"},
    {.path = "/a.B/Two"},
};

static struct grpc_method_table methods;
static struct observe *observe;

static uint64_t fake_now_ns(struct clock_source *source)
{
    (void)source;
    return 9000;
}

static struct clock_source fake_clock = {fake_now_ns, fake_now_ns};
static struct reactor reactor = {.clock = &fake_clock};
static struct grpc_call_host host = {.reactor = &reactor};

static void open_with(struct log *log)
{
    ck_assert_int_eq(grpc_method_table_init(&methods, rows, 2), 0);
    ck_assert_int_eq(observe_new(&methods, log, &observe), 0);
}

static void done(void)
{
    observe_free(observe);
    grpc_method_table_deinit(&methods);
}

/* A whole call on this path, as dispatch would show it to the stage. */
static void pass(const char *path, enum grpc_status status)
{
    struct grpc_stage stage = observe_stage(observe);
    struct grpc_call call = {.host = &host, .started_ns = 2000};

    call.head.path = bytes_from_text(path);
    call.method = grpc_method_find(&methods, call.head.path);
    ck_assert(stage.begin(stage.context, &call));
    call.status = status;
    stage.end(stage.context, &call);
}

/* Each call counts once, under its method and status. */
START_TEST(observe_counts)
{
    open_with(NULL);
    pass("/a.B/One", GRPC_STATUS_OK);
    pass("/a.B/One", GRPC_STATUS_OK);
    pass("/a.B/One", GRPC_STATUS_NOT_FOUND);
    pass("/a.B/Two", GRPC_STATUS_UNAUTHENTICATED);
    ck_assert_uint_eq(observe_count(observe, &methods.methods[0], GRPC_STATUS_OK), 2);
    ck_assert_uint_eq(observe_count(observe, &methods.methods[0], GRPC_STATUS_NOT_FOUND), 1);
    ck_assert_uint_eq(observe_count(observe, &methods.methods[1], GRPC_STATUS_OK), 0);
    ck_assert_uint_eq(observe_count(observe, &methods.methods[1], GRPC_STATUS_UNAUTHENTICATED), 1);
    ck_assert_uint_eq(observe_status_total(observe, GRPC_STATUS_OK), 2);
    done();
}

END_TEST

/* All methods that nobody serves count as one, however many names are tried. */
START_TEST(observe_counts_unknown_methods_as_one)
{
    char path[32];

    open_with(NULL);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(path, sizeof(path), "/a.B/Guess%d", i);
        pass(path, GRPC_STATUS_UNIMPLEMENTED);
    }
    ck_assert_uint_eq(observe_count(observe, NULL, GRPC_STATUS_UNIMPLEMENTED), 1000);
    ck_assert_uint_eq(observe_status_total(observe, GRPC_STATUS_UNIMPLEMENTED), 1000);
    done();
}

END_TEST

/* At level debug each call has a line with method, status and time; above it there is none. */
START_TEST(observe_writes_a_line)
{
    struct log log;
    char text[2048] = "";
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    log_init(&log, clock_system());
    log.fd = ends[1];
    open_with(&log);
    pass("/a.B/Two", GRPC_STATUS_OK);
    log.level = LEVEL_DEBUG;
    pass("/a.B/One", GRPC_STATUS_ABORTED);
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    ck_assert_msg(strstr(text, "/a.B/One") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "status=ABORTED us=7") != NULL, "%s", text);
    ck_assert_ptr_null(strstr(text, "/a.B/Two"));
    (void)close(ends[0]);
    (void)close(ends[1]);
    done();
}

END_TEST

/* A path of any length gives a line of bounded length. */
START_TEST(observe_cuts_long_paths)
{
    static char path[8000];
    struct log log;
    char text[4096] = "";
    int ends[2];

    memset(path, 'x', sizeof(path) - 1);
    ck_assert_int_eq(pipe(ends), 0);
    log_init(&log, clock_system());
    log.fd = ends[1];
    log.level = LEVEL_DEBUG;
    open_with(&log);
    pass(path, GRPC_STATUS_UNIMPLEMENTED);
    ck_assert_int_gt(read(ends[0], text, sizeof(text) - 1), 0);
    ck_assert_uint_lt(strlen(text), 400);
    ck_assert_msg(strstr(text, "UNIMPLEMENTED") != NULL, "%s", text);
    (void)close(ends[0]);
    (void)close(ends[1]);
    done();
}

END_TEST

/* Started, messages and time are kept beside the status; the labels tell which method. */
START_TEST(observe_fills_rows)
{
    const struct observe_row *row;
    struct grpc_stage stage;
    struct grpc_call call = {.host = &host, .started_ns = 2000};

    open_with(NULL);
    stage = observe_stage(observe);
    call.method = &methods.methods[1];
    ck_assert(stage.begin(stage.context, &call));
    ck_assert_ptr_nonnull(call.counts);
    call.counts->received += 2;
    call.counts->sent += 3;
    ck_assert_uint_eq(observe_row_count(observe), 3);
    row = observe_row(observe, 1);
    ck_assert_uint_eq(row->started, 1);
    ck_assert_uint_eq(row->messages.received, 2);
    ck_assert_uint_eq(row->messages.sent, 3);
    ck_assert_uint_eq(histogram_count(&row->ns), 0);
    stage.end(stage.context, &call);
    ck_assert_uint_eq(histogram_count(&row->ns), 1);
    ck_assert_uint_eq(row->ns.sum, 7000);
    ck_assert(bytes_equal(row->labels, BYTES_LITERAL("method=\"/a.B/Two\"")));
    ck_assert(
        bytes_equal(row->classic,
                    BYTES_LITERAL("grpc_type=\"unary\",grpc_service=\"a.B\",grpc_method=\"Two\"")));
    ck_assert(bytes_equal(observe_row(observe, 2)->labels, BYTES_LITERAL("method=\"other\"")));
    done();
}

END_TEST

/* A call that no stage saw counts, too: under its method when its head had that. */
START_TEST(observe_counts_what_it_missed)
{
    struct grpc_stage stage;
    struct grpc_call call = {.host = &host, .started_ns = 2000};

    open_with(NULL);
    stage = observe_stage(observe);
    call.head.path = bytes_from_text("/a.B/One");
    call.status = GRPC_STATUS_DEADLINE_EXCEEDED;
    stage.missed(stage.context, &call);
    ck_assert_ptr_null(call.method);
    call.head.path = (struct bytes){NULL, 0};
    call.status = GRPC_STATUS_CANCELLED;
    stage.missed(stage.context, &call);
    ck_assert_uint_eq(observe_count(observe, &methods.methods[0], GRPC_STATUS_DEADLINE_EXCEEDED),
                      1);
    ck_assert_uint_eq(observe_count(observe, NULL, GRPC_STATUS_CANCELLED), 1);
    ck_assert_uint_eq(observe_row(observe, 0)->started, 1);
    done();
}

END_TEST

UNIT_MAIN("observe", observe_counts, observe_counts_unknown_methods_as_one, observe_writes_a_line,
          observe_cuts_long_paths, observe_fills_rows, observe_counts_what_it_missed)
