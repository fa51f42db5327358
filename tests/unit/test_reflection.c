#include "lib/unit.h"

#include "call_fakes.h"
#include "core/clock.h"
#include "core/reactor.h"
#include "http2/grpc_method.h"
#include "reflection_fixture.h"
#include "service/embedded.h"
#include "service/method_class.h"
#include "service/reflection.h"

#include <errno.h>

/* The two methods between fake calls and a real reactor. */

#define MAX_MESSAGES     100
#define MAX_UNSENT       1000
#define MAX_FIELDS       64
#define ANSWERS_PER_TURN 32

static struct reactor reactor;
static struct grpc_call_host host;
static struct reflection *reflection;
static struct grpc_method methods[REFLECTION_METHOD_COUNT];

static void start(void)
{
    const struct ring_options ring_options = {.entries = 8};
    const struct reflection_options options = {
        .descriptors = embedded_descriptors,
        .max_messages = MAX_MESSAGES,
        .max_unsent = MAX_UNSENT,
        .max_fields = MAX_FIELDS,
    };
    char problem[RING_PROBLEM_SIZE];

    ck_assert_int_eq(reactor_init(&reactor, &ring_options, clock_system(), NULL, problem), 0);
    host = (struct grpc_call_host){.reactor = &reactor};
    ck_assert_int_eq(reflection_new(&reactor, &options, &reflection), 0);
    reflection_methods(reflection, methods);
}

static void finish(void)
{
    reflection_free(reflection);
    reactor_deinit(&reactor);
}

static void settle(void)
{
    do {
        ck_assert_int_eq(reactor_turn(&reactor, 0), 0);
    } while (!list_is_empty(&reactor.slow_tasks));
}

/* Begins a stream of the method with that number. */
static void open_call(struct fake_call *call, unsigned method)
{
    fake_call_init(call);
    call->call.host = &host;
    call->compresses = true;
    methods[method].open(methods[method].service, &call->call);
}

static void ask(struct fake_call *call, uint32_t kind, const char *text)
{
    struct buf request = {0};

    add_text(&request, kind, text);
    fake_call_message(call, buf_bytes(&request).data, buf_size(&request));
    buf_deinit(&request);
}

static struct answer newest(const struct fake_call *call)
{
    ck_assert_uint_gt(call->sent_count, 0);
    return take_apart(fake_call_sent(call, call->sent_count - 1));
}

static void check_failed(struct fake_call *call, enum grpc_status status, const char *reason)
{
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, status);
    ck_assert_str_eq(call->reason, reason);
    fake_call_deinit(call);
}

static void end_call(struct fake_call *call)
{
    fake_call_half_close(call);
    ck_assert(call->answered);
    ck_assert_int_eq(call->status, GRPC_STATUS_OK);
    fake_call_deinit(call);
}

/* The services of the table are listed, each once, sorted; none before there is a table. */
START_TEST(reflection_lists_services)
{
    static const struct grpc_method rows[] = {{.path = "/z.Z/A"},  {.path = "/b.B/A"},
                                              {.path = "/z.Z/B"},  {.path = "/a.A/A"},
                                              {.path = "/b.Bb/A"}, {.path = "/b.B/B"}};
    static struct fake_call call;
    struct grpc_method_table table;

    start();
    open_call(&call, 0);
    ask(&call, LIST, "");
    ck_assert_uint_eq(newest(&call).kind, SERVICES);
    ck_assert_str_eq(names_in(newest(&call).body), "");
    ck_assert_int_eq(grpc_method_table_init(&table, rows, sizeof(rows) / sizeof(rows[0])), 0);
    for (unsigned round = 0; round < 2; round++) {
        ck_assert_int_eq(reflection_list(reflection, &table), 0);
        ask(&call, LIST, "whatever");
        ck_assert_str_eq(names_in(newest(&call).body), "a.A b.B b.Bb z.Z ");
    }
    grpc_method_table_deinit(&table);
    end_call(&call);
    finish();
}

END_TEST

/* Every service that can be served is described, with its methods: but List of the health service,
 * for which the proto file of the build may be too old. */
START_TEST(reflection_describes_all_methods)
{
    static struct fake_call call;

    start();
    for (unsigned i = 0; method_class_paths[i] != NULL; i++) {
        char name[128];

        if (strcmp(method_class_paths[i], "/grpc.health.v1.Health/List") == 0) {
            continue;
        }
        open_call(&call, 0);
        (void)snprintf(name, sizeof(name), "%s", method_class_paths[i] + 1);
        *strchr(name, '/') = '.';
        ask(&call, SYMBOL, name);
        ck_assert_msg(newest(&call).kind == FILES, "%s", name);
        *strrchr(name, '.') = '\0';
        ask(&call, SYMBOL, name);
        ck_assert_msg(newest(&call).kind == FILES, "%s", name);
        end_call(&call);
    }
    finish();
}

END_TEST

/* Both versions give the same answers; each stream is told the imports once. */
START_TEST(reflection_has_two_versions)
{
    static const char *const symbols[] = {"users.v1.User", "users.v1.User", "nobody"};
    static struct fake_call calls[REFLECTION_METHOD_COUNT];

    start();
    ck_assert_str_eq(methods[0].path, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    ck_assert_str_eq(methods[1].path,
                     "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
    open_call(&calls[0], 0);
    open_call(&calls[1], 1);
    for (unsigned i = 0; i < 3; i++) {
        ask(&calls[0], SYMBOL, symbols[i]);
        ask(&calls[1], SYMBOL, symbols[i]);
        ck_assert(bytes_equal(fake_call_sent(&calls[0], i), fake_call_sent(&calls[1], i)));
    }
    ck_assert_uint_gt(fake_call_sent(&calls[0], 0).size, fake_call_sent(&calls[0], 1).size);
    ck_assert(!calls[0].compresses);
    ck_assert(calls[0].trimmed);
    end_call(&calls[0]);
    end_call(&calls[1]);
    finish();
}

END_TEST

/* What is not found is an answer, and the stream goes on; what cannot be answered ends it. */
START_TEST(reflection_fails_bad_requests)
{
    static struct fake_call call;
    struct buf many = {0};

    start();
    open_call(&call, 0);
    ask(&call, SYMBOL, "nobody");
    ck_assert_uint_eq(newest(&call).kind, NOT_FOUND);
    ask(&call, LIST, "");
    ck_assert_uint_eq(newest(&call).kind, SERVICES);
    fake_call_message(&call, NULL, 0);
    ck_assert_uint_eq(call.sent_count, 2);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "MISSING_FIELDS");

    open_call(&call, 1);
    fake_call_message(&call, "\x3a", 1);
    check_failed(&call, GRPC_STATUS_INTERNAL, "MALFORMED_MESSAGE");

    for (unsigned i = 0; i <= MAX_FIELDS; i++) {
        add_text(&many, LIST, "");
    }
    open_call(&call, 0);
    fake_call_message(&call, buf_bytes(&many).data, buf_size(&many));
    ck_assert_uint_eq(fake_call_hits(&call, LIMITS_HIT_FIELDS), 1);
    check_failed(&call, GRPC_STATUS_INVALID_ARGUMENT, "TOO_MANY_FIELDS");
    buf_deinit(&many);

    open_call(&call, 0);
    call.send_result = -ENOMEM;
    ask(&call, LIST, "");
    check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "OUT_OF_MEMORY");
    finish();
}

END_TEST

/* So many requests on one stream, and none more. */
START_TEST(reflection_limits_a_stream)
{
    static struct fake_call call;

    start();
    open_call(&call, 0);
    for (unsigned i = 0; i < MAX_MESSAGES; i++) {
        ask(&call, LIST, "");
        settle();
    }
    ck_assert(!call.answered);
    ask(&call, LIST, "");
    ck_assert_uint_eq(call.sent_count, MAX_MESSAGES);
    ck_assert_uint_eq(fake_call_hits(&call, LIMITS_HIT_STREAM_MESSAGES), 1);
    check_failed(&call, GRPC_STATUS_RESOURCE_EXHAUSTED, "TOO_MANY_MESSAGES");
    finish();
}

END_TEST

/* While a client leaves too much unread its stream is paused, in whatever turn. */
START_TEST(reflection_waits_for_a_slow_reader)
{
    static struct fake_call call;

    start();
    open_call(&call, 0);
    call.unsent_size = MAX_UNSENT - 1;
    ask(&call, LIST, "");
    ck_assert(!call.paused);
    call.unsent_size = MAX_UNSENT;
    ask(&call, LIST, "");
    ck_assert(call.paused);
    settle();
    ck_assert(call.paused);
    fake_call_writable(&call);
    ck_assert(!call.paused);
    end_call(&call);
    finish();
}

END_TEST

/* After some answers the rest waits for a later turn, also when all was read; and when not all was
 * read then, for that. */
START_TEST(reflection_gives_way)
{
    static struct fake_call call;

    start();
    open_call(&call, 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < ANSWERS_PER_TURN; i++) {
            ck_assert(!call.paused);
            ask(&call, LIST, "");
        }
        ck_assert(call.paused);
        if (round == 2) {
            call.unsent_size = MAX_UNSENT;
        } else {
            fake_call_writable(&call);
            ck_assert(call.paused);
        }
        settle();
        ck_assert_int_eq(call.paused, round == 2);
    }
    fake_call_writable(&call);
    ck_assert(!call.paused);
    end_call(&call);
    finish();
}

END_TEST

/* A call that ends while its stream waits for its turn takes the stream with it. */
START_TEST(reflection_streams_end_while_they_wait)
{
    static struct fake_call call;

    start();
    open_call(&call, 0);
    fake_call_cancel(&call);
    fake_call_deinit(&call);
    open_call(&call, 1);
    for (unsigned i = 0; i < ANSWERS_PER_TURN; i++) {
        ask(&call, LIST, "");
    }
    ck_assert(call.paused);
    fake_call_cancel(&call);
    fake_call_deinit(&call);
    settle();
    finish();
}

END_TEST

/* At the end of the server all streams end, from the loop, and no new one begins. */
START_TEST(reflection_streams_end_with_the_server)
{
    static struct fake_call calls[20];

    start();
    for (unsigned i = 0; i < 20; i++) {
        open_call(&calls[i], i % 2);
    }
    for (unsigned i = 0; i < ANSWERS_PER_TURN; i++) {
        ask(&calls[3], LIST, "");
    }
    end_call(&calls[7]);
    reflection_end_streams(reflection);
    ck_assert(!calls[0].answered);
    ask(&calls[0], LIST, "");
    ck_assert_uint_eq(calls[0].sent_count, 1);
    fake_call_cancel(&calls[9]);
    fake_call_deinit(&calls[9]);
    settle();
    for (unsigned i = 0; i < 20; i++) {
        if (i != 7 && i != 9) {
            check_failed(&calls[i], GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
        }
    }
    open_call(&calls[0], 0);
    check_failed(&calls[0], GRPC_STATUS_UNAVAILABLE, "SERVER_SHUTDOWN");
    finish();
}

END_TEST

/* What is no set of descriptors makes no service. */
START_TEST(reflection_wants_descriptors)
{
    const struct reflection_options options = {.descriptors = BYTES_LITERAL("\x0a")};
    struct reflection *none;

    ck_assert_int_eq(reflection_new(&reactor, &options, &none), -EBADMSG);
    reflection_free(NULL);
}

END_TEST

UNIT_MAIN("reflection", reflection_lists_services, reflection_describes_all_methods,
          reflection_has_two_versions, reflection_fails_bad_requests, reflection_limits_a_stream,
          reflection_waits_for_a_slow_reader, reflection_gives_way,
          reflection_streams_end_while_they_wait, reflection_streams_end_with_the_server,
          reflection_wants_descriptors)
