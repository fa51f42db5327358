#include "lib/unit.h"

#include "core/clock.h"
#include "core/log.h"
#include "core/reactor.h"
#include "http2/grpc_call.h"
#include "http2/grpc_method.h"
#include "service/access.h"
#include "service/caller.h"
#include "service/policy.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT 3 /* the stage is the fourth */

enum {
    GET,
    WATCH,
    SYNC,
    CHECK,
    HEALTH_WATCH,
    REFLECTION,
};

static const struct grpc_method rows[] = {
    {.path = "/users.v1.UserService/GetUser"},
    {.path = "/users.v1.UserService/WatchUser", .kind = GRPC_METHOD_SERVER_STREAM},
    {.path = "/users.v1.UserService/SyncUsers", .kind = GRPC_METHOD_BIDI_STREAM},
    {.path = "/grpc.health.v1.Health/Check"},
    {.path = "/grpc.health.v1.Health/Watch", .kind = GRPC_METHOD_SERVER_STREAM},
    {.path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
     .kind = GRPC_METHOD_BIDI_STREAM},
};

static const char *const viewer_roles[] = {"viewer"};
static const struct caller viewer = {.subject = "v", .roles = viewer_roles, .role_count = 1};
static const struct caller alice = {.subject = "alice", .certificate = "dns:laptop"};
static const struct caller nobody;

static uint64_t fake_now_ns(struct clock_source *source)
{
    (void)source;
    return 9000;
}

static struct clock_source fake_clock = {fake_now_ns, fake_now_ns};
static struct reactor reactor;
static struct grpc_call_host host = {.reactor = &reactor, .peer = "192.0.2.1:5"};
static struct grpc_method_table methods;
static struct access *access_under_test;
static struct log log_under_test;
static struct grpc_call *set_off; /* ends together with the next that is cancelled */
static unsigned failed_count;
static unsigned cancelled_count;

static void end(struct grpc_call *call)
{
    struct grpc_stage stage = access_stage(access_under_test);

    ck_assert(grpc_call_is_wanted(call));
    call->state = GRPC_CALL_ANSWERED;
    call->stages_begun = SLOT; /* as grpc_dispatch counts */
    stage.end(stage.context, call);
    ck_assert_ptr_null(call->stage_state[SLOT]);
}

static void assert_denial(const struct grpc_error *error, const char *reason)
{
    ck_assert_int_eq(error->status, GRPC_STATUS_PERMISSION_DENIED);
    ck_assert_str_eq(error->reason, reason);
    ck_assert_str_eq(error->message, "Permission denied");
    ck_assert_str_eq(error->domain, "users.v1");
    ck_assert_uint_eq(error->metadata_count, 0);
}

/* These stand in for the ones of grpc_call.c. */
bool grpc_call_is_wanted(const struct grpc_call *call)
{
    return call->state < GRPC_CALL_ANSWERED;
}

void grpc_call_fail(struct grpc_call *call, const struct grpc_error *error)
{
    assert_denial(error, "PERMISSION_DENIED");
    failed_count++;
    end(call);
}

void grpc_call_fail_text(struct grpc_call *call, enum grpc_status status, const char *reason,
                         const char *message)
{
    (void)status;
    (void)reason;
    (void)message;
    failed_count++;
    end(call);
}

void grpc_call_cancel_for(struct grpc_call *call, const struct grpc_error *error)
{
    struct grpc_call *other = set_off;

    assert_denial(error, "ACCESS_REVOKED");
    cancelled_count++;
    end(call);
    set_off = NULL;
    if (other != NULL && other != call) {
        end(other);
    }
}

static void open_with(bool anonymous_health, bool anonymous_reflection)
{
    const struct access_options options = {anonymous_health, anonymous_reflection};

    reactor.now_ns = 1000 * CLOCK_NS_PER_S;
    log_init(&log_under_test, &fake_clock);
    log_under_test.fd = memfd_create("log", 0);
    ck_assert_int_ge(log_under_test.fd, 0);
    ck_assert_int_eq(grpc_method_table_init(&methods, rows, sizeof(rows) / sizeof(rows[0])), 0);
    ck_assert_int_eq(access_new(&options, &log_under_test, &access_under_test), 0);
}

static void done(void)
{
    access_free(access_under_test);
    grpc_method_table_deinit(&methods);
    (void)close(log_under_test.fd);
}

/* What the log says, whole. */
static const char *logged(void)
{
    static char text[65536];
    ssize_t size = pread(log_under_test.fd, text, sizeof(text) - 1, 0);

    ck_assert_int_ge(size, 0);
    text[size] = '\0';
    return text;
}

static unsigned count_lines(void)
{
    unsigned count = 0;

    for (const char *at = logged(); *at != '\0'; at++) {
        count += *at == '\n';
    }
    return count;
}

/* A policy of one allow row, or none with NULL. */
static void set_policy(const char *path, enum policy_principal_kind kind, const char *name)
{
    char path_copy[128];
    char name_copy[128];
    struct policy_principal principal = {.kind = kind, .name = name_copy};
    struct policy_rule rule = {.path = path_copy, .principals = &principal, .principal_count = 1};
    struct policy *policy;

    (void)snprintf(path_copy, sizeof(path_copy), "%s", path != NULL ? path : "");
    (void)snprintf(name_copy, sizeof(name_copy), "%s", name != NULL ? name : "");
    ck_assert_int_eq(policy_new(&rule, path != NULL ? 1 : 0, &methods, &policy), 0);
    access_set_policy(access_under_test, policy);
}

static bool begin(struct grpc_call *call, const char *path, const struct caller *caller)
{
    struct grpc_stage stage = access_stage(access_under_test);

    *call = (struct grpc_call){.host = &host, .identity = caller, .stages_begun = SLOT + 1};
    call->head.path = bytes_from_text(path);
    call->method = grpc_method_find(&methods, call->head.path);
    return stage.begin(stage.context, call);
}

/* A whole call; was it let pass? */
static bool passes(const char *path, const struct caller *caller)
{
    struct grpc_call call;
    unsigned failed = failed_count;
    bool result = begin(&call, path, caller);

    ck_assert_uint_eq(failed_count - failed, result ? 0 : 1);
    if (result) {
        end(&call);
    }
    return result;
}

/* Without a policy, and with an empty one, everybody passes, whatever the method. */
START_TEST(access_lets_pass_without_policy)
{
    open_with(true, false);
    ck_assert(passes(rows[GET].path, &nobody));
    ck_assert(passes("/x.Y/Z", NULL));
    set_policy(NULL, POLICY_PRINCIPAL_ANYONE, NULL);
    ck_assert(passes(rows[GET].path, &nobody));
    ck_assert(passes("/x.Y/Z", NULL));
    access_set_policy(access_under_test, NULL);
    ck_assert(passes(rows[GET].path, &nobody));
    ck_assert_uint_eq(access_stats(access_under_test)->denied, 0);
    ck_assert_str_eq(logged(), "");
    done();
}

END_TEST

/* Who is not allowed is refused, and counted, also for methods that there are not. */
START_TEST(access_denies)
{
    open_with(true, false);
    set_policy("/users.v1.UserService/*", POLICY_PRINCIPAL_ROLE, "viewer");
    ck_assert(passes(rows[GET].path, &viewer));
    ck_assert(passes(rows[WATCH].path, &viewer));
    ck_assert(passes("/users.v1.UserService/Nothing", &viewer)); /* UNIMPLEMENTED comes later */
    ck_assert(!passes(rows[GET].path, &alice));
    ck_assert(!passes(rows[WATCH].path, &nobody));
    ck_assert(!passes("/users.v1.UserService/Nothing", &alice));
    ck_assert(!passes("/x.Y/Z", &viewer));
    ck_assert_uint_eq(access_stats(access_under_test)->denied, 4);
    ck_assert_uint_eq(access_stats(access_under_test)->streams, 0);
    done();
}

END_TEST

/* Methods that are open to all are not judged; closed they are judged as any other. */
START_TEST(access_spares_what_is_open_to_all)
{
    const struct access_options closed = {false, false};

    open_with(true, true);
    set_policy(rows[GET].path, POLICY_PRINCIPAL_ROLE, "viewer");
    ck_assert(passes(rows[CHECK].path, &nobody));
    ck_assert(passes(rows[HEALTH_WATCH].path, &nobody));
    ck_assert(passes(rows[REFLECTION].path, &nobody));
    ck_assert(!passes("/grpc.health.v1.Health/Nothing", &nobody));
    access_set_options(access_under_test, &closed);
    ck_assert(!passes(rows[CHECK].path, &viewer));
    ck_assert(!passes(rows[REFLECTION].path, &viewer));
    set_policy("/grpc.health.v1.Health/*", POLICY_PRINCIPAL_ROLE, "viewer");
    ck_assert(passes(rows[CHECK].path, &viewer));
    ck_assert(!passes(rows[CHECK].path, &nobody));
    done();
}

END_TEST

/* The line of a refusal says who, from where, what, and by which rule. */
START_TEST(access_writes_a_line)
{
    open_with(true, false);
    set_policy("/users.v1.UserService/*", POLICY_PRINCIPAL_ROLE, "viewer");
    ck_assert(!passes(rows[GET].path, &alice));
    ck_assert_ptr_nonnull(strstr(logged(), " warn access_denied"));
    ck_assert_ptr_nonnull(strstr(logged(), "method=/users.v1.UserService/GetUser"));
    ck_assert_ptr_nonnull(strstr(logged(), "subject=alice"));
    ck_assert_ptr_nonnull(strstr(logged(), "certificate=dns:laptop"));
    ck_assert_ptr_nonnull(strstr(logged(), "peer=192.0.2.1:5"));
    ck_assert_ptr_nonnull(strstr(logged(), "rule=\"no rule allows it\""));
    ck_assert_ptr_nonnull(strstr(logged(), "left_out=0"));
    done();
}

END_TEST

/* A flood of refusals writes few lines, and says how many it did not write. Foreign paths are cut.
 */
START_TEST(access_caps_its_lines)
{
    static char path[1000];

    open_with(true, false);
    set_policy(rows[GET].path, POLICY_PRINCIPAL_ROLE, "viewer");
    memset(path, 'x', sizeof(path) - 1);
    for (int i = 0; i < 1000; i++) {
        ck_assert(!passes(path, &nobody));
    }
    ck_assert_uint_eq(count_lines(), 10);
    ck_assert_uint_lt(strlen(logged()), 10 * 400);
    ck_assert_uint_eq(access_stats(access_under_test)->left_out, 990);
    reactor.now_ns += CLOCK_NS_PER_S;
    ck_assert(!passes(rows[GET].path, &nobody));
    ck_assert(!passes(rows[GET].path, &nobody));
    ck_assert_uint_eq(count_lines(), 12);
    ck_assert_ptr_nonnull(strstr(logged(), "left_out=990"));
    done();
}

END_TEST

/* A new policy ends the open streams that it forbids, and no others. */
START_TEST(access_ends_forbidden_streams)
{
    struct grpc_call watch;
    struct grpc_call sync;
    struct grpc_call other;
    struct grpc_call health;
    struct grpc_call unary;

    open_with(true, false);
    ck_assert(begin(&watch, rows[WATCH].path, &viewer));
    ck_assert(begin(&sync, rows[SYNC].path, &alice));
    ck_assert(begin(&other, rows[WATCH].path, &alice));
    ck_assert(begin(&health, rows[HEALTH_WATCH].path, &nobody));
    ck_assert(begin(&unary, rows[GET].path, &alice)); /* what has begun may end well */
    ck_assert_uint_eq(access_stats(access_under_test)->streams, 4);
    set_policy("/users.v1.UserService/*", POLICY_PRINCIPAL_AUTHENTICATED, NULL);
    ck_assert_uint_eq(cancelled_count, 0);
    set_policy("/users.v1.UserService/*", POLICY_PRINCIPAL_ROLE, "viewer");
    ck_assert_uint_eq(cancelled_count, 2);
    ck_assert(!grpc_call_is_wanted(&sync));
    ck_assert(!grpc_call_is_wanted(&other));
    ck_assert(grpc_call_is_wanted(&watch));
    ck_assert(grpc_call_is_wanted(&health));
    ck_assert(grpc_call_is_wanted(&unary));
    ck_assert_uint_eq(access_stats(access_under_test)->streams, 2);
    ck_assert_uint_eq(access_stats(access_under_test)->streams_ended, 2);
    ck_assert_uint_eq(count_lines(), 2);
    set_policy(rows[GET].path, POLICY_PRINCIPAL_ANYONE, NULL); /* the rest is still known */
    ck_assert_uint_eq(cancelled_count, 3);
    end(&health);
    end(&unary);
    ck_assert_uint_eq(access_stats(access_under_test)->streams, 0);
    done();
}

END_TEST

/* The end of one stream may set off that of another, before or behind it. */
START_TEST(access_bears_ends_inside_ends)
{
    for (unsigned which = 0; which < 3; which++) {
        struct grpc_call calls[3];

        open_with(true, false);
        for (unsigned i = 0; i < 3; i++) {
            ck_assert(begin(&calls[i], rows[WATCH].path, i == 1 ? &viewer : &alice));
        }
        set_off = &calls[which];
        set_policy(rows[WATCH].path, POLICY_PRINCIPAL_SUBJECT, which == 0 ? "v" : "nobody");
        ck_assert(!grpc_call_is_wanted(&calls[0]));
        ck_assert(!grpc_call_is_wanted(&calls[2]));
        for (unsigned i = 0; i < 3; i++) {
            if (grpc_call_is_wanted(&calls[i])) {
                end(&calls[i]);
            }
        }
        done();
    }
    access_free(NULL);
}

END_TEST

UNIT_MAIN("access", access_lets_pass_without_policy, access_denies,
          access_spares_what_is_open_to_all, access_writes_a_line, access_caps_its_lines,
          access_ends_forbidden_streams, access_bears_ends_inside_ends)
