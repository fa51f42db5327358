#include "lib/unit.h"

#include "core/log.h"
#include "core/tls.h"
#include "service/config.h"
#include "service/config_table.h"
#include "service/config_value.h"

#include <stdio.h>
#include <unistd.h>

/* What makes a configuration valid although it has no files. */
#define OPEN "[tls]\nenabled = false\n[auth]\nmode = none\n"

static struct config config;
static struct buf errors;

static int load(const char *text, const char *const *environment)
{
    buf_clear(&errors);
    config_deinit(&config);
    return config_load_text(&config, "test.ini", text, environment, &errors);
}

static void done(void)
{
    config_deinit(&config);
    buf_deinit(&errors);
}

/* The bytes of a buffer as text, until the next change. */
static const char *text_of(struct buf *buf)
{
    ck_assert_int_eq(buf_append(buf, "", 1), 0);
    buf->end--;
    return (const char *)buf_bytes(buf).data;
}

static void assert_has(struct buf *buf, const char *part)
{
    ck_assert_msg(strstr(text_of(buf), part) != NULL, "\"%s\" is not in \"%s\"", part,
                  text_of(buf));
}

static void assert_has_not(struct buf *buf, const char *part)
{
    ck_assert_msg(strstr(text_of(buf), part) == NULL, "\"%s\" is in \"%s\"", part, text_of(buf));
}

/* Loading must fail, and say so with this text. */
static void assert_refused(const char *text, const char *part)
{
    ck_assert_int_eq(load(text, NULL), CONFIG_E_INVALID);
    assert_has(&errors, part);
}

static unsigned count_lines(struct buf *buf)
{
    unsigned count = 0;

    for (const char *at = text_of(buf); *at != '\0'; at++) {
        count += *at == '\n';
    }
    return count;
}

static char *read_whole(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");
    size_t size;

    ck_assert_msg(file != NULL, "%s", path);
    size = fread(text, 1, sizeof(text) - 1, file);
    ck_assert_uint_lt(size, sizeof(text) - 1);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

/* Every default in the table is a legal value of its row. */
START_TEST(config_takes_its_own_defaults)
{
    ck_assert_int_eq(load(OPEN, NULL), 0);
    ck_assert_uint_eq(errors.end, 0);
    ck_assert_uint_eq(config.server_listen.count, 1);
    ck_assert_str_eq(config.server_listen.items[0], "0.0.0.0:50051");
    ck_assert_uint_eq(config.server_busy_poll_us, 0);
    ck_assert_uint_eq(config.limits_max_message, 65536);
    ck_assert_uint_eq(config.limits_default_deadline_ms, 0);
    ck_assert_uint_eq(config.http2_reset_burst, 200);
    ck_assert_uint_eq(config.tls_min_version, TLS_VERSION_1_3);
    ck_assert_uint_eq(config.log_level, LEVEL_INFO);
    ck_assert_uint_eq(config.log_format, LINE_FORMAT_TEXT);
    ck_assert_uint_eq(config.wal_segment_size, 64 << 20);
    ck_assert_uint_eq(config.wal_sync, CONFIG_WAL_SYNC_ALWAYS);
    ck_assert_uint_eq(config.wal_snapshot_every, 256 << 20);
    ck_assert_str_eq(config.admin_listen, "127.0.0.1:9090");
    ck_assert(config.auth_anonymous_health);
    done();
}

END_TEST

/* Rows of a section stand together, keys are unique, and each row says what it is for. */
START_TEST(config_table_is_well_formed)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];

        ck_assert_ptr_eq(config_option_find(option->section, option->key), option);
        ck_assert_uint_gt(strlen(option->help), 3);
        ck_assert_uint_lt(strlen(option->section) + strlen(option->key), 50);
        for (unsigned j = i + 1; j < config_option_count; j++) {
            ck_assert(strcmp(option->section, config_options[j].section) != 0 ||
                      strcmp(config_options[j - 1].section, option->section) == 0);
            ck_assert_uint_ne(option->offset, config_options[j].offset);
        }
    }
}

END_TEST

/* configs/userd.ini is the manual: it names every option, no other, each with its default. */
START_TEST(config_manual_and_table_agree)
{
    static char plain[65536];
    struct buf shown = {0};
    size_t size = 0;
    char *line = read_whole("configs/userd.ini");

    for (char *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL) {
            *next++ = '\0';
        }
        ck_assert_msg(line[0] == '\0' || strchr(";#[", line[0]) != NULL, "not commented: %s", line);
        size += (size_t)snprintf(plain + size, sizeof(plain) - size, "%s\n",
                                 line[0] == '#' ? line + 1 : line);
    }
    (void)load(plain, NULL); /* it asks for what has no default, and for nothing else */
    assert_has_not(&errors, "test.ini:");
    for (unsigned i = 0; i < config_option_count; i++) {
        ck_assert_msg(config_options[i].environment_only ||
                          config.origins[i].kind == CONFIG_FROM_FILE,
                      "not in the manual: %s.%s", config_options[i].section, config_options[i].key);
    }
    ck_assert_int_eq(config_print(&config, &shown), 0);
    (void)load("", NULL);
    for (unsigned i = 0; i < config_option_count; i++) {
        struct buf value = {0};
        char row[256];

        if (config_options[i].environment_only) {
            continue;
        }
        ck_assert_int_eq(config_value_format(&config_options[i],
                                             (char *)&config + config_options[i].offset, &value),
                         0);
        (void)snprintf(row, sizeof(row), "\n%s = %s ; test.ini:", config_options[i].key,
                       text_of(&value));
        assert_has(&shown, row);
        buf_deinit(&value);
    }
    buf_deinit(&shown);
    done();
}

END_TEST

/* Does a list of keys, with commas between and a full stop at its end, have this one? */
static bool list_has(const char *list, const char *key)
{
    size_t size = strlen(key);

    for (const char *at = strstr(list, key); at != NULL; at = strstr(at + 1, key)) {
        if (at[-1] == ' ' && (at[size] == ',' || at[size] == '.')) {
            return true;
        }
    }
    return false;
}

/* What the manual says that SIGHUP takes of a section: from behind the colon to the full stop. */
static void read_marker(const char *manual, const char *section, char *out, size_t room)
{
    char head[64];
    const char *from;
    size_t used = 0;

    (void)snprintf(head, sizeof(head), "\n[%s]\n\n; SIGHUP takes:", section);
    from = strstr(manual, head);
    ck_assert_msg(from != NULL, "no \"%s\" in the manual", head + 1);
    for (from += strlen(head); *from != '\0' && used < room - 2; from++) {
        if (strchr("\n;", *from) == NULL) {
            out[used++] = *from;
        }
        if (*from == '.') {
            break;
        }
    }
    out[used] = '\0';
}

/* The manual says of each option whether SIGHUP takes it. */
START_TEST(config_manual_names_what_is_reloaded)
{
    const char *manual = read_whole("configs/userd.ini");

    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        bool all_but;
        char marker[512];

        read_marker(manual, option->section, marker, sizeof(marker));
        if (option->environment_only) {
            continue;
        }
        all_but = strncmp(marker, " all", 4) == 0;
        ck_assert_msg(option->reloadable == (all_but != list_has(marker, option->key)),
                      "%s.%s is not as the manual says: SIGHUP takes:%s", option->section,
                      option->key, marker);
    }
}

END_TEST

/* The configurations we ship load without a mistake. */
START_TEST(config_takes_what_we_ship)
{
    static const char *const files[] = {"configs/dev.ini", "configs/bench.ini"};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        ck_assert_msg(config_load(&config, files[i], NULL, &errors) == 0, "%s: %s", files[i],
                      text_of(&errors));
        ck_assert_uint_eq(config.warnings.end, 0);
        config_deinit(&config);
    }
    done();
}

END_TEST

/* The manual as it is says which options have no default, and what to do. */
START_TEST(config_asks_for_what_has_no_default)
{
    ck_assert_int_eq(config_load(&config, "configs/userd.ini", NULL, &errors), CONFIG_E_INVALID);
    assert_has(&errors, "tls.cert_file is not set: name ");
    assert_has(&errors, "tls.key_file is not set");
    assert_has(&errors, "auth.jwt_secret_file is not set: name ");
    assert_has(&errors, "auth.mode = none");
    ck_assert_uint_eq(count_lines(&errors), 3);
    config_deinit(&config);
    assert_refused(OPEN "[store]\ndata_dir =\n", "store.data_dir is empty");
    done();
}

END_TEST

/* What one option asks of others is said, by name. */
START_TEST(config_looks_at_options_together)
{
    static const char jwks[] = "[tls]\nenabled = false\n[auth]\njwks_file = keys.json\n";
    static const char clients[] = "[auth]\nmode = none\n[tls]\ncert_file = c\nkey_file = k\n"
                                  "client_auth = require\ncrl = require\n";

    ck_assert_int_eq(load(jwks, NULL), 0);
    assert_refused("[tls]\nenabled = false\n",
                   "or with auth.jwks_file one with a JSON Web Key Set");
    assert_refused(clients, "tls.client_ca_file is not set: name ");
    assert_has(&errors, "tls.crl_file is not set: name ");
    assert_has_not(&errors, "tls.enabled");
    assert_refused("[tls]\nenabled = false\nclient_auth = optional\nclient_ca_file = ca\n"
                   "[auth]\nmode = none\n",
                   "tls.client_auth asks for certificates, which takes tls.enabled = true");
    assert_refused(OPEN "[overload]\nsoft = 90\nhard = 89\n",
                   "overload.soft = 90 is more than overload.hard = 89");
    ck_assert_int_eq(load(OPEN "[overload]\nsoft = 89\nhard = 89\n", NULL), 0);
    assert_has_not(&config.warnings, "tls.crl");
    ck_assert_int_eq(load("[tls]\nenabled = false\ncrl = require\n[auth]\nmode = none\n", NULL), 0);
    assert_has(&config.warnings, "tls.crl = require has no effect");
    done();
}

END_TEST

/* Every mistake of a file is reported, each with file, line, key, value and what may stand there.
 */
START_TEST(config_reports_every_mistake)
{
    ck_assert_int_eq(load("[server]\n"
                          "backlog = many\n"
                          "listne = 1.2.3.4:5\n"
                          "[limtis]\n"
                          "max_message = 1\n"
                          "[limits]\n"
                          "max_message = 8MiB\n"
                          "[tls]\n"
                          "enabled = perhaps\n"
                          "min_version = 1.1\n" OPEN,
                          NULL),
                     CONFIG_E_INVALID);
    assert_has(&errors,
               "test.ini:2: server.backlog = \"many\" is not allowed: write a whole number "
               "from 1 to 65535 (default 1024)\n");
    assert_has(&errors, "test.ini:3: unknown key server.listne: did you mean listen?\n");
    assert_has(&errors, "test.ini:5: unknown section [limtis]: did you mean [limits]?\n");
    assert_has(&errors, "test.ini:7: limits.max_message = \"8MiB\" is not allowed: write a size "
                        "from 1KiB to 4MiB");
    assert_has(&errors,
               "test.ini:9: tls.enabled = \"perhaps\" is not allowed: write true or false");
    assert_has(&errors, "test.ini:10: tls.min_version = \"1.1\" is not allowed: write one of 1.2, "
                        "1.3");
    assert_has_not(&errors, "cert_file");
    done();
}

END_TEST

/* A key stands at most once, and the error names the first place. */
START_TEST(config_refuses_duplicates)
{
    assert_refused(OPEN "[log]\nlevel = info\n[server]\nbacklog = 5\n[log]\nlevel = info\n",
                   "test.ini:10: log.level is set twice: first in line 6");
    done();
}

END_TEST

/* Unknown names without a neighbour are refused without a suggestion. */
START_TEST(config_suggests_only_what_is_near)
{
    assert_refused(OPEN "[zzzzzzzz]\nqqqqqq = 1\n", "unknown section [zzzzzzzz]\n");
    assert_refused(OPEN "[log]\nqqqqqq = 1\n", "unknown key log.qqqqqq\n");
    assert_refused("level = info\n" OPEN, "key \"level\" stands before any [section]");
    ck_assert_str_eq(config_option_nearest("wal", "segmentsize"), "segment_size");
    ck_assert_str_eq(config_option_nearest(NULL, "sever"), "server");
    ck_assert_str_eq(config_option_nearest(NULL, "polciy"), "policy");
    assert_refused(OPEN "[polciy]\nallow /* = *\n",
                   "unknown section [polciy]: did you mean [policy]?\n");
    ck_assert_ptr_null(config_option_nearest("wal", "a_name_that_is_much_longer_than_any_of_ours"));
    done();
}

END_TEST

/* A line that is no INI is an error with its number. */
START_TEST(config_refuses_bad_syntax)
{
    assert_refused(OPEN "[log]\nlevel\n", "test.ini:6: ");
    assert_refused(OPEN "[log\nlevel = info\n", "test.ini:5: ");
    done();
}

END_TEST

/* A file that cannot be read is named, with the reason. */
START_TEST(config_names_a_file_it_cannot_read)
{
    ck_assert_int_eq(config_load(&config, "/nonexistent/userd.ini", NULL, &errors),
                     CONFIG_E_INVALID);
    assert_has(&errors, "/nonexistent/userd.ini cannot be read: No such file or directory");
    done();
}

END_TEST

/* A bad value is shown short and without control characters, for it goes to a terminal. */
START_TEST(config_shows_bad_values_safely)
{
    char text[400];

    (void)snprintf(text, sizeof(text), OPEN "[log]\nlevel = \x1b[31m%0200d\n", 7);
    ck_assert_int_eq(load(text, NULL), CONFIG_E_INVALID);
    assert_has_not(&errors, "\x1b");
    assert_has(&errors, "...\"");
    ck_assert_uint_lt(errors.end, 256);
    done();
}

END_TEST

/* A file full of mistakes gives a bounded number of lines. */
START_TEST(config_bounds_its_complaints)
{
    static char text[40000];
    size_t size = (size_t)snprintf(text, sizeof(text), OPEN "[log]\n");

    for (int i = 0; i < 1000; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "unknown_%d = 1\n", i);
    }
    ck_assert_int_eq(load(text, NULL), CONFIG_E_INVALID);
    ck_assert_uint_eq(count_lines(&errors), 51);
    assert_has(&errors, "and 950 more\n");
    done();
}

END_TEST

/* Numbers: digits only, in range, no overflow; the bounds themselves are allowed. */
START_TEST(config_values_are_exact)
{
    static const struct {
        const char *section;
        const char *key;
        const char *text;
        int result;
        uint64_t value;
    } rows[] = {
        {"server", "backlog", "1", 0, 1},
        {"server", "backlog", "65535", 0, 65535},
        {"server", "backlog", "0", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "65536", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "-1", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "+1", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "1.0", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "0x10", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "1k", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "", CONFIG_VALUE_E_BAD, 0},
        {"server", "backlog", "18446744073709551617", CONFIG_VALUE_E_BAD, 0},
        {"limits", "max_message", "4MiB", 0, 4194304},
        {"limits", "max_message", "4194304", 0, 4194304},
        {"limits", "max_message", "4194305", CONFIG_VALUE_E_BAD, 0},
        {"limits", "max_message", "64k", 0, 65536},
        {"limits", "max_message", "64 KiB", 0, 65536},
        {"limits", "max_message", "64KB", CONFIG_VALUE_E_BAD, 0},
        {"limits", "max_message", "17179869185GiB", CONFIG_VALUE_E_BAD, 0},
        {"wal", "segment_size", "1G", 0, 1073741824},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct config_option *option = config_option_find(rows[i].section, rows[i].key);
        uint64_t field = 77;

        ck_assert_msg(config_value_parse(option, rows[i].text, &field) == rows[i].result, "%s",
                      rows[i].text);
        ck_assert_uint_eq(field, rows[i].result == 0 ? rows[i].value : 77);
    }
}

END_TEST

/* Addresses: several, trimmed, each of a form that can be bound; at most eight. */
START_TEST(config_values_are_addresses)
{
    static const char *const good[] = {
        "127.0.0.1:0",
        "[::1]:50051",
        "unix:/run/userd.sock",
        "localhost:1 , [::]:2",
        "a:1,b:2,c:3,d:4,e:5,f:6,g:7,h:8",
    };
    static const char *const bad[] = {
        "",        "127.0.0.1", ":50051",   "host:", "host:65536",
        "host:1x", "::1:50051", "[]:1",     "[::1]", "[::1]50051",
        "unix:",   "a:1,",      "a:1,,b:2", "a b:1", "a:1,b:2,c:3,d:4,e:5,f:6,g:7,h:8,i:9",
    };
    const struct config_option *option = config_option_find("server", "listen");
    struct config_list list = {.count = 0};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(config_value_parse(option, good[i], &list) == 0, "%s", good[i]);
    }
    ck_assert_uint_eq(list.count, 8);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(config_value_parse(option, bad[i], &list) == CONFIG_VALUE_E_BAD, "%s",
                      bad[i]);
        ck_assert_uint_eq(list.count, 8);
    }
    config_value_deinit(option, &list);
}

END_TEST

/* One address, or none: by the name of "off", or empty. */
START_TEST(config_values_are_an_address)
{
    static const char *const bad[] = {"9090", ":9090", "127.0.0.1", "a:1,b:2", "a:1 ", "unix:"};
    const struct config_option *option = config_option_find("admin", "listen");
    struct buf shown = {0};
    char *field = NULL;

    ck_assert_int_eq(config_value_parse(option, "[::1]:9090", &field), 0);
    ck_assert_str_eq(field, "[::1]:9090");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(config_value_parse(option, bad[i], &field) == CONFIG_VALUE_E_BAD, "%s",
                      bad[i]);
        ck_assert_str_eq(field, "[::1]:9090");
    }
    ck_assert_int_eq(config_value_parse(option, "", &field), 0);
    ck_assert_str_eq(field, "");
    ck_assert_int_eq(config_value_parse(option, "unix:/run/x", &field), 0);
    ck_assert_int_eq(config_value_parse(option, "OFF", &field), 0);
    ck_assert_str_eq(field, "");
    ck_assert_int_eq(config_value_format(option, &field, &shown), 0);
    ck_assert_str_eq(text_of(&shown), "off");
    buf_deinit(&shown);
    config_value_deinit(option, &field);
    assert_refused(OPEN "[admin]\nlisten = here\n",
                   "admin.listen = \"here\" is not allowed: write HOST:PORT, [IPV6]:PORT, "
                   "unix:/PATH or off (default 127.0.0.1:9090)");
    done();
}

END_TEST

/* Every option can be set in the environment, which wins over the file. */
START_TEST(config_environment_wins)
{
    static const char *const environment[] = {
        "USERD_SERVER_LISTEN=127.0.0.1:1,[::1]:2",
        "USERD_LOG_LEVEL=debug",
        "USERD_TLS_ENABLED=false",
        "USERD_AUTH_MODE=none",
        "HOME=/root",
        NULL,
    };

    ck_assert_int_eq(load("[log]\nlevel = error\n", environment), 0);
    ck_assert_uint_eq(config.server_listen.count, 2);
    ck_assert_str_eq(config.server_listen.items[1], "[::1]:2");
    ck_assert_uint_eq(config.log_level, LEVEL_DEBUG);
    done();
}

END_TEST

/* A bad value in the environment is an error that names the variable. */
START_TEST(config_environment_is_checked)
{
    static const char *const environment[] = {"USERD_LIMITS_MAX_FIELDS=x", NULL};
    static const char *const port[] = {"GRPC_PORT=tcp://10.0.0.1:50051", NULL};

    ck_assert_int_eq(load(OPEN, environment), CONFIG_E_INVALID);
    assert_has(&errors, "USERD_LIMITS_MAX_FIELDS in the environment: limits.max_fields = \"x\" is "
                        "not allowed");
    ck_assert_int_eq(load(OPEN, port), CONFIG_E_INVALID);
    assert_has(&errors, "GRPC_PORT in the environment: ");
    done();
}

END_TEST

/* A variable that is nearly ours is worth a warning; what Kubernetes sets for a service is not. */
START_TEST(config_environment_typos_are_warned_of)
{
    static const char *const environment[] = {
        "USERD_LOG_LEVLE=debug", "USERD_SERVICE_HOST=10.0.0.1", "USERD_PORT=tcp://x", NULL};

    ck_assert_int_eq(load("[tls]\nenabled = true\ncert_file = c\nkey_file = k\n"
                          "[auth]\njwt_secret_file = s\n",
                          environment),
                     0);
    assert_has(&config.warnings, "USERD_LOG_LEVLE");
    ck_assert_uint_eq(count_lines(&config.warnings), 1);
    done();
}

END_TEST

/* GRPC_PORT changes the port of every address, unless the addresses were given beside it. */
START_TEST(config_honours_grpc_port)
{
    static const char *const alone[] = {"GRPC_PORT=6000", NULL};
    static const char *const beside[] = {"GRPC_PORT=6000", "USERD_SERVER_LISTEN=h:1", NULL};

    ck_assert_int_eq(load(OPEN "[server]\nlisten = 127.0.0.1:1, [::1]:2, unix:/x:3\n", alone), 0);
    ck_assert_str_eq(config.server_listen.items[0], "127.0.0.1:6000");
    ck_assert_str_eq(config.server_listen.items[1], "[::1]:6000");
    ck_assert_str_eq(config.server_listen.items[2], "unix:/x:3");
    ck_assert_int_eq(load(OPEN, beside), 0);
    ck_assert_str_eq(config.server_listen.items[0], "h:1");
    done();
}

END_TEST

/* JWT_SECRET is the secret, and is enough for auth.mode = jwt; our own variables win over it. */
START_TEST(config_honours_jwt_secret)
{
    static const char *const alone[] = {"JWT_SECRET=0123456789", NULL};
    static const char *const own[] = {"JWT_SECRET=no", "USERD_AUTH_JWT_SECRET=yes", NULL};
    static const char *const file[] = {"JWT_SECRET=no", "USERD_AUTH_JWT_SECRET_FILE=f", NULL};

    ck_assert_int_eq(load("[tls]\nenabled = false\n", alone), 0);
    ck_assert_str_eq(config.auth_jwt_secret, "0123456789");
    ck_assert_int_eq(load("[tls]\nenabled = false\n", own), 0);
    ck_assert_str_eq(config.auth_jwt_secret, "yes");
    ck_assert_int_eq(load("[tls]\nenabled = false\n", file), 0);
    ck_assert_str_eq(config.auth_jwt_secret, "");
    ck_assert_str_eq(config.auth_jwt_secret_file, "f");
    done();
}

END_TEST

/* The secret itself has no place in a file, and no message shows it. */
START_TEST(config_keeps_the_secret)
{
    static const char *const environment[] = {"JWT_SECRET=tell-nobody-about-this", NULL};
    static const char *const bad[] = {"JWT_SECRET=tell-nobody\nabout-this", NULL};
    struct buf shown = {0};

    ck_assert_int_eq(load("[auth]\njwt_secret = tell-nobody\n", NULL), CONFIG_E_INVALID);
    assert_has(&errors, "test.ini:2: auth.jwt_secret may not stand in a file");
    assert_has_not(&errors, "tell-nobody");
    ck_assert_int_eq(load(OPEN, bad), CONFIG_E_INVALID);
    assert_has(&errors, "(hidden)");
    assert_has_not(&errors, "tell-nobody");
    ck_assert_int_eq(load(OPEN, environment), 0);
    ck_assert_int_eq(config_print(&config, &shown), 0);
    assert_has(&shown, "; jwt_secret = ******** ; environment JWT_SECRET, reloadable\n");
    assert_has_not(&shown, "tell-nobody");
    buf_deinit(&shown);
    done();
}

END_TEST

/* What config_print() writes says where each value came from, and loads again to the same values.
 */
START_TEST(config_print_reads_back)
{
    static const char *const environment[] = {"USERD_WAL_MAX_PENDING=17", NULL};
    struct buf first = {0};
    struct buf second = {0};
    char *text;

    ck_assert_int_eq(load(OPEN "[limits]\nmax_message = 524288\n", environment), 0);
    ck_assert_int_eq(config_print(&config, &first), 0);
    assert_has(&first, "\n[limits]\n");
    assert_has(&first, "\nmax_message = 512KiB ; test.ini:6, reloadable\n");
    assert_has(&first, "\nmax_pending = 17 ; environment USERD_WAL_MAX_PENDING\n");
    assert_has(&first, "\nbacklog = 1024 ; default\n");
    text = strdup(text_of(&first));
    ck_assert_int_eq(load(text, NULL), 0);
    ck_assert_int_eq(config_print(&config, &second), 0);
    ck_assert_uint_eq(config.limits_max_message, 524288);
    ck_assert_uint_eq(config.wal_max_pending, 17);
    free(text);
    buf_deinit(&first);
    buf_deinit(&second);
    done();
}

END_TEST

/* Options that contradict each other are refused, with both values. */
START_TEST(config_checks_options_together)
{
    assert_refused(OPEN "[wal]\nsegment_size = 1048577\n", "wal.segment_size = 1048577 is no");
    assert_refused(OPEN "[password]\nmin_length = 20\nmax_length = 10\n",
                   "password.min_length = 20 is more than password.max_length = 10");
    assert_refused(OPEN "[http2]\nmax_header_list = 64KiB\n", "http2.max_header_list_hard = 32768");
    assert_refused(OPEN "[limits]\ndefault_deadline_ms = 20\nmax_deadline_ms = 10\n",
                   "limits.max_deadline_ms = 10");
    assert_refused(OPEN "[limits]\nmax_message = 2MiB\n",
                   "limits.max_message = 2097152 is more than "
                   "limits.max_buffered_per_connection = 524288");
    assert_refused(OPEN "[limits]\nmax_buffered = 1MiB\nmax_buffered_per_connection = 2MiB\n",
                   "limits.max_buffered = 1048576");
    done();
}

END_TEST

/* What is legal but unsafe is said. */
START_TEST(config_warns_of_unsafe_choices)
{
    ck_assert_int_eq(load(OPEN "[password]\nmemory_kib = 8\n", NULL), 0);
    assert_has(&config.warnings, "tls.enabled = false: ");
    assert_has(&config.warnings, "auth.mode = none: ");
    assert_has(&config.warnings, "password hashes are weaker");
    ck_assert_uint_eq(count_lines(&config.warnings), 3);
    ck_assert_int_eq(load(OPEN "[admin]\nlisten = 0.0.0.0:9090\n", NULL), 0);
    assert_has(&config.warnings, "admin.listen = 0.0.0.0:9090: everybody who reaches it ");
    ck_assert_uint_eq(count_lines(&config.warnings), 3);
    done();
}

END_TEST

UNIT_MAIN("config", config_takes_its_own_defaults, config_table_is_well_formed,
          config_manual_and_table_agree, config_manual_names_what_is_reloaded,
          config_takes_what_we_ship, config_asks_for_what_has_no_default,
          config_looks_at_options_together, config_reports_every_mistake, config_refuses_duplicates,
          config_suggests_only_what_is_near, config_refuses_bad_syntax,
          config_names_a_file_it_cannot_read, config_shows_bad_values_safely,
          config_bounds_its_complaints, config_values_are_exact, config_values_are_addresses,
          config_values_are_an_address, config_environment_wins, config_environment_is_checked,
          config_environment_typos_are_warned_of, config_honours_grpc_port,
          config_honours_jwt_secret, config_keeps_the_secret, config_print_reads_back,
          config_checks_options_together, config_warns_of_unsafe_choices)
