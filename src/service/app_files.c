#include "service/app_files.h"

#include "core/slurp.h"
#include "core/tls.h"
#include "service/config.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Larger files are taken as changed when their times are. */
#define READ_SIZE_MAX (1024 * 1024)

static const char *const option_names[APP_FILE_COUNT] = {
    [APP_FILE_CERT] = "tls.cert_file",           [APP_FILE_KEY] = "tls.key_file",
    [APP_FILE_CLIENT_CA] = "tls.client_ca_file", [APP_FILE_CRL] = "tls.crl_file",
    [APP_FILE_SECRET] = "auth.jwt_secret_file",  [APP_FILE_JWKS] = "auth.jwks_file",
};

/* The path of a file, "" when it is not used. */
static const char *path_of(const struct config *config, enum app_file file)
{
    bool uses_clients = config->tls_enabled && config->tls_client_auth != TLS_CLIENT_AUTH_NONE;
    bool uses_keys = config->auth_mode == CONFIG_AUTH_JWT;

    switch (file) {
    case APP_FILE_CERT:
        return config->tls_enabled ? config->tls_cert_file : "";
    case APP_FILE_KEY:
        return config->tls_enabled ? config->tls_key_file : "";
    case APP_FILE_CLIENT_CA:
        return uses_clients ? config->tls_client_ca_file : "";
    case APP_FILE_CRL:
        return uses_clients && config->tls_crl == CONFIG_TLS_CRL_REQUIRE ? config->tls_crl_file
                                                                         : "";
    case APP_FILE_SECRET:
        return uses_keys && config->auth_jwt_secret[0] == '\0' ? config->auth_jwt_secret_file : "";
    case APP_FILE_JWKS:
        return uses_keys ? config->auth_jwks_file : "";
    }
    return "";
}

static void add_number(struct digest *digest, uint64_t number)
{
    digest_add(digest, (struct bytes){(const uint8_t *)&number, sizeof(number)});
}

static void add_times(struct digest *digest, const struct stat *status)
{
    add_number(digest, status->st_dev);
    add_number(digest, status->st_ino);
    add_number(digest, (uint64_t)status->st_size);
    add_number(digest, (uint64_t)status->st_mtim.tv_sec);
    add_number(digest, (uint64_t)status->st_mtim.tv_nsec);
}

static void add_content(struct digest *digest, const char *path, const struct stat *status)
{
    char *text = NULL;
    size_t size = 0;

    if (S_ISREG(status->st_mode) && slurp_file(path, READ_SIZE_MAX, &text, &size) == 0) {
        digest_add(digest, (struct bytes){(uint8_t *)text, size});
        slurp_free(text, size);
    } else {
        add_times(digest, status);
    }
}

static void look(const char *path, uint8_t print[DIGEST_SIZE])
{
    struct digest digest;
    struct stat status;

    digest_init(&digest);
    digest_add(&digest, (struct bytes){(const uint8_t *)path, strlen(path) + 1});
    if (path[0] != '\0' && stat(path, &status) == 0) {
        add_number(&digest, status.st_mode);
        add_number(&digest, status.st_uid);
        add_content(&digest, path, &status);
    }
    digest_end(&digest, print);
}

void app_files_look(const struct config *config, struct app_files *ret_files)
{
    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        look(path_of(config, (enum app_file)i), ret_files->prints[i]);
    }
}

unsigned app_files_compare(const struct app_files *before, const struct app_files *now)
{
    unsigned set = 0;

    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        if (memcmp(before->prints[i], now->prints[i], DIGEST_SIZE) != 0) {
            set |= 1U << i;
        }
    }
    return set;
}

unsigned app_files_paths(const struct config *config, const char *ret_paths[APP_FILE_COUNT])
{
    unsigned count = 0;

    for (unsigned i = 0; i < APP_FILE_COUNT; i++) {
        const char *path = path_of(config, (enum app_file)i);

        if (path[0] != '\0') {
            ret_paths[count++] = path;
        }
    }
    return count;
}

void app_files_name(unsigned set, char *out, size_t room)
{
    size_t used = 0;

    out[0] = '\0';
    for (unsigned i = 0; i < APP_FILE_COUNT && used < room; i++) {
        if ((set & 1U << i) != 0) {
            int size =
                snprintf(out + used, room - used, "%s%s", used == 0 ? "" : ", ", option_names[i]);

            used += size > 0 ? (size_t)size : 0;
        }
    }
}
