#include "userctl_arguments.h"

#include "common_arguments.h"
#include "common_output.h"
#include "userctl_time.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_CA_FILE "/etc/ssl/certs/ca-certificates.crt"
#define DEFAULT_TTL_NS  (3600 * CLOCK_NS_PER_S)

int userctl_arguments_refuse(const struct userctl_arguments *arguments, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    (void)common_arguments_vrefuse(&userctl_table, arguments->command, format, values);
    va_end(values);
    return COMMON_EXIT_USAGE;
}

static int given_twice(const struct userctl_arguments *arguments, enum userctl_option id)
{
    return userctl_arguments_refuse(arguments, "--%s is given twice",
                                    userctl_table.options[id].name);
}

static int take_time(const struct userctl_arguments *arguments, enum userctl_option id,
                     const char *value, uint64_t *ret_ns)
{
    uint64_t ns;

    if (!userctl_span_parse(value, &ns)) {
        return userctl_arguments_refuse(arguments, "--%s %s is no time such as 500ms, 5s, 1m, 1h",
                                        userctl_table.options[id].name, value);
    }
    if (*ret_ns != 0) {
        return given_twice(arguments, id);
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
    if (arguments->page_size != 0) {
        return given_twice(arguments, USERCTL_OPTION_PAGE_SIZE);
    }
    arguments->page_size = (int32_t)strtol(value, NULL, 10);
    return 0;
}

/* An option that may be repeated, of the form NAME<mark>VALUE. */
static int take_pair(const struct userctl_arguments *arguments, enum userctl_option id,
                     const char *value, const char **pairs, unsigned *count, unsigned most)
{
    const struct common_option *option = &userctl_table.options[id];
    const char *mark = strpbrk(option->value, "=:");

    if (strchr(value, *mark) == NULL) {
        /* A header may be a secret, and what is said here ends up in logs. */
        bool is_shown = id != USERCTL_OPTION_HEADER;

        return userctl_arguments_refuse(arguments, "--%s %s%sis not %s", option->name,
                                        is_shown ? value : "", is_shown ? " " : "", option->value);
    }
    if (*count == most) {
        return userctl_arguments_refuse(arguments, "--%s is given more than %u times", option->name,
                                        most);
    }
    pairs[(*count)++] = value;
    return 0;
}

/* A word of those that the table names: "a|b|c". */
static int check_choice(const struct userctl_arguments *arguments, enum userctl_option id,
                        const char *value)
{
    const struct common_option *option = &userctl_table.options[id];
    size_t size = strlen(value);

    for (const char *rest = option->value; *rest != '\0';) {
        size_t word = strcspn(rest, "|");

        if (word == size && strncmp(rest, value, size) == 0) {
            return 0;
        }
        rest += word + (rest[word] == '|');
    }
    return userctl_arguments_refuse(arguments, "--%s %s is none of %s", option->name, value,
                                    option->value);
}

/* Where the text of an option goes; NULL for the options that are no plain text. */
static const char **text_of(struct userctl_arguments *arguments, enum userctl_option id)
{
    const char **const texts[USERCTL_OPTION_COUNT] = {
        [USERCTL_OPTION_TARGET] = &arguments->target,
        [USERCTL_OPTION_ON] = &arguments->on,
        [USERCTL_OPTION_CONFIG] = &arguments->config_file,
        [USERCTL_OPTION_LB] = &arguments->balancing,
        [USERCTL_OPTION_COLOR] = &arguments->color,
        [USERCTL_OPTION_CA] = &arguments->ca_file,
        [USERCTL_OPTION_CERT] = &arguments->cert_file,
        [USERCTL_OPTION_KEY] = &arguments->key_file,
        [USERCTL_OPTION_SERVER_NAME] = &arguments->server_name,
        [USERCTL_OPTION_TOKEN] = &arguments->token,
        [USERCTL_OPTION_TOKEN_FILE] = &arguments->token_file,
        [USERCTL_OPTION_USERNAME] = &arguments->username,
        [USERCTL_OPTION_EMAIL] = &arguments->email,
        [USERCTL_OPTION_PASSWORD_FILE] = &arguments->password_file,
        [USERCTL_OPTION_REQUEST_ID] = &arguments->request_id,
        [USERCTL_OPTION_MASK] = &arguments->mask,
        [USERCTL_OPTION_ETAG] = &arguments->etag,
        [USERCTL_OPTION_SECRET_FILE] = &arguments->secret_file,
        [USERCTL_OPTION_SUB] = &arguments->subject,
        [USERCTL_OPTION_ROLES] = &arguments->roles,
        [USERCTL_OPTION_ISSUER] = &arguments->issuer,
        [USERCTL_OPTION_AUDIENCE] = &arguments->audience,
        [USERCTL_OPTION_FILTER] = &arguments->filter,
        [USERCTL_OPTION_ERRORS] = &arguments->errors_file,
    };

    return texts[id];
}

/* The flag of an option; NULL for the options with a value. */
static bool *flag_of(struct userctl_arguments *arguments, enum userctl_option id)
{
    bool *const flags[USERCTL_OPTION_COUNT] = {
        [USERCTL_OPTION_PLAINTEXT] = &arguments->plaintext,
        [USERCTL_OPTION_JSON] = &arguments->json,
        [USERCTL_OPTION_HELP] = &arguments->help,
        [USERCTL_OPTION_VERSION] = &arguments->version,
        [USERCTL_OPTION_PASSWORD_STDIN] = &arguments->password_stdin,
        [USERCTL_OPTION_ALL] = &arguments->all,
        [USERCTL_OPTION_STRICT] = &arguments->strict,
        [USERCTL_OPTION_IGNORE_UNKNOWN] = &arguments->ignore_unknown,
        [USERCTL_OPTION_NO_RECONNECT] = &arguments->no_reconnect,
        [USERCTL_OPTION_WATCH] = &arguments->watch,
        [USERCTL_OPTION_LIST] = &arguments->list,
    };

    return flags[id];
}

static int take_option(void *context, unsigned option, const char *value)
{
    struct userctl_arguments *arguments = context;
    const enum userctl_option id = (enum userctl_option)option;
    const char **text = text_of(arguments, id);
    bool *flag = flag_of(arguments, id);

    if (flag != NULL) {
        *flag = true;
        return 0;
    }
    if (id == USERCTL_OPTION_DEADLINE) {
        arguments->has_deadline = true;
        return take_time(arguments, id, value, &arguments->deadline_ns);
    }
    if (id == USERCTL_OPTION_TTL) {
        return take_time(arguments, id, value, &arguments->ttl_ns);
    }
    if (id == USERCTL_OPTION_PAGE_SIZE) {
        return take_page_size(arguments, value);
    }
    if (id == USERCTL_OPTION_SET) {
        return take_pair(arguments, id, value, arguments->sets, &arguments->set_count,
                         USERCTL_SETS_MAX);
    }
    if (id == USERCTL_OPTION_HEADER) {
        return take_pair(arguments, id, value, arguments->headers, &arguments->header_count,
                         USERCTL_HEADERS_MAX);
    }
    if (*text != NULL) {
        return given_twice(arguments, id);
    }
    *text = value;
    return id == USERCTL_OPTION_LB || id == USERCTL_OPTION_COLOR
               ? check_choice(arguments, id, value)
               : 0;
}

enum userctl_command userctl_arguments_command(const char *name)
{
    return (enum userctl_command)common_arguments_command(&userctl_table, name);
}

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);

    return value == NULL || value[0] == '\0' ? NULL : value;
}

bool userctl_arguments_is_remote(enum userctl_command command)
{
    return command >= USERCTL_GET && command <= USERCTL_DESCRIBE;
}

static void fill(const char **text, const char *value)
{
    if (*text == NULL) {
        *text = value;
    }
}

/* A stream takes as long as it takes. */
static uint64_t default_deadline(const struct userctl_arguments *arguments)
{
    switch (arguments->command) {
    case USERCTL_WATCH:
    case USERCTL_IMPORT:
    case USERCTL_SYNC:
        return USERCTL_NO_DEADLINE;
    case USERCTL_HEALTH:
        return arguments->watch ? USERCTL_NO_DEADLINE : USERCTL_DEFAULT_DEADLINE_NS;
    case USERCTL_CALL:
        return 0;
    case USERCTL_NONE:
    case USERCTL_GET:
    case USERCTL_CREATE:
    case USERCTL_UPDATE:
    case USERCTL_DELETE:
    case USERCTL_LIST:
    case USERCTL_DESCRIBE:
    case USERCTL_TOKEN:
    case USERCTL_TARGETS:
    case USERCTL_COMPLETION:
    case USERCTL_HELP:
    case USERCTL_COMMAND_COUNT:
        break;
    }
    return USERCTL_DEFAULT_DEADLINE_NS;
}

/* A token given by an option leaves the file of the environment alone. */
static void fill_from_environment(struct userctl_arguments *arguments)
{
    fill(&arguments->target, from_environment("USERCTL_TARGET"));
    fill(&arguments->ca_file, from_environment("USERCTL_CA"));
    if (arguments->token == NULL && arguments->token_file == NULL) {
        arguments->token_file = from_environment("USERCTL_TOKEN_FILE");
        arguments->token_is_of_environment = arguments->token_file != NULL;
    }
}

static void fill_from_target(struct userctl_arguments *arguments,
                             const struct userctl_config_target *target)
{
    arguments->target_name = target->name;
    fill(&arguments->target, target->target);
    fill(&arguments->ca_file, target->ca_file);
    fill(&arguments->balancing, target->balancing);
    fill(&arguments->server_name, target->server_name);
    if (arguments->cert_file == NULL && arguments->key_file == NULL) {
        arguments->cert_file = target->cert_file;
        arguments->key_file = target->key_file;
    }
    if (arguments->token == NULL) {
        fill(&arguments->token_file, target->token_file);
    }
    if (arguments->deadline_ns == 0 && target->deadline_ns != 0) {
        uint64_t *deadline_ns = default_deadline(arguments) == 0 ? &arguments->unary_deadline_ns
                                                                 : &arguments->deadline_ns;

        if (default_deadline(arguments) != USERCTL_NO_DEADLINE) {
            *deadline_ns = target->deadline_ns;
            arguments->has_deadline = true;
        }
    }
}

int userctl_arguments_configure(struct userctl_arguments *arguments)
{
    const char *path = arguments->config_file;
    char problem[USERCTL_CONFIG_PROBLEM_SIZE];
    char *own = NULL;
    bool must_exist;
    int ret;

    fill(&path, from_environment("USERCTL_CONFIG"));
    must_exist = path != NULL;
    if (path == NULL) {
        own = userctl_config_default_path();
        path = own;
    }
    if (path == NULL || arguments->config.path != NULL) {
        free(own);
        return 0;
    }
    ret = userctl_config_read(path, must_exist, problem, &arguments->config);
    free(own);
    if (ret == 0 && problem[0] != '\0') {
        (void)fprintf(stderr, "userctl: %s\n", problem);
    }
    return ret == 0 ? 0 : userctl_arguments_refuse(arguments, "%s", problem);
}

/* The named target, or that of [default] when nobody names a server: what is known of one server
 * is nothing that another may be told. */
static int apply_target(struct userctl_arguments *arguments)
{
    bool is_default = arguments->on == NULL;
    const struct userctl_config_target *target;
    char problem[USERCTL_CONFIG_PROBLEM_SIZE];
    const char *name;
    int ret;

    if (!is_default && arguments->target != NULL) {
        return userctl_arguments_refuse(arguments, "--on and --target both name a server");
    }
    if (is_default && (arguments->target != NULL || from_environment("USERCTL_TARGET") != NULL)) {
        return 0;
    }
    ret = userctl_arguments_configure(arguments);
    if (ret != 0) {
        return ret;
    }
    if (arguments->config.path == NULL && !is_default) {
        return userctl_arguments_refuse(arguments, "--on needs a configuration file: --config");
    }
    name = is_default ? arguments->config.default_target : arguments->on;
    if (name == NULL) {
        return 0;
    }
    if (userctl_config_find(&arguments->config, name, problem, &target) != 0) {
        return userctl_arguments_refuse(arguments, "%s", problem);
    }
    /* Of the options alone: a CA in the environment is no wish for TLS where there is none. */
    arguments->plaintext =
        arguments->plaintext || (target->plaintext && arguments->ca_file == NULL);
    if (is_default) {
        fill_from_environment(arguments);
    }
    fill_from_target(arguments, target);
    return 0;
}

/* What the command line left open. */
static int apply_defaults(struct userctl_arguments *arguments)
{
    int ret = 0;

    if (userctl_arguments_is_remote(arguments->command) && !arguments->help &&
        !arguments->version) {
        ret = apply_target(arguments);
    }
    /* The environment speaks of its own server, and its token is not for one that --on names. */
    if (arguments->on == NULL) {
        fill_from_environment(arguments);
    }
    fill(&arguments->target, USERCTL_DEFAULT_TARGET);
    fill(&arguments->ca_file, DEFAULT_CA_FILE);
    fill(&arguments->color, "auto");
    if (arguments->deadline_ns == 0) {
        arguments->deadline_ns = default_deadline(arguments);
    }
    if (arguments->unary_deadline_ns == 0) {
        arguments->unary_deadline_ns = USERCTL_DEFAULT_DEADLINE_NS;
    }
    if (arguments->ttl_ns == 0) {
        arguments->ttl_ns = DEFAULT_TTL_NS;
    }
    return ret;
}

int userctl_arguments_read(int argc, char **argv, struct userctl_arguments *ret_arguments)
{
    struct userctl_arguments *arguments = ret_arguments;
    struct common_words words;
    int result;

    *arguments = (struct userctl_arguments){0};
    result = common_arguments_read(&userctl_table, argc, argv, take_option, arguments, &words);
    if (result != 0) {
        return result;
    }
    arguments->command = (enum userctl_command)words.command;
    arguments->operand = words.operands[0];
    arguments->request = words.operands[1];
    if (arguments->token != NULL && arguments->token_file != NULL) {
        return userctl_arguments_refuse(arguments, "--token and --token-file are both given");
    }
    if (arguments->plaintext && (arguments->ca_file != NULL || arguments->cert_file != NULL ||
                                 arguments->key_file != NULL || arguments->server_name != NULL)) {
        return userctl_arguments_refuse(
            arguments, "--plaintext has no use for --ca, --cert, --key and --server-name");
    }
    return apply_defaults(arguments);
}

void userctl_arguments_deinit(struct userctl_arguments *arguments)
{
    userctl_config_deinit(&arguments->config);
}

static void print_overview(FILE *out)
{
    (void)fputs("userctl: manages the users of a userd server\n\n"
                "usage: userctl [OPTIONS] COMMAND [ARGUMENTS]\n\ncommands:\n",
                out);
    common_arguments_print_commands(&userctl_table, out, 10, 13);
    (void)fputs("\noptions, before or after the command:\n", out);
    common_arguments_print_common(&userctl_table, out);
    (void)fprintf(
        out,
        "\nexit code: 0, the number of the gRPC status, %d for a wrong command line or\n"
        "a file that cannot be opened, %d when memory or another means is short, %d when\n"
        "reading or writing fails, %d where io_uring is forbidden, %d when nobody reads the\n"
        "output any more ('userctl list | head -1')\n",
        COMMON_EXIT_USAGE, COMMON_EXIT_SOFTWARE, COMMON_EXIT_IO, COMMON_EXIT_CONFIGURATION,
        COMMON_EXIT_NO_READER);
}

void userctl_arguments_help(FILE *out, enum userctl_command command)
{
    const struct common_command *about = &userctl_table.commands[command];

    if (command == USERCTL_NONE || command == USERCTL_HELP) {
        print_overview(out);
        return;
    }
    (void)fprintf(out, "userctl %s: %s\n\nusage: userctl %s%s%s [OPTIONS]\n\n", about->name,
                  about->summary, about->name, about->operands[0] == '\0' ? "" : " ",
                  about->operands);
    common_arguments_print_options(&userctl_table, out, command);
    if (about->notes != NULL) {
        (void)fprintf(out, "\n%s", about->notes);
    }
    (void)fputs("\n'userctl --help' lists the options that most commands have.\n", out);
}
