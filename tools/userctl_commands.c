#include "userctl_commands.h"

#include "client/user_client.h"
#include "core/clock.h"
#include "core/slurp.h"
#include "service/token.h"
#include "userctl_output.h"
#include "userctl_secret.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PATHS_MAX       32
#define FIELD_NAME_SIZE 32 /* more than the longest that exists */

/* A text cut at its commas. */
struct words {
    char *text; /* our copy */
    const char *words[PATHS_MAX];
    size_t count;
};

/* What an update is made of, beside the arguments that it points into. */
struct change {
    struct user_client_update update;
    char names[USERCTL_SETS_MAX][FIELD_NAME_SIZE]; /* of the fields that are set */
    const char *set_fields[USERCTL_SETS_MAX];      /* the same, as a mask */
    struct words roles;
    struct words mask;
};

static int split(const struct userctl_arguments *arguments, const char *text, struct words *words)
{
    char *rest = NULL;

    words->text = strdup(text);
    if (words->text == NULL) {
        return userctl_arguments_refuse(arguments, "out of memory");
    }
    for (char *word = strtok_r(words->text, ",", &rest); word != NULL;
         word = strtok_r(NULL, ",", &rest)) {
        if (words->count == PATHS_MAX) {
            return userctl_arguments_refuse(arguments, "'%s' has more than %d parts", text,
                                            PATHS_MAX);
        }
        words->words[words->count++] = word;
    }
    return 0;
}

static int need_operand(const struct userctl_arguments *arguments)
{
    if (arguments->operand == NULL || arguments->operand[0] == '\0') {
        return userctl_arguments_refuse(arguments, "which user? an ID is missing");
    }
    return 0;
}

/* Everything a call needs; `use` runs with the client connected to be. Its return is the exit code.
 */
struct session {
    const struct userctl_arguments *arguments;
    int (*use)(struct session *session, struct user_client *client);
    const void *request;
};

static int open_failed(const struct userctl_arguments *arguments, int error, const char *problem)
{
    if (error == USER_CLIENT_E_OPTIONS) {
        return userctl_arguments_refuse(arguments, "%s", problem);
    }
    if (error == USER_CLIENT_E_UNRESOLVED) {
        const struct user_client_failure failure = {
            .status = GRPC_STATUS_UNAVAILABLE,
            .cause = CHANNEL_CAUSE_CONNECT,
            .message = problem,
            .details = "",
        };

        return userctl_output_failure(arguments, &failure);
    }
    (void)fprintf(stderr, "userctl: %s\n", problem);
    return USERCTL_EXIT_CONFIGURATION;
}

/* Reads the token, makes the client, uses it, ends it. */
static int with_client(struct session *session)
{
    const struct userctl_arguments *arguments = session->arguments;
    struct user_client_options options = {
        .target = arguments->target,
        .ca_file = arguments->plaintext ? NULL : arguments->ca_file,
        .cert_file = arguments->cert_file,
        .key_file = arguments->key_file,
        .timeout_ns = arguments->deadline_ns,
    };
    char problem[USER_CLIENT_PROBLEM_SIZE];
    struct user_client *client;
    char *token;
    size_t token_size;
    int exit_code;
    int ret;

    exit_code = userctl_secret_token(arguments, &token, &token_size);
    if (exit_code != 0) {
        return exit_code;
    }
    options.token = token;
    ret = user_client_new(&options, problem, &client);
    if (ret != 0) {
        exit_code = open_failed(arguments, ret, problem);
    } else {
        exit_code = session->use(session, client);
        user_client_free(client);
    }
    slurp_free(token, token_size);
    return exit_code;
}

/* The exit code of a call that did not return 0. */
static int call_failed(struct session *session, struct user_client *client, int error)
{
    if (error == USER_CLIENT_E_FAILED) {
        return userctl_output_failure(session->arguments, user_client_failure(client));
    }
    (void)fprintf(stderr, "userctl: the event loop failed: %s\n", strerror(-error));
    return (int)GRPC_STATUS_INTERNAL;
}

static int show(struct session *session, struct user_client *client, int error,
                const struct user_client_user *user)
{
    if (error != 0) {
        return call_failed(session, client, error);
    }
    userctl_output_user(user, userctl_output_is_json(session->arguments));
    return 0;
}

static int use_get(struct session *session, struct user_client *client)
{
    struct user_client_user user;
    int ret = user_client_get(client, session->arguments->operand, &user);

    return show(session, client, ret, &user);
}

static int run_get(const struct userctl_arguments *arguments)
{
    struct session session = {.arguments = arguments, .use = use_get};
    int ret = need_operand(arguments);

    return ret != 0 ? ret : with_client(&session);
}

static int use_create(struct session *session, struct user_client *client)
{
    struct user_client_user user;
    int ret = user_client_create(client, session->request, &user);

    return show(session, client, ret, &user);
}

static int run_create(const struct userctl_arguments *arguments)
{
    struct user_client_create create = {
        .username = arguments->username,
        .email = arguments->email,
        .request_id = arguments->request_id,
    };
    struct session session = {.arguments = arguments, .use = use_create, .request = &create};
    char *password;
    size_t size;
    int ret;

    if (arguments->username == NULL || arguments->email == NULL) {
        return userctl_arguments_refuse(arguments, "--username and --email are required");
    }
    ret = userctl_secret_password(arguments, &password, &size);
    if (ret != 0) {
        return ret;
    }
    create.password = password;
    ret = with_client(&session);
    slurp_free(password, size);
    return ret;
}

static int use_delete(struct session *session, struct user_client *client)
{
    const struct userctl_arguments *arguments = session->arguments;
    bool success;
    int ret = user_client_delete(client, arguments->operand, arguments->etag, &success);

    if (ret != 0) {
        return call_failed(session, client, ret);
    }
    userctl_output_deleted(arguments->operand, success, userctl_output_is_json(arguments));
    return 0;
}

static int run_delete(const struct userctl_arguments *arguments)
{
    struct session session = {.arguments = arguments, .use = use_delete};
    int ret = need_operand(arguments);

    return ret != 0 ? ret : with_client(&session);
}

static void change_deinit(struct change *change)
{
    free(change->roles.text);
    free(change->mask.text);
}

static int set_status(const struct userctl_arguments *arguments, struct change *change,
                      const char *value)
{
    int status = value[0] == '\0' ? 0 : user_client_status_from_name(value);

    if (status < 0) {
        return userctl_arguments_refuse(arguments,
                                        "'%s' is no status: ACTIVE, INACTIVE or SUSPENDED", value);
    }
    change->update.user.status = status;
    return 0;
}

static int set_roles(const struct userctl_arguments *arguments, struct change *change,
                     const char *value)
{
    int ret = split(arguments, value, &change->roles);

    change->update.user.roles = change->roles.words;
    change->update.user.role_count = change->roles.count;
    return ret;
}

/* Where the text of a field goes; NULL when it is not a text or there is no such field. */
static const char **text_field(struct user_client_user *user, const char *name)
{
    const struct {
        const char *name;
        const char **text;
    } fields[] = {
        {"username", &user->username},
        {"email", &user->email},
        {"profile.first_name", &user->first_name},
        {"profile.last_name", &user->last_name},
        {"profile.avatar_url", &user->avatar_url},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return fields[i].text;
        }
    }
    return NULL;
}

static int set_field(const struct userctl_arguments *arguments, struct change *change,
                     const char *name, const char *value)
{
    struct user_client_user *user = &change->update.user;
    const char **text = text_field(user, name);

    if (text != NULL) {
        *text = value;
        user->has_profile = user->has_profile || strncmp(name, "profile.", 8) == 0;
        return 0;
    }
    if (strcmp(name, "status") == 0) {
        return set_status(arguments, change, value);
    }
    if (strcmp(name, "roles") == 0) {
        return set_roles(arguments, change, value);
    }
    return userctl_arguments_refuse(arguments, "there is no field '%s' to set", name);
}

static int take_set(const struct userctl_arguments *arguments, struct change *change,
                    unsigned index)
{
    const char *set = arguments->sets[index];
    const char *equals = strchr(set, '=');
    size_t size = (size_t)(equals - set);
    char *name = change->names[index];

    if (size >= FIELD_NAME_SIZE) {
        return userctl_arguments_refuse(arguments, "there is no field '%.*s' to set", (int)size,
                                        set);
    }
    memcpy(name, set, size);
    name[size] = '\0';
    change->set_fields[index] = name;
    for (unsigned i = 0; i < index; i++) {
        if (strcmp(change->set_fields[i], name) == 0) {
            return userctl_arguments_refuse(arguments, "field '%s' is set twice", name);
        }
    }
    return set_field(arguments, change, name, equals + 1);
}

/* The mask is what --mask says, or else exactly what --set names. */
static int read_change(const struct userctl_arguments *arguments, struct change *change)
{
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < arguments->set_count; i++) {
        ret = take_set(arguments, change, i);
    }
    if (ret != 0) {
        return ret;
    }
    if (arguments->mask == NULL) {
        change->update.mask = change->set_fields;
        change->update.mask_count = arguments->set_count;
        return 0;
    }
    ret = split(arguments, arguments->mask, &change->mask);
    change->update.mask = change->mask.words;
    change->update.mask_count = change->mask.count;
    return ret;
}

static int use_update(struct session *session, struct user_client *client)
{
    struct user_client_user user;
    int ret = user_client_update(client, session->request, &user);

    return show(session, client, ret, &user);
}

static int run_update(const struct userctl_arguments *arguments)
{
    struct change change = {.update.id = arguments->operand, .update.user.etag = arguments->etag};
    struct session session = {
        .arguments = arguments,
        .use = use_update,
        .request = &change.update,
    };
    int ret = need_operand(arguments);

    if (ret != 0) {
        return ret;
    }
    ret = read_change(arguments, &change);
    if (ret == 0 && change.update.mask_count == 0) {
        ret =
            userctl_arguments_refuse(arguments, "what is to change? --set FIELD=VALUE is missing");
    }
    if (ret == 0) {
        ret = with_client(&session);
    }
    change_deinit(&change);
    return ret;
}

static int sign(const struct userctl_arguments *arguments, struct bytes secret, const char *roles)
{
    uint64_t now_s = clock_realtime_ns(clock_system()) / CLOCK_NS_PER_S;
    const struct token_request request = {
        .subject = arguments->subject,
        .roles = roles,
        .issuer = arguments->issuer,
        .audience = arguments->audience,
        .issued_s = now_s,
        .expires_s = now_s + (arguments->ttl_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S,
    };
    char *token;
    int ret = token_sign_hs256(secret, &request, &token);

    if (ret == TOKEN_E_BAD_SECRET_SIZE) {
        return userctl_arguments_refuse(arguments, "the secret in %s must have %d to %d bytes",
                                        arguments->secret_file, TOKEN_SECRET_SIZE_MIN,
                                        TOKEN_SECRET_SIZE_MAX);
    }
    if (ret == TOKEN_E_SECRET_IS_PEM) {
        return userctl_arguments_refuse(arguments, "%s holds a PEM key, not a shared secret",
                                        arguments->secret_file);
    }
    if (ret != 0) {
        return userctl_arguments_refuse(arguments, "cannot sign the token: %s", strerror(-ret));
    }
    (void)printf("%s\n", token);
    free(token);
    return 0;
}

/* A list of roles is written with commas here and with blanks in the token. */
static char *with_blanks(const char *roles)
{
    char *copy = strdup(roles);

    for (size_t i = 0; copy != NULL && copy[i] != '\0'; i++) {
        if (copy[i] == ',') {
            copy[i] = ' ';
        }
    }
    return copy;
}

static int run_token(const struct userctl_arguments *arguments)
{
    char *roles = NULL;
    char *secret;
    size_t size;
    int ret;

    if (arguments->secret_file == NULL || arguments->subject == NULL) {
        return userctl_arguments_refuse(arguments, "--secret-file and --sub are required");
    }
    if (arguments->roles != NULL && (roles = with_blanks(arguments->roles)) == NULL) {
        return userctl_arguments_refuse(arguments, "out of memory");
    }
    ret = slurp_file(arguments->secret_file, TOKEN_SECRET_SIZE_MAX + 2, &secret, &size);
    if (ret != 0) {
        free(roles);
        return userctl_arguments_refuse(arguments, "cannot read %s: %s", arguments->secret_file,
                                        ret > 0 ? "it is too large" : strerror(-ret));
    }
    ret = sign(arguments, (struct bytes){(const uint8_t *)secret, size}, roles);
    slurp_free(secret, size);
    free(roles);
    return ret;
}

static int run_help(const struct userctl_arguments *arguments)
{
    enum userctl_command about = USERCTL_NONE;

    if (arguments->operand != NULL) {
        about = userctl_arguments_command(arguments->operand);
        if (about == USERCTL_NONE) {
            return userctl_arguments_refuse(arguments, "there is no command '%s'",
                                            arguments->operand);
        }
    }
    userctl_arguments_help(stdout, about);
    return 0;
}

int userctl_commands_run(const struct userctl_arguments *arguments)
{
    static int (*const commands[USERCTL_COMMAND_COUNT])(const struct userctl_arguments *) = {
        [USERCTL_GET] = run_get,       [USERCTL_CREATE] = run_create, [USERCTL_UPDATE] = run_update,
        [USERCTL_DELETE] = run_delete, [USERCTL_TOKEN] = run_token,   [USERCTL_HELP] = run_help,
    };

    return commands[arguments->command](arguments);
}
