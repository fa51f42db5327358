#include "lib/unit.h"

#include "service/app_files.h"
#include "service/config.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL                                                                                        \
    "[tls]\ncert_file = cert\nkey_file = key\nclient_auth = optional\nclient_ca_file = ca\n"       \
    "crl = require\ncrl_file = crl\n[auth]\njwt_secret_file = secret\njwks_file = jwks\n"

static char folder[32];
static struct config config;

static void load(const char *ini)
{
    struct buf errors = {0};

    config_deinit(&config);
    ck_assert_int_eq(config_load_text(&config, "test.ini", ini, NULL, &errors), 0);
    buf_deinit(&errors);
}

static void write_file(const char *name, const char *content)
{
    FILE *file = fopen(name, "w");

    ck_assert_ptr_nonnull(file);
    (void)fputs(content, file);
    (void)fclose(file);
}

/* Paths in these tests are relative to a folder of their own. */
static void enter_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/app_files.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_assert_int_eq(chdir(folder), 0);
    load(ALL);
}

static void leave_folder(void)
{
    char command[64];

    config_deinit(&config);
    ck_assert_int_eq(chdir("/"), 0);
    (void)snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* What changed since the last look. */
static unsigned look(void)
{
    static struct app_files before;
    struct app_files now;
    unsigned set;

    app_files_look(&config, &now);
    set = app_files_compare(&before, &now);
    before = now;
    return set;
}

/* Each file is seen to come, to change, to change its rights and to go; a touch alone is nothing.
 */
START_TEST(app_files_sees_each_change)
{
    static const char *const names[] = {"cert", "key", "ca", "crl", "secret", "jwks"};

    enter_folder();
    (void)look();
    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        write_file(names[i], "one");
        ck_assert_uint_eq(look(), 1U << i);
        write_file(names[i], "two");
        ck_assert_uint_eq(look(), 1U << i);
        write_file(names[i], "two");
        ck_assert_uint_eq(look(), 0);
        ck_assert_int_eq(chmod(names[i], 0640), 0);
        ck_assert_uint_eq(look(), 1U << i);
        ck_assert_int_eq(unlink(names[i]), 0);
        ck_assert_uint_eq(look(), 1U << i);
    }
    leave_folder();
}

END_TEST

/* A file too large to be read for this is known by its times, and so is one that is no file. */
START_TEST(app_files_knows_large_files_by_their_times)
{
    enter_folder();
    write_file("crl", "");
    ck_assert_int_eq(truncate("crl", 3 * 1024 * 1024), 0);
    (void)look();
    ck_assert_uint_eq(look(), 0);
    ck_assert_int_eq(truncate("crl", 3 * 1024 * 1024 + 1), 0);
    ck_assert_uint_eq(look(), 1U << APP_FILE_CRL);
    ck_assert_int_eq(mkfifo("jwks", 0600), 0);
    ck_assert_uint_eq(look(), 1U << APP_FILE_JWKS);
    ck_assert_uint_eq(look(), 0);
    leave_folder();
}

END_TEST

/* Only what is used counts. */
START_TEST(app_files_leaves_out_what_is_not_used)
{
    const char *paths[APP_FILE_COUNT];

    load(ALL);
    ck_assert_uint_eq(app_files_paths(&config, paths), 6);
    ck_assert_str_eq(paths[0], "cert");
    ck_assert_str_eq(paths[5], "jwks");
    load("[tls]\ncert_file = cert\nkey_file = key\nclient_ca_file = ca\ncrl_file = crl\n"
         "[auth]\njwks_file = jwks\n");
    ck_assert_uint_eq(app_files_paths(&config, paths), 3);
    load("[tls]\nenabled = false\ncert_file = cert\n[auth]\nmode = none\njwks_file = jwks\n");
    ck_assert_uint_eq(app_files_paths(&config, paths), 0);
    config_deinit(&config);
}

END_TEST

/* A set is named by its options. */
START_TEST(app_files_names_options)
{
    char names[256];

    app_files_name(0, names, sizeof(names));
    ck_assert_str_eq(names, "");
    app_files_name(APP_FILES_TLS, names, sizeof(names));
    ck_assert_str_eq(names, "tls.cert_file, tls.key_file, tls.client_ca_file, tls.crl_file");
    app_files_name(APP_FILES_KEYS, names, sizeof(names));
    ck_assert_str_eq(names, "auth.jwt_secret_file, auth.jwks_file");
    app_files_name(APP_FILES_KEYS, names, 8);
    ck_assert_str_eq(names, "auth.jw");
}

END_TEST

UNIT_MAIN("app_files", app_files_sees_each_change, app_files_knows_large_files_by_their_times,
          app_files_leaves_out_what_is_not_used, app_files_names_options)
