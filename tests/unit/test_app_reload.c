#include "lib/unit.h"

#include "core/clock.h"
#include "core/file_watch.h"
#include "core/tls.h"
#include "http2/grpc_server.h"
#include "service/access.h"
#include "service/app_internal.h"
#include "service/config.h"
#include "service/health_port.h"
#include "service/observe.h"
#include "service/overload.h"
#include "service/policy.h"
#include "service/rate_limit.h"
#include "service/token.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

/* What a reload makes, takes and remembers; the parts are not made here, and nothing runs. */

#define INI                                                                                        \
    "[tls]\ncert_file = cert\nkey_file = key\n"                                                    \
    "[auth]\njwt_secret_file = secret\njwks_file = jwks\n"

static char folder[32];
static struct config config;
static struct app app;
static struct log log_under_test;
static bool tls_is_bad; /* what the makers of parts say */
static bool keys_are_bad;
static unsigned made_tls; /* so often was each asked for, and taken */
static unsigned made_keys;
static unsigned taken_tls;
static unsigned taken_keys;
static unsigned options_set;
static unsigned manager_begun;
static unsigned manager_ended;
static unsigned manager_refused;
static unsigned noted_taken;
static unsigned noted_failed;

/* ---- these stand in for the parts and their makers */

int app_parts_tls(const struct config *made_of, char *problem, struct tls_context **ret_context)
{
    (void)made_of;
    made_tls++;
    (void)snprintf(problem, APP_PROBLEM_SIZE, "bad tls");
    *ret_context = tls_is_bad ? NULL : (struct tls_context *)1;
    return tls_is_bad ? EX_CONFIG : EX_OK;
}

int app_parts_keys(const struct config *made_of, struct log *log, char *problem,
                   struct token_keys **ret_keys)
{
    (void)made_of;
    (void)log;
    made_keys++;
    if (keys_are_bad) {
        (void)snprintf(problem, APP_PROBLEM_SIZE, "bad keys");
        return EX_CONFIG;
    }
    return token_keys_new(ret_keys) == 0 ? EX_OK : EX_SOFTWARE;
}

int app_parts_policy(const struct config *made_of, const struct grpc_method_table *methods,
                     char *problem, struct policy **ret_policy)
{
    (void)made_of;
    (void)methods;
    (void)problem;
    *ret_policy = NULL;
    return EX_OK;
}

enum app_certificate app_certificate_judge(int64_t not_after_s, int64_t now_s)
{
    (void)not_after_s;
    (void)now_s;
    return APP_CERTIFICATE_GOOD;
}

void app_time_format(int64_t time_s, char out[APP_TIME_SIZE])
{
    (void)time_s;
    out[0] = '\0';
}

int64_t tls_context_not_after_s(const struct tls_context *context)
{
    (void)context;
    return INT64_MAX;
}

void tls_context_unref(struct tls_context *context)
{
    (void)context;
}

void grpc_server_set_tls(struct grpc_server *server, struct tls_context *context)
{
    (void)server;
    (void)context;
    taken_tls++;
}

void grpc_server_set_options(struct grpc_server *server, const struct grpc_server_options *options)
{
    (void)server;
    (void)options;
    options_set++;
}

void health_port_set_options(struct health_port *port, const struct grpc_server_options *options)
{
    (void)port;
    (void)options;
}

void health_port_limit(struct grpc_server_options *options, uint32_t max_connections)
{
    (void)options;
    (void)max_connections;
}

void observe_set_access(struct observe *observe, enum access_log_choice choice, uint64_t sample)
{
    (void)observe;
    (void)choice;
    (void)sample;
}

void rate_limit_set_options(struct rate_limit *limit, const struct rate_limit_options *options)
{
    (void)limit;
    (void)options;
}

void overload_set_options(struct overload *overload, const struct overload_options *options)
{
    (void)overload;
    (void)options;
}

void access_set_options(struct access *access, const struct access_options *options)
{
    (void)access;
    (void)options;
}

void access_set_policy(struct access *access, struct policy *policy)
{
    (void)access;
    (void)policy;
}

void access_rejudge(struct access *access)
{
    (void)access;
}

void auth_revoke(struct auth *auth)
{
    (void)auth;
}

bool auth_rejudge(struct auth *auth, unsigned count_max)
{
    (void)auth;
    (void)count_max;
    return true;
}

void token_verifier_set_keys(struct token_verifier *verifier, struct token_keys *keys)
{
    (void)verifier;
    token_keys_free(keys);
    taken_keys++;
}

void token_verifier_set_options(struct token_verifier *verifier, struct token_options *options)
{
    (void)verifier;
    token_options_free(options);
}

uint32_t token_verifier_rules(const struct token_verifier *verifier)
{
    (void)verifier;
    return 0;
}

int file_watch_set(struct file_watch *watch, const char *const *paths, unsigned count)
{
    (void)watch;
    (void)paths;
    (void)count;
    return 0;
}

int reactor_start_timer(struct reactor *reactor, struct timer *timer, uint64_t delay_ns)
{
    (void)reactor;
    (void)timer;
    (void)delay_ns;
    return 0;
}

void reactor_stop_timer(struct reactor *reactor, struct timer *timer)
{
    (void)reactor;
    (void)timer;
}

void app_manager_reloading(struct app *of)
{
    (void)of;
    manager_begun++;
}

void app_manager_refused(struct app *of, const char *cause)
{
    (void)of;
    (void)cause;
    manager_refused++;
}

void app_manager_reloaded(struct app *of)
{
    (void)of;
    manager_ended++;
}

void app_metrics_note_reload(struct app *of, bool has_taken, bool has_failed)
{
    (void)of;
    noted_taken += has_taken;
    noted_failed += has_failed;
}

/* ---- the rig */

static void write_file(const char *name, const char *content)
{
    FILE *file = fopen(name, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(content, file);
    (void)fclose(file);
}

static void open_app(void)
{
    struct buf errors = {0};

    (void)snprintf(folder, sizeof(folder), "/tmp/app_reload.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    write_file("userd.ini", INI);
    write_file("cert", "1");
    write_file("jwks", "1");
    ck_assert_int_eq(config_load(&config, "userd.ini", NULL, &errors), 0);
    app.config = &config;
    app.replaceable = &config;
    app.tls = (struct tls_context *)1;
    app.verifier = (struct token_verifier *)1;
    app.reactor.clock = clock_system();
    log_init(&log_under_test, clock_system());
    log_under_test.fd = memfd_create("log", 0);
    ck_assert_int_ge(log_under_test.fd, 0);
    app.log = log_under_test;
    app_files_look(&config, &app.files);
    ck_assert_int_eq(app_reload_whole(&app, "SIGHUP"), -ESHUTDOWN);
    ck_assert_int_eq(app_reload_open(&app), 0);
}

static void done(void)
{
    char command[64];

    app_reload_close(&app);
    ck_assert_int_eq(app_reload_whole(&app, "SIGHUP"), -ESHUTDOWN);
    config_deinit(&config);
    (void)close(app.log.fd);
    ck_assert_int_eq(chdir("/"), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* What the log says, whole. */
static const char *logged(void)
{
    static char text[65536];
    ssize_t size = pread(app.log.fd, text, sizeof(text) - 1, 0);

    ck_assert_int_ge(size, 0);
    text[size] = '\0';
    return text;
}

static void assert_logged(const char *part)
{
    ck_assert_msg(strstr(logged(), part) != NULL, "no %s in:\n%s", part, logged());
}

/* Runs the steps of what was begun, and of what follows it. */
static void run(void)
{
    for (unsigned i = 0; app.reload.is_running; i++) {
        ck_assert_uint_lt(i, 100);
        app.reload.next_step.fire(&app.reload.next_step);
    }
}

static void reload_whole(void)
{
    ck_assert_int_eq(app_reload_whole(&app, "SIGHUP"), 0);
    run();
}

static void reload_files(void)
{
    app_reload_files(&app);
    run();
}

/* ---- tests */

/* A part that was refused and then could be made, but was not taken because another was refused,
 * is made once more, though its files are as they were. */
START_TEST(reload_remembers_what_was_not_taken)
{
    open_app();
    write_file("cert", "2");
    tls_is_bad = true;
    reload_whole();
    assert_logged("cause=\"bad tls\"");
    tls_is_bad = false; /* its cause was none of its files: a clock, the memory */
    write_file("jwks", "2");
    keys_are_bad = true;
    reload_whole();
    assert_logged("cause=\"bad keys\"");
    ck_assert_uint_eq(made_tls, 2);
    ck_assert_uint_eq(taken_tls, 0);
    reload_files(); /* these were refused, and are as they were */
    ck_assert_uint_eq(made_tls, 2);
    ck_assert_uint_eq(made_keys, 1);
    keys_are_bad = false;
    reload_whole();
    ck_assert_uint_eq(taken_tls, 1);
    ck_assert_uint_eq(taken_keys, 1);
    reload_whole(); /* and that is that */
    ck_assert_uint_eq(made_tls, 3);
    ck_assert_uint_eq(made_keys, 2);
    ck_assert_uint_eq(manager_begun, 4);
    ck_assert_uint_eq(manager_ended, 4);
    ck_assert_uint_eq(manager_refused, 2);
    ck_assert_uint_eq(noted_taken, 2);
    ck_assert_uint_eq(noted_failed, 2);
    done();
}

END_TEST

/* A good part that was not taken because another was refused is taken as soon as somebody looks at
 * the files alone. */
START_TEST(reload_takes_good_files_by_themselves)
{
    open_app();
    write_file("cert", "2");
    write_file("jwks", "2");
    keys_are_bad = true;
    reload_whole();
    ck_assert_uint_eq(taken_tls, 0);
    reload_files();
    ck_assert_uint_eq(taken_tls, 1);
    ck_assert_uint_eq(made_keys, 1);
    assert_logged("reloaded source=files options=none files=tls.cert_file");
    done();
}

END_TEST

/* The log says of each option what it was and is, and when that counts; secrets are masked. */
START_TEST(reload_tells_what_changed)
{
    open_app();
    write_file("userd.ini", INI "issuer = https://id.example\n[limits]\nmax_message = 512KiB\n"
                                "[server]\nbacklog = 7\n[policy]\nallow /* = role:admin\n");
    ck_assert_int_eq(setenv("JWT_SECRET", "0123456789abcdef0123456789abcdef", 1), 0);
    reload_whole();
    assert_logged("option_changed option=auth.issuer from=\"\" to=https://id.example taken=now");
    assert_logged("option_changed option=limits.max_message from=64KiB to=512KiB taken=now");
    assert_logged(
        "option_changed option=server.backlog from=1024 to=7 taken=\"at the next start\"");
    assert_logged("option_changed option=auth.jwt_secret from=******** to=********");
    assert_logged("option_changed option=policy rules_before=0 rules=1");
    ck_assert_ptr_null(strstr(logged(), "0123456789"));
    assert_logged("reloaded source=SIGHUP options=\"auth.jwt_secret, auth.issuer, "
                  "limits.max_message, policy\" files=auth.jwt_secret_file");
    assert_logged("restart_needed options=server.backlog");
    done();
}

END_TEST

/* Whoever asks while one runs gets one more, and the log says who asked. */
START_TEST(reload_follows_when_asked_meanwhile)
{
    open_app();
    ck_assert_int_eq(app_reload_whole(&app, "SIGHUP"), 0);
    ck_assert_int_eq(app_reload_whole(&app, "admin"), 0);
    ck_assert_int_eq(app_reload_whole(&app, "admin"), 0);
    app_reload_files(&app);
    run();
    ck_assert_uint_eq(options_set, 2);
    assert_logged("reloaded source=SIGHUP options=none files=none");
    assert_logged("reloaded source=admin options=none files=none");
    done();
}

END_TEST

UNIT_MAIN("app_reload", reload_remembers_what_was_not_taken, reload_takes_good_files_by_themselves,
          reload_tells_what_changed, reload_follows_when_asked_meanwhile)
