#include "lib/syscall_filter.h"
#include "lib/unit.h"

#include "service/app.h"
#include "service/config.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

/* Each server here runs in a child, whose log comes through a pipe. The child ends by exit(), so
 * that the leak checker sees what the take-down left. */

#define SECRET "0123456789abcdef0123456789abcdef\n"

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

/* A server without TLS, with a line of its own in some sections. */
static const char *configured_all(const char *server_line, const char *wal_line,
                                  const char *auth_line)
{
    (void)snprintf(text, sizeof(text),
                   "[server]\nlisten = 127.0.0.1:0\n%s\n[tls]\nenabled = false\n"
                   "[admin]\nlisten = 127.0.0.1:0\n[store]\ndata_dir = "
                   "%s/data\n[wal]\nsegment_size = 1MiB\n%s\n[auth]\n%s\n",
                   server_line, folder, wal_line, auth_line);
    return text;
}

static const char *configured(const char *server_line, const char *auth_line)
{
    return configured_all(server_line, "", auth_line);
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

/* The configuration is in the file userd.ini of the folder, so that it can be read again. */
static int load(struct config *config)
{
    struct buf errors = {0};
    char path[64];
    int result;

    (void)snprintf(path, sizeof(path), "%s/userd.ini", folder);
    result = config_load(config, path, NULL, &errors);
    buf_deinit(&errors);
    return result;
}

static int serve(int (*act)(struct config *config))
{
    static struct config config;
    int exit_code = load(&config) == 0 ? act(&config) : 1;

    config_deinit(&config);
    return exit_code;
}

static int check(struct config *config)
{
    return app_check(config);
}

static int refuse_io_uring_and_run(struct config *config)
{
    if (syscall_filter_refuse(SYS_io_uring_setup, EPERM) != 0) {
        return 1;
    }
    return app_run(config);
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

static void write_config(const char *ini)
{
    char path[64];

    write_file("userd.ini", ini, 0644, path, sizeof(path));
}

static struct server *start(const char *ini, int (*act)(struct config *config))
{
    struct server *server = calloc(1, sizeof(*server));
    int ends[2];

    write_config(ini);

    ck_assert_ptr_nonnull(server);
    ck_assert_int_eq(pipe(ends), 0);
    server->pid = fork();
    ck_assert_int_ge(server->pid, 0);
    if (server->pid == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        free(server);
        exit(serve(act));
    }
    (void)close(ends[1]);
    server->log_fd = ends[0];
    return server;
}

/* Forgets what was read of the log. */
static void forget(struct server *server)
{
    server->log_size = 0;
    memset(server->log, 0, sizeof(server->log));
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

/* It serves, says so, and a signal ends it clean: twice on the same data. */
START_TEST(app_serves_and_ends)
{
    make_folder();
    for (int i = 0; i < 2; i++) {
        struct server *server = start(plain(), app_run);

        await(server, "ready users=0\n");
        await(server, " admin_listening address=127.0.0.1:");
        await(server, " listening address=127.0.0.1:");
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
    char expected[128];

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
    (void)snprintf(expected, sizeof(expected),
                   "nothing was changed; look at it with: userwal verify %s/data\" exit=65",
                   folder);
    server = start(plain(), app_run);
    await(server, "start_failed cause=\"");
    finish(server, EX_DATAERR, expected);
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
    address = strstr(strstr(first->log, " listening "), "127.0.0.1:");
    size = strcspn(address, " \n");
    (void)snprintf(
        other, sizeof(other),
        "[server]\nlisten = 127.0.0.1:0, %.*s\n[tls]\nenabled = false\n[admin]\nlisten =\n[store]\n"
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
           "auth.jwt_secret_file: this is a public key");
    finish(start(with_secret("/dev/zero"), app_run), EX_CONFIG, "is larger than");
    remove_folder();
}

END_TEST

/* A secret that everybody can access is refused, with the remedy; one for the owner and a group is
 * not. */
START_TEST(app_refuses_exposed_secrets)
{
    struct server *server;
    char path[128];

    make_folder();
    write_file("secret", SECRET, 0644, path, sizeof(path));
    finish(start(with_secret(path), app_run), EX_CONFIG,
           "(mode 0644), which must be secret: chmod");
    finish(start(with_secret(path), check), EX_CONFIG,
           "auth.jwt_secret_file: everybody may access");
    write_file("secret", SECRET, 0602, path, sizeof(path));
    finish(start(with_secret(path), app_run), EX_CONFIG, "defaultMode: 0400");
    write_file("secret", SECRET, 0640, path, sizeof(path));
    server = start(with_secret(path), app_run);
    await(server, "ready");
    ck_assert_ptr_null(strstr(server->log, "0123456789abcdef"));
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
    (void)snprintf(path, sizeof(path), "%s/data/page-token.key", folder);
    ck_assert_int_eq(chmod(path, 0604), 0);
    finish(start(plain(), app_run), EX_CONFIG, "store.page_token_key_file: everybody may access");
    remove_folder();
}

END_TEST

/* SIGHUP takes what can be taken, names it, and names the rest each time. */
START_TEST(app_reloads_its_configuration)
{
    struct server *server;

    make_folder();
    server = start(plain(), app_run);
    await(server, "ready");
    write_config(configured_all("drain_delay_s = 600\nbacklog = 7", "",
                                "mode = none\n[limits]\n"
                                "max_running = 5\n[policy]\nallow /* = *"));
    for (int i = 0; i < 2; i++) {
        forget(server);
        send_signal(server, SIGHUP);
        await(server, i == 0 ? "reloaded source=SIGHUP options=\"server.drain_delay_s, "
                               "limits.max_running, policy\" files=none us="
                             : "reloaded source=SIGHUP options=none files=none us=");
        await(server, "restart_needed options=server.backlog cause=");
    }
    write_config(configured_all("drain_delay_s = 0", "", "mode = none\n[log]\nformat = json"));
    send_signal(server, SIGHUP);
    await(server, "\"event\":\"reloaded\",\"source\":\"SIGHUP\"");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "\"event\":\"stopped\"");
    remove_folder();
}

END_TEST

/* A configuration with mistakes changes nothing, and each of them is named. */
START_TEST(app_refuses_a_bad_reload)
{
    struct server *server;

    make_folder();
    server = start(plain(), app_run);
    await(server, "ready");
    write_config(configured("drain_delay_s = 600\nbaklog = 7", "mode = none\nleeway_s = -1"));
    send_signal(server, SIGHUP);
    await(server, "reload_failed source=SIGHUP cause=\"");
    await(server,
          "unknown key server.baklog: did you mean backlog?\" effect=\"nothing was changed\"");
    await(server, "auth.leeway_s = \\\"-1\\\" is not allowed");
    forget(server);
    send_signal(server, SIGTERM); /* still without a delay */
    finish(server, EX_OK, "draining signal=15 delay_s=0");
    remove_folder();
}

END_TEST

/* A secret that changes is taken without being asked for; a bad one is refused once, and the old
 * one stays until a good one comes. */
START_TEST(app_takes_a_secret_that_changes)
{
    struct server *server;
    char path[128];

    make_folder();
    write_file("secret", SECRET, 0600, path, sizeof(path));
    server = start(with_secret(path), app_run);
    await(server, "ready");
    forget(server);
    write_file("secret", SECRET "another", 0600, path, sizeof(path));
    await(server, "reloaded source=files options=none files=auth.jwt_secret_file us=");
    forget(server);
    write_config(configured("drain_delay_s = 0", "mode = none"));
    send_signal(server, SIGHUP); /* without a restart there have to be keys */
    await(server,
          "reload_failed source=SIGHUP cause=\"auth.jwt_secret_file, auth.jwks_file: tokens");
    (void)with_secret(path);
    write_config(text);
    write_file("secret", "short", 0600, path, sizeof(path));
    await(server, "reload_failed source=files cause=\"auth.jwt_secret_file: the secret must have");
    await(server, "effect=\"the old one stays in use\"");
    forget(server);
    send_signal(server, SIGHUP); /* asked for, it is tried again */
    await(server, "reload_failed source=SIGHUP cause=\"auth.jwt_secret_file: the secret must have");
    write_file("secret", SECRET, 0644, path, sizeof(path));
    await(server, "reload_failed source=files cause=\"auth.jwt_secret_file: everybody may access");
    ck_assert_int_eq(chmod(path, 0600), 0);
    await(server, "reloaded source=files options=none files=auth.jwt_secret_file us=");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
    remove_folder();
}

END_TEST

/* A file that a reload finds at a new path is taken also when it changes before the reload is over.
 * A pipe makes that while long: who opens it to write knows that the secret was read. It is opened
 * by another name, in a folder that is not watched. */
START_TEST(app_takes_a_secret_that_changes_meanwhile)
{
    static const char keys[] =
        "{\"keys\": [{\"kty\": \"OKP\", \"crv\": \"Ed25519\", \"kid\": \"a\", "
        "\"x\": \"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    struct server *server;
    char command[160];
    char line[256];
    char path[128];

    make_folder();
    (void)snprintf(command, sizeof(command),
                   "cd %s && mkdir old new other && mkfifo other/pipe && ln other/pipe old/keys",
                   folder);
    ck_assert_int_eq(system(command), 0);
    write_file("old/secret", SECRET, 0600, path, sizeof(path));
    server = start(with_secret(path), app_run);
    await(server, "ready");
    write_file("new/secret", SECRET "one", 0600, path, sizeof(path));
    (void)snprintf(line, sizeof(line), "jwt_secret_file = %s\njwks_file = %s/old/keys", path,
                   folder);
    write_config(configured("drain_delay_s = 0", line));
    send_signal(server, SIGHUP);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof(path), "%s/other/pipe", folder);
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        if (i == 0) {
            write_file("new/secret", SECRET "two", 0600, path, sizeof(path));
        }
        ck_assert_int_eq(write(fd, keys, sizeof(keys) - 1), sizeof(keys) - 1);
        (void)close(fd);
        await(server, i == 0 ? "reloaded source=SIGHUP" : "reloaded source=files");
    }
    await(server, "files=\"auth.jwt_secret_file, auth.jwks_file\"");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
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
    send_signal(server, SIGTERM);
    await(server, "draining signal=15 delay_s=600 grace_s=30 now=no");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "now=yes");
    remove_folder();
}

END_TEST

/* SIGUSR1 asks for a snapshot, also before the server is ready; the log says who asked and what
 * came of it, and the next start where it began. */
START_TEST(app_takes_snapshots_on_demand)
{
    struct server *server;

    make_folder();
    server = start(plain(), app_run);
    await(server, "\n"); /* any line */
    send_signal(server, SIGUSR1);
    await(server, "snapshot_requested source=SIGUSR1\n");
    await(server, "snapshot_started lsn=0\n");
    await(server, "snapshot_done lsn=0 records=1 bytes=");
    ck_assert_ptr_nonnull(strstr(server->log, " segments_removed=0\n"));
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
    server = start(plain(), app_run);
    await(server, "users=0 records=1 loaded=1 replayed=0 snapshot=0 torn_bytes=0 ms=");
    await(server, "ready");
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
    remove_folder();
}

END_TEST

/* What wal.sync = interval may lose is said at every start. */
START_TEST(app_warns_of_unsynced_answers)
{
    struct server *server;

    make_folder();
    server = start(configured_all("drain_delay_s = 0", "sync = interval\nsync_interval_ms = 250",
                                  "mode = none"),
                   app_run);
    await(server, "ready");
    ck_assert_ptr_nonnull(strstr(server->log, "unsynced_answers cause=\"wal.sync = interval"));
    ck_assert_ptr_nonnull(strstr(server->log, "in the last 250 ms"));
    ck_assert_ptr_null(strstr(server->log, "changes_may_be_lost"));
    send_signal(server, SIGKILL);
    while (read_log(server)) {
    }
    ck_assert_int_eq(waitpid(server->pid, NULL, 0), server->pid);
    (void)close(server->log_fd);
    free(server);
    server = start(plain(), app_run); /* it did not end properly */
    await(server, "ready");
    ck_assert_ptr_nonnull(strstr(server->log, "changes_may_be_lost cause="));
    ck_assert_ptr_null(strstr(server->log, "unsynced_answers"));
    send_signal(server, SIGTERM);
    finish(server, EX_OK, "stopped");
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
    finish(start(plain(), check), EX_OK, "");
    (void)snprintf(path, sizeof(path), "%s/missing", folder);
    finish(start(with_secret(path), check), EX_CONFIG, "cannot be read");
    (void)snprintf(text, sizeof(text),
                   "[tls]\ncert_file = %s/c.pem\nkey_file = %s/k.pem\n[auth]\nmode = none\n",
                   folder, folder);
    finish(start(text, check), EX_CONFIG, "tls.cert_file, tls.key_file: ");
    (void)snprintf(path, sizeof(path), "%s/data", folder);
    ck_assert_int_ne(access(path, F_OK), 0);
    remove_folder();
}

END_TEST

UNIT_MAIN("app", app_serves_and_ends, app_refuses_locked_data, app_refuses_damaged_data,
          app_refuses_an_impossible_folder, app_refuses_a_taken_address, app_refuses_bad_secrets,
          app_refuses_exposed_secrets, app_reloads_its_configuration, app_refuses_a_bad_reload,
          app_takes_a_secret_that_changes, app_takes_a_secret_that_changes_meanwhile,
          app_waits_before_it_drains, app_takes_snapshots_on_demand, app_warns_of_unsynced_answers,
          app_names_a_forbidden_io_uring, app_check_touches_nothing)
