#include "service/config.h"

#include "core/disk.h"
#include "core/ini.h"
#include "core/tls.h"
#include "service/config_table.h"
#include "service/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Loading goes in four steps, each over the one before: defaults, file, environment, and the checks
 * that look at several options at once. A mistake does not end it: all of them are reported
 * together, as `FILE:LINE: what`, so that an operator repairs a file in one go. Only the table
 * knows options; this file knows how a value comes about.
 */

#define MESSAGE_SIZE_MAX   1024
#define VALUE_SHOWN_MAX    80 /* bytes of a bad value that are shown */
#define ERRORS_MAX         50
#define ENVIRONMENT_PREFIX "USERD_"

struct loader {
    struct config *config;
    const char *name; /* of the file, for messages */
    struct buf *errors;
    unsigned error_count;
    bool no_memory;
};

/* Control characters of foreign texts do not get to a terminal. */
static void append_line(struct loader *loader, struct buf *out, char *line)
{
    for (char *at = line; *at != '\0'; at++) {
        if (iscntrl((unsigned char)*at)) {
            *at = '?';
        }
    }
    if (buf_append(out, line, strlen(line)) != 0 || buf_append(out, "\n", 1) != 0) {
        loader->no_memory = true;
    }
}

/* `line` 0 = not about one line of the file. */
__attribute__((format(printf, 3, 4))) static void report_error(struct loader *loader, int line,
                                                               const char *format, ...)
{
    char text[MESSAGE_SIZE_MAX];
    size_t used = 0;
    va_list arguments;

    if (++loader->error_count > ERRORS_MAX) {
        return;
    }
    if (line > 0) {
        int size = snprintf(text, sizeof(text), "%.255s:%d: ", loader->name, line);

        used = size > 0 ? (size_t)size : 0;
    }
    va_start(arguments, format);
    (void)vsnprintf(text + used, sizeof(text) - used, format, arguments);
    va_end(arguments);
    append_line(loader, loader->errors, text);
}

__attribute__((format(printf, 2, 3))) static void report_warning(struct loader *loader,
                                                                 const char *format, ...)
{
    char text[MESSAGE_SIZE_MAX];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    append_line(loader, &loader->config->warnings, text);
}

static void *field_of(struct config *config, const struct config_option *option)
{
    return (char *)config + option->offset;
}

static struct config_origin *origin_of(struct config *config, const struct config_option *option)
{
    return &config->origins[option - config_options];
}

static void report_bad_value(struct loader *loader, int line, const char *variable,
                             const struct config_option *option, const char *value)
{
    char expected[256];

    config_value_describe(option, expected, sizeof(expected));
    report_error(loader, line, "%s%s%s.%s = \"%.*s%s\" is not allowed: write %s (default %s)",
                 variable == NULL ? "" : variable,
                 variable == NULL ? "" : " in the environment: ", option->section, option->key,
                 VALUE_SHOWN_MAX, option->secret ? "(hidden)" : value,
                 strlen(value) > VALUE_SHOWN_MAX ? "..." : "", expected,
                 option->fallback[0] == '\0' ? "empty" : option->fallback);
}

static void load_defaults(struct loader *loader)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        const struct config_option *option = &config_options[i];
        int result = config_value_parse(option, option->fallback, field_of(loader->config, option));

        if (result == -ENOMEM) {
            loader->no_memory = true;
        } else if (result != 0) {
            report_bad_value(loader, 0, NULL, option, option->fallback);
        }
    }
}

static void report_unknown(struct loader *loader, int line, const char *section, const char *key)
{
    const char *nearest;

    if (loader->error_count >= ERRORS_MAX) {
        loader->error_count++; /* nobody will see what would be searched for */
        return;
    }
    if (section[0] == '\0') {
        report_error(loader, line, "key \"%.64s\" stands before any [section]", key);
    } else if (!config_section_is_known(section)) {
        nearest = config_option_nearest(NULL, section);
        report_error(loader, line, "unknown section [%.64s]%s%s%s", section,
                     nearest == NULL ? "" : ": did you mean [", nearest == NULL ? "" : nearest,
                     nearest == NULL ? "" : "]?");
    } else {
        nearest = config_option_nearest(section, key);
        report_error(loader, line, "unknown key %.64s.%.64s%s%s%s", section, key,
                     nearest == NULL ? "" : ": did you mean ", nearest == NULL ? "" : nearest,
                     nearest == NULL ? "" : "?");
    }
}

static void load_policy_row(struct loader *loader, const char *key, const char *value, int line)
{
    char problem[CONFIG_POLICY_PROBLEM_SIZE];
    int result = config_policy_add(&loader->config->policy, key, value, line, problem);

    if (result == -ENOMEM) {
        loader->no_memory = true;
    } else if (result != 0) {
        report_error(loader, line, "policy: %s", problem);
    }
}

/* One `key = value` of the file. Reading goes on after a mistake, so that all of them are found. */
static int load_entry(void *context, const char *section, const char *key, const char *value,
                      int line)
{
    struct loader *loader = context;
    const struct config_option *option = config_option_find(section, key);
    struct config_origin *origin;
    int result;

    if (strcmp(section, CONFIG_POLICY_SECTION) == 0) {
        load_policy_row(loader, key, value, line);
        return 0;
    }
    if (option == NULL) {
        report_unknown(loader, line, section, key);
        return 0;
    }
    if (option->environment_only) {
        report_error(loader, line,
                     "%s.%s may not stand in a file: set it in the environment, or "
                     "name a file of its own with %s.%s_file",
                     section, key, section, key);
        return 0;
    }
    origin = origin_of(loader->config, option);
    if (origin->kind == CONFIG_FROM_FILE) {
        report_error(loader, line, "%s.%s is set twice: first in line %d", section, key,
                     origin->line);
        return 0;
    }
    origin->kind = CONFIG_FROM_FILE;
    origin->line = line;
    result = config_value_parse(option, value, field_of(loader->config, option));
    if (result == -ENOMEM) {
        loader->no_memory = true;
    } else if (result != 0) {
        report_bad_value(loader, line, NULL, option, value);
    }
    return 0;
}

static void load_environment_value(struct loader *loader, const struct config_option *option,
                                   const char *variable, const char *value)
{
    struct config_origin *origin = origin_of(loader->config, option);
    int result = config_value_parse(option, value, field_of(loader->config, option));

    if (result == -ENOMEM) {
        loader->no_memory = true;
    } else if (result != 0) {
        report_bad_value(loader, 0, variable, option, value);
    }
    origin->kind = CONFIG_FROM_ENVIRONMENT;
    (void)snprintf(origin->environment, sizeof(origin->environment), "%s", variable);
}

/* The value of a variable, or NULL. */
static const char *environment_find(const char *const *environment, const char *variable)
{
    size_t size = strlen(variable);

    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, variable, size) == 0 && (*environment)[size] == '=') {
            return *environment + size + 1;
        }
    }
    return NULL;
}

/* USERD_SERVER_LISTEN for server.listen. */
static void name_variable(const struct config_option *option, char *out, size_t room)
{
    (void)snprintf(out, room, ENVIRONMENT_PREFIX "%s_%s", option->section, option->key);
    for (char *at = out; *at != '\0'; at++) {
        *at = (char)toupper((unsigned char)*at);
    }
}

/* A variable that begins like one of ours and is none: a typing error, most likely. Not an error,
 * because Kubernetes sets USERD_..._SERVICE_HOST and the like for services of that name. */
static void warn_of_unknown_variables(struct loader *loader, const char *const *environment)
{
    char variable[64];
    char known[64];

    for (; environment != NULL && *environment != NULL; environment++) {
        const char *equals = strchr(*environment, '=');
        bool begins = false;
        bool is_known = false;

        if (equals == NULL || strncmp(*environment, ENVIRONMENT_PREFIX, 6) != 0) {
            continue;
        }
        (void)snprintf(variable, sizeof(variable), "%.*s", (int)(equals - *environment),
                       *environment);
        for (unsigned i = 0; i < config_option_count && !is_known; i++) {
            size_t section_size = 6 + strlen(config_options[i].section) + 1;

            name_variable(&config_options[i], known, sizeof(known));
            begins = begins || strncmp(variable, known, section_size) == 0;
            is_known = strcmp(variable, known) == 0;
        }
        if (begins && !is_known) {
            report_warning(loader, "environment %s names no option and is ignored", variable);
        }
    }
}

/* GRPC_PORT replaces the port in every address, unless the addresses themselves were given. */
static void load_grpc_port(struct loader *loader, const char *const *environment)
{
    static const struct config_option port_option = {
        .section = "server",
        .key = "listen",
        .type = CONFIG_TYPE_INT,
        .most = 65535,
        .unit = "",
        .fallback = "50051",
    };
    const struct config_option *listen = config_option_find("server", "listen");
    struct config_origin *origin = origin_of(loader->config, listen);
    const char *value = environment_find(environment, "GRPC_PORT");
    uint64_t port = 0;

    if (value == NULL || origin->kind == CONFIG_FROM_ENVIRONMENT) {
        return;
    }
    if (config_value_parse(&port_option, value, &port) != 0) {
        report_bad_value(loader, 0, "GRPC_PORT", &port_option, value);
        return;
    }
    if (config_value_set_port(&loader->config->server_listen, (unsigned)port) != 0) {
        loader->no_memory = true;
    }
    origin->kind = CONFIG_FROM_ENVIRONMENT;
    (void)snprintf(origin->environment, sizeof(origin->environment), "GRPC_PORT");
}

/* JWT_SECRET is the secret, unless our own variables name one. */
static void load_jwt_secret(struct loader *loader, const char *const *environment)
{
    const struct config_option *secret = config_option_find("auth", "jwt_secret");
    const struct config_option *file = config_option_find("auth", "jwt_secret_file");
    const char *value = environment_find(environment, "JWT_SECRET");

    if (value != NULL && origin_of(loader->config, secret)->kind != CONFIG_FROM_ENVIRONMENT &&
        origin_of(loader->config, file)->kind != CONFIG_FROM_ENVIRONMENT) {
        load_environment_value(loader, secret, "JWT_SECRET", value);
    }
}

static void load_environment(struct loader *loader, const char *const *environment)
{
    char variable[64];

    if (environment == NULL || *environment == NULL) {
        return;
    }
    for (unsigned i = 0; i < config_option_count; i++) {
        const char *value;

        name_variable(&config_options[i], variable, sizeof(variable));
        value = environment_find(environment, variable);
        if (value != NULL) {
            load_environment_value(loader, &config_options[i], variable, value);
        }
    }
    load_grpc_port(loader, environment);
    load_jwt_secret(loader, environment);
    warn_of_unknown_variables(loader, environment);
}

/* What asking clients for certificates takes. */
static void check_required_of_clients(struct loader *loader)
{
    const struct config *config = loader->config;

    if (config->tls_client_auth == TLS_CLIENT_AUTH_NONE) {
        return;
    }
    if (!config->tls_enabled) {
        report_error(loader, 0,
                     "tls.client_auth asks for certificates, which takes tls.enabled = true");
    }
    if (config->tls_client_ca_file[0] == '\0') {
        report_error(loader, 0,
                     "tls.client_ca_file is not set: name the file with the authorities (PEM) "
                     "that issue client certificates, or set tls.client_auth = none");
    }
    if (config->tls_crl == CONFIG_TLS_CRL_REQUIRE && config->tls_crl_file[0] == '\0') {
        report_error(loader, 0,
                     "tls.crl_file is not set: name the file with the revocation lists (PEM) of "
                     "those authorities, or set tls.crl = off");
    }
}

/* Safe by default: what has no safe default must be said, and is asked for by name. */
static void check_required(struct loader *loader)
{
    const struct config *config = loader->config;

    if (config->tls_enabled && config->tls_cert_file[0] == '\0') {
        report_error(loader, 0,
                     "tls.cert_file is not set: name the file with the server's "
                     "certificate chain (PEM), or set tls.enabled = false to serve "
                     "without encryption");
    }
    if (config->tls_enabled && config->tls_key_file[0] == '\0') {
        report_error(loader, 0,
                     "tls.key_file is not set: name the file with the private key (PEM) "
                     "of tls.cert_file");
    }
    if (config->auth_mode == CONFIG_AUTH_JWT && config->auth_jwt_secret_file[0] == '\0' &&
        config->auth_jwt_secret[0] == '\0' && config->auth_jwks_file[0] == '\0') {
        report_error(loader, 0,
                     "auth.jwt_secret_file is not set: name a file with a secret of at "
                     "least 32 bytes, or with auth.jwks_file one with a JSON Web Key Set, or set "
                     "auth.mode = none to let everybody in");
    }
    check_required_of_clients(loader);
    if (config->store_data_dir[0] == '\0') {
        report_error(loader, 0, "store.data_dir is empty: name the folder for the data");
    }
}

/* A message that is gathered must have room: else no client could send the largest ones. */
static void check_buffered(struct loader *loader)
{
    const struct config *config = loader->config;

    if (config->limits_max_message > config->limits_max_buffered_per_connection) {
        report_error(loader, 0,
                     "limits.max_message = %" PRIu64
                     " is more than limits.max_buffered_per_connection = %" PRIu64,
                     config->limits_max_message, config->limits_max_buffered_per_connection);
    }
    if (config->limits_max_buffered_per_connection > config->limits_max_buffered) {
        report_error(loader, 0,
                     "limits.max_buffered_per_connection = %" PRIu64
                     " is more than limits.max_buffered = %" PRIu64,
                     config->limits_max_buffered_per_connection, config->limits_max_buffered);
    }
}

static void check_together(struct loader *loader)
{
    const struct config *config = loader->config;

    if (config->wal_segment_size % DISK_BLOCK_SIZE != 0) {
        report_error(loader, 0, "wal.segment_size = %" PRIu64 " is no multiple of %d bytes",
                     config->wal_segment_size, DISK_BLOCK_SIZE);
    }
    if (config->password_min_length > config->password_max_length) {
        report_error(loader, 0,
                     "password.min_length = %" PRIu64
                     " is more than password.max_length = %" PRIu64,
                     config->password_min_length, config->password_max_length);
    }
    if (config->http2_max_header_list > config->http2_max_header_list_hard) {
        report_error(loader, 0,
                     "http2.max_header_list = %" PRIu64
                     " is more than http2.max_header_list_hard = %" PRIu64,
                     config->http2_max_header_list, config->http2_max_header_list_hard);
    }
    if (config->overload_soft > config->overload_hard) {
        report_error(loader, 0, "overload.soft = %" PRIu64 " is more than overload.hard = %" PRIu64,
                     config->overload_soft, config->overload_hard);
    }
    check_buffered(loader);
    if (config->limits_max_deadline_ms != 0 &&
        config->limits_default_deadline_ms > config->limits_max_deadline_ms) {
        report_error(loader, 0,
                     "limits.default_deadline_ms = %" PRIu64
                     " is more than limits.max_deadline_ms = %" PRIu64,
                     config->limits_default_deadline_ms, config->limits_max_deadline_ms);
    }
}

/* Is it an address that only this machine reaches? */
static bool is_local(const char *address)
{
    static const char *const prefixes[] = {"127.", "[::1]:", "localhost:", "unix:"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp(address, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

static void check_doubtful_policy(struct loader *loader)
{
    const struct config *config = loader->config;

    if (config->policy.count > 0 && !config_policy_allows_any(&config->policy)) {
        report_warning(loader, "policy: there are deny rows and no allow row, so every call is "
                               "refused: add what is allowed, such as allow /* = authenticated");
    }
    if (config->policy.count > 0 && config->auth_mode == CONFIG_AUTH_NONE) {
        report_warning(loader, "policy: with auth.mode = none nobody has roles, scopes or a "
                               "subject: only rows by id, authenticated and * have an effect");
    }
}

static void check_doubtful(struct loader *loader)
{
    const struct config *config = loader->config;

    if (!config->tls_enabled) {
        report_warning(loader, "tls.enabled = false: tokens and passwords travel unencrypted");
    }
    if (config->auth_mode == CONFIG_AUTH_NONE && config->policy.count == 0) {
        report_warning(loader, "auth.mode = none: everybody who can connect may do everything");
    }
    check_doubtful_policy(loader);
    if (config->tls_crl == CONFIG_TLS_CRL_REQUIRE &&
        config->tls_client_auth == TLS_CLIENT_AUTH_NONE) {
        report_warning(loader, "tls.crl = require has no effect while tls.client_auth = none");
    }
    if (config->admin_listen[0] != '\0' && !is_local(config->admin_listen)) {
        report_warning(loader, "admin.listen = %s: everybody who reaches it may use it",
                       config->admin_listen);
    }
    if (config->auth_jwt_secret[0] != '\0' && config->auth_jwt_secret_file[0] != '\0') {
        report_warning(loader, "the token secret comes from the environment: "
                               "auth.jwt_secret_file is not read");
    }
    if (config->password_memory_kib < 19456 || config->password_iterations < 2) {
        report_warning(loader, "password hashes are weaker than recommended, which is at least "
                               "memory_kib = 19456 and iterations = 2");
    }
}

static int load_finish(struct loader *loader, const char *const *environment)
{
    load_environment(loader, environment);
    if (loader->no_memory) {
        return -ENOMEM;
    }
    /* A value that was refused is not there: what follows from its absence would mislead. */
    if (loader->error_count == 0) {
        check_required(loader);
        check_together(loader);
        check_doubtful(loader);
    }
    if (loader->error_count > ERRORS_MAX) {
        char more[64];

        (void)snprintf(more, sizeof(more), "and %u more", loader->error_count - ERRORS_MAX);
        append_line(loader, loader->errors, more);
    }
    if (loader->no_memory) {
        return -ENOMEM;
    }
    return loader->error_count > 0 ? CONFIG_E_INVALID : 0;
}

static void load_begin(struct loader *loader, struct config *config, const char *name,
                       struct buf *errors)
{
    memset(config, 0, sizeof(*config));
    *loader = (struct loader){.config = config, .name = name, .errors = errors};
    load_defaults(loader);
    if (name != NULL) {
        config->file = strdup(name);
        loader->no_memory = loader->no_memory || config->file == NULL;
    }
}

static void report_reading(struct loader *loader, int result, int line)
{
    if (result == INI_E_SYNTAX) {
        report_error(loader, line, "neither [section], key = value nor a comment");
    } else if (result == -ENOMEM) {
        loader->no_memory = true;
    } else if (result < 0) {
        report_error(loader, 0, "%s cannot be read: %s", loader->name, strerror(-result));
    }
}

int config_load(struct config *config, const char *path, const char *const *environment,
                struct buf *errors)
{
    struct loader loader;
    int line = 0;
    int result;

    load_begin(&loader, config, path, errors);
    if (path != NULL && !loader.no_memory) {
        result = ini_read_file(path, load_entry, &loader, &line);
        report_reading(&loader, result, line);
    }
    return load_finish(&loader, environment);
}

int config_load_text(struct config *config, const char *name, const char *text,
                     const char *const *environment, struct buf *errors)
{
    struct loader loader;
    int line = 0;
    int result;

    load_begin(&loader, config, name, errors);
    if (!loader.no_memory) {
        result = ini_read_text(text, load_entry, &loader, &line);
        report_reading(&loader, result, line);
    }
    return load_finish(&loader, environment);
}

void config_deinit(struct config *config)
{
    for (unsigned i = 0; i < config_option_count; i++) {
        config_value_deinit(&config_options[i], field_of(config, &config_options[i]));
    }
    config_policy_deinit(&config->policy);
    buf_deinit(&config->warnings);
    free(config->file);
    config->file = NULL;
}
