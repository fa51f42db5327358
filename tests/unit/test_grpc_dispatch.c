#include "lib/call_rig.h"
#include "lib/unit.h"

#include "http2/grpc_dispatch.h"

static struct call_rig rig;
static struct grpc_method_table methods;
static struct grpc_dispatch dispatch;
static char trace[256]; /* what ran, in order */
static char failing;    /* the stage that fails the call */
static char waiting;    /* the stage that makes it wait */
static enum grpc_status status_missed;

static void note(char what, char stage)
{
    size_t used = strlen(trace);

    ck_assert_uint_lt(used + 3, sizeof(trace));
    trace[used] = what;
    trace[used + 1] = stage;
    trace[used + 2] = '\0';
}

static bool stage_begin(void *context, struct grpc_call *call)
{
    const char *name = context;

    note('+', name[0]);
    if (waiting == name[0]) {
        grpc_call_wait(call);
        note('.', name[0]);
    } else if (failing == name[0]) {
        grpc_call_fail_text(call, GRPC_STATUS_PERMISSION_DENIED, "TEST", "Permission denied");
        note('!', name[0]); /* its end has not run inside that call */
        return false;
    }
    return true;
}

static void stage_end(void *context, struct grpc_call *call)
{
    const char *name = context;

    ck_assert(!grpc_call_is_wanted(call));
    call->waits = false;
    note('-', name[0]);
}

static void stage_missed(void *context, struct grpc_call *call)
{
    const char *name = context;

    ck_assert(!grpc_call_is_wanted(call));
    ck_assert_ptr_null(call->method);
    ck_assert_uint_eq(call->started_ns, rig.reactor.now_ns);
    status_missed = call->status;
    note('?', name[0]);
}

static char names[] = "abc";

static const struct grpc_stage stages[] = {
    {.name = "a", .begin = stage_begin, .end = stage_end, .missed = stage_missed, .context = names},
    {.name = "b", .begin = stage_begin, .end = NULL, .context = names + 1},
    {.name = "c",
     .begin = stage_begin,
     .end = stage_end,
     .missed = stage_missed,
     .context = names + 2},
};

static void handle(void *service, struct grpc_call *call, struct bytes request)
{
    ck_assert_ptr_eq(service, &methods);
    note('*', 'h');
    grpc_call_reply(call, &request, 1);
}

static void open_stream(void *service, struct grpc_call *call)
{
    ck_assert_ptr_eq(service, &methods);
    ck_assert_int_eq(call->state, GRPC_CALL_RUNNING);
    note('*', 'o');
    grpc_call_finish(call);
}

static const struct grpc_method rows[] = {
    {.path = "/s.S/Echo", .handler = handle, .service = &methods},
    {.path = "/s.S/Stream", .kind = GRPC_METHOD_SERVER_STREAM},
    {.path = "/s.S/Up",
     .kind = GRPC_METHOD_CLIENT_STREAM,
     .open = open_stream,
     .service = &methods},
    {.path = "/s.S/Both",
     .kind = GRPC_METHOD_BIDI_STREAM,
     .open = open_stream,
     .service = &methods},
    {.path = "/s.S/Down",
     .kind = GRPC_METHOD_SERVER_STREAM,
     .handler = handle,
     .service = &methods},
    {.path = "/s.S/Wrong", .kind = GRPC_METHOD_BIDI_STREAM, .handler = handle},
    {.path = "/s.S/Wrong2", .kind = GRPC_METHOD_SERVER_STREAM, .open = open_stream},
};

static void on_head(struct grpc_call *call)
{
    grpc_dispatch_head(&dispatch, call);
}

static void on_proceed(struct grpc_call *call)
{
    grpc_dispatch_proceed(&dispatch, call);
}

static void on_request(struct grpc_call *call, struct bytes message)
{
    grpc_dispatch_request(&dispatch, call, message);
}

static void on_open(struct grpc_call *call)
{
    grpc_dispatch_opened(&dispatch, call);
}

static void on_finished(struct grpc_call *call)
{
    grpc_dispatch_finished(&dispatch, call);
}

static void set_up(void)
{
    trace[0] = '\0';
    ck_assert_int_eq(grpc_method_table_init(&methods, rows, sizeof(rows) / sizeof(rows[0])), 0);
    dispatch = (struct grpc_dispatch){.methods = &methods, .stages = stages, .stage_count = 3};
    call_rig_init(&rig);
    rig.on_head = on_head;
    rig.on_proceed = on_proceed;
    rig.on_request = on_request;
    rig.on_open = on_open;
    rig.on_finished = on_finished;
}

static void clean_up(void)
{
    call_rig_deinit(&rig);
    grpc_method_table_deinit(&methods);
}

/* One call to `path`, and what the client saw of it. */
static void check_call(const char *path, enum grpc_status status, const char *message,
                       const char *expected_trace)
{
    struct h2_peer_call call;

    set_up();
    h2_peer_call_unary(&rig.peer, &call, path, "x", 1);
    call_rig_talk(&rig);
    call_rig_check(&call, status, message);
    ck_assert_str_eq(trace, expected_trace);
    h2_peer_call_deinit(&call);
    clean_up();
}

/* Stages in order, then the handler, then their ends in reverse; a stage without an end is passed
 * over. */
START_TEST(dispatch_runs_stages_around_the_handler)
{
    failing = 0;
    check_call("/s.S/Echo", GRPC_STATUS_OK, "", "+a+b+c*h-c-a");
}

END_TEST

/* A stage that fails the call is the last that runs; the ends of those that began run after it is
 * done. */
START_TEST(dispatch_stops_at_a_failing_stage)
{
    failing = 'a';
    check_call("/s.S/Echo", GRPC_STATUS_PERMISSION_DENIED, "Permission denied", "+a!a-a");
    failing = 'b';
    check_call("/s.S/Echo", GRPC_STATUS_PERMISSION_DENIED, "Permission denied", "+a+b!b-a");
    failing = 'c';
    check_call("/s.S/Echo", GRPC_STATUS_PERMISSION_DENIED, "Permission denied", "+a+b+c!c-c-a");
}

END_TEST

/* Unknown names are told with the texts of grpc-go, after the stages had their say (P1). */
START_TEST(dispatch_judges_the_caller_before_the_name)
{
    failing = 0;
    check_call("/s.S/Nope", GRPC_STATUS_UNIMPLEMENTED, "unknown method Nope for service s.S",
               "+a+b+c-c-a");
    check_call("/t.T/Nope", GRPC_STATUS_UNIMPLEMENTED, "unknown service t.T", "+a+b+c-c-a");
    check_call("/a/b/c", GRPC_STATUS_UNIMPLEMENTED, "unknown service a/b", "+a+b+c-c-a");
    failing = 'c';
    check_call("/t.T/Nope", GRPC_STATUS_PERMISSION_DENIED, "Permission denied", "+a+b+c!c-c-a");
}

END_TEST

/* A method of the table without a handler is not implemented. */
START_TEST(dispatch_tells_a_method_without_handler)
{
    failing = 0;
    check_call("/s.S/Stream", GRPC_STATUS_UNIMPLEMENTED, "method Stream not implemented",
               "+a+b+c-c-a");
}

END_TEST

/* Every shape gets to its kind of handler, through the same stages; a function of the other kind
 * does not count. */
START_TEST(dispatch_knows_four_shapes)
{
    failing = 0;
    check_call("/s.S/Down", GRPC_STATUS_OK, "", "+a+b+c*h-c-a");
    check_call("/s.S/Up", GRPC_STATUS_OK, "", "+a+b+c*o-c-a");
    check_call("/s.S/Both", GRPC_STATUS_OK, "", "+a+b+c*o-c-a");
    check_call("/s.S/Wrong", GRPC_STATUS_UNIMPLEMENTED, "method Wrong not implemented",
               "+a+b+c-c-a");
    check_call("/s.S/Wrong2", GRPC_STATUS_UNIMPLEMENTED, "method Wrong2 not implemented",
               "+a+b+c-c-a");
    failing = 'b';
    check_call("/s.S/Both", GRPC_STATUS_PERMISSION_DENIED, "Permission denied", "+a+b!b-a");
}

END_TEST

/* A foreign name of any length fits the answer. */
START_TEST(dispatch_cuts_long_names)
{
    char path[1001];

    failing = 0;
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    path[0] = '/';
    path[500] = '/';
    check_call(path, GRPC_STATUS_UNIMPLEMENTED, NULL, "+a+b+c-c-a");
}

END_TEST

/* One that waits for a stage, with all that its client sends. */
static void begin_waiting(struct h2_peer_call *call, const char *path)
{
    const char *const more[] = {"grpc-timeout", "1S", NULL};

    failing = 0;
    waiting = 'c';
    set_up();
    h2_peer_begin(&rig.peer, call, path, more);
    h2_peer_send(call, 0, "x", 1);
    h2_peer_end(call);
    call_rig_talk(&rig);
    ck_assert_str_eq(trace, "+a+b+c.c");
    ck_assert_int_eq(rig.call->state, GRPC_CALL_HEAD);
    ck_assert_uint_eq(rig.requests, 0);
}

static void end_waiting(struct h2_peer_call *call)
{
    waiting = 0;
    h2_peer_call_deinit(call);
    clean_up();
}

/* A call may wait for a stage, several times: that stage begins again, those before it do not, and
 * what came meanwhile is there. */
START_TEST(dispatch_goes_on_where_a_call_waits)
{
    static const char *const paths[] = {"/s.S/Echo", "/s.S/Down", "/s.S/Up", "/s.S/Both"};
    struct h2_peer_call call;

    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        begin_waiting(&call, paths[i]);
        grpc_call_proceed(rig.call);
        ck_assert_str_eq(trace, "+a+b+c.c+c.c");
        waiting = 0;
        grpc_call_proceed(rig.call);
        call_rig_talk(&rig);
        call_rig_check(&call, GRPC_STATUS_OK, "");
        ck_assert_str_eq(trace, i < 2 ? "+a+b+c.c+c.c+c*h-c-a" : "+a+b+c.c+c.c+c*o-c-a");
        if (i < 2) {
            ck_assert_str_eq(rig.message, "x");
        }
        end_waiting(&call);
    }
}

END_TEST

/* The stage may refuse it then, and an unknown method is told then. */
START_TEST(dispatch_judges_after_waiting)
{
    struct h2_peer_call call;

    begin_waiting(&call, "/s.S/Echo");
    waiting = 0;
    failing = 'c';
    grpc_call_proceed(rig.call);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_PERMISSION_DENIED, "Permission denied");
    ck_assert_str_eq(trace, "+a+b+c.c+c!c-c-a");
    end_waiting(&call);
    begin_waiting(&call, "/s.S/Nope");
    waiting = 0;
    grpc_call_proceed(rig.call);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_UNIMPLEMENTED, "unknown method Nope for service s.S");
    end_waiting(&call);
}

END_TEST

/* A call that waits ends like any other, and its stages hear it. */
START_TEST(dispatch_ends_what_waits)
{
    struct h2_peer_call call;

    begin_waiting(&call, "/s.S/Echo");
    call_rig_advance(&rig, CLOCK_NS_PER_S);
    call_rig_talk(&rig);
    call_rig_check(&call, GRPC_STATUS_DEADLINE_EXCEEDED, NULL);
    ck_assert_str_eq(trace, "+a+b+c.c-c-a");
    end_waiting(&call);
    begin_waiting(&call, "/s.S/Up");
    call_rig_lose(&rig);
    ck_assert_str_eq(trace, "+a+b+c.c-c-a");
    ck_assert_int_eq(rig.status, GRPC_STATUS_CANCELLED);
    end_waiting(&call);
}

END_TEST

/* A call with these fields beside the usual ones, which no stage is asked about. */
static void check_missed(const char *path, const char *const *more, enum grpc_status status)
{
    struct h2_peer_call call;

    set_up();
    h2_peer_begin(&rig.peer, &call, path, more);
    call_rig_talk(&rig);
    call_rig_check(&call, status, NULL);
    ck_assert_str_eq(trace, "?a?c");
    ck_assert_int_eq(status_missed, status);
    h2_peer_call_deinit(&call);
    clean_up();
}

/* Calls refused for their head alone are told to the stages that ask for it, once, and nothing else
 * of them is. */
START_TEST(dispatch_tells_what_the_stages_missed)
{
    static char large[5000];
    const char *const timeout[] = {"grpc-timeout", "soon", NULL};
    const char *const past[] = {"grpc-timeout", "0n", NULL};
    const char *const binary[] = {"x-bin", "?", NULL};
    const char *const encoding[] = {"grpc-encoding", "zip", NULL};
    const char *const too_large[] = {"x-large", large, NULL};

    failing = 0;
    memset(large, 'v', sizeof(large) - 1);
    check_missed("/s.S/Echo", timeout, GRPC_STATUS_INTERNAL);
    check_missed("/s.S/Echo", past, GRPC_STATUS_DEADLINE_EXCEEDED);
    check_missed("/s.S/Echo", binary, GRPC_STATUS_INTERNAL);
    check_missed("/s.S/Echo", encoding, GRPC_STATUS_UNIMPLEMENTED);
    check_missed("/s.S/Echo", too_large, GRPC_STATUS_RESOURCE_EXHAUSTED);
    check_missed("/malformed", NULL, GRPC_STATUS_UNIMPLEMENTED);
}

END_TEST

/* So is a call whose head never becomes complete. */
START_TEST(dispatch_tells_what_never_began)
{
    /* HEADERS of stream 1, not the end of its block: ":method: POST" of the static table. */
    static const uint8_t part[] = {0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83};
    struct buf bytes = {0};

    set_up();
    ck_assert_int_eq(buf_append(&bytes, part, sizeof(part)), 0);
    call_rig_feed(&rig, &bytes);
    ck_assert_uint_eq(rig.opened, 1);
    ck_assert_str_eq(trace, "");
    call_rig_lose(&rig);
    ck_assert_str_eq(trace, "?a?c");
    ck_assert_int_eq(status_missed, GRPC_STATUS_CANCELLED);
    buf_deinit(&bytes);
    clean_up();
}

END_TEST

UNIT_MAIN("grpc_dispatch", dispatch_runs_stages_around_the_handler,
          dispatch_stops_at_a_failing_stage, dispatch_judges_the_caller_before_the_name,
          dispatch_tells_a_method_without_handler, dispatch_knows_four_shapes,
          dispatch_cuts_long_names, dispatch_goes_on_where_a_call_waits,
          dispatch_judges_after_waiting, dispatch_ends_what_waits,
          dispatch_tells_what_the_stages_missed, dispatch_tells_what_never_began)
