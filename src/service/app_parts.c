#include "service/app_parts.h"

#include "core/slurp.h"
#include "core/tls.h"
#include "service/app_options.h"
#include "service/policy.h"
#include "service/token_keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>

#define DAY_S 86400

_Static_assert(APP_PROBLEM_SIZE >= TLS_PROBLEM_SIZE, "a TLS problem must fit");

/* Sets the problem and returns the exit code. */
__attribute__((format(printf, 3, 4))) static int fail(char *problem, int exit_code,
                                                      const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(problem, APP_PROBLEM_SIZE, format, arguments);
    va_end(arguments);
    return exit_code;
}

int app_parts_check_private(const char *option, const char *path, char *problem)
{
    struct stat status;

    if (stat(path, &status) != 0 || !S_ISREG(status.st_mode) || (status.st_mode & S_IRWXO) == 0) {
        return EX_OK;
    }
    return fail(problem, EX_CONFIG,
                "%s: everybody may access %.1024s (mode %04o), which must be secret: chmod 600 it, "
                "with the user that userd runs as for its owner; in Kubernetes mount the secret "
                "with defaultMode: 0400",
                option, path, (unsigned)status.st_mode & 07777U);
}

int app_parts_tls(const struct config *config, char *problem, struct tls_context **ret_context)
{
    struct tls_server_options options = app_options_tls(config);
    char cause[TLS_PROBLEM_SIZE] = "";
    int result;

    if (options.cert_file[0] == '\0' || options.key_file[0] == '\0') {
        return fail(problem, EX_CONFIG,
                    "tls.cert_file, tls.key_file: TLS is on and needs both; turning it off takes a "
                    "restart");
    }
    if (app_parts_check_private("tls.key_file", options.key_file, problem) != EX_OK) {
        return EX_CONFIG;
    }
    result = tls_context_new_server(&options, cause, ret_context);
    if (result == -ENOMEM) {
        return fail(problem, EX_SOFTWARE, "out of memory");
    }
    return result == 0 ? EX_OK
                       : fail(problem, EX_CONFIG, "%s: %s",
                              options.client_auth == TLS_CLIENT_AUTH_NONE
                                  ? "tls.cert_file, tls.key_file"
                                  : "tls.cert_file, tls.key_file, tls.client_ca_file, tls.crl_file",
                              cause);
}

int app_parts_policy(const struct config *config, const struct grpc_method_table *methods,
                     char *problem, struct policy **ret_policy)
{
    return policy_new(config->policy.rules, config->policy.count, methods, ret_policy) == 0
               ? EX_OK
               : fail(problem, EX_SOFTWARE, "out of memory");
}

static int add_secret(struct token_keys *keys, const char *option, struct bytes secret,
                      char *problem)
{
    int result = token_keys_add_secret(keys, secret);

    if (result == TOKEN_E_BAD_SECRET_SIZE) {
        return fail(
            problem, EX_CONFIG,
            "%s: the secret must have %d to %d bytes; make one with: openssl rand -base64 48",
            option, TOKEN_SECRET_SIZE_MIN, TOKEN_SECRET_SIZE_MAX);
    }
    if (result == TOKEN_E_SECRET_IS_PEM) {
        return fail(problem, EX_CONFIG,
                    "%s: this is a public key or certificate, not a shared secret; public keys go "
                    "to auth.jwks_file",
                    option);
    }
    return result == 0 ? EX_OK : fail(problem, EX_SOFTWARE, "%s: %s", option, strerror(-result));
}

/* Reads a file of keys. The caller frees with slurp_free(). */
static int read_keys(const char *option, const char *path, size_t size_max, char *problem,
                     char **ret_text, size_t *ret_size)
{
    int result = slurp_file(path, size_max, ret_text, ret_size);

    if (result == SLURP_E_TOO_LARGE) {
        return fail(problem, EX_CONFIG, "%s: %.1024s is larger than %zu bytes", option, path,
                    size_max);
    }
    if (result != 0) {
        return fail(problem, EX_CONFIG, "%s: %.1024s cannot be read: %s", option, path,
                    strerror(-result));
    }
    return EX_OK;
}

static int add_secret_file(struct token_keys *keys, const char *path, char *problem)
{
    static const char option[] = "auth.jwt_secret_file";
    char *secret = NULL;
    size_t size = 0;
    int exit_code = app_parts_check_private(option, path, problem);

    if (exit_code == EX_OK) {
        exit_code = read_keys(option, path, TOKEN_SECRET_SIZE_MAX + 2, problem, &secret, &size);
    }
    if (exit_code == EX_OK) {
        exit_code = add_secret(keys, option, (struct bytes){(uint8_t *)secret, size}, problem);
        slurp_free(secret, size);
    }
    return exit_code;
}

static int add_jwks_file(struct token_keys *keys, const char *path, struct log *log, char *problem)
{
    static const char option[] = "auth.jwks_file";
    char *text = NULL;
    size_t size = 0;
    char cause[TOKEN_KEYS_PROBLEM_SIZE] = "";
    int exit_code = read_keys(option, path, TOKEN_JWKS_SIZE_MAX, problem, &text, &size);
    int result;

    if (exit_code != EX_OK) {
        return exit_code;
    }
    result = token_keys_add_jwks(keys, (struct bytes){(uint8_t *)text, size}, cause);
    slurp_free(text, size);
    if (result == TOKEN_E_BAD_JWKS) {
        return fail(problem, EX_CONFIG, "%s: %.1024s: %s", option, path, cause);
    }
    if (result != 0) {
        return fail(problem, EX_SOFTWARE, "%s: %s", option, strerror(-result));
    }
    if (cause[0] != '\0') {
        log_event(log, LEVEL_WARN, "keys_left_out", FIELD_TEXT("option", option),
                  FIELD_TEXT("file", path), FIELD_TEXT("cause", cause));
    }
    return EX_OK;
}

int app_parts_keys(const struct config *config, struct log *log, char *problem,
                   struct token_keys **ret_keys)
{
    struct token_keys *keys = NULL;
    int exit_code = EX_OK;

    if (token_keys_new(&keys) != 0) {
        return fail(problem, EX_SOFTWARE, "out of memory");
    }
    if (config->auth_jwt_secret[0] != '\0') {
        exit_code =
            add_secret(keys, "JWT_SECRET", bytes_from_text(config->auth_jwt_secret), problem);
    } else if (config->auth_jwt_secret_file[0] != '\0') {
        exit_code = add_secret_file(keys, config->auth_jwt_secret_file, problem);
    }
    if (exit_code == EX_OK && config->auth_jwks_file[0] != '\0') {
        exit_code = add_jwks_file(keys, config->auth_jwks_file, log, problem);
    }
    if (exit_code == EX_OK && keys->count == 0) {
        exit_code = fail(problem, EX_CONFIG,
                         "auth.jwt_secret_file, auth.jwks_file: tokens are required and there is "
                         "no key for them");
    }
    if (exit_code != EX_OK) {
        token_keys_free(keys);
        return exit_code;
    }
    *ret_keys = keys;
    return EX_OK;
}

enum app_certificate app_certificate_judge(int64_t not_after_s, int64_t now_s)
{
    if (now_s > not_after_s) {
        return APP_CERTIFICATE_EXPIRED;
    }
    return not_after_s - now_s <= (int64_t)APP_CERTIFICATE_WARN_DAYS * DAY_S
               ? APP_CERTIFICATE_ENDING
               : APP_CERTIFICATE_GOOD;
}

void app_time_format(int64_t time_s, char out[APP_TIME_SIZE])
{
    time_t seconds = (time_t)time_s;
    struct tm utc;

    if (gmtime_r(&seconds, &utc) == NULL ||
        strftime(out, APP_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0) {
        (void)snprintf(out, APP_TIME_SIZE, "%lld", (long long)time_s);
    }
}
