#include "lib/syscall_filter.h"
#include "lib/unit.h"

#include "core/clock.h"
#include "service/app.h"
#include "service/app_options.h"
#include "service/config.h"
#include "service/config_table.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* Each server here runs in a child, whose log comes through a pipe. The child ends by exit(), so
 * that the leak checker sees what the take-down left. */

static char folder[32];
static char text[8192]; /* of a configuration */

struct server {
    pid_t pid;
    int log_fd;
    char log[16384];
    size_t log_size;
};

static void make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/test_app.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    char command[64];

    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* A server without TLS, with a line of its own in [server] and in [auth]. */
static const char *configured(const char *server_line, const char *auth_line)
{
    (void)snprintf(text, sizeof(text),
                   "[server]\nlisten = 127.0.0.1:0\n%s\n[tls]\nenabled = false\n"
                   "[store]\ndata_dir = %s/data\n[wal]\nsegment_size = 1MiB\n[auth]\n%s\n",
                   server_line, folder, auth_line);
    return text;
}

/* One that needs no files and ends at once. */
static const char *plain(void)
{
    return configured("drain_delay_s = 0", "mode = none");
}

/* One whose tokens need this secret file. */
static const char *with_secret(const char *path)
{
    char line[256];

    (void)snprintf(line, sizeof(line), "jwt_secret_file = %s", path);
    return configured("drain_delay_s = 0", line);
}

static int load(struct config *config, const char *ini)
{
    struct buf errors = {0};
    int result = config_load_text(config, "test.ini", ini, NULL, &errors);

    buf_deinit(&errors);
    return result;
}

static int serve(const char *ini, int (*act)(const struct config *config))
{
    static struct config config;
    int exit_code = load(&config, ini) == 0 ? act(&config) : 1;

    config_deinit(&config);
    return exit_code;
}

static int refuse_io_uring_and_run(const struct config *config)
{
    if (syscall_filter_refuse(SYS_io_uring_setup, EPERM) != 0) {
        return 1;
    }
    return app_run(config);
}

static struct server *start(const char *ini, int (*act)(const struct config *config))
{
    struct server *server = calloc(1, sizeof(*server));
    int ends[2];

    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pipe(ends), 0);
    server->pid = fork();
    ck_assert_int_ge(server->pid, 0);
    if (server->pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        free(server);
        exit(serve(ini, act));
    }
    (void)close(ends[1]);
    server->log_fd = ends[0];
    return server;
}

/* Reads more of the log; false at its end. */
static bool read_log(struct server *server)
{
    ssize_t size = read(server->log_fd, server->log + server->log_size,
                        sizeof(server->log) - 1 - server->log_size);

    ck_assert_int_ge(size, 0);
    server->log_size += (size_t)size;
    return size > 0;
}

static void await(struct server *server, const char *part)
{
    while (strstr(server->log, part) == NULL) {
        ck_assert_msg(read_log(server), "no \"%s\" in:\n%s", part, server->log);
    }
}

/* Waits for the end, and checks exit code and that the log has `part`. Frees. */
static void finish(struct server *server, int exit_code, const char *part)
{
    int status;

    while (read_log(server)) {
    }
    ck_assert_int_eq(waitpid(server->pid, &status, 0), server->pid);
    ck_assert_msg(WIFEXITED(status), "status %d:\n%s", status, server->log);
    ck_assert_msg(WEXITSTATUS(status) == exit_code, "exit %d, not %d:\n%s", WEXITSTATUS(status),
                  exit_code, server->log);
    ck_assert_msg(strstr(server->log, part) != NULL, "no \"%s\" in:\n%s", part, server->log);
    (void)close(server->log_fd);
    free(server);
}

static void send_signal(struct server *server, int number)
{
    ck_assert_int_eq(kill(server->pid, number), 0);
}

static void write_file(const char *name, const char *content, mode_t mode, char *path, size_t room)
{
    FILE *file;

    (void)snprintf(path, room, "%s/%s", folder, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(content, file);
    (void)fclose(file);
    ck_assert_int_eq(chmod(path, mode), 0);
}

/* It serves, says so, and a signal ends it clean: twice on the same data. */
START_TEST(app_serves_and_ends)
{
    make_folder();
    for (int i = 0; i < 2; i++) {
        struct server *server = start(plain(), app_run);

        await(server, "ready users=0\n");
        await(server, "listening address=127.0.0.1:");
        await(server, "starting version=");
        await(server, "configuration warning=\"auth.mode = none");
        await(server, "recovered data_dir=");
        send_signal(server, i == 0 ? SIGTERM : SIGINT);
        finish(server, EX_OK, "stopped exit=0 connections=0 calls=0");
    }
    remove_folder();
}

END_TEST

/* A second process on the same data is told who has them. */
START_TEST(app_refuses_locked_data)
{
    struct server *first;
    char expected[64];

    make_folder();
    first = start(plain(), app_run);
    await(first, "ready");
    (void)snprintf(expected, sizeof(expected), "/data is in use by process %ld", (long)first->pid);
    finish(start(plain(), app_run), EX_TEMPFAIL, expected);
    send_signal(first, SIGTERM);
    finish(first, EX_OK, "stopped");
    remove_folder();
}

END_TEST

/* Damaged data are refused, and named. */
START_TEST(app_refuses_damaged_data)
{
    struct server *server;
    char command[256];

    make_folder();
    server = start(plain(), app_run);
    await(server, "ready");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
    (void)snprintf(command, sizeof(command),
                   "for f in %s/data/wal-*.log; do head -c 8192 /dev/zero | tr '\\0' x | "
                   "dd of=$f conv=notrunc 2>/dev/null; done",
                   folder);
    ck_assert_int_eq(system(command), 0);
    finish(start(plain(), app_run), EX_DATAERR, "start_failed cause=\"");
    remove_folder();
}

END_TEST

/* A data directory that cannot be is a matter of the configuration. */
START_TEST(app_refuses_an_impossible_folder)
{
    char path[128];

    make_folder();
    write_file("data", "a file", 0600, path, sizeof(path));
    finish(start(plain(), app_run), EX_CONFIG, "store.data_dir: ");
    remove_folder();
}

END_TEST

/* An address that is taken fails the start after nearly everything was built; all of it goes. */
START_TEST(app_refuses_a_taken_address)
{
    static char other[sizeof(text)];
    struct server *first;
    const char *address;
    size_t size;

    make_folder();
    first = start(plain(), app_run);
    await(first, "ready");
    address = strstr(first->log, "127.0.0.1:");
    size = strcspn(address, " \n");
    (void)snprintf(other, sizeof(other),
                   "[server]\nlisten = 127.0.0.1:0, %.*s\n[tls]\nenabled = false\n[store]\n"
                   "data_dir = %s/other\n[wal]\nsegment_size = 1MiB\n[auth]\nmode = none\n",
                   (int)size, address, folder);
    finish(start(other, app_run), EX_CONFIG, "start_failed cause=\"server.listen: ");
    send_signal(first, SIGTERM);
    finish(first, EX_OK, "stopped");
    remove_folder();
}

END_TEST

/* A secret that is missing, short or no secret fails the start, and the option is named. */
START_TEST(app_refuses_bad_secrets)
{
    char path[128];

    make_folder();
    (void)snprintf(path, sizeof(path), "%s/missing", folder);
    finish(start(with_secret(path), app_run), EX_CONFIG,
           "missing cannot be read: No such file or directory");
    write_file("short", "0123456789", 0600, path, sizeof(path));
    finish(start(with_secret(path), app_run), EX_CONFIG,
           "auth.jwt_secret_file: the secret must have 32 to 4096 bytes");
    write_file("pem", "-----BEGIN PUBLIC KEY-----\n0123456789abcdef\n", 0600, path, sizeof(path));
    finish(start(with_secret(path), app_run), EX_CONFIG,
           "auth.jwt_secret_file: this is a PEM file");
    finish(start(with_secret("/dev/zero"), app_run), EX_CONFIG, "is larger than");
    remove_folder();
}

END_TEST

/* A secret that everybody can read is worth a warning, one that only we can read is not. */
START_TEST(app_warns_of_exposed_secrets)
{
    char path[128];

    make_folder();
    for (int exposed = 0; exposed < 2; exposed++) {
        struct server *server;

        write_file("secret", "0123456789abcdef0123456789abcdef\n", exposed ? 0644 : 0600, path,
                   sizeof(path));
        server = start(with_secret(path), app_run);
        await(server, "ready");
        ck_assert(exposed == (strstr(server->log, "secret_exposed") != NULL));
        ck_assert_ptr_null(strstr(server->log, "0123456789abcdef"));
        send_signal(server, SIGTERM);
        finish(server, EX_OK, "stopped");
    }
    remove_folder();
}

END_TEST

/* While it waits for load balancers it serves; a second signal ends the waiting. */
START_TEST(app_waits_before_it_drains)
{
    struct server *server;

    make_folder();
    server = start(configured("drain_delay_s = 600", "mode = none"), app_run);
    await(server, "ready");
    send_signal(server, SIGHUP);
    await(server, "signal_ignored signal=1");
    send_signal(server, SIGTERM);
    await(server, "draining signal=15 delay_s=600 grace_s=30 now=no");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "now=yes");
    remove_folder();
}

END_TEST

/* Where io_uring is forbidden it says so, and that is no fault of ours. */
START_TEST(app_names_a_forbidden_io_uring)
{
    make_folder();
    finish(start(plain(), refuse_io_uring_and_run), EX_CONFIG, "io_uring");
    remove_folder();
}

END_TEST

/* A check tries certificate and secret, and leaves no trace. */
START_TEST(app_check_touches_nothing)
{
    char path[128];

    make_folder();
    finish(start(plain(), app_check), EX_OK, "");
    (void)snprintf(path, sizeof(path), "%s/missing", folder);
    finish(start(with_secret(path), app_check), EX_CONFIG, "cannot be read");
    (void)snprintf(text, sizeof(text),
                   "[tls]\ncert_file = %s/c.pem\nkey_file = %s/k.pem\n[auth]\nmode = none\n",
                   folder, folder);
    finish(start(text, app_check), EX_CONFIG, "tls.cert_file, tls.key_file: ");
    (void)snprintf(path, sizeof(path), "%s/data", folder);
    ck_assert_int_ne(access(path, F_OK), 0);
    remove_folder();
}

END_TEST

/* Every limit reaches the module it is for: each number of the table is set to a value of its own,
 * and comes out under its own name. */
START_TEST(app_options_carry_every_limit)
{
    static struct config config;
    struct grpc_server_options server;

    ck_assert_int_eq(load(&config, "[tls]\nenabled = false\n[auth]\nmode = none\n"), 0);
    for (unsigned i = 0; i < config_option_count; i++) {
        if (config_options[i].type == CONFIG_TYPE_INT ||
            config_options[i].type == CONFIG_TYPE_SIZE) {
            *(uint64_t *)(void *)((char *)&config + config_options[i].offset) = 1000 + i;
        }
    }
    server = app_options_server(&config);
    ck_assert_uint_eq(server.max_connections, config.limits_max_connections);
    ck_assert_uint_eq(server.max_connections_per_ip, config.limits_max_connections_per_ip);
    ck_assert_uint_eq(server.max_handshakes, config.limits_max_handshakes);
    ck_assert_uint_eq(server.max_message, config.limits_max_message);
    ck_assert_uint_eq(server.max_running, config.limits_max_running);
    ck_assert_uint_eq(server.max_unsent, config.http2_max_unsent);
    ck_assert_uint_eq(server.tls_timeout_ns, config.limits_tls_timeout_ms * 1000000);
    ck_assert_uint_eq(server.preface_timeout_ns, config.limits_preface_timeout_ms * 1000000);
    ck_assert_uint_eq(server.settings_ack_timeout_ns,
                      config.limits_settings_ack_timeout_ms * 1000000);
    ck_assert_uint_eq(server.header_timeout_ns, config.limits_header_timeout_ms * 1000000);
    ck_assert_uint_eq(server.body_progress_ns, config.limits_body_progress_ms * 1000000);
    ck_assert_uint_eq(server.send_timeout_ns, config.limits_send_timeout_ms * 1000000);
    ck_assert_uint_eq(server.linger_timeout_ns, config.limits_linger_timeout_ms * 1000000);
    ck_assert_uint_eq(server.idle_timeout_ns, config.limits_idle_timeout_s * 1000000000);
    ck_assert_uint_eq(server.default_deadline_ns, config.limits_default_deadline_ms * 1000000);
    ck_assert_uint_eq(server.max_deadline_ns, config.limits_max_deadline_ms * 1000000);
    ck_assert_int_eq(server.backlog, (int)config.server_backlog);
    ck_assert_uint_eq(server.h2.max_concurrent_streams, config.http2_max_concurrent_streams);
    ck_assert_uint_eq(server.h2.stream_window, config.http2_stream_window);
    ck_assert_uint_eq(server.h2.connection_window, config.http2_connection_window);
    ck_assert_uint_eq(server.h2.max_frame_size, config.http2_max_frame_size);
    ck_assert_uint_eq(server.h2.max_header_list, config.http2_max_header_list);
    ck_assert_uint_eq(server.h2.max_header_list_hard, config.http2_max_header_list_hard);
    ck_assert_uint_eq(server.h2.max_headers, config.http2_max_headers);
    ck_assert_uint_eq(server.h2.max_continuations, config.http2_max_continuations);
    ck_assert_uint_eq(server.h2.reset_burst, config.http2_reset_burst);
    ck_assert_uint_eq(server.h2.reset_rate, config.http2_reset_rate);
    ck_assert_uint_eq(server.h2.control_burst, config.http2_control_burst);
    ck_assert_uint_eq(server.h2.control_rate, config.http2_control_rate);
    ck_assert_uint_eq(server.h2.max_empty_frames, config.http2_max_empty_frames);
    ck_assert_uint_eq(server.h2.max_outq, config.http2_max_outq);
    config_deinit(&config);
}

END_TEST

/* The same for log, users and tokens. */
START_TEST(app_options_carry_every_other_number)
{
    static struct config config;
    struct wal_options wal;
    struct user_service_options users;
    struct token_options token;

    ck_assert_int_eq(load(&config, "[tls]\nenabled = false\n[auth]\nmode = none\nissuer = i\n"
                                   "audience = a\n[password]\nworkers = 3\n"),
                     0);
    ck_assert_uint_eq(app_options_workers(&config), 3);
    config.password_workers = 0;
    ck_assert_uint_ge(app_options_workers(&config), 1);
    ck_assert_uint_le(app_options_workers(&config), 4);
    wal = app_options_wal(&config);
    ck_assert_uint_eq(wal.segment_size, 64 << 20);
    ck_assert_uint_eq(wal.max_pending, 4096);
    ck_assert_uint_eq(wal.max_pending_bytes, 16 << 20);
    users = app_options_users(&config);
    ck_assert_uint_eq(users.max_users, 10000000);
    ck_assert_uint_eq(users.password_memory_kib, 19456);
    ck_assert_uint_eq(users.password_iterations, 2);
    ck_assert_uint_eq(users.password_min_length, 8);
    ck_assert_uint_eq(users.password_max_length, 1024);
    ck_assert_uint_eq(users.max_fields, 256);
    ck_assert_uint_eq(users.streams.max_inflight, 256);
    ck_assert_uint_eq(users.streams.max_hashing, 32); /* half of the queues' lengths */
    ck_assert_uint_eq(users.streams.max_submitted, 2048);
    config.password_queue_max = 1;
    ck_assert_uint_eq(app_options_users(&config).streams.max_hashing, 1);
    token = app_options_token(&config);
    ck_assert_str_eq(token.issuer, "i");
    ck_assert_str_eq(token.audience, "a");
    ck_assert_uint_eq(token.leeway_s, 30);
    ck_assert_uint_eq(token.size_max, 8192);
    ck_assert_uint_eq(token.cache_entries, 16384);
    ck_assert_uint_eq(token.cache_ttl_s, 300);
    config_deinit(&config);
}

END_TEST

UNIT_MAIN("app", app_serves_and_ends, app_refuses_locked_data, app_refuses_damaged_data,
          app_refuses_an_impossible_folder, app_refuses_a_taken_address, app_refuses_bad_secrets,
          app_warns_of_exposed_secrets, app_waits_before_it_drains, app_names_a_forbidden_io_uring,
          app_check_touches_nothing, app_options_carry_every_limit,
          app_options_carry_every_other_number)
