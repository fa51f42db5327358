#include "userctl_arguments.h"

#include "common_arguments.h"
#include "common_output.h"
#include "core/clock.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TARGET      "localhost:50051"
#define DEFAULT_CA_FILE     "/etc/ssl/certs/ca-certificates.crt"
#define DEFAULT_DEADLINE_NS (5 * CLOCK_NS_PER_S)
#define DEFAULT_TTL_NS      (3600 * CLOCK_NS_PER_S)

static const struct common_command commands[USERCTL_COMMAND_COUNT] = {
    [USERCTL_GET] = {"get", "ID", 0, 1, "show a user", NULL},
    [USERCTL_CREATE] =
        {"create", "", 0, 0, "create a user",
         "The password is asked for on the terminal unless --password-stdin or\n"
         "--password-file says where it comes from. One line end after it is dropped.\n"},
    [USERCTL_UPDATE] =
        {"update", "ID", 0, 1, "change fields of a user",
         "Fields: username, email, status (ACTIVE, INACTIVE, SUSPENDED), roles (comma-separated),\n"
         "profile.first_name, profile.last_name, profile.avatar_url. An empty value clears a "
         "field.\n"
         "Without --mask exactly the fields given with --set change.\n"},
    [USERCTL_DELETE] = {"delete", "ID", 0, 1, "delete a user", NULL},
    [USERCTL_LIST] =
        {"list", "", 0, 0, "list users in the order of their creation",
         "Shows one page, and says when there is more. The filter is one of AIP-160, such as\n"
         "'status = SUSPENDED AND roles:admin' or 'email = \"*@example.com\"'.\n"
         "On a terminal long values are cut; --json shows them whole.\n"},
    [USERCTL_WATCH] =
        {"watch", "ID", 0, 1, "show a user now and after each change",
         "Ends when the user is deleted, when the connection is lost, or with Ctrl-C. There is no\n"
         "deadline unless --deadline gives one.\n"},
    [USERCTL_IMPORT] =
        {"import", "FILE", 0, 1, "create users from JSON lines",
         "Each line of FILE (- is standard input) is one CreateUserRequest:\n"
         "  {\"username\":\"ada\",\"email\":\"ada@example.com\",\"password\":\"...\","
         "\"request_id\":\"ada-1\"}\n"
         "A line that fails is reported, as a JSON line with its number, and the others go on.\n"
         "With a request_id of its own on each line the import may be repeated safely: what went "
         "in\n"
         "before is answered again and not created twice.\n"
         "The exit code is 0 when all went in, else the status of the first failure.\n"},
    [USERCTL_SYNC] =
        {"sync", "FILE", 0, 1, "create or replace users from JSON lines",
         "Each line of FILE (- is standard input) is one User, as 'userctl list --json' prints "
         "it.\n"
         "A user whose id is known is replaced; one without id is created. The first user that "
         "the\n"
         "server refuses ends it: its line is reported, and those before it are in.\n"},
    [USERCTL_TOKEN] =
        {"token", "", 0, 0, "print a token for development",
         "Signs an HS256 token with the secret that the server has as auth.jwt_secret_file.\n"},
    [USERCTL_HELP] = {"help", "[COMMAND]", 0, 1, "show help about a command", NULL},
};

#define FOR(command) COMMON_ARGUMENTS_FOR(command)
#define FOR_ALL      COMMON_ARGUMENTS_FOR_ALL
#define FOR_FILES    (FOR(USERCTL_IMPORT) | FOR(USERCTL_SYNC))

/* One per row of the table below, in its order. */
enum option_id {
    OPTION_TARGET,
    OPTION_CA,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_PLAINTEXT,
    OPTION_TOKEN,
    OPTION_TOKEN_FILE,
    OPTION_DEADLINE,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_USERNAME,
    OPTION_EMAIL,
    OPTION_PASSWORD_STDIN,
    OPTION_PASSWORD_FILE,
    OPTION_REQUEST_ID,
    OPTION_SET,
    OPTION_MASK,
    OPTION_ETAG,
    OPTION_SECRET_FILE,
    OPTION_SUB,
    OPTION_ROLES,
    OPTION_ISSUER,
    OPTION_AUDIENCE,
    OPTION_TTL,
    OPTION_FILTER,
    OPTION_PAGE_SIZE,
    OPTION_ALL,
    OPTION_ERRORS,
    OPTION_STRICT,
    OPTION_IGNORE_UNKNOWN,
    OPTION_COUNT,
};

static const struct common_option rows[OPTION_COUNT] = {
    [OPTION_TARGET] = {"target", "HOST:PORT", FOR_ALL,
                       "server; USERCTL_TARGET; " DEFAULT_TARGET " if not given"},
    [OPTION_CA] = {"ca", "FILE", FOR_ALL,
                   "PEM, who may vouch for the server; USERCTL_CA; the system's if not given"},
    [OPTION_CERT] = {"cert", "FILE", FOR_ALL, "PEM certificate of this client, with --key"},
    [OPTION_KEY] = {"key", "FILE", FOR_ALL, "PEM key of this client"},
    [OPTION_PLAINTEXT] = {"plaintext", NULL, FOR_ALL, "no TLS, for a server with tls.enabled = no"},
    [OPTION_TOKEN] = {"token", "TOKEN", FOR_ALL,
                      "bearer token (others on this machine may see it)"},
    [OPTION_TOKEN_FILE] = {"token-file", "FILE", FOR_ALL,
                           "file with the bearer token; USERCTL_TOKEN_FILE"},
    [OPTION_DEADLINE] = {"deadline", "TIME", FOR_ALL,
                         "time for a call, such as 500ms, 5s, 1m; 5s, but for streams none"},
    [OPTION_JSON] = {"json", NULL, FOR_ALL,
                     "JSON lines; so it is anyway when output is no terminal"},
    [OPTION_HELP] = {"help", NULL, FOR_ALL, "this text, or after a command, help about it"},
    [OPTION_VERSION] = {"version", NULL, FOR_ALL, "version and libraries"},
    [OPTION_USERNAME] = {"username", "NAME", FOR(USERCTL_CREATE), "required"},
    [OPTION_EMAIL] = {"email", "ADDRESS", FOR(USERCTL_CREATE), "required"},
    [OPTION_PASSWORD_STDIN] = {"password-stdin", NULL, FOR(USERCTL_CREATE),
                               "read the password from standard input"},
    [OPTION_PASSWORD_FILE] = {"password-file", "FILE", FOR(USERCTL_CREATE),
                              "read the password from a file"},
    [OPTION_REQUEST_ID] = {"request-id", "ID", FOR(USERCTL_CREATE),
                           "makes a retry safe: the same ID again gets the first answer"},
    [OPTION_SET] = {"set", "FIELD=VALUE", FOR(USERCTL_UPDATE), "new value; may be repeated"},
    [OPTION_MASK] = {"mask", "FIELDS", FOR(USERCTL_UPDATE),
                     "comma-separated fields to take; * is all of them"},
    [OPTION_ETAG] = {"etag", "ETAG", FOR(USERCTL_UPDATE) | FOR(USERCTL_DELETE),
                     "only if the user has not changed since"},
    [OPTION_SECRET_FILE] = {"secret-file", "FILE", FOR(USERCTL_TOKEN),
                            "the shared secret; required"},
    [OPTION_SUB] = {"sub", "NAME", FOR(USERCTL_TOKEN), "whom the token is for; required"},
    [OPTION_ROLES] = {"roles", "R1,R2", FOR(USERCTL_TOKEN), "roles that the token gives"},
    [OPTION_ISSUER] = {"issuer", "NAME", FOR(USERCTL_TOKEN), "when the server wants one"},
    [OPTION_AUDIENCE] = {"audience", "NAME", FOR(USERCTL_TOKEN), "when the server wants one"},
    [OPTION_TTL] = {"ttl", "TIME", FOR(USERCTL_TOKEN), "how long it is good for; 1h"},
    [OPTION_FILTER] = {"filter", "FILTER", FOR(USERCTL_LIST), "only the users that match"},
    [OPTION_PAGE_SIZE] = {"page-size", "N", FOR(USERCTL_LIST), "users on a page"},
    [OPTION_ALL] = {"all", NULL, FOR(USERCTL_LIST), "all pages"},
    [OPTION_ERRORS] = {"errors", "FILE", FOR_FILES, "write failures there, not on standard error"},
    [OPTION_STRICT] = {"strict", NULL, FOR_FILES, "stop at the first line that is malformed"},
    [OPTION_IGNORE_UNKNOWN] = {"ignore-unknown", NULL, FOR_FILES,
                               "leave out fields that nobody knows"},
};

static const struct common_arguments_table table = {
    .program = "userctl",
    .commands = commands,
    .command_count = USERCTL_COMMAND_COUNT,
    .options = rows,
    .option_count = OPTION_COUNT,
    .help_option = OPTION_HELP,
};

/* "500ms", "5s", "1m", "2h": a positive whole number and a unit. Returns 0 when it is none. */
static uint64_t parse_time(const char *text)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {
        {"ms", CLOCK_NS_PER_MS},           {"s", CLOCK_NS_PER_S},
        {"m", 60 * CLOCK_NS_PER_S},        {"h", 3600 * CLOCK_NS_PER_S},
        {"d", 24 * 3600 * CLOCK_NS_PER_S},
    };

    size_t digits = strspn(text, "0123456789");
    unsigned long value;

    if (digits == 0 || digits > 6) {
        return 0;
    }
    value = strtoul(text, NULL, 10);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(text + digits, units[i].unit) == 0) {
            return value * units[i].ns;
        }
    }
    return 0;
}

int userctl_arguments_refuse(const struct userctl_arguments *arguments, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)common_arguments_vrefuse(&table, arguments->command, format, values);
    va_end(values);
    return COMMON_EXIT_USAGE;
}

static int take_time(const struct userctl_arguments *arguments, enum option_id id,
                     const char *value, uint64_t *ret_ns)
{
    uint64_t ns = parse_time(value);

    if (ns == 0) {
        return userctl_arguments_refuse(arguments, "--%s %s is no time such as 500ms, 5s, 1m, 1h",
                                        rows[id].name, value);
    }
    *ret_ns = ns;
    return 0;
}

static int take_page_size(struct userctl_arguments *arguments, const char *value)
{
    size_t digits = strspn(value, "0123456789");

    if (digits == 0 || digits > 6 || value[digits] != '\0' || strtol(value, NULL, 10) == 0) {
        return userctl_arguments_refuse(arguments, "--page-size %s is no number from 1 to 999999",
                                        value);
    }
    arguments->page_size = (int32_t)strtol(value, NULL, 10);
    return 0;
}

static int take_set(struct userctl_arguments *arguments, const char *value)
{
    if (strchr(value, '=') == NULL) {
        return userctl_arguments_refuse(arguments, "--set %s is not FIELD=VALUE", value);
    }
    if (arguments->set_count == USERCTL_SETS_MAX) {
        return userctl_arguments_refuse(arguments, "--set is given more than %d times",
                                        USERCTL_SETS_MAX);
    }
    arguments->sets[arguments->set_count++] = value;
    return 0;
}

/* Where the text of an option goes; NULL for the options that are no plain text. */
static const char **text_of(struct userctl_arguments *arguments, enum option_id id)
{
    const char **const texts[OPTION_COUNT] = {
        [OPTION_TARGET] = &arguments->target,
        [OPTION_CA] = &arguments->ca_file,
        [OPTION_CERT] = &arguments->cert_file,
        [OPTION_KEY] = &arguments->key_file,
        [OPTION_TOKEN] = &arguments->token,
        [OPTION_TOKEN_FILE] = &arguments->token_file,
        [OPTION_USERNAME] = &arguments->username,
        [OPTION_EMAIL] = &arguments->email,
        [OPTION_PASSWORD_FILE] = &arguments->password_file,
        [OPTION_REQUEST_ID] = &arguments->request_id,
        [OPTION_MASK] = &arguments->mask,
        [OPTION_ETAG] = &arguments->etag,
        [OPTION_SECRET_FILE] = &arguments->secret_file,
        [OPTION_SUB] = &arguments->subject,
        [OPTION_ROLES] = &arguments->roles,
        [OPTION_ISSUER] = &arguments->issuer,
        [OPTION_AUDIENCE] = &arguments->audience,
        [OPTION_FILTER] = &arguments->filter,
        [OPTION_ERRORS] = &arguments->errors_file,
    };

    return texts[id];
}

/* The flag of an option; NULL for the options with a value. */
static bool *flag_of(struct userctl_arguments *arguments, enum option_id id)
{
    bool *const flags[OPTION_COUNT] = {
        [OPTION_PLAINTEXT] = &arguments->plaintext,
        [OPTION_JSON] = &arguments->json,
        [OPTION_HELP] = &arguments->help,
        [OPTION_VERSION] = &arguments->version,
        [OPTION_PASSWORD_STDIN] = &arguments->password_stdin,
        [OPTION_ALL] = &arguments->all,
        [OPTION_STRICT] = &arguments->strict,
        [OPTION_IGNORE_UNKNOWN] = &arguments->ignore_unknown,
    };

    return flags[id];
}

static int take_option(void *context, unsigned option, const char *value)
{
    struct userctl_arguments *arguments = context;
    const enum option_id id = (enum option_id)option;
    const char **text = text_of(arguments, id);
    bool *flag = flag_of(arguments, id);

    if (flag != NULL) {
        *flag = true;
        return 0;
    }
    if (id == OPTION_DEADLINE) {
        return take_time(arguments, id, value, &arguments->deadline_ns);
    }
    if (id == OPTION_TTL) {
        return take_time(arguments, id, value, &arguments->ttl_ns);
    }
    if (id == OPTION_PAGE_SIZE) {
        return take_page_size(arguments, value);
    }
    if (id == OPTION_SET) {
        return take_set(arguments, value);
    }
    if (*text != NULL) {
        return userctl_arguments_refuse(arguments, "--%s is given twice", rows[id].name);
    }
    *text = value;
    return 0;
}

enum userctl_command userctl_arguments_command(const char *name)
{
    return (enum userctl_command)common_arguments_command(&table, name);
}

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* A stream takes as long as it takes. */
static uint64_t default_deadline(enum userctl_command command)
{
    bool is_stream =
        command == USERCTL_WATCH || command == USERCTL_IMPORT || command == USERCTL_SYNC;

    return is_stream ? USERCTL_NO_DEADLINE : DEFAULT_DEADLINE_NS;
}

/* What the command line left open. A token given there leaves the file of the environment alone. */
static void apply_defaults(struct userctl_arguments *arguments)
{
    if (arguments->target == NULL) {
        arguments->target = from_environment("USERCTL_TARGET");
    }
    if (arguments->target == NULL) {
        arguments->target = DEFAULT_TARGET;
    }
    if (arguments->ca_file == NULL) {
        arguments->ca_file = from_environment("USERCTL_CA");
    }
    if (arguments->ca_file == NULL) {
        arguments->ca_file = DEFAULT_CA_FILE;
    }
    if (arguments->token_file == NULL && arguments->token == NULL) {
        arguments->token_file = from_environment("USERCTL_TOKEN_FILE");
    }
    if (arguments->deadline_ns == 0) {
        arguments->deadline_ns = default_deadline(arguments->command);
    }
}

int userctl_arguments_read(int argc, char **argv, struct userctl_arguments *ret_arguments)
{
    struct userctl_arguments arguments = {.ttl_ns = DEFAULT_TTL_NS};
    struct common_words words;
    int ret = common_arguments_read(&table, argc, argv, take_option, &arguments, &words);

    if (ret != 0) {
        return ret;
    }
    arguments.command = (enum userctl_command)words.command;
    arguments.operand = words.operands[0];
    if (arguments.token != NULL && arguments.token_file != NULL) {
        return userctl_arguments_refuse(&arguments, "--token and --token-file are both given");
    }
    apply_defaults(&arguments);
    *ret_arguments = arguments;
    return 0;
}

static void print_overview(FILE *out)
{
    (void)fputs("userctl: manages the users of a userd server\n\n"
                "usage: userctl [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:\n",
                out);
    common_arguments_print_commands(&table, out, 7, 16);
    (void)fputs("\noptions, before or after the command:\n", out);
    common_arguments_print_common(&table, out);
    (void)fprintf(
        out,
        "\nexit code: 0, the number of the gRPC status, %d for a wrong command line or\n"
        "a file that cannot be opened, %d when reading or writing fails, %d where io_uring\n"
        "is forbidden, %d when nobody reads the output any more ('userctl list | head -1')\n",
        COMMON_EXIT_USAGE, COMMON_EXIT_IO, COMMON_EXIT_CONFIGURATION, COMMON_EXIT_NO_READER);
}

void userctl_arguments_help(FILE *out, enum userctl_command command)
{
    const struct common_command *about = &commands[command];

    if (command == USERCTL_NONE || command == USERCTL_HELP) {
        print_overview(out);
        return;
    }
    (void)fprintf(out, "userctl %s: %s\n\nusage: userctl %s%s%s [OPTIONS]\n\n", about->name,
                  about->summary, about->name, about->operands[0] == '\0' ? "" : " ",
                  about->operands);
    common_arguments_print_options(&table, out, command);
    if (about->notes != NULL) {
        (void)fprintf(out, "\n%s", about->notes);
    }
    (void)fputs("\n'userctl --help' lists the options of every command.\n", out);
}
